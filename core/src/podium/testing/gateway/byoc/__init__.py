"""The Gateway client for BYOC: requests to containers of any kind, paid by the second.

``ByocGateway`` is all that most need. Names are imported at their first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from podium.testing.gateway.byoc.client import ByocGateway, ByocResult
    from podium.testing.gateway.byoc.errors import BilledWrongly, ByocError, JobRefused
    from podium.testing.gateway.byoc.wire import Token

_HOMES = {
    "client": ("ByocGateway", "ByocResult"),
    "errors": ("BilledWrongly", "ByocError", "JobRefused"),
    "wire": ("Token",),
}

__all__ = ["BilledWrongly", "ByocError", "ByocGateway", "ByocResult", "JobRefused", "Token"]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for."""
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
