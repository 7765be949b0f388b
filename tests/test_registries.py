"""What is declared once is known everywhere: command line, settings, accounting, executions, parameters."""

import json

import jax
import numpy as np
import pytest

from mast.accounting.costs import account
from mast.algorithms.registry import BUILT_IN, NAMES, algorithm_entry, check_entry
from mast.cli import main
from mast.config import METHODS
from mast.configuration.explain import choices
from mast.configuration.settings import Config
from mast.execution.topology import sparse_layers
from mast.networks.spec import Sizes

SIZES = Sizes(observation=5, state=4, actions=3, agents=2, hidden_size=8)


def test_settings_offer_what_the_registry_has() -> None:
    assert choices("algorithm") == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_the_entry_has_the_name_of_its_line(name: str) -> None:
    entry, line = algorithm_entry(name), BUILT_IN[name]
    assert entry.name == name
    assert "\n" not in entry.about
    assert set(line.defaults) | set(line.mast_defaults) <= set(Config.model_fields)
    check_entry(entry, name)


@pytest.mark.parametrize("independent", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_the_parameters_are_the_declared_networks(name: str, independent: bool) -> None:
    sizes = Sizes(**{**vars(SIZES), "independent": independent})
    entry = algorithm_entry(name)
    params = jax.eval_shape(lambda key: entry.init(key, sizes), jax.random.key(0))
    declared = entry.networks(sizes)
    made = sparse_layers(params)
    assert made.keys() == {network for network, spec in declared.items() if spec.layers}
    for network, layers in made.items():
        spec = declared[network]
        shapes = {(x.name, x.inputs, x.outputs, spec.copies) for x in spec.layers}
        found = {(_layer(x.name), x.inputs, x.outputs, x.copies) for x in layers}
        assert found == shapes
        for layer in spec.layers:  # what it reads is as wide as its inputs, where that is declared
            width = sum(spec.makers(neurons)[0].units for neurons in layer.reads)
            assert not layer.reads or width == layer.inputs
    uses = entry.uses(sizes, str(BUILT_IN[name].defaults.get("operator", "max")))
    assert uses.keys() == declared.keys()
    networks = {network: getattr(params, network) for network in declared}
    parameters = sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(networks))
    assert account(declared, uses, 0.0).parameters == parameters


def _layer(path: str) -> str:
    """agent.layers.0.weight → layers.0"""
    return path.split(".", 1)[1].removesuffix(".weight")


def test_mast_methods_lists_every_algorithm_and_method(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["methods", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [each["name"] for each in listed["algorithms"]] == list(NAMES)
    assert [each["name"] for each in listed["methods"]] == list(METHODS)
