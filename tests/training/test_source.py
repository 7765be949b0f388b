"""What a run takes over from an earlier one: tickets, rewinding, one-shot pruning, and refusals."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from mast.config import load_run_config, resolve
from mast.errors import UserError
from mast.runs.trainer import Trainer
from mast.sparsity.masks import leaf_path
from mast.training.source import INITIAL_FILE

pytestmark = pytest.mark.usefixtures("shared_programs")

SMALL = {
    "environment": "examples.pursuit:Pursuit",
    "steps": 700,
    "sparsity": 0.7,
    "batch_size": 8,
    "hidden_size": 8,
    "evolve_interval": 10,
    "eval_interval": 500,
    "eval_episodes": 8,
    "execution": "masked",
}


def train(out: Path, **settings: Any) -> Trainer:
    trainer = Trainer(resolve(SMALL | settings), out)
    trainer.run()
    return trainer


def arrays(tree: Any) -> dict[str, np.ndarray]:
    return {leaf_path(p): np.asarray(x) for p, x in jax.tree_util.tree_leaves_with_path(tree)}


@pytest.fixture(scope="module")
def mast(tmp_path_factory: pytest.TempPathFactory) -> Trainer:
    return train(tmp_path_factory.mktemp("mast") / "run", method="mast", seed=3)


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory) -> Trainer:
    return train(tmp_path_factory.mktemp("dense") / "run", method="dense")


def test_the_first_weights_are_kept_before_the_mask(mast: Trainer) -> None:
    assert mast.out is not None
    kept = load_file(mast.out / INITIAL_FILE)
    assert kept.keys() == arrays(mast.state.params).keys()
    assert all((values != 0).mean() > 0.99 for values in kept.values())


def test_a_winning_ticket_has_the_final_mask_and_fresh_weights(
    mast: Trainer, tmp_path: Path
) -> None:
    ticket = Trainer(
        resolve(SMALL | {"method": "winning-ticket", "from_run": str(mast.out), "sparsity": 0.5}),
        tmp_path / "ticket",
    )
    assert ticket.config.sparsity == 0.7
    assert any("sparsity 0.7: that of the mask" in notice for notice in ticket.notices)
    masks = arrays(ticket.state.optimizer.masks)
    for name, mask in arrays(mast.state.optimizer.masks).items():
        np.testing.assert_array_equal(masks[name], mask)
    weights, before = arrays(ticket.state.params), arrays(mast.state.params)
    assert not any(np.array_equal(weights[name], before[name]) for name in masks)
    ticket.run()
    for name, mask in arrays(ticket.state.optimizer.masks).items():
        np.testing.assert_array_equal(masks[name], mask)


def test_a_rewound_ticket_begins_with_that_runs_first_weights(
    mast: Trainer, tmp_path: Path
) -> None:
    assert mast.out is not None
    given = {"method": "winning-ticket", "from_run": str(mast.out), "initial_weights": "initial"}
    ticket = Trainer(resolve(SMALL | given), tmp_path / "ticket")
    first = load_file(mast.out / INITIAL_FILE)
    masks = arrays(ticket.state.optimizer.masks)
    for name, weight in arrays(ticket.state.params).items():
        expected = np.where(masks[name], first[name], 0) if name in masks else first[name]
        np.testing.assert_array_equal(weight, expected)


def test_one_shot_keeps_the_largest_weights_of_a_dense_run(dense: Trainer, tmp_path: Path) -> None:
    given = {"method": "one-shot", "from_run": str(dense.out), "sparsity": 0.7}
    pruned = Trainer(resolve(SMALL | given), tmp_path / "pruned")
    before = arrays(dense.state.params)
    masks = arrays(pruned.state.optimizer.masks)
    for name, weight in arrays(pruned.state.params).items():
        if name not in masks:
            np.testing.assert_array_equal(weight, before[name])
            continue
        mask = masks[name]
        np.testing.assert_array_equal(weight, np.where(mask, before[name], 0))
        if not mask.all():
            assert abs(before[name][mask]).min() >= abs(before[name][~mask]).max()
    assert pruned.densities[0] == pytest.approx(0.3, abs=0.01)


def test_a_ticket_that_was_killed_at_once_starts_again(mast: Trainer, tmp_path: Path) -> None:
    given = {"method": "winning-ticket", "from_run": str(mast.out)}
    first = Trainer(resolve(SMALL | given), tmp_path / "ticket")
    first.close()
    again = Trainer.resume(tmp_path / "ticket")
    for name, mask in arrays(first.state.optimizer.masks).items():
        np.testing.assert_array_equal(arrays(again.state.optimizer.masks)[name], mask)


@pytest.mark.parametrize(
    ("source", "settings", "message"),
    [
        ("mast", {"method": "one-shot"}, "must be a dense run, it is of method mast"),
        ("dense", {"method": "winning-ticket"}, "a run of method dense has no mask"),
        ("mast", {"method": "winning-ticket", "hidden_size": 16}, "its hidden_size is 8"),
        ("mast", {"method": "winning-ticket", "algorithm": "vdn"}, "its algorithm is qmix"),
        (
            "mast",
            {"method": "winning-ticket", "environment": "mpe/simple_spread"},
            "its environment is examples.pursuit:Pursuit, this run's is mpe/simple_spread",
        ),
        ("nowhere", {"method": "winning-ticket"}, "is no run: no such folder"),
    ],
)
def test_a_run_that_does_not_fit_is_refused(
    source: str,
    settings: dict[str, Any],
    message: str,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    run = tmp_path / "nowhere" if source == "nowhere" else request.getfixturevalue(source).out
    config = resolve(SMALL | settings | {"from_run": str(run)})
    with pytest.raises(UserError, match=message):
        Trainer(config, tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("execution", ["masked", "compact"])
def test_a_warm_start_begins_where_the_run_ended(
    mast: Trainer, tmp_path: Path, execution: str
) -> None:
    """In another environment of the same shapes, with other targets; the optimizer begins anew."""
    given = {
        "environment": "examples.pursuit:Pursuit",
        "env_args": {"size": 8},
        "method": "rigl",
        "execution": execution,
    }
    trainer = Trainer(resolve(SMALL | given | {"from_run": str(mast.out)}), tmp_path / "warm")
    assert (trainer.config.initial_weights, trainer.config.initial_mask) == ("final", "run")
    assert any("begins with the weights and masks of" in notice for notice in trainer.notices)
    state, before = trainer.engine.team(trainer.state, 0), mast.engine.team(mast.state, 0)
    jax.tree.map(np.testing.assert_array_equal, state.params, before.params)
    jax.tree.map(np.testing.assert_array_equal, state.target, before.params)
    for name, mask in arrays(before.optimizer.masks).items():
        np.testing.assert_array_equal(arrays(state.optimizer.masks)[name], mask)
    moments = jax.tree.leaves(state.optimizer.inner)
    assert not any(np.any(np.asarray(each)) for each in moments)
    if execution == "masked":
        assert trainer.run()["env_steps"] >= 700
        record = load_run_config(tmp_path / "warm")
        assert record.from_run == str(mast.out)


def test_a_dense_run_warms_a_dense_one(dense: Trainer, tmp_path: Path) -> None:
    given = {"method": "dense", "from_run": str(dense.out)}
    trainer = Trainer(resolve(SMALL | given), tmp_path / "warm")
    assert (trainer.config.initial_weights, trainer.config.initial_mask) == ("final", "ones")
    jax.tree.map(np.testing.assert_array_equal, trainer.state.params, dense.state.params)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sparsity": 0.5}, "other networks: sparsity 0.7 there, 0.5 here"),
        (
            {"hidden_size": 16, "sharing": "independent"},
            "other networks: hidden_size 8 there, 16 here; sharing shared there, independent here",
        ),
        ({"algorithm": "vdn"}, "other networks: algorithm qmix there, vdn here"),
        (
            {"normalise_observations": True},
            "other networks: normalise_observations False there, True here",
        ),
        (
            {"environment": "mpe/simple_spread"},
            "other shapes: agents 2 there, 3 here; observation 6 there, 18 here; state 6 there, 54 here",
        ),
        ({"method": "dense"}, "other networks: sparsity 0.7 there, 0.0 here"),
        ({"method": "magnitude"}, "method magnitude begins dense, a run of method mast is sparse"),
        ({"sharing": "seps"}, "sharing = seps draws anew"),
    ],
)
def test_what_does_not_fit_a_warm_start_is_named(
    mast: Trainer, tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    more = {"seps_steps": 100} if settings.get("sharing") == "seps" else {}
    config = resolve(SMALL | settings | more | {"from_run": str(mast.out)})
    with pytest.raises(UserError, match=message):
        Trainer(config, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_warm_start_takes_the_statistics_of_observations(tmp_path: Path) -> None:
    settings = {"normalise_observations": True, "method": "dense", "steps": 200}
    first = train(tmp_path / "first", **settings)
    warm = Trainer(resolve(SMALL | settings | {"from_run": str(first.out)}), tmp_path / "warm")
    jax.tree.map(
        np.testing.assert_array_equal,
        warm.engine.observing.of_run(0),
        first.engine.observing.of_run(0),
    )


@pytest.mark.parametrize(
    ("stated", "weights", "mask"),
    [
        ({}, "final", "run"),
        ({"initial_weights": "fresh"}, "fresh", "run"),
        ({"initial_mask": "random"}, "final", "random"),
        ({"initial_mask": "largest"}, "final", "largest"),
        ({"initial_weights": "initial"}, "initial", "random"),
        ({"method": "dense"}, "final", "ones"),
    ],
)
def test_an_earlier_run_fills_only_what_is_not_stated(
    stated: dict[str, Any], weights: str, mask: str
) -> None:
    config = resolve(SMALL | {"method": "rigl", "from_run": "before"} | stated)
    assert (config.initial_weights, config.initial_mask) == (weights, mask)


@pytest.mark.parametrize(
    ("stated", "mask"),
    [
        ({"initial_mask": "largest"}, "largest"),
        ({"initial_mask": "random"}, "random"),
        ({"method": "dense"}, "ones"),
    ],
)
def test_settings_that_take_nothing_from_a_run_are_refused(
    stated: dict[str, Any], mask: str
) -> None:
    given = {"method": "rigl", "from_run": "before", "initial_weights": "fresh"}
    with pytest.raises(
        UserError, match=f"from_run = before: .* initial_mask = {mask} take nothing"
    ):
        resolve(SMALL | given | stated)


@pytest.mark.parametrize("settings", [{"pattern": "2:4", "sparsity": 0.5}, {"sharing": "snp"}])
def test_a_warm_start_keeps_a_pattern_and_drawn_parts(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    """What is drawn from a run's seed is that run's too, though this one has another."""
    settings = {
        "method": "set",
        "steps": 200,
        "eval_interval": 200,
        "evolve_interval": 1,
    } | settings
    first = train(tmp_path / "first", **settings, seed=3)
    given = settings | {"from_run": str(first.out), "seed": 4}
    warm = Trainer(resolve(SMALL | given), tmp_path / "warm")
    assert (warm.config.initial_weights, warm.config.initial_mask) == ("final", "run")
    before = arrays(first.state.params)
    assert before.keys() == arrays(warm.state.params).keys()
    for name, array in arrays(warm.state.params).items():
        np.testing.assert_array_equal(array, before[name])
    masks = arrays(first.state.optimizer.masks)
    for name, mask in arrays(warm.state.optimizer.masks).items():
        np.testing.assert_array_equal(mask, masks[name])
    if "sharing" in settings:
        own = arrays(Trainer(resolve(SMALL | settings | {"seed": 4})).state.params)
        parts = [name for name, array in own.items() if array.dtype == bool]
        assert any((own[name] != before[name]).any() for name in parts)
    warm.run()
    if "pattern" in settings:
        grown = arrays(warm.state.optimizer.masks)
        for mask in (each for each in grown.values() if each.shape[1] % 4 == 0):
            assert np.all(mask.reshape(-1, 4).sum(1) == 2)
