// What handlers read of their operands: networks, episodes side by side or in the ring, a method's numbers.
#pragma once

#include "agent_step.h"
#include "buffers.h"
#include "ring.h"
#include "team.h"

namespace mast {
namespace {

using Table = ffi::Span<const int64_t>;

AgentNetwork read_agent(Operands& operands, Table layers, AgentShape& s) {
  AgentNetwork net;
  operands.network(layers, 4);
  const bool several = operands.ok() && operands.is_of(ffi::S32);
  if (several) {
    const int64_t all = layers[0], hidden = layers[7];  // rows of fc1, columns of what the state is multiplied with
    if (hidden < 1 || all % hidden != 0 || all == 0) operands.fail("fc1 does not have the rows of whole networks");
    net.copies = operands.ok() ? all / hidden : 1;
    net.network_of = operands.ints_from("network", 0, net.copies - 1, &s.agents);
  }
  const auto rows = [&](int64_t of_each) { return of_each == -1 ? -1 : of_each * net.copies; };
  int64_t inputs = -1, first = rows(s.hidden);
  net.fc1 = operands.matrix(&first, &inputs);
  if (s.hidden == -1) s.hidden = first / net.copies;
  int64_t gates = rows(3 * s.hidden), last = rows(s.actions);
  net.input = operands.matrix(&gates, &s.hidden);
  net.hidden = operands.matrix(&gates, &s.hidden);
  net.fc2 = operands.matrix(&last, &s.hidden);
  if (operands.ok() && last % net.copies != 0) operands.fail("fc2 does not have the rows of whole networks");
  if (s.actions == -1) s.actions = last / net.copies;
  if (operands.ok() && s.ids == -1) s.ids = inputs == s.features + s.actions ? 0 : s.agents;
  if (operands.ok() && inputs != s.inputs()) operands.fail("fc1 does not fit features, actions and agents");
  int64_t halves = 2;
  if (operands.is_of(ffi::PRED)) net.neurons = operands.bools({&halves, &s.agents, &s.hidden});
  return net;
}

// Refuses networks over the same episodes whose agents are shared out in different ways.
void check_shared_alike(Operands& operands, const AgentShape& s, const AgentNetwork& one, const AgentNetwork& other) {
  if (!operands.ok()) return;
  const bool alike = one.copies == other.copies && !one.network_of == !other.network_of &&
                     (!one.network_of || std::equal(one.network_of, one.network_of + s.agents, other.network_of));
  if (!alike) operands.fail("networks whose agents are shared out alike are expected");
}

void check_batch(Operands& operands, std::initializer_list<int64_t> axes) {
  if (operands.ok() && !can_be_numbered(axes)) operands.fail("the batch is too large");
}

// What the replay ring keeps of one kind: slots of so many rows of so many numbers.
struct RingAxes {
  int64_t capacity = -1, rows = -1, width = -1;
};

// Of a ring's row of observations, how many each agent has.
void share_among_agents(Operands& operands, const RingAxes& ring, AgentShape& s) {
  if (!operands.ok()) return;
  if (s.agents < 1) return operands.fail("an empty batch");
  if (!can_be_placed({ring.capacity, ring.rows, ring.width, s.agents})) operands.fail("the ring is too large");
  s.features = ring.width / s.agents;
  if (s.features * s.agents != ring.width) operands.fail("the ring's observations are not those of so many agents");
}

// Episodes side by side, or where slots follow observations of three axes, those that lie in them in the ring.
template <typename Number, ffi::DataType type>
AgentEpisodes<Number> read_episodes(Operands& operands, AgentShape& s) {
  AgentEpisodes<Number> episodes{};
  if (operands.next_axes() == 3) {
    RingAxes ring;
    episodes.observation = reinterpret_cast<const Number*>(operands.in<type>({&ring.capacity, &ring.rows, &ring.width}));
    const int32_t* slots = operands.ints_from("slot", 0, ring.capacity - 1, &s.episodes);
    int64_t steps = -1;
    episodes.action = operands.ints({&steps, &s.episodes, &s.agents});
    s.observations = steps + 1;
    share_among_agents(operands, ring, s);
    if (operands.ok() && s.observations > ring.rows) operands.fail("the batch is longer than a slot");
    if (operands.ok()) episodes.places = in_slots(slots, s.episodes, ring.rows);
  } else {
    episodes.observation = reinterpret_cast<const Number*>(
        operands.in<type>({&s.observations, &s.episodes, &s.agents, &s.features}));
    int64_t steps = s.observations - 1;
    if (operands.ok() && s.observations < 1) operands.fail("an empty batch");
    episodes.action = operands.ints({&steps, &s.episodes, &s.agents});
  }
  if (operands.ok() && (s.episodes < 1 || s.agents < 1)) operands.fail("an empty batch");
  check_batch(operands, {s.observations, s.episodes, s.agents});
  episodes.steps = operands.ints({&s.episodes});
  if (operands.ok() && episodes.places.first.empty()) episodes.places = side_by_side(s.episodes);
  return episodes;
}

MixerNetwork read_mixer(Operands& operands, Table layers, MixerShape& s) {
  MixerNetwork net;
  operands.network(layers, 7);
  int64_t w1 = -1, one = 1;
  net.w1_hidden = operands.matrix(&s.hypernet, &s.state);
  net.w1_out = operands.matrix(&w1, &s.hypernet);
  net.w_final_hidden = operands.matrix(&s.hypernet, &s.state);
  net.w_final_out = operands.matrix(&s.embed, &s.hypernet);
  net.b1 = operands.matrix(&s.embed, &s.state);
  net.v_hidden = operands.matrix(&s.embed, &s.state);
  net.v_out = operands.matrix(&one, &s.embed);
  if (operands.ok() && w1 != s.agents * s.embed) operands.fail("w1 must have agents times embed rows");
  return net;
}

std::vector<const Matrix*> layers_of(const MixerNetwork& net) {
  return {&net.w1_hidden, &net.w1_out, &net.w_final_hidden, &net.w_final_out, &net.b1, &net.v_hidden, &net.v_out};
}

template <typename Number, ffi::DataType type>
MixerEpisodes<Number> read_states(Operands& operands, MixerShape& s) {
  MixerEpisodes<Number> episodes;
  int64_t times = -1;
  episodes.state = reinterpret_cast<const Number*>(operands.in<type>({&times, &s.episodes, &s.state}));
  episodes.utilities = operands.floats({&s.times, &s.episodes, &s.agents});
  episodes.rows = operands.ints({&s.episodes});
  if (operands.ok() && times < s.times) operands.fail("there are more utilities than states");
  check_batch(operands, {s.times, s.episodes, s.agents});
  if (operands.ok()) episodes.places = side_by_side(s.episodes);
  return episodes;
}

// The numbers of a method, in this order, all as floats.
constexpr int64_t kMethodNumbers = 9;

// A whole number that came as a float: none is read as another one.
void check_whole(Operands& operands, const char* name, float number, float most) {
  if (!operands.ok() || (number >= 0 && number <= most && number == std::floor(number))) return;
  operands.fail(std::string(name) + " must be a whole number from 0 to " +
                std::to_string(static_cast<int64_t>(most)));
}

// The method's numbers.
struct Means {
  Backup op;
  Returns returns;
};

Means read_method(Operands& operands) {
  const float* method = operands.finite_floats(kMethodNumbers);
  if (operands.ok()) {
    check_whole(operands, "the operator", method[0], 3);
    check_whole(operands, "n_step", method[7], 1 << 24);  // floats beyond skip whole numbers
  }
  if (!operands.ok()) return {};
  return {{static_cast<Operator>(static_cast<int>(method[0])), method[1] > 0, method[2], method[3], method[4]},
          {method[5], method[6], static_cast<int64_t>(method[7]), method[8] > 0}};
}

}  // namespace
}  // namespace mast
