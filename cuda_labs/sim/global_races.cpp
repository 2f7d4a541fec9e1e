// Races in global memory, within a block and between blocks.
//
// Blocks are ordered by nothing but a chain of fence, atomic (or volatile)
// store and atomic (or volatile) load. A release publishes what the block did
// before its last barrier, and what its thread did before its fence; whatever
// one thread of a block acquires is taken as known to the whole block, so a
// race between blocks can be missed but never invented.
#include <stdlib.h>
#include <string.h>

#include "profile.h"

enum { PAGE = 4096, GRANULE = 4, PAGES_MAX = 1 << 13, FLAGS_MAX = 64 };

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
static uint32_t pages_used, base, blocks;

// Per block of the launch: the time up to which all of it is known, and the
// same for the one thread that released.
struct Known {
  uint32_t *all, *own;
  uint16_t *thread;
};
static Known mine;
struct Flag {
  uintptr_t at;
  Known known;
};
static Flag flag[FLAGS_MAX];
static uint32_t flags;

static bool make(Known &k) {
  k.all = (uint32_t *)calloc(blocks, 4);
  k.own = (uint32_t *)calloc(blocks, 4);
  k.thread = (uint16_t *)calloc(blocks, 2);
  return k.all && k.own && k.thread;
}
static void drop(Known &k) {
  free(k.all);
  free(k.own);
  free(k.thread);
  k = Known{};
}
static void join(Known &into, const Known &from) {
  for (uint32_t b = 0; b < blocks; ++b) {
    if (from.all[b] > into.all[b]) into.all[b] = from.all[b];
    if (from.own[b] > into.own[b]) {
      into.own[b] = from.own[b];
      into.thread[b] = from.thread[b];
    }
  }
}

// When each thread of the block last stored, and the last barrier before which
// every thread had put a fence behind its stores: from then on whoever stores a
// flag publishes them, with no fence of its own.
static uint32_t stored[MAX_THREADS], fenced_barrier;

void global_barrier(const uint32_t *fences, uint32_t barrier) {
  for (uint32_t t = 0; t < threads; ++t)
    if (stored[t] > fences[t]) return;
  fenced_barrier = barrier;
}

void global_begin(uint32_t first_block, uint64_t count) {
  for (uint32_t i = 0; i < flags; ++i) drop(flag[i].known);
  flags = 0;
  drop(mine);
  base = first_block;
  blocks = (uint32_t)(count < (1u << 24) ? count : 1u << 24);
  size_t need = arena_size / PAGE + 1;
  if (need != page_count || pages_used > PAGES_MAX / 2) {
    for (size_t i = 0; i < page_count; ++i) free(page[i]);
    free(page);
    page = (Cell **)calloc(need, sizeof *page);
    page_count = need;
    pages_used = 0;
  }
  if (!page) abort();
}

void global_block() {
  drop(mine);
  memset(stored, 0, threads * sizeof *stored);
  fenced_barrier = 0;
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

static bool known(const Touch &old) {
  uint32_t b = old.block - base - 1;
  if (!mine.all || b >= blocks) return false;
  return mine.all[b] >= old.time ||
         (mine.own[b] >= old.time && mine.thread[b] == old.thread);
}

static inline __attribute__((always_inline)) bool conflict(const Touch &old,
                                                           uint8_t mask,
                                                           bool atomic) {
  if (old.block <= base || !(old.mask & mask)) return false;
  if (atomic && old.atomic) return false;
  if (old.block == race_block)
    return !clocks_ordered(old.thread, old.time);
  return !known(old);
}

static uint32_t other_block(const Touch &t) {
  return t.block == race_block ? 0 : t.block - base;
}

static void keep(Touch (&slot)[2], const Touch &t) {
  for (Touch &s : slot) {
    bool same = s.block == t.block && s.thread == t.thread &&
                s.atomic == t.atomic && s.place == t.place;
    bool stale = !s.time || s.block <= base || !(s.mask & ~t.mask);
    if (same || stale) {
      uint8_t mask = same ? (uint8_t)(s.mask | t.mask) : t.mask;
      s = t;
      s.mask = mask;
      return;
    }
  }
  slot[slot[0].time > slot[1].time] = t;
}

static __attribute__((noinline)) void global_granules(uint64_t off, size_t bytes,
                                                      bool write, bool atomic,
                                                      uint32_t place) {
  uint64_t end = off + bytes;
  uintptr_t at = (uintptr_t)arena + off;
  bool reported = false, waiting = false;
  for (uint64_t g = off / GRANULE * GRANULE; g < end; g += GRANULE) {
    uint64_t low = g > off ? g : off, high = g + GRANULE < end ? g + GRANULE : end;
    uint8_t mask = (uint8_t)(((1u << (high - low)) - 1) << (low - g));
    Cell *c = cell_at(g);
    if (!c) return;
    for (const Touch &w : c->writer) {
      if (reported || waiting || !conflict(w, mask, atomic)) continue;
      waiting = races_found(w.place, w.thread, 1 + 2 * w.atomic,
                            (2ull << 40) + low, at, bytes, write + 2 * atomic,
                            place, other_block(w));
      reported = !waiting;
    }
    if (write)
      for (const Touch &r : c->reader) {
        if (reported || !conflict(r, mask, atomic)) continue;
        races_found(r.place, r.thread, 2 * r.atomic, (2ull << 40) + low, at,
                    bytes, 1 + 2 * atomic, place, other_block(r));
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
  uint64_t off = a - (uintptr_t)arena;
  uint32_t time = ++race_time;
  if (write && order == PLAIN) stored[current] = time;
  Cell *cells = page[off / PAGE];
  if (bytes == 4 && off % 4 == 0 && order == PLAIN && cells) {
    Cell &c = cells[off % PAGE / GRANULE];
    if (untouched(c, write)) {
      Touch &slot = write ? c.writer[0] : c.reader[0];  // as keep() would choose
      slot = Touch{time, race_block, place, (uint16_t)current, 15, false};
      return;
    }
  }
  global_granules(off, bytes, write, order != PLAIN, place);
}
void global_flag(uintptr_t a, bool acquire, bool release, uint32_t fenced,
                 uint32_t barrier) {
  Flag *f = nullptr;
  for (uint32_t i = 0; i < flags; ++i)
    if (flag[i].at == a) f = &flag[i];
  bool by_fence = release && fenced;
  release = by_fence || (release && fenced_barrier);
  if (!f && !release) return;
  if (!f) {
    if (flags == FLAGS_MAX) return;
    f = &flag[flags];
    f->at = a;
    if (!make(f->known)) abort();
    ++flags;
  }
  if (!mine.all && !make(mine)) abort();
  if (acquire) join(mine, f->known);
  uint32_t b = race_block - base - 1;
  if (!release || b >= blocks) return;
  join(f->known, mine);
  f->known.all[b] = by_fence ? barrier : fenced_barrier;
  if (fenced > f->known.own[b]) {
    f->known.own[b] = fenced;
    f->known.thread[b] = (uint16_t)current;
  }
}
