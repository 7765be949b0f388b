"""Groups, the paper's numbers, tables by hand, and the html page of played results."""

import csv
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from played_results import SCORES, lite, played
from study_cells import row, small_study

from mast.cli import main
from mast.studies.groups import Group, Panel, groups_of, panels_of
from mast.studies.library import find_study
from mast.studies.paper_numbers import paper_number
from mast.studies.report import curves, figures
from mast.studies.report.columns import arm_columns, columns_of
from mast.studies.report.page import page
from mast.studies.report.tables import arms_of, lines_of, ordering_of, over_all_maps
from mast.studies.results import CellFiles, ResultFolder


def test_groups_are_seeds() -> None:
    study, results = lite()
    groups = groups_of(study, results)
    assert len(groups) == 14
    assert groups[0].label == "dense"
    assert groups[6].label == "mast 95 %"
    np.testing.assert_array_equal(groups[6].numbers, SCORES["mast"])
    assert not groups[0].is_complete
    panels = panels_of(study, results)
    assert [panel.title for panel in panels] == ["qmix on smax/3m", "qmix on smax/2s3z"]
    assert panels[0].dense is panels[0].groups[0]
    assert panels_of(study, []) == []


def test_the_papers_numbers_of_table1() -> None:
    study, results = lite()
    groups = {(g.cells[0].map, g.method): g for g in groups_of(study, results)}
    mast = paper_number("table1", groups["3m", "mast"])
    assert mast is not None
    assert (mast.of_dense, mast.raw, mast.raw_std) == (100.9, 98.9, 2.0)
    rlx2 = paper_number("table1", groups["2s3z", "rlx2"])
    assert rlx2 is not None
    assert rlx2.of_dense == 45.8
    dense = paper_number("table1", groups["2s3z", "dense"])
    assert dense is not None
    assert dense.raw == pytest.approx(96.5, abs=0.1)
    other = small_study(cells=[{"sparsity": 0.9, "method": "mast"}])
    assert paper_number("table1", groups_of(other, [])[0]) is None
    assert paper_number("", groups["3m", "mast"]) is None


def test_lines_by_hand() -> None:
    study, results = lite()
    lines = {line.group.method: line for line in lines_of(panels_of(study, results)[0], "table1")}
    mast = lines["mast"]
    assert mast.seeds == (2, 4)
    assert mast.mean.mean == pytest.approx(0.825)
    assert mast.of_dense is not None
    assert mast.of_dense.mean == pytest.approx(0.825 / 0.85)
    assert mast.difference == pytest.approx(100 * 0.825 / 0.85 - 100.9)
    assert mast.over_dense is not None
    assert mast.over_dense.mean == pytest.approx(0.375)  # wins one of four, ties one
    assert mast.over_rigl is not None
    assert mast.over_rigl.mean == 1.0
    assert lines["dense"].over_dense is None
    assert lines["rigl"].over_rigl is None


def test_the_order_by_hand() -> None:
    study, results = lite()
    ordering = ordering_of(lines_of(panels_of(study, results)[0], "table1"))
    assert ordering is not None
    names = [label.split()[0] for label in ordering.ours]
    assert names == ["mast", "tiny", "rigl", "set", "ss", "rlx2"]
    assert [label.split()[0] for label in ordering.paper] == [
        "mast",
        "tiny",
        "set",
        "rigl",
        "ss",
        "rlx2",
    ]
    assert (ordering.agree, ordering.pairs) == (14, 15)
    assert ordering.best_is_the_papers
    # A method's only arm stands for it; of two arms only the plain one does.
    arms = {"learning_rate": 0.001, "arm": "fast"}
    base = {"environment": "smax/3m", "sparsity": 0.95}
    study = small_study(cells=[{**base, "method": "tiny", **arms}], table="table1")
    [panel] = panels_of(study, played(study, {"dense": (0.9,), "tiny": (0.7,)}, "tiny"))
    assert [line.paper is None for line in lines_of(panel, "table1")] == [False]
    study = small_study(cells=[{**base, "method": "mast"}, {**base, "method": "mast", **arms}])
    [panel] = panels_of(study, played(study, {"mast": (0.7,)}, "two"))
    assert [line.paper is None for line in lines_of(panel, "table1")] == [False, True]
    few = {name: SCORES[name] for name in ("dense", "mast", "ss")}
    study, results = lite(few)
    assert ordering_of(lines_of(panels_of(study, results)[0], "table1")) is None


