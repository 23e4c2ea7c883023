"""Telling the orchestrator that this executor is there, and that it leaves."""

from __future__ import annotations

import asyncio
import logging
import ssl
from typing import TYPE_CHECKING

import httpx
from attrs import define, field

from podium_executor.app import HEALTH
from podium_executor.errors import RegistrationFailed, RegistrationRefused, SetupError

if TYPE_CHECKING:
    from podium_executor.executor import Executor
    from podium_executor.settings import Settings

log = logging.getLogger("podium_executor")

CALL_TIMEOUT_S = 5.0
FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 30.0
REGISTER = "/capability/register"
UNREGISTER = "/capability/unregister"


def trust(settings: Settings) -> ssl.SSLContext:
    """Return whom to take for the orchestrator.

    Raises:
        SetupError: the certificate cannot be read.
    """
    if settings.certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False  # self-signed ones often bear another name
        try:
            context.load_verify_locations(settings.certificate)
        except (OSError, ssl.SSLError) as error:
            raise SetupError(f"cannot read {settings.certificate}: {error}") from error
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        return context
    context = ssl.create_default_context()
    if not settings.verify:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


@define(eq=False)
class Registrar:
    """Keeps one executor registered with one orchestrator.

    Args:
        executor: What to register.
        settings: Where, and with which secret.
        url: Where the orchestrator reaches it.
    """

    executor: Executor
    settings: Settings
    url: str
    _client: httpx.AsyncClient = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._client = httpx.AsyncClient(verify=trust(self.settings), timeout=CALL_TIMEOUT_S)

    async def register(self) -> None:
        """Register once.

        Raises:
            RegistrationRefused: the secret or the registration is wrong; do not try again.
            RegistrationFailed: the orchestrator is not there, or broke.
        """
        price = self.executor.price
        reply = await self._post(
            REGISTER,
            json={
                "url": self.url,
                "name": self.executor.name,
                "description": self.executor.description,
                "capacity": self.executor.capacity,
                "price_per_unit": price.per_unit,
                "price_scaling": price.scaling,
                "currency": price.currency,
                "token": self.settings.token,
                "health_path": HEALTH,
            },
        )
        if httpx.codes.is_client_error(reply.status_code):
            raise RegistrationRefused(f"{reply.status_code}: {reply.text.strip()[:500]}")
        if reply.status_code != httpx.codes.OK:
            raise RegistrationFailed(f"the orchestrator answered {reply.status_code}")

    async def unregister(self) -> None:
        """Leave.

        Raises:
            RegistrationFailed: the orchestrator does not know it.
        """
        name = self.executor.name
        text = f"{name}\n{self.url}" if self.settings.shared else name
        reply = await self._post(UNREGISTER, content=text)
        if reply.status_code != httpx.codes.OK:
            raise RegistrationFailed(f"the orchestrator answered {reply.status_code}")

    async def keep(self, registered: asyncio.Event) -> None:
        """Register, however long it takes; then again and again, as the settings say.

        Args:
            registered: Set after the first time.

        Raises:
            RegistrationRefused: the orchestrator does not want it.
        """
        wait_s = FIRST_WAIT_S
        while True:
            try:
                await self.register()
            except RegistrationFailed as error:
                log.warning("not registered: %s; next try in %g s", error, wait_s)
                await asyncio.sleep(wait_s)
                wait_s = min(2 * wait_s, LONGEST_WAIT_S)
                continue
            if not registered.is_set():
                where = self.settings.orchestrator
                log.info("registered %s at %s", self.executor.name, where)
                registered.set()
            wait_s = FIRST_WAIT_S
            if not self.settings.heartbeat_s:
                return
            await asyncio.sleep(self.settings.heartbeat_s)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _post(self, path: str, **body: object) -> httpx.Response:
        headers = {"Authorization": self.settings.secret}
        try:
            return await self._client.post(
                self.settings.orchestrator + path,
                headers=headers,
                **body,  # type: ignore[arg-type]
            )
        except httpx.HTTPError as error:
            raise RegistrationFailed(f"{type(error).__name__}: {error}") from error
