// The process in which kernels run. It talks to its parent over standard
// input and output, and shares one file in memory with it: status page,
// printf's text, then the arguments. Whatever goes wrong in a kernel ends this
// process and nothing else.
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "profile.h"

void on_signal(int number, siginfo_t *info, void *context);

Status *status;
static int arena_file;

// ---- talking to the parent ----
static bool read_all(void *to, size_t n) {
  for (char *p = (char *)to; n;) {
    ssize_t got = read(0, p, n);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    p += got;
    n -= (size_t)got;
  }
  return true;
}
void write_all(const void *from, size_t n) {
  for (const char *p = (const char *)from; n;) {
    ssize_t put = write(1, p, n);
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) _exit(0);
    p += put;
    n -= (size_t)put;
  }
}

static void map_arena(size_t size) {
  if (size == arena_size) return;
  if (arena) munmap(arena, arena_size);
  arena = (char *)mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED,
                       arena_file, 0);
  free(valid);
  valid = (uint8_t *)calloc(size / 8 + 8, 1);
  if (arena == MAP_FAILED || !valid) _exit(4);
  arena_size = size;
  status = (Status *)arena;
}

struct Launch {
  uint64_t arena_size, order;
  double deadline;
  uint32_t id, mode, flush, dynamic, grid[3], block[3];
  uint32_t arguments, buffers, shared, variables, learn, workers;
};

static void mark(const Range *r, uint32_t n, bool on) {
  for (uint32_t i = 0; i < n; ++i) {
    uint64_t a = r[i].at, end = r[i].at + r[i].size;
    for (; a < end && (a & 7); ++a)
      valid[a >> 3] = (uint8_t)(on ? valid[a >> 3] | 1u << (a & 7) : 0);
    uint64_t whole = (end - a) / 8;
    if (a < end) {
      memset(valid + (a >> 3), on ? 255 : 0, whole);
      for (a += 8 * whole; a < end; ++a)
        valid[a >> 3] = (uint8_t)(on ? valid[a >> 3] | 1u << (a & 7) : 0);
    }
  }
}

static void flush_denormals(bool on) {
#if defined(__x86_64__)
  unsigned bits = 0x8040;
  _mm_setcsr(on ? _mm_getcsr() | bits : _mm_getcsr() & ~bits);
#elif defined(__aarch64__)
  uint64_t fpcr;
  asm volatile("mrs %0, fpcr" : "=r"(fpcr));
  fpcr = on ? fpcr | 1u << 24 : fpcr & ~(uint64_t)(1u << 24);
  asm volatile("msr fpcr, %0" : : "r"(fpcr));
#endif
}

// The launch that runs.
static const Launch *now;
static const Range *shared_of_now;
static void *const *arguments_of_now;

// Blocks `first` ... `last` - 1, counted along x, then y, then z.
void run_blocks(uint64_t first, uint64_t last) {
  for (uint64_t b = first; b < last; ++b) {
    block_index[0] = (uint32_t)(b % grid[0]);
    block_index[1] = (uint32_t)(b / grid[0] % grid[1]);
    block_index[2] = (uint32_t)(b / grid[0] / grid[1]);
    // Shared memory holds no value that a kernel could rely on.
    for (uint32_t i = 0; i < now->shared; ++i)
      memset((char *)kernel->image + shared_of_now[i].at, 0xff,
             shared_of_now[i].size);
    memset(sim_dynamic, 0xff, dynamic_bytes);
    if (mode == PROFILE) profile_block_begin();
    run_block(arguments_of_now, now->order);
    if (mode == PROFILE) profile_block_end();
  }
}

