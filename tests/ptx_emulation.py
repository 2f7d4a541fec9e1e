"""What single PTX instructions do, written in CUDA C that the simulator runs.

A kernel in inline PTX keeps each instruction in a small `__device__` function. Here
the bodies of those functions are replaced, so that everything else in the file, the
index arithmetic above all, runs on a CPU as it stands. The replacements follow the PTX
ISA 9.0: "Matrix Fragments for mma.m16n8k16 with floating point type", "ldmatrix",
"Register Fragments for wgmma.mma_async.m64nNk16" (D), "Shared Memory Matrix Layout",
"Matrix Descriptor Format" and the "Canonical Layouts" with 128-byte swizzling.

An asynchronous instruction may do its work anywhere between its issue and the wait for
it. Built with -DLATE=0 everything is done at once; with -DLATE=1 as late as allowed.
Addresses in shared memory start at 512, so that a kernel which needs alignment and
does not see to it fails.
"""

from __future__ import annotations

import re

COMMON = r"""
#ifndef LATE
#define LATE 0
#endif
#define START 512
__device__ char* at_shared(unsigned a) { return sim_dynamic + (a - START); }
__device__ float widened(unsigned short bits) {
#ifdef BF16
  return __uint_as_float((unsigned)bits << 16);
#else
  return __half2float(__ushort_as_half(bits));
#endif
}
// cp.async: what is on its way, by thread; a group has a number.
struct Copy { unsigned to; const char* from; int group; bool inside; };
__device__ Copy copies[256][64];
__device__ int copied[256], copy_group[256];
__device__ void copy_now(const Copy& x) {
  for (int i = 0; i < 16; i += 4) {
    unsigned word = x.inside ? *(const unsigned*)(x.from + i) : 0;
    *(unsigned*)at_shared(x.to + i) = word;
  }
}
__device__ void copies_until(int group) {  // finish all groups below `group`
  int t = threadIdx.x, left = 0;
  for (int i = 0; i < copied[t]; ++i) {
    if (copies[t][i].group < group) copy_now(copies[t][i]);
    else copies[t][left++] = copies[t][i];
  }
  copied[t] = left;
}
"""

COPIES = {
    "address": "return (unsigned)((const char*)p - sim_dynamic) + START;",
    "cp_async": """
  assert(to % 16 == 0 && (size_t)from % 16 == 0);
  Copy x = {to, (const char*)from, copy_group[threadIdx.x], inside};
  if (!LATE) { copy_now(x); return; }
  assert(copied[threadIdx.x] < 64);
  copies[threadIdx.x][copied[threadIdx.x]++] = x;""",
    "commit": "++copy_group[threadIdx.x];",
    "wait_for_all_but_1": "copies_until(copy_group[threadIdx.x] - 1);",
    "wait_for_all_but_2": "copies_until(copy_group[threadIdx.x] - 2);",
}

# Lane l holds of A the rows g and g + 8 (g = l / 4) and the columns 2 t, 2 t + 1 and
# those 8 further (t = l % 4): registers (g, t), (g + 8, t), (g, t + 8), (g + 8, t + 8);
# of B the rows 2 t, 2 t + 1 and 8 further in column g; of D rows g and g + 8, columns
# 2 t and 2 t + 1.
MMA = {
    "ldmatrix": """
  int lane = threadIdx.x % 32;
  for (int i = 0; i < 4; ++i) {
    unsigned row = __shfl_sync(~0u, from, 8 * i + lane / 4);
    assert(row % 16 == 0);
    r[i] = *(const unsigned*)(at_shared(row) + 4 * (lane % 4));
  }""",
    "ldmatrix_trans": """
  int lane = threadIdx.x % 32;
  for (int i = 0; i < 4; ++i) {
    unsigned bits = 0;
    for (int j = 0; j < 2; ++j) {
      unsigned row = __shfl_sync(~0u, from, 8 * i + 2 * (lane % 4) + j);
      const unsigned short* x = (const unsigned short*)at_shared(row);
      bits |= (unsigned)x[lane / 4] << (16 * j);
    }
    r[i] = bits;
  }""",
    "mma": """
  __shared__ unsigned held[8][32][6];  // by warp and lane: a, then b
  int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  for (int i = 0; i < 4; ++i) held[warp][lane][i] = a[i];
  held[warp][lane][4] = b0;
  held[warp][lane][5] = b1;
  __syncwarp();
  int g = lane / 4, t = lane % 4;
  for (int k = 0; k < 16; ++k) {
    int holder = k % 8 / 2, shift = 16 * (k % 2);
    const unsigned* row = held[warp][4 * g + holder] + k / 8 * 2;
    float x0 = widened(row[0] >> shift), x1 = widened(row[1] >> shift);
    for (int j = 0; j < 2; ++j) {
      int column = 4 * (2 * t + j) + holder;
      float y = widened(held[warp][column][4 + k / 8] >> shift);
      d[j] += x0 * y;
      d[2 + j] += x1 * y;
    }
  }
  __syncwarp();""",
}

