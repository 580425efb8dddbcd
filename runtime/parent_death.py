"""A child that must not outlive its parent: the kernel signals it when the parent dies.

Forked Python children of ours watch a pipe for the end of their parent. A foreign program, such as
redis-server, watches nothing of ours, so the kernel has to do it: `prctl(PR_SET_PDEATHSIG)`, see
prctl(2). What that page says in its notes, and what follows from it here:

- The setting is made by the child for itself, and a fork clears it: call between fork and exec.
- It outlives exec, unless the program is set-user-id or carries file capabilities.
- A parent that dies between the fork and the call is missed. Therefore the parent's pid is looked at
  once more after the call: an orphan has another parent by then.
- "Parent" is the *thread* that forked. A server that is started from a thread dies with that thread:
  start it from the main one.

Only Linux has it. Elsewhere the call does nothing, and a parent that is killed with SIGKILL leaves
its foreign children behind; `shards.private_redis.server` therefore also ends leftovers at the next start.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable

# <linux/prctl.h>; the number is part of the kernel's ABI.
PR_SET_PDEATHSIG = 1


def _load_prctl() -> Callable[[int, int, int, int, int], int] | None:
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    # prctl is variadic and reads its arguments as unsigned long: an int pushed as 32 bits could
    # leave rubbish in the upper half.
    prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4
    prctl.restype = ctypes.c_int
    return prctl


# Looked up at import, because the caller runs between fork and exec, where the less there is to do
# (and to go wrong) the better.
_prctl = _load_prctl()


def die_with_parent(parent_pid: int, number: signal.Signals = signal.SIGTERM) -> None:
    """Asks the kernel to send `number` to this process when the parent dies.

    To be called in the child, between fork and exec. `parent_pid` is the parent's own `os.getpid()`,
    taken before the fork. Raises OSError when the kernel refuses; ends this process by `number` when
    the parent is already gone.
    """
    if _prctl is None:
        return
    if _prctl(PR_SET_PDEATHSIG, number, 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"prctl(PR_SET_PDEATHSIG): {os.strerror(code)}")
    if os.getppid() != parent_pid:
        os.kill(os.getpid(), number)
