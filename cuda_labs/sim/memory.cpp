// Every load and store of a checked build arrives here: the compiler's thread
// sanitizer inserts the calls, and these functions stand in for its runtime.
#include <stdio.h>
#include <string.h>

#include "profile.h"

uint8_t *valid;
char *arena;
size_t arena_size;
uint32_t dynamic_bytes;
Kernel *kernel;
int mode;
__attribute__((aligned(1024))) char sim_dynamic[DYNAMIC_MAX];

uint32_t atomics;

[[noreturn]] static void bad_access(uintptr_t a, size_t bytes, bool write,
                                    int kind, int line, const void *pc) {
  status->address = a;
  status->bytes = (int32_t)bytes;
  finding(kind, line, pc, write ? "store" : "load");
}

[[noreturn]] static void not_arrived(uintptr_t a, size_t bytes, bool write,
                                     int begun, int line, const void *pc) {
  char text[40];
  snprintf(text, sizeof text, "%s %d", write ? "store" : "load", begun);
  status->address = a;
  status->bytes = (int32_t)bytes;
  finding(NOT_THERE, line, pc, text);
}

static inline bool in_arena(uintptr_t off, size_t bytes) {
  for (size_t i = off; i < off + bytes; ++i)
    if (!(valid[i >> 3] >> (i & 7) & 1)) return false;
  return true;
}

// The bits of up to 16 bytes at once.
static inline bool in_arena_small(uintptr_t off, unsigned bytes) {
  uint32_t word;
  memcpy(&word, valid + (off >> 3), sizeof word);
  uint32_t mask = ((1u << bytes) - 1) << (off & 7);
  return (word & mask) == mask;
}

static inline bool in_image(uintptr_t a, size_t bytes) {
  if (a < kernel->data) return a >= kernel->image;  // constant tables
  if (a + bytes > kernel->data_end) return false;
  const uint8_t *map = kernel->map + (a - kernel->data);
  if (bytes == 4) {  // four that are not zero
    uint32_t word;
    memcpy(&word, map, sizeof word);
    return !((word - 0x01010101u) & ~word & 0x80808080u);
  }
  for (size_t i = 0; i < bytes; ++i)
    if (!map[i]) return false;
  return true;
}

// A variable that is declared __constant__, or a table of the compiler's.
static inline bool is_constant(uintptr_t a) {
  return a < kernel->data || kernel->map[a - kernel->data] & 8;
}

// The memory in which all bytes of an access lie.
static inline Region region_of(uintptr_t a, size_t bytes) {
  uintptr_t off = a - (uintptr_t)arena;
  if (off < arena_size) {
    bool inside = bytes <= 16 ? in_arena_small(off, (unsigned)bytes)
                              : off + bytes <= arena_size && in_arena(off, bytes);
    return inside ? IN_ARENA : NOWHERE;
  }
  off = a - (uintptr_t)sim_dynamic;
  if (off < DYNAMIC_MAX) return off + bytes <= dynamic_bytes ? IN_DYNAMIC : NOWHERE;
  if (a - kernel->image < kernel->image_end - kernel->image)
    return in_image(a, bytes) ? IN_IMAGE : NOWHERE;
  return NOWHERE;
}

// Hardware moves 1, 2, 4, 8 or 16 bytes a lane at once, as far as a type's alignment
// says that it can. A structure that is moved whole is known by its size among those
// of the parameters; one that is not there has the alignment of a word.
static inline uint32_t unit_of(size_t bytes, bool aligned) {
  uint32_t known = bytes <= STRUCTURE_MAX ? kernel->unit[bytes] : 0;
  if (aligned) return bytes == 16 && known == 8 && !kernel->vectors ? 8 : WIDEST;
  if (known) return known < WIDEST ? known : WIDEST;
  uint32_t divides = (uint32_t)(bytes & (0 - bytes));
  return divides && divides < 4 ? divides : 4;
}

static inline void access(const volatile void *p, size_t bytes, bool write,
                          bool aligned, const void *pc, int line = 0,
                          int order = PLAIN) {
  uintptr_t a = (uintptr_t)p;
  if (a - stack_low < STACK) return;
  Region region = region_of(a, bytes);
  if (__builtin_expect(region == NOWHERE, 0))
    bad_access(a, bytes, write, a < 4096 ? NULL_POINTER : OUT_OF_BOUNDS, line,
               pc);
  size_t needs = bytes == 16 && kernel->typed ? 8 : bytes;
  if (aligned && __builtin_expect((a & (needs - 1)) != 0, 0))
    bad_access(a, bytes, write, MISALIGNED, line, pc);
  if (write && region == IN_IMAGE && __builtin_expect(is_constant(a), 0))
    bad_access(a, bytes, true, TO_CONSTANT, line, pc);
  if (__builtin_expect(in_flight != 0, 0) && mode == CHECKED)
    if (int begun = async_pending(a, bytes))
      not_arrived(a, bytes, write, begun, line, pc);
  if (mode == PROFILE)
    profile_access(a, bytes, region, write, order,
                   (uint32_t)((uintptr_t)pc - kernel->image),
                   unit_of(bytes, aligned));
}

