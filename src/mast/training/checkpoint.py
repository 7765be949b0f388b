"""Checkpoints that survive `kill -9`: everything that a run needs to go on bit for bit.

The `checkpoints/` of a run's folder holds, for the checkpoint of serial number K:

- `state-K/`: the small state (parameters, masks, optimizer, targets, random keys), by Orbax;
- `episodes-K.bin`: the episodes that are new since the checkpoint before (`segments`);
- `checkpoint-K.json`: the manifest: counters, what the ring and the state are, and size and SHA-256
  of every file that the checkpoint consists of, older segments among them. It is written last and
  renamed into place, so a checkpoint without one does not exist.

A leftover of a save that was cut off is ignored by `restore` and deleted by the next `save`.
"""

import dataclasses
import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mast.errors import UserError
from mast.learning.replay import Ring
from mast.training.saved_state import fill_template, named_arrays, read_state, write_state
from mast.training.segments import (
    DamagedError,
    FileRecord,
    Segment,
    check_files,
    read_segment,
    record_file,
    sync_directory,
    write_segment,
)

FORMAT = 1
FOLDER_NAME = "checkpoints"
_KIND = "mast checkpoint"
_OWN_NAME = re.compile(r"(checkpoint|state|episodes)-(\d{6,})(\D.*)?")
_MANIFEST_NAME = re.compile(r"checkpoint-(\d{6,})\.json")


class Restored(NamedTuple):
    """What `CheckpointStore.restore` found.

    `skipped` has one line for each newer checkpoint that was damaged: which, and which file of it.
    """

    step: int
    state: Any
    counters: dict[str, Any]
    skipped: list[str]


@dataclasses.dataclass(frozen=True)
class _Manifest:
    """One whole checkpoint, as its manifest describes it."""

    serial: int
    step: int
    counters: dict[str, Any]
    ring: dict[str, Any]
    first: int
    """Number of the ring's oldest episode."""
    total_added: int
    leaves: dict[str, list[Any]]
    state: list[FileRecord]
    segments: list[Segment]

    def names(self) -> set[str]:
        """The entries of the folder that belong to this checkpoint."""
        own = {_manifest_name(self.serial), _state_name(self.serial)}
        return own | {segment.file.name for segment in self.segments}


