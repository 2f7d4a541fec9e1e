// What CuPy's header of this name brings into a kernel.
#pragma once
#include "../sim_complex.h"

#define SIM_USE(F) using thrust::F;
SIM_USE(complex) SIM_USE(conj) SIM_USE(real) SIM_USE(imag) SIM_USE(arg)
SIM_USE(exp) SIM_USE(log) SIM_USE(log10) SIM_USE(sin) SIM_USE(cos) SIM_USE(tan)
SIM_USE(sinh) SIM_USE(cosh) SIM_USE(tanh) SIM_USE(asinh) SIM_USE(acosh)
SIM_USE(atanh) SIM_USE(asin) SIM_USE(acos) SIM_USE(atan)
#undef SIM_USE

#define SIM_OF template <class T> SIM_INLINE
SIM_OF bool isnan(const complex<T> &z) { return isnan(z.re) || isnan(z.im); }
SIM_OF bool isinf(const complex<T> &z) { return isinf(z.re) || isinf(z.im); }
SIM_OF bool isfinite(const complex<T> &z) {
  return isfinite(z.re) && isfinite(z.im);
}
SIM_OF complex<T> log1p(const complex<T> &z) { return log(z + T(1)); }
SIM_OF complex<T> log2(const complex<T> &z) { return log(z) / log(T(2)); }
SIM_OF complex<T> expm1(const complex<T> &z) { return exp(z) - T(1); }
SIM_OF complex<T> rint(const complex<T> &z) {
  return complex<T>(rint(z.re), rint(z.im));
}
// By the real parts, then by the imaginary ones; what is no number loses.
SIM_OF bool sim_below(const complex<T> &a, const complex<T> &b) {
  return a.re < b.re || (!(a.re > b.re) && a.im < b.im);
}
SIM_OF complex<T> min(complex<T> a, complex<T> b) {
  if (isnan(a)) return b;
  return isnan(b) || sim_below(a, b) ? a : b;
}
SIM_OF complex<T> max(complex<T> a, complex<T> b) {
  if (isnan(a)) return b;
  return isnan(b) || !sim_below(a, b) ? a : b;
}
#undef SIM_OF
