"""What becomes of the masks: overlap with earlier ones, density per agent, and bits for storage."""

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8

Masks = Mapping[str, Bool[np.ndarray, "..."]]


def overlap(now: Masks, earlier: Masks) -> dict[str, float | None]:
    """|now ∩ earlier| / |now| of each layer: the share of today's active weights that were active then.

    None for a layer without active weights.

    Args:
        now, earlier: masks by leaf path, of the same layers and shapes.
    """
    return {
        name: float((mask & earlier[name]).sum() / mask.sum()) if mask.any() else None
        for name, mask in sorted(now.items())
    }


def density_per_agent(masks: Masks) -> list[float] | None:
    """The share of each agent's own weights that is active; None where the agents share a network.

    All matrices of an agent's network together, so large ones count for more, as in the density of a run.

    Args:
        masks: by leaf path; of independent networks those of the acting one (`agent.…`) are
            [agents, outputs, inputs].
    """
    own = [mask for name, mask in masks.items() if name.startswith("agent.") and mask.ndim == 3]
    if not own:
        return None
    active = sum(mask.sum((1, 2)) for mask in own)
    return (active / sum(mask[0].size for mask in own)).tolist()


def density_per_type(
    densities: Sequence[float] | None, unit_types: Sequence[str]
) -> dict[str, float] | None:
    """The mean density of the agents of each unit type; None without densities or types.

    Args:
        densities: of each agent.
        unit_types: of each agent; "" where the environment has none.
    """
    if densities is None or not any(unit_types):
        return None
    return {
        kind: float(np.mean([d for d, k in zip(densities, unit_types, strict=True) if k == kind]))
        for kind in dict.fromkeys(unit_types)
    }


def packed(mask: Bool[np.ndarray, "..."]) -> UInt8[np.ndarray, " bytes"]:
    """A mask as bits, in the order of its entries (the last axis runs fastest)."""
    return np.packbits(mask.ravel())


def unpacked(bits: UInt8[np.ndarray, " bytes"], shape: Sequence[int]) -> Bool[np.ndarray, "..."]:
    """The inverse of `packed`.

    Raises:
        ValueError: there are more or fewer bits than the shape needs.
    """
    size = int(np.prod(shape))
    if bits.size != -(-size // 8):
        raise ValueError(f"{bits.size} bytes for a mask of {size} entries")
    return np.unpackbits(bits, count=size).astype(bool).reshape(tuple(shape))


def to_text(masks: Masks) -> dict[str, Any]:
    """Masks as text that JSON can hold."""
    return {
        name: {"shape": list(mask.shape), "bits": base64.b64encode(packed(mask).tobytes()).decode()}
        for name, mask in masks.items()
    }


def from_text(text: Mapping[str, Any]) -> dict[str, Bool[np.ndarray, "..."]]:
    """The inverse of `to_text`."""
    return {
        name: unpacked(np.frombuffer(base64.b64decode(each["bits"]), np.uint8), each["shape"])
        for name, each in text.items()
    }
