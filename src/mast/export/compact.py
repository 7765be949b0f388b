"""`mast compact` as a function: a policy without the neurons and inputs that change nothing."""

import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mast.accounting.costs import matrix_flops
from mast.config import load_run_config
from mast.export.check import agreement, require
from mast.export.contract import input_names
from mast.export.folder import check_out, folder_made_whole, policy_file, write_contract
from mast.export.kinds import Job, PolicyArtefact
from mast.export.network import (
    AnyNetwork,
    Network,
    networks_of,
    small_networks_of,
    widened,
)
from mast.policy import Policy
from mast.policy_file import (
    COMPACT_FORMAT,
    hidden_widths,
    is_feed_forward,
    is_independent,
    write_policy_file,
)

if TYPE_CHECKING:
    from mast.envs.protocol import Environment


@dataclass(frozen=True)
class LayerSize:
    """One layer of the acting networks; of independent agents, of all of them together."""

    shape: str
    """Outputs × inputs; of independent agents, of the largest."""
    weights: int
    """That are not zero."""
    parameters: int
    """Weights and biases."""
    bytes: int
    """Of the matrices stored densely in float32, and the biases."""
    flops: float
    """Of one step of the whole team, by the formula of MAST's Appendix B.4."""


def layer_sizes(
    networks: Sequence[AnyNetwork], agents: int, inputs: Sequence[int] | None = None
) -> dict[str, LayerSize]:
    """What each layer takes.

    Args:
        networks: the one of all agents, or those of each.
        agents: how many there are.
        inputs: which columns the encoder has; all where None.
    """
    matrices = [_matrices(network, inputs) for network in networks]
    times = agents if len(networks) == 1 else 1  # a shared network runs once for each agent
    sizes = {}
    for layer in matrices[0]:
        mine = [each[layer] for each in matrices]
        weights = [int(np.count_nonzero(matrix)) for matrix, _ in mine]
        outputs = sum(len(matrix) for matrix, _ in mine)
        flops = [
            matrix_flops(summands, count)
            for (_, summands), count in zip(mine, weights, strict=True)
            if count
        ]
        rows, columns = (max(matrix.shape[axis] for matrix, _ in mine) for axis in (0, 1))
        sizes[layer] = LayerSize(
            shape=f"{rows} × {columns}",
            weights=sum(weights),
            parameters=sum(weights) + outputs,
            bytes=4 * (sum(matrix.size for matrix, _ in mine) + outputs),
            flops=times * math.fsum(flops),
        )
    return sizes


def _matrices(
    network: AnyNetwork, inputs: Sequence[int] | None = None
) -> dict[str, tuple[np.ndarray, int]]:
    """Every layer's matrix, and how many products one of its outputs adds up."""
    matrices = {name: weight for name, (weight, _) in network.layers().items()}
    if inputs is not None:
        first = next(iter(matrices))
        matrices[first] = matrices[first][:, list(inputs)]
    summands = {name: weight.shape[1] for name, weight in matrices.items()}
    if isinstance(network, Network):
        summands |= dict.fromkeys(("gru_input", "gru_hidden"), network.encoded + network.hidden)
    return {name: (weight, summands[name]) for name, weight in matrices.items()}


@dataclass(frozen=True)
class Compacted:
    """A policy whose networks have lost what changes nothing."""

    networks: list[AnyNetwork]
    """Of equal widths; neurons of zeros where an agent of its own has fewer than another."""
    inputs: list[int]
    """Which columns of the encoder anything reads: observation, last action, agent id."""
    tensors: dict[str, np.ndarray]
    description: dict[str, Any]

    def write(self, path: Path) -> None:
        """Write it as a policy file, which `Policy.load` reads."""
        write_policy_file(path, self.tensors, self.description)


