// Arithmetic and conversions with a rounding mode in their names: to nearest
// (rn), to zero (rz), up (ru), down (rd).
#pragma once

enum sim_mode { SIM_RN, SIM_RZ, SIM_RU, SIM_RD };

SIM_INLINE float sim_next(float v, bool up) {
  return nextafterf(v, up ? __builtin_inff() : -__builtin_inff());
}
SIM_INLINE double sim_next(double v, bool up) {
  return nextafter(v, up ? __builtin_inf() : -__builtin_inf());
}
// `v` + `rest` rounded to T, where |rest| is below the last digit of v.
template <class T>
SIM_INLINE T sim_rounded(double v, double rest, sim_mode mode) {
  T r = (T)v;
  if (mode == SIM_RN) {
    // Half way between two: what was left over decides.
    T other = sim_next(r, v > (double)r);
    if (rest != 0 && (double)r != v && (double)other - v == v - (double)r)
      r = (rest > 0) == (other > r) ? other : r;
    return r;
  }
  bool over = (double)r > v || ((double)r == v && rest < 0);
  bool under = (double)r < v || ((double)r == v && rest > 0);
  bool positive = v > 0 || (v == 0 && rest > 0);
  if (over && (mode == SIM_RD || (mode == SIM_RZ && positive)))
    return sim_next(r, false);
  if (under && (mode == SIM_RU || (mode == SIM_RZ && !positive)))
    return sim_next(r, true);
  return r;
}
template <class T>
SIM_INLINE T sim_add(double a, double b, sim_mode mode) {
  double s = a + b, t = s - a, rest = (a - (s - t)) + (b - t);
  if (s == 0 && a != 0 && mode == SIM_RD) return T(-0.0);
  return isfinite(s) ? sim_rounded<T>(s, rest, mode) : T(s);
}
template <class T>
SIM_INLINE T sim_multiply(double a, double b, sim_mode mode) {
  double p = a * b;
  return isfinite(p) ? sim_rounded<T>(p, fma(a, b, -p), mode) : T(p);
}
template <class T>
SIM_INLINE T sim_divide(double a, double b, sim_mode mode) {
  double q = a / b;
  if (!isfinite(q) || !isfinite(b) || b == 0) return T(q);
  double rest = fma(-q, b, a);
  return sim_rounded<T>(q, b > 0 ? rest : -rest, mode);
}
template <class T>
SIM_INLINE T sim_root(double a, sim_mode mode) {
  double q = sqrt(a);
  return a > 0 && isfinite(a) ? sim_rounded<T>(q, fma(-q, q, a), mode) : T(q);
}
template <class T>
SIM_INLINE T sim_integer(long long v, sim_mode mode) {
  double d = (double)v;
  // Rounded up to 2^63, d is not one of these integers.
  double rest = d >= 9223372036854775808.0 ? -(double)(0x7fffffffffffffffll - v + 1)
                                           : (double)(v - (long long)d);
  return sim_rounded<T>(d, rest, mode);
}
template <class T>
SIM_INLINE T sim_integer(unsigned long long v, sim_mode mode) {
  double d = (double)v;
    double rest = d >= 18446744073709551616.0
                    ? -(double)(~v + 1)
                    : (double)(long long)(v - (unsigned long long)d);
  return sim_rounded<T>(d, rest, mode);
}

#define SIM_MODES(M) M(rz, SIM_RZ) M(ru, SIM_RU) M(rd, SIM_RD)
#define SIM_FLOATS(S, MODE)                                                   \
  SIM_INLINE float __fadd_##S(float a, float b) {                             \
    return sim_add<float>(a, b, MODE);                                        \
  }                                                                           \
  SIM_INLINE float __fsub_##S(float a, float b) {                             \
    return sim_add<float>(a, -(double)b, MODE);                               \
  }                                                                           \
  SIM_INLINE float __fmul_##S(float a, float b) {                             \
    return sim_multiply<float>(a, b, MODE);                                   \
  }                                                                           \
  SIM_INLINE float __fmaf_##S(float a, float b, float c) {                    \
    return sim_add<float>((double)a * b, c, MODE);                            \
  }                                                                           \
  SIM_INLINE float __fdiv_##S(float a, float b) {                             \
    return sim_divide<float>(a, b, MODE);                                     \
  }                                                                           \
  SIM_INLINE float __frcp_##S(float a) {                                      \
    return sim_divide<float>(1.0, a, MODE);                                   \
  }                                                                           \
  SIM_INLINE float __fsqrt_##S(float a) { return sim_root<float>(a, MODE); }  \
  SIM_INLINE double __dadd_##S(double a, double b) {                          \
    return sim_add<double>(a, b, MODE);                                       \
  }                                                                           \
  SIM_INLINE double __dsub_##S(double a, double b) {                          \
    return sim_add<double>(a, -b, MODE);                                      \
  }                                                                           \
  SIM_INLINE double __dmul_##S(double a, double b) {                          \
    return sim_multiply<double>(a, b, MODE);                                  \
  }                                                                           \
  SIM_INLINE double __ddiv_##S(double a, double b) {                          \
    return sim_divide<double>(a, b, MODE);                                    \
  }                                                                           \
  SIM_INLINE double __drcp_##S(double a) {                                    \
    return sim_divide<double>(1.0, a, MODE);                                  \
  }                                                                           \
  SIM_INLINE double __dsqrt_##S(double a) {                                   \
    return sim_root<double>(a, MODE);                                         \
  }
