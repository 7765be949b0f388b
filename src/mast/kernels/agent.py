"""The recurrent agent along whole episodes, in one native call forward and one back."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from mast.kernels import library
from mast.kernels.networks import SparseAgent
from mast.kernels.operands import join, split


def episode_utilities(
    agent: SparseAgent,
    observation: Float[Array, "observations batch agents features"],
    action: Int[Array, "steps batch agents"],
    steps: Int[Array, " batch"],
    *,
    others: Sequence[SparseAgent] = (),
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
      threads: at most as many of XLA's threads take part; no result depends on it.

    Returns:
      `agent`'s Q of the actions taken, and the Q of every action of `agent` and each of `others`.

    Raises:
      ValueError, jax.errors.JaxRuntimeError: a shape or a structure that does not fit.
    """
    episodes = (observation, action.astype(jnp.int32), steps.astype(jnp.int32))
    floats, structure = split(agent.layers())
    rest = tuple(join(*split(other.layers())) for other in others)
    statics = (agent.features, agent.actions, agent.hidden_size, threads)
    return _utilities(statics, floats, structure, rest, episodes)


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
    return call(
        observation,
        last_action.astype(jnp.int32),
        hidden,
        *join(*split(agent.layers())),
        actions=np.int64(agent.actions),
        threads=np.int64(threads),
    )


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _utilities(
    statics: tuple[int, ...], floats: Any, structure: Any, others: Any, episodes: Any
) -> Any:
    chosen, _, *q = _forward(statics, floats, structure, others, episodes, keeps=False)
    return chosen, tuple(q)


def _forward(
    statics: tuple[int, ...],
    floats: Any,
    structure: Any,
    others: Any,
    episodes: Any,
    keeps: bool,
) -> Any:
    _, actions, hidden, threads = statics
    observation, action, _ = episodes
    native = library.active()
    times, batch, agents, _ = observation.shape
    saved = native.agent_saved_size(times, batch * agents, hidden) if keeps else 0
    utilities = jax.ShapeDtypeStruct((times, batch, agents, actions), jnp.float32)
    call = jax.ffi.ffi_call(
        native.target("agent_forward"),
        (
            jax.ShapeDtypeStruct(action.shape, jnp.float32),
            jax.ShapeDtypeStruct((saved,), jnp.float32),
            *[utilities] * (1 + len(others)),
        ),
    )
    networks = (join(floats, structure), *others)
    flat = [operand for network in networks for operand in network]
    return call(*episodes, *flat, actions=np.int64(actions), threads=np.int64(threads))


def _keep(statics: tuple[int, ...], floats: Any, structure: Any, others: Any, episodes: Any) -> Any:
    chosen, saved, *q = _forward(statics, floats, structure, others, episodes, keeps=True)
    return (chosen, tuple(q)), (floats, structure, others, episodes, saved)


def _backward(statics: tuple[int, ...], kept: Any, cotangents: Any) -> Any:
    _, actions, _, threads = statics
    floats, structure, _, episodes, saved = kept
    gradients = [jax.ShapeDtypeStruct(each.shape, jnp.float32) for each in floats]
    call = jax.ffi.ffi_call(library.active().target("agent_backward"), gradients)
    result = call(
        *episodes,
        cotangents[0],
        saved,
        *join(floats, structure),
        actions=np.int64(actions),
        threads=np.int64(threads),
    )
    return tuple(result), None, None, None


_utilities.defvjp(_keep, _backward)
