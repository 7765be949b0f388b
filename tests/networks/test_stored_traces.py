"""GRU and mixers against stored float64 numbers of the standard definitions (golden/traces.py)."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from golden import traces
from mast.networks.gru import gru_sequence, split_gates
from mast.networks.linear import Linear
from mast.networks.mixers import FeedForwardMixer, QMixer

TRACES = traces.stored()


def layers(stored: dict[str, Any]) -> dict[str, Linear]:
    return {
        name: Linear(jnp.asarray(weight, jnp.float32), jnp.asarray(bias, jnp.float32))
        for name, (weight, bias) in stored.items()
    }


def test_the_stored_numbers_are_those_of_the_definitions() -> None:
    def compare(stored: Any, made: Any) -> None:
        if isinstance(made, dict):
            assert stored.keys() == made.keys()
            for name in made:
                compare(stored[name], made[name])
        elif isinstance(made, tuple | list):
            for one, other in zip(stored, made, strict=True):
                compare(one, other)
        else:
            np.testing.assert_allclose(stored, made, rtol=1e-13)

    compare(TRACES, traces.make())


def test_gru_sequence() -> None:
    gru = TRACES["gru"]
    network = layers(gru["layers"])
    x = jnp.asarray(gru["x"], jnp.float32)[:, None]
    reset, update, new = (gate(x) for gate in split_gates(network["gru_input"]))
    initial = jnp.asarray(gru["initial"], jnp.float32)[None]
    states = gru_sequence(network["gru_hidden"], (reset, update, new), initial)
    np.testing.assert_allclose(states[:, 0], gru["states"], rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("kind", [QMixer, FeedForwardMixer])
def test_mixers(kind: type) -> None:
    mixers = TRACES["mixers"]
    mixer = kind(**layers(mixers[kind.__name__]["layers"]))
    utilities, state = (jnp.asarray(mixers[n], jnp.float32) for n in ("utilities", "state"))
    q_tot = jax.jit(lambda mixer, *inputs: mixer(*inputs))(mixer, utilities, state)
    np.testing.assert_allclose(q_tot[:, 0], mixers[kind.__name__]["q_tot"], rtol=2e-6, atol=1e-5)
