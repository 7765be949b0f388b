"""Studies as files: products, arms, sources, refusals; and every built-in cell can be run."""

import re
from pathlib import Path
from typing import Any

import pytest
from study_cells import SMALL, small_study

from mast.config import Config
from mast.configuration.reference import reference_settings
from mast.errors import UserError
from mast.studies.library import built_in, find_study
from mast.studies.protocol import NEUTRAL, key_of
from mast.studies.study import read_study


def test_lists_are_crossed_and_seeds_are_innermost() -> None:
    study = small_study()
    told = [(c.config.method, c.config.sparsity, c.config.seed) for c in study.cells]
    assert told == [("dense", 0.0, 0), ("dense", 0.0, 1), ("mast", 0.9, 0), ("mast", 0.9, 1)]
    assert all(cell.arm == "" for cell in study.cells)
    assert study.cells[3].name == f"3m-qmix-mast90-s1-{study.cells[3].key}"


def test_a_cell_that_two_blocks_describe_is_there_once() -> None:
    study = small_study(cells=[{"sparsity": [0.8, 0.9]}, {"method": "dense"}])
    assert [cell.density_name for cell in study.cells] == ["dense"] * 2 + ["mast80"] * 2 + [
        "mast90"
    ] * 2


def test_what_a_block_varies_becomes_the_arm() -> None:
    study = small_study(cells=[{"method": "mast", "td_lambda": [0, 0.8], "seeds": [3]}])
    assert [cell.arm for cell in study.cells] == ["td_lambda = 0", "td_lambda = 0.8"]
    assert study.cells[0].name.startswith("3m-qmix-mast90-td_lambda_0-s3-")
    arms = [{"name": "α 1, ω 5", "omega": 5.0}, {"name": "plain"}]
    study = small_study(seeds=1, cells=[{"method": "mast", "arms": arms}])
    assert [(c.arm, c.config.omega) for c in study.cells] == [("α 1, ω 5", 5.0), ("plain", 10.0)]
    assert "alpha_1_omega_5" in study.cells[0].name


def test_a_ticket_begins_with_the_cell_of_its_seed() -> None:
    cells = [{"method": "winning-ticket", "from": {"method": "mast"}}, {"method": "mast"}]
    study = small_study(cells=cells)
    mast, ticket = study.cells[:2], study.cells[2:]
    assert [cell.config.method for cell in mast] == ["mast", "mast"]
    for first, second in zip(mast, ticket, strict=True):
        assert second.source is first
        assert second.config.from_run == f"cell:{first.key}"
    assert ticket[0].group == ticket[1].group != mast[0].group


def test_the_group_leaves_out_nothing_but_the_seed() -> None:
    cells = small_study().cells
    assert cells[0].group == cells[1].group == cells[0].key
    assert cells[2].group == cells[3].group != cells[0].group


def test_the_key_knows_what_numbers_depend_on() -> None:
    base = {"environment": "smax/3m", "method": "mast"}
    key = key_of(Config(**base))
    same: dict[str, Any] = {"execution": "compact", "threads": 2, "checkpoint_interval": 1.0}
    assert key_of(Config(**base, **same, diagnostics=True, snapshots=None)) == key
    for other in ({"seed": 1}, {"steps": 10**6}, {"omega": 5.0}, {"eval_episodes": 64}):
        assert key_of(Config(**base, **other)) != key


def test_every_setting_is_in_the_protocol_or_known_not_to_matter() -> None:
    always = {"environment", "algorithm", "method", "sparsity", "steps", "seed"}
    known = set(reference_settings()) | set(NEUTRAL) | always
    missing = set(Config.model_fields) - known
    assert not missing, (
        f"add {missing} to configuration/reference.json with the value that changes nothing, so that earlier "
        "results keep their names; or to NEUTRAL, where no number depends on it"
    )


def test_keys_stay_what_they_were() -> None:
    """A change here moves every result file: raise protocol.VERSION and mark it **numbers**, or undo it."""
    given: dict[str, Any] = {
        "environment": "smax/3m",
        "sparsity": 0.95,
        "steps": 500_000,
        "seed": 3,
    }
    assert key_of(Config(**given, method="mast", preset="paper")) == "f2370141"


