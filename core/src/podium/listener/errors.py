"""What can go wrong before the listener listens."""

from __future__ import annotations

from podium.errors import StartupError


class ListenError(StartupError):
    """The address cannot be listened on."""

    code = "listen"


class PortInUse(ListenError):
    """Another program listens on the port.

    Attributes:
        host: Address as configured.
        port: The port in question.
    """

    code = "port_in_use"

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.port = port
        super().__init__(f"port {port} on {host or 'all interfaces'} is in use by another program")


class CertificateError(StartupError):
    """The TLS certificate or its key cannot be read, written or used together."""

    code = "certificate"
