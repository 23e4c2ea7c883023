"""What is advertised, and what the pages say."""

import json

import pytest
from attrs import define
from podium_ai_runner.openapi import Page, make_document
from podium_ai_runner.pipelines.describe import BY_NAME, PIPELINES
from podium_ai_runner.pipelines.offers import DEFAULT_BITS, offers_of
from podium_hookspecs import Offer, Resources

LLM = BY_NAME["llm"]


@define
class Place:
    resources: Resources


@define
class Runner:
    version: str


@define
class HoldingPlace(Place):
    loaded: dict


def place(slots=1, models=("a",), pipelines=("llm",), number=33, warm=False, version=""):
    return Resources(
        pipelines=set(pipelines),
        capabilities={number},
        models=set(models),
        slots=slots,
        offers=[Offer(number, m, warm=warm, runner_version=version) for m in models],
    )


def models(workers, description=LLM):
    return {o.model: o for o in offers_of(description, workers) if o.model is not None}


def test_without_workers_nothing_is_offered():
    assert offers_of(LLM, []) == ()
    assert offers_of(LLM, [Place(place(pipelines=("upscale",), number=30))]) == ()


def test_the_default_bits_come_with_the_models():
    offers = offers_of(LLM, [Place(place())])
    assert {o.capability for o in offers if o.model is None} == {*range(13), 14, 26}
    assert set(DEFAULT_BITS) == {*range(13), 14, 26}


def test_capacity_is_the_sum_over_workers_that_may_serve_the_model():
    found = models([Place(place(2)), Place(place(models=("a", "b"))), Place(place(0))])
    assert {name: offer.capacity for name, offer in found.items()} == {"a": 3, "b": 1}


def test_the_lowest_version_is_told_and_warm_is_what_answers_at_once():
    found = models(
        [
            Place(place(version="0.14.1", warm=True)),
            Place(place(version="0.9.10")),
            Place(place(version="")),
        ]
    )["a"]
    assert (found.runner_version, found.warm) == ("0.9.10", True)


def test_what_is_loaded_now_decides_where_a_worker_says_it():
    cold = HoldingPlace(place(models=("a", "b"), warm=True), {("llm", "b"): Runner("0.14.1")})
    found = models([cold])
    assert (found["a"].warm, found["b"].warm) == (False, True)
    assert found["b"].runner_version == "0.14.1"


def test_a_worker_without_pairs_serves_all_its_models():
    plain = Resources(pipelines={"llm"}, capabilities={33}, models={"a"}, slots=4, version="1.2.3")
    assert models([Place(plain)])["a"] == Offer(33, "a", capacity=4, runner_version="1.2.3")


# ---------------------------------------------------------------- pages


def test_the_document_describes_every_pipeline():
    document = make_document("https://n", "0.9.1")
    json.dumps(document)
    assert document["openapi"] == "3.1.0"
    assert set(document["paths"]) == {f"/{one.name}" for one in PIPELINES}
    for one in PIPELINES:
        operation = document["paths"][f"/{one.name}"]["post"]
        ((kind, body),) = operation["requestBody"]["content"].items()
        assert kind == ("multipart/form-data" if one.file else "application/json")
        names = {field.name for field in one.fields} | ({one.file.name} if one.file else set())
        assert set(body["schema"]["properties"]) == names
        assert one.model_field in body["schema"]["required"]


@pytest.mark.parametrize("which", ["document", "page"])
async def test_the_pages_are_served_and_cached(which):
    page = Page("https://n", "0.9.1")

    async def get(method="GET", headers=()):
        said = []

        async def send(message):
            said.append(message)

        scope = {"type": "http", "method": method, "headers": list(headers)}
        await getattr(page, which)(scope, None, send)
        return said[0]["status"], dict(said[0]["headers"]), said[1]["body"]

    status, headers, body = await get()
    assert status == 200
    assert int(headers[b"content-length"]) == len(body)
    assert b"text-to-speech" in body
    if which == "page":
        assert b"<script" not in body
        assert b"http://" not in body
    assert (await get(headers=[(b"if-none-match", headers[b"etag"])]))[0] == 304
    assert (await get("HEAD"))[2] == b""
    assert (await get("POST"))[0] == 405
