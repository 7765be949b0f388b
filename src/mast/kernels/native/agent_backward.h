// The recurrent agent's backward pass: from the gradient of the chosen utilities to that of the weights.
#pragma once

#include "agent.h"
#include "blocks.h"

namespace mast {

struct AgentGradient {
  Gradient fc1, input, hidden, fc2;
};

struct AgentBackwardPlans : AgentPlans {
  Plan gates_transposed, fc2_transposed;  // [2h, 4h], [h, actions]

  AgentBackwardPlans(const AgentNetwork& net, int stride)
      : AgentPlans(net, stride),
        gates_transposed(2 * net.hidden.columns, transposed(gate_elements(net)), nullptr, stride),
        fc2_transposed(net.fc2.columns, transposed(elements(net.fc2)), nullptr, stride) {}
};

// Sums of one strand.
struct AgentSums {
  Array fc1, gates, fc2;
  explicit AgentSums(const AgentPlans& p) : fc1(p.fc1.slots()), gates(p.gates.slots()), fc2(p.fc2.slots()) {}
};

inline void hand_out_agent(const AgentShape& s, const AgentNetwork& net, const AgentPlans& plans,
                           const std::vector<AgentSums>& sums, const AgentGradient& gradient) {
  std::vector<float*> fc1, gates, fc2;
  for (const AgentSums& strand : sums) {
    fc1.push_back(strand.fc1.get());
    gates.push_back(strand.gates.get());
    fc2.push_back(strand.fc2.get());
  }
  add_up(plans.fc1, fc1);
  add_up(plans.gates, gates);
  add_up(plans.fc2, fc2);
  hand_out(
      plans.fc1, fc1[0], [&](int32_t row, float g) { gradient.fc1.bias[row] = g; },
      [&](int32_t origin, float g) { gradient.fc1.values[origin] = g; });
  hand_out(
      plans.fc2, fc2[0], [&](int32_t row, float g) { gradient.fc2.bias[row] = g; },
      [&](int32_t origin, float g) { gradient.fc2.values[origin] = g; });
  const int64_t h = s.hidden;
  hand_out(
      plans.gates, gates[0],
      [&](int32_t row, float g) {  // reset and update have both biases, new and recurrent one each
        if (row < 3 * h) gradient.input.bias[row] = g;
        if (row < 2 * h) gradient.hidden.bias[row] = g;
        if (row >= 3 * h) gradient.hidden.bias[row - h] = g;
      },
      [&](int32_t origin, float g) {
        if (origin < net.input.entries) {
          gradient.input.values[origin] = g;
        } else {
          gradient.hidden.values[origin - net.input.entries] = g;
        }
      });
}

// d_chosen: [observations - 1, episodes, agents]; saved: from `agent_forward`.
template <typename Number>
void agent_backward(const AgentShape& s, const AgentEpisodes<Number>& episodes, const AgentNetwork& net,
                    const float* saved, const float* d_chosen, const AgentGradient& gradient,
                    const ForEach& for_each) {
  const std::vector<Tile> tiles = tiles_of(s.lanes());
  const int stride = widest(tiles);
  const Lanes lanes(s, episodes.steps, tiles.back().lane0 + tiles.back().stride());
  const AgentBackwardPlans plans(net, stride);
  std::vector<AgentSums> sums;
  for (int i = 0; i < strands_of(static_cast<int>(tiles.size())); ++i) sums.emplace_back(plans);

  in_strands(for_each, static_cast<int>(tiles.size()), [&](int strand, int index) {
    const Tile& tile = tiles[index];
    const int32_t* rows = lanes.row.data() + tile.lane0;
    const int64_t h = s.hidden, half = h * stride;
    Array inputs(s.inputs() * stride), state(2 * half), pre(4 * half), d_state(2 * half),
        d_utilities(s.actions * stride);
    code_rows(lanes.id.data() + tile.lane0, s.agents, tile.stride(),
              inputs.get() + (s.features + s.actions) * stride, stride);
    for (int64_t t = s.observations - 2; t >= 0; --t) {
      const int active = lanes.in_tile(tile, t + 1);
      if (active == 0) continue;
      const float* now = saved + (index * (s.observations - 1) + t) * half;  // h after the step
      with_vectors_up_to<kTileVectors>((active + kLanes - 1) / kLanes, [&](auto constant) {
        constexpr int kVectors = decltype(constant)::value;
        // What the forward pass had: the inputs, [x; h] with the h before the step, and the gates.
        load_inputs(s, episodes, lanes, tile, t, kVectors, inputs.get(), stride);
        product<kVectors, Into::kSetPositive>(plans.fc1, inputs.get(), state.get());
        if (t > 0) {
          copy_rows<kVectors>(h, stride, now - half, state.get() + half);
        } else {
          std::memset(state.get() + half, 0, half * sizeof(float));
        }
        product<kVectors, Into::kSet>(plans.gates, state.get(), pre.get());
        // Back, layer by layer.
        std::memset(d_utilities.get(), 0, s.actions * stride * sizeof(float));
        for (int l = 0; l < active; ++l) {
          const int32_t taken = episodes.action[t * s.lanes() + rows[l]];
          if (taken >= 0 && taken < s.actions) {
            d_utilities.get()[taken * stride + l] = d_chosen[t * s.lanes() + rows[l]];
          }
        }
        sampled_product<kVectors>(plans.fc2, d_utilities.get(), now, sums[strand].fc2.get());
        product<kVectors, Into::kAdd>(plans.fc2_transposed, d_utilities.get(), d_state.get() + half);
        gates_backward<kVectors>(h, stride, pre.get(), state.get() + half, d_state.get());
        sampled_product<kVectors>(plans.gates, pre.get(), state.get(), sums[strand].gates.get());
        product<kVectors, Into::kAdd>(plans.gates_transposed, pre.get(), d_state.get());
        mask_by_positive<kVectors>(h, stride, state.get(), d_state.get());
        sampled_product<kVectors>(plans.fc1, d_state.get(), inputs.get(), sums[strand].fc1.get());
      });
    }
  });
  hand_out_agent(s, net, plans, sums, gradient);
}

}  // namespace mast
