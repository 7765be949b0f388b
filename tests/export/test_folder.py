"""`export_run`: the folder, its contract and its test vectors; what cannot be exported leaves nothing."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest
from teams import SPEC, make_run, policy_of

from mast.envs.registry import make
from mast.errors import SelfCheckError, UserError
from mast.export import c_build, check, kinds
from mast.export.contract import names_of
from mast.export.folder import export_run
from mast.export.load import load_exported
from mast.export.recording import record_episodes
from mast.policy import Policy
from mast.training.evaluation import evaluate_policy

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def run(tmp_path_factory: Any) -> Path:
    return make_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def onnx_folder(run: Path, tmp_path_factory: Any) -> Path:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    out = tmp_path_factory.mktemp("onnx") / "out"
    export_run(run, "onnx", out, episodes=2)
    return out


@pytest.fixture(scope="module")
def c_folder(run: Path, tmp_path_factory: Any) -> Path:
    out = tmp_path_factory.mktemp("c") / "out"
    export_run(run, "c", out, episodes=2)
    return out


def contract_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "contract.json").read_text())


def test_the_contract_says_what_the_team_needs(run: Path, c_folder: Path) -> None:
    contract = contract_of(c_folder)
    assert contract["kind"] == "c"
    policy = (run / "policy.safetensors").read_bytes()
    assert contract["policy"]["sha256"] == hashlib.sha256(policy).hexdigest()
    assert contract["policy"]["checkpoint"] == "last"
    assert contract["environment"]["id"] == SPEC.id
    assert contract["environment"]["identity"] == SPEC.identity
    assert [agent["name"] for agent in contract["agents"]] == ["hunter_0", "hunter_1"]
    assert contract["observation"]["features"][2:4] == ["other_x", "other_y"]
    # An environment need not say what its features are.
    nameless: Any = SimpleNamespace(spec=SPEC)
    assert names_of(nameless, "feature_names", SPEC.observation) is None
    assert contract["observation"]["size"] == 6
    assert contract["actions"]["size"] == 5
    assert contract["check"]["episodes"] == 2
    assert contract["check"]["largest_difference"] < 1e-4
    assert set(contract["files"]) == {"mast_agent.c", "mast_agent.h", "vectors.bin"}
    for name, digest in contract["files"].items():
        assert hashlib.sha256((c_folder / name).read_bytes()).hexdigest() == digest


def test_the_vectors_are_the_episodes_that_the_policy_plays(run: Path, c_folder: Path) -> None:
    facts = contract_of(c_folder)["vectors"]
    rows = np.fromfile(c_folder / facts["file"], "<f4").reshape(facts["rows"], facts["width"])
    ends = np.cumsum([column["width"] for column in facts["columns"]])
    names = [column["name"] for column in facts["columns"]]
    parts = dict(zip(names, np.split(rows, ends[:-1], axis=1), strict=True))
    assert ends[-1] == facts["width"]
    policy, memory, last_episode = policy_of(run), None, -1
    for row in range(0, len(rows), 2):
        if parts["episode"][row, 0] != last_episode:
            last_episode, memory = parts["episode"][row, 0], None
            assert parts["step"][row, 0] == 0
        np.testing.assert_array_equal(parts["agent"][row : row + 2, 0], [0, 1])
        team = slice(row, row + 2)
        action, memory = policy.act(
            parts["observation"][team], parts["available"][team] > 0, memory
        )
        np.testing.assert_array_equal(action, parts["action"][team, 0])
        np.testing.assert_allclose(memory.hidden, parts["hidden"][team], atol=1e-5)
        allowed = np.where(parts["available"][team] > 0, parts["q"][team], -np.inf)
        np.testing.assert_array_equal(allowed.argmax(1), action)
    assert last_episode == 1


def test_smax_and_mpe_name_every_feature() -> None:
    for id_ in ("smax/2s3z", "mpe/simple_spread"):
        environment: Any = make(id_)
        names = environment.feature_names
        assert len(set(names)) == len(names) == environment.spec.observation
        assert len(environment.action_names) == environment.spec.actions
    smax: Any = make("smax/2s3z")
    env_state, seen = smax.reset(jax.random.key(0))
    first = dict(zip(smax.feature_names, np.asarray(seen.observation[0]), strict=True))
    assert first["self.health"] == first["self.is_stalker"] == 1
    assert first["other_ally_0.is_stalker"] == first["other_ally_1.is_zealot"] == 1
    battle = env_state.battle
    place = np.asarray(battle.unit_positions)
    assert first["self.position_x"] == pytest.approx(place[0, 0] / 32, abs=1e-6)
    east = (place[1, 0] - place[0, 0]) / float(smax._battle.unit_type_sight_ranges[2])
    assert first["other_ally_0.position_x"] == pytest.approx(east, abs=1e-5)


@pytest.mark.parametrize("sharing", ["shared", "independent"])
def test_onnx_agrees_with_the_policy(tmp_path: Path, sharing: str) -> None:
    pytest.importorskip("onnxruntime")
    run = make_run(tmp_path / "run", sharing=sharing)
    contract = export_run(run, "onnx", tmp_path / "out", episodes=2)
    assert contract["check"]["largest_difference"] < 1e-5
    assert contract["check"]["same_action"] == contract["check"]["decisions"]


PLAIN = """
import sys, json
import numpy as np, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
seen = np.zeros((4, 6), np.float32)
seen[1, 2], seen[2, 0] = np.nan, np.inf
available = np.ones((4, 5), bool)
available[3] = False
q, action, hidden = session.run(["q", "action", "next_hidden"], {
    "observation": seen, "last_action": np.array([-1, 2, -1, 4]), "agent": np.array([0, 1, 0, 1]),
    "hidden": np.full((4, 16), 0.5, np.float32), "available": available})
