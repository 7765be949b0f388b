"""`mast evaluate`: a saved policy plays greedily."""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from mast.commands.options import (
    CHECKPOINT,
    JSON,
    QUIET,
    Command,
    Option,
    Values,
    required,
    whole_number,
)
from mast.commands.summary import mean_summary
from mast.config import Config, limit_threads, load_run_config
from mast.configuration.explain import check_word
from mast.errors import UserError
from mast.export.contract import exported_config, exported_description, is_exported
from mast.export.folder import CHECKPOINTS as POLICIES
from mast.folders import seed_folders
from mast.terminal.output import Output

MOST_EPISODES = 1_000_000

COLUMNS = {"win_rate": "win rate", "return": "return", "episode_length": "episode length"}
SAMPLED = {"sampled_win_rate": "win rate, sampled", "sampled_return": "return, sampled"}
"""Of a policy that draws its actions."""


def run_evaluate(values: Values) -> int:
    """Plays whole episodes with the policy of a run, or of each of several seeds."""
    output = Output(values)
    run = Path(required(values, "run", "DIR", "runs/my-run"))
    if is_exported(run):
        return _evaluate_exported(run, values, output)
    config, policies, checkpoint = _chosen(run, values.get("checkpoint"))
    episodes = whole_number(values, "episodes", 128, at_least=1, at_most=MOST_EPISODES)
    seed = whole_number(values, "seed", 0, at_least=0, at_most=2**31 - 1)
    for policy in policies:
        if not policy.is_file():
            raise UserError(f"{policy} does not exist yet: the run has saved no such policy")
    limit_threads(config.threads)
    with output.only_ours():
        played = [_play(policy, config, episodes, seed) for policy in policies]
    _show(played, output)
    result = played[0]
    if config.seeds > 1:
        between = between_seeds(played)
        _show_between(between, len(played), output)
        result = mean_summary(played) | {"between_seeds": between, "runs": played}
    output.result(result | {"checkpoint": checkpoint, "out": str(run)})
    return 0


def _chosen(run: Path, checkpoint: str | None) -> tuple[Config, list[Path], str]:
    """The settings to play with, the policy of each seed, and which of a run's policies they are."""
    if run.is_file() and run.suffix == ".safetensors":
        if checkpoint is not None:
            raise UserError("checkpoint: a file is one policy")
        if not (run.parent / "config.json").is_file():
            raise UserError(f"{run}: {run.parent} is no run, whose settings say what to play")
        return load_run_config(run.parent).model_copy(update={"seeds": 1}), [run], run.stem
    config, checkpoint = load_run_config(run), checkpoint or "last"
    check_word("checkpoint", checkpoint, POLICIES)
    folders = seed_folders(run, config)
    return config, [folder / POLICIES[checkpoint] for folder in folders], checkpoint


def _evaluate_exported(folder: Path, values: Values, output: Output) -> int:
    """Plays with what `mast export` has written, in the environment that it was trained in."""
    if "checkpoint" in values:
        raise UserError("checkpoint: an exported folder holds one policy")
    episodes = whole_number(values, "episodes", 128, at_least=1, at_most=MOST_EPISODES)
    seed = whole_number(values, "seed", 0, at_least=0, at_most=2**31 - 1)
    limit_threads(exported_config(folder).threads)
    with output.only_ours():
        from mast.execution.environment import environment_of
        from mast.export.load import load_exported
        from mast.policy import check_fit
        from mast.training.evaluation import evaluate_policy

        agent, config = load_exported(folder)
        description = exported_description(folder)
        environment = environment_of(config)
        check_fit(folder, description, environment.spec)
        result = evaluate_policy(agent, environment, episodes=episodes, seed=seed)
    played = {**result, "environment": environment.spec.identity, "policy": str(folder)}
    _show([played], output)
    output.result(played | {"out": str(folder)})
    return 0


def between_seeds(played: Sequence[dict[str, Any]]) -> dict[str, dict[str, float] | None]:
    """Of each result the mean over all seeds, and how far the seeds' own means lie apart.

    Args:
        played: of two seeds or more, which have all played as many episodes.

    Returns:
        by name `mean` and `deviation`, the sample standard deviation of the seeds' means; None where a
        seed has no such result.
    """
    found: dict[str, dict[str, float] | None] = {}
    for name in (each for each in COLUMNS | SAMPLED if each in played[0]):
        intervals = [result[name] for result in played]
        means = [each["mean"] for each in intervals if each is not None]
        whole = len(means) == len(played)
        found[name] = (
            {"mean": statistics.fmean(means), "deviation": statistics.stdev(means)}
            if whole
            else None
        )
    return found


def _show_between(between: dict[str, dict[str, float] | None], seeds: int, output: Output) -> None:
    for name, words in (COLUMNS | SAMPLED).items():
        if (numbers := between.get(name)) is not None:
            output.say(
                f"{words} of {seeds} seeds: {numbers['mean']:.3f} ± {numbers['deviation']:.3f}"
                " (standard deviation between seeds)"
            )


def _play(path: Path, config: Config, episodes: int, seed: int) -> dict[str, Any]:
    from mast.execution.environment import environment_of
    from mast.policy import Policy, check_fit
    from mast.training.evaluation import evaluate_policy

    policy = Policy.load(path)
    environment = environment_of(config)
    check_fit(path, policy.description, environment.spec)
    result = evaluate_policy(policy.actor, environment, episodes=episodes, seed=seed)
    return {**result, "environment": environment.spec.identity, "policy": str(path)}


def _show(played: list[dict[str, Any]], output: Output) -> None:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("")
    for heading in ("mean", "95 % interval"):
        table.add_column(heading)
    for result in played:
        if len(played) > 1:
            table.add_row(Path(result["policy"]).parent.name, style="bold")
        for name, words in (COLUMNS | SAMPLED).items():
            if name not in result:
                continue
            interval = result[name]
            if interval is None:
                table.add_row(words, "-", "this environment cannot be won")
            else:
                low, high = interval["low"], interval["high"]
                table.add_row(words, f"{interval['mean']:.3f}", f"{low:.3f} to {high:.3f}")
    output.show(table)
    output.say(f"\n{played[0]['episodes']} greedy episodes of {played[0]['environment']}")


EVALUATE = Command(
    "evaluate",
    "let a trained team play, without exploring",
    "Plays whole greedy episodes and gives each mean with its 95 % bootstrap interval; "
    "of several seeds also the mean over all ± the standard deviation between them.",
    (
        Option(
            "run",
            "the run's folder, one that mast export made, or a policy file in a run's folder",
            "DIR",
            positional=True,
        ),
        Option("episodes", "how many to play", "N", "default 128"),
        CHECKPOINT,
        Option("seed", "of the episodes; the same seed, the same battles", "N", "default 0"),
        QUIET,
        JSON,
    ),
    run_evaluate,
)
