"""Every setting of a run: its meaning, default, source and bounds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from mast.configuration.checks import check_together
from mast.configuration.presets import layered_defaults
from mast.configuration.text import read_text


def _setting(default: Any, group: str, description: str, source: str, **bounds: Any) -> Any:
    extra: dict[str, Any] = {"group": group, "source": source}
    return Field(default, description=description, json_schema_extra=extra, **bounds)


_RUN, _ENVIRONMENT, _NETWORK = "run", "environment", "networks"
_TOPOLOGY, _TARGET, _REPLAY, _OPTIMIZER = "sparse topology", "targets", "replay", "optimizer"
_WQMIX, _RES = "algorithms owqmix and cwqmix", "algorithm res"
_EXPLORATION, _WATCH = "exploration", "evaluation"


class Config(BaseModel):
    """All settings of one run, resolved and checked; building one fills in the layered defaults."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    environment: str = _setting(
        ..., _RUN, "environment id such as smax/3m (see: mast envs) or package.module:Class", ""
    )
    algorithm: Literal["iql", "vdn", "qmix", "owqmix", "cwqmix", "res"] = _setting(
        "qmix", _RUN, "how the agents' values become the team's", "docs/methods.md"
    )
    method: Literal[
        "dense",
        "tiny",
        "ss",
        "set",
        "rigl",
        "rlx2",
        "mast",
        "random-ticket",
        "winning-ticket",
        "magnitude",
        "one-shot",
    ] = _setting("mast", _RUN, "sparse-training method (see: mast methods)", "docs/methods.md")
    preset: Literal["none", "res-mast", "res-authors", "wqmix-authors", "mast-later"] = _setting(
        "none",
        _RUN,
        "numbers that a source uses: res-mast β 5 (MAST), res-authors β 0.05 (the RES authors' code), "
        "wqmix-authors α 0.5 (WQMIX's README, 3s5z), mast-later buffers 5000/100, split 24 + 8",
        "docs/methods.md",
    )
    from_run: str | None = _setting(
        None,
        _RUN,
        "folder of an earlier run: winning-ticket takes its final mask, one-shot its trained weights",
        "docs/methods.md",
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
    execution: Literal["auto", "masked", "compact"] = _setting(
        "auto",
        _RUN,
        "masked: dense arrays with zeros, by XLA; compact: only the active values, by native CPU kernels; "
        "auto: compact where it is faster",
        "ours; docs/kernels.md",
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
        "docs/environments.md",
        gt=0,
    )
    timeout: Literal["bootstrap", "terminal"] = _setting(
        "bootstrap",
        _ENVIRONMENT,
        "at a time-limit cut: go on with the target's value, or treat it as an end (PyMARL)",
        "our choice",
    )
    state_last_action: bool = _setting(
        False, _ENVIRONMENT, "append the last joint action to the state, as SMAC", "our choice"
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
    unrestricted_hidden: int = _setting(
        256, _NETWORK, "width of the unrestricted mixer (owqmix, cwqmix)", "WQMIX", ge=1
    )
    widths: Literal["full", "tiny"] = _setting(
        "full",
        _NETWORK,
        "the widths above, or dense networks scaled down to the parameter count of sparse ones",
        "MAST §5",
    )
    sharing: Literal["shared", "independent"] = _setting(
        "shared",
        _NETWORK,
        "one network for all agents, or one each in stacked tensors (without the agent's id)",
        "MAST, agent roles",
    )
    initial_weights: Literal["fresh", "initial", "final"] = _setting(
        "fresh",
        _NETWORK,
        "drawn from the seed, or those that --from's run began with or ended with",
        "our choice",
    )
    init_scale: Literal["dense", "sparse"] = _setting(
        "dense",
        _NETWORK,
        "initial range 1/√fan_in, with the fan-in of the dense layer or of the active weights",
        "our choice",
    )

    allocation: Literal["erdos_renyi", "uniform"] = _setting(
        "erdos_renyi", _TOPOLOGY, "how the density is shared out among the layers", "MAST §4.1"
    )
    initial_mask: Literal["random", "largest", "run", "ones"] = _setting(
        "random",
        _TOPOLOGY,
        "first active weights: random, the largest of the initial weights (RLx2), those that are active "
        "at the end of --from's run, or all",
        "our choice",
    )
    density_per_agent: tuple[float, ...] | None = _setting(
        None,
        _TOPOLOGY,
        "with sharing = independent, fixed densities such as 0.14,0.06,0.06; none = one budget for "
        "all, so that each agent's density emerges",
        "MAST, agent roles",
    )
    evolve_interval: int = _setting(
        200, _TOPOLOGY, "updates between two topology evolutions, Δ", "MAST Table 5", ge=1
    )
    drop_fraction: float = _setting(
        0.5,
        _TOPOLOGY,
        "share of a layer's active weights dropped at first, ζ_0; falls to 0 by drop_schedule",
        "MAST Table 5",
        ge=0,
        le=1,
    )
    drop_schedule: Literal["cosine", "linear", "constant"] = _setting(
        "cosine", _TOPOLOGY, "how ζ falls to 0 by the end of training, or stays (SET)", "MAST §4.1"
    )
    drop: Literal["magnitude", "random", "sensitivity"] = _setting(
        "magnitude",
        _TOPOLOGY,
        "which weights are dropped: the smallest, any, or those of smallest |weight × gradient|",
        "RigL, SET; SNIP",
    )
    growth: Literal["gradient", "random", "none"] = _setting(
        "none", _TOPOLOGY, "where weights grow; none = the mask stays", "RigL, SET"
    )
    pruning: Literal["none", "cubic"] = _setting(
        "none",
        _TOPOLOGY,
        "from the initial mask down to the sparsity by a cubic law",
        "Zhu & Gupta",
    )
    prune_begin_fraction: float = _setting(
        0.1, _TOPOLOGY, "share of the steps after which pruning begins", "ours", ge=0, le=1
    )
    prune_end_fraction: float = _setting(
        0.75,
        _TOPOLOGY,
        "share of the steps after which it has ended",
        "ours; RigL's T_end",
        gt=0,
        le=1,
    )
    grown_state: Literal["grad", "zero", "mean", "keep"] = _setting(
        "grad",
        _TOPOLOGY,
        "second moment of a grown weight: its squared gradient, zero (a first step ~10 × the "
        "learning rate), the layer's mean, or what was left there (RLx2)",
        "our choice",
    )
    evolve_order: Literal["after", "replace"] = _setting(
        "after",
        _TOPOLOGY,
        "evolution after the optimizer step (MAST Algorithm 2) or in its place (RigL, RLx2)",
        "our choice",
    )

    discount: float = _setting(0.99, _TARGET, "discount γ", "MAST Table 5", ge=0, le=1)
    operator: Literal["max", "softmax", "mellowmax", "soft_mellowmax", "res_softmax"] = _setting(
        "max",
        _TARGET,
        "operator over the target network's action values; res_softmax, over joint actions, belongs to "
        "algorithm res",
        "MAST eq. 3",
    )
    double_q: bool = _setting(
        True, _TARGET, "operator max: the online network chooses the action", "MAST Table 5"
    )
    softmax_beta: float = _setting(
        5.0,
        _TARGET,
        "inverse temperature β of softmax and res_softmax (RES authors' code: 0.05)",
        "MAST Table 5 (RES)",
        ge=0,
    )
    omega: float = _setting(
        10.0, _TARGET, "ω of mellowmax and soft_mellowmax", "MAST Table 5", gt=0
    )
    soft_mellowmax_alpha: float = _setting(
        1.0, _TARGET, "α of soft_mellowmax; 0 is mellowmax", "MAST Table 5", ge=0
    )
    targets: Literal["one_step", "n_step", "delayed_n_step", "td_lambda", "hybrid"] = _setting(
        "one_step",
        _TARGET,
        "return that is learned; hybrid is one-step before T_0 and the λ-return after (MAST), "
        "delayed_n_step one-step before its delay and n-step after (RLx2)",
        "MAST eq. 5",
    )
    td_lambda: float = _setting(
        0.8,
        _TARGET,
        "λ of td_lambda and hybrid; 0 = one-step, 1 = Monte Carlo",
        "MAST Table 5",
        ge=0,
        le=1,
    )
    burn_in_fraction: float = _setting(
        0.375, _TARGET, "hybrid: share of the steps before T_0", "MAST Table 4", ge=0, le=1
    )
    n_step: int = _setting(
        3, _TARGET, "rewards in the return of n_step and delayed_n_step", "RLx2", ge=1
    )
    delay_fraction: float = _setting(
        0.1,
        _TARGET,
        "delayed_n_step: share of the steps before the delay",
        "our choice",
        ge=0,
        le=1,
    )

    weight_alpha: float = _setting(
        0.1, _WQMIX, "weight α of a step that is not underestimated", "MAST Table 5", ge=0, le=1
    )
    weights_from: Literal["target_unrestricted", "online_restricted"] = _setting(
        "target_unrestricted",
        _WQMIX,
        "utilities that a soft operator takes its weights from; values are the unrestricted target's",
        "our choice",
    )
    res_regulariser: float = _setting(
        0.05, _RES, "λ of the pull of Q_tot towards the episode's discounted return", "RES", ge=0
    )
    res_unavailable: Literal["exclude", "include"] = _setting(
        "exclude",
        _RES,
        "joint actions with an unavailable action: left out, or let in as in the original",
        "our choice",
    )

    batch_size: int = _setting(32, _REPLAY, "episodes per update", "MAST Table 5", ge=1)
    online_share: float = _setting(
        0.0,
        _REPLAY,
        "share of the batch that comes from the newest episodes (12 of 32)",
        "MAST Table 5",
        ge=0,
        le=1,
    )
    buffer_episodes: int = _setting(
        5000, _REPLAY, "episodes that the ring holds, C_1", "MAST Table 5", ge=1
    )
    online_episodes: int = _setting(
        128, _REPLAY, "how many episodes count as the newest, C_2", "MAST Table 5", ge=1
    )
    replay_window: Literal["ring", "dynamic"] = _setting(
        "ring",
        _REPLAY,
        "keep episodes until the ring is full, or drop the oldest once the policy has left them (RLx2)",
        "RLx2",
    )
    window_interval: int = _setting(
        10_000, _REPLAY, "dynamic: environment steps between two looks", "our choice", ge=1
    )
    window_steps: int = _setting(
        2048, _REPLAY, "dynamic: oldest steps that are looked at", "our choice", ge=1
    )
    window_threshold: float = _setting(
        0.2,
        _REPLAY,
        "dynamic: largest share of greedy actions that may differ now",
        "our choice",
        ge=0,
        le=1,
    )
    window_drop: float = _setting(
        0.1, _REPLAY, "dynamic: share of the episodes dropped", "our choice", ge=0, lt=1
    )
    window_floor: int = _setting(
        500, _REPLAY, "dynamic: episodes that are always kept", "our choice", ge=1
    )
    warmup_env_steps: int = _setting(
        0, _REPLAY, "environment steps before the first update", "our choice", ge=0
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
    diagnostics: bool = _setting(
        False,
        _WATCH,
        "at each evaluation, record values against returns, dead neurons and mask changes in "
        "diagnostics.jsonl",
        "docs/inspect.md",
    )
    snapshots: tuple[float, ...] | None = _setting(
        (0.0, 0.25, 0.5, 1.0),
        _WATCH,
        "shares of the steps at which the masks are saved, for mast inspect",
        "MAST Fig 10 (0, 0.5, 1, 2 of 2 million)",
    )
    checkpoint_interval: float = _setting(
        30.0, _WATCH, "seconds between two checkpoints; 0 = after every round", "ours", ge=0
    )

    @model_validator(mode="before")
    @classmethod
    def _fill_defaults(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        given = {
            name: read_text(cls.model_fields.get(name), name, value) for name, value in data.items()
        }
        method = given.get("method", "mast")
        layered = (
            layered_defaults(
                given.get("environment"),
                given.get("algorithm", "qmix"),
                method,
                given.get("preset", "none"),
            )
            | given
        )
        if method == "dense" and _is_sparsity(layered["sparsity"]):
            layered["sparsity"] = 0.0  # ignored, and `notices` says so
        return layered

    @model_validator(mode="after")
    def _check_together(self) -> Config:
        check_together(self)
        return self

    @property
    def online_batch(self) -> int:
        """How many episodes of a batch come from the newest ones."""
        return round(self.online_share * self.batch_size)

    @property
    def needs_run(self) -> bool:
        """Whether something of an earlier run is needed to begin."""
        return self.initial_mask == "run" or self.initial_weights != "fresh"

    @property
    def stays_dense(self) -> bool:
        """Whether every weight is active from the first step to the last."""
        return self.initial_mask == "ones" and self.pruning == "none"

    @property
    def evolves(self) -> bool:
        """Whether the masks change while training."""
        return self.growth != "none" or self.pruning != "none"


def _is_sparsity(value: Any) -> bool:
    try:
        return 0 <= float(value) < 1
    except (TypeError, ValueError):
        return False
