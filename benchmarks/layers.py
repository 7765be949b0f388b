"""Sparse layers of a user's own network: our kernels beside XLA's dense products, JAX's BCSR, SciPy, PyTorch.

    taskset -c 1 python benchmarks/layers.py              # everything, of every size: results/layers.csv
    taskset -c 1 python benchmarks/layers.py --widths 1024 --batches 32 --densities 0.05 --brief

Of each width, batch, density and pattern the median milliseconds of a forward pass, of forward and
backward, and of a whole update (Adam), interleaved on one core. A chain is eight layers in one program:
of one layer at batch 1, the program's call is a large share. `ratio` is the time of the dense program
over this one's, the median over the turns. Who is not installed is left out. A row takes the place of an
earlier one of the same measurement. With --break-even, from the table alone: the share of active weights at
which ours is as fast as dense.
"""

import argparse
import csv
import os
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("PJRT_NPROC", "1")

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.experimental import sparse as jax_sparse
from machine import commit, processor
from tables import put_row

from mast.sparsity import compact, sparsify

RESULTS = Path(__file__).parents[1] / "results" / "layers.csv"
PATTERNS = ("unstructured", "fan-in", "n:64", "block-4x4", "neuron")
FIELDS = (
    "what",
    "width",
    "batch",
    "density",
    "pattern",
    "by",
    "pass",
    "ms",
    "ratio",
    "turns",
    "machine",
    "commit",
)
KEY = FIELDS[:7]

Run = Callable[[], Any]


def layer(width: int, batch: int, density: float, pattern: str) -> dict[tuple[str, str], Run]:
    """One square layer: y, and the gradients of a sum of squares to weights and input."""
    key = jax.random.key(0)
    weight = jax.random.normal(key, (width, width)) / np.sqrt(width)
    params, optimizer = sparsify(
        {"weight": weight}, optax.adam(1e-3), 1 - density, key=key, pattern=pattern
    )
    masks = optimizer.init(params).masks
    small = compact(params, masks, densest=1.0, threads=1)
    x = jax.random.normal(key, (batch, width))
    bcsr = jax_sparse.BCSR.fromdense(params["weight"], nse=int(masks["weight"].sum()))

    def forward(w: Any, x: Any) -> Any:
        return x @ w.T

    def loss(w: Any, x: Any) -> Any:
        return jnp.sum(forward(w, x) ** 2)

    def of_bcsr(data: Any, x: Any) -> Any:
        w = jax_sparse.BCSR((data, bcsr.indices, bcsr.indptr), shape=bcsr.shape)
        return (w @ x.T).T

    first = jax.jit(forward)
    both = eqx.filter_jit(lambda w, x: eqx.filter_grad(lambda wx: loss(*wx))((w, x)))
    runs: dict[tuple[str, str], Run] = {
        ("dense XLA", "forward"): lambda: first(weight, x),
        ("ours", "forward"): lambda: first(small["weight"], x),
        ("dense XLA", "forward and backward"): lambda: both(weight, x),
        ("ours", "forward and backward"): lambda: both(small["weight"], x),
    }
    apply_bcsr = jax.jit(of_bcsr)
    try:
        jax.block_until_ready(apply_bcsr(bcsr.data, x))
        runs["BCSR of JAX", "forward"] = lambda: apply_bcsr(bcsr.data, x)
    except Exception as error:
        print(f"BCSR of JAX: {type(error).__name__}")
    runs |= _scipy(np.asarray(params["weight"]), np.asarray(x)) | _torch(params["weight"], x)
    return runs


def _scipy(weight: np.ndarray, x: np.ndarray) -> dict[tuple[str, str], Run]:
    try:
        from scipy import sparse
    except ImportError:
        return {}
    csr, columns = sparse.csr_matrix(weight), np.ascontiguousarray(x.T)
    return {("SciPy CSR", "forward"): lambda: csr @ columns}


def _torch(weight: Any, x: Any) -> dict[tuple[str, str], Run]:
    try:
        import torch
    except ImportError:
        return {}
    torch.set_num_threads(1)
    csr = torch.tensor(np.asarray(weight)).to_sparse_csr()
    columns = torch.tensor(np.asarray(x).T.copy())
    return {("PyTorch CSR", "forward"): lambda: csr @ columns}


def chain(width: int, batch: int, density: float, pattern: str) -> dict[tuple[str, str], Run]:
    """Eight square layers with ReLUs between them, forward, in one program."""
    key = jax.random.key(0)
    dense = eqx.nn.MLP(width, width, width, 7, key=key)
    model, optimizer = sparsify(dense, optax.adam(1e-3), 1 - density, key=key, pattern=pattern)
    masks = optimizer.init(eqx.filter(model, eqx.is_inexact_array)).masks
    small = compact(model, masks, densest=1.0, threads=1)
    x = jax.random.normal(key, (batch, width))
    forward = jax.jit(_through)
    of_dense, of_small = (
        [(each.weight, each.bias) for each in network.layers] for network in (dense, small)
    )
    return {
        ("dense XLA", "forward"): lambda: forward(of_dense, x),
        ("ours", "forward"): lambda: forward(of_small, x),
    }


