"""Arms that are the same runs twice."""

from typing import Any

import pytest

from mast.studies.groups import groups_of
from mast.studies.library import built_in, find_study
from mast.studies.unread import same_runs
from studies.study_cells import small_study


@pytest.mark.parametrize(
    ("block", "said"),
    [
        (
            {"method": "rigl", "td_lambda": [0.5, 0.9]},
            "rigl 90 %, td_lambda = 0.5 and rigl 90 %, td_lambda = 0.9 on smax/3m are the same runs: no "
            "effect of td_lambda: needs targets = td_lambda or hybrid",
        ),
        (
            {"method": "ss", "arms": [{"name": ""}, {"drop": "random", "evolve_interval": 50}]},
            "ss 90 % and ss 90 %, drop = random, evolve_interval = 50 on smax/3m are the same runs: no "
            "effect of drop, evolve_interval: the mask stays (growth = none)",
        ),
        ({"method": ["mast", "rlx2"], "td_lambda": 0.5}, ""),
        ({"method": "mast", "td_lambda": [0.5, 0.9]}, ""),
    ],
)
def test_arms_that_differ_in_nothing_that_is_read_are_said(
    block: dict[str, Any], said: str
) -> None:
    study = small_study(settings={"environment": "smax/3m"}, cells=[{"sparsity": 0.9, **block}])
    assert same_runs(groups_of(study, ())) == ([said] if said else [])


@pytest.mark.parametrize("name", built_in())
def test_no_study_of_ours_has_the_same_runs_twice(name: str) -> None:
    assert same_runs(groups_of(find_study(name), ())) == []
