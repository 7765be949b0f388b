"""QMIX's learner in PyTorch, for the arm `torch` of `peers.py`: our loop, episodes and sampling, its update.

Written as well as eager PyTorch on one thread allows: whole sequences, the two codes laid beside the
observations once for both networks, mixers over the whole batch at once, and a GRU of our own, `gru`, whose
input and weight products are each one large product outside the loop over time.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mast.algorithms.value.decomposition import Team
from mast.config import Config
from mast.execution.learner import LearnerState, UpdateMetrics
from mast.learning.replay import Batch
from mast.networks.agent import RecurrentAgent
from mast.networks.linear import Linear
from mast.networks.mixers import QMixer

AGENT = ("fc1", "gru_input", "gru_hidden", "fc2")
MIXER = ("w1_hidden", "w1_out", "w_final_hidden", "w_final_out", "b1", "v_hidden", "v_out")


class GruSequence(torch.autograd.Function):
    """The hidden states of a GRU along sequences, from h_0 = 0 (Torch's definition).

    Autograd through `nn.GRU` records some twenty small operations per step; this backward pass needs seven,
    since all factors that the incoming gradient is multiplied with are made for all steps at once.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, input_weight: Tensor, hidden_weight: Tensor, *biases: Tensor):
        """x: [time, rows, h]; weights [3h, h] and biases [3h], gates in the order reset, update, new."""
        time, rows, width = x.shape
        gates = torch.addmm(biases[0], x.reshape(-1, width), input_weight.t())
        gates = gates.view(time, rows, 3 * width)
        recurrent = torch.empty_like(gates)
        hidden = torch.empty(time + 1, rows, width)
        hidden[0] = 0
        across = hidden_weight.t()
        for t in range(time):
            torch.addmm(biases[1], hidden[t], across, out=recurrent[t])
            gates[t, :, : 2 * width].add_(recurrent[t, :, : 2 * width]).sigmoid_()
            new = gates[t, :, 2 * width :]
            new.addcmul_(gates[t, :, :width], recurrent[t, :, 2 * width :]).tanh_()
            torch.lerp(new, hidden[t], gates[t, :, width : 2 * width], out=hidden[t + 1])
        ctx.save_for_backward(x, input_weight, hidden_weight, gates, recurrent, hidden)
        return hidden[1:]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor):  # type: ignore[override]
        """The gradients of everything that `forward` takes."""
        x, input_weight, hidden_weight, gates, recurrent, hidden = ctx.saved_tensors
        time, rows, width = x.shape
        reset, update, new = gates.split(width, dim=-1)
        to_new = (1 - update) * (1 - new * new)
        to_update = (hidden[:-1] - new) * update * (1 - update)
        to_reset = recurrent[..., 2 * width :] * reset * (1 - reset)
        by_input, by_hidden = torch.empty_like(gates), torch.empty_like(gates)
        carried = torch.zeros(rows, width)
        for t in reversed(range(time)):
            carried.add_(gradient[t])
            d_new = torch.mul(carried, to_new[t], out=by_input[t, :, 2 * width :])
            torch.mul(d_new, to_reset[t], out=by_hidden[t, :, :width])
            torch.mul(carried, to_update[t], out=by_hidden[t, :, width : 2 * width])
            torch.mul(d_new, reset[t], out=by_hidden[t, :, 2 * width :])
            carried = torch.addmm(carried.mul_(update[t]), by_hidden[t], hidden_weight)
        by_input[..., : 2 * width] = by_hidden[..., : 2 * width]
        flat_input, flat_hidden = by_input.view(-1, 3 * width), by_hidden.view(-1, 3 * width)
        return (
            (flat_input @ input_weight).view_as(x),
            flat_input.t() @ x.reshape(-1, width),
            flat_hidden.t() @ hidden[:-1].reshape(-1, width),
            flat_input.sum(0),
            flat_hidden.sum(0),
        )


class TorchTeam(nn.Module):
    """The agent and QMIX's mixer with the weights of ours."""

    def __init__(self, team: Team) -> None:
        super().__init__()
        self.agent = nn.ModuleDict({name: _linear(getattr(team.agent, name)) for name in AGENT})
        self.mixer = nn.ModuleDict({name: _linear(getattr(team.mixer, name)) for name in MIXER})

    def utilities(self, inputs: Tensor) -> Tensor:
        """Q_i of every action along the episodes: [time, batch, agents, actions]."""
        time, batch, agents, _ = inputs.shape
        x = F.relu(self.agent["fc1"](inputs)).view(time, batch * agents, -1)
        by_input, by_hidden = self.agent["gru_input"], self.agent["gru_hidden"]
        weights = (by_input.weight, by_hidden.weight, by_input.bias, by_hidden.bias)
        hidden = GruSequence.apply(x, *weights)
        return self.agent["fc2"](hidden).view(time, batch, agents, -1)

    def mixed(self, utilities: Tensor, state: Tensor) -> Tensor:
        """Q_tot: [time, batch]."""
        layer = self.mixer
        first = layer["w1_out"](F.relu(layer["w1_hidden"](state))).abs()
        first = first.view(*utilities.shape, -1)
        final = layer["w_final_out"](F.relu(layer["w_final_hidden"](state))).abs()
        hidden = F.elu((utilities.unsqueeze(-1) * first).sum(-2) + layer["b1"](state))
        value = layer["v_out"](F.relu(layer["v_hidden"](state))).squeeze(-1)
        return (hidden * final).sum(-1) + value


