"""Segment Anything 2 and language models on torch."""

import ast
import io

import pytest
from PIL import Image
from podium_runner_cpu.engines.generate import Sampling, generate
from podium_runner_cpu.engines.llama import Llama
from podium_runner_cpu.engines.torch_lm import TorchModel

URL = "/segment-anything-2"


@pytest.fixture(scope="module")
def segmenter(running_long, torch_dir):
    environ = {"PIPELINE": "segment-anything-2", "MODEL_ID": "tiny/sam2"}
    with running_long(**environ, MODEL_DIR=str(torch_dir)) as runner:
        assert runner.wait("OK", "ERROR") == "OK", runner.log.read_text()
        yield runner


def cut(runner, **data):
    out = io.BytesIO()
    Image.linear_gradient("L").resize((48, 40)).convert("RGB").save(out, "PNG")
    reply = runner.client.post(URL, files={"image": out.getvalue()}, data=data)
    if reply.status_code != 200:
        return reply
    assert set(reply.json()) == {"masks", "scores", "logits"}
    return {name: ast.literal_eval(text) for name, text in reply.json().items()}


POINT = {"point_coords": "[[20, 20]]", "point_labels": "[1]"}


def test_masks_come_as_lists_the_likeliest_first(segmenter):
    found = cut(segmenter, **POINT)
    assert len(found["masks"]) == len(found["scores"]) == len(found["logits"]) == 3
    assert found["scores"] == sorted(found["scores"], reverse=True)
    assert (len(found["masks"][0]), len(found["masks"][0][0])) == (40, 48)
    assert type(found["masks"][0][0][0]) is float


def test_masks_may_be_yes_and_no_and_one(segmenter):
    found = cut(segmenter, **POINT, return_logits="false", multimask_output="false")
    assert len(found["masks"]) == 1
    assert type(found["masks"][0][0][0]) is bool


def test_coordinates_may_be_shares(segmenter):
    shares = {"point_coords": "[[0.5, 0.5]]", "point_labels": "[1]", "normalize_coords": "false"}
    pixels = {"point_coords": "[[24, 20]]", "point_labels": "[1]"}
    assert cut(segmenter, **shares) == cut(segmenter, **pixels)


def test_a_box_and_an_earlier_mask_are_taken(segmenter):
    found = cut(segmenter, box="[4, 4, 30, 30]")
    again = cut(segmenter, **POINT, mask_input=str([found["logits"][0]]))
    assert again != cut(segmenter, **POINT)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({"point_coords": "x"}, "Error parsing JSON for point_coords: "),
        ({"box": "7"}, "Error parsing JSON for box: not a list"),
        ({"box": "[1]"}, "box takes four numbers."),
        ({"box": '["a"]'}, "box is no list of numbers."),
        ({"point_coords": "[[1, 2]]"}, "point_coords and point_labels do not belong together."),
        ({"point_coords": str([[1, 2]] * 1000)}, "point_coords has too many numbers"),
        ({"mask_input": "[[1, 2], [3]]"}, "mask_input is no list of numbers."),
    ],
)
def test_what_is_malformed_is_refused(segmenter, data, text):
    reply = cut(segmenter, **data)
    assert reply.status_code == 400
    assert reply.json()["detail"]["msg"].startswith(text)


def test_an_earlier_mask_of_another_shape_is_refused(segmenter):
    reply = cut(segmenter, **POINT, mask_input="[[1, 2], [3, 4]]")
    assert reply.status_code == 400
    assert reply.json() == {"detail": {"msg": "mask_input takes 32 rows of 32 numbers."}}


def test_our_llama_is_transformers_llama(llm_dir):
    """The same files give the same logits, token by token."""
    folder = llm_dir / "tiny" / "random"
    ours, theirs = Llama.from_folder(folder), TorchModel.from_folder(folder)
    assert (ours.context, ours.ends) == (theirs.context, theirs.ends)
    caches = ours.new_cache(50), theirs.new_cache(50)
    for ids in ([5, 300, 17, 42, 9], [7], [300], [299, 3]):
        one, other = ours.forward(ids, caches[0]), theirs.forward(ids, caches[1])
        assert abs(one - other).max() < 1e-3
    messages = [{"role": "user", "content": "say it"}]
    texts = [
        "".join(step.text for step in generate(m, messages, Sampling(40, temperature=0), 4096))
        for m in (ours, theirs)
    ]
    assert texts[0] == texts[1]


def test_the_llm_runs_on_torch(running, llm_dir, sentence):
    environ = {"PIPELINE": "llm", "MODEL_ID": "tiny/reciter", "MODEL_DIR": str(llm_dir)}
    with running(**environ, MODEL_ENGINE="transformers") as runner:
        assert runner.wait("OK", "ERROR") == "OK", runner.log.read_text()
        messages = [{"role": "user", "content": "say it"}]
        body = {"messages": messages, "max_tokens": 100, "temperature": 0}
        reply = runner.client.post("/llm", json=body)
        assert reply.json()["choices"][0]["message"]["content"] == sentence
