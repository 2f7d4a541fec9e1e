// matmul 5: 16 bytes an access, on the way in, in shared memory and out.
//
// Index map   a block owns 64 x 64 elements of c; thread (tx, ty) owns the
//             rows 4 ty ... 4 ty + 3 and the columns 4 tx ... 4 tx + 3.
// Shared      2 x 16 x 64 floats, 8,192 bytes
// Launch      block (16, 16), grid (n / 64, m / 64); m and n must be multiples
//             of 64, k of 16, and all pointers of 16 bytes.
// Traffic     as matmul 4 in a quarter of the instructions.
// Change      float4 everywhere. For that a thread's four rows must be
//             neighbours in shared memory, so the tile of a is stored
//             transposed. No bounds are left: sizes are multiples of the tile.
extern "C" __global__ void matmul(const float* a, const float* b, float* c,
                                  int m, int n, int k) {
  __shared__ float4 ta[16][16];
  __shared__ float4 tb[16][16];
  int tx = threadIdx.x;
  int ty = threadIdx.y;
  int t = ty * 16 + tx;
  size_t row0 = 64 * blockIdx.y;
  size_t col0 = 64 * blockIdx.x;
  float* turned = reinterpret_cast<float*>(ta);
  float sum[4][4] = {};
  for (int k0 = 0; k0 < k; k0 += 16) {
    // 64 rows of four float4: thread t loads float4 number t % 4 of row t / 4.
    int r = t / 4;
    int s = 4 * (t % 4);
    float4 v = *reinterpret_cast<const float4*>(a + (row0 + r) * k + k0 + s);
    turned[(s + 0) * 64 + r] = v.x;
    turned[(s + 1) * 64 + r] = v.y;
    turned[(s + 2) * 64 + r] = v.z;
    turned[(s + 3) * 64 + r] = v.w;
    const float* from = b + (size_t)(k0 + ty) * n + col0 + 4 * tx;
    tb[ty][tx] = *reinterpret_cast<const float4*>(from);
    __syncthreads();
    for (int i = 0; i < 16; ++i) {
      float4 x4 = ta[i][ty];
      float4 y4 = tb[i][tx];
      float x[4] = {x4.x, x4.y, x4.z, x4.w};
      float y[4] = {y4.x, y4.y, y4.z, y4.w};
#pragma unroll
      for (int p = 0; p < 4; ++p) {
#pragma unroll
        for (int q = 0; q < 4; ++q) {
          sum[p][q] += x[p] * y[q];
        }
      }
    }
    __syncthreads();
  }
#pragma unroll
  for (int p = 0; p < 4; ++p) {
    *reinterpret_cast<float4*>(c + (row0 + 4 * ty + p) * n + col0 + 4 * tx) =
        make_float4(sum[p][0], sum[p][1], sum[p][2], sum[p][3]);
  }
}
