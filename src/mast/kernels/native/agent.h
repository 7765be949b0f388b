// The recurrent agent over whole episodes: fc1 → ReLU → GRU → fc2, forward and backward, tile by tile.
//
// One tile goes through all its time steps before the next begins, so its hidden state never leaves the
// cache. The GRU's two matrices are planned as one of 4h rows over the tile [x; h] (x the first layer's
// activation, h the state before the step):
//     rows 0..h    reset   W_ir x + W_hr h        rows 2h..3h  new        W_in x
//     rows h..2h   update  W_iz x + W_hz h        rows 3h..4h  recurrent  W_hn h
// One product gives everything that the gates need, and one product with the transpose sends everything
// back. Last action and agent id are integers; their codes exist as a few rows of the tile in L1 only.
//
// Lanes of one network lie together, and no tile has lanes of two. Among them they are ordered by the length of
// their episode, the longest first, so those that still play at step t are the first ones, and what follows
// them is not computed: padding costs nothing.
//
// Of the forward pass only h is kept. Everything else the backward pass computes again, in the cache: that
// costs a third of what writing it to memory and reading it back does (docs/kernels.md).
#pragma once

#include "sparse.h"
#include "tiles.h"

namespace mast {

struct AgentShape {
  int64_t observations;  // T + 1
  int64_t episodes, agents, features, actions, hidden;
  int64_t ids = -1;  // how many inputs say which agent it is: as many as there are agents, or none
  int64_t lanes() const { return episodes * agents; }
  int64_t inputs() const { return features + actions + ids; }
};

// Of several networks each matrix has the rows of all of them, one network after the other.
struct AgentNetwork {
  Matrix fc1, input, hidden, fc2;  // [h, inputs], [3h, h], [3h, h], [actions, h]
  const bool* neurons = nullptr;   // [2, agents, h], which of fc1 and of the state each agent has; null: all
  int64_t copies = 1;
  const int32_t* network_of = nullptr;  // [agents], which of the copies each agent uses; null: the only one

  AgentNetwork one(int64_t copy) const {
    return {part(fc1, copy, copies), part(input, copy, copies), part(hidden, copy, copies), part(fc2, copy, copies),
            neurons};
  }
};

template <typename Number>
struct AgentEpisodes {
  const Number* observation;  // rows of [agents, features]
  const int32_t* action;      // [observations - 1, episodes, agents]
  const int32_t* steps;       // [episodes], actions really taken
  Places places;              // of the observations
};

// A tile of lanes that use one network.
struct AgentTile : Tile {
  int network;
  int before;  // how many lanes of that network come before it
  int lanes;   // of the batch; those beyond are padding
};

// The agents of each network.
inline std::vector<std::vector<int32_t>> agents_of_networks(const AgentShape& s, const AgentNetwork& net) {
  std::vector<std::vector<int32_t>> agents(net.copies);
  for (int32_t a = 0; a < s.agents; ++a) agents[net.network_of ? net.network_of[a] : 0].push_back(a);
  return agents;
}

// Tiles of each network's lanes in turn.
inline std::vector<AgentTile> agent_tiles(const AgentShape& s, const std::vector<std::vector<int32_t>>& agents) {
  std::vector<AgentTile> tiles;
  for (size_t k = 0; k < agents.size(); ++k) {
    const int lane0 = tiles.empty() ? 0 : tiles.back().lane0 + tiles.back().stride();
    const int64_t count = s.episodes * static_cast<int64_t>(agents[k].size());
    for (const Tile& tile : tiles_of(count)) {
      const int lanes = static_cast<int>(std::min<int64_t>(tile.stride(), count - tile.lane0));
      tiles.push_back({{lane0 + tile.lane0, tile.vectors}, static_cast<int>(k), tile.lane0, lanes});
    }
  }
  return tiles;
}

// The lanes of a batch in tiles: which row each is, and how many play at each observation.
struct Lanes {
  std::vector<std::vector<int32_t>> agents;  // of each network
  std::vector<AgentTile> tiles;
  int stride;                   // of every tile's rows
  std::vector<int32_t> row;     // of each lane, within one time step; 0 for lanes beyond the batch
  std::vector<int32_t> id;      // its agent
  std::vector<int64_t> first;   // where its episode lies at the first observation
  std::vector<int64_t> place;   // where its agent's observation lies in that, in rows of [features]
  std::vector<int32_t> playing;  // how many episodes play at each observation, and 0 after the last

