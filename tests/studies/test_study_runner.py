"""The scheduler, with played jobs: order, slots, failures, budget, sources, and what is left."""

import json
from pathlib import Path

import pytest
from study_cells import Log, PlayedJob, files, small_study

from mast.errors import UserError
from mast.studies.cell import Cell
from mast.studies.estimate import Estimator, makespan
from mast.studies.results import ResultFolder
from mast.studies.runner import Outcome, Runner, longest_first


class Launches:
    """A launcher that keeps the jobs that it has started."""

    def __init__(self, states: dict[str, list[str]] | None = None) -> None:
        self.jobs: list[PlayedJob] = []
        self.slots: list[int] = []
        self._states = states or {}

    def __call__(self, cell: Cell, slot: int) -> PlayedJob:
        states = self._states.get(cell.density_name, ["running", "running", "finished"])
        self.jobs.append(PlayedJob(cell, list(states)))
        self.slots.append(slot)
        return self.jobs[-1]


def play(
    cells: tuple[Cell, ...], folder: Path, launch: Launches, slots: int = 2, **more: float
) -> tuple[Outcome, Log]:
    log = Log()
    results = ResultFolder(folder / "study")
    runner = Runner(cells, results, launch, slots, log, poll=0.001, **more)  # type: ignore[arg-type]
    return runner.run(), log


def test_every_cell_is_computed_once(tmp_path: Path) -> None:
    cells, launch = small_study().cells, Launches()
    outcome, log = play(cells, tmp_path, launch)
    assert [job.cell.key for job in launch.jobs] == [
        c.key for c in longest_first(cells, Estimator([]))
    ]
    assert sorted(result.cell.key for result in outcome.done) == sorted(cell.key for cell in cells)
    assert set(launch.slots) == {0, 1}
    assert all(job.calls == ["close"] for job in launch.jobs)
    assert (outcome.left, outcome.failed, outcome.stopped) == ([], {}, "")
    assert log.standings[-1].done == log.standings[-1].total == 4

    again = Launches()
    outcome, _ = play(cells, tmp_path, again)
    assert again.jobs == []
    assert len(outcome.done) == 4


def test_a_failed_cell_is_reported_and_the_others_go_on(tmp_path: Path) -> None:
    launch = Launches({"dense": ["running", "failed"]})
    outcome, log = play(small_study().cells, tmp_path, launch)
    assert [result.cell.config.method for result in outcome.done] == ["mast", "mast"]
    assert set(outcome.failed.values()) == {"mast: error: loss is nan"}
    assert len(outcome.failed) == 2
    assert sum(line.startswith("failed") for line in log.lines) == 2


def test_a_run_that_cannot_be_read_fails_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(job: PlayedJob) -> None:
        raise UserError("metrics.csv has other columns")

    monkeypatch.setattr(PlayedJob, "files", refuse)
    outcome, _ = play(small_study().cells[:1], tmp_path, Launches())
    assert list(outcome.failed.values()) == ["metrics.csv has other columns"]


def test_the_budget_saves_what_runs(tmp_path: Path) -> None:
    launch = Launches({"dense": ["running"], "mast90": ["running"]})
    outcome, log = play(small_study().cells, tmp_path, launch, budget=0.02)
    assert outcome.stopped == "budget"
    assert len(outcome.left) == 4
    assert len(launch.jobs) == 2
    assert all(job.calls == ["stop", "close"] for job in launch.jobs)
    assert "stopping: budget" in log.lines


def test_a_cell_that_another_process_has_is_left_to_it(tmp_path: Path) -> None:
    launch = Launches({"dense": ["busy"]})
    outcome, _ = play(small_study().cells, tmp_path, launch, slots=1)
    assert [cell.config.method for cell in outcome.left] == ["dense", "dense"]
    assert len(outcome.done) == 2


