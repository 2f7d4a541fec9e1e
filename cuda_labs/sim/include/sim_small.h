// What half and bfloat16 share: 16 bits kept, arithmetic in float. A float has
// more than twice the digits of either, so rounding a float's sum, product or
// quotient to 16 bits gives the correctly rounded result.
#pragma once
#include "sim_special.h"
#include "sim_round.h"
#include "sim_simd.h"

// A double next to the exact value, odd in its last digit where it is not the
// value itself: rounded to 16 bits, it gives what the exact value would.
SIM_INLINE double sim_odd_of(double v, double rest) {
  long long bits = __double_as_longlong(v);
  if (rest == 0 || !isfinite(v) || (bits & 1)) return v;
  return __longlong_as_double((rest > 0) == (v > 0) ? bits + 1 : bits - 1);
}
SIM_INLINE double sim_odd_sum(double a, double b) {
  double s = a + b, t = s - a;
  return isfinite(s) ? sim_odd_of(s, (a - (s - t)) + (b - t)) : s;
}
SIM_INLINE double sim_odd(long long v) {
  double d = (double)v;
  // Rounded up to 2^63, d is not one of these integers.
  if (d >= 9223372036854775808.0) return sim_odd_of(d, -1.0);
  return sim_odd_of(d, (double)(v - (long long)d));
}
SIM_INLINE double sim_odd(unsigned long long v) {
  double d = (double)v;
  if (d >= 18446744073709551616.0) return sim_odd_of(d, -1.0);
  return sim_odd_of(d, (double)(long long)(v - (unsigned long long)d));
}

