"""Server cookies against the examples of RFC 9018."""

import pytest

from geodns.engine.cookie import RENEW_SECONDS, cookie_for, is_valid

SECRET = bytes.fromhex("e5e973e5a6b2a43f48e7dc849e37bfcf")
CLIENT = "198.51.100.100"


def test_the_first_cookie_is_that_of_the_rfc() -> None:
    """RFC 9018 appendix A.1: learning a new server cookie."""
    expected = "2464c4abcf10c957 010000005cf79f111f8130c3eee29480"
    assert cookie_for(bytes.fromhex("2464c4abcf10c957"), CLIENT, (SECRET,), 1559731985) == bytes.fromhex(
        expected
    )


def test_a_cookie_is_renewed_as_in_the_rfc() -> None:
    """RFC 9018 appendix A.2: the same client learns a renewed (fresh) server cookie."""
    old = bytes.fromhex("2464c4abcf10c957 010000005cf79f111f8130c3eee29480")
    expected = bytes.fromhex("2464c4abcf10c957 010000005cf7a871d4a564a1442aca77")
    assert cookie_for(old, CLIENT, (SECRET,), 1559734385) == expected


def test_a_cookie_over_ipv6_as_in_the_rfc() -> None:
    """RFC 9018 appendix A.4: an IPv6 client, and a secret that was rolled over."""
    new = bytes.fromhex("445536bcd2513298075a5d379663c962")
    old = bytes.fromhex("dd3bdf9344b678b185a6f5cb60fca715")
    client = "2001:db8:220:1:59de:d0f4:8769:82b8"
    sent = bytes.fromhex("22681ab97d52c298 010000005cf7c57926556bd0934c72f8")
    assert is_valid(sent, client, (new, old), 1559741961)
    expected = bytes.fromhex("22681ab97d52c298 010000005cf7c609a6bb79d16625507a")
    assert cookie_for(sent, client, (new,), 1559741961) == expected


def test_a_cookie_with_reserved_bits_as_in_the_rfc() -> None:
    """RFC 9018 appendix A.3: what stands in the reserved octets is part of what was signed."""
    sent = bytes.fromhex("fc93fc62807ddb86 01abcdef5cf78f71a314227b6679ebf5")
    assert is_valid(sent, "203.0.113.203", (SECRET,), 1559728000)


@pytest.mark.parametrize("age", [0, RENEW_SECONDS - 1, -300])
def test_a_young_cookie_comes_back_as_it_is(age: int) -> None:
    """A client need not learn a new cookie while the one it has is good for long enough."""
    cookie = cookie_for(bytes(8), CLIENT, (SECRET,), 1_700_000_000)
    assert cookie_for(cookie, CLIENT, (SECRET,), 1_700_000_000 + age) == cookie


@pytest.mark.parametrize(("age", "client"), [(3601, CLIENT), (-301, CLIENT), (0, "198.51.100.101")])
def test_old_early_and_stolen_cookies_are_not_valid(age: int, client: str) -> None:
    """RFC 9018 section 4.3: an hour of past, five minutes of future, and one address."""
    cookie = cookie_for(bytes(8), CLIENT, (SECRET,), 1_700_000_000)
    assert not is_valid(cookie, client, (SECRET,), 1_700_000_000 + age)
