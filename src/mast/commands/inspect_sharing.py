"""The part of `mast inspect` about agents that share a network."""

from pathlib import Path
from typing import Any, NamedTuple

from mast.config import Config
from mast.envs.names import is_code
from mast.extras import SHARING, is_installed
from mast.own_code import is_own

WHOLE = ("shared", "fups", "independent")
"""Ways of sharing in which no agent has another part than another, and there is nothing to draw unasked."""


class SharingFacts(NamedTuple):
    """What was found of agents that share a network."""

    neurons: dict[str, Any]
    """By layer, who has which."""
    apart: dict[str, float]
    """By layer, how far the agents' features of one observation lie apart."""
    files: list[Path]
    missing: list[str]
    """A line for each picture that could not be drawn."""


def draw_sharing(run: Path, config: Config, out: Path, asked: bool) -> SharingFacts:
    """What agents that share a network have in common, and what they make of the same observations.

    Args:
        run: its folder.
        config: of the run.
        out: folder of the pictures.
        asked: whether the features are asked for, which plays episodes.

    """
    if not asked and config.sharing in WHOLE:
        return SharingFacts({}, {}, [], [])
    if not (run / "policy.safetensors").is_file():
        said = f"{run} has saved no policy yet: nothing is drawn of what its agents share"
        return SharingFacts({}, {}, [], [said])
    if is_own(config.algorithm) or (is_code(config.environment) and not asked):
        said = f"{run}: a run's own code is not imported unasked (--features): nothing is drawn of sharing"
        return SharingFacts({}, {}, [], [said])
    from mast.diagnosis.sharing_pictures import apart, draw_features, draw_overlaps
    from mast.execution.environment import environment_of
    from mast.watching.sharing import facts_of, features_of, load_shared

    environment = environment_of(config)
    shared = load_shared(run, config, environment)
    names = list(environment.spec.agent_names)
    out.mkdir(parents=True, exist_ok=True)
    rows = _drawn_for(shared.policy, environment) or names
    own = {layer: each for layer, each in shared.neurons.items() if len(each) == len(rows)}
    facts, files, missing = facts_of(own), [], []
    if facts:
        files.append(out / "neurons.png")
        draw_overlaps(facts, rows, files[-1])
    if not is_installed("sklearn"):
        missing.append(f"t-SNE of hidden features needs scikit-learn, not installed: {SHARING}")
        return SharingFacts(facts, {}, files, missing)
    if shared.central:
        missing.append(
            "features of the critic are not drawn: it reads the state, not an observation"
        )
    files.append(out / "features.png")
    layers = features_of(shared, environment)
    draw_features(layers, names, files[-1])
    return SharingFacts(facts, {each.layer: apart(each) for each in layers}, files, missing)


def _drawn_for(policy: Any, environment: Any) -> list[str]:
    """The types by which neurons go, or nothing where they go by agent."""
    types = () if policy.agent.parts is None else policy.agent.parts.types
    known = getattr(environment, "feature_names", ())
    return [known[feature] if feature < len(known) else f"type {feature}" for feature in types]
