"""What is shown of an episode, and what becomes of a film."""

import subprocess
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from examples.pursuit import Pursuit
from PIL import Image

from export.teams import make_run, policy_of
from mast.config import resolve
from mast.envs.scene import ALLY, ENEMY, LANDMARK, Scene
from mast.envs.smax import Smax
from mast.errors import UserError
from mast.execution.account import sizes_of
from mast.execution.learner import Learner
from mast.export.recording import record_episodes
from mast.training.checkpoint import CheckpointStore
from mast.watching import ffmpeg as ffmpeg_module
from mast.watching.episodes import play_to_watch
from mast.watching.film import write_film
from mast.watching.mixer import mixer_of, mixer_without_weights
from watching.battles import ABOUT, battle, crowd


def test_what_is_shown_is_what_the_policy_does(tmp_path: Path) -> None:
    policy, environment = policy_of(make_run(tmp_path / "run")), Pursuit()
    mixer = mixer_without_weights(
        resolve({"environment": "examples.pursuit:Pursuit", "algorithm": "vdn"}), environment.spec
    )
    shown = play_to_watch(policy.agent, mixer, environment, 3, 0, 0.9)
    recorded = record_episodes(policy, environment, 3)
    for episode, truth in zip(shown, recorded, strict=True):
        np.testing.assert_array_equal(episode.action, truth.action)
        np.testing.assert_allclose(episode.q, truth.q, atol=1e-4)
        chosen = np.take_along_axis(truth.q, truth.action[..., None], -1)[..., 0]
        assert episode.q_tot is not None
        np.testing.assert_allclose(episode.q_tot, chosen.sum(-1), atol=1e-4)
        powers = 0.9 ** np.arange(len(episode.reward))
        np.testing.assert_allclose(episode.to_come[0], episode.reward @ powers, rtol=1e-5)
        assert episode.outcome == ("won" if episode.reward.sum() > 0 else "cut")
        assert episode.scene is None


def test_the_mixer_is_that_of_the_policy_or_none(tmp_path: Path) -> None:
    given = {"environment": "examples.pursuit:Pursuit", "hidden_size": 16}
    config, spec = resolve(given), Pursuit().spec
    shapes = jax.eval_shape(Learner(config, sizes_of(config, spec)).dense_params, jax.random.key(0))
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), "f4"), shapes)
    agent, values = params.agent, (jnp.ones((4, spec.agents)), jnp.ones((4, spec.state)))
    assert mixer_of(tmp_path, agent, config, spec) is None  # there is no checkpoint
    arrays = {
        jax.tree_util.keystr(path, simple=True, separator="."): np.asarray(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path({"params": params})
    }

    def stored(self: CheckpointStore) -> dict[str, Any]:
        return arrays

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CheckpointStore, "state_arrays", stored)
        mixer = mixer_of(tmp_path, agent, config, spec)
        assert mixer is not None
        np.testing.assert_allclose(mixer(*values), params.mixer(*values))
        arrays["params.agent.fc2.bias"] = arrays["params.agent.fc2.bias"] + 1
        assert mixer_of(tmp_path, agent, config, spec) is None  # that of another policy


def test_a_policy_that_draws_its_actions_shows_probabilities(tmp_path: Path) -> None:
    agent = policy_of(make_run(tmp_path / "run", sharing="snp", actor=True)).agent
    shown = play_to_watch(agent, None, Pursuit(), 1, 0, 0.9)[0]
    np.testing.assert_allclose(shown.q.sum(-1), 1, rtol=1e-5)
    assert (shown.q[~shown.available] == 0).all()
    np.testing.assert_array_equal(shown.q.argmax(-1), shown.action)
    config = resolve({"environment": "examples.pursuit:Pursuit", "algorithm": "maa2c"})
    assert mixer_of(tmp_path, agent, config, Pursuit().spec) is None


def test_smax_tells_where_the_units_are() -> None:
    env = Smax("2s3z")
    units, bits = 10, 6
    moments = np.zeros((3, units, 4 + bits), np.float32)
    moments[..., 0], moments[..., 1], moments[..., 2] = 0.5, 0.25, 0.75
    moments[..., 4 + 2] = 1  # stalkers, but the enemy's last
    moments[:, 9, 4:] = np.eye(bits)[3]
    moments[1, 3, 1:3] = 0.5
    moments[2, 3] = 0  # a dead unit is zeros
    state = np.concatenate([moments.reshape(3, -1), np.zeros((3, 2 * units))], 1)
    action = np.array([[0, 4, 5, 9, 4], [4, 4, 4, 4, 7]])
    scene = env.scene(state, action)
    np.testing.assert_array_equal(scene.position[0, 0], [8, 24])
    np.testing.assert_array_equal(scene.position[2, 3], [16, 16])
    assert scene.health is not None
    assert scene.health[2, 3] == 0 < scene.health[2, 2]
    assert scene.kinds[0] == "stalker"
    assert scene.kinds[9] == "zealot"
    assert scene.side[5:] == (ENEMY,) * 5
    assert scene.names[5] == "enemy_0"
    assert scene.target is not None
    np.testing.assert_array_equal(scene.target, [[-1, -1, 5, 9, -1], [-1, -1, -1, -1, 7]])


