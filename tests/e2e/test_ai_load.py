"""A thousand AI jobs at once through a real node: none lost, none billed twice, none for nothing."""

import asyncio
import json
import random
import urllib.request
from collections import Counter
from fractions import Fraction

import pytest
from podium.bench.process import program
from podium.bench.runner import HOST, MODEL
from podium.crypto import KeySigner, checksum_address
from podium.testing.gateway.ai import AiError, NobodyAnswered, RequestRefused
from podium.testing.gateway.ai.report import answer_text
from podium.testing.gateway.tickets import BlockClock, Caps

JOBS = 1000
CLIENTS = 50
FAILING = 8
WRONG = 12
TICKET_EV = 8_000
PRICE = 100
LLM, SPEECH = "llm", "text-to-speech"


@pytest.fixture
def runner():
    with program("podium.bench.runner") as running:
        yield f"http://{HOST}:{running.port}"


@pytest.fixture
def node(podium_app, runner):
    common = {"model": MODEL, "url": runner, "warm": True, "capacity": 2 * CLIENTS}
    models = [{"pipeline": pipeline, **common} for pipeline in (LLM, SPEECH)]
    return podium_app(
        {
            "payments": {
                "price_per_unit": PRICE,
                "ticket_ev_wei": TICKET_EV,
                "max_face_value_wei": 20 * TICKET_EV,
            },
            "plugins": {"ai": {"enabled": True, "models": models}},
        }
    )


def mixed_jobs():
    """Pipeline and text of each job: of a hundred sizes, some failing, in no order."""
    jobs = [(LLM, "fail")] * FAILING + [(SPEECH, "wrong")] * WRONG
    while len(jobs) < JOBS:
        number = len(jobs)
        jobs.append((SPEECH, str(100 + number)) if number % 2 else (LLM, f"job {number}"))
    random.Random(7).shuffle(jobs)
    return jobs


async def run_one(gateway, pipeline, text):
    """Run a job, check that the answer is its own, return its bill or its error."""
    fields = {"text": text}
    if pipeline == LLM:
        tokens = 1 + len(text) * 17 % 90
        fields = {"messages": [{"role": "user", "content": text}], "max_tokens": tokens}
    try:
        result = await gateway.run(pipeline, MODEL, fields)
    except AiError as error:
        return type(error), None
    if pipeline == LLM:
        assert answer_text(result.json) == text
    else:
        assert len(result.media[0].data) == int(text)
    return pipeline, result


async def run_all(gateway, jobs):
    queue, outcomes = iter(jobs), []

    async def client():
        for pipeline, text in queue:
            outcomes.append(await run_one(gateway, pipeline, text))

    async with asyncio.TaskGroup() as group:
        for _ in range(CLIENTS):
            group.create_task(client())
    return outcomes


def ledger(node):
    with urllib.request.urlopen(f"{node.admin_uri}/podium/ledger", timeout=5) as reply:
        return json.loads(reply.read())["entries"]


async def test_a_thousand_jobs_and_every_wei(node, ai_gateway):
    signer = KeySigner(b"\x44" * 32)
    caps = Caps(max_ticket_ev=2 * TICKET_EV, max_total_ev=20 * TICKET_EV)
    async with ai_gateway(node.uri, signer=signer, caps=caps, clock=BlockClock()) as gateway:
        outcomes = await run_all(gateway, mixed_jobs())
        accounts = gateway.accounts

    kinds = Counter(kind for kind, _ in outcomes)
    assert kinds == {
        LLM: kinds[LLM],
        SPEECH: kinds[SPEECH],
        NobodyAnswered: FAILING,
        RequestRefused: WRONG,
    }, "no job is lost, and what fails fails for its own fault"
    assert kinds[LLM] + kinds[SPEECH] == JOBS - FAILING - WRONG

    entries = {entry["key"]: entry for entry in await asyncio.to_thread(ledger, node)}
    assert set(entries) == {f"33_{MODEL}", f"36_{MODEL}"}
    for pipeline, key in ((LLM, f"33_{MODEL}"), (SPEECH, f"36_{MODEL}")):
        entry, mine = entries[key], [account for name, account in accounts if name == key]
        bills = [result.fee_wei for kind, result in outcomes if kind == pipeline]
        assert Fraction(entry["debited"]) == sum(bills), "the node billed what was done, once"
        assert sum(bills) == sum(account.debited for account in mine)
        credited, debited = Fraction(entry["credited"]), Fraction(entry["debited"])
        confirmed = sum(account.credited for account in mine)
        refused = sum(account.unconfirmed for account in mine)
        assert confirmed <= credited <= confirmed + refused, "every ticket counts, once"
        assert credited >= debited, "nothing was done that was not paid for"
        assert entry["sender"] == checksum_address(signer.address)
        assert all(account.unsettled == 0 for account in mine)
    assert sum(entry["winners"] for entry in entries.values()) > 0
