"""The Orchestrator gRPC service: GetOrchestrator, Ping, EndTranscodingSession (wire-video 3)."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from attrs import define, field
from google.protobuf.message import DecodeError
from podium_hookspecs import AdmitRequest, PluginChanged, WorkerChanged

from podium import crypto
from podium.errors import CapacityError, CredentialsError, PodiumError
from podium.jobs.till import TRANSCODING
from podium.web.grpc import GrpcError, Status
from podium.wire import capabilities
from podium.wire.payment import params_to_pb, price_to_pb
from podium.wire.pb import lp_rpc_pb2 as pb
from podium.wire.segment import token_from_pb, token_to_pb

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from podium_hookspecs import Event, Price

    from podium.crypto import Signer
    from podium.jobs.spine import Spine
    from podium.jobs.till import Till, Ware
    from podium.model import AuthToken, Capabilities
    from podium.sessions.registry import Sessions
    from podium.sessions.tokens import Tokens
    from podium.web.advertise import Advertised
    from podium.web.grpc import Context
    from podium.wire.payment import Payment

PING_BYTES = (0, 32)
"""Lengths of a value that Ping signs: signing anything for anybody would sign tickets too."""

KNOWN_SENDERS = 4096


@define(eq=False)
class OrchestratorService:
    """Answers discovery, and builds the OrchestratorInfo that every reply carries.

    Gateways ask again beside nearly every segment, so what does not change between
    requests is serialized once: protobuf messages merge by concatenation.

    Args:
        service_uri: Where peers reach this node, without a trailing slash.
        nodes: Sibling nodes.
        now_advertised: Returns what the node does now.
        hardware: Returns what runs which model now.
    """

    service_uri: str
    nodes: Sequence[str]
    signer: Signer
    tokens: Tokens
    sessions: Sessions
    spine: Spine
    till: Till
    now_advertised: Callable[[], Advertised]
    hardware: Callable[[], list[pb.HardwareInformation]] = list
    draining: bool = False
    _matched: Capabilities | None = None
    _advertised: Advertised | None = None
    _static: bytes = b""
    _known: OrderedDict[bytes, None] = field(factory=OrderedDict)

    @property
    def methods(self) -> Mapping[str, Callable[[bytes, Context], Awaitable[bytes]]]:
        """The service's methods by gRPC path."""
        return {
            "/net.Orchestrator/GetOrchestrator": self.get_orchestrator,
            "/net.Orchestrator/Ping": self.ping,
            "/net.Orchestrator/EndTranscodingSession": self.end_session,
        }

    def on_event(self, event: Event) -> None:
        """Forget what was known when a worker or plugin came, went or changed."""
        if isinstance(event, WorkerChanged | PluginChanged):
            self.changed()

    def changed(self) -> None:
        """Forget all: something else is to be advertised."""
        self._matched = self._advertised = None

    def used(self) -> None:
        """Forget what was serialized: a slot was taken or is free, and that is advertised."""
        self._advertised = None

    @property
    def advertised(self) -> Advertised:
        """What the node does now."""
        if self._advertised is None:
            self._advertised = self.now_advertised()
            self._static = pb.OrchestratorInfo(
                transcoder=self.service_uri,
                address=self.signer.address,
                capabilities=capabilities.to_pb(self._advertised.capabilities),
                nodes=self.nodes,
            ).SerializeToString()
        return self._advertised

    @property
    def capabilities(self) -> Capabilities:
        """What the node does now, as gateways match it; what is free of it may be out of date."""
        if self._matched is None:
            self._matched = self.advertised.capabilities
        return self._matched

    async def info(
        self,
        sender: bytes,
        token: AuthToken,
        key: str,
        price: Price | None = None,
        ware: Ware = TRANSCODING,
        payment: Payment | None = None,
    ) -> bytes:
        """Return a serialized OrchestratorInfo for one sender.

        Args:
            sender: 20-byte address.
            token: Goes into the reply as it is.
            key: Whose frozen price holds: a session's ID or a manifest's.
            price: A price that an admission set for this sender.
            ware: What is priced.
            payment: What comes with the request: its price may be about to become the key's.

        Raises:
            SenderError: the sender's funds do not allow tickets.
        """
        assert self.advertised is not None  # and so is what goes into every reply
        quoted = await self.till.quote(sender, key, price, ware, payment)
        fresh = pb.OrchestratorInfo(
            auth_token=token_to_pb(token),
            ticket_params=None if quoted is None else params_to_pb(quoted[0]),
            price_info=None if quoted is None else price_to_pb(quoted[1]),
        )
        return self._static + fresh.SerializeToString()

    async def get_orchestrator(self, request: bytes, _context: Context) -> bytes:
        """Answer GetOrchestrator."""
        try:
            message = pb.OrchestratorRequest.FromString(request)
            sender = message.address[-20:].rjust(20, b"\0")
            self._check_request(sender, message.sig)
            asked = None
            if message.HasField("capabilities"):
                asked = capabilities.from_pb(message.capabilities)
            return await self._discovered(sender, asked)
        except DecodeError as error:
            raise GrpcError(Status.INTERNAL, "grpc: error unmarshalling request") from error
        except PodiumError as error:
            raise GrpcError(Status.UNKNOWN, str(error)) from error

    async def _discovered(self, sender: bytes, asked: Capabilities | None) -> bytes:
        wares = self.advertised.wanted(asked)
        bits = None if asked is None else asked.bits
        model = wares[0].model if len(wares) == 1 else None
        price = await self._admit(AdmitRequest(sender, "discover", capabilities=bits, model=model))
        token = self.tokens.issue()
        if asked is None:
            plain = await self.info(sender, token, token.session_id, price)
            return plain + self._lists(sender)
        if len(wares) == 1:
            return await self.info(sender, token, wares[0].key, price, wares[0])
        if wares and price is None:
            price = self.till.sum_of(sender, wares)
        return await self.info(sender, token, token.session_id, price)

    def _lists(self, sender: bytes) -> bytes:
        """Return the price list and the hardware, for who asks for nothing in particular."""
        if not self.advertised.wares:
            return b""
        prices = self.till.listed(sender, self.advertised.wares)
        return pb.OrchestratorInfo(
            capabilities_prices=[price_to_pb(info) for info in prices],
            hardware=self.hardware(),
        ).SerializeToString()

    def _check_request(self, sender: bytes, sig: bytes) -> None:
        if self.till.verifies and not self.signed_by(sender, sig):
            msg = "Invalid orchestrator request: orchestrator req sig check failed"
            raise CredentialsError(msg)
        if self.draining:
            raise CapacityError("Invalid orchestrator request: OrchestratorCapped")
        try:
            self.sessions.check_capacity()
        except CapacityError as error:
            raise CapacityError(f"Invalid orchestrator request: {error}") from error

    def signed_by(self, sender: bytes, sig: bytes) -> bool:
        """Check the signature over the sender's own address, once: it never changes."""
        known = sender + sig
        if known in self._known:
            self._known.move_to_end(known)
            return True
        text = crypto.checksum_address(sender).encode()
        if crypto.recover(crypto.keccak256(text), sig) != sender:
            return False
        self._known[known] = None
        if len(self._known) > KNOWN_SENDERS:
            self._known.popitem(last=False)
        return True

    async def _admit(self, request: AdmitRequest) -> Price | None:
        try:
            return (await self.spine.admit(request)).price
        except CredentialsError as error:
            raise CredentialsError(f"authentication failed: {error}") from error

    async def ping(self, request: bytes, _context: Context) -> bytes:
        """Answer Ping: sign an empty value or a digest, nothing else."""
        try:
            value = pb.PingPong.FromString(request).value
        except DecodeError as error:
            raise GrpcError(Status.INTERNAL, "grpc: error unmarshalling request") from error
        if len(value) not in PING_BYTES:
            raise GrpcError(Status.INVALID_ARGUMENT, "a ping's value has 0 or 32 bytes")
        return pb.PingPong(value=crypto.sign_message(self.signer, value)).SerializeToString()

    async def end_session(self, request: bytes, _context: Context) -> bytes:
        """Answer EndTranscodingSession; a good token of an unknown session is a success."""
        try:
            message = pb.EndTranscodingSessionRequest.FromString(request)
            found = message.HasField("auth_token")
            token = self.tokens.authenticate(token_from_pb(message.auth_token) if found else None)
        except DecodeError as error:
            raise GrpcError(Status.INTERNAL, "grpc: error unmarshalling request") from error
        except CredentialsError as error:
            raise GrpcError(Status.UNKNOWN, "Invalid auth token") from error
        await self.sessions.end(token.session_id)
        return pb.EndTranscodingSessionResponse().SerializeToString()
