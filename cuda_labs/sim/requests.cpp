// Count what a warp asks of memory: lanes at one program point in one
// iteration make one request, which is judged when the warp has passed it.
#include <stdlib.h>
#include <string.h>

#include "profile.h"

// The requests of a block that are not judged yet, in the order in which they
// began, and a hash table of their numbers: 1 + the place in the array.
struct Request {
  uint64_t key;
  uint32_t place, kind, lanes, bytes, warp, slot;
  uintptr_t at[WARP];
};

static Request *request;
static uint32_t requests, guess;
static uint32_t *number, room;  // a power of two
static Counter *counter;
static uint32_t counters, counter_room;
static uint32_t *counter_of;  // slots of a small hash table
static uint8_t *touched;  // one bit for each sector of the arena
static size_t touched_size;
static uint64_t sectors_touched;
enum { INDEX_SIZE = 1 << 14, ROOM_MAX = 1 << 22 };

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

static void touch(uint64_t sector) {
  if (sector >= touched_size * 8) return;
  uint8_t bit = (uint8_t)(1u << (sector % 8));
  sectors_touched += !(touched[sector / 8] & bit);
  touched[sector / 8] |= bit;
}

// Distinct sectors and bytes of the lanes of a request: their accesses are
// equally wide, so one walk through the addresses in order meets them all.
static void sectors_of(const Request &r, Counter &c) {
  uintptr_t at[WARP];
  uint32_t n = 0;
  for (uint32_t l = 0; l < WARP; ++l) {
    if (!(r.lanes >> l & 1)) continue;
    uintptr_t a = r.at[l];
    uint32_t i = n++;
    for (; i > 0 && at[i - 1] > a; --i) at[i] = at[i - 1];
    at[i] = a;
  }
  uint64_t sectors = 0, bytes = 0, next = 0;
  uintptr_t end = 0;
  for (uint32_t i = 0; i < n; ++i) {
    uintptr_t first = at[i], last = at[i] + r.bytes;
    bytes += last - (first > end ? first : end);
    if (last > end) end = last;
    uint64_t s = first >> 5;
    for (s = s < next ? next : s; s <= (last - 1) >> 5; ++s) {
      ++sectors;
      touch(s - ((uintptr_t)arena >> 5));
    }
    next = s;
  }
  c.sectors += sectors;
  c.ideal += (bytes + 31) / 32;
  if (sectors > c.most) c.most = sectors;
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
    sectors_of(r, c);
  } else if (r.kind < ATOMIC_GLOBAL || r.kind == ASYNC_SHARED) {
    bank_turns(r, c);
  }
}

void requests_settle() {
  for (uint32_t i = 0; i < requests; ++i) {
    judge(request[i]);
    number[request[i].slot] = 0;
  }
  requests = guess = 0;
}

static void enter(uint32_t i) {
  uint32_t slot = (uint32_t)request[i].key & (room - 1);
  while (number[slot]) slot = (slot + 1) & (room - 1);
  number[slot] = i + 1;
  request[i].slot = slot;
}

// Make room: first judge the requests of warps that are not running, then
// double the table.
static void make_room() {
  uint32_t keep = 0;
  for (uint32_t i = 0; i < requests; ++i) {
    if (request[i].warp != current / WARP) judge(request[i]);
    else request[keep++] = request[i];
  }
  requests = keep;
  guess = 0;
  if (keep * 4 >= room) room = room ? 2 * room : 1 << 12;
  if (room > ROOM_MAX) abort();
  free(number);
  number = (uint32_t *)calloc(room, sizeof *number);
  request = (Request *)realloc(request, room / 2 * sizeof *request);
  if (!request || !number) abort();
  for (uint32_t i = 0; i < requests; ++i) enter(i);
}

static inline bool same(const Request &r, uint64_t key, uint32_t place,
                        uint32_t kind, uint32_t bytes) {
  return r.key == key && r.place == place && r.kind == kind && r.bytes == bytes;
}

// The request to which an access belongs, a new one if need be.
static uint32_t request_of(uint64_t key, uint32_t place, uint32_t kind,
                           uint32_t bytes) {
  uint32_t slot = (uint32_t)key & (room - 1);
  for (; number[slot]; slot = (slot + 1) & (room - 1))
    if (same(request[number[slot] - 1], key, place, kind, bytes))
      return number[slot] - 1;
  if (requests * 2 >= room) {
    make_room();
    slot = (uint32_t)key & (room - 1);
    while (number[slot]) slot = (slot + 1) & (room - 1);
  }
  Request &r = request[requests];
  r.key = key;
  r.place = place;
  r.kind = kind;
  r.lanes = 0;
  r.bytes = bytes;
  r.warp = current / WARP;
  r.slot = slot;
  number[slot] = ++requests;
  return requests - 1;
}

void requests_count(uintptr_t a, uint32_t bytes, uint32_t place, uint32_t kind) {
  uint32_t lane = current % WARP;
  uint64_t key = loops_key() ^ (uint64_t)place * 0xD6E8FEB86659FD93u ^
                 (uint64_t)(current / WARP) * 0xA0761D6478BD642Fu ^ kind << 4 ^
                 (uint64_t)bytes << 8;
  key ^= key >> 32;
  // The lanes of a warp mostly make the same requests one after the other.
  uint32_t i = guess;
  if (i >= requests || !same(request[i], key, place, kind, bytes))
    i = request_of(key, place, kind, bytes);
  Request &r = request[i];
  guess = i + 1;
  if (r.lanes >> lane & 1) {
    // The same lane again: an irreducible loop. It begins a new request.
    judge(r);
    r.lanes = 0;
    report(AMBIGUOUS, place, 0);
  }
  r.lanes |= 1u << lane;
  r.at[lane] = a;
}

void requests_begin() {
  counters = 0;
  sectors_touched = 0;
  if (!counter_of) counter_of = (uint32_t *)malloc(INDEX_SIZE * 4);
  if (!counter_of) abort();
  memset(counter_of, 0, INDEX_SIZE * 4);
  free(touched);
  touched_size = arena_size / 256 + 1;
  touched = (uint8_t *)calloc(touched_size, 1);
  if (!touched) abort();
  if (!room) make_room();
}

void requests_reply(const void **c, uint32_t *n, uint64_t *footprint) {
  *c = counter;
  *n = counters;
  *footprint = sectors_touched;
}
