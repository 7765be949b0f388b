// Every function that XLA calls, with operands that do not fit, under the sanitizers: calls that are right, and the
// same with something spoiled (a size, a type, an axis, a place, a count, a number of the method, an attribute).
// Each buffer is exactly as long as its shape says. A call may succeed or answer with an error; it may not touch
// what is not its own. No XLA is needed: the call frame is made by hand.
//
//     make sanitize

#include <array>
#include <cstdio>
#include <cstdlib>
#include <map>

#include "call_frame.h"
#include "handlers.cc"

namespace {

// A random sparse network, whose table and operands are added to a call, twice where it takes two of one shape.
struct Network {
  std::vector<std::array<int64_t, 2>> shapes;
  std::vector<std::vector<bool>> masks;
  int64_t numbers = 0, places = 0;
  std::vector<int64_t> neurons{};  // the axes of which neurons each agent has; none: all
  std::vector<int32_t> network_of{};
  bool is_shared_out = false;  // whether `network_of` says which of several networks each agent uses

  explicit Network(std::vector<std::array<int64_t, 2>> all) : shapes(std::move(all)) {
    const int64_t percent = one_of<int64_t>({0, 30, 100});
    for (const auto& [rows, columns] : shapes) {
      std::vector<bool> mask(rows * columns);
      for (size_t i = 0; i < mask.size(); ++i) mask[i] = below(100) < percent;
      const int64_t active = std::count(mask.begin(), mask.end(), true);
      numbers += active + rows;
      places += active + rows + 1;
      masks.push_back(mask);
    }
  }
  void add_table(Call& call) const {
    for (size_t i = 0; i < shapes.size(); ++i) {
      for (int64_t number : {shapes[i][0], shapes[i][1], std::count(masks[i].begin(), masks[i].end(), true)}) {
        call.table.push_back(number);
      }
    }
  }
  void add_operands(Call& call) const {
    call.operands.push_back(made(F32, {numbers}));
    call.structures.push_back(call.operands.size());
    Buffer structure = made(S32, {places});
    int32_t* next = structure.as<int32_t>();
    for (size_t i = 0; i < shapes.size(); ++i) {
      const auto [rows, columns] = shapes[i];
      int32_t *pointers = next, *column = next + rows + 1;
      pointers[0] = 0;
      for (int64_t r = 0; r < rows; ++r) {
        pointers[r + 1] = pointers[r];
        for (int64_t c = 0; c < columns; ++c) {
          if (!masks[i][r * columns + c]) continue;
          *column++ = static_cast<int32_t>(c);
          ++pointers[r + 1];
        }
      }
      next = column;
    }
    call.operands.push_back(std::move(structure));
    if (is_shared_out) {
      Buffer users = made(S32, {static_cast<int64_t>(network_of.size())});
      std::copy(network_of.begin(), network_of.end(), users.as<int32_t>());
      call.counts.push_back(call.operands.size());
      call.operands.push_back(std::move(users));
    }
    if (!neurons.empty()) call.operands.push_back(made(PRED, neurons));
  }
};

struct Sizes {
  int64_t times = between(0, 4), episodes = between(1, 9), agents = between(1, 3), features = between(0, 20),
          actions = between(1, 5), hidden = between(1, 9), state = between(1, 20), hypernet = between(1, 5),
          embed = between(1, 4), copies = between(1, 4);
  XLA_FFI_DataType half = one_of({F32, XLA_FFI_DataType_F16});
  bool has_ids = below(2), lacks = below(2), is_shared_out = below(2);

