"""What jobs are paid by, and how many tickets that takes: the Gateway's own counting."""

import json
from base64 import b64decode
from fractions import Fraction
from pathlib import Path

import pytest
from podium.testing.gateway.account import Account
from podium.testing.gateway.ai.measure import image_pixels, whole_seconds
from podium.testing.gateway.ai.pipelines import PIPELINES, Upload, find_pipeline
from podium.testing.gateway.errors import InputError
from podium.testing.gateway.tickets import tickets_needed

DATA = Path(__file__).parent / "data"


def units(name, fields, upload=None):
    pipeline = find_pipeline(name)
    return pipeline.units(pipeline.complete("m", fields, upload), upload)


@pytest.mark.parametrize(
    ("name", "fields", "expected"),
    [
        ("text-to-image", {}, 512 * 512),
        ("text-to-image", {"height": 64, "width": 32, "num_images_per_prompt": 3}, 64 * 32 * 3),
        ("text-to-image", {"num_images_per_prompt": 0}, 512 * 512),
        ("llm", {"max_tokens": 64}, 64),
        ("llm", {"max_tokens": 0}, 0),
        ("llm", {}, 256),
        ("text-to-speech", {"text": "héllo"}, 6),
    ],
)
def test_units_of_json_pipelines(name, fields, expected):
    assert units(name, fields) == expected


@pytest.mark.parametrize(
    ("name", "fields", "expected"),
    [
        ("image-to-image", {}, 96 * 64),
        ("image-to-image", {"num_images_per_prompt": 2}, 96 * 64 * 2),
        ("upscale", {}, 96 * 64),
        ("segment-anything-2", {}, 96 * 64),
        ("image-to-text", {}, 96 * 64),
        ("image-to-video", {}, 576 * 1024 * 25),
        ("image-to-video", {"height": 64, "width": 64}, 64 * 64 * 25),
    ],
)
def test_units_of_image_pipelines(name, fields, expected, png):
    assert units(name, fields, Upload("in.png", png)) == expected


def test_audio_is_paid_by_whole_seconds(wav):
    assert units("audio-to-text", {}, Upload("in.wav", wav)) == 2000


def test_recorded_files_measure_as_in_the_recording():
    files = json.loads((DATA / "fixtures.json").read_text())
    assert image_pixels(b64decode(files["png"])) == 96 * 64
    assert whole_seconds(b64decode(files["mp3"])) == 2


def test_the_capabilities_are_the_networks():
    assert {name: each.capability for name, each in PIPELINES.items()} == {
        "text-to-image": 27,
        "image-to-image": 28,
        "image-to-video": 29,
        "upscale": 30,
        "audio-to-text": 31,
        "segment-anything-2": 32,
        "llm": 33,
        "image-to-text": 34,
        "text-to-speech": 36,
    }


@pytest.mark.parametrize(
    ("name", "fields", "upload", "says"),
    [
        ("image-to-text", {}, Upload("a.txt", b"no image"), "cannot be read"),
        ("image-to-text", {}, None, "needs a file as 'image'"),
        ("audio-to-text", {}, Upload("a.txt", b"no audio"), "cannot be read"),
        ("text-to-speech", {}, None, "needs a text"),
        ("text-to-speech", {"text": "x"}, Upload("a", b"b"), "takes no file"),
        ("llm", {"max_tokens": "many"}, None, "max_tokens must be a whole number"),
        ("llm", {"max_tokens": -5}, None, "less than nothing"),
        ("text-to-song", {}, None, "'text-to-song' is no pipeline"),
    ],
)
def test_what_cannot_be_counted_is_said(name, fields, upload, says):
    with pytest.raises(InputError, match=says):
        units(name, fields, upload)


@pytest.mark.parametrize(
    ("existing", "fee", "tickets"),
    [(1, 5, 4), ("1/4", 2, 2), (-5, 2, 7), (2, 2, 0), (0, 0, 1), (1, 0, 0)],
)
def test_ticket_counts_of_the_reference(existing, fee, tickets):
    assert tickets_needed(Fraction(fee), Fraction(1), Fraction(existing)) == tickets


def test_credit_at_stake_pays_for_no_other_job():
    account = Account("s", balance=Fraction(10))
    first = account.stage(Fraction(1), ())
    assert account.count(Fraction(5), Fraction(1)) == 5
    second = account.stage(Fraction(1), (1, 2, 3, 4, 5))
    account.accept(first)
    account.settle(first, Fraction(5))
    account.accept(second)
    account.settle(second, Fraction(5))
    assert account.balance == 5
    assert account.count(Fraction(5), Fraction(1)) == 0
