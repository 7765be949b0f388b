"""Calls that do not fit, through the public functions: an error or a result, never the end of the process.

The same over everything that XLA can hand to a kernel, under the sanitizers: `native/fuzz_handlers.cc`.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kernels.cases import REFUSED, needs_kernels
from mast.kernels import (
    SparseAgent,
    SparseLinear,
    SparseNetwork,
    SparseQMixer,
    Targets,
    TeamBatch,
    act,
    apply_layers,
    episode_utilities,
    from_dense,
    joint_softmax_values,
    library,
    mixed_values,
    team_gradient,
)

pytestmark = needs_kernels
AGENTS, FEATURES, ACTIONS, HIDDEN, STEPS, BATCH, STATE = 3, 5, 4, 8, 3, 2, 6
TARGETS = Targets(0, 1, 1.0, 10.0, 5.0, 0.99, 0.8, 3, 0)


def packed(kind: type[Any], shapes: list[tuple[int, int]]) -> Any:
    generator = np.random.default_rng(0)
    layers = {
        name: SparseLinear(
            from_dense(generator.normal(size=shape).astype("f4"), generator.random(shape) < 0.5),
            jnp.zeros(shape[0]),
        )
        for name, shape in zip(kind.NAMES, shapes, strict=True)
    }
    return kind.pack(layers)


AGENT: SparseAgent = packed(
    SparseAgent,
    [
        (HIDDEN, FEATURES + ACTIONS + AGENTS),
        *[(3 * HIDDEN, HIDDEN)] * 2,
        (ACTIONS, HIDDEN),
    ],
)
MIXER: SparseQMixer = packed(
    SparseQMixer, [(4, STATE), (2 * AGENTS, 4), (4, STATE), (2, 4), (2, STATE), (2, STATE), (1, 2)]
)
LAYER: SparseNetwork = packed(SparseNetwork, [(4, FEATURES)])


def batch_of(
    steps: int = STEPS, batch: int = BATCH, agents: int = AGENTS, **other: Any
) -> TeamBatch:
    return TeamBatch(
        jnp.zeros((steps + 1, batch, agents, FEATURES)),
        jnp.zeros((steps, batch, agents), jnp.int32),
        jnp.full(batch, steps, jnp.int32),
        jnp.ones((steps + 1, batch, agents, ACTIONS), bool),
        jnp.ones((steps, batch)),
        jnp.zeros((steps, batch), bool),
        jnp.zeros((steps + 1, batch, STATE)),
    )._replace(**other)


def loss(batch: TeamBatch, targets: Targets = TARGETS, agent: SparseAgent = AGENT) -> Any:
    return team_gradient(agent, agent, None, None, batch, targets, mixing="sum").loss


@pytest.mark.parametrize("empty", [{"batch": 0}, {"agents": 0}])
def test_the_gradient_of_an_empty_batch_is_refused(empty: dict[str, int]) -> None:
    batch = batch_of(**empty)

    def chosen(parameters: Any) -> Any:
        agent = dataclasses.replace(AGENT, parameters=parameters)
        return episode_utilities(agent, *batch[:3])[0].sum()

    with pytest.raises(ValueError, match=r"an empty batch: it has 0 (episodes|agents)"):
        jax.grad(chosen)(AGENT.parameters)
    with pytest.raises(ValueError, match="an empty batch"):
        loss(batch)


def test_a_batch_without_steps_has_no_loss_but_a_gradient_of_zero() -> None:
    batch = batch_of(steps=0)
    with pytest.raises(REFUSED, match="without steps"):
        loss(batch)

    def chosen(parameters: Any) -> Any:
        agent = dataclasses.replace(AGENT, parameters=parameters)
        return episode_utilities(agent, *batch[:3])[0].sum()

    np.testing.assert_array_equal(jax.grad(chosen)(AGENT.parameters), 0)


@pytest.mark.parametrize("n", [float("nan"), float("inf"), 1e19, -5.0, 0.5])
def test_a_number_of_steps_that_is_none_is_refused(n: float) -> None:
    with pytest.raises(REFUSED, match=r"n_step must be a whole number|must be finite"):
        loss(batch_of(), TARGETS._replace(n_step=jnp.float32(n)))


def test_a_return_longer_than_the_episode_is_the_whole_episode() -> None:
    long, whole = (loss(batch_of(), TARGETS._replace(n_step=n)) for n in (2**24, STEPS))
    assert float(long) == float(whole)


@pytest.mark.parametrize("number", [f for f in Targets._fields if f != "n_step"])
def test_a_method_with_a_number_that_is_not_finite_is_refused(number: str) -> None:
    with pytest.raises(REFUSED, match="must be finite"):
        loss(batch_of(), TARGETS._replace(**{number: jnp.float32(np.nan)}))


@pytest.mark.parametrize("count", ["steps", "action"])
def test_counts_that_are_no_integers_are_refused(count: str) -> None:
    batch = batch_of()
    spoiled = jnp.full(getattr(batch, count).shape, jnp.nan)
    with pytest.raises(ValueError, match="must be integers, not float32"):
        loss(batch._replace(**{count: spoiled}))


def test_counts_of_64_bits_become_the_nearest_of_32() -> None:
    batch = batch_of()
    found = loss(batch._replace(steps=np.full(BATCH, 2**32 + 1)))
    assert float(found) == float(loss(batch))


@pytest.mark.parametrize(
    "shapes",
    [
        # Two layers of which one takes back what the other adds: the sums still fit.
        lambda a, b: [(a[0], a[1], a[2] + 40), (b[0], b[1], b[2] - 40)],
        lambda a, b: [(-a[0], a[1], a[2] + 2 * a[0]), b],
        lambda a, b: [(a[0], -1, a[2]), b],
        lambda a, b: [(2**62, a[1], a[2]), (b[0] - 2**62, b[1], b[2])],
        lambda a, b: [(a[0], a[1], 2**63 - 1), b],
    ],
)
def test_shapes_that_no_layer_has_are_refused(shapes: Callable[..., Any]) -> None:
    spoiled = dataclasses.replace(AGENT, shapes=(*shapes(*AGENT.shapes[:2]), *AGENT.shapes[2:]))
    call = jax.ffi.ffi_call(
        library.active().target("agent_step"),
        (
            jax.ShapeDtypeStruct((BATCH, AGENTS, ACTIONS), jnp.float32),
            jax.ShapeDtypeStruct((BATCH, AGENTS, HIDDEN), jnp.float32),
        ),
    )
    with pytest.raises(REFUSED, match=r"cannot be|fit|expected|row pointers"):
        call(
            *(jnp.zeros((BATCH, AGENTS, FEATURES)), jnp.zeros((BATCH, AGENTS), jnp.int32)),
            *(jnp.zeros((BATCH, AGENTS, HIDDEN)), spoiled.parameters, spoiled.structure),
            **library.attributes(spoiled.shapes, 1),
        )


def odd_array(generator: np.random.Generator, like: Any) -> Any:
    """An array that is like another but for its shape, its type, or its numbers."""
    found = np.asarray(like)
    choice = generator.integers(6)
    if choice == 0:
        return jnp.asarray(found.astype(generator.choice(["f4", "f2", "i4", "u1", "bool"])))
    if choice == 1 and found.ndim:
        axis = int(generator.integers(found.ndim))
        return jnp.asarray(np.take(found, range(generator.integers(0, 3)), axis, mode="clip"))
    if choice == 2:
        return jnp.asarray(found[..., None])
    if choice == 3:
        return found[::-1] if found.ndim else found  # strides that run backwards
    if choice == 4 and found.dtype.kind == "f":
        return jnp.asarray(np.full_like(found, generator.choice([np.nan, np.inf, -1e38])))
    odd = generator.choice([-1, 10**9, -(2**31), 2**31 - 1])
    return jnp.asarray(np.full(found.shape, odd, np.int32)) if found.dtype.kind == "i" else found


def calls() -> dict[str, tuple[Callable[..., Any], list[Any]]]:
    """The public functions, each with operands that fit."""
    batch = batch_of()
    utilities, q = jnp.ones((STEPS, BATCH, AGENTS)), jnp.ones((STEPS, BATCH, AGENTS, ACTIONS))
    agent, mixer, layer = AGENT, MIXER, LAYER

    def with_parts(network: Any, parameters: Any, structure: Any) -> Any:
        return dataclasses.replace(network, parameters=parameters, structure=structure)

    def differentiated(parameters: Any, structure: Any, *rest: Any) -> Any:
        def chosen(numbers: Any) -> Any:
            return episode_utilities(with_parts(agent, numbers, structure), *rest)[0].sum()

        return jax.grad(chosen)(parameters)

    def team(parameters: Any, structure: Any, *rest: Any) -> Any:
        network = with_parts(agent, parameters, structure)
        return team_gradient(
            *(network, agent, mixer, mixer, TeamBatch(*rest), TARGETS), mixing="monotonic"
        )

    def lacking(neurons: Any, *rest: Any) -> Any:
        network = dataclasses.replace(agent, neurons=neurons)
        of_team = team_gradient(
            *(network, network, mixer, mixer, TeamBatch(*rest), TARGETS), mixing="monotonic"
        )
        hidden = jnp.zeros((BATCH, AGENTS, HIDDEN))
        of_step = act(network, rest[0][0], rest[1][0], hidden)
        return of_team, of_step, episode_utilities(network, *rest[:3], others=(network,))

    parts, rows = [agent.parameters, agent.structure], batch.steps
    mixing = [mixer.parameters, mixer.structure]
    return {
        "episode_utilities": (differentiated, [*parts, *batch[:3]]),
        "act": (
            lambda p, s, *rest: act(with_parts(agent, p, s), *rest),
            [*parts, batch.observation[0], batch.action[0], jnp.zeros((BATCH, AGENTS, HIDDEN))],
        ),
        "mixed_values": (
            lambda p, s, *rest: mixed_values(with_parts(mixer, p, s), *rest),
            [*mixing, utilities, batch.state, rows],
        ),
        "joint_softmax_values": (
            lambda p, s, *rest: joint_softmax_values(
                with_parts(mixer, p, s), mixer, *rest, beta=5.0, with_unavailable=False
            ),
            [*mixing, q, q, q > 0, batch.state[:-1], rows],
        ),
        "apply_layers": (
            lambda p, s, *rest: apply_layers(with_parts(layer, p, s), *rest),
            [layer.parameters, layer.structure, batch.observation[:, :, 0], rows],
        ),
        "team_gradient": (team, [*parts, *batch]),
        "lacking neurons": (
            lacking,
            [jnp.arange(2 * AGENTS * HIDDEN).reshape(2, AGENTS, HIDDEN) % 3 > 0, *batch],
        ),
    }


@pytest.mark.parametrize("name", calls())
def test_operands_that_do_not_fit_end_in_an_error_or_a_result(name: str) -> None:
    function, operands = calls()[name]
    jax.block_until_ready(function(*operands))
    generator = np.random.default_rng(len(name))
    for _ in range(25):
        spoiled = list(operands)
        for _ in range(int(generator.integers(1, 3))):
            place = int(generator.integers(len(spoiled)))
            spoiled[place] = odd_array(generator, spoiled[place])
        try:
            jax.block_until_ready(function(*spoiled))
        except (*REFUSED, TypeError, IndexError):  # some already by JAX
            continue
