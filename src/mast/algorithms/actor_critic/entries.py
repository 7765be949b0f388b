"""The actor–critic algorithms, declared without JAX; their losses stand in the files beside."""

from mast.accounting.costs import Use
from mast.algorithms.entry import AlgorithmEntry
from mast.networks.spec import NetworkSpec, Sizes, actor_spec, critic_spec

_HERE = "mast.algorithms.actor_critic"


def actor_and_critic(sizes: Sizes) -> dict[str, NetworkSpec]:
    """An actor and a critic of each agent's own observation."""
    return {"agent": actor_spec(sizes), "critic": critic_spec(sizes)}


MAA2C = AlgorithmEntry(
    name="maa2c",
    about="each agent's actor and critic learn from n-step returns (Christianos et al. 2021; SNP-PS)",
    implementation=f"{_HERE}.a2c:MAA2C",
    networks=actor_and_critic,
    # The critic also values the observation after each step, without gradient.
    uses=lambda sizes, operator: {
        "agent": Use(1, training=3, inference=1),
        "critic": Use(1, training=4),
    },
    loop="on_policy",
    metrics=("policy_loss", "value_loss", "entropy", "value"),
    rewards="agent",
    has_target=False,
    stochastic=True,
    defaults={
        "method": "dense",
        "hidden_size": 128,
        "optimizer": "adam",
        "learning_rate": 3e-4,
        "gradient_clip": 0.5,
    },
)


def _ppo(name: str, about: str, central: bool) -> AlgorithmEntry:
    """IPPO or MAPPO, with the numbers of the MAPPO paper."""
    return AlgorithmEntry(
        name=name,
        about=about,
        implementation=f"{_HERE}.ppo:{name.upper()}",
        networks=lambda sizes: {"agent": actor_spec(sizes), "critic": critic_spec(sizes, central)},
        uses=lambda sizes, operator: {
            "agent": Use(1, training=3, inference=1),
            "critic": Use(1, training=5),  # what was seen and what followed are valued once more
        },
        loop="on_policy",
        metrics=("policy_loss", "value_loss", "entropy", "value", "clipped"),
        rewards="agent",
        has_target=False,
        stochastic=True,
        defaults={
            "method": "dense",
            "hidden_layers": 2,
            "optimizer": "adam",
            "learning_rate": 5e-4,
            "gradient_clip": 10.0,
            "value_coefficient": 1.0,
            "rollout_steps": 128,
            "epochs": 5,
        },
    )


IPPO = _ppo("ippo", "each agent's clipped policy and own critic (de Witt et al. 2020)", False)
MAPPO = _ppo("mappo", "as ippo, with critics of the state (Yu et al. 2022)", True)
ENTRIES = (MAA2C, IPPO, MAPPO)
