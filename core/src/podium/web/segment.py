"""POST /segment and /payment: paid video work (wire-video 5 and 6).

The answer to a segment has two parts: status 200 as soon as the body is checked, because a
gateway gives a node up that lets it wait for headers, and much later one protobuf with the
result, failures included.
"""

from __future__ import annotations

import asyncio
import secrets
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING

from attrs import define, field, frozen
from podium_hookspecs import (
    Chunk,
    Job,
    JobBodyRead,
    JobReceived,
    PluginError,
    TranscodeRequest,
)

from podium.errors import CapacityError, PodiumError
from podium.jobs.spine import Billing
from podium.model import MAX_BODY_BYTES
from podium.web.asgi import header, read_body, send_error, while_connected
from podium.web.credentials import check_headers
from podium.web.errors import HashMismatch, result_text
from podium.web.results import content_type, folder_name, object_url
from podium.wire import segment as codec
from podium.wire.pb import lp_rpc_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from podium_hookspecs import Event, Output, Pipeline, Profile

    from podium.jobs.till import Hold
    from podium.model import AuthToken, UploadTarget
    from podium.stores.objects import ObjectStore
    from podium.stores.remote import RemoteStorage
    from podium.stores.spool import SpooledBody
    from podium.web.asgi import Receive, Scope, Send
    from podium.web.bodies import Bodies
    from podium.web.orchestrator import OrchestratorService
    from podium.wire.payment import Payment
    from podium.wire.segment import SegmentCredentials

URI_BODY = "application/vnd+livepeer.uri"
MAX_URI_BYTES = 8192
URI_BODY_TIMEOUT_S = 8.0
MIN_JOB_TIMEOUT_S = 8.0
JOB_TIMEOUT_PER_DURATION = 4
HASH_HERE_BYTES = 32 * 1024
MAX_LABEL_CHARS = 64
H264 = 0
TRANSCODE = "transcode"


@frozen
class Settings:
    """Numbers of the face.

    Attributes:
        limit_bytes: Largest body.
        orchestrator_id: For the renditions' metadata.
    """

    limit_bytes: int = MAX_BODY_BYTES
    orchestrator_id: str = "offchain"


@frozen
class Accepted:
    """A segment whose header passed every check."""

    credentials: SegmentCredentials
    payment: Payment
    token: AuthToken
    info: bytes
    job_id: str
    hold: Hold

    @property
    def sender(self) -> bytes:
        """20-byte address."""
        return self.payment.sender

    @property
    def billing(self) -> Billing:
        """Whose balance the job is taken from, and at which price."""
        hold = self.hold
        return Billing(self.sender, self.token.session_id, hold.wei_per_unit, hold.spent)


