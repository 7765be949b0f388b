"""The sizes of a run's networks."""

from mast.config import Config
from mast.learning.algorithms.value_decomposition import Sizes
from mast.sparsity.run_account import TeamSizes, full_widths, tiny_of


def sizes_of(config: Config, team: TeamSizes) -> Sizes:
    """What fixes the shapes of a run's networks."""
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