#define SIM_SMALL(H, H2)                                                       \
  struct H;                                                                    \
  SIM_INLINE float sim_widen(const H &);                                       \
  struct H##_raw {                                                             \
    unsigned short x;                                                          \
  };                                                                           \
  struct H {                                                                   \
    unsigned short sim_bits;                                                   \
    H() = default;                                                             \
    SIM_INLINE H(const H##_raw &r) : sim_bits(r.x) {}                          \
    SIM_INLINE operator H##_raw() const { return H##_raw{sim_bits}; }          \
    SIM_INLINE H(float v);                                                     \
    SIM_INLINE H(double v);                                                    \
    SIM_INLINE H(int v);                                                       \
    SIM_INLINE H(unsigned v);                                                  \
    SIM_INLINE H(long v);                                                      \
    SIM_INLINE H(unsigned long v);                                             \
    SIM_INLINE H(long long v);                                                 \
    SIM_INLINE H(unsigned long long v);                                        \
    SIM_INLINE operator float() const { return sim_widen(*this); }             \
  };                                                                           \
  struct __attribute__((aligned(4))) H2 {                                      \
    H x, y;                                                                    \
    typedef unsigned wide __attribute__((may_alias));                          \
    H2() = default;                                                            \
    SIM_WIDE_COPY(H2, wide, 4)                                                 \
    SIM_INLINE H2(const H &a, const H &b) : x(a), y(b) {}                      \
  };                                                                           \
  template <>                                                                  \
  struct sim_type<H2> {                                                        \
    static constexpr char base = sim_type<H>::base;                            \
    static constexpr int lanes = 2, width = 2;                                 \
  };

#define SIM_SMALL_OPERATOR(H, H2, OP)                                          \
  SIM_INLINE H operator OP(const H &a, const H &b) {                           \
    return H(sim_widen(a) OP sim_widen(b));                                    \
  }                                                                            \
  SIM_INLINE H &operator OP##=(H &a, const H &b) { return a = a OP b; }        \
  SIM_INLINE H2 operator OP(const H2 &a, const H2 &b) {                        \
    return H2(a.x OP b.x, a.y OP b.y);                                         \
  }                                                                            \
  SIM_INLINE H2 &operator OP##=(H2 &a, const H2 &b) { return a = a OP b; }

#define SIM_SMALL_COMPARE(H, H2, NAME, OP)                                     \
  SIM_INLINE bool operator OP(const H &a, const H &b) {                        \
    return sim_widen(a) OP sim_widen(b);                                       \
  }                                                                            \
  SIM_INLINE bool NAME(H a, H b) { return sim_widen(a) OP sim_widen(b); }

#define SIM_SMALL_UNARY(H, H2, NAME, NAME2, EXPR)                              \
  SIM_INLINE H NAME(H h) {                                                     \
    float v = sim_widen(h);                                                    \
    return H(EXPR);                                                            \
  }                                                                            \
  SIM_INLINE H2 NAME2(H2 h) { return H2(NAME(h.x), NAME(h.y)); }

#define SIM_SMALL_BINARY(H, H2, NAME, NAME2, EXPR)                             \
  SIM_INLINE H NAME(H p, H q) {                                                \
    float a = sim_widen(p), b = sim_widen(q);                                  \
    return H(EXPR);                                                            \
  }                                                                            \
  SIM_INLINE H2 NAME2(H2 p, H2 q) {                                            \
    return H2(NAME(p.x, q.x), NAME(p.y, q.y));                                 \
  }

#define SIM_SMALL_SHUFFLE(T, NAME, ARG)                                        \
  SIM_INLINE T NAME(unsigned m, T v, ARG a, int width = 32, SIM_LINE) {        \
    return sim_from_bits<T>(NAME(m, (unsigned)::sim_bits(v), a, width, line)); \
  }
#define SIM_SMALL_SHUFFLES(T)                       \
  SIM_SMALL_SHUFFLE(T, __shfl_sync, int)            \
  SIM_SMALL_SHUFFLE(T, __shfl_up_sync, unsigned)    \
  SIM_SMALL_SHUFFLE(T, __shfl_down_sync, unsigned)  \
  SIM_SMALL_SHUFFLE(T, __shfl_xor_sync, int)

#define SIM_SMALL_REST(H, H2)                                                  \
  SIM_INLINE H::H(double v) { *this = sim_round(v, this); }                    \
  SIM_INLINE H::H(int v) : H((double)v) {}                                     \
  SIM_INLINE H::H(unsigned v) : H((double)v) {}                                \
  SIM_INLINE H::H(long v) : H(sim_odd((long long)v)) {}                        \
  SIM_INLINE H::H(unsigned long v) : H(sim_odd((unsigned long long)v)) {}      \
  SIM_INLINE H::H(long long v) : H(sim_odd(v)) {}                              \
  SIM_INLINE H::H(unsigned long long v) : H(sim_odd(v)) {}                     \
  SIM_SMALL_OPERATOR(H, H2, +)                                                 \
  SIM_SMALL_OPERATOR(H, H2, -)                                                 \
  SIM_SMALL_OPERATOR(H, H2, *)                                                 \
  SIM_SMALL_OPERATOR(H, H2, /)                                                 \
  SIM_INLINE H operator-(const H &a) {                                         \
    H r = a;                                                                   \
    r.sim_bits ^= 0x8000u;                                                     \
    return r;                                                                  \
  }                                                                            \
  SIM_INLINE H2 operator-(const H2 &a) { return H2(-a.x, -a.y); }              \
  SIM_SMALL_COMPARE(H, H2, __heq, ==)                                          \
  SIM_SMALL_COMPARE(H, H2, __hne, !=)                                          \
  SIM_SMALL_COMPARE(H, H2, __hlt, <)                                           \
  SIM_SMALL_COMPARE(H, H2, __hle, <=)                                          \
  SIM_SMALL_COMPARE(H, H2, __hgt, >)                                           \
  SIM_SMALL_COMPARE(H, H2, __hge, >=)                                          \
  SIM_SMALL_BINARY(H, H2, __hadd, __hadd2, a + b)                              \
  SIM_SMALL_BINARY(H, H2, __hsub, __hsub2, a - b)                              \
  SIM_SMALL_BINARY(H, H2, __hmul, __hmul2, a * b)                              \
  SIM_SMALL_BINARY(H, H2, __hdiv, __h2div, a / b)                              \
  SIM_SMALL_BINARY(H, H2, __hmax, __hmax2, fmaxf(a, b))                        \
  SIM_SMALL_BINARY(H, H2, __hmin, __hmin2, fminf(a, b))                        \
  SIM_SMALL_UNARY(H, H2, __hneg, __hneg2, -v)                                  \
  SIM_SMALL_UNARY(H, H2, __habs, __habs2, fabsf(v))                            \
  SIM_SMALL_UNARY(H, H2, hexp, h2exp, expf(v))                                 \
  SIM_SMALL_UNARY(H, H2, hexp2, h2exp2, exp2f(v))                              \
  SIM_SMALL_UNARY(H, H2, hlog, h2log, logf(v))                                 \
  SIM_SMALL_UNARY(H, H2, hlog2, h2log2, log2f(v))                              \
  SIM_SMALL_UNARY(H, H2, hsqrt, h2sqrt, sqrtf(v))                              \
  SIM_SMALL_UNARY(H, H2, hrsqrt, h2rsqrt, rsqrtf(v))                           \
  SIM_SMALL_UNARY(H, H2, hrcp, h2rcp, 1.0f / v)                                \
  SIM_SMALL_UNARY(H, H2, hsin, h2sin, sinf(v))                                 \
  SIM_SMALL_UNARY(H, H2, hcos, h2cos, cosf(v))                                 \
  SIM_SMALL_UNARY(H, H2, htanh, h2tanh, tanhf(v))                              \
  SIM_INLINE bool __hisnan(H a) { return isnan(sim_widen(a)); }                \
  SIM_INLINE int __hisinf(H a) {                                               \
    float v = sim_widen(a);                                                    \
    return isinf(v) ? (v > 0 ? 1 : -1) : 0;                                    \
  }                                                                            \
  /* The product of two 16-bit floats is exact in double. */                   \
  SIM_INLINE H __hfma(H a, H b, H c) {                                         \
    double p = (double)sim_widen(a) * sim_widen(b);                            \
    return sim_round(sim_odd_sum(p, sim_widen(c)), &a);                        \
  }                                                                            \
  SIM_INLINE H2 __hfma2(H2 a, H2 b, H2 c) {                                    \
    return H2(__hfma(a.x, b.x, c.x), __hfma(a.y, b.y, c.y));                   \
  }                                                                            \
  SIM_SMALL_MORE(H, H2)                                                        \
  SIM_SMALL_SHUFFLES(H)                                                        \
  SIM_SMALL_SHUFFLES(H2)                                                       \
  SIM_ATOMIC_ADD(H)                                                            \
  SIM_ATOMIC_ADD(H2)
#define SIM_ATOMIC_ADD(T) \
  SIM_INLINE T atomicAdd(T *p, T v, SIM_LINE) { return sim_rmw_add(p, v, line); }
#include "sim_small_more.h"
