"""The environments that come with Mast, by name, without importing JAX.

`mast --help`, `mast envs` and every refusal of a name come from here; a test holds the table to
what jaxmarl really has.
"""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from mast.envs.lbf_names import FORM, NAMED, board_of
from mast.errors import UserError
from mast.own_code import is_own


@dataclass(frozen=True)
class EnvironmentEntry:
    """One line of `mast envs`; the sizes are those of the default options.

    `reward_scale` is the default one, where it is not the same for the whole family.
    """

    id: str
    agents: int
    actions: int
    observation: int
    state: int
    episode_limit: int
    about: str
    reward_scale: float | None = None


def _smax(
    scenario: str, allies: int, enemies: int, about: str, unit_types: int = 6
) -> EnvironmentEntry:
    """A scenario of SMAX, whose sizes follow from the numbers of units and of unit types."""
    units = allies + enemies
    return EnvironmentEntry(
        id=f"smax/{scenario}",
        agents=allies,
        actions=5 + enemies,
        observation=(7 + unit_types) * (units - 1) + 4 + unit_types,
        state=(6 + unit_types) * units,
        episode_limit=101,
        about=about,
    )


SMAC_LIMITS: dict[str, int] = {
    "smax/3m": 60,
    "smax/8m": 120,
    "smax/25m": 150,
    "smax/2s3z": 120,
    "smax/3s5z": 150,
    "smax/5m_vs_6m": 70,
    "smax/8m_vs_9m": 120,
    "smax/10m_vs_11m": 150,
    "smax/27m_vs_30m": 180,
    "smax/3s5z_vs_3s6z": 170,
    "smax/3s_vs_5z": 250,
    "smax/6h_vs_8z": 150,
    "smax/MMM2": 180,
    "smax/2c_vs_64zg": 400,
}
"""Steps of an episode on SMAC's maps of these names (its `smac_maps.py`), which are as long as SMAX's."""


def steps_of(id: str, episode_limit: int | Literal["smac"] | None) -> int | None:
    """The largest number of steps that a setting stands for.

    Args:
        id: of the environment.
        episode_limit: the setting: a number, "smac" for SMAC's own on the map of that name, or None.

    Returns:
        None where the environment's own limit holds.

    Raises:
        UserError: "smac" on an environment that is no map of SMAC.
    """
    if episode_limit != "smac":
        return episode_limit
    if id not in SMAC_LIMITS:
        raise UserError(f"episode_limit = smac: {id} is no map of SMAC; must be a number or none")
    return SMAC_LIMITS[id]


def _lbf(name: str) -> EnvironmentEntry:
    """A board of level-based foraging, whose sizes follow from its name."""
    board = board_of(name)
    return EnvironmentEntry(
        id=f"lbf/{name}",
        agents=board.agents,
        actions=6,
        observation=3 * (board.foods + board.agents),
        state=3 * (board.foods + board.agents),
        episode_limit=50,
        about=board.about,
        reward_scale=board.reward_scale,
    )


@dataclass(frozen=True)
class EnvironmentFamily:
    """Environments that one adapter makes: all there is to say of them before JAX is imported.

    Attributes:
        prefix: of their ids, before the slash.
        title: what they are called beside every number.
        entries: one for each.
        factory: "module:name" of what makes one from the part of its id behind the slash and the options.
        reward_scale: by default, where an entry has none of its own.
        defaults: settings that they want for all methods alike.
        rules: whose rules they have, where those are not jaxmarl's.
        rewards: of an outcome: the team's, or one for each agent.
        entry_of: makes the entry of a name that is not in the table; raises UserError where there is none.
        form: how such names look.
    """

    prefix: str
    title: str
    entries: tuple[EnvironmentEntry, ...]
    factory: str
    reward_scale: float = 1.0
    defaults: Mapping[str, Any] = field(default_factory=dict)
    rules: str | None = None
    rewards: Literal["team", "agent"] = "team"
    entry_of: Callable[[str], EnvironmentEntry] | None = None
    form: str | None = None

    def identity(
        self, version: str, limit: int, reward_scale: float, state_last_action: bool = False
    ) -> str:
        """What stands beside every number: which version of what, and what we set in it.

        Args:
            version: jaxmarl's; of no consequence where the rules are not jaxmarl's.
            limit: the largest number of steps of an episode.
            reward_scale: the factor on the reward.
            state_last_action: whether the state has the last joint action.
        """
        rules = self.rules or f"jaxmarl {version}"
        text = f"{self.title} ({rules}), limit {limit}, reward x{reward_scale:g}"
        return text + (", last actions in the state" if state_last_action else "")


