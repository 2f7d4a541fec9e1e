// Count what a warp asks of memory: lanes at one program point in one
// iteration make one request, which is judged when the warp has passed it.
#include <stdlib.h>
#include <string.h>

#include "profile.h"

struct Request {
  uint64_t key;
  uint32_t place, kind, lanes, bytes, warp;
  uintptr_t at[WARP];
};

static bool learning;
static Request *table;
static uint32_t room, used;
static uint32_t *live;  // slots in use, so that they are settled in order
static Counter *counter;
static uint32_t counters, counter_room;
static uint32_t *counter_of;  // slots of a small hash table
static Found found[256];
static uint32_t founds;
static uint8_t *touched;  // one bit for each sector of the arena
static size_t touched_size;
static uint64_t sectors_touched;
enum { INDEX_SIZE = 1 << 14, TABLE_MAX = 1 << 22 };

static Counter &counter_for(uint32_t place, uint32_t kind) {
  uint32_t i = (place * 2654435761u ^ kind * 40503u) % INDEX_SIZE;
  for (; counter_of[i]; i = (i + 1) % INDEX_SIZE) {
    Counter &c = counter[counter_of[i] - 1];
    if (c.place == place && c.kind == kind) return c;
  }
  if (counters == counter_room) {
    counter_room = counter_room ? 2 * counter_room : 64;
    counter = (Counter *)realloc(counter, counter_room * sizeof(Counter));
    if (!counter || counter_room > INDEX_SIZE / 2) abort();
  }
  counter_of[i] = ++counters;
  Counter &c = counter[counters - 1];
  c = Counter{};
  c.place = place;
  c.kind = kind;
  return c;
}

static int by_value(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return x < y ? -1 : x > y;
}

// Distinct units of 2^shift bytes that the lanes of a request touch.
static uint32_t distinct(const Request &r, int shift, uint32_t lanes) {
  uint64_t unit[WARP * 16];
  uint32_t n = 0;
  for (uint32_t l = 0; l < WARP; ++l) {
    if (!(lanes >> l & 1)) continue;
    uint64_t first = r.at[l] >> shift;
    uint64_t last = (r.at[l] + r.bytes - 1) >> shift;
    for (uint64_t u = first; u <= last && n < WARP * 16; ++u) unit[n++] = u;
  }
  qsort(unit, n, sizeof *unit, by_value);
  uint32_t different = n > 0;
  for (uint32_t i = 1; i < n; ++i) different += unit[i] != unit[i - 1];
  return different;
}

// Turns in which shared memory serves a request: in each phase the largest
// number of different words that lie in one bank.
static void bank_turns(const Request &r, Counter &c) {
  uint32_t group = r.bytes <= 4 ? 32 : r.bytes <= 8 ? 16 : 8, turns = 0;
  for (uint32_t first = 0; first < WARP; first += group) {
    uint32_t in_phase = group == 32 ? ~0u : ((1u << group) - 1) << first;
    uint32_t lanes = r.lanes & in_phase, most = 0;
    if (!lanes) continue;
    uint64_t word[32][32];
    uint32_t n[32] = {};
    for (uint32_t l = 0; l < WARP; ++l) {
      if (!(lanes >> l & 1)) continue;
      uint64_t last = (r.at[l] + r.bytes - 1) >> 2;
      for (uint64_t w = r.at[l] >> 2; w <= last; ++w) {
        uint32_t bank = w % 32, i = 0;
        while (i < n[bank] && word[bank][i] != w) ++i;
        if (i == n[bank] && i < 32) word[bank][n[bank]++] = w;
        if (n[bank] > most) most = n[bank];
      }
    }
    turns += most;
    c.least += 1;
    if (most > c.most) c.most = most;
  }
  c.wavefronts += turns;
}

static void judge(const Request &r) {
  Counter &c = counter_for(r.place, r.kind);
  uint32_t lanes = (uint32_t)__builtin_popcount(r.lanes);
  c.requests += 1;
  c.lanes += lanes;
  c.bytes += (uint64_t)lanes * r.bytes;
  if (r.kind < SHARED || r.kind == ASYNC_GLOBAL) {
    uint32_t sectors = distinct(r, 5, r.lanes);
    c.sectors += sectors;
    c.ideal += (distinct(r, 0, r.lanes) + 31) / 32;
    if (sectors > c.most) c.most = sectors;
    for (uint32_t l = 0; l < WARP; ++l) {
      if (!(r.lanes >> l & 1)) continue;
      uint64_t first = (r.at[l] - (uintptr_t)arena) >> 5;
      uint64_t last = (r.at[l] - (uintptr_t)arena + r.bytes - 1) >> 5;
      for (uint64_t s = first; s <= last && s < touched_size * 8; ++s) {
        sectors_touched += !(touched[s / 8] >> (s % 8) & 1);
        touched[s / 8] = (uint8_t)(touched[s / 8] | 1u << (s % 8));
      }
    }
  } else if (r.kind < ATOMIC_GLOBAL || r.kind == ASYNC_SHARED) {
    bank_turns(r, c);
  }
}