def test_over_all_maps_a_method_must_be_on_all() -> None:
    study, results = lite()
    rows = {row.method: row for row in over_all_maps(panels_of(study, results))}
    assert rows["mast"].mean.mean == pytest.approx(0.825 / 0.85)
    assert rows["dense"].over_dense is None
    results = [r for r in results if (r.cell.map, r.cell.config.method) != ("2s3z", "mast")]
    assert "mast" not in {row.method for row in over_all_maps(panels_of(study, results))}
    assert over_all_maps(panels_of(study, results)[:1]) == []


def test_a_method_with_several_sparsities_on_a_map_is_over_all_at_the_common_one() -> None:
    cells = [
        {"environment": "smax/3m", "sparsity": 0.95, "method": ["dense", "mast", "ss"]},
        {"environment": "smax/2s3z", "sparsity": [0.9, 0.95], "method": ["dense", "mast"]},
        {"environment": "smax/2s3z", "sparsity": 0.9, "method": "ss"},
        {"environment": "smax/3m", "sparsity": 0.9, "method": "tiny", "learning_rate": 0.001},
        {"environment": "smax/2s3z", "sparsity": 0.9, "method": "tiny", "learning_rate": 0.001},
    ]
    for cell in cells[-2:]:
        cell["arm"] = "fast"
    study = small_study(cells=cells)
    scores = {"dense": (0.5,), "mast": (0.4,), "ss": (0.2,), "tiny": (0.1,)}
    panels = panels_of(study, played(study, scores, "common"))
    rows = {row.method: row.mean.mean for row in over_all_maps(panels)}
    # ss has one sparsity on each map, tiny one arm only.
    assert rows == pytest.approx({"dense": 1, "mast 95 %": 0.8, "ss": 0.4, "tiny, fast": 0.2})


def test_the_front_by_hand() -> None:
    costs, scores = [1.0, 0.1, 0.5, 0.5], [0.9, 0.8, 0.7, 0.85]
    assert figures.pareto_front(costs, scores) == [1, 3, 0]


def test_figures_that_have_no_data_are_left_out() -> None:
    study, results = lite()
    panel = panels_of(study, results)[0]
    assert figures.score_by_sparsity(panel) is None
    assert curves.estimates(panel) is None
    assert figures.pareto(panel) is not None
    sweep = small_study(cells=[{"sparsity": [0.8, 0.9]}])
    found = panels_of(sweep, played(sweep, {"dense": (0.5,), "mast": (0.4,)}, "sweep"))
    assert figures.score_by_sparsity(found[0]) is not None


def test_arms_have_lines_of_their_own_against_sparsity() -> None:
    several = {"sparsity": [0.8, 0.9]}
    cells = [
        {**several, "method": ["dense", "mast"]},
        {**several, "method": "mast", "growth": "random", "arm": "random"},
        {**several, "method": "tiny", "learning_rate": 0.001, "arm": "fast"},
        {"sparsity": 0.9, "method": "mast", "td_lambda": 0.1, "arm": "one sparsity"},
    ]
    sweep = small_study(cells=cells)
    scores = {"dense": (0.5,), "mast": (0.4,), "tiny": (0.2,)}
    [panel] = panels_of(sweep, played(sweep, scores, "arms"))
    drawn = figures.score_by_sparsity(panel)
    assert drawn is not None
    labels = drawn.figure.axes[0].get_legend_handles_labels()[1]
    assert labels == ["mast", "mast, random", "tiny, fast", "dense"]
    near = small_study(cells=[{"sparsity": [0.98, 0.99], "method": ["ss", "set", "rigl", "mast"]}])
    scores = {"ss": (0.1,), "set": (0.2,), "rigl": (0.3,), "mast": (0.4,)}
    [panel] = panels_of(near, played(near, scores, "near"))
    drawn = figures.score_by_sparsity(panel)
    assert drawn is not None
    xs = np.concatenate([line.get_xdata() for line in drawn.figure.axes[0].lines])
    assert np.abs(xs - np.round(xs)).max() < 0.5  # each nearest to its own sparsity


