// CUB's reductions of a warp and of a block. The first thread has the result; what
// the others are given is not to be used, here as there.
#pragma once

namespace cub {

// As they were until CUB 2; later ones are cuda::std::plus<> and the like.
struct Sum {
  template <class A, class B>
  SIM_INLINE auto operator()(const A &a, const B &b) const { return a + b; }
};
struct Max {
  template <class T>
  SIM_INLINE T operator()(const T &a, const T &b) const { return a < b ? b : a; }
};
struct Min {
  template <class T>
  SIM_INLINE T operator()(const T &a, const T &b) const { return b < a ? b : a; }
};
template <class K, class V>
struct KeyValuePair {
  typedef K Key;
  typedef V Value;
  K key;
  V value;
  KeyValuePair() = default;
  SIM_INLINE KeyValuePair(const K &k, const V &v) : key(k), value(v) {}
};
// Of equal values that with the lower key.
struct ArgMax {
  template <class T>
  SIM_INLINE T operator()(const T &a, const T &b) const {
    return b.value > a.value || (a.value == b.value && b.key < a.key) ? b : a;
  }
};
struct ArgMin {
  template <class T>
  SIM_INLINE T operator()(const T &a, const T &b) const {
    return b.value < a.value || (a.value == b.value && b.key < a.key) ? b : a;
  }
};
enum BlockReduceAlgorithm {
  BLOCK_REDUCE_RAKING_COMMUTATIVE_ONLY,
  BLOCK_REDUCE_RAKING,
  BLOCK_REDUCE_WARP_REDUCTIONS
};

SIM_INLINE int sim_rank() {
  return threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
}
// Values of the first `valid` of `lanes` neighbours, the first of them lane
// `first` of the warp, combined by doubling distances. Values of more than eight
// bytes travel in parts.
template <class T, class Op>
SIM_INLINE T sim_combine(T v, Op op, int first, int lanes, int valid, int line) {
  constexpr int parts = (sizeof(T) + 7) / 8, part = sizeof(T) < 8 ? sizeof(T) : 8;
  unsigned mask = (~0u >> (32 - lanes)) << first;
  int lane = sim_rank() % 32 - first;
  for (int by = 1; by < lanes; by *= 2) {
    unsigned long long words[parts] = {};
    __builtin_memcpy(words, (const void *)&v, sizeof(T));
    int from = first + (lane + by < lanes ? lane + by : lane);
    for (int i = 0; i < parts; ++i)
      words[i] = sim_collective(SIM_SHFL, mask, words[i], part, from, 32, line);
    T other;
    __builtin_memcpy((void *)&other, words, sizeof(T));
    if (lane + by < valid) v = op(v, other);
  }
  return v;
}

// The line of a call, as a last argument that no number is mistaken for.
struct sim_at {
  int line;
  SIM_INLINE static sim_at here(int line = __builtin_LINE()) { return {line}; }
};
#define SIM_AT sim_at at = sim_at::here()
// The forms of a reduction, on top of `Me::reduce(value, op, valid, line)`.
template <class Me, class T, int N>
struct sim_reductions {
  template <class Op>
  SIM_INLINE T Reduce(T v, Op op, SIM_AT) {
    return me().reduce(v, op, N, at.line);
  }
  template <class Op>
  SIM_INLINE T Reduce(T v, Op op, int valid, SIM_AT) {
    return me().reduce(v, op, valid, at.line);
  }
  template <int I, class Op>
  SIM_INLINE T Reduce(T (&items)[I], Op op, SIM_AT) {
    T v = items[0];
    for (int i = 1; i < I; ++i) v = op(v, items[i]);
    return me().reduce(v, op, N, at.line);
  }
  SIM_INLINE T Sum(T v, SIM_AT) { return Reduce(v, cub::Sum(), at); }
  SIM_INLINE T Sum(T v, int valid, SIM_AT) {
    return Reduce(v, cub::Sum(), valid, at);
  }
  template <int I>
  SIM_INLINE T Sum(T (&items)[I], SIM_AT) { return Reduce(items, cub::Sum(), at); }

 private:
  SIM_INLINE Me &me() { return static_cast<Me &>(*this); }
};

template <class T, int N = 32, int Arch = 0>
struct WarpReduce : sim_reductions<WarpReduce<T, N, Arch>, T, N> {
  static_assert(N >= 1 && N <= 32, "1 to 32 threads reduce together in a warp");
  struct TempStorage {};
  SIM_INLINE WarpReduce(TempStorage &) {}

  template <class Op>
  SIM_INLINE T reduce(T v, Op op, int valid, int line) {
    int first = sim_rank() % 32 / N * N;
    return sim_combine(v, op, first, N, valid, line);
  }
};

template <class T, int X, BlockReduceAlgorithm A = BLOCK_REDUCE_WARP_REDUCTIONS,
          int Y = 1, int Z = 1, int Arch = 0>
struct BlockReduce : sim_reductions<BlockReduce<T, X, A, Y, Z, Arch>, T, X * Y * Z> {
  static constexpr int warps = (X * Y * Z + 31) / 32;
  // Bytes, since a shared variable has no constructor.
  struct TempStorage {
    alignas(T) unsigned char bytes[warps * sizeof(T)];
  };
  SIM_INLINE BlockReduce(TempStorage &s) : of_warps((T *)s.bytes) {}

  template <class Op>
  SIM_INLINE T reduce(T v, Op op, int valid, int line) {
    // A block may be smaller than the template says, where so many are valid.
    int there = blockDim.x * blockDim.y * blockDim.z, rank = sim_rank();
    int before = rank / 32 * 32, lanes = there - before < 32 ? there - before : 32;
    if (valid > there) valid = there;
    v = sim_combine(v, op, 0, lanes, valid - before, line);
    if (rank % 32 == 0 && before < valid) of_warps[rank / 32] = v;
    __syncthreads(line);
    if (rank == 0)
      for (int w = 1; w * 32 < valid; ++w) v = op(v, of_warps[w]);
    return v;
  }

 private:
  T *of_warps;
};

}  // namespace cub
