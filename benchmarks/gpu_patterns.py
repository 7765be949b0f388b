"""Whether a sparse layer is faster than a dense one on a GPU, at the sizes of teams and of ordinary networks.

    PYTHONPATH=src python benchmarks/gpu_patterns.py --out folder       (a part of `make gpu`)

Of each width, batch and density: microseconds of one product of a square layer, dense and masked in XLA,
unstructured in JAX's BCSR and, where it is installed, in PyTorch: CSR (single precision), blocks of 32×32 and
2:4 (half precision, beside dense in half precision). `ratio` is the time of dense in the same precision over
this one's: above 1 the sparse one is faster. Writes patterns.csv.
"""

import argparse
import csv
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import sparse

FIELDS = ("width", "batch", "density", "by", "microseconds", "ratio", "device")
CALLS = 50

Products = dict[str, tuple[Callable[[], Any], str]]
"""Name → what runs once, and the name of its dense."""


def of_jax(weight: np.ndarray, mask: np.ndarray, x: np.ndarray) -> Products:
    """Dense, masked and BCSR."""
    w, m, rows = jnp.asarray(weight), jnp.asarray(mask), jnp.asarray(x)
    small = sparse.BCSR.fromdense(w * m, nse=int(mask.sum()))

    def of_bcsr(data: Any, x: Any) -> Any:
        return (sparse.BCSR((data, small.indices, small.indptr), shape=small.shape) @ x.T).T

    dense = jax.jit(lambda w, x: x @ w.T)
    masked = jax.jit(lambda w, m, x: x @ (w * m).T)
    bcsr = jax.jit(of_bcsr)
    return {
        "dense": (lambda: dense(w, rows), "dense"),
        "masked": (lambda: masked(w, m, rows), "dense"),
        "BCSR of JAX": (lambda: bcsr(small.data, rows), "dense"),
    }


def of_torch(weight: np.ndarray, mask: np.ndarray, x: np.ndarray, density: float) -> Products:
    """CSR in single precision; blocks and 2:4 in half precision."""
    try:
        import torch
    except ImportError:
        return {}
    if not torch.cuda.is_available():
        return {}
    warnings.filterwarnings("ignore", category=UserWarning)
    w = torch.tensor(weight * mask, device="cuda")
    columns = torch.tensor(x.T.copy(), device="cuda")
    csr = w.to_sparse_csr()
    found: Products = {
        "dense of PyTorch": (lambda: w @ columns, "dense of PyTorch"),
        "CSR of PyTorch": (lambda: csr @ columns, "dense of PyTorch"),
    }
    half, halves = w.half(), columns.half()
    found["dense, half precision"] = (lambda: half @ halves, "dense, half precision")
    side = 32
    blocks = np.random.default_rng(0).random((len(weight) // side,) * 2) < density
    blocked = torch.tensor(weight * np.kron(blocks, np.ones((side, side)))).half().cuda()
    bsr = blocked.to_sparse_bsr((side, side))
    found["blocks 32×32, half precision"] = (lambda: bsr @ halves, "dense, half precision")
    pairs = np.tile([1, 1, 0, 0], weight.size // 4).reshape(weight.shape)
    two = torch.sparse.to_sparse_semi_structured(torch.tensor(weight * pairs).half().cuda())
    found["2:4, half precision"] = (lambda: two @ halves, "dense, half precision")
    return found


def waited(value: Any) -> None:
    """Until the device has done it."""
    if isinstance(value, jax.Array):
        value.block_until_ready()
    else:
        import torch

        torch.cuda.synchronize()


def measured(products: Products) -> dict[str, float]:
    """Median microseconds of each, in turns."""
    spent: dict[str, list[float]] = {}
    for name, (run, _) in products.items():
        try:
            waited(run())
        except (RuntimeError, NotImplementedError) as error:  # a shape that the library refuses
            print(f"{name}: {str(error).splitlines()[0]}", flush=True)
            continue
        spent[name] = []
    for _ in range(7):
        for name, times in spent.items():
            begin = time.perf_counter()
            for _ in range(CALLS):
                value = products[name][0]()
            waited(value)
            times.append((time.perf_counter() - begin) / CALLS * 1e6)
    return {name: float(np.median(times)) for name, times in spent.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--widths", type=int, nargs="+", default=[64, 256, 1024, 4096])
    parser.add_argument("--batches", type=int, nargs="+", default=[32, 1024])
    parser.add_argument("--densities", type=float, nargs="+", default=[0.1, 0.05, 0.01])
    parser.add_argument("--minutes", type=float, default=1)
    given = parser.parse_args()
    ends = time.perf_counter() + 60 * given.minutes
    jax.config.update("jax_bcoo_cusparse_lowering", True)
    device = jax.devices()[0].device_kind
    draws = np.random.default_rng(0)
    given.out.mkdir(parents=True, exist_ok=True)
    with (given.out / "patterns.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, FIELDS)
        writer.writeheader()
        for width in given.widths:
            weight = draws.standard_normal((width, width), np.float32)
            for batch in given.batches:
                x = draws.standard_normal((batch, width), np.float32)
                for density in given.densities:
                    if time.perf_counter() > ends:
                        print("patterns: no time left", flush=True)
                        return
                    mask = draws.random(weight.shape) < density
                    products = of_jax(weight, mask, x) | of_torch(weight, mask, x, density)
                    found = measured(products)
                    for name, each in found.items():
                        row = {"width": width, "batch": batch, "density": density, "by": name}
                        row |= {"microseconds": f"{each:.1f}", "device": device}
                        row["ratio"] = f"{found[products[name][1]] / each:.2f}"
                        print(*row.values(), flush=True)
                        writer.writerow(row)
                    file.flush()


if __name__ == "__main__":
    main()
