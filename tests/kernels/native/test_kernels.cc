// The kernels without Python, for the sanitizers: every shape that has edges, in buffers of exactly the size
// that they need, so that one number read or written beyond is an error; and malformed structures.
//
//     make sanitize

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <random>

#include "agent_step.h"
#include "joint.h"
#include "layers.h"
#include "optimizer.h"
#include "ring.h"
#include "team.h"

namespace {

using namespace mast;

std::mt19937 generator(0);

int below(int n) { return static_cast<int>(generator() % n); }

void require(bool holds, const char* what) {
  if (holds) return;
  std::printf("failed: %s\n", what);
  std::exit(1);
}

std::vector<float> numbers(size_t size) {
  std::vector<float> all(size);
  for (float& x : all) x = below(2001) / 1000.0f - 1.0f;
  return all;
}

// A random sparse layer that owns its buffers, and room for its gradient.
struct Layer {
  std::vector<float> values, bias, d_values, d_bias;
  std::vector<int32_t> row_pointers{0}, columns;
  int64_t inputs;

  Layer(int outputs, int inputs_, int percent) : bias(numbers(outputs)), inputs(inputs_) {
    for (int r = 0; r < outputs; ++r) {
      for (int c = 0; c < inputs; ++c) {
        if (below(100) < percent) columns.push_back(c);
      }
      row_pointers.push_back(static_cast<int32_t>(columns.size()));
    }
    values = numbers(columns.size());
    d_values.resize(values.size());
    d_bias.resize(bias.size());
  }

  Matrix matrix() const {
    return {static_cast<int64_t>(bias.size()), inputs, static_cast<int64_t>(values.size()), values.data(),
            bias.data(), row_pointers.data(), columns.data()};
  }
  Gradient gradient() { return {d_values.data(), d_bias.data()}; }
};

const ForEach in_turn = [](int n, const std::function<void(int)>& body) {
  for (int i = 0; i < n; ++i) body(i);
};

template <typename Number>
std::vector<Number> observations(size_t size) {
  std::vector<Number> all(size);
  for (Number& x : all) x = sizeof(Number) == 2 ? static_cast<Number>(0x3800 + below(1024)) : Number(below(3));
  return all;
}

// How agents share networks: each uses one of several, or, where none is named, all use the only one.
struct Sharing {
  int copies = 1;
  std::vector<int32_t> network_of{};
};

// Now and then more networks than agents, so that no agent uses some of them.
Sharing any_sharing(int agents) {
  Sharing sharing;
  if (below(2)) return sharing;
  sharing.copies = 1 + below(agents + 2);
  for (int a = 0; a < agents; ++a) sharing.network_of.push_back(below(sharing.copies));
  return sharing;
}

// The layers of an agent and of a mixer, and of both their gradients.
struct AgentLayers {
  Layer fc1, input, hidden, fc2;
  std::unique_ptr<bool[]> neurons;  // null: every agent has all
  Sharing sharing;

