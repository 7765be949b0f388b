"""A run's config.json: what was asked for, what it became, and where it ran."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from pydantic import ValidationError

from mast.configuration.explain import first_problem, one_line
from mast.configuration.reference import reference_settings
from mast.configuration.settings import Config
from mast.configuration.threads import usable_cpus
from mast.errors import UserError
from mast.files import plain_number, read_json, write_atomically
from mast.networks.spec import TeamSizes

FORMAT = 1
FILE_NAME = "config.json"
_KINDS = {
    "versions": dict,
    "git_commit": str | None,
    "cpu_count": int | None,
    "machine": str | None,
    "command": str,
}
"""What stands in a config.json beside the settings."""
_DISTRIBUTIONS = ("mast-marl", "jax", "jaxlib", "equinox", "optax", "jaxmarl", "numpy")


@runtime_checkable
class TeamFacts(TeamSizes, Protocol):
    """What is recorded of an environment; `EnvironmentSpec` has all of it."""

    @property
    def identity(self) -> str: ...
    @property
    def unit_types(self) -> tuple[str, ...]: ...


@dataclass(frozen=True)
class RecordedTeam:
    """The facts of a run's environment, so that a look at the run need not import its code."""

    observation: int
    state: int
    actions: int
    agents: int
    identity: str
    unit_types: tuple[str, ...]

    @classmethod
    def of(cls, facts: TeamFacts) -> RecordedTeam:
        """What is recorded of an environment."""
        kinds = tuple(str(kind) for kind in facts.unit_types)
        sizes = {name: int(getattr(facts, name)) for name in _SIZES}
        return cls(**sizes, identity=str(facts.identity), unit_types=kinds)

    @classmethod
    def read(cls, recorded: object) -> RecordedTeam | None:
        """What a config.json holds under "team"; None where it holds nothing that can be it."""
        if not isinstance(recorded, dict):
            return None
        sizes: dict[str, int] = {name: recorded.get(name, 0) for name in _SIZES}
        identity, kinds = recorded.get("identity"), recorded.get("unit_types")
        if not all(type(size) is int and 0 < size <= _LARGEST for size in sizes.values()):
            return None
        if not isinstance(identity, str) or not isinstance(kinds, list):
            return None
        return cls(**sizes, identity=identity, unit_types=tuple(str(kind) for kind in kinds))


_SIZES = ("observation", "state", "actions", "agents")
_LARGEST = 2**31 - 1


def run_record(config: Config, given: Mapping[str, Any]) -> dict[str, Any]:
    """What a run's config.json holds.

    Args:
        config: the resolved settings.
        given: what the user gave of them, from which `--config` starts another run.

    Returns:
        format, given, settings, versions, git_commit, cpu_count, machine, command; ready for JSON.
    """
    return {
        "format": FORMAT,
        "given": _typed(config, given),
        "settings": config.model_dump(mode="json"),
        "versions": _versions(),
        "git_commit": _git_commit(),
        "cpu_count": usable_cpus(),
        "machine": processor(),
        "command": shlex.join(["mast", *sys.argv[1:]]),
    }


def without_folders(command: str) -> str:
    """A command as another would type it: `mast`, and of absolute paths only the last name.

    Args:
        command: as a run's config.json has it; in those of earlier versions the program is a path.
    """
    _, *words = shlex.split(command) or [""]
    return shlex.join(["mast", *map(without_folder, words)])


def without_folder(word: str) -> str:
    """A typed word, an absolute path (as `--out=/a/b` too) by its last name only."""
    option, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
    return option + equals + (Path(value).name if value.startswith("/") else value)


def _typed(config: Config, given: Mapping[str, Any]) -> dict[str, Any]:
    """What was given, text read as numbers; dense's ignored sparsity as it was."""
    typed = {name: getattr(config, name) for name in given}
    if "sparsity" in given:
        typed["sparsity"] = float(given["sparsity"])
    return typed


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for name in _DISTRIBUTIONS:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def processor() -> str:
    """What the system calls the processor, or its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _git_commit() -> str | None:
    """The commit of the source tree that runs, "-dirty" where it was edited; None without git."""
    source = Path(__file__).parent
    try:
        commit, changes = (
            subprocess.run(
                ["git", "-C", str(source), *command],
                capture_output=True,
                text=True,
                check=True,
                timeout=10,
            ).stdout.strip()
            for command in (["rev-parse", "HEAD"], ["status", "--porcelain", "--", str(source)])
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return commit + ("-dirty" if changes else "")


def write_run_record(
    run: Path, config: Config, given: Mapping[str, Any], facts: TeamFacts | None = None
) -> None:
    """Writes `run`/config.json, whole or not at all; its folder must exist.

    Args:
        run: the folder.
        config, given: as for `run_record`.
        facts: of the environment, where it was made.
    """
    team = {} if facts is None else {"team": asdict(RecordedTeam.of(facts))}
    _write(run, run_record(config, given) | team)


def recorded_team(run: Path) -> RecordedTeam | None:
    """The facts of a run's environment; None where it was made before they were recorded."""
    return RecordedTeam.read(load_run_record(run).get("team"))


