// Races and reads of uninitialised bytes in shared memory; the clocks that
// global_races.cpp uses too.
//
// Two accesses of one byte by different threads, at least one of them a plain
// store, are a race unless one happens before the other: by __syncthreads, by
// __syncwarp among the lanes of its mask, or along a chain of fence, atomic
// (or volatile) store and atomic (or volatile) load. Time is a count of
// events; each thread holds, for every other, the time up to which it has seen
// that thread's accesses (vector clocks: Mattern 1989).
#include <stdlib.h>
#include <string.h>

#include "profile.h"

enum { READERS = 4 };

struct Touch {
  uint32_t time, place;
  uint16_t thread;
  bool atomic;
};
struct Cell {
  uint32_t block;  // the block in which the rest is true
  bool written;
  // The last two stores from different places, and loads, kept when a byte is
  // stored again: equal values excuse a store, but not what came before it.
  Touch writer[2], reader[READERS];
};

// One cell for each word, and one for each byte of the words that a block has
// touched in part: `split` says in which block that was last.
static Cell *word_cell, *byte_cell;
static uint32_t *split;
static uint32_t cells;
static uint32_t now = 1, last_barrier, block_number;
// seen[t][u]: thread t has seen what u did up to this time. A row is valid
// when its stamp is the last barrier's; else it stands for zeros.
static uint32_t *seen, stamp[MAX_THREADS];
// The last fence of each thread, since the last barrier and in the block.
static uint32_t fenced[MAX_THREADS], fences[MAX_THREADS];

struct Flag {
  uintptr_t at;
  uint32_t *clock;
};
static Flag flag[256];
static uint32_t flags;

// A store by a second thread, judged once it has been carried out: storing
// the value that is already there is a note, not a race.
static struct {
  Found *found;
  uintptr_t at;
  uint32_t bytes;
  char before[16];
} pending;

static uintptr_t first_word() { return kernel->data & ~(uintptr_t)15; }

bool shared_offset(uintptr_t a, uint32_t *at) {
  uintptr_t off = a - (uintptr_t)sim_dynamic;
  if (off < DYNAMIC_MAX) {
    *at = (uint32_t)off;
    return true;
  }
  if (a < kernel->data || a >= kernel->data_end) return false;
  if (!(kernel->map[a - kernel->data] & 2)) return false;
  *at = DYNAMIC_MAX + (uint32_t)(a - first_word());
  return true;
}

uint32_t races_block_number() { return block_number; }
uint32_t races_tick() { return ++now; }

void races_begin() {
  global_begin(block_number, (uint64_t)grid[0] * grid[1] * grid[2]);
  uint32_t n = DYNAMIC_MAX + (uint32_t)(kernel->data_end - first_word()) + 4;
  if (n > cells) {  // the number of the block tells what is stale in the rest
    free(word_cell);
    free(byte_cell);
    free(split);
    word_cell = (Cell *)calloc(n / 4 + 1, sizeof(Cell));
    byte_cell = (Cell *)calloc(n, sizeof(Cell));
    split = (uint32_t *)calloc(n / 4 + 1, sizeof *split);
    cells = n;
  }
  if (!seen) seen = (uint32_t *)calloc(MAX_THREADS * MAX_THREADS, 4);
  if (!word_cell || !byte_cell || !split || !seen) abort();
  if (now > 1u << 30) {  // stamps of earlier launches stay older than this one
    now = 1;
    memset(stamp, 0, sizeof stamp);
  }
}

static uint32_t *clock_of(uint32_t t) {
  uint32_t *row = seen + (size_t)t * MAX_THREADS;
  if (stamp[t] != last_barrier) memset(row, 0, threads * sizeof *row);
  stamp[t] = last_barrier;
  return row;
}

static void forget_clocks() {
  last_barrier = now++;
  memset(fenced, 0, threads * sizeof *fenced);
  for (uint32_t i = 0; i < flags; ++i) free(flag[i].clock);
  flags = 0;
}

