"""One port for gRPC, HTTP/2 and HTTP/1.1.

``make_server`` gives uvicorn a protocol class that tells HTTP/2 (ours, on
python-h2) from HTTP/1.1 (uvicorn's on httptools).
"""

from podium.listener.errors import CertificateError, ListenError, PortInUse
from podium.listener.limits import Limits
from podium.listener.server import PodiumServer, make_server
from podium.listener.tls import TlsFiles, self_signed

__all__ = [
    "CertificateError",
    "Limits",
    "ListenError",
    "PodiumServer",
    "PortInUse",
    "TlsFiles",
    "make_server",
    "self_signed",
]
