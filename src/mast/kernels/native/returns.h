// Returns: learning targets from rewards and state values; mast/learning/returns.py says what each is.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace mast {

struct Returns {
  float discount, lambda;
  int64_t n;  // rewards in an n-step return; 0: the λ-return
  bool cuts_are_terminal;
};

// The targets of one head of one episode of `steps` steps, written to target; numbers of successive steps lie
// `stride` apart in reward and ended, `stride · heads` apart in value and target.
inline void returns_of_episode(const Returns& by, int64_t steps, int64_t stride, int64_t heads,
                               const float* reward, const bool* terminated, const float* value, float* target) {
  const auto at = [=](int64_t t) { return t * stride * heads; };
  const auto ends = [&](int64_t t) { return terminated[t * stride] || (by.cuts_are_terminal && t + 1 == steps); };
  if (by.n == 0) {
    float later = 0;
    for (int64_t t = steps - 1; t >= 0; --t) {
      const float next = value[at(t + 1)];
      const float following = t + 1 < steps ? (1 - by.lambda) * next + by.lambda * later : next;
      later = reward[t * stride] + (ends(t) ? 0 : by.discount * following);
      target[at(t)] = later;
    }
    return;
  }
  for (int64_t t = 0; t < steps; ++t) {
    const int64_t last = std::min(t + by.n, steps) - 1;
    float sum = ends(last) ? 0 : by.discount * value[at(last + 1)];
    for (int64_t k = last; k >= t; --k) {
      if (k < last) sum = ends(k) ? 0 : by.discount * sum;
      sum += reward[k * stride];
    }
    target[at(t)] = sum;
  }
}

}  // namespace mast
