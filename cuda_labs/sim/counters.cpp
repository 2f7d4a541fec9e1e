// The counts of a launch: one record for each instruction and kind of access.
#include <stdlib.h>
#include <string.h>

#include "profile.h"

static Counter *counter;
static uint32_t counters, counter_room;
static uint32_t *counter_of, index_size;  // a hash table, at most half full

// Where the counter's number is, or belongs.
static uint32_t counter_slot(uint32_t place, uint32_t kind) {
  uint32_t i = place * 2654435761u ^ kind * 40503u;
  for (;; ++i) {
    uint32_t n = counter_of[i &= index_size - 1];
    if (!n || (counter[n - 1].place == place && counter[n - 1].kind == kind))
      return i;
  }
}

static void counters_grow() {
  counter_room = counter_room ? 2 * counter_room : 256;
  index_size = 2 * counter_room;
  counter = (Counter *)realloc(counter, counter_room * sizeof(Counter));
  free(counter_of);
  counter_of = (uint32_t *)calloc(index_size, sizeof *counter_of);
  if (!counter || !counter_of) abort();
  for (uint32_t n = 0; n < counters; ++n)
    counter_of[counter_slot(counter[n].place, counter[n].kind)] = n + 1;
}

Counter &counter_for(uint32_t place, uint32_t kind) {
  uint32_t i = counter_slot(place, kind);
  if (counter_of[i]) return counter[counter_of[i] - 1];
  if (counters == counter_room) {
    counters_grow();
    i = counter_slot(place, kind);
  }
  counter_of[i] = ++counters;
  Counter &c = counter[counters - 1];
  c = Counter{};
  c.place = place;
  c.kind = kind;
  return c;
}

void counters_begin() {
  counters = 0;
  if (!counter_of) counters_grow();
  memset(counter_of, 0, index_size * sizeof *counter_of);
}

uint32_t counters_all(const void **first) {
  *first = counter;
  return counters;
}
