"""Teams for the tests of the exports: random sparse policies in a run's folder, without training."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from examples.pursuit import Pursuit

from fresh_networks import independent_agents, recurrent_agent
from mast.config import resolve, write_run_record
from mast.policy import LAYERS, Policy, save_policy
from mast.sparsity.masks import apply_masks

SPEC = Pursuit().spec
SIZES = (SPEC.observation, SPEC.actions, SPEC.agents)


def make_run(
    folder: Path,
    *,
    sharing: str = "shared",
    hidden: int = 16,
    density: float = 0.2,
    seed: int = 0,
    change: Callable[[Any], Any] = lambda agent: agent,
    name: str = "policy.safetensors",
    method: str = "mast",
    **settings: Any,
) -> Path:
    """A run of Pursuit that has saved a policy with large random weights and nothing else."""
    folder.mkdir(parents=True, exist_ok=True)
    given = {"environment": "examples.pursuit:Pursuit", "sharing": sharing} | settings
    write_run_record(folder, resolve(given), given)
    make = independent_agents if sharing == "independent" else recurrent_agent
    shapes = jax.eval_shape(lambda key: make(key, *SIZES, hidden), jax.random.key(0))
    rng = np.random.default_rng(seed)
    agent = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), "f4"), shapes)
    masks = {
        f"agent.{layer}.weight": jnp.asarray(
            rng.random(getattr(agent, layer).weight.shape) < density
        )
        for layer in LAYERS
    }
    agent = change(apply_masks({"agent": agent}, masks)["agent"])
    for layer in LAYERS:  # what was changed exists
        masks[f"agent.{layer}.weight"] |= getattr(agent, layer).weight != 0
    save_policy(folder / name, agent, masks, SPEC, {"method": method, "env_steps": 7})
    return folder


def policy_of(run: Path) -> Policy:
    return Policy.load(run)
