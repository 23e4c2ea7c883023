"""The section and go-livepeer's lists: models, prices, and everything that is wrong with them."""

import json
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from podium_ai_runner.config import AiConfig, ModelConfig
from podium_ai_runner.models import AiModelsError, Rate, read_ai_models, read_catalog
from podium_ai_runner.plugin import podium_price
from podium_hookspecs import ConfigError, Price, PriceRequest, Secret

GATEWAY = "0x" + "ab" * 20
OTHER = bytes(20)


def section(**options):
    return AiConfig(**options)


def model(pipeline="llm", name="m", **options):
    return ModelConfig(pipeline, name, **options)


def written(tmp_path, items):
    path = tmp_path / "aiModels.json"
    path.write_text(items if isinstance(items, str) else json.dumps(items))
    return str(path)


def seen(catalog):
    return {(m.pipeline.name, m.name): (m.executor, m.warm, m.capacity) for m in catalog.models}


def test_models_of_the_section():
    config = section(
        models=(
            model(warm=True, optimization_flags={"SFAST": True, "MODE": "fast"}),
            model("upscale", url="http://127.0.0.1:9/", capacity=3, token=Secret("t")),
            model("text-to-speech", executor="process", command=("serve",)),
        )
    )
    catalog = read_catalog(config)
    assert seen(catalog) == {
        ("llm", "m"): ("docker", True, 1),
        ("upscale", "m"): ("external", False, 3),
        ("text-to-speech", "m"): ("process", False, 1),
    }
    assert catalog.models[0].environment == {"SFAST": "true", "MODE": "fast"}


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"pipeline": "live-video-to-video"}, "must be one of"),
        ({"name": ""}, "must be a model's name"),
        ({"name": "a\n"}, "must be a model's name"),
        ({"executor": "external"}, "is needed"),
        ({"url": "ftp://x"}, "http or https"),
        ({"url": "http://x", "executor": "docker"}, "makes no sense"),
        ({"url": "http://x", "command": ("a",)}, "makes no sense"),
        ({"url": "http://x", "image": "a"}, 'executor = "docker"'),
        ({"api": "openai"}, "with a url"),
        ({"pipeline": "upscale", "url": "http://x", "api": "openai"}, "for the pipeline llm"),
        ({"price": Fraction(-1)}, "must be >= 0"),
        ({"per": 0}, ">= 1"),
        ({"capacity": 0}, ">= 1"),
        ({"currency": "$"}, "symbol"),
        ({"gateways": {"0x12": Fraction(1)}}, "must be an address"),
        ({"optimization_flags": {"A B": "1"}}, "no name of an environment"),
    ],
)
def test_a_wrong_model_is_refused(options, text):
    with pytest.raises(ValueError, match=text):
        model(**options)


def test_problems_across_models_come_all_at_once():
    config = section(
        models=(
            model(warm=True),
            model(warm=False),
            model("upscale", executor="process"),
            model(name="n", price=Fraction(1)),
            model(name="n", price=Fraction(2)),
        ),
    )
    with pytest.raises(ConfigError) as error:
        read_catalog(config)
    assert sorted(str(error.value).splitlines()) == [
        "plugins.ai.models[1]: m is both warm and not",
        "plugins.ai.models[1]: m is there twice, and not the same",
        "plugins.ai.models[2]: executor process needs command, or plugins.ai.process_command",
        "plugins.ai.models[4]: n has another price already",
    ]


def test_the_same_model_twice_adds_up():
    config = section(models=(model(capacity=2), model(capacity=3)))
    assert seen(read_catalog(config)) == {("llm", "m"): ("docker", False, 5)}


# ---------------------------------------------------------------- -aiModels


def test_the_list_of_the_command_line():
    entries = read_ai_models("text-to-image:org/a:true,llm:org/b:F:more:parts")
    assert [(e.model.pipeline.name, e.model.name, e.model.warm) for e in entries] == [
        ("text-to-image", "org/a", True),
        ("llm", "org/b", False),
    ]


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("nowhere.json", ["there is no file 'nowhere.json', and it is no list: invalid AI model config expected <pipeline>:<model_id>:<warm>"]),
        ("llm:m", ["invalid AI model config expected <pipeline>:<model_id>:<warm>"]),
        ("llm:m:yes,nope:m:true", ["item 1: warm must be true or false, not 'yes'",
                                   "item 2: unknown pipeline 'nope'"]),
    ],
)  # fmt: skip
def test_a_wrong_list_is_refused(text, problems):
    with pytest.raises(AiModelsError) as error:
        read_ai_models(text)
    assert list(error.value.problems) == problems
    with pytest.raises(ValueError, match=r"invalid AI model|unknown pipeline|no file"):
        section(ai_models=text)


