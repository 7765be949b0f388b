"""Tables of results to which several runs of a benchmark add."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path


def put_row(
    table: Path, columns: Sequence[str], key: Sequence[str], row: Mapping[str, object]
) -> None:
    """Write a row in the place of the one with the same key, or behind the others.

    Args:
        table: a CSV file, which need not be there yet.
        columns: of the table.
        key: those columns that tell rows apart.
        row: of every column a value.
    """
    rows: dict[tuple[str, ...], Mapping[str, object]] = {}
    if table.exists():
        with table.open(newline="") as file:
            rows = {tuple(old[name] for name in key): old for old in csv.DictReader(file)}
    rows[tuple(str(row[name]) for name in key)] = row
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows.values())
