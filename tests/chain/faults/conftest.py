"""RPC endpoints that fail as told."""

import contextlib
import gc
import json
import socket
import threading
import time
import warnings
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest


class Endpoint:
    """A JSON-RPC endpoint of the devnet's that fails as told.

    ``mode``: "pass"; "hang": takes requests and never answers; "limit": answers 429; "stale": its
    head and state stay where they were; "lose": passes transactions on, and drops the connection
    before anybody learns of it. ``die`` and ``revive`` close the port and open it again.

    Attributes:
        sent: The transactions that were passed on.
        on_send: Called with "before" and "after" around each, and with its bytes as hex digits;
            "drop" as an answer drops the connection there.
        on_call: Called with the method of each request, before it is answered.
    """

    def __init__(self, devnet):
        self.calls, self.sent, self.on_send = Counter(), [], lambda _stage, _raw: ""
        self.on_call = lambda _method: None
        self._mode, self._head, self._released = "pass", 0, threading.Event()
        self._devnet = devnet
        self._client = httpx.Client(timeout=60, trust_env=False)
        self._open = set()
        self._server, self._port = None, 0
        self.revive()

    @property
    def url(self):
        return f"http://127.0.0.1:{self._port}/"

    @property
    def mode(self):
        return self._mode

    @mode.setter
    def mode(self, mode):
        self._head = self._devnet.block_number if mode == "stale" else 0
        self._mode = mode
        self._released.set()  # those who hang are cut off
        self._released = threading.Event()

    def revive(self):
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def setup(self):
                super().setup()
                endpoint._open.add(self.connection)

            def finish(self):
                endpoint._open.discard(self.connection)
                with contextlib.suppress(OSError):
                    super().finish()

            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                answer = endpoint._answer(json.loads(body))
                if answer is None:
                    self.close_connection = True
                    return
                status, headers, data = answer
                self.send_response(status)
                for name, value in {**headers, "content-length": str(len(data))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_):
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_):
                pass  # whoever is killed while being answered is no fault of ours

        self._server = Server(("127.0.0.1", self._port), Handler)
        self._port = self._server.server_address[1]
        thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        thread.start()

    def die(self):
        server, self._server = self._server, None
        if server is None:
            return
        server.shutdown()
        server.server_close()
        self._released.set()
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def close(self):
        self.die()
        # Whoever still answers would open a connection of a client that is closed, and lose it.
        limit_s = time.monotonic() + 20
        while self._open and time.monotonic() < limit_s:
            time.sleep(0.02)
        time.sleep(0.05)  # who was accepted a moment ago begins now
        self._client.close()
        # What is cut off on purpose may lose its socket to the collector: here, in this process,
        # which is the tests' and not the node's, and not in the middle of some later test.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()

    def _answer(self, request):
        method = request["method"]
        self.calls[method] += 1
        self.on_call(method)
        mode = self._mode
        if mode == "hang":
            self._released.wait(60)
            return None
        if mode == "limit":
            return 429, {"retry-after": "1"}, b"too many requests"
        if method == "eth_sendRawTransaction":
            return self._send(request)
        if mode == "stale":
            return self._stale(request)
        return self._pass(request)

    def _pass(self, request):
        reply = self._client.post(self._devnet.rpc_url, json=request)
        return reply.status_code, {"content-type": "application/json"}, reply.content

    def _send(self, request):
        raw = request["params"][0]
        if self.on_send("before", raw) == "drop":
            return None
        answer = self._pass(request)
        self.sent.append(raw)
        if self.on_send("after", raw) == "drop" or self._mode == "lose":
            return None
        return answer

    def _stale(self, request):
        """Answer as a node would that has stopped following the chain."""
        method, head = request["method"], self._head
        params = [
            hex(head) if param in ("latest", "pending") else param for param in request["params"]
        ]
        if method == "eth_blockNumber":
            return self._reply(request, result=hex(head))
        numbers = [p for p in params if isinstance(p, str) and p.startswith("0x") and len(p) < 12]
        beyond = any(int(number, 16) > head for number in numbers)
        if method == "eth_getBlockByNumber" and beyond:
            return self._reply(request, result=None)
        if method in ("eth_call", "eth_getBalance", "eth_estimateGas") and beyond:
            return self._reply(request, error={"code": -32000, "message": "header not found"})
        if method == "eth_getLogs":
            last = params[0].get("toBlock", "latest")
            if last == "latest" or int(last, 16) > head:
                params = [{**params[0], "toBlock": hex(head)}]
            if int(params[0].get("fromBlock", "0x0"), 16) > head:
                return self._reply(request, result=[])
        answer = self._pass({**request, "params": params})
        if method == "eth_getTransactionReceipt":
            found = json.loads(answer[2]).get("result")
            if found and int(found["blockNumber"], 16) > head:
                return self._reply(request, result=None)
        return answer

    def _reply(self, request, **content):
        data = json.dumps({"jsonrpc": "2.0", "id": request["id"], **content})
        return 200, {"content-type": "application/json"}, data.encode()


@pytest.fixture
def lab(lab, devnet):
    """Makes such endpoints too: ``lab.endpoint()``."""
    with contextlib.ExitStack() as stack:

        def endpoint():
            made = Endpoint(devnet)
            stack.callback(made.close)
            return made

        lab.endpoint = endpoint
        yield lab
