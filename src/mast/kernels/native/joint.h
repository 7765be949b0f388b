// RES's value of each visited state, V = Σ_u softmax(β Q_tot(s, u)) Q̄_tot(s, u) over the joint actions u that
// differ from the greedy one in at most one agent. What it is, and why so, is in mast/learning/algorithms/res.py.
#pragma once

#include "mixer.h"

namespace mast {

// The utility of an unavailable action where joint actions with one count.
constexpr float kUnavailable = -9999999.0f;

struct JointSoftmax {
  float beta;
  bool with_unavailable;
};

struct JointEpisodes {
  const float* state;      // [times, episodes, state]
  const int32_t* rows;     // [episodes], how many of the times each episode has
  const float* online;     // [times, episodes, agents, actions], utilities
  const float* target;     // the same of the target networks
  const bool* available;   // which actions may be taken
};

// Every agent's utilities in a tile: of all actions [agents, actions, stride], and of the greedy one [agents, stride].
struct JointTile {
  Array online, target, available, greedy_online, greedy_target;

  JointTile(int64_t agents, int64_t actions, int stride)
      : online(agents * actions * stride), target(agents * actions * stride), available(agents * actions * stride),
        greedy_online(agents * stride), greedy_target(agents * stride) {}
};

// The greedy actions are the online network's, of equal ones the first.
template <int Vectors>
void choose_greedily(int64_t agents, int64_t actions, const JointTile& tile, int stride) {
  for (int64_t a = 0; a < agents; ++a) {
    for (int v = 0; v < Vectors * kLanes; v += kLanes) {
      Floats best = broadcast(-INFINITY), of_online{}, of_target{};
      for (int64_t at = a * actions * stride + v; at < (a + 1) * actions * stride; at += stride) {
        const Floats q = load(tile.online.get() + at);
        const Ints better = (load(tile.available.get() + at) > Floats{}) & (q > best);
        best = better ? q : best;
        of_online = better ? q : of_online;
        of_target = better ? load(tile.target.get() + at) : of_target;
      }
      store(tile.greedy_online.get() + a * stride + v, of_online);
      store(tile.greedy_target.get() + a * stride + v, of_target);
    }
  }
}

// Q_tot of all deviations of one agent from the greedy joint action, from what `hypernetworks` left: `q` of all
// actions becomes that of the joint ones. Only one utility differs, so a deviation adds its difference times
// |w1| to what the greedy actions put into the inner layer.
template <int Vectors>
void deviate(const MixerShape& s, int64_t actions, const MixerTile& mixer, const float* greedy, const float* available,
             float* q, int stride) {
  const float *w1 = mixer.heads.get(), *w_final = w1 + s.agents * s.embed * stride;
  float* inner = mixer.inner.get();
  for (int v = 0; v < Vectors * kLanes; v += kLanes) {
    for (int64_t e = 0; e < s.embed; ++e) {
      Floats sum = load(inner + e * stride + v);
      for (int64_t a = 0; a < s.agents; ++a) {
        sum += absolute(load(w1 + (a * s.embed + e) * stride + v)) * load(greedy + a * stride + v);
      }
      store(inner + e * stride + v, sum);
    }
    for (int64_t a = 0; a < s.agents; ++a) {
      for (int64_t at = a * actions * stride + v; at < (a + 1) * actions * stride; at += stride) {
        const Floats utility = load(available + at) > Floats{} ? load(q + at) : broadcast(kUnavailable);
        const Floats change = utility - load(greedy + a * stride + v);
        Floats total = load(w_final + s.embed * stride + v);  // V(s)
        for (int64_t e = 0; e < s.embed; ++e) {
          const Floats moved = load(inner + e * stride + v) +
                               absolute(load(w1 + (a * s.embed + e) * stride + v)) * change;
          total += absolute(load(w_final + e * stride + v)) * elu(moved);
        }
        store(q + at, total);
      }
    }
  }
}

// One register of lanes: the mean of the target's joint values under the online one's softmax.
inline Floats joint_mean(const JointSoftmax& how, const JointTile& tile, int64_t joint_actions, int stride, int v) {
  const Floats all = broadcast(how.with_unavailable ? 1.0f : 0.0f);
  const auto counts = [&](int64_t u) { return load(tile.available.get() + u * stride + v) + all > Floats{}; };
  Floats highest = broadcast(-INFINITY), total{}, weights{};
  for (int64_t u = 0; u < joint_actions; ++u) {
    const Floats q = load(tile.online.get() + u * stride + v);
    highest = counts(u) & (q > highest) ? q : highest;
  }
  for (int64_t u = 0; u < joint_actions; ++u) {
    const Floats gap = counts(u) ? load(tile.online.get() + u * stride + v) - highest : Floats{};
    const Floats weight = counts(u) ? exponential(how.beta * gap) : Floats{};
    weights += weight;
    total += weight * load(tile.target.get() + u * stride + v);
  }
  return total / weights;
}

// value: [times, episodes], 0 where nothing was visited.
inline void joint_softmax_values(const MixerShape& s, int64_t actions, const JointEpisodes& episodes,
                                 const MixerNetwork& online, const MixerNetwork& target, const JointSoftmax& how,
                                 float* value, const ForEach& for_each) {
  std::fill_n(value, s.times * s.episodes, 0.0f);
  const Visited visited(s.times, s.episodes, episodes.rows);
  const std::vector<Tile> tiles = tiles_of(visited.count);
  const int stride = widest(tiles);
  const int64_t joint_actions = s.agents * actions;
  const MixerBlocks online_blocks(online, s), target_blocks(target, s);
  const MixerPlans online_plans(online_blocks, s, stride), target_plans(target_blocks, s, stride);
  in_strands(for_each, static_cast<int>(tiles.size()), [&](int, int index) {
    const int32_t* rows = visited.row.data() + tiles[index].lane0;
    const MixerTile mixer(s, online_blocks, stride);
    const JointTile tile(s.agents, actions, stride);
    for (int l = 0; l < tiles[index].stride(); ++l) {
      const bool* may = episodes.available + rows[l] * joint_actions;
      for (int64_t u = 0; u < joint_actions; ++u) tile.available.get()[u * stride + l] = may[u];
    }
    with_vectors_up_to<kTileVectors>(tiles[index].vectors, [&](auto constant) {
      constexpr int kVectors = decltype(constant)::value;
      load_tile(episodes.state, rows, s.state, kVectors, mixer.state.get(), stride);
      load_tile(episodes.online, rows, joint_actions, kVectors, tile.online.get(), stride);
      load_tile(episodes.target, rows, joint_actions, kVectors, tile.target.get(), stride);
      choose_greedily<kVectors>(s.agents, actions, tile, stride);
      hypernetworks<kVectors>(online_plans, mixer);
      deviate<kVectors>(s, actions, mixer, tile.greedy_online.get(), tile.available.get(), tile.online.get(), stride);
      hypernetworks<kVectors>(target_plans, mixer);
      deviate<kVectors>(s, actions, mixer, tile.greedy_target.get(), tile.available.get(), tile.target.get(), stride);
    });
    const int active = visited.in_tile(tiles[index]);
    for (int v = 0; v < active; v += kLanes) {
      const Floats mean = joint_mean(how, tile, joint_actions, stride, v);
      for (int l = v; l < std::min(v + kLanes, active); ++l) value[rows[l]] = mean[l - v];
    }
  });
}

}  // namespace mast
