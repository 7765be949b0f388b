"""Teams for the tests of the exports: random sparse policies in a run's folder, without training."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from examples.pursuit import Pursuit

from mast.config import resolve, write_run_record
from mast.networks.feed_forward import feed_forward
from mast.networks.independent import fresh_agent
from mast.networks.spec import Lacks, Sizes, actor_spec, recurrent_agent_spec
from mast.policy import Policy, layers_of, save_policy
from mast.sparsity.masks import apply_masks

SPEC = Pursuit().spec


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
    actor: bool = False,
    **settings: Any,
) -> Path:
    """A run of Pursuit that has saved a policy with large random weights and nothing else."""
    folder.mkdir(parents=True, exist_ok=True)
    given = {"environment": "examples.pursuit:Pursuit", "sharing": sharing} | settings
    if actor:
        given["algorithm"] = "maa2c"
    write_run_record(folder, resolve(given), given)
    agent = fresh(sharing, hidden, actor)
    rng = np.random.default_rng(seed)
    agent = jax.tree.map(
        lambda leaf: leaf if leaf.dtype == bool else jnp.asarray(rng.normal(size=leaf.shape), "f4"),
        agent,
    )
    masks = {
        f"agent.{name}.weight": jnp.asarray(rng.random(layer.weight.shape) < density)
        for name, layer in layers_of(agent).items()
    }
    agent = change(apply_masks({"agent": agent}, masks)["agent"])
    for path, layer in layers_of(agent).items():  # what was changed exists
        masks[f"agent.{path}.weight"] |= layer.weight != 0
    save_policy(folder / name, agent, masks, SPEC, {"method": method, "env_steps": 7})
    return folder


def fresh(sharing: str, hidden: int, actor: bool) -> Any:
    """A team's acting network; what an agent lacks of it, a quarter, is drawn."""
    sizes = Sizes(
        SPEC.observation,
        SPEC.state,
        SPEC.actions,
        SPEC.agents,
        hidden,
        hidden_layers=2,
        independent=sharing == "independent",
        agent_id=sharing in ("shared", "snp+id"),
        lacks=Lacks((0.0, 0.25) if sharing == "snp" else (0.25, 0.25))
        if "snp" in sharing
        else None,
    )
    key = jax.random.key(0)
    if actor:
        return feed_forward(key, actor_spec(sizes), SPEC.observation)
    return fresh_agent(key, recurrent_agent_spec(sizes), sizes)


def policy_of(run: Path) -> Policy:
    return Policy.load(run)
