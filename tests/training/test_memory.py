"""What a run needs in memory is known, and refused, before anything is made."""

from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from mast.config import Config, resolve
from mast.envs.names import ENTRIES
from mast.errors import UserError
from mast.runs.trainer import Trainer
from mast.training import memory
from mast.training.memory import check_needed_memory, known_sizes, needed_bytes

MACHINE = 24_000_000_000


def config_of(**settings: Any) -> Config:
    return resolve({"environment": "smax/3m", "execution": "masked"} | settings)


def sizes_of(config: Config) -> Any:
    sizes = known_sizes(config)
    assert sizes is not None
    return sizes


def test_what_takes_how_much_of_the_paper_s_3m_team() -> None:
    config = config_of()
    needed = needed_bytes(config, sizes_of(config), 1)
    parameters = needed["networks and optimizer"] / memory.BYTES_PER_PARAMETER
    assert parameters == pytest.approx(58_000, rel=0.5)
    assert 20e6 < needed["replay ring"] < 300e6
    assert sum(needed.values()) < 1e9
    twice = needed_bytes(config, sizes_of(config), 2)
    assert twice == {name: 2 * size for name, size in needed.items()}


@pytest.mark.parametrize("map_name", [entry.id for entry in ENTRIES])
@pytest.mark.parametrize("algorithm", ["qmix", "owqmix"])
def test_every_map_fits_a_machine_of_24_gigabytes(map_name: str, algorithm: str) -> None:
    config = config_of(environment=map_name, algorithm=algorithm)
    with mock.patch.object(memory, "machine_memory", return_value=MACHINE):
        assert "GB when full" in check_needed_memory(config, sizes_of(config), 1)


@pytest.mark.parametrize(
    ("settings", "largest"),
    [
        ({"hidden_size": 65_536}, "networks and optimizer"),
        ({"hypernet_hidden": 65_536, "mixer_embed": 65_536}, "networks and optimizer"),
        ({"buffer_episodes": 10_000_000}, "replay ring"),
        (
            {"batch_size": 100_000, "buffer_episodes": 100_000, "online_episodes": 100_000},
            "batch",
        ),
        ({"parallel_envs": 65_536, "buffer_episodes": 65_536, "episode_limit": 100_000}, "batch"),
    ],
)
def test_too_large_a_run_is_refused_in_one_line(
    settings: dict[str, Any], largest: str, tmp_path: Path
) -> None:
    config = config_of(**settings)
    with (
        mock.patch.object(memory, "machine_memory", return_value=MACHINE),
        pytest.raises(UserError) as refusal,
    ):
        Trainer(config, out=tmp_path / "run")
    message = str(refusal.value)
    assert "\n" not in message
    assert "GB of memory, this machine has 24.0 GB: " in message
    if "episode_limit" not in settings:
        assert f"24.0 GB: {largest} " in message
    for part in ("networks and optimizer", "replay ring", "batch", "parallel environments"):
        assert part in message
    assert list(tmp_path.iterdir()) == []


def test_a_machine_of_unknown_memory_refuses_nothing() -> None:
    config = config_of(buffer_episodes=10_000_000)
    with mock.patch.object(memory, "machine_memory", return_value=None):
        check_needed_memory(config, sizes_of(config), 1)


def test_sizes_without_the_environment_are_those_of_the_environment() -> None:
    config = config_of(state_last_action=True, episode_limit=60)
    with mock.patch.object(memory, "machine_memory", return_value=None):
        spec = Trainer(config.model_copy(update={"buffer_episodes": 200})).environment.spec
    known = sizes_of(config)
    for name in ("agents", "actions", "observation", "state", "episode_limit"):
        assert getattr(known, name) == getattr(spec, name)
    assert sizes_of(config_of(episode_limit="smac")).episode_limit == 60
    assert known_sizes(config_of(environment="levers:Levers")) is None
