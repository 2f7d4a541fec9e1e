// What a profiled launch sees of each access, and what it reports.
#include <stdlib.h>
#include <string.h>

#include "profile.h"

static bool learning;
static Found found[256];
static uint32_t founds;

// All threads have arrived: no request of the block is still incomplete.
void profile_barrier() {
  if (mode != PROFILE || learning) return;
  races_settle();
  clocks_barrier();
  requests_settle();
}

static void not_arrived(uint32_t at, bool write, uint32_t place, int begun) {
  Found *f = report(NOT_ARRIVED, place, 1u << 31 | (uint32_t)begun);
  if (!f) return;
  f->store = write;
  f->at = races_where(at);
}

// What a lane moves `unit` bytes at a time is as many requests.
static inline void count(uintptr_t a, size_t bytes, uint32_t unit, uint32_t place,
                         uint32_t kind) {
  uint32_t part = 0;
  for (; bytes > unit; a += unit, bytes -= unit)
    requests_count(a, unit, place, kind, part++);
  requests_count(a, (uint32_t)bytes, place, kind, part);
}

void profile_access(uintptr_t a, size_t bytes, Region region, bool write,
                    int order, uint32_t place, uint32_t unit) {
  if (__builtin_expect(learning, 0)) return;
  races_settle();
  if (compares && !write && order == PLAIN) races_load(a, place);
  if (region == IN_ARENA) {
    global_access(a, bytes, write, order, place);
    return count(a, bytes, unit, place,
                 order == ATOMIC ? ATOMIC_GLOBAL : GLOBAL + write);
  }
  if (region == IN_IMAGE && !is_shared(a)) return count(a, bytes, unit, place, MODULE);
  uint32_t at = region == IN_DYNAMIC ? dynamic_offset(a) : static_offset(a);
  int begun = in_flight ? async_pending(a, bytes) : 0;
  if (begun) not_arrived(at, write, place, begun);
  else races_access(at, bytes, write, order, place);
  count(a, bytes, unit, place, order == ATOMIC ? ATOMIC_SHARED : SHARED + write);
}

// A copy loads and stores when it starts and, for all that is known, again when
// it arrives. It is counted once.
void profile_async(void *to, const void *from, uint32_t bytes, uint32_t fill,
                   uint32_t place, bool starts) {
  if (learning || mode != PROFILE) return;
  races_settle();
  uint32_t at, left = bytes - fill;
  uintptr_t source = (uintptr_t)from, target = (uintptr_t)to;
  bool tracked = source - (uintptr_t)arena < arena_size;
  if (left && tracked) global_access(source, left, false, PLAIN, place);
  if (shared_offset(target, &at)) races_access(at, bytes, true, PLAIN, place);
  if (!starts) return;
  if (left) requests_count(source, left, place, ASYNC_GLOBAL);
  requests_count(target, bytes, place, ASYNC_SHARED);
}

// There have been so many accesses that their times would wrap.
void profile_late() { report(TOO_LONG, 0, 0); }

void profile_settle() {
  if (!learning && mode == PROFILE) races_settle();
}

// Stores of equal values so far, which the next pair may turn into a race.
Found *again(uint32_t place, uint32_t other) {
  for (uint32_t i = 0; i < founds; ++i) {
    Found &f = found[i];
    if (f.kind == EQUAL_WRITES && f.place == place && f.other == other)
      return &f;
  }
  return nullptr;
}

Found *report(uint32_t kind, uint32_t place, uint32_t other) {
  for (uint32_t i = 0; i < founds; ++i) {
    Found &f = found[i];
    bool same = f.kind == kind || (kind == RACE && f.kind == EQUAL_WRITES);
    if (same && f.place == place && f.other == other) {
      ++f.count;
      return nullptr;
    }
  }
  if (founds == sizeof found / sizeof *found) return nullptr;
  Found &f = found[founds++];
  f = Found{};
  f.kind = kind;
  f.place = place;
  f.other = other;
  f.count = 1;
  memcpy(f.block, block_index, sizeof f.block);
  f.first = f.second = current;
  return &f;
}

void profile_note(uint32_t kind, int line) {
  if (mode == PROFILE && !learning) report(kind, 1u << 31 | (uint32_t)line, 0);
}

void profile_begin(bool learn) {
  learning = learn;
  points_begin();
  conflicts_begin();
  if (learn) return;
  founds = 0;
  requests_begin();
  clocks_begin();
  races_begin();
  global_begin(race_block, (uint64_t)grid[0] * grid[1] * grid[2]);
}

void profile_block_begin() {
  points_block();
  if (learning) return;
  race_waits = false;
  releases_block();
  clocks_block();
}

void profile_block_end() {
  if (learning) return;
  races_settle();
  requests_settle();
}

// True when the launch is still to be counted, or to be counted again.
bool profile_reply(const void **c, uint32_t *n, const void **f, uint32_t *m,
                   uint64_t *footprint) {
  bool again = points_end();
  if (!learning) again |= conflicts_end(found, founds);
  uint32_t counters = counters_all(c);
  *n = learning ? 0 : counters;
  *footprint = requests_footprint();
  *f = found;
  *m = learning ? 0 : founds;
  return again || learning;
}
