// scan 2: scan each warp with shuffles, then add the sums of earlier warps.
//
// Index map   as in scan 1; lane l adds the value of lane l - k for
//             k = 1, 2, 4, 8, 16.
// Shared      8 floats, 32 bytes
// Launch      block 256, grid 1.
// Traffic     8 n bytes
// Change      the rounds within a warp need no shared memory and no barrier;
//             two barriers a tile are left instead of ten.
extern "C" __global__ void scan(const float* x, float* y, int n) {
  __shared__ float part[8];
  int t = threadIdx.x;
  int lane = t % 32;
  int warp = t / 32;
  float before = 0.0f;
  for (int tile = 0; tile < n; tile += 256) {
    float v = tile + t < n ? x[tile + t] : 0.0f;
    for (int k = 1; k < 32; k *= 2) {
      float u = __shfl_up_sync(0xffffffffu, v, k);
      if (lane >= k) {
        v += u;
      }
    }
    if (lane == 31) {
      part[warp] = v;
    }
    __syncthreads();
    float all = before;
    for (int w = 0; w < 8; ++w) {
      if (w == warp) {
        v += all;
      }
      all += part[w];
    }
    before = all;
    if (tile + t < n) {
      y[tile + t] = v;
    }
    __syncthreads();  // part is read above and written in the next tile
  }
}
