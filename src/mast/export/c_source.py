"""The whole C export: one source file and one header for a team."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mast.export.c_columns import column_list
from mast.export.c_feed_forward import feed_forward_source
from mast.export.c_kept import kept_neurons
from mast.export.c_layers import layers_of, number
from mast.export.c_patterns import form_of, write_layer
from mast.export.c_text import GATES, HEADER, OF_MEMORY, SOURCE_END, SOURCE_HEAD
from mast.export.feed_forward import FeedForwardNetwork
from mast.export.network import AnyNetwork, Network, padded
from mast.networks.spec import GRU

OVERFLOW = 1e37
"""What no sum inside the network may reach, so that no infinity can arise."""
GATE_OPERATIONS = 18
"""Additions and multiplications of one approximated sigmoid or tanh; it divides once."""


@dataclass(frozen=True)
class CSource:
    """The files of a C export and what they cost.

    `forms` says how each layer of each network is stored; `operations` is the worst case of one step.
    """

    files: dict[str, str]
    forms: list[dict[str, str]]
    constant_bytes: int
    state_bytes: int
    work_bytes: int
    operations: dict[str, int]
    observation_limit: float
    networks: list[AnyNetwork]


def c_source(
    networks: Sequence[AnyNetwork],
    agents: int,
    about: str,
    prefix: str = "mast",
    form: str | None = None,
    int8: bool = False,
    vector_width: int = 0,
) -> CSource:
    """Write a team as C99.

    Args:
        networks: one for all agents, or one each.
        agents: how many there are.
        about: a line for the head of both files.
        prefix: of every name.
        form: of every layer; chosen by density and size where None.
        int8: round weights to 8 bits, row by row.
        vector_width: of the test vectors' rows, for the header.
    """
    networks, widest = _filled(networks)
    hidden = networks[0].hidden
    limit = min(observation_limit(network) for network in networks)
    names = {name: text if hidden else "" for name, text in OF_MEMORY.items()} | {
        "prefix": prefix,
        "PREFIX": prefix.upper(),
        "about": about,
        "agents": agents,
        "features": networks[0].features,
        "actions": networks[0].actions,
        "hidden": hidden,
        "vector_width": vector_width,
        "values": "action values" if hidden else "logits",
        "limit": number(limit),
        "limit_bits": f"0x{int(np.float32(limit).view(np.uint32)):08x}UL",
    }
    text, forms, size, worst = SOURCE_HEAD + (GATES if hidden else ""), [], 0, 0
    for index, network in enumerate(networks):
        suffix = f"_{index}" if len(networks) > 1 else ""
        arguments = f"{prefix}{suffix}", form, int8
        body, chosen, bytes_, count = (
            feed_forward_source(network, *arguments)
            if isinstance(network, FeedForwardNetwork)
            else _network(network, *arguments)
        )
        text += body
        forms.append(chosen)
        size, worst = size + bytes_, max(worst, count)
    calls = "".join(
        f"    {f'case {index}' if index + 1 < len(networks) else 'default'}:\n"
        f"        {prefix}_{index}_network(state, observation);\n        break;\n"
        for index in range(len(networks))
    )
    call = f"    {prefix}_network(state, observation);\n"
    names["call"] = f"    switch (state->agent) {{\n{calls}    }}\n" if len(networks) > 1 else call
    text += SOURCE_END
    return CSource(
        files={
            f"{prefix}_agent.h": _fill(HEADER, names),
            f"{prefix}_agent.c": _fill(text, names),
        },
        forms=forms,
        constant_bytes=size,
        state_bytes=4 * (2 + hidden + networks[0].actions),
        work_bytes=4 * (widest + 5 * hidden) + 2 * widest * any("gru_input" in f for f in forms),
        operations={
            "multiply_adds": worst,
            "activations": 3 * hidden,
            "total": 2 * worst + (3 * GATE_OPERATIONS + 7) * hidden + widest,
        },
        observation_limit=limit,
        networks=networks,
    )


def _filled(networks: Sequence[AnyNetwork]) -> tuple[list[AnyNetwork], int]:
    """The networks with widths of whole vectors, and how many numbers lie between their layers at most."""
    recurrent = [padded(network) for network in networks if isinstance(network, Network)]
    hidden = max((network.hidden for network in recurrent), default=0)
    filled: list[AnyNetwork] = [
        padded(network, hidden) if isinstance(network, Network) else network.padded()
        for network in networks
    ]
    between = (
        network.encoded if isinstance(network, Network) else 2 * max(network.widths().values())
        for network in filled
    )
    return filled, max(between)


def observation_limit(network: AnyNetwork) -> float:
    """The largest feature, positive or negative, for which no sum can overflow; at most 1e30.

    A hidden state lies within ±1, so only the encoder and what reads it can grow with an observation; of a
    feed-forward network all layers can.
    """

    def gain(*parts: np.ndarray) -> float:
        return max(1.0, *(np.abs(part.astype(float)).sum(-1).max(initial=0) for part in parts))

    if isinstance(network, FeedForwardNetwork):
        first = gain(network.observation) + gain(network.codes, network.matrices[0][1][:, None])
        behind = (gain(weight) + gain(bias[:, None]) for weight, bias in network.matrices[1:])
        return float(np.float32(min(1e30, OVERFLOW / (2 * first * math.prod(behind)))))
    encoder = gain(network.observation) + gain(network.codes, network.encoder_bias[:, None])
    gates = gain(network.gru_input) + gain(network.gru_input_bias[:, None])
    return float(np.float32(min(1e30, OVERFLOW / (2 * encoder * gates))))


def _fill(text: str, names: dict[str, Any]) -> str:
    """Replaces @name@ by what it stands for."""
    for name, value in names.items():
        text = text.replace(f"@{name}@", str(value))
    return text


def _network(
    network: Network, name: str, form: str | None, int8: bool
) -> tuple[str, dict[str, str], int, int]:
    """The functions of one network, the form of each layer, bytes and worst-case multiply-adds."""
    layers = layers_of(network, name, int8)
    forms = {part: form_of(layer, form) for part, layer in layers.items()}
    by_columns = (
        forms["gru"] == "blocked"
        and form is None
        and not int8
        and np.count_nonzero(network.gru_input) > LONG_COLUMN * network.encoded
    )
    if by_columns:
        network = _by_length_of_column(network)
        layers = layers_of(network, name)
    h, e = network.hidden, network.encoded
    text, size, most = column_list(network.codes.T, f"{name}_code")
    count = most[: network.actions].max(initial=0) + most[network.actions :].max(initial=0)
    gru = "    @name@_gru(x, y);\n"
    if by_columns:
        # About half of the encoder's outputs are zeros, and a step need not read their columns. What
        # this saves exceeds the mispredicted ends of the loops only where columns are long.
        whole = layers["gru"]
        layers["gru"] = replace(whole, weight=whole.weight[:, e:])
        forms["gru_input"] = "columns"
        columns, bytes_, each = column_list(whole.weight[:, :e].T, f"{name}_input")
        text += columns
        size, count = size + bytes_, count + int(each.sum())
        gru = INPUT_BY_COLUMNS
    for part, layer in layers.items():
        code = write_layer(layer, forms[part])
        text += code.text
        size, count = size + code.bytes, count + code.multiply_adds
    asks = {}
    for hidden in ("fc1", GRU):
        constants, asks[hidden], bytes_ = kept_neurons(network.neurons, hidden, f"{name}_{hidden}")
        text, size = text + constants, size + bytes_
    parts = {
        "has_code": asks["fc1"] and f" && {asks['fc1']}",
        "unit": f"{asks[GRU]} ? x[@e@ + j] : 0.0f" if asks[GRU] else "x[@e@ + j]",
        "active": ACTIVE if "gru_input" in forms else "",
        "gru": gru,
        "id": BY_AGENT if network.codes.shape[1] > network.actions else "",
        "name": name,
        "e": e,
        "h": h,
    }
    return text + _fill(NETWORK, parts), forms, size, int(count)


def _by_length_of_column(network: Network) -> Network:
    """The encoder's neurons in the order of how many gates read them.

    A processor guesses where a loop ends by where it ended before: columns of like length follow each other.
    """
    order = np.argsort(-np.count_nonzero(network.gru_input, axis=0), kind="stable")
    return replace(
        network,
        observation=network.observation[order],
        codes=network.codes[order],
        encoder_bias=network.encoder_bias[order],
        gru_input=network.gru_input[:, order],
        neurons={
            name: own[:, order] if name == "fc1" else own for name, own in network.neurons.items()
        },
    )


LONG_COLUMN = 24
"""Weights of a mean column above which a step gains by reading only those of inputs that are not zero."""
BY_AGENT = "    @name@_code_add(@PREFIX@_ACTIONS + state->agent, 1.0f, x);\n"
ACTIVE = "    uint16_t active[@e@];\n    int count = 0;\n"
INPUT_BY_COLUMNS = """    @name@_gru(x + @e@, y);
    for (j = 0; j < @e@; j++) { /* without a branch that nothing could predict */
        active[count] = (uint16_t)j;
        count += x[j] > 0.0f;
    }
    for (j = 0; j < count; j++)
        @name@_input_add(active[j], x[active[j]], y);
"""
NETWORK = """static void @name@_network(@prefix@_state *state, const float *observation)
{
    float x[@e@ + @h@]; /* the encoder's output, then the hidden state */
    float y[4 * @h@];   /* new (from x), reset, update, new (from the hidden state) */
@active@    int j;

    @name@_encoder(observation, x);
    if (state->last_action >= 0)
        @name@_code_add(state->last_action, 1.0f, x);
@id@    for (j = 0; j < @e@; j++)
        x[j] = x[j] > 0.0f@has_code@ ? x[j] : 0.0f;
    for (j = 0; j < @h@; j++)
        x[@e@ + j] = state->hidden[j];
@gru@    @prefix@_gates(x + @e@, y);
    for (j = 0; j < @h@; j++)
        state->hidden[j] = @unit@;
    @name@_output(state->hidden, state->q);
}

"""
