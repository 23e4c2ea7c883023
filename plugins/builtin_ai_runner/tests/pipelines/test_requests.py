"""Reading requests: what is taken, what is refused and with which words."""

import asyncio
import contextlib
import io
import json
import struct

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st
from podium_ai_runner.pipelines.describe import (
    AUDIO_TO_TEXT,
    BY_NAME,
    IMAGE_TO_IMAGE,
    LLM,
    PIPELINES,
    SEGMENT_ANYTHING_2,
    TEXT_TO_IMAGE,
    Kind,
)
from podium_ai_runner.pipelines.form import boundary_of, read_form
from podium_ai_runner.pipelines.gojson import BadJson, decode
from podium_ai_runner.pipelines.parse import MAX_JSON_BYTES, read_json
from podium_ai_runner.pipelines.pictures import size_of
from podium_ai_runner.pipelines.values import from_text, to_text
from podium_hookspecs import BadInput

GOOD = {"model_id": "acme/text-to-image", "prompt": "x"}


@pytest.mark.parametrize(
    ("name", "data", "text"),
    [
        ("text-to-image", b"", "EOF"),
        ("text-to-image", b"{", "unexpected EOF"),
        ("text-to-image", b'{"prompt": "x', "unexpected EOF"),
        ("text-to-image", b"this", "invalid character 'h' in literal true (expecting 'r')"),
        ("text-to-image", b"<a>", "invalid character '<' looking for beginning of value"),
        ("text-to-image", b'{"seed": NaN}', None),
        (
            "text-to-image",
            {**GOOD, "prompt": 5},
            "json: cannot unmarshal number into Go struct field TextToImageParams.prompt"
            " of type string",
        ),
        (
            "text-to-image",
            {**GOOD, "height": "64"},
            "json: cannot unmarshal string into Go struct field TextToImageParams.height"
            " of type int",
        ),
        (
            "text-to-image",
            {**GOOD, "height": 64.5},
            "json: cannot unmarshal number 64.5 into Go struct field TextToImageParams.height"
            " of type int",
        ),
        (
            "text-to-image",
            {**GOOD, "safety_check": "true"},
            "json: cannot unmarshal string into Go struct field TextToImageParams.safety_check"
            " of type bool",
        ),
        (
            "text-to-image",
            [GOOD],
            "json: cannot unmarshal array into Go value of type worker.TextToImageParams",
        ),
        ("text-to-image", {"prompt": "x"}, "ModelId not specified"),
        ("text-to-image", {**GOOD, "width": 0}, "width must be at least 1"),
        ("text-to-image", {**GOOD, "width": 2**40, "height": 2**40}, None),
        ("text-to-image", {**GOOD, "width": 10**30}, None),
        ("text-to-image", {**GOOD, "prompt": "x" * 300_000}, "prompt is longer than 262144 bytes"),
        ("llm", {"model": "m", "messages": []}, "MaxTokens not specified"),
        ("llm", {"model_id": "m", "messages": [], "max_tokens": 1}, "Model not specified"),
        ("llm", {"model": "m", "messages": [], "max_tokens": -1}, None),
        (
            "llm",
            {"model": "m", "messages": [{"role": "user", "content": 5}], "max_tokens": 1},
            "json: cannot unmarshal number into Go struct field LLMRequest.messages.content"
            " of type string",
        ),
        (
            "llm",
            {"model": "m", "messages": ["hi"], "max_tokens": 1},
            "json: cannot unmarshal string into Go struct field LLMRequest.messages"
            " of type worker.LLMMessage",
        ),
        ("text-to-speech", {"model_id": "m"}, "Text not specified"),
    ],
)
async def test_a_bad_json_request_is_refused(host, name, data, text):
    if not isinstance(data, bytes):
        data = json.dumps(data).encode()
    with pytest.raises(BadInput) as refusal:
        await host.parse(name, data)
    assert text is None or refusal.value.public == text


