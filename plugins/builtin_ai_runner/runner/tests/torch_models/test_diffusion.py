"""The pictures' pipelines: diffusers' real loading and sampling code, tiny random weights."""

import base64
import io
import json

import pytest
from PIL import Image

STEPS = {"num_inference_steps": 2}


@pytest.fixture(scope="module")
def start(running_long, torch_dir):
    import contextlib

    with contextlib.ExitStack() as stack:

        def start(pipeline, model, **more):
            environ = {"PIPELINE": pipeline, "MODEL_ID": model, "MODEL_DIR": str(torch_dir)}
            runner = stack.enter_context(running_long(**environ, **more))
            assert runner.wait("OK", "ERROR") == "OK", runner.log.read_text()
            return runner

        yield start


@pytest.fixture(scope="module")
def painter(start):
    return start("text-to-image", "tiny/sd")


@pytest.fixture(scope="module")
def changer(start):
    return start("image-to-image", "tiny/sd")


@pytest.fixture(scope="module")
def upscaler(start):
    return start("upscale", "tiny/upscaler")


@pytest.fixture(scope="module")
def filmer(start):
    return start("image-to-video", "tiny/video")


def picture(width=64, height=64):
    out = io.BytesIO()
    Image.linear_gradient("L").resize((width, height)).convert("RGB").save(out, "PNG")
    return out.getvalue()


def opened(entry):
    assert set(entry) == {"url", "seed", "nsfw"}
    assert type(entry["seed"]) is int
    assert type(entry["nsfw"]) is bool
    head, _, data = entry["url"].partition(",")
    assert head == "data:image/png;base64"
    image = Image.open(io.BytesIO(base64.b64decode(data, validate=True)))
    assert image.format == "PNG"
    return image


def paint(runner, **more):
    body = {"model_id": "tiny/sd", "prompt": "a fox", "height": 64, "width": 64} | STEPS | more
    return runner.client.post("/text-to-image", json=body)


def test_pictures_of_a_text_have_seeds_of_their_own(painter):
    reply = paint(painter, num_images_per_prompt=2, seed=7)
    assert reply.status_code == 200, reply.text
    images = reply.json()["images"]
    assert [opened(image).size for image in images] == [(64, 64)] * 2
    assert [image["seed"] for image in images] == [7, 8]
    again = paint(painter, seed=8).json()["images"][0]
    assert _differ(opened(again), opened(images[1])) < 2, (
        "each seed makes its picture, in any batch"
    )
    assert _differ(opened(images[0]), opened(images[1])) > 2


def _differ(one, other):
    pixels = zip(one.convert("L").tobytes(), other.convert("L").tobytes(), strict=True)
    return sum(abs(a - b) for a, b in pixels) / (one.width * one.height)


def test_without_a_seed_one_is_drawn(painter):
    seeds = {paint(painter).json()["images"][0]["seed"] for _ in range(3)}
    assert len(seeds) == 3
    assert all(0 <= seed < 2**32 for seed in seeds)


def test_a_picture_is_changed_by_a_text(changer):
    data = {"prompt": "a fox", "strength": "0.800000", "seed": "3", "num_inference_steps": "4"}
    reply = changer.client.post("/image-to-image", files={"image": picture()}, data=data)
    assert reply.status_code == 200, reply.text
    [image] = reply.json()["images"]
    assert opened(image).size == (64, 64)
    assert image["seed"] == 3


def test_a_picture_gets_larger(upscaler):
    data = {"prompt": "a fox", "seed": "0", "num_inference_steps": "2", "safety_check": "false"}
    reply = upscaler.client.post("/upscale", files={"image": picture(32, 32)}, data=data)
    assert reply.status_code == 200, reply.text
    [image] = reply.json()["images"]
    assert opened(image).size == (128, 128)
    assert image["nsfw"] is False


def test_a_picture_becomes_frames(filmer):
    data = {"height": "64", "width": "128", "num_inference_steps": "2", "seed": "5"}
    reply = filmer.client.post("/image-to-video", files={"image": picture()}, data=data)
    assert reply.status_code == 200, reply.text
    [frames] = reply.json()["frames"]
    assert [opened(frame).size for frame in frames] == [(128, 64)] * 3
    assert {frame["seed"] for frame in frames} == {5}


