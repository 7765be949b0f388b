"""Settings: odd values where they are typed, and a config.json that was edited during a run."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from campaign.made_run import GIVEN, config
from campaign.trial import Trial, one_line
from mast.config import Config, resolve
from mast.training.beside import MAY_CHANGE, SETTLED, check_settings

ODD = ("", " ", "nan", "inf", "-inf", "-1", "0", "1e-320", "x", "none", "[1]", "true", "λ", "1,,2")


def type_odd(name: str, value: str, folder: Path) -> None:
    """A setting as somebody may type it."""
    one_line(lambda: resolve(GIVEN | {name: value}))


def edit(name: str, folder: Path) -> None:
    """Another value in config.json than the run was trained with."""
    known = {"settings": config().model_dump(mode="json") | {name: "something else"}}
    said: list[str] = []
    refused = one_line(lambda: said.extend(check_settings(config(), known, folder)))
    if name in SETTLED:
        assert refused is None
        assert not said
    elif name in MAY_CHANGE:
        assert refused is None
        assert name in said[0]
    else:
        assert refused is not None
        assert name in refused


def trials(long: bool) -> Iterator[Trial]:
    """Every setting."""
    for name in Config.model_fields:
        for value in ODD:
            yield Trial("odd settings", f"{name} = {value!r}", partial(type_odd, name, value))
        yield Trial("edited settings", name, partial(edit, name))
