"""image-to-text, with the real networks."""

import io
import struct
import zlib

import pytest
from PIL import Image, ImageDraw, ImageFont

URL = "/image-to-text"


@pytest.fixture(scope="module")
def runner(running_long):
    with running_long(PIPELINE="image-to-text", MODEL_ID="rapidocr") as runner:
        assert runner.wait("OK", "ERROR") == "OK", runner.log.read_text()
        yield runner


def picture(*lines, kind="PNG", size=(640, 200)):
    image = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(image)
    for number, line in enumerate(lines):
        draw.text((20, 20 + 60 * number), line, font=ImageFont.load_default(36), fill="black")
    out = io.BytesIO()
    image.save(out, kind)
    return out.getvalue()


def chunk(kind, data):
    checksum = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)


def bomb(width, height):
    """Return a small PNG that says it is large, and is."""
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(bytes(width // 8 + 1)) for _ in range(height))
    body = chunk(b"IHDR", head) + chunk(b"IDAT", rows + packer.flush()) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "GIF"])
def test_text_is_read_line_by_line(runner, kind):
    image = picture("Podium runs 42 pipelines", "on two cores", kind=kind)
    reply = runner.client.post(URL, files={"image": image}, data={"prompt": "what is written?"})
    assert reply.status_code == 200
    assert set(reply.json()) == {"text"}
    # The network is not sure about spaces.
    lines = reply.json()["text"].replace(" ", "").split("\n")
    assert lines == ["Podiumruns42pipelines", "ontwocores"]


def test_the_path_may_end_with_a_slash(runner):
    reply = runner.client.post(f"{URL}/", files={"image": picture("hello")})
    assert reply.json() == {"text": "hello"}


@pytest.mark.parametrize("size", [(64, 64), (1, 1), (3000, 1), (1, 3000), (2000, 20)])
def test_a_picture_without_text_gives_none(runner, size):
    reply = runner.client.post(URL, files={"image": picture(size=size)})
    assert (reply.status_code, reply.json()) == (200, {"text": ""})


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no picture",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>",
        picture("cut")[:200],
        picture("cut", kind="JPEG")[:300],
        b"\x89PNG\r\n\x1a\n" + bytes(100),
    ],
    ids=["empty", "text", "eps", "svg", "cut-png", "cut-jpeg", "zeros"],
)
def test_what_is_no_picture_is_refused(runner, data):
    reply = runner.client.post(URL, files={"image": data})
    assert reply.status_code == 400
    assert reply.json() == {"detail": {"msg": "The image could not be decoded."}}


def test_a_decompression_bomb_is_not_decoded(runner):
    before = runner.peak_bytes()
    data = bomb(12_000, 12_000)
    assert len(data) < 100_000
    reply = runner.client.post(URL, files={"image": data})
    assert reply.status_code == 400
    assert reply.json() == {
        "detail": {"msg": "The image has 12000x12000 pixels; the limit is 40000000."}
    }
    assert runner.peak_bytes() - before < 20_000_000


def test_a_file_of_more_than_50_mib_is_too_large(runner):
    data = bytes(50 * 1024 * 1024 + 1)
    reply = runner.client.post(URL, files={"image": data})
    assert reply.status_code == 413
    assert reply.json() == {"detail": {"msg": "File size exceeds the limit of 50 MiB."}}


def test_a_file_of_50_mib_is_looked_at(runner):
    reply = runner.client.post(URL, files={"image": bytes(50 * 1024 * 1024)})
    assert reply.status_code == 400


def test_a_body_far_too_large_is_refused_before_it_ends(runner):
    reply = runner.client.post(URL, files={"image": bytes(80 * 1024 * 1024)})
    assert reply.status_code == 413


def test_the_picture_is_required_and_a_file(runner):
    reply = runner.client.post(URL, data={"prompt": "x"})
    assert reply.status_code == 422
    missing = {"loc": ["body", "image"], "msg": "Field required", "type": "missing"}
    assert reply.json() == {"detail": [missing]}
    reply = runner.client.post(URL, data={"image": "no file"})
    assert reply.status_code == 422
    assert reply.json()["detail"][0]["loc"] == ["body", "image"]


def test_unknown_parts_and_any_order_are_fine(runner):
    parts = [("zebra", (None, "1")), ("image", ("a.png", picture("hello"))), ("b", (None, "2"))]
    assert runner.client.post(URL, files=parts).json() == {"text": "hello"}


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"content-type": "multipart/form-data"}, b"--x\r\n\r\n--x--"),
        ({"content-type": "multipart/form-data; boundary=x"}, b"nonsense"),
        (
            {"content-type": "multipart/form-data; boundary=x"},
            b"".join(
                b'--x\r\nContent-Disposition: form-data; name="f%d"\r\n\r\n1\r\n' % n
                for n in range(100)
            )
            + b"--x--\r\n",
        ),
    ],
    ids=["no-boundary", "no-parts", "100-parts"],
)
def test_malformed_forms_are_refused(runner, headers, body):
    reply = runner.client.post(URL, content=body, headers=headers)
    assert reply.status_code in {400, 422}
    assert reply.json()["detail"]


def test_only_post_is_taken(runner):
    assert runner.client.get(URL).status_code == 405
    assert runner.client.post("/text-to-image", json={}).status_code == 404
