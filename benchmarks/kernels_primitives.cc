// How fast each loop of the agent's kernel is on a tile in cache, beside what this core can do at most: one
// line of csv per loop. Compiled and run by benchmarks/roofline.py.
//
//     primitives FEATURES ACTIONS AGENTS WIDTH SPARSITY      (3s5z: 205 13 8 64 0.95)

#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <random>

#include "agent_backward.h"

namespace {

using namespace mast;

std::mt19937 generator(0);

// A random layer with a given number of active weights.
struct Layer {
  std::vector<float> values, bias;
  std::vector<int32_t> row_pointers{0}, columns;
  Matrix matrix;

  Layer(int64_t outputs, int64_t inputs, double epsilon) : bias(outputs, 0.1f) {
    std::vector<int32_t> places(outputs * inputs);
    std::iota(places.begin(), places.end(), 0);
    std::shuffle(places.begin(), places.end(), generator);
    places.resize(std::min<size_t>(places.size(), std::llround(epsilon * (outputs + inputs))));
    std::sort(places.begin(), places.end());
    row_pointers.resize(outputs + 1, 0);
    for (int32_t place : places) {
      ++row_pointers[place / inputs + 1];
      columns.push_back(place % inputs);
      values.push_back((generator() % 1000) / 1000.0f - 0.5f);
    }
    for (int64_t r = 0; r < outputs; ++r) row_pointers[r + 1] += row_pointers[r];
    matrix = {outputs, inputs, static_cast<int64_t>(values.size()), values.data(), bias.data(),
              row_pointers.data(), columns.data()};
  }
};

// Microseconds of one call, the best of some rounds.
template <typename Work>
double best_of(Work work) {
  double best = 1e9;
  for (int round = 0; round < 15; ++round) {
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < 300; ++i) {
      work();
      asm volatile("" ::: "memory");
    }
    const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - start;
    best = std::min(best, spent.count() / 300 * 1e6);
  }
  return best;
}

// One line: what was done in that time, in floating-point operations and in bytes loaded from tiles.
template <typename Work>
void report(const char* name, double flops, double bytes, Work work) {
  std::printf("%s,%.4f,%.0f,%.0f\n", name, best_of(work), flops, bytes);
}

// Multiply-adds in registers: nothing can be faster. (The empty assembly keeps sums from
// being left out, or taken for one another.)
void peak_of_arithmetic() {
  report("peak arithmetic", 2.0 * 12 * 1000 * kLanes, 0, [] {
    Floats sum[12] = {}, a = broadcast(0.999f), b = broadcast(0.001f);
    asm volatile("" : "+x"(a), "+x"(b));
    for (int i = 0; i < 12; ++i) asm volatile("" : "+x"(sum[i]));
    for (int k = 0; k < 1000; ++k) {
#pragma GCC unroll 12
      for (int i = 0; i < 12; ++i) sum[i] = sum[i] * a + b;
    }
    for (int i = 0; i < 12; ++i) asm volatile("" : "+x"(sum[i]));
  });
}

// Loads from the first cache, each added to something.
void peak_of_loads() {
  constexpr int kRegisters = 24 * 1024 / sizeof(Floats) / 12 * 12;
  const Array data(kRegisters * kLanes);
  report("peak loads", 0, 1.0 * kRegisters * sizeof(Floats), [&] {
    const float* from = data.get();
    Floats sum[12] = {};
    for (int k = 0; k < kRegisters; k += 12) {
#pragma GCC unroll 12
      for (int i = 0; i < 12; ++i) sum[i] += load(from + (k + i) * kLanes);
    }
    for (int i = 0; i < 12; ++i) asm volatile("" : "+x"(sum[i]));
  });
}

// Operations of one unit's gates, counted in agent.h and vector.h: two sigmoids (28), a tanh (30) and what lies
// between; the backward pass computes them again.
constexpr double kGateOperations = 91, kGateBackOperations = 105;

}  // namespace

