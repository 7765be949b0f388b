"""An exported folder as a team that can play: what `mast evaluate` needs."""

import hashlib
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from mast.config import Config
from mast.errors import UserError
from mast.export.c_build import CArtefact
from mast.export.check import Artefact
from mast.export.contract import ACTION_VALUES, exported_config, read_contract
from mast.networks.agent import Agent
from mast.policy import Policy


class ExportedAgent(eqx.Module):
    """An exported team in the place of a network: JAX calls out to it at every step."""

    artefact: Artefact = eqx.field(static=True)
    actions: int = eqx.field(static=True)
    stochastic: bool = eqx.field(static=True, default=False)
    """Whether its values are a policy's logits."""

    @property
    def hidden_size(self) -> int:
        """The width of the hidden state."""
        return self.artefact.units.shape[1]

    def initial_hidden(self, *batch: int) -> Float[Array, "*batch hidden"]:
        """h_0 = 0."""
        return jnp.zeros((*batch, self.hidden_size))

    def step(
        self,
        observation: Float[Array, "*batch agents features"],
        last_action: Int[Array, "*batch agents"],
        hidden: Float[Array, "*batch agents hidden"],
    ) -> tuple[Float[Array, "*batch agents actions"], Float[Array, "*batch agents hidden"]]:
        """One step of acting: each agent's action values and its next hidden state."""
        shapes = tuple(
            jax.ShapeDtypeStruct((*last_action.shape, width), jnp.float32)
            for width in (self.actions, self.hidden_size)
        )
        return jax.pure_callback(self._call, shapes, observation, last_action, hidden)

    def sequence(
        self,
        observation: Float[Array, "time batch agents features"],
        last_action: Int[Array, "time batch agents"],
    ) -> Float[Array, "time batch agents actions"]:
        """The action values along whole episodes, from h_0 = 0."""

        def one(hidden: Array, seen: tuple[Array, Array]) -> tuple[Array, Array]:
            q, hidden = self.step(*seen, hidden)
            return hidden, q

        start = self.initial_hidden(*last_action.shape[1:])
        return jax.lax.scan(one, start, (observation, last_action))[1]

    def _call(self, observation: Any, last_action: Any, hidden: Any) -> tuple[Any, Any]:
        last = np.asarray(last_action)
        rows = last.size
        agent = np.broadcast_to(np.arange(last.shape[-1]), last.shape).reshape(rows)
        q, _, after = self.artefact.step(
            np.asarray(observation).reshape(rows, -1),
            last.reshape(rows),
            agent,
            np.asarray(hidden).reshape(rows, -1),
            np.ones((rows, self.actions), bool),
        )
        return q.reshape(*last.shape, -1), after.reshape(*last.shape, -1)


def load_exported(folder: Path) -> tuple[Agent, Config]:
    """The team of an exported folder and the settings of the run that it comes from.

    Args:
        folder: what `mast export` made.

    Raises:
        UserError: no contract, a damaged file, or something that this machine cannot run.
    """
    contract = read_contract(folder)
    _check_files(folder, contract.get("files"))
    kind, config = contract["kind"], exported_config(folder)
    try:
        if kind == "safetensors":
            return Policy.load(folder / "policy.safetensors").folded().agent, config
        agents, actions = len(contract["agents"]), contract["actions"]["size"]
        stochastic = contract.get("values", ACTION_VALUES) != ACTION_VALUES
        if kind == "onnx":
            from mast.export.onnx_model import OnnxArtefact

            artefact = OnnxArtefact(folder / "agent.onnx", agents)
            return ExportedAgent(artefact, actions, stochastic), config
        facts = contract["c"]
        units = np.asarray(facts["hidden_units"], int).reshape(agents, -1)
        prefix, sizes = facts["prefix"], (contract["observation"]["size"], actions, units.shape[1])
    except (KeyError, TypeError, IndexError):
        raise UserError(f"{folder / 'contract.json'} is damaged or of another version") from None
    source = folder / f"{prefix}_agent.c"
    if source.name not in contract["files"] or source.parent != folder:
        raise UserError(f"{folder / 'contract.json'} is damaged: it has no file {prefix}_agent.c")
    return ExportedAgent(CArtefact(source, prefix, sizes, units), actions, stochastic), config


def _check_files(folder: Path, files: Any) -> None:
    """Makes sure that every file is what was exported: nothing else is compiled or run."""
    if not isinstance(files, dict):
        raise UserError(f"{folder / 'contract.json'} is damaged or of another version")
    for name, digest in files.items():
        path = folder / Path(name).name
        if not path.is_file():
            raise UserError(f"{path} is missing")
        if hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            raise UserError(f"{path} is damaged: its sha256 is not that of contract.json")
