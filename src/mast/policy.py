"""A trained team outside its trainer: one file, loaded without executing anything."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from mast.envs.protocol import EnvironmentSpec
from mast.errors import UserError
from mast.networks.agent import NO_ACTION, Agent, RecurrentAgent
from mast.networks.independent import IndependentAgents
from mast.networks.linear import Linear
from mast.policy_file import (
    COMPACT_FORMAT,
    FORMAT,
    LAYERS,
    input_width,
    is_independent,
    read_policy_file,
    write_policy_file,
)
from mast.sparsity.masks import Masks

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
    """

    agent: Agent
    masks: dict[str, Bool[np.ndarray, "*agents outputs inputs"]]
    description: dict[str, Any]

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
        action, memory = _act(self.agent, observation, available, memory)
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
    write_policy_file(path, tensors, description)


def _all_inputs(columns: np.ndarray, description: dict[str, Any]) -> np.ndarray:
    """A compact encoder's matrix with zeros for the inputs that it does not read."""
    whole = np.zeros((*columns.shape[:-1], input_width(description)), columns.dtype)
    whole[..., description["inputs"]] = columns
    return whole
