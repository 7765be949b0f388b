"""How fast an exported agent acts, and how large it is: C, onnxruntime, PyTorch and JAX at batch 1.

    taskset -c 1 python benchmarks/ship.py
    python benchmarks/ship.py --patterns

Random networks of SMAX 3m's sizes (86 features, 8 actions, no agent id) with Erdős–Rényi masks and random
observations. All arms are measured in turn, round after round; a row holds the median and the fastest round,
in CPU time of the process, all its threads together: what else the machine does hardly counts.
"Dense" is the same network with every layer stored densely. `instructions` of a C step is callgrind's count,
which no noise moves, of code without AVX-512 (valgrind has none). Rows go to results/ship.csv, and
`results/plot_ship.py` draws them. PyTorch is eager, without gradients, on one thread; its rows are left
out where it is not installed (pip install 'mast-marl[bench]', not with our constraints: it wants an older
mpmath).

With --patterns, C alone: instructions and bytes of networks with a pattern at 95 %; rows go to
results/ship_patterns.csv.
"""

import argparse
import csv
import ctypes
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from mast.export.c_build import footprint
from mast.export.c_source import CSource, c_source
from mast.export.network import Network, without_dead_neurons
from mast.export.onnx_model import OnnxArtefact, write_model
from mast.networks.agent import RecurrentAgent
from mast.networks.linear import Linear
from mast.sparsity.allocation import LayerShape, erdos_renyi
from mast.sparsity.pattern_names import held_counts, pattern_of
from mast.sparsity.patterns import Matrix

TABLE = Path(__file__).parent.parent / "results" / "ship.csv"
COLUMNS = (
    "width", "density", "weights", "arm", "forms", "us_median", "us_fastest", "instructions",
    "bytes", "compile_seconds", "largest_difference",
)  # fmt: skip
OF_PATTERNS = TABLE.with_name("ship_patterns.csv")
PATTERN_COLUMNS = (
    "width",
    "density",
    "pattern",
    "weights",
    "arm",
    "forms",
    "instructions",
    "bytes",
)
PATTERNS = ("unstructured", "fan-in", "n:16", "block-4x4", "neuron")
FEATURES, ACTIONS = 86, 8
STEPS = {(True, 64): 1000, (True, 256): 150, (False, 64): 50, (False, 256): 40}
"""Of a round, by whether it is C, and width: a millisecond or two, so that few rounds are interrupted."""
FLAGS = ("-std=c99", "-O3", "-ffp-contract=fast", "-fPIC")
DRIVER = """
#include "mast_agent.c"

void play(int steps, const float *observations, const unsigned char *available, mast_state *state)
{
    int i, action;

    for (i = 0; i < steps; i++)
        mast_step(state, observations + MAST_FEATURES * (i % 64), available, &action);
}
"""
MAIN = """
int main(void)
{
    static float observations[64 * MAST_FEATURES];
    unsigned char available[MAST_ACTIONS] = {1};
    mast_state state;
    int i;

    mast_reset(&state, 0);
    for (i = 0; i < 64 * MAST_FEATURES; i++)
        observations[i] = (float)(i * 7919 % 1000) / 500.0f - 1.0f;
    play(128, observations, available, &state);
    return 0;
}
"""


def random_network(
    width: int,
    density: float,
    seed: int = 0,
    features: int = FEATURES,
    codes: int = ACTIONS,
    pattern: str = "unstructured",
) -> Network:
    """A network as one is when training begins."""
    rng = np.random.default_rng(seed)
    sizes = {
        "fc1": (width, features + codes),
        "gru_input": (3 * width, width),
        "gru_hidden": (3 * width, width),
        "fc2": (ACTIONS, width),
    }
    layers = [LayerShape(name, inputs, outputs) for name, (outputs, inputs) in sizes.items()]
    densities = erdos_renyi(layers, 1 - density)
    masks = {} if pattern == "unstructured" else pattern_masks(sizes, densities, pattern, rng)
    weights, biases = {}, {}
    for name, shape in sizes.items():
        mask = masks[name] if masks else rng.random(shape) < densities[name]
        scale = 1 / np.sqrt(shape[1] * densities[name])
        weights[name] = (rng.normal(size=shape) * scale * mask).astype(np.float32)
        biases[name] = (rng.normal(size=shape[0]) * 0.1).astype(np.float32)
    return Network(
        weights["fc1"][:, :features], weights["fc1"][:, features:], biases["fc1"],
        weights["gru_input"], biases["gru_input"], weights["gru_hidden"], biases["gru_hidden"],
        weights["fc2"], biases["fc2"], np.arange(width),
    )  # fmt: skip


