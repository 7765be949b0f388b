// A sparse matrix made ready for tiles: the plan, the product, and the sampled product.
//
// A tile is a block of rows of a batch laid out feature-major: feature f of lane l at tile[f · stride + l].
// One entry w of a matrix then costs one broadcast and, per register of lanes, one multiply-add with an
// operand in memory. The roofline is that operand: a core that loads two registers per cycle and multiplies
// two can do 2 · lanes multiply-adds a cycle from L1, whatever the structure is; nothing is gathered.
//
// At 95 % sparsity and width 64 a row of a matrix has three or four entries, and then not the arithmetic
// costs but the end of each row's loop: a branch that is mispredicted at nearly every row. So a plan holds
// the rows in the order of their length: the trip count changes a dozen times per product instead of at
// every row. Each row knows where its result goes, so the order is free.
#pragma once

#include <string>
#include <vector>

#include "vector.h"

namespace mast {

// Compressed sparse rows, as they come from Python, with a dense bias. Not yet trusted: see `fault`.
struct Matrix {
  int64_t rows = 0, columns = 0, entries = 0;
  const float* values = nullptr;         // [entries]
  const float* bias = nullptr;           // [rows]
  const int32_t* row_pointers = nullptr;  // [rows + 1]
  const int32_t* column_indices = nullptr;  // [entries]
};

// What is wrong with a structure, or an empty string. Every call checks it: one pass over indices that are
// read anyway, so that no topology, whoever made it, reads beyond a tile.
inline std::string fault(const Matrix& m) {
  if (m.row_pointers[0] != 0 || m.row_pointers[m.rows] != m.entries) {
    return "row pointers must run from 0 to the number of values";
  }
  bool ordered = true;
  for (int64_t r = 0; r < m.rows; ++r) ordered &= m.row_pointers[r] <= m.row_pointers[r + 1];
  if (!ordered) return "row pointers must not fall";
  bool inside = true;
  for (int64_t e = 0; e < m.entries; ++e) {
    inside &= m.column_indices[e] >= 0 && m.column_indices[e] < m.columns;
  }
  return inside ? "" : "a column index is outside the matrix";
}

// One active weight, on its way into a plan.
struct Element {
  int32_t row, column;
  float weight;
  int32_t origin;  // its place among the values, where its gradient goes
};

// The elements of a matrix, its rows and columns counted from given offsets.
template <typename RowOf>
void append(std::vector<Element>& to, const Matrix& m, RowOf row_of, int32_t column0, int32_t origin0) {
  for (int32_t r = 0; r < m.rows; ++r) {
    for (int32_t e = m.row_pointers[r]; e < m.row_pointers[r + 1]; ++e) {
      to.push_back({row_of(r), column0 + m.column_indices[e], m.values[e], origin0 + e});
    }
  }
}

inline std::vector<Element> elements(const Matrix& m) {
  std::vector<Element> all;
  all.reserve(m.entries);
  append(all, m, [](int32_t r) { return r; }, 0, 0);
  return all;
}

inline std::vector<Element> transposed(std::vector<Element> all) {
  for (Element& e : all) std::swap(e.row, e.column);
  return all;
}

struct Plan {
  struct Entry {
    float weight;
    int32_t source;  // offset of the column's lanes in the input tile
  };
  struct Row {
    int32_t count;
    int32_t target;  // the row's number
    float bias;
  };

  int stride = 0;
  std::vector<Row> rows;        // by falling count
  std::vector<Entry> entries;   // row after row
  std::vector<int32_t> origin;  // of each entry

  Plan() = default;

  // bias: of each row, or null. Rows without entries are kept; a product that only adds skips them.
  Plan(int64_t row_count, const std::vector<Element>& all, const float* bias, int tile_stride)
      : stride(tile_stride), rows(row_count), entries(all.size()), origin(all.size()) {
    std::vector<int32_t> count(row_count, 0), place(row_count);
    for (const Element& e : all) ++count[e.row];
    int32_t longest = 0;
    for (int32_t c : count) longest = c > longest ? c : longest;
    std::vector<int32_t> start(longest + 2, 0);  // counting sort of the rows, the longest first
    for (int32_t c : count) ++start[longest - c + 1];
    for (int32_t c = 0; c <= longest; ++c) start[c + 1] += start[c];
    for (int32_t r = 0; r < row_count; ++r) {
      rows[start[longest - count[r]]++] = {count[r], r, bias ? bias[r] : 0.0f};
    }
    int32_t next = 0;
    for (const Row& row : rows) {
      place[row.target] = next;
      next += row.count;
    }
    for (const Element& e : all) {
      const int32_t at = place[e.row]++;
      entries[at] = {e.weight, e.column * stride};
      origin[at] = e.origin;
    }
  }

