// How a launch ends early: a finding, a signal, the deadline. What is known is
// written to the status page, and the process ends.
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <ucontext.h>
#include <unistd.h>

#include "runtime.h"

static void where_and_end(int outcome) {
  for (int i = 0; i < 3; ++i) status->block[i] = block_index[i];
  status->thread[0] = thread[current].x;
  status->thread[1] = thread[current].y;
  status->thread[2] = thread[current].z;
  status->stack = stack_low;
  status->outcome = outcome;
  _exit(3);
}

[[noreturn]] void finding(int kind, int line, const void *pc,
                          const char *text) {
  status->kind = kind;
  status->line = line;
  status->pc[0] = pc && kernel ? (uintptr_t)pc - kernel->image : 0;
  strncpy(status->text, text, sizeof status->text - 1);
  where_and_end(FINDING);
  __builtin_unreachable();
}

static bool in_kernel(uintptr_t pc) {
  return kernel && pc >= kernel->image && pc < kernel->image_end;
}

// A signal comes from the kernel or from a function that it called: follow
// the frame pointers, inside the running stack, to the addresses in it.
void on_signal(int number, siginfo_t *info, void *context) {
  if (number == SIGALRM && watch_goes_on()) return;
  uintptr_t pc = 0, frame = 0, top = 0;
#if defined(__x86_64__)
  auto &registers = ((ucontext_t *)context)->uc_mcontext.gregs;
  pc = (uintptr_t)registers[REG_RIP];
  frame = (uintptr_t)registers[REG_RBP];
  top = (uintptr_t)registers[REG_RSP];
#elif defined(__aarch64__)
  auto &registers = ((ucontext_t *)context)->uc_mcontext;
  pc = registers.pc;
  frame = registers.regs[29];
  top = registers.sp;
#endif
  // Just below the stack in use: it is full. While threads are switched it is that
  // of the one that leaves.
  uintptr_t address = (uintptr_t)info->si_addr;
  if (number == SIGSEGV && top - address + 8192 < 16384) {
    if (top - stack_low >= STACK) current = leaving;
    stack_low = (address | (GUARD - 1)) + 1;  // behind the guard page
  }
  uintptr_t end = stack_low + STACK;
  int found = 0;
  // A return address points behind its call; a fault at its instruction.
  if (in_kernel(pc)) status->pc[found++] = pc - kernel->image + 1;
#if defined(__x86_64__)
  // A function just entered has its return address on top.
  if (!found && top >= stack_low && top + 8 <= end &&
      in_kernel(*(uintptr_t *)top))
    status->pc[found++] = *(uintptr_t *)top - kernel->image;
#endif
  for (int i = 0; i < 64 && found < 4; ++i) {
    if (frame < stack_low || frame + 16 > end || (frame & 7)) break;
    pc = ((uintptr_t *)frame)[1];
    if (in_kernel(pc)) status->pc[found++] = pc - kernel->image;
    frame = *(uintptr_t *)frame;
  }
  status->line = 0;
  status->signal = number;
  status->address = number == SIGALRM ? 0 : address;
  where_and_end(number == SIGALRM ? DEADLINE : SIGNAL);
}

EXPORT void sim_trap(int kind, int line, const char *text) {
  finding(kind, line, nullptr, text);
}
EXPORT unsigned long long sim_timer() { return 0; }

// ---- what -fsanitize=bounds,shift-exponent,... calls ----
struct Place {
  const char *file;
  uint32_t line, column;
};
struct Mismatch {
  Place place;
  const void *type;
  uint8_t log_align, how;  // 0 load, 1 store
};
static void ubsan(int kind, const Place *place, const char *text) {
  if (mode != FAST) finding(kind, (int)place->line, nullptr, text);
}
extern "C" {
  // An object's table of virtual functions is set. The call is the last thing
  // here, a jump, so that the place in the kernel is what returns are to.
  void __tsan_write8(void *);
  void __tsan_read8(void *);
  void __tsan_vptr_update(void **p, void *) { __tsan_write8(p); }
  void __tsan_vptr_read(void **p) { __tsan_read8(p); }
  void __ubsan_handle_out_of_bounds(Place *place, uintptr_t index) {
    char text[80];
    snprintf(text, sizeof text, "%ld", (long)index);
    ubsan(INDEX, place, text);
  }
  void __ubsan_handle_shift_out_of_bounds(Place *place, uintptr_t,
                                          uintptr_t by) {
    char text[80];
    long amount = by >> 32 ? (long)by : (long)(int32_t)by;
    snprintf(text, sizeof text, "%ld", amount);
    ubsan(SHIFT, place, text);
  }
  void __ubsan_handle_divrem_overflow(Place *place, uintptr_t, uintptr_t) {
    ubsan(DIVISION, place, "");
  }
  void __ubsan_handle_float_cast_overflow(Place *place, uintptr_t) {
    ubsan(CAST, place, "");
  }
  // Only of what is moved whole: a part of something misaligned may well be aligned.
  void __ubsan_handle_type_mismatch_v1(Mismatch *found, uintptr_t address) {
    bool moved = found->how == 0 || found->how == 1;
    if (!moved || found->log_align < 4 || !(address & 15)) return;
    if (address < 4096 || address - stack_low < STACK) return;
    status->address = address;
    status->bytes = 16;
    // The place may be a header's; the return address leads to the source.
    if (mode != FAST)
      finding(MISALIGNED, 0, __builtin_return_address(0),
              found->how ? "store" : "load");
  }
  void __stack_chk_fail() {
    finding(SMASHED, 0, __builtin_return_address(0), "");
  }
}
