"""``podium-executor module:function``."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from podium_executor.errors import ExecutorError, SetupError
from podium_executor.executor import Executor
from podium_executor.price import Price
from podium_executor.serve import serve_until_signalled
from podium_executor.settings import renamed, settings_from

if TYPE_CHECKING:
    from collections.abc import Sequence


def parser() -> argparse.ArgumentParser:
    """Return the command line's grammar."""
    found = argparse.ArgumentParser(
        prog="podium-executor",
        description="Serve a function as an executor of the network, and register it.",
    )
    add = found.add_argument
    add("target", metavar="MODULE:FUNCTION", help="the executor, or a function to make one of")
    add("--orchestrator", metavar="URI", help="register there [ORCH_URL]")
    add("--secret-env", metavar="NAME", default="ORCH_SECRET", help="variable with the secret")
    add("--secret-file", metavar="PATH", type=Path, help="file whose first line is the secret")
    add("--name", help="the capability's name [CAPABILITY_NAME]")
    add("--capacity", type=int, help="requests at a time [CAPABILITY_CAPACITY]")
    add("--price", type=Price.parse, help='of a second: "0.00001 eth", "0.002 USD"')
    add("--url", help="where the orchestrator reaches this executor [CAPABILITY_URL]")
    add("--host", help="address to listen on [127.0.0.1]")
    add("--port", type=int, help="port to listen on; 0 takes a free one [9876]")
    add("--token-env", metavar="NAME", help="variable with the token that callers must show")
    add("--heartbeat", dest="heartbeat_s", type=float, help="seconds between registrations [30]")
    add("--shared", action="store_true", help="other executors have this name: leave alone")
    add("--drain", dest="drain_s", type=float, help="seconds for running requests at the end [30]")
    add("--certificate", metavar="PATH", type=Path, help="trust this certificate of the "
        "orchestrator (PEM), self-signed or not")  # fmt: skip
    add("--insecure", action="store_true", help="do not check the orchestrator's certificate")
    return found


def load(target: str, name: str | None) -> Executor:
    """Import what to serve.

    Args:
        target: ``module:attribute``; the current folder is looked at first.
        name: For a function that is no executor yet.

    Raises:
        SetupError: it is not there, or is none.
    """
    module, _, attribute = target.partition(":")
    if not attribute:
        raise SetupError(f"say what to serve as MODULE:FUNCTION, not {target!r}")
    sys.path.insert(0, str(Path.cwd()))
    try:
        found = getattr(import_module(module), attribute)
    except ModuleNotFoundError as error:
        raise SetupError(f"there is no module {error.name}") from error
    except AttributeError as error:
        raise SetupError(f"{module} has no {attribute}") from error
    if isinstance(found, Executor):
        return found
    name = name or os.environ.get("CAPABILITY_NAME")
    if not callable(found) or not name:
        raise SetupError(f"{target} is no executor: decorate it with @executor, or give --name")
    return Executor(found, name)


def _secret(options: argparse.Namespace) -> str | None:
    if options.secret_file is None:
        return os.environ.get(options.secret_env)
    try:
        lines = options.secret_file.read_text().splitlines()
    except OSError as error:
        raise SetupError(f"cannot read {options.secret_file}: {error.strerror}") from error
    return lines[0].strip() if lines else ""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; the entry point of the program."""
    options = parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        found = load(options.target, options.name)
        what = {"name": options.name, "capacity": options.capacity, "price": options.price}
        settings = settings_from(
            os.environ,
            orchestrator=options.orchestrator,
            secret=_secret(options),
            url=options.url,
            host=options.host,
            port=options.port,
            token=os.environ.get(options.token_env) if options.token_env else None,
            heartbeat_s=options.heartbeat_s,
            shared=options.shared,
            drain_s=options.drain_s,
            certificate=options.certificate,
            verify=not options.insecure,
        )
        serve_until_signalled(renamed(found, os.environ, **what), settings)
    except ExecutorError as error:
        sys.exit(f"podium-executor: {error.code}: {error}")
