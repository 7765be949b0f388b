"""The examples of sparse networks, each in tiny form, with compact weights that evolve."""

import pytest

pytest.importorskip("sklearn")

from examples import sparse_digits, sparse_dqn
from examples.sparse_arms import Arm, arms

SRIGL = Arm("SRigL", 0.9, "fan-in")


def test_digits_are_learnt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sparse_digits, "INTERVAL", 100)
    result = sparse_digits.train(SRIGL, 0, width=64, steps=400)
    assert result.score > 60  # percent; chance is 10
    assert result.seconds > 0
    sparse = round(0.1 * (64 * 64 + 64 * 64 + 10 * 64))
    # Budgets are rounded to a whole fan-in: one weight for each row at most.
    assert abs(result.weights - sparse - (64 + 64 + 10)) < 64 + 64 + 10


def test_a_dqn_plays_and_evolves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sparse_dqn, "CHUNK", 20)
    result = sparse_dqn.train(SRIGL, 0, width=32, updates=200)
    assert 8 <= result.score <= 500
    assert result.weights < 32 * (4 + 32 + 2) / 2


def test_running_out_of_time_is_no_end() -> None:
    import jax
    import jax.numpy as jnp

    _, games = jax.vmap(sparse_dqn.GAME.reset_env, (0, None))(
        jax.random.split(jax.random.key(0), 2), sparse_dqn.RULES
    )
    late = sparse_dqn.RULES.max_steps_in_episode - 1
    games = games.replace(time=jnp.full(2, late), theta=jnp.array([0.0, 0.5]))  # one falls
    following, *_, ends, done = sparse_dqn.play(jax.random.key(1), games, jnp.zeros(2, int))
    assert done.tolist() == [True, True]
    assert ends.tolist()[0] is False
    assert following.time.tolist() == [0, 0]


def test_every_arm_has_a_name_of_its_own() -> None:
    labels = [arm.label for arm in arms((0.9, 0.98))]
    assert labels == ["dense", "RigL 90%", "SRigL 90%", "RigL 98%", "SRigL 98%"]
