// A step of SMAX's battles against jaxmarl's heuristic enemy: the rules, the order of the sums and the random
// numbers of jaxmarl 0.2, one battle after the other. Only rounding may differ.
#pragma once

#include "battle_field.h"
#include "threefry.h"

namespace mast {

class Battle : Battlefield {
 public:
  explicit Battle(const BattleRules& rules) : Battlefield(rules) {
    seen_.resize(std::max(rules.allies, rules.enemies));
    sums_.resize(seen_.size());
  }

  void step(const BattleIn& in, const BattleOut& out) {
    load(in);
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
      push(alive_);
    }
    write(out);
    for (int u = 0; u < r_.allies; ++u) allow(u, out.available + u * r_.ally_actions());
  }

 private:
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
      in_range_[k] = true;
      shoots = true;
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
      walk(u);
      float change = -r_.seconds;
      if (alive_[u]) {
        const int kind = type(u), target = aim(u);
        if (target >= 0 && alive_[target] && cooldown_[u] <= 0.0f &&
            length(x_[u] - x_[target], y_[u] - y_[target]) < r_.reach[kind]) {
          damage_[target] += r_.attack[kind];
          const float deviation = uniform(split(key, u)) * (3 * r_.seconds) - r_.seconds;
          change = r_.cooldown[kind] + deviation - cooldown_[u];
        }
      }
      cooldown_[u] += change;
    }
    for (int u = 0; u < units_; ++u) health_[u] = std::max(health_[u] - damage_[u], 0.0f);
    arrive();
  }

  // Whom a unit shoots at: each side counts the other's units in the order in which it sees them. -1 is nobody.
  int aim(int unit) const {
    if (attack_[unit] < kMoves) return -1;
    const int64_t place = attack_[unit] - kMoves;
    const bool ally = unit < r_.allies;
    if (place >= (ally ? r_.enemies : r_.allies)) return -1;
    return static_cast<int>(ally ? r_.allies + place : r_.allies - 1 - place);
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

  std::vector<char> seen_, in_range_;
  std::vector<float> sums_;
};

}  // namespace mast
