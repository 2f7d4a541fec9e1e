// attention in three kernels, third: probabilities times values.
//
// Index map   block (x, h) owns the output of ROWS queries of head h and walks
//             along the keys in tiles of COLS. Thread (tx, ty) owns the rows
//             ty, ty + 16, ... and the columns tx, tx + 8, ... of it.
// Shared      dynamic, sizeof(Tiles): ROWS (COLS + 8) + COLS HEAD elements
// Launch      block (8, 16), grid (ceil(n / ROWS), heads); d at most HEAD; HEAD
//             and COLS in multiples of 32, ROWS of 16.
// Traffic     a head: n m elements of p and m d ceil(n / ROWS) of v loaded, n d
//             stored.
// Change      the second half of attention 2's loop: p comes from global
//             memory, where softmax left it.
#ifndef HEAD
#define HEAD 64
#endif
#ifndef ROWS
#define ROWS 64
#endif
#ifndef COLS
#define COLS 64
#endif
constexpr int TX = 8, TY = 16, MINE = ROWS / TY, WIDTH = HEAD / TX;

struct Tiles {
  float p[ROWS][COLS + 8], v[COLS][HEAD];
};

// Rows row0 ... and columns col0 ... of `from` (rows x cols), else zero.
template <int WIDE, int COUNT, int PITCH>
__device__ void load(float (&tile)[COUNT][PITCH], const float* from, int row0,
                     int rows, int col0, int cols) {
  for (int e = threadIdx.y * TX + threadIdx.x; e < COUNT * WIDE; e += TX * TY) {
    int r = e / WIDE, c = e % WIDE;
    bool there = row0 + r < rows && col0 + c < cols;
    tile[r][c] = there ? from[(size_t)(row0 + r) * cols + col0 + c] : 0;
  }
}

extern "C" __global__ void attention(const float* p, const float* v, float* o,
                                     int n, int m, int d) {
  extern __shared__ Tiles shared[];
  Tiles& t = shared[0];
  int tx = threadIdx.x, ty = threadIdx.y, row0 = blockIdx.x * ROWS;
  size_t head = blockIdx.y;
  float out[MINE][WIDTH] = {};
  for (int col0 = 0; col0 < m; col0 += COLS) {
    load<COLS>(t.p, p + head * n * m, row0, n, col0, m);
    load<HEAD>(t.v, v + head * m * d, col0, m, 0, d);
    __syncthreads();
    for (int j = 0; j < COLS; ++j) {
      float x[MINE], y[WIDTH];
      for (int a = 0; a < MINE; ++a) x[a] = t.p[ty + TY * a][j];
      for (int b = 0; b < WIDTH; ++b) y[b] = t.v[j][tx + TX * b];
#pragma unroll
      for (int a = 0; a < MINE; ++a) {
#pragma unroll
        for (int b = 0; b < WIDTH; ++b) out[a][b] += x[a] * y[b];
      }
    }
    __syncthreads();  // before the next tiles come
  }
  for (int a = 0; a < MINE; ++a) {
    for (int b = 0; b < WIDTH; ++b) {
      int i = row0 + ty + TY * a, c = tx + TX * b;
      if (i < n && c < d) o[(head * n + i) * d + c] = out[a][b];
    }
  }
}
