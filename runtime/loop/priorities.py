"""Keeps what would hold up a thread in real time away from it, where that is permitted, and says so.

Receives nothing; hands on what was granted or refused, a sentence each. It never fails a run.

Choices. The loop's thread gets the lowest real-time priority (round robin, 1): above every ordinary program, below the
threads of drivers and the kernel (50 and more). Only this thread: engine threads began before with ordinary priority,
and a real-time engine could starve the device's own processes. Not at all on one core, where a step would then hold
up everything else. Memory is locked so that nothing of the model is paged out, only where the limit is unlimited: with
a finite one, later allocations would fail.
"""

from __future__ import annotations

import ctypes
import gc
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager

from edge_streamer.runtime.machine import cores

PRIORITY = 1
NICE = -10
"""Where real time is not permitted but this is."""

_MCL_CURRENT, _MCL_FUTURE = 1, 2


def raise_priority() -> list[str]:
    """Do what is permitted; returns what was refused or done, for the beginning of a run."""
    return [*_raise_thread(), *_lock_memory()]


@contextmanager
def nothing_to_collect() -> Iterator[None]:
    """Within the block Python's collector looks at nothing that was there before: a full collection visits every object
    of every module, which stops all threads for some 10 ms."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _raise_thread() -> list[str]:
    if not hasattr(os, "sched_setscheduler"):
        return []
    if cores() < 2:
        return ["priority: ordinary, because there is one core"]
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(PRIORITY))
        return [f"priority: real time ({PRIORITY})"]
    except OSError:
        pass
    try:
        os.setpriority(os.PRIO_PROCESS, 0, NICE)
        return [f"priority: nice {NICE} (real time needs LimitRTPRIO or root)"]
    except OSError:
        return ["priority: ordinary (raising it needs LimitRTPRIO, LimitNICE or root)"]


def _lock_memory() -> list[str]:
    soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if soft != resource.RLIM_INFINITY:
        return ["memory: not locked (that needs LimitMEMLOCK=infinity)"]
    try:
        failed = ctypes.CDLL(None, use_errno=True).mlockall(_MCL_CURRENT | _MCL_FUTURE)
    except (OSError, AttributeError):
        return ["memory: not locked (this system cannot)"]
    return [f"memory: not locked ({os.strerror(ctypes.get_errno())})"] if failed else ["memory: locked"]
