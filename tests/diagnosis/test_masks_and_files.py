"""Overlap, densities, bits, snapshot files and diagnostics.jsonl."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mast.diagnosis.log import append_diagnostics, forget_diagnostics_after, read_diagnostics
from mast.diagnosis.masks import (
    density_per_agent,
    density_per_type,
    from_text,
    overlap,
    packed,
    to_text,
    unpacked,
)
from mast.diagnosis.snapshots import (
    forget_snapshots_after,
    is_due,
    load_snapshot,
    save_snapshot,
    snapshot_paths,
)
from mast.errors import UserError

any_mask = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=3, max_side=9))


def test_overlap_by_hand() -> None:
    now = {"a": np.array([[1, 1, 0, 0]], bool), "b": np.zeros((1, 4), bool)}
    earlier = {"a": np.array([[1, 0, 1, 1]], bool), "b": np.ones((1, 4), bool)}
    assert overlap(now, earlier) == {"a": 0.5, "b": None}
    assert overlap(earlier, now)["a"] == pytest.approx(1 / 3)


@given(any_mask)
def test_a_mask_overlaps_wholly_with_itself_and_not_with_its_opposite(mask: np.ndarray) -> None:
    wanted = 1.0 if mask.any() else None
    assert overlap({"a": mask}, {"a": mask}) == {"a": wanted}
    assert overlap({"a": mask}, {"a": ~mask}) == {"a": 0.0 if mask.any() else None}


def test_density_per_agent_is_over_all_matrices_of_the_agent() -> None:
    fc1 = np.zeros((2, 2, 3), bool)
    fc1[0] = True
    fc2 = np.zeros((2, 1, 2), bool)
    fc2[1, 0, 0] = True
    masks = {
        "agent.fc1.weight": fc1,
        "agent.fc2.weight": fc2,
        "unrestricted_agent.fc1.weight": np.ones((2, 2, 3), bool),
        "mixer.b1.weight": np.ones((2, 2), bool),
    }
    assert density_per_agent(masks) == [6 / 8, 1 / 8]
    assert density_per_agent({"agent.fc1.weight": fc1[0]}) is None


def test_density_per_type() -> None:
    types = ("stalker", "zealot", "zealot")
    found = density_per_type([0.5, 0.125, 0.25], types)
    assert found == {"stalker": 0.5, "zealot": 0.1875}
    assert density_per_type(None, types) is None
    assert density_per_type([0.5], ("",)) is None


@given(any_mask)
def test_bits_and_text_give_the_mask_back(mask: np.ndarray) -> None:
    np.testing.assert_array_equal(unpacked(packed(mask), mask.shape), mask)
    again = from_text(to_text({"a.weight": mask}))["a.weight"]
    np.testing.assert_array_equal(again, mask)


def test_too_few_bits_are_refused() -> None:
    with pytest.raises(ValueError, match="1 bytes for a mask of 9"):
        unpacked(np.zeros(1, np.uint8), (3, 3))


def masks_of(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {"b.weight": rng.random((3, 5)) < 0.5, "a.weight": rng.random((2, 4, 7)) < 0.1}


def test_a_snapshot_comes_back_and_has_the_same_bytes(tmp_path: Path) -> None:
    masks = masks_of(1)
    path = save_snapshot(tmp_path, 500_000, masks)
    assert path == tmp_path / "snapshots" / "masks-000500000.safetensors"
    steps, found = load_snapshot(path)
    assert steps == 500_000
    assert set(found) == set(masks)
    for name, mask in masks.items():
        assert found[name].dtype == bool
        np.testing.assert_array_equal(found[name], mask)
    content = path.read_bytes()
    save_snapshot(tmp_path, 500_000, dict(reversed(masks.items())))
    assert path.read_bytes() == content
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_snapshots_are_compact(tmp_path: Path) -> None:
    path = save_snapshot(tmp_path, 0, {"a": np.ones((400, 1000), bool)})
    assert path.stat().st_size < 400 * 1000 / 8 + 1000


def test_later_snapshots_are_forgotten_and_other_files_kept(tmp_path: Path) -> None:
    assert snapshot_paths(tmp_path) == []
    forget_snapshots_after(tmp_path, 0)
    for steps in (2_000_000_000, 0, 100, 250):
        save_snapshot(tmp_path, steps, masks_of(steps))
    other = tmp_path / "snapshots" / "initial.safetensors"
    other.touch()
    assert [load_snapshot(path)[0] for path in snapshot_paths(tmp_path)] == [0, 100, 250, 2 * 10**9]
    forget_snapshots_after(tmp_path, 100)
    assert [load_snapshot(path)[0] for path in snapshot_paths(tmp_path)] == [0, 100]
    assert other.exists()


@pytest.mark.parametrize("content", [b"", b"{}", b"\x08" + bytes(40)])
def test_a_file_that_is_no_snapshot_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "masks-000000000.safetensors"
    with pytest.raises(UserError, match="no such snapshot"):
        load_snapshot(path)
    path.write_bytes(content)
    with pytest.raises(UserError, match="damaged or no mask snapshot"):
        load_snapshot(path)


def test_a_cut_snapshot_is_refused(tmp_path: Path) -> None:
    path = save_snapshot(tmp_path, 7, masks_of(0))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match="damaged"):
        load_snapshot(path)


@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=30),
    st.lists(st.floats(0, 1), max_size=5),
)
def test_every_chosen_step_is_caught_once(intervals: list[int], shares: list[float]) -> None:
    """At the first evaluation at or after it; 0 is before training and none of these."""
    evaluations = np.cumsum(intervals).tolist()
    steps = evaluations[-1]
    written = [
        now
        for before, now in zip([0, *evaluations], evaluations, strict=False)
        if is_due(shares, steps, before, now)
    ]
    wanted = {
        min(now for now in evaluations if now >= share * steps) for share in shares if share > 0
    }
    assert written == sorted(wanted)
    assert not is_due(None, steps, 0, steps)


def record(env_steps: int, **more: Any) -> dict[str, Any]:
    values = {"q_tot": 1.0, "discounted_return": None}
    return {
        "env_steps": env_steps,
        "greedy": values,
        "replayed": values,
        "density_per_agent": None,
    } | more


def test_diagnostics_are_cut_back_and_torn_lines_dropped(tmp_path: Path) -> None:
    assert read_diagnostics(tmp_path) == []
    assert forget_diagnostics_after(tmp_path, 0) == []
    for steps in (100, 200, 300):
        append_diagnostics(tmp_path, record(steps, loss=math.nan, list=[1, math.inf]))
    path = tmp_path / "diagnostics.jsonl"
    assert read_diagnostics(tmp_path)[0] == record(100, loss=None, list=[1, None])
    path.write_text(path.read_text()[:-5])
    assert [each["env_steps"] for each in read_diagnostics(tmp_path)] == [100, 200]
    append_diagnostics(tmp_path, record(400))
    assert [each["env_steps"] for each in read_diagnostics(tmp_path)] == [100, 200, 400]
    assert forget_diagnostics_after(tmp_path, 200) == []
    assert [each["env_steps"] for each in read_diagnostics(tmp_path)] == [100, 200]


@pytest.mark.parametrize(
    "line",
    [
        b"{",
        b"[" * 100_000,
        b"[1]",
        b"\xff",
        json.dumps(record(150) | {"greedy": 1}).encode(),
        json.dumps({"env_steps": 150}).encode(),
    ],
)
def test_a_damaged_line_is_named_and_left_out_by_a_resume(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "diagnostics.jsonl"
    whole = [json.dumps(record(steps)).encode() for steps in (100, 200)]
    path.write_bytes(b"\n".join([whole[0], line, whole[1], b""]))
    before = path.read_bytes()
    with pytest.raises(UserError, match=r"diagnostics.jsonl is damaged: line 2 is no record"):
        read_diagnostics(tmp_path)
    [notice] = forget_diagnostics_after(tmp_path, 200)
    assert "1 damaged line" in notice
    assert [each["env_steps"] for each in read_diagnostics(tmp_path)] == [100, 200]
    assert (tmp_path / "diagnostics.jsonl.1").read_bytes() == before
