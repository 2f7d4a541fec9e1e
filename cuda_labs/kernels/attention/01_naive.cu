// attention 1: one thread a query, scores computed twice and never kept.
//
//   o_i = sum_j p_ij v_j,  p_ij = exp(s_ij - max_j s_ij) / sum_j exp(...),
//   s_ij = scale q_i . k_j,  lse_i = log sum_j exp(s_ij)
//
// Index map   thread t of block (x, h) owns query x * blockDim.x + t of head h.
//             q, o: (heads, n, d), k, v: (heads, m, d), lse: (heads, n), all
//             row-major; d may be at most HEAD.
// Shared      none; q and the output row of a thread are 2 HEAD registers, so
//             HEAD = 128 spills.
// Launch      block 128, grid (ceil(n / 128), heads).
// Traffic     every warp reads all of k twice and all of v once, an element a
//             request: 3 m d requests for 32 queries.
#ifndef HEAD
#define HEAD 64
#endif
#ifndef REAL
#define REAL float
#endif

__device__ REAL score(const REAL* query, const REAL* key, int d, REAL scale) {
  REAL sum = 0;
#pragma unroll
  for (int c = 0; c < HEAD; ++c) {
    sum += c < d ? query[c] * key[c] : 0;
  }
  return sum * scale;
}

extern "C" __global__ void attention(const REAL* q, const REAL* k,
                                     const REAL* v, REAL* o, REAL* lse, int n,
                                     int m, int d, REAL scale) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) {
    return;
  }
  size_t row = (size_t)blockIdx.y * n + i;
  k += (size_t)blockIdx.y * m * d;
  v += (size_t)blockIdx.y * m * d;
  REAL query[HEAD];
  REAL sums[HEAD];
#pragma unroll
  for (int c = 0; c < HEAD; ++c) {
    query[c] = c < d ? q[row * d + c] : 0;
    sums[c] = 0;
  }
  REAL most = score(query, k, d, scale);
  for (int j = 1; j < m; ++j) {
    most = max(most, score(query, k + (size_t)j * d, d, scale));
  }
  REAL sum = 0;
  for (int j = 0; j < m; ++j) {
    REAL p = exp(score(query, k + (size_t)j * d, d, scale) - most);
    sum += p;
#pragma unroll
    for (int c = 0; c < HEAD; ++c) {
      sums[c] += c < d ? p * v[(size_t)j * d + c] : 0;
    }
  }
#pragma unroll
  for (int c = 0; c < HEAD; ++c) {
    if (c < d) {
      o[row * d + c] = sums[c] / sum;
    }
  }
  lse[row] = most + log(sum);
}
