// CUDA's vector types, with CUDA's alignment.
#pragma once

// Two- and four-element types are copied as one vector, so that the copy is
// one access of their full width, as it is on a GPU. A helper type stands
// between a lone brace-enclosed scalar and the constructor, which keeps
// `float4 v = 1.0f` the error that it is in CUDA.
//
// A constructor that copies is not for members of unions, and a class with one
// is no aggregate: a source that needs those properties of CUDA's own types is
// compiled with SIM_PLAIN, where they are plain structures (see build.py).
template <class T>
struct sim_lone {
  T value;
  SIM_INLINE constexpr sim_lone(T v) : value(v) {}
};

#define SIM_VECTOR1(N, T) \
  struct N {              \
    T x;                  \
  };                      \
  SIM_INLINE N make_##N(T x) { return N{x}; }
#ifdef SIM_PLAIN
#define SIM_WIDE_COPY(N, W, BYTES)
#define SIM_COPY(N, T, BYTES)
#define SIM_MAKE2(N, T)
#define SIM_MAKE3(N, T)
#define SIM_MAKE4(N, T)
#else
#define SIM_WIDE_COPY(N, W, BYTES)                           \
  SIM_INLINE N(const N &o) { *(W *)this = *(const W *)&o; }  \
  SIM_INLINE N &operator=(const N &o) {                      \
    *(W *)this = *(const W *)&o;                             \
    return *this;                                            \
  }
#define SIM_COPY(N, T, BYTES)                                  \
  typedef T wide __attribute__((vector_size(BYTES), may_alias, \
                                aligned(BYTES)));              \
  SIM_WIDE_COPY(N, wide, BYTES)
#define SIM_MAKE2(N, T)                                        \
  N() = default;                                               \
  SIM_INLINE constexpr N(sim_lone<T> a) : x(a.value), y() {}   \
  SIM_INLINE constexpr N(T a, T b) : x(a), y(b) {}
#define SIM_MAKE3(N, T)                                             \
  N() = default;                                                    \
  SIM_INLINE constexpr N(sim_lone<T> a) : x(a.value), y(), z() {}   \
  SIM_INLINE constexpr N(T a, T b, T c = 0) : x(a), y(b), z(c) {}
#define SIM_MAKE4(N, T)                                                  \
  N() = default;                                                         \
  SIM_INLINE constexpr N(sim_lone<T> a) : x(a.value), y(), z(), w() {}   \
  SIM_INLINE constexpr N(T a, T b, T c = 0, T d = 0)                     \
      : x(a), y(b), z(c), w(d) {}
#endif
#define SIM_VECTOR2(N, T)                                \
  struct __attribute__((aligned(2 * sizeof(T)))) N {     \
    T x, y;                                              \
    SIM_MAKE2(N, T)                                      \
    SIM_COPY(N, T, 2 * sizeof(T))                        \
  };                                                     \
  SIM_INLINE N make_##N(T x, T y) { return N{x, y}; }
#define SIM_VECTOR3(N, T) \
  struct N {              \
    T x, y, z;            \
    SIM_MAKE3(N, T)       \
  };                      \
  SIM_INLINE N make_##N(T x, T y, T z) { return N{x, y, z}; }
#define SIM_VECTOR4(N, T)                              \
  struct __attribute__((aligned(4 * sizeof(T)))) N {   \
    T x, y, z, w;                                      \
    SIM_MAKE4(N, T)                                    \
    SIM_COPY(N, T, 4 * sizeof(T))                      \
  };                                                   \
  SIM_INLINE N make_##N(T x, T y, T z, T w) { return N{x, y, z, w}; }
// Four 8-byte elements are two accesses of 16 bytes on a GPU.
#define SIM_VECTOR4_WIDE(N, T)            \
  struct __attribute__((aligned(16))) N { \
    T x, y, z, w;                         \
    SIM_MAKE4(N, T)                       \
  };                                      \
  SIM_INLINE N make_##N(T x, T y, T z, T w) { return N{x, y, z, w}; }
#define SIM_VECTORS(N, T) \
  SIM_VECTOR1(N##1, T)    \
  SIM_VECTOR2(N##2, T)    \
  SIM_VECTOR3(N##3, T)    \
  SIM_VECTOR4(N##4, T)
#define SIM_VECTORS_WIDE(N, T) \
  SIM_VECTOR1(N##1, T)         \
  SIM_VECTOR2(N##2, T)         \
  SIM_VECTOR3(N##3, T)         \
  SIM_VECTOR4_WIDE(N##4, T)

SIM_VECTORS(char, signed char)
SIM_VECTORS(uchar, unsigned char)
SIM_VECTORS(short, short)
SIM_VECTORS(ushort, unsigned short)
SIM_VECTORS(int, int)
SIM_VECTORS(uint, unsigned)
SIM_VECTORS(float, float)
SIM_VECTORS_WIDE(long, long)
SIM_VECTORS_WIDE(ulong, unsigned long)
SIM_VECTORS_WIDE(longlong, long long)
SIM_VECTORS_WIDE(ulonglong, unsigned long long)
SIM_VECTORS_WIDE(double, double)

struct dim3 {
  unsigned x, y, z;
  SIM_INLINE constexpr dim3(unsigned a = 1, unsigned b = 1, unsigned c = 1)
      : x(a), y(b), z(c) {}
  SIM_INLINE constexpr dim3(uint3 v) : x(v.x), y(v.y), z(v.z) {}
  SIM_INLINE constexpr operator uint3() const { return uint3{x, y, z}; }
};

#define SIM_TYPE_FAMILY(M, N, B) \
  M(N##1, B, 1) M(N##2, B, 2) M(N##3, B, 3) M(N##4, B, 4)
#define SIM_VECTOR_TYPES(M)         \
  SIM_TYPE_FAMILY(M, char, 'i')     \
  SIM_TYPE_FAMILY(M, uchar, 'u')    \
  SIM_TYPE_FAMILY(M, short, 'i')    \
  SIM_TYPE_FAMILY(M, ushort, 'u')   \
  SIM_TYPE_FAMILY(M, int, 'i')      \
  SIM_TYPE_FAMILY(M, uint, 'u')     \
  SIM_TYPE_FAMILY(M, long, 'i')     \
  SIM_TYPE_FAMILY(M, ulong, 'u')    \
  SIM_TYPE_FAMILY(M, longlong, 'i') \
  SIM_TYPE_FAMILY(M, ulonglong, 'u') \
  SIM_TYPE_FAMILY(M, float, 'f')    \
  SIM_TYPE_FAMILY(M, double, 'f')
