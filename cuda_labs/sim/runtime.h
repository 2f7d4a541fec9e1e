// State shared by the parts of the launcher: one kernel runs at a time, in one
// worker, so it is plain global data.
#pragma once
#include <stddef.h>
#include <stdint.h>

#define EXPORT extern "C" __attribute__((visibility("default")))

enum { MAX_THREADS = 1024, WARP = 32, STACK = 256 << 10, GUARD = 4096 };
enum { DYNAMIC_MAX = 227 << 10, PRINT_MAX = 1 << 20 };

// The first page of the memory shared with the parent. It is written as the
// launch goes on, so that it can be read after a crash.
struct Status {
  int32_t outcome;  // one of the values below
  int32_t kind;     // which finding
  int32_t line;     // of the source, 0 when only pc is known
  int32_t bytes;    // of the access
  uint64_t pc[4];   // offsets in the kernel's object, innermost first
  uint64_t address;
  uint32_t block[3], thread[3];
  int32_t signal;
  uint32_t printed;
  uint64_t arena;  // where the shared memory lies in this process
  uint64_t image;  // where the kernel's object lies
  uint64_t stack;  // lowest address of the running thread's stack
  uint64_t dynamic;
  char text[2048];
};
enum { RUNNING = 1, DONE = 2, FINDING = 3, SIGNAL = 4, DEADLINE = 5 };

enum Kind {
  ASSERT = 1, TRAP, OUT_OF_BOUNDS, MISALIGNED, BARRIER_LINES, DEADLOCK,
  NOT_IN_MASK, BAD_WIDTH, INACTIVE_SOURCE, SHIFT, DIVISION, CAST, INDEX,
  UNREACHABLE, NULL_POINTER, SMASHED, BAD_LAUNCH, BAD_COPY, NOT_THERE,
  TO_CONSTANT
};

struct Fiber {
  void *sp;
  char *low;  // lowest address of the stack, above the guard page
  Fiber *next;
};

struct alignas(64) Thread {  // one line of the processor's cache
  Fiber *fiber;
  uint64_t value, result;
  uint16_t x, y, z;
  bool exited;
  int32_t wait;  // 0 or one of the values below
  int32_t kind, line, arg, width;
  uint32_t mask;
};
enum { AT_BARRIER = 1, AT_COLLECTIVE, AT_ACTIVEMASK };

enum { WIDEST = 16, STRUCTURE_MAX = 1024 };  // bytes

struct Kernel {
  void *handle;
  void (*run)(void *const *);
  uintptr_t image, image_end;  // the whole object in memory
  uintptr_t data, data_end;    // its writable part
  uint8_t *map;  // a byte for each of its bytes: 1 variable, 2 shared, 8 one that
                 // no kernel may change, and 4 while a copy to it is under way
  uint8_t unit[STRUCTURE_MAX + 1];  // alignment of the parameters' structures, by size
  bool vectors;  // a parameter points to 16 bytes that are moved whole
  bool typed;    // the compiler checks alignments above 8
};

struct Range {
  uint64_t at, size;
};

enum { FAST = 0, CHECKED = 1, PROFILE = 2 };

extern Status *status;
extern char *arena;
extern size_t arena_size;
extern uint8_t *valid;  // one bit for each byte of the arena
extern Kernel *kernel;
extern int mode;
extern uint32_t grid[3], block[3], block_index[3], threads;
extern uint32_t dynamic_bytes;
extern Thread thread[MAX_THREADS];
extern uint32_t current;
extern uint32_t leaving;  // the last thread that gave way
extern uintptr_t stack_low;

[[noreturn]] void finding(int kind, int line, const void *pc,
                          const char *text);
void write_all(const void *from, size_t n);  // to the parent
void load(const char *payload);
Kernel *kernel_number(uint32_t id);
void watch_parent();
void watch_begin(double seconds);
void watch_end();
bool watch_goes_on();
void begin_launch();
void run_block(void *const *arguments, uint64_t order);
void run_blocks(uint64_t first, uint64_t last);
void run_divided(uint64_t blocks, uint32_t workers);
extern uint32_t atomics;    // of the launch so far
extern uint32_t in_flight;  // asynchronous copies that have yet to arrive
int async_pending(uintptr_t a, size_t bytes);
void async_block();
void check_access(uintptr_t a, size_t bytes, size_t unit, bool write, int line,
                  const void *pc);
void park();
void make_ready(uint32_t t);
void warp_exit(uint32_t t);
bool resolve_activemask();
void warps_begin();
uint32_t warp_running(uint32_t warp);
void describe_waiting(char *text, size_t size);
EXPORT void sim_yield();
extern "C" __attribute__((visibility("default"))) char sim_dynamic[];
