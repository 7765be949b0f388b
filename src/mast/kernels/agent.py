"""The recurrent agent along whole episodes, in one native call forward and one back."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from mast.kernels import library
from mast.kernels.library import attributes
from mast.kernels.networks import Shapes, SparseAgent
from mast.kernels.operands import refuse_empty, whole_numbers


def episode_utilities(
    agent: SparseAgent,
    observation: Float[Array, "observations batch agents features"]
    | Float[Array, "slots rows width"],
    action: Int[Array, "steps batch agents"],
    steps: Int[Array, " batch"],
    *,
    others: Sequence[SparseAgent] = (),
    slots: Int[Array, " batch"] | None = None,
    threads: int = 1,
) -> tuple[
    Float[Array, "steps batch agents"],
    tuple[Float[Array, "observations batch agents actions"], ...],
]:
    """Q along whole episodes, of one network with gradient and of others without, from h_0 = 0.

    Gradients flow from the first result to `agent`'s values and biases, and nowhere else. What lies
    beyond an episode's end is 0 and costs nothing; padded observations must be finite.

    Args:
      agent: the network that learns.
      observation: each agent's own, before each step and after the last; float16 or float32, read as it is.
      action: the action taken in each step. Together with the agent's number it is part of the input.
      steps: how many steps each episode really has.
      others: networks of the same width over the same episodes (targets): one pass over the observations
        serves all.
      slots: where given, the observations are a whole replay ring's, each agent's in turn in a row; they are
        read in place, and must not change while a call is under way.
      threads: at most as many of XLA's threads take part; no result depends on it.

    Returns:
      `agent`'s Q of the actions taken, and the Q of every action of `agent` and each of `others`.

    Raises:
      ValueError, jax.errors.JaxRuntimeError: a shape or a structure that does not fit.
    """
    refuse_empty(observation)
    drawn = () if slots is None else (whole_numbers("slots", slots),)
    counts = (whole_numbers("actions", action), whole_numbers("steps", steps))
    episodes = (observation, *drawn, *counts)
    rest = tuple(other.operands for other in others)
    parameters, *fixed = agent.operands
    return _utilities(
        (agent.shapes, threads, agent.copies), parameters, tuple(fixed), rest, episodes
    )


def act(
    agent: SparseAgent,
    observation: Float[Array, "batch agents features"],
    last_action: Int[Array, "batch agents"],
    hidden: Float[Array, "batch agents hidden"],
    *,
    threads: int = 1,
) -> tuple[Float[Array, "batch agents actions"], Float[Array, "batch agents hidden"]]:
    """One step of acting: each agent's action values and its next hidden state. There is no gradient.

    Args:
      agent: the network.
      observation: each agent's own, float16 or float32.
      last_action: the action each took one step before; negative at the start.
      hidden: the state before the step.
      threads: at most as many of XLA's threads take part; no result depends on it.

    Raises:
      ValueError, jax.errors.JaxRuntimeError: a shape or a structure that does not fit.
    """
    batch, agents, _ = observation.shape
    call = jax.ffi.ffi_call(
        library.active().target("agent_step"),
        (
            jax.ShapeDtypeStruct((batch, agents, agent.actions), jnp.float32),
            jax.ShapeDtypeStruct(hidden.shape, jnp.float32),
        ),
    )
    q, next_hidden = call(
        observation,
        whole_numbers("last actions", last_action),
        hidden,
        *agent.operands,
        **attributes(agent.shapes, threads),
    )
    return q, next_hidden


Statics = tuple[Shapes, int, int]
"""Layers, threads, networks."""


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _utilities(statics: Statics, parameters: Any, fixed: Any, others: Any, episodes: Any) -> Any:
    chosen, _, *q = _forward(statics, parameters, fixed, others, episodes, keeps=False)
    return chosen, tuple(q)


def _forward(
    statics: Statics,
    parameters: Any,
    fixed: Any,
    others: Any,
    episodes: Any,
    keeps: bool,
) -> Any:
    shapes, threads, copies = statics
    hidden, actions = shapes[2][1], shapes[3][0] // copies
    *_, action, _ = episodes
    native = library.active()
    steps, batch, agents = action.shape
    times = steps + 1
    saved = native.agent_saved_size(times, batch * agents, hidden, copies) if keeps else 0
    utilities = jax.ShapeDtypeStruct((times, batch, agents, actions), jnp.float32)
    call = jax.ffi.ffi_call(
        native.target("agent_forward"),
        (
            jax.ShapeDtypeStruct(action.shape, jnp.float32),
            jax.ShapeDtypeStruct((saved,), jnp.float32),
            *[utilities] * (1 + len(others)),
        ),
    )
    flat = [operand for other in others for operand in other]
    return call(*episodes, parameters, *fixed, *flat, **attributes(shapes, threads))


def _keep(statics: Statics, parameters: Any, fixed: Any, others: Any, episodes: Any) -> Any:
    chosen, saved, *q = _forward(statics, parameters, fixed, others, episodes, keeps=True)
    return (chosen, tuple(q)), (parameters, fixed, episodes, saved)


def _backward(statics: Statics, kept: Any, cotangents: Any) -> Any:
    parameters, fixed, episodes, saved = kept
    call = jax.ffi.ffi_call(
        library.active().target("agent_backward"),
        jax.ShapeDtypeStruct(parameters.shape, jnp.float32),
    )
    d_chosen = cotangents[0]
    gradient = call(*episodes, d_chosen, saved, parameters, *fixed, **attributes(*statics[:2]))
    return gradient, None, None, None


_utilities.defvjp(_keep, _backward)
