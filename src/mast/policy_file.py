"""The file of a policy: a description and tensors, each checked before it is believed; data, never code."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from mast.errors import UserError
from mast.files import plain_number, write_atomically
from mast.networks.spec import GATES, GRU

FORMAT = 1
COMPACT_FORMAT = 2
"""Of `mast compact` and of one agent alone: each hidden layer has a width of its own, and the first layer
reads some of the inputs only."""
LAYERS = ("fc1", "gru_input", "gru_hidden", "fc2")
NORMALISED = "normalise_observations"
"""The description's entry where the agent reads (observation − mean) / deviation."""
FOLDED = "folds_normalisation"
"""The entry where the first layer has taken that up."""
SCALE = ("observation.mean", "observation.deviation")
"""The tensors of these two."""
SIZES = ("features", "actions", "agents", "hidden_size")

CHECKSUM = "sha256"
"""The description's entry: of all tensors and of the description without it; files before 0.2 have none."""
LARGEST_SIZE = 2**20
"""Features, agents, units; a description that says more is no policy's."""
LARGEST_DEPTH = 65
"""Layers of a feed-forward network."""
LARGEST_WEIGHTS = 2**28
"""Weights of one layer, 1 GiB: what a compact file's first layer may become."""

_TYPES = {"F16": "float16", "F32": "float32", "F64": "float64", "U8": "uint8", "BOOL": "bool"} | {
    f"I{bits}": f"int{bits}" for bits in (8, 16, 32, 64)
}
"""What safetensors calls a number type, and what NumPy does."""


def write_policy_file(
    path: Path, tensors: Mapping[str, np.ndarray], description: Mapping[str, Any]
) -> None:
    """Write a policy with its checksum, whole or not at all; the same policy, the same bytes.

    Args:
        path: where; replaced.
        tensors: of each layer `weight`, `bias` and `mask`.
        description: ready for JSON.
    """
    described = {name: value for name, value in description.items() if name != CHECKSUM}
    described[CHECKSUM] = _checksum(tensors, described)
    # One entry: with two, safetensors would write them in any order.
    metadata = {"mast": json.dumps(described, sort_keys=True, default=plain_number)}
    # safetensors writes the bytes as they lie: those of a transposed or broadcast array would be another's.
    plain = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    write_atomically(path, save(plain, metadata=metadata))


