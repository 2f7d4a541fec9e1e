// histogram 1: every byte is counted in global memory.
//
// counts[b] += the number of i with data[i] = b
//
// Index map   thread g counts the bytes g, g + G, g + 2 G, ...
// Shared      none
// Launch      any 1-D grid and block; counts[0 .. 256) must be 0 before.
// Traffic     n bytes of loads and n atomic additions to 256 addresses: equal
//             bytes in a warp wait for each other.
extern "C" __global__ void histogram(const unsigned char* data, int n,
                                     unsigned int* counts) {
  long long stride = (long long)gridDim.x * blockDim.x;
  long long first = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  for (long long i = first; i < n; i += stride) {
    atomicAdd(&counts[data[i]], 1u);
  }
}
