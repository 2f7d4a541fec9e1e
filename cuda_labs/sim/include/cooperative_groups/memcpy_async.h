// Copies to shared memory by all threads of a group together. How a copy is
// divided among them is the library's affair; here each takes every n-th part
// of 16, 8 or 4 bytes, as both addresses allow.
#pragma once
#include <cooperative_groups.h>
#include <sim_pipeline.h>

namespace cooperative_groups {

template <class G, class T, class N>
SIM_INLINE void memcpy_async(const G &group, T *to, const T *from,
                             const N &bytes, SIM_LINE) {
  sim_async_range((char *)to, (const char *)from, (size_t)bytes,
                  group.thread_rank(), group.size(), line);
  sim_async_commit();
}
// Counts of elements, of which the smaller holds.
template <class G, class T, class N, class M>
SIM_INLINE void memcpy_async(const G &group, T *to, const N &room,
                             const T *from, const M &count, SIM_LINE) {
  size_t bytes = sizeof(T) * ((size_t)count < (size_t)room ? (size_t)count : (size_t)room);
  memcpy_async(group, to, from, bytes, line);
}
template <class G>
SIM_INLINE void wait(const G &group, SIM_LINE) {
  sim_async_wait(0);
  group.sync(line);
}
template <unsigned N, class G>
SIM_INLINE void wait_prior(const G &group, SIM_LINE) {
  __pipeline_wait_prior(N);
  group.sync(line);
}

}  // namespace cooperative_groups
