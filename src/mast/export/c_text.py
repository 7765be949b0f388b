"""The parts of the C export that are the same for every team; @name@ is filled in."""

HEADER = """/* @about@ Made by `mast export`; see contract.json for what an observation holds. */
#ifndef @PREFIX@_AGENT_H
#define @PREFIX@_AGENT_H

#ifdef __cplusplus
extern "C" {
#endif

#define @PREFIX@_AGENTS @agents@
#define @PREFIX@_FEATURES @features@
#define @PREFIX@_ACTIONS @actions@
#define @PREFIX@_HIDDEN @hidden@

/* 32-bit floats in a row of vectors.bin: episode, step, agent, action; then observation, available,
   @values@ and hidden state as recorded. */
#define @PREFIX@_VECTOR_WIDTH @vector_width@

/* A larger feature, positive or negative, is refused like NaN: the sums could overflow. */
#define @PREFIX@_OBSERVATION_LIMIT @limit@

enum @prefix@_result {
    @PREFIX@_OK = 0,
    @PREFIX@_NO_ACTION = -1,      /* no action was available; the memory has gone on */
    @PREFIX@_BAD_OBSERVATION = -2, /* NaN, infinity or beyond the limit; nothing has changed */
    @PREFIX@_BAD_AGENT = -3        /* the state's agent does not exist; nothing has changed */
};

/* All that one agent remembers. `q` is for the reader. Where something else was done than what the
   step said, write that action to `last_action` before the next one. The others are not to be changed. */
typedef struct {
    int agent;
    int last_action; /* -1: none */
@memory@    float q[@PREFIX@_ACTIONS]; /* the @values@ of the last step */
} @prefix@_state;

/* Before every episode. `agent` is 0 to @PREFIX@_AGENTS - 1, in the order of contract.json.
   Returns @PREFIX@_OK, or @PREFIX@_BAD_AGENT for another, with which every step is refused. */
int @prefix@_reset(@prefix@_state *state, int agent);

/* One step: the available action of largest value, the first of equals; -1 if the result is not
   @PREFIX@_OK. `available` holds a byte per action, 0 for those that may not be taken. */
int @prefix@_step(@prefix@_state *state, const float observation[@PREFIX@_FEATURES],
                  const unsigned char available[@PREFIX@_ACTIONS], int *action);

#ifdef __cplusplus
}
#endif

#endif
"""

SOURCE_HEAD = """/* @about@ Made by `mast export`. C99; calls nothing: for
   a loop that copies or clears, a compiler may call memcpy or memset, but not with -ffreestanding.
@libm@   With -D@PREFIX@_NO_VECTORS, nothing but C99 for GCC and Clang too. */
#include "@prefix@_agent.h"

#include <stdint.h>
@math@
/* Four numbers at a time, as GCC and Clang can be told for any processor; C99 without it. */
#if defined(__GNUC__) && !defined(@PREFIX@_NO_VECTORS)
#define @PREFIX@_VECTORS
typedef float @prefix@_four __attribute__((vector_size(16), may_alias, aligned(4)));
#endif

"""

OF_MEMORY = {
    "memory": "    float hidden[@PREFIX@_HIDDEN];\n",
    "forget": "    for (j = 0; j < @hidden@; j++)\n        state->hidden[j] = 0.0f;\n",
    "libm": "   With -D@PREFIX@_USE_LIBM, tanhf of the C library in place of an approximation within 1e-6.\n",
    "math": "#ifdef @PREFIX@_USE_LIBM\n#include <math.h>\n#endif\n",
}
"""What only networks with a memory have."""

GATES = """#ifdef @PREFIX@_USE_LIBM
static float @prefix@_tanh(float x)
{
    return tanhf(x);
}
#else
/* A ratio of polynomials (that of Eigen); without a branch, so that it can be vectorised. */
static float @prefix@_tanh(float x)
{
    float s, p, q;

    x = x < 7.90531110763549805f ? x : 7.90531110763549805f;
    x = x > -7.90531110763549805f ? x : -7.90531110763549805f;
    s = x * x;
    p = -2.76076847742355e-16f * s + 2.00018790482477e-13f;
    p = p * s + -8.60467152213735e-11f;
    p = p * s + 5.12229709037114e-08f;
    p = p * s + 1.48572235717979e-05f;
    p = p * s + 6.37261928875436e-04f;
    p = p * s + 4.89352455891786e-03f;
    q = 1.19825839466702e-06f * s + 1.18534705686654e-04f;
    q = q * s + 2.26843463243900e-03f;
    q = q * s + 4.89352518554385e-03f;
    return x * p / q;
}
#endif

static void @prefix@_gates(float *restrict h, const float *restrict y)
{
    int j;

    for (j = 0; j < @hidden@; j++) {
        const float reset = 0.5f + 0.5f * @prefix@_tanh(0.5f * y[@hidden@ + j]);
        const float update = 0.5f + 0.5f * @prefix@_tanh(0.5f * y[2 * @hidden@ + j]);
        const float fresh = @prefix@_tanh(y[j] + reset * y[3 * @hidden@ + j]);

        h[j] = fresh + update * (h[j] - fresh);
    }
}

"""

SOURCE_END = """int @prefix@_reset(@prefix@_state *state, int agent)
{
    int j;

    state->agent = agent >= 0 && agent < @agents@ ? agent : -1;
    state->last_action = -1;
@forget@    for (j = 0; j < @actions@; j++)
        state->q[j] = 0.0f;
    return state->agent < 0 ? @PREFIX@_BAD_AGENT : @PREFIX@_OK;
}

int @prefix@_step(@prefix@_state *state, const float observation[@PREFIX@_FEATURES],
                  const unsigned char available[@PREFIX@_ACTIONS], int *action)
{
    int j, bad = 0, best = -1;

    *action = -1;
    if (state->agent < 0 || state->agent >= @agents@)
        return @PREFIX@_BAD_AGENT;
    if (state->last_action >= @actions@)
        state->last_action = -1;
    for (j = 0; j < @features@; j++) {
        /* Whole numbers are in the order of the floats they stand for, infinity and NaN last; and this
           holds under -ffast-math too. */
        const union { float number; uint32_t bits; } feature = { observation[j] };

        bad |= (feature.bits & 0x7fffffffUL) > @limit_bits@;
    }
    if (bad)
        return @PREFIX@_BAD_OBSERVATION;
@call@    for (j = 0; j < @actions@; j++)
        if (available[j] && (best < 0 || state->q[j] > state->q[best]))
            best = j;
    state->last_action = best;
    *action = best;
    return best < 0 ? @PREFIX@_NO_ACTION : @PREFIX@_OK;
}
"""
