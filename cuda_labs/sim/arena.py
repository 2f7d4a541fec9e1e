"""The file in memory through which a launch's arguments travel."""

from __future__ import annotations

import errno
import mmap
import os
import tempfile

from cuda_labs.sim.wire import FIRST_FREE

IN_MEMORY = "/dev/shm"
FULL = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.ENOMEM)
_CANNOT_ALLOCATE = (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS)


class Arena:
    """An unnamed file in `folder`, or where temporary files go, and its mapping.

    Its first page is the status page; see wire.py. Raises OSError when `size` bytes
    do not fit there.
    """

    def __init__(self, folder: str | None, size: int) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (kept open)
        self._allocated = 0
        self._mapped: mmap.mmap | None = None
        self._last = b""
        self.fileno = self._file.fileno()
        self.size = 0
        self.reserve(size)

    def reserve(self, size: int) -> None:
        """Make room for `size` bytes.

        Raises OSError when there is none. To find that out page by page, as they
        are first touched, would end Python with a bus error.
        """
        if size > self._allocated:
            try:
                more = size - self._allocated
                os.posix_fallocate(self.fileno, self._allocated, more)
            except AttributeError:  # macOS
                pass
            except OSError as error:
                if error.errno not in _CANNOT_ALLOCATE:
                    raise
            self._allocated = size
        if size > self.size:
            self.size = 1 << (size - 1).bit_length()
            os.ftruncate(self.fileno, self.size)
            self._mapped = mmap.mmap(self.fileno, self.size)

    @property
    def memory(self) -> mmap.mmap:
        """The mapping; there is none after `release`."""
        assert self._mapped is not None, "released"
        return self._mapped

    @property
    def head(self) -> mmap.mmap | bytes:
        """Status page and printed text, also after `release`."""
        return self._last if self._mapped is None else self._mapped

    def release(self) -> None:
        """Give the memory back; what `head` says stays."""
        if self._mapped is not None:
            self._last = self._mapped[:FIRST_FREE]
        self._mapped = None
        self._file.close()
