"""The vectors of payments 1 and 2: from the reference's own tests, and computed ones (A to D)."""

import hashlib
import hmac
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from podium.crypto import KeySigner, keccak256, recover
from podium.model import MAX_WIN_PROB
from podium.payments.params import Terms, packed_terms, win_prob
from podium.payments.ticket import (
    SignatureChecker,
    TicketTerms,
    aux_data,
    draw,
    expected_value,
    rand_hash,
    wins,
)
from podium.testing.chain import reference_packing
from podium.wire.payment import ExpirationParams, TicketParams, TicketSenderParams

ZERO20, ZERO32 = bytes(20), bytes(32)
HASH = bytes.fromhex("41b1a0649752af1b28b3dc29a1556eee781e4a4c3a1f7f53f90fa834de098c4d")
BLOCK = bytes.fromhex("7624778dedc75f8b322b9fa1632a610d40b85e106c7d9bf0e743a9ce291b9c6f")


def terms(sender=ZERO20, recipient=ZERO20, face=0, prob=0, rand=ZERO32, number=0, block=ZERO32):
    return TicketTerms(
        sender,
        TicketParams(recipient, face, prob, rand, 0, 0),
        ExpirationParams(number, block),
        0,
    )


@pytest.mark.parametrize(
    ("fields", "nonce", "expected"),
    [
        ({}, 4294967295, "e1393fc7f6de093780674022f96cb8e3872235167d037c04d554e58c0e63d280"),
        ({}, 1, "ce0918ba94518293e9712effbe5fca4f1f431089833a5b8c257cb1e024595f68"),
        ({"face": 1, "prob": 500}, 0, "87ef13f2d37e4d5352a01d3c77b8179d80e0887f1953bfabfd0bfd7b0f689ddd"),
        ({"face": 500, "prob": 1}, 0, "aa4b35071043587992ac8b9dd1b2cf1d8311130e6458cf0b2342484e21af5f5b"),
        ({"recipient": bytes.fromhex("73AEd7b5dEb30222fa896f399d46cC99c7BEe57F")}, 0, "81e353ae39046e2b77b9f996abbaeed527fda559b61ef90f299c4499dd508ccc"),
        ({"rand": HASH}, 0, "be5eaf9a49a39540b9bb02f1a21904f61324a29819e2c032824bfaa10c100b17"),
        ({"number": 10, "block": HASH}, 0, "e502907c16036ab3d11b78c5a2e93c20f3d6415c67f91de4ed01348182b3b2e2"),
    ],
)  # fmt: skip
def test_ticket_hash_vectors_of_the_reference(fields, nonce, expected):
    assert terms(**fields).ticket_hash(nonce).hex() == expected


def test_aux_data_vectors_of_the_reference():
    assert aux_data(ExpirationParams(5, BLOCK)) == (5).to_bytes(32, "big") + BLOCK
    assert aux_data(ExpirationParams(0, BLOCK)) == ZERO32 + BLOCK
    assert aux_data(ExpirationParams(5, ZERO32)) == (5).to_bytes(32, "big") + ZERO32
    assert aux_data(ExpirationParams(0, ZERO32)) == b""


def test_packed_sizes():
    assert len(terms(number=1).packed(1)) == 232
    assert len(terms().packed(1)) == 168


def test_personal_message_recovery_vectors():
    message = bytes.fromhex("b7da355477356fc4c47fcabcf232dc77a6db9b07b7e48b76261cc55cc8fbabb3")
    good = bytes.fromhex(
        "206443228e8f784bc3a122de0d85eb3ebff82d6a79cca26c7eeb907099a6404f6dff57bc6828f28bd6cd073c89d94cf3364204679ed8365fa45b5ee6af19a9841c"
    )
    high_s = bytes.fromhex(
        "e742ff452d41413616a5bf43fe15dd88294e983d3d36206c2712f39083d638bde0a0fc89be718fbc1033e1d30d78be1c68081562ed2e97af876f286f3453231d1b"
    )
    assert recover(message, good).hex() == "3baddb1eee2105893136a3f96c8a963e9c6309d6"
    assert recover(message, high_s) is None
    assert recover(message, good[:64]) is None
    assert recover(message, good[:64] + b"\x01") is None
    assert recover(message, ZERO32 + ZERO32 + b"\x1b") is None


