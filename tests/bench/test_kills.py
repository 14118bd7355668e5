"""Commands killed a few times: no harm, nothing left over."""

from __future__ import annotations

from tests.bench.kills import kill


def test_a_few_kills_do_no_harm() -> None:
    rows = kill(3, ["pack", "open"], seed=1)
    assert [row.kills for row in rows.values()] == [3, 3]
    assert not [line for row in rows.values() for line in row.harm]
