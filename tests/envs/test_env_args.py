"""Arguments for an environment: typed, recorded, hashed, and handed over."""

import json
from pathlib import Path
from typing import Any

import pytest

from mast.cli import main
from mast.config import given_of, load_run_config, resolve, write_run_record
from mast.envs.registry import make
from mast.errors import UserError
from mast.execution.environment import environment_of
from mast.studies.protocol import identity, key_of
from mast.studies.study import read_study

TYPED = {"fast": True, "map": "x", "p": 0.5, "players": 3, "size": 10}


def test_text_is_read_by_what_it_looks_like() -> None:
    config = resolve({"environment": "a:B", "env_args": "size=10,players=3,fast=true,p=0.5,map=x"})
    assert config.env_args == TYPED
    assert list(config.env_args) == sorted(TYPED)
    assert type(config.env_args["fast"]) is bool
    assert type(config.env_args["size"]) is int
    assert resolve({"environment": "a:B", "env_args": "none"}).env_args is None
    assert resolve({"environment": "a:B", "env_args": {}}).env_args is None


@pytest.mark.parametrize(
    "wrong", ["size", "size=", "a=1,a=2", "reward_scale=3", "a-b=3", {"a": [1]}, {"a": None}, 3]
)
def test_what_is_no_argument_is_refused(wrong: Any) -> None:
    with pytest.raises(UserError, match=r"env_args = .*must be NAME=VALUE such as size=10,players"):
        resolve({"environment": "a:B", "env_args": wrong})


def test_a_run_remembers_them(tmp_path: Path) -> None:
    given = {"environment": "a:B", "env_args": "size=10,fast=false"}
    write_run_record(tmp_path, resolve(given), given)
    stored = json.loads((tmp_path / "config.json").read_text())
    assert stored["settings"]["env_args"] == {"fast": False, "size": 10}
    assert stored["given"]["env_args"] == {"fast": False, "size": 10}
    assert load_run_config(tmp_path) == resolve(given)
    assert given_of(resolve(given))["env_args"] == {"fast": False, "size": 10}


def test_they_are_part_of_what_a_cell_is_and_none_changes_nothing() -> None:
    plain = resolve({"environment": "smax/3m"})
    assert "env_args" not in identity(plain)
    keys = {
        key_of(resolve({"environment": "smax/3m", "env_args": args}))
        for args in ("none", "a=1,b=2", "b=2,a=1", "a=1,b=3")
    }
    assert len(keys) == 3
    assert key_of(plain) in keys


def test_a_studys_file_has_a_table_or_several() -> None:
    block = {"environment": "a:B", "env_args": [{"size": 8}, {"size": 10}], "seeds": 1}
    cells = read_study("own", {"cells": [block]}, "own.toml").cells
    assert [cell.config.env_args for cell in cells] == [{"size": 8}, {"size": 10}]
    assert len({cell.name for cell in cells}) == 2


WORLD = """
from envs.own_worlds import Base


class World(Base):
    def __init__(self, size: int = 4):
        self.kw = {"observation": size}
        super().__init__()
"""


def test_they_reach_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "world_with_arguments.py").write_text(WORLD)
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))
    monkeypatch.syspath_prepend(str(tmp_path))
    id = "world_with_arguments:World"
    config = resolve({"environment": id, "env_args": "size=7"})
    assert environment_of(config).spec.observation == 7
    assert make(id).spec.observation == 4
    with pytest.raises(UserError, match=r"does not take length \(it takes: size\)"):
        make(id, env_args={"length": 3})
    with pytest.raises(UserError, match=r"smax/3m does not take size"):
        make("smax/3m", env_args={"size": 3})


def test_a_late_breach_ends_the_command_with_its_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))
    few = "--parallel-envs 11 --eval-interval 1000 --hidden-size 8 --method dense --quiet"
    for name, code, told in (
        ("Idle", 2, "envs:Idle: step 2 of an episode: available: agent 0 has no action"),
        ("LateNaN", 3, "envs:LateNaN: step 3 of an episode: observation of agent 0: holds a NaN"),
    ):
        run = tmp_path / name
        assert main(["train", f"envs.own_worlds:{name}", "--out", str(run), *few.split()]) == code
        said = capsys.readouterr().err
        assert told in said
        assert said.rstrip().endswith(f"the last good checkpoint, of env step 55, is kept in {run}")
        assert said.count("mast: error:") == 1
