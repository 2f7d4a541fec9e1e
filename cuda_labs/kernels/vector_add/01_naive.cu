// vector_add 1: one thread, one element.
//
// c[i] = a[i] + b[i] for 0 <= i < n.
//
// Index map   i = blockIdx.x * blockDim.x + threadIdx.x
// Shared      none
// Launch      any 1-D block; grid * block must reach n. A typical launch is
//             block 256, grid ceil(n / 256). The last block is usually not
//             full, so every thread asks first whether its element exists.
// Traffic     12 n bytes (two loads, one store), n additions.
extern "C" __global__ void vector_add(const float* a, const float* b,
                                      float* c, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) {
    c[i] = a[i] + b[i];
  }
}
