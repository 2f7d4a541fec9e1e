// Complex numbers as pairs, and functions on them.
#pragma once

typedef float2 cuFloatComplex;
typedef double2 cuDoubleComplex;
typedef cuFloatComplex cuComplex;

// F ends the names of single precision.
#define SIM_PAIRS(NAME, C, T, F)                                                \
  SIM_INLINE C make_##NAME(T a, T b) { return C{a, b}; }                        \
  SIM_INLINE T cuCreal##F(C z) { return z.x; }                                  \
  SIM_INLINE T cuCimag##F(C z) { return z.y; }                                  \
  SIM_INLINE C cuConj##F(C z) { return C{z.x, -z.y}; }                          \
  SIM_INLINE C cuCadd##F(C a, C b) { return C{a.x + b.x, a.y + b.y}; }          \
  SIM_INLINE C cuCsub##F(C a, C b) { return C{a.x - b.x, a.y - b.y}; }          \
  SIM_INLINE C cuCmul##F(C a, C b) {                                            \
    return C{a.x * b.x - a.y * b.y, a.x * b.y + a.y * b.x};                     \
  }                                                                             \
  SIM_INLINE C cuCdiv##F(C a, C b) {                                            \
    T s = 1 / (fabs(b.x) + fabs(b.y));                                          \
    T p = a.x * s, q = a.y * s, u = b.x * s, v = b.y * s;                       \
    T n = 1 / (u * u + v * v);                                                  \
    return C{(p * u + q * v) * n, (q * u - p * v) * n};                         \
  }                                                                             \
  SIM_INLINE T cuCabs##F(C z) { return hypot(z.x, z.y); }                       \
  SIM_INLINE C cuCfma##F(C a, C b, C c) {                                       \
    return C{fma(a.x, b.x, fma(-a.y, b.y, c.x)),                                \
             fma(a.x, b.y, fma(a.y, b.x, c.y))};                                \
  }
SIM_PAIRS(cuFloatComplex, cuFloatComplex, float, f)
SIM_PAIRS(cuDoubleComplex, cuDoubleComplex, double, )
#undef SIM_PAIRS
SIM_INLINE cuComplex make_cuComplex(float a, float b) { return cuComplex{a, b}; }
SIM_INLINE cuDoubleComplex cuComplexFloatToDouble(cuFloatComplex z) {
  return cuDoubleComplex{z.x, z.y};
}
SIM_INLINE cuFloatComplex cuComplexDoubleToFloat(cuDoubleComplex z) {
  return cuFloatComplex{(float)z.x, (float)z.y};
}
