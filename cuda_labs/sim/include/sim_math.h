// The math functions of CUDA C: the host's own, and intrinsics built on them.
#pragma once

#define SIM_MATH1(M)                                                        \
  M(acos) M(acosh) M(asin) M(asinh) M(atan) M(atanh) M(cbrt) M(ceil) M(cos) \
  M(cosh) M(erf) M(erfc) M(exp) M(exp2) M(expm1) M(fabs) M(floor) M(lgamma) \
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
int abs(int) noexcept;
long labs(long) noexcept;
long long llabs(long long) noexcept;
}
SIM_INLINE float fma(float a, float b, float c) { return fmaf(a, b, c); }
SIM_INLINE float ldexp(float x, int e) { return ldexpf(x, e); }
SIM_INLINE long abs(long x) { return labs(x); }
SIM_INLINE long long abs(long long x) { return llabs(x); }
SIM_INLINE float abs(float x) { return fabsf(x); }
SIM_INLINE double abs(double x) { return fabs(x); }
SIM_INLINE void sincosf(float x, float *s, float *c) {
  *s = sinf(x);
  *c = cosf(x);
}
SIM_INLINE void sincos(double x, double *s, double *c) {
  *s = sin(x);
  *c = cos(x);
}
SIM_INLINE float rsqrtf(float x) { return (float)(1.0 / sqrt((double)x)); }
SIM_INLINE double rsqrt(double x) { return 1.0 / sqrt(x); }
SIM_INLINE float rsqrt(float x) { return rsqrtf(x); }
SIM_INLINE float rcbrtf(float x) { return (float)(1.0 / cbrt((double)x)); }
SIM_INLINE float exp10f(float x) { return (float)pow(10.0, (double)x); }
SIM_INLINE double exp10(double x) { return pow(10.0, x); }
SIM_INLINE float fdividef(float x, float y) { return x / y; }
SIM_INLINE float sinpif(float x) {
  return (float)sin(3.14159265358979323846 * (double)fmodf(x, 2.0f));
}
SIM_INLINE float cospif(float x) {
  return (float)cos(3.14159265358979323846 * (double)fmodf(x, 2.0f));
}
SIM_INLINE float normcdff(float x) {
  return (float)(0.5 * erfc(-(double)x * 0.70710678118654752440));
}
SIM_INLINE float saturate(float x) { return fminf(fmaxf(x, 0.0f), 1.0f); }
#define __saturatef saturate
#undef isnan
SIM_INLINE bool isnan(float x) { return __builtin_isnan(x); }
SIM_INLINE bool isnan(double x) { return __builtin_isnan(x); }
SIM_INLINE bool isinf(float x) { return __builtin_isinf(x) != 0; }
SIM_INLINE bool isinf(double x) { return __builtin_isinf(x) != 0; }
SIM_INLINE bool isfinite(float x) { return __builtin_isfinite(x); }
SIM_INLINE bool isfinite(double x) { return __builtin_isfinite(x); }
SIM_INLINE bool signbit(float x) { return __builtin_signbit(x) != 0; }
SIM_INLINE bool signbit(double x) { return __builtin_signbit(x) != 0; }
#define CUDART_INF_F __builtin_inff()
#define CUDART_NAN_F __builtin_nanf("")
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
SIM_INLINE int umax(unsigned a, unsigned b) { return (int)max(a, b); }
SIM_INLINE int umin(unsigned a, unsigned b) { return (int)min(a, b); }

// Fast intrinsics are evaluated accurately: a GPU's last digits differ.
#define __expf expf
#define __exp10f exp10f
#define __logf logf
#define __log2f log2f
#define __log10f log10f
#define __sinf sinf
#define __cosf cosf
#define __tanf tanf
#define __powf powf
#define __sincosf sincosf
#define __fdividef fdividef
#define __frsqrt_rn rsqrtf
SIM_INLINE float __fadd_rn(float a, float b) { return a + b; }
SIM_INLINE float __fsub_rn(float a, float b) { return a - b; }
SIM_INLINE float __fmul_rn(float a, float b) { return a * b; }
SIM_INLINE float __fdiv_rn(float a, float b) { return a / b; }
SIM_INLINE float __frcp_rn(float a) { return 1.0f / a; }
SIM_INLINE float __fsqrt_rn(float a) { return sqrtf(a); }
SIM_INLINE float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
SIM_INLINE double __dadd_rn(double a, double b) { return a + b; }
SIM_INLINE double __dmul_rn(double a, double b) { return a * b; }
SIM_INLINE double __fma_rn(double a, double b, double c) {
  return fma(a, b, c);
}

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
SIM_INLINE unsigned __sad(int a, int b, unsigned c) {
  return (a < b ? (unsigned)b - (unsigned)a : (unsigned)a - (unsigned)b) + c;
}
SIM_INLINE int __dp4a(int a, int b, int c) {
  for (int i = 0; i < 4; ++i)
    c += (int)(signed char)(a >> (8 * i)) * (int)(signed char)(b >> (8 * i));
  return c;
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
// A GPU saturates and turns NaN into 0.
SIM_INLINE int sim_to_int(double x) {
  if (x != x) return 0;
  if (x >= 2147483647.0) return 2147483647;
  if (x <= -2147483648.0) return -2147483647 - 1;
  return (int)x;
}
SIM_INLINE unsigned sim_to_uint(double x) {
  if (x != x || x <= 0.0) return 0;
  return x >= 4294967295.0 ? 4294967295u : (unsigned)x;
}
SIM_INLINE int __float2int_rn(float x) { return sim_to_int(nearbyint(x)); }
SIM_INLINE int __float2int_rz(float x) { return sim_to_int(trunc(x)); }
SIM_INLINE int __float2int_rd(float x) { return sim_to_int(floor(x)); }
SIM_INLINE int __float2int_ru(float x) { return sim_to_int(ceil(x)); }
SIM_INLINE int __double2int_rn(double x) { return sim_to_int(nearbyint(x)); }
SIM_INLINE unsigned __float2uint_rn(float x) {
  return sim_to_uint(nearbyint(x));
}
SIM_INLINE unsigned __float2uint_rz(float x) { return sim_to_uint(trunc(x)); }
SIM_INLINE float __int2float_rn(int x) { return (float)x; }
SIM_INLINE float __uint2float_rn(unsigned x) { return (float)x; }

// Cached and streaming accesses: macros, so that the access is seen at its
// own line.
#define __ldg(...) (*(__VA_ARGS__))
#define __ldcs(...) (*(__VA_ARGS__))
#define __ldca(...) (*(__VA_ARGS__))
#define __ldcg(...) (*(__VA_ARGS__))
#define __ldcv(...) (*(__VA_ARGS__))
#define __ldlu(...) (*(__VA_ARGS__))
#define __stcs(p, ...) ((void)(*(p) = (__VA_ARGS__)))
#define __stcg(p, ...) ((void)(*(p) = (__VA_ARGS__)))
#define __stwb(p, ...) ((void)(*(p) = (__VA_ARGS__)))
#define __stwt(p, ...) ((void)(*(p) = (__VA_ARGS__)))
