"""Extra HTTP routes of a plugin."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Literal

from attrs import field, frozen, validators

AsgiApp = Callable[
    [
        MutableMapping[str, Any],
        Callable[[], Awaitable[MutableMapping[str, Any]]],
        Callable[[MutableMapping[str, Any]], Awaitable[None]],
    ],
    Awaitable[None],
]
"""An ASGI 3 application."""


@frozen
class Mount:
    """An ASGI application under a path of the node.

    Attributes:
        path: Starts with ``/``; the application gets every request at or below it.
        app: The application.
        surface: ``"public"``: the port that gateways use; ``"admin"``: the loopback one.
    """

    path: str = field(validator=validators.matches_re(r"(/[A-Za-z0-9._~-]+)+"))
    app: AsgiApp
    surface: Literal["public", "admin"] = "public"