STORED = {
    "table1-lite": "table1-lite",
    "regress": "regress",
    "experiments/learning-rate.toml": "learning-rate",
    "experiments/why-2s3z.toml": "why-2s3z",
    "experiments/why-rlx2.toml": "why-rlx2",
}


@pytest.mark.parametrize("name", STORED)
def test_stored_rows_are_found(name: str) -> None:
    root = Path(__file__).parents[2]
    study = find_study(str(root / name) if name.endswith(".toml") else name)
    rows = {
        path.stem.rpartition("-")[2] for path in (root / "results" / STORED[name]).glob("*.json")
    }
    assert rows
    assert rows <= {cell.key for cell in study.cells}


def test_a_short_cell_has_the_number_that_it_was_resolved_to() -> None:
    given: dict[str, Any] = {"environment": "smax/3m", "steps": 20_000}
    assert key_of(Config(**given)) == key_of(Config(**given, epsilon_steps=2_000))
    assert key_of(Config(**given)) != key_of(Config(**given, epsilon_steps=50_000))
    paper = Config(**given, preset="paper")
    assert key_of(paper) == key_of(Config(**given, step_exponent=0.0, epsilon_steps=50_000))


def test_steps_by_density_are_part_of_a_key_where_there_is_a_density() -> None:
    given: dict[str, Any] = {"environment": "smax/3m", "sparsity": 0.95, "steps": 500_000}
    for method in ("dense", "tiny"):
        keys = {
            key_of(Config(**given, method=method, **steps))
            for steps in ({}, {"preset": "paper"}, {"step_exponent": 0.5})
        }
        assert len(keys) == 1, method
    paper = key_of(Config(**given, preset="paper"))
    assert paper != key_of(Config(**given))
    assert paper == key_of(Config(**given, preset="paper", step_cap=9.0))


def test_when_steps_fall_is_part_of_a_key_where_they_do() -> None:
    given: dict[str, Any] = {"environment": "smax/3m", "sparsity": 0.95, "steps": 500_000}

    def keys(**settings: Any) -> int:
        return len(
            {key_of(Config(**given, **settings, anneal_begin_fraction=x)) for x in (0.25, 0.5, 1.0)}
        )

    assert keys() == 3
    for settings in ({"method": "dense"}, {"method": "tiny"}, {"preset": "paper"}):
        assert keys(**settings) == 1
        assert keys(**settings, final_learning_rate=1e-4) == 3


@pytest.mark.parametrize("name", built_in())
def test_every_built_in_cell_can_be_run(name: str) -> None:
    study = find_study(name)
    assert study.title
    assert study.about
    assert len({cell.key for cell in study.cells}) == len({cell.name for cell in study.cells})
    assert len(study.cells) == len({cell.name for cell in study.cells})
    assert all(cell.config.seeds == 1 for cell in study.cells)


def test_table1_lite_is_what_was_agreed() -> None:
    study = find_study("table1-lite")
    methods = {"dense", "tiny", "ss", "set", "rigl", "rlx2", "mast"}
    assert len(study.cells) == 2 * 7 * 4
    for map_, steps in (("3m", 500_000), ("2s3z", 800_000)):
        cells = study.chosen({"map": [map_]})
        assert {cell.config.method for cell in cells} == methods
        assert {cell.config.steps for cell in cells} == {steps}
        assert {cell.config.sparsity for cell in cells} == {0.0, 0.95}


