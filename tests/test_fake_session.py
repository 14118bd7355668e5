"""The fake session that ships: it answers, fails, remembers and goes back as a session does, with any media."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

import edge_streamer as es
from tests.media_files import MEDIA

UNIT = MEDIA.hears.unit_samples


def test_it_answers_with_what_it_heard_and_goes_back() -> None:
    with es.FakeSession(MEDIA, failing=(2,)) as session:
        heard = np.full(UNIT, 0.5, np.float32)
        first = session.step(es.Unit(samples=heard, text="hello")).copy()
        at = session.snapshot()
        second = session.step(es.Unit(samples=heard)).copy()
        assert (first.index, second.index, first.text, second.text) == (0, 1, " word0", "")
        assert first.samples is not None
        assert (first.samples == 0.25).all()
        with pytest.raises(es.StepError, match="step 2"):
            session.step(es.Unit())
        session.restore(at)
        again = session.step(es.Unit(samples=heard), forced=(7,))
        assert (again.index, again.tokens) == (1, (7,))
        np.testing.assert_array_equal(again.frames, second.frames)
        assert [seen.text for seen in session.seen] == ["hello", "", ""]
        session.reset()
        assert session.step(es.Unit()).index == 0
    assert session.closed


def test_wrong_arrays_are_refused_as_a_session_refuses_them() -> None:
    session = es.FakeSession(MEDIA)
    with pytest.raises(ValueError, match=r"samples are float32 \(3,\); this bundle wants float32"):
        session.step(es.Unit(samples=np.zeros(3, np.float32)))
    with pytest.raises(ValueError, match="a NaN or an infinity"):
        session.step(es.Unit(samples=np.full(UNIT, np.nan, np.float32)))


def test_media_may_lack_parts() -> None:
    sound = es.FakeSession(msgspec.structs.replace(MEDIA, pictures_in=None, pictures_out=None))
    response = sound.step(es.Unit(samples=np.ones(UNIT, np.float32)))
    assert response.frames is None
    assert response.samples is not None
    pictures = es.FakeSession(msgspec.structs.replace(MEDIA, sound_in=None, sound_out=None))
    assert pictures.step(es.Unit()).samples is None