def _through(layers: Any, x: Any) -> Any:
    for weight, bias in layers[:-1]:
        x = jax.nn.relu(x @ weight.T + bias)
    weight, bias = layers[-1]
    return x @ weight.T + bias


def mlp(width: int, batch: int, density: float, pattern: str) -> dict[tuple[str, str], Run]:
    """Three hidden layers of one width: a whole update with Adam."""
    key = jax.random.key(0)
    dense = eqx.nn.MLP(width, 32, width, 3, key=key)
    model, optimizer = sparsify(dense, optax.adam(1e-3), 1 - density, key=key, pattern=pattern)
    masks = optimizer.init(eqx.filter(model, eqx.is_inexact_array)).masks
    small = compact(model, masks, threads=1)
    x = jax.random.normal(key, (batch, width))
    inner = optax.adam(1e-3)

    def update_of(optimizer: Any, model: Any) -> Run:
        @eqx.filter_jit(donate="all")
        def update(model: Any, state: Any) -> Any:
            gradient = eqx.filter_grad(
                lambda m: jnp.mean(jax.vmap(m)(jax.lax.stop_gradient(x)) ** 2)
            )(model)
            trained = eqx.filter(model, eqx.is_inexact_array)
            updates, state = optimizer.update(gradient, state, trained)
            return eqx.apply_updates(model, updates), state

        model = jax.tree.map(lambda leaf: jnp.copy(leaf) if eqx.is_array(leaf) else leaf, model)
        held = [model, optimizer.init(eqx.filter(model, eqx.is_inexact_array))]

        def run() -> Any:
            held[:] = update(*held)
            return held[1]

        return run

    return {
        ("dense XLA", "update"): update_of(inner, dense),
        ("ours", "update"): update_of(inner, small),
    }


def measured(runs: dict[tuple[str, str], Run], seconds: float) -> list[dict[str, Any]]:
    """Median milliseconds of each, in turns, and how many times as fast as dense it was in the same turn."""
    for run in runs.values():
        jax.block_until_ready(run())
    spent: dict[tuple[str, str], list[float]] = {name: [] for name in runs}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(next(iter(spent.values()))) < 5:
        for name, run in runs.items():
            begin = time.perf_counter()
            jax.block_until_ready(run())
            spent[name].append(1000 * (time.perf_counter() - begin))
    rows = []
    for (by, passed), times in spent.items():
        of_dense = spent["dense XLA", passed]
        ratio = np.median(np.array(of_dense) / np.array(times))
        found = {"by": by, "pass": passed, "ms": f"{np.median(times):.4f}", "ratio": f"{ratio:.2f}"}
        rows.append(found | {"turns": len(times)})
    return rows


def show_break_even(table: Path) -> None:
    """Where the ratio of an unstructured network crosses 1, between two measured densities (log–log)."""
    ratios: dict[tuple[str, ...], dict[float, float]] = defaultdict(dict)
    with table.open(newline="") as file:
        for row in csv.DictReader(file):
            if row["by"] == "ours" and row["pattern"] == "unstructured":
                place = (row["what"], row["pass"], row["width"], row["batch"])
                ratios[place][float(row["density"])] = float(row["ratio"])
    for measured_of, of_density in sorted(ratios.items()):
        densities = np.log(sorted(of_density))
        gains = np.log([of_density[density] for density in sorted(of_density)])
        if gains.max() < 0:
            where = "nowhere"
        elif gains.min() > 0:
            where = f"above {max(of_density):.0%}"
        else:
            where = f"{np.exp(np.interp(0.0, gains[::-1], densities[::-1])):.0%}"
        print(*measured_of, where)


WHAT = {"layer": layer, "chain": chain, "mlp": mlp}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--widths", type=int, nargs="+", default=[256, 1024, 4096])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 32, 256])
    parser.add_argument("--densities", type=float, nargs="+", default=[0.2, 0.1, 0.05, 0.02, 0.01])
    parser.add_argument("--patterns", nargs="+", default=list(PATTERNS))
    parser.add_argument("--what", nargs="+", choices=WHAT, default=list(WHAT))
    parser.add_argument("--seconds", type=float, default=2.0, help="of each cell")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--brief", action="store_true", help="show only, write no file")
    parser.add_argument("--break-even", action="store_true", help="measure nothing")
    given = parser.parse_args()
    if given.break_even:
        show_break_even(given.out)
        return
    for width in given.widths:
        for batch in given.batches:
            for density in given.densities:
                for pattern in given.patterns:
                    for what in given.what:
                        cell = {"what": what, "width": width, "batch": batch}
                        cell |= {"density": density, "pattern": pattern}
                        where = {"machine": processor(), "commit": commit()}
                        for row in measured(
                            WHAT[what](width, batch, density, pattern), given.seconds
                        ):
                            print(*(cell | row).values(), flush=True)
                            if not given.brief:
                                put_row(given.out, FIELDS, KEY, cell | row | where)
                        jax.clear_caches()


if __name__ == "__main__":
    main()
