// softmax 2: a warp takes a row.
//
// Index map   warp w of the grid owns row w; lane l takes the columns l,
//             l + 32, l + 64, ...
// Shared      none
// Launch      block 128, grid ceil(rows / 4).
// Traffic     three loads and a store of every element, as before, but a
//             request is now 32 neighbours: 4 sectors.
// Change      lanes read along the row, and shuffles bring maximum and sum
//             together. With __shfl_xor_sync every lane ends with the result,
//             so nothing has to be sent back. Whole warps leave, never lanes.
__device__ float warp_max(float v) {
  for (int k = 16; k > 0; k /= 2) {
    v = fmaxf(v, __shfl_xor_sync(0xffffffffu, v, k));
  }
  return v;
}

__device__ float warp_sum(float v) {
  for (int k = 16; k > 0; k /= 2) {
    v += __shfl_xor_sync(0xffffffffu, v, k);
  }
  return v;
}

extern "C" __global__ void softmax(const float* x, float* y, int rows,
                                   int cols) {
  int row = (blockIdx.x * blockDim.x + threadIdx.x) / 32;
  int lane = threadIdx.x % 32;
  if (row >= rows) {
    return;
  }
  const float none = __int_as_float(0xff800000);  // minus infinity
  const float* in = x + (size_t)row * cols;
  float* out = y + (size_t)row * cols;
  float most = none;
  for (int j = lane; j < cols; j += 32) {
    most = fmaxf(most, in[j]);
  }
  most = warp_max(most);
  float sum = 0.0f;
  for (int j = lane; j < cols; j += 32) {
    float v = in[j];
    sum += v == none ? 0.0f : expf(v - most);
  }
  sum = warp_sum(sum);
  for (int j = lane; j < cols; j += 32) {
    float v = in[j];
    out[j] = v == none ? 0.0f : expf(v - most) / sum;
  }
}
