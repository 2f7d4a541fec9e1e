// attention, decoding: one query a head, the keys divided among blocks.
//
// Index map   block (split, key head, z) takes the keys from split c on, where
//             c = ceil(m / splits), for GROUP of the query heads that share the
//             key head, from z GROUP on. A team of 8 lanes takes every 16th
//             key; its lane l holds the dimensions l, l + 8, ...
// Shared      4 GROUP (HEAD + 2) elements, 1,056 bytes with the defaults
// Launch      block 128, grid (splits, key heads, ceil(group / GROUP)), d at
//             most HEAD. decode_merge.cu joins the splits.
// Traffic     2 d elements a key, once for GROUP query heads.
// Change      one query a head gives fewer rows than multiprocessors: only the
//             keys are left to divide. Each team ends its own online softmax in
//             a state (maximum, sum, output). Teams join states by shuffles,
//             warps in shared memory, blocks in the second kernel. A split
//             without keys yields 0 and -inf.
#ifndef REAL
#define REAL float
#endif
#ifndef HEAD  // a multiple of 8, at least d
#define HEAD 64
#endif
#ifndef GROUP  // query heads that one block serves
#define GROUP 1
#endif
constexpr int WIDTH = HEAD / 8;

// What a state with the maximum `old` shrinks by; 1 if there is none to shrink.
__device__ REAL shrink(REAL old, REAL larger) {
  return old == larger ? (REAL)1 : exp(old - larger);
}

extern "C" __global__ void __launch_bounds__(128)
    attention(const REAL* q, const REAL* k, const REAL* v, REAL* o, REAL* lse,
              int group, int m, int d, REAL scale) {
  __shared__ REAL outs[4][GROUP][HEAD], tops[4][GROUP], sums[4][GROUP];
  const REAL none = __int_as_float(0xff800000);  // minus infinity
  int t = threadIdx.x, team = t / 8, lane = t % 8, g0 = blockIdx.z * GROUP;
  int chunk = (m - 1) / (int)gridDim.x + 1, begin = blockIdx.x * chunk;
  int end = min(begin + chunk, m);
  size_t head0 = (size_t)blockIdx.y * group + g0;
  k += (size_t)blockIdx.y * m * d, v += (size_t)blockIdx.y * m * d;
  REAL query[GROUP][WIDTH], out[GROUP][WIDTH] = {}, top[GROUP], sum[GROUP] = {};
#pragma unroll
  for (int e = 0; e < GROUP * WIDTH; ++e) {
    int g = e / WIDTH, h = lane + e % WIDTH * 8;
    bool there = g0 + g < group && h < d;
    query[g][e % WIDTH] = there ? q[(head0 + g) * d + h] * scale : 0;
    top[g] = none;
  }
  for (int j = begin + team; j - team < end; j += 16) {  // all together
    REAL key[WIDTH], value[WIDTH];
#pragma unroll
    for (int e = 0; e < WIDTH; ++e) {
      bool there = j < end && lane + 8 * e < d;
      key[e] = there ? k[(size_t)j * d + lane + 8 * e] : 0;
      value[e] = there ? v[(size_t)j * d + lane + 8 * e] : 0;
    }
#pragma unroll
    for (int g = 0; g < GROUP; ++g) {
      REAL s = 0;
#pragma unroll
      for (int e = 0; e < WIDTH; ++e) {
        s += query[g][e] * key[e];
      }
      for (int w = 4; w > 0; w /= 2) {
        s += __shfl_xor_sync(0xffffffffu, s, w);
      }
      s = j < end ? s : none;
      REAL larger = max(top[g], s), keep = shrink(top[g], larger);
      REAL p = s == none ? 0 : exp(s - larger);
      top[g] = larger;
      sum[g] = sum[g] * keep + p;
#pragma unroll
      for (int e = 0; e < WIDTH; ++e) {
        out[g][e] = out[g][e] * keep + p * value[e];
      }
    }
  }
#pragma unroll
  for (int g = 0; g < GROUP; ++g) {
    for (int w = 8; w < 32; w *= 2) {  // the four teams of a warp
      REAL other = __shfl_xor_sync(0xffffffffu, top[g], w);
      REAL larger = max(top[g], other);
      REAL mine = shrink(top[g], larger), theirs = shrink(other, larger);
      top[g] = larger;
      sum[g] = mine * sum[g] + theirs * __shfl_xor_sync(0xffffffffu, sum[g], w);
#pragma unroll
      for (int e = 0; e < WIDTH; ++e) {
        REAL add = __shfl_xor_sync(0xffffffffu, out[g][e], w);
        out[g][e] = mine * out[g][e] + theirs * add;
      }
    }
#pragma unroll
    for (int e = 0; e < WIDTH && t % 32 < 8; ++e) {
      outs[t / 32][g][lane + 8 * e] = out[g][e];
    }
    if (t % 32 == 0) {
      tops[t / 32][g] = top[g];
      sums[t / 32][g] = sum[g];
    }
  }
  __syncthreads();
  for (int e = t; e < GROUP * HEAD; e += 128) {
    int g = e / HEAD, h = e % HEAD;
    REAL larger = max(max(tops[0][g], tops[1][g]), max(tops[2][g], tops[3][g]));
    REAL total = 0, joined = 0;
    for (int w = 0; w < 4; ++w) {
      REAL share = shrink(tops[w][g], larger);
      total += share * sums[w][g];
      joined += share * outs[w][g][h];
    }
    size_t row = (size_t)blockIdx.x * gridDim.y * group + head0 + g;
    if (g0 + g < group && h < d) {
      o[row * d + h] = total > 0 ? joined / total : 0;
    }
    if (g0 + g < group && h == 0) {
      lse[row] = larger + log(total);
    }
  }
}
