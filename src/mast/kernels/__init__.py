"""Native CPU kernels: unstructured sparsity that saves time. See docs/kernels.md."""

from mast.kernels.agent import episode_utilities
from mast.kernels.library import available, unavailable_reason
from mast.kernels.networks import SparseAgent, SparseLinear, sparse_agent, sparse_linear
from mast.kernels.structure import SparseMatrix, from_dense

__all__ = [
    "SparseAgent",
    "SparseLinear",
    "SparseMatrix",
    "available",
    "episode_utilities",
    "from_dense",
    "sparse_agent",
    "sparse_linear",
    "unavailable_reason",
]
