// How fast each loop of the agent's kernel is on a tile in cache: the stages of one time step, their share of
// the roofline, and what the plans of a call cost.
//
//     g++ -std=c++17 -O3 -fno-math-errno -fno-trapping-math -ffp-contract=fast -DMAST_VECTOR_BYTES=64
//         -mavx512f -mavx512vl -mavx512bw -mavx512dq -mfma -Isrc/mast/kernels/native
//         benchmarks/kernels_primitives.cc -o /tmp/primitives
//     taskset -c 0 /tmp/primitives FEATURES ACTIONS AGENTS WIDTH SPARSITY      (3s5z: 205 13 8 64 0.95)

#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <random>

#include "agent_backward.h"
#include "linear.h"

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

// The best of some rounds, in microseconds, and `amount` per nanosecond.
template <typename Work>
double report(const char* name, double amount, const char* unit, Work work) {
  double best = 1e9;
  for (int round = 0; round < 9; ++round) {
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < 500; ++i) {
      work();
      asm volatile("" ::: "memory");
    }
    const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - start;
    best = std::min(best, spent.count() / 500 * 1e6);
  }
  std::printf("%-28s %8.3f us", name, best);
  if (amount > 0) std::printf("  %7.2f %s", amount / best * 1e-3, unit);
  std::printf("\n");
  return best;
}

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
  std::vector<float> out(kStride * actions);
  const auto flops = [&](const Plan& plan) { return 2.0 * plan.entries.size() * kStride; };
  const double units = static_cast<double>(h) * kStride;

  std::printf("%d lanes, tiles of %d rows; active: fc1 %zu, gates %zu, fc2 %zu\n", kLanes, kStride,
              plans.fc1.entries.size(), plans.gates.entries.size(), plans.fc2.entries.size());
  report("observations (float16)", 1.0 * kStride * features, "numbers/ns", [&] {
    load_tile(observation.data(), rows.data(), features, kVectors, x.get(), kStride);
  });
  report("fc1", flops(plans.fc1), "GF/s", [&] { product<kVectors, Into::kSetPositive>(plans.fc1, x.get(), state.get()); });
  report("gates' product", flops(plans.gates), "GF/s", [&] { product<kVectors, Into::kSet>(plans.gates, state.get(), pre.get()); });
  report("gates", units, "units/ns", [&] { gates_forward<kVectors>(h, kStride, pre.get(), state.get() + h * kStride, nullptr); });
  report("fc2", flops(plans.fc2), "GF/s", [&] { product<kVectors, Into::kSet>(plans.fc2, state.get() + h * kStride, q.get()); });
  report("utilities out", 1.0 * kStride * actions, "numbers/ns", [&] {
    store_tile(q.get(), kStride, rows.data(), actions, kStride, out.data());
  });
  report("fc2 sampled", flops(plans.fc2), "GF/s", [&] { sampled_product<kVectors>(plans.fc2, q.get(), state.get(), sums.get()); });
  report("fc2 transposed", flops(fc2_back), "GF/s", [&] { product<kVectors, Into::kAdd>(fc2_back, q.get(), d_state.get()); });
  report("gates back", units, "units/ns", [&] { gates_backward<kVectors>(h, kStride, pre.get(), state.get(), d_state.get()); });
  report("gates sampled", flops(plans.gates), "GF/s", [&] { sampled_product<kVectors>(plans.gates, pre.get(), state.get(), sums.get()); });
  report("gates transposed", flops(gates_back), "GF/s", [&] { product<kVectors, Into::kAdd>(gates_back, pre.get(), d_state.get()); });
  report("fc1 sampled", flops(plans.fc1), "GF/s", [&] { sampled_product<kVectors>(plans.fc1, d_state.get(), x.get(), sums.get()); });
  report("plans of a forward call", 0, "", [&] { AgentPlans again(net, kStride); });
  return 0;
}