SMAX = EnvironmentFamily(
    prefix="smax",
    title="SMAX",
    entries=(
        _smax("3m", 3, 3, "3 marines each"),
        _smax("8m", 8, 8, "8 marines each"),
        _smax("25m", 25, 25, "25 marines each"),
        _smax("2s3z", 5, 5, "2 stalkers and 3 zealots each"),
        _smax("3s5z", 8, 8, "3 stalkers and 5 zealots each"),
        _smax("5m_vs_6m", 5, 6, "5 marines against 6"),
        _smax("8m_vs_9m", 8, 9, "8 marines against 9"),
        _smax("10m_vs_11m", 10, 11, "10 marines against 11"),
        _smax("27m_vs_30m", 27, 30, "27 marines against 30"),
        _smax("3s5z_vs_3s6z", 8, 9, "3 stalkers and 5 zealots against 3 and 6"),
        _smax("3s_vs_5z", 3, 5, "3 stalkers against 5 zealots"),
        _smax("6h_vs_8z", 6, 8, "6 hydralisks against 8 zealots"),
        _smax("MMM2", 10, 12, "medivac, 2 marauders, 7 marines against 1, 3, 8", unit_types=8),
        _smax("2c_vs_64zg", 2, 64, "2 colossi against 64 zerglings", unit_types=8),
        _smax("smacv2_5_units", 5, 5, "5 units each, random types and places every episode"),
        _smax("smacv2_10_units", 10, 10, "10 units each, random types and places every episode"),
        _smax("smacv2_20_units", 20, 20, "20 units each, random types and places every episode"),
    ),
    factory="mast.envs.smax:Smax",
    # Brings the largest return to SMAC's 20: QMIX's numbers belong to that scale (spec §9).
    reward_scale=10.0,
    # PyMARL's 200 is too slow for SMAX's battles of 60 to 100 steps (docs/experiments.md).
    defaults={"target_interval": 50},
)
MPE = EnvironmentFamily(
    prefix="mpe",
    title="MPE simple_spread",
    entries=(
        EnvironmentEntry(
            id="mpe/simple_spread",
            agents=3,
            actions=5,
            observation=18,
            state=54,
            episode_limit=26,
            about="3 particles spread over 3 landmarks; no win, only return",
        ),
    ),
    factory="mast.envs.mpe:SimpleSpread",
)


@dataclass(frozen=True)
class Adapter:
    """Another library, any of whose environments can be named.

    Attributes:
        prefix: of their ids, before the slash.
        example: an id.
        about: one line of `mast envs`.
        factory: "module:name" of what makes one from the part of its id behind the slash and the options.
        package: that is imported; "" where it comes with Mast.
        install: what installs it.
    """

    prefix: str
    example: str
    about: str
    factory: str
    package: str = ""
    install: str = ""


