"""Checkpoints that survive `kill -9`: everything that a run needs to go on bit for bit.

The `checkpoints/` of a run's folder holds, for the checkpoint of serial number K:

- `state-K.safetensors`: the small state (parameters, masks, optimizer, targets, random keys);
- `episodes-K.bin`: the episodes that are new since the checkpoint before (`segments`);
- `checkpoint-K.json`: the manifest: counters, what the ring and the state are, and size and SHA-256
  of every file that the checkpoint consists of, older segments among them. It is written last and
  renamed into place, so a checkpoint without one does not exist.

A leftover of a save that was cut off is ignored by `restore` and deleted by the next `save`.
"""

import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mast.errors import StorageError, UserError
from mast.learning.replay import Ring
from mast.training.manifest import (
    Manifest,
    is_manifest,
    manifest_name,
    read_manifest,
    refuse_orbax,
    state_name,
    write_manifest,
)
from mast.training.saved_state import (
    fill_template,
    holds_state,
    named_arrays,
    read_state,
    state_bytes,
)
from mast.training.segments import (
    DamagedError,
    Segment,
    check_files,
    read_segment,
    sync_directory,
    whole_episodes,
    write_durably,
    write_segment,
)

FOLDER_NAME = "checkpoints"
_OWN_NAME = re.compile(r"(checkpoint|state|episodes)-(\d{6,})(\D.*)?")


