// A step of SMAX's battles against jaxmarl's heuristic enemy: the rules, the order of the sums and the random
// numbers of jaxmarl 0.2, one battle after the other. Only rounding may differ.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

namespace mast {

constexpr int kMoves = 5;          // four directions and stop; an attack's number begins behind them
constexpr int kUnitTables = 7;     // numbers that describe a unit type
constexpr int64_t kMostUnits = 1 << 12, kMostTypes = 1 << 8, kMostTicks = 1 << 12;

// What never changes: sizes, the map, the unit types.
struct BattleRules {
  int64_t allies, enemies, types, ticks, most_steps;
  float width, height, seconds, bonus, scale;
  const float *velocity, *attack, *reach, *sight, *radius, *health, *cooldown;  // by unit type
  const float* moves;                                                          // [5, 2], of length 1 or 0

  int64_t units() const { return allies + enemies; }
  int64_t ally_actions() const { return kMoves + enemies; }
  int64_t enemy_actions() const { return kMoves + allies; }
  int64_t own_features() const { return 4 + types; }
  int64_t seen_features() const { return 7 + types; }
  int64_t observation() const { return (units() - 1) * seen_features() + own_features(); }
  int64_t state() const { return (own_features() + 2) * units(); }
};

// One battle in jaxmarl's arrays: what it was, and room for what it becomes. Allies come first.
struct BattleIn {
  const uint32_t* key;       // [2]
  const float* position;     // [units, 2]
  const bool* alive;         // [units]
  const float* health;       // [units]
  const uint8_t* type;       // [units]
  const float* cooldown;     // [units]
  const int32_t* step;       // []
  const float* across;       // [enemies, 2], where an enemy goes that sees nobody
  const int32_t* last;       // [enemies], whom it shot at last, in its own order; -1 nobody
  const int32_t* action;     // [allies]
};
struct BattleOut {
  float* position;
  bool* alive;
  float* health;
  float* cooldown;
  float* movement;     // [units, 2]
  int32_t* attack;     // [units]
  float* across;
  int32_t* last;
  bool* done;          // []
  float* reward;       // []
  float* observation;  // [allies, features]
  float* state;        // [features]
  bool* available;     // [allies, actions]
};

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

// `jax.random.split(key, n)[index]`, whatever n, where keys are partitionable.
inline Key split(Key key, uint32_t index) { return threefry(key, 0, index); }

// `jax.random.uniform(key)`: in [0, 1).
inline float uniform(Key key) {
  const Key drawn = threefry(key, 0, 0);
  const uint32_t bits = ((drawn.a ^ drawn.b) >> 9) | 0x3F800000u;
  float number;
  std::memcpy(&number, &bits, sizeof number);
  return number - 1.0f;
}

// Room for a battle's units, each number of all units in a row.
class Battle {
 public:
  explicit Battle(const BattleRules& rules) : r_(rules), units_(static_cast<int>(rules.units())) {
    for (auto* each : {&x_, &y_, &health_, &before_, &cooldown_, &move_x_, &move_y_, &radius_, &next_x_, &next_y_,
                       &damage_}) {
      each->resize(units_);
    }
    attack_.resize(units_);
    alive_.resize(units_);
    seen_.resize(std::max(rules.allies, rules.enemies));
    sums_.resize(seen_.size());
  }

  void step(const BattleIn& in, const BattleOut& out) {
    in_ = &in;
    for (int u = 0; u < units_; ++u) {
      x_[u] = in.position[2 * u];
      y_[u] = in.position[2 * u + 1];
      health_[u] = before_[u] = in.health[u];
      cooldown_[u] = in.cooldown[u];
      alive_[u] = in.alive[u];
      radius_[u] = r_.radius[in.type[u]];
    }
    const Key key{in.key[0], in.key[1]};
    const Key of_enemy = split(key, 1);
    for (int u = 0; u < r_.allies; ++u) decide(u, in.action[u]);
    for (int e = 0; e < r_.enemies; ++e) {
      decide(static_cast<int>(r_.allies) + e, enemy_action(e, split(of_enemy, e), out));
    }
    Key chain = split(key, 0);
    for (int tick = 0; tick < r_.ticks; ++tick) {
      const Key now = split(chain, 1);
      chain = split(chain, 0);
      fight(now);
      push();
    }
    write(out);
  }

 private:
  int type(int unit) const { return in_->type[unit]; }

  static float length(float x, float y) { return std::sqrt(x * x + y * y); }

  void decide(int unit, int action) {
    const int move = action >= 0 && action < kMoves ? action : kMoves - 1;
    move_x_[unit] = r_.moves[2 * move];
    move_y_[unit] = r_.moves[2 * move + 1];
    attack_[unit] = action >= kMoves ? action : 0;
  }

