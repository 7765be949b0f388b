"""An algorithm of one's own: VDN whose sum is weighted by the state. Train it from this folder's parent with

mast train smax/3m --algorithm examples.own_algorithm:ENTRY --sparsity 0.95
"""

import equinox as eqx
import jax
from jaxtyping import Array, Float

from mast.algorithms.entry import AlgorithmEntry, pair_uses
from mast.algorithms.value.decomposition import ValueDecomposition
from mast.networks.linear import Linear, torch_layers
from mast.networks.spec import LayerSpec, NetworkSpec, Sizes, recurrent_agent_spec


class WeightedSum(eqx.Module):
    """Q_tot = Σ_i |w_i(s)| Q_i + b(s)."""

    weights: Linear
    shift: Linear

    def __call__(
        self, utilities: Float[Array, "*batch agents"], state: Float[Array, "*batch state"]
    ) -> Float[Array, "*batch 1"]:
        """Mix, over any leading axes."""
        weighted = jax.numpy.abs(self.weights(state)) * utilities
        return weighted.sum(-1, keepdims=True) + self.shift(state)


def networks(sizes: Sizes) -> dict[str, NetworkSpec]:
    """Masks, sizes and FLOPs follow from this declaration."""
    layers = (
        LayerSpec("weights", sizes.state, sizes.agents),
        LayerSpec("shift", sizes.state, 1),
    )
    return {"agent": recurrent_agent_spec(sizes), "mixer": NetworkSpec(layers)}


ENTRY = AlgorithmEntry(
    name="weighted-sum",
    about="the sum of the agents' values, weighted by the state",
    implementation=ValueDecomposition(
        lambda key, networks: WeightedSum(**torch_layers(key, networks["mixer"]))
    ),
    networks=networks,
    uses=pair_uses,
)
