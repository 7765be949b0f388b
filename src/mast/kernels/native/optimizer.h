// RMSProp on a clipped gradient, over a few vectors: the step of mast.learning.learner.team_optimizer.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

namespace mast {

struct RmsProp {
  float learning_rate, decay, epsilon, largest_norm;
};

struct Slots {
  int64_t size;
  const float *parameters, *gradient, *second_moment;
  float *new_parameters, *new_second_moment;
};

// All slots make one step; returns the norm of all gradients together, before clipping.
inline float clipped_step(const RmsProp& by, const std::vector<Slots>& all) {
  double squares = 0;
  for (const Slots& s : all) {
    for (int64_t i = 0; i < s.size; ++i) squares += static_cast<double>(s.gradient[i]) * s.gradient[i];
  }
  const float norm = static_cast<float>(std::sqrt(squares));
  const float scale = norm < by.largest_norm ? 1.0f : by.largest_norm / norm;
  for (const Slots& s : all) {
    for (int64_t i = 0; i < s.size; ++i) {
      const float g = s.gradient[i] * scale;
      const float moment = by.decay * s.second_moment[i] + (1 - by.decay) * g * g;
      s.new_second_moment[i] = moment;
      s.new_parameters[i] = s.parameters[i] - by.learning_rate * g / (std::sqrt(moment) + by.epsilon);
    }
  }
  return norm;
}

}  // namespace mast
