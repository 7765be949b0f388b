// Backup operators: the value of a state from the utilities of its available actions, a state per lane.
// What each computes, and why so, is in mast/learning/operators.py.
#pragma once

#include <cmath>

#include "vector.h"

namespace mast {

enum class Operator { kMax, kSoftmax, kMellowmax, kSoftMellowmax };  // numbered as in Python

struct Backup {
  Operator kind;
  bool double_q;  // kMax chooses by the online network
  float alpha, omega, beta;
};

// Σ_u softmax(sharpness · gap)_u · term(gap_u) over the available actions. `available` is 1 or 0, `highest` the
// largest available utility; an unavailable action's gap counts as 0, whatever its utility is.
template <typename Term>
inline Floats weighted_mean(const float* q, const float* available, int64_t actions, int stride, Floats highest,
                            float sharpness, Term term) {
  Floats total{}, weights{};
  for (int64_t a = 0; a < actions; ++a) {
    const Ints may = load(available + a * stride) > Floats{};
    const Floats gap = may ? load(q + a * stride) - highest : Floats{};
    const Floats weight = may ? exponential(sharpness * gap) : Floats{};
    weights += weight;
    total += weight * term(gap);
  }
  return total / weights;
}

// One register of lanes; target, online and available are tiles [actions, stride].
inline Floats backup_value(const Backup& op, const float* target, const float* online, const float* available,
                           int64_t actions, int stride) {
  const Floats lowest = broadcast(-INFINITY);
  Floats highest = lowest, best = lowest, of_best{};
  for (int64_t a = 0; a < actions; ++a) {
    const Ints may = load(available + a * stride) > Floats{};
    const Floats q = load(target + a * stride), preferred = load(online + a * stride);
    highest = may & (q > highest) ? q : highest;
    const Ints better = may & (preferred > best);  // of equal ones the first
    best = better ? preferred : best;
    of_best = better ? q : of_best;
  }
  if (op.kind == Operator::kMax) return op.double_q ? of_best : highest;
  if (op.kind == Operator::kSoftmax) {
    return highest + weighted_mean(target, available, actions, stride, highest, op.beta,
                                   [](Floats gap) { return gap; });
  }
  const float alpha = op.kind == Operator::kMellowmax ? 0.0f : op.alpha;
  const Floats excess = weighted_mean(target, available, actions, stride, highest, alpha, [&](Floats gap) {
    return exponential_minus_one(op.omega * gap);
  });
  return highest + logarithm_of_one_plus(excess) / op.omega;
}

}  // namespace mast
