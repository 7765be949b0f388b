"""Names and refusals come before JAX, and the table is jaxmarl's."""

import subprocess
import sys

import pytest

from mast.envs.jaxmarl_silent import MAP_NAME_TO_SCENARIO
from mast.envs.names import IDS, check_id
from mast.errors import UserError


def test_the_table_has_every_scenario_of_jaxmarl() -> None:
    ours = {id.removeprefix("smax/") for id in IDS if id.startswith("smax/")}
    assert ours == set(MAP_NAME_TO_SCENARIO)
    assert len(IDS) == len(set(IDS))


@pytest.mark.parametrize("id", [*IDS, "module:Class", "package.module:Class", "a_1.b2:C_3"])
def test_good_names_pass(id: str) -> None:
    check_id(id)


@pytest.mark.parametrize(
    ("id", "told"),
    [
        ("smax/3n", 'unknown environment "smax/3n"; did you mean smax/3m'),
        ("3m", 'unknown environment "3m"; did you mean smax/3m? see: mast envs'),
        ("simple_spread", "did you mean mpe/simple_spread?"),
        ("chess", 'unknown environment "chess"; see: mast envs'),
        ("", 'unknown environment ""; see: mast envs'),
        ("module:", 'environment "module:" must look like package.module:Class'),
        (":Class", "must look like package.module:Class"),
        ("some-module:Class", "must look like package.module:Class"),
        ("1.b:C", "must look like package.module:Class"),
    ],
)
def test_bad_names_are_refused_in_one_line(id: str, told: str) -> None:
    with pytest.raises(UserError) as error:
        check_id(id)
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def _run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)


def test_names_and_errors_do_not_import_jax() -> None:
    done = _run(
        "import sys, mast.envs.names, mast.errors;"
        "print([m for m in ('jax', 'jaxmarl', 'numpy', 'jaxtyping') if m in sys.modules])"
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_jaxmarl_is_silent_and_gives_the_streams_back() -> None:
    done = _run(
        "import sys; streams = sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__;"
        "from mast.envs.registry import make;"
        "assert 'jaxmarl' not in sys.modules;"  # an own environment does not pay for it
        "make('smax/3m'); make('mpe/simple_spread');"
        "assert streams == (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