  AgentLayers(const AgentShape& s, int percent, const Sharing& among)
      : fc1(among.copies * s.hidden, s.inputs(), percent), input(among.copies * 3 * s.hidden, s.hidden, percent),
        hidden(among.copies * 3 * s.hidden, s.hidden, percent), fc2(among.copies * s.actions, s.hidden, percent),
        sharing(among) {
    const int64_t size = 2 * s.agents * s.hidden;
    if (below(2)) neurons.reset(new bool[size]);
    for (int64_t i = 0; neurons && i < size; ++i) neurons[i] = below(4) > 0;
  }
  AgentNetwork network() const {
    return {fc1.matrix(), input.matrix(), hidden.matrix(), fc2.matrix(), neurons.get(), sharing.copies,
            sharing.network_of.empty() ? nullptr : sharing.network_of.data()};
  }
  AgentGradient gradient() { return {fc1.gradient(), input.gradient(), hidden.gradient(), fc2.gradient()}; }
};

struct MixerLayers {
  std::vector<Layer> layers;
  MixerLayers(const MixerShape& s, int percent) {
    const int64_t sizes[7][2] = {{s.hypernet, s.state}, {s.agents * s.embed, s.hypernet}, {s.hypernet, s.state},
                                 {s.embed, s.hypernet}, {s.embed, s.state},               {s.embed, s.state},
                                 {1, s.embed}};
    for (const auto& size : sizes) layers.emplace_back(size[0], size[1], percent);
  }
  MixerNetwork network() const {
    return {layers[0].matrix(), layers[1].matrix(), layers[2].matrix(), layers[3].matrix(),
            layers[4].matrix(), layers[5].matrix(), layers[6].matrix()};
  }
  std::vector<Gradient> gradients() {
    std::vector<Gradient> all;
    for (Layer& layer : layers) all.push_back(layer.gradient());
    return all;
  }
};

// A batch of an agent's episodes that owns its buffers.
template <typename Number>
struct Episodes {
  std::vector<Number> observation;
  std::vector<int32_t> action, lengths;

