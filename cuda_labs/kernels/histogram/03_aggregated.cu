// histogram 3: the lanes of a warp that hold the same byte add once.
//
// Index map   as in histogram 2; all lanes of a warp make the same number of
//             rounds, since the vote needs every lane of its mask.
// Shared      256 counters, 1,024 bytes
// Launch      1-D; a block of whole warps, any grid; counts[0 .. 256) must be
//             0 before.
// Traffic     n bytes of loads; at most n atomics in shared memory, one for
//             each different byte of a warp.
// Change      __match_any_sync gives each lane the lanes with its byte; the
//             first of them adds their number. Runs of equal bytes, the worst
//             case before, become the best.
extern "C" __global__ void histogram(const unsigned char* data, int n,
                                     unsigned int* counts) {
  __shared__ unsigned int own[256];
  for (int b = threadIdx.x; b < 256; b += blockDim.x) {
    own[b] = 0;
  }
  __syncthreads();
  int lane = threadIdx.x % 32;
  long long stride = (long long)gridDim.x * blockDim.x;
  long long first = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  for (long long i = first; i - lane < n; i += stride) {
    int byte = i < n ? data[i] : -1;
    unsigned int same = __match_any_sync(0xffffffffu, byte);
    if (byte >= 0 && lane == __ffs(same) - 1) {
      atomicAdd(&own[byte], (unsigned int)__popc(same));
    }
  }
  __syncthreads();
  for (int b = threadIdx.x; b < 256; b += blockDim.x) {
    if (own[b] > 0) {
      atomicAdd(&counts[b], own[b]);
    }
  }
}
