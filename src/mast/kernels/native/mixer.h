// QMIX's mixer, Q_tot = |w_final| · ELU(|w1| q + b1) + V(s), over the states that were really visited.
//
// Its seven matrices are planned as three: `hidden` (the first layers of the three hypernetworks, with
// ReLU) and `shift` (b1) over the state, and `heads` (w1, w_final, V) over the hidden activations. What the
// hypernetworks make is used where it lies, feature-major, one state per lane. The backward pass computes
// all of it again: the state is read anyway, and nothing but utilities and the result goes through memory.
#pragma once

#include "gradients.h"
#include "tiles.h"

namespace mast {

struct MixerShape {
  int64_t times, episodes, agents, state, hypernet, embed;
};

struct MixerNetwork {
  Matrix w1_hidden, w1_out, w_final_hidden, w_final_out, b1, v_hidden, v_out;
};

template <typename Number>
struct MixerEpisodes {
  const Number* state;      // rows of [state]
  const float* utilities;   // [times, episodes, agents]
  const int32_t* rows;      // [episodes], how many of the times each episode has
  Places places;            // of the states
};

struct MixerBlocks {
  std::vector<Block> hidden, shift, heads;
  int64_t activations, outputs;  // rows of `hidden` and of `heads`

  MixerBlocks(const MixerNetwork& net, const MixerShape& s) {
    const int64_t h = s.hypernet, e = s.embed, w1 = s.agents * e;
    hidden = {whole(net.w1_hidden, 0, 0), whole(net.w_final_hidden, h, 0), whole(net.v_hidden, 2 * h, 0)};
    shift = {whole(net.b1, 0, 0)};
    heads = {whole(net.w1_out, 0, 0), whole(net.w_final_out, w1, h), whole(net.v_out, w1 + e, 2 * h)};
    activations = 2 * h + e;
    outputs = w1 + e + 1;
  }
};

struct MixerPlans {
  Plan hidden, shift, heads;
  MixerPlans(const MixerBlocks& b, const MixerShape& s, int stride)
      : hidden(plan_of(b.hidden, b.activations, stride)),
        shift(plan_of(b.shift, s.embed, stride)),
        heads(plan_of(b.heads, b.outputs, stride)) {}
};

// What one tile works in.
struct MixerTile {
  Array state, utilities, hidden, inner, heads;
  MixerTile(const MixerShape& s, const MixerBlocks& b, int stride)
      : state(s.state * stride), utilities(s.agents * stride), hidden(b.activations * stride),
        inner(s.embed * stride), heads(b.outputs * stride) {}
};

// What the hypernetworks make of a tile's states: tile.heads, and b1 in tile.inner.
template <int Vectors>
void hypernetworks(const MixerPlans& plans, const MixerTile& tile) {
  product<Vectors, Into::kSetPositive>(plans.hidden, tile.state.get(), tile.hidden.get());
  product<Vectors, Into::kSet>(plans.shift, tile.state.get(), tile.inner.get());
  product<Vectors, Into::kSet>(plans.heads, tile.hidden.get(), tile.heads.get());
}

// Everything up to the inner activation ELU(|w1| q + b1), which is left in tile.inner; the states of the lanes lie
// at `place`.
template <int Vectors, typename Number>
void mix_inner(const MixerShape& s, const MixerEpisodes<Number>& episodes, const MixerPlans& plans,
               const int32_t* rows, const int64_t* place, const MixerTile& tile, int stride) {
  load_tile(episodes.state, place, s.state, Vectors, tile.state.get(), stride);
  load_tile(episodes.utilities, rows, s.agents, Vectors, tile.utilities.get(), stride);
  hypernetworks<Vectors>(plans, tile);
  for (int64_t e = 0; e < s.embed; ++e) {
    for (int64_t v = 0; v < Vectors * kLanes; v += kLanes) {
      Floats sum = load(tile.inner.get() + e * stride + v);
      for (int64_t a = 0; a < s.agents; ++a) {
        const Floats w1 = absolute(load(tile.heads.get() + (a * s.embed + e) * stride + v));
        sum += w1 * load(tile.utilities.get() + a * stride + v);
      }
      store(tile.inner.get() + e * stride + v, elu(sum));
    }
  }
}

// Q_tot of every lane, from what `mix_inner` left.
template <int Vectors>
void mix_total(const MixerShape& s, const MixerTile& tile, int stride, float* q_tot) {
  const float* w_final = tile.heads.get() + s.agents * s.embed * stride;
  for (int v = 0; v < Vectors * kLanes; v += kLanes) {
    Floats sum = load(w_final + s.embed * stride + v);  // V(s)
    for (int64_t e = 0; e < s.embed; ++e) {
      sum += absolute(load(w_final + e * stride + v)) * load(tile.inner.get() + e * stride + v);
    }
    store(q_tot + v, sum);
  }
}

// q_tot: [times, episodes], 0 where nothing was visited.
template <typename Number>
void mixer_forward(const MixerShape& s, const MixerEpisodes<Number>& episodes, const MixerNetwork& net,
                   float* q_tot, const ForEach& for_each) {
  std::fill_n(q_tot, s.times * s.episodes, 0.0f);
  const Visited visited(s.times, s.episodes, episodes.rows);
  const std::vector<int64_t> place = visited.in(episodes.places);
  const std::vector<Tile> tiles = tiles_of(visited.count);
  const int stride = widest(tiles);
  const MixerBlocks blocks(net, s);
  const MixerPlans plans(blocks, s, stride);
  in_strands(for_each, static_cast<int>(tiles.size()), [&](int, int index) {
    const int32_t* rows = visited.row.data() + tiles[index].lane0;
    const MixerTile tile(s, blocks, stride);
    with_vectors_up_to<kTileVectors>(tiles[index].vectors, [&](auto constant) {
      constexpr int kVectors = decltype(constant)::value;
      mix_inner<kVectors>(s, episodes, plans, rows, place.data() + tiles[index].lane0, tile, stride);
      float result[kVectors * kLanes];
      mix_total<kVectors>(s, tile, stride, result);
      for (int l = 0; l < visited.in_tile(tiles[index]); ++l) q_tot[rows[l]] = result[l];
    });
  });
}

// From the gradient of the inner activation's sum, `g` (in d_inner), and of q_tot, `d`: what the heads
// made is replaced by its gradient, in place, and the utilities by theirs.
template <int Vectors>
void heads_backward(const MixerShape& s, const MixerTile& tile, const float* d, float* d_inner, int stride) {
  float* w_final = tile.heads.get() + s.agents * s.embed * stride;
  for (int v = 0; v < Vectors * kLanes; v += kLanes) {
    const Floats d_total = load(d + v);
    for (int64_t e = 0; e < s.embed; ++e) {
      const Floats inner = load(tile.inner.get() + e * stride + v), w = load(w_final + e * stride + v);
      const Floats through = d_total * absolute(w);
      store(d_inner + e * stride + v, inner > Floats{} ? through : through * (inner + 1.0f));
      store(w_final + e * stride + v, times_sign(d_total * inner, w));
    }
    store(w_final + s.embed * stride + v, d_total);
    for (int64_t a = 0; a < s.agents; ++a) {
      const Floats utility = load(tile.utilities.get() + a * stride + v);
      Floats d_utility{};
      for (int64_t e = 0; e < s.embed; ++e) {
        float* w1 = tile.heads.get() + (a * s.embed + e) * stride + v;
        const Floats g = load(d_inner + e * stride + v), w = load(w1);
        d_utility += g * absolute(w);
        store(w1, times_sign(g * utility, w));
      }
      store(tile.utilities.get() + a * stride + v, d_utility);
    }
  }
}

// What makes the gradient of a loss, d, of Q_tot: `lanes` rows of [times · episodes].
using Derivative = std::function<void(const int32_t* rows, int lanes, const float* q_tot, float* d)>;

// Forward and back in one pass. Out: d_utilities [times, episodes, agents], and the layers' gradients in the
// order of MixerNetwork's fields.
template <typename Number>
void mixer_learn(const MixerShape& s, const MixerEpisodes<Number>& episodes, const MixerNetwork& net,
                 const Derivative& derivative, float* d_utilities, const std::vector<Gradient>& gradients,
                 const ForEach& for_each) {
  std::fill_n(d_utilities, s.times * s.episodes * s.agents, 0.0f);
  const Visited visited(s.times, s.episodes, episodes.rows);
  const std::vector<int64_t> place = visited.in(episodes.places);
  const std::vector<Tile> tiles = tiles_of(visited.count);
  const int stride = widest(tiles);
  const MixerBlocks blocks(net, s);
  const MixerPlans plans(blocks, s, stride);
  const Plan heads_transposed = transposed_plan_of(blocks.heads, blocks.activations, stride);
  const int strands = strands_of(static_cast<int>(tiles.size()));
  const Sums hidden(plans.hidden, strands), shift(plans.shift, strands), heads(plans.heads, strands);

  in_strands(for_each, static_cast<int>(tiles.size()), [&](int strand, int index) {
    const int32_t* rows = visited.row.data() + tiles[index].lane0;
    const int active = visited.in_tile(tiles[index]);
    const MixerTile tile(s, blocks, stride);
    const Array d_hidden(blocks.activations * stride), d_inner(s.embed * stride), d(stride);
    with_vectors_up_to<kTileVectors>(tiles[index].vectors, [&](auto constant) {
      constexpr int kVectors = decltype(constant)::value;
      mix_inner<kVectors>(s, episodes, plans, rows, place.data() + tiles[index].lane0, tile, stride);
      float q_tot[kVectors * kLanes];
      mix_total<kVectors>(s, tile, stride, q_tot);
      derivative(rows, active, q_tot, d.get());
      heads_backward<kVectors>(s, tile, d.get(), d_inner.get(), stride);
      sampled_product<kVectors>(plans.heads, tile.heads.get(), tile.hidden.get(), heads.of(strand));
      product<kVectors, Into::kSet>(heads_transposed, tile.heads.get(), d_hidden.get());
      mask_by_positive<kVectors>(blocks.activations, stride, tile.hidden.get(), d_hidden.get());
      sampled_product<kVectors>(plans.hidden, d_hidden.get(), tile.state.get(), hidden.of(strand));
      sampled_product<kVectors>(plans.shift, d_inner.get(), tile.state.get(), shift.of(strand));
    });
    store_tile(tile.utilities.get(), stride, rows, s.agents, active, d_utilities);
  });

  hidden.hand_out(blocks.hidden, {gradients[0], gradients[2], gradients[5]});
  shift.hand_out(blocks.shift, {gradients[4]});
  heads.hand_out(blocks.heads, {gradients[1], gradients[3], gradients[6]});
}

// d_q_tot: [times, episodes]. Out: as `mixer_learn`.
template <typename Number>
void mixer_backward(const MixerShape& s, const MixerEpisodes<Number>& episodes, const MixerNetwork& net,
                    const float* d_q_tot, float* d_utilities, const std::vector<Gradient>& gradients,
                    const ForEach& for_each) {
  const auto given = [=](const int32_t* rows, int lanes, const float*, float* d) {
    for (int l = 0; l < lanes; ++l) d[l] = d_q_tot[rows[l]];
  };
  mixer_learn(s, episodes, net, given, d_utilities, gradients, for_each);
}

}  // namespace mast
