"""A statement has one spelling, and whatever else lies in its file is refused in one line."""

from __future__ import annotations

import base64
import json
import random
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edge_streamer.runtime.errors import TrustError
from edge_streamer.runtime.trust import ed25519
from edge_streamer.runtime.trust.opening import open_bundle
from edge_streamer.runtime.trust.statement import (
    PAYLOAD_TYPE,
    Statement,
    Targets,
    parse,
    payload_of,
    read,
    render,
    signed_bytes,
)
from tests.fuzz.damage import damage_bytes
from tests.runtime.trust.conftest import Device, tried

PATH = Path("thing.sig")
MADE = Statement(
    kind="bundle", name="demo", content="ab" * 32, version=7, created="2026-11-28T20:42:00Z",
    targets=Targets(boards=("p3767-0005",), l4t_from="36.4"),
)  # fmt: skip
KEY = "SHA256:" + "A" * 43


def test_a_statement_comes_back_and_its_spelling_is_fixed() -> None:
    payload = payload_of(MADE)
    assert payload == (
        b'{"content":"'
        + b"ab" * 32
        + b'","created":"2026-11-28T20:42:00Z","kind":"bundle","name":"demo","not_before":"",'
        b'"targets":{"architectures":[],"boards":["p3767-0005"],"l4t_from":"36.4","l4t_to":""},"version":7}'
    )
    assert read(payload, PATH) == MADE
    assert parse(render(payload, {KEY: b"1" * 64}), PATH) == (payload, {KEY: b"1" * 64})


def test_what_is_signed_is_the_encoding_of_the_standard() -> None:
    """DSSE's own example, with our type."""
    assert signed_bytes(b"hello world") == b"DSSEv1 %d %s 11 hello world" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode())


def as_written(**changes: Any) -> bytes:
    return json.dumps({**json.loads(payload_of(MADE)), **changes}, separators=(",", ":"), sort_keys=True).encode()


PAYLOADS: dict[str, bytes] = {
    "a key more": as_written(extra=1),
    "a key less": json.dumps({k: v for k, v in json.loads(payload_of(MADE)).items() if k != "targets"}).encode(),
    "a key twice": payload_of(MADE).replace(b'"version":7', b'"version":7,"version":7'),
    "a key twice, the other way": payload_of(MADE).replace(b'"version":7', b'"version":8,"version":7'),
    "a key twice within": payload_of(MADE).replace(b'"l4t_to":""', b'"l4t_to":"","l4t_to":""'),
    "spaces": json.dumps(json.loads(payload_of(MADE)), sort_keys=True).encode(),
    "another order": json.dumps(dict(reversed(json.loads(payload_of(MADE)).items())), separators=(",", ":")).encode(),
    "a newline": payload_of(MADE) + b"\n",
    "an escaped letter": payload_of(MADE).replace(b'"demo"', b'"d\\u0065mo"'),
    "a version of 400 digits": payload_of(MADE).replace(b":7}", b":" + b"9" * 400 + b"}"),
    "a version of 10^400": payload_of(MADE).replace(b":7}", b":1e400}"),
    "a version with a point": payload_of(MADE).replace(b":7}", b":7.0}"),
    "a version as text": as_written(version="7"),
    "version 0": as_written(version=0),
    "a negative version": as_written(version=-7),
    "a version beyond 2^53": as_written(version=2**53),
    "true for a version": as_written(version=True),
    "nested 100,000 deep": b'{"targets":' + b"[" * 100_000,
    "another kind": as_written(kind="firmware"),
    "a name with a slash": as_written(name="../demo"),
    "a name with a newline": as_written(name="demo\n"),
    "a name of 300 letters": as_written(name="n" * 300),
    "letters beyond ASCII": as_written(name="démo"),
    "a sum in capitals": as_written(content="AB" * 32),
    "boards without end": as_written(targets={**json.loads(payload_of(MADE))["targets"], "boards": ["b"] * 33}),
    "half of a letter": payload_of(MADE).replace(b'"demo"', b'"\\ud800"'),
    "no UTF-8": payload_of(MADE).replace(b'"demo"', b'"\xff"'),
    "nothing": b"",
    "no object": b"[]",
}


