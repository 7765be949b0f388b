"""Affine layers as C: unrolled statements, blocks of index arrays, or dense ones (patterns: c_patterns)."""

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
UNROLLED_BELOW = 1500
"""Weights up to which code without indices fits the instruction cache and is faster than vectors are."""
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
            f"{name}_encoder",
            network.observation,
            network.encoder_bias,
            whole,
            int8 and not network.scaled,
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
    layers = layers_of(network, "", int8=True)

    def again(layer: Affine) -> np.ndarray:
        if not layer.int8:
            return layer.weight
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


def head(name: str) -> str:
    """How a layer's function begins."""
    return f"static void {name}(const float *restrict x, float *restrict y)\n{{\n"


def _unrolled(layer: Affine) -> Code:
    text, calls = "", []
    for start in range(0, len(layer.weight), ROWS_PER_FUNCTION):
        calls.append(f"{layer.name}_{start}")
        text += head(calls[-1])
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
    text += head(layer.name) + "".join(f"    {call}(x, y);\n" for call in calls) + "}\n\n"
    count = int(np.count_nonzero(layer.weight))
    return Code(text, 4 * (count + layer.bias.size), count)


@dataclass(frozen=True)
class _Blocks:
    """Rows of like length in blocks of `BLOCK`; the values and columns of a block lie interleaved."""

    rows: np.ndarray
    """Of all blocks, then those without a weight; one may be there twice."""
    full: int
    """How many of `rows` are in blocks."""
    lengths: list[int]
    columns: list[int]
    values: list[Any]


def _in_blocks(layer: Affine, weight: np.ndarray) -> _Blocks:
    """The rows of a layer in blocks.

    Args:
        layer: any.
        weight: the numbers to be stored.
    """
    counts = np.count_nonzero(layer.weight, axis=1)
    order = np.argsort(-counts, kind="stable")
    order, empty = np.split(order, [np.count_nonzero(counts)])
    fill = -len(order) % BLOCK
    order = np.pad(order, (0, fill), mode="edge" if fill else "constant")
    lengths: list[int] = []
    columns: list[int] = []
    values: list[Any] = []
    for rows in order.reshape(-1, BLOCK):
        length = int(counts[rows[0]])
        lengths.append(length)
        block = np.zeros((2, length, BLOCK), object)
        for lane, row in enumerate(rows):
            places = np.flatnonzero(layer.weight[row])
            block[0, : len(places), lane] = places
            block[1, : len(places), lane] = weight[row, places]
        columns += [int(column) for column in block[0].ravel()]
        values += list(block[1].ravel())
    return _Blocks(np.concatenate([order, empty]), len(order), lengths, columns, values)


def _blocked(layer: Affine) -> Code:
    """Arrays of indices; where a column's number is a byte, four lie in a word and are loaded at once."""
    weight, scale = quantize_rows(layer.weight) if layer.int8 else (layer.weight, None)
    blocks = _in_blocks(layer, weight)
    values, rows, name = blocks.values, blocks.rows, layer.name
    value_type = "int8_t" if layer.int8 else "float"
    numbers = values if layer.int8 else [number(value) for value in values]
    in_words = layer.weight.shape[1] <= 256
    if in_words:
        index, at_once = "uint32_t", blocks.columns
        columns = [
            f"0x{sum(column << 8 * k for k, column in enumerate(at_once[at : at + 4])):08x}UL"
            for at in range(0, len(at_once), 4)
        ]
    else:
        index, columns = "uint16_t", [str(column) for column in blocks.columns]
    # An array of length 0 is no C: a layer without weights has one that is never read.
    text = array(f"{value_type} {name}_values[{max(1, len(values))}]", numbers or [0])
    text += array(f"{index} {name}_columns[{max(1, len(columns))}]", columns or [0])
    text += array(f"uint16_t {name}_lengths[{max(1, len(blocks.lengths))}]", blocks.lengths or [0])
    text += array(f"uint16_t {name}_rows[{rows.size}]", rows)
    text += floats(f"{name}_bias", layer.bias[rows])
    if scale is not None:
        text += floats(f"{name}_scale", scale[rows])
    text += _block_loop(layer, blocks, value_type, index)
    width = (1 if layer.int8 else 4) + (1 if in_words else 2)
    per_row = 4 + 2 + (4 if layer.int8 else 0)
    bytes_ = width * len(values) + per_row * rows.size + 2 * len(blocks.lengths)
    return Code(text, bytes_, len(values))


def _block_loop(layer: Affine, blocks: _Blocks, value_type: str, index: str) -> str:
    """The function that adds the blocks up, four rows in a vector where the compiler has such."""
    name, lanes, in_words = layer.name, range(BLOCK), index == "uint32_t"
    places = [f"(uint8_t)(c[{k // 4}] >> {8 * (k % 4)})" if in_words else f"c[{k}]" for k in lanes]
    read = [f"x[{place}]" for place in places]
    lines = f"        for (n = {name}_lengths[block]; n > 0; n--) {{\n"
    on = f"            v += {BLOCK};\n            c += {BLOCK // 4 if in_words else BLOCK};\n        }}\n"
    cast, scale = ("(float)", f"{name}_scale[at + @] * ") if layer.int8 else ("", "")
    each = (
        "        float " + ", ".join(f"s{k} = 0.0f" for k in lanes) + ";\n\n" + lines
        + "".join(f"            s{k} += {cast}v[{k}] * {read[k]};\n" for k in lanes) + on
        + "".join(
            f"        y[{name}_rows[at + {k}]] = {name}_bias[at + {k}] + "
            f"{scale.replace('@', str(k))}s{k};\n"
            for k in lanes
        )
    )  # fmt: skip
    halves = ((k, letter) for k, letter in zip(range(0, BLOCK, 4), "ab", strict=True))
    four = "*(const @prefix@_four *)"
    fours = (
        "        @prefix@_four a = {0.0f, 0.0f, 0.0f, 0.0f}, b = a;\n\n" + lines
        + "".join(
            f"            const @prefix@_four x{k} = {{\n                "
            + ",\n                ".join(read[k : k + 4]) + "\n            };\n"
            for k in range(0, BLOCK, 4)
        )
        + "\n" + "".join(f"            {letter} += {four}(v + {k}) * x{k};\n" for k, letter in halves)
        + on + f"        a += {four}({name}_bias + at);\n        b += {four}({name}_bias + at + 4);\n"
        + "".join(f"        y[{name}_rows[at + {k}]] = {'ab'[k // 4]}[{k % 4}];\n" for k in lanes)
    )  # fmt: skip
    body = each if layer.int8 else f"#ifdef @PREFIX@_VECTORS\n{fours}#else\n{each}#endif\n"
    return (
        head(name) + f"    const {value_type} *v = {name}_values;\n"
        f"    const {index} *c = {name}_columns;\n"
        "    int block, n;\n\n"
        f"    for (block = 0; block < {len(blocks.lengths)}; block++) {{\n"
        f"        const int at = {BLOCK} * block;\n{body}    }}\n"
        f"    for (n = {blocks.full}; n < {blocks.rows.size}; n++)\n"
        f"        y[{name}_rows[n]] = {name}_bias[n];\n}}\n\n"
    )


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
        head(layer.name) + "    int i, o;\n\n"
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
