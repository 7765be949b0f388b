"""The loop: counts, schedules, vmapped runs, hosts' environments, refusals."""

import dataclasses
import errno
import io
import itertools
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from examples.pursuit import Pursuit

from mast.config import load_config_file, load_run_config, resolve
from mast.envs.protocol import Outcome, TimeStep
from mast.errors import EnvironmentFailure, SelfCheckError, StorageError, UserError
from mast.policy import Policy
from mast.runs.trainer import Trainer
from mast.training.logging import read_metrics
from training.small_runs import SMALL, PlainPursuit, small

pytestmark = pytest.mark.usefixtures("shared_programs")


def test_a_finished_run_can_be_extended_and_says_what_that_does(tmp_path: Path) -> None:
    out = tmp_path / "run"
    Trainer(small(steps=600), out, given=SMALL | {"steps": 600}).run()
    trainer = Trainer.resume(out, steps=1200)
    assert any("600 → 1200" in notice and "360" in notice for notice in trainer.notices)
    trainer.close()  # as if killed before its next checkpoint: the new end stands, nothing else
    rows = len(read_metrics(out))
    again = Trainer.resume(out)
    assert not again.finished
    assert again.run()["env_steps"] >= 1200
    assert len(read_metrics(out)) > rows
    assert Policy.load(out).description["env_steps"] >= 1200
    assert again.config.epsilon_steps == load_run_config(out).epsilon_steps == 60
    assert load_config_file(out)["epsilon_steps"] == 60
    before = (out / "config.json").read_text()
    with pytest.raises(UserError, match="already taken"):
        Trainer.resume(out, steps=600)
    assert (out / "config.json").read_text() == before


def test_other_cpus_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "run"
    Trainer(small(steps=300), out, given=SMALL | {"steps": 300}).close()
    monkeypatch.setattr("mast.configuration.record.usable_cpus", lambda: 777)
    assert any("777" in notice for notice in Trainer.resume(out).notices)


def test_counts_and_schedules(tmp_path: Path) -> None:
    """One update per episode once the batch is there; ε falls linearly; targets are copied on time."""
    trainer = Trainer(small(epsilon_steps=1000, target_interval=16, parallel_envs=4))
    rounds = list(trainer)
    last = rounds[-1]
    assert (
        last.updates == last.episodes - 4
    )  # no update before the 8 episodes of a batch are stored
    assert rounds[0].loss is None
    assert rounds[1].loss is not None
    for before, after in itertools.pairwise(rounds):
        assert after.epsilon == pytest.approx(max(0.05, 1 - 0.95 * after.env_steps / 1000))
        assert after.env_steps > before.env_steps
    copied = trainer.loop.record()["target_copied_at"]
    assert copied % 4 == 0
    assert last.episodes - copied < 16
    evaluations = [each.env_steps for each in rounds if each.evaluation is not None]
    assert len(evaluations) == 5
    assert all(steps >= 500 * (k + 1) for k, steps in enumerate(evaluations))


def test_fractions_of_updates_are_made_up_later() -> None:
    trainer = Trainer(small(updates_per_episode=0.3, steps=1500))
    last = list(trainer)[-1]
    assert last.updates == int(0.3 * last.episodes)


def test_the_number_of_active_weights_never_changes() -> None:
    trainer = Trainer(small(steps=1500))
    before = {name: int(mask.sum()) for name, mask in trainer.state.optimizer.masks.items()}
    first = {name: np.asarray(mask) for name, mask in trainer.state.optimizer.masks.items()}
    trainer.run()
    masks = trainer.state.optimizer.masks
    assert {name: int(mask.sum()) for name, mask in masks.items()} == before
    assert any((np.asarray(masks[name]) != first[name]).any() for name in masks)
    for path, leaf in jax.tree_util.tree_leaves_with_path(trainer.state.params):
        mask = masks.get(jax.tree_util.keystr(path, simple=True, separator="."))
        assert mask is None or not np.asarray(leaf)[~np.asarray(mask)].any()


