"""A folder that takes another's place in one step, so that nobody ever finds none, or half of one."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

RENAME_EXCHANGE = 2
AT_FDCWD = -100
NOT_HERE = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EXDEV)
"""What a kernel or file system answers that cannot exchange two names."""


@contextmanager
def written_aside(place: Path) -> Iterator[Path]:
    """An empty folder to write in, which is called `place` when the block has ended; after an error nothing is left.

    What is at `place` is exchanged with it in one step where the system can (Linux: ext4, XFS, Btrfs, tmpfs), and
    removed. Elsewhere it is renamed away first, and for that instant there is none.
    """
    aside = place.with_name(f".{place.name}.aside")
    shutil.rmtree(aside, ignore_errors=True)  # of a writer that was killed
    aside.mkdir(parents=True)
    try:
        yield aside
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    if not place.exists():
        os.replace(aside, place)
    elif _exchanged(aside, place):
        shutil.rmtree(aside)
    else:
        old = place.with_name(f".{place.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        os.replace(place, old)
        os.replace(aside, place)
        shutil.rmtree(old)


def _exchanged(one: Path, other: Path) -> bool:
    """Exchange two names; False where the system has no such call."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    if rename(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE) == 0:
        return True
    if (number := ctypes.get_errno()) not in NOT_HERE:
        raise OSError(number, os.strerror(number), str(other))
    return False
