"""The campaign's short form; the long one is `make campaign`."""

import pytest

from campaign.run import KINDS, play_all, trials_of

SHORT = [kind for kind in KINDS if kind != "fuzz"]
"""Those whose short form is not empty."""


@pytest.mark.parametrize("kind", SHORT)
def test_nothing_surprises(kind: str) -> None:
    counts, failures = play_all(trials_of([kind], long=False))
    assert not failures, "\n".join(failures[:5])
    assert counts
