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

// Of a matrix that has the rows of several, one after the other, those of one: a view, whose values are counted
// from the first of all.
inline Matrix part(const Matrix& all, int64_t copy, int64_t copies) {
  Matrix one = all;
  one.rows = all.rows / copies;
  one.bias += copy * one.rows;
  one.row_pointers += copy * one.rows;
  return one;
}

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

// Some rows of a matrix and their place in a larger one: rows first … first + count − 1 become rows row0, …
// of the larger one, and its columns are counted from column0. Blocks may share rows; their biases add.
struct Block {
  const Matrix* matrix;
  int64_t first, count;
  int64_t row0, column0;
};

inline Block whole(const Matrix& m, int64_t row0, int64_t column0) { return {&m, 0, m.rows, row0, column0}; }

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
  std::vector<Row> rows;            // by falling count
  std::vector<Entry> entries;       // row after row
  std::vector<int32_t> first_entry;  // of each row, by the row's number
  std::vector<int32_t> place;       // of each row, by its number, in `rows`

  // Sums of a sampled product: each row's bias and then its entries, in the plan's order.
  size_t slots() const { return rows.size() + entries.size() + kLanes; }
  size_t first_slot(int64_t row) const { return first_entry[row] + place[row]; }
};

// The rows of a plan by falling count, and where their entries begin.
inline void order_rows(Plan& plan, const std::vector<int32_t>& count) {
  const int64_t rows = static_cast<int64_t>(count.size());
  int32_t longest = 0;
  for (int32_t c : count) longest = c > longest ? c : longest;
  std::vector<int32_t> next(longest + 2, 0);  // a counting sort
  for (int32_t c : count) ++next[longest - c + 1];
  for (int32_t c = 0; c <= longest; ++c) next[c + 1] += next[c];
  plan.rows.resize(rows);
  plan.place.resize(rows);
  plan.first_entry.resize(rows);
  for (int32_t r = 0; r < rows; ++r) {
    plan.place[r] = next[longest - count[r]]++;
    plan.rows[plan.place[r]] = {count[r], r, 0.0f};
  }
  int32_t entry = 0;
  for (const Plan::Row& row : plan.rows) {
    plan.first_entry[row.target] = entry;
    entry += row.count;
  }
  plan.entries.resize(entry);
}

// The plan of several blocks as one matrix of `rows` rows, for tiles of a stride.
inline Plan plan_of(const std::vector<Block>& blocks, int64_t rows, int stride) {
  Plan plan;
  plan.stride = stride;
  std::vector<int32_t> count(rows, 0);
  for (const Block& b : blocks) {
    const int32_t* pointers = b.matrix->row_pointers + b.first;
    for (int64_t r = 0; r < b.count; ++r) count[b.row0 + r] += pointers[r + 1] - pointers[r];
  }
  order_rows(plan, count);
  std::vector<int32_t> next = plan.first_entry;
  for (const Block& b : blocks) {
    const Matrix& m = *b.matrix;
    for (int64_t r = 0; r < b.count; ++r) {
      int32_t at = next[b.row0 + r];
      for (int32_t e = m.row_pointers[b.first + r]; e < m.row_pointers[b.first + r + 1]; ++e) {
        const int64_t column = b.column0 + m.column_indices[e];
        plan.entries[at++] = {m.values[e], static_cast<int32_t>(column * stride)};
      }
      next[b.row0 + r] = at;
      plan.rows[plan.place[b.row0 + r]].bias += m.bias[b.first + r];
    }
  }
  return plan;
}

// The plan of the transpose, of `columns` rows and without a bias.
inline Plan transposed_plan_of(const std::vector<Block>& blocks, int64_t columns, int stride) {
  Plan plan;
  plan.stride = stride;
  std::vector<int32_t> count(columns, 0);
  for (const Block& b : blocks) {
    const int32_t* pointers = b.matrix->row_pointers + b.first;
    for (int32_t e = pointers[0]; e < pointers[b.count]; ++e) {
      ++count[b.column0 + b.matrix->column_indices[e]];
    }
  }
  order_rows(plan, count);
  std::vector<int32_t> next = plan.first_entry;
  for (const Block& b : blocks) {
    const Matrix& m = *b.matrix;
    for (int64_t r = 0; r < b.count; ++r) {
      const int32_t source = static_cast<int32_t>((b.row0 + r) * stride);
      for (int32_t e = m.row_pointers[b.first + r]; e < m.row_pointers[b.first + r + 1]; ++e) {
        plan.entries[next[b.column0 + m.column_indices[e]]++] = {m.values[e], source};
      }
    }
  }
  return plan;
}

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
// Only what exists is computed; as many sums as there are lanes are made at once (`sums`), as one costs nearly as much.
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

// d where the activation is positive, 0 elsewhere: back through a ReLU.
template <int Vectors>
void mask_by_positive(int64_t rows, int stride, const float* activation, float* d) {
  for (int64_t r = 0; r < rows * stride; r += stride) {
    for (int64_t i = r; i < r + Vectors * kLanes; i += kLanes) {
      store(d + i, load(activation + i) > Floats{} ? load(d + i) : Floats{});
    }
  }
}

// x · by, number by number.
template <int Vectors>
void multiply_rows(int64_t rows, int stride, const float* by, float* x) {
  for (int64_t r = 0; r < rows * stride; r += stride) {
    for (int64_t i = r; i < r + Vectors * kLanes; i += kLanes) store(x + i, load(x + i) * load(by + i));
  }
}

template <int Vectors>
void copy_rows(int64_t rows, int stride, const float* from, float* to) {
  for (int64_t r = 0; r < rows * stride; r += stride) {
    for (int64_t i = r; i < r + Vectors * kLanes; i += kLanes) store(to + i, load(from + i));
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
