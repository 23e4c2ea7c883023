"""Signed transactions, checked with eth_account, and with what was recorded."""

import json
import time
from pathlib import Path

import pytest
from eth_account import Account
from hypothesis import given, settings
from hypothesis import strategies as st
from podium.chain import rlp
from podium.chain.fees import Fees
from podium.chain.signer import LocalSigner, TxFields
from podium.crypto import KeySigner, checksum_address, keccak256

KEY = bytes(range(1, 33))
WORD = st.integers(min_value=0, max_value=2**256 - 1)
recorded = Path(__file__).parents[3] / "tests/contract/data/onchain-video"


def theirs(fields, key=KEY):
    """The transaction that eth_account signs."""
    values = {
        "chainId": fields.chain_id,
        "nonce": fields.nonce,
        "to": checksum_address(fields.to),
        "data": fields.data,
        "value": fields.value,
        "gas": fields.gas_limit,
    }
    if fields.fees.tip is None:
        values["gasPrice"] = fields.fees.cap
    else:
        values |= {
            "type": 2,
            "maxFeePerGas": fields.fees.cap,
            "maxPriorityFeePerGas": fields.fees.tip,
        }
    return bytes(Account.sign_transaction(values, key).raw_transaction)


@settings(max_examples=60, deadline=None)
@given(
    nonce=st.integers(0, 2**40),
    data=st.binary(max_size=400),
    value=st.integers(0, 10**24),
    gas=st.integers(21_000, 10**8),
    tip=st.none() | st.integers(0, 10**12),
    more=st.integers(0, 10**12),
    chain=st.sampled_from([1, 31337, 42161, 421614]),
)
def test_ours_are_byte_for_byte_those_of_eth_account(nonce, data, value, gas, tip, more, chain):
    fees = Fees((tip or 0) + more, tip)
    fields = TxFields(chain, nonce, b"\x11" * 20, data, value, gas, fees)
    assert LocalSigner(KEY).sign_fields(fields) == theirs(fields)


async def test_the_port_signs_the_same_and_knows_its_account():
    signer = LocalSigner(KEY)
    fields = TxFields(1, 0, b"\x22" * 20, b"", 1, 21_000, Fees(3, 1))
    raw = await signer.sign_transaction(fields)
    assert Account.recover_transaction(raw) == checksum_address(signer.address)
    assert signer.sign_digest(b"\x07" * 32) == KeySigner(KEY).sign_digest(b"\x07" * 32)
    assert KEY.hex() not in repr(signer)


def test_recorded_transactions_come_out_with_their_hashes():
    """The reference's own, signed again with its throwaway keys."""
    setup = json.loads((recorded / "setup.json").read_text())
    keys = {
        account["address"].lower(): bytes.fromhex(account["private_key"].removeprefix("0x"))
        for account in setup["accounts"].values()
    }
    found = json.loads((recorded / "transactions.json").read_text())["transactions"]
    seen = 0
    for each in found:
        key = keys.get(each["from"].lower())
        if key is None:
            continue
        fields = TxFields(
            chain_id=setup["chain_id"],
            nonce=each["nonce"],
            to=bytes.fromhex(each["to"][2:]),
            data=bytes.fromhex(each["input"].removeprefix("0x")),
            value=each["value"],
            gas_limit=each["gas"],
            fees=Fees(each["maxFeePerGas"], each["maxPriorityFeePerGas"]),
        )
        assert keccak256(LocalSigner(key).sign_fields(fields)).hex() == each["hash"]
        seen += 1
    assert seen >= 30


def test_signing_takes_less_than_a_millisecond():
    signer = LocalSigner(KEY)
    fields = TxFields(42161, 7, b"\x11" * 20, b"\x99" * 700, 0, 10**6, Fees(10**9, 10**8))
    took = []
    for _ in range(50):
        start = time.perf_counter()
        signer.sign_fields(fields)
        took.append(time.perf_counter() - start)
    assert min(took) < 0.001


@pytest.mark.parametrize(
    ("item", "packed"),
    [
        (b"", "80"),
        (b"\x7f", "7f"),
        (b"\x80", "8180"),
        (0, "80"),
        (1024, "820400"),
        ([], "c0"),
        ([[], [[]], [[], [[]]]], "c7c0c1c0c3c0c1c0"),
        ([b"cat", b"dog"], "c88363617483646f67"),
        (
            b"Lorem ipsum dolor sit amet, consectetur adipisicing elit",
            "b838" + b"Lorem ipsum dolor sit amet, consectetur adipisicing elit".hex(),
        ),
    ],
)
def test_the_packing_s_own_vectors(item, packed):
    assert rlp.encode(item).hex() == packed


@given(WORD)
def test_numbers_have_no_leading_zeros(number):
    assert rlp.encode(number).hex()[2:4] != "00"