def pattern_masks(
    sizes: dict[str, tuple[int, int]],
    densities: dict[str, float],
    pattern: str,
    rng: np.random.Generator,
) -> dict[str, np.ndarray]:
    """Masks of a pattern, with the layers' counts rounded as in training."""
    rule = pattern_of(pattern)
    matrices = {
        name: Matrix(*shape, gates=3 if "gru" in name else 1, is_output=name == "fc2")
        for name, shape in sizes.items()
    }
    wanted = {name: round(densities[name] * each.weights) for name, each in matrices.items()}
    counts = held_counts(wanted, {name: rule.counts(each) for name, each in matrices.items()})
    return {
        name: np.asarray(rule.best(jnp.asarray(rng.random(sizes[name])), counts[name], each))
        for name, each in matrices.items()
    }


class Arm:
    """One way to run the agent: `play(steps)` runs it, `q()` tells its last action values."""

    play: Callable[[int], None]
    q: Callable[[], np.ndarray]
    facts: dict[str, object]


def c_arm(network: Network, form: str | None, folder: Path, observation: np.ndarray) -> Arm:
    """The exported C, in the chosen forms or all in one."""
    source = c_source([network], 1, "A benchmark.", form=form)
    for name, text in {**source.files, "driver.c": DRIVER, "main.c": DRIVER + MAIN}.items():
        (folder / name).write_text(text)
    library = folder / "agent.so"
    begin = compiled_seconds()
    command = ["cc", *FLAGS, "-march=native", "-shared", str(folder / "driver.c"), "-o", library]
    subprocess.run(command, check=True)
    seconds = compiled_seconds() - begin
    loaded = ctypes.CDLL(str(library))
    hidden = source.networks[0].hidden
    state = np.zeros(
        1, [("agent", "i4"), ("last_action", "i4"), ("hidden", "f4", hidden), ("q", "f4", ACTIONS)]
    )
    loaded.mast_reset(ctypes.c_void_p(state.ctypes.data), 0)
    # 64 observations in turn: with one alone, the processor would learn every branch by heart.
    seen = np.random.default_rng(2).normal(size=(64, FEATURES)).astype(np.float32)
    seen[0], available = observation, np.ones(ACTIONS, np.uint8)
    arrays = (seen, available, state)

    def play(steps: int) -> None:
        loaded.play(steps, *(ctypes.c_void_p(each.ctypes.data) for each in arrays))

    arm = Arm()
    arm.play = play
    arm.q = lambda: state["q"][0].copy()
    arm.facts = {
        "forms": "/".join(source.forms[0].values()),
        "instructions": instructions(folder),
        "bytes": footprint("cc", folder / "mast_agent.c").flash_bytes,
        "compile_seconds": round(seconds, 2),
        "weights": count_weights(source),
    }
    return arm


