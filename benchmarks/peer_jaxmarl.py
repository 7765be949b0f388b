"""JaxMARL's QMIX as an arm of `peers.py`: its own file, unchanged, at our sizes and update ratio.

None of its code is here: `--jaxmarl PATH` is a checkout of FLAIROx/JaxMARL, from which
`baselines/QLearning/qmix_rnn.py` is loaded. What that file imports and never uses in training (hydra,
omegaconf, wandb) is stood in for by empty modules; flashbax, its replay buffer, is needed.
"""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest import mock

import jax

ENVIRONMENTS = 8
"""As many as our `parallel_envs`."""


def load_qmix(checkout: Path) -> ModuleType:
    """JaxMARL's module `qmix_rnn` of a checkout."""
    for name in ("wandb", "hydra", "omegaconf"):
        sys.modules.setdefault(name, ModuleType(name))
    sys.modules["hydra"].main = lambda **_: lambda function: function  # type: ignore[attr-defined]
    sys.modules["omegaconf"].OmegaConf = SimpleNamespace  # type: ignore[attr-defined]
    path = checkout / "baselines" / "QLearning" / "qmix_rnn.py"
    spec = importlib.util.spec_from_file_location("jaxmarl_qmix_rnn", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    manager = module.CTRolloutManager

    def constant_manager(*args: Any, **named: Any) -> Any:
        # Its constants outlive the jitted start of `train`.
        with jax.ensure_compile_time_eval():
            return manager(*args, **named)

    module.CTRolloutManager = constant_manager  # type: ignore[attr-defined]
    return module


def configuration(scenario: str, steps: int, updates: int) -> dict[str, Any]:
    """JaxMARL's settings for SMAX, with our sizes.

    Args:
        scenario: as "3m".
        steps: of one sequence: what an environment plays per rollout and an update reads per sample.
        updates: per rollout of `ENVIRONMENTS` × `steps` environment steps.
    """
    return {
        "ENV_NAME": "HeuristicEnemySMAX",
        "MAP_NAME": scenario,
        "ENV_KWARGS": {},  # the installed package's own, as our adapter has them
        "TOTAL_TIMESTEPS": 10**4 * ENVIRONMENTS * steps,
        "NUM_ENVS": ENVIRONMENTS,
        "NUM_STEPS": steps,
        "NUM_EPOCHS": updates,
        "BUFFER_SIZE": 5000,
        "BUFFER_BATCH_SIZE": 32,
        "HIDDEN_SIZE": 64,
        "MIXER_EMBEDDING_DIM": 32,
        "MIXER_HYPERNET_HIDDEN_DIM": 64,
        "MIXER_INIT_SCALE": 0.001,
        "EPS_START": 1.0,
        "EPS_FINISH": 1.0,
        "EPS_DECAY": 0.1,
        "MAX_GRAD_NORM": 10,
        "TARGET_UPDATE_INTERVAL": 10,
        "TAU": 1.0,
        "LR": 0.0005,
        "LR_LINEAR_DECAY": False,
        "LEARNING_STARTS": 0,
        "GAMMA": 0.99,
        "REW_SCALE": 10.0,
        "TEST_DURING_TRAINING": False,
        "TEST_NUM_ENVS": 1,
        "WANDB_MODE": "disabled",
    }


class JaxMarlLoop:
    """JaxMARL's training loop, some of its rounds at a time.

    Its `train` is one scan of `_update_step` (roll out, store, learn) over the whole training. The scan is
    intercepted, so that the same step can be scanned over few rounds at a time and timed without compilation
    and set-up; the state is given away to each call, as the scan does with its own.

    `single_run` would wrap it all in a `vmap` over seeds, which turns its `lax.cond`s into `select`s: it is
    left out here, in its favour.

    Args:
        checkout: of JaxMARL's repository.
        scenario: as "3m".
        steps: of one sequence.
        updates: per rollout.
        seeds: how many at once, in one `vmap` as `single_run` has it; None leaves it out.
    """

    def __init__(
        self, checkout: Path, scenario: str, steps: int, updates: int, seeds: int | None = None
    ) -> None:
        module = load_qmix(checkout)
        config = configuration(scenario, steps, updates)
        environment, _ = module.env_from_config(config)
        self.env_steps_per_round = ENVIRONMENTS * steps
        self.updates_per_round = updates
        body, self._state = _captured(module.make_train(config, environment), seeds)

        def step(state: Any) -> Any:
            return body(state, None)[0]

        every = step if seeds is None else jax.vmap(step)
        self._rounds = jax.jit(
            lambda state, count: jax.lax.fori_loop(0, count, lambda _, s: every(s), state),
            donate_argnums=0,
        )

    def run(self, rounds: int) -> None:
        """That many rounds of rolling out, storing and learning."""
        self._state = jax.block_until_ready(self._rounds(self._state, rounds))

    @property
    def counted(self) -> tuple[int, int]:
        """Environment steps and gradient steps so far, as JaxMARL counts them, of the first seed."""
        state = self._state[0]
        return int(state.timesteps.ravel()[0]), int(state.grad_steps.ravel()[0])


def _captured(train: Callable[[Any], Any], seeds: int | None) -> tuple[Callable[..., Any], Any]:
    """The body of the training scan and the state that it would begin with, of each seed."""
    scan = jax.lax.scan
    bodies: list[Callable[..., Any]] = []

    class Reached(Exception):
        """The training scan, with its first state."""

    def looking(function: Callable[..., Any], *rest: Any, **named: Any) -> Any:
        if getattr(function, "__name__", "") != "_update_step":
            return scan(function, *rest, **named)
        bodies.append(function)
        raise Reached(rest[0])

    @jax.jit
    def begin(key: Any) -> Any:
        try:
            train(key)
        except Reached as reached:
            return reached.args[0]
        raise RuntimeError("JaxMARL's train has no scan of _update_step: another version?")

    with mock.patch.object(jax.lax, "scan", looking):
        state = (
            begin(jax.random.PRNGKey(0))
            if seeds is None
            else jax.vmap(begin)(jax.random.split(jax.random.PRNGKey(0), seeds))
        )
    return bodies[0], state
