"""AI requests as a Gateway makes them: capabilities, credentials, bodies (ai.md 1.2, 2.1, 2.2).

Source: go-livepeer server/ai_process.go (``prepareAIPayment``), ai/worker/multipart.go.
"""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING, Any

from podium.testing.gateway.capabilities import compatible, pack
from podium.testing.gateway.requests import build_segdata, build_segment_request
from podium.wire.pb import lp_rpc_pb2 as net

if TYPE_CHECKING:
    from collections.abc import Mapping

    from podium.crypto import Signer
    from podium.testing.gateway.ai.pipelines import BatchPipeline, Upload
    from podium.testing.gateway.requests import SegmentRequest

DEFAULT_BITS = (*range(13), 14, 26)
"""What every orchestrator can do; asked for beside the AI capability itself."""

GATEWAY_VERSION = "0.9.1"
PROTOCOL = "Livepeer-AI-Worker-1.0"


def ai_capabilities(
    capability: int, model: str, *, version: str = GATEWAY_VERSION, min_runner: str = ""
) -> net.Capabilities:
    """Return the capabilities that one model of one pipeline asks for."""
    bits = (*DEFAULT_BITS, capability)
    message = net.Capabilities(
        bitstring=pack(bits), capacities=dict.fromkeys(bits, 1), version=version
    )
    wanted = message.constraints.PerCapability[capability].models[model]
    wanted.runnerVersion = min_runner
    return message


def offered(
    node: net.Capabilities, capability: int, model: str
) -> net.Capabilities.CapabilityConstraints.ModelConstraint | None:
    """Return what an orchestrator says of a model; None when it says nothing."""
    if capability not in node.constraints.PerCapability:
        return None
    models = node.constraints.PerCapability[capability].models
    return models.get(model, None)


def fits(job: net.Capabilities, node: net.Capabilities) -> bool:
    """Whether an orchestrator can do the job, and names every model of it (ai.md 2.2, 2.3)."""
    return compatible(job, node) and all(
        offered(node, capability, model) is not None
        for capability, constraint in job.constraints.PerCapability.items()
        for model in constraint.models
    )


def manifest_id(capability: int, model: str) -> str:
    """Return the key under which an orchestrator keeps a sender's balance for a model."""
    return f"{capability}_{model}"


def build_ai_request(
    signer: Signer,
    info: net.OrchestratorInfo,
    pipeline: BatchPipeline,
    model: str,
    capabilities: net.Capabilities,
    payment: net.Payment | None,
    content: tuple[str, bytes],
) -> SegmentRequest:
    """Put credentials, payment and body together.

    Args:
        signer: The sender's wallet.
        info: The orchestrator's terms; its auth token goes into the credentials.
        pipeline: What is asked for.
        model: Of whom.
        capabilities: As ``ai_capabilities`` returns them.
        payment: None is what a Gateway off chain sends.
        content: Content type and body.
    """
    segdata = build_segdata(
        signer,
        token=info.auth_token,
        manifest_id=manifest_id(pipeline.capability, model),
        seq=0,
        body=b"",
        duration_ms=0,
        profiles=(),
        capabilities=capabilities,
    )
    headers = {"Content-Type": content[0], "Authorization": PROTOCOL}
    return build_segment_request(segdata, payment, content[1], headers=headers)


def encode(
    pipeline: BatchPipeline, fields: Mapping[str, Any], upload: Upload | None
) -> tuple[str, bytes]:
    """Return content type and body of a request with these fields, as ``complete`` returns them."""
    kept = {name: value for name, value in fields.items() if value is not None}
    if upload is None:
        body = json.dumps(kept, separators=(",", ":"), sort_keys=True, ensure_ascii=False)
        return "application/json", body.encode()
    return _multipart(pipeline.file_field, upload, kept)


def _multipart(file_field: str, upload: Upload, fields: Mapping[str, Any]) -> tuple[str, bytes]:
    boundary = secrets.token_hex(30)
    parts = [
        f'Content-Disposition: form-data; name="{file_field}"; filename="{_quoted(upload.name)}"'
        "\r\nContent-Type: application/octet-stream\r\n\r\n".encode()
        + upload.data
    ]
    parts += [
        f'Content-Disposition: form-data; name="{_quoted(name)}"\r\n\r\n{_text(value)}'.encode()
        for name, value in fields.items()
    ]
    body = b"".join(b"--%b\r\n%b\r\n" % (boundary.encode(), part) for part in parts)
    body += b"--%b--\r\n" % boundary.encode()
    return f"multipart/form-data; boundary={boundary}", body


def _quoted(text: str) -> str:
    """Escape what would end a quoted parameter, or its line."""
    text = text.replace("\\", "\\\\").replace('"', '\\"')
    return text.replace("\r", "%0D").replace("\n", "%0A")


def _text(value: Any) -> str:
    """Write a form value: floats with six decimals, bools in lower case."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.6f}"
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
