// What a step of a battle starts from and leads to, and what all battles have in common: jaxmarl's order of the sums.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace mast {

constexpr int kMoves = 5;          // four directions and stop; an attack's number begins behind them
constexpr int kUnitTables = 7;     // numbers that describe a unit type
constexpr int kExtendedNumbers = 6;  // of the rules that SMAX lacks
constexpr int kExtendedTables = 6;   // of unit types, in those rules
constexpr int64_t kMostUnits = 1 << 12, kMostTypes = 1 << 8, kMostTicks = 1 << 12;

// What never changes: sizes, the map, the unit types.
struct BattleRules {
  int64_t allies, enemies, types, ticks, most_steps;
  int64_t ally_targets, enemy_targets;  // actions that aim
  float width, height, seconds, bonus, scale;
  const float *velocity, *attack, *reach, *sight, *radius, *health, *cooldown;  // by unit type
  const float* moves;                                                          // [5, 2], of length 1 or 0

  bool extended;  // whether there are units that SMAX lacks; the rest is theirs
  float beam_depth, health_per_second, health_per_energy, energy_per_second, most_energy, close_enough;
  const float *beam, *bonus_to_light, *light, *melee, *flies, *heals;  // by unit type; the last four are 0 or 1

  int64_t units() const { return allies + enemies; }
  int64_t ally_actions() const { return kMoves + ally_targets; }
  int64_t enemy_actions() const { return kMoves + enemy_targets; }
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
  const bool* started;       // [], of extended rules: whether the enemies have acted before
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

// The units of a battle, each number of all units in a row: what they are told, how they move apart, what they see.
class Battlefield {
 protected:
  explicit Battlefield(const BattleRules& rules) : r_(rules), units_(static_cast<int>(rules.units())) {
    for (auto* each : {&x_, &y_, &health_, &before_, &cooldown_, &move_x_, &move_y_, &radius_, &next_x_, &next_y_,
                       &damage_}) {
      each->resize(units_);
    }
    attack_.resize(units_);
    alive_.resize(units_);
  }

  void load(const BattleIn& in) {
    in_ = &in;
    for (int u = 0; u < units_; ++u) {
      x_[u] = in.position[2 * u];
      y_[u] = in.position[2 * u + 1];
      health_[u] = before_[u] = in.health[u];
      cooldown_[u] = in.cooldown[u];
      alive_[u] = in.alive[u];
      radius_[u] = r_.radius[in.type[u]];
    }
  }

  int type(int unit) const { return in_->type[unit]; }

  static float length(float x, float y) { return std::sqrt(x * x + y * y); }

  void decide(int unit, int action) {
    const int move = action >= 0 && action < kMoves ? action : kMoves - 1;
    move_x_[unit] = r_.moves[2 * move];
    move_y_[unit] = r_.moves[2 * move + 1];
    attack_[unit] = action >= kMoves ? action : 0;
  }

  // Where a unit is after a tick, before all are pushed.
  void walk(int u) {
    next_x_[u] = x_[u];
    next_y_[u] = y_[u];
    if (!alive_[u]) return;
    const int kind = type(u);
    next_x_[u] = std::max(std::min(x_[u] + move_x_[u] * r_.velocity[kind] * r_.seconds, r_.width), 0.0f);
    next_y_[u] = std::max(std::min(y_[u] + move_y_[u] * r_.velocity[kind] * r_.seconds, r_.height), 0.0f);
  }

  // All are where they walked to. Who touches a wall dies, and who has no health left.
  void arrive() {
    x_.swap(next_x_);
    y_.swap(next_y_);
    for (int u = 0; u < units_; ++u) {
      if (x_[u] <= 0.0f || y_[u] <= 0.0f || x_[u] >= r_.width || y_[u] >= r_.height) health_[u] = 0.0f;
      alive_[u] = health_[u] > 0.0f;
    }
  }

  // Those that overlap move apart, all at once.
  void push(const std::vector<char>& those) {
    for (int u = 0; u < units_; ++u) {
      next_x_[u] = x_[u];
      next_y_[u] = y_[u];
      if (!those[u]) continue;
      float shift_x = 0, shift_y = 0;
      for (int v = 0; v < units_; ++v) {
        const float dx = x_[u] - x_[v], dy = y_[u] - y_[v], together = radius_[u] + radius_[v];
        if (dx * dx + dy * dy > together * together || v == u || !those[v]) continue;
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
      if (u >= r_.allies) lost += (std::min(health_[u], before_[u]) - before_[u]) / r_.health[type(u)];
    }
    const float enemies = static_cast<float>(r_.enemies);
    *out.reward = (std::fabs(lost) / enemies + (any_ally && !any_enemy ? r_.bonus : 0.0f)) * r_.scale;
    *out.done = !any_ally || !any_enemy || *in_->step >= r_.most_steps;
    for (int u = 0; u < r_.allies; ++u) observe(u, out.observation + u * r_.observation());
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

  const BattleRules r_;
  const int units_;
  const BattleIn* in_ = nullptr;
  std::vector<float> x_, y_, health_, before_, cooldown_, move_x_, move_y_, radius_, next_x_, next_y_, damage_;
  std::vector<int32_t> attack_;
  std::vector<char> alive_;
};

}  // namespace mast
