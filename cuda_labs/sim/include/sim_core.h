// What a kernel source sees when a host compiler compiles it: qualifiers,
// built-in variables and the entry that the launcher calls. No header of the
// C or C++ library is included, so a compiler without them serves as well.
#pragma once

#define __CUDACC__ 1
#define __CUDACC_RTC__ 1
#define __NVCC__ 1
#define __CUDA_ARCH__ 900
#define __CUDACC_VER_MAJOR__ 13
#define __CUDACC_VER_MINOR__ 0

#define __global__
#define __device__
#define __host__
#define __managed__
#define __constant__
#define __grid_constant__
#define __launch_bounds__(...)
#define __maxnreg__(...)
#define SIM_FIRST(n, ...) (n)
#define __forceinline__ inline __attribute__((always_inline))
#define __inline_hint__ inline
#define __noinline__ __attribute__((noinline))
#define __align__(n) __attribute__((aligned(n)))
#define __builtin_align__(n) __attribute__((aligned(n)))
// One block runs at a time, so shared memory is a static variable, kept in a
// section of its own where the launcher finds it. g++ guards an array of a
// class with a defaulted constructor unless it is told that none runs; clang
// folds one that it believes to hold one value, unless it is used elsewhere.
#if defined(__clang__)
#define __shared__ static __attribute__((section("simshared"), used))
#else
#define __shared__ static __constinit __attribute__((section("simshared")))
#endif

// An inlined body that is seen at the line of its call.
#if defined(__clang__)
#define SIM_INLINE inline __attribute__((always_inline, nodebug))
#define SIM_QUIET __attribute__((disable_sanitizer_instrumentation))
#else
#define SIM_INLINE inline __attribute__((always_inline, artificial))
#define SIM_QUIET \
  __attribute__((no_sanitize("thread"), no_sanitize_coverage))
#endif

// Where a round of a loop begins and ends in a profile (rounds.py). The lines make
// g++ think the mark too long to copy out of the loop; it is empty.
#if defined(__clang__)
#define SIM_ROUND
#define SIM_END ({ if (!__builtin_is_constant_evaluated()) asm volatile(""); })
#else
#define SIM_ROUND                                                        \
  if (!__builtin_is_constant_evaluated() && ({                           \
        asm volatile("\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n"); \
        false;                                                           \
      })) {                                                              \
  } else
#define SIM_END (void)0
#endif

typedef __SIZE_TYPE__ size_t;
typedef __PTRDIFF_TYPE__ ptrdiff_t;
#define NULL 0
#include "sim_names.h"

extern "C" {
// Constant for as long as a thread lives, and a thread lives in one call of
// the kernel: the compiler may ask once.
__attribute__((const)) unsigned sim_thread_x(), sim_thread_y(), sim_thread_z();
__attribute__((const)) unsigned sim_block_x(), sim_block_y(), sim_block_z();
__attribute__((const)) unsigned sim_block_dim_x(), sim_block_dim_y();
__attribute__((const)) unsigned sim_block_dim_z();
__attribute__((const)) unsigned sim_grid_dim_x(), sim_grid_dim_y();
__attribute__((const)) unsigned sim_grid_dim_z();
extern char sim_dynamic[];
void *sim_memcpy(void *, const void *, size_t);
void *sim_memmove(void *, const void *, size_t);
void *sim_memset(void *, int, size_t);
int sim_printf(const char *, ...) __attribute__((format(printf, 1, 2)));
[[noreturn]] void sim_trap(int kind, int line, const char *text);
void sim_yield();
unsigned long long sim_timer();
}