def test_the_file(tmp_path):
    text = written(
        tmp_path,
        """[
        {"pipeline": "text-to-image", "model_id": "a", "warm": true, "price_per_unit": 4768371,
         "optimization_flags": {"SFAST": true}},
        {"pipeline": "llm", "model_id": "b", "url": "http://127.0.0.1:9", "token": "s3cret",
         "capacity": 4, "price_per_unit": 0.1e-2, "pixels_per_unit": 10, "currency": "USD"},
        {"pipeline": "llm", "model_id": "b", "url": "http://127.0.0.1:9", "token": "s3cret",
         "capacity": 4, "gateway": "GATEWAY", "price_per_unit": 7},
        {"pipeline": "upscale", "model_id": "c", "unknown": null}
        ]""".replace("GATEWAY", "0x" + GATEWAY[2:].upper()),
    )
    catalog = read_catalog(section(ai_models=text))
    assert seen(catalog) == {
        ("text-to-image", "a"): ("docker", True, 1),
        ("llm", "b"): ("external", False, 4),
        ("upscale", "c"): ("docker", False, 1),
    }
    assert catalog.rate(OTHER, 27, "a") == Rate(Fraction(4768371))
    assert catalog.rate(OTHER, 33, "b") == Rate(Fraction(1, 1000), 10, "usd")
    assert catalog.rate(bytes.fromhex(GATEWAY[2:]), 33, "b") == Rate(Fraction(7))
    assert catalog.rate(OTHER, 30, "c") is None
    assert catalog.models[1].token.reveal == "s3cret"


def test_a_model_for_one_gateway_alone_is_served(tmp_path):
    items = [{"pipeline": "llm", "model_id": "b", "gateway": GATEWAY, "price_per_unit": 7}]
    assert seen(read_catalog(section(ai_models=written(tmp_path, items)))) == {
        ("llm", "b"): ("docker", False, 1)
    }


@pytest.mark.parametrize(
    ("items", "text"),
    [
        ("{", "no JSON"),
        ("{}", "must be a list"),
        ("[5]", r"\[0\]: must be an object"),
        ('[{"pipeline": "llm", "model_id": "m", "price_per_unit": NaN}]', "no number"),
        ([{"pipeline": "x", "model_id": "m"}], "pipeline: unknown"),
        ([{"pipeline": "llm"}], "model_id: is missing"),
        ([{"pipeline": "llm", "model_id": "m", "warm": "yes"}], "warm: must be true or false"),
        ([{"pipeline": "llm", "model_id": "m", "capacity": "1"}], "capacity: must be a whole"),
        ([{"pipeline": "llm", "model_id": "m", "capacity": -1}], "capacity: must be >= 0"),
        (
            [{"pipeline": "llm", "model_id": "m", "price_per_unit": "0.5e-2USD"}],
            "price_per_unit: value is not a number",
        ),
        ([{"pipeline": "llm", "model_id": "m", "price_per_unit": -1}], "must be >= 0"),
        ([{"pipeline": "llm", "model_id": "m", "pixels_per_unit": 0}], "positive whole number"),
        ([{"pipeline": "llm", "model_id": "m", "pixels_per_unit": 1.5}], "positive whole number"),
        ([{"pipeline": "llm", "model_id": "m", "gateway": "me"}], "gateway: must be an address"),
        ('[{"pipeline":"llm","model_id":"m","price_per_unit":1e999999999}]', "out of range"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path, items, text):
    with pytest.raises(ConfigError, match=text):
        read_catalog(section(ai_models=written(tmp_path, items)))


@given(st.text(max_size=60))
def test_no_text_breaks_the_list(text):
    try:
        read_ai_models(text)
    except AiModelsError as error:
        assert error.problems  # noqa: PT017  most texts are wrong


# ---------------------------------------------------------------- prices


def priced(tmp_path, kit, capability=33, name="m", sender=OTHER, **options):
    config = section(models=(model(**options),))
    request = PriceRequest(sender, capability, name, "token")
    return podium_price(request, config, kit.Context(tmp_path / "state"))


def test_prices_are_exact(tmp_path, kit):
    gateways = {GATEWAY: Fraction("0.1")}
    options = {"price": Fraction("0.3"), "per": 7, "currency": "eth", "gateways": gateways}
    mine = bytes.fromhex(GATEWAY[2:])
    assert priced(tmp_path, kit, **options) == Price(Fraction(3 * 10**17, 7), "token")
    assert priced(tmp_path, kit, sender=mine, **options) == Price(Fraction(10**17, 7), "token")
    assert priced(tmp_path, kit, price=Fraction(5)) == Price(Fraction(5), "token")
    assert priced(tmp_path, kit, price=Fraction(0)) == Price(Fraction(0), "token")


def test_what_has_no_price_is_left_to_others(tmp_path, kit):
    assert priced(tmp_path, kit) is None
    assert priced(tmp_path, kit, price=Fraction(5), name="other") is None
    assert priced(tmp_path, kit, price=Fraction(5), name=None) is None
    assert priced(tmp_path, kit, price=Fraction(5), capability=27) is None


def test_a_currency_without_a_feed_stops_the_start(tmp_path, kit):
    with pytest.raises(Exception, match="no price feed for USD"):
        priced(tmp_path, kit, price=Fraction(5), currency="usd")


def test_a_currency_with_a_feed_is_asked_for_each_price(tmp_path, kit):
    class Fed(kit.Context):
        def currency(self, name):
            assert name == "usd"
            return lambda amount: amount * 1000

    config = section(models=(model(price=Fraction("0.5"), currency="USD"),))
    request = PriceRequest(OTHER, 33, "m", "token")
    assert podium_price(request, config, Fed(tmp_path / "s")) == Price(Fraction(500), "token")
