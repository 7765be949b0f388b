// A step of battles with the units that SMAX lacks: medivacs that fly and heal, colossi whose beam hits several. The
// rules and random numbers of mast.envs.battle, one battle after the other. Only rounding may differ.
#pragma once

#include <limits>

#include "battle_field.h"
#include "threefry.h"

namespace mast {

class ExtendedBattle : Battlefield {
 public:
  explicit ExtendedBattle(const BattleRules& rules) : Battlefield(rules) {
    for (auto* each : {&offered_, &taken_, &gained_}) each->resize(units_);
    for (auto* each : {&target_, &healers_}) each->resize(units_);
    pushes_.resize(units_);
  }

  void step(const BattleIn& in, const BattleOut& out) {
    load(in);
    healers_.clear();
    for (int u = 0; u < units_; ++u) {
      if (heals(u)) healers_.push_back(u);
    }
    const Key key{in.key[0], in.key[1]};
    const Key of_enemy = split(key, 1);
    for (int u = 0; u < r_.allies; ++u) decide(u, in.action[u]);
    for (int e = 0; e < r_.enemies; ++e) decide(static_cast<int>(r_.allies) + e, enemy_action(e, of_enemy, out));
    for (int u = 0; u < units_; ++u) target_[u] = aim(u);
    Key chain = split(key, 0);
    for (int tick = 0; tick < r_.ticks; ++tick) {
      const Key now = split(chain, 1);
      chain = split(chain, 0);
      fight(now);
      for (int u = 0; u < units_; ++u) pushes_[u] = alive_[u] && !flies(u);
      push(pushes_);
    }
    write(out);
    for (int u = 0; u < r_.allies; ++u) allow(u, out.available + u * r_.ally_actions());
  }

 private:
  static constexpr float kFar = std::numeric_limits<float>::infinity();

  bool flies(int unit) const { return r_.flies[type(unit)] != 0.0f; }
  bool heals(int unit) const { return r_.heals[type(unit)] != 0.0f; }
  bool melee(int unit) const { return r_.melee[type(unit)] != 0.0f; }
  bool is_ally(int unit) const { return unit < r_.allies; }

  float apart(int unit, int other) const { return length(x_[unit] - x_[other], y_[unit] - y_[other]); }
  bool reaches(int unit, int other) const { return apart(unit, other) < r_.reach[type(unit)]; }

  bool may_hit(int unit, int other) const {
    return is_ally(unit) != is_ally(other) && !heals(unit) && !(melee(unit) && flies(other));
  }
  bool may_heal(int unit, int other) const {
    return is_ally(unit) == is_ally(other) && heals(unit) && !heals(other);
  }

  // The unit that a unit's k-th aim names: a medivac's one of its own side, that of others an opponent. Enemies count
  // both sides backwards. -1 is nobody.
  int named(int unit, int64_t k) const {
    const bool allies = heals(unit) == is_ally(unit);
    if (k < 0 || k >= (allies ? r_.allies : r_.enemies)) return -1;
    if (!is_ally(unit)) k = (allies ? r_.allies : r_.enemies) - 1 - k;
    return static_cast<int>(allies ? k : r_.allies + k);
  }

  int aim(int unit) const { return attack_[unit] < kMoves ? -1 : named(unit, int64_t{attack_[unit]} - kMoves); }

  static int along(float dx, float dy) {
    const float directions[4] = {dy, dx, -dy, -dx};
    return static_cast<int>(std::max_element(directions, directions + 4) - directions);
  }

  // Shoots at the nearest ally in range until it is dead or gone, else follows any that it sees, else goes across the
  // map; whom it cannot hit it does not see. A medivac does so only without anybody to heal or to follow.
  int enemy_action(int e, Key key, const BattleOut& out) {
    const int allies = static_cast<int>(r_.allies), unit = allies + e;
    const int last = in_->last[e];
    float least = kFar, highest = -1.0f;
    int nearest = 0, goal = -1;
    bool shoots = false, holds = false;
    for (int k = 0; alive_[unit] && k < allies; ++k) {
      const int other = allies - 1 - k;
      const float far = apart(other, unit);
      if (!alive_[other] || !(far < r_.sight[type(unit)]) || (melee(unit) && flies(other))) continue;
      if (far < r_.reach[type(unit)]) {
        shoots = true;
        holds |= k == last;
        if (far < least) {
          least = far;
          nearest = k;
        }
      }
      if (shoots && !heals(unit)) continue;  // it goes nowhere
      const float drawn = uniform(key, static_cast<uint32_t>(e) * static_cast<uint32_t>(allies) + k);
      if (drawn > highest) {
        highest = drawn;
        goal = other;
      }
    }
    const int target = holds ? last : nearest;
    out.last[e] = shoots ? target : -1;

    const float* across = in_->across + 2 * e;
    const float far_x = *in_->started ? across[0] : r_.width - x_[unit];
    const float far_y = *in_->started ? across[1] : r_.height - y_[unit];
    out.across[2 * e] = far_x;
    out.across[2 * e + 1] = far_y;
    if (shoots && !heals(unit)) return kMoves + target;
    const int walk = goal < 0 ? along(far_x - x_[unit], far_y - y_[unit])
                              : along(x_[goal] - x_[unit], y_[goal] - y_[unit]);
    return heals(unit) ? medivac_action(unit, walk) : walk;
  }

