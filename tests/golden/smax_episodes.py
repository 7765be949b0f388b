"""Short random battles of SMAX's own maps, written down before Mast had maps of its own.

    python tests/golden/smax_episodes.py tests/golden/smax_episodes.json

Whole numbers are kept as a hash; of the others each moment's sums, since machines round differently.
"""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mast.envs.registry import make

MAPS = ("2s3z", "3s_vs_5z")
STEPS = 24


def play(name: str) -> dict[str, Any]:
    """One battle in which the team goes east and shoots at random."""
    env = make(f"smax/{name}")
    reset, step = jax.jit(env.reset), jax.jit(env.step)
    chance, whole = np.random.default_rng(0), hashlib.sha256()
    state, seen = reset(jax.random.key(3))
    battle: Any = state.battle
    sums = []
    for turn in range(STEPS):
        likes = chance.random(seen.available.shape) + np.eye(env.spec.actions)[1] * 0.3
        likes[:, 5:] += 1.0
        actions = np.where(seen.available, likes, -1.0).argmax(1).astype(np.int32)
        state, seen, outcome = step(jax.random.key(100 + turn), state, jnp.asarray(actions))
        battle = state.battle
        numbers = (actions, seen.available, battle.unit_alive, outcome.won, outcome.terminated)
        for each in numbers:
            whole.update(np.asarray(each).astype(np.int32).tobytes())
        floats = (seen.observation, seen.state, outcome.reward, state.enemy_observation)
        sums.append([float(np.asarray(each, np.float64).sum()) for each in floats])
    sizes = [list(np.shape(each)) for each in (seen.observation, seen.state, seen.available)]
    return {
        "sizes": sizes,
        "whole_numbers": whole.hexdigest(),
        "alive": int(battle.unit_alive.sum()),
        "sums": sums,
    }


if __name__ == "__main__":
    text = json.dumps({name: play(name) for name in MAPS}, indent=1)
    Path(sys.argv[1]).write_text(text + "\n", encoding="utf-8")
