import pytest
from podium.errors import CredentialsError
from podium.model import AuthToken
from podium.sessions.tokens import Tokens, token_bytes


# go-livepeer core/orch_test.go's inputs; the values are derived (wire-video 4).
@pytest.mark.parametrize(
    ("secret", "session", "expiration", "token"),
    [
        ("foo", "bar", 100, "e896e58f32128ad59566fbef0ae8d4b702f6f08cdfe3f17b544696016f5e5423"),
        ("foo", "bar", 200, "cfc21015f594e4c3b32bbaf771fe075825a6d0f2ef8e976d726e8d6d2e050cf2"),
        ("foo", "notbar", 100, "d4c0245683c524772f0756cba7f24ba62e0c8773eb8d3927a95ab3a986ce2d17"),
        ("notfoo", "bar", 100, "d3e615702ffe5e438458307c2be8999279dc652e0199e97fbd3d01ef0ce71fa6"),
        ("foo", "bar", 0, "f9320baf0249169e73850cd6156ded0106e2bb6ad8cab01b7bbbebe6d1065317"),
        (
            "foo",
            "bar",
            1700000000,
            "ce8345743be2a55a8556feb94e9b05715edd89c7cc0fc70e98bb706ba511380e",
        ),
        (
            "foo",
            "bar",
            4102444800,
            "324819d29346aba438ce2224b62164c1012658675b2c8a518a49c14c30d55575",
        ),
    ],
)
def test_token_vectors(secret, session, expiration, token):
    assert token_bytes(secret.encode(), session, expiration).hex() == token


def test_issued_token_is_good_until_it_expires():
    now = [1_700_000_000.5]
    tokens = Tokens(lambda: now[0])
    token = tokens.issue()
    assert len(token.session_id) == 8
    assert token.expiration == 1_700_001_800
    assert tokens.check(token) is token
    now[0] += 1801
    with pytest.raises(CredentialsError, match=r"^expired auth token$"):
        tokens.check(token)
    assert tokens.authenticate(token) is token


def test_foreign_and_changed_tokens_are_refused():
    tokens = Tokens(lambda: 0.0)
    token = tokens.issue()
    with pytest.raises(CredentialsError, match=r"^missing auth token$"):
        tokens.check(None)
    for other in (
        Tokens(lambda: 0.0).issue(),
        AuthToken(token.token, token.session_id, token.expiration + 1),
        AuthToken(token.token, token.session_id + "0", token.expiration),
        AuthToken(b"", token.session_id, token.expiration),
        AuthToken(token.token, token.session_id, -1),
    ):
        with pytest.raises(CredentialsError, match=r"^invalid auth token$"):
            tokens.check(other)


def test_the_parts_of_a_token_cannot_be_shifted():
    tokens = Tokens(lambda: 1_700_000_000.0)
    token = tokens.issue()
    tail = token.expiration.to_bytes(4, "big")
    moved = int.from_bytes(token.session_id[-1:].encode() + tail, "big")
    shifted = AuthToken(token.token, token.session_id[:-1], moved)
    with pytest.raises(CredentialsError, match=r"^invalid auth token$"):
        tokens.authenticate(shifted)
