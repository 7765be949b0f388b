"""The examples of sparse networks, each in tiny form, with compact weights that evolve."""

import csv
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sklearn")

from examples import sparse_digits, sparse_dqn
from examples.sparse_arms import Arm, Result, arms, network_of, record, weights_of

SRIGL = Arm("SRigL", 0.9, "fan-in")


def test_digits_are_learnt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sparse_digits, "INTERVAL", 100)
    result = sparse_digits.train(SRIGL, 0, width=64, steps=400)
    assert result.score > 60  # percent; chance is 10
    assert result.seconds > 0 < result.compile_seconds
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


def test_targets_are_those_of_double_dqn_by_hand() -> None:
    import jax
    import jax.numpy as jnp

    # A row of a network says what it is worth to go left and right where the observation is that row's.
    online, target = np.array([[3.0, 1.0], [2.0, 5.0]]), np.array([[9.0, 4.0], [7.0, 6.5]])
    batch = sparse_dqn.Memory(
        observation=jnp.eye(2)[jnp.array([0, 1, 0])],
        action=jnp.array([1, 0, 0]),
        reward=jnp.ones(3),
        after=jnp.eye(2)[jnp.array([1, 0, 1])],
        ends=jnp.array([False, False, True]),
    )

    def loss(values):
        return sparse_dqn.loss_of(
            lambda row: row @ values, lambda row: row @ jnp.asarray(target), batch
        )

    # The online network chooses (right in row 1, left in row 0), the target network says what it is worth.
    errors = np.array([1.0 - (1 + 0.98 * 6.5), 2.0 - (1 + 0.98 * 9.0), 3.0 - 1.0])
    assert float(loss(jnp.asarray(online))) == pytest.approx(np.mean(errors**2) / 2)
    # Nothing flows through the targets.
    expected = np.array([[errors[2], errors[0]], [errors[1], 0.0]]) / 3
    np.testing.assert_allclose(jax.grad(loss)(jnp.asarray(online)), expected, rtol=1e-5)


def test_a_small_dense_network_has_as_many_numbers() -> None:
    import jax

    network = network_of(Arm("small dense", size_of=0.95), 4, 2, 512, jax.random.key(0))
    most = 0.05 * 512 * (4 + 512 + 2) + 512 + 512 + 2
    assert network.layers[0].out_features == 115
    assert most - 2 * 115 - 8 < weights_of(network) <= most


def test_a_row_tells_where_it_was_measured(tmp_path: Path) -> None:
    for seed in (10, 11):
        record(tmp_path / "rows.csv", SRIGL, seed, Result(491.25, 3.0, 1.5, 1234))
    with (tmp_path / "rows.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["seed"] for row in rows] == ["10", "11"]
    assert rows[1]["arm"] == "SRigL 90%"
    assert float(rows[1]["score"]) == 491.25
    assert all(rows[1][name] for name in ("commit", "machine", "jax", "compile_seconds"))


def test_every_arm_has_a_name_of_its_own() -> None:
    labels = [arm.label for arm in arms((0.9, 0.98))]
    assert labels == ["dense", "small dense 95%", "RigL 90%", "SRigL 90%", "RigL 98%", "SRigL 98%"]