def test_vmapped_seeds_are_separate_runs_to_float_tolerance(tmp_path: Path) -> None:
    """Over the first 20 updates; later they may part chaotically."""
    settings = {"steps": 900, "batch_size": 16, "eval_interval": 10_000, "checkpoint_interval": 1e6}
    together = Trainer(small(seeds=2, seed=3, **settings), tmp_path / "both")
    alone = [Trainer(small(seed=seed, **settings)) for seed in (3, 4)]
    pairs = iter(together), *(iter(trainer) for trainer in alone)
    while together.counters.updates < 20:
        for each in pairs:
            next(each)
    for place, trainer in enumerate(alone):
        assert together.runs[place].counters.env_steps == trainer.runs[0].counters.env_steps
        mine = together.engine.of_run(together.state, place)
        for a, b in zip(jax.tree.leaves(mine), jax.tree.leaves(trainer.state), strict=True):
            np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=1e-3, atol=1e-5)


def test_no_two_purposes_or_seeds_share_a_random_key() -> None:
    from mast.training.random_keys import COLLECT, EVALUATE, EVOLVE, INIT, PLAY, run_key

    keys = [
        tuple(np.asarray(jax.random.key_data(run_key(seed, purpose, number))))
        for seed in range(4)
        for purpose in (INIT, COLLECT, EVALUATE, EVOLVE, PLAY)
        for number in range(50)
    ]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize(
    ("settings", "density"),
    [
        ({"method": "dense"}, 1.0),
        ({"method": "tiny"}, 1.0),
        ({"method": "set"}, 0.2),
        ({"method": "magnitude"}, 0.2),
        (
            {
                "method": "rlx2",
                "window_interval": 200,
                "window_floor": 20,
                "window_threshold": 0.0,
            },
            0.2,
        ),
        ({"algorithm": "owqmix", "unrestricted_hidden": 32}, 0.2),
        ({"algorithm": "res"}, 0.2),
        ({"algorithm": "iql", "sharing": "independent"}, 0.2),
    ],
)
def test_training_goes_through(settings: dict[str, Any], density: float) -> None:
    trainer = Trainer(small(steps=700, **settings))
    summary = trainer.run()
    assert summary["updates"] > 20
    assert summary["density"] == pytest.approx(density, abs=0.01)
    assert trainer.densities[0] == pytest.approx(density, abs=0.01)
    if settings.get("method") == "rlx2":
        ring = trainer.runs[0].ring
        assert 20 <= len(ring) < ring.total_added


def test_fixed_densities_stay_with_their_agents() -> None:
    """Each agent's weights are ranked by themselves; without fixed densities all are ranked together."""
    agents = Pursuit().spec.agents
    fixed = ",".join(str(0.1 + 0.1 * agent) for agent in range(agents))
    for densities in (fixed, None):
        settings = {
            "algorithm": "iql",
            "sharing": "independent",
            "density_per_agent": densities,
            "steps": 700,
            "evolve_interval": 5,
        }
        trainer = Trainer(small(**settings))
        before = trainer.state.optimizer.masks["agent.gru_hidden.weight"].sum((1, 2))
        trainer.run()
        after = trainer.state.optimizer.masks["agent.gru_hidden.weight"].sum((1, 2))
        assert int(before.sum()) == int(after.sum())
        assert (before.tolist() == after.tolist()) == (densities is not None)


def test_densities_for_another_number_of_agents_are_refused() -> None:
    with pytest.raises(UserError, match=r"density_per_agent = 0\.1: must be 2 numbers"):
        Trainer(small(sharing="independent", density_per_agent="0.1"))


def test_an_environment_in_plain_python_trains_and_has_no_win_rate() -> None:
    trainer = Trainer(small(steps=400), environment=PlainPursuit())
    summary = trainer.run()
    assert summary["updates"] > 0
    assert summary["win_rate"] is None
    assert summary["score"] is None


def test_three_lines_of_python(tmp_path: Path) -> None:
    seen = []
    trainer = Trainer(small(steps=600), tmp_path / "run", callback=seen.append)
    assert [metrics.env_steps for metrics in trainer] == [metrics.env_steps for metrics in seen]
    policy = Policy.load(tmp_path / "run")
    _, perceived = Pursuit().reset(jax.random.key(0))
    action, memory = policy.act(perceived.observation, perceived.available)
    assert perceived.available[np.arange(2), action].all()
    policy.act(perceived.observation, perceived.available, memory)


