"""The configured RMSProp against stored float64 numbers of Torch's definition (golden/traces.py)."""

import jax.numpy as jnp
import numpy as np
import optax

from golden import traces
from mast.config import Config
from mast.execution.learner import Learner
from mast.execution.method import method_from_config
from mast.networks.spec import Sizes


def test_rmsprop_is_torchs() -> None:
    """ε outside the root: with it inside, the smallest gradients would move 30 times less."""
    trace = traces.stored()["rmsprop"]
    config = Config(environment="smax/3m", gradient_clip=1e9)
    sizes = Sizes(2, 2, 2, 2)
    optimizer = Learner(config, sizes).optimizer(
        {"theta": jnp.ones(4, bool)}, method_from_config(config)
    )
    params = {"theta": jnp.asarray(trace["initial"], jnp.float32)}
    state = optimizer.init(params)
    for gradient, expected in zip(trace["gradients"], trace["thetas"], strict=True):
        updates, state = optimizer.update(
            {"theta": jnp.asarray(gradient, jnp.float32)}, state, params
        )
        params = optax.apply_updates(params, updates)
        moved = np.asarray(params["theta"]) - np.asarray(trace["initial"])
        # The values are near 1, where float32 steps by 1e-7; the moves are of 1e-3.
        np.testing.assert_allclose(moved, np.subtract(expected, trace["initial"]), atol=1e-6)
