"""Settings: layers of defaults, bounds, one-line refusals, config.json."""

import itertools
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given as hypothesis_given
from hypothesis import strategies as st

import mast
from mast.config import (
    ENVIRONMENT_DEFAULTS,
    METHODS,
    Config,
    allowed,
    default_text,
    given_of,
    limit_threads,
    load_config_file,
    load_run_config,
    load_run_record,
    notices,
    resolve,
    run_record,
    seed_configs,
    usable_cpus,
    write_run_record,
)
from mast.configuration.suggestions import OTHER_NAMES, meant_setting
from mast.configuration.text import NUMERIC, kinds
from mast.errors import UserError

SOURCE = Path(mast.__file__).parent
GIVEN: dict[str, Any] = {"environment": "smax/3m"}
OWN: dict[str, Any] = {"environment": "my.package:Game"}
"""An environment for which there are no defaults."""


def refusal(**given: Any) -> str:
    with pytest.raises(UserError) as caught:
        resolve(GIVEN | given)
    message = str(caught.value)
    assert "\n" not in message
    return message


# The layers.


def naming(method: str) -> dict[str, Any]:
    """What must be given for a method."""
    needs_run = method in ("winning-ticket", "one-shot")
    return {"method": method} | ({"from_run": "runs/before"} if needs_run else {})


@pytest.mark.parametrize("method", METHODS)
def test_a_method_is_its_overrides_and_nothing_else(method: str) -> None:
    config = resolve(OWN | naming(method))
    changed = {
        name
        for name, info in Config.model_fields.items()
        if name not in ("environment", "method", "from_run")
        and getattr(config, name) != info.get_default()
    }
    assert changed == set(METHODS[method].overrides)
    for name, value in METHODS[method].overrides.items():
        assert getattr(config, name) == value


def test_mast_is_the_papers() -> None:
    config = resolve(OWN)
    assert config.method == "mast"
    assert (config.operator, config.soft_mellowmax_alpha, config.omega) == (
        "soft_mellowmax",
        1.0,
        10.0,
    )
    assert (config.td_lambda, config.burn_in_fraction) == (0.8, 0.375)
    assert config.targets == "hybrid"
    assert (config.batch_size, config.online_batch) == (32, 12)
    assert (config.buffer_episodes, config.online_episodes) == (5000, 128)
    assert config.growth == "gradient"


def test_an_algorithm_has_its_own_numbers_and_mast_others_on_it() -> None:
    assert resolve(OWN | {"algorithm": "owqmix"}).td_lambda == 0.6
    assert resolve(OWN | {"algorithm": "owqmix", "method": "rigl"}).td_lambda == 0.6
    assert resolve(OWN | {"method": "rigl"}).td_lambda == 0.8
    assert resolve(OWN | {"algorithm": "cwqmix", "method": "dense"}).epsilon_steps == 100_000
    for method in ("dense", "rigl", "mast", "random-ticket"):
        res = resolve(OWN | {"algorithm": "res", "method": method})
        assert res.operator == "res_softmax"
    soft = resolve(OWN | {"algorithm": "res", "operator": "soft_mellowmax"})
    assert soft.operator == "soft_mellowmax"


def test_presets_are_a_sources_numbers_below_the_users() -> None:
    res = OWN | {"algorithm": "res"}
    assert resolve(res).softmax_beta == 5.0
    assert resolve(res | {"preset": "res-mast"}).softmax_beta == 5.0
    assert resolve(res | {"preset": "res-authors"}).softmax_beta == 0.05
    assert resolve(res | {"preset": "res-authors", "softmax_beta": 1}).softmax_beta == 1.0
    assert resolve(OWN | {"preset": "wqmix-authors"}).weight_alpha == 0.5
    later = resolve(OWN | {"preset": "mast-later"})
    assert (later.online_episodes, later.online_batch, later.batch_size) == (100, 8, 32)
    assert resolve(OWN | {"method": "rigl", "preset": "mast-later"}).online_batch == 0