def test_a_medivac_aims_at_its_own_side_and_flies() -> None:
    env = Smax("MMM2")
    units, bits = 22, 8
    moments = np.zeros((2, units, 4 + bits), np.float32)
    moments[..., 0], moments[..., 4] = 1.0, 1.0
    moments[:, [9, 21], 4:] = np.eye(bits)[6]
    state = np.concatenate([moments.reshape(2, -1), np.zeros((2, 2 * units))], 1)
    action = np.array([[5, 16, 4, 0, 4, 4, 4, 4, 4, 7]])
    scene = env.scene(state, action)
    assert scene.target is not None
    np.testing.assert_array_equal(scene.target, [[10, 21, -1, -1, -1, -1, -1, -1, -1, 2]])
    assert scene.kinds[9] == scene.kinds[21] == "medivac"
    assert scene.flies is not None
    assert list(np.flatnonzero(scene.flies)) == [9, 21]
    assert scene.beam == (0.0,) * units
    assert Smax("2s3z").spec.unit_types[0] == "stalker"
    colossi = Smax("2c_vs_64zg")
    state = np.zeros((2, 66 * (4 + bits) + 2 * 66), np.float32)
    assert colossi.scene(state, np.array([[5, 68]])).beam == (2.8, 2.8, *(0.0,) * 64)


class StagedPursuit(Pursuit):
    """Two hunters on a plane, their prey left out."""

    names = ("hunter_0", "hunter_1")
    moments = 0

    def scene(self, state: Any, action: Any) -> Scene:
        places = np.asarray(state).reshape(len(state), 3, 2)[:, :2]
        return Scene(
            (0.0, 1.0), (0.0, 1.0), self.names, ("", ""), (ALLY, ALLY), (0.1, 0.1),
            places[self.moments :], None, None,
        )  # fmt: skip


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("names", ("one",), "kinds has 2 entries, names 1; see docs"),
        ("moments", 1, r"position has shape \(\d+, 2, 2\), must be \(\d+, 2, 2\); see"),
        ("moments", "x", "scene"),
    ],
)
def test_an_environments_own_scene(
    tmp_path: Path, field: str, value: Any, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent, environment = policy_of(make_run(tmp_path / "run")).agent, StagedPursuit()
    shown = play_to_watch(agent, None, environment, 1, 0, 0.9)[0]
    assert shown.scene is not None
    assert shown.scene.position.shape == (len(shown.reward) + 1, 2, 2)
    monkeypatch.setattr(StagedPursuit, field, value)
    with pytest.raises(UserError, match=message):
        play_to_watch(agent, None, environment, 1, 0, 0.9)


def test_particles_are_where_they_say() -> None:
    from mast.envs.mpe import SimpleSpread

    env = SimpleSpread()
    game, seen = env.reset(jax.random.key(1))
    scene = env.scene(np.asarray(seen.state)[None], np.zeros((0, 3), int))
    np.testing.assert_allclose(scene.position[0], game.p_pos, atol=1e-6)
    assert scene.side[3:] == (LANDMARK,) * 3


def test_a_gif_holds_every_step(tmp_path: Path) -> None:
    write_film(tmp_path / "new" / "team.gif", ABOUT, [battle(2), battle(1, "lost")])
    with Image.open(tmp_path / "new" / "team.gif") as film:
        assert film.size == (960, 540)
        durations = []
        for frame in range(film.n_frames):
            film.seek(frame)
            durations.append(film.info["duration"])
    # Equal pictures are stored once, and shown for longer: the last of an episode.
    assert len(durations) == 5
    assert sum(durations) == 250 * (2 + 6 + 1 + 6)


def test_an_mp4_is_made_by_ffmpeg_or_nothing_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "team.mp4"
    failing = tmp_path / "ffmpeg"
    failing.write_text("#!/bin/sh\necho no codec >&2\nexit 1\n")
    failing.chmod(0o755)
    monkeypatch.setattr("mast.watching.film.ffmpeg", lambda: str(failing))
    with pytest.raises(UserError, match=r"ffmpeg could not make the mp4: no codec"):
        write_film(out, ABOUT, [battle(1)])
    assert list(tmp_path.iterdir()) == [failing]
    monkeypatch.undo()
    try:
        program = ffmpeg_module.ffmpeg()
    except UserError as error:
        pytest.skip(str(error))
    write_film(out, ABOUT, [battle(1)])
    subprocess.run([program, "-v", "error", "-i", str(out), "-f", "null", "-"], check=True)


def test_the_return_is_rounded_once() -> None:
    assert battle(4).total == 4.0
    shown = str(crowd(9).total)
    assert shown == "0.0"  # neither -0.0 nor -0.0008