int main(int count, char** arguments) {
  if (count != 6) return std::printf("FEATURES ACTIONS AGENTS WIDTH SPARSITY\n"), 1;
  const int64_t features = std::atoi(arguments[1]), actions = std::atoi(arguments[2]), h = std::atoi(arguments[4]);
  const int64_t inputs = features + actions + std::atoi(arguments[3]);
  const double kept = 1 - std::atof(arguments[5]);
  const double epsilon = kept * (inputs * h + 6.0 * h * h + h * actions) / (inputs + h + 8.0 * h + h + actions);
  const Layer fc1(h, inputs, epsilon), input(3 * h, h, epsilon), hidden(3 * h, h, epsilon), fc2(actions, h, epsilon);
  const AgentNetwork net{fc1.matrix, input.matrix, hidden.matrix, fc2.matrix};

  constexpr int kVectors = kTileVectors, kStride = kVectors * kLanes;
  const AgentPlans plans(net, kStride);
  const Plan gates_back = transposed_plan_of(gate_blocks(net), 2 * h, kStride);
  const Plan fc2_back = transposed_plan_of({whole(net.fc2, 0, 0)}, h, kStride);
  const Array x(inputs * kStride), state(2 * h * kStride), pre(4 * h * kStride), q(actions * kStride),
      d_state(2 * h * kStride), sums(plans.gates.slots() + plans.fc1.slots() + plans.fc2.slots());
  const std::vector<int32_t> rows = all_rows(kStride);
  const std::vector<uint16_t> observation(kStride * features, 0x3800);
  const auto flops = [&](const Plan& plan) { return 2.0 * plan.entries.size() * kStride; };
  const auto bytes = [&](const Plan& plan) { return 4.0 * plan.entries.size() * kStride; };
  const double units = static_cast<double>(h) * kStride;

  std::printf("loop,microseconds,operations,bytes\n");
  peak_of_arithmetic();
  peak_of_loads();
  report("load observations", 0, 2.0 * kStride * features, [&] {
    load_tile(observation.data(), rows.data(), features, kVectors, x.get(), kStride);
  });
  report("fc1", flops(plans.fc1), bytes(plans.fc1),
         [&] { product<kVectors, Into::kSetPositive>(plans.fc1, x.get(), state.get()); });
  report("gates product", flops(plans.gates), bytes(plans.gates),
         [&] { product<kVectors, Into::kSet>(plans.gates, state.get(), pre.get()); });
  report("gates", kGateOperations * units, 5 * 4 * units,
         [&] { gates_forward<kVectors>(h, kStride, pre.get(), state.get() + h * kStride, nullptr); });
  report("fc2", flops(plans.fc2), bytes(plans.fc2),
         [&] { product<kVectors, Into::kSet>(plans.fc2, state.get() + h * kStride, q.get()); });
  report("fc2 sampled product", flops(plans.fc2), bytes(plans.fc2),
         [&] { sampled_product<kVectors>(plans.fc2, q.get(), state.get(), sums.get()); });
  report("fc2 transposed product", flops(fc2_back), bytes(fc2_back),
         [&] { product<kVectors, Into::kAdd>(fc2_back, q.get(), d_state.get()); });
  report("gates back", kGateBackOperations * units, 6 * 4 * units,
         [&] { gates_backward<kVectors>(h, kStride, pre.get(), state.get(), d_state.get()); });
  report("gates sampled product", flops(plans.gates), bytes(plans.gates),
         [&] { sampled_product<kVectors>(plans.gates, pre.get(), state.get(), sums.get()); });
  report("gates transposed product", flops(gates_back), bytes(gates_back),
         [&] { product<kVectors, Into::kAdd>(gates_back, pre.get(), d_state.get()); });
  report("fc1 sampled product", flops(plans.fc1), bytes(plans.fc1),
         [&] { sampled_product<kVectors>(plans.fc1, d_state.get(), x.get(), sums.get()); });
  report("plans of a forward call", 0, 0, [&] { AgentPlans again(net, kStride); });
  return 0;
}