  Lanes(const AgentShape& s, const int32_t* steps, const Places& places, const AgentNetwork& net)
      : agents(agents_of_networks(s, net)),
        tiles(agent_tiles(s, agents)),
        stride(widest(tiles)),
        row(tiles.back().lane0 + tiles.back().stride()),
        id(row.size()),
        first(row.size(), places.first[0]),
        place(row.size(), places.first[0] * s.agents) {
    std::vector<int32_t> states(s.episodes), order(s.episodes);
    for (int64_t e = 0; e < s.episodes; ++e) {
      states[e] = static_cast<int32_t>(std::clamp<int64_t>(steps[e] + int64_t{1}, 1, s.observations));
    }
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return states[a] > states[b]; });
    playing.assign(s.observations + 1, 0);
    for (const AgentTile& tile : tiles) {
      const std::vector<int32_t>& own = agents[tile.network];
      for (int l = tile.lane0; l < tile.lane0 + tile.lanes; ++l) {
        const size_t number = tile.before + l - tile.lane0;
        const int32_t episode = order[number / own.size()];
        id[l] = own[number % own.size()];
        row[l] = static_cast<int32_t>(episode * s.agents + id[l]);
        first[l] = places.first[episode];
        place[l] = first[l] * s.agents + id[l];
      }
    }
    for (const int32_t each : states) {
      for (int32_t t = 0; t < each; ++t) ++playing[t];
    }
  }

  // How many lanes of a tile play at an observation: its first ones.
  int in_tile(const AgentTile& tile, int64_t observation) const {
    const int of_network = playing[observation] * static_cast<int>(agents[tile.network].size());
    return std::clamp(of_network - tile.before, 0, tile.lanes);
  }

  // Of h of every lane and observation but the last.
  size_t saved_size(const AgentShape& s) const { return tiles.size() * stride * (s.observations - 1) * s.hidden; }
};

// The blocks of the GRU's two matrices in the one of 4h rows and 2h columns.
inline std::vector<Block> gate_blocks(const AgentNetwork& net) {
  const int64_t h = net.hidden.columns;
  return {whole(net.input, 0, 0), {&net.hidden, 0, 2 * h, 0, h}, {&net.hidden, 2 * h, h, 3 * h, h}};
}

struct AgentPlans {
  AgentNetwork net;
  Plan fc1, gates, fc2;
  AgentPlans(const AgentNetwork& network, int stride)
      : net(network),
        fc1(plan_of({whole(net.fc1, 0, 0)}, net.fc1.rows, stride)),
        gates(plan_of(gate_blocks(net), 4 * net.hidden.columns, stride)),
        fc2(plan_of({whole(net.fc2, 0, 0)}, net.fc2.rows, stride)) {}
};

// Those of each copy.
inline std::vector<AgentPlans> plans_of(const AgentNetwork& net, int stride) {
  std::vector<AgentPlans> plans;
  plans.reserve(net.copies);
  for (int64_t copy = 0; copy < net.copies; ++copy) plans.emplace_back(net.one(copy), stride);
  return plans;
}

// Of each lane of a tile 1 for the neurons that its agent has and 0 for those that it lacks: fc1's, then the
// state's. Nothing where all have all, which costs nothing then.
struct Neurons {
  Array has;
  bool all;
  int64_t size;  // of each half

  Neurons(const AgentShape& s, const AgentNetwork& net, const int32_t* id, int lanes, int stride)
      : has(net.neurons ? 2 * s.hidden * stride : 0), all(!net.neurons), size(s.hidden * stride) {
    for (int64_t half = 0; !all && half < 2; ++half) {
      for (int l = 0; l < lanes; ++l) {
        const bool* of_agent = net.neurons + (half * s.agents + id[l]) * s.hidden;
        for (int64_t j = 0; j < s.hidden; ++j) has.get()[half * size + j * stride + l] = of_agent[j] ? 1.0f : 0.0f;
      }
    }
  }

  template <int Vectors>
  void keep_first(int stride, float* x) const {
    if (!all) multiply_rows<Vectors>(size / stride, stride, has.get(), x);
  }
  template <int Vectors>
  void keep_state(int stride, float* h) const {
    if (!all) multiply_rows<Vectors>(size / stride, stride, has.get() + size, h);
  }
};

// The most that `Lanes::saved_size` can be, whichever agents use each of so many networks.
inline size_t most_saved(const AgentShape& s, int64_t networks) {
  const auto tiles = tiles_of(s.lanes());
  const int64_t step = (s.observations - 1) * s.hidden;
  if (networks == 1) return tiles.size() * widest(tiles) * step;
  // Sharing out adds less than a tile for each network.
  return (tiles.size() + networks) * kTileVectors * kLanes * step;
}

// r and z (side by side), n and W_hn h + b_hn of N registers of lanes; `pre` is at their unit's reset row, the
// four gates `gate` apart.
template <int N>
struct Gates {
  Floats reset_update[2 * N], fresh[N], recurrent[N];

