// What XLA calls for a step of battles.
#pragma once

#include <initializer_list>
#include <string>

#include "battle.h"
#include "battle_extended.h"
#include "buffers.h"
#include "reading.h"

namespace mast {
namespace {

// The rules out of the attributes: `sizes` are allies, enemies, unit types, ticks and the largest number of steps, and
// where there may be units that SMAX lacks, how many actions of allies and of enemies aim; `numbers` the map's width and
// height, a tick's seconds, the bonus for a win, the reward's factor, the tables of unit types, and the moves, and then
// what extended rules have besides.
BattleRules read_rules(Operands& operands, Table sizes, ffi::Span<const float> numbers) {
  if (sizes.size() != 5 && sizes.size() != 7) operands.fail("five or seven sizes are expected");
  BattleRules r{};
  if (!operands.ok()) return r;
  r.extended = sizes.size() == 7;
  r.allies = sizes[0];
  r.enemies = sizes[1];
  r.types = sizes[2];
  r.ticks = sizes[3];
  r.most_steps = sizes[4];
  r.ally_targets = r.extended ? sizes[5] : r.enemies;
  r.enemy_targets = r.extended ? sizes[6] : r.allies;
  if (r.allies < 1 || r.enemies < 1 || r.allies > kMostUnits || r.enemies > kMostUnits || r.types < 1 ||
      r.types > kMostTypes || r.ticks < 0 || r.ticks > kMostTicks || r.ally_targets < 1 || r.enemy_targets < 1 ||
      r.ally_targets > kMostUnits || r.enemy_targets > kMostUnits) {
    operands.fail("the sizes are those of no battle");
    return r;
  }
  const int64_t extended = r.extended ? kExtendedNumbers + kExtendedTables * r.types : 0;
  if (static_cast<int64_t>(numbers.size()) != 5 + kUnitTables * r.types + 2 * kMoves + extended) {
    operands.fail("the numbers do not fit the sizes");
    return r;
  }
  const float* next = numbers.begin();
  for (float* each : {&r.width, &r.height, &r.seconds, &r.bonus, &r.scale}) *each = *next++;
  const auto tables = [&next, &r](std::initializer_list<const float**> all) {
    for (const float** table : all) {
      *table = next;
      next += r.types;
    }
  };
  tables({&r.velocity, &r.attack, &r.reach, &r.sight, &r.radius, &r.health, &r.cooldown});
  r.moves = next;
  next += 2 * kMoves;
  if (!r.extended) return r;
  for (float* each : {&r.beam_depth, &r.health_per_second, &r.health_per_energy, &r.energy_per_second, &r.most_energy,
                      &r.close_enough}) {
    *each = *next++;
  }
  tables({&r.beam, &r.bonus_to_light, &r.light, &r.melee, &r.flies, &r.heals});
  return r;
}

BattleIn read_battles(Operands& operands, const BattleRules& r, int64_t* rows) {
  const int64_t n = r.units();
  BattleIn in{};
  in.key = operands.rows<ffi::U32>(rows, 2);
  in.position = operands.rows<ffi::F32>(rows, 2 * n);
  in.alive = operands.rows<ffi::PRED>(rows, n);
  in.health = operands.rows<ffi::F32>(rows, n);
  in.type = operands.rows<ffi::U8>(rows, n);
  in.cooldown = operands.rows<ffi::F32>(rows, n);
  in.step = operands.rows<ffi::S32>(rows, 1);
  in.across = operands.rows<ffi::F32>(rows, 2 * r.enemies);
  in.last = operands.rows<ffi::S32>(rows, r.enemies);
  in.action = operands.rows<ffi::S32>(rows, r.allies);
  if (r.extended) in.started = operands.rows<ffi::PRED>(rows, 1);
  return in;
}

BattleOut read_next_battles(Operands& operands, const BattleRules& r, int64_t* rows) {
  const int64_t n = r.units();
  BattleOut out{};
  out.position = operands.out_rows<ffi::F32>(rows, 2 * n);
  out.alive = operands.out_rows<ffi::PRED>(rows, n);
  out.health = operands.out_rows<ffi::F32>(rows, n);
  out.cooldown = operands.out_rows<ffi::F32>(rows, n);
  out.movement = operands.out_rows<ffi::F32>(rows, 2 * n);
  out.attack = operands.out_rows<ffi::S32>(rows, n);
  out.across = operands.out_rows<ffi::F32>(rows, 2 * r.enemies);
  out.last = operands.out_rows<ffi::S32>(rows, r.enemies);
  out.done = operands.out_rows<ffi::PRED>(rows, 1);
  out.reward = operands.out_rows<ffi::F32>(rows, 1);
  out.observation = operands.out_rows<ffi::F32>(rows, r.allies * r.observation());
  out.state = operands.out_rows<ffi::F32>(rows, r.state());
  out.available = operands.out_rows<ffi::PRED>(rows, r.allies * r.ally_actions());
  return out;
}

BattleIn next_row(const BattleIn& in, const BattleRules& r) {
  const int64_t n = r.units(), m = r.enemies;
  return {in.key + 2,      in.position + 2 * n, in.alive + n,      in.health + n, in.type + n,
          in.cooldown + n, in.step + 1,         in.across + 2 * m, in.last + m,   in.action + r.allies,
          r.extended ? in.started + 1 : nullptr};
}

BattleOut next_row(const BattleOut& out, const BattleRules& r) {
  const int64_t n = r.units(), m = r.enemies, looks = r.allies * r.observation();
  return {out.position + 2 * n,    out.alive + n, out.health + n, out.cooldown + n,
          out.movement + 2 * n,    out.attack + n, out.across + 2 * m, out.last + m,
          out.done + 1,            out.reward + 1, out.observation + looks, out.state + r.state(),
          out.available + r.allies * r.ally_actions()};
}

template <typename AnyBattle>
void play(const BattleRules& r, BattleIn in, BattleOut out, int64_t rows) {
  AnyBattle battle(r);
  for (int64_t row = 0; row < rows; ++row) {
    battle.step(in, out);
    in = next_row(in, r);
    out = next_row(out, r);
  }
}

// A step of battles, one per row of the operands.
ffi::Error BattleStep(ffi::RemainingArgs args, ffi::RemainingRets results, Table sizes,
                      ffi::Span<const float> numbers) {
  Operands operands(args, results);
  const BattleRules r = read_rules(operands, sizes, numbers);
  if (!operands.ok()) return operands.error();
  int64_t rows = -1;
  const BattleIn in = read_battles(operands, r, &rows);
  const BattleOut out = read_next_battles(operands, r, &rows);
  if (!operands.complete()) return operands.error();
  for (int64_t u = 0; u < rows * r.units(); ++u) {
    if (in.type[u] < r.types) continue;
    operands.fail("unit type " + std::to_string(in.type[u]) + " of " + std::to_string(r.types));
    return operands.error();
  }
  if (r.extended) {
    play<ExtendedBattle>(r, in, out, rows);
  } else {
    play<Battle>(r, in, out, rows);
  }
  return ffi::Error::Success();
}

}  // namespace
}  // namespace mast
