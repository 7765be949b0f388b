"""Mask snapshots: which weights existed at chosen steps of a run, one small file each. Imports no JAX."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from mast.diagnosis.masks import Masks, packed, unpacked
from mast.errors import UserError
from mast.files import write_atomically, writing

FOLDER_NAME = "snapshots"
FORMAT = 1
_NAME = re.compile(r"masks-(\d{9,})\.safetensors")


def is_due(shares: Sequence[float] | None, steps: int, before: int, now: int) -> bool:
    """Whether a snapshot belongs to this evaluation: the first at or after one of the chosen steps.

    Args:
        shares: the chosen steps as shares of the training.
        steps: environment steps of the whole training.
        before: environment steps at the evaluation before, 0 at the first.
        now: environment steps at this evaluation.
    """
    return any(before < share * steps <= now for share in shares or ())


def save_snapshot(run: Path, env_steps: int, masks: Masks) -> Path:
    """Writes `run`/snapshots/masks-STEPS.safetensors, whole or not at all; the same masks, the same bytes.

    Args:
        run: the run's folder.
        env_steps: when.
        masks: by leaf path.
    """
    about = {
        "format": FORMAT,
        "env_steps": env_steps,
        "shapes": {name: list(mask.shape) for name, mask in masks.items()},
    }
    folder = run / FOLDER_NAME
    with writing(folder):
        folder.mkdir(exist_ok=True)
    path = folder / f"masks-{env_steps:09d}.safetensors"
    bits = {name: packed(np.asarray(mask, bool)) for name, mask in sorted(masks.items())}
    write_atomically(path, save(bits, metadata={"mast": json.dumps(about, sort_keys=True)}))
    return path


def load_snapshot(path: str | Path) -> tuple[int, dict[str, Bool[np.ndarray, "..."]]]:
    """The environment steps and the masks of a snapshot.

    Raises:
        UserError: no such file, damaged, or of another format.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            about = json.loads((file.metadata() or {})["mast"])
            if about["format"] != FORMAT:
                raise UserError(f"{path}: format {about['format']}, this version reads {FORMAT}")
            masks = {
                name: unpacked(file.get_tensor(name), shape)
                for name, shape in about["shapes"].items()
            }
            return int(about["env_steps"]), masks
    except FileNotFoundError:
        raise UserError(f"{path}: no such snapshot") from None
    except (SafetensorError, KeyError, ValueError, TypeError, OSError):
        raise UserError(f"{path} is damaged or no mask snapshot of Mast") from None


def snapshot_paths(run: Path) -> list[Path]:
    """A run's mask snapshots, earliest first."""
    steps = _steps_of(run)
    return sorted(steps, key=lambda path: steps[path])


def forget_snapshots_after(run: Path, env_steps: int) -> None:
    """Deletes the snapshots of later steps: the run goes back to a checkpoint."""
    for path, steps in _steps_of(run).items():
        if steps > env_steps:
            with writing(path):
                path.unlink()


def _steps_of(run: Path) -> dict[Path, int]:
    folder = run / FOLDER_NAME
    if not folder.is_dir():
        return {}
    names = ((path, _NAME.fullmatch(path.name)) for path in folder.iterdir())
    return {path: int(match[1]) for path, match in names if match}