  Sizes() {
    if (!is_shared_out) copies = 1;
    if (below(20) == 0) *one_of({&times, &episodes, &agents, &features, &actions, &hidden, &state, &embed}) = 0;
  }
  bool some_empty() const { return times * episodes * agents * actions * hidden * state * embed == 0; }
  Network agent() const {
    const int64_t inputs = features + actions + (has_ids ? agents : 0);
    Network net({{copies * hidden, inputs},
                 {copies * 3 * hidden, hidden},
                 {copies * 3 * hidden, hidden},
                 {copies * actions, hidden}});
    net.is_shared_out = is_shared_out;
    for (int64_t a = 0; is_shared_out && a < agents; ++a) net.network_of.push_back(static_cast<int32_t>(below(copies)));
    if (lacks) net.neurons = {2, agents, hidden};
    return net;
  }
  Network mixer() const {
    return Network({{hypernet, state}, {agents * embed, hypernet}, {hypernet, state}, {embed, hypernet}, {embed, state},
                    {embed, state}, {1, embed}});
  }
};

void add_counts(Call& call, Buffer b) {
  call.counts.push_back(call.operands.size());
  call.operands.push_back(std::move(b));
}

void add_episodes(Call& call, const Sizes& s) {
  call.operands.push_back(made(s.half, {s.times + 1, s.episodes, s.agents, s.features}));
  add_counts(call, made(S32, {s.times, s.episodes, s.agents}));
  add_counts(call, made(S32, {s.episodes}));
}

// Numbers from `least` to `most`, as slots and steps are.
Buffer counts(int64_t count, int64_t least, int64_t most) {
  Buffer b = made(S32, {count});
  for (int64_t i = 0; i < b.count(); ++i) b.as<int32_t>()[i] = static_cast<int32_t>(between(least, std::max(least, most)));
  return b;
}

// Slots of a ring, of `times` steps and now and then more.
struct Ring {
  int64_t capacity = between(1, 5), limit;
  explicit Ring(const Sizes& s) : limit(s.times + between(0, 2)) {}
};

void add_stored_episodes(Call& call, const Sizes& s) {
  const Ring ring(s);
  call.operands.push_back(made(s.half, {ring.capacity, ring.limit + 1, s.agents * s.features}));
  add_counts(call, counts(s.episodes, 0, ring.capacity - 1));
  add_counts(call, made(S32, {s.times, s.episodes, s.agents}));
  add_counts(call, made(S32, {s.episodes}));
}

Call agent_forward() {
  const Sizes s;
  Call c{"agent_forward", mast::mast_agent_forward};
  if (below(2)) add_episodes(c, s); else add_stored_episodes(c, s);
  const Network net = s.agent();
  net.add_table(c);
  const int64_t saved = mast::mast_agent_saved_size(s.times + 1, s.episodes * s.agents, s.hidden, s.copies);
  c.results.push_back(made(F32, {s.times, s.episodes, s.agents}));
  c.results.push_back(made(F32, {below(2) ? saved : 0}));
  for (int64_t i = between(1, 2); i > 0; --i) {
    net.add_operands(c);
    c.results.push_back(made(F32, {s.times + 1, s.episodes, s.agents, s.actions}));
  }
  c.may_be_refused = s.some_empty();
  return c;
}

Call agent_backward() {
  const Sizes s;
  Call c{"agent_backward", mast::mast_agent_backward};
  if (below(2)) add_episodes(c, s); else add_stored_episodes(c, s);
  c.operands.push_back(made(F32, {s.times, s.episodes, s.agents}));
  c.operands.push_back(made(F32, {mast::mast_agent_saved_size(s.times + 1, s.episodes * s.agents, s.hidden, s.copies)}));
  const Network net = s.agent();
  net.add_table(c);
  net.add_operands(c);
  c.results.push_back(made(F32, {net.numbers}));
  c.may_be_refused = s.some_empty();
  return c;
}

Call agent_step() {
  const Sizes s;
  Call c{"agent_step", mast::mast_agent_step};
  c.operands.push_back(made(s.half, {s.episodes, s.agents, s.features}));
  add_counts(c, made(S32, {s.episodes, s.agents}));
  c.operands.push_back(made(F32, {s.episodes, s.agents, s.hidden}));
  const Network net = s.agent();
  net.add_table(c);
  net.add_operands(c);
  c.results.push_back(made(F32, {s.episodes, s.agents, s.actions}));
  c.results.push_back(made(F32, {s.episodes, s.agents, s.hidden}));
  c.may_be_refused = s.is_shared_out && s.hidden == 0;
  return c;
}

Call mixer(bool backward) {
  const Sizes s;
  Call c{backward ? "mixer_backward" : "mixer_forward",
         backward ? mast::mast_mixer_backward : mast::mast_mixer_forward};
  c.operands.push_back(made(s.half, {s.times + below(2), s.episodes, s.state}));
  c.operands.push_back(made(F32, {s.times, s.episodes, s.agents}));
  add_counts(c, made(S32, {s.episodes}));
  if (backward) c.operands.push_back(made(F32, {s.times, s.episodes}));
  const Network net = s.mixer();
  net.add_table(c);
  net.add_operands(c);
  if (backward) {
    c.results.push_back(made(F32, {s.times, s.episodes, s.agents}));
    c.results.push_back(made(F32, {net.numbers}));
  } else {
    c.results.push_back(made(F32, {s.times, s.episodes}));
  }
  return c;
}

Call joint_values() {
  const Sizes s;
  Call c{"joint_values", mast::mast_joint_values};
  const std::vector<int64_t> all{s.times, s.episodes, s.agents, s.actions};
  c.operands.push_back(made(F32, {s.times, s.episodes, s.state}));
  add_counts(c, made(S32, {s.episodes}));
  c.operands.push_back(made(F32, all));
  c.operands.push_back(made(F32, all));
  c.operands.push_back(made(PRED, all));
  c.methods.push_back(c.operands.size());
  c.operands.push_back(made(F32, {2}));
  const Network net = s.mixer();
  net.add_table(c);
  net.add_operands(c);
  net.add_operands(c);
  c.results.push_back(made(F32, {s.times, s.episodes}));
  return c;
}

// The method, the networks and the states [rows, columns, …] of a team's call.
void add_team(Call& c, const Sizes& s, int64_t rows, int64_t columns) {
  Buffer method = made(F32, {9});
  const float numbers[9] = {float(below(4)), float(below(2)), 1, 10, 5, 0.99f, 0.8f, float(below(9)), float(below(2))};
  std::copy(numbers, numbers + 9, method.as<float>());
  c.methods.push_back(c.operands.size());
  c.operands.push_back(std::move(method));
  const Network agent = s.agent();
  agent.add_table(c);
  agent.add_operands(c);
  agent.add_operands(c);
  c.results.push_back(made(F32, {4}));
  c.results.push_back(made(F32, {agent.numbers}));
  c.takes_mixing = true;
  c.mixing = below(3);
  if (c.mixing == 2) {
    const Network mixer = s.mixer();
    mixer.add_table(c);
    c.operands.push_back(made(s.half, {rows, columns, s.state}));
    mixer.add_operands(c);
    mixer.add_operands(c);
    c.results.push_back(made(F32, {mixer.numbers}));
  }
  c.may_be_refused = s.some_empty();
}

Call team_gradient() {
  const Sizes s;
  Call c{"team_gradient", mast::mast_team_gradient};
  add_episodes(c, s);
  c.operands.push_back(made(PRED, {s.times + 1, s.episodes, s.agents, s.actions}));
  c.operands.push_back(made(F32, {s.times, s.episodes}));
  c.operands.push_back(made(PRED, {s.times, s.episodes}));
  add_team(c, s, s.times + 1, s.episodes);
  return c;
}

Call ring_gradient() {
  const Sizes s;
  const Ring ring(s);
  Call c{"ring_gradient", mast::mast_ring_gradient};
  const int64_t rows = ring.limit + 1;
  c.operands.push_back(made(s.half, {ring.capacity, rows, s.agents * s.features}));
  c.operands.push_back(made(one_of({XLA_FFI_DataType_U8, XLA_FFI_DataType_S16}), {ring.capacity, ring.limit, s.agents}));
  c.operands.push_back(made(XLA_FFI_DataType_U8, {ring.capacity, rows, (s.agents * s.actions + 7) / 8}));
  c.operands.push_back(made(F32, {ring.capacity, ring.limit, 1}));
  add_counts(c, counts(s.episodes, 0, ring.capacity - 1));
  add_counts(c, counts(s.episodes, 1, ring.limit));
  c.operands.push_back(made(PRED, {s.episodes}));
  add_team(c, s, ring.capacity, rows);
  c.may_be_refused |= ring.limit == 0;
  return c;
}

Call rmsprop_step() {
  Call c{"rmsprop_step", mast::mast_rmsprop_step};
  c.takes_table = false;
  c.operands.push_back(made(F32, {}));  // the learning rate
  for (int64_t i = between(0, 3); i > 0; --i) {
    const int64_t size = between(0, 40);
    for (int k = 0; k < 3; ++k) c.operands.push_back(made(F32, {size}));
    for (int k = 0; k < 2; ++k) c.results.push_back(made(F32, {size}));
  }
  c.results.push_back(made(F32, {}));
  return c;
}

Call layers(bool backward) {
  const int64_t times = between(0, 5), episodes = between(0, 9), inputs = between(0, 30);
  Call c{backward ? "layers_backward" : "layers_forward",
         backward ? mast::mast_layers_backward : mast::mast_layers_forward};
  std::vector<std::array<int64_t, 2>> shapes;
  int64_t outputs = inputs;
  for (int64_t i = between(1, 3); i > 0; --i) {
    const int64_t rows = between(0, 20);
    shapes.push_back({rows, outputs});
    outputs = rows;
  }
  const Network net(shapes);
  c.operands.push_back(made(F32, {times, episodes, inputs}));
  add_counts(c, made(S32, {episodes}));
  if (backward) c.operands.push_back(made(F32, {times, episodes, outputs}));
  net.add_table(c);
  net.add_operands(c);
  c.results.push_back(made(F32, {times, episodes, backward ? inputs : outputs}));
  if (backward) c.results.push_back(made(F32, {net.numbers}));
  return c;
}

// Battles, as many as two leading axes say, every other one of extended rules; `table` has their sizes.
Call battle_step() {
  const int64_t allies = between(1, 5), enemies = between(1, 6), types = between(1, 4), units = allies + enemies;
  const std::vector<int64_t> lead = below(2) ? std::vector<int64_t>{between(0, 4)} : std::vector<int64_t>{2, between(0, 2)};
  const auto all = [&lead](XLA_FFI_DataType type, std::vector<int64_t> each) {
    each.insert(each.begin(), lead.begin(), lead.end());
    return made(type, std::move(each));
  };
  Call c{"battle_step", mast::mast_battle_step};
  c.takes_numbers = true;
  c.table = {allies, enemies, types, between(0, 3), between(0, 3)};
  const bool extended = below(2);
  const int64_t targets = extended ? between(1, 8) : enemies;
  if (extended) {
    c.table.push_back(targets);
    c.table.push_back(between(1, 8));
  }
  c.numbers = {4, 4, 0.0625f, 1, 10};
  for (int64_t i = 0; i < mast::kUnitTables * types + 2 * mast::kMoves; ++i) c.numbers.push_back(float(below(40)) / 10);
  for (int64_t i = 0; extended && i < mast::kExtendedNumbers; ++i) c.numbers.push_back(float(below(40)) / 10);
  // How wide a beam is and what it does to light units; then what a type is.
  for (int64_t i = 0; extended && i < 2 * types; ++i) c.numbers.push_back(float(below(4)));
  for (int64_t i = 0; extended && i < (mast::kExtendedTables - 2) * types; ++i) c.numbers.push_back(float(below(2)));
  c.operands.push_back(all(XLA_FFI_DataType_U32, {2}));
  c.operands.push_back(all(F32, {units, 2}));
  c.operands.push_back(all(PRED, {units}));
  c.operands.push_back(all(F32, {units}));
  Buffer kinds = all(XLA_FFI_DataType_U8, {units});
  for (int64_t i = 0; i < kinds.count(); ++i) kinds.raw[i] = static_cast<char>(below(types));
  c.operands.push_back(std::move(kinds));
  c.operands.push_back(all(F32, {units}));
  add_counts(c, all(S32, {}));
  c.operands.push_back(all(F32, {enemies, 2}));
  add_counts(c, all(S32, {enemies}));
  add_counts(c, all(S32, {allies}));
  if (extended) c.operands.push_back(all(PRED, {}));
  c.results.push_back(all(F32, {units, 2}));
  c.results.push_back(all(PRED, {units}));
  for (int k = 0; k < 2; ++k) c.results.push_back(all(F32, {units}));
  c.results.push_back(all(F32, {units, 2}));
  c.results.push_back(all(S32, {units}));
  c.results.push_back(all(F32, {enemies, 2}));
  c.results.push_back(all(S32, {enemies}));
  c.results.push_back(all(PRED, {}));
  c.results.push_back(all(F32, {}));
  c.results.push_back(all(F32, {allies, (units - 1) * (7 + types) + 4 + types}));
  c.results.push_back(all(F32, {(4 + types + 2) * units}));
  c.results.push_back(all(PRED, {allies, mast::kMoves + targets}));
  return c;
}

// A random matrix's structure by rows, or by columns with the places of its values.
void add_structure(Call& c, int64_t rows, int64_t columns, const std::vector<bool>& mask, bool by_columns) {
  std::vector<int32_t> pointers{0}, indices, places, place(mask.size(), 0);
  int32_t active = 0;
  for (size_t i = 0; i < mask.size(); ++i) {
    if (mask[i]) place[i] = active++;
  }
  for (int64_t a = 0; a < (by_columns ? columns : rows); ++a) {
    for (int64_t b = 0; b < (by_columns ? rows : columns); ++b) {
      const int64_t at = by_columns ? b * columns + a : a * columns + b;
      if (!mask[at]) continue;
      indices.push_back(static_cast<int32_t>(b));
      places.push_back(place[at]);
    }
    pointers.push_back(static_cast<int32_t>(indices.size()));
  }
  const auto add = [&](const std::vector<int32_t>& numbers) {
    c.structures.push_back(c.operands.size());
    c.operands.push_back(made(S32, {static_cast<int64_t>(numbers.size())}));
    std::copy(numbers.begin(), numbers.end(), c.operands.back().as<int32_t>());
  };
  add(pointers);
  add(indices);
  if (by_columns) add(places);
}

Call matrix(int which) {
  const int64_t batch = one_of<int64_t>({1, between(0, 40), between(0, 300)});
  const int64_t rows = between(0, 40), columns = between(0, 40);
  std::vector<bool> mask(rows * columns);
  const int64_t percent = one_of<int64_t>({0, 30, 100});
  for (size_t i = 0; i < mask.size(); ++i) mask[i] = below(100) < percent;
  const int64_t active = std::count(mask.begin(), mask.end(), true);
  constexpr std::array names{"matrix_product", "matrix_transposed_product", "matrix_gradient"};
  const std::array handlers{mast::mast_matrix_product, mast::mast_matrix_transposed_product,
                            mast::mast_matrix_gradient};
  Call c{names[which], handlers[which]};
  c.takes_table = false;
  c.takes_threads_only = true;
  c.threads = between(1, 4);
  c.operands.push_back(made(F32, {batch, which == 0 ? columns : rows}));
  c.operands.push_back(which == 2 ? made(F32, {batch, columns}) : made(F32, {active}));
  add_structure(c, rows, columns, mask, false);
  if (which == 1) add_structure(c, rows, columns, mask, true);
  c.results.push_back(which == 2 ? made(F32, {active}) : made(F32, {batch, which == 0 ? rows : columns}));
  return c;
}

// now + by, around the end of the numbers.
int64_t near(int64_t now, int64_t by) {
  return static_cast<int64_t>(static_cast<uint64_t>(now) + static_cast<uint64_t>(by));
}

int64_t odd_size(int64_t now) {
  constexpr int64_t k = 1;
  return one_of<int64_t>({near(now, 1), near(now, -1), 13, 0, 1, 7, 100, -1, -3, k << 30, k << 31, k << 32, k << 62,
                          std::numeric_limits<int64_t>::max(), std::numeric_limits<int64_t>::min()});
}

int32_t odd_int() {
  return one_of<int32_t>({-1, -2, 0, 1, 5, 100, 1 << 20, std::numeric_limits<int32_t>::max(),
                          std::numeric_limits<int32_t>::min()});
}

template <typename T>
size_t index_in(const std::vector<T>& all) { return below(static_cast<int64_t>(all.size())); }

// Makes one thing other than it was; false where that thing is not there, or would be too large.
bool spoil(Call& c) {
  std::vector<Buffer>& some = below(4) ? c.operands : c.results;
  if (some.empty()) return false;
  Buffer& buffer = some[index_in(some)];
  switch (below(13)) {
    case 0: case 1: {  // a size; an empty buffer may have a huge one
      if (buffer.dims.empty()) return false;
      int64_t& size = buffer.dims[index_in(buffer.dims)];
      size = std::max<int64_t>(odd_size(size), 0);
      if (below(3) == 0) buffer.dims[index_in(buffer.dims)] = 0;
      return buffer.allot();
    }
    case 2:
      buffer.type = one_of({F32, S32, PRED, XLA_FFI_DataType_F16, XLA_FFI_DataType_F64, XLA_FFI_DataType_U8,
                            XLA_FFI_DataType_S16});
      return buffer.allot();
    case 3: buffer.dims.push_back(between(0, 2)); return buffer.allot();
    case 4: if (!buffer.dims.empty()) buffer.dims.pop_back(); return buffer.allot();
    case 5: some.erase(some.begin() + (below(2) ? some.size() - 1 : index_in(some))); return true;
    case 6: some.push_back(made(F32, {between(0, 3)})); return true;
    case 7: {
      if (c.table.empty()) return false;
      int64_t& number = c.table[index_in(c.table)];
      const int64_t before = number;
      number = odd_size(number);
      if (below(2)) {  // so that the sums still fit
        int64_t& other = c.table[index_in(c.table)];
        other = static_cast<int64_t>(static_cast<uint64_t>(other) + static_cast<uint64_t>(before) - static_cast<uint64_t>(number));
      }
      return true;
    }
    case 8: if (below(2)) c.table.push_back(odd_size(1)); else if (!c.table.empty()) c.table.pop_back(); return true;
    case 9: case 10: {
      const std::vector<size_t>& which = below(2) ? c.structures : c.counts;
      if (which.empty()) return false;
      const size_t at = which[index_in(which)];
      if (at >= c.operands.size()) return false;
      Buffer& ints = c.operands[at];
      if (ints.count() == 0 || ints.type != S32) return false;
      ints.as<int32_t>()[below(ints.count())] = odd_int();
      return true;
    }
    case 11: {
      if (c.methods.empty() || c.methods[0] >= c.operands.size()) return false;
      Buffer& method = c.operands[c.methods[0]];
      if (method.count() == 0 || method.type != F32) return false;
      method.as<float>()[below(method.count())] =
          one_of<float>({NAN, INFINITY, -INFINITY, -5, 0.5f, 1e19f, -1e19f, 1e38f, 16777216, 0});
      return true;
    }
    default:
      c.threads = one_of<int64_t>({-1, 0, 2, 3, int64_t{1} << 32, std::numeric_limits<int64_t>::max()});
      if (below(2)) c.mixing = odd_size(c.mixing);
      return true;
  }
}

Call any_call() {
  switch (below(15)) {
    case 0: return agent_forward();
    case 1: return agent_backward();
    case 2: return agent_step();
    case 3: return mixer(false);
    case 4: return mixer(true);
    case 5: return joint_values();
    case 6: case 7: return team_gradient();
    case 8: return rmsprop_step();
    case 9: case 10: return ring_gradient();
    case 11: return battle_step();
    case 12: case 13: return matrix(static_cast<int>(below(3)));
    default: return layers(below(2));
  }
}

}  // namespace

