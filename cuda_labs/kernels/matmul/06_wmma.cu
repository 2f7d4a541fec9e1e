// matmul 6: tensor cores through warp-level matrix operations.
//
// Index map   a block of four warps owns 32 x 32 elements of c; warp w owns the
//             16 x 16 tile in row w / 2 and column w % 2 of them.
// Shared      none
// Launch      block 128, grid (n / 32, m / 32); m and n must be multiples of
//             32, k of 16, and all pointers of 32 bytes.
// Traffic     k / 16 times 2 x 512 bytes a warp: 16-bit inputs, and each
//             element loaded serves 16 columns or rows.
// Change      the inputs are half, the sums float. A fragment is a 16 x 16
//             matrix spread over the registers of a warp; which lane holds
//             which element is the hardware's affair. One instruction makes
//             16 x 16 x 16 multiply-adds.
#include <cuda_fp16.h>
#include <mma.h>

using namespace nvcuda;

extern "C" __global__ void matmul(const __half* a, const __half* b, float* c,
                                  int m, int n, int k) {
  int warp = threadIdx.x / 32;
  size_t row = blockIdx.y * 32 + warp / 2 * 16;
  size_t col = blockIdx.x * 32 + warp % 2 * 16;
  wmma::fragment<wmma::matrix_a, 16, 16, 16, __half, wmma::row_major> fa;
  wmma::fragment<wmma::matrix_b, 16, 16, 16, __half, wmma::row_major> fb;
  wmma::fragment<wmma::accumulator, 16, 16, 16, float> sum;
  wmma::fill_fragment(sum, 0.0f);
  for (int i = 0; i < k; i += 16) {
    wmma::load_matrix_sync(fa, a + row * k + i, k);
    wmma::load_matrix_sync(fb, b + (size_t)i * n + col, n);
    wmma::mma_sync(sum, fa, fb, sum);
  }
  wmma::store_matrix_sync(c + row * n + col, sum, n, wmma::mem_row_major);
}
