"""Permissions of files as they are for anybody: the superuser, whom tests may run as, gives up for a while what makes him an exception."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

VERSION, OVERRIDE, READ_SEARCH = 0x20080522, 1 << 1, 1 << 2
"""Of the kernel's capabilities: their layout, and the two that let somebody write and read whatever permissions say."""
PLAIN = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
"""What a command of a test is started by, so that permissions hold for it."""


@contextmanager
def obeying_permissions() -> Iterator[None]:
    """Let this thread, and those that it starts, write and read only what permissions allow while the block runs."""
    if os.geteuid() != 0:
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(VERSION, 0)
    own, less = (ctypes.c_uint32 * 6)(), (ctypes.c_uint32 * 6)()
    assert libc.capget(header, own) == libc.capget(header, less) == 0
    less[0] &= ~(OVERRIDE | READ_SEARCH)
    assert libc.capset(header, less) == 0, os.strerror(ctypes.get_errno())
    try:
        yield
    finally:
        assert libc.capset(header, own) == 0
