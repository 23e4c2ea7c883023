"""Other people's storage: bodies given as a URI, and results put into a gateway's bucket.

Both URLs come from the network, so every connection goes to an address that was
checked first: public ones only, each redirect anew, bounded in bytes and time.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from contextlib import aclosing
from typing import TYPE_CHECKING, cast
from urllib.parse import urljoin

import httpx
from attrs import frozen

from podium.errors import PodiumError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

    from podium.model import UploadTarget

DOWNLOAD_TIMEOUT_S = 4.0
UPLOAD_TIMEOUT_S = 10.0
MAX_REDIRECTS = 5
MAX_PORT = 65535


class RemoteStorageError(PodiumError):
    """A URI could not be read, or a result could not be put where the gateway wants it."""

    code = "remote_storage"


@frozen
class Route:
    """A URL with the address it was resolved to: what is connected is what was checked."""

    url: httpx.URL
    host: str
    address: str

    @property
    def target(self) -> httpx.URL:
        """The URL with the address in the host's place."""
        return self.url.copy_with(host=self.address)

    @property
    def headers(self) -> dict[str, str]:
        """The Host header that belongs to the URL."""
        return {"host": self.url.netloc.decode()}


class Guard:
    """Decides which addresses may be connected.

    Args:
        allowed: Networks that are fine although not public, for an operator's own storage.
    """

    def __init__(self, allowed: Sequence[str] = ()) -> None:
        self._allowed = tuple(ipaddress.ip_network(network) for network in allowed)

    def permits(self, address: str) -> bool:
        """Whether an address is public, or in an allowed network."""
        ip = ipaddress.ip_address(address.partition("%")[0])
        mapped = getattr(ip, "ipv4_mapped", None) or ip
        if any(mapped in net for net in self._allowed if net.version == mapped.version):
            return True
        return bool(mapped.is_global) and not mapped.is_multicast

    async def route(self, text: str) -> Route:
        """Resolve a URL and check every address it has.

        Raises:
            RemoteStorageError: not http(s), unresolvable, or an address that is not public.
        """
        try:
            url = httpx.URL(text)
            host, port = url.host, url.port or (443 if url.scheme == "https" else 80)
        except (httpx.InvalidURL, ValueError) as error:  # odd IDNA names are ValueErrors
            raise RemoteStorageError("not a URL") from error
        if url.scheme not in ("http", "https") or not host or url.userinfo or port > MAX_PORT:
            raise RemoteStorageError("only http and https URLs without credentials are read")
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, ValueError) as error:
            raise RemoteStorageError("host not found") from error
        addresses = [str(entry[4][0]) for entry in found]
        if not addresses or not all(self.permits(address) for address in addresses):
            raise RemoteStorageError("the URL points at an address that is not public")
        return Route(url, host, addresses[0])


class RemoteStorage:
    """Reads URI bodies and writes results, through one guard.

    Args:
        guard: What may be connected.
    """

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        # Peers do not verify certificates in this protocol: bodies are checked by hash.
        self._client = httpx.AsyncClient(verify=False, trust_env=False)

    async def read(self, uri: str, write: Callable[[bytes], Awaitable[None]]) -> None:
        """Pass on the bytes behind a URI, piece by piece; at most 4 s in all.

        Raises:
            RemoteStorageError: refused by the guard, not answered, or not answered with 200.
        """
        try:
            async with asyncio.timeout(DOWNLOAD_TIMEOUT_S):
                await self._read(uri, write)
        except TimeoutError as error:
            raise RemoteStorageError("the download took too long") from error
        except httpx.HTTPError as error:
            raise RemoteStorageError("the download failed") from error

    async def _read(self, uri: str, write: Callable[[bytes], Awaitable[None]]) -> None:
        for _ in range(MAX_REDIRECTS + 1):
            route = await self._guard.route(uri)
            request = self._client.build_request(
                "GET", route.target, headers=route.headers, extensions={"sni_hostname": route.host}
            )
            response = await self._client.send(request, stream=True)
            try:
                if not response.is_redirect:
                    if response.status_code != httpx.codes.OK:
                        raise RemoteStorageError(f"the URI answered {response.status_code}")
                    async for piece in response.aiter_bytes():
                        await write(piece)
                    return
                uri = _redirected(route, response)
            finally:
                await response.aclose()
        raise RemoteStorageError("too many redirects")

    async def write(
        self, target: UploadTarget, folder: str, name: str, data: bytes, content_type: str
    ) -> str:
        """Put an object into a gateway's bucket by a form upload; return its URL.

        At most 10 s in all.

        Raises:
            RemoteStorageError: refused by the guard or by the bucket, or too slow.
        """
        prefix = f"{target.key}/{folder}/" if folder else f"{target.key}/"
        form = _form(target, prefix, content_type)
        try:
            async with asyncio.timeout(UPLOAD_TIMEOUT_S):
                await self._post(target.host, form, (name, data, content_type))
        except TimeoutError as error:
            raise RemoteStorageError("the upload took too long") from error
        except httpx.HTTPError as error:
            raise RemoteStorageError("the upload failed") from error
        return f"{target.host.rstrip('/')}/{prefix}{name}"

    async def _post(self, url: str, form: dict[str, str], file: tuple[str, bytes, str]) -> None:
        route = await self._guard.route(url)
        answer = self._client.stream(
            "POST",
            route.target,
            headers=route.headers,
            data=form,
            files={"file": file},
            timeout=UPLOAD_TIMEOUT_S,
            extensions={"sni_hostname": route.host},
        )
        async with answer as response:
            # The bucket's silence is its consent: any body explains a refusal, and is not read.
            refused = not response.is_success
            async with aclosing(cast("AsyncGenerator[bytes]", response.aiter_raw())) as pieces:
                async for piece in pieces:
                    refused = refused or bool(piece)
                    if refused:
                        break
        if refused:
            raise RemoteStorageError(f"the upload was refused with {response.status_code}")

    async def close(self) -> None:
        """Close idle connections."""
        await self._client.aclose()


def _redirected(route: Route, response: httpx.Response) -> str:
    try:
        location: str = response.headers.get("location", "")
        return urljoin(str(route.url), location)
    except ValueError as error:
        raise RemoteStorageError("a redirect leads nowhere") from error


def _form(target: UploadTarget, prefix: str, content_type: str) -> dict[str, str]:
    fields = {
        "acl": "public-read",
        "Content-Type": content_type,
        "key": prefix + "${filename}",
        "policy": target.policy,
    }
    if target.kind == "s3":
        return fields | {
            "x-amz-algorithm": "AWS4-HMAC-SHA256",
            "x-amz-credential": target.credential,
            "x-amz-date": target.date,
            "x-amz-signature": target.signature,
        }
    return fields | {"GoogleAccessId": target.credential, "signature": target.signature}
