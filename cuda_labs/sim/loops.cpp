// Which lanes of a warp execute an access together? Those at the same program
// point in the same iteration of every loop around it. The compiler reports
// each basic block as it is entered. A run of the launch's first block collects
// edges between them; dominators then give the loops (Aho, Lam, Sethi and
// Ullman, "Compilers", 2nd ed., section 9.6), and in the counting run each
// thread counts the iterations of the loops that it is in. Edges that only the
// counting run meets are collected too: should they change the loops, the
// launch is counted once more.
#include <stdlib.h>
#include <string.h>

#include "profile.h"

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
static uint16_t usual[MAX_BLOCKS];  // 1 + a block from which a block is reached
static bool unsettled;  // edges have come in since the loops were found

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
  f.stale = false;
  memset(f.count, 0, (loops + 1) * sizeof *f.count);
  return f;
}

// The innermost frame of the running thread, remembered until it changes.
static Frame *here;
static uint32_t here_of = MAX_THREADS;

static inline Frame &top() {
  if (__builtin_expect(here_of != current, 0)) {
    Stack &s = stack[current];
    here = s.depth ? &s.frame[s.depth - 1] : &push(s, 1);
    here_of = current;
  }
  return *here;
}

static uint64_t key_of(Frame &f);

EXPORT void __tsan_func_entry(void *caller) {
  if (mode != PROFILE) return;
  uint64_t key = key_of(top());
  push(stack[current], mix(key, (uintptr_t)caller - kernel->image));
  here_of = MAX_THREADS;
}
EXPORT void __tsan_func_exit() {
  if (mode != PROFILE || stack[current].depth <= 1) return;
  --stack[current].depth;
  here_of = MAX_THREADS;
}

// An edge that has not been seen before may change what is a loop.
static void meet(uint16_t from, uint16_t b) {
  usual[b] = (uint16_t)(from + 1);
  bool known = from == NO_BLOCK ? entry[b] : has(edge + from * WORDS, b);
  if (known) return;
  unsettled = true;
  if (from == NO_BLOCK) entry[b] = true;
  else add(edge + from * WORDS, b);
}

EXPORT void __sanitizer_cov_trace_pc() {
  if (mode != PROFILE) return;
  uintptr_t at = (uintptr_t)__builtin_return_address(0) - kernel->image;
  if (at >= block_room) return;
  uint16_t b = block_of[at];
  if (!b && blocks + 1 < MAX_BLOCKS) b = block_of[at] = (uint16_t)++blocks;
  if (!b) return;
  Frame &f = top();
  if (usual[b] != (uint16_t)(f.previous + 1) || f.previous == NO_BLOCK)
    meet(f.previous, b);
  if (uint32_t l = header[b]) {
    bool again = f.previous != NO_BLOCK &&
                 (inside[l][f.previous / 8] >> (f.previous % 8) & 1);
    f.count[l] = again ? f.count[l] + 1 : 0;
  }
  f.previous = b;
  f.stale = true;
}

// The context and the iterations of the loops around where the frame is.
static uint64_t key_of(Frame &f) {
  if (!f.stale) return f.key;
  f.stale = false;
  uint32_t b = f.previous;
  uint64_t key = f.context;
  for (uint32_t i = 0; i < depth[b]; ++i)
    key = mix(key, (uint64_t)around[b][i] << 32 | f.count[around[b][i]]);
  return f.key = key;
}

uint64_t loops_key() { return key_of(top()); }

void loops_begin() {
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
    memset(header, 0, sizeof header);
    memset(depth, 0, sizeof depth);
    memset(usual, 0, sizeof usual);
    blocks = loops = 0;
    unsettled = false;
  }
  for (auto &s : stack) s.depth = 0;
  here_of = MAX_THREADS;
}

bool loops_known() { return owner == kernel && blocks; }

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

static void find_loops() {
  dominators();
  loops = 0;
  memset(header, 0, sizeof header);
  memset(depth, 0, sizeof depth);
  memset(around, 0, sizeof around);
  memset(inside, 0, sizeof inside);
  for (uint32_t v = 1; v <= blocks; ++v) {
    uint32_t l = 0;
    for (uint32_t u = 1; u <= blocks; ++u) {
      if (!has(edge + u * WORDS, v) || !has(reach + u * WORDS, v)) continue;
      if (!l) {
        if (loops + 1 >= MAX_LOOPS) return;
        l = ++loops;
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

// True when the loops by which a run was counted are not the kernel's: the run
// has met edges that change them, and has to be made again.
bool loops_end() {
  for (auto &s : stack) s.depth = 0;
  here_of = MAX_THREADS;
  if (!unsettled) return false;
  unsettled = false;
  static uint16_t old_header[MAX_BLOCKS], old_around[MAX_BLOCKS][16];
  static uint8_t old_inside[MAX_LOOPS][MAX_BLOCKS / 8], old_depth[MAX_BLOCKS];
  memcpy(old_header, header, sizeof header);
  memcpy(old_around, around, sizeof around);
  memcpy(old_inside, inside, sizeof inside);
  memcpy(old_depth, depth, sizeof depth);
  find_loops();
  return memcmp(old_header, header, sizeof header) ||
         memcmp(old_around, around, sizeof around) ||
         memcmp(old_inside, inside, sizeof inside) ||
         memcmp(old_depth, depth, sizeof depth);
}
