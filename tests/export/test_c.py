"""The exported C: compiled strictly, held to the policy, and fed with garbage under the sanitizers."""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from teams import make_run, policy_of

from mast.envs.registry import make
from mast.export.c_build import STRICT, CArtefact, compile_c, footprint
from mast.export.c_layers import dequantized, layers_of, quantize_rows
from mast.export.c_source import CSource, c_source, observation_limit
from mast.export.check import TOLERANCE, agreement
from mast.export.feed_forward import FeedForwardNetwork
from mast.export.folder import FORMS, export_run
from mast.export.kinds import rounded, units_of
from mast.export.network import networks_of, padded, without_dead_neurons
from mast.export.recording import Recorded, record_episodes

CC = shutil.which("cc") or ""
pytestmark = pytest.mark.skipif(not CC, reason="no C compiler")

Case = tuple[CSource, list[Recorded], Path]


def written(run: Path, folder: Path, **options: Any) -> CSource:
    policy = policy_of(run)
    networks = [without_dead_neurons(network) for network in networks_of(policy)]
    source = c_source(networks, 2, "A test.", **options)
    folder.mkdir(exist_ok=True)
    for name, text in source.files.items():
        (folder / name).write_text(text)
    return source


def written_actor(folder: Path, shapes: Sequence[tuple[int, int]], form: str) -> CSource:
    """One agent's dense actor with random weights, layer by layer [outputs, inputs]."""
    rng = np.random.default_rng(0)
    layers = tuple((rng.normal(size=s).astype("f4"), np.zeros(s[0], "f4")) for s in shapes)
    network = FeedForwardNetwork(layers, features=shapes[0][1])
    source = c_source([network], 1, "A test.", form=form)
    for name, text in source.files.items():
        (folder / name).write_text(text)
    return source


@pytest.fixture(scope="module", params=["shared", "independent"])
def team(request: pytest.FixtureRequest, tmp_path_factory: Any) -> tuple[Path, list[Recorded]]:
    run = make_run(tmp_path_factory.mktemp(request.param), sharing=request.param)
    environment = make("examples.pursuit:Pursuit")
    return run, record_episodes(policy_of(run), environment, 2)


def artefact(source: CSource, folder: Path, *flags: str, prefix: str = "mast") -> CArtefact:
    sizes = (6, 5, source.networks[0].hidden)
    main = folder / f"{prefix}_agent.c"
    return CArtefact(main, prefix, sizes, units_of(source.networks, 2), flags or ("-O1",))


@pytest.mark.parametrize("form", [*FORMS, None])
@pytest.mark.parametrize(
    "flags", [("-O1",), ("-O2", "-DMAST_NO_VECTORS"), ("-O2", "-DMAST_USE_LIBM", "-lm")]
)
def test_it_plays_like_the_policy(
    team: tuple[Path, list[Recorded]], tmp_path: Path, form: str | None, flags: tuple[str, ...]
) -> None:
    run, recorded = team
    source = written(run, tmp_path / "c", form=form)
    exported = artefact(source, tmp_path / "c", *flags)
    found = agreement(exported, recorded)
    assert exported.warnings == ""
    assert found.holds
    assert found.largest_difference < 1e-5
    assert found.largest_hidden_difference < 1e-5
    assert found.same_action == found.decisions > 50


@pytest.mark.parametrize("form", ["blocked", "dense"])
def test_int8_is_the_rounded_network_and_loses_little(
    team: tuple[Path, list[Recorded]], tmp_path: Path, form: str
) -> None:
    run, recorded = team
    source = written(run, tmp_path / "c", form=form, int8=True)
    exported = artefact(source, tmp_path / "c")
    # On the real episodes, but with the rounded network's values.
    assert (
        agreement(exported, rounded(source, recorded, exported.units)).largest_difference
        < TOLERANCE
    )
    lost = agreement(exported, recorded)
    assert 0 < lost.largest_difference < 0.5  # weights of about 1, and values of up to 10
    assert lost.same_action > 0.9 * lost.decisions
    assert source.constant_bytes < written(run, tmp_path / "f", form=form).constant_bytes


def test_a_rounded_weight_is_off_by_half_a_step_at_most(tmp_path: Path) -> None:
    network = padded(networks_of(policy_of(make_run(tmp_path)))[0])
    for layer in layers_of(network, "x").values():
        whole, scale = quantize_rows(layer.weight)
        assert np.abs(whole).max() <= 127
        error = np.abs(whole * scale[:, None] - layer.weight)
        assert (error <= scale[:, None] / 2 + 1e-7).all()
    assert dequantized(network).weights <= network.weights


