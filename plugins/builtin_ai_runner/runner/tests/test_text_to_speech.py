"""text-to-speech, with the real synthesiser."""

import base64
import io
import wave

import pytest

URL = "/text-to-speech"


@pytest.fixture(scope="module")
def runner(running_long):
    with running_long(PIPELINE="text-to-speech", MODEL_ID="espeak-ng") as runner:
        assert runner.wait("OK", "ERROR") == "OK", runner.log.read_text()
        yield runner


def sound(reply):
    assert reply.status_code == 200, reply.text
    assert set(reply.json()) == {"audio"}
    assert set(reply.json()["audio"]) == {"url"}
    head, _, data = reply.json()["audio"]["url"].partition(",")
    assert head == "data:audio/wav;base64"
    with wave.open(io.BytesIO(base64.b64decode(data, validate=True))) as file:
        assert file.getnchannels() == 1
        frames = file.readframes(file.getnframes())
        assert len(frames) == 2 * file.getnframes()
        return frames, file.getnframes() / file.getframerate()


def say(runner, text, **more):
    return runner.client.post(URL, json={"model_id": "espeak-ng", "text": text, **more})


def test_a_text_is_said(runner):
    short, short_s = sound(say(runner, "one"))
    _, long_s = sound(say(runner, "one two three four five six seven eight nine ten"))
    assert 0.2 < short_s < 2 < long_s < 10
    assert max(short) > 0


def test_the_description_chooses_the_voice(runner):
    text = "the weather is good today"
    male, normal_s = sound(say(runner, text))
    female, _ = sound(say(runner, text, description="A female speaker."))
    _, slow_s = sound(say(runner, text, description="A man speaks very slowly."))
    assert male != female
    assert slow_s > normal_s * 1.1


@pytest.mark.parametrize(
    "text", ["-f /etc/hostname", "<speak><audio src='/etc/hostname'/></speak>"]
)
def test_a_text_is_never_an_option_or_markup(runner, text):
    frames, _ = sound(say(runner, text))
    assert frames


@pytest.mark.parametrize("text", ["grüße an alle", "日本", "🦊", "a\0b", " ", "\n"])
def test_any_text_is_taken(runner, text):
    assert say(runner, text).status_code == 200


@pytest.mark.parametrize("body", [{}, {"text": ""}, {"model_id": "espeak-ng"}])
def test_an_empty_text_is_refused(runner, body):
    reply = runner.client.post(URL, json=body)
    assert reply.status_code == 400
    assert reply.json() == {"detail": {"msg": "Text input must be provided."}}


def test_a_text_too_long_is_refused(runner):
    reply = say(runner, "a" * 10_001)
    assert reply.status_code == 400
    assert reply.json() == {"detail": {"msg": "The text has 10001 characters; the limit is 10000."}}


def test_a_text_that_takes_too_long_to_say_is_refused(runner):
    before = runner.peak_bytes()
    reply = say(runner, "999999999 " * 999)
    assert reply.status_code == 400
    assert reply.json() == {"detail": {"msg": "Saying this takes longer than 900 seconds."}}
    assert runner.peak_bytes() - before < 150_000_000


@pytest.mark.parametrize(
    ("body", "where", "kind"),
    [
        (b'{"text": null}', ["body", "text"], "string_type"),
        (b'{"text": 7}', ["body", "text"], "string_type"),
        (b'{"text": "a", "description": []}', ["body", "description"], "string_type"),
        (b'{"text": "\\ud800"}', ["body", "text"], "string_unicode"),
        (b"[]", ["body"], "dict_type"),
        (b'{"text": NaN}', ["body", 0], "json_invalid"),
        (b"", ["body", 0], "json_invalid"),
        (b'{"text"', ["body", 7], "json_invalid"),
        (b"[" * 200_000, ["body", 0], "json_invalid"),
        (b'{"a":' + b"9" * 5000 + b"}", ["body", 0], "json_invalid"),
        (b"\xff\xfe{}", ["body", 0], "json_invalid"),
    ],
)
def test_malformed_bodies_are_refused(runner, body, where, kind):
    reply = runner.client.post(URL, content=body, headers={"content-type": "application/json"})
    assert reply.status_code == 422, reply.text
    detail = reply.json()["detail"][0]
    assert set(detail) == {"loc", "msg", "type"}
    assert (detail["loc"], detail["type"]) == (where, kind)


def test_a_json_body_is_bounded(runner):
    reply = say(runner, "a" * 5_000_000)
    assert reply.status_code == 413


def test_a_language_is_part_of_the_model_s_name(running):
    with running(PIPELINE="text-to-speech", MODEL_ID="espeak-ng/de") as runner:
        assert runner.wait("OK", "ERROR") == "OK"
        body = {"model_id": "espeak-ng/de", "text": "Guten Tag"}
        sound(runner.client.post(URL, json=body))


@pytest.mark.parametrize("model", ["espeak-ng/xx-nowhere", "espeak-ng/../../etc"])
def test_a_language_nobody_knows_is_an_error(running, model):
    with running(PIPELINE="text-to-speech", MODEL_ID=model) as runner:
        assert runner.wait("OK", "ERROR") == "ERROR"
