// The loops of a kernel. The compiler reports each basic block as it is entered
// (points.cpp); edges between blocks come in as threads take them. Dominators then
// give the loops (Aho, Lam, Sethi and Ullman, "Compilers", 2nd ed., section 9.6).
#include <stdlib.h>
#include <string.h>

#include "profile.h"

static uint16_t *block_of;  // by offset in the object; 0 means none yet
static size_t block_room;
static Kernel *owner;
static uint32_t blocks;  // 1 ... blocks
static uint64_t *edge, *reach;
static uint16_t header[MAX_BLOCKS];  // loop that a block is the header of
static uint8_t inside[MAX_LOOPS][MAX_BLOCKS / 8];
static Around around[MAX_BLOCKS];
static uint32_t loops;
static bool entry[MAX_BLOCKS];
static bool unsettled;  // edges have come in since the loops were found

enum { WORDS = MAX_BLOCKS / 64 };
static inline bool has(const uint64_t *set, uint32_t i) {
  return set[i / 64] >> (i % 64) & 1;
}
static inline void add(uint64_t *set, uint32_t i) {
  set[i / 64] |= 1ull << (i % 64);
}

// The basic block that begins at an offset in the object; 0 when there are too many.
uint16_t loops_block(uint32_t at) {
  if (at >= block_room) return 0;
  uint16_t &b = block_of[at];
  if (!b && blocks + 1 < MAX_BLOCKS) b = (uint16_t)++blocks;
  return b;
}

// A thread goes from one block to another. An edge that has not been seen before
// may change what is a loop.
void loops_edge(uint16_t from, uint16_t to) {
  bool known = from == NO_BLOCK ? entry[to] : has(edge + from * WORDS, to);
  if (known) return;
  unsettled = true;
  if (from == NO_BLOCK) entry[to] = true;
  else add(edge + from * WORDS, to);
}

const Around &loops_around(uint16_t b) { return around[b]; }
uint16_t loops_header(uint16_t b) { return header[b]; }
bool loops_inside(uint16_t loop, uint16_t b) {
  return b != NO_BLOCK && (inside[loop][b / 8] >> (b % 8) & 1);
}

// True when the kernel is another one than before.
bool loops_begin() {
  if (owner == kernel) return false;
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
  memset(around, 0, sizeof around);
  blocks = loops = 0;
  unsettled = false;
  return true;
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
  auto meet = [&](uint32_t b) {
    if (inside[l][b / 8] >> (b % 8) & 1) return;
    inside[l][b / 8] = (uint8_t)(inside[l][b / 8] | 1u << (b % 8));
    todo[n++] = (uint16_t)b;
  };
  meet(u);
  while (n) {
    uint32_t b = todo[--n];
    for (uint32_t p = 1; p <= blocks; ++p)
      if (has(edge + p * WORDS, b)) meet(p);
  }
}

static void find_loops() {
  dominators();
  loops = 0;
  memset(header, 0, sizeof header);
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
      if (loops_inside((uint16_t)l, (uint16_t)b) && around[b].depth < NESTED)
        around[b].loop[around[b].depth++] = (uint16_t)l;
}

// True when the loops by which a run was counted are not the kernel's: the run
// has met edges that change them, and has to be made again.
bool loops_end() {
  if (!unsettled) return false;
  unsettled = false;
  static uint16_t old_header[MAX_BLOCKS];
  static Around old_around[MAX_BLOCKS];
  static uint8_t old_inside[MAX_LOOPS][MAX_BLOCKS / 8];
  memcpy(old_header, header, sizeof header);
  memcpy(old_around, around, sizeof around);
  memcpy(old_inside, inside, sizeof inside);
  find_loops();
  return memcmp(old_header, header, sizeof header) ||
         memcmp(old_around, around, sizeof around) ||
         memcmp(old_inside, inside, sizeof inside);
}
