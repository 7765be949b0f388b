"""`mast export` as a function: a run's policy becomes a folder that stands on its own."""

import contextlib
import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mast.config import Config, load_run_config
from mast.configuration.explain import check_word
from mast.errors import UserError
from mast.folders import check_new, seed_folders

if TYPE_CHECKING:
    from mast.envs.protocol import Environment

KINDS = ("c", "onnx", "safetensors")
CHECKPOINTS = {"last": "policy.safetensors", "best": "policy-best.safetensors"}
FORMS = ("unrolled", "blocked", "dense", "pattern")
_IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,30}")


def export_run(
    run: str | Path,
    to: str,
    out: str | Path,
    *,
    checkpoint: str = "last",
    episodes: int = 3,
    prefix: str = "mast",
    quantize: str | None = None,
    storage: str | None = None,
    compare: bool = False,
    smallest: bool = False,
    agent: str | int | None = None,
    environment: "Environment | None" = None,
) -> dict[str, Any]:
    """Export the team of a run, checked against its policy on whole episodes.

    Args:
        run: its folder; finished, stopped or still training.
        to: "c", "onnx" or "safetensors".
        out: the folder to make; it appears whole or not at all.
        checkpoint: the "last" policy or the "best" one.
        episodes: how many whole episodes to check on and to keep as test vectors, at least 1.
        prefix: of every name in the exported C.
        quantize: "int8": weights in 8 bits, for C.
        storage: the form of every layer of the exported C; chosen per layer where None.
        compare: measure the flash of every form, for C.
        smallest: take the form with the least flash on this machine, for C.
        agent: index or name of the one agent whose network is exported alone, without the neurons that it
            lacks; None for the team.
        environment: made from the run's settings where None.

    Returns:
        what contract.json holds.

    Raises:
        UserError: nothing to export, an option that does not fit, or `out` exists or cannot be written.
        SelfCheckError: the export does not do what the policy does.
    """
    run, out = Path(run), Path(out)
    check_options(to, checkpoint, prefix, quantize, storage, smallest)
    check_out(out)
    config = load_run_config(run)
    policy = policy_file(run, config, checkpoint)
    # What follows needs JAX, which the refusals above are not to wait for.
    from mast.export.kinds import Job, write_c, write_onnx, write_safetensors

    job = Job.load(policy, config, environment, episodes, checkpoint, agent)
    with folder_made_whole(out) as folder:
        if to == "c":
            int8 = quantize == "int8"
            kind = write_c(job, folder, prefix, storage, int8, compare, smallest)
        else:
            kind = {"onnx": write_onnx, "safetensors": write_safetensors}[to](job, folder)
        return write_contract(folder, job.contract() | {"kind": to} | kind)


def write_contract(folder: Path, content: dict[str, Any]) -> dict[str, Any]:
    """Write contract.json, the last file of an export.

    Args:
        folder: which has all the other files.
        content: of the contract.

    Returns:
        the same and the sha256 of every file, as it was written.
    """
    digests = {path.name: _sha256(path) for path in sorted(folder.iterdir())}
    content = content | {"files": digests}
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    (folder / "contract.json").write_text(text, encoding="utf-8")
    return content


def check_options(
    to: str,
    checkpoint: str,
    prefix: str,
    quantize: str | None,
    storage: str | None,
    smallest: bool = False,
) -> None:
    """Refuse what cannot be exported.

    Raises:
        UserError: an unknown word, or an option that belongs to another kind of export.
    """
    check_word("to", to, KINDS)
    check_word("checkpoint", checkpoint, CHECKPOINTS)
    for name, value, known in (("quantize", quantize, ("int8",)), ("storage", storage, FORMS)):
        if value is not None:
            check_word(name, value, known)
    if not _IDENTIFIER.fullmatch(prefix):
        raise UserError(f"prefix = {prefix}: must be a short C name: letters, digits and _")
    named = None if prefix == "mast" else prefix
    for name, value in (("prefix", named), ("quantize", quantize), ("storage", storage)):
        if to != "c" and value is not None:
            raise UserError(f"{name} = {value}: only with --to c")
    if smallest and to != "c":
        raise UserError("smallest: only with --to c")
    if smallest and storage is not None:
        raise UserError(f"storage = {storage}: the smallest form is chosen for you; leave one out")
    if quantize == "int8" and storage == "unrolled":
        raise UserError(
            "storage = unrolled: weights in code are never int8; blocked, dense or pattern"
        )


def check_out(out: Path) -> None:
    """Make sure that an export can be written.

    Raises:
        UserError: something is there already, or the place cannot be written.
    """
    if out.exists() or out.is_symlink():
        raise UserError(f"{out} already exists: an export never overwrites anything")
    check_new(out)


def policy_file(run: Path, config: Config, checkpoint: str) -> Path:
    """The policy of a run that is to be exported.

    Raises:
        UserError: the run holds several runs, or has saved no such policy.
    """
    if config.seeds > 1:
        folders = [str(folder) for folder in seed_folders(run, config)]
        raise UserError(f"{run} holds {len(folders)} runs; choose one: {', '.join(folders)}")
    policy = run / CHECKPOINTS[checkpoint]
    if not policy.is_file():
        raise UserError(f"{policy} does not exist yet: the run has saved no such policy")
    return policy


@contextlib.contextmanager
def folder_made_whole(out: Path) -> Iterator[Path]:
    """A folder beside `out` that takes its name at the end, or goes.

    Raises:
        UserError: it cannot be written.
    """
    missing = [path for path in out.parents if not path.exists()]
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    except OSError as error:
        raise UserError(f"cannot write to {out}: {error.strerror}") from None
    try:
        yield partial
        partial.chmod(0o755)  # a temporary folder is its owner's only
        partial.rename(out)
    except BaseException as error:
        shutil.rmtree(partial, ignore_errors=True)
        for path in missing:
            with contextlib.suppress(OSError):
                path.rmdir()
        if isinstance(error, OSError):
            raise UserError(f"cannot write to {out}: {error.strerror}") from None
        raise


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
