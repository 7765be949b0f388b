"""Print a study's results as Markdown tables, one per map: python results/study_table.py table1-lite"""

import sys
from pathlib import Path

from mast.studies.groups import panels_of
from mast.studies.library import find_study
from mast.studies.report.tables import Line, lines_of
from mast.studies.results import ResultFolder


def row(line: Line) -> list[str]:
    """Of one group: each seed's score, their mean, share of dense, the paper's share, minutes of one core."""
    scores = " ".join(f"{score:.3f}" for score in line.group.numbers)
    of_dense = "-" if line.of_dense is None else f"{100 * line.of_dense.mean:.0f} %"
    paper = "-" if line.paper is None else f"{line.paper.of_dense:.0f} %"
    mean = f"{line.mean.mean:.3f}"
    if line.mean.low < line.mean.high:
        mean += f" ({line.mean.low:.2f} to {line.mean.high:.2f})"
    minutes = "-" if line.seconds is None else f"{line.seconds / 60:.1f}"
    return [line.group.label, scores, mean, of_dense, paper, minutes]


def main() -> None:
    """A row per group."""
    study = find_study(sys.argv[1])
    folder = Path(sys.argv[2]) if len(sys.argv) > 2 else Path(__file__).parent
    results = ResultFolder(folder / study.name).find_all(study.cells)
    heads = ["method", "seeds", "mean (95 %)", "of dense", "paper", "minutes"]
    for panel in panels_of(study, results):
        print(f"\n{panel.title}\n")
        print("| " + " | ".join(heads) + " |\n" + "|---" * len(heads) + "|")
        for line in lines_of(panel, study.table):
            print("| " + " | ".join(row(line)) + " |")


if __name__ == "__main__":
    main()
