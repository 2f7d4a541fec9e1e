// Which lanes of a warp execute an access together? Those at the same program
// point in the same iteration of every loop around it. The compiler reports
// each basic block as it is entered. A first run of the launch collects the
// edges between blocks; dominators then give the loops (Aho, Lam, Sethi and
// Ullman, "Compilers", 2nd ed., section 9.6), and in the second run each
// thread counts the iterations of the loops that it is in.
#include <stdlib.h>
#include <string.h>

#include "profile.h"

static bool learning;
static uint16_t *block_of;  // by offset in the object; 0 means none yet
static size_t block_room;
static Kernel *owner;
static uint32_t blocks;  // 1 ... blocks
static uint64_t *edge, *reach;
static uint16_t header[MAX_BLOCKS];       // loop that a block is the header of
static uint8_t inside[MAX_LOOPS][MAX_BLOCKS / 8];
static uint16_t around[MAX_BLOCKS][16];   // loops around a block, outermost any
static uint8_t depth[MAX_BLOCKS];
static uint32_t loops;
static bool entry[MAX_BLOCKS];

struct Stack {
  Frame *frame;
  uint32_t depth, room;
};
static Stack stack[MAX_THREADS];

enum { WORDS = MAX_BLOCKS / 64 };
static inline bool has(const uint64_t *set, uint32_t i) {
  return set[i / 64] >> (i % 64) & 1;
}
static inline void add(uint64_t *set, uint32_t i) {
  set[i / 64] |= 1ull << (i % 64);
}

static inline uint64_t mix(uint64_t key, uint64_t value) {
  key = (key ^ value) * 0x9E3779B97F4A7C15u;
  return key ^ key >> 29;
}

static Frame &push(Stack &s, uint64_t context) {
  if (s.depth == s.room) {
    s.room = s.room ? 2 * s.room : 4;
    s.frame = (Frame *)realloc(s.frame, s.room * sizeof(Frame));
    if (!s.frame) abort();
  }
  Frame &f = s.frame[s.depth++];
  f.context = f.key = context;
  f.previous = NO_BLOCK;
  memset(f.count, 0, (loops + 1) * sizeof *f.count);
  return f;
}

static Frame &top() {
  Stack &s = stack[current];
  return s.depth ? s.frame[s.depth - 1] : push(s, 1);
}

EXPORT void __tsan_func_entry(void *caller) {
  if (mode != PROFILE) return;
  uint64_t key = top().key;
  push(stack[current], mix(key, (uintptr_t)caller - kernel->image));
}
EXPORT void __tsan_func_exit() {
  if (mode == PROFILE && stack[current].depth > 1) --stack[current].depth;
}

EXPORT void __sanitizer_cov_trace_pc() {
  if (mode != PROFILE) return;
  uintptr_t at = (uintptr_t)__builtin_return_address(0) - kernel->image;
  if (at >= block_room) return;
  uint16_t b = block_of[at];
  Frame &f = top();
  if (learning) {
    if (!b && blocks + 1 < MAX_BLOCKS) b = block_of[at] = (uint16_t)++blocks;
    if (!b) return;
    if (f.previous == NO_BLOCK) entry[b] = true;
    else add(edge + f.previous * WORDS, b);
    f.previous = b;
    return;
  }
  if (!b) return;
  if (uint32_t l = header[b]) {
    bool again = f.previous != NO_BLOCK &&
                 (inside[l][f.previous / 8] >> (f.previous % 8) & 1);
    f.count[l] = again ? f.count[l] + 1 : 0;
  }
  uint64_t key = f.context;
  for (uint32_t i = 0; i < depth[b]; ++i)
    key = mix(key, (uint64_t)around[b][i] << 32 | f.count[around[b][i]]);
  f.key = key;
  f.previous = b;
}

uint64_t loops_key(uint32_t t) {
  Stack &s = stack[t];
  return s.depth ? s.frame[s.depth - 1].key : 0;
}

void loops_begin(bool learn) {
  learning = learn;
  if (owner != kernel) {
    owner = kernel;
    block_room = kernel->image_end - kernel->image;
    free(block_of);
    block_of = (uint16_t *)calloc(block_room, sizeof *block_of);
    if (!edge) edge = (uint64_t *)malloc(MAX_BLOCKS * WORDS * 8);
    if (!reach) reach = (uint64_t *)malloc(MAX_BLOCKS * WORDS * 8);
    if (!block_of || !edge || !reach) abort();
    memset(edge, 0, MAX_BLOCKS * WORDS * 8);
    memset(entry, 0, sizeof entry);
    blocks = loops = 0;
  }
  for (auto &s : stack) s.depth = 0;
}

// dominators[b]: every block on each path from an entry to b.
static void dominators() {
  for (uint32_t b = 1; b <= blocks; ++b) {
    memset(reach + b * WORDS, entry[b] ? 0 : 255, WORDS * 8);
    add(reach + b * WORDS, b);
  }
  for (bool changed = true; changed;) {
    changed = false;
    for (uint32_t v = 1; v <= blocks; ++v) {
      if (entry[v]) continue;
      uint64_t meet[WORDS];
      memset(meet, 255, sizeof meet);
      for (uint32_t u = 1; u <= blocks; ++u)
        if (has(edge + u * WORDS, v))
          for (uint32_t w = 0; w <= blocks / 64; ++w)
            meet[w] &= reach[u * WORDS + w];
      add(meet, v);
      for (uint32_t w = 0; w <= blocks / 64; ++w) {
        if (reach[v * WORDS + w] != meet[w]) {
          reach[v * WORDS + w] = meet[w];
          changed = true;
        }
      }
    }
  }
}

// Every block from which `u` is reached without passing the header.
static void collect(uint32_t l, uint32_t u) {
  static uint16_t todo[MAX_BLOCKS];
  uint32_t n = 0;
  todo[n++] = (uint16_t)u;
  while (n) {
    uint32_t b = todo[--n];
    if (inside[l][b / 8] >> (b % 8) & 1) continue;
    inside[l][b / 8] = (uint8_t)(inside[l][b / 8] | 1u << (b % 8));
    for (uint32_t p = 1; p <= blocks; ++p)
      if (has(edge + p * WORDS, b) && n < MAX_BLOCKS) todo[n++] = (uint16_t)p;
  }
}

void loops_end() {
  for (auto &s : stack) s.depth = 0;
  if (!learning) return;
  dominators();
  loops = 0;
  memset(header, 0, sizeof header);
  memset(depth, 0, sizeof depth);
  for (uint32_t v = 1; v <= blocks; ++v) {
    uint32_t l = 0;
    for (uint32_t u = 1; u <= blocks; ++u) {
      if (!has(edge + u * WORDS, v) || !has(reach + u * WORDS, v)) continue;
      if (!l) {
        if (loops + 1 >= MAX_LOOPS) return;
        l = ++loops;
        memset(inside[l], 0, sizeof inside[l]);
        inside[l][v / 8] = (uint8_t)(1u << (v % 8));
        header[v] = (uint16_t)l;
      }
      collect(l, u);
    }
  }
  for (uint32_t b = 1; b <= blocks; ++b)
    for (uint32_t l = 1; l <= loops; ++l)
      if ((inside[l][b / 8] >> (b % 8) & 1) && depth[b] < 16)
        around[b][depth[b]++] = (uint16_t)l;
}
