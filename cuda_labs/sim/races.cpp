// Races and reads of uninitialised bytes in shared memory.
//
// Two accesses of one byte by different threads, at least one of them a plain
// store, are a race unless one happens before the other (clocks.cpp).
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "profile.h"

enum { WRITERS = 2, READERS = 4, FIRST = 0 };
enum : uint16_t { ATOMICALLY = 1 << 15 };  // beside a thread's number

// The last store, the first that it does not stand for, and loads, kept when a
// byte is stored again: equal values excuse a store, but not what came before it.
// One line of the processor's cache; zeros in a block's beginning.
struct Cell {
  uint32_t block;  // the block in which the rest is true
  uint32_t written[WRITERS], write_place[WRITERS];  // when, and by what
  uint32_t read[READERS], read_place[READERS];
  uint16_t writer[WRITERS], reader[READERS];
};
static_assert(sizeof(Cell) == 64, "a cell fills a line of the cache");

// One cell for each word, and one for each byte of the words that a block has
// touched in part: then the word's cell holds ~block in place of the block.
static Cell *word_cell, *byte_cell;
static uint32_t cells;

static uintptr_t first_word() { return kernel->data & ~(uintptr_t)15; }

bool shared_offset(uintptr_t a, uint32_t *at) {
  *at = dynamic_offset(a);
  if (a - (uintptr_t)sim_dynamic < DYNAMIC_MAX) return true;
  if (a >= kernel->data_end || !is_shared(a)) return false;
  *at = static_offset(a);
  return true;
}

static Cell *make_cells(size_t n) {
  void *p = mmap(nullptr, n * sizeof(Cell), PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) abort();
  return (Cell *)p;
}

void races_forget() {
  if (cells) {
    munmap((void *)word_cell, (cells / 4 + 1) * sizeof(Cell));
    munmap((void *)byte_cell, cells * sizeof(Cell));
  }
  cells = 0;
}

void races_begin() {
  uint32_t n = DYNAMIC_MAX + (uint32_t)(kernel->data_end - first_word()) + 4;
  if (n <= cells) return;  // the number of the block tells what is stale
  races_forget();
  word_cell = make_cells(n / 4 + 1);
  byte_cell = make_cells(n);
  cells = n;
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
  uint32_t end, place, unit;  // of its cells
  bool write, atomic, reads, reported;
};

static void unwritten(uint32_t i, Access &a) {
  Found *f = report(UNINITIALISED, a.place, 0);
  if (f) f->at = races_where(i);
  a.reported = true;
}

static bool passes(uint16_t who, uint32_t time, const Access &a) {
  if (!time || a.reported || (a.atomic && who & ATOMICALLY)) return true;
  return clocks_ordered(who & ~ATOMICALLY, time);
}

static void meet_writers(const Cell &c, uint32_t i, Access &a) {
  for (int k = 0; k < WRITERS; ++k) {
    // A judgement that waits may yet excuse this store.
    if (passes(c.writer[k], c.written[k], a)) continue;
    a.reported = !races_found(c.write_place[k], c.writer[k] & ~ATOMICALLY,
                              1 + 2 * (c.writer[k] >> 15), races_where(i),
                              address_of(i), a.unit, a.end - i,
                              a.write + 2 * a.atomic, a.place);
  }
}

static void meet_readers(const Cell &c, uint32_t i, Access &a) {
  for (int k = 0; k < READERS; ++k) {
    if (passes(c.reader[k], c.read[k], a)) continue;
    races_found(c.read_place[k], c.reader[k] & ~ATOMICALLY,
                2 * (c.reader[k] >> 15), races_where(i), address_of(i), a.unit,
                a.end - i, 1 + 2 * a.atomic, a.place);
    a.reported = true;
  }
}

// What conflicts with the earlier access later conflicts with that of `who` too:
// it comes after, and excuses no more.
static inline bool stands_for(uint16_t who, uint16_t earlier, uint32_t time) {
  if (who & ~earlier & ATOMICALLY) return time <= race_barrier;
  return clocks_ordered(earlier & ~ATOMICALLY, time);
}

static inline bool in_warp(uint16_t who) {
  return (who & ~ATOMICALLY) / WARP == current / WARP;
}

// A reader in the order within the warp that there has been since the barrier.
static __attribute__((noinline)) int seen_slot(const Cell &c, uint16_t who) {
  for (int k = 0; k < READERS; ++k)
    if (in_warp(c.reader[k]) && stands_for(who, c.reader[k], c.read[k])) return k;
  return -1;
}

// Where to note an atomic load, which races no more than plain stores: over one
// of its kind, or else the oldest.
static __attribute__((noinline)) int atomic_slot(const Cell &c, int oldest) {
  int slot = -1;
  for (int k = 1; k < READERS; ++k)
    if (c.reader[k] & ATOMICALLY && (slot < 0 || c.read[k] < c.read[slot])) slot = k;
  return slot < 0 ? oldest : slot;
}

