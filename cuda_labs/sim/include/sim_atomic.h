// Atomics. One thread of the simulator runs at a time, so a plain read,
// change and write is atomic; the launcher is told first, so that it can check
// the address, count the access and let another thread run.
#pragma once

extern "C" void sim_atomic(const volatile void *p, int bytes, int line,
                           const void *pc);
extern "C" void sim_compared(const volatile void *p);

// Not inlined, so that the return address tells calls apart; not instrumented,
// since the launcher has been told.
#define SIM_ATOMIC template <class T> SIM_QUIET __attribute__((noinline))
template <class T>
struct sim_same {
  typedef T type;
};
#define SIM_RMW(NAME, EXPR)                                                  \
  SIM_ATOMIC T NAME(T *p, typename sim_same<T>::type v, int line) {          \
    sim_atomic(p, sizeof(T), line, __builtin_return_address(0));                                                \
    T old = *p;                                                              \
    *p = (EXPR);                                                             \
    return old;                                                              \
  }
SIM_RMW(sim_rmw_add, T(old + v))
SIM_RMW(sim_rmw_sub, T(old - v))
SIM_RMW(sim_rmw_exch, v)
SIM_RMW(sim_rmw_min, v < old ? v : old)
SIM_RMW(sim_rmw_max, old < v ? v : old)
SIM_RMW(sim_rmw_and, T(old & v))
SIM_RMW(sim_rmw_or, T(old | v))
SIM_RMW(sim_rmw_xor, T(old ^ v))
SIM_RMW(sim_rmw_inc, old >= v ? T(0) : T(old + 1))
SIM_RMW(sim_rmw_dec, old == 0 || old > v ? v : T(old - 1))
SIM_ATOMIC T sim_rmw_cas(T *p, typename sim_same<T>::type compare,
                         typename sim_same<T>::type v, int line) {
  sim_atomic(p, sizeof(T), line, __builtin_return_address(0));
  sim_compared(p);
  T old = *p;
  if (old == compare) {
    *p = v;
  } else {
    sim_yield();
  }
  return old;
}

// CUDA defines each operation for these types and no others.
#define SIM_OP(NAME, OP, T)                                                  \
  SIM_INLINE T NAME(T *p, T v, SIM_LINE) { return OP(p, v, line); }          \
  SIM_INLINE T NAME##_block(T *p, T v, SIM_LINE) { return OP(p, v, line); }  \
  SIM_INLINE T NAME##_system(T *p, T v, SIM_LINE) { return OP(p, v, line); } \
  SIM_INLINE T NAME(volatile T *p, T v, SIM_LINE) {                          \
    return OP((T *)p, v, line);                                              \
  }
#define SIM_INTEGERS(NAME, OP) \
  SIM_OP(NAME, OP, int)        \
  SIM_OP(NAME, OP, unsigned)   \
  SIM_OP(NAME, OP, unsigned long long)
SIM_INTEGERS(atomicAdd, sim_rmw_add)
SIM_OP(atomicAdd, sim_rmw_add, float)
SIM_OP(atomicAdd, sim_rmw_add, double)
// Each element by itself, as on a GPU.
SIM_INLINE float2 atomicAdd(float2 *p, float2 v, SIM_LINE) {
  return float2{sim_rmw_add(&p->x, v.x, line), sim_rmw_add(&p->y, v.y, line)};
}
SIM_INLINE float4 atomicAdd(float4 *p, float4 v, SIM_LINE) {
  return float4{sim_rmw_add(&p->x, v.x, line), sim_rmw_add(&p->y, v.y, line),
                sim_rmw_add(&p->z, v.z, line), sim_rmw_add(&p->w, v.w, line)};
}
SIM_OP(atomicSub, sim_rmw_sub, int)
SIM_OP(atomicSub, sim_rmw_sub, unsigned)
SIM_INTEGERS(atomicExch, sim_rmw_exch)
SIM_OP(atomicExch, sim_rmw_exch, float)
SIM_INTEGERS(atomicMin, sim_rmw_min)
SIM_OP(atomicMin, sim_rmw_min, long long)
SIM_INTEGERS(atomicMax, sim_rmw_max)
SIM_OP(atomicMax, sim_rmw_max, long long)
SIM_INTEGERS(atomicAnd, sim_rmw_and)
SIM_INTEGERS(atomicOr, sim_rmw_or)
SIM_INTEGERS(atomicXor, sim_rmw_xor)
SIM_OP(atomicInc, sim_rmw_inc, unsigned)
SIM_OP(atomicDec, sim_rmw_dec, unsigned)
#define SIM_CAS(T)                                                           \
  SIM_INLINE T atomicCAS(T *p, T c, T v, SIM_LINE) {                         \
    return sim_rmw_cas(p, c, v, line);                                       \
  }                                                                          \
  SIM_INLINE T atomicCAS_block(T *p, T c, T v, SIM_LINE) {                   \
    return sim_rmw_cas(p, c, v, line);                                       \
  }                                                                          \
  SIM_INLINE T atomicCAS_system(T *p, T c, T v, SIM_LINE) {                  \
    return sim_rmw_cas(p, c, v, line);                                       \
  }                                                                          \
  SIM_INLINE T atomicCAS(volatile T *p, T c, T v, SIM_LINE) {                \
    return sim_rmw_cas((T *)p, c, v, line);                                  \
  }
SIM_CAS(int)
SIM_CAS(unsigned)
SIM_CAS(unsigned long long)
SIM_CAS(unsigned short)
