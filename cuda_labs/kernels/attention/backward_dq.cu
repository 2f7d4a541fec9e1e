// attention 4, its companion: the gradient of the queries, tile by tile.
//
// Index map   as in 04_flash_bwd.cu with the roles exchanged: a block keeps
//             ROWS queries and walks along the keys in steps of COLS. Thread
//             (tx, ty) owns the queries ty, ty + 16, ...; for the scores the
//             keys tx, tx + 16, ..., for dq the dimensions tx, tx + 16, ...
// Shared      dynamic, sizeof(Tiles): (2 ROWS + 2 COLS) (HEAD + 1) +
//             ROWS (COLS + 16) + 2 ROWS elements; 39,680 bytes for 64, 32, 32
//             and float.
// Launch      block (16, 16), grid (ceil(n / ROWS), heads), d <= HEAD.
// Traffic     k and v are loaded once for every ROWS queries, q and dout once.
// Change      the scores and dout v^T are computed a second time: seven
//             products in place of five. In return dq = scale ds k has one
//             owner too. The usual way adds to it atomically, in an order that
//             differs from run to run.
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
constexpr int WIDE = HEAD + 1;
constexpr int TALL = (COLS / 16 | 1) * 16;
constexpr int MINE = ROWS / 16, KEYS = COLS / 16, WIDTH = HEAD / 16;

struct Tiles {
  REAL q[ROWS][WIDE], dout[ROWS][WIDE], k[COLS][WIDE], v[COLS][WIDE];
  REAL ds[ROWS][TALL], lse[ROWS], delta[ROWS];
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
              const REAL* lse, const REAL* delta, REAL* dq, int n, int m, int d,
              REAL scale) {
  extern __shared__ Tiles shared[];
  Tiles& s = shared[0];
  int tx = threadIdx.x, ty = threadIdx.y, t = ty * 16 + tx;
  size_t row0 = (size_t)blockIdx.y * n, col0 = (size_t)blockIdx.y * m;
  int i0 = blockIdx.x * ROWS;
  load(s.q, q + row0 * d, i0, n, d);
  load(s.dout, dout + row0 * d, i0, n, d);
  if (t < ROWS) {
    s.lse[t] = i0 + t < n ? lse[row0 + i0 + t] : (REAL)0;
    s.delta[t] = i0 + t < n ? delta[row0 + i0 + t] : (REAL)0;
  }
  REAL sum[MINE][WIDTH] = {};
  // No query of this block sees a key from `end` on; end <= 0: none sees any.
  int end = CAUSAL ? min(m, i0 + ROWS + m - n) : m;
  for (int j0 = 0; j0 < end; j0 += COLS) {
    __syncthreads();  // the tile before has been used
    load(s.k, k + col0 * d, j0, m, d);
    load(s.v, v + col0 * d, j0, m, d);
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
      s.ds[r][c] = p * (dp[a][b] - s.delta[r]);
    }
    __syncthreads();
    for (int c = 0; c < COLS; ++c) {
#pragma unroll
      for (int a = 0; a < MINE; ++a) {
        REAL ds = s.ds[ty + 16 * a][c];
#pragma unroll
        for (int e = 0; e < WIDTH; ++e) {
          sum[a][e] += ds * s.k[c][tx + 16 * e];
        }
      }
    }
  }
  for (int e = 0; e < MINE * WIDTH; ++e) {
    int a = e / WIDTH, b = e % WIDTH, i = i0 + ty + 16 * a, h = tx + 16 * b;
    if (i < n && h < d) {
      dq[(row0 + i) * d + h] = scale * sum[a][b];
    }
  }
}
