"""A feed-forward actor as C."""

from dataclasses import replace

import numpy as np

from mast.export.c_columns import column_list
from mast.export.c_kept import kept_neurons
from mast.export.c_layers import Affine, quantize_rows
from mast.export.c_patterns import form_of, write_layer
from mast.export.feed_forward import FeedForwardNetwork


def affine_layers(network: FeedForwardNetwork, name: str, int8: bool = False) -> dict[str, Affine]:
    """The affine maps that a step consists of; the id's columns are apart."""
    whole = ((slice(None), slice(None)),)
    matrices = [network.observation, *(weight for weight, _ in network.matrices[1:])]
    return {
        f"layers.{place}": Affine(
            f"{name}_layer_{place}",
            weight,
            bias,
            whole,
            int8 and not (network.scaled and place == 0),
        )
        for place, (weight, (_, bias)) in enumerate(zip(matrices, network.matrices, strict=True))
    }


def dequantized_layers(network: FeedForwardNetwork) -> FeedForwardNetwork:
    """The network whose weights are those that 8 bits leave; the id's weights stay as they are."""
    layers = []
    for place, layer in enumerate(affine_layers(network, "", int8=True).values()):
        weight = layer.weight
        if layer.int8:
            rounded, scale = quantize_rows(weight)
            weight = rounded * scale[:, None]
        if place == 0:
            weight = np.hstack([weight, network.codes])
        layers.append((weight, layer.bias))
    return replace(network, matrices=tuple(layers))


def feed_forward_source(
    network: FeedForwardNetwork, name: str, form: str | None, int8: bool
) -> tuple[str, dict[str, str], int, int]:
    """The functions of one network, the form of each layer, bytes and worst-case multiply-adds.

    Args:
        network: with widths of whole vectors.
        name: of the functions and arrays.
        form: of every layer; chosen by density and size where None.
        int8: whether each row is rounded to 8 bits and a scale.
    """
    layers = affine_layers(network, name, int8)
    forms = {part: form_of(layer, form) for part, layer in layers.items()}
    text, steps, size, count = "", "", 0, 0
    if network.codes.shape[1]:
        text, size, most = column_list(network.codes.T, f"{name}_code")
        count = int(most.max(initial=0))
    source, target = "observation", "x"
    for place, (part, layer) in enumerate(layers.items()):
        code = write_layer(layer, forms[part])
        text, size, count = text + code.text, size + code.bytes, count + code.multiply_adds
        if place == len(layers) - 1:
            steps += f"    {layer.name}({source}, state->q);\n"
            break
        steps += f"    {layer.name}({source}, {target});\n"
        if place == 0 and network.codes.shape[1]:
            steps += f"    {name}_code_add(state->agent, 1.0f, {target});\n"
        constants, asks, bytes_ = kept_neurons(network.neurons, part, layer.name)
        text, size = text + constants, size + bytes_
        has = f"{target}[j] > 0.0f" + (f" && {asks}" if asks else "")
        steps += (
            f"    for (j = 0; j < {len(layer.bias)}; j++)\n"
            f"        {target}[j] = {has} ? {target}[j] : 0.0f;\n"
        )
        source, target = target, "y" if target == "x" else "x"
    widest = max(network.widths().values())
    buffers = f"    float x[{widest}]" + (f", y[{widest}]" if len(layers) > 2 else "")
    return text + NETWORK.format(name=name, buffers=buffers, steps=steps), forms, size, count


NETWORK = """static void {name}_network(@prefix@_state *state, const float *observation)
{{
{buffers};
    int j;

{steps}}}

"""
