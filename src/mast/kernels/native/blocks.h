// Several matrices planned as one: blocks of a larger matrix, each with its place in rows and columns.
#pragma once

#include "sparse.h"

namespace mast {

// The gradient of one layer: of its active values and of its bias.
struct Gradient {
  float* values;
  float* bias;
};

struct Block {
  Matrix matrix;
  int32_t row0, column0;
};

// Blocks in the order of their rows, which they do not share.
inline std::vector<Element> elements(const std::vector<Block>& blocks) {
  std::vector<Element> all;
  int32_t origin0 = 0;
  for (const Block& block : blocks) {
    append(all, block.matrix, [&](int32_t r) { return block.row0 + r; }, block.column0, origin0);
    origin0 += static_cast<int32_t>(block.matrix.entries);
  }
  return all;
}

inline int64_t rows_of(const std::vector<Block>& blocks) {
  return blocks.back().row0 + blocks.back().matrix.rows;
}

inline Plan plan_of(const std::vector<Block>& blocks, int stride) {
  std::vector<float> bias(rows_of(blocks));
  for (const Block& block : blocks) {
    std::copy_n(block.matrix.bias, block.matrix.rows, bias.begin() + block.row0);
  }
  return Plan(rows_of(blocks), elements(blocks), bias.data(), stride);
}

inline Plan transposed_plan_of(const std::vector<Block>& blocks, int64_t columns, int stride) {
  return Plan(columns, transposed(elements(blocks)), nullptr, stride);
}

// Adds the strands up, in order, and hands every sum to the layer that it belongs to.
inline void hand_out(const Plan& plan, const std::vector<float*>& strands, const std::vector<Block>& blocks,
                     const std::vector<Gradient>& gradients) {
  add_up(plan, strands);
  hand_out(
      plan, strands[0],
      [&](int32_t row, float g) {
        size_t b = blocks.size() - 1;
        while (row < blocks[b].row0) --b;
        gradients[b].bias[row - blocks[b].row0] = g;
      },
      [&](int32_t origin, float g) {
        size_t b = 0;
        for (; origin >= blocks[b].matrix.entries; ++b) origin -= static_cast<int32_t>(blocks[b].matrix.entries);
        gradients[b].values[origin] = g;
      });
}

}  // namespace mast
