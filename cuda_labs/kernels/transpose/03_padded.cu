// transpose 3: one unused column moves every row to another bank.
//
// Index map   as in transpose 2
// Shared      32 x 33 floats, 4,224 bytes
// Launch      block (32, 8), grid (ceil(cols / 32), ceil(rows / 32)).
// Traffic     8 rows cols bytes
// Change      a row of the tile is 33 words long. Element (r, c) lies in bank
//             (33 r + c) mod 32 = (r + c) mod 32, so the 32 elements of a
//             column lie in 32 banks, as those of a row do.
extern "C" __global__ void transpose(const float* in, float* out, int rows,
                                     int cols) {
  __shared__ float tile[32][33];
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
