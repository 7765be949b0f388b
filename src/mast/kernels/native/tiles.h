// How a batch becomes tiles, and how tiles become work for threads.
#pragma once

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <new>
#include <numeric>
#include <vector>

#include "vector.h"

namespace mast {

// A tile is so wide that its accumulators fill the registers that an instruction set has, less a few.
constexpr int kTileVectors = MAST_VECTOR_BYTES == 64 ? 6 : 8;

// Sums over the batch are kept in this many parts, added up in order at the end: which thread computes a
// part cannot be seen in the result.
constexpr int kStrands = 4;

// Runs body(0), …, body(n − 1), on as many threads as it likes.
using ForEach = std::function<void(int n, const std::function<void(int)>& body)>;

struct Tile {
  int lane0;    // its first lane
  int vectors;  // registers
  int stride() const { return vectors * kLanes; }
};

// Tiles of nearly equal width.
inline std::vector<Tile> tiles_of(int64_t lanes) {
  const int vectors = static_cast<int>((lanes + kLanes - 1) / kLanes);
  const int count = (vectors + kTileVectors - 1) / kTileVectors;
  std::vector<Tile> tiles;
  int first = 0;
  for (int i = 0; i < count; ++i) {
    const int next = static_cast<int>(static_cast<int64_t>(vectors) * (i + 1) / count);
    tiles.push_back({first * kLanes, next - first});
    first = next;
  }
  return tiles;
}

template <typename AnyTile>
int widest(const std::vector<AnyTile>& tiles) {
  int vectors = 0;
  for (const Tile& tile : tiles) vectors = std::max(vectors, tile.vectors);
  return vectors * kLanes;
}

// All rows of a matrix, padded to whole registers with the first.
inline std::vector<int32_t> all_rows(int64_t rows) {
  std::vector<int32_t> row((rows + kLanes - 1) / kLanes * kLanes, 0);
  std::iota(row.begin(), row.begin() + rows, 0);
  return row;
}

// Where the episodes of a batch lie, counted in rows of one episode at one time.
struct Places {
  std::vector<int64_t> first;  // of each episode, its row at the first observation
  int64_t step;                // from each row to that of the next observation
};

// Time first, the episodes of one time side by side.
inline Places side_by_side(int64_t episodes) {
  Places places{std::vector<int64_t>(episodes), episodes};
  std::iota(places.first.begin(), places.first.end(), 0);
  return places;
}

// Each in its slot of the replay ring, `rows` rows long.
inline Places in_slots(const int32_t* slots, int64_t episodes, int64_t rows) {
  Places places{std::vector<int64_t>(episodes), 1};
  for (int64_t e = 0; e < episodes; ++e) places.first[e] = slots[e] * rows;
  return places;
}

// Rows of [times · episodes] that were visited, padded to whole registers with the first of them.
struct Visited {
  std::vector<int32_t> row;
  int64_t count = 0;

  // rows: [episodes], how many of the times each episode has.
  Visited(int64_t times, int64_t episodes, const int32_t* rows) {
    for (int64_t t = 0; t < times; ++t) {
      for (int64_t e = 0; e < episodes; ++e) {
        if (t < rows[e]) row.push_back(static_cast<int32_t>(t * episodes + e));
      }
    }
    count = static_cast<int64_t>(row.size());
    row.resize((row.size() + kLanes - 1) / kLanes * kLanes, 0);
  }

  // Where these rows lie.
  std::vector<int64_t> in(const Places& places) const {
    const auto episodes = static_cast<int32_t>(places.first.size());
    std::vector<int64_t> place(row.size());
    for (size_t i = 0; i < row.size(); ++i) {
      place[i] = places.first[row[i] % episodes] + row[i] / episodes * places.step;
    }
    return place;
  }

  int in_tile(const Tile& tile) const {
    return static_cast<int>(std::min<int64_t>(count - tile.lane0, tile.stride()));
  }
};

// Floats on a cache line's boundary, zero at first unless all of them will be written before they are read.
class Array {
 public:
  enum class At { kZero, kAnything };

