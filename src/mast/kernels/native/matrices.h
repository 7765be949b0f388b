// One sparse matrix by itself, for anybody's network: its product with a batch, the transposed one, and the gradient
// of its values. The structure comes ready from Python in both orders, so that nothing is built per call; values
// stay in the order of the rows, and the transposed structure says where in it each of its entries lies.
//
// A batch goes in tiles, feature-major as everywhere. A row alone is multiplied as it is, each entry's input gathered.
#pragma once

#include "sparse.h"
#include "tiles.h"

namespace mast {

// From so many rows on, a tile is faster than row by row in the gradient too, whose sums over lanes cost most of it.
constexpr int64_t kGradientTile = 4;
// A tile's inputs should stay in the second-level cache.
constexpr int64_t kTileBytes = int64_t{1} << 19;

struct Structure {
  int64_t rows = 0, columns = 0, entries = 0;
  const int32_t* pointers = nullptr;  // [rows + 1]
  const int32_t* indices = nullptr;   // [entries], the column of each
  const int32_t* places = nullptr;    // [entries], where its value lies; null: in this order

  int64_t place(int64_t e) const { return places ? places[e] : e; }
};

// What is wrong with it, or an empty string.
inline std::string fault(const Structure& s) {
  if (s.pointers[0] != 0 || s.pointers[s.rows] != s.entries) return "pointers must run from 0 to the number of values";
  bool ordered = true;
  for (int64_t r = 0; r < s.rows; ++r) ordered &= s.pointers[r] <= s.pointers[r + 1];
  if (!ordered) return "pointers must not fall";
  const auto all_below = [&](const int32_t* numbers, int64_t bound) {
    uint32_t signs = 0;  // of each number and of its distance to the last one that is allowed
    const uint32_t last = static_cast<uint32_t>(bound) - 1;
    for (int64_t e = 0; e < s.entries; ++e) {
      const uint32_t number = static_cast<uint32_t>(numbers[e]);
      signs |= number | (last - number);
    }
    return signs >> 31 == 0;
  };
  if (!all_below(s.indices, s.columns)) return "an index is outside the matrix";
  if (s.places && !all_below(s.places, s.entries)) return "a place is outside the values";
  return "";
}

// Tiles of a batch whose inputs (of so many features) fit the cache.
inline std::vector<Tile> tiles_for(int64_t batch, int64_t features) {
  const int64_t fitting = kTileBytes / (std::max<int64_t>(features, 1) * kLanes * 4);
  const int most = static_cast<int>(std::clamp<int64_t>(fitting, 1, kTileVectors));
  const int64_t vectors = (batch + kLanes - 1) / kLanes, count = (vectors + most - 1) / most;
  std::vector<Tile> tiles;
  int64_t first = 0;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t next = vectors * (i + 1) / count;
    tiles.push_back({static_cast<int>(first * kLanes), static_cast<int>(next - first)});
    first = next;
  }
  return tiles;
}

// Rows in as many parts as keep the threads busy beside so many tiles; each begins with a whole register of rows.
inline int64_t parts_of(int64_t rows, int64_t tiles, int64_t threads) {
  const int64_t registers = (rows + kLanes - 1) / kLanes, busy = std::clamp<int64_t>(threads, 1, 1024);
  return std::clamp<int64_t>((busy + tiles - 1) / std::max<int64_t>(tiles, 1), 1, std::max<int64_t>(registers, 1));
}

inline int64_t first_of_part(int64_t rows, int64_t part, int64_t parts) {
  const int64_t registers = (rows + kLanes - 1) / kLanes;
  return std::min(rows, registers * part / parts * kLanes);
}

// One row of the product for Vectors registers of lanes. Few registers are few chains of dependent sums, so entries
// are then taken several at once, each into sums of its own.
template <int Vectors>
inline __attribute__((always_inline)) void row_product(const Structure& s, const float* values, int64_t row,
                                                       const float* x, int stride, float* out) {
  constexpr int kChains = Vectors >= 4 ? 1 : Vectors >= 2 ? 2 : 4;
  Floats sum[kChains][Vectors] = {};
  int64_t e = s.pointers[row];
  const int64_t end = s.pointers[row + 1];
  for (; e + kChains <= end; e += kChains) {
#pragma GCC unroll 4
    for (int c = 0; c < kChains; ++c) {
      const Floats weight = broadcast(values[s.place(e + c)]);
      const float* in = x + static_cast<int64_t>(s.indices[e + c]) * stride;
#pragma GCC unroll 8
      for (int v = 0; v < Vectors; ++v) sum[c][v] += weight * load(in + v * kLanes);
    }
  }
  for (; e < end; ++e) {
    const Floats weight = broadcast(values[s.place(e)]);
    const float* in = x + static_cast<int64_t>(s.indices[e]) * stride;
#pragma GCC unroll 8
    for (int v = 0; v < Vectors; ++v) sum[0][v] += weight * load(in + v * kLanes);
  }
#pragma GCC unroll 8
  for (int v = 0; v < Vectors; ++v) {
    Floats total = sum[0][v];
#pragma GCC unroll 4
    for (int c = 1; c < kChains; ++c) total += sum[c][v];
    store(out + v * kLanes, total);
  }
}

