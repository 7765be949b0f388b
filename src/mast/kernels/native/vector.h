// One SIMD register of floats: loads, transposes, and the elementary functions that a network needs.
//
// The width is a macro, MAST_VECTOR_BYTES, and each instruction set is a compilation of the same source:
// 64 bytes for AVX-512, 32 for AVX2, 16 for plain x86-64 and for ARM NEON. Everything is written in the
// vector extensions that GCC and Clang share; intrinsics appear only where the compiler cannot find the
// instruction by itself (half precision, estimates of a reciprocal). A vector wider than the register
// compiles too, and is ten times slower: hence one compilation per width and not one for all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#ifndef MAST_VECTOR_BYTES
#error "MAST_VECTOR_BYTES must be 16, 32 or 64"
#endif

namespace mast {

constexpr int kLanes = MAST_VECTOR_BYTES / 4;

typedef float Floats __attribute__((vector_size(MAST_VECTOR_BYTES)));
typedef int32_t Ints __attribute__((vector_size(MAST_VECTOR_BYTES)));
typedef uint32_t Words __attribute__((vector_size(MAST_VECTOR_BYTES)));
typedef uint16_t Halves __attribute__((vector_size(MAST_VECTOR_BYTES / 2)));

inline Floats load(const float* from) {
  Floats v;
  std::memcpy(&v, from, sizeof v);
  return v;
}

inline void store(float* to, Floats v) { std::memcpy(to, &v, sizeof v); }

inline Floats broadcast(float x) { return x - Floats{}; }

inline Floats bits_to_floats(Ints bits) { return reinterpret_cast<Floats>(bits); }

// ---- Half precision ------------------------------------------------------------------------------------

inline Floats load_half(const uint16_t* from) {
#if MAST_VECTOR_BYTES == 64
  return reinterpret_cast<Floats>(
      _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from))));
#elif MAST_VECTOR_BYTES == 32
  return reinterpret_cast<Floats>(
      _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from))));
#else
  // The exponent's bias differs by 112: a product with 2^112 corrects it, of subnormal numbers too.
  Halves halves;
  std::memcpy(&halves, from, sizeof halves);
  const Ints bits = __builtin_convertvector(halves, Ints);
  const Ints magnitude = bits & 0x7fff;
  const Floats scaled = bits_to_floats(magnitude << 13) * 0x1p112f;
  const Ints special = (magnitude << 13) | 0x7f800000;  // infinities and NaN keep their payload
  const Ints value = magnitude >= 0x7c00 ? special : reinterpret_cast<Ints>(scaled);
  return bits_to_floats(value | ((bits & 0x8000) << 16));
#endif
}

inline Floats load_as_floats(const float* from) { return load(from); }
inline Floats load_as_floats(const uint16_t* from) { return load_half(from); }

// One number; the slow path of the edges.
inline float as_float(float x) { return x; }
inline float as_float(uint16_t x) {
  const uint32_t magnitude = x & 0x7fffu, sign = (x & 0x8000u) << 16;
  uint32_t bits = magnitude << 13;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  value *= 0x1p112f;
  std::memcpy(&bits, &value, sizeof bits);
  if (magnitude >= 0x7c00u) bits = (magnitude << 13) | 0x7f800000u;
  bits |= sign;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

// ---- Transposes and sums across lanes ------------------------------------------------------------------
// A riffle interleaves two registers, as two halves of a pack of cards. log2(lanes) rounds of riffling
// register i with register i + lanes/2 transpose a square block; adding the two halves of each riffle
// instead of keeping both leaves the sum of register i in lane i.

template <int... I>
inline Floats riffle_low(Floats a, Floats b, std::integer_sequence<int, I...>) {
  return __builtin_shufflevector(a, b, (I / 2 + (I % 2) * kLanes)...);
}

template <int... I>
inline Floats riffle_high(Floats a, Floats b, std::integer_sequence<int, I...>) {
  return __builtin_shufflevector(a, b, (kLanes / 2 + I / 2 + (I % 2) * kLanes)...);
}

using LaneSequence = std::make_integer_sequence<int, kLanes>;

// rows[i] lane j becomes rows[j] lane i.
inline __attribute__((always_inline)) void transpose(Floats (&rows)[kLanes]) {
  Floats other[kLanes];
#pragma GCC unroll 4
  for (int round = 1; round < kLanes; round *= 2) {
#pragma GCC unroll 8
    for (int i = 0; i < kLanes / 2; ++i) {
      other[2 * i] = riffle_low(rows[i], rows[i + kLanes / 2], LaneSequence{});
      other[2 * i + 1] = riffle_high(rows[i], rows[i + kLanes / 2], LaneSequence{});
    }
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i) rows[i] = other[i];
  }
}