int main(int argc, char** argv) {
  const int64_t calls = argc > 1 ? std::atoll(argv[1]) : 20000;
  if (argc > 2) generator.seed(std::atoll(argv[2]));
  std::map<std::string, std::array<int64_t, 2>> tally;  // of each entry: spoiled calls that succeeded, and refused ones
  for (int64_t i = 0; i < calls; ++i) {
    Call call = any_call();
    int64_t spoiled = 0;
    for (int64_t k = below(4); k > 0; --k) {
      if (!spoil(call)) spoiled = -1;  // now and then half done: not tried
      if (spoiled < 0) break;
      ++spoiled;
    }
    if (spoiled < 0) continue;
    const std::string found = answer(call);
    if (spoiled == 0 && !call.may_be_refused && !found.empty()) {
      std::printf("failed: a right call of %s is %s\n", call.name, found.c_str());
      return 1;
    }
    if (spoiled) ++tally[call.name][found.empty() ? 0 : 1];
  }
  for (const auto& [name, count] : tally) {
    std::printf("%s: %ld calls with something spoiled answered, %ld refused\n", name.c_str(), long(count[0]), long(count[1]));
    if (calls >= 10000 && (count[0] == 0 || count[1] == 0)) return 1;
  }
  std::printf("%d lanes: fuzzed, all well\n", mast::kLanes);
  return 0;
}
