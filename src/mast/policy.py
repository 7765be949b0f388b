"""A trained team outside its trainer: one file, loaded without executing anything."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from mast.envs.protocol import EnvironmentSpec
from mast.errors import UserError
from mast.files import plain_number, write_atomically
from mast.networks.agent import NO_ACTION, Agent, RecurrentAgent
from mast.networks.independent import IndependentAgents
from mast.networks.linear import Linear
from mast.sparsity.masks import Masks

FORMAT = 1
COMPACT_FORMAT = 2
"""Of `mast compact`: the encoder has a width of its own and reads some of the inputs only."""
LAYERS = ("fc1", "gru_input", "gru_hidden", "fc2")
SIZES = ("features", "actions", "agents", "hidden_size")


class Memory(NamedTuple):
    """What a team carries from step to step."""

    hidden: Float[Array, "agents hidden"]
    last_action: Int[Array, " agents"]


@dataclass(frozen=True)
class Policy:
    """The acting part of a trained team.

    Args:
        agent: the network that every agent runs, or the networks of all of them.
        masks: which weights of each layer exist, by layer name.
        description: environment, sizes and method; what the file's metadata holds.
    """

    agent: Agent
    masks: dict[str, Bool[np.ndarray, "*agents outputs inputs"]]
    description: dict[str, Any]

    @classmethod
    def load(cls, path: str | Path) -> "Policy":
        """Read a `policy.safetensors`.

        Raises:
            UserError: no such file, not a policy of this format, or a wrong tensor (with its name).
        """
        path = Path(path)
        if path.is_dir():
            path = path / "policy.safetensors"
        description, tensors = _read(path)
        _check_tensors(path, tensors, _expected_tensors(description))
        if description["format"] == COMPACT_FORMAT:
            for part in ("weight", "mask"):
                tensors[f"fc1.{part}"] = _all_inputs(tensors[f"fc1.{part}"], description)
        layers = {
            name: Linear(
                jnp.asarray(tensors[f"{name}.weight"]), jnp.asarray(tensors[f"{name}.bias"])
            )
            for name in LAYERS
        }
        kind = IndependentAgents if is_independent(description) else RecurrentAgent
        agent = kind(**layers, features=description["features"], actions=description["actions"])
        masks = {name: tensors[f"{name}.mask"].astype(bool) for name in LAYERS}
        return cls(agent, masks, description)

    @property
    def density(self) -> float:
        """Share of the weights that exist."""
        active = sum(int(mask.sum()) for mask in self.masks.values())
        return active / sum(mask.size for mask in self.masks.values())

    def initial_memory(self) -> Memory:
        """The memory at the start of an episode."""
        agents = self.description["agents"]
        return Memory(self.agent.initial_hidden(agents), jnp.full(agents, NO_ACTION, jnp.int32))

    def act(
        self,
        observation: Float[Any, "agents features"],
        available: Bool[Any, "agents actions"],
        hidden: Memory | None = None,
    ) -> tuple[np.ndarray, Memory]:
        """The greedy joint action.

        Args:
            observation: each agent's own.
            available: the actions each may take.
            hidden: what the last call returned; None at the start of an episode.

        Returns:
            One action per agent, and the memory for the next call.

        Raises:
            UserError: an array has another shape, or an agent has no action.
        """
        agents = self.description["agents"]
        for name, array, width in (
            ("observation", observation, self.description["features"]),
            ("available", available, self.description["actions"]),
        ):
            if np.shape(array) != (agents, width):
                shape = list(np.shape(array))
                raise UserError(f"{name} has shape {shape}, must be [{agents}, {width}]")
        if not np.asarray(available).any(-1).all():
            raise UserError("available: an agent has no action, must have at least one")
        memory = self.initial_memory() if hidden is None else hidden
        action, memory = _act(self.agent, observation, available, memory)
        return np.asarray(action), memory


@jax.jit
def _act(agent: Agent, observation: Any, available: Any, memory: Memory) -> Any:
    observation = jnp.asarray(observation, jnp.float32)
    q, hidden = agent.step(observation, memory.last_action, memory.hidden)
    action = jnp.where(jnp.asarray(available, bool), q, -jnp.inf).argmax(-1)
    return action, Memory(hidden, action)


def check_fit(path: Path, description: Mapping[str, Any], spec: EnvironmentSpec) -> None:
    """Makes sure that a policy can play in an environment.

    Args:
        path: of its file, for the message.
        description: of the policy.
        spec: of the environment.

    Raises:
        UserError: other numbers of agents, features or actions.
    """
    there = tuple(description[name] for name in ("agents", "features", "actions"))
    here = (spec.agents, spec.observation, spec.actions)
    if there != here:
        raise UserError(f"{path}: agents, features, actions are {there}, those of {spec.id} {here}")


def save_policy(
    path: Path, agent: Agent, masks: Masks, spec: EnvironmentSpec, about: dict[str, Any]
) -> None:
    """Write a policy file; the same agent gives the same bytes (no path and no time in it).

    Args:
        path: where; replaced as a whole or not at all.
        agent: the acting network, or networks.
        masks: by leaf path (`agent.fc1.weight`); a layer without one is dense.
        spec: of the environment.
        about: more facts for the description (algorithm, method, sparsity, seed, env_steps).
    """
    tensors: dict[str, np.ndarray] = {}
    for name in LAYERS:
        layer: Linear = getattr(agent, name)
        mask = masks.get(f"agent.{name}.weight", np.ones(layer.weight.shape, bool))
        tensors[f"{name}.weight"] = np.asarray(layer.weight)
        tensors[f"{name}.bias"] = np.asarray(layer.bias)
        tensors[f"{name}.mask"] = np.asarray(mask).astype(np.uint8)
    independent = isinstance(agent, IndependentAgents)
    code = "" if independent else ", one-hot agent id"
    description = about | {
        "format": FORMAT,
        "sharing": "independent" if independent else "shared",
        "environment": spec.id,
        "identity": spec.identity,
        "agents": spec.agents,
        "agent_names": list(spec.agent_names),
        "features": spec.observation,
        "actions": spec.actions,
        "hidden_size": agent.hidden_size,
        "input": f"observation, one-hot last action (zeros at the start){code}",
    }
    metadata = {"mast": json.dumps(description, sort_keys=True, default=plain_number)}
    write_atomically(path, save(tensors, metadata=metadata))


def _read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    if not path.is_file():
        raise UserError(f"{path}: no such policy file")
    try:
        with safe_open(path, framework="numpy") as file:
            description = json.loads((file.metadata() or {})["mast"])
            _check_description(path, description)  # before the tensors: a foreign file may be huge
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, KeyError, ValueError, TypeError, OSError):
        raise UserError(f"{path} is damaged or no policy file of Mast") from None
    return description, tensors


def _check_description(path: Path, description: Any) -> None:
    if not isinstance(description, dict) or "format" not in description:
        raise ValueError("not a policy's description")
    if description["format"] not in (FORMAT, COMPACT_FORMAT):
        known = f"{FORMAT} and {COMPACT_FORMAT}"
        raise UserError(f"{path}: format {description['format']}, this version reads {known}")
    if not all(isinstance(description.get(size), int) for size in SIZES):
        raise ValueError("a size is missing")
    if description["format"] == COMPACT_FORMAT:
        inputs, width = description["inputs"], _input_width(description)
        if not isinstance(description["encoded_size"], int):
            raise ValueError("a size is missing")
        if sorted({int(place) for place in inputs} & set(range(width))) != inputs:
            raise ValueError("the inputs are no columns in order")


def _check_tensors(path: Path, tensors: dict[str, np.ndarray], expected: dict[str, str]) -> None:
    for name in sorted(expected.keys() | tensors.keys()):
        if name not in tensors:
            raise UserError(f"{path}: tensor {name} is missing, expected {expected[name]}")
        if name not in expected:
            raise UserError(f"{path}: tensor {name} does not belong in a policy")
        found = f"{tensors[name].dtype} {tensors[name].shape}"
        if found != expected[name]:
            raise UserError(f"{path}: tensor {name} is {found}, expected {expected[name]}")


def is_independent(description: dict[str, Any]) -> bool:
    """Whether each agent has a network of its own; the description of an older file does not say.

    Args:
        description: of a policy.
    """
    return description.get("sharing", "shared") == "independent"


def _input_width(description: dict[str, Any]) -> int:
    """How many numbers the encoder is given: observation, last action and, where it is shared, agent id."""
    features, actions, agents, _ = (description[size] for size in SIZES)
    return features + actions + (0 if is_independent(description) else agents)


def _all_inputs(columns: np.ndarray, description: dict[str, Any]) -> np.ndarray:
    """A compact encoder's matrix with zeros for the inputs that it does not read."""
    whole = np.zeros((*columns.shape[:-1], _input_width(description)), columns.dtype)
    whole[..., description["inputs"]] = columns
    return whole


def _expected_tensors(description: dict[str, Any]) -> dict[str, str]:
    """Number type and shape of every tensor, as text."""
    _, actions, agents, h = (description[size] for size in SIZES)
    lead = (agents,) if is_independent(description) else ()
    compact = description["format"] == COMPACT_FORMAT
    encoded = description["encoded_size"] if compact else h
    inputs = len(description["inputs"]) if compact else _input_width(description)
    sizes = {
        "fc1": (encoded, inputs),
        "gru_input": (3 * h, encoded),
        "gru_hidden": (3 * h, h),
        "fc2": (actions, h),
    }
    expected: dict[str, str] = {}
    for name, (outputs, inputs) in sizes.items():
        expected |= {
            f"{name}.weight": f"float32 {(*lead, outputs, inputs)}",
            f"{name}.mask": f"uint8 {(*lead, outputs, inputs)}",
            f"{name}.bias": f"float32 {(*lead, outputs)}",
        }
    return expected
