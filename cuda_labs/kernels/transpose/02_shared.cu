// transpose 2: turn the tile round in shared memory.
//
// Index map   as before for the load; for the store the block's indices
//             change places, so that threadIdx.x runs along a row of out.
// Shared      32 x 32 floats, 4,096 bytes
// Launch      block (32, 8), grid (ceil(cols / 32), ceil(rows / 32)).
// Traffic     8 rows cols bytes, now 4 sectors a request in both directions.
// Change      a tile in shared memory. Its price: a warp reads a column of
//             the tile, whose 32 elements lie 32 words apart, all in the same
//             bank. The access is served in 32 turns.
extern "C" __global__ void transpose(const float* in, float* out, int rows,
                                     int cols) {
  __shared__ float tile[32][32];
  int x = blockIdx.x * 32 + threadIdx.x;
  int y = blockIdx.y * 32 + threadIdx.y;
  for (int j = 0; j < 32; j += 8) {
    if (x < cols && y + j < rows) {
      tile[threadIdx.y + j][threadIdx.x] = in[(size_t)(y + j) * cols + x];
    }
  }
  __syncthreads();
  x = blockIdx.y * 32 + threadIdx.x;
  y = blockIdx.x * 32 + threadIdx.y;
  for (int j = 0; j < 32; j += 8) {
    if (x < rows && y + j < cols) {
      out[(size_t)(y + j) * rows + x] = tile[threadIdx.x][threadIdx.y + j];
    }
  }
}