def test_an_interrupted_cell_is_not_started_again_and_again(tmp_path: Path) -> None:
    launch = Launches({"dense": ["running", "interrupted"]})
    outcome, _ = play(small_study().cells, tmp_path, launch)
    assert len(launch.jobs) == 4
    assert len(outcome.left) == 2


def test_a_ticket_waits_for_the_cell_that_it_begins_with(tmp_path: Path) -> None:
    cells = [{"method": "winning-ticket", "from": {"method": "mast"}}, {"method": "mast"}]
    study = small_study(cells=cells, seeds=1)
    launch = Launches()
    outcome, _ = play(study.cells, tmp_path, launch, slots=2)
    assert [job.cell.config.method for job in launch.jobs] == ["mast", "winning-ticket"]
    assert len(outcome.done) == 2

    failing = Launches({"mast90": ["running", "failed"]})
    outcome, _ = play(study.cells, tmp_path / "other", failing)
    assert [cell.config.method for cell in outcome.left] == ["winning-ticket"]


def test_processes_are_ended_whatever_happens(tmp_path: Path) -> None:
    class Broken(Log):
        def update(self, standing: object) -> None:
            raise RuntimeError("the screen is gone")

    launch = Launches({"dense": ["running"], "mast90": ["running"]})
    runner = Runner(
        small_study().cells, ResultFolder(tmp_path / "study"), launch, 2, Broken(), poll=0.001
    )
    with pytest.raises(RuntimeError, match="the screen"):
        runner.run()
    assert all(job.calls == ["kill", "close"] for job in launch.jobs)


def test_estimates_come_from_what_is_done(tmp_path: Path) -> None:
    cells = small_study().cells
    folder = ResultFolder(tmp_path)
    guess = Estimator([])
    assert guess.seconds(cells[0]) > 0
    done = [folder.write(cells[0], files(seconds=20.0)), folder.write(cells[2], files(seconds=8.0))]
    estimator = Estimator(done)
    assert [estimator.seconds(cell) for cell in cells] == [20.0, 20.0, 8.0, 8.0]
    longer = small_study(cells=[{"steps": 4000, "method": "dense"}]).cells[0]
    assert estimator.seconds(longer) == 40.0


def test_makespan_by_hand() -> None:
    assert makespan([3, 3, 2, 2, 2], 2) == 7
    assert makespan([3, 3, 2, 2, 2], 1) == 12
    assert makespan([], 4) == 0


def test_a_result_of_another_study_is_taken_over(tmp_path: Path) -> None:
    cells = small_study().cells
    play(cells[:3], tmp_path, Launches())
    launch = Launches()
    (tmp_path / "study").rename(tmp_path / "other")
    outcome, _ = play(cells, tmp_path, launch)
    assert [job.cell.key for job in launch.jobs] == [cells[3].key]
    assert len(list((tmp_path / "study").glob("*.json"))) == len(outcome.done) == 4


def test_a_result_without_what_is_wanted_is_not_taken_over(tmp_path: Path) -> None:
    play(small_study().cells, tmp_path, Launches())
    wanting = small_study(cells=[{"sparsity": 0.9, "diagnostics": True}])
    assert ResultFolder(tmp_path / "small").take_over(wanting.cells[0]) is None
    masks = small_study(cells=[{"sparsity": 0.9, "masks": True}])
    assert ResultFolder(tmp_path / "small").take_over(masks.cells[0]) is None
    values = {"q_tot": 1.0, "discounted_return": 2.0}
    record = {"env_steps": 1, "greedy": values, "replayed": values, "density_per_agent": None}
    line = (json.dumps(record) + "\n").encode()
    attached = {".diagnostics.jsonl": line, ".masks-000000000.safetensors": b"x"}
    full = files()
    ResultFolder(tmp_path / "third").write(
        wanting.cells[0], type(full)(full.row, full.curve, attached)
    )
    taken = ResultFolder(tmp_path / "small").take_over(wanting.cells[0])
    assert taken is not None
    assert taken.diagnostics == [record]
    assert len(taken.snapshots) == 1
