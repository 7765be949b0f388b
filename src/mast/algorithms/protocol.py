"""What the learner and the loops need of an algorithm."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Array, Float, Int, PRNGKeyArray

from mast.envs.protocol import TimeStep
from mast.learning.method import Method
from mast.learning.trajectory import Trajectory
from mast.networks.spec import NetworkSpec, Sizes

Networks = Mapping[str, NetworkSpec]

LossMetrics = dict[str, Float[Array, ""]]
"""What a loss tells about its batch, each a mean over the steps really taken, by the entry's names."""


@runtime_checkable
class Algorithm(Protocol):
    """What every algorithm has."""

    def init(self, key: PRNGKeyArray, networks: Networks, sizes: Sizes) -> Any:
        """Fresh dense parameters, with the networks of the entry; the acting one is their `agent`."""
        ...

    def loss(
        self, params: Any, target: Any, batch: Any, method: Method, env_steps: Float[Array, ""]
    ) -> tuple[Float[Array, ""], LossMetrics]:
        """The loss of a batch and its metrics.

        The batch is a `mast.learning.replay.Batch`, or what `targets` makes of a trajectory.
        """
        ...


@runtime_checkable
class OnPolicyAlgorithm(Algorithm, Protocol):
    """What an algorithm of the loop "on_policy" has beside."""

    def act(
        self, params: Any, key: PRNGKeyArray, seen: TimeStep
    ) -> tuple[Int[Array, "envs agents"], dict[str, Array]]:
        """Actions drawn from the policy, and what `targets` wants to know of it (`Trajectory.behaviour`)."""
        ...

    def targets(self, params: Any, trajectory: Trajectory, method: Method) -> tuple[Any, Any]:
        """What a trajectory teaches, without gradient.

        Returns:
            The networks, with running statistics brought up to date where there are such; and the batch,
            arrays that lead with [time envs], of which `loss` may be given a part as [rows].
        """
        ...
