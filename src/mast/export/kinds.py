"""The three kinds of export: each writes its files into a folder and checks them there."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mast.config import Config
from mast.envs.protocol import Environment
from mast.errors import UserError
from mast.execution.environment import environment_of
from mast.export.c_build import CArtefact, c_compiler, footprint
from mast.export.c_feed_forward import dequantized_layers
from mast.export.c_forms import flash_by_form, smallest
from mast.export.c_layers import dequantized
from mast.export.c_source import CSource, c_source
from mast.export.check import agreement, doubt_of, require
from mast.export.contract import contract
from mast.export.feed_forward import FeedForwardNetwork
from mast.export.network import AnyNetwork, networks_of, small_networks_of
from mast.export.one_agent import OneAgent, one_agent
from mast.export.recording import Recorded, record_episodes, step, vectors
from mast.policy import Policy, check_fit
from mast.policy_file import has_neurons, layer_names

VECTORS = "vectors.bin"


@dataclass(frozen=True)
class Job:
    """What every kind of export starts from."""

    path: Path
    config: Config
    policy: Policy
    environment: Environment
    recorded: list[Recorded]
    checkpoint: str
    """Which of the run's policies it is."""
    alone: OneAgent | None = None
    """The agent whose network is exported, and whose policy this is, where it is not the team's."""
    doubt: str = ""
    """What would be the likely cause if the export did something else (`doubt_of`)."""

    @classmethod
    def load(
        cls,
        path: Path,
        config: Config,
        environment: Environment | None,
        episodes: int,
        checkpoint: str,
        agent: str | int | None = None,
    ) -> "Job":
        """Read a policy and let it play.

        Raises:
            UserError: no policy, one for another environment than the run's, or no such agent.
        """
        policy = Policy.load(path)
        trained, policy = policy, policy.folded()
        networks_of(policy)  # refuses NaN before anything is played
        alone = None if agent is None else one_agent(policy, agent)
        environment = environment or environment_of(config)
        check_fit(path, policy.description, environment.spec)
        recorded = record_episodes(trained, environment, episodes)
        if alone is not None:
            recorded = [episode.of_agent(alone.index) for episode in recorded]
            policy = alone.policy
        return cls(
            path, config, policy, environment, recorded, checkpoint, alone, doubt_of(trained.scale)
        )

    def contract(self) -> dict[str, Any]:
        """The part of contract.json that every kind shares."""
        digest = hashlib.sha256(self.path.read_bytes()).hexdigest()
        run = self.path.parent.resolve().name
        policy = {"run": run, "checkpoint": self.checkpoint, "sha256": digest}
        content = contract(self.environment, self.config, self.policy.description, policy)
        if self.alone is None:
            return content
        known = content["agents"][self.alone.index]
        return content | {"agents": [known | {"id": 0}], "agent": self.alone.facts}

    def networks(self) -> list[AnyNetwork]:
        """The network of all agents, or of each, without dead neurons."""
        return small_networks_of(self.policy)

    def units(self, networks: Sequence[AnyNetwork]) -> np.ndarray:
        """[agents, hidden]: which trained unit each hidden unit of an export is, -1 for padding.

        Args:
            networks: of the export, one for all agents or one each.
        """
        units = units_of(networks, self.policy.description["agents"])
        if self.alone is not None and units.size:
            units = np.where(units >= 0, self.alone.units[0][units], -1)
        return units

    def write_vectors(
        self, folder: Path, recorded: Sequence[Recorded] | None = None
    ) -> dict[str, Any]:
        """Write the recorded episodes; what the contract says of them.

        Args:
            folder: where to.
            recorded: with the values that the export must give, where they are not the policy's.
        """
        rows, columns = vectors(self.recorded if recorded is None else recorded)
        (folder / VECTORS).write_bytes(rows.tobytes())
        return {
            "vectors": {
                "file": VECTORS,
                "type": "float32, little-endian, one row per step and agent",
                "rows": len(rows),
                "width": rows.shape[1],
                "columns": [{"name": name, "width": width} for name, width in columns],
            }
        }