contract = json.loads(session.get_modelmeta().custom_metadata_map["mast"])
assert not {"jax", "mast", "onnx"} & set(sys.modules)
print(json.dumps([action.tolist(), bool(np.isfinite(q).all()), (hidden == 0.5).all(1).tolist(),
                  contract["observation"]["size"], contract["agents"][1]["name"]]))
"""


def test_onnx_needs_onnxruntime_only_and_refuses_what_c_refuses(onnx_folder: Path) -> None:
    command = [sys.executable, "-c", PLAIN, str(onnx_folder / "agent.onnx")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    action, finite, kept, size, name = json.loads(done.stdout)
    assert action[0] >= 0
    assert action[1:] == [-1, -1, -1]
    assert finite
    assert kept == [False, True, True, False]
    assert (size, name) == (6, "hunter_1")


@pytest.mark.parametrize("sharing", ["shared", "independent", "snp", "fups"])
@pytest.mark.parametrize("actor", [False, True])
def test_onnx_refuses_an_agent_that_does_not_exist(
    tmp_path: Path, sharing: str, actor: bool
) -> None:
    """As C does; where all agents are alike it does not matter which one a row is."""
    pytest.importorskip("onnxruntime")
    from mast.export.onnx_model import OnnxArtefact

    run = make_run(tmp_path / "run", sharing=sharing, actor=actor)
    export_run(run, "onnx", tmp_path / "out", episodes=1)
    artefact = OnnxArtefact(tmp_path / "out" / "agent.onnx", 2)
    hidden = np.full((4, artefact.units.shape[1]), 0.5, np.float32)
    rows = np.zeros((4, 6)), np.full(4, -1), np.array([0, 1, 2, -1]), hidden, np.ones((4, 5))
    _, action, after = artefact.step(*rows)
    assert (action >= 0).tolist() == (
        [True] * 4 if sharing == "fups" else [True, True, False, False]
    )
    if sharing != "fups":
        np.testing.assert_array_equal(after[2:], hidden[2:])


def test_safetensors_is_the_policy_itself(run: Path, tmp_path: Path) -> None:
    export_run(run, "safetensors", tmp_path / "out", episodes=1)
    file = tmp_path / "out" / "policy.safetensors"
    assert file.read_bytes() == (run / "policy.safetensors").read_bytes()
    assert Policy.load(tmp_path / "out").masks["fc1"].shape == (16, 13)
    assert contract_of(tmp_path / "out")["settings"]["environment"] == SPEC.id


def test_the_best_policy_of_a_run_that_was_stopped(tmp_path: Path) -> None:
    """A run's folder needs no more than its settings and a policy."""
    run = make_run(tmp_path / "run", seed=1, name="policy-best.safetensors")
    with pytest.raises(UserError, match=r"policy\.safetensors does not exist yet"):
        export_run(run, "safetensors", tmp_path / "out")
    make_run(run, seed=2)
    contract = export_run(run, "safetensors", tmp_path / "out", checkpoint="best", episodes=1)
    best = (run / "policy-best.safetensors").read_bytes()
    assert contract["policy"]["sha256"] == hashlib.sha256(best).hexdigest()


