"""The network of one agent alone: of a team's what this agent uses, and nothing else."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from mast.errors import UserError
from mast.networks.spec import GRU, NetworkSpec, Sizes, actor_spec, recurrent_agent_spec
from mast.policy import Policy, agent_of, layers_of
from mast.policy_file import (
    COMPACT_FORMAT,
    has_id,
    hidden_widths,
    input_width,
    is_feed_forward,
    write_policy_file,
)


@dataclass(frozen=True)
class OneAgent:
    """One agent of a team as a team of one, whose network reads no id."""

    index: int
    """Of the agent in its team."""
    kept: dict[str, list[int]]
    """Which neurons of each hidden layer of the team's network are left."""
    tensors: dict[str, np.ndarray]
    """Of its policy file."""
    description: dict[str, Any]
    facts: dict[str, Any]
    """What the contract says of it: which agent, and [of the team, of this agent] of every size."""

    @property
    def policy(self) -> Policy:
        """The team of one."""
        masks = {
            name.removesuffix(".mask"): mask.astype(bool)
            for name, mask in self.tensors.items()
            if name.endswith(".mask")
        }
        return Policy(agent_of(self.description, self.tensors), masks, self.description)

    @property
    def units(self) -> Int[np.ndarray, "one hidden"]:
        """Which unit of the team's network each unit of its memory is."""
        return np.asarray(self.kept.get(GRU, []), int)[None]

    def write(self, path: Path) -> None:
        """Write it as a policy file, which `Policy.load` reads."""
        write_policy_file(path, self.tensors, self.description)


def index_of(agent: str | int, names: Sequence[str]) -> int:
    """The index of an agent.

    Args:
        agent: its index or its name.
        names: of all agents.

    Raises:
        UserError: there is no such agent.
    """
    text = str(agent).strip()
    if text in names:
        return list(names).index(text)
    if text.isascii() and text.isdigit() and int(text) < len(names):
        return int(text)
    raise UserError(
        f"agent = {agent}: must be an index from 0 to {len(names) - 1} or one of {', '.join(names)}"
    )


def network_spec(description: dict[str, Any]) -> NetworkSpec:
    """The layers of a policy's network of one width, and what each reads.

    Args:
        description: of a policy.
    """
    sizes = Sizes(
        observation=description["features"],
        state=0,
        actions=description["actions"],
        agents=description["agents"],
        hidden_size=description["hidden_size"],
        hidden_layers=description.get("layers", 4) - 1,
        agent_id=has_id(description),
    )
    return (actor_spec if is_feed_forward(description) else recurrent_agent_spec)(sizes)


def one_agent(policy: Policy, agent: str | int) -> OneAgent:
    """What one agent uses of a team's network.

    The neurons that it lacks go, with their rows and columns (of a GRU those of all three gates); the column
    of its one-hot id is added to the first layer's bias. Of agents with networks of their own it is that one.

    Args:
        policy: of a team, not compact.
        agent: index or name.

    Raises:
        UserError: there is no such agent.
    """
    description, parts = policy.description, policy.agent.parts
    index = index_of(agent, description["agent_names"])
    owned = {name: np.ones(units, bool) for name, units in hidden_widths(description).items()}
    if parts is not None and parts.types:
        raise UserError(
            f"agent {agent}: what it lacks goes by the type that an episode draws for it: nothing to export"
        )
    if parts is not None and parts.neurons is not None:
        owned = {name: np.asarray(parts.neurons[name][index]) for name in owned}
    # No layer of a file is empty: where all neurons are missing, one that is always 0 stays.
    kept = {name: np.flatnonzero(there).tolist() or [0] for name, there in owned.items()}
    tensors: dict[str, np.ndarray] = {}
    for layer in network_spec(description).layers:
        weight, bias, mask = _own(policy, layer.name, index)
        if not layer.reads and has_id(description):
            ids = weight.shape[1] - description["agents"]
            bias = bias + weight[:, ids + index]
            weight, mask = weight[:, :ids], mask[:, :ids]
        if layer.makes in owned:
            rows, made = layer.rows(kept[layer.makes]), np.resize(owned[layer.makes], layer.outputs)
            bias = (bias * made)[rows]
            weight, mask = ((part * made[:, None])[rows] for part in (weight, mask))
        for name in layer.reads:
            weight, mask = ((part * owned[name])[:, kept[name]] for part in (weight, mask))
        tensors[f"{layer.name}.weight"] = np.ascontiguousarray(weight, np.float32)
        tensors[f"{layer.name}.bias"] = np.ascontiguousarray(bias, np.float32)
        tensors[f"{layer.name}.mask"] = np.ascontiguousarray(mask, np.uint8)
    return OneAgent(
        index,
        kept,
        tensors,
        _description(description, index, kept),
        _facts(policy, index, kept, tensors),
    )


def _own(policy: Policy, name: str, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weight, bias and mask of a layer, of agents with networks of their own those of one."""
    layer = layers_of(policy.agent)[name]
    parts = (np.asarray(layer.weight), np.asarray(layer.bias), policy.masks[name])
    weight, bias, mask = (part[index] for part in parts) if parts[0].ndim == 3 else parts
    return weight, bias, mask


def _description(
    team: Mapping[str, Any], index: int, kept: Mapping[str, Sequence[int]]
) -> dict[str, Any]:
    """What a policy file says of a team of one."""
    own = {name: value for name, value in team.items() if name != "neurons"}
    widths = {name: len(units) for name, units in kept.items()}
    if is_feed_forward(team):
        own |= {"widths": list(widths.values()), "hidden_size": max(widths.values())}
    else:
        own |= {"encoded_size": widths["fc1"], "hidden_size": widths[GRU]}
        own["hidden_units"] = [list(kept[GRU])]
    own |= {
        "format": COMPACT_FORMAT,
        "agents": 1,
        "agent_names": [team["agent_names"][index]],
        "agent_of_team": index,
        "sharing": "fups",
        "input": str(team["input"]).removesuffix(", one-hot agent id"),
    }
    return own | {"inputs": list(range(input_width(own)))}


def _facts(
    policy: Policy, index: int, kept: Mapping[str, Sequence[int]], tensors: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    """What the contract says of the agent, and of how much smaller it is than what the team has."""
    description = policy.description
    biases = sum(int(np.asarray(layer.bias).size) for layer in layers_of(policy.agent).values())
    left = (int(array.sum()) if name.endswith(".mask") else array.size
            for name, array in tensors.items() if not name.endswith(".weight"))  # fmt: skip
    return {
        "index": index,
        "name": description["agent_names"][index],
        "of": description["agents"],
        "neurons": {
            name: [units, len(kept[name])] for name, units in hidden_widths(description).items()
        },
        "parameters": [sum(int(mask.sum()) for mask in policy.masks.values()) + biases, sum(left)],
    }