def test_nan_stops_the_run_and_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    trainer = Trainer(small(), tmp_path / "run", given=SMALL)
    rounds = iter(trainer)
    for _ in range(8):
        next(rounds)
    good = sorted((tmp_path / "run" / "checkpoints").glob("checkpoint-*.json"))
    poisoned = jax.tree.map(lambda leaf: leaf * np.nan, trainer.state.params)
    trainer.state = trainer.state._replace(params=poisoned)
    with pytest.raises(SelfCheckError, match=r"loss is nan at update \d+ .*learning_rate"):
        list(rounds)
    assert sorted((tmp_path / "run" / "checkpoints").glob("checkpoint-*.json")) == good
    with pytest.raises(SelfCheckError, match="not finite"):
        trainer.save()
    trainer.close()
    assert not Trainer.resume(tmp_path / "run").finished


def test_what_was_set_from_python_starts_another_run(tmp_path: Path) -> None:
    config = small(steps=300)
    Trainer(config, tmp_path / "run").close()
    assert resolve(load_config_file(tmp_path / "run")) == config


def test_numbers_beyond_half_precision_are_refused_by_name() -> None:
    class Loud(Pursuit):
        def perceive(self, grid: Any) -> TimeStep:
            seen = super().perceive(grid)
            return seen._replace(observation=seen.observation * 1e6)

    with pytest.raises(
        UserError,
        match=r"observation holds inf at step 0 of an episode, agent 0, beyond half precision",
    ):
        Trainer(small(), environment=Loud()).run()


def test_nan_from_an_environment_is_named_by_step_agent_and_checkpoint(tmp_path: Path) -> None:
    game = PlainPursuit()
    step, rounds = game.step, 0

    def broken(key: int, grid: Any, actions: Any) -> tuple[Any, TimeStep, Outcome]:
        grid, seen, outcome = step(key, grid, actions)
        if rounds == 2:
            observation = np.array(seen.observation)
            observation[1, 0] = np.nan
            seen = seen._replace(observation=observation)
        return grid, seen, outcome

    game.step = broken  # type: ignore[method-assign]
    trainer = Trainer(small(), tmp_path / "run", environment=game)
    trained = iter(trainer)
    next(trained)
    rounds = 2
    with pytest.raises(
        SelfCheckError,
        match=r"step 1 of an episode: observation of agent 1: holds a NaN; see docs/environments.md; "
        r"the last good checkpoint, of env step \d+, is kept in",
    ):
        next(trained)


def test_a_row_is_about_all_rounds_also_where_another_seed_has_ended(tmp_path: Path) -> None:
    trainer = Trainer(small(seeds=2, steps=1200, eval_interval=10**6), tmp_path / "run")
    trainer.run()
    rows = [read_metrics(run.out)[-1] for run in trainer.runs if run.out is not None]
    slow = max(rows, key=lambda row: row["updates"] or 0)
    assert min(row["updates"] or 0 for row in rows) < (slow["updates"] or 0)
    # Every round has as many episodes, so that the mean of the rounds' is that of all of them.
    assert slow["train_length"] == pytest.approx(slow["env_steps"] / slow["episodes"])  # type: ignore[operator]


def test_what_was_learnt_is_saved_where_the_environment_fails_in_an_evaluation(
    tmp_path: Path,
) -> None:
    game = PlainPursuit()
    trainer = Trainer(small(checkpoint_interval=1e6), tmp_path / "run", environment=game)
    evaluate = trainer.engine.evaluate

    def gone(key: int, grid: Any, actions: Any) -> Any:
        raise ConnectionError("simulator gone")

    def failing(*arguments: Any, **options: Any) -> Any:
        game.step = gone  # type: ignore[method-assign]
        return evaluate(*arguments, **options)

    trainer.engine.evaluate = failing  # type: ignore[method-assign]
    with pytest.raises(
        EnvironmentFailure,
        match=r"simulator gone.*; the last good checkpoint, of env step \d+, is kept",
    ):
        trainer.run()
    resumed = Trainer.resume(tmp_path / "run", environment=PlainPursuit())
    assert resumed.counters.updates == trainer.counters.updates > 0
    assert not read_metrics(tmp_path / "run")
    next(iter(resumed))  # the evaluation that failed is made up for
    assert len(read_metrics(tmp_path / "run")) == 1