ADAPTERS: dict[str, Adapter] = {
    adapter.prefix: adapter
    for adapter in (
        Adapter(
            "pettingzoo",
            "pettingzoo/mpe2.simple_spread_v3",
            "any parallel or turn by turn environment of an installed package",
            "mast.envs.adapters.pettingzoo:PettingZoo",
            "pettingzoo",
            "pip install 'mast-marl[pettingzoo]'",
        ),
        Adapter(
            "gymnasium",
            "gymnasium/lbforaging:Foraging-8x8-2p-3f-v3",
            "tuples of spaces, one for each agent (LBF, RWARE, SMAClite)",
            "mast.envs.adapters.gymnasium:Gymnasium",
            "gymnasium",
            "pip install 'mast-marl[gymnasium]'",
        ),
        Adapter(
            "jaxmarl",
            "jaxmarl/MPE_simple_reference_v3",
            "those with discrete actions",
            "mast.envs.adapters.jaxmarl:JaxMarl",
        ),
        Adapter(
            "jumanji",
            "jumanji/RobotWarehouse-v0",
            "RobotWarehouse, LevelBasedForaging, Connector, Cleaner",
            "mast.envs.adapters.jumanji:Jumanji",
            "jumanji",
            "pip install 'mast-marl[jumanji]'",
        ),
        Adapter(
            "pymarl",
            "pymarl/package.module:Class",
            "a MultiAgentEnv of PyMARL (SMAC, SMACv2)",
            "mast.envs.adapters.pymarl:PyMarl",
        ),
    )
}
LBF = EnvironmentFamily(
    prefix="lbf",
    title="Level-based foraging",
    entries=tuple(_lbf(name) for name in NAMED),
    factory="mast.envs.lbf:LevelBasedForaging",
    rules="Mast's own, after lbforaging 2.0",
    rewards="agent",
    entry_of=_lbf,
    form=f"{FORM}, such as lbf/8x8-3p-2f",
)
FAMILIES: dict[str, EnvironmentFamily] = {family.prefix: family for family in (SMAX, MPE, LBF)}

ENTRIES: tuple[EnvironmentEntry, ...] = tuple(
    entry for family in FAMILIES.values() for entry in family.entries
)

IDS: tuple[str, ...] = tuple(entry.id for entry in ENTRIES)


def is_code(id: str) -> bool:
    """Whether to make an environment is to import what its name says, and not only Mast and jaxmarl."""
    return is_own(id) or id.partition("/")[0] in ADAPTERS


def draws_types(id: str) -> bool:
    """Whether an environment of ours draws the agents' types anew in every episode."""
    return id.startswith("smax/smacv2_")


def family_of(id: str) -> EnvironmentFamily | None:
    """The family that a name belongs to, by its prefix; None of one's own."""
    prefix, slash, _ = id.partition("/")
    return FAMILIES.get(prefix) if slash and not is_own(id) else None


def entry_of(id: str) -> EnvironmentEntry | None:
    """What is known of an environment that comes with Mast, in the table or of a form; None of any other."""
    known = next((entry for entry in ENTRIES if entry.id == id), None)
    family = family_of(id)
    if known or family is None or family.entry_of is None:
        return known
    try:
        return family.entry_of(id.partition("/")[2])
    except UserError:
        return None


def with_team_reward(identity: str, how: str) -> str:
    """An environment's identity where one reward is made of its agents' ("sum" or "mean")."""
    return f"{identity}, {how} of the agents' rewards"


def check_id(id: str) -> None:
    """Refuse a name that no environment can have; whether an own one exists shows when it is made.

    Args:
        id: "smax/3m", "lbf/8x8-3p-2f", "pettingzoo/mpe2.simple_spread_v3" or "package.module:Class".

    Raises:
        UserError: The name is not in the table, nor of a family's form, nor of that of an own environment.
    """
    if id in IDS or is_own(id):
        return
    prefix, _, name = id.partition("/")
    if prefix in ADAPTERS:
        if not name or (prefix == "pymarl" and not is_own(name)):
            raise UserError(f'environment "{id}" must look like {ADAPTERS[prefix].example}')
        return
    family = family_of(id)
    # Who writes a number means a size; anything else is more like a slip in one of the table's names.
    if family is not None and family.entry_of is not None and id.partition("/")[2][:1].isdigit():
        family.entry_of(id.partition("/")[2])
        return
    if id.startswith("smac/"):
        raise UserError(
            f"{id}: SMAC needs StarCraft II, which Mast does not run; mast info knows its sizes, and "
            "SMAX's battles can be trained (see: mast envs)"
        )
    if ":" in id:
        raise UserError(f'environment "{id}" must look like package.module:Class; see: mast envs')
    # "3m" is as near to "smax/3m" as a slip of the pen.
    near = [known for known in IDS if known.split("/")[1] == id]
    near = near or difflib.get_close_matches(id, IDS, n=3)
    guess = f"; did you mean {' or '.join(near)}?" if near else ";"
    raise UserError(f'unknown environment "{id}"{guess} see: mast envs')