@pytest.mark.parametrize("optimise", ["-O0", "-Os", "-O3"])
@pytest.mark.parametrize("form", [*FORMS, None])
def test_no_warning(tmp_path: Path, form: str | None, optimise: str) -> None:
    hidden = 16 if form else 96
    written(make_run(tmp_path / "run", hidden=hidden), tmp_path / "c", form=form)
    flags = (*STRICT, "-Wconversion", "-Wshadow", "-Wdouble-promotion", optimise, "-c")
    assert compile_c(CC, tmp_path / "c" / "mast_agent.c", tmp_path / "a.o", flags) == ""


def test_no_warning_on_32_bit_and_without_a_c_library(tmp_path: Path) -> None:
    """-ffreestanding has the compiler's own headers only: those of a 32-bit C library are rare."""
    written(make_run(tmp_path / "run"), tmp_path / "c")
    flags = (*STRICT, "-m32", "-ffreestanding", "-O2", "-c")
    probe = tmp_path / "probe.c"
    probe.write_text("int probe;\n")
    if subprocess.run([CC, "-m32", "-c", str(probe)], cwd=tmp_path, check=False).returncode:
        pytest.skip("this compiler knows no -m32")
    assert compile_c(CC, tmp_path / "c" / "mast_agent.c", tmp_path / "a.o", flags) == ""


def test_every_symbol_has_the_prefix_and_nothing_is_called(tmp_path: Path) -> None:
    if not (nm := shutil.which("nm")):
        pytest.skip("no nm")
    written(make_run(tmp_path / "run"), tmp_path / "c", prefix="scout")
    target = tmp_path / "a.o"
    compile_c(CC, tmp_path / "c" / "scout_agent.c", target, (*STRICT, "-O0", "-c"))
    lines = subprocess.run([nm, str(target)], capture_output=True, text=True, check=True).stdout
    symbols = [line.split()[-2:] for line in lines.splitlines()]
    assert {name for kind, name in symbols if kind == "T"} == {"scout_reset", "scout_step"}
    assert not [name for kind, name in symbols if kind == "U"]
    assert all(name.startswith("scout_") for _, name in symbols)
    header = (tmp_path / "c" / "scout_agent.h").read_text()
    assert "mast_" not in header
    assert "MAST_" not in header


def test_a_compiler_calls_nothing_either_if_told(tmp_path: Path) -> None:
    """A state of so many numbers is cleared by memset on every processor, but not with -ffreestanding."""
    if not (nm := shutil.which("nm")):
        pytest.skip("no nm")
    written_actor(tmp_path, ((8, 6), (4000, 8)), "dense")
    target = tmp_path / "a.o"
    for optimise in ("-Os", "-O2", "-O3"):
        flags = (*STRICT, optimise, "-ffreestanding", "-c")
        assert compile_c(CC, tmp_path / "mast_agent.c", target, flags) == ""
        done = subprocess.run([nm, "-u", str(target)], capture_output=True, text=True, check=True)
        assert done.stdout == ""


def test_a_network_without_any_weight_still_compiles(tmp_path: Path) -> None:
    written(make_run(tmp_path / "run", density=0), tmp_path / "c")
    for form in FORMS:
        source = written(tmp_path / "run", tmp_path / form, form=form)
        exported = artefact(source, tmp_path / form)
        assert exported.warnings == ""
        row = (np.ones((1, 6)), np.array([-1]), np.array([0]))
        q, action, _ = exported.step(
            *row, np.zeros((1, source.networks[0].hidden)), np.ones((1, 5))
        )
        np.testing.assert_allclose(q[0], policy_of(tmp_path / "run").agent.fc2.bias)
        assert action[0] == q[0].argmax()


