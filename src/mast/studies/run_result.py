"""From a finished run's folder to a cell's row and curve; refuses another run. Imports no JAX."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from mast.config import Config, load_run_config, load_run_record, recorded_team
from mast.configuration.record import RecordedTeam, without_folders
from mast.diagnosis.log import FILE_NAME as DIAGNOSTICS
from mast.diagnosis.snapshots import snapshot_paths
from mast.envs.names import entry_of, family_of, steps_of, with_team_reward
from mast.errors import UserError
from mast.execution.account import account_of, parameters_of_an_agent
from mast.studies.cell import Cell
from mast.studies.protocol import VERSION, identity, key_of
from mast.studies.results import DIAGNOSTICS_SUFFIX, CellFiles, curve_text
from mast.training.checkpoint import FOLDER_NAME, CheckpointStore
from mast.training.logging import read_metrics
from mast.training.statistics import score

CURVE = (
    "env_steps",
    "episodes",
    "updates",
    "seconds",
    "win_rate",
    "return",
    "sampled_win_rate",
    "sampled_return",
    "episode_length",
    "train_win_rate",
    "train_return",
    "loss",
    "q_tot",
    "td_error",
    "entropy",
    "density",
)
"""The columns of metrics.csv that are kept, where an algorithm has them."""
COSTS = (
    "parameters",
    "parameters_dense",
    "size_ratio",
    "flops_train_ratio",
    "flops_inference_ratio",
)
"""What a row says of a team's size and FLOPs, ratios to dense."""


class TeamSizes(NamedTuple):
    """What counting parameters and FLOPs needs of an environment."""

    observation: int
    state: int
    actions: int
    agents: int


def is_finished(run: Path) -> bool:
    """Whether a run has taken all its steps and been saved: nothing is left for `mast resume`.

    A folder that was moved here without its checkpoints counts by its metrics.
    """
    config = load_run_config(run)
    rows = read_metrics(run)
    taken = rows[-1]["env_steps"] if rows else None
    if taken is None or taken < config.steps:
        return False
    newest = CheckpointStore(run).peek()
    if newest is None:
        return not (run / FOLDER_NAME).exists()
    return bool(newest[1]["run"]["env_steps"] >= config.steps)


def check_is_cell(run: Path, cell: Cell) -> None:
    """Makes sure that a run's settings are those of a cell.

    Raises:
        UserError: the first setting that differs, there and in the cell.
    """
    config = load_run_config(run)
    if config.seeds > 1:
        raise UserError(f"{run}: holds {config.seeds} runs, name one: seed-{config.seed}")
    if cell.source is not None and config.from_run is not None:
        source = load_run_config(Path(config.from_run))
        if _key_of_run(source, cell.source) == cell.source.key:
            config = config.model_copy(update={"from_run": cell.config.from_run})
    if key_of(config) == cell.key:
        return
    here, there = identity(cell.config), identity(config)
    for name in sorted({*here, *there}):
        if here.get(name) != there.get(name):
            wanted, has = getattr(cell.config, name), getattr(config, name)
            raise UserError(f"{run} is not cell {cell.name}: its {name} is {has}, not {wanted}")


def _key_of_run(config: Config, cell: Cell) -> str:
    """The key of a run that may itself begin with another one."""
    return key_of(config.model_copy(update={"from_run": cell.config.from_run}))


def files_of_run(run: Path, cell: Cell, cpu_seconds: float | None = None) -> CellFiles:
    """What is kept of a finished run.

    Args:
        run: its folder.
        cell: that it must be.
        cpu_seconds: processor time of all its sessions, starting and compiling included; None if unknown.

    Returns:
        a row with score, win_rate, return, env_steps, seconds (wall time), cpu_seconds, parameters,
        parameters_dense, size_ratio, flops_train_ratio, flops_inference_ratio, environment (its identity),
        settings, versions, git_commit, machine, cpu_count, command, protocol.

    Raises:
        UserError: it is not that cell, or not finished.
    """
    check_is_cell(run, cell)
    if not is_finished(run):
        raise UserError(f"{run} is not finished; go on with: mast resume {run}")
    record, rows, team = load_run_record(run), read_metrics(run), recorded_team(run)
    last = rows[-1]
    wins = [row["win_rate"] for row in rows]
    row = {
        "score": score(wins),
        "win_rate": last["win_rate"],
        "return": last["return"],
        "env_steps": last["env_steps"],
        "episodes": last["episodes"],
        "updates": last["updates"],
        "evaluations": len(rows),
        "seconds": round(float(last["seconds"] or 0.0), 1),
        **_costs(load_run_config(run), team),
        "environment": environment_identity(cell.config, record["versions"], team),
        "group": cell.group,
        "arm": cell.arm,
        "protocol": VERSION,
        "settings": record["settings"] | {"from_run": cell.config.from_run},
        "versions": record["versions"],
        "git_commit": record["git_commit"],
        "machine": record["machine"],
        "cpu_count": record["cpu_count"],
        "command": without_folders(record["command"]),
    }
    if cpu_seconds:
        row["cpu_seconds"] = round(cpu_seconds, 1)
    kept = [name for name in CURVE if name in last]
    return CellFiles(row, curve_text(rows, kept), _attachments(run, cell))


def _attachments(run: Path, cell: Cell) -> dict[str, bytes]:
    """What a run has recorded beside its metrics, as far as the study wants it."""
    found = {}
    if (run / DIAGNOSTICS).is_file():
        found[DIAGNOSTICS_SUFFIX] = (run / DIAGNOSTICS).read_bytes()
    if cell.keeps_masks:
        found |= {f".{path.name}": path.read_bytes() for path in snapshot_paths(run)}
    return found


def team_sizes(config: Config) -> TeamSizes | None:
    """The sizes of an environment that comes with Mast, without making it; None for one's own."""
    entry = entry_of(config.environment)
    if entry is None:
        return None
    last_actions = entry.agents * entry.actions if config.state_last_action else 0
    state = entry.state + last_actions
    return TeamSizes(entry.observation, state, entry.actions, entry.agents)


def _costs(config: Config, team: RecordedTeam | None) -> dict[str, int | float | None]:
    """Size and FLOPs; None for an own environment of a run that has not recorded its sizes."""
    sizes = team_sizes(config) or team
    if sizes is None:
        return dict.fromkeys(COSTS)
    account = account_of(config, sizes)
    return {name: getattr(account, name) for name in COSTS}


def agents_parameters(config: Config) -> float | None:
    """Those of the acting network that an agent uses; None where its sizes are only known once it is made."""
    sizes = team_sizes(config)
    return None if sizes is None else parameters_of_an_agent(config, sizes)


def environment_identity(
    config: Config, versions: Mapping[str, str], team: RecordedTeam | None = None
) -> str:
    """What stands beside every number: which environment, in which version, with which settings.

    Args:
        config: of a run.
        versions: that it recorded.
        team: that it recorded, where it did; an own environment says there what it is.
    """
    family, entry = family_of(config.environment), entry_of(config.environment)
    if family is None:
        return config.environment if team is None else team.identity
    limit = steps_of(config.environment, config.episode_limit)
    limit = limit or (entry.episode_limit if entry else 0)
    scale = config.reward_scale or (entry and entry.reward_scale) or family.reward_scale
    text = family.identity(versions.get("jaxmarl", "?"), limit, scale, config.state_last_action)
    if family.rewards == "agent" and config.learns_from_team:
        return with_team_reward(text, config.team_reward)
    return text