@frozen
class SegmentFaces:
    """Both faces, which share the checks of their headers.

    Args:
        service: Identity, tokens, sessions, till and spine of the node.
        pipelines: Returns the node's pipelines by name; the one that transcodes may be missing.
        bodies: Where bodies go, and the threads that hash.
    """

    service: OrchestratorService
    settings: Settings
    pipelines: Callable[[], Mapping[str, Pipeline]]
    objects: ObjectStore
    remote: RemoteStorage
    bodies: Bodies
    on_event: Callable[[Event], None]
    monotonic: Callable[[], float]

    async def payment(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer POST /payment: credit tickets to the manifest, without work."""
        del receive
        try:
            credentials, payment, token = await check_headers(self.service, scope)
            manifest = credentials.manifest_key
            info = await self.service.info(payment.sender, token, manifest)
            await self.service.till.receive(payment, manifest, manifest)
        except PodiumError as error:
            await send_error(send, error)
            return
        body = pb.PaymentResult(info=pb.OrchestratorInfo.FromString(info)).SerializeToString()
        headers = [
            (b"content-type", b"application/octet-stream"),
            (b"content-length", str(len(body)).encode()),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def segment(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer POST /segment."""
        async with AsyncExitStack() as stack:
            try:
                accepted = await self._accept(scope)
                stack.callback(accepted.hold.release)
                body = self.bodies.new(self.settings.limit_bytes, hashed=True)
                stack.push_async_callback(body.close)
                await self._read(scope, receive, accepted, body)
            except PodiumError as error:
                await send_error(send, error)
                return
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"", "more_body": True})
            reply = await while_connected(receive, self._transcode(accepted, body))
        if reply is not None:
            await send({"type": "http.response.body", "body": reply})

    async def _accept(self, scope: Scope) -> Accepted:
        """Do every check that needs no body, in the reference's order, and take the payment."""
        credentials, payment, token = await check_headers(self.service, scope)
        sender, session_id = payment.sender, token.session_id
        info = await self.service.info(sender, token, session_id, payment=payment)
        stream = credentials.manifest_key
        await self.service.till.receive(payment, token.session_id, stream)
        hold = self.service.till.charge(payment, token.session_id, stream)
        job_id = f"{token.session_id}-{credentials.seq}-{secrets.token_hex(4)}"
        self.on_event(
            JobReceived(
                job_id,
                token.session_id,
                payment.sender,
                TRANSCODE,
                credentials.duration_ms / 1000,
                stream,
            )
        )
        return Accepted(credentials, payment, token, info, job_id, hold)

    async def _read(
        self, scope: Scope, receive: Receive, accepted: Accepted, body: SpooledBody
    ) -> None:
        """Take the body in, from the request or from the URI in it, and check its hash."""
        started_s, stall_timeout_s = self.monotonic(), self.bodies.stall_timeout_s
        if header(scope, b"content-type") == URI_BODY:
            named = _Uri()
            await read_body(receive, named.write, stall_timeout_s)
            await self.remote.read(named.text, body.write)
        else:
            await read_body(receive, body.write, stall_timeout_s)
        if await body.keccak256() != accepted.credentials.hash:
            raise HashMismatch("body differs from its hash")
        seconds = self.monotonic() - started_s
        self.on_event(
            JobBodyRead(accepted.job_id, accepted.token.session_id, body.size_bytes, seconds)
        )

    async def _transcode(self, accepted: Accepted, body: SpooledBody) -> bytes:
        """Run the job and encode its result; every failure is an answer too."""
        credentials, info = accepted.credentials, accepted.info
        collected = _Collected(len(credentials.profiles))
        try:
            pipeline = self.pipelines().get(TRANSCODE)
            if pipeline is None:
                raise CapacityError("ErrTranscoderUnavailable")
            await self.service.spine.run(
                self._job(accepted, body),
                pipeline,
                accepted.billing,
                collected.take,
                media_duration_s=credentials.duration_ms / 1000,
                labels={"profiles": _label(credentials.profiles)},
            )
            videos = collected.videos()
            urls = await self._store(accepted, collected)
        except (PluginError, PodiumError) as error:
            return codec.encode_failure(credentials.seq, result_text(error), info)
        digest = await self._digest(videos)
        return codec.encode_result(
            credentials.seq, urls, self.service.signer.sign_digest(digest), info
        )

    async def _digest(self, videos: Sequence[bytes]) -> bytes:
        """Hash the renditions, in a thread unless that is sooner done here."""
        if sum(map(len, videos)) <= HASH_HERE_BYTES:
            return codec.result_digest(videos)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.bodies.executor, codec.result_digest, videos)

    def _job(self, accepted: Accepted, body: SpooledBody) -> Job:
        credentials = accepted.credentials
        duration_s = credentials.duration_ms / 1000
        return Job(
            id=accepted.job_id,
            session_id=accepted.token.session_id,
            sender=accepted.sender,
            pipeline=TRANSCODE,
            capability=H264,
            model=None,
            timeout_s=max(MIN_JOB_TIMEOUT_S, JOB_TIMEOUT_PER_DURATION * duration_s),
            request=TranscodeRequest(
                manifest_id=credentials.manifest_key,
                seq=credentials.seq,
                duration_ms=credentials.duration_ms,
                profiles=credentials.profiles,
                clip=credentials.clip,
                want_signature=credentials.want_signature,
                force_session_reinit=credentials.force_session_reinit,
            ),
            body=body,
            attributes={"orchestrator_id": self.settings.orchestrator_id},
        )

    async def _store(
        self, accepted: Accepted, collected: _Collected
    ) -> Sequence[codec.StoredRendition]:
        """Put the renditions where the gateway can fetch them."""
        credentials = accepted.credentials
        put = partial(self._put, accepted.token.session_id, credentials.upload_target)
        stored = []
        folders: set[str] = set()
        for index, profile in enumerate(credentials.profiles):
            folder = folder_name(profile.name)
            while folder in folders:
                folder += f"_{index}"
            folders.add(folder)
            name = f"{credentials.seq}{profile.file_name_ending}"
            video = collected.video[index]
            signature = collected.signature.get(index)
            stored.append(
                codec.StoredRendition(
                    url=await put(folder, name, video.data),
                    pixels=video.units,
                    signature_url=await put(folder, f"{name}.phash", signature.data)
                    if signature
                    else "",
                )
            )
        return stored

    async def _put(
        self, session_id: str, target: UploadTarget | None, folder: str, name: str, data: bytes
    ) -> str:
        mime = content_type(name)
        if target is not None:
            return await self.remote.write(target, folder, name, data, mime)
        self.objects.put(session_id, folder, name, data, mime)
        return object_url(self.service.service_uri, session_id, folder, name)


@define
class _Uri:
    """A body that says where the segment is; what is too long for that is dropped."""

    _read: bytearray = field(factory=bytearray)

    async def write(self, piece: bytes) -> None:
        """Keep a piece."""
        self._read += piece[: MAX_URI_BYTES - len(self._read)]

    @property
    def text(self) -> str:
        """The URI."""
        return self._read.decode(errors="replace").strip()


def _label(profiles: Sequence[Profile]) -> str:
    """Name a job's profiles for logs and metrics; peers choose the names, we their length."""
    return ",".join(sorted(profile.name[:MAX_LABEL_CHARS] for profile in profiles))


class _Collected:
    """Gathers a job's chunks: one video for each profile, perhaps a signature with it."""

    def __init__(self, wanted: int) -> None:
        self._wanted = wanted
        self.video: dict[int, Chunk] = {}
        self.signature: dict[int, Chunk] = {}

    async def take(self, output: Output) -> None:
        """Keep a chunk."""
        if isinstance(output, Chunk):
            kept = self.signature if output.kind == "signature" else self.video
            kept[output.index] = output

    def videos(self) -> list[bytes]:
        """Return the renditions in the order of the profiles.

        Raises:
            CapacityError: a rendition is missing (the pipeline's own check failed).
        """
        if sorted(self.video) != list(range(self._wanted)):
            raise MismatchedSegments("MismatchedSegments")
        return [self.video[index].data for index in range(self._wanted)]


class MismatchedSegments(PodiumError):
    """The pipeline returned another number of renditions than were asked for."""

    code = "mismatched_segments"