  explicit Episodes(const AgentShape& s)
      : observation(observations<Number>(s.observations * s.lanes() * s.features)),
        action((s.observations - 1) * s.lanes()), lengths(s.episodes) {
    const int steps = static_cast<int>(s.observations) - 1;
    for (int32_t& a : action) a = below(static_cast<int>(s.actions) + 2) - 1;  // now and then none of the actions
    for (int32_t& l : lengths) l = below(steps + 3) - 1;                       // now and then none of the lengths
  }
  AgentEpisodes<Number> batch() const { 
    return {observation.data(), action.data(), lengths.data(), side_by_side(static_cast<int64_t>(lengths.size()))};
  }
};

template <typename Number>
void test_agent(int steps, int episodes, int agents, int features, int actions, int width, int percent) {
  const AgentShape s{steps + 1, episodes, agents, features, actions, width, below(2) ? agents : 0};
  AgentLayers layers(s, percent, any_sharing(agents));
  const AgentNetwork net = layers.network();
  const Episodes<Number> data(s);
  const AgentEpisodes<Number> batch = data.batch();
  const Lanes lanes(s, batch.steps, batch.places, net);
  std::vector<float> chosen(data.action.size()), q(s.observations * s.lanes() * actions), again(q.size()),
      saved(lanes.saved_size(s));
  agent_utilities(s, batch, {net, net}, chosen.data(), {q.data(), again.data()}, saved.data(), in_turn);
  require(q == again, "two equal networks agree");
  agent_backward(s, batch, lanes, plans_of(net, lanes.stride), saved.data(), numbers(chosen.size()).data(),
                 layers.gradient(), in_turn);
  for (const Layer* layer : {&layers.fc1, &layers.input, &layers.hidden, &layers.fc2}) {
    for (float g : layer->d_values) require(std::isfinite(g), "gradients are finite");
  }
  std::vector<float> state(s.lanes() * width), next(state.size()), now(s.lanes() * actions);
  agent_step(s, data.observation.data(), data.action.data(), state.data(), net, now.data(), next.data(), in_turn);
}

template <typename Number>
void test_mixer(int times, int episodes, int agents, int state_size, int hypernet, int embed, int percent) {
  const MixerShape s{times, episodes, agents, state_size, hypernet, embed};
  MixerLayers layers(s, percent);
  const MixerNetwork net = layers.network();
  const auto state = observations<Number>(times * episodes * state_size);
  const auto utilities = numbers(times * episodes * agents), d_q_tot = numbers(times * episodes);
  std::vector<int32_t> rows(episodes);
  for (int32_t& r : rows) r = below(times + 3) - 1;
  const MixerEpisodes<Number> batch{state.data(), utilities.data(), rows.data(), side_by_side(episodes)};
  std::vector<float> q_tot(times * episodes), d_utilities(utilities.size());
  mixer_forward(s, batch, net, q_tot.data(), in_turn);
  mixer_backward(s, batch, net, d_q_tot.data(), d_utilities.data(), layers.gradients(), in_turn);
}

void test_joint(int times, int episodes, int agents, int actions, int percent) {
  const MixerShape s{times, episodes, agents, 9, 6, 5};
  MixerLayers online(s, percent), target(s, percent);
  const int utilities = times * episodes * agents * actions;
  const auto state = numbers(times * episodes * s.state), q = numbers(utilities), target_q = numbers(utilities);
  std::vector<char> available(utilities, 1);
  for (int i = 0; i < utilities; ++i) available[i] = i % actions == 0 || below(2);
  std::vector<int32_t> rows(episodes);
  for (int32_t& r : rows) r = below(times + 3) - 1;
  const JointEpisodes batch{state.data(), rows.data(), q.data(), target_q.data(),
                            reinterpret_cast<const bool*>(available.data())};
  for (bool with_unavailable : {false, true}) {
    std::vector<float> value(times * episodes);
    joint_softmax_values(s, actions, batch, online.network(), target.network(), {5.0f, with_unavailable}, value.data(),
                         in_turn);
    for (float v : value) require(std::isfinite(v), "joint values are finite");
  }
}

template <typename Number>
void test_team(Mixing mixing, Operator kind, int n, int steps, int episodes, int agents, int features, int actions,
               int width, int percent) {
  const AgentShape s{steps + 1, episodes, agents, features, actions, width, below(2) ? agents : 0};
  const MixerShape m{-1, episodes, agents, features + 3, 6, 5};
  const Sharing sharing = any_sharing(agents);
  AgentLayers online(s, percent, sharing), target(s, percent, sharing);
  MixerLayers online_mixer(m, percent), target_mixer(m, percent);
  const Episodes<Number> data(s);
  const auto state = observations<Number>(s.observations * episodes * m.state);
  const auto reward = numbers(steps * episodes);
  const size_t rows = s.observations * s.lanes();
  std::unique_ptr<bool[]> available(new bool[rows * actions]), terminated(new bool[steps * episodes]);
  for (size_t i = 0; i < rows * actions; ++i) available[i] = below(3) > 0 || i % actions == 0;
  for (int i = 0; i < steps * episodes; ++i) terminated[i] = below(4) == 0;
  const TeamMetrics told = team_gradient<Number>(
      s, data.batch(), {{available.get(), nullptr}, reward.data(), terminated.get()}, mixing, m, state.data(),
      {online.network(), online_mixer.network()}, {target.network(), target_mixer.network()},
      {kind, below(2) > 0, 1.0f, 10.0f, 5.0f}, {0.99f, 0.8f, n, below(2) > 0},
      {online.gradient(), online_mixer.gradients()}, in_turn);
  int taken = 0;
  for (int32_t length : data.lengths) taken += std::max(length, 0);
  require(taken == 0 || std::isfinite(told.loss), "the loss of a batch with steps is finite");
}

// Loss and gradient of episodes in their slots of a ring are those of the same episodes side by side, to the bit.
template <typename Number, typename Action>
void test_ring(Mixing mixing, int limit, int capacity, int episodes, int agents, int features, int actions, int width,
               int percent) {
  std::vector<int32_t> slots(episodes), steps(episodes);
  for (int32_t& slot : slots) slot = below(capacity);
  for (int32_t& count : steps) count = 1 + below(limit);
  const int64_t longest = *std::max_element(steps.begin(), steps.end()), rows = limit + 1, packed = packed_width(agents, actions);
  const AgentShape s{longest + 1, episodes, agents, features, actions, width, below(2) ? agents : 0};
  const MixerShape m{-1, episodes, agents, features + 3, 6, 5};
  const auto observation = observations<Number>(capacity * rows * agents * features);
  const auto state = observations<Number>(capacity * rows * m.state);
  const auto reward = numbers(capacity * limit);
  std::vector<uint8_t> bits(capacity * rows * packed);
  for (uint8_t& b : bits) b = static_cast<uint8_t>(below(256));
  for (int64_t row = 0; row < capacity * rows; ++row) {  // of each agent one at least
    for (int i = 0; i < agents * actions; i += actions) bits[row * packed + i / 8] |= 1 << (7 - i % 8);
  }
  std::vector<Action> action(capacity * limit * agents);
  for (Action& a : action) a = static_cast<Action>(below(actions));
  std::unique_ptr<bool[]> ended(new bool[episodes]), available(new bool[s.observations * s.lanes() * actions]());
  for (int e = 0; e < episodes; ++e) ended[e] = below(2) > 0;
  const SideBySide small(RingSteps<Action>{limit, agents, episodes, action.data(), reward.data(), slots.data(), steps.data(), ended.get()},
                         longest);
  // What lies beyond an episode's end: zeros beside it, anything in its slot.
  std::vector<Number> beside(s.observations * s.lanes() * features), states(s.observations * episodes * m.state);
  for (int64_t e = 0; e < episodes; ++e) {
    for (int64_t t = 0; t <= steps[e]; ++t) {
      const int64_t from = slots[e] * rows + t, to = t * episodes + e;
      std::copy_n(observation.data() + from * agents * features, agents * features, beside.data() + to * agents * features);
      std::copy_n(state.data() + from * m.state, m.state, states.data() + to * m.state);
      for (int64_t i = 0; i < agents * actions; ++i) {
        available[to * agents * actions + i] = bits[from * packed + i / 8] >> (7 - i % 8) & 1;
      }
    }
  }
  const Sharing sharing = any_sharing(agents);
  AgentLayers online(s, percent, sharing), target(s, percent, sharing);
  MixerLayers online_mixer(m, percent), target_mixer(m, percent);
  const auto learn = [&](const AgentEpisodes<Number>& batch, Available may, const Number* of_mixer) {
    const TeamMetrics told = team_gradient<Number>(
        s, batch, {may, small.reward.data(), small.terminated.get()}, mixing, m, of_mixer,
        {online.network(), online_mixer.network()}, {target.network(), target_mixer.network()},
        {Operator::kSoftMellowmax, false, 1.0f, 10.0f, 5.0f}, {0.99f, 0.8f, 0, false},
        {online.gradient(), online_mixer.gradients()}, in_turn);
    std::vector<float> found{told.loss, told.q_tot, told.target, told.error};
    for (const Layer* layer : {&online.fc1, &online.input, &online.hidden, &online.fc2}) {
      found.insert(found.end(), layer->d_values.begin(), layer->d_values.end());
    }
    if (mixing == Mixing::kMonotonic) {
      for (const Layer& layer : online_mixer.layers) found.insert(found.end(), layer.d_values.begin(), layer.d_values.end());
    }
    return found;
  };
  const auto there = learn({observation.data(), small.action.data(), steps.data(), in_slots(slots.data(), episodes, rows)},
                           {nullptr, bits.data()}, state.data());
  const auto copied = learn({beside.data(), small.action.data(), steps.data(), side_by_side(episodes)},
                            {available.get(), nullptr}, states.data());
  require(std::isfinite(there[0]), "the loss of episodes in a ring is finite");
  require(std::memcmp(there.data(), copied.data(), there.size() * sizeof(float)) == 0,
          "episodes in a ring give what they give side by side");
}

void test_optimizer(int size) {
  const auto parameters = numbers(size), gradient = numbers(size);
  std::vector<float> moment(size, 0.5f), changed(size), next(size);
  const Slots slots{size, parameters.data(), gradient.data(), moment.data(), changed.data(), next.data()};
  require(std::isfinite(clipped_step({1e-3f, 0.99f, 1e-5f, 0.1f}, {slots, slots})), "the norm is finite");
}

void test_layers(int times, int episodes, int inputs, int middle, int outputs, int percent) {
  Layer first(middle, inputs, percent), second(outputs, middle, percent);
  std::vector<int32_t> rows(episodes);
  for (int32_t& each : rows) each = below(times + 1);
  const auto x = numbers(times * episodes * inputs), d_y = numbers(times * episodes * outputs);
  std::vector<float> y(d_y.size()), d_x(x.size());
  const LayerRows batch{times, episodes, x.data(), rows.data()};
  const std::vector<Matrix> layers{first.matrix(), second.matrix()};
  layers_forward(batch, layers, y.data(), in_turn);
  layers_backward(batch, layers, d_y.data(), d_x.data(), {first.gradient(), second.gradient()}, in_turn);
}

// What Python allots is enough whichever agents use each network, and each row is one lane, among those of its network.
void test_room_for_any_sharing() {
  for (int i = 0; i < 3000; ++i) {
    const AgentShape s{2, 1 + below(80), 1 + below(12), 1, 1, 1};
    AgentNetwork net;
    net.copies = 1 + below(static_cast<int>(s.agents) + 3);
    std::vector<int32_t> network_of(s.agents);
    const int spread = 1 + below(static_cast<int>(net.copies));  // now and then few networks for all
    for (int32_t& network : network_of) network = below(spread);
    net.network_of = network_of.data();
    const std::vector<int32_t> steps(s.episodes, 1);
    const Lanes lanes(s, steps.data(), side_by_side(s.episodes), net);
    require(lanes.saved_size(s) <= most_saved(s, net.copies), "there is room for any sharing");
    std::vector<int32_t> found;
    for (const AgentTile& tile : lanes.tiles) {
      const int playing = lanes.in_tile(tile, 0);
      require(playing > 0, "no tile is empty");
      for (int l = tile.lane0; l < tile.lane0 + playing; ++l) {
        require(network_of[lanes.id[l]] == tile.network, "a lane is in a tile of its network");
        found.push_back(lanes.row[l]);
      }
    }
    std::sort(found.begin(), found.end());
    std::vector<int32_t> all(s.lanes());
    std::iota(all.begin(), all.end(), 0);
    require(found == all, "every row is one lane");
  }
}

void test_malformed_structures() {
  const auto is_refused = [](const std::function<void(Layer&)>& spoil) {
    Layer layer(5, 7, 50);
    require(fault(layer.matrix()).empty(), "a good structure is accepted");
    spoil(layer);
    require(!fault(layer.matrix()).empty(), "a malformed structure is refused");
  };
  is_refused([](Layer& l) { l.columns[2] = 7; });
  is_refused([](Layer& l) { l.columns[0] = -1; });
  is_refused([](Layer& l) { l.row_pointers[0] = 1; });
  is_refused([](Layer& l) { l.row_pointers[5] += 1; });
  is_refused([](Layer& l) { l.row_pointers[2] = 1 << 30; });
  is_refused([](Layer& l) { l.row_pointers[2] = -5; });
}

Floats sigmoid_of(Floats x) {
  Floats all[1] = {x};
  sigmoid(all);
  return all[0];
}

Floats tanh_of(Floats x) {
  Floats all[1] = {x};
  hyperbolic_tangent(all);
  return all[0];
}

double relative_error(Floats (*function)(Floats), double (*exact)(double), double bound) {
  double worst = 0;
  for (double x = -bound; x <= bound; x += bound / 20011) {
    float in[kLanes], out[kLanes];
    for (int i = 0; i < kLanes; ++i) in[i] = static_cast<float>(x * (i % 2 ? 1 : 1e-4));
    store(out, function(load(in)));
    for (int i = 0; i < kLanes; ++i) {
      const double expected = exact(in[i]);
      if (expected != 0) worst = std::fmax(worst, std::fabs(out[i] / expected - 1));
    }
  }
  return worst;
}

// On [−10, 10]; 3e-7 where multiply-adds round once, which a compilation without optimisation does not do.
void test_elementary_functions() {
  const double bound = 1e-6;
  require(relative_error(sigmoid_of, [](double x) { return 1 / (1 + std::exp(-x)); }, 10) < bound, "sigmoid");
  require(relative_error(tanh_of, std::tanh, 10) < bound, "tanh");
  require(relative_error(exponential_minus_one, std::expm1, 10) < bound, "expm1");
  require(relative_error(exponential, std::exp, 10) < bound, "exp");
  require(relative_error([](Floats x) { return logarithm_of_one_plus(-absolute(x)); },
                         [](double x) { return std::log1p(-std::fabs(x)); }, 0.97) < bound,
          "log1p");
  for (float x : {-1e30f, -200.0f, 200.0f, 1e30f, INFINITY, -INFINITY}) {
    require(std::fabs(sigmoid_of(broadcast(x))[0] - (x > 0)) < 1e-30f, "sigmoid far out");
    require(std::fabs(tanh_of(broadcast(x))[0]) == 1.0f, "tanh far out");
  }
  require(std::isnan(sigmoid_of(broadcast(NAN))[0]) && std::isnan(tanh_of(broadcast(NAN))[0]), "NaN stays");
}

void test_half_precision() {
  for (int first = 0; first < 65536; first += kLanes) {
    uint16_t halves[kLanes];
    for (int i = 0; i < kLanes; ++i) halves[i] = static_cast<uint16_t>(first + i);
    const Floats loaded = load_half(halves);
    for (int i = 0; i < kLanes; ++i) {
      const float a = loaded[i], b = as_float(halves[i]);
      const int exponent = (halves[i] >> 10) & 31, mantissa = halves[i] & 1023;
      float expected = exponent ? std::ldexp(1024.0f + mantissa, exponent - 25) : std::ldexp(1.0f * mantissa, -24);
      if (exponent == 31) expected = mantissa ? NAN : INFINITY;
      if (halves[i] & 0x8000) expected = -expected;
      const bool same = std::isnan(expected) ? std::isnan(a) && std::isnan(b) : a == expected && b == expected;
      require(same, "half precision");
    }
  }
}

}  // namespace