static void launch(const char *payload) {
  const Launch *l = (const Launch *)payload;
  const Range *argument = (const Range *)(l + 1);  // at: arena; size: pointer?
  const Range *buffer = argument + l->arguments;
  const Range *shared = buffer + l->buffers;
  const Range *variable = shared + l->shared;  // pairs: object, then arena
  map_arena(l->arena_size);
  rlimit limit = {l->arena_size * 2 + (4ull << 30), RLIM_INFINITY};
  setrlimit(RLIMIT_AS, &limit);
  kernel = kernel_number(l->id);
  mode = (int)l->mode;
  threads = l->block[0] * l->block[1] * l->block[2];
  memcpy(grid, l->grid, sizeof grid);
  memcpy(block, l->block, sizeof block);
  dynamic_bytes = l->dynamic;
  memset((void *)status, 0, offsetof(Status, text) + 1);
  status->outcome = RUNNING;
  status->arena = (uintptr_t)arena;
  status->image = kernel->image;
  status->dynamic = (uintptr_t)sim_dynamic;
  void **pointers =
      (void **)calloc(2 * (size_t)l->arguments + 2, sizeof(void *));
  void **arguments = pointers + l->arguments + 1;
  for (uint32_t i = 0; i < l->arguments; ++i) {
    char *at = argument[i].at ? arena + argument[i].at : nullptr;
    pointers[i] = at;
    arguments[i] = argument[i].size ? (void *)&pointers[i] : at;
  }
  mark(buffer, l->buffers, true);
  for (uint32_t i = 0; i < l->variables; ++i)
    memcpy((char *)kernel->image + variable[2 * i].at,
           arena + variable[2 * i + 1].at, variable[2 * i].size);
  begin_launch();
  if (mode == PROFILE) profile_begin(l->learn);
  flush_denormals(l->flush);
  watch_begin(l->deadline);
  now = l;
  shared_of_now = shared;
  arguments_of_now = arguments;
  uint64_t blocks = (uint64_t)grid[0] * grid[1] * grid[2];
  // To learn a kernel's loops one block is enough, or none if they are known.
  if (mode == PROFILE) run_blocks(0, !l->learn ? blocks : !loops_known());
  else run_divided(blocks, l->workers);
  watch_end();
  flush_denormals(false);
  for (uint32_t i = 0; i < l->variables; ++i)
    memcpy(arena + variable[2 * i + 1].at,
           (char *)kernel->image + variable[2 * i].at, variable[2 * i].size);
  mark(buffer, l->buffers, false);
  free(pointers);
  const void *counters = nullptr, *found = nullptr;
  uint32_t n = 0, m = 0;
  uint64_t footprint = 0;
  bool again = mode == PROFILE &&
               profile_reply(&counters, &n, &found, &m, &footprint);
  status->outcome = DONE;
  uint32_t reply[6] = {n, m, (uint32_t)footprint, (uint32_t)(footprint >> 32),
                       again, 0};
  write_all(reply, sizeof reply);
  write_all(counters, n * sizeof(Counter));
  write_all(found, m * sizeof(Found));
}

int main(int count, char **argument) {
  if (count != 2) return 2;
  arena_file = atoi(argument[1]);
  watch_parent();
  rlimit none = {0, 0};
  setrlimit(RLIMIT_CORE, &none);
  signal(SIGINT, SIG_IGN);  // the parent decides
  signal(SIGCHLD, SIG_DFL);  // one that is ignored leaves no worker to wait for
  sigset_t nothing;
  sigemptyset(&nothing);
  sigprocmask(SIG_SETMASK, &nothing, nullptr);  // the parent's mask comes along
  // Kernels call its functions; a linker may leave it out as unused here.
  dlopen("libm.so.6", RTLD_NOW | RTLD_GLOBAL);
  stack_t alternate = {};
  alternate.ss_size = 64 << 10;
  alternate.ss_sp = malloc(alternate.ss_size);
  sigaltstack(&alternate, nullptr);
  struct sigaction action = {};
  action.sa_sigaction = on_signal;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  const int signals[] = {SIGSEGV, SIGBUS,  SIGFPE, SIGILL,
                         SIGABRT, SIGALRM, SIGTRAP};
  for (int s : signals) sigaction(s, &action, nullptr);
  map_arena(4096 + PRINT_MAX);
  uint32_t head[2];
  char *payload = nullptr;
  size_t room = 0;
  while (read_all(head, sizeof head)) {
    if (head[1] > room) payload = (char *)realloc(payload, room = head[1]);
    if (!payload || !read_all(payload, head[1])) break;
    if (head[0] == 1) load(payload);
    else if (head[0] == 2) launch(payload);
    else break;
  }
  return 0;
}
