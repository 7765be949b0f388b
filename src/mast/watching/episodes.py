"""Greedy episodes as they are watched: what every agent saw in its actions, and how it ended."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from mast.envs.protocol import Environment
from mast.envs.scene import ALLY, Scene, check_scene, is_staged
from mast.errors import UserError
from mast.learning.returns import discounted_returns
from mast.networks.agent import Agent, last_actions
from mast.networks.mixers import Mixer, joint_value
from mast.own_code import user_error
from mast.runtime import prepare
from mast.training.exploration import is_stochastic
from mast.training.random_keys import PLAY, run_key
from mast.training.rollout import Recording, Totals, episodes, play, players_for

WON, LOST, DRAW, ENDED, CUT = "won", "lost", "draw", "ended", "cut"
"""How an episode ends; "ended" where nothing can be won, "cut" by the time limit."""


@dataclass(frozen=True)
class Shown:
    """One greedy episode."""

    available: Bool[np.ndarray, "steps agents actions"]
    action: Int[np.ndarray, "steps agents"]
    q: Float[np.ndarray, "steps agents actions"]
    """Every action value, of actions that were not available too; of a policy that actions are drawn from its
    probabilities."""
    q_tot: Float[np.ndarray, " steps"] | None
    """Of the actions taken; None where the mixer is not known."""
    to_come: Float[np.ndarray, " steps"]
    """The discounted return from each step on."""
    reward: Float[np.ndarray, " steps"]
    outcome: str
    scene: Scene | None
    """None where the environment does not say what it looks like."""

    @property
    def total(self) -> float:
        """The return: the sum of the rewards, to a hundredth, as it is shown everywhere."""
        return round(float(self.reward.sum(dtype=np.float64)), 2) + 0.0  # no -0.00


def play_to_watch(
    agent: Agent,
    mixer: Mixer | None,
    environment: Environment,
    count: int,
    seed: int,
    discount: float,
) -> list[Shown]:
    """Let a team play, greedily.

    Args:
        agent: the acting network.
        mixer: of its learner; None where it is not known.
        environment: where it plays.
        count: how many whole episodes; they are the first of an evaluation with the same seed.
        seed: of the episodes.
        discount: γ, of the return to come.

    Raises:
        UserError: an action value or a probability is NaN or infinite.
    """
    prepare()
    kept: list[tuple[Totals, Recording]] = []
    keys = jax.random.split(run_key(seed, PLAY), count)
    players = players_for(environment, jnp.float32)
    with jax.default_matmul_precision("highest"):
        play(players, agent, keys, jnp.float32(0.0), count, lambda *seen: kept.append(seen))
        totals, recording = kept[0]
        limit = len(recording.reward)
        mask = np.arange(limit)[:, None] < totals.length
        values = _values(agent, mixer, recording, jnp.asarray(mask), jnp.float32(discount))
    q, q_tot, to_come = jax.tree.map(np.asarray, values)
    shown = []
    for place, episode in enumerate(episodes(totals, recording)):
        length = len(episode.reward)
        if not np.isfinite(q[:length, place]).all():
            what = "probabilities" if is_stochastic(agent) else "action values"
            raise UserError(f"the policy's {what} are NaN or infinite: nothing to watch")
        scene = _scene(environment, episode.state, episode.action)
        shown.append(
            Shown(
                available=episode.available[:length],
                action=episode.action.astype(np.int32),
                q=q[:length, place],
                q_tot=None if q_tot is None else q_tot[:length, place],
                to_come=to_come[:length, place],
                reward=np.asarray(episode.reward),
                outcome=_outcome(environment.spec.has_win, episode.terminated, episode.won, scene),
                scene=scene,
            )
        )
    return shown


def _scene(environment: Environment, state: Any, action: Any) -> Scene | None:
    """What an episode looked like, if the environment says so.

    Raises:
        UserError: its `scene` fails, or gives something else.
    """
    spec = environment.spec
    if not is_staged(environment):
        return None
    try:
        scene = environment.scene(state, action)
    except Exception as error:
        raise user_error(spec.id, "scene", error) from error
    check_scene(scene, spec, len(action))
    return scene


@jax.jit
def _values(agent: Agent, mixer: Any, recording: Recording, mask: Any, discount: Any) -> Any:
    """Action values or probabilities, Q_tot of the actions taken, and discounted returns, of every step."""
    action = jnp.asarray(recording.action, jnp.int32)
    limit = len(action)
    q = agent.sequence(
        jnp.asarray(recording.observation[:limit], jnp.float32), last_actions(action)[:-1]
    )
    available = jnp.asarray(recording.available[:limit], bool)
    if is_stochastic(agent):
        q = jax.nn.softmax(jnp.where(available, q, -jnp.inf))
    q_tot = None
    if mixer is not None:
        state = jnp.asarray(recording.state[:limit], jnp.float32)
        # Independent learners have a value per agent; what stands for the team is their mean.
        q_tot = joint_value(mixer, q, action, available, state).mean(-1)
    return q, q_tot, discounted_returns(jnp.asarray(recording.reward), mask, discount)


def _outcome(has_win: bool, terminated: bool, won: bool, scene: Scene | None) -> str:
    """In a word; a draw is a battle that nobody survives."""
    if not terminated:
        return CUT
    if not has_win:
        return ENDED
    if won:
        return WON
    if scene is not None and scene.health is not None:
        alive = {
            side for side, health in zip(scene.side, scene.health[-1], strict=True) if health > 0
        }
        enemies = set(scene.side) - {ALLY}
        if not alive and enemies:
            return DRAW
    return LOST