// The sum of each register's lanes: lane i of the result is the sum of rows[i].
inline __attribute__((always_inline)) Floats sums(const Floats (&rows)[kLanes]) {
  Floats half[kLanes];
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i) half[i] = rows[i];
#pragma GCC unroll 4
  for (int count = kLanes / 2; count >= 1; count /= 2) {
#pragma GCC unroll 8
    for (int i = 0; i < count; ++i) {
      half[i] = riffle_low(half[i], half[i + count], LaneSequence{}) +
                riffle_high(half[i], half[i + count], LaneSequence{});
    }
  }
  return half[0];
}

// ---- Elementary functions, to a relative error below 1e-6 on [−10, 10] (a test holds them) ----------------

// Ordered so that a NaN in x stays one: min and max of x86 return their second operand then.
#if MAST_VECTOR_BYTES == 64
inline Floats at_most(Floats x, float limit) {
  return reinterpret_cast<Floats>(
      _mm512_maskz_min_ps(0xffff, _mm512_set1_ps(limit), reinterpret_cast<__m512>(x)));
}
inline Floats at_least(Floats x, float limit) {
  return reinterpret_cast<Floats>(
      _mm512_maskz_max_ps(0xffff, _mm512_set1_ps(limit), reinterpret_cast<__m512>(x)));
}
#else
inline Floats at_most(Floats x, float limit) { return broadcast(limit) < x ? broadcast(limit) : x; }
inline Floats at_least(Floats x, float limit) { return broadcast(limit) > x ? broadcast(limit) : x; }
#endif

inline Floats positive_part(Floats x) { return at_least(x, 0.0f); }

inline Floats absolute(Floats x) { return bits_to_floats(reinterpret_cast<Ints>(x) & 0x7fffffff); }

// x with its sign turned where `sign` is negative: x · sgn(sign), sgn(0) being the sign of its zero.
inline Floats times_sign(Floats x, Floats sign) {
  const Ints turned = reinterpret_cast<Ints>(sign) & static_cast<int32_t>(0x80000000u);
  return bits_to_floats(reinterpret_cast<Ints>(x) ^ turned);
}

// The functions below take several registers at once, statement by statement: one register's chain of
// dependent instructions is so long that the processor sees too few of them ahead to fill its units.
#define MAST_EACH _Pragma("GCC unroll 8") for (int i = 0; i < N; ++i)

// 1/x for normal x. A division occupies its unit for about as long as the whole rest of a sigmoid, so
// where the processor has a good estimate, a step of Newton's method replaces it.
template <int N>
inline __attribute__((always_inline)) void reciprocal(Floats (&x)[N]) {
#if MAST_VECTOR_BYTES == 64
  Floats guess[N];
  MAST_EACH guess[i] =
      reinterpret_cast<Floats>(_mm512_maskz_rcp14_ps(0xffff, reinterpret_cast<__m512>(x[i])));
  MAST_EACH x[i] = 1.0f - x[i] * guess[i];
  MAST_EACH x[i] = guess[i] + guess[i] * x[i];
#else
  MAST_EACH x[i] = 1.0f / x[i];
#endif
}

constexpr float kLog2E = 1.44269504f;

