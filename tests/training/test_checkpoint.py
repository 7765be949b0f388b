"""Checkpoints: bit for bit what was saved, whatever happens to the process or to a file."""

import dataclasses
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mast.errors import UserError
from mast.learning.replay import Episode, Ring
from mast.learning.ring_memory import EpisodeSizes
from mast.training.checkpoint import CheckpointStore
from mast.training.manifest import _digest

CAPACITY = 12


@dataclasses.dataclass(frozen=True)
class Sizes:
    agents: int = 3
    actions: int = 5
    observation: int = 4
    state: int = 6
    episode_limit: int = 7


class Slots(NamedTuple):
    nu: dict[str, Any]
    count: Any


class Network(eqx.Module):
    weight: jax.Array
    bias: jax.Array
    activation: Callable[[Any], Any]
    width: int


def episode(number: int, sizes: EpisodeSizes) -> Episode:
    rng = np.random.default_rng(number)
    steps = int(rng.integers(1, sizes.episode_limit + 1))
    return Episode(
        observation=rng.standard_normal((steps + 1, sizes.agents, sizes.observation)),
        state=rng.standard_normal((steps + 1, sizes.state)),
        available=rng.random((steps + 1, sizes.agents, sizes.actions)) < 0.5,
        action=rng.integers(0, sizes.actions, (steps, sizes.agents)),
        reward=rng.standard_normal(steps),
        terminated=bool(rng.random() < 0.5),
        won=bool(rng.random() < 0.5),
    )


def filled_ring(count: int, capacity: int = CAPACITY, dtype: str = "float16") -> Ring:
    ring = Ring(Sizes(), capacity, dtype)
    extend(ring, count)
    return ring


def extend(ring: Ring, count: int) -> None:
    while ring.total_added < count:
        ring.add(episode(ring.total_added, ring.sizes))


def small_state(seed: int) -> dict[str, Any]:
    """A little of everything that a learner's state may hold."""
    rng = np.random.default_rng(seed)
    weight = rng.standard_normal((4, 3)).astype(np.float32)
    weight[0] = [np.nan, -0.0, 1e-42]
    return {
        "network": Network(jnp.asarray(weight), jnp.arange(3.0) + seed, jax.nn.relu, 4),
        "optimizer": Slots({"smax/3m.w": jnp.asarray(rng.random((2, 5)) < 0.5)}, jnp.int32(seed)),
        "half": jnp.asarray(rng.standard_normal(7), jnp.bfloat16),
        "compact": np.arange(seed, seed + 4, dtype=np.int64),
        "scalar": np.float64(seed / 3),
        "weak": jnp.asarray(0.1 + seed),
        "empty": jnp.zeros((0, 3)),
        "key": jax.random.key(seed),
        "old_key": jax.random.PRNGKey(seed),
        "number": seed,
        "real": seed / 7,
        "flag": seed % 2 == 0,
        "nothing": None,
    }


def assert_same_state(got: Any, wanted: Any) -> None:
    assert str(jax.tree.structure(got)) == str(jax.tree.structure(wanted))
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(wanted), strict=True):
        assert type(a) is type(b)
        if isinstance(b, jax.Array) and jnp.issubdtype(b.dtype, jax.dtypes.prng_key):
            assert a.dtype == b.dtype
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        if isinstance(b, jax.Array):
            assert a.weak_type == b.weak_type
        if callable(b):
            assert a is b
        else:
            a, b = np.asarray(a), np.asarray(b)
            assert (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())


def assert_same_ring(got: Ring, wanted: Ring) -> None:
    """Every episode is where it was, and every draw the same."""
    assert (got.total_added, len(got)) == (wanted.total_added, len(wanted))
    for number in range(wanted.total_added - len(wanted), wanted.total_added):
        assert got.ending(number) == wanted.ending(number)
    slots = np.arange(len(wanted))
    if not len(wanted):
        return
    lengths = [
        wanted.ending(n)[0] for n in range(wanted.total_added - len(wanted), wanted.total_added)
    ]
    for a, b in zip(got.gather(slots, 7), wanted.gather(slots, 7), strict=True):
        assert a.dtype == b.dtype
        assert a.tobytes() == b.tobytes()
    assert max(lengths) == got.longest(slots)
    size = min(len(wanted), 5)
    for update in range(5):
        batches = [
            r.gather(r.sample_indices(size, 1, 4, seed=1, update=update), 7) for r in (got, wanted)
        ]
        for a, b in zip(*batches, strict=True):
            assert a.tobytes() == b.tobytes()