def extend_run_record(run: Path, config: Config) -> None:
    """Writes a new number of steps into `run`/config.json; where and how the run began stays.

    ε goes on as it began, so its steps count as given from now on: their default would follow the new number.
    """
    record = load_run_record(run)
    changed = {"steps": config.steps, "epsilon_steps": config.epsilon_steps}
    fresh = run_record(config, record["given"] | changed)
    _write(run, record | {name: fresh[name] for name in ("given", "settings")})


def _write(run: Path, record: Mapping[str, Any]) -> None:
    text = json.dumps(record, indent=2, ensure_ascii=False, default=plain_number) + "\n"
    write_atomically(run / FILE_NAME, text.encode())


def differences_from(record: Mapping[str, Any]) -> list[str]:
    """What is other here and now than where a run began, so that it cannot go on bit for bit."""
    here = {"CPU threads": usable_cpus(), "processor": processor(), **_versions()}
    there = {
        "CPU threads": record.get("cpu_count"),
        "processor": record.get("machine"),
        **record.get("versions", {}),
    }
    return [
        f"{name} {there.get(name)} → {here.get(name)}"
        for name in here
        if there.get(name) != here.get(name)
    ]


def load_config_file(path: Path) -> dict[str, Any]:
    """The settings to start from, not yet checked.

    Args:
        path: a run's config.json, a run's folder, or a JSON object of setting → value.

    Raises:
        UserError: no such file, no JSON object, or a newer format.
    """
    content = _read_object(path / FILE_NAME if path.is_dir() else path)
    if "format" not in content:
        return content
    _check_format(content, path)
    given, settings = (_part(content, name, path) for name in ("given", "settings"))
    return _missing(settings) | given


def load_run_record(run: Path) -> dict[str, Any]:
    """The whole config.json of a run's folder.

    Raises:
        UserError: the folder is no run, or its config.json is damaged or of a newer format.
    """
    if not (run / FILE_NAME).is_file():
        what = "no such folder" if not run.is_dir() else "has no config.json"
        if (run / "contract.json").is_file():
            what = "mast export or mast compact made it; mast evaluate and mast watch can play it"
        raise UserError(f"{run} is no run: {what}")
    path = run / FILE_NAME
    record = _read_object(path)
    _check_format(record, path)
    for name in ("given", "settings"):
        _part(record, name, path)
    unknown: dict[str, Any] = {
        "versions": {},
        "git_commit": None,
        "cpu_count": None,
        "machine": None,
        "command": "",
    }
    record = unknown | record  # an early one does not say everything
    for name, kind in _KINDS.items():
        if not isinstance(record[name], kind):
            raise UserError(f"{path} is damaged: {name} = {one_line(record[name])}")
    return record


def load_run_config(run: Path) -> Config:
    """The resolved settings of a run's folder, as they were when it started.

    Raises:
        UserError: as `load_run_record`, or a setting that this version does not know.
    """
    settings = _part(load_run_record(run), "settings", run / FILE_NAME)
    try:
        return Config.model_validate(_missing(settings) | settings)
    except ValidationError as error:
        raise UserError(f"{run / FILE_NAME}: {first_problem(error)}") from None


def _missing(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What a record from before a setting was added says of it."""
    known = reference_settings().items()
    return {name: value for name, value in known if name not in settings}


def _read_object(path: Path) -> dict[str, Any]:
    content = read_json(path)
    if not isinstance(content, dict):
        raise UserError(f"{path}: must be a JSON object of settings")
    return content


def _check_format(content: Mapping[str, Any], path: Path) -> None:
    if content.get("format") != FORMAT:
        raise UserError(f"{path}: format = {content.get('format')}: this version reads {FORMAT}")


def _part(content: Mapping[str, Any], name: str, path: Path) -> dict[str, Any]:
    part = content.get(name)
    if not isinstance(part, dict):
        raise UserError(f"{path}: {name!r} is missing")
    return part
