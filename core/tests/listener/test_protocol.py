"""Who gets which protocol, with real clients."""

import asyncio
import ssl
import warnings

import httpx
import pytest


async def head_version(dial, port, offer):
    """The HTTP version the app saw, with the ALPN result."""
    reader, writer = await dial(port, *offer)
    tls = writer.get_extra_info("ssl_object")
    writer.write(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    async with asyncio.timeout(5):
        answer = await reader.read()
    return tls.selected_alpn_protocol(), answer.split(b"\r\n\r\n")[-1].split()[0]


async def test_h2_is_chosen_whenever_offered(serve, apps, dial):
    server = await serve(apps.echo_size)
    for offer in (("h2",), ("h2", "http/1.1"), ("http/1.1", "h2")):
        _, writer = await dial(server.port, *offer)
        assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == "h2"


@pytest.mark.parametrize(("offer", "chosen"), [((), None), (("http/1.1",), "http/1.1")])
async def test_clients_without_alpn_or_sni_get_http11(serve, apps, dial, offer, chosen):
    server = await serve(apps.echo_size)
    assert await head_version(dial, server.port, offer) == (chosen, b"1.1")


async def test_tls_below_1_2_is_refused(serve, apps, client_tls):
    server = await serve(apps.echo_size)
    context = client_tls("h2")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await asyncio.open_connection("127.0.0.1", server.port, ssl=context)


@pytest.mark.parametrize(
    ("tls", "options", "version"),
    [
        (True, ["--http2"], "2"),
        (True, ["--http1.1"], "1.1"),
        (True, ["--no-alpn"], "1.1"),
        (False, ["--http2-prior-knowledge"], "2"),
        (False, ["--http1.1"], "1.1"),
        (False, ["--http2"], "1.1"),  # offers an upgrade, which we need not take
    ],
)
async def test_curl(serve, apps, run, tls, options, version):
    server = await serve(apps.echo_size, tls=tls)
    scheme = "https" if tls else "http"
    url = f"{scheme}://127.0.0.1:{server.port}/a?b=c"
    # curl 7.88 cannot reuse a prior-knowledge connection: one request there.
    urls = [url] if "--http2-prior-knowledge" in options else [url, url]
    for size in (1, 100_000):
        out = await run(
            "curl", "-sk", "-w", "\n", *options, "--data-binary", "@-", *urls, stdin=b"x" * size
        )
        answers = [line.split() for line in out.splitlines()]
        assert [(a[0], int(a[2])) for a in answers] == [(version, size)] * len(urls)


@pytest.mark.parametrize("http2", [True, False])
async def test_httpx(serve, apps, http2):
    server = await serve(apps.echo_size)
    async with httpx.AsyncClient(http1=not http2, http2=http2, verify=False) as client:
        for _ in range(3):
            answer = await client.post(f"https://127.0.0.1:{server.port}/", content=b"x" * 1000)
            assert answer.http_version == ("HTTP/2" if http2 else "HTTP/1.1")
            assert answer.text.endswith(" 1000")
            assert "date" in answer.headers


async def test_one_scope_for_both_protocols(serve, apps):
    seen = []

    async def app(scope, receive, send):
        seen.append(scope)
        await apps.reply(send)

    server = await serve(app)
    for http2 in (True, False):
        async with httpx.AsyncClient(http1=not http2, http2=http2, verify=False) as client:
            url = f"https://127.0.0.1:{server.port}/a%20b/c?d=e%20f"
            assert (await client.get(url)).status_code == 200
    two, one = seen
    for key in ("type", "method", "scheme", "path", "raw_path", "query_string", "root_path"):
        assert two[key] == one[key], key
    assert two["path"] == "/a b/c"
    assert two["client"][0] == one["client"][0] == "127.0.0.1"
    assert two["server"] == one["server"] == ("127.0.0.1", server.port)
    assert dict(two["headers"])[b"host"] == dict(one["headers"])[b"host"]
    assert two["extensions"] == {"http.response.trailers": {}}
    assert (two["http_version"], one["http_version"]) == ("2", "1.1")


async def test_head_and_empty_replies(serve, apps, run):
    async def app(scope, receive, send):
        if scope["path"] == "/204":
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body"})
        else:
            await apps.reply(send, b"hello")

    server = await serve(app)
    url = f"https://127.0.0.1:{server.port}"
    out = await run("curl", "-skI", "--http2", url + "/")
    assert "HTTP/2 200" in out
    assert "content-length: 5" in out
    out = await run("curl", "-sk", "--http2", "-w", "%{http_code}", url + "/204")
    assert out == "204"


async def test_h2load(serve, apps, run, tmp_path):
    body = tmp_path / "body"
    body.write_bytes(b"x" * 1000)
    server = await serve(apps.echo_size)
    url = f"https://127.0.0.1:{server.port}/"
    for flags in ((), ("--h1",)):
        out = await run("h2load", *flags, "-n", 2000, "-c", 4, "-m", 10, "-d", body, url)
        assert "2000 succeeded, 0 failed, 0 errored, 0 timeout" in out
