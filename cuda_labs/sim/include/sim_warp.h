// Barriers, fences and warp collectives. Each call carries its line, so that
// a report can say where a thread waits.
#pragma once

#define SIM_LINE int line = __builtin_LINE()
enum sim_kind {
  SIM_SYNCWARP, SIM_SHFL, SIM_SHFL_UP, SIM_SHFL_DOWN, SIM_SHFL_XOR,
  SIM_BALLOT, SIM_ANY, SIM_ALL, SIM_MATCH_ANY, SIM_MATCH_ALL,
  SIM_ADD, SIM_MIN, SIM_MAX, SIM_UMIN, SIM_UMAX, SIM_AND, SIM_OR, SIM_XOR,
  SIM_UNI, SIM_MMA
};
extern "C" {
// mode 0: plain; 1: count; 2: and; 3: or. Returns the combined predicate.
int sim_barrier(int mode, int predicate, int line);
unsigned long long sim_collective(int kind, unsigned mask,
                                  unsigned long long value, int bytes, int arg,
                                  int width, int line);
unsigned sim_activemask(int line, int site);
void sim_fence(int scope);
}

SIM_INLINE void __syncthreads(SIM_LINE) { sim_barrier(0, 0, line); }
SIM_INLINE int __syncthreads_count(int p, SIM_LINE) {
  return sim_barrier(1, p, line);
}
SIM_INLINE int __syncthreads_and(int p, SIM_LINE) {
  return sim_barrier(2, p, line);
}
SIM_INLINE int __syncthreads_or(int p, SIM_LINE) {
  return sim_barrier(3, p, line);
}
SIM_INLINE void __threadfence_block() { sim_fence(0); }
SIM_INLINE void __threadfence() { sim_fence(1); }
SIM_INLINE void __threadfence_system() { sim_fence(2); }
SIM_INLINE void __syncwarp(unsigned mask = 0xffffffffu, SIM_LINE) {
  sim_collective(SIM_SYNCWARP, mask, 0, 0, 0, 32, line);
}
// Each call in the text is a place of its own, also when two share a line.
#define __activemask() sim_activemask(__LINE__, __COUNTER__)

template <class T>
SIM_INLINE unsigned long long sim_bits(const T &v) {
  unsigned long long b = 0;
  __builtin_memcpy(&b, &v, sizeof(T));
  return b;
}
template <class T>
SIM_INLINE T sim_from_bits(unsigned long long b) {
  T v;
  __builtin_memcpy(&v, &b, sizeof(T));
  return v;
}
#define SIM_SHUFFLES(T)                                                       \
  SIM_INLINE T __shfl_sync(unsigned m, T v, int lane, int width = 32,         \
                           SIM_LINE) {                                        \
    return sim_from_bits<T>(sim_collective(SIM_SHFL, m, sim_bits(v),          \
                                           sizeof(T), lane, width, line));    \
  }                                                                           \
  SIM_INLINE T __shfl_up_sync(unsigned m, T v, unsigned delta,                \
                              int width = 32, SIM_LINE) {                     \
    return sim_from_bits<T>(sim_collective(SIM_SHFL_UP, m, sim_bits(v),       \
                                           sizeof(T), (int)delta, width,      \
                                           line));                            \
  }                                                                           \
  SIM_INLINE T __shfl_down_sync(unsigned m, T v, unsigned delta,              \
                                int width = 32, SIM_LINE) {                   \
    return sim_from_bits<T>(sim_collective(SIM_SHFL_DOWN, m, sim_bits(v),     \
                                           sizeof(T), (int)delta, width,      \
                                           line));                            \
  }                                                                           \
  SIM_INLINE T __shfl_xor_sync(unsigned m, T v, int lanes, int width = 32,    \
                               SIM_LINE) {                                    \
    return sim_from_bits<T>(sim_collective(SIM_SHFL_XOR, m, sim_bits(v),      \
                                           sizeof(T), lanes, width, line));   \
  }
SIM_SHUFFLES(int)
SIM_SHUFFLES(unsigned)
SIM_SHUFFLES(long)
SIM_SHUFFLES(unsigned long)
SIM_SHUFFLES(long long)
SIM_SHUFFLES(unsigned long long)
SIM_SHUFFLES(float)
SIM_SHUFFLES(double)

SIM_INLINE unsigned __ballot_sync(unsigned m, int p, SIM_LINE) {
  return (unsigned)sim_collective(SIM_BALLOT, m, p != 0, 4, 0, 32, line);
}
SIM_INLINE int __any_sync(unsigned m, int p, SIM_LINE) {
  return (int)sim_collective(SIM_ANY, m, p != 0, 4, 0, 32, line);
}
SIM_INLINE int __all_sync(unsigned m, int p, SIM_LINE) {
  return (int)sim_collective(SIM_ALL, m, p != 0, 4, 0, 32, line);
}
SIM_INLINE int __uni_sync(unsigned m, int p, SIM_LINE) {
  return (int)sim_collective(SIM_UNI, m, p != 0, 4, 0, 32, line);
}
template <class T>
SIM_INLINE unsigned __match_any_sync(unsigned m, T v, SIM_LINE) {
  return (unsigned)sim_collective(SIM_MATCH_ANY, m, sim_bits(v), sizeof(T), 0,
                                  32, line);
}
template <class T>
SIM_INLINE unsigned __match_all_sync(unsigned m, T v, int *p, SIM_LINE) {
  unsigned r = (unsigned)sim_collective(SIM_MATCH_ALL, m, sim_bits(v),
                                        sizeof(T), 0, 32, line);
  *p = r != 0;
  return r;
}
#define SIM_REDUCE(NAME, T, KIND)                                          \
  SIM_INLINE T NAME(unsigned m, T v, SIM_LINE) {                           \
    return (T)sim_collective(KIND, m, (unsigned)v, 4, 0, 32, line);        \
  }
SIM_REDUCE(__reduce_add_sync, unsigned, SIM_ADD)
SIM_REDUCE(__reduce_add_sync, int, SIM_ADD)
SIM_REDUCE(__reduce_min_sync, unsigned, SIM_UMIN)
SIM_REDUCE(__reduce_min_sync, int, SIM_MIN)
SIM_REDUCE(__reduce_max_sync, unsigned, SIM_UMAX)
SIM_REDUCE(__reduce_max_sync, int, SIM_MAX)
SIM_REDUCE(__reduce_and_sync, unsigned, SIM_AND)
SIM_REDUCE(__reduce_or_sync, unsigned, SIM_OR)
SIM_REDUCE(__reduce_xor_sync, unsigned, SIM_XOR)