// 2^y = scale · (1 + fraction) with y = factor · x = k + f, k whole, |f| <= 1/2, scale = 2^k, fraction =
// 2^f − 1, which replaces x. y is never rounded: f is the multiply-add factor · x − k. For e^(cx), factor =
// c · log2 e, whose own rounding costs a relative error of 2e-8 · |cx|. A minimax polynomial of degree 6.
template <int N>
inline __attribute__((always_inline)) void exponential_parts(Floats (&x)[N], float factor, Floats (&scale)[N]) {
  constexpr float kRound = 12582912.0f;  // 1.5 · 2^23: adding it leaves the nearest integer in the low bits
  Floats p[N];
  MAST_EACH scale[i] = x[i] * factor + kRound;
  MAST_EACH x[i] = x[i] * factor - (scale[i] - kRound);
  MAST_EACH p[i] = x[i] * 1.546969691e-04f + 1.339086687e-03f;
  MAST_EACH p[i] = p[i] * x[i] + 9.618030890e-03f;
  MAST_EACH p[i] = p[i] * x[i] + 5.550357105e-02f;
  MAST_EACH p[i] = p[i] * x[i] + 2.402265108e-01f;
  MAST_EACH p[i] = p[i] * x[i] + 6.931471880e-01f;
  MAST_EACH x[i] = p[i] * x[i];
  MAST_EACH scale[i] = bits_to_floats((reinterpret_cast<Ints>(scale[i]) + 127) << 23);  // kRound falls off
}

// Beyond these bounds a sigmoid, a tanh or an ELU is constant to float32's last digit or within 1e-34.
inline Floats bounded(Floats x, float bound) { return at_least(at_most(x, bound), -bound); }

template <int N>
inline __attribute__((always_inline)) void sigmoid(Floats (&x)[N]) {
  Floats scale[N];
  MAST_EACH x[i] = bounded(x[i], 80.0f);
  exponential_parts(x, -kLog2E, scale);
  MAST_EACH x[i] = (scale[i] + 1.0f) + scale[i] * x[i];
  reciprocal(x);
}

// tanh x = −m / (2 + m) with m = e^(−2x) − 1: no cancellation near 0.
template <int N>
inline __attribute__((always_inline)) void hyperbolic_tangent(Floats (&x)[N]) {
  Floats scale[N], m[N];
  MAST_EACH x[i] = bounded(x[i], 40.0f);
  exponential_parts(x, -2.0f * kLog2E, scale);
  MAST_EACH m[i] = scale[i] * x[i] + (scale[i] - 1.0f);
  MAST_EACH x[i] = m[i] + 2.0f;
  reciprocal(x);
  MAST_EACH x[i] = -m[i] * x[i];
}

// e^x − 1, to a relative error of the last digits also near 0.
inline Floats exponential_minus_one(Floats x) {
  Floats fraction[1] = {bounded(x, 80.0f)}, scale[1];
  exponential_parts(fraction, kLog2E, scale);
  return scale[0] * fraction[0] + (scale[0] - 1.0f);
}

inline Floats exponential(Floats x) {
  Floats fraction[1] = {bounded(x, 80.0f)}, scale[1];
  exponential_parts(fraction, kLog2E, scale);
  return scale[0] * fraction[0] + scale[0];
}

// log(1 + x) for −1 < x <= 0, to a relative error of the last digits also near 0, and of 3e-6 near −1: y with e^y − 1 = x, by
// Halley's method from 2x / (2 + x). A step turns its error e into e − 2 tanh(e/2): five are enough for any
// x > −1 + 1e-3, which is what a thousand actions can give.
inline Floats logarithm_of_one_plus(Floats x) {
  Floats y = 2.0f * x / (2.0f + x);
  for (int step = 0; step < 5; ++step) {
    const Floats grown = exponential_minus_one(y);
    y -= 2.0f * (grown - x) / (grown + x + 2.0f);
  }
  return y;
}

inline Floats elu(Floats x) { return x > Floats{} ? x : exponential_minus_one(x); }

}  // namespace mast
