"""OW-QMIX and CW-QMIX from the spec's sentences: float64, one episode and step at a time."""

from typing import Any

import numpy as np

from golden.networks_by_definition import agent_utilities, feed_forward_mixer, qmix
from golden.value_decomposition_by_definition import (
    Rules,
    Step,
    backups,
    greedy_action,
    taken,
    targets,
)


def steps_of_episode(
    algorithm: str, params: Any, target: Any, episode: Any, rules: Rules
) -> list[Step]:
    """Q_tot, Q̂*, target and weight for every step of one unpadded episode."""
    steps, agents = episode.action.shape
    seen = (episode.observation, episode.action)
    q = agent_utilities(params.agent, *seen)
    unrestricted_q = agent_utilities(params.unrestricted_agent, *seen)
    target_q = agent_utilities(target.unrestricted_agent, *seen)
    assert rules.operator is not None
    values = []
    for t in range(steps + 1):
        utilities = backups(rules.operator, target_q[t], q[t], episode.available[t])
        values.append(feed_forward_mixer(target.unrestricted_mixer, utilities, episode.state[t]))
    result = []
    for t, y in enumerate(targets(episode, values, rules)):
        q_tot = qmix(params.mixer, taken(q, episode, t), episode.state[t])
        unrestricted = feed_forward_mixer(
            params.unrestricted_mixer, taken(unrestricted_q, episode, t), episode.state[t]
        )
        best = [greedy_action(q[t, i], episode.available[t, i]) for i in range(agents)]
        if algorithm == "owqmix":
            is_important = q_tot < y
        else:
            best_value = feed_forward_mixer(
                target.unrestricted_mixer,
                np.array([target_q[t, i, best[i]] for i in range(agents)]),
                episode.state[t],
            )
            is_important = list(episode.action[t]) == best or y > best_value
        weight = 1.0 if is_important else rules.alpha
        result.append(Step(q_tot, y, weight=weight, unrestricted=unrestricted))
    return result
