// Complex numbers as CuPy's <cupy/complex.cuh> and Thrust have them. The functions
// are computed by textbook formulas that hold over the whole plane (Kahan, "Branch
// Cuts for Complex Elementary Functions"); last bits differ from Thrust's.
#pragma once

namespace thrust {

#define SIM_USE(F) using ::F;
SIM_MATH1(SIM_USE)
SIM_MATH2(SIM_USE)
SIM_USE(isinf)
#undef SIM_USE

// What may stand beside a complex number: as in Thrust, no whole number.
template <class T>
struct sim_number {
  static constexpr bool value = false;
};
template <>
struct sim_number<float> {
  static constexpr bool value = true;
};
template <>
struct sim_number<double> {
  static constexpr bool value = true;
};
template <class T, bool = sim_number<T>::value>
struct sim_if_number {};
template <class T>
struct sim_if_number<T, true> {
  typedef T type;
};
template <class A, class B>
struct sim_wider {
  typedef decltype(A() + B()) type;
};

template <class T>
struct __attribute__((aligned(2 * sizeof(T)))) complex {
  typedef T value_type;
  T re, im;

  complex() = default;
  SIM_INLINE constexpr complex(const T &a) : re(a), im() {}
  SIM_INLINE constexpr complex(const T &a, const T &b) : re(a), im(b) {}
  template <class U>
  SIM_INLINE constexpr complex(const complex<U> &z) : re(T(z.re)), im(T(z.im)) {}
  // One access of both parts, as on a GPU.
  SIM_COPY(complex, T, 2 * sizeof(T))
#ifndef SIM_PLAIN
  // Of shared and volatile numbers, part by part.
  SIM_INLINE complex(const volatile complex &z) : re(z.re), im(z.im) {}
#endif

  SIM_INLINE constexpr T real() const { return re; }
  SIM_INLINE constexpr T imag() const { return im; }
  SIM_INLINE constexpr T real() const volatile { return re; }
  SIM_INLINE constexpr T imag() const volatile { return im; }
  SIM_INLINE void real(T a) { re = a; }
  SIM_INLINE void imag(T b) { im = b; }

#define SIM_ASSIGN(OP)                                         \
  template <class U>                                           \
  SIM_INLINE complex &operator OP##=(const complex<U> &z) {    \
    return *this = complex(*this OP z);                        \
  }                                                            \
  SIM_INLINE complex &operator OP##=(const T &x) {             \
    return *this = complex(*this OP x);                        \
  }
  SIM_ASSIGN(+)
  SIM_ASSIGN(-)
  SIM_ASSIGN(*)
  SIM_ASSIGN(/)
#undef SIM_ASSIGN
};

#define SIM_BOTH(A, B) complex<typename sim_wider<A, B>::type>
// Of two numbers, one of which may be real.
#define SIM_ARITHMETIC(OP, BODY)                                               \
  template <class A, class B>                                                  \
  SIM_INLINE SIM_BOTH(A, B) operator OP(const complex<A> &x,                   \
                                        const complex<B> &y) {                 \
    typedef SIM_BOTH(A, B) C;                                                  \
    BODY                                                                       \
  }                                                                            \
  template <class A, class B>                                                  \
  SIM_INLINE SIM_BOTH(A, typename sim_if_number<B>::type)                      \
  operator OP(const complex<A> &x, const B &y) {                               \
    typedef typename sim_wider<A, B>::type W;                                  \
    return complex<W>(x) OP complex<W>(W(y));                                  \
  }                                                                            \
  template <class A, class B>                                                  \
  SIM_INLINE SIM_BOTH(typename sim_if_number<A>::type, B)                      \
  operator OP(const A &x, const complex<B> &y) {                               \
    typedef typename sim_wider<A, B>::type W;                                  \
    return complex<W>(W(x)) OP complex<W>(y);                                  \
  }
SIM_ARITHMETIC(+, return C(x.re + y.re, x.im + y.im);)
SIM_ARITHMETIC(-, return C(x.re - y.re, x.im - y.im);)
SIM_ARITHMETIC(*, return C(x.re * y.re - x.im * y.im,
                           x.re * y.im + x.im * y.re);)
// Scaled, so that no square overflows.
SIM_ARITHMETIC(/, C a = x; C b = y;
               auto s = 1 / (fabs(b.re) + fabs(b.im));
               C p(a.re * s, a.im * s); C q(b.re * s, b.im * s);
               auto n = 1 / (q.re * q.re + q.im * q.im);
               return C((p.re * q.re + p.im * q.im) * n,
                        (p.im * q.re - p.re * q.im) * n);)
#undef SIM_ARITHMETIC
template <class T>
SIM_INLINE complex<T> operator+(const complex<T> &z) { return z; }
template <class T>
SIM_INLINE complex<T> operator-(const complex<T> &z) {
  return complex<T>(-z.re, -z.im);
}
#define SIM_COMPARE(OP, JOIN)                                                  \
  template <class A, class B>                                                  \
  SIM_INLINE bool operator OP(const complex<A> &x, const complex<B> &y) {      \
    return x.re OP y.re JOIN x.im OP y.im;                                     \
  }                                                                            \
  template <class A, class B>                                                  \
  SIM_INLINE bool operator OP(const complex<A> &x, const B &y) {               \
    return x.re OP typename sim_if_number<B>::type(y) JOIN x.im OP A(0);       \
  }                                                                            \
  template <class A, class B>                                                  \
  SIM_INLINE bool operator OP(const A &x, const complex<B> &y) {               \
    return typename sim_if_number<A>::type(x) OP y.re JOIN B(0) OP y.im;       \
  }
SIM_COMPARE(==, &&)
SIM_COMPARE(!=, ||)
#undef SIM_COMPARE