@pytest.mark.parametrize("method", METHODS)
def test_what_was_given_is_found_again(method: str) -> None:
    config = resolve(GIVEN | naming(method) | {"algorithm": "owqmix", "steps": 777})
    assert resolve(given_of(config)) == config


@pytest.mark.parametrize(
    ("given", "growth"),
    [
        ({}, "gradient"),
        ({"pattern": "fan-in"}, "relative_gradient"),
        ({"pattern": "n:16", "method": "rigl"}, "relative_gradient"),
        ({"pattern": "2:4", "sparsity": 0.5}, "relative_gradient"),
        ({"pattern": "block-4x4"}, "relative_gradient"),
        ({"pattern": "neuron"}, "gradient"),
        ({"pattern": "fan-in", "growth": "gradient"}, "gradient"),
        ({"pattern": "fan-in", "preset": "paper"}, "gradient"),
        ({"pattern": "fan-in", "method": "set"}, "random"),
        ({"pattern": "fan-in", "method": "ss"}, "none"),
        ({"pattern": "tests.sparsity.test_patterns:OWN"}, "gradient"),
    ],
)
def test_with_a_pattern_weights_grow_by_relative_gradient(
    given: dict[str, Any], growth: str
) -> None:
    config = resolve(GIVEN | given)
    assert config.growth == growth
    assert resolve(given_of(config)) == config


@pytest.mark.parametrize(
    ("given", "epsilon_steps"),
    [
        ({}, 50_000),
        ({"steps": 500_000}, 50_000),
        ({"steps": "5e5", "algorithm": "owqmix"}, 100_000),
        ({"steps": 499_999}, 49_999),
        ({"steps": 20_000}, 2_000),
        ({"steps": "20_000", "algorithm": "cwqmix"}, 4_000),
        ({"steps": 2e4, "algorithm": "res"}, 2_000),
        ({"steps": 1}, 1),
        ({"steps": 20_000, "preset": "paper"}, 50_000),
        ({"steps": 20_000, "preset": "wqmix-authors", "algorithm": "owqmix"}, 100_000),
        ({"steps": 20_000, "epsilon_steps": 50_000}, 50_000),
    ],
)
def test_exploration_follows_the_steps_of_a_short_run(
    given: dict[str, Any], epsilon_steps: int
) -> None:
    config = resolve(GIVEN | given)
    assert config.epsilon_steps == epsilon_steps
    assert resolve(config.model_dump() | {"steps": 900_000}).epsilon_steps == epsilon_steps
    assert resolve(given_of(config)) == config
    late = config.steps < epsilon_steps
    assert any("training ends at ε = " in notice for notice in notices(GIVEN | given)) == late


def test_the_help_says_how_exploration_follows_the_steps() -> None:
    text = "min(50,000, steps/10), owqmix min(100,000, steps/5), cwqmix min(100,000, steps/5)"
    assert default_text("epsilon_steps") == text


def test_what_the_user_gives_wins_over_the_method() -> None:
    assert resolve(GIVEN | {"td_lambda": 0.6, "growth": "none"}).td_lambda == 0.6


