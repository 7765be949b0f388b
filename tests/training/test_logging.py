"""metrics.csv: bit-exact text, torn rows, cutting back, TensorBoard events."""

import math
from pathlib import Path

import numpy as np
import pytest

from mast.errors import UserError
from mast.training.logging import COLUMNS, COUNTS, MetricsWriter, read_metrics


def row(env_steps: int, **values: float | None) -> dict[str, float | None]:
    return {"env_steps": env_steps, "episodes": 3, "updates": 2, **values}


def written(run: Path) -> list[str]:
    return (run / "metrics.csv").read_text().splitlines()


def test_rows_come_back_with_the_same_bits(tmp_path: Path) -> None:
    loss = float(np.float32(0.1))
    writer = MetricsWriter(tmp_path, tensorboard=False)
    writer.write(row(100, loss=np.float32(0.1), win_rate=None, epsilon=1 / 3))
    writer.write(row(200, q_tot=math.pi))
    writer.close()
    first, second = read_metrics(tmp_path)
    assert tuple(first) == COLUMNS
    assert first["loss"] == loss
    assert first["epsilon"] == 1 / 3
    assert first["win_rate"] is None
    assert second["q_tot"] == math.pi
    assert all(isinstance(first[name], int) for name in COUNTS)


def test_a_row_is_on_disk_at_once_and_the_header_once(tmp_path: Path) -> None:
    writer = MetricsWriter(tmp_path, tensorboard=False)
    writer.write(row(100))
    assert len(written(tmp_path)) == 2
    MetricsWriter(tmp_path, tensorboard=False).write(row(200))
    assert [line.split(",")[0] for line in written(tmp_path)] == ["env_steps", "100", "200"]


def test_nothing_is_written_before_the_first_row(tmp_path: Path) -> None:
    MetricsWriter(tmp_path).close()
    assert list(tmp_path.iterdir()) == []
    assert read_metrics(tmp_path) == []


def test_an_unknown_column_is_a_bug(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="winrate"):
        MetricsWriter(tmp_path, tensorboard=False).write(row(1, winrate=0.5))


def test_truncation_gives_the_text_of_a_shorter_run(tmp_path: Path) -> None:
    long, short = tmp_path / "long", tmp_path / "short"
    for run, steps in ((long, (100, 200, 300)), (short, (100, 200))):
        run.mkdir()
        writer = MetricsWriter(run, tensorboard=False)
        for env_steps in steps:
            writer.write(row(env_steps, loss=1 / env_steps))
    writer = MetricsWriter(long, tensorboard=False)
    writer.truncate_to(299)
    assert written(long) == written(short)
    assert [path.name for path in long.iterdir()] == ["metrics.csv"]
    writer.truncate_to(200)
    assert written(long) == written(short)
    writer.write(row(300, loss=1 / 300))
    assert [r["env_steps"] for r in read_metrics(long)] == [100, 200, 300]
    assert writer.text == writer.path.read_text()
    writer.truncate_to(0)
    assert read_metrics(long) == []
    assert writer.text == writer.path.read_text()


def test_truncating_a_run_without_rows_does_nothing(tmp_path: Path) -> None:
    MetricsWriter(tmp_path).truncate_to(0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kept", ["half a row", "half the header"])
def test_what_a_kill_cut_short_is_dropped(tmp_path: Path, kept: str) -> None:
    writer = MetricsWriter(tmp_path, tensorboard=False)
    writer.write(row(100))
    writer.write(row(200, loss=0.5))
    writer.close()
    path = tmp_path / "metrics.csv"
    content = path.read_text()
    path.write_text(content[:-4] if kept == "half a row" else content[:20])
    before = [100] if kept == "half a row" else []
    assert [r["env_steps"] for r in read_metrics(tmp_path)] == before
    MetricsWriter(tmp_path, tensorboard=False).write(row(300))
    assert [r["env_steps"] for r in read_metrics(tmp_path)] == [*before, 300]


def test_other_columns_are_refused(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("step,win\n1,2\n")
    with pytest.raises(UserError, match="other columns"):
        MetricsWriter(tmp_path)
    with pytest.raises(UserError, match="other columns"):
        read_metrics(tmp_path)


@pytest.mark.parametrize("cut", [False, True])
def test_a_file_of_an_earlier_version_is_read_and_continued(tmp_path: Path, cut: bool) -> None:
    """It lacks columns; they are empty, and the file has them from the next row on."""
    (tmp_path / "metrics.csv").write_text("env_steps,episodes,loss\n100,3,0.5\n200,4,0.25\n")
    assert [r["loss"] for r in read_metrics(tmp_path)] == [0.5, 0.25]
    assert read_metrics(tmp_path)[0]["td_error"] is None
    writer = MetricsWriter(tmp_path, tensorboard=False)
    if cut:
        writer.truncate_to(200)
    writer.write(row(300, td_error=1.5))
    assert written(tmp_path)[0] == ",".join(COLUMNS)
    assert [r["td_error"] for r in read_metrics(tmp_path)] == [None, None, 1.5]
    assert [r["loss"] for r in read_metrics(tmp_path)] == [0.5, 0.25, None]


def test_tensorboard_events_hold_what_is_defined(tmp_path: Path) -> None:
    writer = MetricsWriter(tmp_path)
    writer.write(row(100, win_rate=0.5))
    writer.truncate_to(100)
    writer.write(row(200, loss=0.25))
    writer.close()
    events = b"".join(path.read_bytes() for path in (tmp_path / "tensorboard").iterdir())
    assert b"eval/win_rate" in events
    assert b"train/loss" in events
    assert b"progress/episodes" in events
    assert b"gradient_norm" not in events


def test_an_algorithms_own_metrics_are_columns_between_the_common_ones(tmp_path: Path) -> None:
    writer = MetricsWriter(tmp_path, ("policy_loss", "entropy"), tensorboard=False)
    writer.write(row(100, policy_loss=0.5, entropy=1.25, loss=2.0))
    writer.truncate_to(100)
    writer.write(row(200, entropy=1.0))
    header = written(tmp_path)[0].split(",")
    place = header.index("loss")
    assert header[place + 1 : place + 4] == ["policy_loss", "entropy", "gradient_norm"]
    assert "q_tot" not in header
    assert [r["entropy"] for r in read_metrics(tmp_path)] == [1.25, 1.0]
    with pytest.raises(UserError, match="columns of another algorithm"):
        MetricsWriter(tmp_path, tensorboard=False)


@pytest.mark.parametrize(
    "header",
    ["env_steps,los,epsilon", "env_steps,epsilon,episodes", "env_steps,loss,x,epsilon,y", "loss"],
)
def test_a_header_that_has_changed_is_no_algorithms(tmp_path: Path, header: str) -> None:
    (tmp_path / "metrics.csv").write_text(header + "\n")
    with pytest.raises(UserError, match="other columns"):
        read_metrics(tmp_path)