@pytest.mark.parametrize("fate", ["deleted", "renamed", "replaced"])
def test_a_folder_that_goes_while_training_is_one_line(tmp_path: Path, fate: str) -> None:
    out = tmp_path / "run"
    trainer = Trainer(small(), out)
    rounds = iter(trainer)
    next(rounds)
    out.rename(tmp_path / "elsewhere")
    if fate == "deleted":
        shutil.rmtree(tmp_path / "elsewhere")
    if fate == "replaced":
        out.mkdir()
    said = "replaced by another folder" if fate == "replaced" else "deleted or renamed"
    with pytest.raises(
        StorageError, match=rf"{said} while training.*; the last good checkpoint, of"
    ):
        list(rounds)
    assert out.exists() == (fate == "replaced")
    if fate == "renamed":
        Trainer.resume(tmp_path / "elsewhere").close()


def test_a_full_disk_is_one_line_with_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each file of a run in turn; the run goes on once there is room."""
    trainer = Trainer(small(steps=700, diagnostics=True), tmp_path / "run")
    next(iter(trainer))
    trainer.close()
    opened = io.open
    for name in ("policy", "metrics.csv", "diagnostics.jsonl", "events", "state-"):

        def full(path: Any, mode: str = "r", *rest: Any, name: str = name, **options: Any) -> Any:
            if name in Path(str(path)).name and mode[0] in "wa":
                raise OSError(errno.ENOSPC, "No space left on device", str(path))
            return opened(path, mode, *rest, **options)

        with monkeypatch.context() as patch:
            patch.setattr(io, "open", full)
            patch.setattr("builtins.open", full)
            trainer = Trainer.resume(tmp_path / "run")
            with pytest.raises(StorageError, match=r"No space left on device; the last good check"):
                list(trainer)
    assert Trainer.resume(tmp_path / "run").run()["env_steps"] >= 700


def test_a_run_goes_on_only_in_its_own_environment(tmp_path: Path) -> None:
    game = PlainPursuit()
    game.spec = dataclasses.replace(game.spec, identity="the plain game")
    trainer = Trainer(small(steps=400), tmp_path / "run", environment=game)
    next(iter(trainer))
    trainer.close()
    with pytest.raises(UserError, match="was trained on the plain game"):
        Trainer.resume(tmp_path / "run")
    assert Trainer.resume(tmp_path / "run", environment=game).run()["env_steps"] >= 400


def test_nobody_else_trains_in_the_same_folder(tmp_path: Path) -> None:
    trainer = Trainer(small(steps=300), tmp_path / "run")
    with pytest.raises(UserError, match="another process"):
        Trainer.resume(tmp_path / "run")
    trainer.close()
    Trainer.resume(tmp_path / "run").close()


def test_runs_of_one_program_without_a_common_round_are_refused_and_kept(tmp_path: Path) -> None:
    out = tmp_path / "both"
    trainer = Trainer(small(seeds=2, steps=600), out)
    for metrics in trainer:
        if metrics.env_steps > 300:
            break
    trainer.close()
    shutil.rmtree(out / "seed-1" / "checkpoints")
    kept = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    with pytest.raises(UserError, match="seed-1 has no checkpoint of a round"):
        Trainer.resume(out)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == kept


def test_refusals(tmp_path: Path) -> None:
    Trainer(small(steps=300), tmp_path / "run").close()
    with pytest.raises(UserError, match="already holds a run"):
        Trainer(small(steps=300), tmp_path / "run")
    with pytest.raises(UserError, match="no run"):
        Trainer.resume(tmp_path / "nothing")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        Trainer(small(steps=300), tmp_path / "file" / "run")
    with pytest.raises(UserError, match="no JAX environment"):
        Trainer(small(seeds=2), environment=PlainPursuit())
    with pytest.raises(UserError, match="only the command line"):
        Trainer(small(seeds=2, placement="process"))
