"""λ-returns of rlax 0.1.9, in rlax_returns.json; run this file to make them anew, where rlax is installed.

The suite reads the numbers only: rlax would bring a pinned nightly of TensorFlow Probability along.

    pip install rlax==0.1.9 && python tests/golden/rlax_returns.py
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

FILE = Path(__file__).with_name("rlax_returns.json")
STEPS, DISCOUNT = 20, 0.99
LAMBDAS = (0.0, 0.6, 0.8, 1.0)


def stored() -> dict[str, Any]:
    """What the file holds: `reward`, `value`, and under `returns` of each λ and ending the returns."""
    return json.loads(FILE.read_text())


def key(lambda_: float, terminates: bool) -> str:
    """The name of a pair in `returns`."""
    return f"{lambda_:g} {'terminated' if terminates else 'cut'}"


def main() -> None:
    """Computes the numbers in float32, as rlax does, and writes the file."""
    import rlax

    rng = np.random.default_rng(5)
    reward = rng.normal(size=STEPS).astype(np.float32)
    value = rng.normal(size=STEPS + 1).astype(np.float32)
    returns = {}
    for lambda_ in LAMBDAS:
        for terminates in (True, False):
            terminated = np.zeros(STEPS, np.float32)
            terminated[-1] = terminates
            found = rlax.lambda_returns(reward, DISCOUNT * (1 - terminated), value[1:], lambda_)
            returns[key(lambda_, terminates)] = np.asarray(found).tolist()
    content = {"reward": reward.tolist(), "value": value.tolist(), "returns": returns}
    FILE.write_text(json.dumps(content) + "\n")


if __name__ == "__main__":
    main()
