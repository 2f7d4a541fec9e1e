// attention 4, before it: delta_i = sum over h of o_ih dout_ih.
//
// Index map   a warp owns a row of o and dout, a block eight rows; lane l adds
//             the columns l, l + 32, ... Heads and queries are one axis.
// Shared      none
// Launch      block 256, grid ceil(rows / 8).
// Traffic     2 d elements in and one out, a row.
// Change      the softmax's gradient subtracts from dp_ij = (dout v^T)_ij its
//             mean sum_j p_ij dp_ij. That is sum_h dout_ih o_ih: one number a
//             query, known before any tile, in place of a second pass.
#ifndef REAL
#define REAL float
#endif

extern "C" __global__ void attention(const REAL* o, const REAL* dout,
                                     REAL* delta, int rows, int d) {
  int lane = threadIdx.x % 32;
  int row = blockIdx.x * 8 + threadIdx.x / 32;
  if (row >= rows) {
    return;  // a whole warp leaves
  }
  REAL sum = 0;
  for (int h = lane; h < d; h += 32) {
    sum += o[(size_t)row * d + h] * dout[(size_t)row * d + h];
  }
  for (int step = 16; step > 0; step /= 2) {
    sum += __shfl_down_sync(0xffffffffu, sum, step);
  }
  if (lane == 0) {
    delta[row] = sum;
  }
}