SIM_MODES(SIM_FLOATS)
SIM_INLINE float __fadd_rn(float a, float b) { return a + b; }
SIM_INLINE float __fsub_rn(float a, float b) { return a - b; }
SIM_INLINE float __fmul_rn(float a, float b) { return a * b; }
SIM_INLINE float __fdiv_rn(float a, float b) { return a / b; }
SIM_INLINE float __frcp_rn(float a) { return 1.0f / a; }
SIM_INLINE float __fsqrt_rn(float a) { return sqrtf(a); }
SIM_INLINE float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
SIM_INLINE double __dadd_rn(double a, double b) { return a + b; }
SIM_INLINE double __dsub_rn(double a, double b) { return a - b; }
SIM_INLINE double __dmul_rn(double a, double b) { return a * b; }
SIM_INLINE double __ddiv_rn(double a, double b) { return a / b; }
SIM_INLINE double __drcp_rn(double a) { return 1.0 / a; }
SIM_INLINE double __dsqrt_rn(double a) { return sqrt(a); }
SIM_INLINE double __fma_rn(double a, double b, double c) {
  return fma(a, b, c);
}

// To integers: a GPU saturates; NaN becomes 0 when both sides have 32 bits, else
// the highest bit alone (PTX ISA, cvt).
template <class T>
SIM_INLINE T sim_saturated(double x, int bytes) {
  constexpr bool has_sign = T(-1) < T(0);
  constexpr double top =
      (has_sign ? 0.5 : 1.0) * (sizeof(T) == 8 ? 18446744073709551616.0
                                               : (double)(1ull << 8 * (sizeof(T) % 8)));
  constexpr T least = has_sign ? T(1ull << (8 * sizeof(T) - 1)) : T(0);
  if (x != x) return bytes == 8 ? T(1ull << (8 * sizeof(T) - 1)) : T(0);
  if (x >= top) return T(~least);
  return x < (has_sign ? -top : 0.0) ? least : (T)x;
}
#define SIM_TO_BY(NAME, S, F, T, FROM)                        \
  SIM_INLINE T NAME##_##S(FROM x) {                           \
    constexpr int wider = sizeof(T) > sizeof(FROM) ? 8 : sizeof(FROM); \
    return sim_saturated<T>(F((double)x), wider);             \
  }
#define SIM_TO(NAME, T, FROM)            \
  SIM_TO_BY(NAME, rn, nearbyint, T, FROM) \
  SIM_TO_BY(NAME, rz, trunc, T, FROM)     \
  SIM_TO_BY(NAME, ru, ceil, T, FROM)      \
  SIM_TO_BY(NAME, rd, floor, T, FROM)
SIM_TO(__float2int, int, float)
SIM_TO(__float2uint, unsigned, float)
SIM_TO(__float2ll, long long, float)
SIM_TO(__float2ull, unsigned long long, float)
SIM_TO(__double2int, int, double)
SIM_TO(__double2uint, unsigned, double)
SIM_TO(__double2ll, long long, double)
SIM_TO(__double2ull, unsigned long long, double)

#define SIM_FROM(S, MODE)                                                    \
  SIM_INLINE float __int2float_##S(int x) {                                  \
    return sim_integer<float>((long long)x, MODE);                           \
  }                                                                          \
  SIM_INLINE float __uint2float_##S(unsigned x) {                            \
    return sim_integer<float>((long long)x, MODE);                           \
  }                                                                          \
  SIM_INLINE float __ll2float_##S(long long x) {                             \
    return sim_integer<float>(x, MODE);                                      \
  }                                                                          \
  SIM_INLINE float __ull2float_##S(unsigned long long x) {                   \
    return sim_integer<float>(x, MODE);                                      \
  }                                                                          \
  SIM_INLINE double __ll2double_##S(long long x) {                           \
    return sim_integer<double>(x, MODE);                                     \
  }                                                                          \
  SIM_INLINE double __ull2double_##S(unsigned long long x) {                 \
    return sim_integer<double>(x, MODE);                                     \
  }                                                                          \
  SIM_INLINE float __double2float_##S(double x) {                            \
    return isfinite(x) ? sim_rounded<float>(x, 0.0, MODE) : (float)x;        \
  }
SIM_MODES(SIM_FROM)
SIM_INLINE float __int2float_rn(int x) { return (float)x; }
SIM_INLINE float __uint2float_rn(unsigned x) { return (float)x; }
SIM_INLINE float __ll2float_rn(long long x) { return (float)x; }
SIM_INLINE float __ull2float_rn(unsigned long long x) { return (float)x; }
SIM_INLINE double __int2double_rn(int x) { return x; }
SIM_INLINE double __uint2double_rn(unsigned x) { return x; }
SIM_INLINE double __ll2double_rn(long long x) { return (double)x; }
SIM_INLINE double __ull2double_rn(unsigned long long x) { return (double)x; }
SIM_INLINE float __double2float_rn(double x) { return (float)x; }
SIM_INLINE int __double2hiint(double x) {
  return (int)(__double_as_longlong(x) >> 32);
}
SIM_INLINE int __double2loint(double x) { return (int)__double_as_longlong(x); }
SIM_INLINE double __hiloint2double(int hi, int lo) {
  return __longlong_as_double(
      (long long)((unsigned long long)(unsigned)hi << 32 | (unsigned)lo));
}
