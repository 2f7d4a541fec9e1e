// reduction 2: a tree in shared memory, one atomic a block.
//
// Index map   each thread first sums its elements g, g + G, ... in a register;
//             then thread t adds element t + k of the block's sums, for
//             k = 128, 64, ..., 1.
// Shared      256 floats, 1,024 bytes
// Launch      block 256 (a power of two is what the tree needs), any grid;
//             out[0] must be 0 before.
// Traffic     4 n bytes, one atomic addition a block.
// Change      256 partial sums meet in shared memory instead of in one address
//             of global memory. The threads that still add are the first k:
//             whole warps drop out, and no two lanes of a warp that remains
//             use one bank.
extern "C" __global__ void reduction(const float* x, float* out, int n) {
  __shared__ float part[256];
  long long stride = (long long)gridDim.x * blockDim.x;
  long long first = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  float sum = 0.0f;
  for (long long i = first; i < n; i += stride) {
    sum += x[i];
  }
  part[threadIdx.x] = sum;
  for (int k = 128; k > 0; k /= 2) {
    __syncthreads();
    if (threadIdx.x < k) {
      part[threadIdx.x] += part[threadIdx.x + k];
    }
  }
  if (threadIdx.x == 0) {
    atomicAdd(out, part[0]);
  }
}
