"""The ONNX export: a graph built node by node, and its execution under onnxruntime."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mast.errors import UserError
from mast.export.c_source import observation_limit
from mast.export.feed_forward import FeedForwardNetwork
from mast.export.network import AnyNetwork, Network
from mast.networks.spec import GRU

OPSET = 17
IR_VERSION = 8
"""Old enough for every onnxruntime since 1.12."""
INPUTS = ("observation", "last_action", "agent", "hidden", "available")
OUTPUTS = ("q", "action", "next_hidden")
WHO = "who"
"""Where agents differ: which row's agent it is, the nearest that exists."""
_MISSING = "is not installed; ONNX needs: pip install 'mast-marl[onnx]'"


class _Graph:
    """Nodes and constants of a graph in the making."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, name: str, value: Any, dtype: Any = np.float32) -> str:
        """A named constant."""
        from onnx import numpy_helper

        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def node(self, kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """A node with one output."""
        from onnx import helper

        self.nodes.append(helper.make_node(kind, list(inputs), [output], name=output, **attributes))
        return output


def write_model(
    networks: Sequence[AnyNetwork], contract: Mapping[str, Any], path: Path
) -> dict[str, Any]:
    """Write a team as an ONNX model; its metadata holds the contract under "mast".

    A row is one agent at one step; there may be any number of rows. An observation that is not finite, an
    agent that does not exist (if the network reads which it is), or one to whom no action is available, gets
    action -1; the first two keep their hidden state.

    Args:
        networks: one for all agents, or one each.
        contract: what the metadata shall say.
        path: the file.

    Returns:
        names, types and shapes of the inputs and outputs, and the opset.

    Raises:
        UserError: onnx is not installed.
    """
    try:
        import onnx
        from onnx import TensorProto, helper
    except ImportError:
        raise UserError(f"onnx {_MISSING}") from None
    graph = _Graph()
    _build(graph, networks)
    first = networks[0]
    number, whole, truth = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
    kinds = {
        "observation": (number, first.features),
        "last_action": (whole, None),
        "agent": (whole, None),
        "hidden": (number, first.hidden),
        "available": (truth, first.actions),
        "q": (number, first.actions),
        "action": (whole, None),
        "next_hidden": (number, first.hidden),
    }
    shapes: dict[str, list[Any]] = {
        name: ["rows"] if width is None else ["rows", width] for name, (_, width) in kinds.items()
    }

    def values(names: Sequence[str]) -> list[Any]:
        return [helper.make_tensor_value_info(name, kinds[name][0], shapes[name]) for name in names]

    model = helper.make_model(
        helper.make_graph(graph.nodes, "mast", values(INPUTS), values(OUTPUTS), graph.constants),
        opset_imports=[helper.make_opsetid("", OPSET)],
        producer_name="mast",
        producer_version=str(contract["mast"]),
    )
    model.ir_version = IR_VERSION
    helper.set_model_props(model, {"mast": json.dumps(contract, sort_keys=True)})
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())
    types = {number: "float32", whole: "int64", truth: "bool"}
    return {
        "opset": OPSET,
        "inputs": {name: [types[kinds[name][0]], *shapes[name]] for name in INPUTS},
        "outputs": {name: [types[kinds[name][0]], *shapes[name]] for name in OUTPUTS},
        "observation_limit": min(map(observation_limit, networks)),
    }


def _build(graph: _Graph, networks: Sequence[AnyNetwork]) -> None:
    """The whole step."""
    if agents := _agents_read(networks):
        last = graph.constant("last_agent", agents - 1, np.int64)
        graph.node("Clip", ["agent", graph.constant("first_agent", 0, np.int64), last], WHO)
    actors = [network for network in networks if isinstance(network, FeedForwardNetwork)]
    if actors:
        _feed_forward(graph, actors)
    else:
        _recurrent(graph, [network for network in networks if isinstance(network, Network)])
    _outputs(graph, min(map(observation_limit, networks)), bool(agents))


def _agents_read(networks: Sequence[AnyNetwork]) -> int:
    """How many agents there are if it matters which one a row is; else 0."""
    first = networks[0]
    if len(networks) > 1:
        return len(networks)
    if first.neurons:
        return len(next(iter(first.neurons.values())))
    actor = isinstance(first, FeedForwardNetwork)
    return first.codes.shape[1] - (0 if actor else first.actions)


def _feed_forward(graph: _Graph, networks: Sequence[FeedForwardNetwork]) -> None:
    """From the observation to the logits; the memory is empty."""
    affine = _shared if len(networks) == 1 else _own
    source = "observation"
    if agents := networks[0].codes.shape[1]:
        inputs = [source, _one_hot(graph, WHO, agents)]
        source = graph.node("Concat", inputs, "input", axis=1)
    layers = len(networks[0].matrices)
    for place in range(layers):
        name = f"layers.{place}" if place < layers - 1 else "q_raw"
        weights, biases = zip(*(network.matrices[place] for network in networks), strict=True)
        affine(graph, name, source, weights, biases)
        if place < layers - 1:
            graph.node("Relu", [name], f"{name}.active")
            source = _kept(graph, networks[0].neurons, name, f"{name}.active")
    graph.node("Identity", ["hidden"], "after")


def _recurrent(graph: _Graph, networks: Sequence[Network]) -> None:
    """From observation, last action and memory to the action values and the memory after."""
    affine = _shared if len(networks) == 1 else _own
    h, actions = networks[0].hidden, networks[0].actions
    node = graph.node
    # A last action of -1 equals none of the numbers: its code is all zeros.
    inputs = ["observation", _one_hot(graph, "last_action", actions)]
    if (agents := networks[0].codes.shape[1] - actions) > 0:
        inputs.append(_one_hot(graph, WHO, agents))
    node("Concat", inputs, "input", axis=1)
    encoder = [np.concatenate([network.observation, network.codes], 1) for network in networks]
    affine(graph, "encoder", "input", encoder, [network.encoder_bias for network in networks])
    node("Relu", ["encoder"], "encoded")
    encoded = _kept(graph, networks[0].neurons, "fc1", "encoded")
    for name, source in (("gru_input", encoded), ("gru_hidden", "hidden")):
        weights = [getattr(network, name) for network in networks]
        affine(graph, name, source, weights, [getattr(n, f"{name}_bias") for n in networks])
        graph.constant(f"{name}_sizes", [2 * h, h], np.int64)
        _split(graph, name)
    node("Add", ["gru_input_gates", "gru_hidden_gates"], "gate_sum")
    node("Sigmoid", ["gate_sum"], "gates")
    graph.constant("half", [h, h], np.int64)
    from onnx import helper

    graph.nodes.append(
        helper.make_node("Split", ["gates", "half"], ["reset", "update"], name="split", axis=1)
    )
    node("Mul", ["reset", "gru_hidden_new"], "remembered")
    node("Add", ["gru_input_new", "remembered"], "new_sum")
    node("Tanh", ["new_sum"], "new")
    node("Sub", ["hidden", "new"], "change")
    node("Mul", ["update", "change"], "kept")
    lacks = GRU in networks[0].neurons
    node("Add", ["new", "kept"], "whole" if lacks else "after")
    if lacks:
        node("Identity", [_kept(graph, networks[0].neurons, GRU, "whole")], "after")
    affine(graph, "q_raw", "after", [n.output for n in networks], [n.output_bias for n in networks])


def _kept(graph: _Graph, neurons: Mapping[str, np.ndarray], layer: str, source: str) -> str:
    """The neurons of a layer that a row's agent has, the others 0; itself where every agent has all."""
    if layer not in neurons:
        return source
    graph.constant(f"{layer}.neurons", neurons[layer])
    graph.node("Gather", [f"{layer}.neurons", WHO], f"{layer}.has", axis=0)
    return graph.node("Mul", [source, f"{layer}.has"], f"{layer}.kept")


