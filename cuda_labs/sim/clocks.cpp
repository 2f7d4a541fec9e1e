// What happens before what in a launch. Time is a count of events; each thread
// holds, for every other of its block, the time up to which it has seen that
// thread's accesses (vector clocks: Mattern 1989). __syncthreads shows everything
// to everyone, __syncwarp what the lanes of its mask did to each other, and a
// chain of fence, atomic (or volatile) store and atomic (or volatile) load what
// came before the fence.
#include <stdlib.h>
#include <string.h>

#include "profile.h"

uint32_t race_time = 1, race_barrier, race_block, race_clocked;
// seen[t][u]: thread t has seen what u did up to this time. A row is valid
// when its stamp is the last barrier's; else it stands for zeros.
static uint32_t *seen, stamp[MAX_THREADS];
// Each thread's last fence since the last barrier, and its last one in the block
// that other blocks see: __threadfence_block is none.
static uint32_t fenced[MAX_THREADS], fences[MAX_THREADS];

struct Flag {
  uintptr_t at;
  uint32_t *clock;
};
static Flag flag[256];
static uint32_t flags;

void clocks_begin() {
  if (!seen) seen = (uint32_t *)calloc(MAX_THREADS * MAX_THREADS, 4);
  if (!seen) abort();
  if (race_time > LATE) {  // stamps of earlier launches stay older than this
    race_time = 1;
    memset(stamp, 0, sizeof stamp);
  }
  if (race_block > LATE) {  // as do the blocks that are noted beside accesses
    race_block = 0;
    races_forget();
    global_forget();
  }
}

static uint32_t *clock_of(uint32_t t) {
  uint32_t *row = seen + (size_t)t * MAX_THREADS;
  if (stamp[t] != race_barrier) memset(row, 0, threads * sizeof *row);
  stamp[t] = race_clocked = race_barrier;
  return row;
}

static void forget_clocks() {
  race_barrier = race_time++;
  memset(fenced, 0, threads * sizeof *fenced);
  for (uint32_t i = 0; i < flags; ++i) free(flag[i].clock);
  flags = 0;
}

void clocks_block() {
  ++race_block;
  memset(fences, 0, threads * sizeof *fences);
  forget_clocks();
}

void clocks_barrier() {
  releases_barrier(fences, race_time);
  forget_clocks();
}

// Has the running thread seen, since the barrier, what `other` did at `time`?
bool clocks_seen(uint32_t other, uint32_t time) {
  return stamp[current] == race_barrier &&
         seen[current * MAX_THREADS + other] >= time;
}

static void join(uint32_t *into, const uint32_t *from) {
  for (uint32_t i = 0; i < threads; ++i)
    if (from[i] > into[i]) into[i] = from[i];
}

void profile_syncwarp(uint32_t warp, uint32_t lanes) {
  if (mode != PROFILE || !seen) return;
  races_settle();
  uint32_t all[MAX_THREADS] = {};
  ++race_time;
  for (uint32_t l = 0; l < WARP; ++l) {
    if (!(lanes >> l & 1)) continue;
    join(all, clock_of(warp * WARP + l));
    all[warp * WARP + l] = race_time;
  }
  for (uint32_t l = 0; l < WARP; ++l)
    if (lanes >> l & 1)
      memcpy(clock_of(warp * WARP + l), all, threads * 4);
}

void profile_fence(bool device) {
  if (mode != PROFILE) return;
  fenced[current] = ++race_time;
  if (device) fences[current] = race_time;
}

void profile_acquire_release(uintptr_t a, bool acquire, bool release) {
  if (mode != PROFILE || !seen) return;
  uint32_t *mine = clock_of(current);
  uint32_t at;  // what lies in shared memory tells other blocks nothing
  if (!shared_offset(a, &at))
    releases_flag(a, acquire, release,
                  fences[current] > race_barrier ? fences[current] : 0, mine);
  // When there are too many the last one stands for the rest, too.
  bool full = flags == sizeof flag / sizeof *flag;
  Flag *f = full ? &flag[flags - 1] : nullptr;
  for (uint32_t i = 0; i < flags; ++i)
    if (flag[i].at == a) f = &flag[i];
  if (acquire && f) join(mine, f->clock);
  if (!release || !fenced[current]) return;
  if (!f) {
    f = &flag[flags++];
    f->at = a;
    f->clock = (uint32_t *)calloc(MAX_THREADS, 4);
    if (!f->clock) abort();
  }
  join(f->clock, mine);
  if (fenced[current] > f->clock[current]) f->clock[current] = fenced[current];
}
