"""What must hold on a GPU; deselected elsewhere (`make gpu` runs it)."""

from pathlib import Path

import jax
import numpy as np
import pytest

from mast import Trainer, resolve
from mast.execution.account import sizes_of
from mast.execution.learner import Learner
from mast.execution.method import method_from_config
from mast.policy import Policy
from mast.studies.vmapped import has_gpu
from training.small_runs import run_in_parts

pytestmark = [pytest.mark.gpu, pytest.mark.as_shipped]

SETTINGS = {
    "environment": "smax/3m",
    "sparsity": 0.95,
    "steps": 2400,
    "execution": "masked",
    "eval_interval": 10**9,
    "evolve_interval": 10,
}


def weights(trainer: Trainer, place: int = 0) -> list[np.ndarray]:
    team = trainer.engine.team(trainer.state, place)
    return [np.asarray(leaf) for leaf in jax.tree.leaves(team.params)]


def test_programs_run_on_the_gpu() -> None:
    assert has_gpu()
    assert jax.default_backend() == "gpu"
    trainer = Trainer(resolve(SETTINGS))
    devices = jax.tree.leaves(trainer.state.params)[0].devices()
    assert {device.platform for device in devices} == {"gpu"}


def test_an_update_agrees_with_the_cpus() -> None:
    """Loss and gradient of one batch, in single precision: TF32 would be a thousand times coarser."""
    trainer = Trainer(resolve(SETTINGS))
    rounds = iter(trainer)
    while trainer.counters.updates < 10:
        next(rounds)
    config, spec, run = trainer.config, trainer.environment.spec, trainer.runs[0]
    batch = run.gather(run.draw(1), spec.episode_limit)
    team = trainer.engine.team(trainer.state, 0)
    gradient = jax.jit(Learner(config, sizes_of(config, spec)).gradient)
    given = (team, batch, method_from_config(config), np.float32(run.counters.env_steps))
    here, found = gradient(*given)
    there, expected = gradient(*jax.device_put(given, jax.devices("cpu")[0]))
    assert float(here.loss) == pytest.approx(float(there.loss), rel=1e-4)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        a, b = np.asarray(a), np.asarray(b)
        assert np.linalg.norm(a - b) <= 1e-4 * np.linalg.norm(b) + 1e-7


def test_a_killed_run_goes_on_bit_for_bit(tmp_path: Path) -> None:
    whole = Trainer(resolve(SETTINGS))
    whole.run()
    resumed = run_in_parts(Trainer(resolve(SETTINGS), tmp_path / "run"), 1200)
    for a, b in zip(weights(whole), weights(resumed), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_team_trained_on_the_gpu_plays_on_the_host(tmp_path: Path) -> None:
    trainer = Trainer(resolve(SETTINGS | {"seeds": 4}), tmp_path / "run")
    trainer.run()
    spec = trainer.environment.spec
    for place in range(4):
        run = trainer.runs[place].out
        assert run is not None
        policy = Policy.load(run / "policy.safetensors")
        available = np.ones((spec.agents, spec.actions), bool)
        action, _ = policy.act(np.zeros((spec.agents, spec.observation), "f4"), available)
        assert ((action >= 0) & (action < spec.actions)).all()