def _outputs(graph: _Graph, limit: float, which: bool) -> None:
    """The action, and what a bad observation or, if it matters, `which` agent leaves as it was."""
    node = graph.node
    # NaN is not at most anything.
    node("Abs", ["observation"], "magnitude")
    node("LessOrEqual", ["magnitude", graph.constant("limit", limit)], "within")
    node("Cast", ["within"], "within_number", to=1)
    fine = "observed" if which else "fine_number"
    node("ReduceMin", ["within_number"], fine, axes=[1], keepdims=1)
    if which:
        node("Equal", ["agent", WHO], "exists")
        node("Cast", ["exists"], "exists_number", to=1)
        node("Unsqueeze", ["exists_number", graph.constant("exists_axis", [1], np.int64)], "known")
        node("Mul", [fine, "known"], "fine_number")
    node("Greater", ["fine_number", graph.constant("threshold", 0.5)], "fine")
    node("Where", ["fine", "after", "hidden"], "next_hidden")
    node("Where", ["fine", "q_raw", graph.constant("zero", 0)], "q")
    node("Where", ["available", "q", graph.constant("never", -np.inf)], "allowed")
    node("ArgMax", ["allowed"], "best", axis=1, keepdims=0)
    node("Cast", ["available"], "available_number", to=1)
    node("ReduceMax", ["available_number"], "any_number", axes=[1], keepdims=1)
    node("Mul", ["any_number", "fine_number"], "acts_number")
    node("Greater", ["acts_number", "threshold"], "acts_column")
    node("Squeeze", ["acts_column", graph.constant("axis", [1], np.int64)], "acts")
    node("Where", ["acts", "best", graph.constant("none", -1, np.int64)], "action")


