"""Cells on a local Ray cluster of two workers, one of which is killed in the middle. Training is played."""

import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from study_cells import wait_until

from mast.cli import main
from mast.studies.ray_cluster import RayCluster

ray = pytest.importorskip("ray")

SMALL = """
seeds = 3
[settings]
environment = "smax/3m"
steps = 2000
method = "dense"
[[cells]]
"""
CHILD = """
import os, pathlib, signal, sys, time
line = sys.argv[1:]
out, seed = pathlib.Path(line[line.index("--out") + 1]), int(line[line.index("--seed") + 1])
log = pathlib.Path(LOG)
stop = []
signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
with open(log / f"starts-{seed}", "a") as starts:
    starts.write(f"{os.getppid()}\\n")
if seed == 2:
    sys.exit("mast: error: loss is nan")
if seed == 0 and len((log / "starts-0").read_text().split()) == 1:
    while not stop:
        time.sleep(0.05)
    (log / "saved-0").touch()
    sys.exit(130)
sys.path[:0] = PATH
from test_study_results import finished_run
finished_run(out, [0.25 + seed / 4], seed=seed)
"""


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a cluster of two workers, and no CPU on its head."""
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    store = {"object_store_memory": 80 * 2**20}
    head = {"num_cpus": 0, "include_dashboard": False, **store}
    started = Cluster(initialize_head=True, head_node_args=head)
    for _ in range(2):
        started.add_node(num_cpus=1, **store)
    started.wait_for_nodes()
    yield started.address
    ray.shutdown()
    started.shutdown()


def test_a_killed_worker_loses_nothing_and_counts_once(
    cluster: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    log, script = tmp_path / "log", tmp_path / "child.py"
    log.mkdir()
    path = [str(Path(__file__).parent)]
    script.write_text(f"LOG, PATH = {str(log)!r}, {path!r}\n" + CHILD)
    monkeypatch.setattr(RayCluster, "program", (sys.executable, str(script)))
    Path("small.toml").write_text(SMALL)

    def kill_the_worker() -> None:
        starts = log / "starts-0"
        if wait_until(lambda: starts.exists() and bool(starts.read_text().strip()), 90.0):
            os.kill(int(starts.read_text().split()[0]), signal.SIGKILL)

    killer = threading.Thread(target=kill_the_worker)
    killer.start()
    assert main(["study", "run", "small.toml", "--ray", cluster, "--json"]) == 1
    killer.join()
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    [failed] = result["failed"]
    assert (result["done"], result["total"], result["left"]) == (2, 3, [])
    assert failed["last_lines"] == "mast: error: loss is nan"
    rows = [json.loads(path.read_text()) for path in Path("results/small").glob("*.json")]
    assert sorted(row["score"] for row in rows) == [0.25, 0.5]
    assert len((log / "starts-0").read_text().split()) == 2
    assert len((log / "starts-1").read_text().split()) == 1
    assert (log / "saved-0").exists()  # the dead worker's process was told to save, and did


def test_a_wrong_address_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    Path("small.toml").write_text(SMALL)
    assert main(["study", "run", "small.toml", "--ray", "127.0.0.1:1"]) == 2
    err = capsys.readouterr().err
    assert "--ray 127.0.0.1:1: no cluster" in err
    assert err.count("\n") == 1
