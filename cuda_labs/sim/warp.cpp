// Warp collectives: a lane waits until every lane that its mask names, and
// that has not exited, waits in the same kind of call with the same mask.
#include <stdio.h>
#include <string.h>

#include "profile.h"

enum {
  SYNCWARP, SHFL, SHFL_UP, SHFL_DOWN, SHFL_XOR, BALLOT, ANY, ALL, MATCH_ANY,
  MATCH_ALL, ADD, MIN, MAX, UMIN, UMAX, AND, OR, XOR, UNI, MMA, KINDS
};
static const char *const NAME[KINDS] = {
    "__syncwarp",       "__shfl_sync",       "__shfl_up_sync",
    "__shfl_down_sync", "__shfl_xor_sync",   "__ballot_sync",
    "__any_sync",       "__all_sync",        "__match_any_sync",
    "__match_all_sync", "__reduce_add_sync", "__reduce_min_sync",
    "__reduce_max_sync", "__reduce_min_sync", "__reduce_max_sync",
    "__reduce_and_sync", "__reduce_or_sync", "__reduce_xor_sync",
    "__uni_sync", "a wmma operation"};

// By warp: lanes that exist and have not exited, and lanes in a collective.
static uint32_t present[MAX_THREADS / WARP], waiting[MAX_THREADS / WARP];

void warps_begin() {
  for (uint32_t w = 0; w * WARP < threads; ++w) {
    uint32_t lanes = threads - w * WARP;
    present[w] = lanes < WARP ? (1u << lanes) - 1 : ~0u;
    waiting[w] = 0;
  }
}

// The lanes that have not exited and do not wait for the whole block.
uint32_t warp_running(uint32_t warp) {
  uint32_t lanes = present[warp];
  for (uint32_t l = 0; l < WARP; ++l)
    if (lanes >> l & 1 && thread[warp * WARP + l].wait == AT_BARRIER)
      lanes &= ~(1u << l);
  return lanes;
}

static uint64_t shuffle(uint32_t first, uint32_t lane, uint32_t lanes) {
  Thread &me = thread[first + lane];
  int width = me.width, base = (int)lane & ~(width - 1), source = (int)lane;
  switch (me.kind) {
    case SHFL: source = base + (me.arg & (width - 1)); break;
    case SHFL_UP: source = (int)lane - me.arg; break;
    case SHFL_DOWN: source = (int)lane + me.arg; break;
    default: source = (int)lane ^ me.arg;
  }
  // Out of the group a lane keeps its own value; __shfl_xor_sync may reach
  // into earlier groups.
  bool keeps = source >= base + width || source < 0 ||
               (me.kind != SHFL_XOR && source < base);
  if (keeps) return me.value;
  if (!(lanes >> source & 1)) {
    char text[160];
    snprintf(text, sizeof text,
             "%s: lane %u reads lane %d, which does not take part",
             NAME[me.kind], lane, source);
    current = first + lane;
    finding(INACTIVE_SOURCE, me.line, nullptr, text);
  }
  return thread[first + source].value;
}

static uint64_t combine(uint32_t first, uint32_t lane, uint32_t lanes) {
  Thread &me = thread[first + lane];
  if (me.kind == SYNCWARP || me.kind == MMA) return 0;
  if (me.kind >= SHFL && me.kind <= SHFL_XOR)
    return shuffle(first, lane, lanes);
  uint32_t votes = 0, equal = 0, r = (uint32_t)me.value;
  uint32_t sum = 0, low_and = ~0u, low_or = 0, low_xor = 0;
  for (uint32_t l = 0; l < WARP; ++l) {
    if (!(lanes >> l & 1)) continue;
    uint64_t v = thread[first + l].value;
    uint32_t w = (uint32_t)v;
    if (w) votes |= 1u << l;
    if (v == me.value) equal |= 1u << l;
    sum += w;
    low_and &= w;
    low_or |= w;
    low_xor ^= w;
    switch (me.kind) {
      case MIN: r = (int32_t)w < (int32_t)r ? w : r; break;
      case MAX: r = (int32_t)w > (int32_t)r ? w : r; break;
      case UMIN: r = w < r ? w : r; break;
      case UMAX: r = w > r ? w : r; break;
    }
  }
  switch (me.kind) {
    case BALLOT: return votes;
    case ANY: return votes != 0;
    case ALL: return votes == lanes;
    case UNI: return votes == 0 || votes == lanes;
    case MATCH_ANY: return equal;
    case MATCH_ALL: return equal == lanes ? lanes : 0;
    case ADD: return sum;
    case AND: return low_and;
    case OR: return low_or;
    case XOR: return low_xor;
    default: return r;
  }
}