@pytest.mark.parametrize("side", ["height", "width"])
def test_a_video_s_sides_are_multiples_of_8(filmer, side):
    data = {"height": "64", "width": "64", side: "65"}
    reply = filmer.client.post("/image-to-video", files={"image": picture()}, data=data)
    assert reply.status_code == 400
    assert "divisible by 8" in reply.json()["detail"]["msg"]


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({"prompt": ""}, "Prompt must be provided."),
        ({"height": 4096}, "height is 4096; the limit is 2048."),
        ({"num_inference_steps": 10**6}, "num_inference_steps is 1000000; the limit is 200."),
        ({"num_images_per_prompt": 11}, "num_images_per_prompt is 11; the limit is 10."),
        ({"model_id": "else"}, "pipeline configured with tiny/sd but called with else."),
        ({"loras": "x"}, "loras is no JSON object of names and weights."),
        ({"loras": '{"../../etc": 1}'}, "the LoRA ../../etc cannot be loaded."),
        ({"loras": '{"not/installed": 1}'}, "the LoRA not/installed cannot be loaded."),
        ({"loras": '{"tiny/sam2": 1}'}, "the LoRA tiny/sam2 cannot be loaded."),
    ],
)
def test_what_cannot_be_done_is_refused(painter, more, text):
    reply = paint(painter, **more)
    assert (reply.status_code, reply.json()) == (400, {"detail": {"msg": text}})


def test_sizes_the_model_cannot_make_are_refused(painter):
    reply = paint(painter, height=65)
    assert reply.status_code == 400
    assert "divisible by 8" in reply.json()["detail"]["msg"]


def test_a_lora_changes_the_picture_of_its_request_only(painter):
    def make(**more):
        return paint(painter, seed=1, **more).json()["images"][0]["url"]

    plain = make()
    changed = make(loras=json.dumps({"tiny/lora": 20.0}))
    assert changed != plain
    assert make(loras=json.dumps({"tiny/lora": 0.0})) == plain
    assert make() == plain


def test_a_large_picture_is_refused_before_it_is_decoded(changer):
    files = {"image": picture(4000, 10)}
    reply = changer.client.post("/image-to-image", files=files, data={"prompt": "a"})
    assert reply.status_code == 400
    assert reply.json() == {"detail": {"msg": "The image's sides may have 2048 pixels at most."}}


def test_pickled_weights_are_never_loaded(running, torch_dir, tmp_path):
    source = torch_dir / "models--tiny--sd" / "snapshots" / "abc"
    target = tmp_path / "models" / "evil"
    for path in source.rglob("*"):
        if path.is_file():
            name = target / path.relative_to(source)
            name.parent.mkdir(parents=True, exist_ok=True)
            name = name.with_suffix(".bin") if name.suffix == ".safetensors" else name
            name.write_bytes(path.read_bytes())
    environ = {"PIPELINE": "text-to-image", "MODEL_ID": "evil"}
    with running(**environ, MODEL_DIR=str(tmp_path / "models")) as runner:
        assert runner.wait("OK", "ERROR") == "ERROR"


def test_without_its_files_the_checker_is_left_out(running, torch_dir, tmp_path):
    (tmp_path / "models").mkdir()
    source = torch_dir / "models--tiny--sd" / "snapshots" / "abc"
    for path in source.rglob("*"):
        if path.is_file():
            name = tmp_path / "models" / "sd" / path.relative_to(source)
            name.parent.mkdir(parents=True, exist_ok=True)
            name.write_bytes(path.read_bytes())
    environ = {"PIPELINE": "text-to-image", "MODEL_ID": "sd"}
    with running(**environ, MODEL_DIR=str(tmp_path / "models")) as runner:
        assert runner.wait("OK", "ERROR") == "OK", runner.log.read_text()
        assert "safety-checker" in runner.log.read_text()
        body = {"prompt": "a", "height": 64, "width": 64} | STEPS
        reply = runner.client.post("/text-to-image", json=body)
        assert reply.json()["images"][0]["nsfw"] is False
