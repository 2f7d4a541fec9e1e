// What a profiled launch records. See profile.cpp, requests.cpp, loops.cpp,
// races.cpp and global_races.cpp.
#pragma once
#include "runtime.h"

enum Space { GLOBAL = 0, SHARED = 2, ATOMIC_GLOBAL = 4, ATOMIC_SHARED = 5,
             MODULE = 6, ASYNC_GLOBAL = 7, ASYNC_SHARED = 8 };
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
            UNTRACKED, COMPARED, NOT_ARRIVED };
struct Found {
  uint32_t kind, place, other, count;
  uint32_t block[3], first, second;  // threads by their linear index
  uint32_t store, other_store;  // 1: a store, 2: atomic
  uint32_t other_block;         // 1 + its number, 0 for the same block
  uint64_t at;  // offset: in the object, 2^40 + in dynamic shared memory, or
                // 2^41 + in the arena
};

// A program point of the running thread: its function's calls and the
// iteration of every loop around it.
struct Frame {
  uint64_t context, key;
  uint16_t previous;
  bool stale;  // key is that of an earlier point
  uint32_t count[MAX_LOOPS];
};

void profile_begin(bool learn);
void profile_block_begin();
void profile_block_end();
void profile_barrier();
void profile_syncwarp(uint32_t warp, uint32_t lanes);
void profile_note(uint32_t kind, int line);
void profile_access(uintptr_t a, size_t bytes, bool write, int order,
                    uint32_t place);
void profile_async(void *to, const void *from, uint32_t bytes, uint32_t fill,
                   uint32_t place, bool starts);
void profile_settle();
void profile_acquire_release(uintptr_t a, bool acquire, bool release);
void profile_fence();
void profile_compared(uintptr_t a);
bool profile_reply(const void **counters, uint32_t *n, const void **found,
                   uint32_t *m, uint64_t *footprint);

void requests_begin();
void requests_count(uintptr_t a, uint32_t bytes, uint32_t place, uint32_t kind);
void requests_settle();
void requests_reply(const void **counters, uint32_t *n, uint64_t *footprint);

uint64_t loops_key();
void loops_begin();
bool loops_known();
bool loops_end();

bool shared_offset(uintptr_t a, uint32_t *at);
void races_begin();
void races_block();
void races_access(uint32_t at, size_t bytes, bool write, int order,
                  uint32_t place);
uint64_t races_where(uint32_t at);
uint32_t races_block_number();
uint32_t races_tick();
bool races_ordered(uint32_t other, uint32_t time);
bool races_found(uint32_t place, uint32_t other, uint32_t other_store,
                 uint64_t where, uintptr_t a, size_t bytes, uint32_t store,
                 uint32_t here, uint32_t other_block = 0);
void global_begin(uint32_t first_block, uint64_t count);
void global_block();
void global_barrier(const uint32_t *fences, uint32_t barrier);
void global_access(uintptr_t a, size_t bytes, bool write, int order,
                   uint32_t place);
void global_flag(uintptr_t a, bool acquire, bool release, uint32_t fenced,
                 uint32_t barrier);
void races_settle();
void races_end(Found *f, uint32_t n);
void races_load(uintptr_t a, uint32_t place);
void races_barrier();
Found *again(uint32_t place, uint32_t other);
Found *report(uint32_t kind, uint32_t place, uint32_t other);