// The same tests for an access that the simulator makes itself. `unit`: the
// alignment that it needs.
void check_access(uintptr_t a, size_t bytes, size_t unit, bool write, int line,
                  const void *pc) {
  if (bytes && a - stack_low >= STACK) {
    Region region = region_of(a, bytes);
    if (region == NOWHERE)
      bad_access(a, bytes, write, a < 4096 ? NULL_POINTER : OUT_OF_BOUNDS, line,
                 pc);
    if (write && region == IN_IMAGE && is_constant(a))
      bad_access(a, bytes, true, TO_CONSTANT, line, pc);
  }
  if (a & (unit - 1)) bad_access(a, unit, write, MISALIGNED, line, pc);
}

// Volatile: others may run, and what they wrote before a fence is seen.
static inline void access_volatile(void *p, size_t bytes, bool write,
                                   bool aligned, const void *pc) {
  if (write) profile_acquire_release((uintptr_t)p, false, true);
  access(p, bytes, write, aligned, pc, 0, VOLATILE);
  sim_yield();
  if (!write) profile_acquire_release((uintptr_t)p, true, false);
}

#define HERE __builtin_return_address(0)
#define HOOKS(N)                                                             \
  EXPORT void __tsan_read##N(void *p) { access(p, N, false, true, HERE); }   \
  EXPORT void __tsan_write##N(void *p) { access(p, N, true, true, HERE); }   \
  EXPORT void __tsan_unaligned_read##N(void *p) {                            \
    access(p, N, false, false, HERE);                                        \
  }                                                                          \
  EXPORT void __tsan_unaligned_write##N(void *p) {                           \
    access(p, N, true, false, HERE);                                         \
  }                                                                          \
  EXPORT void __tsan_volatile_read##N(void *p) {                             \
    access_volatile(p, N, false, true, HERE);                                \
  }                                                                          \
  EXPORT void __tsan_volatile_write##N(void *p) {                            \
    access_volatile(p, N, true, true, HERE);                                 \
  }                                                                          \
  EXPORT void __tsan_unaligned_volatile_read##N(void *p) {                   \
    access_volatile(p, N, false, false, HERE);                               \
  }                                                                          \
  EXPORT void __tsan_unaligned_volatile_write##N(void *p) {                  \
    access_volatile(p, N, true, false, HERE);                                \
  }
HOOKS(1)
HOOKS(2)
HOOKS(4)
HOOKS(8)
HOOKS(16)
EXPORT void __tsan_read_range(void *p, unsigned long n) {
  if (n) access(p, n, false, false, HERE);
}
EXPORT void __tsan_write_range(void *p, unsigned long n) {
  if (n) access(p, n, true, false, HERE);
}
EXPORT void *__tsan_memcpy(void *d, const void *s, unsigned long n) {
  if (n) {
    access(s, n, false, false, HERE);
    access(d, n, true, false, HERE);
  }
  return memcpy(d, s, n);
}
EXPORT void *__tsan_memmove(void *d, const void *s, unsigned long n) {
  if (n) {
    access(s, n, false, false, HERE);
    access(d, n, true, false, HERE);
  }
  return memmove(d, s, n);
}
EXPORT void *__tsan_memset(void *d, int v, unsigned long n) {
  if (n) access(d, n, true, false, HERE);
  return memset(d, v, n);
}
// The same for calls in the source.
EXPORT void *sim_memcpy(void *d, const void *s, unsigned long n) {
  if (n && mode != FAST) {
    access(s, n, false, false, HERE);
    access(d, n, true, false, HERE);
  }
  return memcpy(d, s, n);
}
EXPORT void *sim_memmove(void *d, const void *s, unsigned long n) {
  if (n && mode != FAST) {
    access(s, n, false, false, HERE);
    access(d, n, true, false, HERE);
  }
  return memmove(d, s, n);
}
EXPORT void *sim_memset(void *d, int v, unsigned long n) {
  if (n && mode != FAST) access(d, n, true, false, HERE);
  return memset(d, v, n);
}
EXPORT void __tsan_init() {}

// A fence orders memory between threads. One thread runs at a time here, so
// only the search for races needs to know.
EXPORT void sim_fence(int scope) { profile_fence(scope > 0); }

EXPORT void sim_atomic(const volatile void *p, int bytes, int line,
                       const void *pc) {
  // A loop that waits with atomics must let the thread it waits for run; what
  // follows happens at one time.
  if (++atomics % 64 == 0) sim_yield();
  if (mode == FAST) return;
  access(p, (size_t)bytes, true, true, pc, line, ATOMIC);
  profile_acquire_release((uintptr_t)p, true, true);
}

EXPORT void sim_compared(const volatile void *p) {
  if (mode == PROFILE) profile_compared((uintptr_t)p);
}