def write_c(
    job: Job,
    folder: Path,
    prefix: str,
    storage: str | None,
    int8: bool,
    compare: bool = False,
    take_smallest: bool = False,
) -> dict[str, Any]:
    """C99 source and header; compiled with this machine's compiler to be checked.

    Args:
        job: what to export.
        folder: where to.
        prefix: of every name.
        storage: the form of every layer; chosen per layer where None.
        int8: round weights to 8 bits, row by row; the test vectors then have the rounded network's values.
        compare: measure the flash of every form.
        take_smallest: take the form with the least flash.

    Raises:
        UserError: the smallest cannot be found without a C compiler and `size`.
    """
    description = job.policy.description
    about = f"{description['environment']}, {description.get('method', 'unknown method')}."
    about = re.sub(r"[^\w .,:/-]", "?", about, flags=re.ASCII)  # it goes into a comment
    agents = description["agents"]
    before, small = networks_of(job.policy), job.networks()
    written = job.write_vectors(folder)
    width = written["vectors"]["width"]
    compiler = c_compiler()
    flash: dict[str, int | None] = {}
    if compiler is not None and (compare or take_smallest):
        flash = flash_by_form(compiler, small, agents)
    if take_smallest:
        if not any(flash.values()):
            raise UserError("smallest: needs a C compiler (CC or cc) and the program size")
        storage = smallest(flash, int8)
    source = c_source(small, agents, about, prefix, storage, int8, width)
    units = job.units(source.networks)
    exact = rounded(source, job.recorded, units) if int8 else job.recorded
    if int8:
        written = job.write_vectors(folder, exact)
    for name, text in source.files.items():
        (folder / name).write_text(text, encoding="utf-8")
    main = folder / f"{prefix}_agent.c"
    facts: dict[str, Any] = {
        "prefix": prefix,
        "quantize": "int8" if int8 else None,
        "storage": storage,
        "flash_by_form": flash,
        "layers": source.forms,
        "weights": [network.weights for network in source.networks],
        "neurons": [
            {name: [width, new.widths()[name]] for name, width in old.widths().items()}
            for old, new in zip(before, small, strict=True)
        ],
        "state_bytes": source.state_bytes,
        "work_bytes": source.work_bytes,
        "constant_bytes": source.constant_bytes,
        "operations": source.operations,
        "observation_limit": source.observation_limit,
        "hidden_units": units.tolist(),
        "measured": None if compiler is None else asdict(footprint(compiler, main)),
    }
    check = None
    if compiler is not None:
        sizes = (description["features"], description["actions"], source.networks[0].hidden)
        artefact = CArtefact(main, prefix, sizes, units)
        found = agreement(artefact, job.recorded)
        require(agreement(artefact, exact) if int8 else found, "the exported C", job.doubt)
        check = found.as_json()
    return {"c": facts, "check": check} | written


def units_of(networks: Sequence[AnyNetwork], agents: int) -> np.ndarray:
    """[agents, hidden]: which unit of the policy each hidden unit of a network is, -1 for padding.

    Args:
        networks: one for all agents or one each.
        agents: how many there are.
    """
    units = [network.units for network in networks]
    return np.stack(units * agents if len(units) == 1 else units)


def rounded(source: CSource, recorded: Sequence[Recorded], units: np.ndarray) -> list[Recorded]:
    """The recorded episodes with the values of the 8-bit network, which C must reproduce exactly.

    Args:
        source: in 8 bits.
        recorded: episodes of the trained policy.
        units: [agents, hidden], as `Artefact.units`.
    """
    networks = [
        dequantized_layers(network)
        if isinstance(network, FeedForwardNetwork)
        else dequantized(network)
        for network in source.networks
    ]
    episodes = []
    for episode in recorded:
        agents = episode.action.shape[1]
        each = networks * agents if len(networks) == 1 else networks
        q = np.empty(episode.q.shape, np.float32)
        hidden = np.zeros(episode.hidden.shape, np.float32)
        for agent, network in enumerate(each):
            state, real = np.zeros(network.hidden), units[agent] >= 0
            for time, last in enumerate(episode.last_action[:, agent]):
                q[time, agent], state = network.step(
                    episode.observation[time, agent], int(last), agent, state
                )
                hidden[time, agent, units[agent, real]] = state[real]
        episodes.append(replace(episode, q=q, hidden=hidden))
    return episodes


def write_onnx(job: Job, folder: Path) -> dict[str, Any]:
    """An ONNX model, checked with onnxruntime.

    Raises:
        UserError: onnx or onnxruntime is not installed.
    """
    from mast.export.onnx_model import OnnxArtefact, write_model

    networks = networks_of(job.policy)
    facts = write_model(networks, job.contract(), folder / "agent.onnx")
    agents = job.policy.description["agents"]
    artefact = OnnxArtefact(folder / "agent.onnx", agents, job.units(networks))
    found = agreement(artefact, job.recorded)
    require(found, "the exported ONNX model", job.doubt)
    return {"onnx": facts, "check": found.as_json()} | job.write_vectors(folder)


def write_safetensors(job: Job, folder: Path) -> dict[str, Any]:
    """The policy file itself, or that of one agent, read again to be checked."""
    path = folder / "policy.safetensors"
    if job.alone is not None:
        job.alone.write(path)
    elif Policy.load(job.path).scale is not None:
        job.policy.write(path)
    else:
        path.write_bytes(job.path.read_bytes())
    artefact = PolicyArtefact(Policy.load(path), job.units(networks_of(job.policy)))
    found = agreement(artefact, job.recorded)
    require(found, "the exported policy file", job.doubt)
    names = ", ".join(layer_names(job.policy.description))
    lacks = (
        "; neurons: which of each hidden layer an agent has"
        if has_neurons(job.policy.description)
        else ""
    )
    facts = {"tensors": f"weights, biases and masks (1: exists) of {names}{lacks}"}
    return {"safetensors": facts, "check": found.as_json()} | job.write_vectors(folder)


class PolicyArtefact:
    """A policy file that is run as it is.

    Args:
        policy: loaded.
        units: [agents, hidden], as `Artefact.units`; those of the trained network where None.
    """

    def __init__(self, policy: Policy, units: np.ndarray | None = None) -> None:
        self._agent = policy.agent
        agents = policy.description["agents"]
        own = np.tile(np.arange(policy.agent.hidden_size), (agents, 1))
        self.units = own if units is None else units

    def step(
        self,
        observation: np.ndarray,
        last_action: np.ndarray,
        agent: np.ndarray,
        hidden: np.ndarray,
        available: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """One step of the whole team; see `Artefact`."""
        q, after = step(self._agent, observation, last_action, hidden)
        return np.asarray(q), np.where(available, q, -np.inf).argmax(-1), np.asarray(after)
