"""Affine layers as C: unrolled statements, blocks of index arrays, or dense arrays."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from mast.export.network import Network

BLOCK = 8
"""Rows that a blocked layer adds up side by side, so that no sum waits for the one before."""
DENSE_ABOVE = 0.25
"""Density above which a vectorised dense product is faster than any sparse one (and, above 0.67, smaller)."""
UNROLLED_BELOW = 4096
"""Weights up to which code without indices fits the instruction cache and compiles in a moment."""
CHAIN = 8
"""Terms that are added one after the other; longer sums are made of several such."""
ROWS_PER_FUNCTION = 32
"""Compilers take more than linear time over a function."""


@dataclass(frozen=True)
class Affine:
    """y = W x + b, to be written in one of the three forms.

    Args:
        name: of the C function.
        weight, bias: float32.
        parts: row and column ranges outside of which a dense form need store nothing.
        int8: whether each row is rounded to 8 bits and a scale.
    """

    name: str
    weight: Float[np.ndarray, "outputs inputs"]
    bias: Float[np.ndarray, " outputs"]
    parts: tuple[tuple[slice, slice], ...]
    int8: bool = False

    def form(self) -> str:
        """The form that fits the layer's density and size."""
        stored = sum(self.weight[part].size for part in self.parts)
        count = np.count_nonzero(self.weight)
        if count > DENSE_ABOVE * stored:
            return "dense"
        # Unrolled, an 8-bit weight would take as much room in the code as any other.
        return "blocked" if self.int8 or count > UNROLLED_BELOW else "unrolled"


def layers_of(network: Network, name: str, int8: bool = False) -> dict[str, Affine]:
    """The three affine maps that a step consists of.

    Both halves of the GRU are one: of the encoder's output and the hidden state in a row it makes, block by
    block, the input's share of the new state, reset, update, and the hidden state's share of the new state.
    """
    h, e = network.hidden, network.encoded
    gates = np.zeros((4 * h, e + h), np.float32)
    gates[:h, :e] = network.gru_input[2 * h :]
    gates[h : 3 * h, :e] = network.gru_input[: 2 * h]
    gates[h:, e:] = network.gru_hidden
    bias = np.concatenate(
        [
            network.gru_input_bias[2 * h :],
            network.gru_input_bias[: 2 * h] + network.gru_hidden_bias[: 2 * h],
            network.gru_hidden_bias[2 * h :],
        ]
    )
    halves = ((slice(0, 3 * h), slice(0, e)), (slice(h, 4 * h), slice(e, e + h)))
    whole = ((slice(None), slice(None)),)
    return {
        "encoder": Affine(
            f"{name}_encoder", network.observation, network.encoder_bias, whole, int8
        ),
        "gru": Affine(f"{name}_gru", gates, bias.astype(np.float32), halves, int8),
        "output": Affine(f"{name}_output", network.output, network.output_bias, whole, int8),
    }


@dataclass(frozen=True)
class Code:
    """A layer in C: constants, functions, bytes of the constants and multiply-adds of a call."""

    text: str
    bytes: int
    multiply_adds: int


def quantize_rows(
    weight: Float[np.ndarray, "outputs inputs"],
) -> tuple[np.ndarray, Float[np.ndarray, " outputs"]]:
    """Each row as integers of at most ±127 and the number to multiply them with."""
    scale = np.abs(weight).max(1, initial=0) / np.float32(127)
    scale = np.where(scale > 0, scale, 1).astype(np.float32)
    return np.rint(weight / scale[:, None]).astype(np.int8), scale


def dequantized(network: Network) -> Network:
    """The network whose weights are those that 8 bits leave; the codes' weights stay as they are."""
    layers = layers_of(network, "")

    def again(layer: Affine) -> np.ndarray:
        weight, scale = quantize_rows(layer.weight)
        return weight * scale[:, None]

    gates, h, e = again(layers["gru"]), network.hidden, network.encoded
    return replace(
        network,
        observation=again(layers["encoder"]),
        gru_input=np.concatenate([gates[h : 3 * h, :e], gates[:h, :e]]),
        gru_hidden=gates[h:, e:],
        output=again(layers["output"]),
    )


