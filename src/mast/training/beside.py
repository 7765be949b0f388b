"""The files beside a run's checkpoints: each checkpoint knows its settings, metrics and policies.

So an edited learning rate, a metrics.csv of another run and a damaged policy are noticed at a resume, and the
rows of metrics.csv up to the checkpoint can be put back.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mast.config import Config
from mast.errors import UserError
from mast.files import set_aside, write_atomically
from mast.policy import Policy
from mast.training.logging import FILE_NAME as METRICS
from mast.training.logging import rows_of_file, rows_of_text
from mast.training.run import Run

POLICY, BEST_POLICY = "policy.safetensors", "policy-best.safetensors"
MAY_CHANGE = ("steps", "threads", "checkpoint_interval")
"""Settings that can be others from here on, which is said; any other would make it another run."""
SETTLED = ("execution", "battle", "placement", "seeds", "from_run")
"""Settings that say where and how a run is computed or what it began with: a resume settles them itself."""
_OF_A_POLICY = ("algorithm", "method", "sparsity", "seed")


def known_files(run: Run) -> dict[str, Any]:
    """What a checkpoint keeps of what is beside it: settings, rows of metrics.csv, SHA-256 of policies."""
    assert run.out is not None
    return {
        "settings": run.config.model_dump(mode="json"),
        "metrics": "" if run.writer is None else run.writer.text,
        "policies": {
            name: digest
            for name in (POLICY, BEST_POLICY)
            if (digest := _digest(run.out / name)) is not None
        },
    }


def check_settings(config: Config, known: Mapping[str, Any], folder: Path) -> list[str]:
    """Holds a run's settings to those of its checkpoint.

    Args:
        config: its settings now.
        known: what the checkpoint keeps.
        folder: whose config.json says so.

    Returns:
        a line for each that may change and has.

    Raises:
        UserError: another one has changed.
    """
    notices = []
    settings, before = config.model_dump(mode="json"), known["settings"]
    for name in sorted(settings.keys() & before.keys() - set(SETTLED)):
        if settings[name] == before[name]:
            continue
        if name not in MAY_CHANGE:
            raise UserError(
                f"{folder}/config.json: {name} = {settings[name]}, but the run was trained with "
                f"{before[name]}: put that back; with another value it is a new run"
            )
        notices.append(f"{name} {before[name]} → {settings[name]} since the last checkpoint")
    return notices


def mend_metrics(run: Run, known: Mapping[str, Any]) -> list[str]:
    """Puts metrics.csv back to what the checkpoint knows where its rows up to there are others; says so."""
    assert run.out is not None
    path, text = run.out / METRICS, known["metrics"]
    rows = rows_of_text(text, str(path))
    if not path.exists():
        if not rows:
            return []
        what, kept = "is gone", ""
    else:
        try:
            now = rows_of_file(path)
            if [row for row in now if int(row["env_steps"]) <= run.counters.env_steps] == rows:
                return []
            what = "is not what the checkpoint left (edited, or of another run)"
        except UserError as error:
            what = str(error).removeprefix(f"{path} ")
        kept = f"; the other is kept as {set_aside(path).name}"
    write_atomically(path, text.encode())
    return [f"{path} {what}: its rows are put back from the checkpoint{kept}"]


def check_policies(run: Run, known: Mapping[str, Any]) -> list[str]:
    """Holds a run's policies to those of its checkpoint; a line for each that is another.

    One of a later step is right: it was written between the checkpoint and the end of that session. The
    last policy is written again by the caller, where there is a line about it; the best one gives way to the
    best from here on.
    """
    assert run.out is not None
    notices = []
    for name, digest in known["policies"].items():
        path = run.out / name
        found = _digest(path)
        if found == digest or (found is not None and _is_later(path, run)):
            continue
        what = "is gone" if found is None else "is not the one that this run wrote"
        if name == BEST_POLICY:
            run.counters.best = None
            if found is not None:
                what += f", kept as {set_aside(path).name}"
            what += ": the best evaluation from here on takes its place"
        notices.append(f"{path} {what}")
    return notices


def _digest(path: Path) -> str | None:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None


def _is_later(path: Path, run: Run) -> bool:
    """Whether it is a policy of this run from after the checkpoint."""
    try:
        description = Policy.load(path).description
    except UserError:
        return False
    own = all(description.get(name) == getattr(run.config, name) for name in _OF_A_POLICY)
    return own and description.get("env_steps", 0) > run.counters.env_steps
