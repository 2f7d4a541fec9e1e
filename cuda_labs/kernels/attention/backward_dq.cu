// attention 4, its companion: the gradient of the queries, tile by tile.
//
// Index map   as in 04_flash_bwd.cu with the roles exchanged: a block keeps ROWS
//             queries and walks along the keys in steps of COLS. Thread (tx, ty)
//             owns the queries ty, ty + 16, ...; for the scores the keys tx,
//             tx + 16, ..., for dq the dimensions tx, tx + 16, ...
// Shared      (2 ROWS + 2 COLS) (HEAD + 1) + ROWS (COLS + 16) + 2 ROWS REALs,
//             dynamic: 39,680 bytes with the defaults
// Launch      block (16, 16), grid (ceil(n / ROWS), heads), d <= HEAD.
// Traffic     k and v are loaded once for every ROWS queries, q and dout once.
// Change      the scores and dout v^T are computed a second time, seven products
//             in place of five. In return dq = scale ds k has one owner too; the
//             usual way adds to it atomically, in an order that differs from run
//             to run.
#ifndef REAL
#define REAL float
#endif
#ifndef HEAD  // the width of a tile: a multiple of 16, and at least d
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

__device__ void load(REAL* tile, const REAL* x, int rows, int first, int n,
                     int d) {
  for (int e = threadIdx.y * 16 + threadIdx.x; e < rows * HEAD; e += 256) {
    int r = e / HEAD;
    int h = e % HEAD;
    bool inside = first + r < n && h < d;
    tile[r * WIDE + h] = inside ? x[(size_t)(first + r) * d + h] : (REAL)0;
  }
}

extern "C" __global__ void __launch_bounds__(256)
    attention(const REAL* q, const REAL* k, const REAL* v, const REAL* dout,
              const REAL* lse, const REAL* delta, REAL* dq, int n, int m, int d,
              REAL scale) {
  extern __shared__ REAL tiles[];
  REAL* tq = tiles;
  REAL* tg = tq + ROWS * WIDE;
  REAL* tk = tg + ROWS * WIDE;
  REAL* tv = tk + COLS * WIDE;
  REAL* ts = tv + COLS * WIDE;
  REAL* tl = ts + ROWS * TALL;
  REAL* td = tl + ROWS;
  int tx = threadIdx.x;
  int ty = threadIdx.y;
  int t = ty * 16 + tx;
  size_t row0 = (size_t)blockIdx.y * n;
  size_t col0 = (size_t)blockIdx.y * m;
  int i0 = blockIdx.x * ROWS;
  load(tq, q + row0 * d, ROWS, i0, n, d);
  load(tg, dout + row0 * d, ROWS, i0, n, d);
  if (t < ROWS) {
    tl[t] = i0 + t < n ? lse[row0 + i0 + t] : (REAL)0;
    td[t] = i0 + t < n ? delta[row0 + i0 + t] : (REAL)0;
  }
  REAL sum[ROWS / 16][HEAD / 16] = {};
  // No query of this block sees a key from `end` on; end <= 0: none sees any.
  int end = CAUSAL ? min(m, i0 + ROWS + m - n) : m;
  for (int j0 = 0; j0 < end; j0 += COLS) {
    __syncthreads();  // the tile before has been used
    load(tk, k + col0 * d, COLS, j0, m, d);
    load(tv, v + col0 * d, COLS, j0, m, d);
    __syncthreads();
    REAL s[ROWS / 16][COLS / 16] = {};
    REAL dp[ROWS / 16][COLS / 16] = {};
    for (int h = 0; h < d; ++h) {
#pragma unroll
      for (int a = 0; a < ROWS / 16; ++a) {
        REAL qa = tq[(ty + 16 * a) * WIDE + h];
        REAL ga = tg[(ty + 16 * a) * WIDE + h];
#pragma unroll
        for (int b = 0; b < COLS / 16; ++b) {
          s[a][b] += qa * tk[(tx + 16 * b) * WIDE + h];
          dp[a][b] += ga * tv[(tx + 16 * b) * WIDE + h];
        }
      }
    }
#pragma unroll
    for (int a = 0; a < ROWS / 16; ++a) {
      int r = ty + 16 * a;
#pragma unroll
      for (int b = 0; b < COLS / 16; ++b) {
        int c = tx + 16 * b;
        bool sees = i0 + r < n && j0 + c < m;
        sees = sees && (!CAUSAL || j0 + c <= i0 + r + m - n);
        REAL p = sees ? exp(scale * s[a][b] - tl[r]) : (REAL)0;
        ts[r * TALL + c] = p * (dp[a][b] - td[r]);
      }
    }
    __syncthreads();
    for (int c = 0; c < COLS; ++c) {
#pragma unroll
      for (int a = 0; a < ROWS / 16; ++a) {
        REAL ds = ts[(ty + 16 * a) * TALL + c];
#pragma unroll
        for (int e = 0; e < HEAD / 16; ++e) {
          sum[a][e] += ds * tk[c * WIDE + tx + 16 * e];
        }
      }
    }
  }
#pragma unroll
  for (int a = 0; a < ROWS / 16; ++a) {
#pragma unroll
    for (int e = 0; e < HEAD / 16; ++e) {
      int i = i0 + ty + 16 * a;
      int h = tx + 16 * e;
      if (i < n && h < d) {
        dq[(row0 + i) * d + h] = scale * sum[a][e];
      }
    }
  }
}
