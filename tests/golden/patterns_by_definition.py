"""Drop and grow within each pattern, in plain Python: what `mast.sparsity.structured` must equal."""

import math

Rows = list[list[float]]
Bools = list[list[bool]]


def _order(score: float, place: object) -> tuple[bool, float, object]:
    """Ascending, NaN last, ties by place."""
    return (math.isnan(score), 0.0 if math.isnan(score) else score, place)


def _kept(mask: Bools, drop_score: Rows, growth_score: Rows, drop: int, m: int) -> Bools:
    """Groups of m whose growth scores are all alike keep all; the others drop the same share."""
    active = [(r, c) for r, row in enumerate(mask) for c, on in enumerate(row) if on]
    choosing = [at for at in active if not _alike(growth_score[at[0]], at[1] // m * m, m)]
    choosing.sort(key=lambda at: _order(drop_score[at[0]][at[1]], at))
    gone = set(choosing[: drop * len(choosing) // max(len(active), 1)])
    return [[on and (r, c) not in gone for c, on in enumerate(row)] for r, row in enumerate(mask)]


def _alike(row: list[float], first: int, m: int) -> bool:
    return all(score == row[first] for score in row[first : first + m])


def _fill(kept: Bools, growth_score: Rows, row: int, columns: range, quota: int) -> None:
    """Grows the best of a group until it has its quota."""
    free = [c for c in columns if not kept[row][c]]
    free.sort(key=lambda c: _order(-growth_score[row][c], c))
    for c in free[: quota - sum(kept[row][c] for c in columns)]:
        kept[row][c] = True


def evolve_n_of_m(
    mask: Bools, drop_score: Rows, growth_score: Rows, drop: int, n: int, m: int
) -> Bools:
    kept = _kept(mask, drop_score, growth_score, drop, m)
    inputs = len(mask[0])
    for row in range(len(mask)):
        for first in range(0, inputs, m):
            columns = range(first, min(first + m, inputs))
            _fill(kept, growth_score, row, columns, math.ceil(n * len(columns) / m))
    return kept


def evolve_fan_in(
    mask: Bools,
    drop_score: Rows,
    growth_score: Rows,
    drop: int,
    salient_share: float,
    fewest: int,
    copies: int = 1,
) -> Bools:
    inputs, weights = len(mask[0]), sum(map(sum, mask))
    kept = _kept(mask, drop_score, growth_score, drop, inputs)
    lives = [r for r, row in enumerate(mask) if any(row)]
    fan_in = weights // len(lives)
    if salient_share > 0:
        free = [(r, c) for r in lives for c in range(inputs) if not kept[r][c]]
        free.sort(key=lambda at: _order(-growth_score[at[0]][at[1]], at))
        salient = {
            r: 0
            if _alike(growth_score[r], 0, inputs)
            else sum(kept[r]) + sum(at[0] == r for at in free[:drop])
            for r in lives
        }
        below = [r for r in lives if salient[r] < salient_share * fan_in]
        below.sort(key=lambda r: (salient[r], r))
        per_copy = len(mask) // copies
        for copy in range(copies):
            mine = [r for r in lives if r // per_copy == copy]
            mine.sort(key=lambda r: (salient[r], r))
            below = [r for r in below if r not in mine[-fewest:]]
        for stay in range(len(lives) - len(below), len(lives) + 1):
            if weights % stay == 0 and weights <= stay * inputs:
                lives = [r for r in lives if r not in below[: len(lives) - stay]]
                break
    for r in range(len(kept)):
        if r in lives:
            _fill(kept, growth_score, r, range(inputs), weights // len(lives))
        else:
            kept[r] = [False] * inputs
    return kept


def evolve_units(
    mask: Bools,
    drop_score: Rows,
    growth_score: Rows,
    drop: int,
    units: list[list[tuple[int, int]]],
    parts: int,
    fewest: int,
) -> Bools:
    """Units of entries by the sums of their scores; so many of each part of them stay."""
    count = drop // len(units[0])

    def total(score: Rows, unit: list[tuple[int, int]]) -> float:
        return sum(score[r][c] for r, c in unit)

    there = [u for u, unit in enumerate(units) if mask[unit[0][0]][unit[0][1]]]
    there.sort(key=lambda u: _order(total(drop_score, units[u]), u))
    kept = set(there[count:])
    free = [u for u in range(len(units)) if u not in kept]
    free.sort(key=lambda u: _order(-total(growth_score, units[u]), u))
    # From the best kept one to the worst, then from the best to grow; each part's first before all others.
    ranked = there[: count - 1 : -1] if count else there[::-1]
    ranked += free
    per_part = len(units) // parts
    stays = {
        u
        for part in range(parts)
        for u in [each for each in ranked if each // per_part == part][:fewest]
    }
    ranked.sort(key=lambda u: u not in stays)
    evolved = [[False] * len(row) for row in mask]
    for u in ranked[: len(there)]:
        for r, c in units[u]:
            evolved[r][c] = True
    return evolved
