"""C whose weights have a pattern: the masked network's values, in less room than indices take."""

import ctypes
import shutil
import subprocess
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from test_c import CC, DRIVER

from mast.export.c_build import STRICT, CArtefact
from mast.export.c_layers import Affine, dequantized, layers_of
from mast.export.c_patterns import pattern_form, write_layer
from mast.export.c_source import CSource, c_source
from mast.export.feed_forward import FeedForwardNetwork
from mast.export.kinds import units_of
from mast.export.network import AnyNetwork, Network, without_dead_neurons
from mast.sparsity.pattern_names import pattern_of
from mast.sparsity.patterns import Matrix

pytestmark = pytest.mark.skipif(not CC, reason="no C compiler")
FEATURES, CODES, ACTIONS, AGENTS = 21, 7, 5, 2
FORMS = {"fan-in": "fan-in", "n:16": "fan-in", "block-4x4": "blocks", "neuron": "neurons"}
"""How the GRU is stored; of few columns, a place in a group takes no less than a column."""


def weights(
    rng: np.random.Generator, shape: tuple[int, int], pattern: str, density: float, gates: int = 1
) -> np.ndarray:
    """Random ones where a mask of the pattern is."""
    matrix, rule = Matrix(*shape, gates=gates), pattern_of(pattern)
    counts = rule.counts(matrix)
    active = max(
        [count for count in counts if count <= density * matrix.weights], default=counts[0]
    )
    mask = np.asarray(rule.best(jnp.asarray(rng.random(shape)), active, matrix))
    assert rule.holds(mask, matrix)
    return (mask * rng.normal(size=shape)).astype("f4")


def network(pattern: str, width: int = 48, density: float = 0.1) -> Network:
    """A recurrent agent with a pattern in all layers but the last."""
    rng = np.random.default_rng(0)
    first = weights(rng, (width, FEATURES + CODES), pattern, 2 * density)
    gates = [weights(rng, (3 * width, width), pattern, density, gates=3) for _ in range(2)]
    biases = [rng.normal(size=size).astype("f4") for size in (width, 3 * width, 3 * width, ACTIONS)]
    made = Network(
        first[:, :FEATURES], first[:, FEATURES:], biases[0], gates[0], biases[1], gates[1], biases[2],
        rng.normal(size=(ACTIONS, width)).astype("f4"), biases[3], np.arange(width),
    )  # fmt: skip
    return without_dead_neurons(made)


def actor(pattern: str) -> FeedForwardNetwork:
    """A feed-forward one, without an agent id."""
    rng = np.random.default_rng(1)
    sizes = (FEATURES, 64, 64, ACTIONS)
    matrices = [
        (weights(rng, shape[::-1], pattern, 0.15), rng.normal(size=shape[1]).astype("f4"))
        for shape in pairwise(sizes[:-1])
    ]
    matrices.append((rng.normal(size=(ACTIONS, 64)).astype("f4"), np.zeros(ACTIONS, "f4")))
    return FeedForwardNetwork(tuple(matrices), FEATURES).without_dead_neurons()


def written(made: AnyNetwork, folder: Path, int8: bool = False) -> CSource:
    source = c_source([made], AGENTS, "A test.", form="pattern", int8=int8)
    for name, text in source.files.items():
        (folder / name).write_text(text)
    return source


def check_values(source: CSource, exact: AnyNetwork, folder: Path, *flags: str) -> None:
    """Three steps of both agents, from random memories."""
    sizes = (FEATURES, ACTIONS, source.networks[0].hidden)
    units = units_of(source.networks, AGENTS)
    artefact = CArtefact(folder / "mast_agent.c", "mast", sizes, units, flags)
    assert artefact.warnings == ""
    rng = np.random.default_rng(2)
    for last, agent in ((-1, 0), (3, 1), (4, 0)):
        seen = rng.normal(size=(1, FEATURES)).astype("f4")
        state = rng.uniform(-1, 1, (1, exact.hidden)).astype("f4")
        if exact.hidden:
            state[:, exact.units < 0] = 0
        q, _, after = artefact.step(
            seen, np.array([last]), np.array([agent]), state, np.ones((1, ACTIONS))
        )
        wanted, memory = exact.step(seen[0], last, agent, state[0])
        np.testing.assert_allclose(q[0], wanted, rtol=1e-5, atol=2e-5)
        np.testing.assert_allclose(after[0], memory, atol=1e-5)


@pytest.mark.parametrize("flags", [("-O1",), ("-O3", "-DMAST_NO_VECTORS")])
@pytest.mark.parametrize("pattern", FORMS)
def test_it_is_the_masked_network(tmp_path: Path, pattern: str, flags: tuple[str, ...]) -> None:
    source = written(network(pattern), tmp_path)
    assert source.forms[0]["gru"] == FORMS[pattern]
    check_values(source, source.networks[0], tmp_path, *flags)


