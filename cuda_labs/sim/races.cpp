// Races and reads of uninitialised bytes in shared memory.
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

enum { SPACE_MAX = 48 << 10, READERS = 4 };

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

static Cell *cell;
static uint32_t cells;
static uint32_t now = 1, last_barrier, block_number;
// seen[t][u]: thread t has seen what u did up to this time. A row is valid
// when its stamp is the last barrier's; else it stands for zeros.
static uint32_t *seen, stamp[MAX_THREADS];
static uint32_t fenced[MAX_THREADS];

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

bool shared_offset(uintptr_t a, uint32_t *at) {
  uintptr_t off = a - (uintptr_t)sim_dynamic;
  if (off < DYNAMIC_MAX) {
    *at = (uint32_t)off;
    return true;
  }
  if (a < kernel->data || a >= kernel->data_end) return false;
  if (kernel->map[a - kernel->data] != 2) return false;
  *at = DYNAMIC_MAX + (uint32_t)(a - kernel->data);
  return true;
}

void races_begin() {
  uint32_t n = DYNAMIC_MAX + (uint32_t)(kernel->data_end - kernel->data);
  if (n > cells) {  // the number of the block tells what is stale in the rest
    free(cell);
    cell = (Cell *)calloc(n, sizeof(Cell));
    cells = n;
  }
  if (!seen) seen = (uint32_t *)calloc(MAX_THREADS * MAX_THREADS, 4);
  if (!cell || !seen) abort();
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
  forget_clocks();
}

void races_barrier() {
  races_settle();
  forget_clocks();
}

static bool ordered(const Touch &old) {
  return old.thread == current || old.time <= last_barrier ||
         (stamp[current] == last_barrier &&
          seen[current * MAX_THREADS + old.thread] >= old.time);
}

void races_settle() {
  if (!pending.found) return;
  if (!memcmp((void *)pending.at, pending.before, pending.bytes))
    pending.found->kind = EQUAL_WRITES;
  pending.found = nullptr;
}

static void judge_later(Found *f, uint32_t at) {
  if (pending.found) return;  // one store is judged once
  f->kind = RACE;
  pending.found = f;
  pending.at = at < DYNAMIC_MAX ? (uintptr_t)sim_dynamic + at
                                : kernel->data + (at - DYNAMIC_MAX);
}

static void race(const Touch &old, bool old_store, uint32_t at, bool write,
                 uint32_t place) {
  bool stores = write && old_store;
  Found *f = report(RACE, place, old.place);
  if (!f && stores) {
    f = again(place, old.place);
    if (f) judge_later(f, at);
    return;
  }
  if (!f) return;
  f->first = current;
  f->second = old.thread;
  f->store = write;
  f->other_store = old_store;
  f->at = at < DYNAMIC_MAX
              ? (1ull << 40) + at
              : kernel->data - kernel->image + (at - DYNAMIC_MAX);
  if (stores) judge_later(f, at);
}

void races_access(uint32_t at, size_t bytes, bool write, int order,
                  uint32_t place) {
  bool atomic = order != PLAIN;
  ++now;
  bool reported = false;
  ptrdiff_t waiting = 0;
  for (uint32_t i = at; i < at + bytes; ++i) {
    Cell &c = cell[i];
    if (c.block != block_number) {
      memset(&c, 0, sizeof c);
      c.block = block_number;
    }
    bool reads = !write || order == ATOMIC;
    if (reads && !c.written && !reported) {
      Found *f = report(UNINITIALISED, place, 0);
      if (f) f->at = i < DYNAMIC_MAX ? (1ull << 40) + i
                         : kernel->data - kernel->image + (i - DYNAMIC_MAX);
      reported = true;
    }
    for (const Touch &w : c.writer) {
      if (!w.time || (atomic && w.atomic) || ordered(w) || reported) continue;
      if (waiting == &w - c.writer + 1) continue;  // a byte of the same store
      race(w, true, i, write, place);
      if (pending.found) {
        pending.bytes = (uint32_t)(bytes - (i - at));
        if (pending.bytes > 16) pending.bytes = 16;
        memcpy(pending.before, (void *)pending.at, pending.bytes);
      }
      // A judgement that waits may yet excuse this store, but no other.
      if (pending.found && !waiting) waiting = &w - c.writer + 1;
      else reported = true;
    }
    if (write) {
      for (const Touch &r : c.reader) {
        if (!r.time || (atomic && r.atomic) || ordered(r) || reported) continue;
        race(r, false, i, true, place);
        reported = true;
      }
      c.written = true;
      if (c.writer[0].place != place) c.writer[1] = c.writer[0];
      c.writer[0] = Touch{now, place, (uint16_t)current, atomic};
    } else {
      // Keep readers of different warps: a later store may be ordered after
      // one and not after another.
      Touch *slot = &c.reader[0];
      for (Touch &r : c.reader) {
        if (!r.time || r.thread == current ||
            (r.thread / WARP == current / WARP && ordered(r))) {
          slot = &r;
          break;
        }
        if (r.time < slot->time) slot = &r;
      }
      *slot = Touch{now, place, (uint16_t)current, atomic};
    }
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
  if (mode == PROFILE) fenced[current] = ++now;
}

void profile_acquire_release(uintptr_t a, bool acquire, bool release) {
  if (mode != PROFILE || !seen) return;
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
