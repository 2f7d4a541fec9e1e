// softmax 3: maximum and sum in one pass.
//
// Index map   as before: warp w owns row w, lane l the columns l, l + 32, ...
// Shared      none
// Launch      block 128, grid ceil(rows / 4).
// Traffic     two loads and a store of every element, not three and one.
// Change      each lane keeps (most, sum) of what it has seen, where sum is
//             measured from most. When a larger value comes, the old sum is
//             multiplied by exp(old most - new most). Lanes come together by
//             the same rule: both sums are measured from the larger maximum.
//
// A pair that has seen nothing is (minus infinity, 0). When two of them meet,
// the factor must be 1, not exp(inf - inf).
__device__ float rescale(float old_most, float new_most) {
  return old_most == new_most ? 1.0f : expf(old_most - new_most);
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
  float sum = 0.0f;
  for (int j = lane; j < cols; j += 32) {
    float v = in[j];
    float larger = fmaxf(most, v);
    sum *= rescale(most, larger);
    sum += v == none ? 0.0f : expf(v - larger);
    most = larger;
  }
  for (int k = 16; k > 0; k /= 2) {
    float other_most = __shfl_xor_sync(0xffffffffu, most, k);
    float other_sum = __shfl_xor_sync(0xffffffffu, sum, k);
    float larger = fmaxf(most, other_most);
    sum = sum * rescale(most, larger) + other_sum * rescale(other_most, larger);
    most = larger;
  }
  for (int j = lane; j < cols; j += 32) {
    float v = in[j];
    out[j] = v == none ? 0.0f : expf(v - most) / sum;
  }
}
