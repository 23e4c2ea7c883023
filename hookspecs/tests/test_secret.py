"""A secret stays one."""

from hypothesis import given
from hypothesis import strategies as st
from podium_hookspecs import Secret

texts = st.text(min_size=8, alphabet=st.characters(exclude_categories=("Cs",)))


@given(texts)
def test_it_never_shows_itself(text):
    secret = Secret(text)
    shown = f"{secret} {secret!r} {[secret]}"
    assert shown == "*** Secret(reveal='***') [Secret(reveal='***')]"


@given(texts, texts)
def test_it_matches_itself_only(text, other):
    assert Secret(text).matches(text)
    assert Secret(text).matches(other) == (text == other)


def test_an_empty_secret_matches_nothing():
    assert not Secret("").matches("")


def test_comparing_secrets_tells_nothing():
    assert Secret("a") == Secret("b")
    assert hash(Secret("a")) == hash(Secret("b"))


def test_broken_text_is_compared_not_raised():
    assert not Secret("known").matches("\udcff")
