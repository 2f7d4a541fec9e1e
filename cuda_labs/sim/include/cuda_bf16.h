// bfloat16: the upper half of a float.
#pragma once
struct __nv_bfloat16;
template <>
struct sim_type<__nv_bfloat16> {
  static constexpr char base = 'B';
  static constexpr int lanes = 1, width = 2;
};
#include "sim_small.h"

// To nearest, ties to even; a NaN stays one.
SIM_INLINE unsigned short sim_to_bfloat(float v) {
  unsigned bits = (unsigned)sim_bits(v);
  if (isnan(v)) return 0x7fff;
  return (unsigned short)((bits + 0x7fffu + (bits >> 16 & 1)) >> 16);
}

struct __nv_bfloat162;
SIM_SMALL(__nv_bfloat16, __nv_bfloat162)
typedef __nv_bfloat16 nv_bfloat16;
typedef __nv_bfloat162 nv_bfloat162;
SIM_INLINE float sim_widen(const __nv_bfloat16 &h) {
  return sim_from_bits<float>((unsigned)h.sim_bits << 16);
}
SIM_INLINE __nv_bfloat16::__nv_bfloat16(float v) : sim_bits(sim_to_bfloat(v)) {}
// A double is rounded to odd first, so that the second rounding cannot err.
SIM_INLINE __nv_bfloat16 sim_round(double v, const __nv_bfloat16 *) {
  float f = (float)v;
  if ((double)f != v && f == f && fabsf(f) <= __FLT_MAX__) {
    unsigned bits = (unsigned)sim_bits(f);
    bool above = fabs((double)f) > fabs(v);
    f = sim_from_bits<float>((above ? bits - 1 : bits) | 1u);
  }
  return __nv_bfloat16(f);
}
SIM_SMALL_REST(__nv_bfloat16, __nv_bfloat162)

SIM_INLINE __nv_bfloat16 __float2bfloat16(float v) { return __nv_bfloat16(v); }
SIM_INLINE __nv_bfloat16 __double2bfloat16(double v) {
  return __nv_bfloat16(v);
}
SIM_INLINE __nv_bfloat162 make_bfloat162(__nv_bfloat16 a, __nv_bfloat16 b) {
  return __nv_bfloat162(a, b);
}
SIM_INLINE float __bfloat162float(__nv_bfloat16 h) { return sim_widen(h); }
SIM_INLINE __nv_bfloat162 __float2bfloat162_rn(float v) {
  return __nv_bfloat162(v, v);
}
SIM_INLINE __nv_bfloat162 __floats2bfloat162_rn(float a, float b) {
  return __nv_bfloat162(a, b);
}
SIM_INLINE __nv_bfloat162 __float22bfloat162_rn(float2 v) {
  return __nv_bfloat162(v.x, v.y);
}
SIM_INLINE float2 __bfloat1622float2(__nv_bfloat162 h) {
  return float2{(float)h.x, (float)h.y};
}
SIM_INLINE __nv_bfloat162 __bfloat162bfloat162(__nv_bfloat16 h) {
  return __nv_bfloat162(h, h);
}
SIM_INLINE __nv_bfloat162 __halves2bfloat162(__nv_bfloat16 a, __nv_bfloat16 b) {
  return __nv_bfloat162(a, b);
}
SIM_INLINE __nv_bfloat16 __low2bfloat16(__nv_bfloat162 h) { return h.x; }
SIM_INLINE __nv_bfloat16 __high2bfloat16(__nv_bfloat162 h) { return h.y; }
SIM_INLINE float __low2float(__nv_bfloat162 h) { return (float)h.x; }
SIM_INLINE float __high2float(__nv_bfloat162 h) { return (float)h.y; }
SIM_INLINE unsigned short __bfloat16_as_ushort(__nv_bfloat16 h) {
  return h.sim_bits;
}
SIM_INLINE __nv_bfloat16 __ushort_as_bfloat16(unsigned short b) {
  return sim_from_bits<__nv_bfloat16>(b);
}
SIM_SMALL_CONVERSIONS(__nv_bfloat16, __nv_bfloat162, bfloat16, bfloat162)
