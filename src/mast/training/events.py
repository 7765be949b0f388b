"""TensorBoard events, written at once and in order, so that an error of the disk is met where it happens."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class EventFile:
    """A new file of events.

    tensorboardX's own writer hands events to a thread. A full disk ends it, and the training would wait on.

    Args:
        folder: of the events; made if need be.
        purge_from: events of this step and later that other files of the folder hold count as forgotten.
    """

    def __init__(self, folder: Path, purge_from: int | None) -> None:
        # Half a second of imports that a run without an evaluation does not need.
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog

        folder.mkdir(exist_ok=True)
        # The name's clock has whole seconds: a writer opened again would overwrite its file.
        number = len(list(folder.iterdir()))
        self._event: Any = Event
        self._writer: Any = EventsWriter(str(folder / "events"), f".{number}")
        if purge_from is not None:
            start = SessionLog(status=SessionLog.START)
            self._writer.write_event(Event(step=purge_from, file_version="brain.Event:2"))
            self._writer.write_event(Event(step=purge_from, session_log=start))

    def add(self, values: Mapping[str, float], step: int) -> None:
        """Adds numbers of one step and flushes them."""
        from tensorboardX.summary import scalar

        for name, value in values.items():
            event = self._event(wall_time=time.time(), step=step, summary=scalar(name, value))
            self._writer.write_event(event)
        self._writer.flush()

    def close(self) -> None:
        """Closes the file."""
        self._writer.close()