int main() {
  test_elementary_functions();
  test_half_precision();
  test_malformed_structures();
  test_room_for_any_sharing();
  for (int percent : {0, 5, 40, 100}) {
    test_agent<float>(1, 1, 1, 1, 1, 1, percent);
    test_agent<uint16_t>(5, 7, 3, 19, 6, 17, percent);
    test_agent<uint16_t>(3, 40, 5, 33, 9, 24, percent);
    test_agent<float>(4, 11, 2, 16, 3, 8, percent);
    test_mixer<float>(1, 1, 1, 1, 1, 1, percent);
    test_mixer<uint16_t>(6, 35, 5, 21, 10, 7, percent);
    for (Operator kind : {Operator::kMax, Operator::kSoftmax, Operator::kMellowmax, Operator::kSoftMellowmax}) {
      test_team<uint16_t>(Mixing::kMonotonic, kind, 0, 5, 7, 3, 19, 6, 9, percent);
      test_team<float>(Mixing::kSum, kind, 3, 4, 37, 2, 5, 3, 4, percent);
      test_team<float>(Mixing::kNone, kind, 1, 1, 1, 1, 1, 1, 1, percent);
    }
    test_ring<uint16_t, uint8_t>(Mixing::kMonotonic, 5, 4, 7, 3, 19, 6, 9, percent);
    test_ring<float, int16_t>(Mixing::kSum, 6, 9, 21, 2, 5, 70, 4, percent);
    test_ring<float, uint8_t>(Mixing::kNone, 1, 1, 1, 1, 1, 1, 1, percent);
    test_optimizer(1);
    test_optimizer(67);
    test_joint(1, 1, 1, 1, percent);
    test_joint(6, 35, 3, 7, percent);
    test_layers(1, 1, 1, 1, 1, percent);
    test_layers(29, 7, 37, 20, 18, percent);
  }
  std::printf("%d lanes: all well\n", kLanes);
  return 0;
}
