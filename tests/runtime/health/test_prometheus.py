"""Prometheus text, read by Prometheus' own parser."""

from __future__ import annotations

import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from edge_streamer.runtime.health import prometheus
from edge_streamer.runtime.health.record import STATES, Health, Named, Recent
from tests.runtime.health.runs import NOW, health, written


def parsed(value: Health) -> dict[str, Metric]:
    return {family.name: family for family in text_string_to_metric_families(prometheus.text(value).decode())}


def test_every_figure_arrives_in_base_units() -> None:
    found = parsed(health())
    values = {name.removeprefix("edge_streamer_"): family.samples[0].value for name, family in found.items()
              if len(family.samples) == 1}  # fmt: skip
    assert values == {
        "info": 1, "state_age_seconds": 100, "start_time_seconds": NOW.time - 110, "uptime_seconds": 110,
        "written_timestamp_seconds": NOW.time - 0.5, "units": 626, "units_answered": 624, "units_failed": 1,
        "units_skipped": 1, "deadline_misses": 3, "unit_length_seconds": 0.16, "unit_last_seconds": 0.0315,
        "unit_p50_seconds": 0.03, "unit_p99_seconds": 0.04525, "unit_age_seconds": 0.1, "step_seconds": 0,
        "last_error_timestamp_seconds": NOW.time - 60,
    }  # fmt: skip
    assert {s.labels["zone"]: s.value for s in found["edge_streamer_temperature_celsius"].samples} == {
        "cpu-thermal": 48.5, "tj-thermal": 51.25,
    }  # fmt: skip
    assert {s.labels["device"]: s.value for s in found["edge_streamer_device_open"].samples} == {"mic": 1, "camera": 0}


def test_counters_say_so_and_everything_is_explained() -> None:
    for name, family in parsed(health()).items():
        assert name.startswith("edge_streamer_")
        assert family.documentation
        total = [sample.name.endswith("_total") for sample in family.samples]
        assert family.type == ("counter" if all(total) else "gauge")


@pytest.mark.parametrize("state", STATES)
def test_one_state_is_the_one(state: str) -> None:
    samples = parsed(health(state=state))["edge_streamer_state"].samples
    assert {sample.labels["state"]: sample.value for sample in samples} == {s: int(s == state) for s in STATES}


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ('a "quoted" \\ name\nof two lines', 'a "quoted" \\ name\nof two lines'),
        ("bell\x07 and \x1b[2J\r", "bell  and  [2J "),
        ("\\n", "\\n"),
        ("größe 温度", "größe 温度"),
        ("not text \udcff", "not text \\xff"),
        ("{}=,", "{}=,"),
    ],
)
def test_names_arrive_as_they_are(name: str, shown: str) -> None:
    found = parsed(health(bundle=Named(name, "ab"), engine=name, temperatures={name: 1.0}))
    assert found["edge_streamer_info"].samples[0].labels == {
        "bundle": shown, "hash": "ab", "engine": shown, "version": "0.1.0", "pace": "live"
    }  # fmt: skip
    assert found["edge_streamer_temperature_celsius"].samples[0].labels == {"zone": shown}


def test_what_is_not_known_has_no_sample() -> None:
    begun = Health(state="opening", state_seconds=1.0, pace="fast", edge_streamer="0.1.0", pid=1, started=1.0,
                   uptime_seconds=1.0, written=written(0))  # fmt: skip
    found = parsed(begun)
    missing = ("exit_status", "unit_last_seconds", "unit_p99_seconds", "unit_age_seconds", "temperature_celsius",
               "device_open", "last_error_timestamp_seconds", "unit_length_seconds")  # fmt: skip
    assert not {f"edge_streamer_{name}" for name in missing} & found.keys()
    assert found["edge_streamer_units"].samples[0].value == 0
    ended = parsed(health(state="stopped", exit_status=143, recent=Recent()))
    assert ended["edge_streamer_exit_status"].samples[0].value == 143
