"""Settings of the run and of its environment."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field, field_validator

from mast.algorithms.registry import NAMES
from mast.configuration.env_args import Argument, read_env_args
from mast.configuration.settings.declaration import named, setting

RUN = "run"
ENVIRONMENT = "environment"


class RunSettings(BaseModel):
    """What is trained, for how long, and how it is laid out."""

    environment: str = setting(
        ..., RUN, "environment id such as smax/3m (see: mast envs) or package.module:Class", ""
    )
    algorithm: str = named(
        "qmix",
        NAMES,
        RUN,
        "how the team learns, or an own ENTRY (docs/extending.md)",
        "docs/methods.md",
        own="ENTRY",
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
    ] = setting("mast", RUN, "sparse-training method (see: mast methods)", "docs/methods.md")
    preset: Literal["none", "paper", "res-mast", "res-authors", "wqmix-authors", "mast-later"] = (
        setting(
            "none",
            RUN,
            "numbers that a source uses, all with the same steps at every density: paper (MAST), "
            "res-mast β 5 (MAST), res-authors β 0.05 (the RES authors' code), wqmix-authors α 0.5 (WQMIX's "
            "README, 3s5z), mast-later buffers 5000/100, split 24 + 8",
            "docs/methods.md",
        )
    )
    from_run: str | None = setting(
        None,
        RUN,
        "folder of an earlier run: winning-ticket takes its final mask, one-shot its trained weights, every "
        "other method both, to go on in an environment of the same shapes",
        "docs/methods.md",
    )
    sparsity: float = setting(
        0.9,
        RUN,
        "share of the weights that are zero, per network",
        "MAST Table 1 (QMIX on 3s5z)",
        ge=0,
        lt=1,
    )
    steps: int = setting(
        2_000_000, RUN, "environment steps to train for", "MAST, PyMARL", ge=1, le=10**12
    )
    seed: int = setting(0, RUN, "random seed of the run", "ours", ge=0, lt=2**31)
    seeds: int = setting(
        1,
        RUN,
        "number of runs, with seeds SEED, SEED+1, …, each in OUT/seed-K",
        "ours",
        ge=1,
        le=1000,
    )
    placement: Literal["auto", "vmap", "process"] = setting(
        "auto",
        RUN,
        "how several seeds are laid out: one vmapped program, or one process each; "
        "auto is vmap on a GPU and process on a CPU",
        "ours",
    )
    execution: Literal["auto", "masked", "compact"] = setting(
        "auto",
        RUN,
        "masked: dense arrays with zeros, by XLA; compact: only the active values, by native CPU kernels; "
        "auto: compact where it is faster",
        "ours; docs/kernels.md",
    )
    threads: int | None = setting(
        None,
        RUN,
        "CPU threads; part of the run's bit-identity",
        "all cores of the machine",
        ge=1,
        le=1024,
    )


class EnvironmentSettings(BaseModel):
    """The game as the team meets it."""

    env_args: dict[str, Argument] | None = setting(
        None,
        ENVIRONMENT,
        "arguments for the environment: size=10,players=3",
        "docs/environments.md",
    )

    parallel_envs: int = setting(
        8,
        ENVIRONMENT,
        "environments stepped side by side",
        "PyMARL's parallel runner",
        ge=1,
        le=65_536,
    )
    env_workers: int = setting(
        0,
        ENVIRONMENT,
        "processes that play a Python environment side by side; 0: one episode after another in this one",
        "docs/environments.md",
        ge=0,
        le=1024,
    )
    battle: Literal["auto", "native", "jax"] = setting(
        "auto",
        ENVIRONMENT,
        "how SMAX's battles are computed: native code on a CPU, or jaxmarl's in JAX, the same to rounding; "
        "auto: native where it can be",
        "docs/environments.md",
    )
    reward_scale: float | None = setting(
        None,
        ENVIRONMENT,
        "factor on the reward; none = the environment's own (SMAX 10, to SMAC's 0–20 range; "
        "foraging: the levels of all foods)",
        "docs/environments.md",
        gt=0,
        le=10**6,
    )
    rewards: Literal["agent", "team"] = setting(
        "agent",
        ENVIRONMENT,
        "where each agent has its own reward: what it learns from if the algorithm can, that or the team's",
        "SNP-PS; ours",
    )
    team_reward: Literal["sum", "mean"] = setting(
        "sum",
        ENVIRONMENT,
        "the team's reward where each agent has its own and the algorithm learns from one",
        "ours",
    )
    normalise_observations: bool = setting(
        False,
        ENVIRONMENT,
        "networks read each feature of observation and state less its running mean, by its running deviation",
        "docs/environments.md",
    )
    timeout: Literal["bootstrap", "terminal"] = setting(
        "bootstrap",
        ENVIRONMENT,
        "at a time-limit cut: go on with the target's value, or treat it as an end (PyMARL on SMAC's "
        "defaults)",
        "our choice",
    )
    state_last_action: bool = setting(
        False, ENVIRONMENT, "append the last joint action to the state, as SMAC", "our choice"
    )
    episode_limit: Annotated[int, Field(ge=1, le=1_000_000)] | Literal["smac"] | None = setting(
        None,
        ENVIRONMENT,
        "steps per episode; smac = SMAC's own on the map of that name; none = the environment's own",
        "ours",
    )

    @field_validator("env_args", mode="before")
    @classmethod
    def _read_env_args(cls, given: object) -> object:
        return read_env_args(given)
