"""What operators type, and what is refused before the chain is asked."""

import stat
import tomllib

import click
import pytest
from click.testing import CliRunner
from podium.chain.keystore import Keystore
from podium.chain.ports import StoredTx
from podium.cli import cli
from podium.cli.edit import CannotEdit, replace_value, set_values
from podium.cli.values import ALL, Amount, EthereumAddress, Percent, ServiceUri
from podium.config.load import load_settings
from podium.crypto import KeySigner, checksum_address
from podium.errors import AccountError, ConfigInvalid
from podium.onchain.connect import MemoryStore, orchestrator, unlock

KEY = "11" * 32
OTHER_KEY = "22" * 32
OWN = checksum_address(KeySigner(bytes.fromhex(KEY)).address)
OTHER = checksum_address(KeySigner(bytes.fromhex(OTHER_KEY)).address)
LPT = 10**18


@pytest.fixture
def podium(tmp_path, monkeypatch):
    """Run a command in an empty folder with an empty home; no terminal is there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("PODIUM_CONFIG", raising=False)
    monkeypatch.setenv("NODE_KEY", KEY)
    return lambda *args: CliRunner().invoke(cli, args)


@pytest.fixture
def configure(tmp_path):
    def write(text=""):
        path = tmp_path / "podium.toml"
        path.write_text(f'[node]\ndata_dir = "{tmp_path}/data"\n{text}', "utf-8")
        return path

    return write


# amounts, shares, URIs, addresses


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("1", LPT),
        ("12.5", 12 * LPT + LPT // 2),
        ("12.5 LPT", 12 * LPT + LPT // 2),
        ("0.000000000000000001", 1),
        ("all", ALL),
    ],
)
def test_amounts_are_exact(text, parts):
    assert Amount("LPT", all_allowed=True).convert(text, None, None) == parts


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("0.0000000000000000001", "more than 18 decimals"),
        ("-5", "is no amount"),
        ("1e3", "is no amount"),
        ("1,000", "is no amount"),
        ("", "is no amount"),
        ("0", "must be more than 0"),
        ("all", "is no amount"),
        ("9" * 100, "more than there is"),
        ("12 ETH", "is no amount"),
        ("nan", "is no amount"),
        ("٣", "is no amount"),
    ],
)
def test_bad_amounts_are_refused(text, why):
    with pytest.raises(click.UsageError, match=why):
        Amount("LPT").convert(text, None, None)


@pytest.mark.parametrize(
    ("text", "millionths"), [("10%", 100_000), ("10 %", 100_000), ("0", 0), ("100", 1_000_000)]
)
def test_shares_are_exact(text, millionths):
    assert Percent().convert(text, None, None) == millionths


@pytest.mark.parametrize("text", ["-1", "101", "100.0001%", "0.00001", "ten", ""])
def test_bad_shares_are_refused(text):
    with pytest.raises(click.UsageError):
        Percent().convert(text, None, None)


def test_a_service_uri_is_completed():
    uri = ServiceUri().convert("orchestrator.example", None, None)
    assert uri == "https://orchestrator.example:8935"


@pytest.mark.parametrize(
    "text",
    [
        "https://host.example:8935/path",
        "https://0.0.0.0:8935",
        "https://[::]:8935",
        "ftp://host.example",
        "https://:8935",
        "https://host.example:99999",
        "https://user@host.example",
        "",
    ],
)
def test_bad_service_uris_are_refused(text):
    with pytest.raises(click.UsageError):
        ServiceUri().convert(text, None, None)


@pytest.mark.parametrize("text", ["0x12", "12" * 20, OWN.swapcase(), "0x" + "zz" * 20])
def test_bad_addresses_are_refused(text):
    with pytest.raises(click.UsageError):
        EthereumAddress().convert(text, None, None)


@pytest.mark.parametrize(
    "args",
    [
        ("stake", "bond", "1.0000000000000000001"),
        ("stake", "unbond", "0"),
        ("stake", "rebond", "first"),
        ("activate", "--stake", "-5"),
        ("activate", "--service-uri", "https://0.0.0.0:8935"),
        ("activate", "--reward-cut", "110%"),
        ("set", "fee-cut", "half"),
        ("set", "service-uri", "https://host.example/live"),
        ("fees", "withdraw", "--to", "0x12"),
        ("fees", "withdraw", "--amount", "1e18"),
    ],
)
def test_what_is_typed_wrong_ends_before_anything_is_read(podium, args):
    result = podium(*args)
    assert result.exit_code == 2, result.output
    assert "Error: Invalid value" in result.output


# the configuration


@pytest.mark.parametrize("args", [("stake", "show"), ("activate", "--yes"), ("round", "show")])
def test_off_chain_there_is_nothing_to_do(podium, configure, args):
    configure('[account]\nprivate_key = {env = "NODE_KEY"}')
    result = podium(*args)
    assert result.exit_code == 2
    assert 'podium: chain.network: is "offchain"' in result.output


def test_without_an_account_it_says_so(podium, configure):
    configure('[chain]\nnetwork = "arbitrum-one-mainnet"\nrpc_urls = ["http://127.0.0.1:1"]')
    result = podium("stake", "show")
    assert result.exit_code == 1
    assert "podium: no account" in result.output


def test_an_unknown_network_needs_a_controller(podium, configure):
    configure(
        '[account]\nprivate_key = {env = "NODE_KEY"}\n'
        '[chain]\nnetwork = "mine"\nrpc_urls = ["http://127.0.0.1:1"]'
    )
    result = podium("stake", "show")
    assert result.exit_code == 2
    assert "podium: chain.controller: must be given" in result.output


# the file


FILE = """\
version = 1
[node]  # where
# max_sessions = 10
max_sessions = 5