#define printf sim_printf
// The compiler would expand these without telling the launcher.
#define memcpy sim_memcpy
#define memmove sim_memmove
#define memset sim_memset
#define assert(...) \
  ((__VA_ARGS__) ? (void)0 : sim_trap(1, __LINE__, #__VA_ARGS__))
#define __trap() sim_trap(2, __LINE__, "__trap()")
#define __brkpt() ((void)0)
#define __nanosleep(ns) ((void)(ns), sim_yield())
#define __builtin_assume(x) ((void)0)
#define __builtin_assume_aligned(p, ...) (p)

#include "sim_types.h"

#define threadIdx (uint3{sim_thread_x(), sim_thread_y(), sim_thread_z()})
#define blockIdx (uint3{sim_block_x(), sim_block_y(), sim_block_z()})
#define blockDim \
  (dim3(sim_block_dim_x(), sim_block_dim_y(), sim_block_dim_z()))
#define gridDim (dim3(sim_grid_dim_x(), sim_grid_dim_y(), sim_grid_dim_z()))
static const int warpSize = 32;

// ---- the entry: parameter types come from the compiler ----
struct sim_param {
  char pointer;   // 1 for T*, 0 for a value
  char base;      // b i u f c(har) h(alf) B(float16) v(oid) s(truct)
  char constant;  // 1 for const T*
  char align;     // of the pointee, or of the value; at most 64
  int width;  // bytes of one element of the base type
  int lanes;  // elements in a vector type
  int size;   // bytes of the pointee, or of the value
};

template <class T>
struct sim_type {
  static constexpr char base = 's';
  static constexpr int lanes = 1, width = sizeof(T);
};
#define SIM_TYPE(T, B, L)                                         \
  template <>                                                     \
  struct sim_type<T> {                                            \
    static constexpr char base = B;                               \
    static constexpr int lanes = L, width = int(sizeof(T)) / (L); \
  };
SIM_TYPE(bool, 'b', 1)
SIM_TYPE(char, 'c', 1)
SIM_TYPE(signed char, 'i', 1)
SIM_TYPE(unsigned char, 'u', 1)
SIM_TYPE(short, 'i', 1)
SIM_TYPE(unsigned short, 'u', 1)
SIM_TYPE(int, 'i', 1)
SIM_TYPE(unsigned, 'u', 1)
SIM_TYPE(long, 'i', 1)
SIM_TYPE(unsigned long, 'u', 1)
SIM_TYPE(long long, 'i', 1)
SIM_TYPE(unsigned long long, 'u', 1)
SIM_TYPE(float, 'f', 1)
SIM_TYPE(double, 'f', 1)
SIM_VECTOR_TYPES(SIM_TYPE)
template <>
struct sim_type<void> {
  static constexpr char base = 'v';
  static constexpr int lanes = 1, width = 1;
};
template <class T>
struct sim_bare {
  typedef T type;
};
template <class T>
struct sim_bare<const T> : sim_bare<T> {};
template <class T>
struct sim_bare<volatile T> : sim_bare<T> {};
template <class T>
struct sim_bare<const volatile T> : sim_bare<T> {};

template <class T>
struct sim_size {
  static constexpr int value = sizeof(T);
  static constexpr char align = alignof(T) < 64 ? alignof(T) : 64;
};
template <>
struct sim_size<void> {
  static constexpr int value = 1;
  static constexpr char align = 1;
};
template <class T>
struct sim_const {
  static constexpr char value = 0;
};
template <class T>
struct sim_const<const T> {
  static constexpr char value = 1;
};
template <class T>
struct sim_describe {
  typedef typename sim_bare<T>::type bare;
  typedef sim_type<bare> type;
  static constexpr sim_param value = {
      0, type::base, 0, sim_size<bare>::align, type::width, type::lanes,
      sizeof(bare)};
};
template <class T>
struct sim_describe<T *> {
  typedef typename sim_bare<T>::type bare;
  typedef sim_type<bare> type;
  static constexpr sim_param value = {
      1, type::base, sim_const<T>::value, sim_size<bare>::align, type::width,
      type::lanes, sim_size<bare>::value};
};

template <int... I>
struct sim_indices {};
template <int N, int... I>
struct sim_count : sim_count<N - 1, N - 1, I...> {};
template <int... I>
struct sim_count<0, I...> {
  typedef sim_indices<I...> type;
};
template <auto K>
struct sim_entry;
template <class... P, void (*K)(P...)>
struct sim_entry<K> {
  static constexpr int sim_n = sizeof...(P);
  static constexpr sim_param sim_p[sizeof...(P) + 1] = {
      sim_describe<P>::value..., sim_param{}};
  template <int... I>
  SIM_QUIET static void spread(void *const *a, sim_indices<I...>) {
    K(*(typename sim_bare<P>::type *)a[I]...);
  }
  SIM_QUIET static void sim_c(void *const *a) {
    spread(a, typename sim_count<sizeof...(P)>::type());
  }
};
#ifdef SIM_TYPED
extern "C" __attribute__((visibility("default"))) int sim_typed() { return 1; }
#endif
// `BOUND` is the most threads of a block, or 0 where the kernel declares none.
#define SIM_ENTRY(BOUND, ...)                                          \
  extern "C" {                                                         \
  __attribute__((visibility("default"))) int sim_count_of_params() {   \
    return sim_entry<__VA_ARGS__>::sim_n;                              \
  }                                                                    \
  __attribute__((visibility("default"))) int sim_bound() {             \
    return BOUND;                                                      \
  }                                                                    \
  __attribute__((visibility("default"))) const sim_param *             \
  sim_table_of_params() {                                              \
    return sim_entry<__VA_ARGS__>::sim_p;                             \
  }                                                                    \
  __attribute__((visibility("default"))) SIM_QUIET void sim_run(       \
      void *const *sim_a) {                                            \
    sim_entry<__VA_ARGS__>::sim_c(sim_a);                                   \
  }                                                                    \
  }

// Types of the host's side that NVRTC knows too: a structure may hold them.
typedef struct CUevent_st *cudaEvent_t;
typedef struct CUstream_st *cudaStream_t;
typedef enum cudaError { cudaSuccess = 0 } cudaError_t;

// Of C++'s library NVRTC has these two without a header.
namespace std {
template <class T>
struct sim_value {
  typedef T type;
};
template <class T>
struct sim_value<T &> : sim_value<T> {};
template <class T>
struct sim_value<T &&> : sim_value<T> {};
template <class T>
SIM_INLINE constexpr T &&forward(typename sim_value<T>::type &v) noexcept {
  return static_cast<T &&>(v);
}
template <class T>
SIM_INLINE constexpr T &&forward(typename sim_value<T>::type &&v) noexcept {
  return static_cast<T &&>(v);
}
template <class T>
SIM_INLINE constexpr typename sim_value<T>::type &&move(T &&v) noexcept {
  return static_cast<typename sim_value<T>::type &&>(v);
}
}  // namespace std

#include "sim_math.h"
#include "sim_warp.h"
#include "sim_atomic.h"
