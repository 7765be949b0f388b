"""Settings of the replay and of the optimizer."""

from typing import Literal

from pydantic import BaseModel

from mast.configuration.settings.declaration import setting

REPLAY = "replay"
ON_POLICY = "on-policy learning"
OPTIMIZER = "optimizer"


class ReplaySettings(BaseModel):
    """Which episodes are learned from."""

    batch_size: int = setting(32, REPLAY, "episodes per update", "MAST Table 5", ge=1, le=100_000)
    online_share: float = setting(
        0.0,
        REPLAY,
        "share of the batch that comes from the newest episodes (12 of 32)",
        "MAST Table 5",
        ge=0,
        le=1,
    )
    buffer_episodes: int = setting(
        5000, REPLAY, "episodes that the ring holds, C_1", "MAST Table 5", ge=1, le=10_000_000
    )
    online_episodes: int = setting(
        128,
        REPLAY,
        "how many episodes count as the newest, C_2",
        "MAST Table 5",
        ge=1,
        le=10_000_000,
    )
    replay_window: Literal["ring", "dynamic"] = setting(
        "ring",
        REPLAY,
        "keep episodes until the ring is full, or drop the oldest once the policy has left them (RLx2)",
        "RLx2",
    )
    window_interval: int = setting(
        10_000,
        REPLAY,
        "dynamic: environment steps between two looks",
        "our choice",
        ge=1,
        le=10**12,
    )
    window_steps: int = setting(
        2048, REPLAY, "dynamic: oldest steps that are looked at", "our choice", ge=1, le=10_000_000
    )
    window_threshold: float = setting(
        0.2,
        REPLAY,
        "dynamic: largest share of greedy actions that may differ now",
        "our choice",
        ge=0,
        le=1,
    )
    window_drop: float = setting(
        0.1, REPLAY, "dynamic: share of the episodes dropped", "our choice", ge=0, lt=1
    )
    window_floor: int = setting(
        500, REPLAY, "dynamic: episodes that are always kept", "our choice", ge=1, le=10_000_000
    )
    warmup_env_steps: int = setting(
        0, REPLAY, "environment steps before the first update", "our choice", ge=0, le=10**12
    )
    replay_dtype: Literal["float16", "float32"] = setting(
        "float16", REPLAY, "number type of stored observations and states", "ours"
    )


class RolloutSettings(BaseModel):
    """What actor–critic algorithms learn from, and what their loss is made of."""

    rollout_steps: int = setting(
        5, ON_POLICY, "steps of each environment per update", "SePS's A2C", ge=1, le=100_000
    )
    value_coefficient: float = setting(
        0.5, ON_POLICY, "weight of the critic's squared error", "SePS's A2C", ge=0, le=10**6
    )
    entropy_coefficient: float = setting(
        0.01, ON_POLICY, "weight of the policy's entropy", "SePS's A2C", ge=0, le=10**6
    )
    gae_lambda: float = setting(
        0.95, ON_POLICY, "λ of the advantages (ippo, mappo)", "MAPPO", ge=0, le=1
    )
    ppo_clip: float = setting(
        0.2,
        ON_POLICY,
        "how far a probability ratio and a value may move (ippo, mappo)",
        "MAPPO",
        gt=0,
        le=10**6,
    )
    epochs: int = setting(
        1, ON_POLICY, "passes over a rollout (ippo, mappo: 5)", "MAPPO", ge=1, le=10_000
    )
    minibatches: int = setting(
        1, ON_POLICY, "parts of a rollout, an update for each", "MAPPO", ge=1, le=100_000
    )


class OptimizerSettings(BaseModel):
    """The steps of the weights."""

    optimizer: Literal["rmsprop", "adam"] = setting(
        "rmsprop", OPTIMIZER, "RMSProp, or Adam (β 0.9, 0.999)", "PyMARL"
    )
    learning_rate: float = setting(
        5e-4, OPTIMIZER, "learning rate of the optimizer", "MAST Table 5", gt=0, le=10
    )
    step_exponent: float = setting(
        0.77,
        OPTIMIZER,
        "the learning rate is multiplied by density^−step_exponent, so that it fits sparse teams; "
        "0 = the same at every density, as in the paper",
        "docs/experiments.md",
        ge=0,
        le=2,
    )
    step_cap: float = setting(
        50.0, OPTIMIZER, "largest factor of density on the learning rate", "ours", ge=1, le=1000
    )
    final_learning_rate: float | None = setting(
        None,
        OPTIMIZER,
        "learning rate at the end of the run, at every density; none = learning_rate, to which sparse teams "
        "come back from their larger steps",
        "docs/experiments.md",
        gt=0,
        le=10,
    )
    anneal_begin_fraction: float = setting(
        0.75,
        OPTIMIZER,
        "share of the run after which the learning rate goes to final_learning_rate in a straight line; "
        "1 = never",
        "docs/experiments.md",
        ge=0,
        le=1,
    )
    rms_decay: float = setting(
        0.99, OPTIMIZER, "decay of RMSProp's second moment", "PyMARL", ge=0, lt=1
    )
    rms_epsilon: float = setting(
        1e-5, OPTIMIZER, "ε of RMSProp or Adam, outside the root", "PyMARL", gt=0, le=1
    )
    gradient_clip: float = setting(
        10.0, OPTIMIZER, "largest norm of the masked gradient", "PyMARL", gt=0, le=10**9
    )
    agent_gradient: Literal["sum", "mean"] = setting(
        "sum",
        OPTIMIZER,
        "gradient of a weight that several agents use: the sum of theirs, or the mean over those that use "
        "it; under RMSProp and Adam it matters to gradient_clip and ε alone",
        "SePS's code; SNP-PS §4.3",
    )
    updates_per_episode: float = setting(
        1.0, OPTIMIZER, "updates per collected episode", "PyMARL's episode runner", gt=0, le=1000
    )
    pipeline: bool = setting(
        False,
        OPTIMIZER,
        "play each round while learning from the rounds before it, on two cores: what is played is one round "
        "of updates older",
        "ours; docs/kernels.md",
    )
    target_interval: int = setting(
        200,
        OPTIMIZER,
        "episodes between two copies to the target network",
        "MAST Table 5",
        ge=1,
        le=10**9,
    )