class Restored(NamedTuple):
    """What `CheckpointStore.restore` found.

    `skipped` has one line for each checkpoint that was damaged: which, and which file of it; and one more
    where the ring came back with episodes missing.
    """

    step: int
    state: Any
    counters: dict[str, Any]
    skipped: list[str]


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
        self._good: list[Manifest] = []
        # What the next one builds on: segments, and how many episodes of the ring they bring up to date.
        self._segments: list[Segment] = []
        self._saved = 0
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
          StorageError: it cannot be written.
          UserError: the folder has checkpoints that were not restored.
          ValueError: the ring has fewer episodes than the last checkpoint, or two leaves one name.
        """
        try:
            return self._save(step, state, counters, ring)
        except OSError as error:
            reason = f"{error.strerror or error}"
            raise StorageError(
                f"no checkpoint can be written to {self._folder}: {reason}"
            ) from error

    def restore(self, template: Any, ring: Ring, at_most: int | None = None) -> Restored | None:
        """Brings back the newest checkpoint that is whole; None if there is none to try.

        Where none is, but the state of one is, that one comes back with those episodes of the ring that are
        whole, closed up. The next `save` deletes the newer ones that were passed over.

        Args:
          template: a pytree of the structure that was saved; its arrays are replaced.
          ring: of the same capacity and sizes as the saved one; whatever it holds is dropped. Each
            episode lies in the slot where it was, so sampling goes on bit for bit.
          at_most: leaves out checkpoints of a later step. Runs that go on together, but were killed
            while one after the other was saved, go back to the step that all of them have.

        Raises:
          UserError: the state of every checkpoint is damaged, all manifests are gone, or a checkpoint is
            of an earlier version, another ring or another state.
        """
        if self.count() == 0:
            return None
        skipped = self._lost_newest()
        with_state: list[tuple[Manifest, dict[str, np.ndarray]]] = []
        for serial in self._serials():
            try:
                manifest = read_manifest(self._folder, serial)
                if at_most is not None and manifest.step > at_most:
                    continue
                arrays = self._arrays(manifest)
                _check_fit(manifest, template, ring)
                with_state.append((manifest, arrays))
                self._segments, self._saved = manifest.segments, manifest.total_added
                try:
                    self._fill(ring, manifest)
                except DamagedError as error:
                    if self._salvage(ring, manifest) > 0:
                        raise
                    skipped.append(
                        f"checkpoint {serial}: {error}, but in nothing that is still needed"
                    )
                    self._segments, self._saved = [], ring.first
            except DamagedError as error:
                ring.clear()
                skipped.append(f"checkpoint {serial} is damaged: {error}")
                continue
            self._good = [manifest]
            state = fill_template(template, arrays)
            return Restored(manifest.step, state, manifest.counters, skipped)
        if with_state:
            manifest, arrays = with_state[0]
            missing = self._salvage(ring, manifest)
            self._good = [manifest]
            self._segments, self._saved = [], ring.first  # what is left is written anew
            stored = manifest.total_added - manifest.first
            skipped.append(
                f"checkpoint {manifest.serial} goes on without {missing:,} of its {stored:,} replay "
                "episodes: the run will not be bit-identical to an uninterrupted one"
            )
            state = fill_template(template, arrays)
            return Restored(manifest.step, state, manifest.counters, skipped)
        if skipped:
            raise UserError(f"no checkpoint in {self._folder} is whole: {'; '.join(skipped)}")
        return None

    @property
    def newest(self) -> dict[str, Any] | None:
        """The counters of the checkpoint that this object wrote or restored last."""
        return self._good[-1].counters if self._good else None

    def state_arrays(self) -> dict[str, np.ndarray]:
        """The state of the newest whole checkpoint as arrays by path, for a run that builds on this one.

        Raises:
          UserError: there is none, or it is of an earlier version.
        """
        for serial in self._serials():
            try:
                return self._arrays(read_manifest(self._folder, serial))
            except DamagedError:
                continue
        raise UserError(f"{self._folder.parent} has no checkpoint to begin with")

    def count(self) -> int:
        """How many checkpoints there are, damaged ones too.

        Raises:
          UserError: there were some, but their manifests are gone.
        """
        found = len(self._serials())
        # A first save that was cut off leaves number 1 and nothing else: that run has none yet.
        if found == 0 and any(serial > 1 for serial in self._states()):
            raise UserError(
                f"{self._folder} has lost its manifests ({manifest_name(max(self._states()))} …): the run "
                "cannot go on; its policies can be played"
            )
        return found

    def peek(self) -> tuple[int, dict[str, Any]] | None:
        """Step and counters of the newest manifest that can be read, without JAX, or None.

        Raises:
          UserError: it is of another format.
        """
        for serial in self._serials():
            try:
                manifest = read_manifest(self._folder, serial)
            except DamagedError:
                continue
            return manifest.step, manifest.counters
        return None

    def _save(self, step: int, state: Any, counters: Mapping[str, Any], ring: Ring) -> Path:
        if not self._good and self._serials():
            raise UserError(f"{self._folder} already holds checkpoints: resume that run")
        self._folder.mkdir(exist_ok=True)  # a run's folder that is gone is not made again
        serial = 1 + max((_serial(name) for name in self._entries()), default=0)
        arrays = named_arrays(state)
        segments = self._segments_with_new(serial, ring)
        state_file = write_durably(self._folder, state_name(serial), state_bytes(arrays))
        manifest = Manifest(
            serial=serial,
            step=step,
            counters=dict(counters),
            ring=_describe_ring(ring),
            first=ring.first,
            total_added=ring.total_added,
            leaves=_describe_leaves(arrays),
            state=[state_file],
            segments=segments,
        )
        sync_directory(self._folder)  # the files have their names before the manifest has its own
        path = write_manifest(self._folder, manifest)
        self._good = [*self._good, manifest][-self._keep :]
        self._segments, self._saved = segments, ring.total_added
        self._prune()
        return path

    def _segments_with_new(self, serial: int, ring: Ring) -> list[Segment]:
        """The segments that hold the ring's episodes, after writing one of the new episodes."""
        if ring.total_added < self._saved:
            raise ValueError(
                f"the ring has had {ring.total_added} episodes, saved were {self._saved}"
            )
        segments = [segment for segment in self._segments if segment.stop > ring.first]
        first = max(self._saved, ring.first)
        if first < ring.total_added:
            name = f"episodes-{serial:06d}.bin"
            segments.append(write_segment(self._folder, name, ring, first, ring.total_added))
        return segments

    def _arrays(self, manifest: Manifest) -> dict[str, np.ndarray]:
        """The state of a checkpoint.

        Raises:
          DamagedError: its file is another.
          UserError: it is of an earlier version.
        """
        refuse_orbax(self._folder, manifest)
        check_files(self._folder, manifest.state, contents=True)
        try:
            return read_state(self._folder / state_name(manifest.serial), manifest.leaves)
        except OSError as error:
            raise DamagedError(
                f"{state_name(manifest.serial)} cannot be read ({error.strerror})"
            ) from None
        except ValueError:
            raise DamagedError(f"{state_name(manifest.serial)} is garbled") from None

    def _fill(self, ring: Ring, manifest: Manifest) -> None:
        """Brings the ring of a checkpoint back.

        Raises:
          DamagedError: a segment is another, or one is missing.
        """
        check_files(self._folder, (s.file for s in manifest.segments), contents=False)
        ring.clear(manifest.first)
        for segment in manifest.segments:
            read_segment(self._folder, segment, ring)
        if ring.total_added != manifest.total_added:
            name = manifest_name(manifest.serial)
            raise DamagedError(f"{name} lists segments that do not hold all episodes")

    def _salvage(self, ring: Ring, manifest: Manifest) -> int:
        """Fills a ring with a checkpoint's whole episodes, closed up; how many are missing."""
        one = Ring(ring.sizes, 1, ring.dtype, ring.keeps_greedy)
        ring.clear(manifest.first)
        for segment in manifest.segments:
            for number in whole_episodes(self._folder, segment, one):
                if number < manifest.first:
                    continue
                newest = one.total_added - 1
                into = ring.claim(*one.ending(newest))
                for name, rows in one.stored(newest).items():
                    into[name][...] = rows
        return manifest.total_added - ring.total_added

    def _states(self) -> list[int]:
        """Serial numbers of the states, whole or not."""
        return [_serial(name) for name in self._entries() if name.startswith("state-")]

    def _lost_newest(self) -> list[str]:
        """A line where the newest manifest is gone.

        A save that is cut off leaves a state without a manifest too, but mostly one that is cut short, and
        beside as many checkpoints as are kept.
        """
        serials, newest = self._serials(), max(self._states(), default=0)
        if newest <= serials[0] or len(serials) >= self._keep:
            return []
        if not holds_state(self._folder / state_name(newest)):
            return []
        name = manifest_name(newest)
        return [f"checkpoint {newest} has no manifest: {name} is gone or was never finished"]

    def _prune(self) -> None:
        """Deletes what no kept checkpoint needs: older ones, damaged ones, leftovers."""
        wanted = set().union(*(manifest.names() for manifest in self._good))
        # Manifests first: none may be left whose files are gone.
        for name in sorted(set(self._entries()) - wanted, key=lambda n: not is_manifest(n)):
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
        return sorted((_serial(n) for n in self._entries() if is_manifest(n)), reverse=True)


def _serial(name: str) -> int:
    match = _OWN_NAME.fullmatch(name)
    return int(match[2]) if match else 0


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


def _check_fit(manifest: Manifest, template: Any, ring: Ring) -> None:
    """Refuses a checkpoint of another run: nothing is damaged, it only does not belong here."""
    name = manifest_name(manifest.serial)
    _check_equal(f"{name}: the replay ring's", manifest.ring, _describe_ring(ring))
    leaves = _describe_leaves(named_arrays(template))
    _check_equal(f"{name}: the state's", manifest.leaves, leaves)


def _check_equal(what: str, saved: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    for key in [*wanted, *saved]:
        if saved.get(key) != wanted.get(key):
            raise UserError(
                f"{what} {key} was saved as {saved.get(key)}, this run has {wanted.get(key)}"
            )