WGMMA_COMMON = r"""
typedef unsigned long long word_;
struct Product { float* d; word_ a, b; int group; };
__device__ Product products[256][64];
__device__ int waiting[256], product_group[256];
// The descriptor's fields, in bytes.
__device__ unsigned field(word_ d, int low) { return (d >> low & 0x3fff) << 4; }
__device__ float element(word_ d, unsigned offset) {
  assert(d >> 62 == 1 && (d >> 49 & 7) == 0);  // 128-byte swizzle, base offset 0
  unsigned at = field(d, 0) + offset;
  at ^= (at >> 7 & 7) << 4;  // chunks of 16 bytes by the number of the 128
  return widened(*(const unsigned short*)at_shared(at));
}
__device__ float of_a(word_ d, int row, int k) {  // k runs fastest
  return element(d, row % 8 * 128 + row / 8 * field(d, 32) + 2 * k);
}
__device__ float of_b(word_ d, int k, int n) {  // n runs fastest
  unsigned in_row = n % 64 * 2 + n / 64 * field(d, 16);
  return element(d, in_row + k % 8 * 128 + k / 8 * field(d, 32));
}
__device__ void product_now(const Product& x) {
  int warp = threadIdx.x / 32 % 4, g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
  float a[2][16];
  for (int k = 0; k < 16; ++k)
    for (int h = 0; h < 2; ++h) a[h][k] = of_a(x.a, 16 * warp + g + 8 * h, k);
  for (int i = 0; i < 128; ++i) {
    int n = i / 4 * 8 + 2 * t + i % 2, h = i / 2 % 2;
    for (int k = 0; k < 16; ++k) x.d[i] += a[h][k] * of_b(x.b, k, n);
  }
}
__device__ void products_until(int group) {
  int t = threadIdx.x, left = 0;
  for (int i = 0; i < waiting[t]; ++i) {
    if (products[t][i].group < group) product_now(products[t][i]);
    else products[t][left++] = products[t][i];
  }
  waiting[t] = left;
}
"""

WGMMA = {
    "fence_async": "",
    "wgmma_fence": "",
    "wgmma": """
  Product x = {d, a, b, product_group[threadIdx.x]};
  if (!LATE) { product_now(x); return; }
  assert(waiting[threadIdx.x] < 64);
  products[threadIdx.x][waiting[threadIdx.x]++] = x;""",
    "wgmma_commit": "++product_group[threadIdx.x];",
    "wgmma_wait": "products_until(product_group[threadIdx.x] - N);",
}


def emulated(source: str, bodies: dict[str, str], common: str = COMMON) -> str:
    """`source` with the bodies of the named functions replaced.

    Every function with `asm` in it must be named; a name that the source does not
    define raises ValueError, as does inline PTX that is left.
    """
    for name, body in bodies.items():
        head = re.search(
            rf"^(?:template <[^>]*> *)?__device__ [\w ]+?\b{name}\([^{{]*\{{",
            source,
            re.M,
        )
        if head is None:
            raise ValueError(f"the source has no function {name}")
        end, depth = head.end(), 1
        while depth:
            depth += {"{": 1, "}": -1}.get(source[end], 0)
            end += 1
        # Out of line: inlined forty times over they would take long to compile.
        opening = head.group().replace("__device__", "__device__ __noinline__")
        source = source[: head.start()] + opening + body + source[end - 1 :]
    source = re.sub(r"^#(?:define PTX\b|pragma unroll).*$", "", source, flags=re.M)
    if re.search(r"\basm\b|\bPTX\b", re.sub(r"//.*", "", source)):
        raise ValueError("inline PTX is left in the source")
    # After the includes: 16-bit types first.
    at = source.index("#define STAGES")
    return source[:at] + common + source[at:]
