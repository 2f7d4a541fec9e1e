// Of C++'s library what nvcc lets a kernel call: minima, and math. NVRTC has
// none of it.
#pragma once

namespace std {

#define SIM_USE(F) using ::F;
SIM_MATH1(SIM_USE)
SIM_MATH2(SIM_USE)
SIM_USE(abs)
SIM_USE(fma)
SIM_USE(frexp)
SIM_USE(isfinite)
SIM_USE(isinf)
SIM_USE(isnan)
SIM_USE(ldexp)
SIM_USE(llround)
SIM_USE(lround)
SIM_USE(modf)
SIM_USE(signbit)
#undef SIM_USE

template <class T>
SIM_INLINE constexpr const T &max(const T &a, const T &b) {
  return a < b ? b : a;
}
template <class T>
SIM_INLINE constexpr const T &min(const T &a, const T &b) {
  return b < a ? b : a;
}
template <class T>
SIM_INLINE constexpr const T &clamp(const T &v, const T &from, const T &to) {
  return v < from ? from : to < v ? to : v;
}
template <class T>
SIM_INLINE void swap(T &a, T &b) {
  T kept = static_cast<T &&>(a);
  a = static_cast<T &&>(b);
  b = static_cast<T &&>(kept);
}

}  // namespace std