def compiled_seconds() -> float:
    """CPU time of all programs that were started so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def count_weights(source: CSource) -> int:
    """The weights that are left without dead neurons."""
    return source.networks[0].weights


def instructions(folder: Path) -> int | None:
    """Instructions per step; None without valgrind."""
    if not shutil.which("valgrind"):
        return None
    program = folder / "main"
    command = ["cc", *FLAGS, "-march=x86-64-v3", str(folder / "main.c"), "-o", str(program)]
    subprocess.run(command, check=True)
    out = folder / "callgrind"
    command = [
        "valgrind",
        "--tool=callgrind",
        "--toggle-collect=play",
        f"--callgrind-out-file={out}",
    ]
    subprocess.run([*command, str(program)], check=True, capture_output=True)
    line = next(line for line in out.read_text().splitlines() if line.startswith("totals:"))
    return round(int(line.split()[1]) / 128)


def onnx_arm(network: Network, folder: Path, observation: np.ndarray) -> Arm:
    """onnxruntime, one thread, its tensors bound once."""
    import onnxruntime

    path = folder / "agent.onnx"
    write_model([network], {"mast": "benchmark"}, path)
    session = OnnxArtefact(path, 1).session
    inputs = {
        "observation": observation[None],
        "last_action": np.full(1, -1),
        "hidden": np.zeros((1, network.hidden), np.float32),
        "available": np.ones((1, ACTIONS), bool),
    }
    binding = session.io_binding()
    for name, value in inputs.items():
        binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(value))
    outputs = {
        "q": np.zeros((1, ACTIONS), np.float32),
        "action": np.zeros(1, np.int64),
        "next_hidden": inputs["hidden"],
    }
    values = {
        name: onnxruntime.OrtValue.ortvalue_from_numpy(value) for name, value in outputs.items()
    }
    for name, value in values.items():
        binding.bind_ortvalue_output(name, value)

    def play(steps: int) -> None:
        for _ in range(steps):
            session.run_with_iobinding(binding)

    arm = Arm()
    arm.play, arm.q = play, lambda: values["q"].numpy()[0]
    arm.facts = {"bytes": path.stat().st_size}
    return arm


def jax_arm(network: Network, observation: np.ndarray) -> Arm:
    """The trained network itself, jitted."""
    agent = RecurrentAgent(
        Linear(
            jnp.asarray(np.hstack([network.observation, network.codes])),
            jnp.asarray(network.encoder_bias),
        ),
        Linear(jnp.asarray(network.gru_input), jnp.asarray(network.gru_input_bias)),
        Linear(jnp.asarray(network.gru_hidden), jnp.asarray(network.gru_hidden_bias)),
        Linear(jnp.asarray(network.output), jnp.asarray(network.output_bias)),
        FEATURES,
        ACTIONS,
    )
    run = jax.jit(lambda seen, last, hidden: agent.step(seen, last, hidden))
    seen, last = jnp.asarray(observation[None]), jnp.full(1, -1)
    first = jnp.zeros((1, network.hidden))
    latest = [run(seen, last, first)[0]]

    def play(steps: int) -> None:
        for _ in range(steps):
            latest[0] = run(seen, last, first)[0].block_until_ready()

    arm = Arm()
    arm.play, arm.q, arm.facts = play, lambda: np.asarray(latest[0][0]), {}
    return arm


def torch_arm(network: Network, observation: np.ndarray) -> Arm | None:
    """The same layers as PyTorch's modules; None where it is not installed."""
    try:
        import torch
    except ImportError:
        return None
    torch.set_num_threads(1)
    width, hidden = FEATURES + ACTIONS, network.hidden
    first, cell, last = (
        torch.nn.Linear(width, hidden),
        torch.nn.GRUCell(hidden, hidden),
        torch.nn.Linear(hidden, ACTIONS),
    )
    for parameter, value in (
        (first.weight, np.hstack([network.observation, network.codes])),
        (first.bias, network.encoder_bias),
        (cell.weight_ih, network.gru_input),
        (cell.bias_ih, network.gru_input_bias),
        (cell.weight_hh, network.gru_hidden),
        (cell.bias_hh, network.gru_hidden_bias),
        (last.weight, network.output),
        (last.bias, network.output_bias),
    ):
        parameter.data = torch.from_numpy(np.ascontiguousarray(value))
    seen = torch.from_numpy(np.concatenate([observation, np.zeros(ACTIONS, np.float32)])[None])
    state, latest = torch.zeros(1, hidden), [torch.zeros(1, ACTIONS)]

    def play(steps: int) -> None:
        with torch.no_grad():
            for _ in range(steps):
                latest[0] = last(cell(torch.relu(first(seen)), state))
                latest[0].argmax(-1)

    arm = Arm()
    arm.play, arm.q, arm.facts = play, lambda: latest[0][0].numpy(), {}
    return arm


