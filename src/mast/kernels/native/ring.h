// Episodes read where they lie in the replay ring (mast/learning/replay.py): observations, states and what was available
// in place, whatever their size; actions, rewards and ends, a few bytes of each step, side by side first.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>


namespace mast {

// The ring's arrays, and which of its slots are the batch. A slot holds `limit` steps, and one row more of what is seen.
template <typename Action>
struct RingSteps {
  int64_t limit, agents, episodes;
  const Action* action;    // [capacity, limit, agents]
  const float* reward;     // [capacity, limit]
  const int32_t* slots;    // [episodes]
  const int32_t* steps;    // [episodes], from 1 to limit
  const bool* terminated;  // [episodes]
};

// What is small of the batch, time first, 0 and False beyond an episode's end.
struct SideBySide {
  std::vector<int32_t> action;         // [times, episodes, agents]
  std::vector<float> reward;           // [times, episodes]
  std::unique_ptr<bool[]> terminated;  // [times, episodes]

  template <typename Action>
  SideBySide(const RingSteps<Action>& ring, int64_t times)
      : action(times * ring.episodes * ring.agents),
        reward(times * ring.episodes),
        terminated(new bool[times * ring.episodes]()) {
    for (int64_t e = 0; e < ring.episodes; ++e) {
      const int64_t first = ring.slots[e] * ring.limit, steps = ring.steps[e];
      const Action* taken = ring.action + first * ring.agents;
      for (int64_t t = 0; t < steps; ++t, taken += ring.agents) {
        std::copy_n(taken, ring.agents, action.data() + (t * ring.episodes + e) * ring.agents);
        reward[t * ring.episodes + e] = ring.reward[first + t];
      }
      terminated[(steps - 1) * ring.episodes + e] = ring.terminated[e];
    }
  }
};

}  // namespace mast
