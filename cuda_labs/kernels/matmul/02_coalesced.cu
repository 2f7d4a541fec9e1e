// matmul 2: neighbours in a row.
//
// Index map   threadIdx.x runs along a row of c.
// Shared      none
// Launch      block (32, 8), grid (ceil(n / 32), ceil(m / 8)).
// Traffic     2 k loads for 2 k operations, but a warp now reads one element
//             of a (a broadcast) and 32 neighbours of b: 5 sectors a step
//             instead of 33.
// Change      x and y have changed places, and nothing else.
extern "C" __global__ void matmul(const float* a, const float* b, float* c,
                                  int m, int n, int k) {
  int row = blockIdx.y * 8 + threadIdx.y;
  int col = blockIdx.x * 32 + threadIdx.x;
  if (row < m && col < n) {
    float sum = 0.0f;
    for (int i = 0; i < k; ++i) {
      sum += a[(size_t)row * k + i] * b[(size_t)i * n + col];
    }
    c[(size_t)row * n + col] = sum;
  }
}
