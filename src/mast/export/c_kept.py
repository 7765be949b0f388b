"""Which neurons an agent has, as C."""

from collections.abc import Mapping

from jaxtyping import Bool
from numpy import ndarray

from mast.export.c_layers import array


def kept_neurons(
    neurons: Mapping[str, Bool[ndarray, "agents units"]], layer: str, name: str
) -> tuple[str, str, int]:
    """A byte for each agent and neuron.

    Args:
        neurons: by hidden layer, of those that some agent lacks any of.
        layer: which.
        name: of the array, without its ending.

    Returns:
        the array, what asks it for neuron j, and its bytes; all empty where every agent has all.
    """
    if layer not in neurons:
        return "", "", 0
    own = neurons[layer]
    text = array(f"uint8_t {name}_kept[{own.size}]", own.ravel().astype(int))
    return text, f"{name}_kept[{own.shape[1]} * state->agent + j]", own.size
