// A whole update's loss and gradient of a value-decomposition team, Σ mask (y − Q_tot)² / Σ mask, in one call:
// online and target agent, backup operator, target mixer, returns, online mixer, and back. States lie as observations do.
//
// One call and not five, since at the size of a small team what lies between the kernels (a select over
// actions, a scan over rewards, a mean) costs XLA as much as the networks cost here: dozens of small
// operations, their code and their buffers cold. Utilities of all actions never leave the cache: of each
// state only that of the taken action and the backup value go on.
#pragma once

#include "agent_backward.h"
#include "available.h"
#include "backup.h"
#include "mixer.h"
#include "returns.h"

namespace mast {

enum class Mixing { kNone, kSum, kMonotonic };  // IQL, VDN, QMIX

// Beside AgentEpisodes.
struct Outcomes {
  Available available;     // lies as the observations do
  const float* reward;     // [observations - 1, episodes]
  const bool* terminated;  // [observations - 1, episodes]
};

struct TeamNetworks {
  AgentNetwork agent;
  MixerNetwork mixer;
};

struct TeamGradient {
  AgentGradient agent;
  std::vector<Gradient> mixer;
};

// Means over the steps really taken, and over heads.
struct TeamMetrics {
  float loss, q_tot, target, error;
};

// chosen [observations - 1, episodes, agents]: the online Q of the actions taken; backup [observations,
// episodes, agents]: the operator's value of each state.
template <typename Number>
void utilities_and_backup(const AgentShape& s, const AgentEpisodes<Number>& episodes, const Lanes& lanes,
                          const Available& available, const std::vector<std::vector<AgentPlans>>& online_and_target,
                          const Backup& op, float* chosen, float* backup, float* saved, const ForEach& for_each) {
  const int stride = lanes.stride;
  std::vector<Array> may_take;
  for (size_t i = 0; i < lanes.tiles.size(); ++i) may_take.emplace_back(s.actions * stride);
  const auto report = [&](int index, int64_t t, int active, const std::vector<Array>& utilities) {
    const AgentTile& tile = lanes.tiles[index];
    const int32_t* rows = lanes.row.data() + tile.lane0;
    float* may = may_take[index].get();
    load_available(s, available, lanes, episodes.places, tile, t, active, may);
    for (int v = 0; v < active; v += kLanes) {
      const Floats value = backup_value(op, utilities[1].get() + v, utilities[0].get() + v, may + v, s.actions, stride);
      for (int l = v; l < std::min(v + kLanes, active); ++l) backup[t * s.lanes() + rows[l]] = value[l - v];
    }
    choose(s, episodes, lanes, tile, t, utilities[0].get(), chosen);
  };
  agent_forward(s, episodes, lanes, online_and_target, saved, for_each, report);
}

// Q_tot of the simpler mixings: heads of each row [rows, heads] from its utilities [rows, agents].
inline void mix_plainly(Mixing mixing, int64_t rows, int64_t agents, const float* utilities, float* q_tot) {
  if (mixing == Mixing::kNone) {
    std::memcpy(q_tot, utilities, sizeof(float) * rows * agents);
    return;
  }
  for (int64_t r = 0; r < rows; ++r) {
    float sum = 0;
    for (int64_t a = 0; a < agents; ++a) sum += utilities[r * agents + a];
    q_tot[r] = sum;
  }
}

template <typename Number>
TeamMetrics team_gradient(const AgentShape& s, const AgentEpisodes<Number>& episodes, const Outcomes& outcomes,
                          Mixing mixing, const MixerShape& mixer_shape, const Number* state,
                          const TeamNetworks& online, const TeamNetworks& target, const Backup& op,
                          const Returns& returns, const TeamGradient& gradient, const ForEach& for_each) {
  const int64_t times = s.observations - 1, heads = mixing == Mixing::kNone ? s.agents : 1;
  const int64_t rows = times * s.episodes;
  const Lanes lanes(s, episodes.steps, episodes.places, online.agent);
  const Array saved = Array::large(lanes.saved_size(s), Array::At::kAnything), chosen = Array::large(rows * s.agents),
              backup = Array::large((rows + s.episodes) * s.agents),
              value = Array::large((rows + s.episodes) * heads), y = Array::large(rows * heads),
              q_tot = Array::large(rows * heads), d_chosen = Array::large(rows * s.agents);
  std::vector<std::vector<AgentPlans>> plans;
  for (const AgentNetwork* net : {&online.agent, &target.agent}) plans.push_back(plans_of(*net, lanes.stride));
  utilities_and_backup(s, episodes, lanes, outcomes.available, plans, op, chosen.get(), backup.get(), saved.get(),
                       for_each);

  std::vector<int32_t> steps(s.episodes), states(s.episodes);
  int64_t count = 0;
  for (int64_t e = 0; e < s.episodes; ++e) {
    steps[e] = static_cast<int32_t>(std::clamp<int64_t>(episodes.steps[e], 0, times));
    states[e] = steps[e] + 1;
    count += steps[e];
  }
  MixerShape with_last = mixer_shape, taken = mixer_shape;  // of every state, of those in which actions were taken
  with_last.times = s.observations;
  taken.times = times;
  if (mixing == Mixing::kMonotonic) {
    mixer_forward(with_last, MixerEpisodes<Number>{state, backup.get(), states.data(), episodes.places}, target.mixer, value.get(),
                  for_each);
  } else {
    mix_plainly(mixing, rows + s.episodes, s.agents, backup.get(), value.get());
  }
  for (int64_t e = 0; e < s.episodes; ++e) {
    for (int64_t h = 0; h < heads; ++h) {
      const int64_t at = e * heads + h;
      returns_of_episode(returns, steps[e], s.episodes, heads, outcomes.reward + e, outcomes.terminated + e,
                         value.get() + at, y.get() + at);
    }
  }

  const float weight = count > 0 ? 1.0f / static_cast<float>(count * heads) : NAN;  // as a mean over nothing
  if (mixing == Mixing::kMonotonic) {
    const auto derivative = [&](const int32_t* row, int lanes, const float* q, float* d) {
      for (int l = 0; l < lanes; ++l) {
        q_tot.get()[row[l]] = q[l];
        d[l] = 2 * weight * (q[l] - y.get()[row[l]]);
      }
    };
    mixer_learn(taken, MixerEpisodes<Number>{state, chosen.get(), steps.data(), episodes.places}, online.mixer, derivative,
                d_chosen.get(), gradient.mixer, for_each);
  } else {
    mix_plainly(mixing, rows, s.agents, chosen.get(), q_tot.get());
    for (int64_t i = 0; i < rows * s.agents; ++i) {
      const int64_t head = i * heads / s.agents;
      d_chosen.get()[i] = 2 * weight * (q_tot.get()[head] - y.get()[head]);
    }
  }
  agent_backward(s, episodes, lanes, plans[0], saved.get(), d_chosen.get(), gradient.agent, for_each);

  TeamMetrics sums{0, 0, 0, 0};
  for (int64_t t = 0; t < times; ++t) {
    for (int64_t e = 0; e < s.episodes; ++e) {
      if (t >= steps[e]) continue;
      for (int64_t i = (t * s.episodes + e) * heads; i < (t * s.episodes + e + 1) * heads; ++i) {
        const float error = y.get()[i] - q_tot.get()[i];
        sums.loss += error * error;
        sums.q_tot += q_tot.get()[i];
        sums.target += y.get()[i];
        sums.error += std::fabs(error);
      }
    }
  }
  return {sums.loss * weight, sums.q_tot * weight, sums.target * weight, sums.error * weight};
}

}  // namespace mast
