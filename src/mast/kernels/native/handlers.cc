// The functions that XLA calls. Each reads its operands, checks every shape and structure, and runs a kernel. Those of
// battles, of layers and of single matrices have files of their own.
#include "agent_step.h"
#include "battle_handler.h"
#include "buffers.h"
#include "joint.h"
#include "layers_handlers.h"
#include "matrix_handlers.h"
#include "optimizer.h"
#include "reading.h"
#include "ring.h"
#include "team.h"

namespace mast {
namespace {

template <typename Number, ffi::DataType type>
ffi::Error agent_forward_as(Operands& operands, const ForEach& for_each, Table layers) {
  AgentShape s{-1, -1, -1, -1, -1, -1};
  const auto episodes = read_episodes<Number, type>(operands, s);
  int64_t steps = s.observations - 1;
  float* chosen = operands.out({&steps, &s.episodes, &s.agents});
  int64_t kept = -1;
  float* saved = operands.out({&kept});
  std::vector<AgentNetwork> networks;
  std::vector<float*> q;
  while (operands.ok() && operands.remaining() > 0) {
    s.hidden = -1;
    networks.push_back(read_agent(operands, layers, s));
    q.push_back(operands.out({&s.observations, &s.episodes, &s.agents, &s.actions}));
    if (networks.front().hidden.columns != s.hidden) operands.fail("networks of one width are expected");
    check_shared_alike(operands, s, networks.front(), networks.back());
  }
  if (networks.empty()) operands.fail("a network is expected");
  const int64_t copies = networks.empty() ? 1 : networks.front().copies;
  if (operands.complete() && kept > 0 && kept < static_cast<int64_t>(most_saved(s, copies))) operands.fail("too little room to save");
  if (!operands.ok()) return operands.error();
  agent_utilities(s, episodes, networks, chosen, q, kept > 0 ? saved : nullptr, for_each);
  return ffi::Error::Success();
}

ffi::Error AgentForward(ffi::ThreadPool pool, ffi::RemainingArgs args, ffi::RemainingRets results, Table layers,
                        int64_t threads) {
  Operands operands(args, results);
  const ForEach for_each = for_each_on(pool, threads);
  return operands.next_is_half() ? agent_forward_as<uint16_t, ffi::F16>(operands, for_each, layers)
                                 : agent_forward_as<float, ffi::F32>(operands, for_each, layers);
}

template <typename Number, ffi::DataType type>
ffi::Error agent_backward_as(Operands& operands, const ForEach& for_each, Table layers) {
  AgentShape s{-1, -1, -1, -1, -1, -1};
  const auto episodes = read_episodes<Number, type>(operands, s);
  int64_t steps = s.observations - 1, kept = -1;
  const float* d_chosen = operands.floats({&steps, &s.episodes, &s.agents});
  const float* saved = operands.floats({&kept});
  const AgentNetwork net = read_agent(operands, layers, s);
  const auto g = operands.gradients({&net.fc1, &net.input, &net.hidden, &net.fc2});
  if (operands.complete() && kept < static_cast<int64_t>(most_saved(s, net.copies))) operands.fail("too little was saved");
  if (!operands.ok()) return operands.error();
  const Lanes lanes(s, episodes.steps, episodes.places, net);
  agent_backward(s, episodes, lanes, plans_of(net, lanes.stride), saved, d_chosen, {g[0], g[1], g[2], g[3]},
                 for_each);
  return ffi::Error::Success();
}

ffi::Error AgentBackward(ffi::ThreadPool pool, ffi::RemainingArgs args, ffi::RemainingRets results, Table layers,
                        int64_t threads) {
  Operands operands(args, results);
  const ForEach for_each = for_each_on(pool, threads);
  return operands.next_is_half() ? agent_backward_as<uint16_t, ffi::F16>(operands, for_each, layers)
                                 : agent_backward_as<float, ffi::F32>(operands, for_each, layers);
}

template <typename Number, ffi::DataType type>
ffi::Error agent_step_as(Operands& operands, const ForEach& for_each, Table layers) {
  AgentShape s{1, -1, -1, -1, -1, -1};
  const auto* observation =
      reinterpret_cast<const Number*>(operands.in<type>({&s.episodes, &s.agents, &s.features}));
  const int32_t* last_action = operands.ints({&s.episodes, &s.agents});
  const float* hidden = operands.floats({&s.episodes, &s.agents, &s.hidden});
  check_batch(operands, {s.episodes, s.agents});
  const AgentNetwork net = read_agent(operands, layers, s);
  float* q = operands.out({&s.episodes, &s.agents, &s.actions});
  float* next_hidden = operands.out({&s.episodes, &s.agents, &s.hidden});
  if (!operands.complete()) return operands.error();
  agent_step(s, observation, last_action, hidden, net, q, next_hidden, for_each);
  return ffi::Error::Success();
}

ffi::Error AgentStep(ffi::ThreadPool pool, ffi::RemainingArgs args, ffi::RemainingRets results, Table layers,
                        int64_t threads) {
  Operands operands(args, results);
  const ForEach for_each = for_each_on(pool, threads);
  return operands.next_is_half() ? agent_step_as<uint16_t, ffi::F16>(operands, for_each, layers)
                                 : agent_step_as<float, ffi::F32>(operands, for_each, layers);
}

template <typename Number, ffi::DataType type>
ffi::Error mixer_forward_as(Operands& operands, const ForEach& for_each, Table layers) {
  MixerShape s{-1, -1, -1, -1, -1, -1};
  const auto episodes = read_states<Number, type>(operands, s);
  const MixerNetwork net = read_mixer(operands, layers, s);
  float* q_tot = operands.out({&s.times, &s.episodes});
  if (!operands.complete()) return operands.error();
  mixer_forward(s, episodes, net, q_tot, for_each);
  return ffi::Error::Success();
}

ffi::Error MixerForward(ffi::ThreadPool pool, ffi::RemainingArgs args, ffi::RemainingRets results, Table layers,
                        int64_t threads) {
  Operands operands(args, results);
  const ForEach for_each = for_each_on(pool, threads);
  return operands.next_is_half() ? mixer_forward_as<uint16_t, ffi::F16>(operands, for_each, layers)
                                 : mixer_forward_as<float, ffi::F32>(operands, for_each, layers);
}

template <typename Number, ffi::DataType type>
ffi::Error mixer_backward_as(Operands& operands, const ForEach& for_each, Table layers) {
  MixerShape s{-1, -1, -1, -1, -1, -1};
  const auto episodes = read_states<Number, type>(operands, s);
  const float* d_q_tot = operands.floats({&s.times, &s.episodes});
  const MixerNetwork net = read_mixer(operands, layers, s);
  float* d_utilities = operands.out({&s.times, &s.episodes, &s.agents});
  const auto gradients = operands.gradients(layers_of(net));
  if (!operands.complete()) return operands.error();
  mixer_backward(s, episodes, net, d_q_tot, d_utilities, gradients, for_each);
  return ffi::Error::Success();
}

ffi::Error MixerBackward(ffi::ThreadPool pool, ffi::RemainingArgs args, ffi::RemainingRets results, Table layers,
                        int64_t threads) {
  Operands operands(args, results);
  const ForEach for_each = for_each_on(pool, threads);
  return operands.next_is_half() ? mixer_backward_as<uint16_t, ffi::F16>(operands, for_each, layers)
                                 : mixer_backward_as<float, ffi::F32>(operands, for_each, layers);
}

ffi::Error JointValues(ffi::ThreadPool pool, ffi::RemainingArgs args, ffi::RemainingRets results, Table layers,
                       int64_t threads) {
  Operands operands(args, results);
  MixerShape s{-1, -1, -1, -1, -1, -1};
  int64_t actions = -1;
  JointEpisodes episodes;
  episodes.state = operands.floats({&s.times, &s.episodes, &s.state});
  episodes.rows = operands.ints({&s.episodes});
  episodes.online = operands.floats({&s.times, &s.episodes, &s.agents, &actions});
  episodes.target = operands.floats({&s.times, &s.episodes, &s.agents, &actions});
  episodes.available = operands.bools({&s.times, &s.episodes, &s.agents, &actions});
  check_batch(operands, {s.times, s.episodes, s.agents, actions});
  const float* method = operands.finite_floats(2);
  const MixerNetwork online = read_mixer(operands, layers, s), target = read_mixer(operands, layers, s);
  float* value = operands.out({&s.times, &s.episodes});
  if (!operands.complete()) return operands.error();
  joint_softmax_values(s, actions, episodes, online, target, {method[0], method[1] > 0}, value,
                       for_each_on(pool, threads));
  return ffi::Error::Success();
}

// A team's networks, the states that its mixer reads, and where loss and gradient go.
template <typename Number>
struct TeamOperands {
  Mixing mixing = Mixing::kNone;
  TeamNetworks online, target;
  MixerShape mixer{-1, -1, -1, -1, -1, -1};
  const Number* state = nullptr;  // [rows, columns, state]
  float* told = nullptr;
  TeamGradient gradient;
};

template <typename Number, ffi::DataType type>
TeamOperands<Number> read_team(Operands& operands, Table layers, int64_t mixing, AgentShape& s, int64_t rows,
                               int64_t columns) {
  TeamOperands<Number> team;
  int64_t metrics = 4;
  team.told = operands.out({&metrics});
  const size_t of_agent = std::min<size_t>(layers.size(), 12);
  if (mixing < 0 || mixing > static_cast<int64_t>(Mixing::kMonotonic)) operands.fail("there is no such mixing");
  const Table agent_layers(layers.begin(), of_agent), mixer_layers(layers.begin() + of_agent, layers.size() - of_agent);
  team.online.agent = read_agent(operands, agent_layers, s);
  team.target.agent = read_agent(operands, agent_layers, s);
  check_shared_alike(operands, s, team.online.agent, team.target.agent);
  const AgentNetwork& a = team.online.agent;
  const auto g = operands.gradients({&a.fc1, &a.input, &a.hidden, &a.fc2});
  team.mixer.episodes = s.episodes;
  team.mixer.agents = s.agents;
  if (mixing == static_cast<int64_t>(Mixing::kMonotonic)) {
    team.state = reinterpret_cast<const Number*>(operands.in<type>({&rows, &columns, &team.mixer.state}));
    team.online.mixer = read_mixer(operands, mixer_layers, team.mixer);
    team.target.mixer = read_mixer(operands, mixer_layers, team.mixer);
    team.gradient.mixer = operands.gradients(layers_of(team.online.mixer));
  } else if (mixer_layers.size() > 0) {
    operands.fail("layers of a mixer that is not there");
  }
  if (!operands.complete()) return team;
  team.mixing = static_cast<Mixing>(mixing);
  team.gradient.agent = {g[0], g[1], g[2], g[3]};
  return team;
}

template <typename Number>
ffi::Error learn(const AgentShape& s, const AgentEpisodes<Number>& episodes, const Outcomes& outcomes,
                 const Means& means, const TeamOperands<Number>& team, const ForEach& for_each) {
  const TeamMetrics told = team_gradient(s, episodes, outcomes, team.mixing, team.mixer, team.state, team.online,
                                         team.target, means.op, means.returns, team.gradient, for_each);
  std::memcpy(team.told, &told, sizeof told);
  return ffi::Error::Success();
}

template <typename Number, ffi::DataType type>
ffi::Error team_gradient_as(Operands& operands, const ForEach& for_each, Table layers, int64_t mixing) {
  AgentShape s{-1, -1, -1, -1, -1, -1};
  if (operands.next_axes() != 4) return operands.fail("another number of axes is expected"), operands.error();
  const auto episodes = read_episodes<Number, type>(operands, s);
  int64_t steps = s.observations - 1;
  if (operands.ok() && steps < 1) operands.fail("a batch without steps");
  const bool* available = operands.bools({&s.observations, &s.episodes, &s.agents, &s.actions});
  const Outcomes outcomes{{available, nullptr}, operands.floats({&steps, &s.episodes}),
                          operands.bools({&steps, &s.episodes})};
  const Means means = read_method(operands);
  const auto team = read_team<Number, type>(operands, layers, mixing, s, s.observations, s.episodes);
  return operands.ok() ? learn(s, episodes, outcomes, means, team, for_each) : operands.error();
}

ffi::Error TeamGradientOf(ffi::ThreadPool pool, ffi::RemainingArgs args, ffi::RemainingRets results, Table layers,
                          int64_t threads, int64_t mixing) {
  Operands operands(args, results);
  const ForEach for_each = for_each_on(pool, threads);
  return operands.next_is_half() ? team_gradient_as<uint16_t, ffi::F16>(operands, for_each, layers, mixing)
                                 : team_gradient_as<float, ffi::F32>(operands, for_each, layers, mixing);
}

template <typename Number, ffi::DataType type, typename Action, ffi::DataType action_type>
ffi::Error ring_gradient_as(Operands& operands, const ForEach& for_each, Table layers, int64_t mixing) {
  AgentShape s{-1, -1, -1, -1, -1, -1};
  RingAxes ring;
  int64_t limit = -1, packed = -1, one = 1;
  const auto* observation = reinterpret_cast<const Number*>(operands.in<type>({&ring.capacity, &ring.rows, &ring.width}));
  const auto* action = operands.in<action_type>({&ring.capacity, &limit, &s.agents});
  share_among_agents(operands, ring, s);
  if (operands.ok() && ring.rows != limit + 1) operands.fail("a slot has one observation more than actions");
  const uint8_t* available = operands.in<ffi::U8>({&ring.capacity, &ring.rows, &packed});
  const float* reward = operands.floats({&ring.capacity, &limit, &one});
  const int32_t* slots = operands.ints_from("slot", 0, ring.capacity - 1, &s.episodes);
  const int32_t* steps = operands.ints_from("number of steps", 1, limit, &s.episodes);
  const bool* terminated = operands.bools({&s.episodes});
  if (operands.ok() && s.episodes < 1) operands.fail("an empty batch");
  const int64_t times = operands.ok() ? *std::max_element(steps, steps + s.episodes) : 0;
  s.observations = times + 1;
  check_batch(operands, {s.observations, s.episodes, s.agents});
  const Means means = read_method(operands);
  const auto team = read_team<Number, type>(operands, layers, mixing, s, ring.capacity, ring.rows);
  if (operands.ok() && packed != packed_width(s.agents, s.actions)) operands.fail("what is available does not fit");
  if (!operands.ok()) return operands.error();
  const SideBySide small(RingSteps<Action>{limit, s.agents, s.episodes, action, reward, slots, steps, terminated}, times);
  const AgentEpisodes<Number> episodes{observation, small.action.data(), steps, in_slots(slots, s.episodes, ring.rows)};
  const Outcomes outcomes{{nullptr, available}, small.reward.data(), small.terminated.get()};
  return learn(s, episodes, outcomes, means, team, for_each);
}

ffi::Error RingGradient(ffi::ThreadPool pool, ffi::RemainingArgs args, ffi::RemainingRets results, Table layers,
                        int64_t threads, int64_t mixing) {
  Operands operands(args, results);
  const ForEach for_each = for_each_on(pool, threads);
  const bool small = operands.is_of(ffi::U8, 1);  // actions
  if (operands.next_is_half()) {
    return small ? ring_gradient_as<uint16_t, ffi::F16, uint8_t, ffi::U8>(operands, for_each, layers, mixing)
                 : ring_gradient_as<uint16_t, ffi::F16, int16_t, ffi::S16>(operands, for_each, layers, mixing);
  }
  return small ? ring_gradient_as<float, ffi::F32, uint8_t, ffi::U8>(operands, for_each, layers, mixing)
               : ring_gradient_as<float, ffi::F32, int16_t, ffi::S16>(operands, for_each, layers, mixing);
}

ffi::Error RmsPropStep(ffi::RemainingArgs args, ffi::RemainingRets results, float decay, float epsilon,
                       float largest_norm) {
  Operands operands(args, results);
  const float* learning_rate = operands.floats({});
  std::vector<Slots> all;
  while (operands.ok() && operands.remaining() > 0) {
    Slots s{-1, nullptr, nullptr, nullptr, nullptr, nullptr};
    s.parameters = operands.floats({&s.size});
    s.gradient = operands.floats({&s.size});
    s.second_moment = operands.floats({&s.size});
    s.new_parameters = operands.out({&s.size});
    s.new_second_moment = operands.out({&s.size});
    all.push_back(s);
  }
  float* norm = operands.out({});
  if (!operands.complete()) return operands.error();
  *norm = clipped_step({*learning_rate, decay, epsilon, largest_norm}, all);
  return ffi::Error::Success();
}

// A handler that answers with an error where memory does not suffice: no exception may pass through XLA.
template <typename... Operand>
auto guarded(ffi::Error (*handler)(Operand...)) {
  return [handler](Operand... operand) {
    try {
      return handler(operand...);
    } catch (const std::bad_alloc&) {
    } catch (const std::length_error&) {
    }
    return ffi::Error(ffi::ErrorCode::kResourceExhausted, "mast kernels: not enough memory for the batch");
  };
}

}  // namespace

// How many floats the agent's forward pass saves at most: Python allots them. 0 for what is refused, there or here.
extern "C" int64_t mast_agent_saved_size(int64_t observations, int64_t lanes, int64_t hidden, int64_t networks) {
  if (observations < 1 || lanes < 1 || hidden < 0 || networks < 1 || hidden > kMostOffsets ||
      !can_be_numbered({observations, lanes, networks})) {
    return 0;
  }
  return static_cast<int64_t>(most_saved({observations, lanes, 1, 0, 0, hidden}, networks));
}

auto binding() {
  return ffi::Ffi::Bind()
      .Ctx<ffi::ThreadPool>()
      .RemainingArgs()
      .RemainingRets()
      .Attr<Table>("layers")
      .Attr<int64_t>("threads");
}

XLA_FFI_DEFINE_HANDLER_SYMBOL(mast_agent_forward, guarded(AgentForward), binding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(mast_agent_backward, guarded(AgentBackward), binding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(mast_agent_step, guarded(AgentStep), binding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(mast_mixer_forward, guarded(MixerForward), binding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(mast_mixer_backward, guarded(MixerBackward), binding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(mast_joint_values, guarded(JointValues), binding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(mast_team_gradient, guarded(TeamGradientOf), binding().Attr<int64_t>("mixing"));
XLA_FFI_DEFINE_HANDLER_SYMBOL(mast_ring_gradient, guarded(RingGradient), binding().Attr<int64_t>("mixing"));
XLA_FFI_DEFINE_HANDLER_SYMBOL(mast_rmsprop_step, guarded(RmsPropStep),
                              ffi::Ffi::Bind()
                                  .RemainingArgs()
                                  .RemainingRets()
                                  .Attr<float>("decay")
                                  .Attr<float>("epsilon")
                                  .Attr<float>("largest_norm"));
XLA_FFI_DEFINE_HANDLER_SYMBOL(mast_layers_forward, guarded(LayersForward), binding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(mast_layers_backward, guarded(LayersBackward), binding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(mast_battle_step, guarded(BattleStep),
                              ffi::Ffi::Bind()
                                  .RemainingArgs()
                                  .RemainingRets()
                                  .Attr<Table>("sizes")
                                  .Attr<ffi::Span<const float>>("numbers"));

auto matrix_binding() {
  return ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().RemainingArgs().RemainingRets().Attr<int64_t>("threads");
}

XLA_FFI_DEFINE_HANDLER_SYMBOL(mast_matrix_product, guarded(MatrixProduct), matrix_binding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(mast_matrix_transposed_product, guarded(MatrixTransposedProduct), matrix_binding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(mast_matrix_gradient, guarded(MatrixGradient), matrix_binding());

}  // namespace mast