  // Shoots at the nearest ally in range until it is dead or gone, else follows any that it sees, else goes across
  // the map. It looks through its observation, so the dead see nobody, are at (0, 0) and of type 0.
  int enemy_action(int e, Key key, const BattleOut& out) {
    const int unit = static_cast<int>(r_.allies) + e, allies = static_cast<int>(r_.allies);
    const bool lives = alive_[unit];
    const int kind = lives ? type(unit) : 0;
    const float own_x = lives ? x_[unit] / r_.width * r_.width : 0.0f;
    const float own_y = lives ? y_[unit] / r_.height * r_.height : 0.0f;
    const float sight = r_.sight[type(unit)];
    const float none = length(r_.width, r_.height);
    int nearest = 0, count = 0;
    float least = none;
    bool shoots = false;
    in_range_.assign(allies, false);
    for (int k = 0; k < allies; ++k) {  // the other side, backwards
      const int other = allies - 1 - k;
      const float dx = x_[other] - x_[unit], dy = y_[other] - y_[unit];
      const bool sees = lives && alive_[other] && length(dx, dy) < sight;
      seen_[k] = sees;
      if (!sees) continue;
      ++count;
      const float apart = length(dx / sight * r_.sight[kind], dy / sight * r_.sight[kind]);
      if (!(apart < r_.reach[kind])) continue;
      shoots = in_range_[k] = true;
      if (apart < least) {
        least = apart;
        nearest = k;
      }
    }
    const int last = in_->last[e];
    const bool holds = last >= 0 && last < allies && in_range_[last];
    const int target = holds ? last : nearest;
    out.last[e] = shoots ? target : -1;

    // Where it goes at first is kept: until then its memory is that of nobody.
    const float* across = in_->across + 2 * e;
    const bool fresh = across[0] == 0.0f && across[1] == 0.0f && last == -1;
    const float centre_x = r_.width / 2, centre_y = r_.height / 2;
    const float far_x = fresh ? centre_x - (own_x - centre_x) : across[0];
    const float far_y = fresh ? centre_y - (own_y - centre_y) : across[1];
    out.across[2 * e] = far_x;
    out.across[2 * e + 1] = far_y;
    if (shoots) return kMoves + target;

    float goal_x = far_x, goal_y = far_y;
    if (count > 0) {
      const int k = any_of_those_seen(allies, count, split(key, 0));
      const int other = allies - 1 - k;
      const bool sees = seen_[k];  // rounding may choose the next one
      goal_x = (sees ? (x_[other] - x_[unit]) / sight * r_.sight[kind] : 0.0f) + own_x;
      goal_y = (sees ? (y_[other] - y_[unit]) / sight * r_.sight[kind] : 0.0f) + own_y;
    }
    const float dx = goal_x - own_x, dy = goal_y - own_y;
    const float along[4] = {dy, dx, -dy, -dx};
    return static_cast<int>(std::max_element(along, along + 4) - along);
  }

  // `jax.random.choice` with equal chances.
  int any_of_those_seen(int allies, int count, Key key) {
    const float chance = 1.0f / static_cast<float>(count);
    float sum = 0;
    for (int k = 0; k < allies; ++k) sums_[k] = sum += seen_[k] ? chance : 0.0f;
    const float drawn = sum * (1.0f - uniform(key));
    return static_cast<int>(std::lower_bound(sums_.begin(), sums_.begin() + (allies - 1), drawn) - sums_.begin());
  }

  // Everybody moves and shoots at once, from where all were; then who touches a wall dies.
  void fight(Key key) {
    std::fill(damage_.begin(), damage_.end(), 0.0f);
    for (int u = 0; u < units_; ++u) {
      const int kind = type(u);
      next_x_[u] = x_[u];
      next_y_[u] = y_[u];
      float change = -r_.seconds;
      if (alive_[u]) {
        next_x_[u] = std::max(std::min(x_[u] + move_x_[u] * r_.velocity[kind] * r_.seconds, r_.width), 0.0f);
        next_y_[u] = std::max(std::min(y_[u] + move_y_[u] * r_.velocity[kind] * r_.seconds, r_.height), 0.0f);
        const int target = aim(u);
        if (target >= 0 && alive_[target] && cooldown_[u] <= 0.0f &&
            length(x_[u] - x_[target], y_[u] - y_[target]) < r_.reach[kind]) {
          damage_[target] += r_.attack[kind];
          const float deviation = uniform(split(key, u)) * (3 * r_.seconds) - r_.seconds;
          change = r_.cooldown[kind] + deviation - cooldown_[u];
        }
      }
      cooldown_[u] += change;
    }
    for (int u = 0; u < units_; ++u) {
      x_[u] = next_x_[u];
      y_[u] = next_y_[u];
      health_[u] = std::max(health_[u] - damage_[u], 0.0f);
      if (x_[u] <= 0.0f || y_[u] <= 0.0f || x_[u] >= r_.width || y_[u] >= r_.height) health_[u] = 0.0f;
      alive_[u] = health_[u] > 0.0f;
    }
  }

  // Whom a unit shoots at: each side counts the other's units in the order in which it sees them. -1 is nobody.
  int aim(int unit) const {
    if (attack_[unit] < kMoves) return -1;
    const int64_t place = attack_[unit] - kMoves;
    const bool ally = unit < r_.allies;
    if (place >= (ally ? r_.enemies : r_.allies)) return -1;
    return static_cast<int>(ally ? r_.allies + place : r_.allies - 1 - place);
  }

