"""The headers of paid work: who sends it, by which token, with what payment (wire-video 5.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from podium_hookspecs import AdmitRequest

from podium import crypto
from podium.errors import CredentialsError
from podium.web.asgi import header
from podium.wire import capabilities
from podium.wire import segment as codec
from podium.wire.payment import decode_payment

if TYPE_CHECKING:
    from podium.model import AuthToken
    from podium.web.asgi import Scope
    from podium.web.orchestrator import OrchestratorService
    from podium.wire.payment import Payment
    from podium.wire.segment import SegmentCredentials


async def check_headers(
    service: OrchestratorService, scope: Scope, model: str | None = None
) -> tuple[SegmentCredentials, Payment, AuthToken]:
    """Decode and check both headers, in the reference's order, and ask for admission.

    Args:
        service: Identity, tokens, sessions, till and spine of the node.
        scope: The request.
        model: For the admission, where it is known by now.

    Raises:
        PodiumError: refused, with the text for the sender.
    """
    payment = decode_payment(header(scope, b"livepeer-payment"))
    credentials = codec.decode_credentials(header(scope, b"livepeer-segment"))
    _check_signature(service, credentials, payment.sender)
    if not capabilities.serves(service.capabilities, credentials.capabilities):
        raise CredentialsError("incompatible capabilities")
    token = service.tokens.check(credentials.auth_token)
    service.sessions.check_capacity(token.session_id)
    bits = credentials.capabilities.bits
    await service.spine.admit(AdmitRequest(payment.sender, "job", token.session_id, bits, model))
    return credentials, payment, token


def _check_signature(
    service: OrchestratorService, credentials: SegmentCredentials, sender: bytes
) -> None:
    if not service.till.verifies:
        return
    signed = codec.signed_bytes(
        credentials.manifest_id, credentials.seq, credentials.hash, credentials.profiles
    )
    signer = crypto.recover(crypto.keccak256(signed), credentials.sig)
    if signer is None or signer != sender:
        raise CredentialsError("ErrSegSig")
