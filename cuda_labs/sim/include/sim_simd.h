// Integers packed in a word: two of 16 bits or four of 8, and what CUDA adds to
// C's integer arithmetic.
#pragma once

// Each lane of words a and b by `EXPR` of the lanes x and y as ints.
template <class T, class F>
SIM_INLINE unsigned sim_lanewise(unsigned a, unsigned b, F f) {
  constexpr int bits = 8 * sizeof(T), count = 32 / bits;
  unsigned r = 0, mask = (1u << bits) - 1;
  for (int i = 0; i < count; ++i) {
    int x = (T)(a >> bits * i), y = (T)(b >> bits * i);
    r |= ((unsigned)f(x, y) & mask) << bits * i;
  }
  return r;
}
template <class T>
SIM_INLINE int sim_clamped(int v) {
  constexpr bool has_sign = T(-1) < T(0);
  constexpr int top = (1 << (8 * sizeof(T) - has_sign)) - 1;
  constexpr int low = has_sign ? -top - 1 : 0;
  return v > top ? top : v < low ? low : v;
}
template <class T>
SIM_INLINE unsigned sim_differences(unsigned a, unsigned b) {
  constexpr int bits = 8 * sizeof(T), count = 32 / bits;
  unsigned r = 0;
  for (int i = 0; i < count; ++i)
    r += (unsigned)abs((int)(T)(a >> bits * i) - (int)(T)(b >> bits * i));
  return r;
}
#define SIM_LANES(NAME, T, EXPR)                                          \
  SIM_INLINE unsigned NAME(unsigned a, unsigned b) {                      \
    return sim_lanewise<T>(a, b, [](int x, int y) { return EXPR; });      \
  }
#define SIM_LANES1(NAME, T, EXPR)                                         \
  SIM_INLINE unsigned NAME(unsigned a) {                                  \
    return sim_lanewise<T>(a, 0, [](int x, int) { return EXPR; });        \
  }
