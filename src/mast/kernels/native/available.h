// Which actions may be taken, as a batch has it and as the replay ring does.
#pragma once

#include "agent.h"

namespace mast {

// One of the two is given.
struct Available {
  const bool* bytes;    // rows of [agents, actions]
  const uint8_t* bits;  // the same, eight to a byte, the first in the highest bit; each row begins with a byte
};

inline int64_t packed_width(int64_t agents, int64_t actions) { return (agents * actions + 7) / 8; }

// The 32 bits of a row from one of them on, that one the highest; 0 beyond the row's end.
inline uint32_t bits_from(const uint8_t* row, int64_t width, int64_t bit) {
  uint64_t found = 0;
  for (int64_t i = bit / 8; i < bit / 8 + 5; ++i) found = found << 8 | (i < width ? row[i] : 0);
  return static_cast<uint32_t>(found >> (8 - bit % 8));
}

// A tile's rows at observation t: may[a] is 1 where action a may be taken and 0 elsewhere, of the first `active` lanes.
inline void load_available(const AgentShape& s, const Available& available, const Lanes& lanes, const Places& places,
                           const Tile& tile, int64_t t, int active, float* may) {
  const int stride = lanes.stride;
  const int64_t* place = lanes.place.data() + tile.lane0;
  if (available.bytes) {
    for (int l = 0; l < active; ++l) {
      const bool* row = available.bytes + (t * places.step * s.agents + place[l]) * s.actions;
      for (int64_t a = 0; a < s.actions; ++a) may[a * stride + l] = row[a];
    }
    return;
  }
  const int64_t width = packed_width(s.agents, s.actions);
  const int64_t* first = lanes.first.data() + tile.lane0;
  const int32_t* id = lanes.id.data() + tile.lane0;
  for (int64_t a0 = 0; a0 < s.actions; a0 += 32) {
    uint32_t words[kTileVectors * kLanes] = {};
    for (int l = 0; l < active; ++l) {
      words[l] = bits_from(available.bits + (first[l] + t * places.step) * width, width, id[l] * s.actions + a0);
    }
    for (int64_t a = a0; a < std::min(a0 + 32, s.actions); ++a) {
      for (int v = 0; v < active; v += kLanes) {
        Words word;
        std::memcpy(&word, words + v, sizeof word);
        const Ints may_take = reinterpret_cast<Ints>(word << static_cast<uint32_t>(a - a0)) < 0;
        store(may + a * stride + v, may_take ? broadcast(1.0f) : Floats{});
      }
    }
  }
}

}  // namespace mast
