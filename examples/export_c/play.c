/* Plays recorded episodes through an exported team and compares every action value and action.

   A row of vectors.bin is one agent at one step, all of it 32-bit floats:
   episode, step, agent, action, observation, available, action values, hidden state. */
#include "mast_agent.h"

#include <stdio.h>
#include <time.h>

int main(int count, char **words)
{
    static mast_state team[MAST_AGENTS];
    static float row[MAST_VECTOR_WIDTH];
    const float *observation = row + 4;
    const float *allowed = observation + MAST_FEATURES;
    const float *q = allowed + MAST_ACTIONS;
    float largest = 0.0f;
    long decisions = 0, episodes = 0, differ = 0;
    clock_t spent = 0;
    FILE *file = count > 1 ? fopen(words[1], "rb") : NULL;

    if (!file) {
        fprintf(stderr, "usage: play vectors.bin\n");
        return 2;
    }
    while (fread(row, sizeof row, 1, file) == 1) {
        const int agent = (int)row[2], expected = (int)row[3];
        unsigned char available[MAST_ACTIONS];
        mast_state *state;
        clock_t before;
        int i, action;

        if (agent < 0 || agent >= MAST_AGENTS)
            return 2;
        state = &team[agent];
        if (row[1] == 0.0f) { /* an episode begins */
            mast_reset(state, agent);
            episodes += agent == 0;
        }
        for (i = 0; i < MAST_ACTIONS; i++)
            available[i] = allowed[i] > 0.0f;
        before = clock();
        mast_step(state, observation, available, &action);
        spent += clock() - before;
        for (i = 0; i < MAST_ACTIONS; i++) {
            const float off = state->q[i] > q[i] ? state->q[i] - q[i] : q[i] - state->q[i];

            largest = off > largest ? off : largest;
        }
        /* Two actions of nearly the same value may change places; then go on as recorded. */
        if (action != expected) {
            differ += action < 0 || q[expected] - q[action] > 2e-4f;
            state->last_action = expected;
        }
        decisions++;
    }
    fclose(file);
    printf("%ld decisions in %ld episodes: %ld differ, action values by %.2g at most, %.2f us a step\n",
           decisions, episodes, differ, (double)largest,
           decisions ? 1e6 * (double)spent / CLOCKS_PER_SEC / (double)decisions : 0.0);
    return decisions == 0 || differ || !(largest < 1e-4f);
}