  // Heals the nearest hurt unit of its side; with none in range it goes to the nearest hurt one that it sees, else
  // after the nearest that is no medivac, and alone it walks.
  int medivac_action(int unit, int walk) const {
    const int enemies = static_cast<int>(r_.enemies);
    float least_hurt = kFar, least_seen = kFar;
    int hurt = -1, seen = -1, hurt_place = 0;
    for (int k = 0; k < enemies; ++k) {
      const int other = named(unit, k);
      const float far = apart(other, unit);
      if (heals(other) || !alive_[other] || !(far < r_.sight[type(unit)])) continue;
      if (far < least_seen) {
        least_seen = far;
        seen = other;
      }
      if (health_[other] < r_.health[type(other)] && far < least_hurt) {
        least_hurt = far;
        hurt = other;
        hurt_place = k;
      }
    }
    const float reach = r_.reach[type(unit)];
    if (seen < 0) return walk;
    if (hurt < 0 && least_seen < r_.close_enough * reach) return kMoves - 1;
    if (hurt >= 0 && least_hurt < reach) return kMoves + hurt_place;
    const int goal = hurt >= 0 ? hurt : seen;
    return along(x_[goal] - x_[unit], y_[goal] - y_[unit]);
  }

  // Everybody moves, shoots and heals at once, from where all were; damage goes first.
  void fight(Key key) {
    std::fill(damage_.begin(), damage_.end(), 0.0f);
    std::fill(gained_.begin(), gained_.end(), 0.0f);
    heal();
    for (int u = 0; u < units_; ++u) {
      walk(u);
      if (heals(u)) continue;  // has its energy there
      if (!(cooldown_[u] <= 0.0f) || !aims(u) || !may_hit(u, target_[u])) {
        cooldown_[u] -= r_.seconds;
        continue;
      }
      shoot(u, target_[u]);
      cooldown_[u] = r_.cooldown[type(u)] + (uniform(key, u) * (3 * r_.seconds) - r_.seconds);
    }
    for (int u = 0; u < units_; ++u) {
      const float left = std::max(health_[u] - damage_[u], 0.0f);
      health_[u] = left > 0.0f ? std::min(left + gained_[u], r_.health[type(u)]) : 0.0f;
    }
    arrive();
  }

  // Whether a unit has somebody living in range.
  bool aims(int unit) const {
    return target_[unit] >= 0 && alive_[unit] && alive_[target_[unit]] && reaches(unit, target_[unit]);
  }

  void shoot(int unit, int target) {
    const int kind = type(unit);
    const auto hit = [&](int other) { damage_[other] += r_.attack[kind] + r_.bonus_to_light[kind] * r_.light[type(other)]; };
    if (!(r_.beam[kind] > 0.0f)) return hit(target);
    // A rectangle through the target, across the shot; from straight on top of it the shot is along x.
    const float dx = x_[target] - x_[unit], dy = y_[target] - y_[unit], far = length(dx, dy);
    const float along_x = far > 0.0f ? dx / far : 1.0f, along_y = far > 0.0f ? dy / far : 0.0f;
    for (int other = 0; other < units_; ++other) {
      if (!alive_[other] || !may_hit(unit, other)) continue;
      const float x = x_[other] - x_[target], y = y_[other] - y_[target];
      const float deep = std::max(std::fabs(x * along_x + y * along_y) - r_.beam_depth / 2, 0.0f);
      const float wide = std::max(std::fabs(y * along_x - x * along_y) - r_.beam[kind] / 2, 0.0f);
      if (length(deep, wide) <= radius_[other]) hit(other);
    }
  }

  // At most as fast as a medivac can, as its energy lasts, as health is missing; several share what is missing.
  void heal() {
    if (healers_.empty()) return;
    std::fill(offered_.begin(), offered_.end(), 0.0f);
    const auto patient = [this](int healer) {
      return aims(healer) && may_heal(healer, target_[healer]) ? target_[healer] : -1;
    };
    const auto gift = [this](int healer) {
      return std::min(r_.health_per_second * r_.seconds, r_.health_per_energy * cooldown_[healer]);
    };
    for (const int healer : healers_) {
      if (patient(healer) >= 0) offered_[patient(healer)] += gift(healer);
    }
    for (int u = 0; u < units_; ++u) {
      const float total = offered_[u];
      taken_[u] = total > 0.0f ? std::min(total, r_.health[type(u)] - health_[u]) / total : 0.0f;
    }
    for (const int healer : healers_) {
      const int other = patient(healer);
      const float given = other >= 0 ? gift(healer) * taken_[other] : 0.0f;
      if (other >= 0) gained_[other] += given;
      cooldown_[healer] = std::min(
          cooldown_[healer] - given / r_.health_per_energy + r_.energy_per_second * r_.seconds, r_.most_energy);
    }
  }

  // Movements to the living, stop to all, and whom it may aim at, if that is in range and, for a medivac, hurt.
  void allow(int unit, bool* actions) const {
    std::fill(actions, actions + kMoves, static_cast<bool>(alive_[unit]));
    actions[kMoves - 1] = true;
    for (int64_t k = 0; k < r_.ally_targets; ++k) {
      const int other = named(unit, k);
      actions[kMoves + k] =
          other >= 0 && alive_[unit] && alive_[other] && reaches(unit, other) &&
          (may_hit(unit, other) || (may_heal(unit, other) && health_[other] < r_.health[type(other)]));
    }
  }

  std::vector<float> offered_, taken_, gained_;  // of healing, by unit; the second is a share
  std::vector<int32_t> target_, healers_;
  std::vector<char> pushes_;
};

}  // namespace mast
