// The random numbers of `jax.random`, whose keys are partitionable.
#pragma once

#include <cstdint>
#include <cstring>

namespace mast {

struct Key {
  uint32_t a, b;
};

// Threefry-2x32 with twenty rounds (Salmon et al. 2011), as `jax.random` has it.
inline Key threefry(Key key, uint32_t x, uint32_t y) {
  const uint32_t keys[3] = {key.a, key.b, key.a ^ key.b ^ 0x1BD11BDAu};
  constexpr int kTurns[2][4] = {{13, 15, 26, 6}, {17, 29, 16, 24}};
  x += keys[0];
  y += keys[1];
  for (uint32_t group = 0; group < 5; ++group) {
    for (const int turn : kTurns[group % 2]) {
      x += y;
      y = (y << turn) | (y >> (32 - turn));
      y ^= x;
    }
    x += keys[(group + 1) % 3];
    y += keys[(group + 2) % 3] + group + 1;
  }
  return {x, y};
}

// `jax.random.split(key, n)[index]`, whatever n.
inline Key split(Key key, uint32_t index) { return threefry(key, 0, index); }

// `jax.random.uniform(key, shape)`, in [0, 1): the number of this index in it, whatever the shape.
inline float uniform(Key key, uint32_t index = 0) {
  const Key drawn = threefry(key, 0, index);
  const uint32_t bits = ((drawn.a ^ drawn.b) >> 9) | 0x3F800000u;
  float number;
  std::memcpy(&number, &bits, sizeof number);
  return number - 1.0f;
}

}  // namespace mast
