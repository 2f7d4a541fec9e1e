// softmax 1: three passes over each row, safe from overflow.
//
// Index map   one thread, one row of x (rows x cols, row-major).
// Shared      none
// Launch      block 128, grid ceil(rows / 128).
// Traffic     every element is loaded three times and stored once. The lanes of
//             a warp read 32 rows, so a request touches up to 32 sectors.
//
// y_j = exp(x_j - max) / sum_k exp(x_k - max): subtracting the maximum changes
// nothing in exact arithmetic, and no exponent is then above 0. An entry of
// minus infinity gives 0, and a row of nothing else gives 0 everywhere.
extern "C" __global__ void softmax(const float* x, float* y, int rows,
                                   int cols) {
  int row = blockIdx.x * blockDim.x + threadIdx.x;
  if (row >= rows) {
    return;
  }
  const float none = __int_as_float(0xff800000);  // minus infinity
  const float* in = x + (size_t)row * cols;
  float* out = y + (size_t)row * cols;
  float most = none;
  for (int j = 0; j < cols; ++j) {
    most = fmaxf(most, in[j]);
  }
  float sum = 0.0f;
  for (int j = 0; j < cols; ++j) {
    float v = in[j];
    sum += v == none ? 0.0f : expf(v - most);
  }
  for (int j = 0; j < cols; ++j) {
    float v = in[j];
    out[j] = v == none ? 0.0f : expf(v - most) / sum;
  }
}