DRIVER = """
#include "mast_agent.h"
#include <assert.h>
#include <string.h>
#include <math.h>

static unsigned long seed = 12345;

static unsigned long chance(void)
{
    seed = (seed * 1103515245UL + 12345UL) & 0x7fffffffUL;
    return seed >> 8;
}

int main(void)
{
    mast_state state, before;
    float observation[MAST_FEATURES];
    unsigned char available[MAST_ACTIONS];
    int i, j, k, action, result;

    assert(mast_reset(&state, MAST_AGENTS) == MAST_BAD_AGENT);
    assert(mast_reset(&state, -1) == MAST_BAD_AGENT);
    memset(observation, 0, sizeof observation);
    memset(available, 1, sizeof available);
    assert(mast_step(&state, observation, available, &action) == MAST_BAD_AGENT && action == -1);
    for (i = 0; i < MAST_AGENTS; i++) {
        assert(mast_reset(&state, i) == MAST_OK);
        assert(mast_step(&state, observation, available, &action) == MAST_OK);
        before = state;
        observation[MAST_FEATURES - 1] = NAN;
        assert(mast_step(&state, observation, available, &action) == MAST_BAD_OBSERVATION);
        assert(action == -1 && !memcmp(&before, &state, sizeof state));
        observation[MAST_FEATURES - 1] = -INFINITY;
        assert(mast_step(&state, observation, available, &action) == MAST_BAD_OBSERVATION);
        for (j = 0; j < MAST_FEATURES; j++)
            observation[j] = j % 2 ? MAST_OBSERVATION_LIMIT : -MAST_OBSERVATION_LIMIT;
        for (j = 0; j < 20; j++) {
            assert(mast_step(&state, observation, available, &action) == MAST_OK);
            for (k = 0; k < MAST_ACTIONS; k++)
                assert(isfinite(state.q[k]));
        }
        memset(available, 0, sizeof available);
        assert(mast_step(&state, observation, available, &action) == MAST_NO_ACTION);
        assert(action == -1 && state.last_action == -1);
        available[MAST_ACTIONS - 1] = 255;
        assert(mast_step(&state, observation, available, &action) == MAST_OK);
        assert(action == MAST_ACTIONS - 1);
        memset(observation, 0, sizeof observation);
        memset(available, 1, sizeof available);
    }
    for (i = 0; i < 3000; i++) {
        unsigned char *bytes = (unsigned char *)observation;

        if (chance() % 10 == 0) { /* memory that was never reset */
            bytes = (unsigned char *)&state;
            for (j = 0; j < (int)sizeof state; j++)
                bytes[j] = (unsigned char)chance();
            state.agent = (int)(chance() % (MAST_AGENTS + 2)) - 1;
        }
        for (j = 0; j < (int)sizeof observation; j++)
            ((unsigned char *)observation)[j] = (unsigned char)chance();
        if (chance() % 2)
            for (j = 0; j < MAST_FEATURES; j++)
                observation[j] = (float)(chance() % 1000) / 100.0f;
        for (j = 0; j < MAST_ACTIONS; j++)
            available[j] = (unsigned char)(chance() % 3 ? chance() : 0);
        result = mast_step(&state, observation, available, &action);
        if (result == MAST_OK)
            assert(action >= 0 && action < MAST_ACTIONS && available[action]);
        else
            assert(action == -1 && result >= MAST_BAD_AGENT);
    }
    return 0;
}
"""


