// Which lanes of a warp execute an access together? Those at the same program
// point: in the same calls, in the same iteration of every loop around them.
//
// Where a thread is, is one number: a point of a table that all threads share.
// The compiler reports basic blocks and calls as they are entered, and a report
// leads from point to point. The first thread to take a way works out where it
// leads; those that follow look it up. Edges between blocks are collected on the
// way (loops.cpp); should they change what is a loop, the launch is counted once
// more.
#include <stdlib.h>
#include <string.h>

#include "profile.h"

// What makes a point: the calls that led here, by the caller's point, the basic
// block, and the iterations of the loops around it.
struct Place {
  uint64_t context;
  uint32_t back;
  uint16_t block;
  uint32_t count[NESTED];
};
// Ways that other threads have taken.
struct Way {
  uint32_t from, report, to;
};

enum { ROOT = 0, NONE = 0, WAYS = 1 << 13, KEPT = 1 << 18 };
enum : uint32_t { CALL = 1u << 31 };  // no report is NONE: code starts behind a header

Point *points;
uint32_t point_of[MAX_THREADS];
static Place *place;
static uint32_t used, room;
static uint32_t *slot;  // a hash table of 1 + the number of a point
static Way way[WAYS];
static uintptr_t base;

static inline uint64_t mix(uint64_t key, uint64_t value) {
  key = (key ^ value) * 0x9E3779B97F4A7C15u;
  return key ^ key >> 29;
}

static uint32_t first_slot(uint64_t key, uint16_t block, uint32_t back) {
  return (uint32_t)mix(key, (uint64_t)back << 16 | block) & (2 * room - 1);
}

static void enter(uint32_t p) {
  uint32_t i = first_slot(points[p].key, place[p].block, place[p].back);
  while (slot[i]) i = (i + 1) & (2 * room - 1);
  slot[i] = p + 1;
}

static void resize(uint32_t to) {
  room = to;
  points = (Point *)realloc(points, room * sizeof *points);
  place = (Place *)realloc(place, room * sizeof *place);
  free(slot);
  slot = (uint32_t *)calloc(2 * (size_t)room, sizeof *slot);
  if (!points || !place || !slot) abort();
  for (uint32_t p = 0; p < used; ++p) enter(p);
}

static void forget_ways() {
  memset(way, 0xff, sizeof way);
  for (uint32_t p = 0; p < used; ++p) points[p].report = NONE;
}

// Keep only the points where threads are, and those to which they return.
static void collect() {
  uint32_t *now = (uint32_t *)calloc(used, sizeof *now);
  if (!now) abort();
  now[ROOT] = 1;
  for (uint32_t t = 0; t < threads; ++t)
    for (uint32_t p = point_of[t]; !now[p]; p = place[p].back) now[p] = 1;
  uint32_t kept = 0;
  for (uint32_t p = 0; p < used; ++p) {
    if (!now[p]) continue;
    now[p] = kept;
    points[kept] = points[p];
    place[kept] = place[p];
    place[kept++].back = now[place[p].back];  // a caller's point is no later one
  }
  for (uint32_t t = 0; t < threads; ++t) point_of[t] = now[point_of[t]];
  free(now);
  used = kept;
  forget_ways();
  resize(room);
}

static uint32_t point_at(uint64_t key, const Place &here) {
  uint32_t i = first_slot(key, here.block, here.back);
  for (; slot[i]; i = (i + 1) & (2 * room - 1)) {
    uint32_t p = slot[i] - 1;
    if (points[p].key == key && place[p].block == here.block &&
        place[p].back == here.back)
      return p;
  }
  points[used] = Point{key, NONE, NONE};
  place[used] = here;
  slot[i] = ++used;
  return used - 1;
}

// Where a call leads.
static uint32_t enter_call(uint32_t from, uint32_t report) {
  Place here = {};
  here.context = mix(points[from].key, report - CALL);
  here.back = from;
  here.block = NO_BLOCK;
  return point_at(here.context, here);
}

// Where the entry of a basic block leads.
static uint32_t enter_block(uint32_t from, uint32_t report) {
  uint16_t b = loops_block(report);
  if (!b) return from;
  const Place &before = place[from];
  loops_edge(before.block, b);
  Place here = {};
  here.context = before.context;
  here.back = before.back;
  here.block = b;
  uint64_t key = here.context;
  const Around &old = loops_around(before.block == NO_BLOCK ? 0 : before.block);
  const Around &around = loops_around(b);
  for (uint32_t i = 0; i < around.depth; ++i) {
    uint16_t l = around.loop[i];
    bool again = loops_inside(l, before.block);
    for (uint32_t j = 0; again && j < old.depth; ++j)
      if (old.loop[j] == l) here.count[i] = before.count[j];
    here.count[i] += again && loops_header(b) == l;
    key = mix(key, (uint64_t)l << 32 | here.count[i]);
  }
  return point_at(key, here);
}

// A way that the point's last visitor did not take.
static __attribute__((noinline)) void turn(uint32_t report) {
  if (used == room) {
    if (room >= KEPT) collect();
    if (used > room / 2) resize(2 * room);
  }
  uint32_t from = point_of[current];
  Way &w = way[(from * 2654435761u ^ report * 40503u) % WAYS];
  if (w.from != from || w.report != report) {
    uint32_t to = report & CALL ? enter_call(from, report)
                                : enter_block(from, report);
    w = Way{from, report, to};
  }
  points[from].report = report;
  points[from].to = w.to;
  point_of[current] = w.to;
}

static inline void go(uint32_t report) {
  const Point &p = points[point_of[current]];
  if (__builtin_expect(p.report == report, 1)) point_of[current] = p.to;
  else turn(report);
}

EXPORT void __sanitizer_cov_trace_pc() {
  if (mode == PROFILE) go((uint32_t)((uintptr_t)__builtin_return_address(0) - base));
}
EXPORT void __tsan_func_entry(void *caller) {
  if (mode == PROFILE) go(CALL | (uint32_t)((uintptr_t)caller - base));
}
EXPORT void __tsan_func_exit() {
  if (mode == PROFILE) point_of[current] = place[point_of[current]].back;
}

static void clear() {
  used = 0;
  if (!room) resize(1 << 12);
  memset(slot, 0, 2 * (size_t)room * sizeof *slot);
  Place root = {};
  root.context = 1;
  root.block = NO_BLOCK;
  point_at(root.context, root);
  forget_ways();
}

void points_begin() {
  base = kernel->image;
  if (loops_begin()) clear();
}

void points_block() { memset(point_of, 0, threads * sizeof *point_of); }

// True when the launch has to be counted again.
bool points_end() {
  if (!loops_end()) return false;
  clear();
  return true;
}