def read_policy_file(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """A policy's description, without its checksum, and its tensors.

    Raises:
        UserError: no such file, not a policy of this format, a wrong tensor (with its name), a weight that is
            no number or that its mask denies, or a checksum that is not that of the content.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such policy file")
    try:
        with safe_open(path, framework="numpy") as file:
            description = json.loads((file.metadata() or {})["mast"])
            _check_description(path, description)
            # Before the tensors: a foreign file may be huge.
            _check_shapes(path, file, expected_tensors(description))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, KeyError, ValueError, TypeError, OSError, RecursionError):
        raise UserError(f"{path} is damaged or no policy file of Mast") from None
    checksum = description.pop(CHECKSUM, None)
    if checksum is not None and checksum != _checksum(tensors, description):
        raise UserError(
            f"{path} is damaged: its content does not have the checksum that was written"
        )
    for layer in layer_names(description):
        _check_layer(path, layer, tensors)
    if is_normalised(description):
        mean, deviation = (tensors[name] for name in SCALE)
        if not (np.isfinite(mean).all() and np.isfinite(deviation).all() and (deviation > 0).all()):
            raise UserError(
                f"{path}: tensors {' and '.join(SCALE)} are no finite mean and positive deviation"
            )
    for name, mask in tensors.items():
        if name.startswith("neurons.") and mask.size and mask.max() > 1:
            raise UserError(f"{path}: tensor {name} holds {mask.max()}, must hold 0 and 1")
    return description, tensors


def is_feed_forward(description: Mapping[str, Any]) -> bool:
    """Whether the network is feed-forward, with ReLU layers and a linear head; else it is PyMARL's agent."""
    return description.get("network", "recurrent") == "feed_forward"


def is_normalised(description: Mapping[str, Any]) -> bool:
    """Whether the agent reads observations less their mean, by their deviation."""
    return bool(description.get(NORMALISED, False))


def layer_names(description: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of the network's layers, in order."""
    if is_feed_forward(description):
        return tuple(f"layers.{index}" for index in range(description["layers"]))
    return LAYERS


def has_neurons(description: Mapping[str, Any]) -> bool:
    """Whether agents lack some neurons of the network that they share."""
    return bool(description.get("neurons", False))


def is_independent(description: Mapping[str, Any]) -> bool:
    """Whether each agent has a network of its own; the description of an older file does not say.

    Args:
        description: of a policy.
    """
    return description.get("sharing", "shared") == "independent"


def hidden_widths(description: Mapping[str, Any]) -> dict[str, int]:
    """The hidden layers, from first to last, and how many neurons each has."""
    h, compact = description["hidden_size"], description["format"] == COMPACT_FORMAT
    if not is_feed_forward(description):
        return {"fc1": description["encoded_size"] if compact else h, GRU: h}
    names = layer_names(description)[:-1]
    widths = description["widths"] if compact else [h] * len(names)
    return dict(zip(names, widths, strict=True))


def input_width(description: Mapping[str, Any]) -> int:
    """How many numbers the encoder is given: observation, last action and, where it is shared, agent id."""
    features, actions, agents, _ = (description[size] for size in SIZES)
    last_action = 0 if is_feed_forward(description) else actions
    return features + last_action + (agents if has_id(description) else 0)


def has_id(description: Mapping[str, Any]) -> bool:
    """Whether the encoder reads the agent's one-hot id."""
    return description.get("sharing", "shared") == "shared"


def expected_tensors(description: Mapping[str, Any]) -> dict[str, str]:
    """Number type and shape of every tensor, as text."""
    _, actions, agents, h = (description[size] for size in SIZES)
    lead = (agents,) if is_independent(description) else ()
    compact, hidden = description["format"] == COMPACT_FORMAT, hidden_widths(description)
    inputs = len(description["inputs"]) if compact else input_width(description)
    if is_feed_forward(description):
        names = layer_names(description)
        widths = [inputs, *hidden.values(), actions]
        sizes = {name: (widths[place + 1], widths[place]) for place, name in enumerate(names)}
    else:
        sizes = {
            "fc1": (hidden["fc1"], inputs),
            "gru_input": (GATES * h, hidden["fc1"]),
            "gru_hidden": (GATES * h, h),
            "fc2": (actions, h),
        }
    expected: dict[str, str] = {}
    for name, (outputs, inputs) in sizes.items():
        expected |= {
            f"{name}.weight": f"float32 {(*lead, outputs, inputs)}",
            f"{name}.mask": f"uint8 {(*lead, outputs, inputs)}",
            f"{name}.bias": f"float32 {(*lead, outputs)}",
        }
    if has_neurons(description):
        draws = len(description.get("type_features", ())) or agents
        expected |= {f"neurons.{name}": f"uint8 {(draws, units)}" for name, units in hidden.items()}
    if is_normalised(description):
        expected |= dict.fromkeys(SCALE, f"float32 ({description['features']},)")
    return expected


def _checksum(tensors: Mapping[str, np.ndarray], description: Mapping[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(description, sort_keys=True, default=plain_number).encode())
    for name in sorted(tensors):
        tensor = np.ascontiguousarray(tensors[name])
        digest.update(f"{name} {tensor.dtype.str} {tensor.shape}".encode())
        digest.update(tensor.data)
    return digest.hexdigest()


def _check_description(path: Path, description: Any) -> None:
    """Raises ValueError, TypeError or KeyError where this cannot be what a policy says of itself."""
    if not isinstance(description, dict) or "format" not in description:
        raise ValueError("not a policy's description")
    if description["format"] not in (FORMAT, COMPACT_FORMAT):
        known = f"{FORMAT} and {COMPACT_FORMAT}"
        raise UserError(f"{path}: format {description['format']}, this version reads {known}")
    compact = description["format"] == COMPACT_FORMAT
    for name in SIZES:
        _check_size(path, name, description.get(name))
    if description.get("sharing", "shared") not in ("shared", "fups", "independent"):
        raise UserError(f"{path}: sharing is none of shared, fups, independent")
    if description.get("network", "recurrent") not in ("recurrent", "feed_forward"):
        raise UserError(f"{path}: network is neither recurrent nor feed_forward")
    if is_feed_forward(description):
        layers = description.get("layers")
        if type(layers) is not int or not 2 <= layers <= LARGEST_DEPTH:
            raise UserError(f"{path}: layers is {layers}, must be from 2 to {LARGEST_DEPTH}")
    types = description.get("type_features", [])
    if not isinstance(types, list) or not all(
        type(feature) is int and 0 <= feature < description["features"] for feature in types
    ):
        raise UserError(f"{path}: type_features is {types}, must be features of an observation")
    if compact:
        _check_compact(path, description)


def _check_compact(path: Path, description: dict[str, Any]) -> None:
    """The same, of what a compact file says beside."""
    if is_feed_forward(description):
        widths = description.get("widths")
        if not isinstance(widths, list) or len(widths) != description["layers"] - 1:
            raise ValueError("not a width for each hidden layer")
        for place, units in enumerate(widths):
            _check_size(path, f"widths[{place}]", units)
    else:
        _check_size(path, "encoded_size", description.get("encoded_size"))
    inputs, width = description["inputs"], input_width(description)
    if not isinstance(inputs, list) or not all(type(place) is int for place in inputs):
        raise ValueError("the inputs are no columns")
    if sorted(set(inputs) & set(range(width))) != inputs:
        raise ValueError("the inputs are no columns in order")
    copies = description["agents"] if is_independent(description) else 1
    if copies * next(iter(hidden_widths(description).values())) * width > LARGEST_WEIGHTS:
        first = layer_names(description)[0]
        raise UserError(f"{path}: {first} would have more than {LARGEST_WEIGHTS} weights")


def _check_size(path: Path, name: str, size: object) -> None:
    if type(size) is not int:
        raise ValueError("a size is missing")
    if not 1 <= size <= LARGEST_SIZE:
        raise UserError(f"{path}: {name} is {size}, must be from 1 to {LARGEST_SIZE}")


def _check_shapes(path: Path, file: Any, expected: Mapping[str, str]) -> None:
    """Holds the file's header to the description; no tensor is read."""
    there = set(file.keys())
    for name in sorted(expected.keys() | there):
        if name not in there:
            raise UserError(f"{path}: tensor {name} is missing, expected {expected[name]}")
        if name not in expected:
            raise UserError(f"{path}: tensor {name} does not belong in a policy")
        tensor = file.get_slice(name)
        kind = str(tensor.get_dtype())
        found = f"{_TYPES.get(kind, kind)} {tuple(tensor.get_shape())}"
        if found != expected[name]:
            raise UserError(f"{path}: tensor {name} is {found}, expected {expected[name]}")


def _check_layer(path: Path, layer: str, tensors: Mapping[str, np.ndarray]) -> None:
    """Weights that are numbers, and none where the mask has no connection."""
    for part in ("weight", "bias"):
        if not np.isfinite(tensors[f"{layer}.{part}"]).all():
            raise UserError(f"{path}: tensor {layer}.{part} holds a NaN or an infinity")
    mask = tensors[f"{layer}.mask"]
    if mask.size and mask.max() > 1:
        raise UserError(f"{path}: tensor {layer}.mask holds {mask.max()}, must hold 0 and 1")
    if np.any((tensors[f"{layer}.weight"] != 0) & (mask == 0)):
        raise UserError(f"{path}: tensor {layer}.weight has a weight where {layer}.mask has none")
