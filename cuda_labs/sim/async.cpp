// Copies from global to shared memory that a thread starts and waits for
// later (cp.async). The data arrive at the wait; until then the destination
// holds nothing that a kernel could rely on, and to touch it is a finding.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "profile.h"

struct Copy {
  char *to;
  const char *from;
  uint32_t bytes, fill;  // fill: zeros at the end in place of data
  uint32_t batch, place;
  int32_t line;
  char before[16];  // of the source
};
// The copies of a thread under way, and how often it has committed.
struct Pending {
  Copy *copy;
  uint32_t count, room, batch;
};
static Pending pending[MAX_THREADS];
static uint8_t dynamic_flight[DYNAMIC_MAX];
uint32_t in_flight;

enum { FLYING = 4 };  // in kernel->map, beside what the byte is

static uint8_t *flight_of(uintptr_t a) {
  uint32_t at;
  if (!shared_offset(a, &at)) return nullptr;
  return at < DYNAMIC_MAX ? dynamic_flight + at
                          : kernel->map + (a - kernel->data);
}

static void set_flight(const Copy &c, bool on) {
  uint8_t *flag = flight_of((uintptr_t)c.to);
  for (uint32_t i = 0; flag && i < c.bytes; ++i)
    flag[i] = (uint8_t)(on ? flag[i] | FLYING : flag[i] & ~FLYING);
}

static const Copy *overlapping(const Pending &p, uintptr_t a, size_t bytes) {
  for (uint32_t i = 0; i < p.count; ++i) {
    uintptr_t to = (uintptr_t)p.copy[i].to;
    if (to < a + bytes && a < to + p.copy[i].bytes) return &p.copy[i];
  }
  return nullptr;
}

// Line of a copy that has yet to arrive at these bytes; 0 for none.
int async_pending(uintptr_t a, size_t bytes) {
  uint8_t *flag = flight_of(a);
  if (!flag) return 0;
  uint8_t any = 0;
  for (size_t i = 0; i < bytes; ++i) any |= flag[i];
  if (!(any & FLYING)) return 0;
  for (uint32_t t = 0; t < threads; ++t)
    if (const Copy *c = overlapping(pending[t], a, bytes)) return c->line;
  return 0;
}

// A block starts with no copy under way, whatever the last one left.
void async_block() {
  for (uint32_t t = 0; t < threads; ++t) {
    Pending &p = pending[t];
    for (uint32_t i = 0; in_flight && i < p.count; ++i)
      set_flight(p.copy[i], false);
    p.count = p.batch = 0;
  }
  in_flight = 0;
}

static void check(const Copy &c, const void *pc) {
  char text[160] = "";
  if (c.bytes != 4 && c.bytes != 8 && c.bytes != 16)
    snprintf(text, sizeof text, "an asynchronous copy of %u byte%s: 4, 8 or 16 "
             "are possible", c.bytes, c.bytes == 1 ? "" : "s");
  else if (c.fill > c.bytes)
    snprintf(text, sizeof text, "an asynchronous copy of %u bytes cannot fill "
             "%u of them with zeros", c.bytes, c.fill);
  if (*text) finding(BAD_COPY, c.line, nullptr, text);
  if (mode == FAST) return;
  check_access((uintptr_t)c.to, c.bytes, c.bytes, true, c.line, pc);
  if (!flight_of((uintptr_t)c.to))
    finding(BAD_COPY, c.line, nullptr,
            "the destination of an asynchronous copy is not in shared memory");
  check_access((uintptr_t)c.from, c.bytes - c.fill, c.bytes, false, c.line, pc);
  if (c.fill < c.bytes && ((uintptr_t)c.from - stack_low < STACK ||
                           flight_of((uintptr_t)c.from)))
    finding(BAD_COPY, c.line, nullptr,
            "the source of an asynchronous copy is not in global memory");
  const Copy *other = overlapping(pending[current], (uintptr_t)c.to, c.bytes);
  if (other) {
    snprintf(text, sizeof text, "two asynchronous copies of one thread to one "
             "place: that of line %d is still under way", other->line);
    finding(BAD_COPY, c.line, nullptr, text);
  }
}

static void arrive(const Copy &c) {
  memcpy(c.to, c.from, c.bytes - c.fill);
  memset(c.to + (c.bytes - c.fill), 0, c.fill);
}

EXPORT void sim_async_copy(void *to, const void *from, size_t bytes,
                           size_t fill, int line) {
  const void *pc = __builtin_return_address(0);
  Pending &p = pending[current];
  Copy c = {(char *)to, (const char *)from, (uint32_t)bytes, (uint32_t)fill,
            p.batch, (uint32_t)((uintptr_t)pc - kernel->image), line, {}};
  check(c, pc);
  if (p.count == p.room) {
    p.room = p.room ? 2 * p.room : 16;
    p.copy = (Copy *)realloc(p.copy, p.room * sizeof(Copy));
    if (!p.copy) abort();
  }
  memcpy(c.before, c.from, c.bytes - c.fill);
  // Equal data excuse two threads that store to one place: judge by the data.
  profile_async(c.to, c.from, c.bytes, c.fill, c.place, true);
  arrive(c);
  profile_settle();
  memset(c.to, 0xff, c.bytes);
  if (mode != FAST) set_flight(c, true);
  ++in_flight;
  p.copy[p.count++] = c;
}

EXPORT void sim_async_commit() { ++pending[current].batch; }

// Wait for all but the last `prior` batches that the thread has committed.
EXPORT void sim_async_wait(size_t prior) {
  Pending &p = pending[current];
  uint32_t keep = 0;
  for (uint32_t i = 0; i < p.count; ++i) {
    const Copy &c = p.copy[i];
    if (c.batch + prior >= p.batch) {
      p.copy[keep++] = c;
      continue;
    }
    if (mode != FAST) set_flight(c, false);
    --in_flight;
    if (mode != FAST && memcmp(c.before, c.from, c.bytes - c.fill))
      finding(BAD_COPY, c.line, nullptr,
              "the source of an asynchronous copy changed before its wait");
    // Its data were judged when it started: what lies there is poison by now.
    profile_settle();
    arrive(c);
    profile_async(c.to, c.from, c.bytes, c.fill, c.place, false);
    profile_settle();
  }
  p.count = keep;
}
