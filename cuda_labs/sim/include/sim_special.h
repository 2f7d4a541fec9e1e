// Math functions of CUDA C that a host's library does not have.
#pragma once

SIM_INLINE double rcbrt(double x) { return 1.0 / cbrt(x); }
SIM_INLINE double exp10(double x) { return pow(10.0, x); }
// sin(pi x) and cos(pi x), exact where they are 0, 1 or -1: the argument is
// brought within a quarter of 0, in steps of a half, without an error.
SIM_INLINE double sim_half_turns(double x, double *rest) {
  double turns = fmod(x, 2.0);
  double halves = rint(2.0 * turns);
  *rest = turns - 0.5 * halves;
  return halves;
}
SIM_INLINE double sinpi(double x) {
  double rest, pi = 3.14159265358979323846;
  if (!isfinite(x)) return x - x;
  int quarter = (int)sim_half_turns(x, &rest) & 3;
  double v = quarter & 1 ? cos(pi * rest) : sin(pi * rest);
  v = quarter & 2 ? -v : v;
  return v == 0 ? copysign(0.0, x) : v;
}
SIM_INLINE double cospi(double x) {
  double rest, pi = 3.14159265358979323846;
  if (!isfinite(x)) return x - x;
  int quarter = (int)sim_half_turns(x, &rest) & 3;
  double v = quarter & 1 ? sin(pi * rest) : cos(pi * rest);
  v = quarter == 1 || quarter == 2 ? -v : v;
  return v == 0 ? 0.0 : v;
}
SIM_INLINE void sincospi(double x, double *s, double *c) {
  *s = sinpi(x);
  *c = cospi(x);
}

// The inverse of erfc: a first guess, then Halley's steps.
SIM_INLINE double erfcinv(double x) {
  if (!(x >= 0 && x <= 2)) return __builtin_nan("");
  if (x == 0) return __builtin_inf();
  if (x == 2) return -__builtin_inf();
  bool above = x > 1;
  double tail = above ? 2 - x : x, a = 0.147;
  double part = log(tail * (2 - tail));
  double term = 2 / (3.14159265358979323846 * a) + part / 2;
  double y = sqrt(sqrt(term * term - part / a) - term);
  for (int i = 0; i < 4; ++i) {
    double slope = 1.12837916709551257390 * exp(-y * y);
    if (slope == 0) break;
    double step = (erfc(y) - tail) / slope;
    y += step / (1 + y * step);
  }
  return above ? -y : y;
}
SIM_INLINE double erfinv(double x) {
  if (fabs(x) >= 0.5) return x > 0 ? erfcinv(1 - x) : -erfcinv(1 + x);
  double y = 0.88622692545275801365 * x;
  for (int i = 0; i < 6; ++i) {
    double step = (erf(y) - x) / (1.12837916709551257390 * exp(-y * y));
    y -= step / (1 + y * step);
  }
  return y;
}
SIM_INLINE double normcdf(double x) {
  return 0.5 * erfc(-x * 0.70710678118654752440);
}
SIM_INLINE double normcdfinv(double p) {
  return -1.41421356237309504880 * erfcinv(2 * p);
}
// exp(x^2) erfc(x); far out, by its continued fraction.
SIM_INLINE double erfcx(double x) {
  if (x < 5) return exp(x * x) * erfc(x);
  double k = x;
  for (int i = 80; i > 0; --i) k = x + 0.5 * i / k;
  return 0.56418958354775628695 / k;
}

SIM_INLINE double norm3d(double a, double b, double c) {
  return hypot(hypot(a, b), c);
}
SIM_INLINE double norm4d(double a, double b, double c, double d) {
  return hypot(hypot(a, b), hypot(c, d));
}
SIM_INLINE double norm(int n, const double *p) {
  double r = 0;
  for (int i = 0; i < n; ++i) r = hypot(r, p[i]);
  return r;
}
SIM_INLINE double rhypot(double a, double b) { return 1 / hypot(a, b); }
SIM_INLINE double rnorm3d(double a, double b, double c) {
  return 1 / norm3d(a, b, c);
}
SIM_INLINE double rnorm4d(double a, double b, double c, double d) {
  return 1 / norm4d(a, b, c, d);
}
SIM_INLINE double rnorm(int n, const double *p) { return 1 / norm(n, p); }

// The same of floats, through double.
#define SIM_FLOAT1(F)                                            \
  SIM_INLINE float F##f(float x) { return (float)F((double)x); } \
  SIM_INLINE float F(float x) { return F##f(x); }
SIM_FLOAT1(rcbrt)
SIM_FLOAT1(exp10)
SIM_FLOAT1(sinpi)
SIM_FLOAT1(cospi)
SIM_FLOAT1(erfcinv)
SIM_FLOAT1(erfinv)
SIM_FLOAT1(normcdf)
SIM_FLOAT1(normcdfinv)
SIM_FLOAT1(erfcx)
SIM_INLINE void sincospif(float x, float *s, float *c) {
  *s = sinpif(x);
  *c = cospif(x);
}
SIM_INLINE void sincospi(float x, float *s, float *c) { sincospif(x, s, c); }
SIM_INLINE float rhypotf(float a, float b) { return (float)rhypot(a, b); }
SIM_INLINE float rhypot(float a, float b) { return rhypotf(a, b); }
SIM_INLINE float norm3df(float a, float b, float c) {
  return (float)sqrt((double)a * a + (double)b * b + (double)c * c);
}
SIM_INLINE float norm4df(float a, float b, float c, float d) {
  return (float)sqrt((double)a * a + (double)b * b + (double)c * c +
                     (double)d * d);
}
SIM_INLINE float rnorm3df(float a, float b, float c) {
  return (float)(1 / sqrt((double)a * a + (double)b * b + (double)c * c));
}
SIM_INLINE float rnorm4df(float a, float b, float c, float d) {
  return (float)(1 / sqrt((double)a * a + (double)b * b + (double)c * c +
                          (double)d * d));
}
SIM_INLINE double sim_squares(int n, const float *p) {
  double s = 0;
  for (int i = 0; i < n; ++i) s += (double)p[i] * p[i];
  return s;
}
SIM_INLINE float normf(int n, const float *p) {
  return (float)sqrt(sim_squares(n, p));
}
SIM_INLINE float rnormf(int n, const float *p) {
  return (float)(1 / sqrt(sim_squares(n, p)));
}