@pytest.mark.parametrize(
    ("face", "ev", "expected"),
    [
        (100000000, 5, 5789604461865809771178549250434395392663499233282028201972879200395660),
        (777000000, 5, 745122839364969082519761808292714979750772102095499125093034646125570),
        (10001, 5, 57890255593098787833002192285115442382396752657554526567072084795477017120),
        (1200000000000000, 8 * 10**9, 771947261582107969490473233391252719021799897770937093596383896000000000),
        (12000000000000000, 8 * 10**9, 77194726158210796949047323339125271902179989777093709359638392000000000),
        (120000000000000000, 8 * 10**9, 7719472615821079694904732333912527190217998977709370935963840000000000),
        (0, 5, 0),
        (5, 5, MAX_WIN_PROB),
    ],
)  # fmt: skip
def test_win_prob_vectors(face, ev, expected):
    assert win_prob(face, ev) == expected


def test_expected_value_divides_by_the_largest_number():
    assert round(expected_value(1000, MAX_WIN_PROB // 2)) == 500
    assert expected_value(1000, MAX_WIN_PROB) == 1000


@given(st.integers(1, 10**24), st.integers(1, 10**24))
def test_one_ticket_is_worth_at_least_the_setting(ev, extra):
    face = ev + extra
    threshold = win_prob(face, ev)
    assert 0 < threshold <= MAX_WIN_PROB
    assert ev <= expected_value(face, threshold) < ev + Fraction(face * ev, 2**200)


@given(st.integers(0, 2**128), st.integers(0, MAX_WIN_PROB), st.integers(0, 601))
def test_values_add_up_exactly(face, prob, count):
    assert expected_value(face, prob, count) == sum([expected_value(face, prob)] * count)


VECTORS = [
    {
        "key": "280f6dd4cc22cbae5ab21eb78edc008b6a274e8d96b96238fa222721f6a65d68",
        "sender": "8b061CE4852848659b1625F8CD843B49EeB070f4",
        "recipient": "347167e1aecd7853cf32C2d4B946c63B1BCA8770",
        "secret": "0300000000000000000000000000000000000000000000000000000000000000",
        "seed": 1,
        "face": 1200000000000000,
        "ev": 8000000000,
        "expiration": 1040,
        "price": Fraction(1),
        "round": 5,
        "block": "7624778dedc75f8b322b9fa1632a610d40b85e106c7d9bf0e743a9ce291b9c6f",
        "message": "018b061ce4852848659b1625f8cd843b49eeb070f4044364c5bb00006fd91d84bcda58175fdfab3d77a168e2893e4958803b6b57ae84efcbf0000410010100000000000000000000000000000000000000000000000000000000000000057624778dedc75f8b322b9fa1632a610d40b85e106c7d9bf0e743a9ce291b9c6f",
        "rand": "0b08f6eaf911adf30938edec6ecc98bb8ca4ddd18d84cac41fbf28a5d3996220",
        "rand_hash": "217e12a7e113f991ecb529375cb7ed224190929cc8fd9ade70ef29e01c2c96de",
        "packed": "347167e1aecd7853cf32c2d4b946c63b1bca87708b061ce4852848659b1625f8cd843b49eeb070f400000000000000000000000000000000000000000000000000044364c5bb000000006fd91d84bcda58175fdfab3d77a168e2893e4958803b6b57ae84efcbf0000000000000000000000000000000000000000000000000000000000000000001217e12a7e113f991ecb529375cb7ed224190929cc8fd9ade70ef29e01c2c96de00000000000000000000000000000000000000000000000000000000000000057624778dedc75f8b322b9fa1632a610d40b85e106c7d9bf0e743a9ce291b9c6f",
        "tickets": [
            ("ac30208bf765ceb2957cf3be899407556cda743369c279569c375caba37ba31e", "fbf40794e3fa66519aa4cd4957ba656e102c43b4179d68b08ff50e81d9c22b540a090184392adc4fd5ff196493add5c17413bd0044dd245c38e60736f88511e01b", "7e2fde1b6a79fa7894439b69cafde7f27256eeffbac642456e315d176375f47a", False),
            ("05c39232aeed4192c481609f9204b854dac88c88b810ed76d08c362d53f440bf", "73d75652e1bb03fbb453dc7f8ccd99847529cbb82c782134febd812d96a5b357679a363e92b6e6c5f7fb5eebd459f40990ff8344e4d784d0e5124ab531bda6c31b", "5354568f73ef2d47160c615cd968953957d7f1e195523aa498201c1f7485dee2", False),
            ("2eaf3636f83ff533212a230c2b899db052afcff74e6e08c9430ba10dae4a04c2", "f9383b2950b5c910dca01301ac9d02cb4b181e4bc5eaedb512cce8a72b5f38a41758265c00d2a3ef3514c7d04f4d12879fc4efae766ea6e538ff56553f788e531b", "0b6a316d05efa99adf614bd94286e48296bd7f4c56e21bb8bf6247dfc9930a27", False),
        ],
    },
    {
        "key": "ed5c189cde9cf5738f74a7adb424242b8dbf15402297a076755259c4396be86b",
        "sender": "538AcbA31eA1FF9DB925bB84097bE65cD098C242",
        "recipient": "d71b07d57576d10E59c73d87A51F7330B19fcC76",
        "secret": "7af90d19e78533426b441728c7bb7bf36b43daba49ee39d0f69e7156699c74da",
        "seed": 0x83001A6220E1CE71931C8CCBB48A1F24DC860016EB2DA47F90BFF845C80762A,
        "face": 10**18,
        "ev": 500000000000000000,
        "expiration": 21000000,
        "price": Fraction(101, 100),
        "round": 3456,
        "block": "48da033661addf9ea6f70b209d60ff8bebfab23b3df97e1e2a3e16d668f78ee5",
        "message": "083001a6220e1ce71931c8ccbb48a1f24dc860016eb2da47f90bff845c80762a538acba31ea1ff9db925bb84097be65cd098c2420de0b6b3a764000080000000000000000000000000000000000000000000000002e2f34caba4000001406f4065640000000000000000000000000000000000000000000000000000000000000d8048da033661addf9ea6f70b209d60ff8bebfab23b3df97e1e2a3e16d668f78ee5",
        "rand": "528a2cca41bddf35d486d586fea044964fed8e69d2a35f175f7451ce62eac1f7",
        "rand_hash": "de38234225ea811ca1f1655cd8c785126a4a76b57aa8602d1e93fc2deb2b18fb",
        "packed": "d71b07d57576d10e59c73d87a51f7330b19fcc76538acba31ea1ff9db925bb84097be65cd098c2420000000000000000000000000000000000000000000000000de0b6b3a764000080000000000000000000000000000000000000000000000002e2f34caba400000000000000000000000000000000000000000000000000000000000000000001de38234225ea811ca1f1655cd8c785126a4a76b57aa8602d1e93fc2deb2b18fb0000000000000000000000000000000000000000000000000000000000000d8048da033661addf9ea6f70b209d60ff8bebfab23b3df97e1e2a3e16d668f78ee5",
        "tickets": [
            ("fb506ae410f68369e30312b2fc46c821f99851950938b64f478fe08931dbb34b", "13c3c37a5b050b07161cebe96ad817e273cd04e2255d0c0adbc7e49069589167485117a9cf55041c215f664a257957c4f80bd72a395adfbcae11626c9d421f791c", "b620c3a9e2bec9e318a811a4b446455b06444c09872d37a2222d3d98ff16c9b7", False),
            ("4ebb48ef6ae339179d3f216d0f708def5d207ccf4cb60a1cdcadb556f116c122", "74d839641b044817bcfd0bd62f33db945a8cf7485ddd44cf9e0278fe3fec7b543f885f4d1668542832f80a89e45ebd7572e39c52db88b8c3178d105600a1ac541b", "78db2a732d9a5e32753108d4ba821e6b599a333459c502078964654f0f61a331", True),
            ("1266c950553272b29ab0c29b7900d490b3f29de2e3a1ce21df247ecd324a1fcf", "27b033baaf50f7cd434b245a115006903f9069a9c19f824a653f30d504eba7130cc4e6106bec281e460b12d9fa64943173cc01a510a56ce28655d3d884780d4d1b", "4bdbdbbb7be5fdaec2f0d248adca5212d85d250b5486dfe61346b0e1060974b9", True),
        ],
    },
    {
        "key": "a19253a044b1d1e67edea033babd142fda3eda4ad75c46a2830762afeddab4ee",
        "sender": "eb9B6Ba06ACCF9849880e4e811D78D44D57dE72c",
        "recipient": "Feed8403fB90B5966B13AE30b6F18bc0851aF44b",
        "secret": "ff" * 32,
        "seed": int("ff" * 30, 16),
        "face": 500000000000000000,
        "ev": 500000000000000000,
        "expiration": 70000123,
        "price": Fraction(1200),
        "round": 4000,
        "block": "447363fb8b825fae8f9762fedb86c56c06e42d8103c5b93ca42dae7cce1d97cb",
        "message": "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffeb9b6ba06accf9849880e4e811d78d44d57de72c06f05b59d3b20000ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff042c1dfb04b0010000000000000000000000000000000000000000000000000000000000000fa0447363fb8b825fae8f9762fedb86c56c06e42d8103c5b93ca42dae7cce1d97cb",
        "rand": "4f282bebae0a745b145de9d1ff45412e0b17acc0eb4e223845ba1a5a3219d659",
        "rand_hash": "5fade32d96ff5063155c30b5a6919b1df995d7104b2a1ffdb89c42e28f66f698",
        "packed": "feed8403fb90b5966b13ae30b6f18bc0851af44beb9b6ba06accf9849880e4e811d78d44d57de72c00000000000000000000000000000000000000000000000006f05b59d3b20000ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff00000000000000000000000000000000000000000000000000000000000000015fade32d96ff5063155c30b5a6919b1df995d7104b2a1ffdb89c42e28f66f6980000000000000000000000000000000000000000000000000000000000000fa0447363fb8b825fae8f9762fedb86c56c06e42d8103c5b93ca42dae7cce1d97cb",
        "tickets": [
            ("1708e4034c4e4908fbf94537c87241646aa6865b647278a7e6911a179913bfea", "f5df4c1bddadaa9152aea5c36002fd99ca7baade163b2c17f5352bac23bd824d221fb3e1375b6ba40ea8f4e32e8e4de28ca0a145899e3e62e345ae010aed62211b", "e250d22ae1360305ef09889cdabe47aa04aa5fab62c69fc29fa4db061adc88b4", True),
            ("1388650ca141880f53ba4810c8ead8f912a8fc5c50dde8dbd87add128af02daf", "1a35e8fb2f053fc9d21d319303ee63cc1418f192a55195f44317d0aa3e23065b25b44df5c59a504754f24808c43e4c9d3d81b84b9c9f6de4371d8a2b4a274c8e1c", "43911052d0c3167a213a0b29c3f1bfdd6ef0b67e3867833ee62862e550ec5b91", True),
            ("bc0777fc4c3f807976d6c28366230905b1dabaf87b49fb30a26d9ad1fe7ce3a4", "30ecda6b412c9a300ff99ddd1198d28b50d1f3abe650c0710947f3fb2117010264b193fa404014a43bd1c86065d185ae553c24184460b5004a3b4de44aaf37a41c", "70ec26351bd699ccd4c355dc49446780dd4850072d17fd81e7ba75e5afadfa34", True),
        ],
    },
    {
        "key": "566dee8c2c335f35f364a451ea923a03a31a843be24fc6c03cd6b664bdf3ec34",
        "sender": "d7731Dbf5577956C3276Fa5D4f348543001f9bf6",
        "recipient": "5510Bb2818e82de2DB442866708DF1783AE375eD",
        "secret": "0300000000000000000000000000000000000000000000000000000000000000",
        "seed": 0x100,
        "face": 100000000,
        "ev": 5,
        "expiration": 41,
        "price": Fraction(1, 3),
        "round": 1,
        "block": "c857b83852b84fc5a466a8b2e682fef6207cf39e42d90925e3417932210cb51a",
        "message": "0100d7731dbf5577956c3276fa5d4f348543001f9bf605f5e100d6bf94d5e57a42bc3d32907604691b4c8ca08cd2e1b9c3db8c8330a18c2901030000000000000000000000000000000000000000000000000000000000000001c857b83852b84fc5a466a8b2e682fef6207cf39e42d90925e3417932210cb51a",
        "rand": "1050aa24fa1b912dc91692ab6518c5c1b009652e64de9d6cec9c37f11f128c3f",
        "rand_hash": "4aa2de4d551e92832235afeebae1ba62736d1c7d9a575e410789d9551e06bdfe",
        "packed": "5510bb2818e82de2db442866708df1783ae375edd7731dbf5577956c3276fa5d4f348543001f9bf60000000000000000000000000000000000000000000000000000000005f5e100000000d6bf94d5e57a42bc3d32907604691b4c8ca08cd2e1b9c3db8c8330a18c00000000000000000000000000000000000000000000000000000000000000014aa2de4d551e92832235afeebae1ba62736d1c7d9a575e410789d9551e06bdfe0000000000000000000000000000000000000000000000000000000000000001c857b83852b84fc5a466a8b2e682fef6207cf39e42d90925e3417932210cb51a",
        "tickets": [
            ("4b2e84446d7c5ca530c0a72466021cc59655849e6fe4f236c580022ad515ba5c", "4e68e2283f16e7cf9a481e02a0d4d745a9cd6dde4cf13a23fbb74fea0466d7205b5d7e372d2a75716ef64f3a82c2f608744ca9b06240dd13b9a4a95b06667f6e1c", "d105e5497c7c1391a487d9a847651af36eeccb1bd234629425d7e4b8eac3dfb6", False),
            ("9bc8c87511ff11eedbafef58bbfc1b0d155ac313b11c2eb094642d8c03642f76", "744230b22443073726f920cc46e6d56500357f267dddf07f50298ed372a505d03640c04aba969e2665f2f5272f8f00e00892b9caeb1e1ff9847c65c92abc06141c", "0744c7f81f5b8fa26ffdc8d384783a125f1af475900b73a6e4c5fb82d0be1665", False),
            ("92ff0fbc82d748f0521b31581044c0287cc2afdf538546aaca2983e114817c28", "0ef3207f8678127976ad1866c7433dced2d31e663a4fec54161bcaecfae316d40eaca1213041424a037371e3915a468ebcc25e1ecade15f7e67c01622d97bd521c", "342a64a6ae2457c61fa50b491e2edbeda83bb8040e0ce35f39467b5fe2d61ce7", False),
        ],
    },
]  # fmt: skip


def vector_terms(vector):
    prob = win_prob(vector["face"], vector["ev"])
    expiration = ExpirationParams(vector["round"], bytes.fromhex(vector["block"]))
    promised = Terms(
        vector["seed"],
        bytes.fromhex(vector["sender"]),
        vector["face"],
        prob,
        vector["expiration"],
        vector["price"],
        expiration,
    )
    message = reference_packing(promised)
    rand = hmac.digest(bytes.fromhex(vector["secret"]), message, hashlib.sha256)
    params = TicketParams(
        bytes.fromhex(vector["recipient"]),
        vector["face"],
        prob,
        keccak256(rand),
        vector["seed"],
        vector["expiration"],
    )
    shared = TicketTerms(promised.sender, params, expiration, int.from_bytes(rand, "big"))
    return shared, message, rand


@pytest.mark.parametrize("vector", VECTORS, ids="ABCD")
def test_vectors(vector):
    shared, message, rand = vector_terms(vector)
    assert message.hex() == vector["message"]
    assert rand.hex() == vector["rand"]
    assert rand_hash(shared.recipient_rand).hex() == vector["rand_hash"]
    assert shared.packed(1).hex() == vector["packed"]
    signer = KeySigner(bytes.fromhex(vector["key"]))
    assert signer.address == shared.sender
    tickets = []
    for nonce, (hashed, signature, drawn, won) in enumerate(vector["tickets"], 1):
        assert shared.ticket_hash(nonce).hex() == hashed
        assert signer.sign_digest(bytes.fromhex(hashed)).hex() == signature
        assert draw(bytes.fromhex(signature), shared.recipient_rand) == int(drawn, 16)
        assert wins(bytes.fromhex(signature), shared.recipient_rand, shared.params.win_prob) is won
        tickets.append(TicketSenderParams(nonce, bytes.fromhex(signature)))
    checked = SignatureChecker(shared).check(tickets)
    assert [item.wins for item in checked] == [ticket[3] for ticket in vector["tickets"]]
    assert all(item.signed for item in checked)


def test_a_draw_equal_to_the_threshold_loses():
    shared, _, _ = vector_terms(VECTORS[1])
    signature = bytes.fromhex(VECTORS[1]["tickets"][1][1])
    drawn = int(VECTORS[1]["tickets"][1][2], 16)
    assert not wins(signature, shared.recipient_rand, drawn)
    assert wins(signature, shared.recipient_rand, drawn + 1)
    assert not wins(signature, shared.recipient_rand, 0)


def test_the_checker_tells_signers_apart_after_it_has_learned_the_key():
    shared, _, _ = vector_terms(VECTORS[1])
    stranger = KeySigner(b"\x01" * 32)
    good = [
        TicketSenderParams(n, bytes.fromhex(t[1])) for n, t in enumerate(VECTORS[1]["tickets"], 1)
    ]
    foreign = TicketSenderParams(4, stranger.sign_digest(shared.ticket_hash(4)))
    swapped = TicketSenderParams(1, good[1].signature)
    checked = SignatureChecker(shared).check([foreign, good[0], foreign, swapped, good[1]])
    assert [item.signed for item in checked] == [False, True, False, False, True]
    assert [item.wins for item in checked] == [False, False, False, False, True]


numbers = st.integers(0, 2**256 - 1)
any_terms = st.builds(
    Terms,
    seed=numbers,
    sender=st.binary(min_size=20, max_size=20),
    face_value=numbers,
    win_prob=numbers,
    expiration_block=st.integers(0, 2**40),
    price=st.fractions(min_value=0, max_value=10**12),
    expiration=st.builds(
        ExpirationParams, st.integers(-(2**63), 2**63 - 1), st.binary(min_size=32, max_size=32)
    ),
)


@given(any_terms, any_terms)
def test_packing_tells_all_terms_apart(one, other):
    assert (packed_terms(one) == packed_terms(other)) == (one == other)


def test_bytes_that_wander_between_fields_fool_the_reference_only():
    """Why our packing is not the reference's: one hash, a price thousands of times lower."""

    def terms_with(expiration_block, price):
        expiration = ExpirationParams(3, HASH)
        return Terms(1, b"\x01" * 20, 5, 6, expiration_block, price, expiration)

    honest = terms_with(0x011E, Fraction(0x170101, 0x10))
    moved = terms_with(0x011E17, Fraction(0x0101, 0x10))
    assert reference_packing(moved) == reference_packing(honest)
    assert packed_terms(moved) != packed_terms(honest)
