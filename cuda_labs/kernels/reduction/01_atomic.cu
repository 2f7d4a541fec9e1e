// reduction 1: every element is added to one address.
//
// out[0] += x[0] + ... + x[n - 1]
//
// Index map   thread g adds the elements g, g + G, g + 2 G, ... of all
//             G = gridDim.x * blockDim.x threads.
// Shared      none
// Launch      any 1-D grid and block; out[0] must be 0 before.
// Traffic     4 n bytes of loads and n atomic additions to one address, which
//             the memory carries out one after another. The order is that of
//             chance, so the last digits of the sum differ from run to run.
extern "C" __global__ void reduction(const float* x, float* out, int n) {
  long long stride = (long long)gridDim.x * blockDim.x;
  long long first = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  for (long long i = first; i < n; i += stride) {
    atomicAdd(out, x[i]);
  }
}
