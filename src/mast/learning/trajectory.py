"""A trajectory: what happened in environments that go on, as on-policy algorithms learn from it."""

from typing import NamedTuple

from jaxtyping import Array, Bool, Float, Int


class Trajectory(NamedTuple):
    """Some steps of several environments, time first; an environment that has ended begins again.

    Row t holds what was perceived before action t, and what that action brought.
    """

    observation: Float[Array, "time envs agents features"]
    available: Bool[Array, "time envs agents actions"]
    state: Float[Array, "time envs state"]
    action: Int[Array, "time envs agents"]
    reward: Float[Array, "time envs rewards"]
    """One for the team, or one for each agent."""
    next_observation: Float[Array, "time envs agents features"]
    """What the action really led to, also where the episode ended and the next row begins another."""
    next_state: Float[Array, "time envs state"]
    terminated: Bool[Array, "time envs"]
    """The episode ended by the rules: nothing is to be expected after it."""
    ended: Bool[Array, "time envs"]
    """It terminated, or the time limit cut it."""
    behaviour: dict[str, Array]
    """What the algorithm wants to know of the policy that acted, [time envs agents …]."""