#define SIM_OF template <class T> SIM_INLINE
SIM_OF T real(const complex<T> &z) { return z.re; }
SIM_OF T imag(const complex<T> &z) { return z.im; }
SIM_OF T abs(const complex<T> &z) { return hypot(z.re, z.im); }
SIM_OF T arg(const complex<T> &z) { return atan2(z.im, z.re); }
SIM_OF T norm(const complex<T> &z) { return z.re * z.re + z.im * z.im; }
SIM_OF complex<T> conj(const complex<T> &z) { return complex<T>(z.re, -z.im); }
SIM_OF complex<T> polar(const T &r, const T &angle = T(0)) {
  return complex<T>(r * cos(angle), r * sin(angle));
}
SIM_OF complex<T> proj(const complex<T> &z) {
  if (!isinf(z.re) && !isinf(z.im)) return z;
  return complex<T>(T(__builtin_inf()), copysign(T(0), z.im));
}
// i z and -i z, by which a circular function is a hyperbolic one.
SIM_OF complex<T> sim_turned(const complex<T> &z) {
  return complex<T>(-z.im, z.re);
}
SIM_OF complex<T> sim_back(const complex<T> &z) {
  return complex<T>(z.im, -z.re);
}
SIM_OF complex<T> exp(const complex<T> &z) {
  T r = exp(z.re);
  return z.im == 0 ? complex<T>(r, z.im)
                   : complex<T>(r * cos(z.im), r * sin(z.im));
}
SIM_OF complex<T> log(const complex<T> &z) {
  return complex<T>(log(abs(z)), arg(z));
}
SIM_OF complex<T> log10(const complex<T> &z) {
  return log(z) / T(2.30258509299404568402);
}
SIM_OF complex<T> sqrt(const complex<T> &z) {
  if (z.re == 0 && z.im == 0) return complex<T>(T(0), z.im);
  T half = sqrt((abs(z) + fabs(z.re)) / 2);
  return z.re >= 0 ? complex<T>(half, z.im / (2 * half))
                   : complex<T>(fabs(z.im) / (2 * half), copysign(half, z.im));
}
SIM_OF complex<T> sinh(const complex<T> &z) {
  return complex<T>(sinh(z.re) * cos(z.im), cosh(z.re) * sin(z.im));
}
SIM_OF complex<T> cosh(const complex<T> &z) {
  return complex<T>(cosh(z.re) * cos(z.im), sinh(z.re) * sin(z.im));
}
SIM_OF complex<T> tanh(const complex<T> &z) {
  if (fabs(z.re) > 20) return complex<T>(copysign(T(1), z.re), T(0) * z.im);
  T t = tan(z.im), s = sinh(z.re), beta = 1 + t * t, n = 1 + beta * s * s;
  return complex<T>(beta * sqrt(1 + s * s) * s / n, t / n);
}
SIM_OF complex<T> sin(const complex<T> &z) {
  return sim_back(sinh(sim_turned(z)));
}
SIM_OF complex<T> cos(const complex<T> &z) { return cosh(sim_turned(z)); }
SIM_OF complex<T> tan(const complex<T> &z) {
  return sim_back(tanh(sim_turned(z)));
}
SIM_OF complex<T> asin(const complex<T> &z) {
  complex<T> a = sqrt(complex<T>(1 - z.re, -z.im));
  complex<T> b = sqrt(complex<T>(1 + z.re, z.im));
  return complex<T>(atan2(z.re, (a * b).re), asinh((conj(a) * b).im));
}
SIM_OF complex<T> acos(const complex<T> &z) {
  complex<T> a = sqrt(complex<T>(1 - z.re, -z.im));
  complex<T> b = sqrt(complex<T>(1 + z.re, z.im));
  return complex<T>(2 * atan2(a.re, b.re), asinh((conj(b) * a).im));
}
SIM_OF complex<T> asinh(const complex<T> &z) {
  return sim_back(asin(sim_turned(z)));
}
SIM_OF complex<T> acosh(const complex<T> &z) {
  complex<T> a = sqrt(complex<T>(z.re - 1, z.im));
  complex<T> b = sqrt(complex<T>(z.re + 1, z.im));
  return complex<T>(asinh((conj(a) * b).re), 2 * atan2(a.im, b.re));
}
SIM_OF complex<T> atanh(const complex<T> &z) {
  T x = fabs(z.re), y = z.im, far = (1 - x) * (1 - x) + y * y;
  return complex<T>(copysign(log1p(4 * x / far) / 4, z.re),
                    atan2(2 * y, (1 - x) * (1 + x) - y * y) / 2);
}
SIM_OF complex<T> atan(const complex<T> &z) {
  return sim_back(atanh(sim_turned(z)));
}
#undef SIM_OF
template <class A, class B>
SIM_INLINE SIM_BOTH(A, B) pow(const complex<A> &x, const complex<B> &y) {
  typedef SIM_BOTH(A, B) C;
  return exp(log(C(x)) * C(y));
}
template <class A, class B>
SIM_INLINE SIM_BOTH(A, typename sim_if_number<B>::type)
pow(const complex<A> &x, const B &y) {
  typedef SIM_BOTH(A, B) C;
  return exp(log(C(x)) * y);
}
template <class A, class B>
SIM_INLINE SIM_BOTH(typename sim_if_number<A>::type, B)
pow(const A &x, const complex<B> &y) {
  typedef typename sim_wider<A, B>::type W;
  return exp(log(W(x)) * complex<W>(y));
}
#undef SIM_BOTH

}  // namespace thrust

SIM_TYPE(thrust::complex<float>, 'f', 2)
SIM_TYPE(thrust::complex<double>, 'f', 2)
