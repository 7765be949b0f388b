"""Normalised observations: statistics, what is learned from, resuming, policies and exports."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from examples.pursuit import Pursuit

from mast.config import Config, resolve
from mast.envs.protocol import AgentSpec, EnvironmentSpec
from mast.errors import EnvironmentFailure, EnvironmentNaN, SelfCheckError, UserError
from mast.execution.account import sizes_of
from mast.execution.learner import Learner
from mast.export.folder import export_run
from mast.learning.observed import nothing_observed
from mast.networks.normaliser import FURTHEST, Running, Scale
from mast.policy import Policy, save_policy
from mast.runs.trainer import Trainer
from mast.training.evaluation import evaluate_policy
from mast.training.logging import WALL_CLOCK, read_metrics
from mast.training.rollout import Recording, Totals, play, players_for
from mast.watching.run import watch

pytestmark = pytest.mark.usefixtures("shared_programs")

OFFSET = np.array([100, 0, -3000, 0, 0.5, 0], np.float32)
STRETCH = np.array([20, 1, 500, 0.01, 1, 0], np.float32)
SMALL = {
    "environment": "examples.pursuit:Pursuit",
    "steps": 600,
    "batch_size": 8,
    "hidden_size": 8,
    "sparsity": 0.3,
    "parallel_envs": 4,
    "evolve_interval": 10,
    "eval_interval": 300,
    "eval_episodes": 4,
    "checkpoint_interval": 0,
    "normalise_observations": True,
}


class Raw(Pursuit):
    """Pursuit in map coordinates: features of all sizes, and one that never moves."""

    def perceive(self, grid: Any) -> Any:
        seen = super().perceive(grid)
        return seen._replace(
            observation=OFFSET + STRETCH * seen.observation, state=1000 * seen.state
        )


def small(**settings: Any) -> Config:
    return resolve(SMALL | settings)


def train(out: Path | None, **settings: Any) -> Trainer:
    trainer = Trainer(small(**settings), out, environment=Raw())
    trainer.run()
    return trainer


def rows(run: Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k not in WALL_CLOCK} for row in read_metrics(run)]


def test_parts_give_the_statistics_of_the_whole() -> None:
    chance = np.random.default_rng(0)
    x = (chance.normal(size=(60, 3, 4)) * [1, 30, 0.1, 0] + [0, 1e4, -2, 7]).astype(np.float32)
    counts = chance.random(x.shape) < 0.7
    running = Running.begin(4)
    for start, stop in ((0, 5), (5, 6), (6, 40), (40, 60)):
        running = running.including(x[start:stop], counts[start:stop])
    scale = running.scale()
    for feature in range(4):
        seen = x[..., feature][counts[..., feature]].astype(np.float64)
        np.testing.assert_allclose(running.count[feature], len(seen))
        np.testing.assert_allclose(scale.mean[feature], seen.mean(), rtol=1e-6)
        wanted = max(seen.std(), np.ptp(seen) / FURTHEST) or 1.0
        np.testing.assert_allclose(scale.deviation[feature], wanted, rtol=1e-4)
    assert scale.deviation[3] == 1  # it never moved


def test_what_was_seen_is_never_further_than_ten_deviations() -> None:
    rare = np.zeros((100_000, 1), np.float32)
    rare[7] = 1  # a flag that is up once
    scale = Running.begin(1).including(rare, np.ones(rare.shape, bool)).scale()
    assert np.abs(scale(rare)).max() <= FURTHEST


def test_padding_and_what_lies_beyond_an_end_do_not_count() -> None:
    team = [AgentSpec("speaker", 2, 3), AgentSpec("listener", 4, 3)]
    spec = EnvironmentSpec.of_team(
        team, id="w", state=1, episode_limit=3, has_win=False, is_jax=True, identity="w"
    )
    observation = np.full((4, 2, 2, 4), 5, np.float32)
    observation[:, :, 0, 2:] = 0
    observation[3] = observation[2:, 1] = 99  # after the ends
    state = np.ones((4, 2, 1), np.float32)
    seen = nothing_observed(spec).after_episodes(spec, observation, state, np.array([2, 1]))
    np.testing.assert_array_equal(seen.observation.count, [10, 10, 5, 5])
    np.testing.assert_array_equal(seen.observation.mean, [5, 5, 5, 5])
    np.testing.assert_array_equal(seen.state.count, [5])


@pytest.mark.parametrize("algorithm", ["maa2c", "qmix"])
@pytest.mark.parametrize("sharing", ["shared", "fups", "snp+id", "usnp", "independent"])
def test_a_folded_network_reads_raw_observations(
    tmp_path: Path, sharing: str, algorithm: str
) -> None:
    spec = Pursuit().spec
    config = small(algorithm=algorithm, sharing=sharing, method="ss")
    state = Learner(config, sizes_of(config, spec)).init(jax.random.key(0))
    scale = Scale(jnp.asarray(OFFSET), jnp.asarray(np.where(STRETCH == 0, 1, STRETCH)))
    acting, masks = state.params.agent, state.optimizer.masks
    save_policy(tmp_path / "policy.safetensors", acting, masks, spec, {}, scale)
    policy = Policy.load(tmp_path)
    plain = policy.folded()
    chance = np.random.default_rng(0).normal(size=(spec.agents, spec.observation))
    raw = jnp.asarray(OFFSET + STRETCH * chance, jnp.float32)
    last, hidden = jnp.array([1, 2]), policy.agent.initial_hidden(2)
    expected, _ = acting.step(scale(raw), last, hidden)
    for agent in (policy.actor, plain.agent):
        np.testing.assert_allclose(agent.step(raw, last, hidden)[0], expected, atol=2e-5)
    assert np.abs(acting.step(raw, last, hidden)[0] - expected).max() > 0.1
    available = np.ones((2, 5), bool)
    np.testing.assert_array_equal(policy.act(raw, available)[0], plain.act(raw, available)[0])
    plain.write(tmp_path / "plain.safetensors")
    again = Policy.load(tmp_path / "plain.safetensors")
    np.testing.assert_array_equal(again.act(raw, available)[0], policy.act(raw, available)[0])
    for name, mask in plain.masks.items():
        np.testing.assert_array_equal(mask, policy.masks[name])


@pytest.mark.parametrize(
    "settings",
    [
        {"execution": "masked"},
        {"execution": "compact"},
        {"algorithm": "mappo", "rollout_steps": 16, "execution": "masked"},
    ],
    ids=["masked", "compact", "on-policy"],
)
def test_a_resumed_run_is_bit_identical(tmp_path: Path, settings: dict[str, Any]) -> None:
    train(tmp_path / "whole", **settings)
    trainer = Trainer(small(**settings), tmp_path / "cut", environment=Raw())
    for metrics in trainer:
        if metrics.env_steps >= 250:
            trainer.save()
            break
    trainer.close()
    Trainer.resume(tmp_path / "cut", environment=Raw()).run()
    assert rows(tmp_path / "whole") == rows(tmp_path / "cut")
    policies = [(tmp_path / run / "policy.safetensors").read_bytes() for run in ("whole", "cut")]
    assert policies[0] == policies[1]
    assert b"observation.deviation" in policies[0]


def test_a_replayed_episode_is_as_the_team_saw_it() -> None:
    trainer = Trainer(small(execution="masked"), environment=Raw())
    rounds, ring = iter(trainer), trainer.runs[0].ring
    engine = trainer.engine
    next(rounds)
    first = np.array(ring.stored(0)["observation"], np.float32)
    before = engine.observing.scale(0)
    assert before is not None
    assert np.abs(first).max() <= 1.5 * FURTHEST  # not one round was stored as it came
    total = ring.total_added
    next(rounds)
    np.testing.assert_array_equal(np.asarray(ring.stored(0)["observation"], np.float32), first)
    newest = np.asarray(ring.stored(total)["observation"], np.float32).reshape(-1, 2, 6)
    came = newest * before.deviation + before.mean
    assert np.all(came[..., 0] >= OFFSET[0] - 0.1)
    assert np.all(came[..., 0] <= OFFSET[0] + STRETCH[0] + 0.1)
    now = engine.observing.scale(0)
    assert now is not None
    assert not np.array_equal(now.mean, before.mean)
    observed = engine.observing.of_run(0)
    assert observed is not None
    episodes = 4 + ring.total_added  # those before the first update, and those of the ring
    assert observed.state.count[0] == trainer.runs[0].counters.env_steps + episodes + _first(
        trainer
    )


def _first(trainer: Trainer) -> int:
    """Steps of the episodes that only the statistics saw."""
    again = Trainer(small(execution="masked"), environment=Raw())
    again.engine._observe_first(again.state)
    observed = again.engine.observing.of_run(0)
    assert observed is not None
    return int(observed.state.count[0]) - 4


def test_what_the_ring_refuses_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = Trainer(small(execution="masked"), environment=Raw())
    rounds, observing = iter(trainer), trainer.engine.observing
    next(rounds)
    before = observing.of_run(0)

    def refuse(episode: Any) -> None:
        raise SelfCheckError("state is NaN")

    monkeypatch.setattr(trainer.runs[0].ring, "add", refuse)
    with pytest.raises(SelfCheckError, match="state is NaN"):
        next(rounds)
    jax.tree.map(np.testing.assert_array_equal, observing.of_run(0), before)


class Broken(Raw):
    """Gives one number that is none in what it shows at the start."""

    def __init__(self, number: float) -> None:
        super().__init__()
        self.number = number

    def perceive(self, grid: Any) -> Any:
        seen = super().perceive(grid)
        return seen._replace(observation=seen.observation.at[1, 2].set(self.number))


@pytest.mark.parametrize(
    ("number", "kind", "told"),
    [(np.nan, EnvironmentNaN, "a NaN"), (-np.inf, EnvironmentFailure, "an infinity")],
)
@pytest.mark.parametrize("algorithm", ["qmix", "maa2c"])
def test_the_first_episodes_are_held_to_the_contract(
    algorithm: str, number: float, kind: type[Exception], told: str
) -> None:
    settings = {"algorithm": algorithm, "execution": "masked", "method": "dense", "seed": 5}
    trainer = Trainer(small(**settings), environment=Broken(number))
    with pytest.raises(kind) as raised:
        trainer.run()
    assert f": reset: observation of agent 1: holds {told} (seed 5" in str(raised.value)
    assert "learning_rate" not in str(raised.value)
    observed = trainer.engine.observing.of_run(0)
    assert observed is not None
    assert np.all(np.asarray(observed.observation.count) == 0)


def test_returns_are_the_environments_own(tmp_path: Path) -> None:
    trainer = train(tmp_path / "run", execution="masked")
    policy = Policy.load(tmp_path / "run")
    found = evaluate_policy(policy.actor, Raw(), episodes=32)
    keys = jax.random.split(jax.random.key(0), 8)
    played: list[tuple[Totals, Recording]] = []
    play(
        players_for(Raw(), jnp.float32), policy.actor, keys, jnp.float32(0), 8,
        lambda *seen: played.append(seen),
    )  # fmt: skip
    totals, recording = played[0]
    lengths = np.arange(len(recording.reward))[:, None] < totals.length
    np.testing.assert_allclose(np.where(lengths, recording.reward, 0).sum(0), totals.return_)
    assert set(np.unique(totals.return_)) <= {0.0, 10.0}  # reward_scale, as the identity says
    assert found["return"]["mean"] <= trainer.environment.spec.max_return
    assert rows(tmp_path / "run")[-1]["return"] in {0.0, 2.5, 5.0, 7.5, 10.0}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("normalised") / "run"
    train(out, execution="masked", diagnostics=True)
    return out


@pytest.mark.parametrize(
    ("to", "more"),
    [
        ("c", {}),
        ("c", {"quantize": "int8"}),
        ("onnx", {}),
        ("safetensors", {}),
        ("c", {"agent": 1}),
    ],
)
def test_every_export_reads_raw_observations(
    run: Path, tmp_path: Path, to: str, more: dict[str, Any]
) -> None:
    contract = export_run(run, to, tmp_path / "out", environment=Raw(), **more)
    check = contract["check"]
    if "quantize" in more:  # weights of all sizes: the first layer stays in single precision
        assert check["largest_difference"] < 0.05
    else:
        assert check["largest_difference"] < 1e-4
        assert check["clear_differences"] == 0
    if to == "safetensors":
        policy = Policy.load(tmp_path / "out")
        assert policy.scale is None
        assert policy.description["folds_normalisation"]


class Far(Pursuit):
    """Pursuit whose first feature lies far from 0, as a coordinate on a large map does."""

    def __init__(self, offset: float) -> None:
        super().__init__()
        self.offset = offset

    def perceive(self, grid: Any) -> Any:
        seen = super().perceive(grid)
        return seen._replace(observation=seen.observation.at[:, 0].add(self.offset))


@pytest.mark.parametrize("offset", [100.0, 1e5])
def test_an_export_is_exact_or_says_which_feature_is_too_far_from_0(
    tmp_path: Path, offset: float
) -> None:
    trainer = Trainer(
        small(execution="masked", steps=200), tmp_path / "run", environment=Far(offset)
    )
    trainer.run()
    args: Any = (tmp_path / "run", "safetensors", tmp_path / "out")
    if offset == 100:
        assert export_run(*args, environment=Far(offset))["check"]["largest_difference"] < 1e-4
        return
    with pytest.raises(SelfCheckError, match=r"feature 0 of observations lies [0-9,]+ deviations"):
        export_run(*args, environment=Far(offset))
    assert not (tmp_path / "out").exists()


def test_watching_knows_the_teams_value(run: Path, tmp_path: Path) -> None:
    assert watch(run, tmp_path / "page.html", episodes=1, environment=Raw())["q_tot"]


def test_a_damaged_scale_is_refused(run: Path, tmp_path: Path) -> None:
    policy = Policy.load(run)
    assert policy.scale is not None
    scale = dataclasses.replace(policy.scale, deviation=policy.scale.deviation.at[2].set(0))
    dataclasses.replace(policy, scale=scale).write(tmp_path / "policy.safetensors")
    with pytest.raises(UserError, match="no finite mean and positive deviation"):
        Policy.load(tmp_path)


def test_several_seeds_have_statistics_of_their_own(tmp_path: Path) -> None:
    settings = {"seeds": 2, "placement": "vmap", "execution": "masked", "algorithm": "vdn"}
    train(tmp_path / "both", **settings)
    train(tmp_path / "alone", **settings | {"seeds": 1, "seed": 1})
    both, alone = (Policy.load(tmp_path / at).scale for at in ("both/seed-1", "alone"))
    assert both is not None
    assert alone is not None
    other = Policy.load(tmp_path / "both/seed-0").scale
    assert other is not None
    np.testing.assert_allclose(both.mean, alone.mean, rtol=0.05, atol=1)
    assert not np.array_equal(both.mean, other.mean)


def test_types_are_read_from_observations_as_they_come() -> None:
    given = {"environment": "smax/smacv2_5_units", "sharing": "snp", "normalise_observations": True}
    with pytest.raises(UserError, match="read their types from observations as they come"):
        Trainer(resolve(given))
