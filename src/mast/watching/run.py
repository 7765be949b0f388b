"""`mast watch` as a function: greedy episodes of a run, or of an exported team, become one file."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mast.config import Config, load_run_config
from mast.configuration.explain import check_word
from mast.errors import UserError
from mast.export.contract import (
    exported_config,
    exported_description,
    is_exported,
    names_of,
    read_contract,
)
from mast.export.folder import CHECKPOINTS, policy_file
from mast.extras import check_matplotlib
from mast.files import check_writable

if TYPE_CHECKING:
    from mast.envs.protocol import Environment
    from mast.networks.agent import Agent

KINDS = (".html", ".gif", ".mp4")
TOLD = ("algorithm", "method", "sparsity", "env_steps", "checkpoint")
"""What is told of a policy: entries of its description, and which one it is."""


def check_out(out: Path) -> None:
    """Make sure that a file can be written there, and that this machine can make it.

    Raises:
        UserError: another ending than `KINDS`, a place that cannot be written, a film without matplotlib,
            or mp4 without ffmpeg.
    """
    if out.suffix not in KINDS:
        raise UserError(f"out = {out}: must end in {', '.join(KINDS)}")
    check_writable(out)
    if out.suffix != ".html":
        check_matplotlib(f"out = {out}: a {out.suffix}")
    if out.suffix == ".mp4":
        from mast.watching.ffmpeg import ffmpeg

        ffmpeg()


def check_team(run: Path, checkpoint: str | None) -> Config:
    """Make sure that there is a team to watch.

    Args:
        run: a run's folder, or an exported one.
        checkpoint: the word that was given, if any.

    Returns:
        the settings that it was trained with.

    Raises:
        UserError: neither, several runs, no such policy, or an unknown word.
    """
    if is_exported(run):
        if checkpoint is not None:
            raise UserError("checkpoint: an exported folder holds one policy")
        return exported_config(run)
    checkpoint = checkpoint or "last"
    check_word("checkpoint", checkpoint, CHECKPOINTS)
    config = load_run_config(run)
    policy_file(run, config, checkpoint)
    return config


def watch(
    run: str | Path,
    out: str | Path,
    *,
    episodes: int = 3,
    checkpoint: str | None = None,
    seed: int = 0,
    environment: "Environment | None" = None,
) -> dict[str, Any]:
    """Show a trained team at play in one file.

    Args:
        run: its folder, or one that `mast export` made.
        out: the file, which is replaced as a whole: .html for a page that opens offline, .gif or .mp4.
        episodes: how many whole greedy episodes, at least 1.
        checkpoint: the "last" policy, which is the default, or the "best" one.
        seed: of the episodes; they are the first of `mast evaluate` with the same seed.
        environment: made from the settings where None.

    Returns:
        what was shown: `environment`, `policy`, `episodes` (outcome, steps and return of each), `q_tot`
        (whether the team's value is known), `values` (what is shown of each action: "action values", or
        "probabilities" of a policy that actions are drawn from) and `out`.

    Raises:
        UserError: nothing to watch, or a file that cannot be made.
    """
    run, out = Path(run), Path(out)
    check_out(out)
    config = check_team(run, checkpoint)
    # What follows needs JAX, which the refusals above are not to wait for.
    from mast.envs.scene import is_staged
    from mast.execution.environment import environment_of
    from mast.policy import check_fit
    from mast.training.exploration import is_stochastic
    from mast.watching.episodes import play_to_watch
    from mast.watching.mixer import mixer_of, mixer_without_weights

    checkpoint = checkpoint or "last"
    team = _exported(run) if is_exported(run) else _trained(run, checkpoint)
    environment = environment or environment_of(config)
    if out.suffix != ".html" and not is_staged(environment):
        raise UserError(
            f"out = {out}: {environment.spec.id} has no scene to draw (a method of its class); "
            "a .html shows actions and values without one"
        )
    spec = environment.spec
    check_fit(run, team.description, spec)
    known = mixer_without_weights if is_exported(run) else partial(mixer_of, run, team.network)
    mixer, discount = known(config, spec), config.discount
    stochastic = is_stochastic(team.agent)
    shown = play_to_watch(team.agent, mixer, environment, episodes, seed, discount)
    about = {
        "environment": spec.id,
        "identity": spec.identity,
        "policy": {name: team.description.get(name) for name in TOLD} | {"from": str(run)},
        "seed": seed,
        "discount": discount,
        "values": "probabilities" if stochastic else "action values",
        "agents": list(spec.agent_names),
        "kinds": list(spec.unit_types),
        "agent_actions": getattr(environment, "agent_action_names", None),
        "actions": names_of(environment, "action_names", spec.actions)
        or [f"action {index}" for index in range(spec.actions)],
    }
    if out.suffix == ".html":
        from mast.watching.page import write_page

        write_page(out, about, shown)
    else:
        from mast.watching.film import write_film

        write_film(out, about, shown)
    return {
        "environment": spec.identity,
        "policy": about["policy"],
        "episodes": [
            {"outcome": each.outcome, "steps": len(each.reward), "return": each.total}
            for each in shown
        ],
        "q_tot": shown[0].q_tot is not None,
        "values": about["values"],
        "out": str(out),
    }


class _Team(NamedTuple):
    """Who plays; `description` is the policy's."""

    agent: "Agent"
    description: dict[str, Any]
    network: Any = None
    """The agent without what normalises its observations."""


def _trained(run: Path, checkpoint: str) -> _Team:
    from mast.policy import Policy

    policy = Policy.load(run / CHECKPOINTS[checkpoint])
    described = policy.description | {"checkpoint": checkpoint}
    return _Team(policy.actor, described, policy.agent)


def _exported(folder: Path) -> _Team:
    from mast.export.load import load_exported

    agent = load_exported(folder)[0]
    contract = read_contract(folder)
    exported = {"checkpoint": f"exported as {contract['kind']}"}
    return _Team(agent, exported_description(folder) | exported)