def test_method_wins_over_environment_and_environment_over_the_field(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(ENVIRONMENT_DEFAULTS, "my.", {"operator": "max", "mixer_embed": 50})
    config = resolve(OWN)
    assert config.operator == "soft_mellowmax"
    assert config.mixer_embed == 50
    assert resolve({"environment": "your.package:Game"}).mixer_embed == 32
    assert default_text("mixer_embed") == "32, my.* 50"


def test_a_resolved_config_resolves_to_itself() -> None:
    config = resolve(GIVEN | {"method": "set", "steps": 5000})
    assert resolve(config.model_dump()) == config


def test_dense_ignores_sparsity_and_says_so() -> None:
    given = GIVEN | {"method": "dense", "sparsity": "0.95"}
    assert resolve(given).sparsity == 0.0
    assert notices(given) == ["method dense ignores sparsity = 0.95"]
    assert notices(GIVEN | {"method": "dense"}) == []
    assert notices(GIVEN | {"sparsity": 0.95}) == []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"operator": "max", "omega": 5, "soft_mellowmax_alpha": 2, "double_q": "true"},
            [
                "no effect of omega: needs operator = mellowmax or soft_mellowmax",
                "no effect of soft_mellowmax_alpha: needs operator = soft_mellowmax",
            ],
        ),
        (
            {"method": "rigl", "td_lambda": 0.5},
            ["no effect of td_lambda: needs targets = td_lambda or hybrid"],
        ),
        ({"method": "ss", "drop": "random"}, ["no effect of drop: the mask stays (growth = none)"]),
        (
            {"method": "rigl", "online_episodes": 64},
            ["no effect of online_episodes: needs an online_share above 0"],
        ),
        ({"weight_alpha": 0.5}, ["no effect of weight_alpha: needs algorithm = owqmix or cwqmix"]),
        (
            {"epochs": 4, "minibatches": 3},
            ["no effect of epochs, minibatches: algorithm qmix replays whole episodes"],
        ),
        (
            {"method": "dense", "anneal_begin_fraction": 0.5},
            [
                "no effect of anneal_begin_fraction: the learning rate stays (needs final_learning_rate)"
            ],
        ),
        (
            {"final_learning_rate": 1e-4, "anneal_begin_fraction": 1.0},
            ["no effect of final_learning_rate: needs an anneal_begin_fraction below 1"],
        ),
        ({"method": "tiny", "final_learning_rate": 1e-4, "anneal_begin_fraction": 0.5}, []),
        ({"sparsity": 0.9, "anneal_begin_fraction": 1.0}, []),
        (
            {"algorithm": "maa2c", "targets": "hybrid", "td_lambda": 0.5, "hidden_layers": 2},
            ["no effect of targets, td_lambda: algorithm maa2c learns on policy"],
        ),
        (
            {"algorithm": "vdn", "mixer_embed": 16, "hypernet_hidden": 16},
            [
                "no effect of mixer_embed: needs algorithm = qmix or owqmix or cwqmix or res",
                "no effect of hypernet_hidden: needs algorithm = qmix or owqmix or cwqmix or qplex or res",
            ],
        ),
        (
            {"algorithm": "maa2c", "replay_dtype": "float32", "rms_decay": 0.9},
            [
                "no effect of replay_dtype: algorithm maa2c learns on policy",
                "no effect of rms_decay: needs optimizer = rmsprop",
            ],
        ),
        (
            {"algorithm": "owqmix", "operator": "max", "weights_from": "online_restricted"},
            ["no effect of weights_from: needs operator = softmax or soft_mellowmax"],
        ),
        (
            {"method": "magnitude", "drop_fraction": 0.2, "drop": "random"},
            ["no effect of drop_fraction: nothing grows (growth = none)"],
        ),
        (
            {"method": "dense", "step_exponent": 0.5, "allocation": "uniform"},
            ["no effect of allocation, step_exponent: method dense stays dense"],
        ),
        ({"method": "tiny", "allocation": "uniform"}, []),
        (
            {"preset": "paper", "step_cap": 5},
            ["no effect of step_cap: needs a step_exponent above 0"],
        ),
        (
            {"sharing": "independent", "agent_gradient": "mean"},
            [
                "no effect of agent_gradient: under sharing = independent each weight is of one agent"
            ],
        ),
        (
            {"algorithm": "maa2c", "rewards": "team", "team_reward": "mean"},
            ["no effect of rewards, team_reward: smax/3m pays the team"],
        ),
        (
            {"environment": "lbf/lbf1", "algorithm": "maa2c", "team_reward": "mean"},
            ["no effect of team_reward: needs rewards = team"],
        ),
        ({"environment": "lbf/lbf1", "team_reward": "mean"}, []),
        (
            {"environment": "lbf/lbf1", "battle": "jax"},
            ["no effect of battle: lbf/lbf1 is none of SMAX's battles"],
        ),
        ({"algorithm": "qplex", "hypernet_hidden": 16, "battle": "jax"}, []),
        ({"algorithm": "owqmix", "weight_alpha": 0.5, "omega": 5, "td_lambda": 0.5}, []),
        ({"algorithm": "ippo", "epochs": 4, "ppo_clip": 0.1, "discount": 0.9}, []),
        ({"method": "rlx2", "window_drop": 0.2, "n_step": 2, "double_q": "false"}, []),
        ({"method": "rigl", "td_lambda": 0.8}, []),
        ({"method": "magnitude", "prune_end_fraction": 0.5, "evolve_interval": 100}, []),
        ({"algorithm": "tests.test_extending:OWN", "epochs": 4}, []),
    ],
)
def test_a_setting_that_the_run_does_not_read_is_said(
    given: dict[str, Any], said: list[str]
) -> None:
    assert notices(GIVEN | given) == said


