"""The file as an operator writes it, and what is said when it is wrong."""

from fractions import Fraction
from pathlib import Path

import pytest
from attrs import field, frozen, validators
from podium.config.load import find_config, load_settings, parse_settings, plugin_config
from podium.config.settings import PluginSettings, Settings
from podium.errors import ConfigInvalid
from podium_hookspecs import Codec, ConfigError, Secret

KEY = "4f" * 32
ACCOUNT = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"


def write(folder: Path, text: str) -> Path:
    path = folder / "podium.toml"
    path.write_text(text, "utf-8")
    return path


def problems(text: str, tmp_path: Path, **environ: str) -> list[str]:
    with pytest.raises(ConfigInvalid) as caught:
        load_settings(write(tmp_path, text), environ)
    return list(caught.value.problems)


def test_an_empty_file_is_all_defaults(tmp_path):
    settings = load_settings(write(tmp_path, ""))
    assert settings.node == Settings().node
    assert settings.node.data_dir == Path.home() / ".podium"
    assert settings.node.max_sessions == 10
    assert settings.payments.ticket_ev_wei == 8_000_000_000
    assert settings.account.key_bytes is None
    assert settings.given == frozenset()


def test_values_are_read_and_remembered_as_given(tmp_path):
    text = f"""
        version = 1
        [node]
        data_dir = "state"
        max_sessions = 3
        drain_timeout_s = 5
        nodes = ["a.example", "https://b.example:9000/"]
        [account]
        private_key = "0x{KEY}"
        recipient = "{ACCOUNT}"
        [payments]
        price_per_unit = "0.25"
        pixels_per_unit = 3
        [[payments.per_gateway]]
        address = "{ACCOUNT.lower()}"
        price_per_unit = 7
        [chain.local]
        block_seconds = 1
    """
    settings = load_settings(write(tmp_path, text))
    assert settings.node.data_dir == tmp_path / "state"
    assert settings.node.nodes == ("https://a.example:8935", "https://b.example:9000")
    assert settings.node.drain_timeout_s == 5.0
    assert settings.account.key_bytes == bytes.fromhex(KEY)
    assert settings.account.recipient_bytes == bytes.fromhex(ACCOUNT[2:])
    assert settings.payments.per_pixel == Fraction(1, 12)
    assert settings.payments.per_gateway[0].per_pixel == 7
    assert settings.chain.local.block_seconds == 1.0
    assert {"node.max_sessions", "chain.local.block_seconds"} <= settings.given
    assert "node.metrics" not in settings.given


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("[node]\nmax_sessions 3\n", "line 2, column 14"),
        ("[node]\n[node]\n", "line 2, column 6"),
        ('[node]\nlisten = "\n', "line 2, column 11"),
        ("[node", "end of file"),
    ],
)
def test_broken_toml_names_file_line_and_column(tmp_path, text, where):
    (line,) = problems(text, tmp_path)
    assert line.startswith(f"{tmp_path / 'podium.toml'}, {where}: ")


def test_a_file_that_cannot_be_read_says_why(tmp_path):
    with pytest.raises(ConfigInvalid, match="No such file"):
        load_settings(tmp_path / "none.toml")
    (tmp_path / "latin.toml").write_bytes(b'[node]\nlog_level = "\xff"\n')
    with pytest.raises(ConfigInvalid, match="not UTF-8"):
        load_settings(tmp_path / "latin.toml")


def test_every_problem_is_told_at_once(tmp_path):
    text = """
        version = 2
        nod = 1
        [node]
        max_session = 3
        listen = 7
        [payments]
        ticket_ev_wei = 0
        [[payments.per_gateway]]
        price_per_unit = 1
        [plugins.transcode]
        enabled = "yes"
    """
    assert problems(text, tmp_path) == [
        "nod: unknown key; did you mean node?",
        "version: must be 1, the version that this program reads",
        "node.max_session: unknown key; did you mean max_sessions?",
        "node.listen: must be a text, not a whole number",
        "payments.per_gateway[0].address: is missing. The gateway.",
        "payments.ticket_ev_wei: must be >= 1: 0",
        "plugins.transcode.enabled: must be true or false, not a text",
    ]