static void settle_all() {
  for (uint32_t i = 0; i < used; ++i) {
    judge(table[live[i]]);
    table[live[i]].lanes = 0;
  }
  used = 0;
}

// All threads have arrived: no request of the block is still incomplete.
void profile_barrier() {
  if (mode != PROFILE || learning) return;
  races_barrier();
  settle_all();
}

// Make room: first judge the requests of warps that are not running, then
// double the table.
static void make_room() {
  Request *old = table;
  uint32_t *old_live = live, n = used, keep = 0;
  for (uint32_t i = 0; i < n; ++i) {
    if (old[old_live[i]].warp != current / WARP) judge(old[old_live[i]]);
    else old_live[keep++] = old_live[i];
  }
  if (keep * 4 >= room) room = room ? 2 * room : 1 << 12;
  if (room > TABLE_MAX) abort();
  table = (Request *)calloc(room, sizeof(Request));
  live = (uint32_t *)malloc(room * sizeof *live);
  if (!table || !live) abort();
  used = 0;
  for (uint32_t i = 0; i < keep; ++i) {
    const Request &r = old[old_live[i]];
    uint32_t slot = (uint32_t)(r.key % room);
    while (table[slot].lanes) slot = (slot + 1) % room;
    table[slot] = r;
    live[used++] = slot;
  }
  free(old);
  free(old_live);
}

static void count(uintptr_t a, uint32_t bytes, uint32_t place, uint32_t kind) {
  if (used * 2 >= room) make_room();
  uint32_t lane = current % WARP;
  uint64_t key = loops_key(current) ^ (uint64_t)place * 0xD6E8FEB86659FD93u ^
                 (uint64_t)(current / WARP) * 0xA0761D6478BD642Fu ^ kind << 4 ^
                 (uint64_t)bytes << 8;
  key ^= key >> 32;
  uint32_t slot = (uint32_t)(key % room);
  for (;; slot = (slot + 1) % room) {
    Request &r = table[slot];
    if (!r.lanes) {
      live[used++] = slot;
      r.key = key;
      r.place = place;
      r.kind = kind;
      r.bytes = bytes;
      r.warp = current / WARP;
      break;
    }
    if (r.key != key || r.place != place || r.kind != kind || r.bytes != bytes)
      continue;
    if (!(r.lanes >> lane & 1)) break;
    // The same lane again: an irreducible loop. It begins a new request.
    judge(r);
    r.lanes = 0;
    report(AMBIGUOUS, place, 0);
    break;
  }
  table[slot].lanes |= 1u << lane;
  table[slot].at[lane] = a;
}

static void not_arrived(uint32_t at, bool write, uint32_t place, int begun) {
  Found *f = report(NOT_ARRIVED, place, 1u << 31 | (uint32_t)begun);
  if (!f) return;
  f->store = write;
  f->at = races_where(at);
}

void profile_access(uintptr_t a, size_t bytes, bool write, int order,
                    uint32_t place) {
  if (learning || mode != PROFILE) return;
  races_settle();
  uint32_t at, kind;
  if (!write && order == PLAIN) races_load(a, place);
  bool shared = shared_offset(a, &at);
  if (shared) {
    int begun = in_flight ? async_pending(a, bytes) : 0;
    if (begun) not_arrived(at, write, place, begun);
    else races_access(at, bytes, write, order, place);
    kind = SHARED;
  } else {
    bool in_module = a - kernel->image < kernel->image_end - kernel->image;
    kind = in_module ? MODULE : GLOBAL;
    if (!in_module) global_access(a, bytes, write, order, place);
  }
  if (order == ATOMIC && kind != MODULE) kind = shared ? ATOMIC_SHARED : ATOMIC_GLOBAL;
  else if (kind != MODULE) kind += write;
  // Hardware moves at most 16 bytes a lane at once.
  for (size_t i = 0; i < bytes; i += 16)
    count(a + i, (uint32_t)(bytes - i < 16 ? bytes - i : 16),
          place, kind);
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
  if (left) count(source, left, place, ASYNC_GLOBAL);
  count(target, bytes, place, ASYNC_SHARED);
}

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
  loops_begin(learn);
  if (learn) return;
  counters = founds = used = 0;
  sectors_touched = 0;
  if (!counter_of) counter_of = (uint32_t *)malloc(INDEX_SIZE * 4);
  if (!counter_of) abort();
  memset(counter_of, 0, INDEX_SIZE * 4);
  free(touched);
  touched_size = arena_size / 256 + 1;
  touched = (uint8_t *)calloc(touched_size, 1);
  if (!touched) abort();
  if (!room) make_room();
  races_begin();
}

void profile_block_begin() {
  loops_begin(learning);
  if (!learning) races_block();
}

void profile_block_end() {
  if (learning) return;
  races_settle();
  settle_all();
}

void profile_reply(const void **c, uint32_t *n, const void **f, uint32_t *m,
                   uint64_t *footprint) {
  loops_end();
  if (!learning) races_end(found, founds);
  *c = counter;
  *n = learning ? 0 : counters;
  *f = found;
  *m = learning ? 0 : founds;
  *footprint = sectors_touched;
}
