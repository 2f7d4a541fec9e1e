// Count what a warp asks of memory: lanes at one program point in one
// iteration make one request, which is judged when the warp has passed it.
#include <stdlib.h>
#include <string.h>

#include "profile.h"

// The requests of a block that are not judged yet, in the order in which they
// began, and a hash table of their numbers: 1 + the place in the array.
struct Request {
  uint64_t point;  // the key of the program point
  uint64_t what;   // the instruction, kind, bytes a lane and warp, in one word
  uint32_t lanes, slot;
  uintptr_t at[WARP];
  uint32_t place() const { return (uint32_t)what; }
  uint32_t kind() const { return what >> 32 & 15; }
  uint32_t bytes() const { return what >> 36 & 31; }
  uint32_t warp() const { return (uint32_t)(what >> 41); }
};

static Request *request;
static uint32_t requests, guess;
static uint32_t *number, room;  // a power of two
static uint8_t *touched;  // one bit for each sector of the arena
static size_t touched_size;
static uint64_t sectors_touched;
enum { ROOM_MAX = 1 << 22 };

static void touch(uint64_t sector) {
  if (sector >= touched_size * 8) return;
  uint8_t bit = (uint8_t)(1u << (sector % 8));
  sectors_touched += !(touched[sector / 8] & bit);
  touched[sector / 8] |= bit;
}

// A full warp that walks through memory without gaps, as most do.
static bool contiguous(const Request &r, uint32_t size) {
  if (r.lanes != ~0u) return false;
  uintptr_t gap = 0;
  for (uint32_t l = 1; l < WARP; ++l) gap |= r.at[l] - r.at[l - 1] - size;
  return !gap;
}

// Distinct sectors and bytes of the lanes of a request: their accesses are
// equally wide, so one walk through the addresses in order meets them all.
static void sectors_of(const Request &r, Counter &c) {
  uint32_t size = r.bytes(), n = 0;
  uintptr_t at[WARP];
  bool whole = contiguous(r, size);
  if (whole) {  // one wide access
    size *= WARP;
    at[n++] = r.at[0];
  }
  for (uint32_t l = 0; l < WARP && !whole; ++l) {
    if (!(r.lanes >> l & 1)) continue;
    uintptr_t a = r.at[l];
    uint32_t i = n++;
    for (; i > 0 && at[i - 1] > a; --i) at[i] = at[i - 1];
    at[i] = a;
  }
  uint64_t sectors = 0, bytes = 0, next = 0;
  uintptr_t end = 0;
  for (uint32_t i = 0; i < n; ++i) {
    uintptr_t first = at[i], last = at[i] + size;
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
  uint32_t size = r.bytes(), turns = 0;
  uint32_t group = size <= 4 ? 32 : size <= 8 ? 16 : 8;
  for (uint32_t first = 0; first < WARP; first += group) {
    uint32_t in_phase = group == 32 ? ~0u : ((1u << group) - 1) << first;
    uint32_t lanes = r.lanes & in_phase, most = 0;
    if (!lanes) continue;
    uint64_t word[32][32];
    uint32_t n[32] = {};
    for (uint32_t l = 0; l < WARP; ++l) {
      if (!(lanes >> l & 1)) continue;
      uint64_t last = (r.at[l] + size - 1) >> 2;
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
  uint32_t kind = r.kind();
  Counter &c = counter_for(r.place(), kind);
  uint32_t lanes = (uint32_t)__builtin_popcount(r.lanes);
  c.requests += 1;
  c.lanes += lanes;
  c.bytes += (uint64_t)lanes * r.bytes();
  if (kind < SHARED || kind == ASYNC_GLOBAL) {
    sectors_of(r, c);
  } else if (kind < ATOMIC_GLOBAL || kind == ASYNC_SHARED) {
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

static inline uint32_t first_slot(uint64_t point, uint64_t what) {
  uint64_t hash = (point ^ what) * 0x9E3779B97F4A7C15u;
  return (uint32_t)(hash >> 40) & (room - 1);
}

static void enter(uint32_t i) {
  uint32_t slot = first_slot(request[i].point, request[i].what);
  while (number[slot]) slot = (slot + 1) & (room - 1);
  number[slot] = i + 1;
  request[i].slot = slot;
}

// Make room: judge the requests that every lane of the warp has made or can no
// longer make, then double the table. One that would grow too large is given up.
static void make_room() {
  uint32_t keep = 0, running[MAX_THREADS / WARP] = {};
  for (uint32_t w = 0; w * WARP < threads; ++w) running[w] = warp_running(w);
  for (uint32_t i = 0; i < requests; ++i) {
    const Request &r = request[i];
    counter_for(r.place(), r.kind());  // in the order in which requests began
    if (running[r.warp()] & ~r.lanes) request[keep++] = r;
    else judge(r);
  }
  if (keep * 4 >= room && room == ROOM_MAX) {
    for (uint32_t i = 0; i < keep; ++i) {
      judge(request[i]);
      report(TOO_MANY, request[i].place(), 0);
    }
    keep = 0;
  }
  requests = keep;
  guess = 0;
  if (keep * 4 >= room) room = room ? 2 * room : 1 << 12;
  free(number);
  number = (uint32_t *)calloc(room, sizeof *number);
  request = (Request *)realloc(request, room / 2 * sizeof *request);
  if (!request || !number) abort();
  for (uint32_t i = 0; i < requests; ++i) enter(i);
}

static inline bool same(const Request &r, uint64_t point, uint64_t what) {
  return r.point == point && r.what == what;
}

// The request to which an access belongs, a new one if need be.
static __attribute__((noinline)) uint32_t request_of(uint64_t point,
                                                     uint64_t what) {
  for (uint32_t slot = first_slot(point, what); number[slot];
       slot = (slot + 1) & (room - 1))
    if (same(request[number[slot] - 1], point, what)) return number[slot] - 1;
  if (requests * 2 >= room) make_room();
  Request &r = request[requests];
  r.point = point;
  r.what = what;
  r.lanes = 0;
  enter(requests);
  return requests++;
}

void requests_count(uintptr_t a, uint32_t bytes, uint32_t place, uint32_t kind,
                    uint32_t part) {
  uint32_t lane = current % WARP;
  uint64_t point = points[point_of[current]].key + part * 0xD6E8FEB86659FD93u;
  uint64_t what = (uint64_t)(current / WARP << 9 | bytes << 4 | kind) << 32 | place;
  // The lanes of a warp mostly make the same requests one after the other.
  uint32_t i = guess;
  if (i >= requests || !same(request[i], point, what))
    i = request_of(point, what);
  Request &r = request[i];
  guess = i + 1;
  if (__builtin_expect(r.lanes >> lane & 1, 0)) {
    // The same lane again: an irreducible loop. It begins a new request.
    judge(r);
    r.lanes = 0;
    report(AMBIGUOUS, place, 0);
  }
  r.lanes |= 1u << lane;
  r.at[lane] = a;
}

void requests_begin() {
  counters_begin();
  sectors_touched = 0;
  free(touched);
  touched_size = arena_size / 256 + 1;
  touched = (uint8_t *)calloc(touched_size, 1);
  if (!touched) abort();
  if (!room) make_room();
}

uint64_t requests_footprint() { return sectors_touched; }
