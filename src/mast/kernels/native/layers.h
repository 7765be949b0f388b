// Sparse layers, one upon the other with ReLU between, over the rows of a batch that were visited, forward and
// backward: for networks that have no kernel of their own. A tile goes through all layers in the cache; the
// backward pass computes the activations again.
#pragma once

#include "gradients.h"
#include "tiles.h"

namespace mast {

struct LayerRows {
  int64_t times, episodes;
  const float* x;       // [times, episodes, inputs of the first layer]
  const int32_t* rows;  // [episodes], how many of the times each episode has
};

// One tile's input and what each layer makes of it, or the gradients of these.
struct Activations {
  std::vector<Array> at;

  Activations(const std::vector<Matrix>& layers, int stride) {
    at.emplace_back(layers.front().columns * stride);
    for (const Matrix& m : layers) at.emplace_back(m.rows * stride);
  }
  float* operator[](size_t i) const { return at[i].get(); }
};

inline std::vector<Plan> plans_of(const std::vector<Matrix>& layers, int stride) {
  std::vector<Plan> plans;
  for (const Matrix& m : layers) plans.push_back(plan_of({whole(m, 0, 0)}, m.rows, stride));
  return plans;
}

template <int Vectors>
void through_layers(const std::vector<Plan>& plans, const Activations& activations) {
  const size_t last = plans.size() - 1;
  for (size_t i = 0; i < last; ++i) {
    product<Vectors, Into::kSetPositive>(plans[i], activations[i], activations[i + 1]);
  }
  product<Vectors, Into::kSet>(plans[last], activations[last], activations[last + 1]);
}

// y: [times, episodes, outputs of the last layer], 0 where nothing was visited.
inline void layers_forward(const LayerRows& batch, const std::vector<Matrix>& layers, float* y,
                           const ForEach& for_each) {
  const int64_t inputs = layers.front().columns, outputs = layers.back().rows;
  std::fill_n(y, batch.times * batch.episodes * outputs, 0.0f);
  const Visited visited(batch.times, batch.episodes, batch.rows);
  const std::vector<Tile> tiles = tiles_of(visited.count);
  const int stride = widest(tiles);
  const std::vector<Plan> plans = plans_of(layers, stride);
  in_strands(for_each, static_cast<int>(tiles.size()), [&](int, int index) {
    const int32_t* rows = visited.row.data() + tiles[index].lane0;
    const Activations activations(layers, stride);
    load_tile(batch.x, rows, inputs, tiles[index].vectors, activations[0], stride);
    with_vectors_up_to<kTileVectors>(tiles[index].vectors, [&](auto constant) {
      through_layers<decltype(constant)::value>(plans, activations);
    });
    store_tile(activations[layers.size()], stride, rows, outputs, visited.in_tile(tiles[index]), y);
  });
}

// d_y: as y. Out: d_x like x, and the layers' gradients.
inline void layers_backward(const LayerRows& batch, const std::vector<Matrix>& layers, const float* d_y, float* d_x,
                            const std::vector<Gradient>& gradients, const ForEach& for_each) {
  const int64_t inputs = layers.front().columns, outputs = layers.back().rows;
  std::fill_n(d_x, batch.times * batch.episodes * inputs, 0.0f);
  const Visited visited(batch.times, batch.episodes, batch.rows);
  const std::vector<Tile> tiles = tiles_of(visited.count);
  const int stride = widest(tiles);
  const std::vector<Plan> plans = plans_of(layers, stride);
  std::vector<Plan> transposed;
  for (const Matrix& m : layers) transposed.push_back(transposed_plan_of({whole(m, 0, 0)}, m.columns, stride));
  std::vector<Sums> sums;
  for (const Plan& plan : plans) sums.emplace_back(plan, strands_of(static_cast<int>(tiles.size())));

  in_strands(for_each, static_cast<int>(tiles.size()), [&](int strand, int index) {
    const int32_t* rows = visited.row.data() + tiles[index].lane0;
    const int active = visited.in_tile(tiles[index]);
    const Activations activations(layers, stride), d(layers, stride);
    load_tile(batch.x, rows, inputs, tiles[index].vectors, activations[0], stride);
    load_tile(d_y, rows, outputs, tiles[index].vectors, d[layers.size()], stride);
    for (int64_t r = 0; r < outputs; ++r) {  // lanes beyond the last row hold a copy of some other
      for (int l = active; l < tiles[index].stride(); ++l) d[layers.size()][r * stride + l] = 0.0f;
    }
    with_vectors_up_to<kTileVectors>(tiles[index].vectors, [&](auto constant) {
      constexpr int kVectors = decltype(constant)::value;
      through_layers<kVectors>(plans, activations);
      for (size_t i = layers.size(); i-- > 0;) {
        if (i + 1 < layers.size()) mask_by_positive<kVectors>(layers[i].rows, stride, activations[i + 1], d[i + 1]);
        sampled_product<kVectors>(plans[i], d[i + 1], activations[i], sums[i].of(strand));
        product<kVectors, Into::kSet>(transposed[i], d[i + 1], d[i]);
      }
    });
    store_tile(d[0], stride, rows, inputs, active, d_x);
  });
  for (size_t i = 0; i < layers.size(); ++i) sums[i].hand_out({whole(layers[i], 0, 0)}, {gradients[i]});
}

}  // namespace mast