def restored(folder: Path, ring: Ring, **options: Any) -> Any:
    """What a new process finds."""
    return CheckpointStore(folder).restore(small_state(0), ring, **options)


def files(folder: Path) -> list[str]:
    return sorted(os.listdir(folder / "checkpoints"))


def needed_files(folder: Path) -> set[str]:
    """The manifests and what they name."""
    needed = set()
    for path in (folder / "checkpoints").glob("*.json"):
        manifest = json.loads(path.read_text())
        records = manifest["state"] + [segment["file"] for segment in manifest["segments"]]
        needed |= {path.name} | {record["name"] for record in records}
    return needed


def saved_run(folder: Path, counts: Sequence[int] = (5, 9, 15)) -> Ring:
    """A run that has saved at these numbers of episodes; step and state are the count."""
    store, ring = CheckpointStore(folder), Ring(Sizes(), CAPACITY)
    for count in counts:
        extend(ring, count)
        store.save(count, small_state(count), {"episodes": count}, ring)
    return ring


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of 15 episodes, for tests that copy it."""
    folder = tmp_path_factory.mktemp("original")
    saved_run(folder)
    return folder


@pytest.fixture
def run(original: Path, tmp_path: Path) -> Path:
    """Three checkpoints were saved in it, at 5, 9 and 15 episodes; the last two are there."""
    return Path(shutil.copytree(original, tmp_path / "run"))


def test_everything_comes_back_bit_for_bit(run: Path) -> None:
    ring = filled_ring(15)
    other = filled_ring(3)
    found = restored(run, other)
    assert (found.step, found.counters, found.skipped) == (15, {"episodes": 15}, [])
    assert_same_state(found.state, small_state(15))
    assert_same_ring(other, ring)
    extend(ring, 22)
    extend(other, 22)
    assert_same_ring(other, ring)


def test_restored_state_can_be_donated_and_changed(run: Path) -> None:
    found = restored(run, Ring(Sizes(), CAPACITY))
    found.state["compact"][0] = 0
    step = jax.jit(lambda x: x + 1, donate_argnums=0)
    before = np.array(found.state["half"])
    np.testing.assert_array_equal(step(found.state["half"]), before + 1)
    assert found.state["half"].is_deleted()


@settings(max_examples=8, deadline=None)
@given(
    grown=st.lists(st.integers(0, 30), min_size=1, max_size=5),
    capacity=st.integers(1, 10),
    dtype=st.sampled_from(["float16", "float32"]),
    resume=st.booleans(),
)
def test_rings_of_any_age_come_back(
    tmp_path_factory: pytest.TempPathFactory,
    grown: list[int],
    capacity: int,
    dtype: str,
    resume: bool,
) -> None:
    folder = tmp_path_factory.mktemp("run")
    ring, store = Ring(Sizes(), capacity, dtype), CheckpointStore(folder)
    for step, more in enumerate(grown):
        extend(ring, ring.total_added + more)
        store.save(step, {"x": jnp.arange(3)}, {}, ring)
        if resume:
            store, ring = CheckpointStore(folder), Ring(Sizes(), capacity, dtype)
            assert store.restore({"x": jnp.zeros(3, jnp.int32)}, ring) is not None
    again = Ring(Sizes(), capacity, dtype)
    CheckpointStore(folder).restore({"x": jnp.zeros(3, jnp.int32)}, again)
    assert_same_ring(again, filled_ring(sum(grown), capacity, dtype))
    shutil.rmtree(folder)


def test_two_are_kept_and_segments_only_while_needed(tmp_path: Path) -> None:
    store, ring = CheckpointStore(tmp_path), Ring(Sizes(), CAPACITY)
    # At 17 the ring of 12 begins with episode 5, at 21 with 9, at 40 all before are gone.
    for serial, (count, segments) in enumerate(
        ((5, [1]), (9, [1, 2]), (17, [1, 2, 3]), (21, [2, 3, 4]), (40, [3, 4, 5]), (40, [5])), 1
    ):
        extend(ring, count)
        store.save(count, {"count": count}, {}, ring)
        wanted = {f"episodes-{k:06d}.bin" for k in segments}
        for k in (serial, max(1, serial - 1)):
            wanted |= {f"checkpoint-{k:06d}.json", f"state-{k:06d}.safetensors"}
        assert set(files(tmp_path)) == wanted == needed_files(tmp_path)
        again = Ring(Sizes(), CAPACITY)
        found = CheckpointStore(tmp_path).restore({"count": 0}, again)
        assert found is not None
        assert found.state == {"count": count}
        assert_same_ring(again, ring)


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def flip_header(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(b"[" + content[1:])


MANIFEST, SEGMENT, STATE = (
    "checkpoint-000003.json",
    "episodes-000003.bin",
    "state-000003.safetensors",
)
DAMAGE: dict[str, Callable[[Path], object]] = {
    "manifest truncated": lambda c: truncate(c / "checkpoint-000003.json"),
    "manifest empty": lambda c: (c / "checkpoint-000003.json").write_bytes(b""),
    "manifest changed": lambda c: (c / "checkpoint-000003.json").write_text(
        (c / "checkpoint-000003.json").read_text().replace('"episodes": 15', '"episodes": 16')
    ),
    "manifest of something else": lambda c: (c / "checkpoint-000003.json").write_text(
        '{"kind": 1}'
    ),
    "manifest no object": lambda c: (c / "checkpoint-000003.json").write_text("[1]"),
    "segment missing": lambda c: (c / "episodes-000003.bin").unlink(),
    "segment truncated": lambda c: truncate(c / "episodes-000003.bin"),
    "segment changed": lambda c: flip(c / "episodes-000003.bin"),
    "segment header changed": lambda c: flip_header(c / "episodes-000003.bin"),
    "state missing": lambda c: (c / STATE).unlink(),
    "state truncated": lambda c: truncate(c / STATE),
    "state changed": lambda c: flip(c / STATE),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_newest_gives_way_to_the_one_before(run: Path, damage: str) -> None:
    DAMAGE[damage](run / "checkpoints")
    store, ring = CheckpointStore(run), Ring(Sizes(), CAPACITY)
    found = store.restore(small_state(0), ring)
    assert found is not None
    assert (found.step, found.counters) == (9, {"episodes": 9})
    (line,) = found.skipped
    file = {"manifest": MANIFEST, "segment": SEGMENT, "state": STATE}[damage.split()[0]]
    assert line.startswith(f"checkpoint 3 is damaged: {file}")
    assert "\n" not in line
    assert_same_state(found.state, small_state(9))
    assert_same_ring(ring, filled_ring(9))
    # The run goes on from there, and the damaged one is gone.
    extend(ring, 14)
    store.save(14, small_state(14), {}, ring)
    assert "checkpoint-000003.json" not in files(run)
    again = Ring(Sizes(), CAPACITY)
    found = restored(run, again)
    assert (found.step, found.skipped) == (14, [])
    assert_same_ring(again, filled_ring(14))


def test_one_bad_byte_in_a_shared_segment_costs_one_episode(run: Path) -> None:
    """Both checkpoints need the first segment: the newest state comes back, and all other episodes."""
    segment = run / "checkpoints" / "episodes-000001.bin"
    content = bytearray(segment.read_bytes())
    content[-3] ^= 1  # in the last of its episodes, number 4
    segment.write_bytes(content)
    store, ring = CheckpointStore(run), Ring(Sizes(), CAPACITY)
    found = store.restore(small_state(0), ring)
    assert found is not None
    assert (found.step, found.counters) == (15, {"episodes": 15})
    assert_same_state(found.state, small_state(15))
    whole = filled_ring(15)
    assert (whole.first, len(ring)) == (3, 11)
    numbers = [n for n in range(whole.first, 15) if n != 4]
    for number, was in enumerate(numbers, ring.first):
        assert ring.ending(number) == whole.ending(was)
        for name, rows in ring.stored(number).items():
            np.testing.assert_array_equal(rows, whole.stored(was)[name])
    assert [line.split(":")[0] for line in found.skipped[:2]] == [
        "checkpoint 3 is damaged",
        "checkpoint 2 is damaged",
    ]
    assert "checkpoint 3 goes on without 1 of its 12 replay episodes" in found.skipped[2]
    assert "not be bit-identical" in found.skipped[2]
    # The run goes on, and its next checkpoint stands by itself.
    extend(ring, 20)
    store.save(20, small_state(20), {}, ring)
    segment.unlink()
    again = Ring(Sizes(), CAPACITY)
    assert restored(run, again).skipped == []
    assert_same_ring(again, ring)


def test_damage_in_episodes_that_have_left_the_ring_costs_nothing(run: Path) -> None:
    segment = run / "checkpoints" / "episodes-000001.bin"
    content = bytearray(segment.read_bytes())
    content[content.index(b"\n") + 1] ^= 1  # in episode 0
    segment.write_bytes(content)
    ring = Ring(Sizes(), CAPACITY)
    found = restored(run, ring)
    assert found.step == 15
    [line] = found.skipped
    assert line.endswith("but in nothing that is still needed")
    assert_same_ring(ring, filled_ring(15))


@pytest.mark.parametrize("damage", ["missing", "truncated", "header", "ending"])
def test_of_a_damaged_segment_whole_episodes_come_back(run: Path, damage: str) -> None:
    segment = (
        run / "checkpoints" / "episodes-000001.bin"
    )  # episodes 0 to 4, of which the ring has 3 and 4
    content = segment.read_bytes()
    header, rows = content.split(b"\n", 1)
    changed = json.loads(header)
    changed["episodes"][4][2] = not changed["episodes"][4][2]  # whether it was won
    segment.write_bytes(
        {
            "missing": b"",
            "truncated": content[:-1],
            "header": b"x" + content[1:],
            "ending": json.dumps(changed).encode() + b"\n" + rows,
        }[damage]
    )
    ring = Ring(Sizes(), CAPACITY)
    found = restored(run, ring)
    assert found.step == 15
    assert len(ring) == (11 if damage in ("truncated", "ending") else 10)


def test_when_all_states_are_damaged_that_is_an_error_and_nothing_changes(run: Path) -> None:
    for serial in (2, 3):
        flip(run / "checkpoints" / f"state-{serial:06d}.safetensors")
    before = files(run)
    with pytest.raises(
        UserError, match=r"is whole: checkpoint 3 is damaged: state-000003.safetensors"
    ) as refusal:
        restored(run, Ring(Sizes(), CAPACITY))
    assert "\n" not in str(refusal.value)
    assert files(run) == before


def test_a_manifest_that_is_gone_is_said(run: Path) -> None:
    (run / "checkpoints" / MANIFEST).unlink()
    found = restored(run, Ring(Sizes(), CAPACITY))
    assert (found.step, len(found.skipped)) == (9, 1)
    assert found.skipped[0].startswith(
        "checkpoint 3 has no manifest: checkpoint-000003.json is gone"
    )
    (run / "checkpoints" / "checkpoint-000002.json").unlink()
    with pytest.raises(UserError, match=r"has lost its manifests \(checkpoint-000003.json"):
        restored(run, Ring(Sizes(), CAPACITY))


def test_checkpoints_of_orbax_are_refused_but_counted(run: Path) -> None:
    """Format 1, of version 0.1.0 until November 2026."""
    for path in (run / "checkpoints").glob("*.json"):
        sign(path, {"format": 1})
    record = {"versions": {"mast-marl": "0.1.0"}, "git_commit": "db7f6d7" + 33 * "0"}
    (run / "config.json").write_text(json.dumps(record))
    assert CheckpointStore(run).peek() == (15, {"episodes": 15})
    for attempt in (
        lambda: restored(run, Ring(Sizes(), CAPACITY)),
        lambda: CheckpointStore(run).state_arrays(),
    ):
        with pytest.raises(
            UserError, match=r"by Mast 0.1.0 \(commit db7f6d700000\), with Orbax.* mast evaluate"
        ):
            attempt()


def sign(path: Path, change: dict[str, Any]) -> None:
    """Changes a manifest so that its checksum is right."""
    content = json.loads(path.read_text()) | change
    del content["sha256"]
    content["sha256"] = _digest(content)
    path.write_text(json.dumps(content))


def test_nothing_saved(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path / "run")
    assert store.restore({}, Ring(Sizes(), CAPACITY)) is None
    assert store.peek() is None
    assert not (tmp_path / "run").exists()


def test_peek_reads_the_counters(run: Path) -> None:
    assert CheckpointStore(run).peek() == (15, {"episodes": 15})
    truncate(run / "checkpoints" / "checkpoint-000003.json")
    assert CheckpointStore(run).peek() == (9, {"episodes": 9})


def test_at_most_goes_back_and_forgets_the_newer(run: Path) -> None:
    store, ring = CheckpointStore(run), Ring(Sizes(), CAPACITY)
    assert store.restore(small_state(0), ring, at_most=8) is None
    found = store.restore(small_state(0), ring, at_most=14)
    assert found is not None
    assert (found.step, found.skipped) == (9, [])
    assert_same_ring(ring, filled_ring(9))
    store.save(10, small_state(10), {}, ring)
    assert restored(run, ring).step == 10
    assert "checkpoint-000003.json" not in files(run)


def test_other_formats_are_refused(run: Path) -> None:
    path = run / "checkpoints" / "checkpoint-000003.json"
    sign(path, {"format": 3})
    for attempt in (
        lambda: restored(run, Ring(Sizes(), CAPACITY)),
        lambda: CheckpointStore(run).peek(),
    ):
        with pytest.raises(UserError, match=r"format 3, this version of Mast reads format 2$"):
            attempt()


def test_foreign_folders_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    (folder / ".DS_Store").touch()
    CheckpointStore(tmp_path)
    (folder / "thesis.tex").touch()
    with pytest.raises(UserError, match=r"no checkpoint folder: it holds 'thesis.tex'$"):
        CheckpointStore(tmp_path)
    shutil.rmtree(folder)
    folder.touch()
    with pytest.raises(UserError, match=r"cannot be read: Not a directory$"):
        CheckpointStore(tmp_path)


def test_saving_into_another_run_is_refused(run: Path) -> None:
    ring = filled_ring(15)
    before = files(run)
    with pytest.raises(UserError, match="already holds checkpoints"):
        CheckpointStore(run).save(1, {}, {}, ring)
    assert files(run) == before


def test_what_does_not_fit_is_refused(run: Path) -> None:
    store, ring = CheckpointStore(run), filled_ring(2, 13)
    with pytest.raises(UserError, match=r"capacity was saved as 12, this run has 13$"):
        store.restore(small_state(0), ring)
    assert ring.total_added == 2
    with pytest.raises(UserError, match=r"dtype was saved as float16, this run has float32$"):
        store.restore(small_state(0), Ring(Sizes(), CAPACITY, "float32"))
    with pytest.raises(UserError, match=r"agents was saved as 3, this run has 4$"):
        store.restore(small_state(0), Ring(Sizes(agents=4), CAPACITY))
    template = small_state(0)
    template["half"] = jnp.zeros(8, jnp.bfloat16)
    with pytest.raises(UserError, match=r"half was saved as .*\[7\]\], this run has .*\[8\]\]$"):
        store.restore(template, Ring(Sizes(), CAPACITY))
    del template["half"]
    with pytest.raises(UserError, match=r"half was saved as .*, this run has None$"):
        store.restore(template, Ring(Sizes(), CAPACITY))


def test_wrong_calls(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    store.save(1, {"a": jnp.ones(1)}, {}, filled_ring(5))
    with pytest.raises(ValueError, match="has had 4 episodes, saved were 5"):
        store.save(2, {"a": jnp.ones(1)}, {}, filled_ring(4))
    with pytest.raises(ValueError, match=r"named a.b"):
        store.save(2, {"a": {"b": 1}, "a.b": 2}, {}, filled_ring(6))
    with pytest.raises(ValueError, match="at least one"):
        CheckpointStore(tmp_path, keep=0)


def test_a_disk_that_fails_is_one_line_and_the_last_checkpoint_stays(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Files above 50 kB are refused here: once in the state, once in the segment."""
    noise = np.random.default_rng(0).standard_normal(50_000)
    for state, episodes in ((small_state(16) | {"large": noise}, 16), (small_state(16), 500)):
        folder = tmp_path / str(episodes)
        folder.mkdir()
        store, ring = CheckpointStore(folder), Ring(Sizes(), 5000)
        extend(ring, 15)
        store.save(15, small_state(15), {}, ring)
        extend(ring, episodes)
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
        try:
            with pytest.raises(UserError, match=r"no checkpoint can be .*: File too large$"):
                store.save(16, state, {}, ring)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        found = CheckpointStore(folder).restore(small_state(0), Ring(Sizes(), 5000))
        assert found is not None
        assert (found.step, found.skipped) == (15, [])
        # There is room again.
        store.save(16, state, {}, ring)
        assert set(files(folder)) == needed_files(folder)
    assert capfd.readouterr() == ("", "")