// Rows first … last − 1 of the product for one tile, into y [batch, rows]; `lanes` of the tile are real.
template <int Vectors>
void tile_product(const Structure& s, const float* values, int64_t first, int64_t last, const float* x, int stride,
                  int lane0, int64_t lanes, float* y) {
  alignas(64) float block[kLanes * Vectors * kLanes];
  for (int64_t r = first; r < last; r += kLanes) {
    const int64_t count = std::min<int64_t>(kLanes, last - r);
    for (int64_t i = 0; i < count; ++i) {
      row_product<Vectors>(s, values, r + i, x, stride, block + i * Vectors * kLanes);
    }
    if (count < kLanes) {
      for (int64_t l = 0; l < lanes; ++l) {
        for (int64_t i = 0; i < count; ++i) y[(lane0 + l) * s.rows + r + i] = block[i * Vectors * kLanes + l];
      }
      continue;
    }
    for (int v = 0; v < Vectors; ++v) {
      Floats rows[kLanes];
#pragma GCC unroll 16
      for (int i = 0; i < kLanes; ++i) rows[i] = load(block + (i * Vectors + v) * kLanes);
      transpose(rows);
      const int64_t real = std::min<int64_t>(kLanes, lanes - v * kLanes);
      for (int64_t l = 0; l < real; ++l) store(y + (lane0 + v * kLanes + l) * s.rows + r, rows[l]);
    }
  }
}

typedef float Four __attribute__((vector_size(16)));
typedef int32_t FourInts __attribute__((vector_size(16)));

// x at four indices, two of which come in one load. Where it was measured (Zen 4), a gather instruction is slower than
// single loads, and the loads are what this costs.
inline Four gather(const float* x, const int32_t* indices) {
  uint64_t first, second;
  std::memcpy(&first, indices, sizeof first);
  std::memcpy(&second, indices + 2, sizeof second);
  return Four{x[static_cast<uint32_t>(first)], x[first >> 32], x[static_cast<uint32_t>(second)], x[second >> 32]};
}

// The sum of a row's entries times their inputs in x; of a structure in the order of its values. The last eight reach
// into the next row, whose products are masked: a loop for what is left would be mispredicted at nearly every row.
inline float row_times(const Structure& s, const float* values, int64_t row, const float* x) {
  constexpr FourInts kFirst{0, 1, 2, 3};
  Four sum[2] = {};
  int64_t e = s.pointers[row];
  const int64_t end = s.pointers[row + 1], last = std::min(end, s.entries - 7);
  for (; e < last; e += 8) {
    const int32_t left = static_cast<int32_t>(end - e);
#pragma GCC unroll 2
    for (int i = 0; i < 2; ++i) {
      Four weight;
      std::memcpy(&weight, values + e + 4 * i, sizeof weight);
      const Four product = weight * gather(x, s.indices + e + 4 * i);
      sum[i] += reinterpret_cast<Four>(reinterpret_cast<FourInts>(product) & (kFirst + 4 * i < left));
    }
  }
  sum[0] += sum[1];
  float total = (sum[0][0] + sum[0][2]) + (sum[0][1] + sum[0][3]);
  for (; e < end; ++e) total += values[e] * x[s.indices[e]];
  return total;
}

// y = x W for one row, from the structure by rows: what a row of W adds to every column.
inline void scattered_product(const Structure& s, const float* values, const float* x, float* y) {
  std::fill_n(y, s.columns, 0.0f);
  for (int64_t r = 0; r < s.rows; ++r) {
    const float factor = x[r];
    for (int64_t e = s.pointers[r]; e < s.pointers[r + 1]; ++e) y[s.indices[e]] += factor * values[e];
  }
}

// y = x Wᵀ for x [batch, columns] and y [batch, rows].
inline void matrix_product(const Structure& s, const float* values, int64_t batch, const float* x, float* y,
                           int64_t threads, const ForEach& for_each) {
  if (batch == 1) {
    const int64_t parts = parts_of(s.rows, 1, threads);
    for_each(static_cast<int>(parts), [&](int part) {
      const int64_t last = first_of_part(s.rows, part + 1, parts);
      for (int64_t r = first_of_part(s.rows, part, parts); r < last; ++r) y[r] = row_times(s, values, r, x);
    });
    return;
  }
  const std::vector<Tile> tiles = tiles_for(batch, s.columns);
  const std::vector<int32_t> lanes = all_rows(batch);
  const int64_t parts = parts_of(s.rows, static_cast<int64_t>(tiles.size()), threads);
  for_each(static_cast<int>(parts * tiles.size()), [&](int task) {
    const Tile& tile = tiles[task / parts];
    const int stride = tile.stride();
    const Array input = Array::large(s.columns * stride, Array::At::kAnything);
    load_tile(x, lanes.data() + tile.lane0, s.columns, tile.vectors, input.get(), stride);
    const int64_t part = task % parts, real = std::min<int64_t>(stride, batch - tile.lane0);
    with_vectors_up_to<kTileVectors>(tile.vectors, [&](auto constant) {
      tile_product<decltype(constant)::value>(s, values, first_of_part(s.rows, part, parts),
                                              first_of_part(s.rows, part + 1, parts), input.get(), stride, tile.lane0,
                                              real, y);
    });
  });
}