  __attribute__((always_inline)) Gates(const float* pre, int64_t gate) {
    MAST_EACH reset_update[i] = load(pre + i * kLanes);
    MAST_EACH reset_update[N + i] = load(pre + gate + i * kLanes);
    sigmoid(reset_update);
    MAST_EACH recurrent[i] = load(pre + 3 * gate + i * kLanes);
    MAST_EACH fresh[i] = load(pre + 2 * gate + i * kLanes) + reset_update[i] * recurrent[i];
    hyperbolic_tangent(fresh);
  }
};

// One step of the gates: h becomes the next h, which also goes to `saved` where that is given.
template <int N>
inline __attribute__((always_inline)) void gates_forward_at(int64_t gate, const float* pre, float* h,
                                                            float* saved) {
  const Gates<N> g(pre, gate);
  MAST_EACH {
    const Floats next = g.fresh[i] + g.reset_update[N + i] * (load(h + i * kLanes) - g.fresh[i]);
    store(h + i * kLanes, next);
    if (saved) store(saved + i * kLanes, next);
  }
}

// Back through the gates, which are computed again. In: the gradient of the new state in d_state's second
// half. Out: `pre` becomes its own gradient, and d_state = [0; what flows straight to the old state].
template <int N>
inline __attribute__((always_inline)) void gates_backward_at(int64_t gate, float* pre, const float* h,
                                                             float* d_state) {
  const Gates<N> g(pre, gate);
  MAST_EACH {
    const int64_t at = i * kLanes;
    const Floats reset = g.reset_update[i], update = g.reset_update[N + i], fresh = g.fresh[i];
    const Floats d_h = load(d_state + gate + at);
    const Floats d_fresh = d_h * (1.0f - update) * (1.0f - fresh * fresh);
    const Floats d_recurrent = d_fresh * reset;
    store(pre + at, d_recurrent * g.recurrent[i] * (1.0f - reset));
    store(pre + gate + at, d_h * (load(h + at) - fresh) * update * (1.0f - update));
    store(pre + 2 * gate + at, d_fresh);
    store(pre + 3 * gate + at, d_recurrent);
    store(d_state + at, Floats{});
    store(d_state + gate + at, d_h * update);
  }
}

// Calls of work(integral_constant<int, N>, offset) that cover a unit's registers, two at a time.
template <int Vectors, typename Work>
void over_units(int64_t hidden, int stride, Work work) {
  for (int64_t j = 0; j < hidden * stride; j += stride) {
    for (int v = 0; v + 1 < Vectors; v += 2) work(std::integral_constant<int, 2>{}, j + v * kLanes);
    if (Vectors % 2) work(std::integral_constant<int, 1>{}, j + (Vectors - 1) * kLanes);
  }
}

template <int Vectors>
void gates_forward(int64_t hidden, int stride, const float* pre, float* h, float* saved) {
  over_units<Vectors>(hidden, stride, [=](auto n, int64_t at) __attribute__((always_inline)) {
    gates_forward_at<decltype(n)::value>(hidden * stride, pre + at, h + at, saved ? saved + at : nullptr);
  });
}

template <int Vectors>
void gates_backward(int64_t hidden, int stride, float* pre, const float* h, float* d_state) {
  over_units<Vectors>(hidden, stride, [=](auto n, int64_t at) __attribute__((always_inline)) {
    gates_backward_at<decltype(n)::value>(hidden * stride, pre + at, h + at, d_state + at);
  });
}

// A tile's rows of input at one observation, `next` being the one after it (or −1); the id's rows are
// written once, by `code_rows`.
template <typename Number>
void load_inputs(const AgentShape& s, const AgentEpisodes<Number>& episodes, const Lanes& lanes, const Tile& tile,
                 int64_t t, int64_t next, int vectors, float* x) {
  const int stride = lanes.stride;
  const int32_t* rows = lanes.row.data() + tile.lane0;
  const int64_t step = episodes.places.step * s.agents * s.features;
  load_tile(episodes.observation + t * step, lanes.place.data() + tile.lane0, s.features, vectors, x, stride,
            next < 0 ? 0 : (next - t) * step);
  int32_t last[kTileVectors * kLanes];
  for (int l = 0; l < vectors * kLanes; ++l) last[l] = t ? episodes.action[(t - 1) * s.lanes() + rows[l]] : -1;
  code_rows(last, s.actions, vectors * kLanes, x + s.features * stride, stride);
}

// What is told of each tile, by number, and observation t: the lanes that play, and per network the tile of
// its utilities.
using Report = std::function<void(int tile, int64_t t, int active, const std::vector<Array>& utilities)>;

