// The math functions of CUDA C: the host's own, and intrinsics built on them.
// Rarer ones stand in sim_special.h, sim_round.h and sim_simd.h, which a source
// that names them is given (unit.py).
#pragma once

#define SIM_MATH1(M)                                                        \
  M(acos) M(acosh) M(asin) M(asinh) M(atan) M(atanh) M(cbrt) M(ceil) M(cos) \
  M(cosh) M(erf) M(erfc) M(exp) M(exp2) M(expm1) M(fabs) M(floor) M(j0)     \
  M(j1) M(lgamma) M(y0) M(y1)                                               \
  M(log) M(log10) M(log1p) M(log2) M(logb) M(nearbyint) M(rint) M(round)    \
  M(sin) M(sinh) M(sqrt) M(tan) M(tanh) M(tgamma) M(trunc)
#define SIM_MATH2(M)                                                       \
  M(atan2) M(copysign) M(fdim) M(fmax) M(fmin) M(fmod) M(hypot) M(nextafter) \
  M(pow) M(remainder)
#define SIM_DECLARE1(F) \
  extern "C" double F(double) noexcept; \
  extern "C" float F##f(float) noexcept; \
  SIM_INLINE float F(float x) { return F##f(x); }
#define SIM_DECLARE2(F) \
  extern "C" double F(double, double) noexcept; \
  extern "C" float F##f(float, float) noexcept; \
  SIM_INLINE float F(float x, float y) { return F##f(x, y); }
SIM_MATH1(SIM_DECLARE1)
SIM_MATH2(SIM_DECLARE2)
extern "C" {
double fma(double, double, double) noexcept;
float fmaf(float, float, float) noexcept;
double ldexp(double, int) noexcept;
float ldexpf(float, int) noexcept;
double frexp(double, int *) noexcept;
float frexpf(float, int *) noexcept;
double modf(double, double *) noexcept;
float modff(float, float *) noexcept;
long lrint(double) noexcept;
long lrintf(float) noexcept;
long lround(double) noexcept;
long lroundf(float) noexcept;
long long llrint(double) noexcept;
long long llrintf(float) noexcept;
long long llround(double) noexcept;
long long llroundf(float) noexcept;
int ilogb(double) noexcept;
int ilogbf(float) noexcept;
double scalbn(double, int) noexcept;
float scalbnf(float, int) noexcept;
double scalbln(double, long) noexcept;
float scalblnf(float, long) noexcept;
double remquo(double, double, int *) noexcept;
float remquof(float, float, int *) noexcept;
double jn(int, double) noexcept;
float jnf(int, float) noexcept;
double yn(int, double) noexcept;
float ynf(int, float) noexcept;
int abs(int) noexcept;
long labs(long) noexcept;
long long llabs(long long) noexcept;
}
SIM_INLINE float fma(float a, float b, float c) { return fmaf(a, b, c); }
SIM_INLINE float ldexp(float x, int e) { return ldexpf(x, e); }
SIM_INLINE float frexp(float x, int *e) { return frexpf(x, e); }
SIM_INLINE float modf(float x, float *whole) { return modff(x, whole); }
SIM_INLINE long lrint(float x) { return lrintf(x); }
SIM_INLINE long lround(float x) { return lroundf(x); }
SIM_INLINE long long llrint(float x) { return llrintf(x); }
SIM_INLINE long long llround(float x) { return llroundf(x); }
SIM_INLINE int ilogb(float x) { return ilogbf(x); }
SIM_INLINE float scalbn(float x, int e) { return scalbnf(x, e); }
SIM_INLINE float scalbln(float x, long e) { return scalblnf(x, e); }
SIM_INLINE float remquo(float x, float y, int *q) { return remquof(x, y, q); }
SIM_INLINE long abs(long x) { return labs(x); }
SIM_INLINE long long abs(long long x) { return llabs(x); }
SIM_INLINE float abs(float x) { return fabsf(x); }
SIM_INLINE double abs(double x) { return fabs(x); }
SIM_INLINE double nan(const char *) { return __builtin_nan(""); }
SIM_INLINE float nanf(const char *) { return __builtin_nanf(""); }
SIM_INLINE float rsqrtf(float x) { return (float)(1.0 / sqrt((double)x)); }
SIM_INLINE double rsqrt(double x) { return 1.0 / sqrt(x); }
SIM_INLINE float rsqrt(float x) { return rsqrtf(x); }
SIM_INLINE float fdividef(float x, float y) { return x / y; }
SIM_INLINE double fdivide(double x, double y) { return x / y; }
SIM_INLINE float __saturatef(float x) { return fminf(fmaxf(x, 0.0f), 1.0f); }
SIM_INLINE void sincosf(float x, float *s, float *c) {
  *s = sinf(x);
  *c = cosf(x);
}
SIM_INLINE void sincos(double x, double *s, double *c) {
  *s = sin(x);
  *c = cos(x);
}
SIM_INLINE void sincos(float x, float *s, float *c) { sincosf(x, s, c); }
// Of whole numbers too, as in CUDA: they become doubles.
SIM_INLINE int isnan(float x) { return __builtin_isnan(x); }
SIM_INLINE int isnan(double x) { return __builtin_isnan(x); }
SIM_INLINE int isinf(float x) { return __builtin_isinf(x) != 0; }
SIM_INLINE int isinf(double x) { return __builtin_isinf(x) != 0; }
SIM_INLINE int isfinite(float x) { return __builtin_isfinite(x); }
SIM_INLINE int isfinite(double x) { return __builtin_isfinite(x); }
SIM_INLINE int signbit(float x) { return __builtin_signbit(x) != 0; }
SIM_INLINE int signbit(double x) { return __builtin_signbit(x) != 0; }
#define CUDART_INF_F __builtin_inff()
#define CUDART_NAN_F __builtin_nanf("")
#define CUDART_NAN __builtin_nan("")
#define CUDART_ZERO_F 0.0f
#define CUDART_ONE_F 1.0f
#define CUDART_MAX_NORMAL_F __FLT_MAX__
#define CUDART_MIN_DENORM_F 1.401298464e-45f
#define CUDART_SQRT_TWO_F 1.414213562f
#define CUDART_SQRT_HALF_F 0.707106781f
#define CUDART_L2E_F 1.442695041f
#define CUDART_LN2_F 0.693147181f
#define CUDART_PIO2_F 1.570796327f
#define CUDART_PIO4_F 0.785398163f
#define CUDART_2_OVER_PI_F 0.636619772f
#define CUDART_SQRT_TWO 1.4142135623730951
#define CUDART_LN2 6.9314718055994529e-1
#define CUDART_PIO2 1.5707963267948966
#define CUDART_PI_F 3.141592654f
#define CUDART_INF __builtin_inf()
#define CUDART_PI 3.1415926535897931

#define SIM_MINMAX(T)                                        \
  SIM_INLINE T max(T a, T b) { return a < b ? b : a; }       \
  SIM_INLINE T min(T a, T b) { return b < a ? b : a; }
SIM_MINMAX(int)
SIM_MINMAX(unsigned)
SIM_MINMAX(long)
SIM_MINMAX(unsigned long)
SIM_MINMAX(long long)
SIM_MINMAX(unsigned long long)
SIM_INLINE unsigned max(int a, unsigned b) { return max((unsigned)a, b); }
SIM_INLINE unsigned max(unsigned a, int b) { return max(a, (unsigned)b); }
SIM_INLINE unsigned min(int a, unsigned b) { return min((unsigned)a, b); }
SIM_INLINE unsigned min(unsigned a, int b) { return min(a, (unsigned)b); }
// As fmax: of a number and a NaN the number is returned.
SIM_INLINE float max(float a, float b) { return fmaxf(a, b); }
SIM_INLINE float min(float a, float b) { return fminf(a, b); }
SIM_INLINE double max(double a, double b) { return fmax((double)a, (double)b); }
SIM_INLINE double min(double a, double b) { return fmin((double)a, (double)b); }
SIM_INLINE double max(float a, double b) { return fmax((double)a, (double)b); }
SIM_INLINE double max(double a, float b) { return fmax((double)a, (double)b); }
SIM_INLINE double min(float a, double b) { return fmin((double)a, (double)b); }
SIM_INLINE double min(double a, float b) { return fmin((double)a, (double)b); }
#define SIM_NAMED(NAME, T)                                         \
  SIM_INLINE T NAME##max(T a, T b) { return max(a, b); }            \
  SIM_INLINE T NAME##min(T a, T b) { return min(a, b); }
SIM_NAMED(u, unsigned)
SIM_NAMED(ll, long long)
SIM_NAMED(ull, unsigned long long)

// Fast intrinsics are evaluated accurately: a GPU's last digits differ.
#define __expf expf
#define __exp10f exp10f
#define __logf logf
#define __log2f log2f
#define __log10f log10f
#define __sinf sinf
#define __cosf cosf
#define __tanf tanf
#define __tanhf tanhf
#define __powf powf
#define __sincosf sincosf
#define __fdividef fdividef
#define __frsqrt_rn rsqrtf
// ---- integers and bits ----
SIM_INLINE int __popc(unsigned x) { return __builtin_popcount(x); }
SIM_INLINE int __popcll(unsigned long long x) {
  return __builtin_popcountll(x);
}
SIM_INLINE int __clz(int x) { return x ? __builtin_clz((unsigned)x) : 32; }
SIM_INLINE int __clzll(long long x) {
  return x ? __builtin_clzll((unsigned long long)x) : 64;
}
SIM_INLINE int __ffs(int x) { return __builtin_ffs(x); }
SIM_INLINE int __ffsll(long long x) { return __builtin_ffsll(x); }
SIM_INLINE unsigned __brev(unsigned x) {
  unsigned r = 0;
  for (int i = 0; i < 32; ++i) r |= ((x >> i) & 1u) << (31 - i);
  return r;
}
SIM_INLINE unsigned long long __brevll(unsigned long long x) {
  return ((unsigned long long)__brev((unsigned)x) << 32) |
         __brev((unsigned)(x >> 32));
}
SIM_INLINE unsigned __byte_perm(unsigned a, unsigned b, unsigned s) {
  unsigned long long both = ((unsigned long long)b << 32) | a;
  unsigned r = 0;
  for (int i = 0; i < 4; ++i)
    r |= (unsigned)((both >> (8 * ((s >> (4 * i)) & 7))) & 255u) << (8 * i);
  return r;
}
SIM_INLINE unsigned __funnelshift_l(unsigned lo, unsigned hi, unsigned s) {
  unsigned long long both = ((unsigned long long)hi << 32) | lo;
  return (unsigned)((both << (s & 31)) >> 32);
}
SIM_INLINE unsigned __funnelshift_r(unsigned lo, unsigned hi, unsigned s) {
  unsigned long long both = ((unsigned long long)hi << 32) | lo;
  return (unsigned)(both >> (s & 31));
}
SIM_INLINE int __mul24(int a, int b) {
  return (int)((unsigned)(a << 8 >> 8) * (unsigned)(b << 8 >> 8));
}
SIM_INLINE unsigned __umul24(unsigned a, unsigned b) {
  return (a & 0xffffffu) * (b & 0xffffffu);
}
SIM_INLINE int __mulhi(int a, int b) {
  return (int)(((long long)a * b) >> 32);
}
SIM_INLINE unsigned __umulhi(unsigned a, unsigned b) {
  return (unsigned)(((unsigned long long)a * b) >> 32);
}
#define SIM_CAST(NAME, TO, FROM) \
  SIM_INLINE TO NAME(FROM x) { return sim_cast<TO, FROM>(x); }
template <class TO, class FROM>
SIM_INLINE TO sim_cast(FROM x) {
  static_assert(sizeof(TO) == sizeof(FROM), "a cast of bits keeps the size");
  TO r;
  __builtin_memcpy(&r, &x, sizeof(TO));
  return r;
}
SIM_CAST(__float_as_int, int, float)
SIM_CAST(__int_as_float, float, int)
SIM_CAST(__float_as_uint, unsigned, float)
SIM_CAST(__uint_as_float, float, unsigned)
SIM_CAST(__double_as_longlong, long long, double)
SIM_CAST(__longlong_as_double, double, long long)
template <class T, bool IsClass>
struct sim_anew_of {
  typedef const volatile T type;
};
template <class T>
struct sim_anew_of<T, true> {
  typedef const T type;
};
template <class T>
SIM_INLINE T sim_anew(const T *p) {
  sim_yield();
  return *(typename sim_anew_of<T, __is_class(T)>::type *)p;
}
// Cached and streaming accesses: macros, so that the access is seen at its
// own line.
#define __ldg(...) (*(__VA_ARGS__))
#define __ldcs(...) (*(__VA_ARGS__))
#define __ldca(...) (*(__VA_ARGS__))
#define __ldcg(...) (*(__VA_ARGS__))
// Fetched anew each time: a thread may wait for another with it.
#define __ldcv(...) sim_anew(__VA_ARGS__)
#define __ldlu(...) (*(__VA_ARGS__))
#define __stcs(p, ...) ((void)(*(p) = (__VA_ARGS__)))
#define __stcg(p, ...) ((void)(*(p) = (__VA_ARGS__)))
#define __stwb(p, ...) ((void)(*(p) = (__VA_ARGS__)))
#define __stwt(p, ...) ((void)(*(p) = (__VA_ARGS__)))