void races_block() {
  ++block_number;
  pending.found = nullptr;
  global_block();
  memset(fences, 0, threads * sizeof *fences);
  forget_clocks();
}

void races_barrier() {
  races_settle();
  global_barrier(fences, now);
  forget_clocks();
}

bool races_ordered(uint32_t other, uint32_t time) {
  return other == current || time <= last_barrier ||
         (stamp[current] == last_barrier &&
          seen[current * MAX_THREADS + other] >= time);
}

static bool ordered(const Touch &old) {
  return races_ordered(old.thread, old.time);
}

void races_settle() {
  if (!pending.found) return;
  if (!memcmp((void *)pending.at, pending.before, pending.bytes))
    pending.found->kind = EQUAL_WRITES;
  pending.found = nullptr;
}

// Report a race between `here` and an earlier access. True when two stores
// meet: whether they differ is known only after this one.
bool races_found(uint32_t place, uint32_t other, uint32_t other_store,
                 uint64_t where, uintptr_t a, size_t bytes, uint32_t store,
                 uint32_t here, uint32_t other_block) {
  bool stores = store == 1 && other_store == 1;
  Found *f = report(RACE, here, place);
  if (f) {
    f->first = current;
    f->second = other;
    f->store = store;
    f->other_store = other_store;
    f->other_block = other_block;
    f->at = where;
  } else if (stores) {
    f = again(here, place);
  }
  if (!f || !stores || pending.found) return false;
  f->kind = RACE;
  pending.found = f;
  pending.at = a;
  pending.bytes = bytes < 16 ? (uint32_t)bytes : 16;
  memcpy(pending.before, (void *)a, pending.bytes);
  return true;
}

uint64_t races_where(uint32_t at) {
  return at < DYNAMIC_MAX
             ? (1ull << 40) + at
             : first_word() - kernel->image + (at - DYNAMIC_MAX);
}
static uintptr_t address_of(uint32_t at) {
  return at < DYNAMIC_MAX ? (uintptr_t)sim_dynamic + at
                          : first_word() + (at - DYNAMIC_MAX);
}

// What one access has reported so far, over all its cells.
struct Access {
  uint32_t end, place;
  bool write, atomic, reads, reported, waiting;
};

static void touch(Cell &c, uint32_t i, Access &a) {
  if (c.block != block_number) {
    memset(&c, 0, sizeof c);
    c.block = block_number;
  }
  if (a.reads && !c.written && !a.reported) {
    Found *f = report(UNINITIALISED, a.place, 0);
    if (f) f->at = races_where(i);
    a.reported = true;
  }
  for (const Touch &w : c.writer) {
    if (!w.time || (a.atomic && w.atomic) || ordered(w) || a.reported) continue;
    if (a.waiting) continue;
    // A judgement that waits may yet excuse this store.
    a.waiting = races_found(w.place, w.thread, 1 + 2 * w.atomic, races_where(i),
                            address_of(i), a.end - i, a.write + 2 * a.atomic,
                            a.place);
    a.reported = !a.waiting;
  }
  if (a.write) {
    for (const Touch &r : c.reader) {
      if (!r.time || (a.atomic && r.atomic) || ordered(r) || a.reported)
        continue;
      races_found(r.place, r.thread, 2 * r.atomic, races_where(i), address_of(i),
                  1, 1 + 2 * a.atomic, a.place);
      a.reported = true;
    }
    c.written = true;
    if (c.writer[0].place != a.place) c.writer[1] = c.writer[0];
    c.writer[0] = Touch{now, a.place, (uint16_t)current, a.atomic};
    return;
  }
  // Keep readers of different warps: a later store may be ordered after one
  // and not after another.
  Touch *slot = &c.reader[0];
  for (Touch &r : c.reader) {
    if (!r.time || r.thread == current ||
        (r.thread / WARP == current / WARP && ordered(r))) {
      slot = &r;
      break;
    }
    if (r.time < slot->time) slot = &r;
  }
  *slot = Touch{now, a.place, (uint16_t)current, a.atomic};
}

