// One step of acting: many environments' agents at once, the hidden state given and returned.
#pragma once

#include "agent.h"

namespace mast {

// observation [rows, features], last_action [rows] (negative: none), hidden [rows, h], a row being agent
// row % agents. Out: q [rows, actions], next_hidden [rows, h].
template <typename Number>
void agent_step(const AgentShape& s, const Number* observation, const int32_t* last_action, const float* hidden,
                const AgentNetwork& net, float* q, float* next_hidden, const ForEach& for_each) {
  const std::vector<std::vector<int32_t>> agents = agents_of_networks(s, net);
  const std::vector<AgentTile> tiles = agent_tiles(s, agents);
  const int stride = widest(tiles);
  const std::vector<AgentPlans> all_plans = plans_of(net, stride);
  for_each(static_cast<int>(tiles.size()), [&](int index) {
    const AgentTile& tile = tiles[index];
    const AgentPlans& plans = all_plans[tile.network];
    const std::vector<int32_t>& own = agents[tile.network];
    int32_t rows[kTileVectors * kLanes] = {};
    for (int l = 0; l < tile.lanes; ++l) {
      const size_t number = tile.before + l;
      rows[l] = static_cast<int32_t>(number / own.size() * s.agents + own[number % own.size()]);
    }
    const Array inputs(s.inputs() * stride), state(2 * s.hidden * stride), pre(4 * s.hidden * stride),
        utilities(s.actions * stride);
    float* h = state.get() + s.hidden * stride;
    load_tile(observation, rows, s.features, tile.vectors, inputs.get(), stride);
    load_tile(hidden, rows, s.hidden, tile.vectors, h, stride);
    int32_t last[kTileVectors * kLanes], id[kTileVectors * kLanes];
    for (int l = 0; l < tile.stride(); ++l) {
      last[l] = last_action[rows[l]];
      id[l] = static_cast<int32_t>(rows[l] % s.agents);
    }
    code_rows(last, s.actions, tile.stride(), inputs.get() + s.features * stride, stride);
    code_rows(id, s.ids, tile.stride(), inputs.get() + (s.features + s.actions) * stride, stride);
    const Neurons neurons(s, net, id, tile.stride(), stride);
    with_vectors_up_to<kTileVectors>(tile.vectors, [&](auto constant) {
      constexpr int kVectors = decltype(constant)::value;
      product<kVectors, Into::kSetPositive>(plans.fc1, inputs.get(), state.get());
      neurons.template keep_first<kVectors>(stride, state.get());
      product<kVectors, Into::kSet>(plans.gates, state.get(), pre.get());
      gates_forward<kVectors>(s.hidden, stride, pre.get(), h, nullptr);
      neurons.template keep_state<kVectors>(stride, h);
      product<kVectors, Into::kSet>(plans.fc2, h, utilities.get());
    });
    store_tile(utilities.get(), stride, rows, s.actions, tile.lanes, q);
    store_tile(h, stride, rows, s.hidden, tile.lanes, next_hidden);
  });
}

}  // namespace mast
