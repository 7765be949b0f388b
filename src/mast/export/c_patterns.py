"""Affine layers as C whose weights have a pattern, and need fewer indices, row numbers and counts."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from mast.export.c_layers import Affine, Code, array, floats, head, number, quantize_rows, write

EXPLICIT = 32
"""Terms of a row up to which all are written out; longer rows are loops over `CHUNK` terms."""
CHUNK = 8
SIDES = (8, 4, 2, 1)
"""Rows and columns that blocks may have."""
GROUPS = (4, 8, 16, 32, 64, 128, 256)
"""Lengths of a group of N:M; the place in one is a byte."""
SLACK = 1.15
"""How much larger than indices a pattern may be: rows lose the weights of one-hot codes, which lie apart."""
TOGETHER = 4
"""Rows of whole neurons that share the loads of their inputs."""


@dataclass(frozen=True)
class _Stored:
    """A part of a layer in a pattern: places and values in the order in which they are read."""

    name: str
    rows: np.ndarray
    """[sums, rows side by side, or 1], of the part."""
    values: list[tuple[int, int]]
    """Row and column of each number; (row, −1) for a zero that fills up."""
    places: list[int]
    """Columns, or places within a group."""
    largest: int
    """What `places` may be at most."""
    shape: tuple[int, ...]
    """What the loop's text is made of."""
    lengths: Sequence[int] = ()
    """Blocks of each row of blocks."""

    def bytes(self, of_value: int) -> int:
        """Of all constants."""
        lists = (self.places, self.largest), (self.lengths, max(self.lengths, default=0))
        rows = self.rows.size * 2 if self.name == "neurons" else 0
        return of_value * len(self.values) + rows + sum(len(x) * _width(most) for x, most in lists)


def _width(most: int) -> int:
    """Bytes of the smallest unsigned type that holds a number."""
    return 1 if most < 2**8 else 2


def form_of(layer: Affine, asked: str | None) -> str:
    """The form to store a layer in.

    Args:
        layer: any.
        asked: a form for all layers; "pattern" for that of each, where it has one that is no larger than
            indices; None to choose. Small layers are then unrolled, unless the pattern is as fast.
    """
    if asked not in (None, "pattern"):
        return asked
    by_size = layer.form()
    pattern = None if by_size == "dense" else pattern_form(layer)
    if pattern is None:
        return by_size
    slower = set(pattern.split("+")) <= {"fan-in", "n:m"}
    return by_size if asked is None and by_size == "unrolled" and slower else pattern


def pattern_form(layer: Affine) -> str | None:
    """The name of a layer's pattern, of both parts where these differ; None where one has none."""
    names = [None if part is None else part.name for part in _parts(layer)]
    if None in names:
        return None
    return "+".join(dict.fromkeys(name for name in names if name))


def write_layer(layer: Affine, form: str) -> Code:
    """The layer as a C function `NAME(x, y)`, in a form of `c_layers` or in its pattern."""
    return write(layer, form) if form in ("unrolled", "blocked", "dense") else _write(layer)


def _parts(layer: Affine) -> list[_Stored | None]:
    return [_smallest(layer.weight[part], 1 if layer.int8 else 4) for part in layer.parts]


def _smallest(weight: Float[np.ndarray, "rows inputs"], of_value: int) -> _Stored | None:
    """How a part takes the fewest bytes; None where indices take fewer.

    Of equals the first is taken, which reads the fewest numbers.
    """
    count = int(np.count_nonzero(weight))
    if count == 0:
        return None
    candidates = [_neurons(weight), *_blocks(weight), _fan_in(weight), *_n_of_m(weight)]
    best = min(candidates, key=lambda each: each.bytes(of_value))
    index = _width(weight.shape[1] - 1)
    # What blocks of indices take at the least: a number and an index of each weight, and each row's number.
    blocked = (of_value + index) * count + 2 * len(weight)
    return best if best.bytes(of_value) <= SLACK * blocked else None


def _neurons(weight: np.ndarray) -> _Stored:
    """Rows with all weights or none, four side by side: without any index but the rows' own."""
    live = np.flatnonzero(weight.any(1))
    width = int(np.flatnonzero(weight.any(0))[-1]) + 1
    missing = -len(live) % TOGETHER
    rows = np.concatenate([live, np.repeat(live[-1:], missing)]).reshape(-1, TOGETHER)
    values = [
        (int(row), column if TOGETHER * group + lane < len(live) else -1)
        for group, four in enumerate(rows)
        for column in range(width)
        for lane, row in enumerate(four)
    ]
    return _Stored("neurons", rows, values, [], 0, (width,))


