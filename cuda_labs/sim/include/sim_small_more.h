// More of what half and bfloat16 share: comparisons of pairs, saturation,
// conversions with a rounding mode.
#pragma once

// The neighbour of 16 bits of a float, up or down.
SIM_INLINE unsigned short sim_small_next(unsigned short bits, bool up) {
  if ((bits & 0x7fff) == 0) return up ? 0x0001 : 0x8001;
  return (unsigned short)((bits >> 15 == 0) == up ? bits + 1 : bits - 1);
}
template <class H>
SIM_INLINE H sim_small_of(double v, sim_mode mode) {
  H r(v);
  double got = (double)sim_widen(r);
  bool up = got < v && (mode == SIM_RU || (mode == SIM_RZ && v < 0));
  bool down = got > v && (mode == SIM_RD || (mode == SIM_RZ && v > 0));
  if ((up || down) && isfinite(v)) r.sim_bits = sim_small_next(r.sim_bits, up);
  return r;
}

#define SIM_SMALL_UNORDERED(H, H2, NAME, OPPOSITE)                             \
  SIM_INLINE bool NAME##u(H a, H b) { return !(a OPPOSITE b); }
// Of pairs: 1 or 0 in each half, a mask, or whether both halves compare so.
#define SIM_SMALL_PAIRS(H, H2, NAME, S)                                        \
  SIM_INLINE H2 __h##NAME##S##2(H2 a, H2 b) {                                  \
    return H2(H(__h##NAME##S(a.x, b.x) ? 1.0f : 0.0f),                         \
              H(__h##NAME##S(a.y, b.y) ? 1.0f : 0.0f));                        \
  }                                                                            \
  SIM_INLINE unsigned __h##NAME##S##2_mask(H2 a, H2 b) {                       \
    return (__h##NAME##S(a.x, b.x) ? 0xffffu : 0u) |                           \
           (__h##NAME##S(a.y, b.y) ? 0xffff0000u : 0u);                        \
  }                                                                            \
  SIM_INLINE bool __hb##NAME##S##2(H2 a, H2 b) {                               \
    return __h##NAME##S(a.x, b.x) && __h##NAME##S(a.y, b.y);                   \
  }
#define SIM_SMALL_PAIR(H, H2, NAME) \
  SIM_SMALL_PAIRS(H, H2, NAME, ) SIM_SMALL_PAIRS(H, H2, NAME, u)
#define SIM_SMALL_SATURATED(H, H2, NAME, OP)                                   \
  SIM_INLINE H NAME##_rn(H a, H b) { return a OP b; }                          \
  SIM_INLINE H NAME##_sat(H a, H b) { return sim_small_sat(a OP b); }          \
  SIM_INLINE H2 NAME##2_rn(H2 a, H2 b) { return a OP b; }                      \
  SIM_INLINE H2 NAME##2_sat(H2 a, H2 b) {                                      \
    return H2(NAME##_sat(a.x, b.x), NAME##_sat(a.y, b.y));                     \
  }
#define SIM_SMALL_NAN(H, H2, NAME)                                             \
  SIM_INLINE H NAME##_nan(H a, H b) {                                          \
    return __hisnan(a) || __hisnan(b) ? H(H##_raw{0x7fff}) : NAME(a, b);       \
  }                                                                            \
  SIM_INLINE H2 NAME##2_nan(H2 a, H2 b) {                                      \
    return H2(NAME##_nan(a.x, b.x), NAME##_nan(a.y, b.y));                     \
  }
#define SIM_SMALL_STEP(H, OP, BY)                                              \
  SIM_INLINE H &operator OP(H &a) { return a = a BY H(1.0f); }                 \
  SIM_INLINE H operator OP(H &a, int) {                                        \
    H old = a;                                                                 \
    a = a BY H(1.0f);                                                          \
    return old;                                                                \
  }
#define SIM_SMALL_STEP2(H, H2, OP, BY)                                         \
  SIM_INLINE H2 &operator OP(H2 &a) {                                          \
    return a = a BY H2(H(1.0f), H(1.0f));                                      \
  }                                                                            \
  SIM_INLINE H2 operator OP(H2 &a, int) {                                      \
    H2 old = a;                                                                \
    a = a BY H2(H(1.0f), H(1.0f));                                             \
    return old;                                                                \
  }

#define SIM_SMALL_MORE(H, H2)                                                  \
  struct H2##_raw {                                                            \
    unsigned short x, y;                                                       \
  };                                                                           \
  SIM_INLINE H sim_small_sat(H v) {                                            \
    return __hisnan(v) ? H(0.0f) : H(__saturatef(sim_widen(v)));               \
  }                                                                            \
  SIM_SMALL_UNORDERED(H, H2, __heq, !=)                                        \
  SIM_SMALL_UNORDERED(H, H2, __hlt, >=)                                        \
  SIM_SMALL_UNORDERED(H, H2, __hle, >)                                         \
  SIM_SMALL_UNORDERED(H, H2, __hgt, <=)                                        \
  SIM_SMALL_UNORDERED(H, H2, __hge, <)                                         \
  SIM_INLINE bool __hneu(H a, H b) {                                           \
    return __hisnan(a) || __hisnan(b) || a != b;                               \
  }                                                                            \
  SIM_SMALL_PAIR(H, H2, eq)                                                    \
  SIM_SMALL_PAIR(H, H2, ne)                                                    \
  SIM_SMALL_PAIR(H, H2, lt)                                                    \
  SIM_SMALL_PAIR(H, H2, le)                                                    \
  SIM_SMALL_PAIR(H, H2, gt)                                                    \
  SIM_SMALL_PAIR(H, H2, ge)                                                    \
  SIM_INLINE bool operator==(H2 a, H2 b) { return __hbeq2(a, b); }             \
  SIM_INLINE bool operator!=(H2 a, H2 b) { return __hbneu2(a, b); }            \
  SIM_INLINE bool operator<(H2 a, H2 b) { return __hblt2(a, b); }              \
  SIM_INLINE bool operator<=(H2 a, H2 b) { return __hble2(a, b); }             \
  SIM_INLINE bool operator>(H2 a, H2 b) { return __hbgt2(a, b); }              \
  SIM_INLINE bool operator>=(H2 a, H2 b) { return __hbge2(a, b); }             \
  SIM_INLINE H2 __hisnan2(H2 a) {                                              \
    return H2(H(__hisnan(a.x) ? 1.0f : 0.0f), H(__hisnan(a.y) ? 1.0f : 0.0f)); \
  }                                                                            \
  SIM_SMALL_SATURATED(H, H2, __hadd, +)                                        \
  SIM_SMALL_SATURATED(H, H2, __hsub, -)                                        \
  SIM_SMALL_SATURATED(H, H2, __hmul, *)                                        \
  SIM_INLINE H __hfma_sat(H a, H b, H c) {                                     \
    return sim_small_sat(__hfma(a, b, c));                                     \
  }                                                                            \
  SIM_INLINE H __hfma_relu(H a, H b, H c) {                                    \
    H r = __hfma(a, b, c);                                                     \
    return r < H(0.0f) ? H(0.0f) : r;                                          \
  }                                                                            \
  SIM_INLINE H2 __hfma2_sat(H2 a, H2 b, H2 c) {                                \
    return H2(__hfma_sat(a.x, b.x, c.x), __hfma_sat(a.y, b.y, c.y));           \
  }                                                                            \
  SIM_INLINE H2 __hfma2_relu(H2 a, H2 b, H2 c) {                               \
    return H2(__hfma_relu(a.x, b.x, c.x), __hfma_relu(a.y, b.y, c.y));         \
  }                                                                            \
  SIM_INLINE H2 __hcmadd(H2 a, H2 b, H2 c) {                                   \
    H re = __hfma(a.x, b.x, c.x), im = __hfma(a.x, b.y, c.y);                  \
    return H2(__hfma(-a.y, b.y, re), __hfma(a.y, b.x, im));                    \
  }                                                                            \
  SIM_SMALL_NAN(H, H2, __hmax)                                                 \
  SIM_SMALL_NAN(H, H2, __hmin)                                                 \
  SIM_SMALL_UNARY(H, H2, hfloor, h2floor, floorf(v))                           \
  SIM_SMALL_UNARY(H, H2, hceil, h2ceil, ceilf(v))                              \
  SIM_SMALL_UNARY(H, H2, hrint, h2rint, rintf(v))                              \
  SIM_SMALL_UNARY(H, H2, htrunc, h2trunc, truncf(v))                           \
  SIM_SMALL_UNARY(H, H2, hexp10, h2exp10, exp10f(v))                           \
  SIM_SMALL_UNARY(H, H2, hlog10, h2log10, log10f(v))                           \
  SIM_SMALL_STEP(H, ++, +)                                                     \
  SIM_SMALL_STEP(H, --, -)                                                     \
  SIM_SMALL_STEP2(H, H2, ++, +)                                                \
  SIM_SMALL_STEP2(H, H2, --, -)

#define SIM_SMALL_TO_INT(H, TAG, NAME, T)                                      \
  SIM_INLINE T __##TAG##2##NAME##_rn(H h) {                                    \
    return sim_saturated<T>(nearbyint((double)sim_widen(h)),                   \
                            sizeof(T) == 8 ? 8 : 4);                           \
  }                                                                            \
  SIM_INLINE T __##TAG##2##NAME##_rz(H h) {                                    \
    return sim_saturated<T>(trunc((double)sim_widen(h)),                       \
                            sizeof(T) == 8 ? 8 : 4);                           \
  }                                                                            \
  SIM_INLINE T __##TAG##2##NAME##_ru(H h) {                                    \
    return sim_saturated<T>(ceil((double)sim_widen(h)),                        \
                            sizeof(T) == 8 ? 8 : 4);                           \
  }                                                                            \
  SIM_INLINE T __##TAG##2##NAME##_rd(H h) {                                    \
    return sim_saturated<T>(floor((double)sim_widen(h)),                       \
                            sizeof(T) == 8 ? 8 : 4);                           \
  }
