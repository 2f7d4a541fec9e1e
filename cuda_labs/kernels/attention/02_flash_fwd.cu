// attention 2: FlashAttention's forward pass, tile by tile.
//
// Index map   block (x, h) owns ROWS queries of head h and walks along the keys
//             in tiles of COLS. Thread (tx, ty) owns the rows ty, ty + 16, ...
//             and the columns tx, tx + 8, ... of scores and output: a row lies
//             in 8 neighbouring lanes of one warp.
// Shared      dynamic, sizeof(Tiles): ROWS (HEAD + 1) + COLS (2 HEAD + 1) +
//             ROWS (COLS + 8) elements; 68,096 bytes for 64, 64, 64 and float.
//             The added columns keep the lanes of a warp in different banks.
// Launch      block (8, 16), grid (ceil(n / ROWS), heads); d at most HEAD; HEAD
//             in multiples of 32, ROWS and COLS of 16.
// Traffic     a head: (2 n + 2 m ceil(n / ROWS)) d + n elements; q and o once,
//             k and v once for every ROWS queries.
// Change      scores live in shared memory, a tile at a time. A row keeps the
//             maximum, sum and output of its keys so far; a larger maximum
//             shrinks both by exp(old - new). One division, at the end.
#ifndef HEAD
#define HEAD 64
#endif
#ifndef ROWS
#define ROWS 64
#endif
#ifndef COLS
#define COLS 64
#endif
#ifndef REAL
#define REAL float
#endif
constexpr int TX = 8, TY = 16;
constexpr int MINE = ROWS / TY, KEYS = COLS / TX, WIDTH = HEAD / TX;

struct Tiles {
  REAL q[ROWS][HEAD + 1], k[COLS][HEAD + 1], v[COLS][HEAD], p[ROWS][COLS + 8];
};

// Rows `first` ... of `from` (rows x d), and zero where there is nothing.
template <int COUNT, int PITCH>
__device__ void load(REAL (&tile)[COUNT][PITCH], const REAL* from, int first,
                     int rows, int d) {
  for (int e = threadIdx.y * TX + threadIdx.x; e < COUNT * HEAD; e += TX * TY) {
    int r = e / HEAD, c = e % HEAD;
    bool there = first + r < rows && c < d;
    tile[r][c] = there ? from[(size_t)(first + r) * d + c] : 0;
  }
}

// sum += x y^T, all in registers.
template <int A, int B>
__device__ void add_outer(REAL (&sum)[A][B], REAL (&x)[A], REAL (&y)[B]) {
#pragma unroll
  for (int a = 0; a < A; ++a) {
#pragma unroll
    for (int b = 0; b < B; ++b) sum[a][b] += x[a] * y[b];
  }
}

extern "C" __global__ void attention(const REAL* q, const REAL* k,
                                     const REAL* v, REAL* o, REAL* lse, int n,
                                     int m, int d, REAL scale) {
  extern __shared__ Tiles shared[];
  Tiles& t = shared[0];
  const REAL none = __int_as_float(0xff800000);  // minus infinity
  int tx = threadIdx.x, ty = threadIdx.y, row0 = blockIdx.x * ROWS;
  size_t head = blockIdx.y;
  REAL out[MINE][WIDTH] = {}, sum[MINE] = {}, most[MINE];
  for (int a = 0; a < MINE; ++a) most[a] = none;
  load(t.q, q + head * n * d, row0, n, d);
  for (int col0 = 0; col0 < m; col0 += COLS) {
    load(t.k, k + head * m * d, col0, m, d);
    load(t.v, v + head * m * d, col0, m, d);
    __syncthreads();
    REAL s[MINE][KEYS] = {};
    for (int c = 0; c < HEAD; ++c) {
      REAL x[MINE], y[KEYS];
      for (int a = 0; a < MINE; ++a) x[a] = t.q[ty + TY * a][c];
      for (int b = 0; b < KEYS; ++b) y[b] = t.k[tx + TX * b][c];
      add_outer(s, x, y);
    }
#pragma unroll
    for (int a = 0; a < MINE; ++a) {
      REAL larger = most[a];
      for (int b = 0; b < KEYS; ++b) {
        s[a][b] = col0 + tx + TX * b < m ? s[a][b] * scale : none;
        larger = max(larger, s[a][b]);
      }
      for (int w = TX / 2; w > 0; w /= 2)
        larger = max(larger, __shfl_xor_sync(0xffffffffu, larger, w));
      REAL base = larger == none ? 0 : larger;  // exp(none - none) is no number
      REAL shrink = exp(most[a] - base);
      most[a] = larger;
      sum[a] *= shrink;  // of this lane's columns: the lanes add up at the end
      for (int b = 0; b < WIDTH; ++b) out[a][b] *= shrink;
      for (int b = 0; b < KEYS; ++b) {
        REAL p = exp(s[a][b] - base);
        t.p[ty + TY * a][tx + TX * b] = p;
        sum[a] += p;
      }
    }
    __syncwarp();  // the warp that wrote a row of p reads it
    for (int j = 0; j < COLS; ++j) {
      REAL x[MINE], y[WIDTH];
      for (int a = 0; a < MINE; ++a) x[a] = t.p[ty + TY * a][j];
      for (int b = 0; b < WIDTH; ++b) y[b] = t.v[j][tx + TX * b];
      add_outer(out, x, y);
    }
    __syncthreads();  // before the next tiles come
  }
  for (int a = 0; a < MINE; ++a) {
    for (int w = TX / 2; w > 0; w /= 2)
      sum[a] += __shfl_xor_sync(0xffffffffu, sum[a], w);
    int i = row0 + ty + TY * a;
    if (i < n) {
      for (int b = 0; b < WIDTH; ++b) {
        int c = tx + TX * b;
        if (c < d) o[(head * n + i) * d + c] = out[a][b] / sum[a];
      }
      if (tx == 0) lse[head * n + i] = most[a] + log(sum[a]);
    }
  }
}
