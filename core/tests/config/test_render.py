"""The default file works as written, and nothing secret is ever shown."""

import tomllib
from fractions import Fraction

import attrs
from attrs import field, frozen
from podium.config import Settings
from podium.config.load import SECTIONS, parse_settings, plugin_config
from podium.config.render import PluginSection, render_default, show, toml
from podium_hookspecs import Secret

KEY = "5e" * 32


@frozen
class Options:
    slots: int = field(default=2, metadata={"help": "Jobs at a time."})
    token: Secret | None = field(default=None, metadata={"help": "A password."})


def uncomment(text):
    """Turn every commented setting on."""
    lines = []
    for line in text.splitlines():
        body = line.removeprefix("# ")
        is_setting = body.startswith("[[") or (
            " = " in body and body.split(" = ")[0].isidentifier()
        )
        lines.append(body if is_setting else line)
    return "\n".join(lines)


def test_the_default_file_parses_to_the_defaults():
    settings = parse_settings(tomllib.loads(render_default({"t": PluginSection(True, Options)})))
    assert attrs.evolve(settings, plugins={}, given=frozenset()) == Settings()
    assert settings.plugins["t"].enabled


def test_every_setting_is_in_the_default_file_with_its_default_and_help():
    document = tomllib.loads(uncomment(render_default({"t": PluginSection(False, Options)})))
    for name in SECTIONS:
        fields = attrs.fields(type(getattr(Settings(), name)))
        assert {f.name for f in fields} == set(document[name]), name
        assert all(f.metadata["help"] for f in fields)
    assert document["plugins"]["t"] == {
        "enabled": False,
        "required": True,
        "max_jobs": 1,
        "max_queue": 1,
        "job_timeout_s": 1,
        "max_output_mb": 4096,
        "slots": 2,
        "token": {"env": "NAME"},
    }
    examples = {"private_key", "recipient", "tls_cert", "tls_key", "spool_dir", "per_gateway"}
    examples |= {"keystore", "password"}
    tables = [document[name] for name in SECTIONS]
    tables += [value for table in tables for value in table.values() if isinstance(value, dict)]
    for table in tables:
        for key in examples:
            table.pop(key, None)
    del document["plugins"]
    settings = parse_settings(document)
    assert attrs.evolve(settings, given=frozenset()) == Settings()


def test_given_values_replace_the_comments():
    text = render_default({}, {"account.private_key": '{file = "k"}', "node.max_sessions": "4"})
    document = tomllib.loads(text)
    empty = {"redeemer": {}, "rewarder": {}}
    assert document["account"] == {"private_key": {"file": "k"}, **empty}
    assert document["node"] == {"max_sessions": 4}


def test_show_masks_secrets_and_names_where_values_come_from():
    document = {
        "node": {"max_sessions": 4},
        "account": {"private_key": KEY},
        "plugins": {
            "t": {"enabled": True, "token": "hunter22"},
            "unknown": {"password": "hunter22"},
        },
    }
    settings = parse_settings(document)
    section = settings.plugins["t"]
    config = plugin_config(Options, "t", section, base_dir=settings.base_dir)
    text = show(settings, {"t": config})
    assert KEY not in text
    assert "hunter22" not in text
    assert "max_sessions = 4  # file\n" in text
    assert "session_idle_s = 70.0  # default\n" in text
    assert 'private_key = "***"  # file\n' in text
    assert "slots = 2  # default\n" in text
    shown = tomllib.loads(text)
    assert shown["plugins"]["unknown"]["password"] == "***"
    assert shown["payments"]["price_per_unit"] == 0


def test_values_are_written_as_toml_that_reads_back():
    for value in (True, 3, 0.5, 'a"b\\\n', ["x", 1], {"k": "v"}):
        assert tomllib.loads(f"v = {toml(value)}")["v"] == value
    assert toml(Fraction(1, 8)) == '"0.125"'
    assert toml(Fraction(7)) == "7"
    assert toml(Fraction(10, 3)) == '"10/3"'
    assert toml(Secret("s")) == '"***"'


def test_show_masks_the_keys_in_urls_of_endpoints():
    urls = [
        "https://user:passw0rd@rpc.example:8545/",
        "https://rpc.example/v3/0123456789abcdef",
        "https://rpc.example/?apikey=0123456789abcdef",
        "http://127.0.0.1:8545",
    ]
    chain = {"network": "devnet", "controller": "0x" + "cc" * 20, "rpc_urls": urls}
    text = show(parse_settings({"version": 1, "chain": chain}))
    assert tomllib.loads(text)["chain"]["rpc_urls"] == [
        "https://rpc.example:8545/***",
        "https://rpc.example/***",
        "https://rpc.example/***",
        "http://127.0.0.1:8545",
    ]
    assert "passw0rd" not in text
    assert "0123456789abcdef" not in text
