"""What is permitted is done and said; what is refused is said with what would permit it, and never fails a run."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from typing import Any

import pytest

from edge_streamer.runtime.loop import priorities


def refuse(*_: Any) -> None:
    raise PermissionError(1, "Operation not permitted")


@pytest.fixture
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    monkeypatch.setattr(priorities, "_lock_memory", lambda: [])


@pytest.mark.usefixtures("two_cores")
def test_refusals_name_what_would_permit_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    given: list[int] = []
    monkeypatch.setattr(os, "setpriority", lambda _which, _who, nice: given.append(nice))
    assert priorities.raise_priority() == [f"priority: nice {given[0]} (real time needs LimitRTPRIO or root)"]
    monkeypatch.setattr(os, "setpriority", refuse)
    (line,) = priorities.raise_priority()
    assert "ordinary" in line
    assert "LimitRTPRIO" in line


@pytest.mark.usefixtures("two_cores")
def test_one_core_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    monkeypatch.setattr(os, "sched_setscheduler", lambda *_: pytest.fail("one core must not be taken"))
    assert priorities.raise_priority() == ["priority: ordinary, because there is one core"]


def test_memory_is_not_locked_under_a_finite_limit() -> None:
    import resource

    if resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] == resource.RLIM_INFINITY:
        pytest.skip("this machine permits any amount")
    assert priorities._lock_memory() == ["memory: not locked (that needs LimitMEMLOCK=infinity)"]


CHILD = """
import json, os, threading
from edge_streamer.runtime.loop import priorities
before, other, go, done = os.sched_getscheduler(0), [], threading.Event(), threading.Event()
def bystander():
    go.wait()
    other.append(os.sched_getscheduler(threading.get_native_id()))
    done.set()
threading.Thread(target=bystander).start()
told = priorities.raise_priority()
go.set(); done.wait()
print(json.dumps([told, os.sched_getscheduler(0), before, other[0]]))
"""


@pytest.mark.skipif(not hasattr(os, "sched_setscheduler"), reason="needs Linux's scheduler")
def test_what_was_granted_is_what_the_kernel_says_and_only_this_thread_has_it() -> None:
    ran = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, text=True, check=True)
    told, mine, before, other = json.loads(ran.stdout)
    assert any(line.startswith("priority: real time") for line in told) == (mine == os.SCHED_RR)
    assert other == before  # a machine may run tests in real time themselves
    assert os.sched_getscheduler(0) == before


def test_the_collector_leaves_what_was_there_alone_and_is_given_it_back() -> None:
    before = gc.get_freeze_count()
    with priorities.nothing_to_collect():
        assert gc.get_freeze_count() > 1000
        assert len(gc.get_objects()) < 1000
    assert gc.get_freeze_count() == 0 <= before
    assert len(gc.get_objects()) > 1000