@pytest.mark.parametrize(
    ("section", "line", "text"),
    [
        ("node", 'max_sessions = "3"', "must be a whole number, not a text"),
        ("node", "max_sessions = 3.0", "must be a whole number, not a number"),
        ("node", "max_sessions = true", "must be a whole number, not true or false"),
        ("node", "metrics = 1", "must be true or false, not a whole number"),
        ("node", "drain_timeout_s = true", "must be a number, not true or false"),
        ("node", "drain_timeout_s = nan", "must be a finite number"),
        ("node", "log_level = 3", "must be one of 'debug', 'info', 'warning', 'error'"),
        ("node", 'nodes = "a"', "must be a list, not a text"),
        ("node", "nodes = [1]", "[0]: must be a text, not a whole number"),
        ("node", "data_dir = 1", "must be a text, not a whole number"),
        ("node", 'listen = "host/path"', "must be HOST:PORT, without a path"),
        ("node", 'listen = "host:99999"', "must be HOST:PORT (Port out of range 0-65535)"),
        ("node", 'service_uri = "ftp://x"', 'the scheme must be https or http, not "ftp"'),
        ("node", 'tls_key = "k.pem"', "tls_cert and tls_key go together: give both or none"),
        ("account", 'private_key = "12"', "must be a private key: 32 bytes as 64 hex digits"),
        ("account", f'private_key = "{"00" * 32}"', "must be a private key: 32 bytes as 64"),
        ("account", 'recipient = "0x12"', "must be an address: 0x and 40 hex digits"),
        ("account", f'recipient = "{ACCOUNT[:-1]}D"', "the address has a wrong checksum"),
        ("payments", "price_per_unit = 0.5", "must be a whole number or a text like"),
        ("payments", 'price_per_unit = "1/0"', "must be a whole number or a text like"),
        ("payments", "price_per_unit = -1", "must be >= 0"),
        ("payments", "pixels_per_unit = 0", "must be >= 1: 0"),
        ("chain", 'rpc_urls = []\nnetwork = "devnet"', 'network "devnet" needs at least one JSON'),
        ("chain", 'rpc_urls = ["ws://x"]', "must be http:// or https:// URLs"),
        ("chain", 'controller = "0x12"', "must be an address"),
        ("account", f'keystore = "k"\nprivate_key = "{"11" * 32}"', "give private_key or keystore"),
        ("payments", 'currency = "U$D"', "must be letters, as in wei, eth or USD"),
        ("limits", "max_body_bytes = 300000001", "must be <= 300000000: 300000001"),
        ("limits", "max_fields = 3", "must be >= 64: 3"),
        ("limits", "max_head_bytes = 4096", "must be >= 65536: 4096"),
        ("limits", "max_streams = 100001", "must be <= 100000: 100001"),
        ("limits", "idle_timeout_s = 0.5", "must be >= 1: 0.5"),
        ("plugins", "transcode = 3", "must be a table: [plugins.transcode]"),
        ("plugins", "Transcode = {}", "a plugin's name has lower-case letters"),
    ],
)
def test_wrong_values_are_refused_never_coerced(tmp_path, section, line, text):
    (problem,) = problems(f"[{section}]\n{line}\n", tmp_path)
    where, _, what = problem.partition(": ")
    assert where.startswith(f"{section}.{line.split(' ')[0]}")
    assert text in problem
    assert what


def test_prices_need_an_account(tmp_path):
    prices = f"""
        [payments]
        price_per_unit = "0.1"
        [[payments.per_gateway]]
        address = "{ACCOUNT}"
        price_per_unit = 0
        [[payments.per_gateway]]
        address = "{ACCOUNT}"
        price_per_unit = 2
    """
    text = "would never be charged, since there is no account: set account.private_key"
    assert problems(prices, tmp_path) == [
        f"payments.price_per_unit: {text}",
        f"payments.per_gateway[1].price_per_unit: {text}",
    ]
    for account in (f'private_key = "{KEY}"', f'recipient = "{ACCOUNT}"'):
        load_settings(write(tmp_path, f"{prices}\n[account]\n{account}\n"), {})


def test_secrets_come_from_the_environment_or_a_file(tmp_path):
    text = '[account]\nprivate_key = {env = "THE_KEY"}\n'
    settings = load_settings(write(tmp_path, text), {"THE_KEY": KEY})
    assert settings.account.private_key == Secret(KEY)
    assert settings.account.key_bytes == bytes.fromhex(KEY)

    (tmp_path / "account.key").write_text(f"{KEY}\nnot this line\n")
    text = '[account]\nprivate_key = {file = "account.key"}\n'
    settings = load_settings(write(tmp_path, text), {})
    assert settings.account.key_bytes == bytes.fromhex(KEY)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ('{env = "NOT_SET"}', "the environment variable NOT_SET is not set"),
        ('{env = "EMPTY"}', "the environment variable EMPTY is not set"),
        ('{file = "no.key"}', "no.key: No such file or directory"),
        ('{file = "empty.key"}', "is empty"),
        ('{file = "binary.key"}', "binary.key: not a text file"),
        ('{env = "A", file = "b"}', 'must be a text, {env = "NAME"} or {file = "PATH"}'),
        ("7", 'must be a text, {env = "NAME"} or {file = "PATH"}'),
    ],
)
def test_a_secret_that_cannot_be_had_is_a_problem(tmp_path, value, text):
    (tmp_path / "empty.key").write_text("")
    (tmp_path / "binary.key").write_bytes(b"\xff\xfe")
    (problem,) = problems(f"[account]\nprivate_key = {value}\n", tmp_path, EMPTY="")
    assert problem.startswith("account.private_key: ")
    assert text in problem


