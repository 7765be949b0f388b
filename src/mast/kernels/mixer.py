"""QMIX's mixer over the visited states of a batch, in one native call forward and one back; RES's values."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int

from mast.kernels import library
from mast.kernels.library import attributes
from mast.kernels.networks import Shapes, SparseQMixer
from mast.kernels.operands import whole_numbers


def mixed_values(
    mixer: SparseQMixer,
    utilities: Float[Array, "times batch agents"],
    state: Float[Array, "states batch features"],
    rows: Int[Array, " batch"],
    *,
    threads: int = 1,
) -> Float[Array, "times batch"]:
    """Q_tot = |w_final| · ELU(|w1| q + b1) + V(s), with gradient to the mixer and to the utilities.

    Args:
      mixer: the mixer.
      utilities: Q_i of each agent.
      state: float16 or float32, read as it is; no gradient flows to it. It may have more times than
        `utilities` (a state after the last step).
      rows: how many of `times` each episode has. What lies beyond is 0 and costs nothing.
      threads: at most as many of XLA's threads take part; no result depends on it.

    Raises:
      ValueError, jax.errors.JaxRuntimeError: a shape or a structure that does not fit.
    """
    episodes = (state, whole_numbers("rows", rows))
    statics = (mixer.shapes, threads)
    return _mixed(statics, mixer.parameters, utilities, mixer.structure, episodes)


def joint_softmax_values(
    mixer: SparseQMixer,
    target_mixer: SparseQMixer,
    q: Float[Array, "times batch agents actions"],
    target_q: Float[Array, "times batch agents actions"],
    available: Bool[Array, "times batch agents actions"],
    state: Float[Array, "times batch features"],
    rows: Int[Array, " batch"],
    *,
    beta: Float[ArrayLike, ""],
    with_unavailable: Bool[ArrayLike, ""],
    threads: int = 1,
) -> Float[Array, "times batch"]:
    """RES's value of each state, `res_softmax_value`; there is no gradient.

    Args:
      mixer, target_mixer: the online and the target mixer, of one shape.
      q, target_q: utilities of the online and the target agent.
      available: which actions may be taken.
      state: float32.
      rows: how many of `times` each episode has. What lies beyond is 0 and costs nothing.
      beta: inverse temperature >= 0, in units of 1/Q.
      with_unavailable: whether joint actions with an unavailable action count too.
      threads: at most as many of XLA's threads take part; no result depends on it.

    Raises:
      ValueError, jax.errors.JaxRuntimeError: a shape or a structure that does not fit.
    """
    if mixer.shapes != target_mixer.shapes:
        raise ValueError("online and target network must have layers of the same shapes")
    call = jax.ffi.ffi_call(
        library.active().target("joint_values"), jax.ShapeDtypeStruct(q.shape[:2], jnp.float32)
    )
    numbers = jnp.stack([jnp.asarray(each, jnp.float32) for each in (beta, with_unavailable)])
    return call(
        *(state, whole_numbers("rows", rows), q, target_q, available, numbers),
        *(mixer.parameters, mixer.structure, target_mixer.parameters, target_mixer.structure),
        **attributes(mixer.shapes, threads),
    )


Statics = tuple[Shapes, int]


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _mixed(statics: Statics, parameters: Any, utilities: Any, structure: Any, episodes: Any) -> Any:
    state, rows = episodes
    call = jax.ffi.ffi_call(
        library.active().target("mixer_forward"),
        jax.ShapeDtypeStruct(utilities.shape[:-1], jnp.float32),
    )
    return call(state, utilities, rows, parameters, structure, **attributes(*statics))


def _keep(statics: Statics, parameters: Any, utilities: Any, structure: Any, episodes: Any) -> Any:
    result = _mixed(statics, parameters, utilities, structure, episodes)
    return result, (parameters, utilities, structure, episodes)


def _backward(statics: Statics, kept: Any, cotangent: Any) -> Any:
    parameters, utilities, structure, (state, rows) = kept
    results = [jax.ShapeDtypeStruct(each.shape, jnp.float32) for each in (utilities, parameters)]
    call = jax.ffi.ffi_call(library.active().target("mixer_backward"), results)
    d_utilities, gradient = call(
        state, utilities, rows, cotangent, parameters, structure, **attributes(*statics)
    )
    return gradient, d_utilities, None, None


_mixed.defvjp(_keep, _backward)