def number(value: Any) -> str:
    """A float32 as a C constant, exact."""
    return f"{np.float32(value)!s}f"


def array(declaration: str, values: Iterable[Any]) -> str:
    """A constant array, lines of moderate length."""
    words = [str(value) for value in values]
    lines = [", ".join(words[i : i + 12]) for i in range(0, len(words), 12)]
    return f"static const {declaration} = {{\n    " + ",\n    ".join(lines) + "\n};\n"


def floats(name: str, values: np.ndarray) -> str:
    """A constant array of float32."""
    return array(f"float {name}[{values.size}]", map(number, values.ravel()))


def write(layer: Affine, form: str) -> Code:
    """The layer as a C function `NAME(x, y)`."""
    return {"unrolled": _unrolled, "blocked": _blocked, "dense": _dense}[form](layer)


def _head(name: str) -> str:
    return f"static void {name}(const float *restrict x, float *restrict y)\n{{\n"


def _unrolled(layer: Affine) -> Code:
    text, calls = "", []
    for start in range(0, len(layer.weight), ROWS_PER_FUNCTION):
        calls.append(f"{layer.name}_{start}")
        text += _head(calls[-1])
        rows = range(start, min(start + ROWS_PER_FUNCTION, len(layer.weight)))
        if not layer.weight[rows].any():
            text += "    (void)x;\n"
        for row in rows:
            text += f"    y[{row}] = {number(layer.bias[row])}"
            places = np.flatnonzero(layer.weight[row])
            terms = [f"{number(layer.weight[row, place])} * x[{place}]" for place in places]
            for start_ in range(0, len(terms), CHAIN):
                text += "\n        + (" + "\n         + ".join(terms[start_ : start_ + CHAIN]) + ")"
            text += ";\n"
        text += "}\n\n"
    text += _head(layer.name) + "".join(f"    {call}(x, y);\n" for call in calls) + "}\n\n"
    count = int(np.count_nonzero(layer.weight))
    return Code(text, 4 * (count + layer.bias.size), count)


def _blocked(layer: Affine) -> Code:
    """Rows of like length in blocks of `BLOCK`; the columns of a block lie interleaved."""
    counts = np.count_nonzero(layer.weight, axis=1)
    order = np.argsort(-counts, kind="stable")
    order = np.pad(order, (0, -len(order) % BLOCK), mode="edge")  # the last row may be done twice
    weight, scale = quantize_rows(layer.weight) if layer.int8 else (layer.weight, None)
    lengths, columns, values = [], [], []
    for rows in order.reshape(-1, BLOCK):
        length = int(counts[rows[0]])
        lengths.append(length)
        block = np.zeros((2, length, BLOCK), object)
        for lane, row in enumerate(rows):
            places = np.flatnonzero(layer.weight[row])
            block[0, : len(places), lane] = places
            block[1, : len(places), lane] = weight[row, places]
        columns += list(block[0].ravel())
        values += list(block[1].ravel())
    index = "uint8_t" if layer.weight.shape[1] <= 256 else "uint16_t"
    value_type = "int8_t" if layer.int8 else "float"
    shown = values if layer.int8 else [number(value) for value in values]
    # An array of length 0 is no C: a layer without weights has one that is never read.
    text = array(f"{value_type} {layer.name}_values[{max(1, len(values))}]", shown or [0])
    text += array(f"{index} {layer.name}_columns[{max(1, len(values))}]", columns or [0])
    text += array(f"uint16_t {layer.name}_lengths[{len(lengths)}]", lengths)
    text += array(f"uint16_t {layer.name}_rows[{order.size}]", order)
    text += floats(f"{layer.name}_bias", layer.bias[order])
    scaled = ""
    if scale is not None:
        text += floats(f"{layer.name}_scale", scale[order])
        scaled = f"{layer.name}_scale[at] * "
    adds = "".join(f"            s{k} += v[{k}] * x[c[{k}]];\n" for k in range(BLOCK))
    if layer.int8:
        adds = adds.replace("v[", "(float)v[")
    stores = "".join(
        f"        y[{layer.name}_rows[at + {k}]] = {layer.name}_bias[at + {k}] + "
        f"{scaled.replace('[at]', f'[at + {k}]')}s{k};\n"
        for k in range(BLOCK)
    )
    text += (
        _head(layer.name) + f"    const {value_type} *v = {layer.name}_values;\n"
        f"    const {index} *c = {layer.name}_columns;\n"
        "    int block, n;\n\n"
        f"    for (block = 0; block < {len(lengths)}; block++) {{\n"
        f"        const int at = {BLOCK} * block;\n"
        "        float " + ", ".join(f"s{k} = 0.0f" for k in range(BLOCK)) + ";\n\n"
        f"        for (n = {layer.name}_lengths[block]; n > 0; n--) {{\n{adds}"
        f"            v += {BLOCK};\n            c += {BLOCK};\n        }}\n{stores}    }}\n}}\n\n"
    )
    width = (1 if layer.int8 else 4) + (1 if index == "uint8_t" else 2)
    per_row = 4 + 2 + (4 if layer.int8 else 0)
    return Code(text, width * len(values) + per_row * order.size + 2 * len(lengths), len(values))


