// What blocks tell each other through global memory.
//
// Blocks are ordered by nothing but a chain of fence, atomic (or volatile)
// store and atomic (or volatile) load. A release publishes what the block did
// before its last barrier, and what its thread did before its fence or had seen
// others do; whatever one thread of a block acquires is taken as known to the whole
// block, and knowledge that does not fit is rounded up, so a race between blocks can
// be missed but never invented.
#include <stdlib.h>
#include <string.h>

#include "profile.h"

enum { FLAGS_MAX = 256 };

static uint32_t base, blocks;  // of the launch

// Per block of the launch: the time up to which all of it is known, and the same for
// the thread that released last and for the other lanes of its warp.
struct Known {
  uint32_t *all, *own, *lanes;
  uint16_t *thread;
};
static Known mine;  // what the block has acquired
bool releases_acquired;
struct Flag {
  uintptr_t at;
  Known known;
};
static Flag flag[FLAGS_MAX];
static uint32_t flags, flags_max;  // those for which there is no room share the last

static bool make(Known &k) {
  k.all = (uint32_t *)calloc(blocks, 4);
  k.own = (uint32_t *)calloc(blocks, 4);
  k.lanes = (uint32_t *)calloc(blocks, 4);
  k.thread = (uint16_t *)calloc(blocks, 2);
  return k.all && k.own && k.lanes && k.thread;
}
static void drop(Known &k) {
  free(k.all);
  free(k.own);
  free(k.lanes);
  free(k.thread);
  k = Known{};
}
static inline void raise(uint32_t &time, uint32_t to) {
  if (to > time) time = to;
}

// A release by `thread` of block `b`. An earlier one by another thread is rounded up
// to its warp, one by another warp to the block.
static void learn(Known &k, uint32_t b, uint16_t thread, uint32_t own,
                  uint32_t lanes) {
  uint16_t old = k.thread[b];
  bool other = k.own[b] && old != thread, newer = own > k.own[b];
  uint32_t first = newer ? k.own[b] : own;
  if (!other || old / WARP == thread / WARP) {
    raise(k.lanes[b], lanes);
    if (other) raise(k.lanes[b], first);
  } else {
    raise(k.all[b], first);
    raise(k.all[b], newer ? k.lanes[b] : lanes);
    if (newer) k.lanes[b] = lanes;
  }
  if (!newer) return;
  k.own[b] = own;
  k.thread[b] = thread;
}

// What is known of earlier blocks: of the running one the clocks know more.
static void join(Known &into, const Known &from) {
  uint32_t before = race_block - base - 1;
  for (uint32_t b = 0; b < blocks && b < before; ++b) {
    raise(into.all[b], from.all[b]);
    if (from.own[b]) learn(into, b, from.thread[b], from.own[b], from.lanes[b]);
  }
}

// When each thread of the block last stored, and the last barrier before which
// every thread had put a fence behind its stores: from then on whoever stores a
// flag publishes them, with no fence of its own.
uint32_t race_stored[MAX_THREADS];
static uint32_t fenced_barrier;

void releases_barrier(const uint32_t *fences, uint32_t barrier) {
  for (uint32_t t = 0; t < threads; ++t)
    if (race_stored[t] > fences[t]) return;
  fenced_barrier = barrier;
}

void releases_begin(uint32_t first_block, uint64_t count) {
  for (uint32_t i = 0; i < flags; ++i) drop(flag[i].known);
  flags = 0;
  base = first_block;
  blocks = (uint32_t)(count < (1u << 24) ? count : 1u << 24);
  flags_max = (64u << 20) / (14 * blocks);
  if (flags_max < 1) flags_max = 1;
  if (flags_max > FLAGS_MAX) flags_max = FLAGS_MAX;
}

void releases_block() {
  if (releases_acquired) drop(mine);
  releases_acquired = false;
  memset(race_stored, 0, threads * sizeof *race_stored);
  fenced_barrier = 0;
}

bool releases_learnt(uint32_t block, uint16_t thread, uint32_t time) {
  uint32_t b = block - base - 1;
  if (b >= blocks || mine.all[b] >= time) return true;
  if (mine.thread[b] == thread && mine.own[b] >= time) return true;
  return mine.thread[b] / WARP == thread / WARP && mine.lanes[b] >= time;
}

// The running thread, which has seen the others of its block up to `seen`, loads
// from or stores to a place through which threads may tell each other something.
void releases_flag(uintptr_t a, bool acquire, bool release, uint32_t fenced,
                 const uint32_t *seen) {
  Flag *f = flags == flags_max ? &flag[flags - 1] : nullptr;
  for (uint32_t i = 0; i < flags; ++i)
    if (flag[i].at == a) f = &flag[i];
  bool by_fence = release && fenced;
  release = by_fence || (release && fenced_barrier);
  if (!f && !release) return;
  if (!f) {
    f = &flag[flags++];
    f->at = a;
    if (!make(f->known)) abort();
  }
  if (!releases_acquired && !make(mine)) abort();
  releases_acquired = true;
  if (acquire) join(mine, f->known);
  uint32_t b = race_block - base - 1;
  if (!release || b >= blocks) return;
  join(f->known, mine);
  raise(f->known.all[b], by_fence ? race_barrier : fenced_barrier);
  if (!by_fence) return;
  uint32_t lanes = 0;
  for (uint32_t t = 0; t < threads; ++t)
    if (t != current)
      raise(t / WARP == current / WARP ? lanes : f->known.all[b], seen[t]);
  learn(f->known, b, (uint16_t)current, fenced, lanes);
}