def test_ours_and_the_papers_are_in_one_unit() -> None:
    study, results = lite()
    panel = panels_of(study, results)[0]
    columns = {column.head: column for column in columns_of(panel, lines_of(panel, "table1"))}
    names = [entry.text.split()[0] for entry in columns["method"].entries]
    mast = names.index("mast")
    assert columns["win rate, %"].entries[mast].text == "82.5"
    assert columns["paper, win rate %"].entries[mast].text == "98.9 ± 2.0"
    assert columns["each seed"].entries[mast].text == "85 80"
    assert columns["win rate, %"].entries[mast].small == ""  # no interval from two seeds


def test_a_column_for_each_arm_with_the_papers_order() -> None:
    arms = [{"name": "", "learning_rate": 0.0005}, {"name": "fast", "learning_rate": 0.005}]
    settings = {"environment": "smax/3m", "steps": 2000, "sparsity": 0.95, "arms": arms}
    methods = ["mast", "rigl", "ss"]
    study = small_study(seeds=1, settings=settings, cells=[{"method": methods}], table="table1")
    [panel] = panels_of(study, played(study, {"mast": (0.2,), "rigl": (0.3,), "ss": (0.1,)}, "a"))
    found = arms_of(panel, "table1")
    assert found is not None
    assert (found.names, found.methods) == (["", "fast"], ["mast 95 %", "rigl 95 %", "ss 95 %"])
    assert found.agreement == {"": (2, 3), "fast": (2, 3)}  # the paper: mast > rigl > ss
    columns = arm_columns(panel, "table1")
    assert [column.head for column in columns] == [
        "method",
        "plain: win rate, %",
        "fast: win rate, %",
        "paper, % of dense",
    ]
    assert [entry.text for entry in columns[2].entries] == ["20.0", "30.0", "10.0", "2 of 3"]
    assert "Arm by arm" in page(study, [r for g in panel.groups for r in g.results])
    assert arm_columns(panels_of(*lite())[0], "table1") == []


def test_a_column_without_a_number_is_left_out() -> None:
    alone = small_study(seeds=1, cells=[{"method": "mast"}])
    text = page(alone, played(alone, {"mast": (0.4,)}, "alone"))
    assert "% of dense" not in text
    assert "than rigl" not in text
    study, results = lite({"dense": (0.5,), "mast": (0.25,)})
    text = page(study, results)
    assert "% of dense" in text
    assert "than rigl" not in text


def test_the_page_needs_nothing_from_outside(capsys: pytest.CaptureFixture[str]) -> None:
    lite()
    line = ["study", "report", "table1-lite", "--html", "out/r.html", "--figures", "figures"]
    assert main([*line, "--smooth"]) == 0
    shown = capsys.readouterr().out
    assert "14 of 15 pairs come in the paper's order" in shown
    assert "82.5" in shown
    text = Path("out/r.html").read_text()
    body = re.sub(r'xmlns(:\w+)?="[^"]*"', "", text)
    assert not re.search(r'(src|href)="(?!#)', body.replace('xlink:href="#', 'x="#'))
    assert "http" not in re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.S)
    for words in (
        "It is SMAX, not SMAC",
        "SMAX (jaxmarl 0.2.0), limit 101, reward x10",
        "28 of 56 cells done",
        "2 of 4",
        "100.9",
        "14 of 15 pairs come in the same order",
        "&lt;EPYC&gt;",
        "Over all of 3m, 2s3z",
        "s filter (Savitzky-Golay, 21, 2)",
    ):
        assert words in text, words
    assert "nan" not in re.sub(r"<svg.*?</svg>", "", text, flags=re.S)
    names = {path.name for path in Path("figures").iterdir()}
    assert "table1-lite-smax-3m-qmix-curves.png" in names
    assert "table1-lite-profiles.svg" in names


def test_a_page_of_chosen_cells_does_not_ask_for_the_others() -> None:
    lite()
    line = ["study", "report", "table1-lite", "--html", "r.html", "--quiet"]
    assert main([*line, "--map", "3m", "--method", "dense,mast"]) == 0
    assert "4 of 8 cells done" in Path("r.html").read_text()
    assert "without a result" not in Path("r.html").read_text()