  Array() = default;
  // Of a tile's size. That there is no memory even for it ends the process, with a word: were this to throw, agent_step
  // would be compiled into code that is 9 % slower.
  explicit Array(size_t size, At first = At::kZero) {
    if (!take(size, first)) end_without_memory();
  }
  // Of a batch's or a network's size; throws std::bad_alloc.
  static Array large(size_t size, At first = At::kZero) {
    Array all;
    if (!all.take(size, first)) throw std::bad_alloc();
    return all;
  }
  float* get() const { return data_.get(); }

 private:
  struct Free {
    void operator()(float* p) const { std::free(p); }
  };

  bool take(size_t size, At first) {
    const size_t bytes = (size * sizeof(float) + 63) / 64 * 64;
    data_.reset(static_cast<float*>(std::aligned_alloc(64, std::max<size_t>(bytes, 64))));
    if (data_ && first == At::kZero) std::memset(data_.get(), 0, bytes);
    return data_ != nullptr;
  }
  [[noreturn]] __attribute__((cold, noinline)) static void end_without_memory() {
    std::fputs("mast kernels: not enough memory for a tile\n", stderr);
    std::abort();
  }

  std::unique_ptr<float, Free> data_;
};

// Rows of a row-major array [rows, features] into a tile: lane l of the tile is row rows[l]. Blocks of
// lanes × lanes numbers are transposed in registers; the last block of a row overlaps the one before it.
// `ahead`, where it is not 0, is how far on the rows are that will be wanted next: they are asked for now,
// since the hardware does not foresee so many streams at once and would wait for memory at every block.
template <typename Number, typename Row>
void load_tile(const Number* from, const Row* rows, int64_t features, int vectors, float* tile,
               int stride, int64_t ahead = 0) {
  for (int v = 0; v < vectors; ++v, rows += kLanes, tile += kLanes) {
    const Number* row[kLanes];
    for (int i = 0; i < kLanes; ++i) row[i] = from + rows[i] * features;
    if (features < kLanes) {
      for (int64_t f = 0; f < features; ++f) {
        for (int i = 0; i < kLanes; ++i) tile[f * stride + i] = as_float(row[i][f]);
      }
      continue;
    }
    for (int64_t f = 0; f < features; f += kLanes) {
      f = std::min(f, features - kLanes);
      Floats block[kLanes];
#pragma GCC unroll 16
      for (int i = 0; i < kLanes; ++i) block[i] = load_as_floats(row[i] + f);
      if (ahead) {
#pragma GCC unroll 16
        for (int i = 0; i < kLanes; ++i) __builtin_prefetch(row[i] + f + ahead, 0, 2);
      }
      transpose(block);
#pragma GCC unroll 16
      for (int i = 0; i < kLanes; ++i) store(tile + (f + i) * stride, block[i]);
    }
  }
}

// The inverse, for `lanes` lanes; rows that no lane names are left alone.
inline void store_tile(const float* tile, int stride, const int32_t* rows, int64_t features, int lanes,
                       float* to) {
  for (int l = 0; l < lanes; ++l) {
    float* row = to + rows[l] * features;
    for (int64_t f = 0; f < features; ++f) row[f] = tile[f * stride + l];
  }
}

// tile[c] = 1 where code == c and 0 elsewhere: a one-hot code that exists in this tile only.
inline void code_rows(const int32_t* code, int64_t codes, int lanes, float* tile, int stride) {
  for (int64_t c = 0; c < codes; ++c) {
    for (int l = 0; l < lanes; ++l) tile[c * stride + l] = code[l] == c ? 1.0f : 0.0f;
  }
}

// Runs body(strand, index) over all indices: those of one strand in order, strands at any time.
inline int strands_of(int count) { return std::clamp(count, 1, kStrands); }

template <typename Body>
void in_strands(const ForEach& for_each, int count, Body body) {
  const int strands = strands_of(count);
  for_each(strands, [&](int strand) {
    for (int i = strand; i < count; i += strands) body(strand, i);
  });
}

}  // namespace mast