#define SIM_LANE_COMPARE(NAME, N, T, OP)                                  \
  SIM_LANES(__vcmp##NAME##N, T, x OP y ? -1 : 0)                          \
  SIM_LANES(__vset##NAME##N, T, x OP y ? 1 : 0)
#define SIM_PACKED(N, S, U)                                               \
  SIM_LANES(__vadd##N, U, x + y)                                          \
  SIM_LANES(__vaddss##N, S, sim_clamped<S>(x + y))                        \
  SIM_LANES(__vaddus##N, U, sim_clamped<U>(x + y))                        \
  SIM_LANES(__vsub##N, U, x - y)                                          \
  SIM_LANES(__vsubss##N, S, sim_clamped<S>(x - y))                        \
  SIM_LANES(__vsubus##N, U, sim_clamped<U>(x - y))                        \
  SIM_LANES(__vavgu##N, U, (x + y + 1) >> 1)                              \
  SIM_LANES(__vhaddu##N, U, (x + y) >> 1)                                 \
  SIM_LANES(__vabsdiffs##N, S, abs(x - y))                                \
  SIM_LANES(__vabsdiffu##N, U, abs(x - y))                                \
  SIM_LANES(__vmaxs##N, S, max(x, y))                                     \
  SIM_LANES(__vmaxu##N, U, max(x, y))                                     \
  SIM_LANES(__vmins##N, S, min(x, y))                                     \
  SIM_LANES(__vminu##N, U, min(x, y))                                     \
  SIM_LANES1(__vabs##N, S, abs(x))                                        \
  SIM_LANES1(__vabsss##N, S, sim_clamped<S>(abs(x)))                      \
  SIM_LANES1(__vneg##N, S, -x)                                            \
  SIM_LANES1(__vnegss##N, S, sim_clamped<S>(-x))                          \
  SIM_LANE_COMPARE(eq, N, U, ==)                                          \
  SIM_LANE_COMPARE(ne, N, U, !=)                                          \
  SIM_LANE_COMPARE(gts, N, S, >)                                          \
  SIM_LANE_COMPARE(gtu, N, U, >)                                          \
  SIM_LANE_COMPARE(ges, N, S, >=)                                         \
  SIM_LANE_COMPARE(geu, N, U, >=)                                         \
  SIM_LANE_COMPARE(lts, N, S, <)                                          \
  SIM_LANE_COMPARE(ltu, N, U, <)                                          \
  SIM_LANE_COMPARE(les, N, S, <=)                                         \
  SIM_LANE_COMPARE(leu, N, U, <=)                                         \
  SIM_INLINE unsigned __vsads##N(unsigned a, unsigned b) {                \
    return sim_differences<S>(a, b);                                      \
  }                                                                       \
  SIM_INLINE unsigned __vsadu##N(unsigned a, unsigned b) {                \
    return sim_differences<U>(a, b);                                      \
  }
SIM_PACKED(2, short, unsigned short)
SIM_PACKED(4, signed char, unsigned char)

// ---- sums of products of bytes and of halves of a word ----
template <class A, class B, class R>
SIM_INLINE R sim_dot(unsigned a, unsigned b, R c) {
  unsigned sum = (unsigned)c;
  for (int i = 0; i < 4; ++i)
    sum += (unsigned)((int)(A)(a >> 8 * i) * (int)(B)(b >> 8 * i));
  return (R)sum;
}
template <class A, class B, class R>
SIM_INLINE R sim_dot2(unsigned a, unsigned b, R c) {
  unsigned sum = (unsigned)c;
  for (int i = 0; i < 2; ++i)
    sum += (unsigned)(A)(a >> 16 * i) * (unsigned)(int)(B)(b >> 8 * i);
  return (R)sum;
}
SIM_INLINE int __dp4a(int a, int b, int c) {
  return sim_dot<signed char, signed char>((unsigned)a, (unsigned)b, c);
}
SIM_INLINE unsigned __dp4a(unsigned a, unsigned b, unsigned c) {
  return sim_dot<unsigned char, unsigned char>(a, b, c);
}
SIM_INLINE int __dp2a_lo(int a, int b, int c) {
  return sim_dot2<short, signed char>((unsigned)a, (unsigned)b, c);
}
SIM_INLINE unsigned __dp2a_lo(unsigned a, unsigned b, unsigned c) {
  return sim_dot2<unsigned short, unsigned char>(a, b, c);
}
SIM_INLINE int __dp2a_hi(int a, int b, int c) {
  return sim_dot2<short, signed char>((unsigned)a, (unsigned)b >> 16, c);
}
SIM_INLINE unsigned __dp2a_hi(unsigned a, unsigned b, unsigned c) {
  return sim_dot2<unsigned short, unsigned char>(a, b >> 16, c);
}
SIM_INLINE int sim_word(const char4 &v) {
  return (int)((unsigned)(unsigned char)v.x | (unsigned)(unsigned char)v.y << 8 |
               (unsigned)(unsigned char)v.z << 16 |
               (unsigned)(unsigned char)v.w << 24);
}
SIM_INLINE unsigned sim_word(const uchar4 &v) {
  return (unsigned)v.x | (unsigned)v.y << 8 | (unsigned)v.z << 16 |
         (unsigned)v.w << 24;
}
SIM_INLINE int __dp4a(char4 a, char4 b, int c) {
  return __dp4a(sim_word(a), sim_word(b), c);
}
SIM_INLINE unsigned __dp4a(uchar4 a, uchar4 b, unsigned c) {
  return __dp4a(sim_word(a), sim_word(b), c);
}

// ---- words ----
SIM_INLINE unsigned __sad(int a, int b, unsigned c) {
  return (a < b ? (unsigned)b - (unsigned)a : (unsigned)a - (unsigned)b) + c;
}
SIM_INLINE unsigned __usad(unsigned a, unsigned b, unsigned c) {
  return (a < b ? b - a : a - b) + c;
}
SIM_INLINE int __hadd(int a, int b) { return (int)(((long long)a + b) >> 1); }
SIM_INLINE int __rhadd(int a, int b) {
  return (int)(((long long)a + b + 1) >> 1);
}
SIM_INLINE unsigned __uhadd(unsigned a, unsigned b) {
  return (unsigned)(((unsigned long long)a + b) >> 1);
}
SIM_INLINE unsigned __urhadd(unsigned a, unsigned b) {
  return (unsigned)(((unsigned long long)a + b + 1) >> 1);
}
SIM_INLINE long long __mul64hi(long long a, long long b) {
  return (long long)((__int128)a * b >> 64);
}
SIM_INLINE unsigned long long __umul64hi(unsigned long long a,
                                         unsigned long long b) {
  return (unsigned long long)((unsigned __int128)a * b >> 64);
}
SIM_INLINE unsigned __funnelshift_lc(unsigned lo, unsigned hi, unsigned s) {
  unsigned long long both = ((unsigned long long)hi << 32) | lo;
  return (unsigned)((both << (s < 32 ? s : 32)) >> 32);
}
SIM_INLINE unsigned __funnelshift_rc(unsigned lo, unsigned hi, unsigned s) {
  unsigned long long both = ((unsigned long long)hi << 32) | lo;
  return (unsigned)(both >> (s < 32 ? s : 32));
}
// The n-th set bit from `base` on, counted from 1; upwards for n > 0, downwards
// for n < 0; 0 asks whether the bit at `base` is set.
SIM_INLINE unsigned __fns(unsigned mask, unsigned base, int n) {
  if (base > 31) return ~0u;
  if (n == 0) return mask >> base & 1 ? base : ~0u;
  int step = n > 0 ? 1 : -1, left = n > 0 ? n : -n;
  for (int at = (int)base; at >= 0 && at < 32; at += step)
    if ((mask >> at & 1) && --left == 0) return (unsigned)at;
  return ~0u;
}

// ---- three operands, and results not below 0 (DPX) ----
#define SIM_DPX(T, S)                                                          \
  SIM_INLINE T __vimax3_##S(T a, T b, T c) { return max(max(a, b), c); }       \
  SIM_INLINE T __vimin3_##S(T a, T b, T c) { return min(min(a, b), c); }       \
  SIM_INLINE T __viaddmax_##S(T a, T b, T c) { return max(T(a + b), c); }      \
  SIM_INLINE T __viaddmin_##S(T a, T b, T c) { return min(T(a + b), c); }      \
  SIM_INLINE T __vibmax_##S(T a, T b, bool *first) {                           \
    *first = a >= b;                                                           \
    return max(a, b);                                                          \
  }                                                                            \
  SIM_INLINE T __vibmin_##S(T a, T b, bool *first) {                           \
    *first = a <= b;                                                           \
    return min(a, b);                                                          \
  }
SIM_DPX(int, s32)
SIM_DPX(unsigned, u32)
SIM_INLINE int __vimax_s32_relu(int a, int b) { return max(max(a, b), 0); }
SIM_INLINE int __vimin_s32_relu(int a, int b) { return max(min(a, b), 0); }
SIM_INLINE int __vimax3_s32_relu(int a, int b, int c) {
  return max(__vimax3_s32(a, b, c), 0);
}
SIM_INLINE int __vimin3_s32_relu(int a, int b, int c) {
  return max(__vimin3_s32(a, b, c), 0);
}
SIM_INLINE int __viaddmax_s32_relu(int a, int b, int c) {
  return max(__viaddmax_s32(a, b, c), 0);
}
SIM_INLINE int __viaddmin_s32_relu(int a, int b, int c) {
  return max(__viaddmin_s32(a, b, c), 0);
}