class TorchState:
    """What `TorchPrograms` changes in place.

    Args:
        start: the state that training begins with, a dense one.
        config: the optimizer's numbers.
    """

    def __init__(self, start: LearnerState, config: Config) -> None:
        self.start = start
        self.online, self.target = TorchTeam(start.params), TorchTeam(start.target)
        self.target.requires_grad_(False)
        self.optimizer = torch.optim.RMSprop(
            self.online.parameters(),
            lr=config.learning_rate,
            alpha=config.rms_decay,
            eps=config.rms_epsilon,
            foreach=True,
        )


class TorchPrograms:
    """`mast.training.programs.Programs` for dense QMIX with one-step targets and double Q, in PyTorch.

    Args:
        config: resolved settings of that method.
    """

    update_gives_gradient = True
    reads_ring = False

    def __init__(self, config: Config) -> None:
        if (config.operator, config.targets, config.timeout) != ("max", "one_step", "bootstrap"):
            raise ValueError("the PyTorch learner knows the targets of method dense only")
        torch.set_num_threads(1)
        self._config = config

    def begin(self, state: LearnerState) -> TorchState:
        """The state in PyTorch."""
        return TorchState(state, self._config)

    def team(self, state: TorchState) -> LearnerState:
        """The state as arrays of JAX; the optimizer's is that of the start."""
        like = state.start.params.agent
        online, target = (_team(module, like) for module in (state.online, state.target))
        return LearnerState(online, target, state.start.optimizer)

    def agent(self, state: TorchState) -> RecurrentAgent:
        """The online agent as rollouts take it: its weights copied to JAX."""
        return _agent(state.online, state.start.params.agent)

    def update(
        self, state: TorchState, batch: Batch, method: Any, env_steps: Any
    ) -> tuple[TorchState, UpdateMetrics, None]:
        """One gradient step."""
        loss, metrics = self.loss(state, batch)
        state.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(
            state.online.parameters(), self._config.gradient_clip, foreach=True
        )
        state.optimizer.step()
        numbers = [np.float32(each.item()) for each in (loss, *metrics, norm)]
        return (
            state,
            UpdateMetrics(
                numbers[0],
                dict(zip(("q_tot", "target", "td_error"), numbers[1:4], strict=True)),
                numbers[4],
            ),
            None,
        )

    def loss(self, state: TorchState, batch: Batch) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Σ mask (y − Q_tot)² / Σ mask; and the means of Q_tot, y and |y − Q_tot|."""
        inputs, states = _inputs(batch), torch.from_numpy(batch.state).float()
        action = torch.from_numpy(batch.action).long().unsqueeze(-1)
        mask = torch.from_numpy(batch.mask).float()
        mask /= mask.sum()
        q = state.online.utilities(inputs)
        q_tot = state.online.mixed(q[:-1].gather(-1, action).squeeze(-1), states[:-1])
        with torch.no_grad():
            closed = torch.from_numpy(~batch.available[1:])
            greedy = q[1:].masked_fill(closed, -torch.inf).argmax(-1, keepdim=True)
            held = state.target.utilities(inputs)[1:].gather(-1, greedy).squeeze(-1)
            value = state.target.mixed(held, states[1:])
            value.masked_fill_(torch.from_numpy(batch.terminated), 0)
            target = torch.from_numpy(batch.reward) + self._config.discount * value
        error = target - q_tot
        loss = (mask * error * error).sum()
        with torch.no_grad():
            means = tuple((mask * each).sum() for each in (q_tot, target, error.abs()))
        return loss, means

    def gradient(self, *operands: Any) -> Any:
        """Of no use: nothing evolves in a dense team."""
        raise NotImplementedError

    evolve = gradient

    def copy_target(self, state: TorchState) -> TorchState:
        """The state with its target networks set to the online ones."""
        state.target.load_state_dict(state.online.state_dict())
        return state

    def finite(self, state: TorchState) -> np.ndarray:
        """Whether every parameter is finite."""
        return np.asarray(all(bool(p.isfinite().all()) for p in state.online.parameters()))


def _inputs(batch: Batch) -> Tensor:
    """Observation, last action's code and agent's id side by side, as the first layer reads them."""
    time, size, agents, features = batch.observation.shape
    actions = batch.available.shape[-1]
    inputs = torch.zeros(time, size, agents, features + actions + agents)
    inputs[..., :features] = torch.from_numpy(batch.observation)
    last = torch.from_numpy(batch.action).long().unsqueeze(-1)
    inputs[1:, ..., features : features + actions].scatter_(-1, last, 1.0)
    inputs[..., features + actions :] = torch.eye(agents)
    return inputs


def _linear(layer: Linear) -> nn.Linear:
    rows, columns = layer.weight.shape
    made = nn.Linear(columns, rows)
    with torch.no_grad():
        made.weight.copy_(torch.from_numpy(np.array(layer.weight)))
        made.bias.copy_(torch.from_numpy(np.array(layer.bias)))
    return made


def _to_jax(layer: nn.Linear) -> Linear:
    # Copies: JAX would share the memory that the optimizer goes on to change.
    return Linear(*(jnp.array(p.detach().numpy(), copy=True) for p in (layer.weight, layer.bias)))


def _agent(module: TorchTeam, like: RecurrentAgent) -> RecurrentAgent:
    layers = {name: _to_jax(module.agent[name]) for name in AGENT}
    return RecurrentAgent(**layers, features=like.features, actions=like.actions)


def _team(module: TorchTeam, like: RecurrentAgent) -> Team:
    mixer = QMixer(**{name: _to_jax(module.mixer[name]) for name in MIXER})
    return Team(_agent(module, like), mixer)
