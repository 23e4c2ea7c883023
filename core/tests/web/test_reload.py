"""Who may change the plugins of a running node."""

import pytest
from podium.web.reload import refusal


def scope(client="127.0.0.1", **headers):
    given = {"host": "127.0.0.1:7935", "content-type": "application/json", **headers}
    pairs = [(k.replace("_", "-").encode(), v.encode()) for k, v in given.items() if v is not None]
    return {"client": (client, 5), "headers": pairs}


@pytest.mark.parametrize(
    "good",
    [
        {},
        {"host": "localhost:7935"},
        {"host": "[::1]:7935", "client": "::1"},
        {"host": "[::1]", "client": "::1"},
        {"host": "10.0.0.5"},
        {"content-type": "application/json; charset=utf-8"},
    ],
)
def test_this_machine_s_own_command_may(good):
    assert refusal(scope(**good)) == ""


@pytest.mark.parametrize(
    "bad",
    [
        {"client": "10.0.0.5"},
        {"client": "unknown"},
        {"host": "rebound.example"},
        {"host": "rebound.example:7935"},
        {"host": "127.0.0.1.rebound.example:80"},
        {"host": ""},
        {"host": None},
        {"content-type": "text/plain"},
        {"content-type": None},
        {"origin": "http://127.0.0.1:7935"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
    ],
)
def test_nobody_else_may(bad):
    assert refusal(scope(**bad))


def test_a_server_that_does_not_say_who_asks_lets_nobody():
    assert refusal({**scope(), "client": None})