def main() -> None:
    """Measure everything and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=101)
    parser.add_argument(
        "--patterns", action="store_true", help="instructions and bytes, by pattern"
    )
    options = parser.parse_args()
    rows = []
    if options.patterns:
        for width in (64, 256):
            for pattern in PATTERNS:
                rows += counted(width, 0.05, pattern)
        with OF_PATTERNS.open("w", newline="") as file:
            table = csv.DictWriter(
                file, PATTERN_COLUMNS, lineterminator="\n", extrasaction="ignore"
            )
            table.writeheader()
            table.writerows(rows)
        return
    for width in (64, 256):
        for density in (1.0, 0.1, 0.05):
            rows += measure(width, density, options.rounds)
            with TABLE.open("w", newline="") as file:
                table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
                table.writeheader()
                table.writerows(rows)


def counted(width: int, density: float, pattern: str) -> list[dict[str, object]]:
    """Instructions and bytes of each form of a network with a pattern, without its dead neurons."""
    network = without_dead_neurons(random_network(width, density, pattern=pattern))
    observation = np.random.default_rng(1).normal(size=FEATURES).astype(np.float32)
    expected = network.step(observation, -1, 0, np.zeros(network.hidden))[0]
    rows = []
    for form in (None, "unrolled", "blocked", "dense", "pattern"):
        with tempfile.TemporaryDirectory() as folder:
            arm = c_arm(network, form, Path(folder), observation)
            arm.play(1)
            np.testing.assert_allclose(arm.q(), expected, atol=1e-5)
        facts = {"width": width, "density": density, "pattern": pattern}
        rows.append(facts | {"arm": f"c {form}" if form else "c"} | arm.facts)
        print(rows[-1], flush=True)
    return rows


def measure(width: int, density: float, rounds: int) -> list[dict[str, object]]:
    """The rows of one network."""
    network = random_network(width, density)
    observation = np.random.default_rng(1).normal(size=FEATURES).astype(np.float32)
    expected = network.step(observation, -1, 0, np.zeros(network.hidden))[0]
    rows = []
    with tempfile.TemporaryDirectory() as place:
        arms: dict[str, Arm] = {}
        for name, form in (("c", None), ("c unrolled", "unrolled"), ("c dense", "dense")):
            if name == "c unrolled" and network.weights > 30_000:
                continue  # half a minute of compiling, and larger than the instruction cache by far
            folder = Path(place, name.replace(" ", "-"))
            folder.mkdir()
            arms[name] = c_arm(network, form, folder, observation)
        arms["onnxruntime"] = onnx_arm(network, Path(place), observation)
        arms["jax"] = jax_arm(network, observation)
        pytorch = torch_arm(network, observation)
        if pytorch is None:
            print("PyTorch is not installed: its rows are left out", flush=True)
        else:
            arms["pytorch"] = pytorch
        times: dict[str, list[float]] = {name: [] for name in arms}
        differences = {}
        for name, arm in arms.items():
            arm.play(1)
            differences[name] = float(np.abs(arm.q() - expected).max())
        for _ in range(rounds):
            for name, arm in arms.items():
                steps = STEPS[name.startswith("c"), width]
                arm.play(steps // 10)
                begin = time.process_time()
                arm.play(steps)
                times[name].append((time.process_time() - begin) / steps * 1e6)
        for name, arm in arms.items():
            row = {
                "width": width,
                "density": density,
                "weights": network.weights,
                "arm": name,
                "us_median": round(float(np.median(times[name])), 3),
                "us_fastest": round(min(times[name]), 3),
                "largest_difference": f"{differences[name]:.1e}",
            }
            rows.append({key: arm.facts[key] for key in arm.facts if key in COLUMNS} | row)
            print(rows[-1], flush=True)
    return rows


if __name__ == "__main__":
    main()
