// What a profiled launch records, file by file.
#pragma once
#include "runtime.h"

enum Space { GLOBAL = 0, SHARED = 2, ATOMIC_GLOBAL = 4, ATOMIC_SHARED = 5,
             MODULE = 6, ASYNC_GLOBAL = 7, ASYNC_SHARED = 8 };
// Where an access goes: arguments, dynamic shared memory, or the kernel's object.
enum Region { NOWHERE, IN_ARENA, IN_DYNAMIC, IN_IMAGE };
// How an access is ordered: volatile and atomic ones do not race each other.
enum Order { PLAIN, VOLATILE, ATOMIC };
enum { MAX_BLOCKS = 4096, MAX_LOOPS = 256 };
enum { NO_BLOCK = 0xffff };

// One line of the reply: the accesses of one instruction and kind.
struct Counter {
  uint32_t place;  // offset in the object, or 2^31 + line
  uint32_t kind;   // Space, plus 1 for stores
  uint64_t requests, lanes, sectors, ideal, wavefronts, least, bytes, most;
};

enum Note { RACE = 1, EQUAL_WRITES, UNINITIALISED, EXITED_EARLY, AMBIGUOUS,
            UNTRACKED, COMPARED, NOT_ARRIVED, ACTIVE_LANES, TOO_MANY,
            TOO_LONG };
struct Found {
  uint32_t kind, place, other, count;
  uint32_t block[3], first, second;  // threads by their linear index
  uint32_t store, other_store;  // 1: a store, 2: atomic
  uint32_t other_block;         // 1 + its number, 0 for the same block
  uint64_t at;  // offset: in the object, 2^40 + in dynamic shared memory, or
                // 2^41 + in the arena
};

// A program point, by what lanes that execute together have in common, and the
// way on from it that a thread took last: what was reported, where it led.
struct Point {
  uint64_t key;
  uint32_t report, to;
};
extern Point *points;
extern uint32_t point_of[MAX_THREADS];

// The loops around a basic block, in the order of their numbers.
enum { NESTED = 16 };
struct Around {
  uint16_t depth, loop[NESTED];
};

void profile_begin(bool learn);
void profile_block_begin();
void profile_block_end();
void profile_barrier();
void profile_syncwarp(uint32_t warp, uint32_t lanes);
void profile_note(uint32_t kind, int line);
void profile_access(uintptr_t a, size_t bytes, Region region, bool write,
                    int order, uint32_t place, uint32_t unit);
void profile_async(void *to, const void *from, uint32_t bytes, uint32_t fill,
                   uint32_t place, bool starts);
void profile_settle();
void profile_late();
void profile_acquire_release(uintptr_t a, bool acquire, bool release);
void profile_fence(bool device);
void profile_compared(uintptr_t a);
bool profile_reply(const void **counters, uint32_t *n, const void **found,
                   uint32_t *m, uint64_t *footprint);

void requests_begin();
void requests_count(uintptr_t a, uint32_t bytes, uint32_t place, uint32_t kind,
                    uint32_t part = 0);
void requests_settle();
uint64_t requests_footprint();

void counters_begin();
Counter &counter_for(uint32_t place, uint32_t kind);
uint32_t counters_all(const void **first);

void points_begin();
void points_block();
bool points_end();

uint16_t loops_block(uint32_t at);
void loops_edge(uint16_t from, uint16_t to);
const Around &loops_around(uint16_t b);
uint16_t loops_header(uint16_t b);
bool loops_inside(uint16_t loop, uint16_t b);
bool loops_begin();
bool loops_known();
bool loops_end();

// clocks.cpp
extern uint32_t race_time, race_block;  // of the events and blocks so far
enum : uint32_t { LATE = 1u << 30, TOO_LATE = 3u << 30 };  // for them not to wrap
extern uint32_t race_barrier;  // when the block last met at a barrier
extern uint32_t race_clocked;  // the same as of when a clock was last used
void clocks_begin();
void clocks_block();
void clocks_barrier();
bool clocks_seen(uint32_t other, uint32_t time);
// Does what `other` did at `time` come before what the running thread does now?
static inline bool clocks_ordered(uint32_t other, uint32_t time) {
  if (other == current || time <= race_barrier) return true;
  return race_clocked == race_barrier && clocks_seen(other, time);
}

// conflicts.cpp
extern bool race_waits;  // a store is to be judged once it is carried out
extern bool compares;    // the kernel has been seen to use atomicCAS
void conflicts_begin();
bool conflicts_end(Found *f, uint32_t n);
void races_judge();
static inline void races_settle() {
  if (__builtin_expect(race_waits, 0)) races_judge();
}
bool races_found(uint32_t place, uint32_t other, uint32_t other_store,
                 uint64_t where, uintptr_t a, uint32_t met, size_t left,
                 uint32_t store, uint32_t here, uint32_t other_block = 0);
void races_load(uintptr_t a, uint32_t place);

// races.cpp
// An address in shared memory by its place there: dynamic memory comes first.
static inline uint32_t dynamic_offset(uintptr_t a) {
  return (uint32_t)(a - (uintptr_t)sim_dynamic);
}
static inline uint32_t static_offset(uintptr_t a) {
  return DYNAMIC_MAX + (uint32_t)(a - (kernel->data & ~(uintptr_t)15));
}
static inline bool is_shared(uintptr_t in_image) {
  return in_image >= kernel->data && kernel->map[in_image - kernel->data] & 2;
}
bool shared_offset(uintptr_t a, uint32_t *at);
void races_begin();
void races_forget();
void races_access(uint32_t at, size_t bytes, bool write, int order,
                  uint32_t place);
uint64_t races_where(uint32_t at);

// global_races.cpp
void global_begin(uint32_t first_block, uint64_t count);
void global_forget();
void global_access(uintptr_t a, size_t bytes, bool write, int order,
                   uint32_t place);

// releases.cpp
extern uint32_t race_stored[MAX_THREADS];  // when each thread last stored
void releases_begin(uint32_t first_block, uint64_t count);
void releases_block();
void releases_barrier(const uint32_t *fences, uint32_t barrier);
extern bool releases_acquired;  // by the running block
bool releases_learnt(uint32_t block, uint16_t thread, uint32_t time);
// Does the running block know what a thread of another one did at `time`?
static inline bool releases_known(uint32_t block, uint16_t thread, uint32_t time) {
  return releases_acquired && releases_learnt(block, thread, time);
}
void releases_flag(uintptr_t a, bool acquire, bool release, uint32_t fenced,
                   const uint32_t *seen);

Found *again(uint32_t place, uint32_t other);
Found *report(uint32_t kind, uint32_t place, uint32_t other);
