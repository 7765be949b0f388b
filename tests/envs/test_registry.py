"""Making environments: options, and everything that can be wrong with one's own."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mast.envs.names import ENTRIES
from mast.envs.registry import available, make
from mast.errors import UserError

METHODS = "  def reset(self, key): pass\n  def step(self, key, env_state, actions): pass\n"


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., str]]:
    """Writes a module into the current directory, which then is not on the path."""
    monkeypatch.chdir(tmp_path)
    path, modules = list(sys.path), set(sys.modules)

    def write(text: str, name: str = "own") -> str:
        (tmp_path / f"{name}.py").write_text(text)
        return name

    yield write
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def refusal(id: str, **options: Any) -> str:
    with pytest.raises(UserError) as error:
        make(id, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_available_is_the_table() -> None:
    assert available() == list(ENTRIES)


def test_options_reach_the_environment() -> None:
    spec = make("smax/3m", reward_scale=2.0, state_last_action=True, episode_limit=60).spec
    assert (spec.reward_scale, spec.episode_limit, spec.max_return) == (2.0, 60, 4.0)
    assert spec.state == 72 + 3 * 8
    assert "last actions in the state" in spec.identity
    spec = make("smax/MMM2", episode_limit="smac").spec
    assert spec.identity == "SMAX (jaxmarl 0.2.0), limit 180, reward x10"


@pytest.mark.parametrize(
    ("id", "options", "told"),
    [
        ("smax/3n", {}, "did you mean smax/3m"),
        ("smax/3m", {"reward_scale": 0.0}, "reward_scale is 0, must be above 0"),
        ("smax/3m", {"reward_scale": float("nan")}, "reward_scale is nan"),
        ("smax/3m", {"episode_limit": 0}, "episode_limit is 0, must be at least 1"),
        ("mpe/simple_spread", {"episode_limit": "smac"}, "mpe/simple_spread is no map of SMAC"),
        (
            "mpe/simple_spread",
            {"state_last_action": True},
            "mpe/simple_spread does not take state_last_action (it takes: reward_scale, episode_l",
        ),
        ("no_such.module:Class", {}, "no_such.module:Class: no module no_such in "),
        ("mast.envs.nothing:Class", {}, "no module mast.envs.nothing in "),
    ],
)
def test_refusals(id: str, options: dict[str, Any], told: str) -> None:
    assert told in refusal(id, **options)


def test_one_of_ones_own_is_found_in_the_current_directory(module: Callable[..., str]) -> None:
    module("from mast.envs.mpe import SimpleSpread\nclass Mine(SimpleSpread):\n    pass\n")
    assert make("own:Mine", episode_limit=7).spec.episode_limit == 7


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("class Other: pass", "own:Mine: module own has no class Mine (its classes: Other)"),
        ("Mine = 3", "module own has no class Mine (its classes: none)"),
        ("import no_such_thing", "import failed: ModuleNotFoundError: No module named 'no_such_t"),
        ("x = 1 +", "own:Mine: import failed: SyntaxError"),
        ("\n1 / 0", "import failed: ZeroDivisionError: division by zero ("),
        (
            "class Mine: pass",
            "own:Mine is not called: it must be a class with the methods reset and",
        ),
        (f"class Mine:\n{METHODS}", "own:Mine: spec must be an EnvironmentSpec, not NoneType"),
        (
            f"class Mine:\n{METHODS}  def __init__(self, size): pass",
            "making it failed: TypeError: Mine.__init__() missing 1 required positional argument",
        ),
        (
            "from mast.envs.mpe import SimpleSpread\nclass Mine(SimpleSpread):\n"
            "  def step(self, key, env_state, actions):\n    if actions[0] > 0: return 1",
            "own:Mine: step failed: TracerBoolConversionError",
        ),
        (
            "from mast.envs.mpe import SimpleSpread\nclass Mine(SimpleSpread):\n"
            "  def reset(self, key):\n    s, t = super().reset(key)\n"
            "    return s, t._replace(observation=t.observation[:, :4])",
            "own:Mine: reset: observation: has shape [3, 4], must be [3, 18]",
        ),
    ],
    ids=lambda text: text[:20],
)
def test_what_is_wrong_with_ones_own(module: Callable[..., str], text: str, told: str) -> None:
    module(text)
    assert told in refusal("own:Mine")


def test_the_place_of_the_fault_is_told(module: Callable[..., str], tmp_path: Path) -> None:
    module("\n\nraise ValueError('two\\nlines')")
    assert refusal("own:Mine").endswith(f"ValueError: two lines ({tmp_path}/own.py:3)")


def test_an_option_that_it_does_not_take(module: Callable[..., str]) -> None:
    module(f"class Mine:\n{METHODS}  def __init__(self, size=3): pass")
    told = refusal("own:Mine", episode_limit=5)
    assert told == "own:Mine does not take episode_limit (it takes: size)"


@pytest.mark.parametrize(
    "id",
    [
        *("os:abort", "sys:exit", "builtins:breakpoint", "builtins:exit", "builtins:input"),
        *("builtins:SystemExit", "subprocess:Popen", "threading:Thread", "os:getcwd"),
        "mast.envs.registry:available",
    ],
)
def test_what_makes_no_environment_is_not_called(id: str) -> None:
    assert f"{id} is not called: it must be a class with the methods reset and step" in refusal(id)


@pytest.mark.parametrize(
    ("text", "annotated"),
    [
        ("def mine(): return SimpleSpread()", False),
        ("def mine() -> SimpleSpread: return SimpleSpread()", True),
        ("def mine() -> 'Environment': return SimpleSpread()", True),
        ("def mine() -> 'Nothing': return SimpleSpread()", False),
        ("def mine() -> int: return SimpleSpread()", False),
        ("mine = partial(SimpleSpread, episode_limit=5)", True),
        ("mine = partial(exit)", False),
    ],
)
def test_a_function_is_called_where_its_annotation_says_what_it_makes(
    module: Callable[..., str], text: str, annotated: bool
) -> None:
    module(
        "from functools import partial\nfrom mast.envs.mpe import SimpleSpread\n"
        f"from mast.envs.protocol import Environment\n{text}\n"
    )
    if annotated:
        assert make("own:mine").spec.agents == 3
    else:
        assert "own:mine is not called" in refusal("own:mine")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("import sys\nsys.exit(7)", "own:Mine: import failed: SystemExit: 7 ("),
        (
            f"class Mine:\n{METHODS}  def __init__(self): raise SystemExit('enough')",
            "own:Mine: making it failed: SystemExit: enough (",
        ),
        (
            "from mast.envs.mpe import SimpleSpread\nclass Mine(SimpleSpread):\n"
            "  def reset(self, key): raise SystemExit(3)",
            "own:Mine: reset failed: SystemExit: 3 (",
        ),
    ],
)
def test_an_environment_that_ends_the_process_is_an_error(
    module: Callable[..., str], text: str, told: str
) -> None:
    module(text)
    assert told in refusal("own:Mine")