  // The living that overlap move apart, all at once.
  void push() {
    for (int u = 0; u < units_; ++u) {
      next_x_[u] = x_[u];
      next_y_[u] = y_[u];
      if (!alive_[u]) continue;
      float shift_x = 0, shift_y = 0;
      for (int v = 0; v < units_; ++v) {
        const float dx = x_[u] - x_[v], dy = y_[u] - y_[v], together = radius_[u] + radius_[v];
        if (dx * dx + dy * dy > together * together || v == u || !alive_[v]) continue;
        const float overlap = std::max(together / (length(dx, dy) + 1e-6f) - 1.0f, 0.0f);
        shift_x += dx * overlap;
        shift_y += dy * overlap;
      }
      next_x_[u] += shift_x / 2;
      next_y_[u] += shift_y / 2;
    }
    x_.swap(next_x_);
    y_.swap(next_y_);
  }

  void write(const BattleOut& out) const {
    for (int u = 0; u < units_; ++u) {
      out.position[2 * u] = x_[u];
      out.position[2 * u + 1] = y_[u];
      out.alive[u] = alive_[u];
      out.health[u] = health_[u];
      out.cooldown[u] = cooldown_[u];
      out.movement[2 * u] = move_x_[u];
      out.movement[2 * u + 1] = move_y_[u];
      out.attack[u] = attack_[u];
    }
    bool any_ally = false, any_enemy = false;
    float lost = 0;
    for (int u = 0; u < units_; ++u) {
      (u < r_.allies ? any_ally : any_enemy) |= static_cast<bool>(alive_[u]);
      if (u >= r_.allies) lost += (health_[u] - before_[u]) / r_.health[type(u)];
    }
    const float enemies = static_cast<float>(r_.enemies);
    *out.reward = (std::fabs(lost) / enemies + (any_ally && !any_enemy ? r_.bonus : 0.0f)) * r_.scale;
    *out.done = !any_ally || !any_enemy || *in_->step >= r_.most_steps;
    for (int u = 0; u < r_.allies; ++u) {
      observe(u, out.observation + u * r_.observation());
      allow(u, out.available + u * r_.ally_actions());
    }
    float* state = out.state;
    for (int u = 0; u < units_; ++u, state += r_.own_features()) own(u, state);
    for (int u = 0; u < units_; ++u) *state++ = u < r_.allies ? 0.0f : 1.0f;
    for (int u = 0; u < units_; ++u) *state++ = static_cast<float>(type(u)) / static_cast<float>(r_.types);
  }

  float waits(int unit) const {
    return std::min(std::max(cooldown_[unit] / r_.cooldown[type(unit)], 0.0f), 1.0f);
  }

  // Share of health, place on the map, share of the cooldown, type; zeros of the dead.
  void own(int unit, float* features) const {
    std::fill(features, features + r_.own_features(), 0.0f);
    if (!alive_[unit]) return;
    features[0] = health_[unit] / r_.health[type(unit)];
    features[1] = x_[unit] / r_.width;
    features[2] = y_[unit] / r_.height;
    features[3] = waits(unit);
    features[4 + type(unit)] = 1.0f;
  }

  void observe(int unit, float* features) const {
    const int64_t size = r_.seen_features();
    std::fill(features, features + (units_ - 1) * size, 0.0f);
    own(unit, features + (units_ - 1) * size);
    if (!alive_[unit]) return;
    const float sight = r_.sight[type(unit)];
    for (int other = 0; other < units_; ++other) {
      if (other == unit) continue;
      float* seen = features;
      features += size;
      const float dx = x_[other] - x_[unit], dy = y_[other] - y_[unit];
      if (!alive_[other] || !(length(dx, dy) < sight)) continue;
      const int64_t actions = other < r_.allies ? r_.ally_actions() : r_.enemy_actions();
      seen[0] = health_[other] / r_.health[type(other)];
      seen[1] = dx / sight;
      seen[2] = dy / sight;
      seen[3] = move_x_[other];
      seen[4] = move_y_[other];
      seen[5] = static_cast<float>(attack_[other]) / static_cast<float>(actions - 1);
      seen[6] = waits(other);
      seen[7 + type(other)] = 1.0f;
    }
  }

  // Movements to the living, stop to all, and the enemies in range.
  void allow(int unit, bool* actions) const {
    std::fill(actions, actions + kMoves, static_cast<bool>(alive_[unit]));
    actions[kMoves - 1] = true;
    for (int e = 0; e < r_.enemies; ++e) {
      const int other = static_cast<int>(r_.allies) + e;
      actions[kMoves + e] = alive_[unit] && alive_[other] &&
                            length(x_[other] - x_[unit], y_[other] - y_[unit]) < r_.reach[type(unit)];
    }
  }

  const BattleRules r_;
  const int units_;
  const BattleIn* in_ = nullptr;
  std::vector<float> x_, y_, health_, before_, cooldown_, move_x_, move_y_, radius_, next_x_, next_y_, damage_;
  std::vector<int32_t> attack_;
  std::vector<char> alive_, seen_, in_range_;
  std::vector<float> sums_;
};

}  // namespace mast
