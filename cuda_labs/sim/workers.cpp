// The blocks of a launch on several processors: each worker is a copy of this
// process that runs a share of the blocks. Global memory is the one thing that
// they have in common, so only kernels whose blocks do not talk to each other
// are divided, and the results are those of one worker to the bit.
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#if defined(__linux__)
#include <sys/prctl.h>
#endif

#include "runtime.h"

enum { MAX_WORKERS = 64, PAGE = 4096 };
static_assert(sizeof(Status) <= PAGE, "a worker's status is a page");

static pid_t worker[MAX_WORKERS];

// The child's part: it reports on a page of its own and never returns.
static void work(uint64_t first, uint64_t last, Status *own, pid_t parent) {
#if defined(__linux__)
  prctl(PR_SET_PDEATHSIG, SIGKILL);
#endif
  if (getppid() != parent) _exit(0);
  memcpy((void *)own, (const void *)status, sizeof(Status));
  status = own;
  run_blocks(first, last);
  _exit(0);
}

// Run all blocks, the first share here. What the lowest share finds ends the
// launch, as it would with one worker.
void run_divided(uint64_t blocks, uint32_t workers) {
  if (workers > MAX_WORKERS) workers = MAX_WORKERS;
  if (workers > blocks) workers = (uint32_t)blocks;
  if (workers < 2) return run_blocks(0, blocks);
  static char *pages;
  if (!pages)
    pages = (char *)mmap(nullptr, MAX_WORKERS * PAGE, PROT_READ | PROT_WRITE,
                         MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (pages == MAP_FAILED) _exit(4);
  uint64_t share = blocks / workers, more = blocks % workers;
  uint64_t end = share + (more > 0), first = end;
  pid_t self = getpid();
  for (uint32_t w = 1; w < workers; ++w) {
    uint64_t last = first + share + (w < more);
    worker[w] = fork();
    if (worker[w] < 0) _exit(4);
    if (!worker[w]) work(first, last, (Status *)(pages + w * PAGE), self);
    first = last;
  }
  run_blocks(0, end);
  for (uint32_t w = 1; w < workers; ++w) {
    int how = 0;
    while (waitpid(worker[w], &how, 0) < 0) {
    }
    if (WIFEXITED(how) && WEXITSTATUS(how) == 0) continue;
    // The others end with this process.
    memcpy((void *)status, pages + w * PAGE, sizeof(Status));
    _exit(3);
  }
}