class CheckpointStore:
    """The checkpoints of one run, in `checkpoints/` of its folder; the last `keep` are kept."""

    def __init__(self, run_folder: Path | str, keep: int = 2) -> None:
        """Looks at what is there; nothing is written before the first `save`.

        Raises:
          UserError: there is something else in it, or it is no folder.
          ValueError: keep < 1.
        """
        if keep < 1:
            raise ValueError(f"at least one checkpoint is kept, got {keep}")
        self._folder, self._keep = Path(run_folder).absolute() / FOLDER_NAME, keep
        # Checkpoints known to be good, oldest first: those that this object restored or wrote.
        self._good: list[_Manifest] = []
        for name in self._entries():
            if not _OWN_NAME.fullmatch(name):
                raise UserError(f"{self._folder} is no checkpoint folder: it holds {name!r}")

    def save(self, step: int, state: Any, counters: Mapping[str, Any], ring: Ring) -> Path:
        """Writes a checkpoint; when this returns, it survives `kill -9` and loss of power.

        Args:
          step: where the run is, by whatever the caller counts.
          state: a pytree; its arrays (JAX's and NumPy's, typed random keys too) and Python numbers
            are saved, every other leaf is the template's when it is restored.
          counters: whatever JSON can hold; tuples come back as lists.
          ring: the replay ring, which has grown from the one that was saved before.

        Returns:
          The path of its manifest.

        Raises:
          UserError: the folder has checkpoints that were not restored, or cannot be written.
          ValueError: the ring has fewer episodes than the last checkpoint, or two leaves one name.
        """
        try:
            return self._save(step, state, counters, ring)
        except OSError as error:
            reason = f"{error.strerror or error}"
            raise UserError(f"no checkpoint can be written to {self._folder}: {reason}") from error

    def restore(self, template: Any, ring: Ring, at_most: int | None = None) -> Restored | None:
        """Brings back the newest checkpoint that is whole; None if there is none to try.

        The next `save` deletes the newer ones that were passed over.

        Args:
          template: a pytree of the structure that was saved; its arrays are replaced.
          ring: of the same capacity and sizes as the saved one; whatever it holds is dropped. Each
            episode lies in the slot where it was, so sampling goes on bit for bit.
          at_most: leaves out checkpoints of a later step. Runs that go on together, but were killed
            while one after the other was saved, go back to the step that all of them have.

        Raises:
          UserError: every checkpoint is damaged, or one is of another format, another ring or
            another state.
        """
        skipped: list[str] = []
        for serial in self._serials():
            try:
                manifest = _read_manifest(self._folder, serial)
                if at_most is not None and manifest.step > at_most:
                    continue
                _check_fit(manifest, template, ring)
                check_files(self._folder, manifest.state, contents=True)
                check_files(self._folder, (s.file for s in manifest.segments), contents=False)
                ring.clear(manifest.first)
                for segment in manifest.segments:
                    read_segment(self._folder, segment, ring)
                if ring.total_added != manifest.total_added:
                    raise DamagedError(
                        f"{_manifest_name(serial)} lists segments that do not hold all episodes"
                    )
            except DamagedError as error:
                ring.clear()
                skipped.append(f"checkpoint {serial} is damaged: {error}")
                continue
            arrays = read_state(self._folder / _state_name(serial), manifest.leaves)
            self._good = [manifest]
            return Restored(
                manifest.step, fill_template(template, arrays), manifest.counters, skipped
            )
        if skipped:
            raise UserError(f"no checkpoint in {self._folder} is whole: {'; '.join(skipped)}")
        return None

    def state_arrays(self) -> dict[str, np.ndarray]:
        """The state of the newest whole checkpoint as arrays by path, for a run that builds on this one.

        Raises:
          UserError: there is none.
        """
        for serial in self._serials():
            try:
                manifest = _read_manifest(self._folder, serial)
                check_files(self._folder, manifest.state, contents=True)
            except DamagedError:
                continue
            return read_state(self._folder / _state_name(serial), manifest.leaves)
        raise UserError(f"{self._folder.parent} has no checkpoint to begin with")

    def peek(self) -> tuple[int, dict[str, Any]] | None:
        """Step and counters of the newest manifest that can be read, without JAX, or None.

        Raises:
          UserError: it is of another format.
        """
        for serial in self._serials():
            try:
                manifest = _read_manifest(self._folder, serial)
            except DamagedError:
                continue
            return manifest.step, manifest.counters
        return None

    def _save(self, step: int, state: Any, counters: Mapping[str, Any], ring: Ring) -> Path:
        if not self._good and self._serials():
            raise UserError(f"{self._folder} already holds checkpoints: resume that run")
        self._folder.mkdir(parents=True, exist_ok=True)
        serial = 1 + max((_serial(name) for name in self._entries()), default=0)
        arrays = named_arrays(state)
        segments = self._segments_with_new(serial, ring)
        write_state(self._folder / _state_name(serial), arrays)
        manifest = _Manifest(
            serial=serial,
            step=step,
            counters=dict(counters),
            ring=_describe_ring(ring),
            first=ring.first,
            total_added=ring.total_added,
            leaves=_describe_leaves(arrays),
            state=_record_tree(self._folder, self._folder / _state_name(serial)),
            segments=segments,
        )
        sync_directory(self._folder)  # the files have their names before the manifest has its own
        path = _write_manifest(self._folder, manifest)
        self._good = [*self._good, manifest][-self._keep :]
        self._prune()
        return path

    def _segments_with_new(self, serial: int, ring: Ring) -> list[Segment]:
        """The segments that hold the ring's episodes, after writing one of the new episodes."""
        segments, saved = [], 0
        if self._good:
            segments = [s for s in self._good[-1].segments if s.stop > ring.first]
            saved = self._good[-1].total_added
        if ring.total_added < saved:
            raise ValueError(f"the ring has had {ring.total_added} episodes, saved were {saved}")
        first = max(saved, ring.first)
        if first < ring.total_added:
            name = f"episodes-{serial:06d}.bin"
            segments.append(write_segment(self._folder, name, ring, first, ring.total_added))
        return segments

    def _prune(self) -> None:
        """Deletes what no kept checkpoint needs: older ones, damaged ones, leftovers."""
        wanted = set().union(*(manifest.names() for manifest in self._good))
        # Manifests first: none may be left whose files are gone.
        for name in sorted(set(self._entries()) - wanted, key=lambda n: not _is_manifest(n)):
            path = self._folder / name
            if not _OWN_NAME.fullmatch(name):
                continue
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

    def _entries(self) -> list[str]:
        """Everything in the folder but hidden files."""
        try:
            return [name for name in os.listdir(self._folder) if not name.startswith(".")]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise UserError(f"{self._folder} cannot be read: {error.strerror}") from error

    def _serials(self) -> list[int]:
        """Serial numbers of the manifests, newest first."""
        return sorted((_serial(n) for n in self._entries() if _is_manifest(n)), reverse=True)


