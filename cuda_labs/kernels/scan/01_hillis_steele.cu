// scan 1: log2 rounds, each thread adds the value k places before its own.
//
// y[i] = x[0] + ... + x[i]
//
// Index map   one block walks over x in tiles of 256; thread t owns element t
//             of the tile and, for k = 1, 2, 4, ..., 128, adds element t - k.
// Shared      2 x 256 floats, 2,048 bytes: a round reads one half and writes
//             the other, so that one barrier a round is enough.
// Launch      block 256, grid 1.
// Traffic     8 n bytes; 8 additions an element, where one would do.
extern "C" __global__ void scan(const float* x, float* y, int n) {
  __shared__ float part[2][256];
  int t = threadIdx.x;
  float before = 0.0f;  // the sum of all earlier tiles
  for (int tile = 0; tile < n; tile += 256) {
    int from = 0;
    part[0][t] = tile + t < n ? x[tile + t] : 0.0f;
    __syncthreads();
    for (int k = 1; k < 256; k *= 2) {
      float v = part[from][t];
      if (t >= k) {
        v += part[from][t - k];
      }
      from = 1 - from;
      part[from][t] = v;
      __syncthreads();
    }
    if (tile + t < n) {
      y[tile + t] = before + part[from][t];
    }
    before += part[from][255];
    __syncthreads();
  }
}