void races_access(uint32_t at, size_t bytes, bool write, int order,
                  uint32_t place) {
  ++now;
  Access a = {at + (uint32_t)bytes, place, write, order != PLAIN,
              !write || order == ATOMIC, false, false};
  for (uint32_t i = at; i < a.end;) {
    uint32_t w = i / 4;
    if (i % 4 == 0 && a.end - i >= 4 && split[w] != block_number) {
      touch(word_cell[w], i, a);
      i += 4;
      continue;
    }
    if (split[w] != block_number) {
      split[w] = block_number;
      for (uint32_t b = 0; b < 4; ++b) byte_cell[4 * w + b] = word_cell[w];
    }
    touch(byte_cell[i], i, a);
    ++i;
  }
}

static void join(uint32_t *into, const uint32_t *from) {
  for (uint32_t i = 0; i < threads; ++i)
    if (from[i] > into[i]) into[i] = from[i];
}

void profile_syncwarp(uint32_t warp, uint32_t lanes) {
  if (mode != PROFILE || !seen) return;
  races_settle();
  uint32_t all[MAX_THREADS] = {};
  ++now;
  for (uint32_t l = 0; l < WARP; ++l) {
    if (!(lanes >> l & 1)) continue;
    join(all, clock_of(warp * WARP + l));
    all[warp * WARP + l] = now;
  }
  for (uint32_t l = 0; l < WARP; ++l)
    if (lanes >> l & 1)
      memcpy(clock_of(warp * WARP + l), all, threads * 4);
}

void profile_fence() {
  if (mode == PROFILE) fenced[current] = fences[current] = ++now;
}

void profile_acquire_release(uintptr_t a, bool acquire, bool release) {
  if (mode != PROFILE || !seen) return;
  global_flag(a, acquire, release, fenced[current], last_barrier);
  Flag *f = nullptr;
  for (uint32_t i = 0; i < flags; ++i)
    if (flag[i].at == a) f = &flag[i];
  uint32_t *mine = clock_of(current);
  if (acquire && f) join(mine, f->clock);
  if (!release || !fenced[current]) return;
  if (!f && flags < sizeof flag / sizeof *flag) {
    f = &flag[flags++];
    f->at = a;
    f->clock = (uint32_t *)calloc(MAX_THREADS, 4);
    if (!f->clock) abort();
  }
  if (!f) return;
  join(f->clock, mine);
  if (fenced[current] > f->clock[current]) f->clock[current] = fenced[current];
}

// A plain load that atomicCAS then checks is how an atomic operation of one's
// own begins: "old = *p; do ... while (atomicCAS(p, assumed, ...))".
enum { LOADS = 4, CHECKED_MAX = 64 };
static struct {
  uintptr_t at;
  uint32_t place;
} loaded[MAX_THREADS][LOADS];
static uint8_t next_load[MAX_THREADS];
static uint32_t compared[CHECKED_MAX], comparisons;

void races_load(uintptr_t a, uint32_t place) {
  auto &slot = loaded[current][next_load[current]++ % LOADS];
  slot.at = a;
  slot.place = place;
}

void profile_compared(uintptr_t a) {
  for (auto &l : loaded[current]) {
    if (l.at != a) continue;
    l.at = 0;
    bool there = comparisons == CHECKED_MAX;
    for (uint32_t i = 0; i < comparisons; ++i) there |= compared[i] == l.place;
    if (!there) compared[comparisons++] = l.place;
  }
}

void races_end(Found *f, uint32_t n) {
  for (uint32_t i = 0; i < n; ++i, ++f) {
    if (f->kind != RACE) continue;
    for (uint32_t c = 0; c < comparisons; ++c) {
      bool first = f->place == compared[c] && !f->store && f->other_store == 3;
      bool other = f->other == compared[c] && !f->other_store && f->store == 3;
      if (first || other) f->kind = COMPARED;
    }
  }
  comparisons = 0;
  memset(loaded, 0, sizeof loaded);
}
