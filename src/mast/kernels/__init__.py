"""Native CPU kernels: unstructured sparsity that saves time. See docs/kernels.md."""

from mast.kernels.agent import act, episode_utilities
from mast.kernels.layers import apply_layers, apply_linear
from mast.kernels.library import available, unavailable_reason
from mast.kernels.mixer import joint_softmax_values, mixed_values
from mast.kernels.networks import (
    SparseAgent,
    SparseAgents,
    SparseFeedForwardMixer,
    SparseLinear,
    SparseNetwork,
    SparseQMixer,
    sparse_agent,
    sparse_agents,
    sparse_feed_forward_mixer,
    sparse_linear,
    sparse_q_mixer,
    to_dense,
)
from mast.kernels.structure import SparseMatrix, from_dense
from mast.kernels.team import (
    RingBatch,
    Targets,
    TeamBatch,
    TeamGradient,
    rmsprop_step,
    team_gradient,
)

__all__ = [
    "RingBatch",
    "SparseAgent",
    "SparseAgents",
    "SparseFeedForwardMixer",
    "SparseLinear",
    "SparseMatrix",
    "SparseNetwork",
    "SparseQMixer",
    "Targets",
    "TeamBatch",
    "TeamGradient",
    "act",
    "apply_layers",
    "apply_linear",
    "available",
    "episode_utilities",
    "from_dense",
    "joint_softmax_values",
    "mixed_values",
    "rmsprop_step",
    "sparse_agent",
    "sparse_agents",
    "sparse_feed_forward_mixer",
    "sparse_linear",
    "sparse_q_mixer",
    "team_gradient",
    "to_dense",
    "unavailable_reason",
]