def test_choosing() -> None:
    study = small_study()
    assert len(study.chosen({"map": ["3m"], "seed": ["1"]})) == 2
    assert len(study.chosen({"sparsity": ["0.90"]})) == 2
    of_snp = find_study("snp-mast")
    with_id, without = of_snp.chosen({"sharing": ["fups+id"]}), of_snp.chosen({"sharing": ["fups"]})
    assert {cell.arm for cell in with_id} == {"fups+id"} != {cell.arm for cell in without}
    half = of_snp.chosen({"prune_ratio": ["0-0.5"]})
    assert {cell.arm for cell in half} == {"snp 0-0.5"}
    of_none = of_snp.chosen({"prune_ratio": ["none"]})
    assert {cell.arm for cell in of_none} == {"fups", "fups+id"}
    with pytest.raises(UserError, match=r"0-0\.3: study snp-mast has none, 0\.0-0\.1, 0\.1-0\.1, "):
        of_snp.chosen({"prune_ratio": ["0-0.3"]})
    assert study.chosen({"double_q": ["True"]}) == study.chosen({"double_q": ["true"]})
    with pytest.raises(UserError, match="map = 8m: study small has 3m"):
        study.chosen({"map": ["8m"]})
    with pytest.raises(UserError, match=r"--only metod: no such setting \(did you mean method\?\)"):
        study.chosen({"metod": ["mast"]})
    with pytest.raises(
        UserError, match=r"--only env: no such setting \(did you mean environment\?\)"
    ):
        study.chosen({"env": ["smax/3m"]})
    with pytest.raises(UserError, match="no cell of study small is left"):
        study.chosen({"method": ["dense"], "sparsity": ["0.9"]})


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"cels": []}, "small.toml: unknown entry 'cels' (did you mean cells?)"),
    ({"cells": []}, "small.toml: cells: must be at least one [[cells]] block"),
    ({"cells": [{"sparsity": 1.5}]}, "small.toml: cells 1: sparsity = 1.5: must be a number"),
    (
        {"cells": [{}, {"sparsty": 1}]},
        "small.toml: cells 2: unknown setting 'sparsty' (did you mean spa",
    ),
    (
        {"cells": [{"lr": 1e-3}]},
        "small.toml: cells 1: unknown setting 'lr' (did you mean learning_rate?)",
    ),
    (
        {"cells": [{"arms": [{"gamma": 0.9}]}]},
        "small.toml: cells 1: unknown setting 'gamma' (did you mean discount?)",
    ),
    ({"cells": [{"threads": 2}]}, "cells 1: threads: belongs to how a study is run"),
    ({"cells": [{"seeds": 0}]}, "cells 1: seeds = 0: must be a number of seeds from 1 to 1000"),
    ({"cells": [{"seeds": 10**9}]}, "cells 1: seeds = 1000000000: must be a number of seeds"),
    ({"cells": [{"seeds": [True]}]}, "cells 1: seeds = [True]: must be a number of seeds"),
    ({"cells": [{"seeds": True}]}, "cells 1: seeds = True: must be a number of seeds"),
    ({"cells": [{"seeds": [-1]}]}, "cells 1: seeds = [-1]: must be a number of seeds"),
    ({"cells": [{"seeds": [2**31]}]}, "each from 0 to 2147483647"),
    ({"cells": [{"arms": 3}]}, "cells 1: arms: must be a list of tables"),
    ({"cells": [{"omega": []}]}, "cells 1: omega = []: must be a value, or a list of one or more"),
    ({"cells": [{"from": "mast"}]}, "from: must be a table such as"),
    (
        {"cells": [{"method": "winning-ticket", "from": {"method": "set"}}]},
        "from: 0 cells of the study",
    ),
    ({"settings": 1}, "settings: must be a table"),
    ({"table": "table7"}, "table = table7: must be one of table1"),
    ({"title": 1}, "title: must be a text"),
    ({"cells": [5]}, "small.toml: cells 1: must be a table"),
    ({"cells": [{"seed": [0, 1]}]}, "cells 1: seed: a study has several; seeds = [0, 1]"),
    ({"cells": [{"arms": [{"name": "a", "seed": 1}]}]}, "cells 1: seed: a study has several"),
    ({"cells": [{"masks": "yes"}]}, "cells 1: masks = yes: must be true or false"),
    (
        {"cells": [{"arms": [{"name": "a", "omega": 1.0}, {"name": "a", "omega": 2.0}]}]},
        "cells 1: two different cells are called 3m-qmix-dense-a-s0 (omega is 2.0 and 1.0); name one "
        'in its block with arm = "omega 2.0", or among its arms with { name = "omega 2.0", omega = 2.0 }',
    ),
    (
        {"cells": [{}, {"arm": "", "double_q": False}]},
        "cells 2: two different cells are called 3m-qmix-dense-s0 (double_q is False and True)",
    ),
    ({"cells": [{"arm": "a\nb"}]}, r"cells 1: arm = 'a\nb': must be a text of one line"),
    ({"cells": [{"environment": "smax/3n"}]}, 'cells 1: unknown environment "smax/3n"'),
]


