"""The sizes of a run's networks."""

from mast.config import Config
from mast.errors import UserError
from mast.learning.algorithms.value_decomposition import Sizes
from mast.sparsity.run_account import TeamSizes, full_widths, tiny_of


def sizes_of(config: Config, team: TeamSizes) -> Sizes:
    """What fixes the shapes of a run's networks.

    Raises:
        UserError: densities are given for another number of agents.
    """
    densities = config.density_per_agent
    if densities is not None and len(densities) != team.agents:
        shown = ",".join(str(density) for density in densities)
        raise UserError(
            f"density_per_agent = {shown}: must be {team.agents} numbers, one per agent"
        )
    widths = full_widths(config)
    if config.widths == "tiny":
        widths = tiny_of(config, team).widths
    return Sizes(
        features=team.observation,
        actions=team.actions,
        agents=team.agents,
        state=team.state,
        hidden_size=widths.hidden,
        mixer_embed=widths.mixer_embed,
        hypernet_hidden=widths.hyper_hidden,
        unrestricted_hidden=widths.unrestricted_hidden,
        independent=config.sharing == "independent",
    )
