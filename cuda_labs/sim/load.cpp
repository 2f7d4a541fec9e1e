// A compiled kernel becomes part of this process: where its variables lie, and what
// it tells of its parameters.
#include <dlfcn.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>

#include "runtime.h"

static Kernel *kernels[65536];
static uint32_t loaded;

struct Load {
  uint64_t data, data_end, image_end, variables, shared, constants;
};

// "u32 id, u32 parameters, u32 bound, table", or "u32 0xffffffff, u32 length,
// u32 0, text".
void load(const char *payload) {
  const Load *head = (const Load *)payload;
  const Range *variable = (const Range *)(head + 1);
  const char *path = (const char *)(variable + head->variables);
  struct Param { char kind[4]; int32_t size[3]; };
  void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  const char *error = handle ? nullptr : dlerror();
  if (error || loaded == sizeof kernels / sizeof *kernels) {
    if (!error) error = "too many kernels are loaded";
    uint32_t reply[3] = {0xffffffffu, (uint32_t)strlen(error), 0};
    write_all(reply, sizeof reply);
    return write_all(error, reply[1]);
  }
  Kernel *k = (Kernel *)calloc(1, sizeof(Kernel));
  k->handle = handle;
  k->run = (void (*)(void *const *))dlsym(handle, "sim_run");
  Dl_info info;
  dladdr((void *)k->run, &info);
  k->image = (uintptr_t)info.dli_fbase;
  k->image_end = k->image + head->image_end;
  k->data = k->image + head->data;
  k->data_end = k->image + head->data_end;
  k->map = (uint8_t *)calloc(k->data_end - k->data + 1, 1);
  for (uint64_t i = 0; i < head->variables; ++i)
    memset(k->map + (variable[i].at - head->data),
           i < head->shared ? 2 : i < head->shared + head->constants ? 8 : 1,
           variable[i].size);
  uint32_t count =
      (uint32_t)((int (*)())dlsym(handle, "sim_count_of_params"))();
  const void *table =
      ((const void *(*)())dlsym(handle, "sim_table_of_params"))();
  k->typed = dlsym(handle, "sim_typed") != nullptr;
  for (uint32_t i = 0; i < count; ++i) {
    const Param &p = ((const Param *)table)[i];
    uint8_t align = (uint8_t)p.kind[3];
    if (p.size[2] == WIDEST && align >= WIDEST) k->vectors = true;
    // Zig's vectors, too, may be moved by what knows nothing of alignments.
    bool whole = p.kind[1] == 's' || (!k->typed && p.size[1] > 1);
    if (align >= p.size[2] && !whole) continue;
    if (p.size[2] > STRUCTURE_MAX) continue;
    uint8_t &unit = k->unit[p.size[2]];
    if (!unit || align < unit) unit = align;
  }
  kernels[loaded] = k;
  uint32_t bound = (uint32_t)((int (*)())dlsym(handle, "sim_bound"))();
  uint32_t reply[3] = {loaded++, count, bound};
  write_all(reply, sizeof reply);
  write_all(table, count * sizeof(Param));
}

Kernel *kernel_number(uint32_t id) { return kernels[id]; }