async def test_what_is_unknown_or_null_counts_as_absent(host):
    parsed, _ = await host.parse("text-to-image", {**GOOD, "unknown": 1, "seed": None})
    assert parsed.values == {"prompt": "x", "model_id": "acme/text-to-image"}
    assert parsed.units == 512 * 512


async def test_a_missing_text_is_left_to_the_runner_to_refuse(host):
    parsed, _ = await host.parse("text-to-image", {"model_id": "m"})
    assert parsed.values["prompt"] == ""
    parsed, _ = await host.parse("llm", {"model": "m", "max_tokens": 0})
    assert (parsed.values["messages"], parsed.units) == ([], 0)


async def test_half_of_a_surrogate_pair_is_replaced(host):
    raw = b'{"model_id": "m", "text": "a\\ud83d"}'
    parsed, _ = await host.parse("text-to-speech", raw)
    assert parsed.values["text"] == "a\ufffd"
    assert parsed.units == 4


async def test_json_that_is_too_large_is_refused(host):
    raw = b'{"x": "' + b"a" * MAX_JSON_BYTES + b'"}'
    with pytest.raises(BadInput):
        await host.parse("text-to-image", raw)


@pytest.mark.parametrize("start", [b"[", b'{"a":'])
def test_deep_json_is_refused(start):
    with pytest.raises(BadJson, match="max depth"):
        decode(start * 100_000)
    with pytest.raises(BadJson, match="max depth"):
        decode(start * 65)
    assert decode(b"[" * 64 + b"]" * 64)


@given(st.binary(max_size=200))
def test_no_bytes_break_the_json_reader(raw):
    with contextlib.suppress(BadInput):
        read_json(raw, TEXT_TO_IMAGE)


VALUES = st.sampled_from(
    [None, True, 0, -1, 7, 2**70, 0.5, 1e308, "", "x", "\ud800", [], [{}], [1], {}, {"a": {}}]
) | st.lists(st.fixed_dictionaries({"role": st.text(), "content": st.text()}), max_size=3)


@given(st.dictionaries(st.sampled_from([f.name for f in LLM.fields]), VALUES))
def test_values_are_of_their_kind_or_refused(values):
    try:
        found = read_json(json.dumps(values).encode(), LLM)
    except BadInput:
        return
    kinds = {Kind.TEXT: str, Kind.INT: int, Kind.FLOAT: (int, float), Kind.BOOL: bool}
    for name, value in found.items():
        assert isinstance(value, kinds.get(LLM.field(name).kind, list))
        json.dumps(value, allow_nan=False).encode()


# ---------------------------------------------------------------- forms


@pytest.mark.parametrize(
    ("content_type", "text"),
    [
        ("application/json", "request Content-Type isn't multipart/form-data"),
        ("", "request Content-Type isn't multipart/form-data"),
        ("multipart/form-data", "no multipart boundary param in Content-Type"),
        ("multipart/form-data; boundary=", "no multipart boundary param in Content-Type"),
        (
            f"multipart/form-data; boundary={'x' * 71}",
            "no multipart boundary param in Content-Type",
        ),
    ],
)
async def test_what_is_no_form_is_refused(host, content_type, text):
    with pytest.raises(BadInput) as refusal:
        await host.parse("image-to-text", b"{}", content_type)
    assert refusal.value.public == text


@pytest.mark.parametrize(
    ("name", "file", "texts", "text"),
    [
        ("image-to-text", None, {"model_id": "m"}, "image: unknown format"),
        (
            "image-to-text",
            ("image", "x.png", b"notapng"),
            {"model_id": "m"},
            "image: unknown format",
        ),
        ("image-to-text", ("image", "x.png", b""), {"model_id": "m"}, "image: unknown format"),
        ("image-to-video", None, {"model_id": "m"}, "Image not specified"),
        ("audio-to-text", None, {"model_id": "m"}, "Unable to calculate duration"),
        (
            "audio-to-text",
            ("audio", "x.mp3", b"notaudio"),
            {"model_id": "m"},
            "Unable to calculate duration",
        ),
    ],
)
async def test_a_bad_file_is_refused(host, kit, name, file, texts, text):
    content_type, body = kit.form(file=file, **texts)
    with pytest.raises(BadInput) as refusal:
        await host.parse(name, body, content_type)
    assert refusal.value.public == text


