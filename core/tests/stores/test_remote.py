import asyncio
import contextlib

import pytest
from podium.model import UploadTarget
from podium.stores import remote
from podium.stores.remote import Guard, RemoteStorage, RemoteStorageError


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.0.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "0.0.0.0",
        "::1",
        "fe80::1",
        "fc00::1",
        "::ffff:127.0.0.1",
        "224.0.0.1",
        "100.64.0.1",
    ],
)
def test_addresses_that_are_not_public_are_refused(address):
    assert not Guard().permits(address)


def test_public_and_allowed_addresses_pass():
    assert Guard().permits("93.184.216.34")
    assert Guard(["127.0.0.0/8"]).permits("127.0.0.1")
    assert Guard(["127.0.0.0/8"]).permits("::ffff:127.0.0.1")
    assert not Guard(["127.0.0.0/8"]).permits("10.0.0.1")


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "ftp://example.org/x",
        "file:///etc/passwd",
        "http://",
        "http://127.0.0.1/x",
        "http://[::1]/",
        "http://localhost/",
        "http://user:pass@93.184.216.34/",
        "http://2130706433/",
        "x" * 9000,
        "http://93.184.216.34:99999/",
        "http://a..b/",
        "http://xn--a/",
        "http://" + "a" * 64 + ".example/",
    ],
)
async def test_hostile_uris_are_refused_without_a_connection(uri):
    storage = RemoteStorage(Guard())
    with pytest.raises(RemoteStorageError):
        await read(storage, uri)
    await storage.close()


class Server:
    """A small HTTP server that answers by path and keeps what it was sent."""

    def __init__(self):
        self.requests = []
        self.tasks = []

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        self._server.close()
        await self._server.wait_closed()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def _serve(self, reader, writer):
        self.tasks.append(asyncio.current_task())
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        path = head.split()[1]
        length = next(
            (
                int(h.split(":")[1])
                for h in head.split("\r\n")
                if h.lower().startswith("content-length")
            ),
            0,
        )
        self.requests.append((head, await reader.readexactly(length)))
        answer = {
            "/ok": "200 OK\r\ncontent-length: 5\r\n\r\nhello",
            "/missing": "404 Not Found\r\ncontent-length: 0\r\n\r\n",
            "/inside": "302 Found\r\nlocation: http://10.0.0.1/secret\r\ncontent-length: 0\r\n\r\n",
            "/loop": "302 Found\r\nlocation: /loop\r\ncontent-length: 0\r\n\r\n",
            "/moved": "302 Found\r\nlocation: /ok\r\ncontent-length: 0\r\n\r\n",
            "/nonsense": "302 Found\r\nlocation: http://[\r\ncontent-length: 0\r\n\r\n",
            "/endless": "200 OK\r\ncontent-length: 999999999\r\n\r\n" + "x" * 100_000,
            "/bucket": "204 No Content\r\n\r\n",
            "/denied": "200 OK\r\ncontent-length: 6\r\n\r\ndenied",
        }[path]
        with contextlib.suppress(ConnectionError):
            writer.write(f"HTTP/1.1 {answer}".encode())
            await writer.drain()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def read(storage, uri):
    pieces = []

    async def keep(piece):
        pieces.append(piece)

    await storage.read(uri, keep)
    return b"".join(pieces)


async def test_reading_follows_redirects_but_checks_each():
    storage = RemoteStorage(Guard(["127.0.0.0/8"]))
    async with Server() as server:
        base = f"http://127.0.0.1:{server.port}"
        assert await read(storage, base + "/ok") == b"hello"
        assert await read(storage, base + "/moved") == b"hello"
        for path in ("/missing", "/inside", "/loop", "/nonsense"):
            with pytest.raises(RemoteStorageError):
                await read(storage, base + path)
    with pytest.raises(RemoteStorageError, match="failed"):
        await read(storage, base + "/ok")
    await storage.close()


def target(server, path, kind="s3"):
    return UploadTarget(
        kind, f"http://127.0.0.1:{server.port}{path}", "pre/fix", "POL", "SIG", "CRED", "DATE"
    )


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("s3", [b"AWS4-HMAC-SHA256", b"x-amz-signature", b"DATE"]),
        ("google", [b"GoogleAccessId", b"signature"]),
    ],
)
async def test_results_go_into_the_gateways_bucket(kind, fields):
    storage = RemoteStorage(Guard(["127.0.0.0/8"]))
    async with Server() as server:
        url = await storage.write(
            target(server, "/bucket", kind), "P240", "3.ts", b"DATA", "video/mp2t"
        )
        assert url == f"http://127.0.0.1:{server.port}/bucket/pre/fix/P240/3.ts"
        _, body = server.requests[0]
        for part in [
            b"public-read",
            b"pre/fix/P240/${filename}",
            b"POL",
            b'filename="3.ts"',
            b"DATA",
            *fields,
        ]:
            assert part in body
        assert body.index(b'name="key"') < body.index(b'name="file"')
        with pytest.raises(RemoteStorageError, match="refused"):
            await storage.write(target(server, "/endless"), "a", "0.ts", b"x", "video/mp2t")
        with pytest.raises(RemoteStorageError, match="refused"):
            await storage.write(target(server, "/denied"), "P240", "3.ts", b"DATA", "video/mp2t")
    await storage.close()


async def test_a_private_bucket_is_refused():
    storage = RemoteStorage(Guard())
    async with Server() as server:
        with pytest.raises(RemoteStorageError, match="not public"):
            await storage.write(target(server, "/bucket"), "a", "0.ts", b"x", "video/mp2t")
        assert server.requests == []
    await storage.close()


async def test_slow_storage_is_given_up(monkeypatch):
    monkeypatch.setattr(remote, "UPLOAD_TIMEOUT_S", 0.2)
    monkeypatch.setattr(remote, "DOWNLOAD_TIMEOUT_S", 0.2)

    tasks = []

    async def mute(reader, writer):
        tasks.append(asyncio.current_task())
        await reader.read(1)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nx")
        with contextlib.suppress(ConnectionError):
            while await reader.read(1000):
                pass
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(mute, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    storage = RemoteStorage(Guard(["127.0.0.0/8"]))
    with pytest.raises(RemoteStorageError, match="too long"):
        await read(storage, f"http://127.0.0.1:{port}/x")
    await storage.close()
    server.close()
    await server.wait_closed()
    await asyncio.gather(*tasks, return_exceptions=True)
