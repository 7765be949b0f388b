"""A segment: consecutive episodes of the replay ring in one file; and files that survive a crash.

A segment is one line of JSON (sizes, and each episode's steps, ending and checksum), then the rows of
one episode after the other exactly as the ring stores them. So both ways are plain copies between the
file and the ring's slots, and a ring of 20 GB needs no second one to be saved; and of a damaged file
every episode that is whole can still be had.
"""

import hashlib
import json
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np

from mast.learning.replay import Ring

_KIND = "mast episodes 2"
_BLOCK_BYTES = 1 << 20


class DamagedError(Exception):
    """A file of a checkpoint is not what was written: which, and what is wrong with it."""


@dataclass(frozen=True)
class FileRecord:
    """What a file must be: its name in the checkpoint folder, size in bytes, SHA-256."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Segment:
    """The episodes numbered first .. stop - 1 and the file that they are in."""

    first: int
    stop: int
    file: FileRecord


def sync_directory(folder: Path) -> None:
    """Makes the names in a folder durable: those of new, renamed and deleted files."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_durably(folder: Path, name: str, content: bytes) -> FileRecord:
    """Writes a new file of a checkpoint folder, on the disk when this returns."""
    with (folder / name).open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return FileRecord(name, len(content), hashlib.sha256(content).hexdigest())


def check_files(folder: Path, records: Iterable[FileRecord], *, contents: bool) -> None:
    """Holds files to their records.

    Args:
      folder: where they lie.
      records: what they must be.
      contents: whether the checksum too, which reads them, or only the size.

    Raises:
      DamagedError: one is missing or another.
    """
    for record in records:
        path = folder / record.name
        try:
            size = path.stat().st_size
            if size != record.size:
                raise DamagedError(f"{record.name} has {size} bytes instead of {record.size}")
            if contents:
                with path.open("rb") as file:
                    digest = hashlib.file_digest(file, "sha256").hexdigest()
                _check_digest(record, digest)
        except FileNotFoundError:
            raise DamagedError(f"{record.name} is missing") from None
        except OSError as error:
            raise DamagedError(f"{record.name} cannot be read ({error.strerror})") from None


def write_segment(folder: Path, name: str, ring: Ring, first: int, stop: int) -> Segment:
    """Writes the episodes numbered first .. stop - 1 of a ring to a new durable file.

    Raises:
      ValueError: the ring does not hold them all.
    """
    numbers = range(first, stop)
    header = {
        "kind": _KIND,
        "first": first,
        "fields": _fields(ring, first),
        "episodes": [[*ring.ending(n), _checksum(ring.ending(n), ring.stored(n))] for n in numbers],
    }
    digest, size = hashlib.sha256(), 0
    with (folder / name).open("wb", buffering=_BLOCK_BYTES) as file:

        def write(block: bytes | memoryview) -> None:
            nonlocal size
            file.write(block)
            digest.update(block)
            size += memoryview(block).nbytes

        write(json.dumps(header).encode() + b"\n")
        for number in numbers:
            for rows in ring.stored(number).values():
                write(rows.data)
        file.flush()
        os.fsync(file.fileno())
    return Segment(first, stop, FileRecord(name, size, digest.hexdigest()))


def read_segment(folder: Path, segment: Segment, ring: Ring) -> None:
    """Appends a segment's episodes to a ring, leaving out those that come before the ring's next.

    Episodes are read into their slots at once and the checksum is taken on the way, so what the
    ring holds is good only if nothing is raised.

    Raises:
      DamagedError: the file is not what was written.
    """
    name = segment.file.name
    try:
        with (folder / name).open("rb") as file:
            _read_episodes(file, segment, ring)
    except FileNotFoundError:
        raise DamagedError(f"{name} is missing") from None
    except OSError as error:
        raise DamagedError(f"{name} cannot be read ({error.strerror})") from None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise DamagedError(f"{name} is garbled") from None


def whole_episodes(folder: Path, segment: Segment, ring: Ring) -> Iterator[int]:
    """Reads a segment that may be damaged and yields the numbers of its whole episodes, one by one.

    Args:
      folder: where it lies.
      segment: which.
      ring: of one slot and the sizes of the run's own; each episode is in it when its number is yielded.
    """
    try:
        with (folder / segment.file.name).open("rb") as file:
            header = _header(file.readline(), segment)
            for number, (*ending, checksum) in enumerate(header["episodes"], segment.first):
                rows = ring.claim(*ending)
                if number == segment.first and header["fields"] != _fields(ring, ring.first):
                    return
                if any(file.readinto(part.data) != part.nbytes for part in rows.values()):
                    return
                if _checksum(ending, rows) == checksum:
                    yield number
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return  # what came before it is whole


def _read_episodes(file: BufferedReader, segment: Segment, ring: Ring) -> None:
    line = file.readline()
    digest = hashlib.sha256(line)
    header = _header(line, segment)
    skipped = Ring(ring.sizes, 1, ring.dtype, ring.keeps_greedy)
    for number, (steps, terminated, won, _) in enumerate(header["episodes"], segment.first):
        into = skipped if number < ring.total_added else ring
        slot = into.claim(steps, terminated, won)
        for rows in slot.values():
            if file.readinto(rows.data) != rows.nbytes:
                raise ValueError("too short")
            digest.update(rows.data)
        if number == segment.first and header["fields"] != _fields(into, into.total_added - 1):
            raise ValueError("other sizes")
    if file.read(1):
        raise ValueError("too long")
    _check_digest(segment.file, digest.hexdigest())


def _header(line: bytes, segment: Segment) -> dict[str, Any]:
    """The first line of a segment's file.

    Raises:
      ValueError, KeyError, TypeError: it is another.
    """
    header: dict[str, Any] = json.loads(line)
    if (header["kind"], header["first"]) != (_KIND, segment.first):
        raise ValueError("another kind of file")
    if len(header["episodes"]) != segment.stop - segment.first:
        raise ValueError("another number of episodes")
    return header


def _checksum(ending: Iterable[Any], rows: Mapping[str, np.ndarray]) -> int:
    """CRC-32 of one episode: its steps and ending, and what is stored of it."""
    checksum = zlib.crc32(json.dumps(list(ending)).encode())
    for part in rows.values():
        checksum = zlib.crc32(part.data, checksum)
    return checksum


def _fields(ring: Ring, number: int) -> dict[str, list[Any]]:
    """Name, type (with its byte order) and width of what a slot holds, as JSON gives it back."""
    return {name: [rows.dtype.str, rows.shape[1]] for name, rows in ring.stored(number).items()}


def _check_digest(record: FileRecord, digest: str) -> None:
    if digest != record.sha256:
        raise DamagedError(f"{record.name} has another checksum")
