// transpose 1: read along rows, write along columns.
//
// out[x][y] = in[y][x]; in is rows x cols, out is cols x rows, row-major.
//
// Index map   a block covers a tile of 32 x 32 elements with 32 x 8 threads;
//             thread (tx, ty) moves column x of the rows y, y + 8, y + 16 and
//             y + 24.
// Shared      none
// Launch      block (32, 8), grid (ceil(cols / 32), ceil(rows / 32)).
// Traffic     8 rows cols bytes. A warp reads 32 neighbours (4 sectors of 32
//             bytes), but the elements that it writes lie `rows` floats
//             apart: 32 sectors for 128 bytes.
extern "C" __global__ void transpose(const float* in, float* out, int rows,
                                     int cols) {
  int x = blockIdx.x * 32 + threadIdx.x;
  int y = blockIdx.y * 32 + threadIdx.y;
  for (int j = 0; j < 32; j += 8) {
    if (x < cols && y + j < rows) {
      out[(size_t)x * rows + y + j] = in[(size_t)(y + j) * cols + x];
    }
  }
}
