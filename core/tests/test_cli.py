"""The command line: what it prints, what it leaves behind, how it exits."""

import asyncio
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
import tomllib
from importlib.metadata import EntryPoint, version
from types import SimpleNamespace

import click
import httpx
import pytest
from click.testing import CliRunner
from podium.cli import cli
from podium.cli.lazy import Entry, LazyGroup
from podium.crypto import KeySigner, checksum_address
from podium.listener import self_signed
from podium.model import WinningTicket
from podium.stores.sqlite import Database


@pytest.fixture
def podium(tmp_path, monkeypatch):
    """Run a command in an empty folder with an empty home."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("PODIUM_CONFIG", raising=False)

    def run(*args):
        return CliRunner().invoke(cli, args)

    return run


def write(folder, text):
    (folder / "podium.toml").write_text(text, "utf-8")


def test_help_names_every_command_and_imports_none():
    script = (
        "import sys; from podium.cli import cli\n"
        "try: cli.main(['--help'], prog_name='podium')\n"
        "except SystemExit: pass\n"
        "heavy = {'cattrs', 'structlog', 'starlette', 'uvicorn', 'rich', 'coincurve', 'h2', 'av',\n"
        "         'prometheus_client', 'asyncio', 'podium_ai_runner'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout
    for name in ("serve", "init", "config", "plugins", "tickets", "gateway", "demo", "bench"):
        assert f"\n  {name} " in found
    assert found.splitlines()[-1] == "[]"


def test_version_names_the_protocol_too(podium):
    assert podium("--version").output == f"podium {version('podium')} (speaks go-livepeer 0.9.1)\n"


def test_every_command_is_what_it_says(podium):
    context = click.Context(cli)
    for name in cli.list_commands(context):
        assert isinstance(cli.get_command(context, name), click.Command), name
    result = podium("nonsense")
    assert result.exit_code == 2
    assert "No such command" in result.output


def test_an_extra_that_is_missing_is_named():
    entries = {"gone": Entry("no_such_package.cli:gone", "Help.", "gateway")}
    result = CliRunner().invoke(LazyGroup(entries=entries), ["gone"])
    assert result.exit_code == 1
    assert (
        "podium: this needs the package no_such_package: pip install 'podium[gateway]'"
        in result.output
    )


def test_a_module_of_ours_that_is_missing_is_a_fault_not_advice():
    entries = {"gone": Entry("podium.no_such_module:gone", "Help.", "gateway")}
    result = CliRunner().invoke(LazyGroup(entries=entries), ["gone"])
    assert isinstance(result.exception, ModuleNotFoundError)


def test_init_writes_a_file_that_checks(podium, tmp_path):
    result = podium("init", "--data-dir", "state")
    assert result.exit_code == 0, result.output
    document = tomllib.loads((tmp_path / "podium.toml").read_text())
    assert document["plugins"]["transcode"]["enabled"] is True
    assert document["node"]["data_dir"] == str(tmp_path / "state")
    assert "private_key" not in document["account"]
    again = podium("init")
    assert again.exit_code == 1
    assert "podium.toml exists; replace it with --force" in again.output
    assert podium("init", "--force").exit_code == 0


def test_init_makes_a_key_once_and_for_its_owner_only(podium, tmp_path):
    result = podium("init", "--with-key", "--data-dir", "state")
    path = tmp_path / "state" / "account.key"
    key = path.read_text().strip()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert checksum_address(KeySigner(bytes.fromhex(key)).address) in result.output
    assert key not in result.output
    text = (tmp_path / "podium.toml").read_text()
    assert key not in text
    assert tomllib.loads(text)["account"]["private_key"] == {"file": str(path)}
    assert podium("init", "--with-key", "--data-dir", "state", "--force").exit_code == 0
    assert path.read_text().strip() == key
    path.write_text("not a key\n")
    result = podium("init", "--with-key", "--data-dir", "state", "--force")
    assert result.exit_code == 1
    assert "does not hold a private key" in result.output


def test_config_check_tells_every_problem_and_exits_2(podium, tmp_path):
    write(
        tmp_path,
        "[node]\nmax_session = 1\nmetrics = 3\n"
        "[plugins.nothere]\nenabled = true\n[plugins.maybe]\nenabled = true\nrequired = false\n",
    )
    result = podium("config", "check")
    assert result.exit_code == 2
    lines = result.output.splitlines()
    assert lines[:2] == [
        "podium: node.max_session: unknown key; did you mean max_sessions?",
        "podium: node.metrics: must be true or false, not a whole number",
    ]
    assert lines[2].startswith("podium: plugins.nothere: install: no installed distribution")
    assert len(lines) == 3


def test_config_check_says_ok(podium, tmp_path):
    write(tmp_path, "version = 1\n[node]\nmax_sessions = 1\n")
    result = podium("config", "check")
    assert (result.exit_code, result.output) == (0, "podium.toml: ok; plugins: none\n")


def test_config_check_tries_the_certificate_with_its_key(podium, tmp_path):
    ours, other = (self_signed(tmp_path / name, "a.example") for name in ("ours", "other"))
    files = '[node]\ntls_cert = "ours/cert.pem"\ntls_key = "{}/key.pem"\n'
    write(tmp_path, files.format("ours"))
    assert podium("config", "check").exit_code == 0
    write(tmp_path, files.format("other") + "[plugins.nothere]\nenabled = true\n")
    result = podium("config", "check")
    assert result.exit_code == 2
    lines = result.output.splitlines()
    assert lines[0] == (
        f"podium: node.tls_cert, node.tls_key: {other.key} is not the key of the certificate "
        f"{ours.cert}"
    )
    assert lines[1].startswith("podium: plugins.nothere: ")


@pytest.mark.parametrize("command", [("config", "check"), ("serve",)])
def test_a_price_without_an_account_is_a_mistake(podium, tmp_path, command):
    write(tmp_path, "[payments]\nprice_per_unit = 7\n")
    result = podium(*command)
    assert (result.exit_code, result.output) == (
        2,
        "podium: payments.price_per_unit: would never be charged, since there is no account: "
        "set account.private_key\n",
    )


@pytest.mark.parametrize("command", [("config", "show"), ("serve",), ("tickets", "list")])
def test_a_broken_file_ends_every_command_with_its_place(podium, tmp_path, command):
    write(tmp_path, "[node]\nmax_sessions 3\n")
    result = podium(*command)
    assert result.exit_code == 2
    assert result.output.startswith("podium: podium.toml, line 2, column 14: ")
    assert result.output.count("\n") == 1


def test_without_a_file_the_next_step_is_named(podium):
    result = podium("serve")
    assert result.exit_code == 2
    assert "run podium init" in result.output


def test_config_show_masks_secrets(podium, tmp_path):
    key = "7a" * 32
    write(tmp_path, f'[account]\nprivate_key = "{key}"\n')
    result = podium("config", "show")
    assert result.exit_code == 0
    assert key not in result.output
    assert 'private_key = "***"  # file' in result.output


def test_plugins_list_shows_what_is_installed_and_why_it_fails(podium, tmp_path):
    assert "not-enabled" in podium("plugins", "list").output
    write(tmp_path, "[plugins.nothere]\nenabled = true\n")
    result = podium("plugins", "list")
    assert result.exit_code == 0
    (line,) = [line for line in result.output.splitlines() if "nothere" in line]
    assert "failed" in line
    assert "no installed distribution offers it" in line
    assert not (tmp_path / "home").exists()


def test_plugins_docs_prints_a_section_that_checks(podium, tmp_path):
    result = podium("plugins", "docs", "transcode")
    assert result.exit_code == 0
    assert '# preset = "medium"' in result.output
    write(tmp_path, result.output)
    assert podium("config", "check").exit_code == 0
    result = podium("plugins", "docs", "nothere")
    assert result.exit_code == 1
    assert result.output.startswith("podium: install: no installed distribution offers it (found: ")


def test_plugins_check_fails_when_one_does(podium, tmp_path):
    write(tmp_path, "[plugins.nothere]\nenabled = true\n")
    result = podium("plugins", "check")
    assert result.exit_code == 1
    assert "podium: not every enabled plugin is well" in result.output
    write(tmp_path, "")
    assert podium("plugins", "check").exit_code == 0


def test_tickets_of_a_new_node_are_none(podium, tmp_path):
    write(tmp_path, '[node]\ndata_dir = "state"\n')
    (tmp_path / "state").mkdir()
    result = podium("tickets", "list")
    assert (result.exit_code, result.output) == (
        0,
        f"no winning tickets in {tmp_path / 'state' / 'podium.sqlite3'}\n",
    )
    assert not list((tmp_path / "state").iterdir())


@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_tickets_of_a_folder_that_is_not_there_are_a_mistake(podium, tmp_path, flags):
    write(tmp_path, '[node]\ndata_dir = "stat"\n')
    result = podium("tickets", "list", *flags)
    assert (result.exit_code, result.output) == (
        1,
        f"podium: no node has run here: {tmp_path / 'stat'} (node.data_dir) does not exist\n",
    )
    assert not (tmp_path / "stat").exists()


def test_tickets_are_listed_for_people_and_programs(podium, tmp_path):
    sender = b"\x01" * 20
    ticket = WinningTicket(
        sender=sender, recipient=b"\x02" * 20, face_value=35_000_000_245_000_000, win_prob=2**255,
        nonce=7, recipient_rand_hash=b"\x03" * 32, creation_round=1, block_hash=b"\x04" * 32,
        recipient_rand=5, expiration_block=40, signature=b"\x06" * 65,
    )  # fmt: skip

    async def store():
        database = await Database.open(tmp_path / "podium.sqlite3")
        await database.add([ticket])
        await database.close()

    asyncio.run(store())
    write(tmp_path, f'[node]\ndata_dir = "{tmp_path}"\n')
    (line,) = podium("tickets", "list", "--open", "--json").output.splitlines()
    row = json.loads(line)
    assert row["created"]
    assert row["sender"] == checksum_address(sender)
    assert row["face_value_wei"] == 35_000_000_245_000_000
    assert (row["state"], row["expires_block"], row["nonce"]) == ("pending", 40, 7)
    table = podium("tickets", "list").output
    assert "0.035000000245" in table
    assert checksum_address(sender) in table


def start(folder, *args):
    environ = os.environ | {"HOME": str(folder), "PYTHONWARNINGS": "default"}
    return subprocess.Popen(
        [sys.executable, "-m", "podium", "serve", *args],
        cwd=folder, env=environ, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def test_serve_says_what_runs_where_and_ends_on_sigterm(tmp_path):
    write(
        tmp_path,
        '[node]\ndata_dir = "state"\nlisten = "127.0.0.1:0"\nadmin_listen = "127.0.0.1:0"\n',
    )
    began = time.monotonic()
    process = start(tmp_path)
    try:
        banner = [process.stdout.readline() for _ in range(7)]
        took_s = time.monotonic() - began
        assert banner[0].startswith(f"podium {version('podium')} serves https://127.0.0.1:")
        rows = dict(line.strip().split("  ", 1) for line in banner[1:] if "  " in line.strip())
        page = httpx.get(rows["admin port"].strip(), timeout=10)
        assert "livepeer_max_sessions_total" in page.text
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0
    finally:
        process.kill()
        process.communicate()
    assert took_s < 10  # under 2 s on an idle machine


def test_serve_on_a_port_in_use_says_so_in_one_sentence(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        write(tmp_path, f'[node]\ndata_dir = "state"\nlisten = "127.0.0.1:{port}"\n')
        process = start(tmp_path)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 1, err
    assert out == ""
    assert str(port) in err
    assert len(err.strip().splitlines()) == 1
    assert err.startswith("podium: ")


def test_bench_adds_its_figures_to_the_file(podium, tmp_path, monkeypatch):
    class Report:
        def figures(self):
            return {"fake.ratio": 1.5}

        def lines(self):
            return ["fine"]

    from podium.bench import cli as bench_cli

    monkeypatch.setattr(bench_cli, "_load", lambda target: Report)
    (tmp_path / "b.json").write_text('{"old": 1}')
    result = podium("bench", "tickets", "--json", "b.json")
    assert result.exit_code == 0, result.output
    assert "fine" in result.output
    assert json.loads((tmp_path / "b.json").read_text()) == {"old": 1, "fake.ratio": 1.5}


GATEWAY = "0x" + "22" * 20


def test_price_explain_says_who_decides_without_a_node(podium, tmp_path):
    text = (
        '[node]\nadmin_listen = "127.0.0.1:1"\n[account]\nprivate_key = "' + "11" * 32 + '"\n'
        '[payments]\nprice_per_unit = "1/3"\nauto_adjust_price = false\n'
    )
    write(tmp_path, text)
    done = podium(
        "price",
        "explain",
        "--sender",
        GATEWAY,
        "--capability",
        "byoc",
        "--model",
        "echo",
        "--unit",
        "second",
    )
    assert done.exit_code == 0
    assert [" ".join(line.split()) for line in done.stdout.splitlines()] == [
        "gateway 0x2222222222222222222222222222222222222222",
        "work byoc echo, by the second",
        "asked the plugins; no node runs",
        "configuration 1/3 wei <- decides",
        "adjusted no",
        "quoted 1/3 wei per second",
    ]
    assert not (tmp_path / "home").exists()


def test_price_explain_of_a_node_that_charges_nobody(podium, tmp_path):
    write(tmp_path, '[node]\nadmin_listen = "127.0.0.1:1"\n')
    done = podium("price", "explain", "--sender", GATEWAY)
    assert "nothing: without an account this node charges nobody" in done.stdout


def test_price_explain_refuses_what_it_cannot_read(podium, tmp_path):
    write(tmp_path, "")
    done = podium("price", "explain", "--sender", GATEWAY, "--capability", "painting")
    assert done.exit_code == 2
    assert "painting is none of transcode, text-to-image" in done.output
    assert podium("price", "explain", "--sender", "0x12").exit_code == 2


def test_price_explain_tells_another_program_from_a_node(podium, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        write(tmp_path, f'[node]\nadmin_listen = "127.0.0.1:{port}"\n')

        def mumble():
            connection, _ = other.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"220 mail\r\n")

        thread = threading.Thread(target=mumble)
        thread.start()
        done = podium("price", "explain", "--sender", GATEWAY)
        thread.join()
    assert done.exit_code == 1
    assert "does not answer as a node does" in done.output


# ---------------------------------------------------------------- commands of other distributions


@pytest.fixture
def added(monkeypatch):
    """Let distributions add commands: ``added((name, target), ...)``."""

    def add(*points):
        found = [EntryPoint(name, target, "podium.commands") for name, target in points]
        monkeypatch.setattr("importlib.metadata.entry_points", lambda **_: found)

    return add


@click.command()
@click.pass_context
def guest(ctx):
    """Stand in for another distribution's command."""
    click.echo(ctx.obj(None))


def test_a_distribution_adds_a_command_that_finds_the_admin_port(
    podium, tmp_path, added, monkeypatch
):
    monkeypatch.setitem(sys.modules, "guests", SimpleNamespace(guest=guest))
    added(("guest", "guests:guest"))
    write(tmp_path, 'version = 1\n[node]\nadmin_listen = "127.0.0.1:7936"\n')
    assert podium("guest").output == "http://127.0.0.1:7936\n"
    assert "  guest " in podium("--help").output


def test_two_commands_of_one_name_are_none_and_ours_stay_ours(podium, added):
    added(("guest", "a:b"), ("guest", "c:d"), ("serve", "e:f"))
    assert "guest" not in podium("--help").output
    assert podium("guest").exit_code == 2
    assert "Run the orchestrator." in podium("--help").output
