"""What a paper says in words, held to rows."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mast.errors import UserError
from mast.studies.groups import panels_of
from mast.studies.library import built_in, find_study
from mast.studies.report.page import page
from mast.studies.report.text_tables import markdown, text_tables
from mast.studies.results import CellFiles, ResultFolder
from mast.studies.study import Study, read_study
from mast.studies.verdicts import verdicts_of
from studies.study_cells import row

STUDY: dict[str, Any] = {
    "seeds": 4,
    "settings": {"environment": "lbf/lbf1", "algorithm": "maa2c", "steps": 2000},
    "cells": [
        {
            "arms": [
                {"name": "snp", "sharing": "snp"},
                {"name": "fups", "sharing": "fups"},
                {"name": "fups+id", "sharing": "fups+id"},
                {"name": "seps", "sharing": "seps", "seps_steps": 1000},
            ]
        }
    ],
}
SAID = {
    "held": {"better": "snp", "than": ["seps"]},
    "not held": {"better": "seps", "than": ["snp"]},
    "open": {"better": "snp", "than": ["fups"]},
    "not run": {"better": "snp", "than": ["fups+id"]},
    "faster": {"better": "snp", "than": ["fups"], "by": "speed"},
    "costs less": {"better": "snp", "than": ["seps"], "by": "time"},
    "alike": {"alike": ["fups", "snp"], "within": 0.2},
    "alike, few noisy seeds": {"alike": ["fups", "snp"], "within": 0.05},
    "not alike": {"alike": ["seps", "snp"]},
    "not all alike": {"alike": ["fups", "seps", "snp"], "within": 0.2},
    "by return": {"better": "snp", "than": ["seps"], "by": "return"},
    "as many": {"alike": ["fups", "snp"], "by": "parameters"},
    "fewer": {"better": "snp", "than": ["seps"], "by": "parameters"},
    "rises": {"rising": ["seps", "fups", "snp"]},
    "no number": {"elsewhere": "docs/experiments.md"},
}


def study_of(**statements: Any) -> Study:
    blocks = [{"section": "§5", "text": text, **said} for text, said in statements.items()]
    return read_study("small", {**STUDY, "statements": blocks}, "small.toml")


def rows_of(study: Study, folder: Path) -> Any:
    """Returns of four runs of each arm but one, first and second half of their curves."""
    returns = {
        "snp": [(5, 9.0), (6, 10.0), (5, 9.5), (6, 11.0)],
        "fups": [(1, 9.2), (2, 9.4), (1, 10.2), (2, 10.1)],
        "seps": [(0, 4.0), (1, 5.0), (0, 4.5), (1, 3.0)],
    }
    stored = ResultFolder(folder)
    for cell in study.cells:
        if cell.arm in returns:
            first, last = returns[cell.arm][cell.config.seed]
            parameters = 229_269 if cell.arm == "seps" else 76_423
            seconds = {"snp": 60.0, "fups": 59.0, "seps": 120.0}[cell.arm] + cell.config.seed
            curve = "env_steps,return\n" + f"1000,{first}\n" + 20 * f"2000,{last}\n"
            stored.write(cell, CellFiles(row(None, seconds, parameters=parameters), curve))
    return stored.find_all(study.cells)


def test_every_statement_has_its_verdict(tmp_path: Path) -> None:
    study = study_of(**SAID)
    results = rows_of(study, tmp_path)
    (panel,) = panels_of(study, results)
    found = {each.statement.text: each for each in verdicts_of(study.statements, panel)}
    elsewhere = [replace(each, on="lbf2") for each in study.statements]
    assert verdicts_of(elsewhere, panel) == []
    assert {text: each.word for text, each in found.items()} == {
        "held": "held",
        "not held": "not held",
        "open": "open",
        "not run": "not run",
        "faster": "open",  # the last of the first half's ten evaluations are all of the end
        "costs less": "held",
        "alike": "held",
        "alike, few noisy seeds": "open",
        "not alike": "not held",
        "not all alike": "not held",
        "by return": "held",
        "as many": "held",
        "fewer": "held",
        "rises": "open",
        "no number": "see",
    }
    assert found["no number"].numbers == "docs/experiments.md"
    assert found["held"].numbers.startswith("snp 9.88, seps 4.12 (+")
    assert found["by return"].numbers == found["held"].numbers
    assert found["not all alike"].numbers.count(";") == 2  # every pair
    assert found["fewer"].numbers == "snp 76,423, seps 229,269"
    assert found["not run"].numbers == ""
    *_, table = text_tables(study, [panel])
    assert [column.head for column in table.columns] == ["statement", "by", "here", "numbers"]
    for text in (page(study, results), markdown(study, [table])):
        assert "§5: costs less" in text


def test_a_difference_of_two_runs_is_open(tmp_path: Path) -> None:
    study = study_of(held=SAID["held"])
    results = [each for each in rows_of(study, tmp_path) if each.cell.config.seed < 2]
    (panel,) = panels_of(study, results)
    (found,) = verdicts_of(study.statements, panel)
    assert found.word == "open"
    assert found.numbers.endswith("(fewer than 3 runs)")


def test_arms_that_have_got_nothing_are_not_alike_for_that(tmp_path: Path) -> None:
    study = study_of(said=SAID["alike"])
    results = rows_of(study, tmp_path)
    for each in results:
        each.path.with_suffix(".csv").write_text("env_steps,return\n" + 20 * "2000,0\n")
    (panel,) = panels_of(study, ResultFolder(tmp_path).find_all(study.cells))
    (found,) = verdicts_of(study.statements, panel)
    assert found.word == "open"
    assert "0.00, fups 0.00" in found.numbers


@pytest.mark.parametrize("name", ["as many", "fewer"])
def test_a_difference_of_parameters_that_are_not_recorded_is_open(
    name: str, tmp_path: Path
) -> None:
    study = study_of(said=SAID[name])
    results = rows_of(study, tmp_path)
    for each in results:
        each.row["parameters"] = None
    (panel,) = panels_of(study, results)
    (found,) = verdicts_of(study.statements, panel)
    assert found.word == "open"
    assert found.numbers.endswith("(not recorded)")


def test_what_an_agent_uses_stands_beside_the_parameters(tmp_path: Path) -> None:
    study = study_of()
    (panel,) = panels_of(study, rows_of(study, tmp_path))
    columns = {
        each.head: [e.text for e in each.entries] for each in text_tables(study, [panel])[0].columns
    }
    assert columns["parameters"] == ["76,423", "76,423", "229,269"]
    # 36-128-115-115-6 of 36-128-128-128-6.
    used = 36 * 128 + 128 * 115 + 115 * 115 + 115 * 6 + 128 + 115 + 115 + 6
    assert columns["an agent uses"] == [f"{used:,}", "38,534", "38,534"]


@pytest.mark.parametrize(
    ("statements", "said"),
    [
        ("all", "statements: must be [[statements]] blocks"),
        (["all"], "statements 1: must be a table"),
        ([{"bettr": "snp"}], "statements 1: unknown entry 'bettr'"),
        ([{"better": "snp", "than": ["sps"]}], "statements 1: no cell has the arm 'sps'"),
        ([{"better": "snp", "than": "seps"}], "statements 1: than: must be a list of arms"),
        ([{"better": "snp"}], "must say what is better than what, rising, alike, or elsewhere"),
        (
            [{"rising": ["snp", "fups"], "elsewhere": "here"}],
            "statements 1: rising and elsewhere: must be one of them",
        ),
        (
            [{"rising": ["snp", "fups"], "by": "luck"}],
            "by = luck: must be one of score, return, speed",
        ),
        ([{"rising": ["snp", "fups"], "text": 3}], "statements 1: text: must be a text"),
        (
            [{"rising": ["snp", "fups"], "on": "lbf2"}],
            "statements 1: no cell has the map 'lbf2' (did you mean lbf1?)",
        ),
        (
            [{"better": "snp", "than": ["seps"], "alike": ["snp", "fups"]}],
            "statements 1: better and alike: must be one of them",
        ),
        ([{"alike": ["snp", "fups"], "within": 2}], "within = 2: must be above 0 and below 1"),
        ([{"rising": ["snp", "fups"], "within": 0.1}], "within: belongs to alike"),
        ([{"rising": ["snp", "fups"], "than": ["seps"]}], "than: belongs to better"),
    ],
)
def test_statements_that_are_none_are_refused(statements: Any, said: str) -> None:
    with pytest.raises(UserError) as caught:
        read_study("small", {**STUDY, "statements": statements}, "small.toml")
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("vary", "named"),
    [
        ({"method": ["rigl", "set"], "sparsity": 0.9}, "rigl90, set90"),
        ({"method": "rigl", "sparsity": [0.8, 0.9]}, "rigl80, rigl90"),
    ],
)
def test_a_statement_about_an_arm_of_several_groups_is_refused(
    vary: dict[str, Any], named: str
) -> None:
    study = {**STUDY, "cells": [{**STUDY["cells"][0], **vary}]}
    said = [{"better": "snp", "than": ["seps"]}]
    assert read_study("small", study, "small.toml").statements == ()
    with pytest.raises(UserError) as caught:
        read_study("small", {**study, "statements": said}, "small.toml")
    assert str(caught.value) == (
        f"small.toml: statements 1: maa2c on lbf/lbf1 has 2 arms 'snp' ({named}); give each a name of its own"
    )


def test_the_papers_statements_are_in_its_studies() -> None:
    sections = {
        statement.section[:4]
        for name in built_in()
        if name.startswith("snp-")
        for statement in find_study(name).statements
    }
    assert sections == {"§5.2", "§5.3", "§5.4", "§5.5", "§5.6"}
