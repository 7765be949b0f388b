"""Sparsity: how many weights each layer has, which ones, and how that changes while training.

Everything here works on any pytree of arrays and any Optax optimizer; nothing knows of agents. Names are
loaded when first used, so that `allocation` and `accounting` can be imported without JAX.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mast.sparsity.adoption import SparseOptimizer as SparseOptimizer
    from mast.sparsity.adoption import sparse_counts as sparse_counts
    from mast.sparsity.adoption import sparsify as sparsify
    from mast.sparsity.allocation import ALLOCATIONS as ALLOCATIONS
    from mast.sparsity.allocation import LayerShape as LayerShape
    from mast.sparsity.allocation import TensorShape as TensorShape
    from mast.sparsity.allocation import active_counts as active_counts
    from mast.sparsity.allocation import allocate as allocate
    from mast.sparsity.allocation import erdos_renyi as erdos_renyi
    from mast.sparsity.allocation import uniform as uniform
    from mast.sparsity.compact_matrix import CompactMatrix as CompactMatrix
    from mast.sparsity.compacting import compact as compact
    from mast.sparsity.compacting import compact_state as compact_state
    from mast.sparsity.compacting import masked as masked
    from mast.sparsity.compacting import masked_state as masked_state
    from mast.sparsity.intervals import every as every
    from mast.sparsity.layout import Layout as Layout
    from mast.sparsity.layout import LeafPattern as LeafPattern
    from mast.sparsity.layout import Patterns as Patterns
    from mast.sparsity.layout import layout_by_name as layout_by_name
    from mast.sparsity.masks import Masks as Masks
    from mast.sparsity.masks import apply_masks as apply_masks
    from mast.sparsity.masks import draw_masks as draw_masks
    from mast.sparsity.masks import largest_mask as largest_mask
    from mast.sparsity.masks import largest_mask_per_unit as largest_mask_per_unit
    from mast.sparsity.masks import leaf_path as leaf_path
    from mast.sparsity.masks import random_mask as random_mask
    from mast.sparsity.masks import random_mask_per_unit as random_mask_per_unit
    from mast.sparsity.optimizer import SparseState as SparseState
    from mast.sparsity.optimizer import density as density
    from mast.sparsity.optimizer import sparse as sparse
    from mast.sparsity.pattern_names import held_counts as held_counts
    from mast.sparsity.pattern_names import pattern_of as pattern_of
    from mast.sparsity.patterns import Blocks as Blocks
    from mast.sparsity.patterns import FanIn as FanIn
    from mast.sparsity.patterns import Matrix as Matrix
    from mast.sparsity.patterns import Neurons as Neurons
    from mast.sparsity.patterns import NOfM as NOfM
    from mast.sparsity.patterns import Pattern as Pattern
    from mast.sparsity.patterns import Unstructured as Unstructured
    from mast.sparsity.schedules import SCHEDULES as SCHEDULES
    from mast.sparsity.schedules import constant_drop_fraction as constant_drop_fraction
    from mast.sparsity.schedules import cosine_drop_fraction as cosine_drop_fraction
    from mast.sparsity.schedules import cubic_count as cubic_count
    from mast.sparsity.schedules import cubic_density as cubic_density
    from mast.sparsity.schedules import linear_drop_fraction as linear_drop_fraction
    from mast.sparsity.schedules import pruning_counts as pruning_counts
    from mast.sparsity.schedules import schedule_by_number as schedule_by_number
    from mast.sparsity.scores import DROP_SCORES as DROP_SCORES
    from mast.sparsity.scores import GROWTH_SCORES as GROWTH_SCORES
    from mast.sparsity.scores import Score as Score
    from mast.sparsity.scores import gradient_magnitude as gradient_magnitude
    from mast.sparsity.scores import magnitude as magnitude
    from mast.sparsity.scores import random_score as random_score
    from mast.sparsity.scores import relative_gradient as relative_gradient
    from mast.sparsity.scores import score_by_number as score_by_number
    from mast.sparsity.scores import sensitivity as sensitivity
    from mast.sparsity.slots import GrownState as GrownState
    from mast.sparsity.step_size import density_factor as density_factor
    from mast.sparsity.step_size import scale_by_density as scale_by_density
    from mast.sparsity.topology import Evolution as Evolution
    from mast.sparsity.topology import evolve as evolve
    from mast.sparsity.topology import evolve_mask as evolve_mask
    from mast.sparsity.topology import total as total

_ROOMS = {
    "adoption": "SparseOptimizer sparse_counts sparsify",
    "compact_matrix": "CompactMatrix",
    "compacting": "compact compact_state masked masked_state",
    "intervals": "every",
    "layout": "Layout LeafPattern Patterns layout_by_name",
    "patterns": "Blocks FanIn Matrix Neurons NOfM Pattern Unstructured",
    "pattern_names": "held_counts pattern_of",
    "allocation": "ALLOCATIONS LayerShape TensorShape active_counts allocate erdos_renyi uniform",
    "masks": "Masks apply_masks draw_masks largest_mask largest_mask_per_unit leaf_path random_mask "
    "random_mask_per_unit",
    "optimizer": "SparseState density sparse",
    "schedules": "SCHEDULES constant_drop_fraction cosine_drop_fraction cubic_count cubic_density "
    "linear_drop_fraction pruning_counts schedule_by_number",
    "scores": "DROP_SCORES GROWTH_SCORES Score gradient_magnitude magnitude random_score "
    "relative_gradient score_by_number sensitivity",
    "slots": "GrownState",
    "step_size": "density_factor scale_by_density",
    "topology": "Evolution evolve evolve_mask total",
}
_HOMES = {name: f"mast.sparsity.{room}" for room, names in _ROOMS.items() for name in names.split()}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'mast.sparsity' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *_HOMES]
