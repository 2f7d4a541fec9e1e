// matmul 7: tensor cores by their own instruction, fed while they work.
//
// Index map   a block of 4 warps owns 128 x 128 elements of c, warp w the 64 x
//             64 in row w / 2 and column w % 2, as 4 x 8 tiles of 16 x 8.
// Shared      4 stages of 128 x 32 and 32 x 128 halves, 65,536 bytes, dynamic
// Launch      block 128, grid (ceil(n / 128), ceil(m / 128)); n and k must be
//             multiples of 8, and all pointers of 16 bytes. sm_80 or later.
// Traffic     k / 128 elements of a and of b an element of c.
// Change      cp.async copies 16 bytes from global to shared memory past the
//             registers; three tiles are under way while one is multiplied. A
//             16-byte chunk lies at its number xor its row's, so that the rows
//             that ldmatrix reads at once meet no bank twice. Each lane holds
//             known elements of a fragment: of c, rows l / 4 and l / 4 + 8 (PTX
//             ISA, "Matrix Fragments for mma.m16n8k16"). -DBF16: bfloat16.
#ifdef BF16
#include <cuda_bf16.h>
typedef __nv_bfloat16 number;
#define TYPE "bf16"
#else
#include <cuda_fp16.h>
typedef __half number;
#define TYPE "f16"
#endif
#define STAGES 4     // three tiles on their way, one being multiplied
#define STAGE 16384  // bytes: 8,192 of a, then as many of b

__device__ unsigned address(const void* p) {
  return (unsigned)__cvta_generic_to_shared(p);
}
__device__ void cp_async(unsigned to, const void* from, bool inside) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to),
               "l"(from), "r"(inside ? 16 : 0) : "memory");  // else 16 zeros
}
#define PTX(text) asm volatile(text ::: "memory")
__device__ void commit() { PTX("cp.async.commit_group;"); }
__device__ void wait_for_all_but_2() { PTX("cp.async.wait_group 2;"); }
// Four 8 x 8 matrices; lane l gives the address of row l % 8 of number l / 8.
__device__ void ldmatrix(unsigned (&r)[4], unsigned from) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(from)
               : "memory");
}
__device__ void ldmatrix_trans(unsigned (&r)[4], unsigned from) {
  asm volatile(
      "ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
      : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(from) : "memory");
}
__device__ void mma(float (&d)[4], const unsigned (&a)[4], unsigned b0,
                    unsigned b1) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32." TYPE "." TYPE ".f32 "
               "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Bytes from the start of a tile to chunk q of row r: rows of 64, of 256 bytes.
__device__ unsigned in_a(int r, int q) { return 64 * r + 16 * (q ^ r / 2 % 4); }
__device__ unsigned in_b(int r, int q) { return 256 * r + 16 * (q ^ r % 8); }

__device__ void load(unsigned to, const number* a, const number* b, int m,
                     int n, int k, int row0, int col0, int k0) {
#pragma unroll
  for (int i = threadIdx.x; i < 512; i += 128) {
    int r = row0 + i / 4, s = k0 + 8 * (i % 4);
    bool in = r < m && s < k;
    cp_async(to + in_a(i / 4, i % 4), in ? a + (size_t)r * k + s : a, in);
    r = k0 + i / 16, s = col0 + 8 * (i % 16);
    in = r < k && s < n;
    const number* from = in ? b + (size_t)r * n + s : b;
    cp_async(to + 8192 + in_b(i / 16, i % 16), from, in);
  }
}

extern "C" __global__ void __launch_bounds__(128)
    matmul(const number* a, const number* b, float* c, int m, int n, int k) {
  extern __shared__ __align__(128) char tiles[];
  unsigned base = address(tiles);
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  int row0 = blockIdx.y * 128, col0 = blockIdx.x * 128;
  int row = warp / 2 * 64, col = warp % 2 * 64;  // of the warp in the block
  int steps = (k + 31) / 32;
  float sum[4][8][4] = {};
  for (int s = 0; s < STAGES - 1; ++s) {
    if (s < steps) load(base + s * STAGE, a, b, m, n, k, row0, col0, 32 * s);
    commit();  // an empty group counts as well
  }
  for (int s = 0; s < steps; ++s) {
    wait_for_all_but_2();  // tile s is there
    __syncthreads();  // for every thread; and tile s - 1 has been used
    int next = s + STAGES - 1;
    if (next < steps)
      load(base + next % STAGES * STAGE, a, b, m, n, k, row0, col0, 32 * next);
    commit();
    unsigned ta = base + s % STAGES * STAGE, tb = ta + 8192;
#pragma unroll
    for (int h = 0; h < 2; ++h) {  // 16 of the tile's 32 along k
      unsigned x[4][4], y[4][4];
      for (int i = 0; i < 4; ++i)
        ldmatrix(x[i], ta + in_a(row + 16 * i + lane % 16, 2 * h + lane / 16));
      for (int j = 0; j < 4; ++j)
        ldmatrix_trans(
            y[j], tb + in_b(16 * h + lane % 16, col / 8 + 2 * j + lane / 16));
      for (int i = 0; i < 4; ++i)
        for (int j = 0; j < 8; ++j)
          mma(sum[i][j], x[i], y[j / 2][j % 2 * 2], y[j / 2][j % 2 * 2 + 1]);
    }
  }
  for (int i = 0; i < 32; ++i) {
    int q = col0 + col + 8 * (i % 8) + 2 * (lane % 4);
    for (int h = 0; h < 2; ++h) {
      int r = row0 + row + 16 * (i / 8) + 8 * h + lane / 4;
      if (r < m && q < n)
        *reinterpret_cast<float2*>(c + (size_t)r * n + q) = make_float2(
            sum[i / 8][i % 8][2 * h], sum[i / 8][i % 8][2 * h + 1]);
    }
  }
}
