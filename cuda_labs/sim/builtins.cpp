// What a kernel asks of the launch while it runs: indices, sizes, and printf.
#include <stdarg.h>
#include <stdio.h>

#include "runtime.h"

extern "C" {
  unsigned sim_thread_x() { return thread[current].x; }
  unsigned sim_thread_y() { return thread[current].y; }
  unsigned sim_thread_z() { return thread[current].z; }
  unsigned sim_block_x() { return block_index[0]; }
  unsigned sim_block_y() { return block_index[1]; }
  unsigned sim_block_z() { return block_index[2]; }
  unsigned sim_block_dim_x() { return block[0]; }
  unsigned sim_block_dim_y() { return block[1]; }
  unsigned sim_block_dim_z() { return block[2]; }
  unsigned sim_grid_dim_x() { return grid[0]; }
  unsigned sim_grid_dim_y() { return grid[1]; }
  unsigned sim_grid_dim_z() { return grid[2]; }
}

EXPORT int sim_printf(const char *format, ...) {
  char *text = arena + 4096;
  uint32_t used = status->printed;
  va_list list;
  va_start(list, format);
  int n = vsnprintf(text + used, PRINT_MAX - used, format, list);
  va_end(list);
  if (n > 0) {
    uint64_t total = (uint64_t)used + (uint64_t)n;
    status->printed =
        total < PRINT_MAX - 1 ? (uint32_t)total : PRINT_MAX - 1;
  }
  return n;
}