def test_only_secret_fields_take_references(tmp_path):
    (problem,) = problems('[node]\nservice_uri = {env = "HOME"}\n', tmp_path, HOME="x")
    assert problem == "node.service_uri: must be a text, not a table"


def test_a_key_never_appears_in_a_problem_or_a_repr(tmp_path):
    (problem,) = problems(f'[account]\nprivate_key = "{KEY}zz"\n', tmp_path)
    assert KEY not in problem
    settings = load_settings(write(tmp_path, f'[account]\nprivate_key = "{KEY}"\n'))
    assert KEY not in repr(settings)


def test_the_file_is_found_by_option_environment_and_place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    with pytest.raises(ConfigInvalid, match="run podium init"):
        find_config(environ={})
    home = tmp_path / "home" / ".podium"
    home.mkdir(parents=True)
    (home / "podium.toml").write_text("")
    assert find_config(environ={}) == home / "podium.toml"
    write(tmp_path, "")
    assert find_config(environ={}) == Path("podium.toml")
    assert find_config(environ={"PODIUM_CONFIG": "/etc/p.toml"}) == Path("/etc/p.toml")
    assert find_config(Path("x"), {"PODIUM_CONFIG": "/etc/p.toml"}) == Path("x")


def test_plugins_keep_the_order_of_the_file(tmp_path):
    text = "[plugins.z]\nenabled = true\n[plugins.a]\nrequired = false\nslots = 3\n[plugins.m]\n"
    plugins = load_settings(write(tmp_path, text)).plugins
    assert list(plugins) == ["z", "a", "m"]
    assert plugins["z"].enabled
    assert plugins["z"].required
    assert not plugins["a"].enabled
    assert plugins["a"].options == {"slots": 3}


@frozen
class Inner:
    path: Path
    codec: Codec = Codec.H264


@frozen
class PluginOptions:
    """A plugin's section with every kind of field."""

    token: Secret
    low: int = field(default=0)
    high: int = field(default=10)
    rate: float = 1.0
    either: int | str = "auto"
    maybe: int | None = None
    labels: dict[str, str] = field(factory=dict)
    inner: tuple[Inner, ...] = ()

    @high.validator
    def _above(self, attribute: object, value: int) -> None:
        if value < self.low:
            raise ConfigError("must not be below low")


def options(tmp_path: Path, **given: object) -> PluginOptions:
    section = PluginSettings(enabled=True, options=given)
    return plugin_config(PluginOptions, "x", section, base_dir=tmp_path, environ={"T": "t0ps3cret"})


def test_a_plugins_section_is_checked_with_its_class(tmp_path):
    config = options(
        tmp_path,
        token={"env": "T"},
        either=4,
        maybe=2,
        labels={"a": "b"},
        inner=[{"path": "models", "codec": "hevc"}],
    )
    assert config.token.reveal == "t0ps3cret"
    assert (config.either, config.maybe, config.labels) == (4, 2, {"a": "b"})
    assert config.inner == (Inner(tmp_path / "models", Codec.HEVC),)


def test_all_problems_of_a_plugins_section_carry_its_path(tmp_path):
    with pytest.raises(ConfigInvalid) as caught:
        options(
            tmp_path,
            low=11,
            lov=1,
            either=[],
            labels={"a": 1},
            inner=[{"path": "m"}, {"codec": "mpeg2"}],
        )
    assert caught.value.problems == (
        "plugins.x.lov: unknown key; did you mean low?",
        "plugins.x.token: is missing",
        "plugins.x.either: must be a whole number or a text",
        "plugins.x.labels.a: must be a text, not a whole number",
        "plugins.x.inner[1].path: is missing",
        "plugins.x.inner[1].codec: 'mpeg2' is not a valid Codec",
        "plugins.x.high: must not be below low",
    )


def test_options_of_a_plugin_without_any_are_unknown(tmp_path):
    section = PluginSettings(enabled=True, options={"a": 1, "b": 2})
    with pytest.raises(ConfigInvalid) as caught:
        plugin_config(None, "x", section, base_dir=tmp_path)
    assert caught.value.problems == (
        "plugins.x.a: unknown key; this plugin has no options",
        "plugins.x.b: unknown key; this plugin has no options",
    )
    empty = PluginSettings(enabled=True)
    assert plugin_config(None, "x", empty, base_dir=tmp_path) is None


@frozen
class NeedsPositive:
    count: int = field(validator=validators.gt(0))

    def __attrs_post_init__(self) -> None:
        if self.count == 13:
            raise ValueError("13 brings bad luck")


def test_a_problem_of_the_whole_section_names_the_section(tmp_path):
    section = PluginSettings(options={"count": 13})
    with pytest.raises(ConfigInvalid, match=r"^plugins\.x: 13 brings bad luck$"):
        plugin_config(NeedsPositive, "x", section, base_dir=tmp_path)


def test_settings_made_in_code_need_no_file():
    assert parse_settings({}) == Settings()