def _blocks(weight: np.ndarray) -> Iterator[_Stored]:
    """Small dense blocks of rows and columns; the last begins earlier where it would go too far."""
    rows, inputs = weight.shape
    for r in SIDES:
        for c in SIDES:
            if r * c == 1 or rows % r or inputs < c:
                continue
            values, places, lengths = [], [], []
            for row in range(0, rows, r):
                band = weight[row : row + r]
                starts = [at for at in range(0, inputs, c) if band[:, at : at + c].any()]
                lengths.append(len(starts))
                for at in starts:
                    begin = min(at, inputs - c)
                    places.append(begin)
                    values += [
                        (row + i, begin + j if begin + j >= at else -1)
                        for i in range(r)
                        for j in range(c)
                    ]
            sums = np.arange(rows).reshape(-1, r)
            yield _Stored("blocks", sums, values, places, inputs - 1, (r, c), lengths)


def _fan_in(weight: np.ndarray) -> _Stored:
    """As many weights in each row: columns without row pointers."""
    rows, inputs = weight.shape
    most = int(np.count_nonzero(weight, axis=1).max())
    values, places = _rows_of(weight, most)
    sums = np.arange(rows).reshape(-1, 1)
    return _Stored("fan-in", sums, values, places, inputs - 1, (most,))


