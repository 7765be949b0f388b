"""Teams whose weights have a pattern: from the first step to the last, masked and compact."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from mast import kernels
from mast.accounting.costs import account
from mast.algorithms.registry import algorithm_entry
from mast.config import resolve
from mast.configuration.reference import reference_settings
from mast.errors import UserError
from mast.execution.account import account_of
from mast.execution.learner import Learner
from mast.execution.topology import initial_masks, team_patterns
from mast.networks.spec import Sizes
from mast.runs.trainer import Trainer

NAMES = ("fan-in", "n:8", "block-4x2", "neuron")
SIZES = Sizes(observation=10, state=12, actions=5, agents=3, hidden_size=16)
SMALL: dict[str, Any] = {
    "environment": "examples.pursuit:Pursuit",
    "method": "rigl",
    "sparsity": 0.8,
    "steps": 600,
    "batch_size": 4,
    "hidden_size": 16,
    "evolve_interval": 5,
    "eval_interval": 400,
    "eval_episodes": 4,
}


def _learner(**settings: Any) -> Learner:
    config = resolve({**SMALL, **settings})
    sizes = Sizes(**{**vars(SIZES), "independent": config.sharing == "independent"})
    return Learner(config, sizes)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("given", [{}, {"sharing": "independent"}], ids=["shared", "independent"])
def test_first_masks_have_the_pattern_and_the_accounts_count(
    name: str, given: dict[str, Any]
) -> None:
    learner = _learner(pattern=name, **given)
    params = jax.eval_shape(learner.dense_params, jax.random.key(0))
    params = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), params)
    masks = initial_masks(jax.random.key(1), params, learner.config, learner.networks)
    patterns = team_patterns(learner.config, learner.networks)
    assert masks.keys() == patterns.keys()
    assert all(patterns[path].holds(mask) for path, mask in masks.items())
    counted = account_of(learner.config, learner.sizes)
    active = {f"{each.network}.{each.layer}.weight": each.active for each in counted.layers}
    assert active == {path: int(mask.sum()) for path, mask in masks.items()}
    assert patterns["agent.gru_input.weight"].layout.gates == 3
    assert patterns["agent.fc2.weight"].layout.is_output
    assert not patterns["agent.fc1.weight"].layout.is_output


def test_agents_with_densities_of_their_own_have_the_pattern_each() -> None:
    learner = _learner(
        pattern="fan-in", sharing="independent", density_per_agent="0.3,0.2,0.1", method="mast"
    )
    params = learner.dense_params(jax.random.key(0))
    masks = initial_masks(jax.random.key(1), params, learner.config, learner.networks)
    each = np.asarray(masks["agent.gru_hidden.weight"]).sum(2)
    assert [len(set(agent.tolist())) for agent in each] == [1, 1, 1]
    assert each[0, 0] > each[1, 0] > each[2, 0]


def test_a_dense_team_and_unstructured_are_as_they_were() -> None:
    entry = algorithm_entry("qmix")
    networks, uses = entry.networks(SIZES), entry.uses(SIZES, "max")
    assert account(networks, uses, 0.9, pattern="unstructured") == account(networks, uses, 0.9)
    assert team_patterns(_learner().config, networks) == {}
    assert team_patterns(_learner(method="dense", pattern="fan-in").config, networks) == {}
    assert reference_settings()["pattern"] == "unstructured"


@pytest.mark.parametrize("name", NAMES)
def test_a_trained_team_has_the_pattern(name: str, tmp_path: Path) -> None:
    """Masked and compact evolve by one program; which weights there are is the same."""
    executions = ("masked", "compact") if kernels.available() and name == "fan-in" else ("masked",)
    for execution in executions:
        given = {**SMALL, "pattern": name, "execution": execution}
        trainer = Trainer(resolve(given), tmp_path / execution, given=given)
        first = trainer.engine.team(trainer.state, 0).optimizer.masks
        first = {path: np.array(mask) for path, mask in first.items()}  # runs donate their state
        trainer.run()
        last = trainer.engine.team(trainer.state, 0).optimizer.masks
        learner = trainer.engine._learners[0]
        patterns = team_patterns(learner.config, learner.networks)
        assert last.keys() == patterns.keys()
        for path, mask in last.items():
            assert patterns[path].holds(mask), path
            assert mask.sum() == first[path].sum()
        assert any((last[path] != first[path]).any() for path in first)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pattern": "2:4"}, "sparsity = 0.8: pattern 2:4 has 0.5"),
        ({"pattern": "2:4", "sparsity": 0.6}, "sparsity = 0.6: pattern 2:4 has 0.5"),
        (
            {
                "pattern": "1:5",
                "sharing": "independent",
                "density_per_agent": "0.3,0.2,0.1",
            },
            "density_per_agent = 0.3,0.2,0.1: pattern 1:5 has one density for all",
        ),
        ({"pattern": "blocks"}, "pattern = blocks: must be one of unstructured, fan-in, n:M"),
        (
            {"pattern": "1:5", "method": "magnitude"},
            "pattern = 1:5: method magnitude prunes gradually, so N must be by the sparsity: n:5",
        ),
    ],
)
def test_settings_that_a_pattern_cannot_have_are_refused(
    settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message) as error:
        resolve({**SMALL, **settings})
    assert "\n" not in str(error.value)


def test_a_rounded_sparsity_is_that_of_a_fixed_pattern() -> None:
    assert resolve({**SMALL, "pattern": "1:3", "sparsity": 0.667}).pattern == "1:3"