def _one_hot(graph: _Graph, name: str, size: int) -> str:
    graph.constant(f"{name}_axis", [1], np.int64)
    graph.node("Unsqueeze", [name, f"{name}_axis"], f"{name}_column")
    graph.constant(f"{name}_numbers", np.arange(size)[None], np.int64)
    graph.node("Equal", [f"{name}_column", f"{name}_numbers"], f"{name}_equal")
    return graph.node("Cast", [f"{name}_equal"], f"{name}_code", to=1)


def _split(graph: _Graph, name: str) -> None:
    from onnx import helper

    outputs = [f"{name}_gates", f"{name}_new"]
    graph.nodes.append(
        helper.make_node("Split", [name, f"{name}_sizes"], outputs, name=f"{name}_split", axis=1)
    )


def _shared(
    graph: _Graph,
    name: str,
    source: str,
    weights: Sequence[np.ndarray],
    biases: Sequence[np.ndarray],
) -> None:
    """One affine map for all rows."""
    graph.constant(f"{name}_weight", weights[0].T)
    graph.constant(f"{name}_bias", biases[0])
    graph.node("Gemm", [source, f"{name}_weight", f"{name}_bias"], name)


def _own(
    graph: _Graph,
    name: str,
    source: str,
    weights: Sequence[np.ndarray],
    biases: Sequence[np.ndarray],
) -> None:
    """Each row by the map of its agent."""
    graph.constant(f"{name}_weight", np.stack(weights).transpose(0, 2, 1))
    graph.constant(f"{name}_bias", np.stack(biases))
    graph.constant(f"{name}_axis", [1], np.int64)
    graph.node("Gather", [f"{name}_weight", WHO], f"{name}_own_weight", axis=0)
    graph.node("Gather", [f"{name}_bias", WHO], f"{name}_own_bias", axis=0)
    graph.node("Unsqueeze", [source, f"{name}_axis"], f"{name}_rows")
    graph.node("MatMul", [f"{name}_rows", f"{name}_own_weight"], f"{name}_products")
    graph.node("Squeeze", [f"{name}_products", f"{name}_axis"], f"{name}_sum")
    graph.node("Add", [f"{name}_sum", f"{name}_own_bias"], name)


class OnnxArtefact:
    """An ONNX export, run by onnxruntime.

    Args:
        path: the model.
        agents: how many there are.
        units: [agents, hidden], as `Artefact.units`; those of the trained network where None.

    Raises:
        UserError: onnxruntime is not installed, or the file is damaged or no export of Mast.
    """

    def __init__(self, path: Path, agents: int, units: np.ndarray | None = None) -> None:
        try:
            import onnxruntime
        except ImportError:
            raise UserError(f"onnxruntime {_MISSING}") from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        try:
            self.session = onnxruntime.InferenceSession(
                path.read_bytes(), options, providers=["CPUExecutionProvider"]
            )
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror}") from None
        except Exception:  # onnxruntime has a dozen kinds, none of them public
            raise UserError(f"{path} is damaged or no ONNX model") from None
        shapes = {value.name: value.shape for value in self.session.get_inputs()}
        if set(shapes) != set(INPUTS):
            raise UserError(f"{path} is no team exported by Mast: its inputs are {list(shapes)}")
        own = np.tile(np.arange(shapes["hidden"][1]), (agents, 1))
        self.units = own if units is None else units

    def step(
        self,
        observation: np.ndarray,
        last_action: np.ndarray,
        agent: np.ndarray,
        hidden: np.ndarray,
        available: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """One step of several agents; see `Artefact`."""
        q, action, after = self.session.run(
            list(OUTPUTS),
            {
                "observation": np.asarray(observation, np.float32),
                "last_action": np.asarray(last_action, np.int64),
                "agent": np.asarray(agent, np.int64),
                "hidden": np.asarray(hidden, np.float32),
                "available": np.asarray(available, bool),
            },
        )
        return q, action, after