class Killed(BaseException):
    """The process ends here."""


AFTER_RENAME = 0


def kill_at(monkeypatch: pytest.MonkeyPatch, call: int) -> None:
    """Ends at the n-th of the calls after which the disk holds something else than before.

    `AFTER_RENAME` is the first one after the manifest's rename.
    """
    calls, renamed = 0, False

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def replacement(*args: Any, **options: Any) -> Any:
            nonlocal calls, renamed
            calls += 1
            if calls == call or (call == AFTER_RENAME and renamed):
                raise Killed
            renamed |= function is replace
            return function(*args, **options)

        return replacement

    replace = Path.replace
    monkeypatch.setattr(os, "fsync", counted(os.fsync))
    monkeypatch.setattr(Path, "replace", counted(Path.replace))
    monkeypatch.setattr(Path, "unlink", counted(Path.unlink))
    monkeypatch.setattr(shutil, "rmtree", counted(shutil.rmtree))


def test_killed_at_any_moment_of_a_save(original: Path, tmp_path: Path) -> None:
    """What is left is the checkpoint before or the new one, whole; and the run goes on from it."""
    steps, template = [], small_state(0)
    for call in range(AFTER_RENAME, 100):
        folder = tmp_path / str(call)
        shutil.copytree(original, folder)
        store, ring = CheckpointStore(folder), Ring(Sizes(), CAPACITY)
        assert store.restore(template, ring) is not None
        extend(ring, 30)
        with pytest.MonkeyPatch.context() as patch:
            kill_at(patch, call)
            try:
                store.save(30, small_state(30), {}, ring)
                break
            except Killed:
                pass
        store, ring = CheckpointStore(folder), Ring(Sizes(), CAPACITY)
        found = store.restore(template, ring)
        assert found is not None
        assert found.skipped == []
        assert_same_state(found.state, small_state(found.step))
        assert_same_ring(ring, filled_ring(found.step))
        steps.append(found.step)
        if call % 4 == 1:
            extend(ring, 33)
            store.save(33, small_state(33), {}, ring)
            assert set(files(folder)) == needed_files(folder)
        shutil.rmtree(folder)
    else:
        pytest.fail("the save never came to its end")
    assert steps[:2] == [30, 15]  # after the rename; at the first call of all
    assert set(steps) == {15, 30}


