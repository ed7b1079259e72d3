"""Who may read and who may write, decided without a socket."""

import pytest

from geodns.control.guard import refusal

TOKEN = "e5e973e5a6b2a43f48e7dc849e37bfcf"
BEARER = [f"Bearer {TOKEN}"]


def status(
    method: str = "GET",
    host: str | None = "127.0.0.1:5380",
    shown: list[str] | None = None,
    token: str | None = TOKEN,
    is_local: bool = True,
) -> int | None:
    found = refusal(method, [] if host is None else [host], shown or [], token, is_local)
    return None if found is None else found.status


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "[::1]:5380", "[::1]", "localhost:1", "LOCALHOST.", "192.0.2.1"]
)
def test_this_machine_reads_without_a_token(host: str):
    """At a loopback address, whoever asks by an address or by localhost may read."""
    assert status(host=host) is None
    assert status(host=host, token=None) is None


@pytest.mark.parametrize(
    "host",
    ["www.example.com", "127.0.0.1.example.com:5380", "localhost.example.com", "", "[::1", "[::1]x", None],
)
def test_a_page_of_another_site_does_not_read(host: str | None):
    """DNS rebinding: a browser on this machine that was led here says the name of the page's site."""
    assert 403 == status(host=host)
    assert status(host=host, shown=BEARER) is None


def test_two_hosts_are_none():
    """A request with two Host fields means something else to everybody who reads it."""
    found = refusal("GET", ["127.0.0.1", "www.example.com"], [], TOKEN, True)
    assert found is not None
    assert 403 == found.status


def test_other_machines_need_the_token():
    """Reading from outside and writing from anywhere takes the token."""
    assert 401 == status(is_local=False)
    assert 401 == status("PUT")
    assert status(is_local=False, shown=BEARER) is None
    assert status("PUT", shown=BEARER, is_local=False) is None


def test_nobody_writes_without_a_token_file():
    """With no token of ours no token is the right one."""
    assert 403 == status("PUT", token=None)
    for shown in (["Bearer "], ["Bearer None"], ["Bearer"]):
        assert 401 == status("PUT", token=None, shown=shown)
        assert 401 == status(token=None, shown=shown)


@pytest.mark.parametrize(
    "shown",
    [
        [f"Bearer {TOKEN}0"],
        [f"Bearer {TOKEN[:-1]}"],
        [TOKEN],
        [f"Basic {TOKEN}"],
        ["Bearer"],
        [""],
        ["Bearer \udcff"],
        [*BEARER, *BEARER],
    ],
)
def test_a_wrong_token_opens_nothing(shown: list[str]):
    """Not even what would be open without one."""
    assert 401 == status(shown=shown)
    assert 401 == status("PUT", shown=shown)


def test_the_scheme_is_in_any_case():
    """RFC 9110 section 11.1: the scheme's name is case-insensitive; the token is not."""
    assert status("PUT", shown=[f"bearer {TOKEN}"]) is None
    assert 401 == status("PUT", shown=[f"bearer {TOKEN.upper()}"])
