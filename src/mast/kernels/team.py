"""The loss of a value-decomposition team and its gradient, in one native call; and the optimizer's step."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Integer, UInt8

from mast.kernels import library
from mast.kernels.library import attributes
from mast.kernels.networks import SparseAgent, SparseQMixer
from mast.kernels.operands import refuse_empty, whole_numbers

MIXINGS = ("none", "sum", "monotonic")
"""How utilities become Q_tot: each its own (IQL), their sum (VDN), QMIX's mixer."""


class TeamBatch(NamedTuple):
    """Whole episodes as the native call reads them."""

    observation: Float[Any, "time_and_one batch agents features"]
    """float16 or float32, and the state alike."""
    action: Int[Any, "time batch agents"]
    steps: Int[Any, " batch"]
    """How many steps of each episode were really taken; what lies beyond is not read."""
    available: Bool[Any, "time_and_one batch agents actions"]
    reward: Float[Any, "time batch"]
    terminated: Bool[Any, "time batch"]
    state: Float[Any, "time_and_one batch state"]


class RingBatch(NamedTuple):
    """Whole episodes that lie in slots of the replay ring, as the native call reads them: in place.

    A slot is `limit` steps long, and one observation more. The ring must not change during a call.
    """

    observation: Float[Any, "capacity limit_and_one agents_times_features"]
    """float16 or float32, and the state alike."""
    action: Integer[Any, "capacity limit agents"]
    """uint8 or int16."""
    available: UInt8[Any, "capacity limit_and_one bytes"]
    """Agents times actions bits, the first in the highest bit of the first byte."""
    reward: Float[Any, "capacity limit one"]
    slots: Int[Any, " batch"]
    steps: Int[Any, " batch"]
    """How many steps of each episode were really taken, 1 or more."""
    terminated: Bool[Any, " batch"]
    """Whether the episode ended by itself and not by the time limit."""
    state: Float[Any, "capacity limit_and_one features"]


class Targets(NamedTuple):
    """What a target is made with; all are numbers, so that a change of method compiles nothing."""

    operator: Int[Any, ""]
    """An `Operator` below RES_SOFTMAX."""
    double_q: Bool[Any, ""]
    alpha: Float[Any, ""]
    omega: Float[Any, ""]
    """Above 0."""
    beta: Float[Any, ""]
    discount: Float[Any, ""]
    td_lambda: Float[Any, ""]
    n_step: Int[Any, ""]
    """0 for the λ-return."""
    cuts_are_terminal: Bool[Any, ""]


class TeamGradient(NamedTuple):
    """What `team_gradient` gives; the gradient is of the networks' `parameters`."""

    loss: Float[Array, ""]
    q_tot: Float[Array, ""]
    target: Float[Array, ""]
    td_error: Float[Array, ""]
    agent: Float[Array, " numbers"]
    mixer: Float[Array, " numbers"] | None


def team_gradient(
    agent: SparseAgent,
    target_agent: SparseAgent,
    mixer: SparseQMixer | None,
    target_mixer: SparseQMixer | None,
    batch: TeamBatch | RingBatch,
    targets: Targets,
    *,
    mixing: str,
    threads: int = 1,
) -> TeamGradient:
    """Σ mask (y − Q_tot)² / Σ mask, its gradient, and the means of Q_tot, y and |y − Q_tot|.

    Args:
      agent, target_agent: the online and the target agent, of one shape.
      mixer, target_mixer: the mixers, of one shape; None unless `mixing` is "monotonic".
      batch: whole episodes, side by side or where they lie in the replay ring; the numbers are the same.
      targets: the numbers of the method.
      mixing: one of `MIXINGS`.
      threads: at most as many of XLA's threads take part; no result depends on it.

    Raises:
      ValueError, jax.errors.JaxRuntimeError: a shape or a structure that does not fit.
    """
    refuse_empty(batch.observation)
    if mixing not in MIXINGS:
        raise ValueError(f"mixing is {mixing!r}; known are {', '.join(MIXINGS)}")
    shapes = agent.shapes
    for one, other in ((agent, target_agent), (mixer, target_mixer)):
        if one is not None and (other is None or one.shapes != other.shapes):
            raise ValueError("online and target network must have layers of the same shapes")
    operands = [
        *_episodes(batch),
        jnp.stack([jnp.asarray(number, jnp.float32) for number in targets]),
        *(*agent.operands, *target_agent.operands),
    ]
    results = [
        jax.ShapeDtypeStruct((4,), jnp.float32),
        jax.ShapeDtypeStruct(agent.parameters.shape, jnp.float32),
    ]
    if mixer is not None and target_mixer is not None:
        shapes = (*shapes, *mixer.shapes)
        operands += [batch.state, mixer.parameters, mixer.structure]
        operands += [target_mixer.parameters, target_mixer.structure]
        results.append(jax.ShapeDtypeStruct(mixer.parameters.shape, jnp.float32))
    handler = "ring_gradient" if isinstance(batch, RingBatch) else "team_gradient"
    call = jax.ffi.ffi_call(library.active().target(handler), results)
    told, *gradients = call(
        *operands, **attributes(shapes, threads), mixing=np.int64(MIXINGS.index(mixing))
    )
    loss, q_tot, target, td_error = told
    d_mixer = gradients[1] if mixer is not None else None
    return TeamGradient(loss, q_tot, target, td_error, gradients[0], d_mixer)


def _episodes(batch: TeamBatch | RingBatch) -> list[Any]:
    """All but the states, in the order of the native call."""
    if isinstance(batch, TeamBatch):
        numbers = [whole_numbers("actions", batch.action), whole_numbers("steps", batch.steps)]
        return [batch.observation, *numbers, batch.available, batch.reward, batch.terminated]
    drawn = [whole_numbers("slots", batch.slots), whole_numbers("steps", batch.steps)]
    return [*batch[:4], *drawn, batch.terminated]


def rmsprop_step(
    slots: list[tuple[Array, Array, Array]],
    *,
    learning_rate: Float[Any, ""] | float,
    decay: float,
    epsilon: float,
    largest_norm: float,
) -> tuple[list[tuple[Array, Array]], Float[Array, ""]]:
    """RMSProp, eps outside the root, on gradients clipped to a norm together.

    Args:
      slots: of each vector its parameters, gradient and second moment.
      learning_rate, decay, epsilon: RMSProp's; the first may be data.
      largest_norm: of all gradients together.

    Returns:
      Of each vector the new parameters and second moment, and the norm before clipping.
    """
    results = [
        jax.ShapeDtypeStruct(parameters.shape, jnp.float32)
        for parameters, _, _ in slots
        for _ in range(2)
    ]
    call = jax.ffi.ffi_call(
        library.active().target("rmsprop_step"), [*results, jax.ShapeDtypeStruct((), jnp.float32)]
    )
    *changed, norm = call(
        jnp.asarray(learning_rate, jnp.float32),
        *(operand for slot in slots for operand in slot),
        decay=np.float32(decay),
        epsilon=np.float32(epsilon),
        largest_norm=np.float32(largest_norm),
    )
    return list(zip(changed[::2], changed[1::2], strict=True)), norm
