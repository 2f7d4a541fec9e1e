// Threads of a block are fibers. One fiber runs thread after thread; only a
// thread that has to wait keeps its fiber, and the next thread starts on
// another. A kernel without barriers never switches.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "profile.h"

extern "C" void sim_swap(void **save, void *load);
#if defined(__x86_64__)
asm(R"(
.text
.globl sim_swap
.type sim_swap, @function
sim_swap:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size sim_swap, .-sim_swap
)");
enum { SAVED = 7 };     // words on the stack of a fiber that waits
enum { ENTRY_WORD = 6 };  // the one that holds where it goes on
#elif defined(__aarch64__)
asm(R"(
.text
.globl sim_swap
.type sim_swap, %function
sim_swap:
  sub sp, sp, #160
  stp x19, x20, [sp]
  stp x21, x22, [sp, #16]
  stp x23, x24, [sp, #32]
  stp x25, x26, [sp, #48]
  stp x27, x28, [sp, #64]
  stp x29, x30, [sp, #80]
  stp d8, d9, [sp, #96]
  stp d10, d11, [sp, #112]
  stp d12, d13, [sp, #128]
  stp d14, d15, [sp, #144]
  mov x9, sp
  str x9, [x0]
  mov sp, x1
  ldp x19, x20, [sp]
  ldp x21, x22, [sp, #16]
  ldp x23, x24, [sp, #32]
  ldp x25, x26, [sp, #48]
  ldp x27, x28, [sp, #64]
  ldp x29, x30, [sp, #80]
  ldp d8, d9, [sp, #96]
  ldp d10, d11, [sp, #112]
  ldp d12, d13, [sp, #128]
  ldp d14, d15, [sp, #144]
  add sp, sp, #160
  ret
.size sim_swap, .-sim_swap
)");
enum { SAVED = 20 };
enum { ENTRY_WORD = 11 };
#else
#error "the context switch is written for x86-64 and aarch64"
#endif

Thread thread[MAX_THREADS];
uint32_t current, threads;
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
  uintptr_t top = (uintptr_t)(f->low + STACK) - 64 * (made++ % 32) - 64;
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

static void switch_to(Fiber *f, void **save) {
  if (f == running) return;
  running = f;
  stack_low = (uintptr_t)f->low;
  sim_swap(save, f->sp);
}

static void become(uint32_t t) { current = t; }

// Leave the present stack for whatever can run. Returns when the thread that
// called is chosen again (or, for an idle fiber, when there is work).
static void next(void **save) {
  for (;;) {
    if (ready.count || (started == threads && !resolve_activemask() &&
                        spinning.count)) {
      uint32_t t = ready.count ? ready.pop() : spinning.pop();
      become(t);
      return switch_to(thread[t].fiber, save);
    }
    if (ready.count) continue;
    if (started < threads) return switch_to(idle_fiber(), save);
    if (exited == threads) {
      running = nullptr;
      sim_swap(save, root);
      return;
    }
    static char text[sizeof(Status::text)];
    describe_waiting(text, sizeof text);
    finding(DEADLOCK, 0, nullptr, text);
  }
}

void park() {
  Fiber *f = running;
  thread[current].fiber = f;
  next(&f->sp);
}

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
  park();
  return (int)me.result;
}

static void fiber_main() {
  Fiber *me = running;
  for (;;) {
    while (started < threads && !ready.count) {
      uint32_t t = order[started++];
      become(t);
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
        thread[t].x = x;
        thread[t].y = y;
        thread[t].z = z;
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
