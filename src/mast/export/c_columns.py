"""Columns of a matrix as C, each a list of rows and weights: for one-hot codes and zero inputs."""

from typing import Any

import numpy as np

from mast.export.c_layers import array, floats

TOGETHER = 4
"""Entries of a column that are added in one go."""
ADD_COLUMN = """
static void @name@_add(int column, float times, float *restrict y)
{
    const uint16_t *r = @name@_row + @name@_start[column];
    const float *v = @name@_value + @name@_start[column];
    int n = (int)(@name@_start[column + 1] - @name@_start[column]);

    for (; n > 0; n -= 4) {
#ifdef @PREFIX@_VECTORS
        const @prefix@_four t = {times, times, times, times};
        @prefix@_four y4 = {y[r[0]], y[r[1]], y[r[2]], y[r[3]]};

        y4 += t * *(const @prefix@_four *)v;
        y[r[0]] = y4[0];
        y[r[1]] = y4[1];
        y[r[2]] = y4[2];
        y[r[3]] = y4[3];
#else
        const float y0 = y[r[0]] + times * v[0], y1 = y[r[1]] + times * v[1];
        const float y2 = y[r[2]] + times * v[2], y3 = y[r[3]] + times * v[3];

        y[r[0]] = y0;
        y[r[1]] = y1;
        y[r[2]] = y2;
        y[r[3]] = y3;
#endif
        r += 4;
        v += 4;
    }
}

"""


def column_list(columns: np.ndarray, name: str) -> tuple[str, int, np.ndarray]:
    """Columns of a matrix, each a list of rows and weights, and a function that adds one to y.

    A list has a multiple of `TOGETHER` entries. No two of as many rows are the same, so that all can be read
    before any is written; what fills a list up is zero times some other row.

    Args:
        columns: [columns, rows], at least `TOGETHER` rows.
        name: of the arrays and the function.

    Returns:
        C, bytes, and the length of each list.
    """
    rows: list[Any] = []
    values: list[Any] = []
    starts = [0]
    for column in columns:
        places = np.flatnonzero(column)
        last = places[len(places) - len(places) % TOGETHER :]
        others = np.setdiff1d(np.arange(2 * TOGETHER), last)
        fill = others[: -len(places) % TOGETHER]
        rows += [*places, *fill]
        values += [*column[places], *np.zeros(len(fill), np.float32)]
        starts.append(len(rows))
    wide = "uint16_t" if starts[-1] < 2**16 else "uint32_t"
    text = array(f"{wide} {name}_start[{len(starts)}]", starts)
    text += array(f"uint16_t {name}_row[{max(1, len(rows))}]", rows or [0])
    text += floats(f"{name}_value", np.array(values or [0], np.float32))
    bytes_ = (2 if wide == "uint16_t" else 4) * len(starts) + 6 * len(rows)
    return text + ADD_COLUMN.replace("@name@", name), bytes_, np.diff(starts)
