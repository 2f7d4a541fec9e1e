// Races as they are reported: what becomes of one once the store is carried out,
// or once atomicCAS has checked what a plain load saw.
#include <string.h>

#include "profile.h"

bool race_waits;
bool compares;

// A store by a second thread, judged once it has been carried out: storing
// the value that is already there is a note, not a race.
static struct {
  Found *found;
  uintptr_t at;
  uint32_t bytes;
  char before[256];
} pending;

void races_judge() {
  race_waits = false;
  if (!memcmp((void *)pending.at, pending.before, pending.bytes))
    pending.found->kind = EQUAL_WRITES;
}

// Report a race between `here` and an earlier access. True when two stores
// meet: whether they differ is known only after this one.
bool races_found(uint32_t place, uint32_t other, uint32_t other_store,
                 uint64_t where, uintptr_t a, size_t bytes, uint32_t store,
                 uint32_t here, uint32_t other_block) {
  bool stores = store == 1 && other_store == 1;
  Found *f = report(RACE, here, place);
  if (f) {
    f->first = current;
    f->second = other;
    f->store = store;
    f->other_store = other_store;
    f->other_block = other_block;
    f->at = where;
  } else if (stores) {
    f = again(here, place);
  }
  if (!f || !stores || race_waits) return false;
  f->kind = RACE;
  race_waits = true;
  pending.found = f;
  pending.at = a;
  pending.bytes = (uint32_t)(bytes < sizeof pending.before ? bytes
                                                          : sizeof pending.before);
  memcpy(pending.before, (void *)a, pending.bytes);
  return true;
}

// A plain load that atomicCAS then checks is how an atomic operation of one's
// own begins: "old = *p; do ... while (atomicCAS(p, assumed, ...))". Loads are
// remembered in kernels that have been seen to compare.
enum { LOADS = 4, CHECKED_MAX = 64 };
static struct {
  uintptr_t at;
  uint32_t place;
} loaded[MAX_THREADS][LOADS];
static uint8_t next_load[MAX_THREADS];
static uint32_t compared[CHECKED_MAX], comparisons;
static Kernel *owner;
static bool late;  // the first comparison came with no load remembered

void races_load(uintptr_t a, uint32_t place) {
  auto &slot = loaded[current][next_load[current]++ % LOADS];
  slot.at = a;
  slot.place = place;
}

void profile_compared(uintptr_t a) {
  if (!compares) compares = late = true;
  for (auto &l : loaded[current]) {
    if (l.at != a) continue;
    l.at = 0;
    bool there = comparisons == CHECKED_MAX;
    for (uint32_t i = 0; i < comparisons; ++i) there |= compared[i] == l.place;
    if (!there) compared[comparisons++] = l.place;
  }
}

void conflicts_begin() {
  race_waits = late = false;
  if (owner != kernel) compares = false;
  owner = kernel;
}

// True when loads were not remembered that should have been.
bool conflicts_end(Found *f, uint32_t n) {
  for (uint32_t i = 0; i < n; ++i, ++f) {
    if (f->kind != RACE) continue;
    for (uint32_t c = 0; c < comparisons; ++c) {
      bool first = f->place == compared[c] && !f->store && f->other_store == 3;
      bool other = f->other == compared[c] && !f->other_store && f->store == 3;
      if (first || other) f->kind = COMPARED;
    }
  }
  comparisons = 0;
  memset(loaded, 0, sizeof loaded);
  return late;
}
