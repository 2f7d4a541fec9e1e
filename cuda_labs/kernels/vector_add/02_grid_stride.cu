// vector_add 2: a fixed grid walks over any length.
//
// Index map   thread g of all G = gridDim.x * blockDim.x threads adds the
//             elements g, g + G, g + 2 G, ...
// Shared      none
// Launch      any 1-D grid and block: the result does not depend on them.
//             A few blocks for each multiprocessor are enough.
// Traffic     12 n bytes, n additions.
// Change      the `if` has become a loop. The grid no longer has to grow with
//             n, and i is 64-bit wide: at the end of the loop i exceeds n by
//             up to G, which a 32-bit i could not hold when n is near 2^31.
extern "C" __global__ void vector_add(const float* a, const float* b,
                                      float* c, int n) {
  long long stride = (long long)gridDim.x * blockDim.x;
  long long first = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  for (long long i = first; i < n; i += stride) {
    c[i] = a[i] + b[i];
  }
}
