"""A trained team outside its trainer: one file, loaded without executing anything."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from mast.envs.protocol import EnvironmentSpec
from mast.errors import UserError
from mast.networks.agent import NO_ACTION, RecurrentAgent
from mast.networks.feed_forward import FeedForward
from mast.networks.independent import IndependentAgents, PrunedWeights
from mast.networks.linear import Linear
from mast.networks.normaliser import NormalisedAgent, Scale, folded
from mast.networks.sharing import Parts
from mast.policy_file import (
    COMPACT_FORMAT,
    FOLDED,
    FORMAT,
    LAYERS,
    NORMALISED,
    SCALE,
    input_width,
    is_feed_forward,
    is_independent,
    is_normalised,
    layer_names,
    read_policy_file,
    write_policy_file,
)
from mast.sparsity.masks import Masks

Agent = RecurrentAgent | IndependentAgents | FeedForward
"""The acting networks that a policy file can hold."""

__all__ = [
    "COMPACT_FORMAT",
    "FORMAT",
    "LAYERS",
    "Memory",
    "Policy",
    "check_fit",
    "is_independent",
    "save_policy",
]


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
        scale: how the agent reads observations; None where it reads them as they come.
    """

    agent: Agent
    masks: dict[str, Bool[np.ndarray, "*agents outputs inputs"]]
    description: dict[str, Any]
    scale: Scale | None = None

    @classmethod
    def load(cls, path: str | Path) -> "Policy":
        """Read a `policy.safetensors`.

        Raises:
            UserError: no such file, not a policy of this format, a wrong tensor (with its name), or not what
                was written.
        """
        path = Path(path)
        if path.is_dir():
            path = path / "policy.safetensors"
        description, tensors = read_policy_file(path)
        if description["format"] == COMPACT_FORMAT:
            first = layer_names(description)[0]
            for part in ("weight", "mask"):
                tensors[f"{first}.{part}"] = _all_inputs(tensors[f"{first}.{part}"], description)
        agent = agent_of(description, tensors)
        masks = {name: tensors[f"{name}.mask"].astype(bool) for name in layer_names(description)}
        scale = None
        if is_normalised(description):
            scale = Scale(*(jnp.asarray(tensors[name]) for name in SCALE))
        return cls(agent, masks, description, scale)

    @property
    def actor(self) -> Agent | NormalisedAgent:
        """Who acts by observations as they come."""
        return self.agent if self.scale is None else NormalisedAgent(self.agent, self.scale)

    def folded(self) -> "Policy":
        """The same policy, whose agent reads observations as they come: its scale is in the first layer."""
        if self.scale is None:
            return self
        description = {k: v for k, v in self.description.items() if k != NORMALISED}
        agent = folded(self.agent, self.scale)
        return replace(self, agent=agent, description=description | {FOLDED: True}, scale=None)

    def write(self, path: Path) -> None:
        """Write a policy file, which `load` reads; not of a compact one."""
        masks = {f"agent.{name}.weight": jnp.asarray(mask) for name, mask in self.masks.items()}
        tensors = tensors_of(self.agent, masks, self.scale)
        write_policy_file(path, tensors, self.description)

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
            UserError: an array has another shape, an observation or the memory is not finite, or an agent
                has no action.
        """
        agents = self.description["agents"]
        for name, array, width in (
            ("observation", observation, self.description["features"]),
            ("available", available, self.description["actions"]),
        ):
            if np.shape(array) != (agents, width):
                shape = list(np.shape(array))
                raise UserError(f"{name} has shape {shape}, must be [{agents}, {width}]")
        _refuse_not_finite("observation", observation)
        if not np.asarray(available).any(-1).all():
            raise UserError("available: an agent has no action, must have at least one")
        memory = self.initial_memory() if hidden is None else self._checked(hidden)
        action, memory = _act(self.actor, observation, available, memory)
        return np.asarray(action), memory

    def _checked(self, memory: object) -> Memory:
        """A memory that this policy has made, or one like it."""
        if not isinstance(memory, Memory):
            raise UserError(
                f"hidden is a {type(memory).__name__}, must be what the last call returned, or None"
            )
        agents = self.description["agents"]
        for name, shape in (
            ("hidden", (agents, self.agent.hidden_size)),
            ("last_action", (agents,)),
        ):
            if np.shape(getattr(memory, name)) != shape:
                found = list(np.shape(getattr(memory, name)))
                raise UserError(f"hidden: {name} has shape {found}, must be {list(shape)}")
        _refuse_not_finite("hidden", memory.hidden)
        return memory


def _refuse_not_finite(name: str, rows: Any) -> None:
    """Refuses a NaN, which would stay in the memory from then on."""
    try:
        finite = np.isfinite(np.asarray(rows)).all(-1)
    except TypeError:
        raise UserError(f"{name} must hold numbers") from None
    if not finite.all():
        raise UserError(
            f"{name}: that of agent {np.flatnonzero(~finite)[0]} holds a NaN or an infinity"
        )


@jax.jit
def _act(agent: Agent | NormalisedAgent, observation: Any, available: Any, memory: Memory) -> Any:
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
    path: Path,
    agent: Agent,
    masks: Masks,
    spec: EnvironmentSpec,
    about: dict[str, Any],
    scale: Scale | None = None,
) -> None:
    """Write a policy file; the same agent gives the same bytes (no path and no time in it).

    Args:
        path: where; replaced as a whole or not at all.
        agent: the acting network, or networks.
        masks: by leaf path (`agent.fc1.weight`); a layer without one is dense.
        spec: of the environment.
        about: more facts for the description (algorithm, method, sparsity, seed, env_steps).
        scale: how the agent reads observations; None where it reads them as they come.
    """
    tensors = tensors_of(agent, masks, scale)
    agent, _ = as_saved(agent, masks)
    neurons = agent.parts is not None and bool(agent.parts.neurons)
    description = about | {
        "format": FORMAT,
        "environment": spec.id,
        "identity": spec.identity,
        "agents": spec.agents,
        "agent_names": list(spec.agent_names),
        "features": spec.observation,
        "actions": spec.actions,
        **_description_of(agent, spec.agents, neurons),
        **({} if scale is None else {NORMALISED: True}),
    }
    write_policy_file(path, tensors, description)


def tensors_of(agent: Agent, masks: Masks, scale: Scale | None = None) -> dict[str, np.ndarray]:
    """The tensors of a policy file; arguments as of `save_policy`."""
    agent, of_layer = as_saved(agent, masks)
    tensors: dict[str, np.ndarray] = {}
    for name, layer in layers_of(agent).items():
        tensors[f"{name}.weight"] = np.asarray(layer.weight)
        tensors[f"{name}.bias"] = np.asarray(layer.bias)
        tensors[f"{name}.mask"] = of_layer[name].astype(np.uint8)
    neurons = {} if agent.parts is None else agent.parts.neurons or {}
    for name, kept in neurons.items():
        tensors[f"neurons.{name}"] = np.asarray(kept).astype(np.uint8)
    if scale is not None:
        tensors |= dict(zip(SCALE, map(np.asarray, (scale.mean, scale.deviation)), strict=True))
    return tensors


def layers_of(agent: Agent) -> dict[str, Linear]:
    """The layers of an acting network, by the names that they have in its file."""
    if isinstance(agent, FeedForward):
        return {f"layers.{index}": layer for index, layer in enumerate(agent.layers)}
    return {name: getattr(agent, name) for name in LAYERS}


def _description_of(agent: Agent, agents: int, neurons: bool) -> dict[str, Any]:
    """What the network is."""
    first = next(iter(layers_of(agent).values())).weight
    stacked = first.ndim == 3
    read, text = agent.features, "observation"
    kind: dict[str, Any] = {"neurons": True} if neurons else {}
    if neurons and agent.parts is not None and agent.parts.types:
        kind["type_features"] = list(agent.parts.types)
    if isinstance(agent, FeedForward):
        kind |= {"network": "feed_forward", "layers": len(agent.layers)}
    else:
        read += agent.actions
        text += ", one-hot last action (zeros at the start)"
    has_id = not stacked and first.shape[-1] == read + agents
    return kind | {
        "sharing": "independent" if stacked else "shared" if has_id else "fups",
        "hidden_size": first.shape[-2],
        "input": f"{text}, one-hot agent id" if has_id else text,
    }


def as_saved(agent: Agent, masks: Masks) -> tuple[Agent, dict[str, np.ndarray]]:
    """The agent as a file holds it, and the mask of each of its layers.

    Where agents share out several networks, or lack single weights of one, each gets a network of its own.

    Args:
        agent: any.
        masks: by leaf path; all weights of a layer that is missing exist.
    """
    layers = layers_of(agent)
    of_layer = {
        name: np.asarray(masks.get(f"agent.{name}.weight", np.ones(layer.weight.shape, bool)))
        for name, layer in layers.items()
    }
    parts = agent.parts
    if parts is None or (parts.network_of is None and parts.weights is None):
        return agent, of_layer
    assert isinstance(agent, IndependentAgents | PrunedWeights | FeedForward)
    expanded = agent.of_each()
    for name, layer in layers_of(expanded).items():
        mask = of_layer[name]
        if parts.network_of is not None:
            mask = mask[np.asarray(parts.network_of)]
        if parts.weights is not None and name in parts.weights:
            mask = mask & np.asarray(parts.weights[name])
        of_layer[name] = np.broadcast_to(mask, layer.weight.shape)
    return expanded, of_layer


def agent_of(description: dict[str, Any], tensors: Mapping[str, np.ndarray]) -> Agent:
    """The acting network that a file holds.

    Args:
        description: of the file.
        tensors: of the file; of a compact one with all columns of the first layer.
    """
    layers = [
        Linear(jnp.asarray(tensors[f"{name}.weight"]), jnp.asarray(tensors[f"{name}.bias"]))
        for name in layer_names(description)
    ]
    neurons = {
        name.removeprefix("neurons."): jnp.asarray(kept, bool)
        for name, kept in tensors.items()
        if name.startswith("neurons.")
    }
    types = tuple(description.get("type_features", ()))
    parts = Parts(neurons=neurons, types=types) if neurons else None
    if is_feed_forward(description):
        return FeedForward(tuple(layers), parts, description["features"])
    fc1, gru_input, gru_hidden, fc2 = layers
    kind = IndependentAgents if is_independent(description) else RecurrentAgent
    sizes = description["features"], description["actions"]
    return kind(fc1, gru_input, gru_hidden, fc2, *sizes, parts)


def _all_inputs(columns: np.ndarray, description: dict[str, Any]) -> np.ndarray:
    """A compact first layer's matrix with zeros for the inputs that it does not read."""
    whole = np.zeros((*columns.shape[:-1], input_width(description)), columns.dtype)
    whole[..., description["inputs"]] = columns
    return whole