// Columns first … last − 1 of a row-major array [batch, features] into a tile, as `load_tile` does with all.
inline void load_columns(const float* from, int64_t features, int64_t first, int64_t last, const Tile& tile,
                         const int32_t* lanes, float* to, int stride) {
  const int64_t width = last - first;
  for (int v = 0; v < tile.vectors; ++v) {
    const float* row[kLanes];
    for (int i = 0; i < kLanes; ++i) row[i] = from + lanes[tile.lane0 + v * kLanes + i] * features + first;
    if (width < kLanes) {
      for (int64_t f = 0; f < width; ++f) {
        for (int i = 0; i < kLanes; ++i) to[f * stride + v * kLanes + i] = row[i][f];
      }
      continue;
    }
    for (int64_t f = 0; f < width; f += kLanes) {
      f = std::min(f, width - kLanes);
      Floats block[kLanes];
#pragma GCC unroll 16
      for (int i = 0; i < kLanes; ++i) block[i] = load(row[i] + f);
      transpose(block);
#pragma GCC unroll 16
      for (int i = 0; i < kLanes; ++i) store(to + (f + i) * stride + v * kLanes, block[i]);
    }
  }
}

// d_values[e] += the sum over a tile's lanes of d_y · x, for the entries of rows first … last − 1.
template <int Vectors>
void tile_gradient(const Structure& s, int64_t first, int64_t last, const float* d_y, const float* x, int stride,
                   float* d_values) {
  Floats pending[kLanes];
  int count = 0;
  float* out = d_values + s.pointers[first];
  for (int64_t r = first; r < last; ++r) {
    const float* in = d_y + (r - first) * stride;
    Floats d[Vectors];
#pragma GCC unroll 8
    for (int v = 0; v < Vectors; ++v) d[v] = load(in + v * kLanes);
    for (int64_t e = s.pointers[r]; e < s.pointers[r + 1]; ++e) {
      const float* from = x + static_cast<int64_t>(s.indices[e]) * stride;
      Floats product = d[0] * load(from);
#pragma GCC unroll 8
      for (int v = 1; v < Vectors; ++v) product += d[v] * load(from + v * kLanes);
      pending[count] = product;
      if (++count == kLanes) {
        store(out, load(out) + sums(pending));
        out += kLanes;
        count = 0;
      }
    }
  }
  if (count > 0) {
    for (int i = count; i < kLanes; ++i) pending[i] = Floats{};
    const Floats rest = sums(pending);
    for (int i = 0; i < count; ++i) out[i] += rest[i];
  }
}

// d_values = the gradient of every entry: the sum over the batch of d_y of its row times x of its column.
inline void matrix_gradient(const Structure& s, int64_t batch, const float* d_y, const float* x, float* d_values,
                            int64_t threads, const ForEach& for_each) {
  const int64_t parts = parts_of(s.rows, 1, threads);
  const std::vector<Tile> tiles = tiles_for(batch, s.columns);
  const std::vector<int32_t> lanes = all_rows(batch);
  for_each(static_cast<int>(parts), [&](int part) {
    const int64_t first = first_of_part(s.rows, part, parts), last = first_of_part(s.rows, part + 1, parts);
    std::fill(d_values + s.pointers[first], d_values + s.pointers[last], 0.0f);
    if (batch < kGradientTile) {
      for (int64_t r = first; r < last; ++r) {
        for (int64_t b = 0; b < batch; ++b) {
          const float d = d_y[b * s.rows + r], *from = x + b * s.columns;
          for (int64_t e = s.pointers[r]; e < s.pointers[r + 1]; ++e) d_values[e] += d * from[s.indices[e]];
        }
      }
      return;
    }
    const int stride = widest(tiles);
    const Array input = Array::large(s.columns * stride, Array::At::kAnything);
    const Array outer = Array::large((last - first) * stride, Array::At::kAnything);
    for (const Tile& tile : tiles) {
      load_tile(x, lanes.data() + tile.lane0, s.columns, tile.vectors, input.get(), stride);
      const int64_t real = std::min<int64_t>(tile.stride(), batch - tile.lane0);
      load_columns(d_y, s.rows, first, last, tile, lanes.data(), outer.get(), stride);
      for (int64_t r = 0; r < last - first; ++r) {  // lanes beyond the batch hold a copy of some other
        for (int64_t l = real; l < tile.stride(); ++l) outer.get()[r * stride + l] = 0.0f;
      }
      with_vectors_up_to<kTileVectors>(tile.vectors, [&](auto constant) {
        tile_gradient<decltype(constant)::value>(s, first, last, outer.get(), input.get(), stride, d_values);
      });
    }
  });
}

}  // namespace mast