@pytest.mark.parametrize(
    ("texts", "text"),
    [
        ({}, "ModelId not specified"),
        (
            {"model_id": "m", "strength": "abc"},
            'error binding string parameter: strconv.ParseFloat: parsing "abc": invalid syntax',
        ),
        (
            {"model_id": "m", "seed": "1.5"},
            'error binding string parameter: strconv.ParseInt: parsing "1.5": invalid syntax',
        ),
        (
            {"model_id": "m", "seed": "9" * 30},
            f'error binding string parameter: strconv.ParseInt: parsing "{"9" * 30}": '
            "value out of range",
        ),
        (
            {"model_id": "m", "safety_check": "yes"},
            'error binding string parameter: strconv.ParseBool: parsing "yes": invalid syntax',
        ),
    ],
)
async def test_a_bad_field_of_a_form_is_refused(host, kit, texts, text):
    content_type, body = kit.form(file=("image", "in.png", kit.png()), **texts)
    with pytest.raises(BadInput) as refusal:
        await host.parse("image-to-image", body, content_type)
    assert refusal.value.public == text


@pytest.mark.parametrize("texts", [{"width": "5000"}, {"height": "-8"}, {"height": "0"}])
async def test_a_video_of_no_size_or_too_much_is_refused(host, kit, texts):
    content_type, body = kit.form(file=("image", "a.png", kit.png()), model_id="m", **texts)
    with pytest.raises(BadInput):
        await host.parse("image-to-video", body, content_type)


async def test_a_file_may_come_last_and_unknown_parts_are_ignored(host, kit):
    head = kit.form(model_id="m", what="ever")[1].removesuffix(b"--boundary--\r\n")
    content_type, tail = kit.form(file=("image", "in.png", kit.png(10, 20)))
    parsed, body = await host.parse("image-to-text", head + tail, content_type)
    assert (parsed.model, parsed.units, parsed.file.filename) == ("m", 200, "in.png")
    whole = b"".join([piece async for piece in body])
    part = whole[parsed.file.offset : parsed.file.offset + parsed.file.size_bytes]
    assert part == kit.png(10, 20)


@pytest.mark.parametrize("extra", [0, 100_000])
@pytest.mark.parametrize("body", ["FileBody", "PipedBody"])
async def test_any_body_is_read(host, kit, body, extra):
    content_type, raw = kit.form(
        file=("image", "in.png", kit.png(8, 9) + bytes(extra)), model_id="m"
    )
    parsed, _ = await host.parse("upscale", raw, content_type, getattr(kit, body))
    assert (parsed.units, parsed.file.size_bytes) == (72, len(kit.png(8, 9)) + extra)


async def test_a_file_beyond_what_the_runner_takes_is_refused(host, kit):
    file = ("image", "in.png", kit.png() + bytes(50 * 2**20))
    content_type, raw = kit.form(file=file, model_id="m")
    with pytest.raises(BadInput, match="file too large; max file size is 50MB"):
        await host.parse("image-to-text", raw, content_type)


def test_parts_and_heads_are_bounded(kit):
    many = b"".join(kit.form(x="1")[1].removesuffix(b"--boundary--\r\n") for _ in range(200))
    with pytest.raises(BadInput, match="more than 128 parts"):
        read_form(many + b"--boundary--\r\n", b"boundary", IMAGE_TO_IMAGE)
    with pytest.raises(BadInput, match="malformed MIME header"):
        read_form(b"--boundary\r\nA: " + b"a" * 10_000, b"boundary", IMAGE_TO_IMAGE)
    long = kit.form(model_id="x" * 2000)[1]
    with pytest.raises(BadInput, match="model_id is longer"):
        read_form(long, b"boundary", IMAGE_TO_IMAGE)


