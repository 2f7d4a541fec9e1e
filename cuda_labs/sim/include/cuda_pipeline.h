// Asynchronous copies to shared memory: one thread starts, commits and waits
// for its own (CUDA C++ Programming Guide, "Pipeline Primitives Interface").
#pragma once

extern "C" {
void sim_async_copy(void *to, const void *from, size_t bytes, size_t fill,
                    int line);
void sim_async_commit();
void sim_async_wait(size_t prior);
}

SIM_INLINE void __pipeline_memcpy_async(void *to, const void *from,
                                        size_t bytes, size_t fill = 0,
                                        SIM_LINE) {
  sim_async_copy(to, from, bytes, fill, line);
}
SIM_INLINE void __pipeline_commit() { sim_async_commit(); }
// The hardware counts to eight.
SIM_INLINE void __pipeline_wait_prior(size_t prior) {
  sim_async_wait(prior < 8 ? prior : 8);
}

// Copy `bytes` in the widest parts that both addresses allow, this thread every
// `step`-th of them. What cannot be copied asynchronously is copied at once.
SIM_INLINE void sim_async_range(char *to, const char *from, size_t bytes,
                                unsigned rank, unsigned step, int line) {
  size_t both = (size_t)to | (size_t)from;
  size_t part = both % 4 ? 1 : both % 8 ? 4 : both % 16 ? 8 : 16;
  size_t whole = bytes / part * part;
  for (size_t i = rank * part; i < whole; i += step * part) {
    if (part == 1) to[i] = from[i];
    else sim_async_copy(to + i, from + i, part, 0, line);
  }
  // What is left of the last part.
  for (size_t i = whole; rank == 0 && i < bytes;) {
    if (part > 8 && bytes - i >= 8) {
      sim_async_copy(to + i, from + i, 8, 0, line);
      i += 8;
    } else if (part > 4 && bytes - i >= 4) {
      sim_async_copy(to + i, from + i, 4, 0, line);
      i += 4;
    } else {
      to[i] = from[i];
      ++i;
    }
  }
}