  // Sums of a sampled product: each row's bias and then its entries, in the plan's order.
  size_t slots() const { return rows.size() + entries.size() + kLanes; }
};

enum class Into { kSet, kSetPositive, kAdd };

// y = W x + b, or max(that, 0), or y + W x, over Vectors registers of lanes; y has the plan's stride.
template <int Vectors, Into into>
void product(const Plan& plan, const float* x, float* y) {
  const Plan::Entry* entry = plan.entries.data();
  for (const Plan::Row& row : plan.rows) {
    if (into == Into::kAdd && row.count == 0) break;  // all the rest are empty
    float* out = y + static_cast<size_t>(row.target) * plan.stride;
    Floats sum[Vectors];
#pragma GCC unroll 8
    for (int v = 0; v < Vectors; ++v) {
      sum[v] = into == Into::kAdd ? load(out + v * kLanes) : broadcast(row.bias);
    }
    for (const Plan::Entry* end = entry + row.count; entry != end; ++entry) {
      const Floats weight = broadcast(entry->weight);
      const float* in = x + entry->source;
#pragma GCC unroll 8
      for (int v = 0; v < Vectors; ++v) sum[v] += weight * load(in + v * kLanes);
    }
#pragma GCC unroll 8
    for (int v = 0; v < Vectors; ++v) {
      store(out + v * kLanes, into == Into::kSetPositive ? positive_part(sum[v]) : sum[v]);
    }
  }
}

// slots += the gradient of every bias and every active weight: dy · 1 and dy · x, summed over the lanes.
// Only what exists is computed; 16 sums across lanes are made at once (`sums`), as one costs nearly as much.
template <int Vectors>
void sampled_product(const Plan& plan, const float* dy, const float* x, float* slots) {
  Floats pending[kLanes];
  int count = 0;
  const auto push = [&](Floats v) __attribute__((always_inline)) {
    pending[count] = v;
    if (++count == kLanes) {
      store(slots, load(slots) + sums(pending));
      slots += kLanes;
      count = 0;
    }
  };
  const Plan::Entry* entry = plan.entries.data();
  for (const Plan::Row& row : plan.rows) {
    const float* in = dy + static_cast<size_t>(row.target) * plan.stride;
    Floats d[Vectors];
#pragma GCC unroll 8
    for (int v = 0; v < Vectors; ++v) d[v] = load(in + v * kLanes);
    Floats total = d[0];
#pragma GCC unroll 8
    for (int v = 1; v < Vectors; ++v) total += d[v];
    push(total);
    for (const Plan::Entry* end = entry + row.count; entry != end; ++entry) {
      const float* from = x + entry->source;
      Floats product = d[0] * load(from);
#pragma GCC unroll 8
      for (int v = 1; v < Vectors; ++v) product += d[v] * load(from + v * kLanes);
      push(product);
    }
  }
  if (count > 0) {
    for (int i = count; i < kLanes; ++i) pending[i] = Floats{};
    store(slots, load(slots) + sums(pending));
  }
}

// Adds strands of sums to the first of them, in order.
inline void add_up(const Plan& plan, const std::vector<float*>& strands) {
  for (size_t s = 1; s < strands.size(); ++s) {
    for (size_t i = 0; i < plan.slots(); ++i) strands[0][i] += strands[s][i];
  }
}

// d where the activation is positive, 0 elsewhere: back through a ReLU.
template <int Vectors>
void mask_by_positive(int64_t rows, int stride, const float* activation, float* d) {
  for (int64_t r = 0; r < rows * stride; r += stride) {
    for (int64_t i = r; i < r + Vectors * kLanes; i += kLanes) {
      store(d + i, load(activation + i) > Floats{} ? load(d + i) : Floats{});
    }
  }
}

template <int Vectors>
void copy_rows(int64_t rows, int stride, const float* from, float* to) {
  for (int64_t r = 0; r < rows * stride; r += stride) {
    for (int64_t i = r; i < r + Vectors * kLanes; i += kLanes) store(to + i, load(from + i));
  }
}

// Hands out the sums: bias(row, gradient) and weight(origin, gradient).
template <typename Bias, typename Weight>
void hand_out(const Plan& plan, const float* slots, Bias bias, Weight weight) {
  size_t entry = 0;
  for (const Plan::Row& row : plan.rows) {
    bias(row.target, *slots++);
    for (int32_t i = 0; i < row.count; ++i) weight(plan.origin[entry++], *slots++);
  }
}

// Runs work(integral_constant<int, vectors>) for a number that is known only at run time.
template <int Vectors, typename Work>
inline void with_vectors_up_to(int vectors, Work&& work) {
  if constexpr (Vectors > 1) {
    if (vectors < Vectors) return with_vectors_up_to<Vectors - 1>(vectors, work);
  }
  work(std::integral_constant<int, Vectors>{});
}

}  // namespace mast
