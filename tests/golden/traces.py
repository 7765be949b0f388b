"""Numbers of the standard definitions in float64, stored in traces.json; run this file to make them anew.

They come from the formulas below and from nothing of ours: NumPy float64, whole matrices (the loops of
`networks_by_definition` are another writing of the same), inputs from `numpy.random.default_rng(2024)`
rounded to 1/64 so that float32 holds them exactly. The definitions are

* GRU cell: the documentation of `torch.nn.GRUCell` (rows of both matrices: reset, update, new).
* RMSprop: the algorithm in the documentation of `torch.optim.RMSprop` (α = 0.99, ε = 1e-5 added to the
  root, lr = 5e-4; not centred, no momentum).
* QMIX mixer: Rashid et al. 2018, Fig. 2 and its text, with PyMARL's two-layer hypernetworks.
* Unrestricted mixer: WQMIX (Rashid et al. 2020), appendix: [q, s] through three ReLU layers, plus V(s).
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

FILE = Path(__file__).with_name("traces.json")
AGENTS, STATE, EMBED, HYPER, HIDDEN, INPUTS = 3, 4, 2, 3, 3, 2
GRU_STEPS, RMSPROP_STEPS, MIXES = 5, 6, 4

Pair = tuple[np.ndarray, np.ndarray]
"""(weight, bias) of a linear layer."""


def gru_cell(x: np.ndarray, h: np.ndarray, from_x: Pair, from_h: Pair) -> np.ndarray:
    i_r, i_z, i_n = np.split(from_x[0] @ x + from_x[1], 3)
    h_r, h_z, h_n = np.split(from_h[0] @ h + from_h[1], 3)
    r, z = 1 / (1 + np.exp(-(i_r + h_r))), 1 / (1 + np.exp(-(i_z + h_z)))
    return (1 - z) * np.tanh(i_n + r * h_n) + z * h


def rmsprop(theta: np.ndarray, gradients: np.ndarray) -> list[np.ndarray]:
    v, thetas = np.zeros_like(theta), []
    for g in gradients:
        v = 0.99 * v + (1 - 0.99) * g**2
        theta = theta - 5e-4 * g / (np.sqrt(v) + 1e-5)
        thetas.append(theta)
    return thetas


def affine(layer: Pair, x: np.ndarray) -> np.ndarray:
    return layer[0] @ x + layer[1]


def qmix(net: dict[str, Pair], q: np.ndarray, s: np.ndarray) -> float:
    w1 = np.abs(affine(net["w1_out"], np.maximum(affine(net["w1_hidden"], s), 0)))
    w_final = np.abs(affine(net["w_final_out"], np.maximum(affine(net["w_final_hidden"], s), 0)))
    inside = q @ w1.reshape(AGENTS, EMBED) + affine(net["b1"], s)
    hidden = np.where(inside > 0, inside, np.exp(np.minimum(inside, 0)) - 1)
    return float(
        hidden @ w_final + affine(net["v_out"], np.maximum(affine(net["v_hidden"], s), 0))[0]
    )


def feed_forward(net: dict[str, Pair], q: np.ndarray, s: np.ndarray) -> float:
    x = np.concatenate([q, s])
    for name in ("fc1", "fc2", "fc3"):
        x = np.maximum(affine(net[name], x), 0)
    return float(
        (affine(net["fc4"], x) + affine(net["v_out"], np.maximum(affine(net["v_hidden"], s), 0)))[0]
    )


def make() -> dict[str, Any]:
    rng = np.random.default_rng(2024)

    def draw(*shape: int, scale: float = 1.0) -> np.ndarray:
        return np.round(rng.normal(0, scale, shape) * 64) / 64

    def layers(**sizes: tuple[int, int]) -> dict[str, Pair]:
        return {name: (draw(*size), draw(size[0])) for name, size in sizes.items()}

    gru = layers(gru_input=(3 * HIDDEN, INPUTS), gru_hidden=(3 * HIDDEN, HIDDEN))
    x, h = draw(GRU_STEPS, INPUTS), draw(HIDDEN)
    states = []
    for each in x:
        states.append(
            gru_cell(each, states[-1] if states else h, gru["gru_input"], gru["gru_hidden"])
        )
    theta, gradients = draw(4), draw(RMSPROP_STEPS, 4) * np.array([1, 8, 1 / 64, 1 / 4096])
    monotone = layers(
        w1_hidden=(HYPER, STATE), w1_out=(AGENTS * EMBED, HYPER), w_final_hidden=(HYPER, STATE),
        w_final_out=(EMBED, HYPER), b1=(EMBED, STATE), v_hidden=(EMBED, STATE), v_out=(1, EMBED),
    )  # fmt: skip
    free = layers(
        fc1=(HIDDEN, AGENTS + STATE), fc2=(HIDDEN, HIDDEN), fc3=(HIDDEN, HIDDEN), fc4=(1, HIDDEN),
        v_hidden=(HIDDEN, STATE), v_out=(1, HIDDEN),
    )  # fmt: skip
    q, s = draw(MIXES, AGENTS, scale=2.0), draw(MIXES, STATE)
    return {
        "gru": {"layers": gru, "x": x, "initial": h, "states": states},
        "rmsprop": {"initial": theta, "gradients": gradients, "thetas": rmsprop(theta, gradients)},
        "mixers": {
            "utilities": q,
            "state": s,
            "QMixer": {
                "layers": monotone,
                "q_tot": [qmix(monotone, *each) for each in zip(q, s, strict=True)],
            },
            "FeedForwardMixer": {
                "layers": free,
                "q_tot": [feed_forward(free, *each) for each in zip(q, s, strict=True)],
            },
        },
    }


def stored() -> dict[str, Any]:
    """The file's content, lists of numbers."""
    return json.loads(FILE.read_text())


if __name__ == "__main__":
    FILE.write_text(json.dumps(make(), default=np.ndarray.tolist) + "\n")