@pytest.mark.parametrize(("changes", "message"), WRONG)
def test_a_wrong_file_is_refused_in_one_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        read_study("small", {**SMALL, **changes}, "small.toml")
    assert message in str(caught.value)


def test_an_arm_without_a_name_is_called_by_its_settings() -> None:
    study = small_study(cells=[{"method": "mast", "arms": [{"omega": 5.0}, {"td_lambda": 0.2}]}])
    assert {cell.arm for cell in study.cells} == {"omega = 5.0", "td_lambda = 0.2"}


def test_a_scalar_that_makes_names_collide_becomes_the_arm() -> None:
    blocks = [{"method": "rigl"}, {"method": "rigl", "drop_fraction": 0.1, "seeds": [1, 2]}]
    study = small_study(cells=blocks)
    arms = [(cell.config.seed, cell.arm) for cell in study.cells]
    named = "drop_fraction = 0.1"
    assert arms == [(0, ""), (1, ""), (1, named), (2, named)]
    assert study.cells[2].name.startswith("3m-qmix-rigl90-drop_fraction_0.1-s1-")
    both = small_study(cells=[{"omega": 2.0}, {"omega": 3.0, "gradient_clip": 10.0}], seeds=1)
    assert {cell.arm for cell in both.cells} == {"omega = 2.0", "omega = 3.0"}
    longer = small_study(cells=[{"steps": [1000, 2000], "method": "mast"}], seeds=1)
    assert {cell.arm for cell in longer.cells} == {"steps = 1000", "steps = 2000"}
    tickets = [
        {"method": "rigl", "sparsity": 0.9},
        {"method": "rigl", "sparsity": 0.9, "drop_fraction": 0.1},
        {"method": "winning-ticket", "sparsity": 0.9, "from": {"method": "rigl", "arm": named}},
    ]
    *_, ticket = small_study(cells=tickets, seeds=1).cells
    assert ticket.source is not None
    assert ticket.source.arm == named


def test_choosing_among_arms() -> None:
    with pytest.raises(UserError, match="--only arm: no cell of study small has an arm"):
        small_study().chosen({"arm": ["x"]})
    study = small_study(cells=[{}, {"omega": 2.0}])
    with pytest.raises(UserError, match=r"arm = x: study small has plain, omega = 2\.0"):
        study.chosen({"arm": ["x"]})
    assert {cell.arm for cell in study.chosen({"arm": ["plain"]})} == {""}


def test_files_of_ones_own(tmp_path: Any) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('[[cells]]\nenvironment = "smax/3m"\nseeds = 1\n')
    study = find_study(str(path))
    assert (study.name, study.title, len(study.cells)) == ("mine", "mine", 1)
    path.write_text("[[cells]\n")
    with pytest.raises(UserError, match="no TOML"):
        find_study(str(path))
    with pytest.raises(UserError, match="cannot read"):
        find_study(str(tmp_path / "none.toml"))
    with pytest.raises(
        UserError, match=r"unknown study 'table1-lit' \(did you mean table1-lite\?\)"
    ):
        find_study("table1-lit")


def test_the_example_of_the_page_is_a_study(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "studies.md").read_text()
    path = tmp_path / "growth.toml"
    path.write_text(page.split("```toml\n")[1].split("```")[0])
    study = find_study(str(path))
    arms = {(cell.config.method, cell.arm) for cell in study.cells}
    assert ("rigl", "drop_fraction = 0.1") in arms
    assert ("rigl", "by sensitivity, often") in arms
    assert len(study.cells) == 4 * (2 + 2 + 2 + 1)
    for name in built_in():
        assert f"`{name.removesuffix('-lite')}`" in page or f"`{name}`" in page


def test_the_page_says_how_many_cells_a_study_has() -> None:
    page = (Path(__file__).parents[2] / "docs" / "studies.md").read_text()
    rows = re.findall(r"^\| (`.*?`) \| ([\d, ]+)(?: each)? \|", page, re.M)
    assert len(rows) > 10
    for cell, counts in rows:
        names, numbers = re.findall("`(.*?)`", cell), [int(each) for each in counts.split(",")]
        numbers = numbers * len(names) if len(numbers) == 1 else numbers
        assert numbers == [len(find_study(name).cells) for name in names], names
