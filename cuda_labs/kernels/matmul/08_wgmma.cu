// matmul 8: a whole warpgroup multiplies straight from shared memory.
//
// Index map   a block of two warpgroups owns 128 x 256 elements of c, each of
//             them 64 rows. Lane l of warp w in its warpgroup holds the rows
//             16 w + l / 4 and 8 further, columns 8 j + 2 (l % 4) and the next.
// Shared      4 stages of 128 x 64 and 64 x 256 halves, dynamic: 197,632 bytes
//             with 1,024 to align them
// Launch      block 256, grid (ceil(n / 256), ceil(m / 128)); n and k must be
//             multiples of 8, and all pointers of 16 bytes. sm_90a alone.
// Traffic     k / 256 elements of a and k / 128 of b an element of c.
// Change      wgmma reads both tiles itself: a descriptor says where they lie,
//             how far apart their groups of 8 rows are, and that 16-byte chunks
//             are swizzled within 128 bytes. It runs on while the threads fetch
//             the next tiles; b is taken as it is, with n running fastest. (PTX
//             ISA, "Asynchronous Warpgroup Level Matrix Instructions".)
#ifdef BF16
#include <cuda_bf16.h>
typedef __nv_bfloat16 number;
#define TYPE "bf16"
#else
#include <cuda_fp16.h>
typedef __half number;
#define TYPE "f16"
#endif
typedef unsigned long long word;
#define STAGES 4     // two tiles on their way, two being multiplied
#define STAGE 49152  // bytes: 16,384 of a, then 32,768 of b
__device__ unsigned address(const void* p) {
  return (unsigned)__cvta_generic_to_shared(p);
}
#define PTX(text) asm volatile(text ::: "memory")
__device__ void cp_async(unsigned to, const void* from, bool inside) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to),
               "l"(from), "r"(inside ? 16 : 0) : "memory");  // else 16 zeros
}
__device__ void commit() { PTX("cp.async.commit_group;"); }
__device__ void wait_for_all_but_1() { PTX("cp.async.wait_group 1;"); }
// What threads have written is there for wgmma, which goes another way.
__device__ void fence_async() { PTX("fence.proxy.async.shared::cta;"); }
__device__ void wgmma_fence() { PTX("wgmma.fence.sync.aligned;"); }
__device__ void wgmma_commit() { PTX("wgmma.commit_group.sync.aligned;"); }
template <int N> __device__ void wgmma_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(N) : "memory");
}
#define F4(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define F16(i) F4(i), F4(i + 4), F4(i + 8), F4(i + 12)
#define F64(i) F16(i), F16(i + 16), F16(i + 32), F16(i + 48)
// d += a b for 64 x 16 and 16 x 256: a with k running fastest, b with n.
__device__ void wgmma(float (&d)[128], word a, word b) {
  asm volatile(
      "wgmma.mma_async.sync.aligned.m64n256k16.f32." TYPE "." TYPE " {"
      "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,"
      "%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,%32,%33,%34,%35,%36,%37,"
      "%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,%48,%49,%50,%51,%52,%53,%54,%55,"
      "%56,%57,%58,%59,%60,%61,%62,%63,%64,%65,%66,%67,%68,%69,%70,%71,%72,%73,"
      "%74,%75,%76,%77,%78,%79,%80,%81,%82,%83,%84,%85,%86,%87,%88,%89,%90,%91,"
      "%92,%93,%94,%95,%96,%97,%98,%99,%100,%101,%102,%103,%104,%105,%106,%107,"
      "%108,%109,%110,%111,%112,%113,%114,%115,%116,%117,%118,%119,%120,%121,"
      "%122,%123,%124,%125,%126,%127}, %128, %129, 1, 1, 1, 0, 1;"
      : F64(0), F64(64) : "l"(a), "l"(b));
}
// In units of 16 bytes: start, leading and stride offset; swizzle of 128 bytes.
__device__ word descriptor(unsigned at, word leading) {
  return 1ull << 62 | 64ull << 32 | leading / 16 << 16 | (at & 0x3ffff) / 16;
}
__device__ void load(unsigned to, const number* a, const number* b, int m,
                     int n, int k, int row0, int col0, int k0) {
#pragma unroll
  for (int i = threadIdx.x; i < 1024; i += 256) {  // rows of 8 chunks
    int r = row0 + i / 8, s = k0 + 8 * (i % 8);
    bool in = r < m && s < k;
    unsigned at = 128 * (i / 8) + 16 * (i % 8 ^ i / 8 % 8);
    cp_async(to + at, in ? a + (size_t)r * k + s : a, in);
  }
#pragma unroll
  for (int i = threadIdx.x; i < 2048; i += 256) {  // four times 64 such rows
    int r = k0 + i / 32, s = col0 + 8 * (i % 32);
    bool in = r < k && s < n;
    unsigned at = 128 * (i / 32) + 16 * (i % 8 ^ i / 32 % 8);
    at += 8192 * (i % 32 / 8 + 2);
    cp_async(to + at, in ? b + (size_t)r * n + s : b, in);
  }
}

extern "C" __global__ void __launch_bounds__(256)
    matmul(const number* a, const number* b, float* c, int m, int n, int k) {
  extern __shared__ char tiles[];
  unsigned base = (address(tiles) + 1023) / 1024 * 1024;
  int group = threadIdx.x / 128, steps = (k + 63) / 64;
  int row0 = blockIdx.y * 128, col0 = blockIdx.x * 256;
  float sum[128] = {};
  for (int s = 0; s < STAGES - 2; ++s) {
    if (s < steps) load(base + s * STAGE, a, b, m, n, k, row0, col0, 64 * s);
    commit();  // an empty group counts as well
  }
  for (int s = 0; s < steps; ++s) {
    wait_for_all_but_1();  // tile s is there
    fence_async();
    __syncthreads();  // for every thread; and tile s - 2 has been used
    wgmma_fence();
    unsigned ta = base + s % STAGES * STAGE, tb = ta + 16384;
    for (int h = 0; h < 4; ++h)  // 16 of the tile's 64 along k
      wgmma(sum, descriptor(ta + 8192 * group + 32 * h, 16),
            descriptor(tb + 2048 * h, 8192));
    wgmma_commit();
    int next = s + STAGES - 2;
    if (next < steps)
      load(base + next % STAGES * STAGE, a, b, m, n, k, row0, col0, 64 * next);
    commit();
    wgmma_wait<1>();  // all but this step's
  }
  wgmma_wait<0>();
  int row = row0 + threadIdx.x / 32 * 16 + threadIdx.x % 32 / 4;
#pragma unroll
  for (int i = 0; i < 64; ++i) {
    int r = row + i % 2 * 8, q = col0 + i / 2 * 8 + threadIdx.x % 4 * 2;
    float2* to = reinterpret_cast<float2*>(c + (size_t)r * n + q);
    if (r < m && q < n) *to = make_float2(sum[2 * i], sum[2 * i + 1]);
  }
}
