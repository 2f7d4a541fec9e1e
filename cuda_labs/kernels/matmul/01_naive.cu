// matmul 1: one thread, one element, neighbours in a column.
//
// c = a b; a is m x k, b is k x n, c is m x n, all row-major.
//
// Index map   threadIdx.x runs along the rows of c, threadIdx.y along its
//             columns: lanes of a warp hold elements n floats apart.
// Shared      none
// Launch      block (32, 8), grid (ceil(m / 32), ceil(n / 8)).
// Traffic     2 k loads for 2 k operations. A warp reads 32 rows of a, 32
//             sectors for 128 bytes, and writes 32 sectors of c.
extern "C" __global__ void matmul(const float* a, const float* b, float* c,
                                  int m, int n, int k) {
  int row = blockIdx.x * 32 + threadIdx.x;
  int col = blockIdx.y * 8 + threadIdx.y;
  if (row < m && col < n) {
    float sum = 0.0f;
    for (int i = 0; i < k; ++i) {
      sum += a[(size_t)row * k + i] * b[(size_t)i * n + col];
    }
    c[(size_t)row * n + col] = sum;
  }
}