def test_an_actor_critic_says_that_of_a_method_it_has_the_mask_alone() -> None:
    (notice,) = notices(GIVEN | {"algorithm": "maa2c", "method": "mast"})
    assert notice.startswith("method mast: algorithm maa2c takes its mask alone")
    assert notices(GIVEN | {"algorithm": "maa2c", "method": "rigl"}) == []


def test_a_config_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        resolve(GIVEN).steps = 3  # type: ignore[misc]


# Text from the command line.


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("steps", "500000", 500_000),
        ("steps", "2_000_000", 2_000_000),
        ("steps", "2e6", 2_000_000),
        ("steps", "2.5e5", 250_000),
        ("learning_rate", "1e-3", 1e-3),
        ("threads", "none", None),
        ("reward_scale", "None", None),
        ("growth", "none", "none"),
        ("double_q", "false", False),
        ("snapshots", "0,0.5,1", (0.0, 0.5, 1.0)),
        ("snapshots", "none", None),
        ("episode_limit", "smac", "smac"),
        ("episode_limit", "1e2", 100),
        ("episode_limit", "none", None),
    ],
)
def test_text_is_read(name: str, text: str, value: Any) -> None:
    assert getattr(resolve(GIVEN | {name: text}), name) == value


@hypothesis_given(steps=st.integers(min_value=1, max_value=10**12))
def test_whole_numbers_are_read_exactly(steps: int) -> None:
    assert resolve(GIVEN | {"steps": str(steps)}).steps == steps


