"""Diagnostics and snapshots of real, tiny runs: what is in them, and that a resume changes nothing."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diagnosis.recorded_runs import small
from mast.config import Config
from mast.diagnosis.log import read_diagnostics
from mast.diagnosis.snapshots import load_snapshot, snapshot_paths
from mast.runs.trainer import Trainer
from mast.training.logging import read_metrics
from training.small_runs import PlainPursuit

pytestmark = pytest.mark.usefixtures("shared_programs")


def files(run: Path) -> dict[str, bytes]:
    """Everything that this room writes."""
    return {
        path.name: path.read_bytes()
        for path in [run / "diagnostics.jsonl", *(run / "snapshots").iterdir()]
    }


def interrupted(config: Config, out: Path, after: int, **arguments: Any) -> None:
    """Trains, stops after so many env steps with a checkpoint, plays on unsaved, and resumes."""
    trainer = Trainer(config, out, **arguments)
    saved = False
    for metrics in trainer:
        if not saved and metrics.env_steps > after:
            trainer.save()
            saved = True
        if metrics.env_steps > after + 500:
            break
    trainer.close()
    Trainer.resume(out, **arguments).run()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("recording") / "run"
    Trainer(small(), out).run()
    return out


def test_every_evaluation_has_a_line(run: Path) -> None:
    records, rows = read_diagnostics(run), read_metrics(run)
    assert [each["env_steps"] for each in records] == [row["env_steps"] for row in rows]
    for record, row in zip(records, rows, strict=True):
        assert record["td_error"] == row["td_error"]
        assert record["gradient_norm"] == row["gradient_norm"]
    assert records[-1]["td_error"] > 0


def test_values_are_of_the_evaluations_own_episodes(run: Path) -> None:
    record, row = read_diagnostics(run)[-1], read_metrics(run)[-1]
    greedy = record["greedy"]
    assert greedy["episodes"] == 6
    assert greedy["steps"] == round(6 * row["episode_length"])
    assert greedy["cut"] == pytest.approx(1 - row["win_rate"])  # the game ends by catching only
    assert greedy["bias"] == pytest.approx(greedy["q_tot"] - greedy["discounted_return"])
    assert record["replayed"]["episodes"] == 8
    assert 0 <= record["replayed"]["discounted_return"] <= 10


def test_masks_change_by_what_was_counted(run: Path) -> None:
    records = read_diagnostics(run)
    assert sum(each["evolutions"] for each in records) > 3
    for each in records:
        assert each["dropped"] == each["grown"]
        assert set(each["grown"]) == set(each["overlap_previous"])
        for layer, share in each["overlap_previous"].items():
            assert (share < 1) <= (each["grown"][layer] > 0)
    assert records[0]["overlap_previous"] == records[0]["overlap_initial"]
    assert min(records[0]["overlap_previous"].values()) < 1
    paths = snapshot_paths(run)
    first, last = load_snapshot(paths[0])[1], load_snapshot(paths[-1])[1]
    assert records[-1]["overlap_initial"] == {
        layer: (first[layer] & last[layer]).sum() / last[layer].sum() for layer in sorted(last)
    }


def test_layers_of_dead_neurons(run: Path) -> None:
    record = read_diagnostics(run)[-1]
    hidden = {"mixer.w1_hidden", "mixer.w_final_hidden", "mixer.v_hidden"}
    assert set(record["dormant"]) == hidden | {"agent.fc1"}
    assert set(record["disconnected"]) == hidden | {"agent.fc1", "agent.gru"}
    assert all(0 <= share <= 1 for share in record["disconnected"].values())
    assert record["density_per_agent"] is None
    assert record["density_per_type"] is None


def test_snapshots_are_at_the_first_evaluation_at_or_after(run: Path) -> None:
    steps = [load_snapshot(path)[0] for path in snapshot_paths(run)]
    evaluated = [row["env_steps"] for row in read_metrics(run)]
    assert steps == [0, min(s for s in evaluated if s >= 450), evaluated[-1]]
    trainer = Trainer.resume(run)
    last = load_snapshot(snapshot_paths(run)[-1])[1]
    masks = {name: np.asarray(mask) for name, mask in trainer.state.optimizer.masks.items()}
    assert set(last) == set(masks)
    assert all((last[name] == masks[name]).all() for name in masks)
    first = load_snapshot(snapshot_paths(run)[0])[1]
    fresh = Trainer(small()).state.optimizer.masks
    assert all((first[name] == np.asarray(fresh[name])).all() for name in fresh)


def test_a_resume_changes_nothing(tmp_path: Path, run: Path) -> None:
    """What was recorded after the checkpoint is cut back and recorded again, the same bytes."""
    interrupted(small(), tmp_path / "run", after=400)
    assert files(tmp_path / "run") == files(run)


def test_a_run_that_starts_again_records_the_same(tmp_path: Path, run: Path) -> None:
    trainer = Trainer(small(), tmp_path / "run")
    for metrics in trainer:
        if metrics.env_steps > 500:
            break
    trainer.close()
    Trainer.resume(tmp_path / "run").run()
    assert files(tmp_path / "run") == files(run)


def test_vmapped_runs_record_each_its_own(tmp_path: Path) -> None:
    settings = {"seeds": 2, "steps": 900}
    Trainer(small(**settings), tmp_path / "whole").run()
    interrupted(small(**settings), tmp_path / "parts", 250)
    recorded = [files(tmp_path / "whole" / f"seed-{seed}") for seed in (0, 1)]
    assert recorded[0] != recorded[1]
    assert recorded == [files(tmp_path / "parts" / f"seed-{seed}") for seed in (0, 1)]
    for seed in (0, 1):
        folder = tmp_path / "whole" / f"seed-{seed}"
        assert len(read_diagnostics(folder)) == len(read_metrics(folder)) >= 3
        assert read_diagnostics(folder)[-1]["greedy"]["episodes"] == 6


def test_an_environment_in_plain_python(tmp_path: Path) -> None:
    config = small(steps=320, eval_interval=300, algorithm="vdn", eval_episodes=3, batch_size=4)
    Trainer(config, tmp_path / "run", environment=PlainPursuit()).run()
    record = read_diagnostics(tmp_path / "run")[-1]
    assert record["greedy"]["episodes"] == 3
    assert set(record["dormant"]) == {"agent.fc1"}


def test_weighted_qmix_tells_about_its_unrestricted_networks(tmp_path: Path) -> None:
    Trainer(small(steps=320, algorithm="owqmix", unrestricted_hidden=8), tmp_path / "run").run()
    record = read_diagnostics(tmp_path / "run")[-1]
    chain = {f"unrestricted_mixer.{layer}" for layer in ("fc1", "fc2", "fc3", "v_hidden")}
    assert chain | {"unrestricted_agent.fc1"} < set(record["dormant"])
    assert chain | {"unrestricted_agent.gru"} < set(record["disconnected"])


def test_independent_networks_have_densities_of_their_own(tmp_path: Path) -> None:
    config = small(steps=320, algorithm="iql", sharing="independent")
    Trainer(config, tmp_path / "run").run()
    record = read_diagnostics(tmp_path / "run")[-1]
    assert record["greedy"]["q_tot"] is not None
    assert len(record["density_per_agent"]) == 2
    assert np.mean(record["density_per_agent"]) == pytest.approx(0.2, abs=0.01)
    assert record["density_per_type"] == {"hunter": pytest.approx(0.2, abs=0.01)}
    masks = load_snapshot(snapshot_paths(tmp_path / "run")[-1])[1]
    assert masks["agent.fc1.weight"].shape == (2, 16, 11)


def test_nothing_is_recorded_where_it_is_not_wanted(tmp_path: Path) -> None:
    Trainer(small(steps=320, diagnostics=False, snapshots="none"), tmp_path / "run").run()
    assert not (tmp_path / "run" / "diagnostics.jsonl").exists()
    assert snapshot_paths(tmp_path / "run") == []  # the first weights may lie in their folder
    Trainer(small(steps=320)).run()  # without a folder


def test_a_line_is_plain_json(run: Path) -> None:
    def refuse(word: str) -> float:
        raise AssertionError(f"{word} is no JSON")

    for line in (run / "diagnostics.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=refuse)