def compacted(policy: Policy) -> Compacted:
    """The same function of observations with fewer neurons and inputs.

    Args:
        policy: any.

    Raises:
        UserError: a weight is NaN or infinite.
    """
    networks = _of_equal_widths(small_networks_of(policy))
    layers = [network.layers() for network in networks]
    first = next(iter(layers[0]))
    inputs = np.flatnonzero(np.any([each[first][0].any(0) for each in layers], axis=0))
    independent = is_independent(policy.description)
    tensors: dict[str, np.ndarray] = {}
    for name in layers[0]:
        weight, bias = (
            np.stack(parts) for parts in zip(*(each[name] for each in layers), strict=True)
        )
        if name == first:
            weight = weight[..., inputs]
        weight, bias = (each if independent else each[0] for each in (weight, bias))
        tensors[f"{name}.weight"] = np.ascontiguousarray(weight, np.float32)
        tensors[f"{name}.bias"] = np.ascontiguousarray(bias, np.float32)
        tensors[f"{name}.mask"] = (tensors[f"{name}.weight"] != 0).astype(np.uint8)
    description = policy.description | {
        "format": COMPACT_FORMAT,
        "inputs": inputs.tolist(),
        "neurons": bool(networks[0].neurons),
    }
    if isinstance(networks[0], Network):
        description |= {
            "hidden_size": networks[0].hidden,
            "encoded_size": networks[0].encoded,
            "hidden_units": [network.units.tolist() for network in networks],
        }
    else:
        description["widths"] = list(networks[0].widths().values())
    if networks[0].neurons:
        for name, units in hidden_widths(description).items():
            whole = np.ones((description["agents"], units), np.uint8)
            own = networks[0].neurons.get(name, whole)
            tensors[f"neurons.{name}"] = np.ascontiguousarray(own, np.uint8)
    return Compacted(networks, inputs.tolist(), tensors, description)


def _of_equal_widths(networks: Sequence[AnyNetwork]) -> list[AnyNetwork]:
    """Networks as wide as the widest of them, and no layer without a neuron."""
    widths = [list(network.widths().values()) for network in networks]
    widest = [max(1, *each) for each in zip(*widths, strict=True)]
    return [
        widened(network, *widest) if isinstance(network, Network) else network.widened(widest)
        for network in networks
    ]


def compact_run(
    run: str | Path,
    out: str | Path | None = None,
    *,
    checkpoint: str = "last",
    episodes: int = 3,
    environment: "Environment | None" = None,
) -> dict[str, Any]:
    """Find what a trained team does without, and write the rest.

    Args:
        run: its folder; finished, stopped or still training.
        out: the folder to make, which `mast evaluate` and `mast watch` take; nothing is written where None.
        checkpoint: the "last" policy or the "best" one.
        episodes: how many whole episodes to check on, at least 1.
        environment: made from the run's settings where None.

    Returns:
        `layers` (before and after, see `LayerSize`), `total`, `neurons`, `unread` (the inputs that nothing
        reads) and `check`.

    Raises:
        UserError: nothing to compact, or `out` exists or cannot be written.
        SelfCheckError: the compact policy does not do what the policy does.
    """
    run = Path(run)
    if out is not None:
        check_out(Path(out))
    config = load_run_config(run)
    path = policy_file(run, config, checkpoint)
    job = Job.load(path, config, environment, episodes, checkpoint)
    small = compacted(job.policy)
    before, agents = networks_of(job.policy), job.policy.description["agents"]
    after = small_networks_of(job.policy)
    sizes = {
        "before": layer_sizes(before, agents),
        "after": layer_sizes(after, agents, small.inputs),
    }
    report = {
        "layers": {
            layer: {when: vars(sizes[when][layer]) for when in sizes} for layer in sizes["before"]
        },
        "total": {when: _total(each) for when, each in sizes.items()},
        "neurons": {
            name: [width, small.networks[0].widths()[name]]
            for name, width in before[0].widths().items()
        },
        "inputs": [before[0].features + before[0].codes.shape[1], len(small.inputs)],
        "unread": _unread(small, job),
        "values": job.contract()["values"],
    }
    if out is None:
        with tempfile.TemporaryDirectory() as place:
            return report | _written(small, job, Path(place))
    with folder_made_whole(Path(out)) as folder:
        checked = _written(small, job, folder)
        parts = {"kind": "safetensors", "compact": report} | checked | job.write_vectors(folder)
        write_contract(folder, job.contract() | parts)
    return report | checked


def _written(small: Compacted, job: Job, folder: Path) -> dict[str, Any]:
    """Write the policy file, read it again and hold it to the recorded episodes."""
    path = folder / "policy.safetensors"
    small.write(path)
    units = np.stack([network.units for network in small.networks])
    agents = job.policy.description["agents"]
    units = np.repeat(units, agents, axis=0) if len(units) == 1 else units
    found = agreement(PolicyArtefact(Policy.load(path), units), job.recorded)
    require(found, "the compact policy", job.doubt)
    return {"check": found.as_json()}


def _total(layers: Mapping[str, LayerSize]) -> dict[str, Any]:
    names = ("weights", "parameters", "bytes", "flops")
    return {name: sum(getattr(layer, name) for layer in layers.values()) for name in names}


def _unread(small: Compacted, job: Job) -> list[str]:
    """The inputs that nothing reads, by name."""
    names = input_names(job.environment, not is_feed_forward(job.policy.description))
    width = small.networks[0].features + small.networks[0].codes.shape[1]
    read = set(small.inputs)
    return [name for index, name in enumerate(names[:width]) if index not in read]