# Refusals.


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"sparsity": 1.0}, "sparsity = 1.0: must be a number at least 0 and below 1"),
        ({"snapshots": "0,2"}, "snapshots = 0,2: each must be at least 0 and at most 1"),
        (
            {"snapshots": "half"},
            "snapshots = half: must be shares of training such as 0,0.25,0.5,1, or none",
        ),
        ({"sparsity": -1}, "sparsity = -1: must be a number at least 0 and below 1"),
        ({"sparsity": "nan"}, "sparsity = nan: must be a number at least 0 and below 1"),
        (
            {"method": "dense", "sparsity": 1},
            "sparsity = 1: must be a number at least 0 and below 1",
        ),
        ({"steps": 0}, "steps = 0: must be a whole number at least 1 and at most 1000000000000"),
        (
            {"steps": "many"},
            "steps = many: must be a whole number at least 1 and at most 1000000000000",
        ),
        (
            {"steps": 1.5},
            "steps = 1.5: must be a whole number at least 1 and at most 1000000000000",
        ),
        ({"learning_rate": "inf"}, "learning_rate = inf: must be a number above 0 and at most 10"),
        (
            {"eval_episodes": 0},
            "eval_episodes = 0: must be a whole number at least 1 and at most 100000",
        ),
        (
            {"threads": 0},
            "threads = 0: must be a whole number at least 1 and at most 1024, or none",
        ),
        ({"double_q": "maybe"}, "double_q = maybe: must be true or false"),
        (
            {"learning_rate": True},
            "learning_rate = true: must be a number above 0 and at most 10",
        ),
        (
            {"episode_limit": True},
            "episode_limit = true: must be a whole number at least 1 and at most 1000000, or smac, or none",
        ),
        (
            {"snapshots": [False, True]},
            "snapshots = false: must be shares of training such as 0,0.25,0.5,1, or none",
        ),
        (
            {"method": "dense", "sparsity": False},
            "sparsity = false: must be a number at least 0 and below 1",
        ),
        (
            {"method": None},
            "method = None: must be one of dense, tiny, ss, set, rigl, rlx2, mast, random-ticket, "
            "winning-ticket, magnitude, one-shot",
        ),
        (
            {"algorithm": "qmx"},
            "algorithm = qmx: must be one of iql, vdn, qmix, owqmix, cwqmix, qplex, res, maa2c, ippo, "
            "mappo, or package.module:ENTRY (did you mean qmix?)",
        ),
        ({"sparisty": 0.5}, "unknown setting 'sparisty' (did you mean sparsity?)"),
        ({"sparisty": 0.5, "steps": 0}, "unknown setting 'sparisty' (did you mean sparsity?)"),
        (
            {"batch_size": 64, "buffer_episodes": 32},
            "batch_size = 64: must be at most buffer_episodes = 32",
        ),
        (
            {"online_episodes": 4},
            "online_share = 0.375: 12 episodes of the batch, more than the 4 online_episodes",
        ),
        ({"method": "one-shot"}, "method = one-shot: needs --from RUN"),
        ({"initial_weights": "initial"}, "initial_weights = initial: needs --from RUN"),
        ({"operator": "res_softmax"}, "operator = res_softmax: needs algorithm = res"),
        (
            {"density_per_agent": "0.1,0.2"},
            "density_per_agent = 0.1,0.2: needs sharing = independent",
        ),
        (
            {"density_per_agent": "0.1,x", "sharing": "independent"},
            "density_per_agent = x: must be numbers such as 0.14,0.06,0.06, or none",
        ),
        (
            {"density_per_agent": "0.1,2", "sharing": "independent"},
            "density_per_agent = 0.1,2.0: each must be above 0 and at most 1",
        ),
        (
            {"buffer_episodes": 100},
            "online_episodes = 128: must be at most buffer_episodes = 100",
        ),
        (
            {"warmup_env_steps": 500, "steps": 500},
            "warmup_env_steps = 500: must be below steps = 500",
        ),
        ({"seed": 2**31 - 1, "seeds": 2}, "seeds = 2: the last seed would pass 2147483647"),
        (
            {"method": "dense", "growth": "random"},
            "growth = random: method dense has no mask to evolve",
        ),
        ({"pruning": "cubic"}, "pruning = cubic: needs initial_mask = ones"),
        ({"widths": "tiny"}, "widths = tiny: needs method = tiny"),
        (
            {"method": "rlx2", "buffer_episodes": 400},
            "window_floor = 500: must be below buffer_episodes = 400",
        ),
        (
            {"method": "magnitude", "prune_begin_fraction": 0.8},
            "prune_begin_fraction = 0.8: must be at most prune_end_fraction = 0.75",
        ),
    ],
)
def test_a_refusal_names_setting_value_and_what_is_allowed(
    given: dict[str, Any], message: str
) -> None:
    assert refusal(**given) == message


@pytest.mark.parametrize(
    "name", [name for name, info in Config.model_fields.items() if NUMERIC & {*kinds(info)}]
)
@pytest.mark.parametrize("value", [True, False])
def test_true_and_false_are_no_numbers(name: str, value: bool) -> None:
    assert refusal(**{name: value}).startswith(f"{name} = {str(value).lower()}: must be ")


