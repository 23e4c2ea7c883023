import pytest
from podium.config.address import ListenAddress, normalise_uri, parse_listen
from podium.config.settings import NodeSettings


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("", ListenAddress("127.0.0.1", 7935)),
        (":9000", ListenAddress("127.0.0.1", 9000)),
        ("0.0.0.0", ListenAddress("0.0.0.0", 7935)),
        ("node.example:1", ListenAddress("node.example", 1)),
        ("https://h:2", ListenAddress("h", 2)),
        ("http://:0", ListenAddress("127.0.0.1", 0, tls=False)),
        ("[::1]:8935", ListenAddress("::1", 8935)),
    ],
)
def test_listen_addresses_are_completed(text, address):
    assert parse_listen(text, host="127.0.0.1", port=7935) == address


@pytest.mark.parametrize("text", ["tcp://h:1", "h:1/path", "h:x", "h:70000", "a b:1", "u@h:1"])
def test_other_listen_addresses_are_refused(text):
    with pytest.raises(ValueError, match="must be"):
        parse_listen(text, host="", port=1)


@pytest.mark.parametrize(
    ("text", "uri"),
    [
        ("", ""),
        ("node.example", "https://node.example:8935"),
        ("https://node.example:443/", "https://node.example:443"),
        ("http://10.0.0.1:8000", "http://10.0.0.1:8000"),
        ("[::1]:9", "https://[::1]:9"),
    ],
)
def test_service_uris_get_scheme_and_port(text, uri):
    assert normalise_uri(text) == uri
    assert normalise_uri(uri) == uri


def test_the_advertised_uri_follows_the_listener_unless_given():
    assert NodeSettings().advertised_uri() == "https://127.0.0.1:8935"
    assert NodeSettings(listen="http://:0").advertised_uri(1234) == "http://127.0.0.1:1234"
    assert NodeSettings(listen="[::1]:9").advertised_uri() == "https://[::1]:9"
    assert NodeSettings(service_uri="a.example").advertised_uri(5) == "https://a.example:8935"


def test_the_admin_port_is_loopback_and_plain_text_by_default():
    assert NodeSettings().admin_address == ListenAddress("127.0.0.1", 7935, tls=False)
    assert NodeSettings(admin_listen=":1").admin_address.host == "127.0.0.1"
