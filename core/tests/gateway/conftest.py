import json
from base64 import b64decode
from pathlib import Path

import pytest
from podium.wire.pb import lp_rpc_pb2 as net

DATA = Path(__file__).parent / "data"


def decoded(message, header):
    return message.FromString(b64decode(header))


@pytest.fixture(scope="session")
def recorded():
    """Every ``/segment`` of an unmodified gateway on chain, as raw headers and results."""
    return json.loads((DATA / "onchain-segments.json").read_text())


@pytest.fixture(scope="session")
def exchanges(recorded):
    """(record, SegData, Payment, TranscodeResult) of each recorded segment."""
    return [
        (
            record,
            decoded(net.SegData, record["segment"]),
            decoded(net.Payment, record["payment"]),
            net.TranscodeResult.FromString(bytes.fromhex(record["result_hex"])),
        )
        for record in recorded["segments"]
    ]


@pytest.fixture(scope="session")
def offchain_segments():
    """SegData of an unmodified gateway off chain: presets, and ladders that use every field."""
    texts = json.loads((DATA / "offchain-segments.json").read_text())["segments"]
    return [decoded(net.SegData, text) for text in texts]
