// attention in three kernels, first: the matrix of scores.
//
// Index map   block (x, y, h) owns the scores of COLS keys and ROWS queries of
//             head h. Thread (tx, ty) owns the rows ty, ty + 16, ... and the
//             columns tx, tx + 8, ... of them, as in attention 2.
// Shared      dynamic, sizeof(Tiles): (ROWS + COLS) (HEAD + 1) elements
// Launch      block (8, 16), grid (ceil(m / COLS), ceil(n / ROWS), heads); d at
//             most HEAD; HEAD in multiples of 32, ROWS and COLS of 16.
// Traffic     a head: n d ceil(m / COLS) + m d ceil(n / ROWS) elements loaded,
//             n m stored.
// Change      attention 2's loop, cut after the product: the scores of all
//             pairs go to global memory, for softmax and the second product.
//             With CAUSAL = 1 key j > i + m - n gets minus infinity.
#ifndef HEAD
#define HEAD 64
#endif
#ifndef ROWS
#define ROWS 64
#endif
#ifndef COLS
#define COLS 64
#endif
#ifndef CAUSAL
#define CAUSAL 0
#endif
constexpr int TX = 8, TY = 16, MINE = ROWS / TY, KEYS = COLS / TX;

struct Tiles {
  float q[ROWS][HEAD + 1], k[COLS][HEAD + 1];
};

// Rows `first` ... of `from` (rows x d), and zero where there is nothing.
template <int COUNT, int PITCH>
__device__ void load(float (&tile)[COUNT][PITCH], const float* from, int first,
                     int rows, int d) {
  for (int e = threadIdx.y * TX + threadIdx.x; e < COUNT * HEAD; e += TX * TY) {
    int r = e / HEAD, c = e % HEAD;
    bool there = first + r < rows && c < d;
    tile[r][c] = there ? from[(size_t)(first + r) * d + c] : 0;
  }
}

extern "C" __global__ void attention(const float* q, const float* k,
                                     float* scores, int n, int m, int d,
                                     float scale) {
  extern __shared__ Tiles shared[];
  Tiles& t = shared[0];
  const float none = __int_as_float(0xff800000);  // minus infinity
  int tx = threadIdx.x, ty = threadIdx.y;
  int col0 = blockIdx.x * COLS, row0 = blockIdx.y * ROWS;
  size_t head = blockIdx.z;
  load(t.q, q + head * n * d, row0, n, d);
  load(t.k, k + head * m * d, col0, m, d);
  __syncthreads();
  float s[MINE][KEYS] = {};
  for (int c = 0; c < HEAD; ++c) {
    float x[MINE], y[KEYS];
    for (int a = 0; a < MINE; ++a) x[a] = t.q[ty + TY * a][c];
    for (int b = 0; b < KEYS; ++b) y[b] = t.k[tx + TX * b][c];
#pragma unroll
    for (int a = 0; a < MINE; ++a) {
#pragma unroll
      for (int b = 0; b < KEYS; ++b) s[a][b] += x[a] * y[b];
    }
  }
  for (int a = 0; a < MINE; ++a) {
    for (int b = 0; b < KEYS; ++b) {
      int i = row0 + ty + TY * a, j = col0 + tx + TX * b;
      bool seen = !CAUSAL || j <= i + m - n;
      if (i < n && j < m) {
        scores[(head * n + i) * m + j] = seen ? s[a][b] * scale : none;
      }
    }
  }
}
