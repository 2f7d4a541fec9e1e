// nvcuda::wmma. Which lane holds which element of a fragment is unspecified in
// CUDA; here element e of lane l is number 32 e + l of the matrix, row by row.
// Products are summed in the order of k, in the accumulator's type; loads and
// stores are made element by element.
#pragma once
#include <cuda_bf16.h>
#include <cuda_fp16.h>

extern "C" void **sim_warp_table();

namespace nvcuda {
namespace wmma {

struct matrix_a {};
struct matrix_b {};
struct accumulator {};
struct row_major {};
struct col_major {};
enum layout_t { mem_row_major, mem_col_major };
namespace precision {
struct tf32 {};
}  // namespace precision

template <class T>
struct sim_storage {
  typedef T type;
};
template <>
struct sim_storage<precision::tf32> {
  typedef float type;
};
template <class Use, int M, int N, int K>
struct sim_extent;
template <int M, int N, int K>
struct sim_extent<matrix_a, M, N, K> {
  static constexpr int rows = M, cols = K;
};
template <int M, int N, int K>
struct sim_extent<matrix_b, M, N, K> {
  static constexpr int rows = K, cols = N;
};
template <int M, int N, int K>
struct sim_extent<accumulator, M, N, K> {
  static constexpr int rows = M, cols = N;
};
template <class L>
struct sim_by_column {
  static constexpr bool value = false;
};
template <>
struct sim_by_column<col_major> {
  static constexpr bool value = true;
};

template <class Use, int M, int N, int K, class T, class Layout = void>
struct fragment {
  static_assert((M == 16 && N == 16 && (K == 16 || K == 8)) ||
                    (M == 32 && N == 8 && K == 16) ||
                    (M == 8 && N == 32 && K == 16) ||
                    (M == 8 && N == 8 && K == 4),
                "wmma has no fragments of this shape");
  typedef typename sim_storage<T>::type element_type;
  typedef sim_extent<Use, M, N, K> extent;
  static constexpr int num_elements = extent::rows * extent::cols / 32;
  element_type x[num_elements];
};

SIM_INLINE unsigned sim_lane() {
  return (threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z)) %
         32;
}

template <class F, class V>
SIM_INLINE void fill_fragment(F &f, const V &v) {
  for (int e = 0; e < F::num_elements; ++e)
    f.x[e] = (typename F::element_type)v;
}

template <class F, class P>
SIM_INLINE void sim_load(F &f, const P *p, unsigned ld, bool by_column,
                         int line) {
  sim_collective(SIM_MMA, ~0u, 0, 0, 0, 32, line);
  unsigned lane = sim_lane();
  for (int e = 0; e < F::num_elements; ++e) {
    unsigned i = 32u * (unsigned)e + lane;
    unsigned r = i / F::extent::cols, c = i % F::extent::cols;
    f.x[e] = by_column ? p[(size_t)c * ld + r] : p[(size_t)r * ld + c];
  }
}
template <class U, int M, int N, int K, class T, class L, class P>
SIM_INLINE void load_matrix_sync(fragment<U, M, N, K, T, L> &f, const P *p,
                                 unsigned ld, SIM_LINE) {
  sim_load(f, p, ld, sim_by_column<L>::value, line);
}
template <int M, int N, int K, class T, class P>
SIM_INLINE void load_matrix_sync(fragment<accumulator, M, N, K, T> &f,
                                 const P *p, unsigned ld, layout_t layout,
                                 SIM_LINE) {
  sim_load(f, p, ld, layout == mem_col_major, line);
}
template <int M, int N, int K, class T, class P>
SIM_INLINE void store_matrix_sync(P *p,
                                  const fragment<accumulator, M, N, K, T> &f,
                                  unsigned ld, layout_t layout, SIM_LINE) {
  sim_collective(SIM_MMA, ~0u, 0, 0, 0, 32, line);
  unsigned lane = sim_lane();
  for (int e = 0; e < f.num_elements; ++e) {
    unsigned i = 32u * (unsigned)e + lane, r = i / N, c = i % N;
    p[layout == mem_col_major ? (size_t)c * ld + r : (size_t)r * ld + c] = f.x[e];
  }
}

template <class T>
struct sim_accumulate {
  typedef float type;
};
template <>
struct sim_accumulate<int> {
  typedef int type;
};
template <>
struct sim_accumulate<double> {
  typedef double type;
};
template <class S, class T>
SIM_INLINE S sim_to(const T &v) {
  return (S)v;
}

// The tensor core reads ten bits of a float's fraction.
SIM_INLINE float __float_to_tf32(float v) {
  unsigned bits = (unsigned)sim_bits(v);
  if (!isfinite(v)) return v;
  return sim_from_bits<float>((bits + 0x1000u) & 0xffffe000u);
}

// Every lane publishes its fragments, waits for the others, and computes its
// own elements of d from theirs.
template <int M, int N, int K, class TD, class TA, class LA, class TB, class LB,
          class TC>
SIM_QUIET __attribute__((noinline)) void sim_mma(
    fragment<accumulator, M, N, K, TD> *d,
    const fragment<matrix_a, M, N, K, TA, LA> *a,
    const fragment<matrix_b, M, N, K, TB, LB> *b,
    const fragment<accumulator, M, N, K, TC> *c, int line) {
  typedef fragment<matrix_a, M, N, K, TA, LA> A;
  typedef fragment<matrix_b, M, N, K, TB, LB> B;
  typedef typename sim_accumulate<TD>::type S;
  void **table = sim_warp_table();
  unsigned lane = sim_lane();
  table[2 * lane] = (void *)a;
  table[2 * lane + 1] = (void *)b;
  sim_collective(SIM_MMA, ~0u, 0, 0, 0, 32, line);
  S sum[M * N / 32];
  for (int e = 0; e < M * N / 32; ++e) {
    unsigned i = 32u * (unsigned)e + lane, r = i / N, q = i % N;
    S s = sim_to<S>(c->x[e]);
    for (unsigned k = 0; k < K; ++k) {
      unsigned ia = r * K + k, ib = k * N + q;
      s += sim_to<S>(((const A *)table[2 * (ia % 32)])->x[ia / 32]) *
           sim_to<S>(((const B *)table[2 * (ib % 32) + 1])->x[ib / 32]);
    }
    sum[e] = s;
  }
  // No lane may change a fragment that another still reads.
  sim_collective(SIM_MMA, ~0u, 0, 0, 0, 32, line);
  for (int e = 0; e < M * N / 32; ++e) d->x[e] = TD(sum[e]);
}
template <int M, int N, int K, class TD, class TA, class LA, class TB, class LB,
          class TC>
SIM_INLINE void mma_sync(fragment<accumulator, M, N, K, TD> &d,
                         const fragment<matrix_a, M, N, K, TA, LA> &a,
                         const fragment<matrix_b, M, N, K, TB, LB> &b,
                         const fragment<accumulator, M, N, K, TC> &c,
                         SIM_LINE) {
  sim_mma(&d, &a, &b, &c, line);
}

}  // namespace wmma
}  // namespace nvcuda
using nvcuda::wmma::__float_to_tf32;
