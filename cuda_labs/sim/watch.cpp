// What ends a launch from outside: its deadline, and the end of the process that
// asked for it. A timer looks every second.
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "runtime.h"

static pid_t parent;
static double end;
static volatile bool watching;

static double now() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void look_in(double seconds) {
  if (seconds > 1) seconds = 1;
  itimerval t = {};
  t.it_value.tv_sec = (time_t)seconds;
  t.it_value.tv_usec = (suseconds_t)((seconds - (double)(time_t)seconds) * 1e6);
  if (seconds > 0 && !t.it_value.tv_sec && !t.it_value.tv_usec)
    t.it_value.tv_usec = 1;  // zero would stop the timer
  setitimer(ITIMER_REAL, &t, nullptr);
}

void watch_parent() { parent = getppid(); }

void watch_begin(double seconds) {
  end = now() + seconds;
  watching = true;
  look_in(seconds);
}

void watch_end() {
  watching = false;  // a ring on its way must not set the timer again
  look_in(0);
}

// The timer has rung. False when the deadline has passed.
bool watch_goes_on() {
  if (!watching) return true;
  if (getppid() != parent) _exit(0);  // nobody waits for the result
  double left = end - now();
  if (left > 0) look_in(left);
  return left > 0;
}
