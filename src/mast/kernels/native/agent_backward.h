// The recurrent agent's backward pass: from the gradient of the chosen utilities to that of the weights.
#pragma once

#include "agent.h"
#include "gradients.h"

namespace mast {

struct AgentGradient {
  Gradient fc1, input, hidden, fc2;
};

// What one network's gradient is made of: its transposed plans, and the sums of each strand.
struct AgentSums {
  const AgentPlans& plans;
  Plan gates_transposed, fc2_transposed;
  Sums fc1, gates, fc2;

  AgentSums(const AgentShape& s, const AgentPlans& of, int stride, int strands)
      : plans(of),
        gates_transposed(transposed_plan_of(gate_blocks(of.net), 2 * s.hidden, stride)),
        fc2_transposed(transposed_plan_of({whole(of.net.fc2, 0, 0)}, s.hidden, stride)),
        fc1(of.fc1, strands),
        gates(of.gates, strands),
        fc2(of.fc2, strands) {}

  void hand_out(const AgentGradient& to) const {
    const AgentNetwork& net = plans.net;
    fc1.hand_out({whole(net.fc1, 0, 0)}, {to.fc1});
    gates.hand_out(gate_blocks(net), {to.input, to.hidden, to.hidden});
    fc2.hand_out({whole(net.fc2, 0, 0)}, {to.fc2});
  }
};

// From the gradient of the chosen utilities, d_chosen [observations - 1, episodes, agents], and what
// `agent_forward` saved.
template <typename Number>
void agent_backward(const AgentShape& s, const AgentEpisodes<Number>& episodes, const Lanes& lanes,
                    const std::vector<AgentPlans>& all_plans, const float* saved, const float* d_chosen,
                    const AgentGradient& gradient, const ForEach& for_each) {
  const int stride = lanes.stride, tiles = static_cast<int>(lanes.tiles.size());
  const int strands = strands_of(tiles);
  std::vector<AgentSums> all_sums;
  all_sums.reserve(all_plans.size());
  for (const AgentPlans& each : all_plans) all_sums.emplace_back(s, each, stride, strands);

  in_strands(for_each, tiles, [&](int strand, int index) {
    const AgentTile& tile = lanes.tiles[index];
    const AgentSums& sums = all_sums[tile.network];
    const AgentPlans& plans = sums.plans;
    const int32_t* rows = lanes.row.data() + tile.lane0;
    const int64_t h = s.hidden, half = h * stride;
    Array inputs(s.inputs() * stride), state(2 * half), pre(4 * half), d_state(2 * half),
        d_utilities(s.actions * stride);
    const int32_t* id = lanes.id.data() + tile.lane0;
    code_rows(id, s.ids, tile.stride(), inputs.get() + (s.features + s.actions) * stride, stride);
    const Neurons neurons(s, plans.net, id, tile.stride(), stride);
    for (int64_t t = s.observations - 2; t >= 0; --t) {
      const int active = lanes.in_tile(tile, t + 1);
      if (active == 0) continue;
      const float* now = saved + (index * (s.observations - 1) + t) * half;  // h after the step
      with_vectors_up_to<kTileVectors>((active + kLanes - 1) / kLanes, [&](auto constant) {
        constexpr int kVectors = decltype(constant)::value;
        // What the forward pass had: the inputs, [x; h] with the h before the step, and the gates.
        load_inputs(s, episodes, lanes, tile, t, t - 1, kVectors, inputs.get());
        product<kVectors, Into::kSetPositive>(plans.fc1, inputs.get(), state.get());
        neurons.template keep_first<kVectors>(stride, state.get());
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
        sampled_product<kVectors>(plans.fc2, d_utilities.get(), now, sums.fc2.of(strand));
        product<kVectors, Into::kAdd>(sums.fc2_transposed, d_utilities.get(), d_state.get() + half);
        neurons.template keep_state<kVectors>(stride, d_state.get() + half);
        gates_backward<kVectors>(h, stride, pre.get(), state.get() + half, d_state.get());
        sampled_product<kVectors>(plans.gates, pre.get(), state.get(), sums.gates.of(strand));
        product<kVectors, Into::kAdd>(sums.gates_transposed, pre.get(), d_state.get());
        // A neuron of fc1 that the agent lacks has no positive activation.
        mask_by_positive<kVectors>(h, stride, state.get(), d_state.get());
        sampled_product<kVectors>(plans.fc1, d_state.get(), inputs.get(), sums.fc1.of(strand));
      });
    }
  });
  for (size_t copy = 0; copy < all_sums.size(); ++copy) {
    const AgentNetwork& net = all_plans[copy].net;
    const auto of_copy = [copy](const Gradient& all, const Matrix& one) {
      return Gradient{all.values, all.bias + copy * one.rows};
    };
    all_sums[copy].hand_out({of_copy(gradient.fc1, net.fc1), of_copy(gradient.input, net.input),
                             of_copy(gradient.hidden, net.hidden), of_copy(gradient.fc2, net.fc2)});
  }
}

}  // namespace mast
