"""A panel's table as columns of text, the same for the page, the terminal, Markdown and LaTeX. No JAX."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from mast.studies.cell import PLAIN
from mast.studies.groups import Group, Panel
from mast.studies.progress import duration
from mast.studies.report.tables import Arms, Line, arms_of
from mast.studies.run_result import agents_parameters
from mast.studies.statistics import FEWEST
from mast.studies.study import Study
from mast.studies.verdicts import verdicts_of
from mast.training.statistics import Interval

NONE = "-"
SEEDS = "seeds"


class Entry(NamedTuple):
    """One cell of a table: the number, and what stands beside it in small print."""

    text: str
    small: str = ""


class Column(NamedTuple):
    """A heading and an entry per line; `brief` columns are those of the terminal's table."""

    head: str
    entries: list[Entry]
    brief: bool = True


def columns_of(panel: Panel, lines: Sequence[Line]) -> list[Column]:
    """The columns of a panel that something is known of, in its measure's unit: % for win rates.

    Args:
        panel: with results.
        lines: of it.
    """
    unit, scale, digits = unit_of(panel)
    name = panel.measure + unit

    def scores(pick: Callable[[Line], Interval]) -> list[Entry]:
        return [_interval(pick(line), scale, digits, len(line.group.results)) for line in lines]

    def chances(pick: Callable[[Line], Interval | None]) -> list[Entry]:
        return [_interval(pick(line), 1.0, 2, len(line.group.results)) for line in lines]

    columns = [
        Column("method", [Entry(line.group.label) for line in lines]),
        Column("size", [_share(line.group, "size_ratio") for line in lines], brief=False),
        Column(
            "FLOPs, training",
            [_share(line.group, "flops_train_ratio") for line in lines],
            brief=False,
        ),
        *_shared_columns(lines),
        Column(
            SEEDS,
            [_seeds(line.seeds) for line in lines],
            brief=any(done < asked for done, asked in (line.seeds for line in lines)),
        ),
        Column("each seed", [_each_seed(line.group, scale, digits) for line in lines]),
        Column(name, scores(lambda line: line.mean)),
        Column(f"IQM{unit}", scores(lambda line: line.iqm), brief=False),
        Column(
            "% of dense",
            [_interval(line.of_dense, 100.0, 1, len(line.group.results)) for line in lines],
        ),
        Column("paper, % of dense", [_paper(line) for line in lines]),
        Column("difference", [_difference(line) for line in lines], brief=False),
        Column("paper, win rate %", [_paper_raw(line) for line in lines], brief=False),
        Column("P(better than dense)", chances(lambda line: line.over_dense), brief=False),
        Column("P(better than rigl)", chances(lambda line: line.over_rigl), brief=False),
        Column("time", [_time(line.seconds) for line in lines]),
    ]
    return list(_known(columns))


def _shared_columns(lines: Sequence[Line]) -> list[Column]:
    """Of a study of sharing: how many parameters learn, and how many of the acting network an agent uses."""
    if all(line.group.config.sharing == "shared" for line in lines):
        return []

    def shown(number: float | None) -> Entry:
        return Entry(NONE if number is None else f"{number:,.0f}")

    return [
        Column("parameters", [shown(line.group.median("parameters")) for line in lines]),
        Column("an agent uses", [shown(agents_parameters(line.group.config)) for line in lines]),
    ]


def arm_columns(panel: Panel, table: str) -> list[Column]:
    """A column per arm, a line per method, and below them how many pairs come in the paper's order.

    Args:
        panel: with results.
        table: the paper's table; "" for none.

    Returns:
        nothing where the study has no arm that several methods share.
    """
    arms = arms_of(panel, table)
    if arms is None:
        return []
    unit, scale, digits = unit_of(panel)
    foot = [Entry("pairs in the paper's order")] if arms.agreement else []
    columns = [Column("method", [*map(Entry, arms.methods), *foot])]
    for name in arms.names:
        entries = [_of_arm(arms.groups.get((m, name)), scale, digits) for m in arms.methods]
        if foot:
            entries.append(_agreement(arms, name))
        columns.append(Column(f"{name or PLAIN}: {panel.measure}{unit}", entries))
    if arms.paper:
        entries = [Entry(f"{arms.paper[m]:.1f}" if m in arms.paper else NONE) for m in arms.methods]
        columns.append(Column("paper, % of dense", [*entries, *(Entry("") for _ in foot)]))
    return columns