// Where to note a load: over an earlier one of this thread, or one that this
// warp has seen, or else the oldest but the first: a later store may be ordered
// after one reader and not after another. Threads mostly come in order, and what
// is ordered after the newest and races one in between then races the first.
static inline int slot_for(const Cell &c, uint16_t now) {
  if (c.read[FIRST] <= race_barrier) return FIRST;
  static_assert(READERS == 4, "four readers are compared at once");
  constexpr uint64_t each = 0x0001000100010001u;
  uint64_t who;
  memcpy(&who, c.reader, sizeof who);
  if (!(now & ATOMICALLY)) who &= ~(each << 15);
  who ^= now * each;
  uint64_t mine = (who - each) & ~who & each << 15;  // its lowest bit is right
  if (__builtin_expect(mine != 0, 0)) return __builtin_ctzll(mine) / 16;
  if (__builtin_expect(race_clocked == race_barrier, 0)) {
    int k = seen_slot(c, now);
    if (k >= 0) return k;
  }
  int a = c.read[2] < c.read[1] ? 2 : 1, k = c.read[3] < c.read[a] ? 3 : a;
  return __builtin_expect(now & ATOMICALLY, 0) ? atomic_slot(c, k) : k;
}

static inline bool read_lately(const Cell &c) {
  return (c.read[0] > race_barrier) | (c.read[1] > race_barrier) |
         (c.read[2] > race_barrier) | (c.read[3] > race_barrier);
}

static inline void note_load(Cell &c, uint32_t place, uint16_t who) {
  int k = slot_for(c, who);
  c.read[k] = race_time;
  c.read_place[k] = place;
  c.reader[k] = who;
}

static inline void note_store(Cell &c, uint32_t place, uint16_t who) {
  if (!stands_for(who, c.writer[0], c.written[0]) &&
      (clocks_ordered(c.writer[1] & ~ATOMICALLY, c.written[1]) ||
       c.writer[1] & ~c.writer[0] & ATOMICALLY)) {
    c.written[1] = c.written[0];
    c.write_place[1] = c.write_place[0];
    c.writer[1] = c.writer[0];
  }
  c.written[0] = race_time;
  c.write_place[0] = place;
  c.writer[0] = who;
}

// The same when the barrier lies between.
static inline void note_alone(Cell &c, uint32_t place, uint16_t who) {
  c.written[0] = race_time;
  c.write_place[0] = place;
  c.writer[0] = who;
}

static void touch(Cell &c, uint32_t i, Access &a) {
  uint16_t who = (uint16_t)(current | (a.atomic ? ATOMICALLY : 0));
  if (a.reads && !c.written[0] && !a.reported) unwritten(i, a);
  if (c.written[0] > race_barrier) meet_writers(c, i, a);
  if (!a.write) return note_load(c, a.place, who);
  if (read_lately(c)) meet_readers(c, i, a);
  note_store(c, a.place, who);
}

static void renew(Cell &c) {
  memset(&c, 0, sizeof c);
  c.block = race_block;
}

// An access of part of a word, or of a word that has been so accessed.
static __attribute__((noinline)) void touch_byte(uint32_t i, Access &a) {
  Cell &word = word_cell[i / 4];
  if (word.block != ~race_block) {
    if (word.block != race_block) renew(word);
    for (uint32_t b = 0; b < 4; ++b) byte_cell[i / 4 * 4 + b] = word;
    word.block = ~race_block;
  }
  a.unit = 1;
  touch(byte_cell[i], i, a);
}

static __attribute__((noinline)) void touch_all(uint32_t i, size_t bytes,
                                                bool write, int order,
                                                uint32_t place) {
  Access a = {i + (uint32_t)bytes, place, 4, write, order != PLAIN,
              !write || order == ATOMIC, false};
  while (i < a.end) {
    Cell &c = word_cell[i / 4];
    if (i % 4 || a.end - i < 4 || c.block == ~race_block) {
      touch_byte(i++, a);
      continue;
    }
    if (c.block != race_block) renew(c);
    a.unit = 4;
    touch(c, i, a);
    i += 4;
  }
}

// Most accesses are plain, of one word, and with nothing of another thread
// before them since the last barrier that they could race.
void races_access(uint32_t at, size_t bytes, bool write, int order,
                  uint32_t place) {
  if (__builtin_expect(race_time >= TOO_LATE, 0)) return profile_late();
  ++race_time;
  Cell &c = word_cell[at / 4];
  bool quiet = c.block == race_block && c.written[0] <= race_barrier;
  if (bytes != 4 || at % 4 || order != PLAIN || !quiet)
    return touch_all(at, bytes, write, order, place);
  if (!write && c.written[0]) note_load(c, place, (uint16_t)current);
  else if (write && !read_lately(c)) note_alone(c, place, (uint16_t)current);
  else touch_all(at, bytes, write, order, place);
}
