"""The studies that come with Mast, and the files of one's own."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from mast.configuration.suggestions import did_you_mean
from mast.errors import UserError
from mast.studies.study import Study, read_study

SUFFIX = ".toml"


def built_in() -> tuple[str, ...]:
    """The names of the studies that come with Mast, in alphabetical order."""
    folder = resources.files("mast").joinpath("studies/paper")
    names = (entry.name for entry in folder.iterdir() if entry.name.endswith(SUFFIX))
    return tuple(sorted(name.removesuffix(SUFFIX) for name in names))


def find_study(name: str) -> Study:
    """A study by its name, or by the path of its file (which ends with .toml).

    Raises:
        UserError: there is none, or its file is wrong.
    """
    if name.endswith(SUFFIX):
        path = Path(name)
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise UserError(f"{path} is no text file") from None
        return read_study(path.stem, _parsed(text, str(path)), str(path))
    if name not in built_in():
        hint = did_you_mean(name, built_in()) or "; see: mast study list"
        raise UserError(f"unknown study {name!r}{hint}; a file of your own ends with {SUFFIX}")
    return _built_in_study(name)


@cache
def _built_in_study(name: str) -> Study:
    path = resources.files("mast").joinpath(f"studies/paper/{name}{SUFFIX}")
    return read_study(name, _parsed(path.read_text(encoding="utf-8"), name), f"study {name}")


def _parsed(text: str, where: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise UserError(f"{where}: nested too deeply") from None
    except ValueError as error:
        raise UserError(f"{where}: no TOML: {error}") from None
