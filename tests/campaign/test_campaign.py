"""The campaign's short form; the long one is `make campaign`."""

import pytest

from campaign.run import KINDS, play_all, trials_of


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_surprises(kind: str) -> None:
    counts, failures = play_all(trials_of([kind], long=False))
    assert not failures, "\n".join(failures[:5])
    assert counts
