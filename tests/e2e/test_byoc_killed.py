"""A node that is killed: what a gateway prepaid is there again, and no ticket counts twice."""

import asyncio
import contextlib
import sqlite3
import time

import httpx
import pytest
from podium.crypto import KeySigner
from podium.demo.processes import NodeConfig, NodeProcess
from podium.testing.container import Container, serving_in_thread
from podium.testing.gateway.byoc import ByocGateway
from podium.testing.gateway.byoc.wire import job_header, payment_header
from podium.testing.gateway.requests import build_payment
from podium.wire.pb import lp_rpc_pb2 as pb

PRICE = 1_000_000
PAYMENTS = """
price_per_unit = 1
ticket_ev_wei = 100000000
max_face_value_wei = 500000000
auto_adjust_price = false
"""
PLUGIN = """
[plugins.byoc]
enabled = true

[[plugins.byoc.executors]]
name = "echo"
url = "{url}"
price = {price}
"""
WAIT_S = 20.0

pytestmark = pytest.mark.timeout(120)


class Sender:
    def __init__(self, uri):
        self.uri, self.signer = uri, KeySigner(b"\x71" * 32)

    async def token(self):
        async with ByocGateway(signer=self.signer, token_timeout_s=10) as gateway:
            return await gateway.token(self.uri, "echo")

    def headers(self, token):
        job = job_header(
            self.signer, capability="echo", job_id="", request="{}", parameters="{}", timeout_s=70
        )
        price = pb.PriceInfo(pricePerUnit=token.price, pixelsPerUnit=1)
        payment = build_payment(self.signer, price, token.terms, [1, 2])
        return {"Livepeer": job, "Livepeer-Payment": payment_header(payment)}

    def post(self, headers):
        url = f"{self.uri}/process/request/echo"
        reply = httpx.post(url, headers=headers, content=b"{}", verify=False, timeout=20)
        assert reply.status_code == 200, reply.text
        return int(reply.headers["livepeer-balance"])


def kept(config):
    """The one balance in the node's database; None before it is there."""
    path = config.data_dir / "podium.sqlite3"
    with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
        return database.execute("SELECT balance FROM balances").fetchone()


def test_a_killed_node_knows_balances_and_tickets(tmp_path):
    with serving_in_thread(Container()) as url:
        config = NodeConfig.write(
            tmp_path, payments=PAYMENTS, plugins=PLUGIN.format(url=url, price=PRICE)
        )
        sender = Sender(config.uri)
        node = NodeProcess.start(config, tmp_path / "first.log")
        try:
            node.wait_until_ready()
            headers = sender.headers(asyncio.run(sender.token()))
            balance = sender.post(headers)
            deadline = time.monotonic() + WAIT_S
            while kept(config) is None and time.monotonic() < deadline:
                time.sleep(0.1)
        finally:
            node.process.kill()
            node.process.wait()
        node = NodeProcess.start(config, tmp_path / "second.log")
        try:
            node.wait_until_ready()
            assert asyncio.run(sender.token()).balance in (balance, balance - 1), "floored"
            assert sender.post(headers) == balance - PRICE, "its tickets are known"
        finally:
            assert node.stop()