[ payments ]  # money
# For pixels_per_unit pixels.
# price_per_unit = 0
ticket_ev_wei = 8000000000  # stays

[plugins.x]
price_per_unit = "mine"
"""


def test_a_commented_default_gives_way_to_the_value():
    changed = replace_value(FILE, "payments", "price_per_unit", "1200")
    assert changed == FILE.replace("# price_per_unit = 0", "price_per_unit = 1200")


def test_a_value_gives_way_before_its_commented_default():
    changed = replace_value(FILE, "node", "max_sessions", "7")
    assert changed == FILE.replace("\nmax_sessions = 5", "\nmax_sessions = 7")


def test_a_key_that_is_missing_is_added_to_its_section():
    changed = replace_value(FILE, "payments", "currency", '"USD"')
    assert tomllib.loads(changed)["payments"]["currency"] == "USD"
    assert changed.replace('currency = "USD"\n', "") == FILE


def test_a_section_that_is_missing_is_added():
    changed = replace_value("version = 1\n", "payments", "price_per_unit", "1")
    assert tomllib.loads(changed) == {"version": 1, "payments": {"price_per_unit": 1}}


def test_the_file_keeps_its_mode(tmp_path):
    path = tmp_path / "podium.toml"
    path.write_text("[payments]\n")
    path.chmod(0o600)
    set_values(path, "payments", {"ticket_ev_wei": 5})
    assert load_settings(path).payments.ticket_ev_wei == 5
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["podium.toml"]


@pytest.mark.parametrize(
    "text",
    [
        "payments = {ticket_ev_wei = 7}\n",
        "payments.ticket_ev_wei = 7\n",
        '[payments]\nticket_ev_wei = """\n7"""\n',
        "[[payments]]\nticket_ev_wei = 7\n",
    ],
)
def test_what_cannot_be_edited_safely_is_left_alone(tmp_path, text):
    path = tmp_path / "podium.toml"
    path.write_text(text)
    with pytest.raises(CannotEdit):
        set_values(path, "payments", {"ticket_ev_wei": 5})
    assert path.read_text() == text


def test_what_would_not_work_is_not_written(tmp_path):
    path = tmp_path / "podium.toml"
    path.write_text("[payments]\n")
    with pytest.raises(ConfigInvalid, match="must be"):
        set_values(path, "payments", {"ticket_ev_wei": 0})
    assert path.read_text() == "[payments]\n"


def test_set_price_edits_the_file(podium, configure):
    path = configure(
        '[account]\nprivate_key = {env = "NODE_KEY"}\n[payments]\n# currency = "wei"\n'
    )
    result = podium("set", "price", "0.5", "--pixels", "1000", "--currency", "USD")
    assert result.exit_code == 0, result.output
    payments = load_settings(path).payments
    assert (payments.per_pixel * 2000, payments.currency) == (1, "USD")
    assert "start the node again" in result.output


def test_a_price_that_is_none_is_refused(podium, configure):
    path = configure()
    before = path.read_text()
    for amount in ("-1", "cheap", "1e3"):
        assert podium("set", "price", amount).exit_code == 2
    assert path.read_text() == before


def test_a_price_without_an_account_is_refused(podium, configure):
    path = configure()
    before = path.read_text()
    result = podium("set", "price", "5")
    assert result.exit_code == 2
    assert path.read_text() == before


# whose key acts


def account(configure, text):
    return load_settings(configure(f"[account]\n{text}"))


def test_the_account_is_the_orchestrator(configure, podium):
    own = orchestrator(account(configure, 'private_key = {env = "NODE_KEY"}'))
    assert checksum_address(own.address) == OWN
    assert unlock(own.own_keys(), own.section).address == own.address


def test_the_recipient_is_the_orchestrator_and_its_key_is_elsewhere(configure, podium):
    text = f'private_key = {{env = "NODE_KEY"}}\nrecipient = "{OTHER}"'
    own = orchestrator(account(configure, text))
    assert checksum_address(own.address) == OTHER
    with pytest.raises(AccountError, match=f"the orchestrator itself, {OTHER}.* {OWN}"):
        own.own_keys()


def test_the_rewarder_is_the_recipients_key(configure, podium):
    text = (
        f'private_key = {{env = "NODE_KEY"}}\nrecipient = "{OTHER}"\n'
        f'[account.rewarder]\nprivate_key = "{OTHER_KEY}"'
    )
    own = orchestrator(account(configure, text))
    assert own.section == "account.rewarder"
    assert checksum_address(unlock(own.own_keys(), own.section).address) == OTHER


def test_a_recipient_without_any_key_can_be_looked_at(configure, podium):
    own = orchestrator(account(configure, f'recipient = "{OTHER}"'))
    assert checksum_address(own.address) == OTHER
    with pytest.raises(AccountError, match="this needs the key of"):
        own.own_keys()


def test_a_password_is_asked_for_where_somebody_is(configure, podium, tmp_path):
    folder = tmp_path / "keys"
    Keystore(folder, scrypt_n=4096).add(bytes.fromhex(KEY), "secret")
    own = orchestrator(account(configure, f'keystore = "{folder}"'))
    asked = []

    def ask(prompt):
        asked.append(prompt)
        return "secret"

    assert checksum_address(unlock(own.own_keys(), own.section, ask).address) == OWN
    assert asked == [f"Password of {OWN}"]
    with pytest.raises(AccountError, match="password"):
        unlock(own.own_keys(), own.section, lambda prompt: "wrong")
    with pytest.raises(AccountError, match="no terminal"):
        unlock(own.own_keys(), own.section)


async def test_without_a_store_transactions_are_in_memory():
    store = MemoryStore()
    made = [
        StoredTx(str(nonce), "bond", b"\x01" * 20, nonce, (), (), 0.0, "{}") for nonce in (2, 1)
    ]
    for each in made:
        await store.put(each)
    assert await store.under_way(b"\x01" * 20) == made[::-1]
    assert await store.under_way(b"\x02" * 20) == []
    await store.remove("1")
    assert await store.under_way(b"\x01" * 20) == made[:1]
