// reduction 3: lanes of a warp add without shared memory.
//
// Index map   as before; then lane l adds the value of lane l + k, for
//             k = 16, 8, 4, 2, 1, and lane 0 holds the warp's sum.
// Shared      8 floats, 32 bytes: one for each warp
// Launch      block 256, any grid; out[0] must be 0 before.
// Traffic     4 n bytes, one atomic addition a block.
// Change      a shuffle moves a register from lane to lane: five of them do
//             what five rounds of store, barrier and load did. One barrier is
//             left, between the warps' sums and the first warp's adding them.
__device__ float warp_sum(float v) {
  for (int k = 16; k > 0; k /= 2) {
    v += __shfl_down_sync(0xffffffffu, v, k);
  }
  return v;
}

extern "C" __global__ void reduction(const float* x, float* out, int n) {
  __shared__ float part[8];
  long long stride = (long long)gridDim.x * blockDim.x;
  long long first = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  float sum = 0.0f;
  for (long long i = first; i < n; i += stride) {
    sum += x[i];
  }
  sum = warp_sum(sum);
  if (threadIdx.x % 32 == 0) {
    part[threadIdx.x / 32] = sum;
  }
  __syncthreads();
  if (threadIdx.x < 32) {
    sum = warp_sum(threadIdx.x < 8 ? part[threadIdx.x] : 0.0f);
    if (threadIdx.x == 0) {
      atomicAdd(out, sum);
    }
  }
}