def _dense(layer: Affine) -> Code:
    """Column after column, so that a compiler may work on several outputs at once."""
    weight, scale = quantize_rows(layer.weight) if layer.int8 else (layer.weight, None)
    outputs = len(layer.bias)
    text, body, size, count = "", "", 4 * outputs, 0
    for place, (rows, columns) in enumerate(layer.parts):
        part, name = weight[rows, columns].T, f"{layer.name}_weight{place}"
        shape, first = part.shape, rows.indices(outputs)[0]
        start = columns.indices(layer.weight.shape[1])[0]
        kind = "int8_t" if layer.int8 else "float"
        shown = part.ravel() if layer.int8 else map(number, part.ravel())
        text += array(f"{kind} {name}[{part.size}]", shown)
        body += _columns(
            name, shape, f"x + {start}", f"y + {first}", "(float)" if layer.int8 else ""
        )
        size += part.size * part.itemsize
        count += part.size
    text += floats(f"{layer.name}_bias", layer.bias)
    begin, end = f"{layer.name}_bias[o]", ""
    if scale is not None:
        text += floats(f"{layer.name}_scale", scale)
        begin = "0.0f"
        end = (
            f"    for (o = 0; o < {outputs}; o++)\n"
            f"        y[o] = {layer.name}_bias[o] + {layer.name}_scale[o] * y[o];\n"
        )
        size += 4 * outputs
    text += (
        _head(layer.name) + "    int i, o;\n\n"
        f"    for (o = 0; o < {outputs}; o++)\n        y[o] = {begin};\n{body}{end}}}\n\n"
    )
    return Code(text, size, count)


def _columns(name: str, shape: tuple[int, ...], x: str, y: str, cast: str) -> str:
    """Adds each column times its input; four at a time, or the sum of a few outputs would wait for itself."""
    inputs, outputs = shape

    def loop(begin: int, end: int, stride: int) -> str:
        terms = [f"{cast}{name}[{outputs} * (i + {k}) + o] * ({x})[i + {k}]" for k in range(stride)]
        pairs = [" + ".join(terms[k : k + 2]) for k in range(0, stride, 2)]
        total = " +\n                ".join(f"({pair})" for pair in pairs)
        return (
            f"    for (i = {begin}; i < {end}; i += {stride})\n"
            f"        for (o = 0; o < {outputs}; o++)\n            ({y})[o] += {total};\n"
        )

    whole = inputs - inputs % 4
    return (loop(0, whole, 4) if whole else "") + (loop(whole, inputs, 1) if inputs % 4 else "")
