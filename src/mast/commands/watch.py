"""`mast watch`: a trained team is seen at play."""

from pathlib import Path

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
from mast.config import limit_threads
from mast.errors import UserError
from mast.terminal.output import Output
from mast.watching.run import check_out, check_team, watch


def run_watch(values: Values) -> int:
    """Plays greedy episodes and writes them as a page or a film."""
    output = Output(values)
    run = Path(required(values, "run", "DIR", "runs/my-run"))
    if "out" not in values:
        raise UserError("--out is missing: --out team.html, .gif or .mp4")
    out, checkpoint = Path(values["out"]), values.get("checkpoint")
    episodes = whole_number(values, "episodes", 3, at_least=1, at_most=1000)
    seed = whole_number(values, "seed", 0, at_least=0, at_most=2**31 - 1)
    check_out(out)
    config = check_team(run, checkpoint)
    limit_threads(config.threads)
    with output.only_ours():
        result = watch(run, out, episodes=episodes, checkpoint=checkpoint, seed=seed)
    for number, episode in enumerate(result["episodes"], 1):
        output.say(
            f"episode {number}: {episode['outcome']} after {episode['steps']} steps, "
            f"return {episode['return']:.2f}"
        )
    if result["values"] == "probabilities":
        output.say(
            "note: the actions' probabilities are shown: this policy has no action values, nor Q_tot"
        )
    elif not result["q_tot"]:
        output.say("note: Q_tot is not shown: there is no checkpoint with the mixer of this policy")
    output.say(str(out))
    output.result(result)
    return 0


WATCH = Command(
    "watch",
    "see a trained team play, as a page or a film",
    "Plays whole greedy episodes and writes them to one file. A .html opens offline and has a time slider, "
    "each agent's health, action and action values (of a stochastic policy: probabilities), and Q_tot "
    "against the return still to come; a .gif or .mp4 is a film of the same.",
    (
        Option("run", "the run's folder, or one that mast export made", "DIR", positional=True),
        Option("out", "the file: .html, .gif or .mp4 (which needs ffmpeg)", "FILE", "required"),
        Option("episodes", "how many to play", "N", "default 3"),
        CHECKPOINT,
        Option("seed", "of the episodes; the same seed, the same battles", "N", "default 0"),
        QUIET,
        JSON,
    ),
    run_watch,
)
