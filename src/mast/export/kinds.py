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
from mast.export.c_forms import flash_by_form, smallest
from mast.export.c_layers import dequantized
from mast.export.c_source import CSource, c_source
from mast.export.check import agreement, require
from mast.export.contract import contract
from mast.export.network import Network, networks_of, without_dead_neurons
from mast.export.recording import Recorded, record_episodes, step, vectors
from mast.policy import Policy, check_fit

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

    @classmethod
    def load(
        cls,
        path: Path,
        config: Config,
        environment: Environment | None,
        episodes: int,
        checkpoint: str,
    ) -> "Job":
        """Read a policy and let it play.

        Raises:
            UserError: no policy, or one for another environment than the run's.
        """
        policy = Policy.load(path)
        networks_of(policy)  # refuses NaN before anything is played
        environment = environment or environment_of(config)
        check_fit(path, policy.description, environment.spec)
        recorded = record_episodes(policy, environment, episodes)
        return cls(path, config, policy, environment, recorded, checkpoint)

    def contract(self) -> dict[str, Any]:
        """The part of contract.json that every kind shares."""
        digest = hashlib.sha256(self.path.read_bytes()).hexdigest()
        run = self.path.parent.resolve().name
        policy = {"run": run, "checkpoint": self.checkpoint, "sha256": digest}
        return contract(self.environment, self.config, self.policy.description, policy)

    def networks(self) -> list[Network]:
        """The network of all agents, or of each, without dead neurons."""
        return [without_dead_neurons(network) for network in networks_of(self.policy)]

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
    before = networks_of(job.policy)
    written = job.write_vectors(folder)
    width = written["vectors"]["width"]
    compiler = c_compiler()
    flash: dict[str, int | None] = {}
    if compiler is not None and (compare or take_smallest):
        flash = flash_by_form(compiler, job.networks(), agents)
    if take_smallest:
        if not any(flash.values()):
            raise UserError("smallest: needs a C compiler (CC or cc) and the program size")
        storage = smallest(flash, int8)
    source = c_source(job.networks(), agents, about, prefix, storage, int8, width)
    exact = rounded(source, job.recorded) if int8 else job.recorded
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
            {
                "encoder": [old.encoded, int((new.codes.any(1) | new.observation.any(1)).sum())],
                "hidden": [old.hidden, int((new.units >= 0).sum())],
            }
            for old, new in zip(before, source.networks, strict=True)
        ],
        "state_bytes": source.state_bytes,
        "work_bytes": source.work_bytes,
        "constant_bytes": source.constant_bytes,
        "operations": source.operations,
        "observation_limit": source.observation_limit,
        "hidden_units": units_of(source, agents).tolist(),
        "measured": None if compiler is None else asdict(footprint(compiler, main)),
    }
    check = None
    if compiler is not None:
        sizes = (description["features"], description["actions"], source.networks[0].hidden)
        artefact = CArtefact(main, prefix, sizes, units_of(source, agents))
        found = agreement(artefact, job.recorded)
        require(agreement(artefact, exact) if int8 else found, "the exported C")
        check = found.as_json()
    return {"c": facts, "check": check} | written


def units_of(source: CSource, agents: int) -> np.ndarray:
    """[agents, hidden]: which trained unit each hidden unit of the export is, -1 for padding."""
    units = [network.units for network in source.networks]
    return np.stack(units * agents if len(units) == 1 else units)


def rounded(source: CSource, recorded: Sequence[Recorded]) -> list[Recorded]:
    """The recorded episodes with the values of the 8-bit network, which C must reproduce exactly."""
    networks = [dequantized(network) for network in source.networks]
    episodes = []
    for episode in recorded:
        agents = episode.action.shape[1]
        each = networks * agents if len(networks) == 1 else networks
        q = np.empty(episode.q.shape, np.float32)
        hidden = np.zeros(episode.hidden.shape, np.float32)
        for agent, network in enumerate(each):
            state, real = np.zeros(network.hidden), network.units >= 0
            for time, last in enumerate(episode.last_action[:, agent]):
                q[time, agent], state = network.step(
                    episode.observation[time, agent], int(last), agent, state
                )
                hidden[time, agent, network.units[real]] = state[real]
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
    artefact = OnnxArtefact(folder / "agent.onnx", len(job.environment.spec.agent_names))
    found = agreement(artefact, job.recorded)
    require(found, "the exported ONNX model")
    return {"onnx": facts, "check": found.as_json()} | job.write_vectors(folder)


def write_safetensors(job: Job, folder: Path) -> dict[str, Any]:
    """The policy file itself, read again to be checked."""
    path = folder / "policy.safetensors"
    path.write_bytes(job.path.read_bytes())
    found = agreement(PolicyArtefact(Policy.load(path)), job.recorded)
    require(found, "the exported policy file")
    facts = {"tensors": "weights, biases and masks (1: exists) of fc1, gru_input, gru_hidden, fc2"}
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
