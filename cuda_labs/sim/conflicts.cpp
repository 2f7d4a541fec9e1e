// Races as they are reported: what becomes of one once the store is carried out,
// or once atomicCAS has checked what a plain load saw.
#include <string.h>

#include "profile.h"

bool race_waits;
bool compares;

// A store that meets stores of other threads, judged once it has been carried
// out: storing the value that is already there is a note, not a race. The bytes in
// which two stores meet count, and no others.
enum { MEETINGS_MAX = 8, JUDGED = 256 };
static struct {
  Found *found;
  uint32_t end;
  bool meets[JUDGED];  // by the bytes of the store
} meeting[MEETINGS_MAX];
static uint32_t meetings;
static uintptr_t stored_at;
static char before[JUDGED];

void races_judge() {
  race_waits = false;
  for (uint32_t i = 0; i < meetings; ++i) {
    auto &m = meeting[i];
    for (uint32_t b = 0; b < m.end; ++b)
      if (m.meets[b] && ((char *)stored_at)[b] != before[b]) m.found->kind = RACE;
  }
}

static void meet(Found *f, uintptr_t a, uint32_t met, size_t left) {
  if (!race_waits) {
    race_waits = true;
    meetings = 0;
    stored_at = a;
    memcpy(before, (void *)a, left < JUDGED ? left : JUDGED);
  }
  uint32_t from = (uint32_t)(a - stored_at), i = 0;
  if (from + met > JUDGED) return;
  while (i < meetings && meeting[i].found != f) ++i;
  if (i == MEETINGS_MAX) return;
  auto &m = meeting[i];
  if (i == meetings) {
    ++meetings;
    m.found = f;
    m.end = 0;
  }
  memset(m.meets + m.end, 0, from + met - m.end);
  memset(m.meets + from, 1, met);
  m.end = from + met;
}

// The finding of an access that waits and has met this place before.
static Found *met_before(uint32_t place) {
  for (uint32_t i = 0; race_waits && i < meetings; ++i)
    if (meeting[i].found->other == place) return meeting[i].found;
  return nullptr;
}

// Report a race between `here` and an earlier access, in `met` bytes. True when
// two stores meet: whether they differ is known only after this one, of which so
// many bytes are left.
bool races_found(uint32_t place, uint32_t other, uint32_t other_store,
                 uint64_t where, uintptr_t a, uint32_t met, size_t left,
                 uint32_t store, uint32_t here, uint32_t other_block) {
  bool stores = store == 1 && other_store == 1;
  if (stores)
    if (Found *f = met_before(place)) {
      meet(f, a, met, left);
      return true;
    }
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
  if (!f || !stores) return false;
  f->kind = EQUAL_WRITES;
  meet(f, a, met, left);
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