@pytest.mark.parametrize("sharing", ["shared", "independent"])
@pytest.mark.parametrize(
    ("options", "define"),
    [
        *(({"form": form}, "-DMAST_VECTORS_IF_ANY") for form in FORMS),
        ({"int8": True}, "-DMAST_VECTORS_IF_ANY"),
        ({}, "-DMAST_VECTORS_IF_ANY"),
        ({}, "-DMAST_NO_VECTORS"),
    ],
    ids=str,
)
def test_garbage_is_survived_under_the_sanitizers(
    tmp_path: Path, sharing: str, options: dict[str, Any], define: str
) -> None:
    hidden = 16 if options else 96
    run = make_run(tmp_path / "run", sharing=sharing, hidden=hidden)
    source = written(run, tmp_path, **options)
    assert options or source.forms[0]["gru_input"] == "columns"
    (tmp_path / "driver.c").write_text(DRIVER)
    target = tmp_path / "driver"
    flags = (*STRICT, "-g", define, "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    probe = tmp_path / "probe.c"
    probe.write_text("int main(void) { return 0; }\n")
    asked = [CC, str(probe), *flags, "-o", str(tmp_path / "probe")]
    if subprocess.run(asked, capture_output=True, check=False).returncode:
        pytest.skip("this compiler has no sanitizers")
    sources = [str(tmp_path / name) for name in ("driver.c", "mast_agent.c")]
    subprocess.run([CC, *sources, *flags, "-o", str(target), "-lm"], check=True)
    done = subprocess.run([target], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


FAST_MATH = (
    *("-ffinite-math-only", "-fassociative-math", "-freciprocal-math"),
    *("-fno-signed-zeros", "-fno-trapping-math", "-fno-math-errno"),
)
"""What -ffast-math allows; itself it would also link a file that takes subnormal numbers from the process."""


def test_nan_is_refused_under_fast_math_too(tmp_path: Path) -> None:
    source = written(make_run(tmp_path / "run"), tmp_path / "c")
    exported = artefact(source, tmp_path / "c", "-O3", *FAST_MATH)
    seen = np.zeros((3, 6), "f4")
    seen[0, 5], seen[1, 0] = np.nan, np.inf
    hidden = np.full((3, source.networks[0].hidden), 0.5, "f4")
    _, action, after = exported.step(
        seen, np.full(3, -1), np.zeros(3, int), hidden, np.ones((3, 5))
    )
    assert action[:2].tolist() == [-1, -1]
    assert action[2] >= 0
    np.testing.assert_array_equal(after[:2], hidden[:2])
    assert not np.array_equal(after[2], hidden[2])


@pytest.mark.parametrize("hidden", [96, 300])
def test_every_step_reads_and_writes_what_it_should_in_blocks(tmp_path: Path, hidden: int) -> None:
    """Column numbers of a byte, four in a word, and of two bytes; empty rows, and lists filled up."""
    run = make_run(tmp_path / "run", hidden=hidden, density=0.2 if hidden < 256 else 0.03)
    source = written(run, tmp_path / "c")
    assert source.forms[0]["gru_input"] == "columns"
    text = (tmp_path / "c" / "mast_agent.c").read_text()
    assert ("uint32_t mast_gru_columns" in text) == (hidden <= 256)
    network, rng = source.networks[0], np.random.default_rng(0)
    for flag, last, agent in (("-O1", -1, 0), ("-O3", 2, 1), ("-DMAST_NO_VECTORS", 4, 0)):
        exported = artefact(source, tmp_path / "c", flag)
        assert exported.warnings == ""
        seen = rng.normal(size=(1, 6)).astype("f4")
        state = rng.uniform(-1, 1, (1, network.hidden)).astype("f4")
        state[:, network.units < 0] = 0
        q, _, after = exported.step(
            seen, np.array([last]), np.array([agent]), state, np.ones((1, 5))
        )
        expected_q, expected = network.step(seen[0], last, agent, state[0])
        np.testing.assert_allclose(q[0], expected_q, atol=1e-4)
        np.testing.assert_allclose(after[0], expected, atol=1e-5)


def test_the_limit_is_no_obstacle(tmp_path: Path) -> None:
    network = networks_of(policy_of(make_run(tmp_path)))[0]
    assert observation_limit(network) > 1e20


def test_large_layers_are_blocked_and_dense_ones_dense(tmp_path: Path) -> None:
    """Chosen by density and size; the numbers of the header are those of the team."""
    assert written(make_run(tmp_path / "a", density=0.15), tmp_path / "c").forms[0] == {
        "encoder": "unrolled", "gru": "unrolled", "output": "unrolled",
    }  # fmt: skip
    dense = written(make_run(tmp_path / "b", density=1.0), tmp_path / "d")
    assert set(dense.forms[0].values()) == {"dense"}
    large = written(make_run(tmp_path / "e", density=0.1, hidden=128), tmp_path / "f")
    assert large.forms[0]["gru"] == "blocked"
    assert large.forms[0]["gru_input"] == "columns"
    header = (tmp_path / "d" / "mast_agent.h").read_text()
    for name, value in (("FEATURES", 6), ("ACTIONS", 5), ("AGENTS", 2), ("HIDDEN", 16)):
        assert f"#define MAST_{name} {value}\n" in header


def test_a_large_network_that_skips_zeros_plays_like_the_policy(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", density=0.1, hidden=128)
    contract = export_run(run, "c", tmp_path / "out", episodes=1)
    assert contract["c"]["layers"][0]["gru_input"] == "columns"
    assert contract["check"]["largest_difference"] < 1e-4
    assert contract["c"]["measured"]["warnings"] == 0
    # Worst case: every column of the input's half, and the rows of the other in blocks of eight.
    assert contract["c"]["operations"]["multiply_adds"] >= sum(contract["c"]["weights"]) - 7 * 128


def test_the_costs_are_counted(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", density=1.0)
    facts = export_run(run, "c", tmp_path / "out", episodes=1)["c"]
    # Encoder, both halves of the GRU, output, and the code of a last action and of an agent.
    assert facts["operations"]["multiply_adds"] == 16 * 6 + 2 * 48 * 16 + 5 * 16 + 2 * 16
    assert facts["state_bytes"] == 4 * (2 + 16 + 5)
    measured = facts["measured"]
    assert measured["warnings"] == 0
    if measured["flash_bytes"] is not None:
        assert facts["constant_bytes"] < measured["flash_bytes"] < 2 * facts["constant_bytes"]
    if measured["stack_bytes"] is not None:
        assert facts["work_bytes"] <= measured["stack_bytes"] < facts["work_bytes"] + 1000


@pytest.mark.parametrize("form", FORMS)
def test_an_actor_s_stack_has_all_its_arrays(tmp_path: Path, form: str) -> None:
    """On x86-64 a function that calls nothing keeps a part of them below the stack's end."""
    source = written_actor(tmp_path, ((64, 6), (64, 64), (5, 64)), form)
    stack = footprint(CC, tmp_path / "mast_agent.c").stack_bytes
    assert source.work_bytes == 4 * 2 * 64
    assert stack is None or source.work_bytes <= stack < source.work_bytes + 1000
