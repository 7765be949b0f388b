"""Every setting of a run: its meaning, default, source and bounds."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.fields import FieldInfo

from mast.configuration.presets import layered_defaults


def _setting(default: Any, group: str, description: str, source: str, **bounds: Any) -> Any:
    extra: dict[str, Any] = {"group": group, "source": source}
    return Field(default, description=description, json_schema_extra=extra, **bounds)


_RUN, _ENVIRONMENT, _NETWORK = "run", "environment", "networks"
_TOPOLOGY, _TARGET, _REPLAY, _OPTIMIZER = "sparse topology", "targets", "replay", "optimizer"
_EXPLORATION, _WATCH = "exploration", "evaluation"


class Config(BaseModel):
    """All settings of one run, resolved and checked; building one fills in the layered defaults."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    environment: str = _setting(
        ..., _RUN, "environment id such as smax/3m (see: mast envs) or package.module:Class", ""
    )
    algorithm: Literal["iql", "vdn", "qmix"] = _setting(
        "qmix", _RUN, "how the agents' values become the team's", "spec §5"
    )
    method: Literal["dense", "ss", "set", "rigl", "mast"] = _setting(
        "mast", _RUN, "sparse-training method (see: mast methods)", "spec §6"
    )
    sparsity: float = _setting(
        0.9,
        _RUN,
        "share of the weights that are zero, per network",
        "MAST Table 1 (QMIX on 3s5z)",
        ge=0,
        lt=1,
    )
    steps: int = _setting(2_000_000, _RUN, "environment steps to train for", "MAST, PyMARL", ge=1)
    seed: int = _setting(0, _RUN, "random seed of the run", "ours", ge=0, lt=2**31)
    seeds: int = _setting(
        1, _RUN, "number of runs, with seeds SEED, SEED+1, …, each in OUT/seed-K", "ours", ge=1
    )
    placement: Literal["auto", "vmap", "process"] = _setting(
        "auto",
        _RUN,
        "how several seeds are laid out: one vmapped program, or one process each; "
        "auto is vmap on a GPU and process on a CPU",
        "ours",
    )
    threads: int | None = _setting(
        None, _RUN, "CPU threads; part of the run's bit-identity", "all cores of the machine", ge=1
    )

    parallel_envs: int = _setting(
        8, _ENVIRONMENT, "environments stepped side by side", "PyMARL's parallel runner", ge=1
    )
    reward_scale: float | None = _setting(
        None,
        _ENVIRONMENT,
        "factor on the reward; none = the environment's own (SMAX 10, to SMAC's 0–20 range)",
        "spec §9",
        gt=0,
    )
    timeout: Literal["bootstrap", "terminal"] = _setting(
        "bootstrap",
        _ENVIRONMENT,
        "at a time-limit cut: go on with the target's value, or treat it as an end (PyMARL)",
        "spec §3, choice",
    )
    state_last_action: bool = _setting(
        False, _ENVIRONMENT, "append the last joint action to the state, as SMAC", "spec §9, choice"
    )
    episode_limit: int | None = _setting(
        None, _ENVIRONMENT, "steps per episode; none = the environment's own", "ours", ge=1
    )

    hidden_size: int = _setting(
        64, _NETWORK, "width of the agent's first layer and of its GRU", "MAST Table 5", ge=1
    )
    mixer_embed: int = _setting(32, _NETWORK, "width of the mixing layer", "MAST Table 5", ge=1)
    hypernet_hidden: int = _setting(
        64, _NETWORK, "width of the mixer's hypernetworks", "MAST Table 5", ge=1
    )
    init_scale: Literal["dense", "sparse"] = _setting(
        "dense",
        _NETWORK,
        "initial range 1/√fan_in, with the fan-in of the dense layer or of the active weights",
        "spec §1, choice",
    )

    allocation: Literal["erdos_renyi", "uniform"] = _setting(
        "erdos_renyi", _TOPOLOGY, "how the density is shared out among the layers", "MAST §4.1"
    )
    initial_mask: Literal["random", "largest"] = _setting(
        "random",
        _TOPOLOGY,
        "first active weights: random, or the largest of the initialisation (RLx2)",
        "spec §2, choice",
    )
    evolve_interval: int = _setting(
        200, _TOPOLOGY, "updates between two topology evolutions, Δ", "MAST Table 5", ge=1
    )
    drop_fraction: float = _setting(
        0.5,
        _TOPOLOGY,
        "share of a layer's active weights dropped at first, ζ_0; falls to 0 with a cosine",
        "MAST Table 5",
        ge=0,
        le=1,
    )
    growth: Literal["gradient", "random", "none"] = _setting(
        "none", _TOPOLOGY, "where weights grow; none = the mask stays", "RigL, SET"
    )
    grown_state: Literal["grad", "zero", "mean", "keep"] = _setting(
        "grad",
        _TOPOLOGY,
        "second moment of a grown weight: its squared gradient, zero (a first step ~10 × the "
        "learning rate), the layer's mean, or what was left there (RLx2)",
        "spec §2, choice",
    )
    evolve_order: Literal["after", "replace"] = _setting(
        "after",
        _TOPOLOGY,
        "evolution after the optimizer step (MAST Algorithm 2) or in its place (RigL, RLx2)",
        "spec §2, choice",
    )

    discount: float = _setting(0.99, _TARGET, "discount γ", "MAST Table 5", ge=0, le=1)
    operator: Literal["max", "softmax", "mellowmax", "soft_mellowmax"] = _setting(
        "max", _TARGET, "operator over the target network's action values", "MAST eq. 3"
    )
    double_q: bool = _setting(
        True, _TARGET, "operator max: the online network chooses the action", "MAST Table 5"
    )
    softmax_beta: float = _setting(
        5.0, _TARGET, "inverse temperature β of softmax", "MAST Table 5 (RES)", ge=0
    )
    omega: float = _setting(
        10.0, _TARGET, "ω of mellowmax and soft_mellowmax", "MAST Table 5", gt=0
    )
    soft_mellowmax_alpha: float = _setting(
        1.0, _TARGET, "α of soft_mellowmax; 0 is mellowmax", "MAST Table 5", ge=0
    )
    td_lambda: float = _setting(
        0.0, _TARGET, "λ of the return; 0 = one-step, 1 = Monte Carlo", "MAST Table 5", ge=0, le=1
    )
    burn_in_fraction: float = _setting(
        0.375, _TARGET, "share of the steps with one-step targets, T_0", "MAST Table 4", ge=0, le=1
    )

    batch_size: int = _setting(32, _REPLAY, "episodes per update", "MAST Table 5", ge=1)
    online_batch: int = _setting(
        0, _REPLAY, "episodes of the batch that come from the newest ones", "MAST Table 5", ge=0
    )
    buffer_episodes: int = _setting(
        5000, _REPLAY, "episodes that the ring holds, C_1", "MAST Table 5", ge=1
    )
    online_episodes: int = _setting(
        128, _REPLAY, "how many episodes count as the newest, C_2", "MAST Table 5", ge=1
    )
    warmup_env_steps: int = _setting(
        0, _REPLAY, "environment steps before the first update", "spec §4, choice", ge=0
    )
    replay_dtype: Literal["float16", "float32"] = _setting(
        "float16", _REPLAY, "number type of stored observations and states", "ours"
    )

    learning_rate: float = _setting(
        5e-4, _OPTIMIZER, "learning rate of RMSProp", "MAST Table 5", gt=0
    )
    rms_decay: float = _setting(
        0.99, _OPTIMIZER, "decay of RMSProp's second moment", "PyMARL", ge=0, lt=1
    )
    rms_epsilon: float = _setting(
        1e-5, _OPTIMIZER, "ε of RMSProp, outside the root", "PyMARL", gt=0
    )
    gradient_clip: float = _setting(
        10.0, _OPTIMIZER, "largest norm of the masked gradient", "PyMARL", gt=0
    )
    updates_per_episode: float = _setting(
        1.0, _OPTIMIZER, "updates per collected episode", "PyMARL", gt=0
    )
    target_interval: int = _setting(
        200, _OPTIMIZER, "episodes between two copies to the target network", "MAST Table 5", ge=1
    )

    epsilon_start: float = _setting(
        1.0, _EXPLORATION, "share of random actions at first, ε", "MAST Table 5", ge=0, le=1
    )
    epsilon_end: float = _setting(
        0.05, _EXPLORATION, "share of random actions at last", "MAST Table 5", ge=0, le=1
    )
    epsilon_steps: int = _setting(
        50_000, _EXPLORATION, "environment steps from the first to the last", "MAST Table 5", ge=1
    )

    eval_interval: int = _setting(
        10_000, _WATCH, "environment steps between two evaluations", "PyMARL", ge=1
    )
    eval_episodes: int = _setting(32, _WATCH, "greedy episodes per evaluation", "PyMARL", ge=1)
    checkpoint_interval: float = _setting(
        30.0, _WATCH, "seconds between two checkpoints; 0 = after every round", "ours", ge=0
    )

    @model_validator(mode="before")
    @classmethod
    def _fill_defaults(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        given = {name: _read_text(name, value) for name, value in data.items()}
        environment, method = given.get("environment"), given.get("method", "mast")
        layered = layered_defaults(environment, method) | given
        if method == "dense" and _is_sparsity(layered["sparsity"]):
            layered["sparsity"] = 0.0  # ignored, and `notices` says so
        return layered

    @model_validator(mode="after")
    def _check_together(self) -> Config:
        def at_most(small: str, large: str) -> None:
            if getattr(self, small) > getattr(self, large):
                bound = f"{large} = {getattr(self, large)}"
                raise ValueError(f"{small} = {getattr(self, small)}: must be at most {bound}")

        at_most("batch_size", "buffer_episodes")
        at_most("online_batch", "batch_size")
        at_most("online_batch", "online_episodes")
        at_most("online_episodes", "buffer_episodes")
        at_most("parallel_envs", "buffer_episodes")
        if self.warmup_env_steps >= self.steps:
            bound = f"steps = {self.steps}"
            raise ValueError(f"warmup_env_steps = {self.warmup_env_steps}: must be below {bound}")
        if self.seed + self.seeds > 2**31:
            raise ValueError(f"seeds = {self.seeds}: the last seed would pass {2**31 - 1}")
        if self.method == "dense" and self.growth != "none":
            raise ValueError(f"growth = {self.growth}: method dense has no mask to evolve")
        return self


def _is_sparsity(value: Any) -> bool:
    try:
        return 0 <= float(value) < 1
    except (TypeError, ValueError):
        return False


def kinds(info: FieldInfo) -> tuple[Any, ...]:
    """The alternatives of a field's type: (int, NoneType) for `int | None`."""
    annotation = info.annotation
    if isinstance(annotation, types.UnionType):
        return typing.get_args(annotation)
    return (annotation,)


def _read_text(name: str, value: Any) -> Any:
    """Text of the command line that pydantic would not read: "none", 2e6 for a whole number."""
    info = Config.model_fields.get(name)
    if info is None or not isinstance(value, str):
        return value
    alternatives = kinds(info)
    if types.NoneType in alternatives and value.strip().lower() == "none":
        return None
    if int in alternatives:
        try:
            number = float(value)
        except ValueError:
            return value
        # int(value) would be exact where float is not; only 2e6 and 2.0 need the detour.
        if any(mark in value.lower() for mark in ".e") and number.is_integer():
            return int(number)
    return value