def test_an_algorithm_is_told_from_a_method() -> None:
    assert refusal(method="qmix").endswith("(did you mean --algorithm qmix?)")
    assert refusal(algorithm="mast").endswith("(did you mean --method mast?)")


def test_names_of_other_libraries_suggest_ours() -> None:
    assert not set(OTHER_NAMES) & set(Config.model_fields)
    for name, ours in OTHER_NAMES.items():
        assert refusal(**{name: 1}) == f"unknown setting {name!r} (did you mean {ours}?)"
    for name, ours in (("LR", "learning_rate"), ("N-Envs", "parallel_envs"), ("pre", "preset")):
        assert refusal(**{name: 1}) == f"unknown setting {name!r} (did you mean {ours}?)"
    assert meant_setting("lr", ["log", "steps"]) is None
    assert meant_setting("--", ["log", "steps"]) is None


def test_an_environment_must_be_given_and_exist() -> None:
    with pytest.raises(UserError, match="environment: missing"):
        resolve({})
    assert "smax/3n" in refusal(environment="smax/3n")
    assert resolve({"environment": "my.package:Game"}).environment == "my.package:Game"


def test_long_values_are_cut_in_the_message() -> None:
    assert len(refusal(steps="x\n" * 1000)) < 150


# What the help is made of.


@pytest.mark.parametrize("name", [name for name in Config.model_fields if name != "environment"])
def test_every_setting_is_explained(name: str) -> None:
    info = Config.model_fields[name]
    extra = info.json_schema_extra
    assert info.description
    assert isinstance(extra, dict)
    assert extra["group"]
    assert extra["source"]
    assert allowed(name)
    assert default_text(name)


READ_THROUGH = {"online_share": "online_batch", "rewards": "learns_from_team"}
"""Settings that are read as a property of the configuration."""


def test_every_setting_is_read_somewhere() -> None:
    own = {SOURCE / "config.py", *(SOURCE / "configuration").iterdir()}
    text = "\n".join(path.read_text() for path in SOURCE.rglob("*.py") if path not in own)
    unread = [
        name
        for name in Config.model_fields
        if name != "preset"  # read where defaults are layered
        and not re.search(rf"\b_?configs?(\[\w+\])?\.{READ_THROUGH.get(name, name)}\b", text)
    ]
    assert unread == []


def test_config_is_read_without_jax() -> None:
    code = "import sys, mast.config; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# config.json.


def test_config_json_gives_the_run_back(tmp_path: Path) -> None:
    given = GIVEN | {"steps": "1e4", "method": "rigl", "episode_limit": "smac"}
    config = resolve(given)
    write_run_record(tmp_path, config, given)
    assert load_run_config(tmp_path) == config
    started_from = load_config_file(tmp_path / "config.json")
    assert started_from == GIVEN | {"steps": 10_000, "method": "rigl", "episode_limit": "smac"}
    assert load_config_file(tmp_path) == started_from
    record = load_run_record(tmp_path)
    assert record["format"] == 1
    assert {"settings", "versions", "git_commit", "cpu_count", "command"} <= set(record)
    assert record["versions"]["jax"]
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_a_runs_settings_do_not_follow_new_defaults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_run_record(tmp_path, resolve(OWN), OWN)
    monkeypatch.setitem(ENVIRONMENT_DEFAULTS, "my.", {"mixer_embed": 50})
    assert load_run_config(tmp_path).mixer_embed == 32
    assert resolve(load_config_file(tmp_path)).mixer_embed == 50


def test_denses_ignored_sparsity_is_kept_for_the_next_run() -> None:
    given = GIVEN | {"method": "dense", "sparsity": "0.95"}
    again = run_record(resolve(given), given)["given"] | {"method": "mast"}
    assert resolve(again).sparsity == 0.95


