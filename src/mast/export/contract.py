"""contract.json: what an exported team expects to be given, and where it comes from."""

import importlib.metadata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from mast.config import Config
from mast.errors import UserError
from mast.files import read_json
from mast.policy_file import is_feed_forward

if TYPE_CHECKING:  # it imports JAX, which reading a contract is not to wait for
    from mast.envs.protocol import Environment

FILE_NAME = "contract.json"
FORMAT = 1
ACTION_VALUES = "action values"
LOGITS = "logits"
"""Of a policy: softmax over the available actions gives its probabilities."""


def contract(
    environment: "Environment",
    config: Config,
    description: Mapping[str, Any],
    policy: Mapping[str, Any],
) -> dict[str, Any]:
    """The part of a contract that every kind of export shares.

    Args:
        environment: the one that the team was trained in.
        config: of the run.
        description: of the policy.
        policy: where the policy comes from: its file, checkpoint and sha256.
    """
    spec = environment.spec
    return {
        "format": FORMAT,
        "mast": importlib.metadata.version("mast-marl"),
        "policy": {**policy, "description": dict(description)},
        "environment": {
            "id": spec.id,
            "identity": spec.identity,
            "episode_limit": spec.episode_limit,
            "reward_scale": spec.reward_scale,
        },
        "agents": [
            {
                "id": index,
                "name": agent.name,
                "type": agent.kind,
                "features": agent.features,
                "actions": agent.actions,
            }
            for index, agent in enumerate(spec.team)
        ],
        "observation": {
            "size": spec.observation,
            "features": names_of(environment, "feature_names", spec.observation),
            "scaling": "none: features enter the network as the environment gives them",
        },
        "actions": {
            "size": spec.actions,
            "names": names_of(environment, "action_names", spec.actions),
            # Where agents do different things by the same number.
            "names_by_agent": _names_by_agent(environment),
        },
        "input": description["input"],
        "values": ACTION_VALUES if not is_feed_forward(description) else LOGITS,
        "settings": config.model_dump(mode="json"),
    }


def _names_by_agent(environment: "Environment") -> list[list[str]] | None:
    """What each agent's actions do, where not all agents' do the same; else None."""
    names = getattr(environment, "agent_action_names", None)
    if names is None or len(set(names)) == 1:
        return None
    return [list(own) for own in names]


def names_of(environment: "Environment", attribute: str, size: int) -> Sequence[str] | None:
    """What an environment calls its features or actions; None where it does not say.

    Args:
        environment: any.
        attribute: "feature_names" or "action_names".
        size: how many there are.

    Raises:
        UserError: it names more or fewer than there are.
    """
    names = getattr(environment, attribute, None)
    if names is not None and len(names) != size:
        raise UserError(
            f"{environment.spec.id}: {attribute} has {len(names)} entries, expected {size}"
        )
    return None if names is None else list(names)


def input_names(environment: "Environment", last_action: bool = True) -> list[str]:
    """What enters a network, in order: the observation, the last action, the agent.

    Features and actions that the environment does not name have numbers. Networks of agents of their own
    have no agent id: for them the list is longer than what they read.

    Args:
        environment: any.
        last_action: whether the network reads it; an actor does not.
    """
    spec = environment.spec
    features = names_of(environment, "feature_names", spec.observation)
    actions = names_of(environment, "action_names", spec.actions)
    return [
        *(features or [f"feature {index}" for index in range(spec.observation)]),
        *(f"last action {name}" for name in (actions or range(spec.actions)) if last_action),
        *(f"agent id {name}" for name in spec.agent_names),
    ]


def read_contract(folder: Path) -> dict[str, Any]:
    """The contract of an exported folder.

    Raises:
        UserError: there is none, or it is damaged or of another format.
    """
    path = folder / FILE_NAME
    content = read_json(path)
    if not isinstance(content, dict) or "format" not in content or "kind" not in content:
        raise UserError(f"{path} is no contract of an exported team")
    if content["format"] != FORMAT:
        raise UserError(f"{path}: format {content['format']}, this version reads {FORMAT}")
    return content


def is_exported(folder: Path) -> bool:
    """Whether a folder is one that `mast export` made, and no run."""
    return (folder / FILE_NAME).is_file()


def exported_description(folder: Path) -> dict[str, Any]:
    """What the policy says of itself that an exported folder holds.

    Raises:
        UserError: as `read_contract`, or it has no sizes.
    """
    try:
        description = read_contract(folder)["policy"]["description"]
        if all(type(description[name]) is int for name in ("agents", "features", "actions")):
            return dict(description)
    except (KeyError, TypeError):
        pass
    raise UserError(f"{folder / FILE_NAME} is damaged or of another version")


def exported_config(folder: Path) -> Config:
    """The settings of the run that an exported team comes from, to play with it.

    Raises:
        UserError: as `read_contract`, they are not those of this version, or it is one agent of a team.
    """
    content = read_contract(folder)
    try:
        if "agent" in content:
            alone = content["agent"]
            raise UserError(
                f"{folder} is one agent alone, {alone['name']} of a team of {alone['of']}: it cannot play; "
                "export without --agent for that"
            )
        return Config.model_validate(content["settings"])
    except (KeyError, ValidationError):
        raise UserError(f"{folder / FILE_NAME} is damaged or of another version") from None