STATEMENTS_NOTE = (
    "Held, or not held: the 95 % bootstrap interval of the difference (in brackets) does not contain 0; of "
    "arms that are alike it lies within a margin (10 % of the larger mean unless the study says another), or "
    "beyond it; else open. Of times and parameters the smaller is the better. "
    "Speed: mean of the first half of the evaluations."
)


def statement_columns(panel: Panel, study: Study) -> list[Column]:
    """The paper's statements about a panel one by one, and what the rows say to each; nothing without any."""
    found = verdicts_of(study.statements, panel)
    if not found:
        return []
    said = [each.statement for each in found]
    return [
        Column("statement", [Entry(f"{each.section}: {each.text}") for each in said]),
        Column("by", [Entry(NONE if each.elsewhere else each.by) for each in said]),
        Column("here", [Entry(each.word) for each in found]),
        Column("numbers", [Entry(each.numbers or NONE) for each in found]),
    ]


def unit_of(panel: Panel) -> tuple[str, float, int]:
    """The unit behind the measure's name, what its numbers are multiplied by, and their digits."""
    return (", %", 100.0, 1) if panel.measure == "win rate" else ("", 1.0, 2)


def interval_text(interval: Interval, scale: float, digits: int) -> str:
    """The two ends; "" where they are one."""
    if interval.low == interval.high:
        return ""
    return f"{scale * interval.low:.{digits}f} to {scale * interval.high:.{digits}f}"


def _known(columns: Iterable[Column]) -> Iterator[Column]:
    """A column that nothing is known of (no dense runs, no RigL) is left out."""
    for column in columns:
        if any(entry.text != NONE for entry in column.entries):
            yield column


def _interval(interval: Interval | None, scale: float, digits: int, seeds: int) -> Entry:
    """A number with its interval, where there are seeds enough for one."""
    if interval is None:
        return Entry(NONE)
    text = f"{scale * interval.mean:.{digits}f}"
    return Entry(text, interval_text(interval, scale, digits) if seeds >= FEWEST else "")


def _share(group: Group, name: str) -> Entry:
    value = group.median(name)
    return Entry(NONE if value is None else f"{100 * value:.1f} %")


def _seeds(seeds: tuple[int, int]) -> Entry:
    done, asked = seeds
    return Entry(str(done) if done == asked else f"{done} of {asked}")


def _time(seconds: float | None) -> Entry:
    return Entry(NONE if seconds is None else duration(seconds))


def _each_seed(group: Group, scale: float, digits: int) -> Entry:
    if len(group.numbers) == 1:
        return Entry(NONE)
    return Entry(" ".join(f"{scale * number:.{max(0, digits - 1)}f}" for number in group.numbers))


def _paper(line: Line) -> Entry:
    return Entry(NONE if line.paper is None else f"{line.paper.of_dense:.1f}")


def _difference(line: Line) -> Entry:
    if line.difference is None or line.group.is_dense:
        return Entry(NONE)
    return Entry(f"{line.difference:+.1f}".replace("-", "−"))


def _paper_raw(line: Line) -> Entry:
    if line.paper is None or line.paper.raw is None:
        return Entry(NONE)
    std = line.paper.raw_std
    return Entry(f"{line.paper.raw:.1f}" + ("" if std is None else f" ± {std:.1f}"))


def _of_arm(group: Group | None, scale: float, digits: int) -> Entry:
    if group is None:
        return Entry(NONE)
    seeds = _each_seed(group, scale, digits).text
    count = len(group.results)
    return Entry(
        f"{scale * group.numbers.mean():.{digits}f}",
        "one seed" if count == 1 else seeds,
    )


def _agreement(arms: Arms, name: str) -> Entry:
    found = arms.agreement.get(name)
    return Entry(NONE if found is None else f"{found[0]} of {found[1]}")
