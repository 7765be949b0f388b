"""Native CPU kernels: unstructured sparsity that saves time. See docs/kernels.md."""

from mast.kernels.agent import act, episode_utilities
from mast.kernels.library import available, unavailable_reason
from mast.kernels.linear import apply_linear
from mast.kernels.mixer import mixed_values
from mast.kernels.networks import (
    SparseAgent,
    SparseLinear,
    SparseNetwork,
    SparseQMixer,
    sparse_agent,
    sparse_linear,
    sparse_q_mixer,
    to_dense,
)
from mast.kernels.structure import SparseMatrix, from_dense
from mast.kernels.team import Targets, TeamBatch, TeamGradient, rmsprop_step, team_gradient

__all__ = [
    "SparseAgent",
    "SparseLinear",
    "SparseMatrix",
    "SparseNetwork",
    "SparseQMixer",
    "Targets",
    "TeamBatch",
    "TeamGradient",
    "act",
    "apply_linear",
    "available",
    "episode_utilities",
    "from_dense",
    "mixed_values",
    "rmsprop_step",
    "sparse_agent",
    "sparse_linear",
    "sparse_q_mixer",
    "team_gradient",
    "to_dense",
    "unavailable_reason",
]
