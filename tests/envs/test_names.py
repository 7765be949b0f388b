"""Names and refusals come before JAX, and the table is jaxmarl's."""

import subprocess
import sys

import pytest

from mast.envs.battle.maps import SCENARIOS
from mast.envs.jaxmarl_silent import MAP_NAME_TO_SCENARIO
from mast.envs.lbf_names import FORM
from mast.envs.names import IDS, SMAC_LIMITS, check_id, entry_of, steps_of
from mast.envs.registry import make
from mast.errors import UserError


def test_the_table_has_every_scenario_of_jaxmarl_and_ours() -> None:
    ours = {id.removeprefix("smax/") for id in IDS if id.startswith("smax/")}
    assert ours == {*MAP_NAME_TO_SCENARIO, "8m_vs_9m", "MMM2", "2c_vs_64zg"} == set(SCENARIOS)
    assert all(SCENARIOS[name] is known for name, known in MAP_NAME_TO_SCENARIO.items())
    assert len(IDS) == len(set(IDS))


FORAGING = (
    "lbf/8x8-3p-2f",
    "lbf/10x10-6p-6f-levels1,1,1,2,2,2-food3-sight3",
    "lbf/5x100-2p-1f-coop",
    "lbf/6x6-1p-1f-sight6",
)


@pytest.mark.parametrize(
    "id", [*IDS, *FORAGING, "module:Class", "package.module:Class", "a_1.b2:C_3"]
)
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
        ("lbf/lbf3", "did you mean lbf/lbf2 or lbf/lbf1? see: mast envs"),
        ("lbf/8x8", f'environment "lbf/8x8" must look like {FORM}; see: mast envs'),
        ("lbf/8x8-3p-2f-food3-levels1,1,1", "must look like lbf/ROWSxCOLUMNS-Np-Mf[-levels"),
        ("lbf/8x8-3p-2f-food3-coop", "must look like"),
        ("lbf/8x8-03p-2f", "must look like"),
        ("lbf/8x8-3p-2f-levels1,1,0", "must look like"),
        ("lbf/4x8-3p-2f", 'environment "lbf/4x8-3p-2f": 4 rows, must be 5 to 100'),
        ("lbf/8x101-3p-2f", "101 columns, must be 5 to 100"),
        ("lbf/8x8-17p-2f", "17p, must be at most 16 on 8 x 8"),
        ("lbf/8x8-3p-7f", "7f, must be at most 6 on 8 x 8"),
        ("lbf/8x8-3p-2f-levels1,2", "2 levels for 3 agents, must be one each"),
        ("lbf/8x8-3p-2f-levels1,2,21", "level 21, must be at most 20"),
        ("lbf/8x8-3p-2f-food4", "food4, must be at most 3: all that fit beside one"),
        ("lbf/8x8-5p-2f-levels1,2,2,2,2-food9", "food9, must be at most 8: all that fit"),
        ("lbf/8x9-3p-2f-sight10", "sight10, must be at most 9"),
    ],
)
def test_bad_names_are_refused_in_one_line(id: str, told: str) -> None:
    with pytest.raises(UserError) as error:
        check_id(id)
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_smac_s_limits_are_those_of_its_maps() -> None:
    assert set(SMAC_LIMITS) == {id for id in IDS if id.startswith("smax/") and "smacv2" not in id}
    for name, steps in (("3m", 60), ("5m_vs_6m", 70), ("8m_vs_9m", 120), ("2c_vs_64zg", 400)):
        assert steps_of(f"smax/{name}", "smac") == steps
    assert steps_of("smax/27m_vs_30m", "smac") == steps_of("smax/MMM2", "smac") == 180
    assert steps_of("smax/3m", 7) == 7
    assert steps_of("own:Mine", None) is None
    for id in ("mpe/simple_spread", "smax/smacv2_5_units", "own:Mine"):
        with pytest.raises(UserError) as error:
            steps_of(id, "smac")
        assert str(error.value).startswith(f"episode_limit = smac: {id} is no map of SMAC")


@pytest.mark.parametrize(("id", "scale"), [("lbf1", 18), ("lbf2", 24), ("8x8-3p-2f", 12)])
def test_foraging_pays_in_food_levels(id: str, scale: float) -> None:
    spec = make(f"lbf/{id}").spec
    assert spec.reward_scale == spec.max_return == scale
    assert make(f"lbf/{id}", reward_scale=1.0).spec.max_return == 1


@pytest.mark.parametrize("id", FORAGING)
def test_sizes_are_known_by_the_name(id: str) -> None:
    entry, spec = entry_of(id), make(id).spec
    assert entry is not None
    assert entry.reward_scale == spec.reward_scale
    fields = ("id", "agents", "actions", "observation", "state", "episode_limit")
    assert [getattr(spec, f) for f in fields] == [getattr(entry, f) for f in fields]


def test_nothing_is_known_of_other_names() -> None:
    for id in ("lbf/lbf3", "lbf/8x8", "smax/8x8-3p-2f", "module:Class", "chess"):
        assert entry_of(id) is None


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
