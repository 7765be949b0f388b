// From sums over lanes to the gradients of layers.
#pragma once

#include <vector>

#include "sparse.h"
#include "tiles.h"

namespace mast {

// The gradient of one layer: of its active values and of its bias.
struct Gradient {
  float* values;
  float* bias;
};

// The sums of one plan, one array for each strand.
class Sums {
 public:
  Sums(const Plan& plan, int strands) : plan_(plan) {
    for (int i = 0; i < strands; ++i) strands_.push_back(Array::large(plan.slots()));
  }

  float* of(int strand) const { return strands_[strand].get(); }

  // Adds the strands up, in order, and writes every sum to the layer that it belongs to: gradients[i] is
  // that of the matrix of blocks[i], of which the plan was made.
  void hand_out(const std::vector<Block>& blocks, const std::vector<Gradient>& gradients) const {
    float* total = of(0);
    for (size_t s = 1; s < strands_.size(); ++s) {
      for (size_t i = 0; i < plan_.slots(); ++i) total[i] += strands_[s].get()[i];
    }
    std::vector<size_t> next(plan_.rows.size());
    for (size_t r = 0; r < next.size(); ++r) next[r] = plan_.first_slot(r) + 1;
    for (size_t i = 0; i < blocks.size(); ++i) {
      const Block& b = blocks[i];
      const int32_t* pointers = b.matrix->row_pointers;
      for (int64_t r = 0; r < b.count; ++r) {
        gradients[i].bias[b.first + r] = total[plan_.first_slot(b.row0 + r)];
        size_t& slot = next[b.row0 + r];
        for (int32_t e = pointers[b.first + r]; e < pointers[b.first + r + 1]; ++e) {
          gradients[i].values[e] = total[slot++];
        }
      }
    }
  }

 private:
  const Plan& plan_;
  std::vector<Array> strands_;
};

}  // namespace mast
