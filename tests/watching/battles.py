"""Episodes to be watched, made by hand: two agents against one enemy."""

from typing import Any

import numpy as np

from mast.envs.scene import ALLY, ENEMY, Scene
from mast.watching.episodes import Shown

ABOUT: dict[str, Any] = {
    "environment": "smax/2v1 </script><b>&",
    "identity": "a battle by hand",
    "policy": {
        "from": "runs/hand",
        "algorithm": "qmix",
        "method": "mast",
        "sparsity": 0.95,
        "env_steps": 1000,
        "checkpoint": "last",
    },
    "seed": 0,
    "discount": 0.99,
    "agents": ["ally_0", "ally_$1$^"],
    "kinds": ["marine", "zealot"],
    "actions": ["stop", "east", "attack_enemy_0"],
}


def battle(
    steps: int, outcome: str = "won", *, staged: bool = True, mixed: bool = True, seed: int = 0
) -> Shown:
    rng = np.random.default_rng(seed)
    available = np.ones((steps, 2, 3), bool)
    available[0, :, 2] = False
    q = rng.normal(size=(steps, 2, 3)).astype(np.float32)
    action = np.where(available, q, -np.inf).argmax(-1).astype(np.int32)
    moments = np.linspace(0, 1, steps + 1, dtype=np.float32)
    position = np.stack([np.stack([8 + 6 * moments, 10 + 0 * moments], -1)] * 3, 1)
    position[:, 1, 1], position[:, 2, 0] = 14, 22
    health = np.stack([1 - 0.5 * moments, 1 - moments, 1 - moments], -1)
    scene = Scene(
        x_range=(0.0, 32.0),
        y_range=(0.0, 32.0),
        names=("ally_0", "ally_1", "enemy_0"),
        kinds=("marine", "zealot", "marine"),
        side=(ALLY, ALLY, ENEMY),
        radius=(0.4, 0.5, 0.4),
        position=position,
        health=health,
        target=np.where(action == 2, 2, -1),
    )
    to_come = np.linspace(10, 1, steps, dtype=np.float32)
    return Shown(
        available=available,
        action=action,
        q=q,
        q_tot=to_come + 1 if mixed else None,
        to_come=to_come,
        reward=np.ones(steps, np.float32),
        outcome=outcome,
        scene=scene if staged else None,
    )


def crowd(agents: int) -> Shown:
    """Two steps of a large team without a scene, all of whom go north."""
    q = np.tile(np.float32([0.1, 0.3, 0.2]), (2, agents, 1))
    return Shown(
        available=np.ones((2, agents, 3), bool),
        action=np.ones((2, agents), np.int32),
        q=q,
        q_tot=None,
        to_come=np.ones(2, np.float32),
        reward=np.full(2, -0.0004, np.float32),
        outcome="cut",
        scene=None,
    )
