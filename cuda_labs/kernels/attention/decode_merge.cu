// attention, decoding: partial results of the same rows become one.
//
// Index map   a block owns a row; thread h its dimensions h, h + 128, ...
// Shared      none
// Launch      block 128, grid rows. o_part is (splits, rows, d), lse_part
//             (splits, rows).
// Traffic     splits (d + 1) elements in and d + 1 out, a row.
// Change      softmax over all keys is a mean of the softmaxes over parts, with
//             the weights exp(lse_s) / sum_t exp(lse_t). The largest lse is
//             subtracted first. A part with lse = -inf has the weight 0; a row
//             without any other keeps 0 and -inf.
#ifndef REAL
#define REAL float
#endif

extern "C" __global__ void attention(const REAL* o_part, const REAL* lse_part,
                                     REAL* o, REAL* lse, int splits, int rows,
                                     int d) {
  const REAL none = __int_as_float(0xff800000);  // minus infinity
  size_t row = blockIdx.x;
  REAL top = none;
  for (int s = 0; s < splits; ++s) {
    top = max(top, lse_part[(size_t)s * rows + row]);
  }
  REAL total = 0;
  for (int s = 0; s < splits && top != none; ++s) {
    total += exp(lse_part[(size_t)s * rows + row] - top);
  }
  for (int h = threadIdx.x; h < d; h += blockDim.x) {
    REAL sum = 0;
    for (int s = 0; s < splits && top != none; ++s) {
      REAL weight = exp(lse_part[(size_t)s * rows + row] - top);
      sum += weight * o_part[((size_t)s * rows + row) * d + h];
    }
    o[row * d + h] = top == none ? 0 : sum / total;
  }
  if (threadIdx.x == 0) {
    lse[row] = top == none ? none : top + log(total);
  }
}
