"""``python -m podium_runner_cpu``: serve one pipeline until SIGTERM."""

from __future__ import annotations

import logging
import os
import signal
import sys
from types import FrameType
from typing import NoReturn

import uvicorn

from podium_runner_cpu.settings import Settings, SettingsError
from podium_runner_cpu.web.app import create_app

GRACE_S = 1
MAX_CONNECTIONS = 256


class Server(uvicorn.Server):
    """uvicorn's, but a signal before the start is over ends it at once."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take a signal."""
        super().handle_exit(sig, frame)
        if not self.started:
            os._exit(0)


def main() -> int:
    """Serve until SIGTERM or SIGINT.

    Returns:
        0 after a signal, 2 when the environment is wrong, 3 when the start failed.
    """
    try:
        settings = Settings.from_env(os.environ)
        logging.basicConfig(
            level=logging.DEBUG if settings.verbose else logging.INFO,
            format="%(asctime)s %(levelname)s %(name)s %(message)s",
        )
        config = uvicorn.Config(
            create_app(settings),
            host=settings.host,
            port=settings.port,
            access_log=False,
            log_config=None,
            proxy_headers=False,
            server_header=False,
            ws="none",
            limit_concurrency=MAX_CONNECTIONS,
            timeout_graceful_shutdown=GRACE_S,
        )
    except SettingsError as error:
        print(f"podium-runner-cpu: {error}", file=sys.stderr)
        return 2
    # uvicorn raises the signal that ended it once more; a signal is how we are meant to end.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    server = Server(config)
    server.run()
    return 0 if server.started else 3


def run() -> NoReturn:
    """Serve, then end at once: nothing can interrupt a model in the middle of its work."""
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    run()