BOUNDARIES = st.text("abc-'()+_,./:=?0123456789", min_size=1, max_size=70)
PIECES = st.lists(st.sampled_from([b"\r\n", b"--", b"b", b"--b", b"\r\n--b", b"\r\n--bb", b"x"]))


@given(boundary=BOUNDARIES, data=st.binary(max_size=300))
def test_a_file_comes_out_as_it_went_in(kit, boundary, data):
    content_type, raw = kit.form("b" + boundary, ("image", "a b.png", data), model_id="m")
    marked = content_type.replace("boundary=", 'boundary="') + '"'
    assert boundary_of(marked) == b"b" + boundary.encode()
    if f"\r\n--b{boundary}".encode() in data:
        return
    form = read_form(raw, b"b" + boundary.encode(), SEGMENT_ANYTHING_2)
    assert raw[form.file.offset : form.file.offset + form.file.size_bytes] == data
    assert form.texts == {"model_id": "m"}


@given(PIECES)
def test_what_nearly_is_a_boundary_is_data(kit, pieces):
    data = b"".join(pieces)
    framed = b"\r\n" + data + b"\r\n"
    if b"\r\n--b\r\n" in framed or b"\r\n--b--" in framed:
        return
    raw = kit.form("b", ("image", "a.png", data), model_id="m")[1]
    form = read_form(raw, b"b", IMAGE_TO_IMAGE)
    assert raw[form.file.offset : form.file.offset + form.file.size_bytes] == data


@given(st.binary(max_size=400) | PIECES.map(b"".join))
def test_no_bytes_break_the_form_reader(raw):
    with contextlib.suppress(BadInput):
        read_form(b"--b\r\n" + raw, b"b", IMAGE_TO_IMAGE)


@given(st.text(max_size=40))
def test_texts_become_numbers_as_go_reads_them(text):
    for field in IMAGE_TO_IMAGE.fields:
        if field.kind is Kind.TEXT:
            continue
        try:
            value = from_text(field, text)
        except BadInput:
            continue
        assert from_text(field, to_text(value)) == pytest.approx(value, abs=1e-6)


# ---------------------------------------------------------------- pictures and sound


def picture(codec, form, width, height):
    """A picture made by an independent encoder."""
    frame = av.VideoFrame(width, height, "rgb24")
    for plane in frame.planes:
        plane.update(bytes(plane.buffer_size))
    out = io.BytesIO()
    with av.open(out, "w", format=form) as container:
        stream = container.add_stream(codec, rate=1)
        stream.width, stream.height = width, height
        stream.pix_fmt = {"png": "rgb24", "mjpeg": "yuvj420p", "gif": "rgb8"}[codec]
        container.mux(stream.encode(frame.reformat(format=stream.pix_fmt)))
        container.mux(stream.encode())
    return out.getvalue()


@pytest.mark.parametrize(
    ("codec", "form"), [("png", "image2pipe"), ("mjpeg", "image2pipe"), ("gif", "gif")]
)
@pytest.mark.parametrize("size", [(96, 64), (1000, 2), (33, 77)])
def test_sizes_of_pictures(codec, form, size):
    data = picture(codec, form, *size)
    assert size_of(b"before" + data, 6, 6 + len(data)) == size


def test_a_jpeg_with_a_long_preamble():
    data = picture("mjpeg", "image2pipe", 40, 30)
    extra = b"\xff\xe1" + struct.pack(">H", 65_535) + bytes(65_533)
    assert size_of(data[:2] + extra * 5 + data[2:], 0, len(data) + 5 * len(extra)) == (40, 30)