def _manifest_name(serial: int) -> str:
    return f"checkpoint-{serial:06d}.json"


def _state_name(serial: int) -> str:
    return f"state-{serial:06d}"


def _is_manifest(name: str) -> bool:
    return _MANIFEST_NAME.fullmatch(name) is not None


def _serial(name: str) -> int:
    match = _OWN_NAME.fullmatch(name)
    return int(match[2]) if match else 0


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _write_manifest(folder: Path, manifest: _Manifest) -> Path:
    content: dict[str, Any] = {
        "kind": _KIND,
        "format": FORMAT,
        **dataclasses.asdict(manifest),
    }
    # As it will be read back: the checksum is over that.
    content = json.loads(json.dumps(content))
    content["sha256"] = _digest(content)
    path = folder / _manifest_name(manifest.serial)
    unfinished = path.with_name(path.name + ".tmp")
    with unfinished.open("w", encoding="utf-8") as file:
        json.dump(content, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
    sync_directory(folder)
    return path


def _read_manifest(folder: Path, serial: int) -> _Manifest:
    name = _manifest_name(serial)
    try:
        content = json.loads((folder / name).read_text(encoding="utf-8"))
        if content["kind"] != _KIND:
            raise DamagedError(f"{name} is no manifest of a checkpoint")
        if content["format"] != FORMAT:
            raise UserError(
                f"{folder / name} has checkpoint format {content['format']}, "
                f"this version of Mast reads format {FORMAT}"
            )
        digest = content.pop("sha256")
        if digest != _digest(content):
            raise DamagedError(f"{name} has another checksum")
        del content["kind"], content["format"]
        content["state"] = [FileRecord(**record) for record in content["state"]]
        content["segments"] = [
            Segment(s["first"], s["stop"], FileRecord(**s["file"])) for s in content["segments"]
        ]
        return _Manifest(**content)
    except OSError as error:
        raise DamagedError(f"{name} cannot be read ({error.strerror})") from None
    except (ValueError, KeyError, TypeError):
        raise DamagedError(f"{name} is garbled") from None


def _describe_ring(ring: Ring) -> dict[str, Any]:
    names = ("agents", "actions", "observation", "state", "episode_limit")
    sizes = {name: getattr(ring.sizes, name) for name in names}
    return {
        "capacity": ring.capacity,
        "dtype": ring.dtype,
        "keeps_greedy": ring.keeps_greedy,
        **sizes,
    }


def _describe_leaves(arrays: Mapping[str, np.ndarray]) -> dict[str, list[Any]]:
    return {name: [array.dtype.name, list(array.shape)] for name, array in arrays.items()}


def _check_fit(manifest: _Manifest, template: Any, ring: Ring) -> None:
    """Refuses a checkpoint of another run: nothing is damaged, it only does not belong here."""
    name = _manifest_name(manifest.serial)
    _check_equal(f"{name}: the replay ring's", manifest.ring, _describe_ring(ring))
    leaves = _describe_leaves(named_arrays(template))
    _check_equal(f"{name}: the state's", manifest.leaves, leaves)


def _check_equal(what: str, saved: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    for key in [*wanted, *saved]:
        if saved.get(key) != wanted.get(key):
            raise UserError(
                f"{what} {key} was saved as {saved.get(key)}, this run has {wanted.get(key)}"
            )


def _record_tree(folder: Path, tree: Path) -> list[FileRecord]:
    """Makes all files and folders of a tree durable and records the files."""
    records = []
    for parent, _, names in os.walk(tree):
        records += [record_file(folder, Path(parent) / name) for name in sorted(names)]
        sync_directory(Path(parent))
    return records
