"""`mast inspect`: pictures of what happens inside a run."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mast.algorithms.registry import algorithm_entry
from mast.commands.inspect_sharing import SharingFacts, draw_sharing
from mast.commands.options import JSON, QUIET, Command, Option, required
from mast.config import Config, load_run_config, recorded_team
from mast.configuration.suggestions import did_you_mean
from mast.diagnosis.index_page import FILE_NAME as INDEX
from mast.diagnosis.index_page import inputs_of, write_contents, write_index
from mast.envs.names import entry_of, is_code
from mast.errors import UserError
from mast.extras import check_matplotlib
from mast.folders import seed_folders
from mast.own_code import is_own
from mast.terminal.output import Output
from mast.terminal.values import Values

FIRST = ("agent.fc1.weight", "agent.layers.0.weight")
"""The layer that the observation enters, of a recurrent agent or of an actor."""

if TYPE_CHECKING:
    from mast.diagnosis.pictures import Snapshot


def run_inspect(values: Values) -> int:
    """Draws the masks, connection counts, values and densities that a run has recorded."""
    check_matplotlib("mast inspect")
    output = Output(values)
    run = Path(required(values, "run", "DIR", "runs/my-run"))
    config = load_run_config(run)
    out = Path(values.get("out", run / "pictures"))
    files: list[Path] = []
    missing: list[str] = []
    pages: list[Path] = []
    neurons: dict[str, Any] = {}
    apart: dict[str, Any] = {}
    for folder in seed_folders(run, config):
        there = out if folder == run else out / folder.name
        with output.only_ours():
            asked = bool(values.get("features"))
            found = SharingFacts({}, {}, [], [])
            if "layer" not in values:
                found = draw_sharing(folder, config, there, asked)
            drawn, lacking = _draw(
                folder, config, there, values.get("layer"), found.files, found.missing
            )
        neurons |= {str(folder): found.neurons} if found.neurons else {}
        apart |= {str(folder): found.apart} if found.apart else {}
        *_, page = drawn
        pages.append(page)
        files += drawn
        missing += lacking
        for file in drawn:
            output.say(str(file))
    if pages != [out / INDEX]:
        files.append(write_contents(out, _title(run, config), pages))
        output.say(str(files[-1]))
    for line in missing:
        output.say(f"note: {line}")
    about = {"files": files, "missing": missing, "out": str(out), "run": str(run)}
    output.result(about | {"neurons": neurons, "apart": apart})
    return 0


def _draw(
    run: Path,
    config: Config,
    out: Path,
    layer: str | None,
    shared: Sequence[Path],
    unshared: Sequence[str],
) -> tuple[list[Path], list[str]]:
    """The pictures of one run: which were drawn, and one line about what could not be.

    Args:
        run: its folder.
        config: of the run.
        out: folder of the pictures.
        layer: the only one to be drawn.
        shared: the pictures of what agents share, already drawn.
        unshared: what could not be drawn of that.
    """
    snapshots, missing = _snapshots(run)
    layers = _chosen(layer, list(snapshots[0].masks) if snapshots else [])
    from mast.diagnosis import pictures
    from mast.diagnosis.log import read_diagnostics

    try:
        records = read_diagnostics(run)
    except UserError as error:
        records, damage = [], str(error)
    else:
        damage = ""
    if not snapshots and not records:
        nothing = f"{run} has recorded nothing to draw yet: no mask snapshot, no policy"
        raise UserError(damage or nothing)
    _make_folder(out)
    files = []
    for path in layers:
        name = path.removesuffix(".weight")
        for kind, draw in (
            ("masks", pictures.draw_masks),
            ("connections", pictures.draw_connections),
        ):
            files.append(out / f"{kind}-{name}.png")
            draw(snapshots, path, files[-1])
    if layer is None and damage:
        missing = [*missing, damage]
    elif layer is None and not records and not _has_action_values(config):
        missing = [
            *missing,
            f"{run}: {config.algorithm} has no action values to hold to the returns",
        ]
    elif layer is None and not records:
        asked = load_run_config(run).diagnostics
        why = "no evaluation is recorded yet" if asked else "train with --diagnostics true"
        missing = [*missing, f"{run} has no diagnostics: {why}"]
    elif layer is None:
        files.append(out / "values.png")
        pictures.draw_values(records, files[-1])
        if records[0]["density_per_agent"] is not None:
            files.append(out / "density.png")
            agents = len(records[0]["density_per_agent"])
            pictures.draw_densities(records, _unit_types(run, config, agents), files[-1])
    inputs = None
    for first in (name for name in FIRST if name in layers):
        last = snapshots[-1]
        names = _input_names(config)
        inputs = inputs_of(first.removesuffix(".weight"), last.when, last.masks[first], names)
    files += shared
    missing = [*missing, *unshared]
    files.append(write_index(out, _title(run, config), files, inputs, missing))
    return files, missing


def _title(run: Path, config: Config) -> str:
    sparse = f" {100 * config.sparsity:g} %" if config.sparsity else ""
    return f"{run}: {config.algorithm}, {config.method}{sparse} on {config.environment}"


def _has_action_values(config: Config) -> bool:
    """Whether agents have action values, and no policy that actions are drawn from."""
    return is_own(config.algorithm) or not algorithm_entry(config.algorithm).stochastic


def _input_names(config: Config) -> list[str] | None:
    """What enters the agents' networks; None for an environment of one's own, whose code is not run here."""
    if entry_of(config.environment) is None:
        return None
    from mast.execution.environment import environment_of
    from mast.export.contract import input_names

    environment = environment_of(config)
    names = input_names(environment, last_action=_has_action_values(config))
    ids = 0 if config.sharing in ("shared", "snp+id") else environment.spec.agents
    return names[: len(names) - ids]


def _snapshots(run: Path) -> tuple[list["Snapshot"], list[str]]:
    """The run's mask snapshots, or the acting network's masks of its newest policy."""
    from mast.diagnosis.pictures import Snapshot, in_words
    from mast.diagnosis.snapshots import load_snapshot, snapshot_paths

    loaded = [load_snapshot(path) for path in snapshot_paths(run)]
    if loaded:
        return [Snapshot(in_words(steps), masks) for steps, masks in loaded], []
    if not (run / "policy.safetensors").exists():
        return [], []
    from mast.policy import Policy

    policy = Policy.load(run)
    masks = {f"agent.{name}.weight": mask for name, mask in policy.masks.items()}
    when = in_words(policy.description["env_steps"])
    return [Snapshot(when, masks)], [
        f"{run} has no mask snapshots (snapshots = none): only the agent's last masks are drawn"
    ]


def _chosen(layer: str | None, paths: Sequence[str]) -> list[str]:
    """The layers to draw; of a name, that one.

    Raises:
        UserError: there is no such layer.
    """
    if layer is None:
        return sorted(paths)
    names = {path.removesuffix(".weight"): path for path in sorted(paths)}
    name = layer.removesuffix(".weight")
    if name not in names:
        known = ", ".join(names) or "no layer: it has recorded no masks"
        raise UserError(f"layer = {layer}: this run has {known}{did_you_mean(name, list(names))}")
    return [names[name]]


def _unit_types(run: Path, config: Config, agents: int) -> Sequence[str]:
    """The agents' types; those that the run has recorded of an own environment, which is not imported."""
    if is_code(config.environment):
        team = recorded_team(run)
        known = () if team is None else team.unit_types
        return known if len(known) == agents else ("",) * agents
    from mast.execution.environment import environment_of

    return environment_of(config).spec.unit_types


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write to {out}: {error.strerror}") from None


INSPECT = Command(
    "inspect",
    "draw the masks, connections and values of a run",
    "Draws what a run has recorded to PNG: each layer's mask at every snapshot and its sorted connection "
    "counts; with --diagnostics, estimated values against returns, and the density of each agent that has "
    "a network of its own; where agents share a network in part, what they have in common. index.html "
    "shows all of it, with what reads each input of the agents.",
    (
        Option("run", "the run's folder", "DIR", positional=True),
        Option("out", "folder for the pictures", "DIR", "default RUN/pictures"),
        Option("layer", "draw only this layer, such as agent.fc1", "NAME", "default all"),
        Option(
            "features",
            "t-SNE of the hidden features of three agents for any run, not only where agents share in part; "
            "plays episodes",
        ),
        QUIET,
        JSON,
    ),
    run_inspect,
)
