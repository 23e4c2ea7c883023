"""Work that peers ask for over HTTP: what a pipeline gets, and what it has to say.

The host owns the request: it checks credentials, takes the payment, bounds and
spools the body, leases the worker, meters, and streams what the pipeline
yields. The pipeline reads the body and says what the work is.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from podium_hookspecs.pipeline import Pipeline

if TYPE_CHECKING:
    from collections.abc import Mapping

    from podium_hookspecs.job import Body

MAX_BODY_BYTES = 64 * 2**20


@frozen
class HttpRequest:
    """A request as it came, less what belongs to the network (credentials, payment).

    Attributes:
        path: What followed the pipeline's own path, without a leading slash; mostly empty.
        content_type: As sent; empty when absent.
        body: All of it, already here.
        name: The capability's name, where peers ask by name (BYOC); else empty.
        timeout_s: How long the peer gives the job, None where the protocol does not say.
        parameters: Further parameters of the job, as the peer's JSON had them.

    .. versionadded:: 1.2
    """

    path: str
    content_type: str
    body: Body = field(repr=False, eq=False)
    name: str = ""
    timeout_s: float | None = None
    parameters: Mapping[str, Any] = field(factory=dict)


class HttpPipeline(Pipeline):
    """A pipeline that peers reach by HTTP.

    With a ``capability`` of 27 to 36 it is served at ``POST /<name>``, with the network's
    credentials for AI jobs. With 37 (BYOC) it is served under the names that its offers carry,
    at ``POST /process/request/...``: its unit is ``"second"``, ``estimate`` says how many seconds
    must be covered, a request needs ``Requirements({37}, model=request.name)``, its workers have
    the name among their models, and :func:`by_the_second` meters. There the host sends 200 for
    every status below 400, adds the sender's balance, and ends each stream of events with
    ``data: [DONE]``, so that a pipeline need not.

    What it yields becomes the answer. The first chunk's ``content_type`` is the answer's; its
    ``attributes`` may hold ``status`` (200 unless given) and ``x-metadata``. Chunks of ``kind``
    ``"event"`` leave at once, whatever comes after; a single ``"body"`` chunk leaves with its
    length, several are streamed. Before the first chunk an error is the answer: ``BadInput`` a
    400, ``Busy`` a 503, everything else a 500, each with the error's ``public`` text. After it
    an error cuts the answer off, unless all its chunks were events: then it just ends, so a
    pipeline that streams events says in an event what went wrong, then raises.

    .. versionadded:: 1.2
    """

    @property
    @abstractmethod
    def capability(self) -> int:
        """The network number of what it does (wire-video 8.1)."""

    @property
    def max_body_bytes(self) -> int:
        """Largest request body; a larger one is refused while it arrives."""
        return MAX_BODY_BYTES

    @abstractmethod
    async def parse(self, request: HttpRequest) -> Any:
        """Read a request into what ``require``, ``estimate`` and ``run`` take.

        The request may be large and is hostile: bound what is kept, and leave what takes long to
        a thread. The body stays readable until the job is over.

        Raises:
            BadInput: it is no good request; answered 400 with the error's text.
        """

    def timeout_s(self, request: Any) -> float:
        """Return how long a parsed request may run; the peer's own limit comes before it."""
        del request
        return 600.0
