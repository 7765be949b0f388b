import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kernels.cases import (
    INSTRUCTION_SETS,
    REFUSED,
    TOLERANCE,
    AgentBatch,
    AgentCase,
    agent_batch,
    agent_reference,
    distance,
    instruction_set,
    layer_names,
    needs_kernels,
    places,
)
from mast.kernels import (
    SparseAgent,
    SparseAgents,
    SparseLinear,
    SparseMatrix,
    act,
    episode_utilities,
)
from mast.networks.sharing import Parts

pytestmark = needs_kernels


def kernel_results(batch: AgentBatch, threads: int = 1) -> tuple[Any, Any, Any, Any]:
    """Chosen utilities, Q, Q of the same network as one of `others`, and the gradient."""

    def loss(compact: Any) -> Any:
        chosen, (q, again) = episode_utilities(
            compact,
            batch.observation,
            batch.action,
            batch.lengths,
            others=(batch.compact,),
            threads=threads,
        )
        return (jnp.asarray(batch.factor, jnp.float32) * chosen).sum(), (chosen, q, again)

    compute = eqx.filter_jit(eqx.filter_value_and_grad(loss, has_aux=True))
    (_, aux), gradient = compute(batch.compact)
    return *aux, jax.tree.map(np.asarray, eqx.combine(gradient, batch.compact))


cases = st.builds(
    AgentCase,
    steps=st.integers(1, 7),
    batch=st.integers(1, 40),
    agents=st.integers(1, 9),
    features=st.integers(1, 70),
    actions=st.integers(1, 20),
    width=st.integers(1, 70),
    density=st.sampled_from([0.005, 0.05, 0.3, 1.0]),
    dtype=st.sampled_from(["float16", "float32"]),
    seed=st.integers(0, 1000),
    ids=st.booleans(),
    lacks=st.sampled_from([0.0, 0.3]),
)


@settings(max_examples=4, deadline=None, derandomize=True)
@given(case=cases)
@example(case=AgentCase(steps=1, batch=1, agents=1, features=1, actions=1, width=1, density=1.0))
@example(case=AgentCase(steps=2, batch=3, agents=2, features=17, width=1024, density=0.005))
@example(
    case=AgentCase(steps=4, batch=32, agents=3, features=75, actions=9, width=64, density=0.05)
)
@example(case=AgentCase(steps=3, batch=29, agents=8, dtype="float16", width=33, density=1.0))
@example(case=AgentCase(steps=6, batch=29, agents=5, width=33, lacks=0.4))
@example(case=AgentCase(steps=3, batch=7, agents=5, dtype="float16", ids=False, lacks=0.4))
@example(case=AgentCase(agents=3, network_of=(0, 1, 2)))  # each its own
@example(
    case=AgentCase(batch=29, agents=5, width=33, network_of=(2, 0, 2, 0, 2))
)  # one of no agent
@example(case=AgentCase(batch=60, agents=4, dtype="float16", network_of=(0, 0, 1, 0)))
def test_every_instruction_set_agrees_with_float64(case: AgentCase) -> None:
    batch = agent_batch(case)
    chosen, q, gradient = agent_reference(batch)
    for name in INSTRUCTION_SETS:
        with instruction_set(name):
            actual_chosen, actual_q, actual_again, actual_gradient = kernel_results(batch)
        assert distance(actual_chosen, chosen) < TOLERANCE
        assert distance(actual_q, q) < TOLERANCE
        np.testing.assert_array_equal(actual_again, actual_q)
        for layer in layer_names(batch.agent):
            expected, actual = getattr(gradient, layer), actual_gradient.layers()[layer]
            where = places(actual.weight)
            weight = expected.weight.reshape(actual.weight.shape)  # of several networks, in turn
            assert distance(actual.weight.values, weight[where]) < TOLERANCE, layer
            assert distance(actual.bias, expected.bias.ravel()) < TOLERANCE, layer


@pytest.mark.parametrize("network_of", [(), (0, 1, 0, 2, 0, 0, 1)])
@pytest.mark.parametrize("name", INSTRUCTION_SETS)
def test_results_do_not_depend_on_the_number_of_threads(
    name: str, network_of: tuple[int, ...]
) -> None:
    case = AgentCase(batch=60, agents=7, width=24, dtype="float16", network_of=network_of)
    batch = agent_batch(case)
    with instruction_set(name):
        one, two = kernel_results(batch, threads=1), kernel_results(batch, threads=2)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_lies_beyond_an_episodes_end_has_no_influence() -> None:
    batch = agent_batch(AgentCase(steps=6, batch=5))
    padded = np.array(batch.observation)
    for episode, length in enumerate(np.asarray(batch.lengths)):
        padded[length + 1 :, episode] = 1e3
    other = dataclasses.replace(batch, observation=jnp.asarray(padded))
    for a, b in zip(
        jax.tree.leaves(kernel_results(batch)), jax.tree.leaves(kernel_results(other)), strict=True
    ):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    "case",
    [
        AgentCase(),
        AgentCase(lacks=0.3),
        AgentCase(ids=False, lacks=0.3),
        AgentCase(network_of=(1, 0, 1)),
    ],
)
def test_acting_step_by_step_is_the_sequence(case: AgentCase) -> None:
    batch = agent_batch(dataclasses.replace(case, steps=4, batch=9))
    everyone = jnp.full_like(batch.lengths, 4)
    _, (q,) = episode_utilities(batch.compact, batch.observation, batch.action, everyone)
    hidden = jnp.zeros((*batch.action.shape[1:], 16))
    last = jnp.full(batch.action.shape[1:], -1)
    for t in range(5):
        now, hidden = act(batch.compact, batch.observation[t], last, hidden)
        np.testing.assert_allclose(now, q[t], rtol=1e-5, atol=1e-6)
        last = batch.action[min(t, 3)]


