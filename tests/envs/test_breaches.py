"""Every breach is one line with environment, step and agent, and the run is saved; by every loop."""

from pathlib import Path
from typing import Any

import jaxtyping
import numpy as np
import pytest

from envs.breaches import BREACHES, HERE, train
from envs.test_own_worlds import Odd
from mast.config import resolve
from mast.envs.contract import check_spec
from mast.errors import EnvironmentFailure, EnvironmentNaN
from mast.learning.trajectory import Trajectory
from mast.runs.trainer import Trainer
from mast.training.breaches import Breach, Endings, first_breach, refuse_breach

BY_REPLAY = ("Good", "IdleOne", "LateNaN", "ResetRaises", "ManyActions")
"""Those of a whole command by replay; what its players say of the others stands in test_own_worlds.py."""


@pytest.fixture(autouse=True)
def unchecked(monkeypatch: pytest.MonkeyPatch) -> Any:
    """As users run it: without the suite's checks of types."""
    monkeypatch.syspath_prepend(str(HERE))
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.mark.parametrize(
    ("world", "algorithm"),
    [(world, "maa2c") for world in BREACHES] + [(world, "vdn") for world in BY_REPLAY],
)
def test_a_breach_is_one_line(world: str, algorithm: str, tmp_path: Path) -> None:
    _, code, told = BREACHES[world]
    said = train(world, algorithm, tmp_path / "run")
    assert said.code == code
    if not told:
        assert said.line == ""
        return
    assert said.line.startswith(f"envs:{world}: {told}") or (
        world == "ManyActions" and told in said.line
    )
    assert "docs/environments.md" in said.line or "failed" in said.line
    if world != "ManyActions":  # refused before anything is written
        assert said.saved
        assert "the last good checkpoint, of env step " in said.line


@pytest.mark.parametrize(
    ("oddity", "told"),
    [
        ("idle", "step 2 of an episode: available: agent 1 has no action, must have at least one"),
        (
            "endless",
            "step 3 of an episode: neither terminated nor truncated after spec.episode_limit = 3",
        ),
        ("both", "step 3 of an episode: terminated and truncated are both True"),
        ("won early", "step 1 of an episode: won is True without terminated, or although"),
        ("nan", "step 2 of an episode: observation of agent 0: holds a NaN"),
    ],
)
def test_a_jax_environment_is_checked_as_its_rollouts_are_learned_from(
    oddity: str, told: str, tmp_path: Path
) -> None:
    environment: Any = Odd(oddity)
    check_spec(environment, oddity)
    settings = {"environment": "own:Odd", "algorithm": "maa2c", "hidden_size": 4, "steps": 400}
    trainer = Trainer(resolve(settings), tmp_path / "run", environment=environment)
    kind = EnvironmentNaN if oddity == "nan" else EnvironmentFailure
    with pytest.raises(kind) as raised:
        trainer.run()
    assert str(raised.value).startswith(f"envs:{oddity}: {told}")
    assert "there is no checkpoint yet" in str(raised.value)
    assert not np.any([path.name == "checkpoints" for path in (tmp_path / "run").iterdir()])


def test_a_good_jax_environment_is_not_refused() -> None:
    environment: Any = Odd("good")
    settings = {"environment": "own:Odd", "algorithm": "maa2c", "hidden_size": 4, "steps": 400}
    assert Trainer(resolve(settings), environment=environment).run()["env_steps"] == 400


def test_a_breach_of_a_reset_names_it_and_the_run() -> None:
    """Of what a rollout showed: agent 1 gets a NaN from a reset, in the second of two runs."""
    spec = Odd("good").spec
    ones: Any = np.ones((4, 1, 2, 4), np.float32)
    seen = ones.copy()
    seen[3, 0, 1, 2] = np.nan
    after = ones.copy()
    after[2, 0, 1] = np.nan
    ended = np.array([[False], [False], [True], [False]])
    trajectory = Trajectory(
        observation=seen, available=np.ones((4, 1, 2, 3), bool), state=ones[:, :, 0],
        action=np.zeros((4, 1, 2), int), reward=np.ones((4, 1, 1)), next_observation=ones,
        next_state=ones[:, :, 0], terminated=np.zeros((4, 1), bool), ended=ended, behaviour={},
    )  # fmt: skip
    endings = Endings(np.array([[0], [1], [2], [0]]), ended, np.zeros((4, 1), bool))
    breach = first_breach(spec, trajectory, endings)
    both = Breach(*(np.array([[0, int(each)]]) for each in breach))
    told = r"envs:good: reset: observation of agent 1: holds a NaN \(seed 8\)"
    with pytest.raises(EnvironmentNaN, match=told):
        refuse_breach(spec, both, ["seed 7", "seed 8"])
    late = trajectory._replace(observation=ones, next_observation=after)
    said = first_breach(spec, late, endings)
    assert (int(said.step), int(said.agent)) == (3, 1)