@pytest.mark.parametrize("pattern", FORMS)
def test_so_is_an_actor_and_8_bits_are_the_rounded_network(tmp_path: Path, pattern: str) -> None:
    (tmp_path / "actor").mkdir()
    source = written(actor(pattern), tmp_path / "actor")
    assert set(source.forms[0].values()) & {*FORMS.values(), "dense"}
    check_values(source, source.networks[0], tmp_path / "actor", "-O1")
    source = written(network(pattern), tmp_path, int8=True)
    assert source.forms[0]["gru"] == FORMS[pattern]
    check_values(source, dequantized(source.networks[0]), tmp_path, "-O1")


@pytest.mark.parametrize("pattern", FORMS)
def test_it_takes_less_room_than_indices(pattern: str) -> None:
    made = network(pattern)
    sizes = [
        c_source([made], 2, "", form=form).constant_bytes
        for form in ("pattern", "blocked", "dense")
    ]
    assert sizes[0] < min(sizes[1:])


@pytest.mark.parametrize("pattern", FORMS)
def test_small_layers_are_unrolled_where_a_pattern_is_slower(pattern: str) -> None:
    small, large = (
        c_source([network(pattern, width)], 2, "").forms[0]["gru"] for width in (48, 96)
    )
    assert small == ("unrolled" if FORMS[pattern] == "fan-in" else FORMS[pattern])
    assert large == FORMS[pattern]


def affine(weight: np.ndarray) -> Affine:
    return Affine("layer", weight, np.zeros(len(weight), "f4"), ((slice(None), slice(None)),))


def test_a_group_s_places_are_bytes_where_columns_are_not(tmp_path: Path) -> None:
    layer = affine(weights(np.random.default_rng(0), (16, 300), "n:16", 0.07))
    assert pattern_form(layer) == "n:m"
    code = write_layer(layer, "n:m")
    assert f"uint8_t layer_columns0[{16 * 19}]" in code.text
    assert code.bytes == 16 * 19 * 5 + 4 * 16
    main = (
        "#include <stdint.h>\n" + code.text + "void f(const float *x, float *y) { layer(x, y); }\n"
    )
    (tmp_path / "layer.c").write_text(main)
    command = [
        CC,
        "-shared",
        "-fPIC",
        *STRICT,
        "-o",
        "layer.so",
        "layer.c",
        "-Wno-missing-prototypes",
    ]
    subprocess.run(command, cwd=tmp_path, check=True)
    x, y = np.random.default_rng(1).normal(size=300).astype("f4"), np.zeros(16, "f4")
    function = ctypes.CDLL(str(tmp_path / "layer.so")).f
    function(ctypes.c_void_p(x.ctypes.data), ctypes.c_void_p(y.ctypes.data))
    np.testing.assert_allclose(y, layer.weight @ x, atol=1e-5)


def test_unstructured_weights_have_no_pattern() -> None:
    rng = np.random.default_rng(0)
    for rows, inputs, density in ((64, 86, 0.1), (256, 256, 0.05), (16, 300, 0.1), (64, 64, 0.2)):
        mask = rng.random((rows, inputs)) < density
        assert pattern_form(affine((rng.normal(size=mask.shape) * mask).astype("f4"))) is None
    assert pattern_form(affine(np.zeros((8, 8), "f4"))) is None


def test_constant_counts_are_stored_without_filling() -> None:
    made = network("fan-in")
    gru = layers_of(made, "x")["gru"]
    assert write_layer(gru, "fan-in").multiply_adds == np.count_nonzero(gru.weight)
    cut = replace(gru, weight=gru.weight * (np.arange(gru.weight.shape[1]) % 3 > 0))
    assert pattern_form(cut) in (None, "fan-in")


@pytest.mark.parametrize("pattern", FORMS)
def test_garbage_is_survived_under_the_sanitizers(tmp_path: Path, pattern: str) -> None:
    written(network(pattern), tmp_path)
    flags = (*STRICT, "-g", "-Wconversion", "-Wshadow", "-fsanitize=address,undefined")
    (tmp_path / "probe.c").write_text("int main(void) { return 0; }\n")
    probe = subprocess.run([CC, "probe.c", *flags, "-o", "probe"], cwd=tmp_path, check=False)
    if probe.returncode or not shutil.which("cc"):
        pytest.skip("this compiler has no sanitizers")
    (tmp_path / "driver.c").write_text(DRIVER)
    sources = ["driver.c", "mast_agent.c"]
    flags = (*STRICT, "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    subprocess.run([CC, *sources, *flags, "-o", "driver", "-lm"], cwd=tmp_path, check=True)
    done = subprocess.run([tmp_path / "driver"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
