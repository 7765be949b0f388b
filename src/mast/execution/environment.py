"""The environment that a run's settings name."""

from mast.config import Config
from mast.envs.contract import check_spec
from mast.envs.protocol import Environment
from mast.envs.registry import make, native_obstacle
from mast.envs.team_reward import TeamReward


def environment_of(config: Config) -> Environment:
    """The environment that a run's settings name, with the rewards that its algorithm takes.

    Its battles are native where the settings say so and they can be: a run has decided that.

    Raises:
        UserError: as `make`.
    """
    environment = make(
        config.environment,
        reward_scale=config.reward_scale,
        state_last_action=config.state_last_action,
        episode_limit=config.episode_limit,
        env_args=config.env_args,
        native=config.battle == "native" and native_obstacle(config.environment) is None,
    )
    return with_rewards(environment, config)


def with_rewards(environment: Environment, config: Config) -> Environment:
    """The environment, with one reward where its agents have their own and the algorithm wants one."""
    check_spec(environment, config.environment)
    if environment.spec.rewards == "agent" and config.learns_from_team:
        return TeamReward(environment, config.team_reward)
    return environment
