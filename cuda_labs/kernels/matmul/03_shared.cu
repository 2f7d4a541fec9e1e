// matmul 3: tiles in shared memory.
//
// Index map   a block owns 16 x 16 elements of c and walks along k in steps of
//             16; thread (tx, ty) loads one element of each tile.
// Shared      2 x 16 x 16 floats, 2,048 bytes
// Launch      block (16, 16), grid (ceil(n / 16), ceil(m / 16)).
// Traffic     each element of a and b is loaded once a block instead of 16
//             times: 2 k / 16 global loads an element of c.
// Change      tiles, with two barriers a step: one before the tiles are read
//             and one before they are overwritten. Zeros beyond the edge add
//             nothing.
extern "C" __global__ void matmul(const float* a, const float* b, float* c,
                                  int m, int n, int k) {
  __shared__ float ta[16][16];
  __shared__ float tb[16][16];
  int tx = threadIdx.x;
  int ty = threadIdx.y;
  int row = blockIdx.y * 16 + ty;
  int col = blockIdx.x * 16 + tx;
  float sum = 0.0f;
  for (int k0 = 0; k0 < k; k0 += 16) {
    ta[ty][tx] = row < m && k0 + tx < k ? a[(size_t)row * k + k0 + tx] : 0.0f;
    tb[ty][tx] = k0 + ty < k && col < n ? b[(size_t)(k0 + ty) * n + col] : 0.0f;
    __syncthreads();
    for (int i = 0; i < 16; ++i) {
      sum += ta[ty][i] * tb[i][tx];
    }
    __syncthreads();
  }
  if (row < m && col < n) {
    c[(size_t)row * n + col] = sum;
  }
}
