"""Dead neurons of two kinds: those that the masks cut off, and those that never fire."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from mast.diagnosis.values import Played
from mast.networks.agent import last_actions
from mast.networks.mixers import FeedForwardMixer, QMixer
from mast.networks.spec import NetworkSpec


def disconnected_neurons(
    networks: Mapping[str, NetworkSpec], masks: Mapping[str, Bool[np.ndarray, "..."]]
) -> dict[str, Bool[np.ndarray, "..."]]:
    """The hidden neurons that no active weight leads to, or that no active weight leads away from.

    A neuron without inputs gives a constant (its bias still acts); one without outputs changes nothing. Only
    the neuron's own weights are looked at, not whether the neurons beyond them are connected. A GRU's unit
    has rows in all three gates of both its matrices; its weights to itself count neither as input nor as
    output.

    Args:
        networks: the team's, by name.
        masks: by leaf path, [outputs, inputs], or [agents, outputs, inputs] of independent networks.

    Returns:
        hidden layer (`agent.fc1`, `agent.gru`, `mixer.v_hidden`, …) → True where disconnected, [units] or
        [agents, units]; without layers that have no mask.
    """
    dead = {}
    for network, spec in networks.items():
        of = {layer.name: masks.get(f"{network}.{layer.name}.weight") for layer in spec.layers}
        for neurons, units in spec.hidden.items():
            has_input = has_output = np.zeros(units, bool)
            for layer in spec.layers:
                mask, makes, reads = of[layer.name], layer.makes == neurons, neurons in layer.reads
                if not makes and not reads:
                    continue
                if mask is None:
                    break
                if makes and reads:
                    mask = mask & np.tile(~np.eye(units, dtype=bool), (layer.outputs // units, 1))
                if makes:
                    by_row = mask.any(-1)
                    has_input = has_input | by_row.reshape(*by_row.shape[:-1], -1, units).any(-2)
                if reads:
                    has_output = has_output | mask.any(-2)
            else:
                dead[f"{network}.{neurons}"] = np.logical_not(has_input & has_output)
    return dead


@jax.jit
def largest_activations(
    params: Any,
    observation: Float[Any, "time episodes agents features"],
    state: Float[Any, "time episodes state"],
    action: Any,
    mask: Bool[Any, "time episodes"],
) -> dict[str, Float[Array, "..."]]:
    """The largest activation of every ReLU neuron over the steps really taken.

    Layers: `fc1` of each agent network, the hidden layers of QMIX's hypernetworks and of V(s), and those of
    weighted QMIX's unrestricted mixer (at the actions taken). The
    GRU has none: its units are no ReLUs and 0 means nothing special to them (see `disconnected_neurons`).

    Args:
        params: an algorithm's, with an `agent` and a `mixer`, perhaps an `unrestricted_agent` too.
        observation, state, action, mask: of the episodes, see `Played`.

    Returns:
        layer → [units], over all agents where they share one network, else [agents, units].
    """
    observation, state = (jnp.asarray(each, jnp.float32) for each in (observation, state))
    action = jnp.asarray(action, jnp.int32)
    last_action = last_actions(action)[:-1]
    largest = {}
    for network in ("agent", "unrestricted_agent"):
        agent = getattr(params, network, None)
        if agent is not None:
            code = jnp.where(mask[..., None, None], agent.encode(observation, last_action), 0)
            shared = agent.fc1.weight.ndim == 2
            largest[f"{network}.fc1"] = code.max((0, 1, 2) if shared else (0, 1))
    hidden = {}
    if isinstance(getattr(params, "mixer", None), QMixer):
        for layer in ("w1_hidden", "w_final_hidden", "v_hidden"):
            hidden[f"mixer.{layer}"] = jax.nn.relu(getattr(params.mixer, layer)(state))
    if isinstance(getattr(params, "unrestricted_mixer", None), FeedForwardMixer):
        mixer = params.unrestricted_mixer
        q = params.unrestricted_agent.sequence(observation, last_action)
        chosen = (q * jax.nn.one_hot(action, q.shape[-1])).sum(-1)
        values = jnp.concatenate([chosen, state], axis=-1)
        for layer in ("fc1", "fc2", "fc3"):
            values = jax.nn.relu(getattr(mixer, layer)(values))
            hidden[f"unrestricted_mixer.{layer}"] = values
        hidden["unrestricted_mixer.v_hidden"] = jax.nn.relu(mixer.v_hidden(state))
    within = mask[..., None]
    return largest | {
        layer: jnp.where(within, values, 0).max((0, 1)) for layer, values in hidden.items()
    }


def dormant_neurons(params: Any, played: Played) -> dict[str, Bool[np.ndarray, "..."]]:
    """The ReLU neurons that are 0 at every step of a batch: τ-dormant with τ = 0.

    Args:
        params: an algorithm's.
        played: the batch.

    Returns:
        layer → True where dormant, shaped as in `largest_activations`.

    Source: Sokar et al. 2023, Definition 3.1 (score s_i ≤ τ) with τ = 0.
    """
    largest = largest_activations(
        params, played.observation, played.state, played.action, played.mask
    )
    return {layer: np.asarray(values) <= 0 for layer, values in largest.items()}


def shares(neurons: Mapping[str, Bool[np.ndarray, "..."]]) -> dict[str, float]:
    """The share that is True in each layer."""
    return {layer: float(np.mean(flags)) for layer, flags in sorted(neurons.items())}
