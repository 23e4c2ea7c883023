"""Where a runner listens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

from attrs import frozen

if TYPE_CHECKING:
    from podium_hookspecs import Secret

Api = Literal["runner", "openai"]
"""What a URL speaks: the ai-runner interface (ai 5), or OpenAI's chat completions."""


class Endpoint(Protocol):
    """A runner's HTTP API, as an executor gives it to a call."""

    @property
    def url(self) -> str:
        """Base URL, without a trailing slash: ``http://127.0.0.1:8000``."""

    @property
    def token(self) -> Secret | None:
        """Sent as a bearer token; None: none is sent."""


@frozen
class Address:
    """A plain ``Endpoint``."""

    url: str
    token: Secret | None = None