// The utilities of several agents' networks (online and target) over the same episodes, in one pass over the
// observations; `saved` is of the first for the backward pass, or null. Of each there are the plans of its copies.
template <typename Number>
void agent_forward(const AgentShape& s, const AgentEpisodes<Number>& episodes, const Lanes& lanes,
                   const std::vector<std::vector<AgentPlans>>& all_plans, float* saved, const ForEach& for_each,
                   const Report& report) {
  for_each(static_cast<int>(lanes.tiles.size()), [&](int index) {
    const AgentTile& tile = lanes.tiles[index];
    std::vector<const AgentPlans*> plans;
    for (const auto& copies : all_plans) plans.push_back(&copies[tile.network]);
    const int stride = lanes.stride;
    const int64_t h = s.hidden, step_size = h * stride;
    const Array inputs(s.inputs() * stride), states(plans.size() * 2 * h * stride), pre(4 * h * stride);
    std::vector<Array> utilities;
    for (size_t k = 0; k < plans.size(); ++k) utilities.emplace_back(s.actions * stride);
    const int32_t* id = lanes.id.data() + tile.lane0;
    code_rows(id, s.ids, tile.stride(), inputs.get() + (s.features + s.actions) * stride, stride);
    std::vector<Neurons> neurons;
    for (const AgentPlans* each : plans) neurons.emplace_back(s, each->net, id, tile.stride(), stride);
    for (int64_t t = 0; t < s.observations; ++t) {
      const int active = lanes.in_tile(tile, t);
      if (active == 0) break;
      const bool acts = t + 1 < s.observations;
      with_vectors_up_to<kTileVectors>((active + kLanes - 1) / kLanes, [&](auto constant) {
        constexpr int kVectors = decltype(constant)::value;
        load_inputs(s, episodes, lanes, tile, t, acts ? t + 1 : -1, kVectors, inputs.get());
        for (size_t k = 0; k < plans.size(); ++k) {
          float* state = states.get() + k * 2 * h * stride;
          float* keep =
              saved && acts && k == 0 ? saved + (index * (s.observations - 1) + t) * step_size : nullptr;
          product<kVectors, Into::kSetPositive>(plans[k]->fc1, inputs.get(), state);
          neurons[k].template keep_first<kVectors>(stride, state);
          product<kVectors, Into::kSet>(plans[k]->gates, state, pre.get());
          gates_forward<kVectors>(h, stride, pre.get(), state + h * stride, neurons[k].all ? keep : nullptr);
          if (!neurons[k].all) {
            neurons[k].template keep_state<kVectors>(stride, state + h * stride);
            if (keep) copy_rows<kVectors>(h, stride, state + h * stride, keep);
          }
          product<kVectors, Into::kSet>(plans[k]->fc2, state + h * stride, utilities[k].get());
        }
      });
      report(index, t, active, utilities);
    }
  });
}

// Of a network's utilities at observation t, those of the actions taken, into chosen
// [observations - 1, episodes, agents].
template <typename Number>
void choose(const AgentShape& s, const AgentEpisodes<Number>& episodes, const Lanes& lanes, const AgentTile& tile,
            int64_t t, const float* utilities, float* chosen) {
  if (t + 1 == s.observations) return;
  const int32_t* rows = lanes.row.data() + tile.lane0;
  for (int l = 0; l < lanes.in_tile(tile, t + 1); ++l) {
    const int32_t taken = episodes.action[t * s.lanes() + rows[l]];
    const bool exists = taken >= 0 && taken < s.actions;
    chosen[t * s.lanes() + rows[l]] = exists ? utilities[taken * lanes.stride + l] : 0.0f;
  }
}

// All utilities, as they are:
//   chosen: [observations - 1, episodes, agents], the first network's Q of the action taken
//   q: per network [observations, episodes, agents, actions]
// What lies after an episode's end is 0.
template <typename Number>
void agent_utilities(const AgentShape& s, const AgentEpisodes<Number>& episodes,
                     const std::vector<AgentNetwork>& networks, float* chosen, const std::vector<float*>& q,
                     float* saved, const ForEach& for_each) {
  const Lanes lanes(s, episodes.steps, episodes.places, networks.front());
  std::vector<std::vector<AgentPlans>> plans;
  for (const AgentNetwork& net : networks) plans.push_back(plans_of(net, lanes.stride));
  std::fill_n(chosen, (s.observations - 1) * s.lanes(), 0.0f);
  for (float* each : q) std::fill_n(each, s.observations * s.lanes() * s.actions, 0.0f);
  agent_forward(s, episodes, lanes, plans, saved, for_each,
                [&](int index, int64_t t, int active, const std::vector<Array>& utilities) {
                  const AgentTile& tile = lanes.tiles[index];
                  const int32_t* rows = lanes.row.data() + tile.lane0;
                  for (size_t k = 0; k < q.size(); ++k) {
                    store_tile(utilities[k].get(), lanes.stride, rows, s.actions, active,
                               q[k] + t * s.lanes() * s.actions);
                  }
                  choose(s, episodes, lanes, tile, t, utilities[0].get(), chosen);
                });
}

}  // namespace mast
