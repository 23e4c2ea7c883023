"""audio-to-text, with the real recogniser and a synthetic voice."""

import io
import subprocess
import wave

import av
import numpy as np
import pytest

URL = "/audio-to-text"
SENTENCES = (
    "people want to know what happened",
    "the president said yesterday that the government will help",
)
RATE = 22_050


@pytest.fixture(scope="module")
def runner(running_long):
    with running_long(
        PIPELINE="audio-to-text", MODEL_ID="pocketsphinx-en-us", MAX_AUDIO_S="30"
    ) as runner:
        assert runner.wait("OK", "ERROR") == "OK", runner.log.read_text()
        yield runner


def say(text):
    command = ["espeak-ng", "-v", "en-us+f2", "-s", "140", "--stdout", text]
    return subprocess.run(command, check=True, capture_output=True).stdout[44:]


def wav(samples, rate=RATE):
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples)
    return out.getvalue()


@pytest.fixture(scope="module")
def speech():
    """Both sentences, with a pause between."""
    return wav(bytes(RATE * 2).join(say(sentence) for sentence in SENTENCES))


@pytest.fixture(scope="module")
def short():
    return wav(say("people want to know"))


def convert(data, container, codec, rate=48_000):
    """Encode a WAV file anew, as someone's telephone would."""
    out = io.BytesIO()
    with av.open(io.BytesIO(data)) as source, av.open(out, "w", format=container) as target:
        stream = target.add_stream(codec, rate=rate, layout="stereo")
        resampler = av.AudioResampler(stream.format, "stereo", rate, stream.frame_size or None)
        for frame in (*source.decode(audio=0), None):
            for part in resampler.resample(frame):
                target.mux(stream.encode(part))
        target.mux(stream.encode(None))
    return out.getvalue()


def silence(seconds, rate=16_000):
    return wav(bytes(2 * int(seconds * rate)), rate)


def video():
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as target:
        stream = target.add_stream("libx264", rate=25)
        stream.width = stream.height = 64
        frame = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8))
        target.mux([*stream.encode(frame), *stream.encode(None)])
    return out.getvalue()


def post(runner, audio, **data):
    return runner.client.post(URL, files={"audio": audio}, data=data)


def test_speech_is_written_down_sentence_by_sentence(runner, speech):
    reply = post(runner, speech)
    assert reply.status_code == 200
    text, chunks = reply.json()["text"], reply.json()["chunks"]
    assert set(reply.json()) == {"text", "chunks"}
    assert len(set(" ".join(SENTENCES).split()) & set(text.split())) >= 8
    assert " ".join(chunk["text"] for chunk in chunks) == text
    times = [second for chunk in chunks for second in chunk["timestamp"]]
    assert times == sorted(times)
    assert 0 <= times[0] < times[-1] < 9
    assert len(chunks) == 2, "there is one pause"


def test_words_have_their_own_times(runner, short):
    reply = post(runner, short, return_timestamps="WORD").json()
    assert [chunk["text"] for chunk in reply["chunks"]] == reply["text"].split()
    assert all(len(chunk["timestamp"]) == 2 for chunk in reply["chunks"])


@pytest.mark.parametrize("value", ["false", "0", "False"])
def test_times_can_be_left_out(runner, short, value):
    reply = post(runner, short, return_timestamps=value).json()
    assert reply["text"]
    assert reply["chunks"] == []


def test_one_request_does_not_change_the_next(runner, short):
    replies = [post(runner, short, return_timestamps=value).json() for value in ("1", "Sentence")]
    assert replies[0] == replies[1] == post(runner, short).json()


def test_other_times_are_refused(runner, short):
    reply = post(runner, short, return_timestamps="phoneme")
    assert reply.status_code == 400
    assert reply.json() == {"detail": {"msg": "Audio-to-text pipeline error."}}


@pytest.mark.parametrize(
    ("container", "codec"),
    [("mp3", "mp3"), ("ogg", "libopus"), ("flac", "flac"), ("mp4", "aac"), ("webm", "libopus")],
)
def test_any_format_is_decoded(runner, short, container, codec):
    reply = post(runner, convert(short, container, codec))
    assert reply.status_code == 200
    assert "chunks" in reply.json()
    assert reply.json()["text"]


def test_silence_is_nothing_said(runner):
    reply = post(runner, silence(2))
    assert (reply.status_code, reply.json()) == (200, {"text": "", "chunks": []})


@pytest.mark.parametrize("metadata", ['{"duration":"4"}', '{"duration":3.5}', '{"duration":"4.2"}'])
def test_the_duration_may_be_told(runner, metadata):
    assert post(runner, silence(0.5), metadata=metadata).status_code == 200


@pytest.mark.parametrize(
    "metadata", ["", "no json", "[]", '{"duration":"x"}', '{"duration":"nan"}', "[" * 100_000]
)
def test_a_duration_that_is_none_is_probed(runner, metadata):
    assert post(runner, silence(0.5), metadata=metadata).status_code == 200
    reply = post(runner, b"no sound", metadata=metadata)
    assert reply.status_code == 400
    assert reply.json() == {"detail": {"msg": "Unable to calculate duration of file"}}


PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nfile:///etc/hostname\n#EXT-X-ENDLIST\n"


@pytest.mark.parametrize(
    "data",
    [b"", b"no sound", bytes(10_000), PLAYLIST, b"ffconcat version 1.0\nfile /etc/hostname\n"],
    ids=["empty", "text", "zeros", "playlist", "concat"],
)
def test_what_is_no_sound_is_refused(runner, data):
    reply = post(runner, data, metadata='{"duration":"4"}')
    assert reply.status_code == 415
    assert reply.json() == {"detail": {"msg": "Unsupported audio format or malformed file."}}


def test_a_picture_show_has_no_sound(runner):
    assert post(runner, video(), metadata='{"duration":"1"}').status_code == 415


@pytest.mark.parametrize("metadata", ["{}", '{"duration":"1"}', '{"duration":"9999"}'])
def test_too_long_is_refused_whatever_the_caller_says(runner, metadata):
    long = convert(silence(40), "flac", "flac", rate=16_000)
    reply = post(runner, long, metadata=metadata)
    assert reply.status_code == 400
    assert reply.json() == {"detail": {"msg": "The audio is longer than 30 seconds."}}


def test_a_file_of_more_than_50_mib_is_too_large(runner):
    reply = post(runner, bytes(50 * 1024 * 1024 + 1))
    assert reply.status_code == 413
    assert reply.json()["detail"]["msg"]