@pytest.mark.parametrize("method", ["dense", "tiny"])
def test_a_run_that_stays_dense_has_no_pattern_and_says_so(method: str) -> None:
    given = GIVEN | {"method": method}
    patterned = given | {"pattern": "fan-in"}
    assert resolve(patterned) == resolve(given)
    (notice,) = set(notices(patterned)) - set(notices(given))
    assert notice == f"method {method} stays dense and ignores pattern = fan-in"
    assert resolve(patterned | {"method": "mast"}).pattern == "fan-in"
    with pytest.raises(UserError, match="pattern = fann: must be one of"):
        resolve(given | {"pattern": "fann"})


def test_a_plain_file_of_settings_is_accepted(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text('{"environment": "smax/3m", "hidden_size": 32}')
    assert resolve(load_config_file(path)).hidden_size == 32


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "damaged or no JSON"),
        ("[1]", "must be a JSON object"),
        ('{"format": 2, "given": {}}', "format = 2"),
        ('{"format": 1}', "'given' is missing"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(content)
    with pytest.raises(UserError, match=message):
        load_config_file(path)


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no config\.json"):
        load_run_config(tmp_path)
    with pytest.raises(UserError, match="no such folder"):
        load_run_config(tmp_path / "nowhere")
    with pytest.raises(UserError, match="cannot read"):
        load_config_file(tmp_path / "nowhere.json")


def test_an_exported_folder_is_told_from_a_run(tmp_path: Path) -> None:
    (tmp_path / "contract.json").write_text("{}")
    with pytest.raises(
        UserError, match="is no run: mast export or mast compact made it; mast eval"
    ):
        load_run_record(tmp_path)


def test_an_unknown_setting_of_a_run_is_refused(tmp_path: Path) -> None:
    write_run_record(tmp_path, resolve(GIVEN), GIVEN)
    record = json.loads((tmp_path / "config.json").read_text())
    record["settings"]["novelty"] = 1
    (tmp_path / "config.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match="unknown setting 'novelty'"):
        load_run_config(tmp_path)


# Several seeds, threads.


def test_seeds_stand_for_single_runs() -> None:
    runs = seed_configs(resolve(GIVEN | {"seed": 5, "seeds": 3}))
    assert [(run.seed, run.seeds) for run in runs] == [(5, 1), (6, 1), (7, 1)]


def test_threads_are_limited_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("PJRT_NPROC", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.delenv(variable, raising=False)
    cores = usable_cpus()
    limit_threads(None)
    assert usable_cpus() == cores
    monkeypatch.setenv("PJRT_NPROC", "")
    limit_threads(cores + 1)
    assert usable_cpus() == cores + 1
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.pop(variable)


def test_settings_are_listed_group_by_group() -> None:
    groups = [field.json_schema_extra["group"] for field in Config.model_fields.values()]
    assert [group for group, _ in itertools.groupby(groups)] == [
        "run",
        "environment",
        "networks",
        "sparse topology",
        "targets",
        "algorithms owqmix and cwqmix",
        "algorithm res",
        "replay",
        "on-policy learning",
        "optimizer",
        "exploration",
        "evaluation",
    ]
    assert list(Config.model_fields)[:3] == ["environment", "algorithm", "method"]


NUMBERS = [
    name
    for name, info in Config.model_fields.items()
    if any(kind in (int, float) for kind in kinds(info))
]


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", ["1e308", "inf", "nan", "-1e308", "9" * 400])
def test_every_number_has_bounds(name: str, value: str) -> None:
    with pytest.raises(UserError) as refusal:
        resolve({"environment": "smax/3m", name: value})
    message = str(refusal.value)
    assert message.startswith(f"{name} = ")
    assert "must be " in message
    assert len(message) < 200


def test_a_wrong_sharing_is_told_the_papers_names_too() -> None:
    with pytest.raises(UserError, match=r"one of shared \(fups\+id\), fups, seps"):
        resolve(GIVEN | {"sharing": "foo"})
    assert resolve(GIVEN | {"sharing": "fups+id"}).sharing == "shared"