def _n_of_m(weight: np.ndarray) -> Iterator[_Stored]:
    """As many weights in each group of inputs: the place in the group, which is a byte."""
    rows, inputs = weight.shape
    for m in GROUPS:
        if m >= inputs:
            break
        groups = -(-inputs // m)
        padded = np.pad(weight, ((0, 0), (0, groups * m - inputs)))
        each = padded.reshape(rows * groups, m)
        n = int(np.count_nonzero(each, axis=1).max())
        within, places = _rows_of(each, n)
        values = [
            (row // groups, column if column < 0 else row % groups * m + column)
            for row, column in within
        ]
        sums = np.arange(rows).reshape(-1, 1)
        yield _Stored("n:m", sums, values, places, m - 1, (n, m, groups))


def _rows_of(weight: np.ndarray, most: int) -> tuple[list[tuple[int, int]], list[int]]:
    """Row and column of each row's weights, filled up to `most`; and the columns."""
    values, places = [], []
    for row, columns in enumerate(weight):
        here = [int(column) for column in np.flatnonzero(columns)]
        missing = most - len(here)
        values += [(row, column) for column in here] + [(row, -1)] * missing
        places += here + [0] * missing
    return values, places


def _write(layer: Affine) -> Code:
    """The pattern of each part, added up row after row."""
    weight, scale = quantize_rows(layer.weight) if layer.int8 else (layer.weight, None)
    kind, name, outputs = "int8_t" if layer.int8 else "float", layer.name, len(layer.bias)
    text, body, size, count = "", "", 4 * outputs, 0
    for place, (part, (rows, columns)) in enumerate(zip(_parts(layer), layer.parts, strict=True)):
        assert part is not None, "pattern_form said that there is one"
        here = weight[rows, columns]
        numbers = [here[row, column] if column >= 0 else 0 for row, column in part.values]
        shown = numbers if layer.int8 else map(number, numbers)
        text += array(f"{kind} {name}_values{place}[{len(numbers)}]", shown)
        for what, whole, most in (
            ("columns", part.places, part.largest),
            ("lengths", part.lengths, max(part.lengths, default=0)),
        ):
            if len(whole):
                type_ = f"uint{8 * _width(most)}_t"
                text += array(f"{type_} {name}_{what}{place}[{len(whole)}]", whole)
        if part.name == "neurons":
            text += array(f"uint16_t {name}_rows{place}[{part.rows.size}]", part.rows.ravel())
        first = rows.indices(outputs)[0]
        start = columns.indices(layer.weight.shape[1])[0]
        body += _loop(part, layer, place, first, start, kind)
        size, count = size + part.bytes(1 if layer.int8 else 4), count + len(numbers)
    text += floats(f"{name}_bias", layer.bias)
    begin, end = f"{name}_bias[o]", ""
    if scale is not None:
        text += floats(f"{name}_scale", scale)
        begin, size = "0.0f", size + 4 * outputs
        end = (
            f"    for (o = 0; o < {outputs}; o++)\n"
            f"        y[o] = {name}_bias[o] + {name}_scale[o] * y[o];\n"
        )
    text += head(name) + (
        f"    int o;\n\n    for (o = 0; o < {outputs}; o++)\n        y[o] = {begin};\n{body}{end}}}\n\n"
    )
    return Code(text, size, count)


def _loop(part: _Stored, layer: Affine, place: int, first: int, start: int, kind: str) -> str:
    """What adds one part up; `first` is its first output and `start` its first input."""
    x, y = f"x + {start}" if start else "x", f"y + {first}" if first else "y"
    cast = "(float)" if layer.int8 else ""
    text = f"    {{\n        const {kind} *v = {layer.name}_values{place};\n"
    if part.places:
        type_ = f"uint{8 * _width(part.largest)}_t"
        text += f"        const {type_} *c = {layer.name}_columns{place};\n"
    text += f"        const float *in = {x};\n        float *out = {y};\n"
    sums = len(part.rows)
    if part.name == "neurons":
        text += _neuron_loop(part, f"{layer.name}_rows{place}", cast)
    elif part.name == "blocks":
        text += _block_loop(part, f"{layer.name}_lengths{place}", cast)
    elif part.name == "fan-in":
        text += _sum_loop(part.shape[0], sums, cast)
    else:
        text += _group_loop(part, cast)
    return text + "    }\n"


def _tree(terms: Sequence[str], indent: str) -> str:
    """A sum in brackets of four, which need not wait for each other."""
    fours = [" + ".join(terms[at : at + 4]) for at in range(0, len(terms), 4)]
    return f" +\n{indent}".join(f"({four})" for four in fours)


def _sum_loop(length: int, rows: int, cast: str) -> str:
    """Rows of a constant number of weights."""
    inner, indent = "", " " * 16

    def terms(count: int) -> str:
        return _tree([f"{cast}v[{k}] * in[c[{k}]]" for k in range(count)], indent)

    text = f"\n        for (o = 0; o < {rows}; o++) {{\n"
    if length <= EXPLICIT:
        text += f"            out[o] += {terms(length)};\n"
        return text + f"            v += {length};\n            c += {length};\n        }}\n"
    whole, rest = divmod(length, CHUNK)
    inner = (
        f"            float sum = 0.0f;\n            int n;\n\n"
        f"            for (n = 0; n < {whole}; n++) {{\n                sum += {terms(CHUNK)};\n"
        f"                v += {CHUNK};\n                c += {CHUNK};\n            }}\n"
    )
    if rest:
        inner += f"            sum += {terms(rest)};\n            v += {rest};\n            c += {rest};\n"
    return text + inner + "            out[o] += sum;\n        }\n"


def _group_loop(part: _Stored, cast: str) -> str:
    """Rows of groups with a constant number of weights each."""
    n, m, groups = part.shape
    rows, indent = len(part.rows), " " * 20

    def terms(count: int) -> str:
        each = [(group, k) for group in range(count) for k in range(n)]
        words = [
            f"{cast}v[{n * group + k}] * p[{f'{m * group} + ' if group else ''}c[{n * group + k}]]"
            for group, k in each
        ]
        return _tree(words, indent)

    together = max(1, CHUNK // n)
    whole, rest = divmod(groups, together)
    text = (
        f"\n        for (o = 0; o < {rows}; o++) {{\n            const float *p = in;\n"
        f"            float sum = 0.0f;\n            int n;\n\n"
        f"            for (n = 0; n < {whole}; n++) {{\n                sum += {terms(together)};\n"
        f"                p += {m * together};\n                v += {n * together};\n"
        f"                c += {n * together};\n            }}\n"
    )
    if rest:
        text += (
            f"            sum += {terms(rest)};\n            v += {n * rest};\n"
            f"            c += {n * rest};\n"
        )
    return text + "            out[o] += sum;\n        }\n"


def _block_loop(part: _Stored, lengths: str, cast: str) -> str:
    """Rows of blocks: each block's inputs lie side by side."""
    r, c = part.shape
    text = f"\n        for (o = 0; o < {len(part.rows)}; o++) {{\n            float "
    text += ", ".join(f"s{k} = 0.0f" for k in range(r)) + ";\n            int n;\n\n"
    text += f"            for (n = {lengths}[o]; n > 0; n--) {{\n"
    text += "                const float *p = in + *c++;\n\n"
    for row in range(r):
        terms = [f"{cast}v[{c * row + k}] * p[{k}]" for k in range(c)]
        text += f"                s{row} += {_tree(terms, ' ' * 20)};\n"
    text += f"                v += {r * c};\n            }}\n"
    text += "".join(f"            out[{r} * o + {k}] += s{k};\n" for k in range(r))
    return text + "        }\n"


def _neuron_loop(part: _Stored, rows: str, cast: str) -> str:
    """Whole rows, four at a time; every input is loaded once for the four."""
    width, lanes = part.shape[0], range(TOGETHER)
    text = f"\n        for (o = 0; o < {len(part.rows)}; o++) {{\n            float "
    text += ", ".join(f"s{k} = 0.0f" for k in lanes) + ";\n            int n;\n\n"
    text += f"            for (n = 0; n < {width}; n++) {{\n"
    text += "".join(f"                s{k} += {cast}v[{k}] * in[n];\n" for k in lanes)
    text += f"                v += {TOGETHER};\n            }}\n"
    text += "".join(f"            out[{rows}[{TOGETHER} * o + {k}]] += s{k};\n" for k in lanes)
    return text + "        }\n"