@pytest.mark.parametrize("kind", ["c_folder", "onnx_folder"])
def test_an_exported_team_plays_the_same_battles(
    run: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    environment = make(SPEC.id)
    agent, config = load_exported(request.getfixturevalue(kind))
    assert config.environment == SPEC.id
    ours = evaluate_policy(agent, environment, episodes=8, at_once=4)
    assert ours == evaluate_policy(policy_of(run).agent, environment, episodes=8, at_once=4)
    recorded = record_episodes(policy_of(run), environment, 1)[0]
    q = agent.sequence(
        jax.numpy.asarray(recorded.observation[:, None]),
        jax.numpy.asarray(recorded.last_action[:, None]),
    )
    np.testing.assert_allclose(q[:, 0], recorded.q, atol=1e-5)


# --- what leaves nothing ---


@pytest.mark.parametrize("to", ["c", "onnx", "safetensors"])
def test_a_mismatch_leaves_no_file(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, to: str
) -> None:
    recorded = record_episodes(policy_of(run), make(SPEC.id), 1)
    recorded[0].q[3, 1, 2] += 3e-4
    monkeypatch.setattr(kinds, "record_episodes", lambda *_: recorded)
    with pytest.raises(SelfCheckError, match=r"differ by up to 0\.0003 .* nothing was written"):
        export_run(run, to, tmp_path / "deep" / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not shutil.which("make"), reason="no make")
def test_the_examples_play_the_recorded_episodes(
    c_folder: Path, onnx_folder: Path, tmp_path: Path
) -> None:
    place = ["-C", str(EXAMPLES / "export_c"), f"EXPORT={c_folder}", f"BUILD={tmp_path}"]
    done = subprocess.run(["make", *place], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "in 2 episodes: 0 differ" in done.stdout
    assert "warning" not in done.stderr
    line = [sys.executable, str(EXAMPLES / "export_onnx" / "play.py"), str(onnx_folder)]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "0 actions differ" in done.stdout


def test_the_example_in_c_plays_the_export_that_it_is_given(
    run: Path, c_folder: Path, tmp_path: Path
) -> None:
    """Also one that is older than the program that played another."""
    alone = tmp_path / "alone"
    export_run(run, "c", alone, episodes=1, agent=0)
    for path in alone.iterdir():
        os.utime(path, (1, 1))
    for folder, episodes in ((c_folder, 2), (alone, 1)):
        place = [
            "-C",
            str(EXAMPLES / "export_c"),
            f"EXPORT={folder}",
            f"BUILD={tmp_path / 'build'}",
        ]
        done = subprocess.run(["make", *place], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert f"in {episodes} episodes: 0 differ" in done.stdout


def test_an_action_that_differs_is_a_mismatch_only_where_the_gap_is_clear(run: Path) -> None:
    recorded = record_episodes(policy_of(run), make(SPEC.id), 1)[:1]
    artefact = kinds.PolicyArtefact(policy_of(run))
    plain = check.agreement(artefact, recorded)
    assert plain.holds
    q, available = recorded[0].q, recorded[0].available
    allowed = np.where(available, q, -np.inf)
    order = allowed.argsort(-1)
    t, agent = np.argwhere(np.take_along_axis(available, order[..., -2:-1], -1)[..., 0])[0]
    first, second = order[t, agent, -1], order[t, agent, -2]
    q[t, agent, second] = q[t, agent, first] + 1e-4
    near = check.agreement(artefact, recorded)
    assert (near.same_action, near.clear_differences) == (plain.decisions - 1, 0)
    q[t, agent, second] = q[t, agent, first] + 3e-4
    assert check.agreement(artefact, recorded).clear_differences == 1


def test_values_that_are_no_numbers_are_a_mismatch(run: Path) -> None:
    recorded = record_episodes(policy_of(run), make(SPEC.id), 1)
    recorded[0].q[0, 0, 0] = np.nan
    assert not check.agreement(kinds.PolicyArtefact(policy_of(run)), recorded).holds


def test_without_a_compiler_it_is_unchecked_and_says_so(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kinds, "c_compiler", lambda: None)
    monkeypatch.setattr(c_build, "c_compiler", lambda: None)
    contract = export_run(run, "c", tmp_path / "out", episodes=1)
    assert contract["check"] is None
    assert contract["c"]["measured"] is None
    with pytest.raises(UserError, match="no C compiler found"):
        load_exported(tmp_path / "out")


def test_what_a_policy_is_called_cannot_become_code(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", method="*/ int broken = 1; /*")
    export_run(run, "c", tmp_path / "out", episodes=1)
    text = (tmp_path / "out" / "mast_agent.c").read_text()
    assert text.startswith("/* examples.pursuit:Pursuit, ?/ int broken ? 1? /?. Made by")


def test_a_policy_for_another_environment(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", environment="mpe/simple_spread")
    with pytest.raises(UserError, match=r"\(2, 6, 5\), those of mpe/simple_spread \(3, 18, 5\)"):
        export_run(run, "c", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_damaged_export_is_not_run(c_folder: Path, tmp_path: Path) -> None:
    def damaged(name: str, content: str | None) -> str:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        for path in c_folder.iterdir():
            (folder / path.name).write_bytes(path.read_bytes())
        if content is None:
            (folder / name).unlink()
        else:
            (folder / name).write_text(content)
        with pytest.raises(UserError) as caught:
            load_exported(folder)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "its sha256 is not that" in damaged("mast_agent.c", "int main(void) { return 0; }")
    assert "is missing" in damaged("mast_agent.h", None)
    assert "damaged or no JSON" in damaged("contract.json", "{")
    assert "no contract" in damaged("contract.json", "[]")
    assert "format 2, this version reads 1" in damaged("contract.json", '{"format":2,"kind":"c"}')
    assert "damaged" in damaged("contract.json", '{"format":1,"kind":"c"}')
    contract = contract_of(c_folder)
    contract["c"]["prefix"] = "../elsewhere/mast"
    assert "has no file" in damaged("contract.json", json.dumps(contract))
    del contract["c"]
    assert "damaged" in damaged("contract.json", json.dumps(contract))
