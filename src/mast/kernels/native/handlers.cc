// The functions that XLA calls. Each reads its operands, checks every shape and structure, and runs a kernel.
#include "agent_backward.h"
#include "buffers.h"

namespace mast {
namespace {

AgentNetwork read_agent(Operands& operands, AgentShape& s) {
  AgentNetwork net;
  int64_t inputs = s.inputs();
  net.fc1 = operands.matrix(&s.hidden, &inputs);
  int64_t gates = s.hidden == -1 ? -1 : 3 * s.hidden;
  net.input = operands.matrix(&gates, &s.hidden);
  net.hidden = operands.matrix(&gates, &s.hidden);
  net.fc2 = operands.matrix(&s.actions, &s.hidden);
  return net;
}

template <typename Number, ffi::DataType type>
AgentEpisodes<Number> read_episodes(Operands& operands, AgentShape& s) {
  AgentEpisodes<Number> episodes;
  episodes.observation = reinterpret_cast<const Number*>(
      operands.in<type>({&s.observations, &s.episodes, &s.agents, &s.features}));
  int64_t steps = s.observations - 1;
  episodes.action = operands.ints({&steps, &s.episodes, &s.agents});
  episodes.steps = operands.ints({&s.episodes});
  return episodes;
}

template <typename Number, ffi::DataType type>
ffi::Error agent_forward_as(Operands& operands, const ForEach& for_each, int64_t actions) {
  AgentShape s{-1, -1, -1, -1, actions, -1};
  const auto episodes = read_episodes<Number, type>(operands, s);
  int64_t steps = s.observations - 1;
  float* chosen = operands.out({&steps, &s.episodes, &s.agents});
  int64_t kept = -1;
  float* saved = operands.out({&kept});
  std::vector<AgentNetwork> networks;
  std::vector<float*> q;
  while (operands.ok() && operands.remaining() > 0) {
    s.hidden = -1;
    networks.push_back(read_agent(operands, s));
    q.push_back(operands.out({&s.observations, &s.episodes, &s.agents, &s.actions}));
    if (networks.front().hidden.columns != s.hidden) operands.fail("networks of one width are expected");
  }
  if (networks.empty()) operands.fail("a network is expected");
  if (!operands.ok()) return operands.error();
  if (kept > 0 && kept < static_cast<int64_t>(agent_saved_size(s))) operands.fail("too little room to save");
  if (!operands.ok()) return operands.error();
  agent_forward(s, episodes, networks, chosen, q, kept > 0 ? saved : nullptr, for_each);
  return ffi::Error::Success();
}

ffi::Error AgentForward(ffi::ThreadPool pool, ffi::RemainingArgs args, ffi::RemainingRets results, int64_t actions,
                        int64_t threads) {
  Operands operands(args, results);
  const ForEach for_each = for_each_on(pool, static_cast<int>(threads));
  return operands.next_is_half() ? agent_forward_as<uint16_t, ffi::F16>(operands, for_each, actions)
                                 : agent_forward_as<float, ffi::F32>(operands, for_each, actions);
}

template <typename Number, ffi::DataType type>
ffi::Error agent_backward_as(Operands& operands, const ForEach& for_each, int64_t actions) {
  AgentShape s{-1, -1, -1, -1, actions, -1};
  const auto episodes = read_episodes<Number, type>(operands, s);
  int64_t steps = s.observations - 1, kept = -1;
  const float* d_chosen = operands.floats({&steps, &s.episodes, &s.agents});
  const float* saved = operands.floats({&kept});
  const AgentNetwork net = read_agent(operands, s);
  const auto gradient = [&](const Matrix& m) {
    int64_t entries = m.entries, rows = m.rows;
    float* values = operands.out({&entries});
    return Gradient{values, operands.out({&rows})};
  };
  AgentGradient out{gradient(net.fc1), gradient(net.input), gradient(net.hidden), gradient(net.fc2)};
  if (operands.ok() && kept < static_cast<int64_t>(agent_saved_size(s))) operands.fail("too little was saved");
  if (!operands.ok()) return operands.error();
  agent_backward(s, episodes, net, saved, d_chosen, out, for_each);
  return ffi::Error::Success();
}

ffi::Error AgentBackward(ffi::ThreadPool pool, ffi::RemainingArgs args, ffi::RemainingRets results,
                         int64_t actions, int64_t threads) {
  Operands operands(args, results);
  const ForEach for_each = for_each_on(pool, static_cast<int>(threads));
  return operands.next_is_half() ? agent_backward_as<uint16_t, ffi::F16>(operands, for_each, actions)
                                 : agent_backward_as<float, ffi::F32>(operands, for_each, actions);
}

}  // namespace

// How many floats the agent's forward pass saves: Python allots them.
extern "C" int64_t mast_agent_saved_size(int64_t observations, int64_t lanes, int64_t hidden) {
  return static_cast<int64_t>(agent_saved_size({observations, lanes, 1, 0, 0, hidden}));
}

#define MAST_HANDLER(name, function)                                                    \
  XLA_FFI_DEFINE_HANDLER_SYMBOL(name, function,                                         \
                                ffi::Ffi::Bind()                                        \
                                    .Ctx<ffi::ThreadPool>()                             \
                                    .RemainingArgs()                                    \
                                    .RemainingRets()                                    \
                                    .Attr<int64_t>("actions")                           \
                                    .Attr<int64_t>("threads"))

MAST_HANDLER(mast_agent_forward, AgentForward);
MAST_HANDLER(mast_agent_backward, AgentBackward);

}  // namespace mast
