// A complete program: c = a + b for 16,777,216 floats on a GPU.
//
//   nvcc -std=c++17 -arch=native -o vector_add vector_add.cu
//   ./vector_add
#include <cstdio>
#include <cstdlib>

// Every call of the runtime returns a status; look at each of them.
#define CHECK(call)                                                  \
  do {                                                               \
    cudaError_t status = (call);                                     \
    if (status != cudaSuccess) {                                     \
      std::fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__,        \
                   cudaGetErrorString(status));                      \
      std::exit(EXIT_FAILURE);                                       \
    }                                                                \
  } while (0)

// Device part.
extern "C" __global__ void vector_add(const float* a, const float* b,
                                      float* c, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) {
    c[i] = a[i] + b[i];
  }
}

// Host part.
int main() {
  const int n = 1 << 24;
  const size_t bytes = n * sizeof(float);

  // Pinned memory of the host, and memory of the device.
  float *a, *b, *c, *d_a, *d_b, *d_c;
  CHECK(cudaMallocHost(&a, bytes));
  CHECK(cudaMallocHost(&b, bytes));
  CHECK(cudaMallocHost(&c, bytes));
  CHECK(cudaMalloc(&d_a, bytes));
  CHECK(cudaMalloc(&d_b, bytes));
  CHECK(cudaMalloc(&d_c, bytes));
  for (int i = 0; i < n; ++i) {
    a[i] = 0.5f * (i % 1000);
    b[i] = 0.25f * (i % 777);
  }

  cudaStream_t stream;
  cudaEvent_t start, stop;
  CHECK(cudaStreamCreate(&stream));
  CHECK(cudaEventCreate(&start));
  CHECK(cudaEventCreate(&stop));

  // Queue everything: none of these calls waits.
  const int block = 256;
  const int grid = (n + block - 1) / block;
  CHECK(cudaMemcpyAsync(d_a, a, bytes, cudaMemcpyHostToDevice, stream));
  CHECK(cudaMemcpyAsync(d_b, b, bytes, cudaMemcpyHostToDevice, stream));
  vector_add<<<grid, block, 0, stream>>>(d_a, d_b, d_c, n);  // warms up
  CHECK(cudaGetLastError());  // a launch returns nothing: ask
  CHECK(cudaEventRecord(start, stream));
  vector_add<<<grid, block, 0, stream>>>(d_a, d_b, d_c, n);  // is timed
  CHECK(cudaGetLastError());
  CHECK(cudaEventRecord(stop, stream));
  CHECK(cudaMemcpyAsync(c, d_c, bytes, cudaMemcpyDeviceToHost, stream));

  // Wait. An error inside a kernel is returned here.
  CHECK(cudaStreamSynchronize(stream));
  float ms = 0.0f;
  CHECK(cudaEventElapsedTime(&ms, start, stop));

  int wrong = 0;
  for (int i = 0; i < n; ++i) {
    if (!(c[i] == a[i] + b[i])) ++wrong;  // true for NaN as well
  }
  std::printf("%d of %d elements are wrong\n", wrong, n);
  std::printf("kernel: %.3f ms, %.0f GB/s\n", ms, 3e-6 * bytes / ms);

  CHECK(cudaEventDestroy(start));
  CHECK(cudaEventDestroy(stop));
  CHECK(cudaStreamDestroy(stream));
  CHECK(cudaFree(d_a));
  CHECK(cudaFree(d_b));
  CHECK(cudaFree(d_c));
  CHECK(cudaFreeHost(a));
  CHECK(cudaFreeHost(b));
  CHECK(cudaFreeHost(c));
  return wrong == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