def test_a_new_structure_of_the_same_size_recompiles_nothing() -> None:
    first, second = agent_batch(AgentCase(seed=1)), agent_batch(AgentCase(seed=2))
    compilations = 0

    @jax.jit
    def q(compact: Any, observation: Any) -> Any:
        nonlocal compilations
        compilations += 1
        return episode_utilities(compact, observation, first.action, first.lengths)[1][0]

    def trimmed(compact: Any) -> Any:
        """The first entries of every layer, so that both networks have as many."""

        def cut(layer: SparseLinear) -> SparseLinear:
            weight, keep = layer.weight, 10
            pointers = np.minimum(weight.row_pointers, keep)
            matrix = SparseMatrix(
                weight.values[:keep], pointers, weight.columns[:keep], weight.shape
            )
            return SparseLinear(matrix, layer.bias)

        layers = jax.tree.map(np.asarray, compact).layers()
        return SparseAgent.pack({name: cut(each) for name, each in layers.items()})

    a = q(trimmed(first.compact), first.observation)
    b = q(trimmed(second.compact), first.observation)
    assert compilations == 1
    assert not np.array_equal(a, b)


def broken(compact: SparseAgent, what: str) -> SparseAgent:
    """The agent with an impossible structure in its recurrent layer."""
    layers = jax.tree.map(np.asarray, compact).layers()
    weight = layers["gru_hidden"].weight
    pointers, columns = np.array(weight.row_pointers), np.array(weight.columns)
    if what == "column too large":
        columns[3] = weight.shape[1]
    elif what == "column negative":
        columns[0] = -1
    elif what == "pointers fall":
        pointers[4], pointers[5] = pointers[-1], 0
    elif what == "pointers end early":
        pointers[-1] -= 1
    elif what == "pointers begin late":
        pointers[0] = 1
    elif what == "too few places":
        return eqx.tree_at(lambda c: c.structure, compact, compact.structure[:-1])
    matrix = SparseMatrix(weight.values, jnp.asarray(pointers), jnp.asarray(columns), weight.shape)
    layers["gru_hidden"] = SparseLinear(matrix, layers["gru_hidden"].bias)
    return SparseAgent.pack(layers)


@pytest.mark.parametrize(
    "what",
    [
        "column too large",
        "column negative",
        "pointers fall",
        "pointers end early",
        "pointers begin late",
        "too few places",
    ],
)
def test_a_malformed_structure_is_refused(what: str) -> None:
    batch = agent_batch(AgentCase())
    bad = broken(batch.compact, what)
    with pytest.raises(REFUSED, match="mast kernels, operand"):
        jax.block_until_ready(
            episode_utilities(bad, batch.observation, batch.action, batch.lengths)
        )
    with pytest.raises(REFUSED, match="mast kernels, operand"):
        jax.block_until_ready(kernel_results(dataclasses.replace(batch, compact=bad)))


def test_operands_of_other_shapes_are_refused() -> None:
    batch = agent_batch(AgentCase())
    with pytest.raises(REFUSED, match="fc1 does not fit"):
        jax.block_until_ready(
            episode_utilities(
                batch.compact, batch.observation[..., :-1], batch.action, batch.lengths
            )
        )
    few = dataclasses.replace(batch.compact, neurons=jnp.ones((2, 3, 15), bool))
    with pytest.raises(REFUSED, match="axis 2 has 15, expected 16"):
        jax.block_until_ready(
            episode_utilities(few, batch.observation, batch.action, batch.lengths)
        )
    with pytest.raises(REFUSED, match="type of numbers"):
        jax.block_until_ready(
            episode_utilities(
                batch.compact, batch.observation.astype("bfloat16"), batch.action, batch.lengths
            )
        )


@pytest.mark.parametrize(
    ("network_of", "fault"),
    [
        ((0, 2, 1), "network 2, expected 0 to 1"),
        ((0, -1, 1), "network -1, expected 0 to 1"),
        ((0, 1), "axis 0 has 2, expected 3"),
        ((1, 0, 0), "networks whose agents are shared out alike"),
    ],
)
def test_agents_are_shared_out_among_networks_that_there_are(
    network_of: tuple[int, ...], fault: str
) -> None:
    batch = agent_batch(AgentCase(network_of=(0, 1, 1)))
    parts = Parts(jnp.asarray(network_of, jnp.int32))
    other = dataclasses.replace(batch.compact, parts=parts)
    episodes = (batch.observation, batch.action, batch.lengths)
    with pytest.raises(REFUSED, match=fault):
        jax.block_until_ready(episode_utilities(batch.compact, *episodes, others=(other,)))


def test_layers_must_have_the_rows_of_whole_networks() -> None:
    batch = agent_batch(AgentCase(width=16))
    narrow = agent_batch(AgentCase(width=15)).compact.layers()["fc1"]
    mixed = SparseAgents.pack(batch.compact.layers() | {"fc1": narrow})
    bad = dataclasses.replace(mixed, parts=Parts(jnp.zeros(3, jnp.int32)))
    with pytest.raises(REFUSED, match="fc1 does not have the rows of whole networks"):
        jax.block_until_ready(
            episode_utilities(bad, batch.observation, batch.action, batch.lengths)
        )


def test_vmapped_runs_are_refused() -> None:
    batch = agent_batch(AgentCase())
    with pytest.raises(Exception, match="vmap"):
        jax.vmap(lambda o: episode_utilities(batch.compact, o, batch.action, batch.lengths)[1][0])(
            batch.observation[None]
        )
