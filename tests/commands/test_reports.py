"""`mast evaluate`, `info`, `envs` and `methods`."""

from pathlib import Path
from typing import Any

import pytest
from played import last_json

from mast.cli import main
from mast.config import METHODS, Config, write_run_record


def test_evaluate_plays_every_seed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from mast.commands import evaluate

    def play(path: Path, config: Config, episodes: int, seed: int) -> dict[str, Any]:
        assert (episodes, seed) == (16, 7)
        interval = {"mean": 0.5, "low": 0.25, "high": 0.75}
        first = "seed-1" in str(path)
        return {
            "win_rate": interval if first else None,
            "return": interval,
            "episode_length": {"mean": 20.0 if first else 23.0, "low": 19.0, "high": 24.0},
            "sampled_return": {"mean": 1.0 if first else 3.0, "low": 0.0, "high": 4.0},
            "episodes": episodes,
            "environment": "played",
            "policy": str(path),
        }

    monkeypatch.setattr(evaluate, "_play", play)
    config = Config(environment="smax/3m", seed=1, seeds=2)
    write_run_record(tmp_path, config, {"environment": "smax/3m", "seed": 1, "seeds": 2})
    for folder in ("seed-1", "seed-2"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "policy-best.safetensors").touch()
    line = ["evaluate", str(tmp_path), "--episodes", "16", "--seed", "7", "--checkpoint", "best"]
    assert main([*line, "--json"]) == 0
    out = capsys.readouterr().out
    assert "0.250 to 0.750" in out
    result = last_json(out)
    assert result["episodes"] == 16
    assert result["win_rate"] is None
    assert result["return"] == {"mean": 0.5, "low": 0.25, "high": 0.75}
    assert len(result["runs"]) == 2
    between = result["between_seeds"]
    assert between["win_rate"] is None
    assert between["return"] == {"mean": 0.5, "deviation": 0.0}
    # Two numbers 3 apart lie 1.5 from their mean: √(2 · 1.5² / (2 − 1)).
    assert between["episode_length"] == {"mean": 21.5, "deviation": pytest.approx(4.5**0.5)}
    assert "episode length of 2 seeds: 21.500 ± 2.121 (standard deviation between seeds)" in out
    assert between["sampled_return"] == {"mean": 2.0, "deviation": pytest.approx(2**0.5)}
    assert "return, sampled of 2 seeds: 2.000 ± 1.414" in out
    assert "win rate of" not in out


def test_info_tells_size_flops_and_layers(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "smax/3m", "--sparsity", "0.95", "--hidden-size", "32", "--json"]) == 0
    out = capsys.readouterr().out
    result = last_json(out)
    assert result["settings"]["hidden_size"] == 32
    assert result["density"] == pytest.approx(0.05, abs=0.002)
    assert 0 < result["flops_train_ratio"] < 0.1
    assert {"agent", "mixer"} == {layer["network"] for layer in result["layers"]}
    assert sum(layer["active"] for layer in result["layers"]) < result["parameters"]
    assert "gru_hidden" in out
    assert "hidden_size=32" in out
    assert "parameters of the acting network, ids aside, as a mean over masks\n" in out
    assert main(["info", "smax/3m", "--method", "dense"]) == 0
    assert "parameters of the acting network, ids aside\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            ["--sparsity", "0.95"],
            "0.0005 × 10.04 = 0.00502 for every parameter, after 75% of the run",
        ),
        (["--sparsity", "0.95", "--anneal-begin-fraction", "1"], "= 0.00502 for every parameter ("),
        (["--method", "dense"], "0.0005 × 1.00 = 0.0005 for every parameter ("),
        (["--preset", "paper"], "0.0005 × 1.00 = 0.0005 for every parameter ("),
        (
            ["--method", "tiny", "--final-learning-rate", "0.0001"],
            "= 0.0005 for every parameter, after 75% of the run in a straight line to 0.0001 (",
        ),
    ],
)
def test_info_tells_the_steps(
    capsys: pytest.CaptureFixture[str], given: list[str], said: str
) -> None:
    assert main(["info", "smax/2s3z", *given]) == 0
    assert said in " ".join(capsys.readouterr().out.split())


def test_info_counts_how_a_run_would_be_pruned(capsys: pytest.CaptureFixture[str]) -> None:
    line = ["info", "smax/3m", "--method", "magnitude", "--json", "--prune-begin-fraction"]
    ratios = []
    for begin in ("0.1", "0.5"):
        assert main([*line, begin]) == 0
        ratios.append(last_json(capsys.readouterr().out)["flops_train_ratio"])
    assert ratios[0] < ratios[1]


def test_info_of_a_run_says_how_far_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from mast.training.logging import MetricsWriter

    given = {"environment": "smax/3m", "sparsity": 0.8}
    write_run_record(tmp_path, Config(**given), given)
    assert main(["info", str(tmp_path)]) == 0
    assert "no evaluation yet" in capsys.readouterr().out
    MetricsWriter(tmp_path, tensorboard=False).write({"env_steps": 5000, "win_rate": 0.25})
    assert main(["info", str(tmp_path), "--json"]) == 0
    out = capsys.readouterr().out
    assert "last evaluation at 5,000 env steps, win rate 0.25" in out
    assert last_json(out)["out"] == str(tmp_path)


def test_envs_and_methods_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["envs", "--json"]) == 0
    out = capsys.readouterr().out
    assert "smax/27m_vs_30m" in out
    assert {"id", "agents", "actions"} <= last_json(out)["environments"][0].keys()
    assert main(["methods", "--json"]) == 0
    out = capsys.readouterr().out
    assert [method["name"] for method in last_json(out)["methods"]] == list(METHODS)
    assert "targets=hybrid" in out
    assert main(["methods", "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")
