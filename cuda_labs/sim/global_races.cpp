// Races in global memory, within a block and between blocks.
//
// Blocks are ordered by nothing but what one of them releases and another acquires
// (releases.cpp).
#include <stdlib.h>
#include <string.h>

#include "profile.h"

enum { PAGE = 4096, GRANULE = 4, PAGES_MAX = 1 << 13 };

struct Touch {
  uint32_t time, block, place;
  uint16_t thread;
  uint8_t mask;  // bytes of the granule
  bool atomic;
};
struct Cell {
  Touch writer[2], reader[2];
};

static Cell **page;
static size_t page_count;
static uint32_t pages_used, base;

void global_forget() {
  for (size_t i = 0; i < page_count; ++i) free(page[i]);
  free(page);
  page = nullptr;
  page_count = pages_used = 0;
}

void global_begin(uint32_t first_block, uint64_t count) {
  base = first_block;
  releases_begin(first_block, count);
  size_t need = arena_size / PAGE + 1;
  // What earlier launches have touched must not fill the table for this one.
  if (need != page_count || (pages_used && need > PAGES_MAX)) {
    global_forget();
    page = (Cell **)calloc(need, sizeof *page);
    page_count = need;
  }
  if (!page) abort();
}

static Cell *cell_at(uint64_t off) {
  Cell *&p = page[off / PAGE];
  if (!p) {
    if (pages_used == PAGES_MAX) {
      report(UNTRACKED, 0, 0);
      return nullptr;
    }
    p = (Cell *)calloc(PAGE / GRANULE, sizeof(Cell));
    if (!p) abort();
    ++pages_used;
  }
  return p + off % PAGE / GRANULE;
}

static inline __attribute__((always_inline)) bool conflict(const Touch &old,
                                                           uint8_t mask,
                                                           bool atomic) {
  if (old.block <= base || !(old.mask & mask)) return false;
  if (atomic && old.atomic) return false;
  if (old.block == race_block)
    return !clocks_ordered(old.thread, old.time);
  return !releases_known(old.block, old.thread, old.time);
}

static uint32_t other_block(const Touch &t) {
  return t.block == race_block ? 0 : t.block - base;
}

// What conflicts with `s` later conflicts with `t` too: `s` comes before it, touches
// no other byte, and is ordered with no access that `t` is not.
static inline bool stands_for(const Touch &t, const Touch &s) {
  if (s.block <= base) return true;
  if (s.mask & ~t.mask || t.atomic > s.atomic) return false;
  if (s.block == race_block) return clocks_ordered(s.thread, s.time);
  return releases_known(s.block, s.thread, s.time);
}

// The last two, the newer first; a thread's bytes are put together as long as
// nothing could have ordered some of them and not the others.
static inline void keep(Touch (&slot)[2], Touch t) {
  Touch &s = slot[0];
  if (t.mask != 15 && s.block == t.block && s.thread == t.thread &&
      s.atomic == t.atomic && s.place == t.place && s.time > race_ordered)
    t.mask |= s.mask;
  if (!stands_for(t, s)) slot[1] = s;
  else if (stands_for(t, slot[1])) slot[1].block = 0;
  s = t;
}

static __attribute__((noinline)) void global_granules(uint64_t off, size_t bytes,
                                                      bool write, bool atomic,
                                                      uint32_t place) {
  uint64_t end = off + bytes;
  bool reported = false, waiting = false;
  for (uint64_t g = off / GRANULE * GRANULE; g < end; g += GRANULE) {
    uint64_t low = g > off ? g : off, high = g + GRANULE < end ? g + GRANULE : end;
    uint8_t mask = (uint8_t)(((1u << (high - low)) - 1) << (low - g));
    Cell *c = cell_at(g);
    if (!c) return;
    for (const Touch &w : c->writer) {
      if (reported || waiting || !conflict(w, mask, atomic)) continue;
      waiting = races_found(w.place, w.thread, 1 + 2 * w.atomic,
                            (2ull << 40) + low, (uintptr_t)arena + low, end - low,
                            write + 2 * atomic, place, other_block(w));
      reported = !waiting;
    }
    if (write)
      for (const Touch &r : c->reader) {
        if (reported || !conflict(r, mask, atomic)) continue;
        races_found(r.place, r.thread, 2 * r.atomic, (2ull << 40) + low,
                    (uintptr_t)arena + low, end - low, 1 + 2 * atomic, place,
                    other_block(r));
        reported = true;
      }
    Touch now = {race_time, race_block, place, (uint16_t)current, mask,
                 atomic};
    keep(write ? c->writer : c->reader, now);
  }
}

// In this launch nothing has come to the bytes that a plain access could race.
static inline bool untouched(const Cell &c, bool write) {
  if (c.writer[0].block > base || c.writer[1].block > base) return false;
  return !write || (c.reader[0].block <= base && c.reader[1].block <= base);
}

void global_access(uintptr_t a, size_t bytes, bool write, int order,
                   uint32_t place) {
  if (__builtin_expect(race_time >= TOO_LATE, 0)) return profile_late();
  uint64_t off = a - (uintptr_t)arena;
  uint32_t time = ++race_time;
  if (write && order == PLAIN) race_stored[current] = time;
  Cell *cells = page[off / PAGE];
  if (bytes == 4 && off % 4 == 0 && order == PLAIN && cells) {
    Cell &c = cells[off % PAGE / GRANULE];
    if (untouched(c, write)) {
      Touch t = {time, race_block, place, (uint16_t)current, 15, false};
      if (!write) return keep(c.reader, t);
      c.writer[0] = t;  // as keep() would
      return;
    }
  }
  global_granules(off, bytes, write, order != PLAIN, place);
}