@pytest.mark.parametrize(
    "data",
    [
        b"\x89PNG\r\n\x1a\n",
        b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR" + bytes(8),
        b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR" + b"\x00\x00\xff\xff\x00\x00\xff\xff",
        b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR" + b"\xff" * 8,
        b"GIF89a\x00",
        b"\xff\xd8",
        b"\xff\xd8" + b"\xff" * 100,
        b"\xff\xd8\xff\xe0\x00\x01" + bytes(20),
        b"\xff\xd8" + b"\xff\xd0" * 20_000,
        b"RIFF\x00\x00\x00\x00WEBP",
    ],
)
def test_hostile_pictures_are_refused(data):
    with pytest.raises(BadInput):
        size_of(data, 0, len(data))


@given(st.sampled_from([b"\x89PNG\r\n\x1a\n", b"GIF89a", b"\xff\xd8"]), st.binary(max_size=100))
def test_no_bytes_break_the_picture_reader(magic, rest):
    data = magic + rest
    try:
        width, height = size_of(data, 0, len(data))
    except BadInput:
        return
    assert 0 < width * height <= 2**28


def sound(codec, form, seconds, rate=16_000):
    """Silence, encoded."""
    out = io.BytesIO()
    with av.open(out, "w", format=form) as container:
        stream = container.add_stream(codec, rate=rate, layout="mono")
        frame = av.AudioFrame(format="s16", layout="mono", samples=int(rate * seconds))
        frame.planes[0].update(bytes(frame.planes[0].buffer_size))
        frame.sample_rate = rate
        resampler = av.AudioResampler(stream.format, "mono", rate, stream.frame_size or None)
        for piece in (*resampler.resample(frame), *resampler.resample(None)):
            container.mux(stream.encode(piece))
        container.mux(stream.encode())
    return out.getvalue()


@pytest.mark.parametrize(
    ("codec", "form", "seconds", "units"),
    [
        ("mp3", "mp3", 3.4, 3000),
        ("pcm_s16le", "wav", 2.6, 2000),
        ("flac", "flac", 5.5, 5000),
        ("aac", "adts", 4.5, 4000),
        ("aac", "mp4", 4.5, 4000),
        ("libopus", "ogg", 3.5, 3000),
        ("libopus", "webm", 3.5, 3000),
        ("aac", "mpegts", 3.5, 3000),
    ],
)
async def test_sound_is_measured(host, kit, codec, form, seconds, units):
    data = sound(codec, form, seconds, 48_000 if codec == "libopus" else 16_000)
    content_type, raw = kit.form(file=("audio", "in", data), model_id="m")
    parsed, _ = await host.parse("audio-to-text", raw, content_type)
    assert parsed.units == units


PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"


@pytest.mark.parametrize(
    "data", [PLAYLIST, b"ffconcat version 1.0\nfile /etc/passwd\nduration 10\n", b"RIFF" * 1000]
)
async def test_hostile_sound_is_refused(host, kit, data):
    content_type, raw = kit.form(file=("audio", "in.mp3", data), model_id="m")
    with pytest.raises(BadInput) as refusal:
        await host.parse("audio-to-text", raw, content_type)
    assert refusal.value.public == "Unable to calculate duration"


async def test_sound_of_less_than_a_second_is_refused(host, kit):
    content_type, raw = kit.form(file=("audio", "in.wav", kit.wav(0.9)), model_id="m")
    with pytest.raises(BadInput, match="less than a second"):
        await host.parse("audio-to-text", raw, content_type)


async def test_many_at_once_wait_for_their_turn(host, kit):
    content_type, raw = kit.form(file=("audio", "in.wav", kit.wav(2)), model_id="m")
    found = await asyncio.gather(
        *(host.parse("audio-to-text", raw, content_type) for _ in range(6))
    )
    assert {parsed.units for parsed, _ in found} == {2000}


def test_descriptions_hold_together():
    assert [one.capability for one in PIPELINES] == [*range(27, 35), 36]
    for one in PIPELINES:
        assert BY_NAME[one.name] is one
        assert one.field(one.model_field).missing
        assert len({field.name for field in one.fields}) == len(one.fields)
    assert AUDIO_TO_TEXT.file.name == "audio"
