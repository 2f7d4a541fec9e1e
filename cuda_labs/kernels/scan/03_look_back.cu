// scan 3: one pass over many blocks, each looking back at those before it.
//
// Index map   a block takes a ticket and scans the tile of that number, 256
//             elements, as in scan 2; its first thread then finds the sum of
//             all earlier tiles.
// Shared      8 floats and two words, 40 bytes
// Launch      block 256, grid ceil(n / 256); ticket[0] and state[0 .. grid)
//             must be 0 before.
// Traffic     8 n bytes and 8 bytes a tile.
// Change      many blocks. A tile's state holds a flag in its upper and a float
//             in its lower half, so that both change in one store: 1 with the
//             tile's own sum, 2 with the sum up to its end. A block looks back
//             from tile to tile and adds own sums until it meets a 2. The
//             ticket makes every tile that it may wait for one that is already
//             running. (Merrill and Garland, NVIDIA NVR-2016-002.)
extern "C" __global__ void scan(const float* x, float* y, int n,
                                unsigned long long* state,
                                unsigned int* ticket) {
  __shared__ float part[8];
  __shared__ int tile;
  __shared__ float before;
  int t = threadIdx.x;
  int lane = t % 32;
  int warp = t / 32;
  if (t == 0) {
    tile = atomicAdd(ticket, 1u);
  }
  __syncthreads();
  long long i = 256LL * tile + t;
  float v = i < n ? x[i] : 0.0f;
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
  if (t == 0) {
    float own = 0.0f;
    for (int w = 0; w < 8; ++w) {
      own += part[w];
    }
    unsigned long long flag = tile == 0 ? 2 : 1;
    atomicExch(&state[tile], flag << 32 | __float_as_uint(own));
    float sum = 0.0f;
    for (int b = tile - 1; b >= 0;) {
      unsigned long long s = atomicAdd(&state[b], 0ULL);
      if (s >> 32 == 0) {
        continue;  // not there yet
      }
      sum += __uint_as_float((unsigned int)s);
      b = s >> 32 == 2 ? -1 : b - 1;
    }
    if (tile > 0) {
      atomicExch(&state[tile], 2ULL << 32 | __float_as_uint(sum + own));
    }
    before = sum;
  }
  __syncthreads();
  float all = before;
  for (int w = 0; w < warp; ++w) {
    all += part[w];
  }
  if (i < n) {
    y[i] = all + v;
  }
}
