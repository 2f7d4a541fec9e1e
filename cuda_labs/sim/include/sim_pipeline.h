// cuda::pipeline of one thread, and what it copies with.
#pragma once
#include <cuda_pipeline.h>

namespace cuda {

enum thread_scope {
  thread_scope_system,
  thread_scope_device,
  thread_scope_block,
  thread_scope_thread
};

// A size that is known to be, with both addresses, a multiple of A.
template <size_t A>
struct aligned_size_t {
  static constexpr size_t align = A;
  size_t value;
  SIM_INLINE explicit constexpr aligned_size_t(size_t n) : value(n) {}
  SIM_INLINE constexpr operator size_t() const { return value; }
};

template <thread_scope S>
class pipeline {
  static_assert(S == thread_scope_thread,
                "the simulator has pipelines of one thread: make_pipeline()");

 public:
  pipeline(const pipeline &) = delete;
  SIM_INLINE void producer_acquire() {}
  SIM_INLINE void producer_commit() {
    sim_async_commit();
    ++head;
  }
  // The oldest batch that has not been waited for.
  SIM_INLINE void consumer_wait() {
    if (head == tail) return;
    __pipeline_wait_prior((unsigned char)(head - tail - 1));
    ++tail;
  }
  SIM_INLINE void consumer_release() {}
  SIM_INLINE bool quit() { return true; }

 private:
  unsigned char head = 0, tail = 0;
  pipeline() = default;
  friend pipeline<thread_scope_thread> make_pipeline();
};
SIM_INLINE pipeline<thread_scope_thread> make_pipeline() {
  return pipeline<thread_scope_thread>();
}
template <unsigned char N>
SIM_INLINE void pipeline_consumer_wait_prior(pipeline<thread_scope_thread> &) {
  __pipeline_wait_prior(N);
}

template <class T, class N>
SIM_INLINE void memcpy_async(T *to, const T *from, N bytes,
                             pipeline<thread_scope_thread> &, SIM_LINE) {
  sim_async_range((char *)to, (const char *)from, bytes, 0, 1, line);
}
template <class G, class T, class N>
SIM_INLINE void memcpy_async(const G &group, T *to, const T *from, N bytes,
                             pipeline<thread_scope_thread> &, SIM_LINE) {
  sim_async_range((char *)to, (const char *)from, bytes, group.thread_rank(),
                  group.size(), line);
}

}  // namespace cuda
