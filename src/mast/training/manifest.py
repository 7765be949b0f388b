"""A checkpoint's manifest: what it consists of, with the checksum of every file of it. Imports no JAX."""

import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mast.errors import UserError
from mast.files import plain_number
from mast.training.segments import DamagedError, FileRecord, Segment, sync_directory

FORMAT = 2
ORBAX_FORMAT = 1
"""Of earlier versions, whose state was written by Orbax: its counters can be read, its state cannot."""
_KIND = "mast checkpoint"
_NAME = re.compile(r"checkpoint-(\d{6,})\.json")


@dataclasses.dataclass(frozen=True)
class Manifest:
    """One whole checkpoint.

    Attributes:
        serial: its number within the run.
        step: where the run was, by whatever the caller counts.
        counters: the caller's own.
        ring: what the replay ring is: capacity, number type, sizes.
        first: number of the ring's oldest episode.
        total_added: episodes that the ring has ever had.
        leaves: name of each array of the state → [number type, shape].
        state: the file of the state.
        segments: those of the ring's episodes, oldest first.
        format: of the checkpoint.
    """

    serial: int
    step: int
    counters: dict[str, Any]
    ring: dict[str, Any]
    first: int
    total_added: int
    leaves: dict[str, list[Any]]
    state: list[FileRecord]
    segments: list[Segment]
    format: int = FORMAT

    def names(self) -> set[str]:
        """The entries of the folder that belong to this checkpoint."""
        own = {manifest_name(self.serial), state_name(self.serial)}
        return own | {segment.file.name for segment in self.segments}


def manifest_name(serial: int) -> str:
    """The file of the manifest of this serial number."""
    return f"checkpoint-{serial:06d}.json"


def state_name(serial: int) -> str:
    """The file of its state."""
    return f"state-{serial:06d}.safetensors"


def is_manifest(name: str) -> bool:
    """Whether a manifest is called like that."""
    return _NAME.fullmatch(name) is not None


def write_manifest(folder: Path, manifest: Manifest) -> Path:
    """Writes it durably, whole or not at all."""
    content: dict[str, Any] = {"kind": _KIND, **dataclasses.asdict(manifest)}
    # As it will be read back: the checksum is over that.
    content = json.loads(json.dumps(content, default=plain_number))
    content["sha256"] = _digest(content)
    path = folder / manifest_name(manifest.serial)
    unfinished = path.with_name(path.name + ".tmp")
    with unfinished.open("w", encoding="utf-8") as file:
        json.dump(content, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
    sync_directory(folder)
    return path


def read_manifest(folder: Path, serial: int) -> Manifest:
    """Reads one, of an earlier format too.

    Raises:
        DamagedError: it is not what was written.
        UserError: it is of a later format.
    """
    name = manifest_name(serial)
    try:
        content = json.loads((folder / name).read_text(encoding="utf-8"))
        if content["kind"] != _KIND:
            raise DamagedError(f"{name} is no manifest of a checkpoint")
        digest = content.pop("sha256")
        if digest != _digest(content):
            raise DamagedError(f"{name} has another checksum")
        if content["format"] not in (ORBAX_FORMAT, FORMAT):
            raise UserError(
                f"{folder / name} has checkpoint format {content['format']}, "
                f"this version of Mast reads format {FORMAT}"
            )
        del content["kind"]
        content["state"] = [FileRecord(**record) for record in content["state"]]
        content["segments"] = [
            Segment(s["first"], s["stop"], FileRecord(**s["file"])) for s in content["segments"]
        ]
        return Manifest(**content)
    except OSError as error:
        raise DamagedError(f"{name} cannot be read ({error.strerror})") from None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise DamagedError(f"{name} is garbled") from None


def refuse_orbax(folder: Path, manifest: Manifest) -> None:
    """Refuses the state of an earlier version.

    Args:
        folder: of the checkpoints, in the run's own.
        manifest: of the checkpoint.

    Raises:
        UserError: it is of the earlier format.
    """
    if manifest.format != ORBAX_FORMAT:
        return
    run, writer = folder.parent, "0.1.0"
    try:
        record = json.loads((run / "config.json").read_text(encoding="utf-8"))
        commit = record.get("git_commit")
        writer = record["versions"]["mast-marl"] + (f" (commit {commit[:12]})" if commit else "")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass  # the version is in there for people to read; the checkpoint is refused without it too
    raise UserError(
        f"{run}: its checkpoints were written by Mast {writer}, with Orbax, and cannot be resumed by this "
        f"version; its policies can be played: mast evaluate {run}"
    )


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
