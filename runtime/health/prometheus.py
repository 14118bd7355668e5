"""How a run stands in Prometheus' text format, for node_exporter's textfile collector.

Receives a :class:`~edge_streamer.runtime.health.record.Health`; hands on lines of version 0.0.4 of the format. Base
units (seconds, degrees Celsius); what is not known has no sample.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from edge_streamer.runtime.health.record import STATES, Health
from edge_streamer.runtime.streams import as_text

PREFIX = "edge_streamer_"

Labels = Mapping[str, str]
Value = float | int | None


class Metric(NamedTuple):
    name: str
    """Without the prefix; a counter's ends in ``_total``."""
    help: str
    samples: Sequence[tuple[Labels, Value]]


def text(health: Health) -> bytes:
    """The whole file."""
    return "".join(_lines(metric) for metric in metrics(health)).encode()


def metrics(health: Health) -> Iterator[Metric]:
    """Every metric that there is a sample of, in order."""
    for metric in (*_facts(health), *_units(health), *_surroundings(health)):
        samples = [(labels, value) for labels, value in metric.samples if value is not None]
        if samples:
            yield metric._replace(samples=samples)


def _facts(health: Health) -> list[Metric]:
    bundle = health.bundle
    info = {"bundle": bundle.name if bundle else "", "hash": bundle.hash if bundle else "",
            "engine": health.engine or "", "version": health.edge_streamer, "pace": health.pace}  # fmt: skip
    return [
        Metric("info", "What runs: bundle, its hash, engine, version of edge-streamer, pace.", [(info, 1)]),
        Metric("state", "1 for the state that the run is in.",
               [({"state": state}, int(state == health.state)) for state in STATES]),
        _one("state_age_seconds", "How long the run has been in that state.", health.state_seconds),
        _one("exit_status", "Of a run that has stopped.", health.exit_status),
        _one("start_time_seconds", "When the run began, since 1970.", health.started),
        _one("uptime_seconds", "How long the run has lasted.", health.uptime_seconds),
        _one("written_timestamp_seconds", "When this was written, since 1970: old where the process is gone.",
             health.written.time),
    ]  # fmt: skip


def _units(health: Health) -> list[Metric]:
    recent = health.recent
    return [
        _one("units_total", "Units that have passed: answered, failed or skipped.", health.units),
        _one("units_answered_total", "Units that were answered.", health.answered),
        _one("units_failed_total", "Units whose step failed and was rolled back.", health.failed),
        _one("units_skipped_total", "Units that were given up because later ones waited.", health.skipped),
        _one("deadline_misses_total", "Answers that came too late.", health.deadline_misses),
        _one("unit_length_seconds", "Length of a unit: what its step may take.", _base(health.unit_ms)),
        _one("unit_last_seconds", "Step of the newest answered unit.", _base(recent.last_ms)),
        _one("unit_p50_seconds", "Median step of the newest 500 answered units.", _base(recent.p50_ms)),
        _one("unit_p99_seconds", "99th percentile of the same.", _base(recent.p99_ms)),
        _one("unit_age_seconds", "Since the newest unit was answered.", health.unit_age_seconds),
        _one("step_seconds", "How long the step in progress has taken; 0 between steps.", health.step_seconds or 0.0),
    ]


def _surroundings(health: Health) -> list[Metric]:
    last = health.last_error
    return [
        Metric("temperature_celsius", "Of every sensor of the machine.",
               [({"zone": name}, degrees) for name, degrees in health.temperatures.items()]),
        Metric("device_open", "1 for a device of a live run that is open.",
               [({"device": kind}, int(device.open)) for kind, device in health.devices.items()]),
        _one("last_error_timestamp_seconds", "When something last went wrong.", last.time if last else None),
    ]  # fmt: skip


def _one(name: str, about: str, value: Value) -> Metric:
    return Metric(name, about, [({}, value)])


def _base(ms: float | None) -> float | None:
    """Seconds of milliseconds, without digits that multiplying made up."""
    return None if ms is None else round(ms / 1000, 9)


def _lines(metric: Metric) -> str:
    name = f"{PREFIX}{metric.name}"
    kind = "counter" if name.endswith("_total") else "gauge"
    lines = [f"# HELP {name} {metric.help}", f"# TYPE {name} {kind}"]
    lines += [f"{name}{_labels(labels)} {value!r}" for labels, value in metric.samples]
    return "\n".join(lines) + "\n"


def _labels(labels: Labels) -> str:
    inside = ",".join(f'{label}="{_escaped(value)}"' for label, value in labels.items())
    return f"{{{inside}}}" if inside else ""


def _escaped(value: str) -> str:
    """As the format wants it; what a terminal would obey becomes a space."""
    shown = "".join(letter if letter.isprintable() or letter == "\n" else " " for letter in as_text(value))
    return shown.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