def test_without_html_the_tables_are_printed_and_nothing_is_written(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    lite()
    assert main(["study", "report", "table1-lite"]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"mast 95 % +2 of 4 +85 80 +82\.5 +97\.1 +100\.9", shown)
    assert [path.name for path in tmp_path.iterdir()] == ["results"]


def test_tables_lie_beside_the_page(tmp_path: Path) -> None:
    lite()
    assert main(["study", "report", "table1-lite", "--html", "out/r.html", "--quiet"]) == 0
    names = {path.name for path in Path("out").iterdir()}
    assert names == {"r.html", "r-tables.md", "r-tables.tex", "r-tables.csv"}
    markdown = Path("out/r-tables.md").read_text()
    assert "| mast 95 % | 6.0 % | 6.0 % | 2 of 4 | 85 80 | 82.5 |" in markdown
    assert r"mast 95 \% & 6.0 \% & 6.0 \% & 2 of 4" in Path("out/r-tables.tex").read_text()
    with Path("out/r-tables.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 14
    mast = next(row for row in rows if (row["environment"], row["method"]) == ("smax/3m", "mast"))
    assert (mast["mean"], mast["each_seed"], mast["paper_win_rate_percent"]) == (
        "0.825",
        "0.85 0.8",
        "98.9",
    )


def test_time_is_processor_time_where_some_group_has_it() -> None:
    study = small_study(seeds=2)
    kept, curve = ResultFolder(Path("cpu")), "env_steps,win_rate,return\n1000,0.5,3\n"
    results = [
        kept.write(cell, CellFiles(row(0.5, 100.0, cpu_seconds=20.0 + cell.config.seed), curve))
        for cell in study.cells
    ]
    [panel] = panels_of(study, results)
    assert panel.time_is_cpu
    assert panel.seconds(panel.groups[0]) == 20.5
    without = [
        kept.write(cell, CellFiles(row(0.5, 100.0), curve))
        for cell in study.cells
        if cell.config.method == "dense"
    ]
    [panel] = panels_of(study, without)
    assert not panel.time_is_cpu
    assert [panel.seconds(group) for group in panel.groups] == [100.0]
    # Wall time of a GPU beside processor time of a core would compare what does not compare.
    [panel] = panels_of(study, [*without, *results[2:]])
    assert [panel.seconds(group) for group in panel.groups] == [None, 20.5]
    times = columns_of(panel, lines_of(panel, ""))[-1]
    assert [entry.text for entry in times.entries] == ["-", "20 s"]
    assert "where it is known" in page(study, [*without, *results[2:]])


def test_the_same_results_are_the_same_page() -> None:
    study, results = lite({"dense": (0.5,), "mast": (0.25,)})
    assert page(study, results) == page(study, results)


def test_nothing_done_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", "report", "table1-lite"]) == 2
    err = capsys.readouterr().err
    assert "has no result yet; first: mast study run table1-lite" in err
    assert not Path("table1-lite.html").exists()


def test_an_environment_without_wins_shows_returns() -> None:
    study = small_study(cells=[{"environment": "mpe/simple_spread", "sparsity": 0.9}])
    folder = ResultFolder(Path("mpe"))
    curve = "env_steps,win_rate,return\n1000,,-30\n2000,,-20\n"
    results = [folder.write(cell, CellFiles(row(None), curve)) for cell in study.cells]
    [panel] = panels_of(study, results)
    assert isinstance(panel, Panel)
    assert panel.measure == "return"
    assert results[0].number == -25
    line = lines_of(panel, "")[0]
    assert isinstance(line.group, Group)
    assert line.of_dense is None
    assert "−" not in page(study, results).split("<svg")[0]


def table_numbers(name: str) -> dict[str, float]:
    """The paper's numbers that a study's arms find, by algorithm and arm."""
    study = find_study(name)
    found = {}
    for group in groups_of(study, []):
        number = paper_number(study.table, group)
        if number is not None:
            found[f"{group.config.algorithm}, {group.arm}"] = number.of_dense
    return found


def test_the_papers_numbers_of_the_ablations() -> None:
    table2 = table_numbers("table2")
    assert table2["qmix, td_lambda = 0.0"] == 91.5
    assert table2["owqmix, td_lambda = 0.6"] == 98.0
    assert table2["owqmix, burn_in_fraction = 1.0"] == 70.3
    assert len(table2) == 2 * (6 + 3)  # the default is one arm of both knobs
    table3 = table_numbers("table3")
    assert table3["qmix, α 5, ω 5"] == 100.0
    assert table3["owqmix, online_share = 1.0"] == 70.3
    assert len(table3) == 2 * (4 + 4)
    table8 = table_numbers("table8")
    assert table8["owqmix, evolve_interval = 1000"] == 68.1
    assert len(table8) == 10


def test_every_paper_number_of_table1_that_smax_has_is_found() -> None:
    study = find_study("table1")
    found = [paper_number("table1", group) for group in groups_of(study, [])]
    assert len(found) == 9 * 7
    assert all(number is not None for number in found)


def test_unit_types_are_read_from_smacs_names() -> None:
    from mast.studies.report.masks import unit_types

    assert unit_types("3s5z", 8) == ["stalker"] * 3 + ["zealot"] * 5
    assert unit_types("27m_vs_30m", 27) == ["marine"] * 27
    assert unit_types("smacv2_5_units", 5) == [""] * 5


def test_masks_and_densities_are_shown_where_they_are_kept() -> None:
    from mast.diagnosis.snapshots import save_snapshot

    cells = [{"masks": True, "method": "mast", "sparsity": 0.9, "diagnostics": True}]
    study = small_study(cells=cells, seeds=2)
    run = Path("run")
    run.mkdir()
    masks = np.random.default_rng(0).random((8, 6)) < 0.5
    for steps in (0, 1000):
        save_snapshot(run, steps, {"agent.fc1.weight": masks, "agent.fc2.weight": masks})
    line = '{"env_steps": 1000, "greedy": {"q_tot": 1.5, "discounted_return": 2.0}, '
    line += '"replayed": {"q_tot": 1.0, "discounted_return": 2.0}, '
    line += '"overlap_initial": {"a": 0.5, "b": 1.0}, "overlap_previous": {}, '
    line += '"density_per_agent": [0.1, 0.2, 0.1]}\n'
    attached = {f".{path.name}": path.read_bytes() for path in (run / "snapshots").iterdir()}
    attached[".diagnostics.jsonl"] = (2 * line).encode()
    curve = "env_steps,win_rate,return\n1000,0.5,3\n2000,0.5,3\n"
    kept = ResultFolder(Path("kept"))
    bare = kept.write(study.cells[0], CellFiles(row(), curve))  # its snapshots were not kept
    result = kept.write(study.cells[1], CellFiles(row(), curve, attached))
    text = page(study, [bare, result])
    assert "Masks of agent.fc1, mast 90 %, seed 1" in text
    assert "Connections of agent.fc1" in text
    assert "Density per agent, mast 90 %" in text
    assert "discounted return that followed" in text
    assert text.count("data:image/png;base64") == 3
    overlap = curves.overlaps(panels_of(study, [result])[0])
    assert overlap is not None
    np.testing.assert_array_equal(overlap.figure.axes[0].lines[0].get_ydata(), [0.75, 0.75])


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium to look with")
def test_chromium_shows_it(tmp_path: Path) -> None:
    study, results = lite()
    Path("r.html").write_text(page(study, results))
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    command += ["--window-size=1200,3000", "--host-resolver-rules=MAP * ~NOTFOUND"]
    command += [f"--user-data-dir={tmp_path / 'chromium'}", f"--screenshot={tmp_path / 'r.png'}"]
    subprocess.run([*command, f"file://{tmp_path / 'r.html'}"], check=True, capture_output=True)
    pixels = imread(tmp_path / "r.png")
    assert pixels.shape[:2] == (3000, 1200)
    # The page has no part as high as a screen in which nothing is drawn, down to its last picture.
    inked = (pixels[..., :3] < 0.9).any(axis=(1, 2))
    assert all(inked[start : start + 600].any() for start in range(0, 3000, 600))
    # Nothing is wider than the window: the right edge is empty.
    assert (pixels[:, -10:, :3] > 0.99).all()
