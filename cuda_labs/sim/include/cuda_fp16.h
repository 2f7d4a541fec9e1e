// IEEE 754 binary16.
#pragma once
struct __half;
template <>
struct sim_type<__half> {
  static constexpr char base = 'h';
  static constexpr int lanes = 1, width = 2;
};
#include "sim_small.h"

// Round a double to binary16, to nearest, ties to even. Every float is a
// double, so float goes through here too and is rounded once.
SIM_INLINE unsigned short sim_to_half(double v) {
  unsigned long long bits = sim_bits(v);
  unsigned sign = (unsigned)(bits >> 48) & 0x8000u;
  int exponent = (int)(bits >> 52 & 2047) - 1023;
  unsigned long long digits = bits & 0xfffffffffffffull;
  if (exponent == 1024) return (unsigned short)(sign | (digits ? 0x7fff : 0x7c00));
  if (exponent < -25) return (unsigned short)sign;
  digits |= 1ull << 52;
  // Normal numbers keep 10 digits after the point, smaller ones fewer.
  int drop = exponent >= -14 ? 42 : 42 + (-14 - exponent);
  unsigned long long kept = digits >> drop;
  unsigned long long rest = digits & ((1ull << drop) - 1), tie = 1ull << (drop - 1);
  if (rest > tie || (rest == tie && (kept & 1))) ++kept;
  // A carry moves into the exponent, which is what is wanted.
  unsigned long long r = exponent >= -14
                             ? ((unsigned long long)(exponent + 14) << 10) + kept
                             : kept;
  return (unsigned short)(sign | (r >= 0x7c00 ? 0x7c00 : (unsigned)r));
}
SIM_INLINE float sim_from_half(unsigned short h) {
  unsigned sign = (unsigned)(h & 0x8000) << 16, e = h >> 10 & 31, m = h & 1023;
  if (e == 31) return sim_from_bits<float>(sign | 0x7f800000u | m << 13);
  if (e) return sim_from_bits<float>(sign | (e + 112) << 23 | m << 13);
  float small = (float)m * 5.9604644775390625e-8f;  // m 2^-24
  return sign ? -small : small;
}

struct __half2;
SIM_SMALL(__half, __half2)
typedef __half half;
typedef __half2 half2;
typedef __half nv_half;
typedef __half2 nv_half2;
SIM_INLINE float sim_widen(const __half &h) { return sim_from_half(h.sim_bits); }
SIM_INLINE __half::__half(float v) : sim_bits(sim_to_half((double)v)) {}
SIM_INLINE __half sim_half_of(double v) {
  __half h;
  h.sim_bits = sim_to_half(v);
  return h;
}
SIM_INLINE __half sim_round(double v, const __half *) { return sim_half_of(v); }
SIM_SMALL_REST(__half, __half2)

SIM_INLINE __half __float2half(float v) { return __half(v); }
SIM_INLINE __half __double2half(double v) { return sim_half_of(v); }
SIM_INLINE float __half2float(__half h) { return sim_widen(h); }
SIM_INLINE __half2 __float2half2_rn(float v) { return __half2(v, v); }
SIM_INLINE __half2 __floats2half2_rn(float a, float b) { return __half2(a, b); }
SIM_INLINE __half2 __float22half2_rn(float2 v) { return __half2(v.x, v.y); }
SIM_INLINE float2 __half22float2(__half2 h) { return float2{(float)h.x, (float)h.y}; }
SIM_INLINE __half2 __half2half2(__half h) { return __half2(h, h); }
SIM_INLINE __half2 __halves2half2(__half a, __half b) { return __half2(a, b); }
SIM_INLINE __half2 make_half2(__half a, __half b) { return __half2(a, b); }
SIM_INLINE __half __low2half(__half2 h) { return h.x; }
SIM_INLINE __half __high2half(__half2 h) { return h.y; }
SIM_INLINE float __low2float(__half2 h) { return (float)h.x; }
SIM_INLINE float __high2float(__half2 h) { return (float)h.y; }
SIM_INLINE __half2 __lowhigh2highlow(__half2 h) { return __half2(h.y, h.x); }
SIM_INLINE unsigned short __half_as_ushort(__half h) { return h.sim_bits; }
SIM_INLINE __half __ushort_as_half(unsigned short b) {
  return sim_from_bits<__half>(b);
}
SIM_SMALL_CONVERSIONS(__half, __half2, half, half2)
