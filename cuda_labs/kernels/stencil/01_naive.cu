// stencil 1: a step of the heat equation, each neighbour from global memory.
//
// out = in + k (left + right + up + down - 4 in) inside, out = in on the rim
//
// Index map   thread (x, y) owns element in[y][x].
// Shared      none
// Launch      block (32, 8), grid (ceil(cols / 32), ceil(rows / 8)).
// Traffic     each inner element is loaded five times, by its own thread and
//             by its four neighbours'; caches catch most of it. 8 rows cols
//             bytes would do.
extern "C" __global__ void stencil(const float* in, float* out, int rows,
                                   int cols, float k) {
  int x = blockIdx.x * 32 + threadIdx.x;
  int y = blockIdx.y * 8 + threadIdx.y;
  if (x >= cols || y >= rows) {
    return;
  }
  size_t i = (size_t)y * cols + x;
  float v = in[i];
  if (x > 0 && x < cols - 1 && y > 0 && y < rows - 1) {
    v += k * (in[i - 1] + in[i + 1] + in[i - cols] + in[i + cols] - 4.0f * v);
  }
  out[i] = v;
}
