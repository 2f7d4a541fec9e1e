// The context switch, written for each processor.
#pragma once

// Leave this stack, whose place goes to *save, for the one that was left at `load`.
// On x86-64 without a call: a return on the new stack would be predicted to go where
// the old one's call came from, and be wrong each time. A jump here and the return
// of the caller are predicted well, as most threads wait at the same place. The
// registers are those of every x86-64: sim/flags.py builds for no later one.
#if defined(__x86_64__)
static inline __attribute__((always_inline)) void swap(void **save, void *load) {
  asm volatile(R"(
    leaq -128(%%rsp), %%rsp
    pushq %%rbp
    leaq 1f(%%rip), %%rcx
    pushq %%rcx
    movq %%rsp, (%0)
    movq %1, %%rsp
    popq %%rcx
    jmp *%%rcx
  1:
    popq %%rbp
    leaq 128(%%rsp), %%rsp)"  // the 128 bytes below the stack may be in use
               : "+D"(save), "+S"(load)
               :
               : "rax", "rbx", "rcx", "rdx", "r8", "r9", "r10", "r11", "r12",
                 "r13", "r14", "r15", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4",
                 "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11",
                 "xmm12", "xmm13", "xmm14", "xmm15", "memory", "cc");
}
enum { SAVED = 1, ENTRY_WORD = 0 };
#elif defined(__aarch64__)
extern "C" void sim_swap(void **save, void *load);
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
static inline void swap(void **save, void *load) { sim_swap(save, load); }
// Words on the stack of a fiber that waits; the one that holds where it goes on.
enum { SAVED = 20, ENTRY_WORD = 11 };
#else
#error "the context switch is written for x86-64 and aarch64"
#endif
