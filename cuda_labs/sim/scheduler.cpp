// Threads of a block are fibers. One fiber runs thread after thread; only a
// thread that has to wait keeps its fiber, and the next thread starts on
// another. A kernel without barriers never switches.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "profile.h"
#include "swap.h"

Thread thread[MAX_THREADS];
uint32_t current, leaving, threads;
uint32_t grid[3], block[3], block_index[3];
uintptr_t stack_low;

static uint32_t order[MAX_THREADS], started, exited;
static void *const *arguments;
static void *root;  // the stack of the launcher's own loop
static Fiber *idle, *running;

// A first-in, first-out queue; a thread is in one queue at most.
struct Queue {
  uint32_t item[MAX_THREADS], head, count;
  void push(uint32_t t) { item[(head + count++) % MAX_THREADS] = t; }
  uint32_t pop() {
    uint32_t t = item[head];
    head = (head + 1) % MAX_THREADS;
    --count;
    return t;
  }
};
static Queue ready, spinning;

static struct {
  uint32_t waiting, sum;
  int line, mode;
  bool all, any, differ;
} barrier;

static void fiber_main();

static Fiber *idle_fiber() {
  if (idle) {
    Fiber *f = idle;
    idle = f->next;
    return f;
  }
  static uint32_t made;
  char *low = (char *)mmap(nullptr, GUARD + STACK, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (low == MAP_FAILED) abort();
  mprotect(low, GUARD, PROT_NONE);
  Fiber *f = (Fiber *)calloc(1, sizeof(Fiber));
  f->low = low + GUARD;
  // Tops at equal offsets would compete for the same few cache sets.
  uintptr_t top = (uintptr_t)(f->low + STACK) - 64 * (made++ % 61) - 64;
  void **sp = (void **)(top & ~(uintptr_t)63);
#if defined(__x86_64__)
  --sp;  // a function is entered with its return address on the stack
#endif
  sp -= SAVED;
  memset(sp, 0, SAVED * sizeof(void *));
  sp[ENTRY_WORD] = (void *)&fiber_main;
  f->sp = sp;
  return f;
}

static inline __attribute__((always_inline)) void switch_to(Fiber *f, void **save) {
  if (f == running) return;
  running = f;
  stack_low = (uintptr_t)f->low;
  swap(save, f->sp);
}

// No thread is ready: start another one, or let one go on that spins, or end the
// block.
static __attribute__((noinline)) void next_unready(void **save) {
  if (started == threads) resolve_activemask();
  if (ready.count || (started == threads && spinning.count)) {
    current = ready.count ? ready.pop() : spinning.pop();
    return switch_to(thread[current].fiber, save);
  }
  if (started < threads) return switch_to(idle_fiber(), save);
  if (exited == threads) {
    running = nullptr;
    swap(save, root);
    return;
  }
  static char text[sizeof(Status::text)];
  describe_waiting(text, sizeof text);
  finding(DEADLOCK, 0, nullptr, text);
}

// Leave the present stack for whatever can run. Returns when the thread that
// called is chosen again (or, for an idle fiber, when there is work). Inlined:
// each frame is another line of the cache to fetch for a thread that goes on.
static inline __attribute__((always_inline)) void next(void **save) {
  if (!ready.count) return next_unready(save);
  current = ready.pop();
  switch_to(thread[current].fiber, save);
}

static inline __attribute__((always_inline)) void leave() {
  Fiber *f = running;
  thread[current].fiber = f;
  leaving = current;
  next(&f->sp);
}

void park() { leave(); }

void make_ready(uint32_t t) {
  thread[t].wait = 0;
  ready.push(t);
}

EXPORT void sim_yield() {
  bool alone = !ready.count && !spinning.count && started == threads;
  if (alone && !resolve_activemask()) return;
  spinning.push(current);
  park();
}

static void release_barrier() {
  if (!barrier.waiting || barrier.waiting + exited < threads) return;
  if (barrier.differ) {
    static char text[sizeof(Status::text)];
    describe_waiting(text, sizeof text);
    finding(BARRIER_LINES, barrier.line, nullptr, text);
  }
  uint32_t result = barrier.mode == 1   ? barrier.sum
                    : barrier.mode == 2 ? barrier.all
                                        : barrier.any;
  for (uint32_t t = 0; t < threads; ++t) {
    if (thread[t].wait == AT_BARRIER) {
      thread[t].result = result;
      make_ready(t);
    }
  }
  profile_barrier();
  if (exited) profile_note(EXITED_EARLY, barrier.line);
  barrier.waiting = 0;
}

EXPORT int sim_barrier(int kind, int predicate, int line) {
  Thread &me = thread[current];
  if (!barrier.waiting++) {
    barrier.line = line;
    barrier.mode = kind;
    barrier.sum = 0;
    barrier.all = true;
    barrier.any = barrier.differ = false;
  }
  if (line != barrier.line || kind != barrier.mode) barrier.differ = true;
  barrier.sum += predicate != 0;
  barrier.all &= predicate != 0;
  barrier.any |= predicate != 0;
  me.wait = AT_BARRIER;
  me.line = line;
  release_barrier();
  leave();
  return (int)thread[current].result;
}

static void fiber_main() {
  Fiber *me = running;
  for (;;) {
    while (started < threads && !ready.count) {
      uint32_t t = order[started++];
      current = t;
      thread[t].fiber = me;
      kernel->run(arguments);
      // The thread may have waited and come back: it ends as `current`.
      thread[current].exited = true;
      ++exited;
      warp_exit(current);
      release_barrier();
    }
    me->next = idle;
    idle = me;
    next(&me->sp);
  }
}

void begin_launch() {
  atomics = 0;
  uint32_t t = 0;
  for (uint32_t z = 0; z < block[2]; ++z)
    for (uint32_t y = 0; y < block[1]; ++y)
      for (uint32_t x = 0; x < block[0]; ++x, ++t) {
        thread[t].x = (uint16_t)x;
        thread[t].y = (uint16_t)y;
        thread[t].z = (uint16_t)z;
      }
}

void run_block(void *const *args, uint64_t seed) {
  arguments = args;
  started = exited = 0;
  ready.count = spinning.count = 0;
  barrier.waiting = 0;
  async_block();
  warps_begin();
  for (uint32_t t = 0; t < threads; ++t) {
    thread[t].wait = 0;
    thread[t].exited = false;
    order[t] = seed == 1 ? threads - 1 - t : t;
  }
  if (seed > 1) {  // xorshift, one stream for each block
    uint64_t s = seed * 0x9E3779B97F4A7C15u + block_index[0] +
                 ((uint64_t)block_index[1] << 20) +
                 ((uint64_t)block_index[2] << 40);
    for (uint32_t i = threads - 1; i > 0; --i) {
      s ^= s << 13;
      s ^= s >> 7;
      s ^= s << 17;
      uint32_t j = (uint32_t)(s % (i + 1)), k = order[i];
      order[i] = order[j];
      order[j] = k;
    }
  }
  next(&root);
}
