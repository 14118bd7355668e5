"""What the tests of export share: torch on one thread.

On a machine with two cores that does something else besides (another test, a sound server), torch's own two threads
wait for each other: the same units were measured ten times slower than on one.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    """torch computes on one thread while these tests run."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