def test_leftovers_are_ignored_and_cleaned(tmp_path: Path) -> None:
    """Also before the first checkpoint."""
    folder = tmp_path / "checkpoints"
    for count, serial in ((0, 1), (5, 3)):
        folder.mkdir(exist_ok=True)
        (folder / f"state-{serial:06d}.safetensors").write_bytes(b"{")
        (folder / f"episodes-{serial:06d}.bin").write_bytes(b"{")
        (folder / f"checkpoint-{serial:06d}.json.tmp").write_bytes(b"{")
        store, ring = CheckpointStore(tmp_path), Ring(Sizes(), CAPACITY)
        found = store.restore(small_state(0), ring)
        assert (found.step if found else 0) == count
        extend(ring, count + 5)
        store.save(count + 5, small_state(count + 5), {}, ring)
        kinds = [name.split("-")[0] for name in files(tmp_path)]
        kept = 1 if count == 0 else 2
        assert kinds == ["checkpoint"] * kept + ["episodes"] * kept + ["state"] * kept


SAVING_PROGRAM = """
import sys
from pathlib import Path
from test_checkpoint import CAPACITY, Sizes, extend, small_state
from mast.learning.replay import Ring
from mast.training.checkpoint import CheckpointStore

ring, store = Ring(Sizes(), CAPACITY), CheckpointStore(Path(sys.argv[1]))
found = store.restore(small_state(0), ring)
count = found.step if found else 0
while True:
    count += 3
    extend(ring, count)
    store.save(count, small_state(count), {}, ring)
    print(count, flush=True)
"""


def test_kill_9_while_it_saves_over_and_over(tmp_path: Path) -> None:
    announced = 0
    for delay in (0.03, 0.11):
        with subprocess.Popen(
            [sys.executable, "-c", SAVING_PROGRAM, str(tmp_path)],
            cwd=Path(__file__).parent,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(delay)
            process.send_signal(signal.SIGKILL)
            announced = max([announced, *map(int, process.stdout.read().split())])
        ring = Ring(Sizes(), CAPACITY)
        found = restored(tmp_path, ring)
        assert found.step >= announced
        assert_same_state(found.state, small_state(found.step))
        assert_same_ring(ring, filled_ring(found.step))


def test_looking_at_checkpoints_does_not_import_jax() -> None:
    program = "import sys, mast.training.checkpoint; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


def test_saving_and_restoring_say_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Standard output belongs to the command line."""
    saved_run(tmp_path)
    restored(tmp_path, Ring(Sizes(), CAPACITY))
    assert capfd.readouterr() == ("", "")
    assert [record.message for record in caplog.records] == []
