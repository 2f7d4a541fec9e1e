"""Run a compiler within bounds of time and memory.

A compiler is a driver that starts others: all of them are ended together. A source
whose templates never end would otherwise leave one behind that fills the memory.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence

MEMORY = 4 << 30
_SHELL = 'ulimit -v "$1" 2>/dev/null; ulimit -t "$2" 2>/dev/null; shift 2; exec "$@"'


def run(
    command: Sequence[str],
    text: str,
    *,
    seconds: float,
    memory: int = MEMORY,
    environment: Mapping[str, str] | None = None,
) -> tuple[int, str]:
    """Exit status and messages of `command`, which reads `text`.

    seconds: of time; each of its processes also ends after as much processor time,
    should this one be killed. memory: bytes of address space of each process.
    environment: variables beside those that are set. Raises
    subprocess.TimeoutExpired.
    """
    limits = (str(memory >> 10), str(int(seconds) + 1))
    child = subprocess.Popen(
        ["/bin/sh", "-c", _SHELL, "sh", *limits, *command],
        env={**os.environ, **(environment or {})},
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        process_group=0,
    )
    with child:
        try:
            _, messages = child.communicate(text, timeout=seconds)
        except BaseException:  # too late, or Ctrl-C, which this group does not get
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            raise
    return child.returncode, messages