#define SIM_SMALL_FROM_BY(H, TAG, NAME, T, S, MODE, VALUE)                     \
  SIM_INLINE H __##NAME##2##TAG##_##S(T v) {                                   \
    return sim_small_of<H>(VALUE, MODE);                                       \
  }
#define SIM_SMALL_FROM(H, TAG, NAME, T, VALUE)                                 \
  SIM_SMALL_FROM_BY(H, TAG, NAME, T, rn, SIM_RN, VALUE)                        \
  SIM_SMALL_FROM_BY(H, TAG, NAME, T, rz, SIM_RZ, VALUE)                        \
  SIM_SMALL_FROM_BY(H, TAG, NAME, T, ru, SIM_RU, VALUE)                        \
  SIM_SMALL_FROM_BY(H, TAG, NAME, T, rd, SIM_RD, VALUE)
#define SIM_SMALL_BOTH(H, TAG, NAME, T, VALUE) \
  SIM_SMALL_TO_INT(H, TAG, NAME, T) SIM_SMALL_FROM(H, TAG, NAME, T, VALUE)
#define SIM_SMALL_CONVERSIONS(H, H2, TAG, TAG2)                                \
  SIM_SMALL_BOTH(H, TAG, int, int, (double)v)                                  \
  SIM_SMALL_BOTH(H, TAG, uint, unsigned, (double)v)                            \
  SIM_SMALL_BOTH(H, TAG, short, short, (double)v)                              \
  SIM_SMALL_BOTH(H, TAG, ushort, unsigned short, (double)v)                    \
  SIM_SMALL_BOTH(H, TAG, ll, long long, sim_odd(v))                            \
  SIM_SMALL_BOTH(H, TAG, ull, unsigned long long, sim_odd(v))                  \
  SIM_SMALL_FROM(H, TAG, float, float, (double)v)                              \
  SIM_INLINE signed char __##TAG##2char_rz(H h) {                              \
    return sim_saturated<signed char>(trunc((double)sim_widen(h)), 4);         \
  }                                                                            \
  SIM_INLINE unsigned char __##TAG##2uchar_rz(H h) {                           \
    return sim_saturated<unsigned char>(trunc((double)sim_widen(h)), 4);       \
  }                                                                            \
  SIM_INLINE H2 __low2##TAG2(H2 v) { return H2(v.x, v.x); }                    \
  SIM_INLINE H2 __high2##TAG2(H2 v) { return H2(v.y, v.y); }                   \
  SIM_INLINE H2 __lows2##TAG2(H2 a, H2 b) { return H2(a.x, b.x); }             \
  SIM_INLINE H2 __highs2##TAG2(H2 a, H2 b) { return H2(a.y, b.y); }            \
  SIM_INLINE H __short_as_##TAG(short b) {                                     \
    return H(H##_raw{(unsigned short)b});                                      \
  }                                                                            \
  SIM_INLINE short __##TAG##_as_short(H h) { return (short)h.sim_bits; }
