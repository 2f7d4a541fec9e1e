// attention, decoding: one query a head, the keys divided among blocks.
//
// Index map   block (split, key head, z) takes the keys split c ... split c +
//             c - 1, where c = ceil(m / splits), for the query heads z GROUP,
//             z GROUP + 1, ... that share the key head. A team of 8 lanes takes
//             every 16th key; its lane l holds the dimensions l, l + 8, ...
// Shared      4 GROUP (HEAD + 2) elements, 1,056 bytes with the defaults
// Launch      block 128, grid (splits, key heads, ceil(group / GROUP)), d <= HEAD.
//             decode_merge.cu joins the splits.
// Traffic     2 d elements a key, once for GROUP query heads.
// Idea        with one query a head there are fewer rows than multiprocessors:
//             only the keys are left to divide. Each team runs the online
//             softmax on keys of its own and ends with a state (maximum, sum,
//             output); states are joined between teams by shuffles, between
//             warps in shared memory, between blocks by the second kernel: the
//             same rule three times. A split without keys yields 0 and -inf.
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

// What exp(a - b) shrinks a state of maximum a by, b >= a: 1 for two empty ones.
__device__ REAL shrink(REAL a, REAL b) {
  return a == b ? (REAL)1 : exp(a - b);
}

extern "C" __global__ void __launch_bounds__(128)
    attention(const REAL* q, const REAL* k, const REAL* v, REAL* o, REAL* lse,
              int group, int m, int d, REAL scale) {
  __shared__ REAL outs[4][GROUP][HEAD];
  __shared__ REAL tops[4][GROUP];
  __shared__ REAL sums[4][GROUP];
  const REAL none = __int_as_float(0xff800000);  // minus infinity
  int warp = threadIdx.x / 32;
  int team = threadIdx.x / 8;
  int lane = threadIdx.x % 8;
  int chunk = (m + gridDim.x - 1) / gridDim.x;
  long long begin = (long long)blockIdx.x * chunk;
  long long end = min(begin + chunk, (long long)m);
  int g0 = blockIdx.z * GROUP;
  size_t head0 = (size_t)blockIdx.y * group;
  k += (size_t)blockIdx.y * m * d;
  v += (size_t)blockIdx.y * m * d;
  REAL query[GROUP][WIDTH], out[GROUP][WIDTH] = {}, top[GROUP], sum[GROUP] = {};
#pragma unroll
  for (int g = 0; g < GROUP; ++g) {
    top[g] = none;
#pragma unroll
    for (int e = 0; e < WIDTH; ++e) {
      bool there = g0 + g < group && lane + 8 * e < d;
      query[g][e] = there ? q[(head0 + g0 + g) * d + lane + 8 * e] * scale : 0;
    }
  }
  // All teams make the same number of rounds: shuffles want whole warps.
  for (long long j0 = begin; j0 < end; j0 += 16) {
    long long j = j0 + team;
    REAL key[WIDTH], value[WIDTH];
#pragma unroll
    for (int e = 0; e < WIDTH; ++e) {
      bool there = j < end && lane + 8 * e < d;
      key[e] = there ? k[j * d + lane + 8 * e] : 0;
      value[e] = there ? v[j * d + lane + 8 * e] : 0;
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
      REAL larger = max(top[g], s);
      REAL keep = shrink(top[g], larger);
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
    for (int w = 8; w < 32; w *= 2) {  // the warp's four teams
      REAL other = __shfl_xor_sync(0xffffffffu, top[g], w);
      REAL larger = max(top[g], other);
      REAL mine = shrink(top[g], larger), theirs = shrink(other, larger);
      sum[g] = mine * sum[g] + theirs * __shfl_xor_sync(0xffffffffu, sum[g], w);
#pragma unroll
      for (int e = 0; e < WIDTH; ++e) {
        REAL add = __shfl_xor_sync(0xffffffffu, out[g][e], w);
        out[g][e] = mine * out[g][e] + theirs * add;
      }
      top[g] = larger;
    }
#pragma unroll
    for (int e = 0; e < WIDTH; ++e) {
      if (team % 4 == 0) {
        outs[warp][g][lane + 8 * e] = out[g][e];
      }
    }
    if (threadIdx.x % 32 == 0) {
      tops[warp][g] = top[g];
      sums[warp][g] = sum[g];
    }
  }
  __syncthreads();
  int heads = gridDim.y * group;
  for (int e = threadIdx.x; e < GROUP * HEAD; e += 128) {
    int g = e / HEAD, h = e % HEAD;
    REAL larger = none, total = 0, joined = 0;
    for (int w = 0; w < 4; ++w) {
      larger = max(larger, tops[w][g]);
    }
    for (int w = 0; w < 4; ++w) {
      REAL share = shrink(tops[w][g], larger);
      total += share * sums[w][g];
      joined += share * outs[w][g][h];
    }
    size_t row = (size_t)blockIdx.x * heads + head0 + g0 + g;
    if (g0 + g < group && h < d) {
      o[row * d + h] = total > 0 ? joined / total : 0;
    }
    if (g0 + g < group && h == 0) {
      lse[row] = larger + log(total);
    }
  }
}
