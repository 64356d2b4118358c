"""Who opens a file and how often, by the kernel's account: Python and native libraries alike."""

import ctypes
import os
import struct
from contextlib import contextmanager

_IN_OPEN = 0x20
_ALL = _IN_OPEN | 0x01 | 0x08 | 0x10  # and reads and closes: of equal events in a row the kernel tells one
_EVENT = struct.Struct("iIII")  # watch, mask, cookie, bytes of a name


@contextmanager
def counted_opens(paths):
    """Yield a function that returns how often each file was opened so far; inotify(7)."""
    libc = ctypes.CDLL(None, use_errno=True)
    handle = libc.inotify_init1(os.O_NONBLOCK)
    watches = {libc.inotify_add_watch(handle, os.fsencode(path), _ALL): path for path in paths}
    assert handle >= 0
    assert all(watch >= 0 for watch in watches)
    opens = dict.fromkeys(paths, 0)

    def count():
        while True:
            try:
                content = os.read(handle, 1 << 16)
            except BlockingIOError:
                return dict(opens)
            for at in range(0, len(content), _EVENT.size):  # a watched file's events have no name
                watch, mask, _, _ = _EVENT.unpack_from(content, at)
                opens[watches[watch]] += bool(mask & _IN_OPEN)

    try:
        yield count
    finally:
        os.close(handle)
