// attention 4: the gradients of keys and values, tile by tile.
//
// Index map   blockIdx.y is the head. A block keeps COLS keys and values and
//             walks along the queries in steps of ROWS. For the scores, thread
//             (tx, ty) owns the queries ty, ty + 16, ... and the keys tx,
//             tx + 16, ... of a tile; for dk and dv the keys ty, ty + 16, ...
//             and the dimensions tx, tx + 16, ...
// Shared      dynamic, sizeof(Tiles): (2 ROWS + 2 COLS) (HEAD + 1) +
//             2 ROWS (COLS + 16) + 2 ROWS elements; 45,824 bytes for 64, 32, 32
//             and float.
// Launch      block (16, 16), grid (ceil(m / COLS), heads), d at most HEAD,
//             after backward_delta.cu; dq comes from backward_dq.cu.
// Traffic     q and dout are loaded once for every COLS keys, k and v once.
// Change      probabilities are computed again: with the log-sum-exp of the
//             forward pass, p = exp(scale q k - lse). Then dv = p^T dout, ds =
//             p (dout v^T - delta), dk = scale ds^T q. Each sum has one owner:
//             no atomics, the same bits in every run.
#ifndef REAL
#define REAL float
#endif
#ifndef HEAD  // the width of a tile: a multiple of 32, and at least d
#define HEAD 64
#endif
#ifndef ROWS  // queries a tile: a multiple of 16, at most 256
#define ROWS 32
#endif
#ifndef COLS  // keys a tile: a multiple of 16
#define COLS 32
#endif
#ifndef CAUSAL  // 1: query i sees the keys j <= i + m - n
#define CAUSAL 0
#endif
// An odd row keeps 16 lanes that read a column in 16 banks; the 16 columns
// beyond a row of p put the two rows that a warp writes side by side.
constexpr int WIDE = HEAD + 1;
constexpr int TALL = (COLS / 16 | 1) * 16;
constexpr int MINE = ROWS / 16, KEYS = COLS / 16, WIDTH = HEAD / 16;

struct Tiles {
  REAL q[ROWS][WIDE], dout[ROWS][WIDE], k[COLS][WIDE], v[COLS][WIDE];
  REAL p[ROWS][TALL], ds[ROWS][TALL], lse[ROWS], delta[ROWS];
};

// Rows `first` ... of `from`, which has `rows` of d; zeros where it ends.
template <int COUNT>
__device__ void load(REAL (&tile)[COUNT][WIDE], const REAL* from, int first,
                     int rows, int d) {
  for (int e = threadIdx.y * 16 + threadIdx.x; e < COUNT * HEAD; e += 256) {
    int r = e / HEAD, h = e % HEAD;
    bool there = first + r < rows && h < d;
    tile[r][h] = there ? from[(size_t)(first + r) * d + h] : (REAL)0;
  }
}

extern "C" __global__ void __launch_bounds__(256)
    attention(const REAL* q, const REAL* k, const REAL* v, const REAL* dout,
              const REAL* lse, const REAL* delta, REAL* dk, REAL* dv, int n,
              int m, int d, REAL scale) {
  extern __shared__ Tiles shared[];
  Tiles& s = shared[0];
  int tx = threadIdx.x, ty = threadIdx.y, t = ty * 16 + tx;
  size_t row0 = (size_t)blockIdx.y * n, col0 = (size_t)blockIdx.y * m;
  int j0 = blockIdx.x * COLS;
  load(s.k, k + col0 * d, j0, m, d);
  load(s.v, v + col0 * d, j0, m, d);
  REAL sum_k[KEYS][WIDTH] = {}, sum_v[KEYS][WIDTH] = {};
  // The first tile with a query that sees a key of this block.
  int first = CAUSAL && j0 > m - n ? (j0 - (m - n)) / ROWS * ROWS : 0;
  for (int i0 = first; i0 < n; i0 += ROWS) {
    __syncthreads();  // the tile before has been used
    load(s.q, q + row0 * d, i0, n, d);
    load(s.dout, dout + row0 * d, i0, n, d);
    if (t < ROWS) {
      s.lse[t] = i0 + t < n ? lse[row0 + i0 + t] : (REAL)0;
      s.delta[t] = i0 + t < n ? delta[row0 + i0 + t] : (REAL)0;
    }
    __syncthreads();
    REAL qk[MINE][KEYS] = {}, dp[MINE][KEYS] = {};
    for (int h = 0; h < d; ++h) {
#pragma unroll
      for (int a = 0; a < MINE; ++a) {
        REAL qa = s.q[ty + 16 * a][h], ga = s.dout[ty + 16 * a][h];
#pragma unroll
        for (int b = 0; b < KEYS; ++b) {
          qk[a][b] += qa * s.k[tx + 16 * b][h];
          dp[a][b] += ga * s.v[tx + 16 * b][h];
        }
      }
    }
#pragma unroll
    for (int e = 0; e < MINE * KEYS; ++e) {
      int a = e / KEYS, b = e % KEYS, r = ty + 16 * a, c = tx + 16 * b;
      bool sees = i0 + r < n && j0 + c < m;
      sees = sees && (!CAUSAL || j0 + c <= i0 + r + m - n);
      REAL p = sees ? exp(scale * qk[a][b] - s.lse[r]) : (REAL)0;
      s.p[r][c] = p;
      s.ds[r][c] = p * (dp[a][b] - s.delta[r]);
    }
    __syncthreads();
    for (int r = 0; r < ROWS; ++r) {
#pragma unroll
      for (int b = 0; b < KEYS; ++b) {
        REAL p = s.p[r][ty + 16 * b], ds = s.ds[r][ty + 16 * b];
#pragma unroll
        for (int c = 0; c < WIDTH; ++c) {
          sum_v[b][c] += p * s.dout[r][tx + 16 * c];
          sum_k[b][c] += ds * s.q[r][tx + 16 * c];
        }
      }
    }
  }
  for (int e = 0; e < KEYS * WIDTH; ++e) {
    int b = e / WIDTH, c = e % WIDTH, j = j0 + ty + 16 * b, h = tx + 16 * c;
    if (j < m && h < d) {
      dk[(col0 + j) * d + h] = scale * sum_k[b][c];
      dv[(col0 + j) * d + h] = sum_v[b][c];
    }
  }
}