static bool complete(uint32_t warp, int kind, uint32_t mask) {
  uint32_t first = warp * WARP, lanes = mask & present[warp];
  if ((waiting[warp] & lanes) != lanes) return false;
  for (uint32_t l = 0; l < WARP; ++l) {
    if (!(lanes >> l & 1)) continue;
    const Thread &t = thread[first + l];
    if (t.wait != AT_COLLECTIVE || t.kind != kind || t.mask != mask)
      return false;
  }
  for (uint32_t l = 0; l < WARP; ++l)
    if (lanes >> l & 1)
      thread[first + l].result = combine(first, l, lanes);
  if (kind == SYNCWARP) profile_syncwarp(warp, lanes);
  waiting[warp] &= ~lanes;
  for (uint32_t l = 0; l < WARP; ++l)
    if (lanes >> l & 1) make_ready(first + l);
  return lanes != 0;
}

EXPORT unsigned long long sim_collective(int kind, unsigned mask,
                                         unsigned long long value, int bytes,
                                         int arg, int width, int line) {
  (void)bytes;
  Thread &me = thread[current];
  uint32_t lane = current % WARP;
  if (!(mask >> lane & 1)) {
    char text[160];
    snprintf(text, sizeof text, "%s: lane %u calls with mask 0x%08x, which "
             "does not name it", NAME[kind], lane, mask);
    finding(NOT_IN_MASK, line, nullptr, text);
  }
  if (width < 1 || width > WARP || (width & (width - 1))) {
    char text[160];
    snprintf(text, sizeof text, "%s: width %d is no power of two from 1 to 32",
             NAME[kind], width);
    finding(BAD_WIDTH, line, nullptr, text);
  }
  me.wait = AT_COLLECTIVE;
  waiting[current / WARP] |= 1u << lane;
  me.kind = kind;
  me.mask = mask;
  me.value = value;
  me.arg = arg;
  me.width = width;
  me.line = line;
  complete(current / WARP, kind, mask);
  park();
  return me.result;
}

// An exit can be what the other lanes of a warp were waiting for.
void warp_exit(uint32_t t) {
  uint32_t warp = t / WARP, first = warp * WARP;
  present[warp] &= ~(1u << t % WARP);
  for (uint32_t l = 0; waiting[warp] && l < WARP && first + l < threads; ++l) {
    const Thread &other = thread[first + l];
    if (other.wait == AT_COLLECTIVE)
      complete(warp, other.kind, other.mask);
  }
}

// Where the lanes of a warp show each other their fragments.
EXPORT void **sim_warp_table() {
  static void *table[MAX_THREADS * 2];
  return table + current / WARP * WARP * 2;
}

EXPORT unsigned sim_activemask(int line, int site) {
  Thread &me = thread[current];
  me.wait = AT_ACTIVEMASK;
  me.kind = site;
  me.line = line;
  park();
  return (unsigned)me.result;
}

// Called when no other thread can run: the lanes of the first warp that wait
// at the same call are those active there.
bool resolve_activemask() {
  for (uint32_t t = 0; t < threads; ++t) {
    if (thread[t].wait != AT_ACTIVEMASK) continue;
    uint32_t first = t / WARP * WARP, lanes = 0;
    for (uint32_t l = 0; l < WARP && first + l < threads; ++l) {
      const Thread &o = thread[first + l];
      if (o.wait == AT_ACTIVEMASK && o.kind == thread[t].kind)
        lanes |= 1u << l;
    }
    profile_note(ACTIVE_LANES, thread[t].line);
    for (uint32_t l = 0; l < WARP; ++l) {
      if (!(lanes >> l & 1)) continue;
      thread[first + l].result = lanes;
      make_ready(first + l);
    }
    return true;
  }
  return false;
}

// Who waits where, runs of threads together: "threads 0-31 wait at ...".
void describe_waiting(char *text, size_t size) {
  size_t used = 0;
  text[0] = 0;
  for (uint32_t t = 0; t < threads && used + 160 < size;) {
    const Thread &a = thread[t];
    uint32_t end = t + 1;
    while (end < threads && thread[end].exited == a.exited &&
           (a.exited || (thread[end].wait == a.wait &&
                         thread[end].line == a.line &&
                         (a.wait != AT_COLLECTIVE ||
                          (thread[end].kind == a.kind &&
                           thread[end].mask == a.mask)))))
      ++end;
    char who[48];
    if (end == t + 1) snprintf(who, sizeof who, "thread %u", t);
    else snprintf(who, sizeof who, "threads %u-%u", t, end - 1);
    bool many = end != t + 1;
    const char *waits = many ? "wait" : "waits";
    if (used) used += (size_t)snprintf(text + used, size - used, "; ");
    if (a.exited)
      used += (size_t)snprintf(text + used, size - used, "%s %s exited", who,
                               many ? "have" : "has");
    else if (a.wait == AT_COLLECTIVE)
      used += (size_t)snprintf(
          text + used, size - used, "%s %s at %s with mask 0x%08x on line %d",
          who, waits, NAME[a.kind], a.mask, a.line);
    else
      used += (size_t)snprintf(text + used, size - used,
                               "%s %s at __syncthreads on line %d", who, waits,
                               a.line);
    t = end;
  }
}
