// Races in global memory, within a block and between blocks.
//
// Blocks are ordered by nothing but what one of them releases and another acquires
// (releases.cpp).
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "profile.h"

enum { PAGE = 4096, GRANULE = 4, PAGES_MAX = 1 << 13, SPLITS_MAX = 1 << 21 };

struct Touch {
  uint32_t time, block, place;
  uint16_t thread;
  bool atomic;
  uint8_t split;  // into so many
};
struct Cell {
  Touch writer[2], reader[2];
};
static_assert(sizeof(Cell) == 64, "a cell fills a line of the cache");

// The halves or bytes of granules that this launch has touched in part: of such a
// granule the first touch tells in `place` which they are.
static Cell (*split)[GRANULE];
static uint32_t splits;

static Cell **page;
static size_t page_count;
static uint32_t pages_used, base;

void global_forget() {
  for (size_t i = 0; i < page_count; ++i) free(page[i]);
  free(page);
  page = nullptr;
  page_count = pages_used = 0;
  if (split) munmap((void *)split, SPLITS_MAX * sizeof *split);
  split = nullptr;
}

void global_begin(uint32_t first_block, uint64_t count) {
  base = first_block;
  splits = 0;
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
    constexpr size_t bytes = PAGE / GRANULE * sizeof(Cell);
    p = (Cell *)aligned_alloc(sizeof(Cell), bytes);  // a line of the cache each
    if (!p) abort();
    memset((void *)p, 0, bytes);
    ++pages_used;
  }
  return p + off % PAGE / GRANULE;
}

static inline bool is_split(const Cell *c) {
  return c->writer[0].block > base && c->writer[0].split;
}

// The cells of a granule's halves, the first and the third, or of its bytes.
static __attribute__((noinline)) Cell *split_cell(Cell *c, uint8_t into) {
  Touch &mark = c->writer[0];
  if (!split) {
    void *p = mmap(nullptr, SPLITS_MAX * sizeof *split, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) abort();
    split = (Cell(*)[GRANULE])p;
  }
  if (!is_split(c)) {
    if (splits == SPLITS_MAX) {
      report(UNTRACKED, 0, 0);
      return nullptr;
    }
    split[splits][0] = split[splits][2] = *c;
    mark = {0, race_block, splits++, 0, false, 2};
  }
  Cell *part = split[mark.place];
  if (into > mark.split) {
    part[1] = part[0];
    part[3] = part[2];
    mark.split = into;
  }
  return part;
}

static inline bool came_before(const Touch &s) {
  if (s.block <= base) return true;
  if (s.block == race_block) return clocks_ordered(s.thread, s.time);
  return releases_known(s.block, s.thread, s.time);
}

static inline bool conflict(const Touch &old, bool atomic) {
  return !(atomic && old.atomic) && !came_before(old);
}

static uint32_t other_block(const Touch &t) {
  return t.block == race_block ? 0 : t.block - base;
}

// What conflicts with `s` later conflicts with `t`, which is now, too.
static inline bool stands_for(const Touch &t, const Touch &s) {
  return s.block <= base || (t.atomic <= s.atomic && came_before(s));
}

// The newest, and of those for which no later one stands the first in this block, or
// the last of another. Threads mostly come in order: what races one in between and is
// ordered after the newest races the first.
static inline __attribute__((always_inline)) void keep(Touch (&slot)[2],
                                                       const Touch &t) {
  Touch &s = slot[0], &r = slot[1];
  if (s.block == race_block) {
    bool other = r.block != race_block && r.block > base && !releases_acquired;
    if (!other && !stands_for(t, s) &&
        (came_before(r) || (r.atomic && !s.atomic)))
      r = s;
  } else if (s.block > base && !stands_for(t, s) &&
             (r.block <= base || r.atomic >= s.atomic)) {
    r = s;
  }
  s = t;
}

// What one access has reported so far, over all its cells.
struct Access {
  uint64_t end;
  uint32_t place;
  bool write, atomic, reported;
};

static inline void touch(Cell &c, uint64_t at, uint32_t met, Access &a) {
  for (const Touch &w : c.writer)
    if (!a.reported && conflict(w, a.atomic))
      a.reported = !races_found(w.place, w.thread, 1 + 2 * w.atomic,
                                (2ull << 40) + at, (uintptr_t)arena + at, met,
                                a.end - at, a.write + 2 * a.atomic, a.place,
                                other_block(w));
  if (a.write)
    for (const Touch &r : c.reader) {
      if (a.reported || !conflict(r, a.atomic)) continue;
      races_found(r.place, r.thread, 2 * r.atomic, (2ull << 40) + at,
                  (uintptr_t)arena + at, met, a.end - at, 1 + 2 * a.atomic,
                  a.place, other_block(r));
      a.reported = true;
    }
  Touch now = {race_time, race_block, a.place, (uint16_t)current, a.atomic, 0};
  keep(a.write ? c.writer : c.reader, now);
}

static __attribute__((noinline)) void global_granules(uint64_t off, size_t bytes,
                                                      bool write, bool atomic,
                                                      uint32_t place) {
  Access a = {off + bytes, place, write, atomic, false};
  while (off < a.end) {
    Cell *c = cell_at(off);
    if (!c) return;
    uint64_t to = (off / GRANULE + 1) * GRANULE;
    if (to > a.end) to = a.end;
    if (!is_split(c) && to - off == GRANULE) {
      touch(*c, off, GRANULE, a);
      off = to;
      continue;
    }
    uint8_t into = (off | to) % 2 ? 4 : 2;
    Cell *part = is_split(c) && c->writer[0].split >= into
                     ? split[c->writer[0].place]
                     : split_cell(c, into);
    if (!part) return;
    uint32_t unit = GRANULE / c->writer[0].split;
    for (; off < to; off += unit) touch(part[off % GRANULE], off, unit, a);
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
  if (order == PLAIN && cells) {
    Cell *c = &cells[off % PAGE / GRANULE];
    uint32_t unit = GRANULE;
    if (is_split(c)) {
      unit = GRANULE / c->writer[0].split;
      c = &split[c->writer[0].place][off % GRANULE];
    }
    if (bytes == unit && off % unit == 0 && untouched(*c, write)) {
      Touch t = {time, race_block, place, (uint16_t)current, false, 0};
      if (!write) return keep(c->reader, t);
      c->writer[0] = t;  // as keep() would
      return;
    }
  }
  global_granules(off, bytes, write, order != PLAIN, place);
}