@pytest.mark.parametrize("case", PAYLOADS)
def test_a_statement_of_any_other_form_is_refused(case: str) -> None:
    with pytest.raises(TrustError) as caught:
        read(PAYLOADS[case], PATH)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def test_a_wrong_statement_is_refused_though_it_is_rightly_signed(trusting: Device, counter: Path) -> None:
    signature = trusting.sign(counter)
    good, _ = parse(signature.read_bytes(), signature)
    key = trusting.key()
    name = ed25519.fingerprint(ed25519.public_of(key))
    for payload in (
        good + b" ",
        good.replace(b'"version"', b'"version":1,"version"'),
        good[:-1] + b',"extra":0}',
        b"{}",
    ):
        signature.write_bytes(render(payload, {name: ed25519.sign(key, signed_bytes(payload))}))
        with pytest.raises(TrustError):
            open_bundle(counter)


def test_signed_bytes_without_their_type_or_of_another_are_no_signature(trusting: Device, counter: Path) -> None:
    signature = trusting.sign(counter)
    payload, _ = parse(signature.read_bytes(), signature)
    key = trusting.key()
    name = ed25519.fingerprint(ed25519.public_of(key))
    other = b"DSSEv1 3 any %d %s" % (len(payload), payload)
    for data in (payload, other, signed_bytes(payload) + b" ", signed_bytes(payload)[:-1]):
        signature.write_bytes(render(payload, {name: ed25519.sign(key, data)}))
        with pytest.raises(TrustError, match="damaged or forged"):
            open_bundle(counter)


def envelope(**changes: Any) -> bytes:
    whole = json.loads(render(payload_of(MADE), {KEY: b"1" * 64}))
    return json.dumps({**whole, **changes}, separators=(",", ":"), sort_keys=True).encode() + b"\n"


ENVELOPES: dict[str, bytes] = {
    "another type": envelope(payloadType="application/vnd.edge-streamer.statement.v2+json"),
    "no signature": envelope(signatures=[]),
    "nine signatures": envelope(signatures=[{"keyid": KEY, "sig": ""}] * 9),
    "one key twice": envelope(signatures=[{"keyid": KEY, "sig": base64.b64encode(b"1" * 64).decode()}] * 2),
    "a key more": envelope(more=1),
    "a key twice": envelope().replace(b'{"payload"', b'{"payload":"","payload"'),
    "spaces": envelope().replace(b":", b": "),
    "no base64": envelope(payload="%%%"),
    "base64 with rubbish in it": envelope(payload=base64.b64encode(payload_of(MADE)).decode() + "\n"),
    "base64 with bits left over": envelope(payload="QR=="),
    "no key": envelope(signatures=[{"keyid": "key", "sig": ""}]),
    "nothing": b"",
    "rubbish": bytes(range(256)),
    "nested": b"[" * 60_000,
}


@pytest.mark.parametrize("case", ENVELOPES)
def test_a_file_of_any_other_form_is_refused(case: str) -> None:
    with pytest.raises(TrustError) as caught:
        parse(ENVELOPES[case], PATH)
    assert "\n" not in str(caught.value)


def test_damaged_files_and_statements_raise_nothing_but_our_errors(trusting: Device, counter: Path) -> None:
    """Damage under the signature is seen by the signature; signed damage by the statement's reader."""
    signature = trusting.sign(counter)
    whole = signature.read_bytes()
    payload, _ = parse(whole, signature)
    key, rng = trusting.key(), random.Random(20)
    name = ed25519.fingerprint(ed25519.public_of(key))
    passed = 0
    for turn in range(600):
        if turn % 2:
            spoiled = damage_bytes(whole, rng)
        else:
            text = damage_bytes(payload, rng)
            spoiled = render(text, {name: ed25519.sign(key, signed_bytes(text))})
        signature.write_bytes(spoiled)
        if tried(counter):
            assert spoiled == whole or turn % 2 == 0
            passed += 1
    assert passed < 60  # a digit of the version or the time may become another, and be signed like that


def test_what_is_made_in_python_is_checked_too() -> None:
    with pytest.raises(msgspec.ValidationError):
        payload_of(msgspec.structs.replace(MADE, version=0))
