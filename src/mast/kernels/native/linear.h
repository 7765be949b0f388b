// One sparse layer over the rows of a matrix, y = x Wᵀ + b, forward and backward: for networks that have no
// kernel of their own.
#pragma once

#include "gradients.h"
#include "tiles.h"

namespace mast {

inline std::vector<int32_t> all_rows(int64_t rows) {
  std::vector<int32_t> row((rows + kLanes - 1) / kLanes * kLanes, 0);
  std::iota(row.begin(), row.begin() + rows, 0);
  return row;
}

// x: [rows, m.columns], y: [rows, m.rows].
inline void linear_forward(int64_t rows, const Matrix& m, const float* x, float* y, const ForEach& for_each) {
  const std::vector<int32_t> row = all_rows(rows);
  const std::vector<Tile> tiles = tiles_of(rows);
  const int stride = widest(tiles);
  const Plan plan = plan_of({whole(m, 0, 0)}, m.rows, stride);
  in_strands(for_each, static_cast<int>(tiles.size()), [&](int, int index) {
    const Tile& tile = tiles[index];
    const Array input(m.columns * stride), output(m.rows * stride);
    load_tile(x, row.data() + tile.lane0, m.columns, tile.vectors, input.get(), stride);
    with_vectors_up_to<kTileVectors>(tile.vectors, [&](auto constant) {
      product<decltype(constant)::value, Into::kSet>(plan, input.get(), output.get());
    });
    const int lanes = static_cast<int>(std::min<int64_t>(rows - tile.lane0, tile.stride()));
    store_tile(output.get(), stride, row.data() + tile.lane0, m.rows, lanes, y);
  });
}

// d_y: [rows, m.rows]. Out: d_x [rows, m.columns] and the layer's gradient.
inline void linear_backward(int64_t rows, const Matrix& m, const float* x, const float* d_y, float* d_x,
                            const Gradient& gradient, const ForEach& for_each) {
  const std::vector<int32_t> row = all_rows(rows);
  const std::vector<Tile> tiles = tiles_of(rows);
  const int stride = widest(tiles);
  const std::vector<Block> blocks{whole(m, 0, 0)};
  const Plan plan = plan_of(blocks, m.rows, stride), back = transposed_plan_of(blocks, m.columns, stride);
  const Sums sums(plan, strands_of(static_cast<int>(tiles.size())));
  in_strands(for_each, static_cast<int>(tiles.size()), [&](int strand, int index) {
    const Tile& tile = tiles[index];
    const int lanes = static_cast<int>(std::min<int64_t>(rows - tile.lane0, tile.stride()));
    const Array input(m.columns * stride), d_input(m.columns * stride), d_output(m.rows * stride);
    load_tile(x, row.data() + tile.lane0, m.columns, tile.vectors, input.get(), stride);
    load_tile(d_y, row.data() + tile.lane0, m.rows, tile.vectors, d_output.get(), stride);
    for (int64_t r = 0; r < m.rows; ++r) {  // lanes beyond the last row hold a copy of the first
      for (int l = lanes; l < tile.stride(); ++l) d_output.get()[r * stride + l] = 0.0f;
    }
    with_vectors_up_to<kTileVectors>(tile.vectors, [&](auto constant) {
      constexpr int kVectors = decltype(constant)::value;
      product<kVectors, Into::kSet>(back, d_output.get(), d_input.get());
      sampled_product<kVectors>(plan, d_output.get(), input.get(), sums.of(strand));
    });
    store_tile(d_input.get(), stride, row.data() + tile.lane0, m.columns, lanes, d_x);
  });
  sums.hand_out(blocks, {gradient});
}

}  // namespace mast
