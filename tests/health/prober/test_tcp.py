"""TCP checks, and what all kinds share: addresses, names, sources, errors."""

import asyncio
import errno
import socket

import pytest

from geodns.health.prober import look, tcp
from geodns.health.prober.look import Failed, prepared
from tests.health.prober.parts import SOON_SECONDS, probe, serving, silent


async def looked(of, **more: object) -> str:
    made = probe("tcp", of, **more)
    return await prepared(made, tcp.looking(made))()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.77", "::1"])
async def test_a_port_that_accepts_is_up(host: str) -> None:
    """A connection is all that it takes; the server sees an orderly end, not a reset."""
    seen: asyncio.Queue[bytes] = asyncio.Queue()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.put_nowait(await reader.read(-1))  # raises ConnectionResetError at a reset

    async with serving(handle, host) as port:
        assert "connected" == await looked(host, port=port)
        assert b"" == await seen.get()


async def test_a_port_where_nobody_listens_is_down() -> None:
    """The kernel says so at once."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        with pytest.raises(ConnectionRefusedError) as error:
            await looked("127.0.0.1", port=bound.getsockname()[1])
    assert "connection refused" == look.why(error.value)


async def test_a_name_is_up_when_one_of_its_addresses_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are tried one after the other, each in its part of the time; the last says what is wrong."""

    async def addresses(name: str) -> list[str]:
        return ["127.0.0.2", "127.0.0.3", "127.0.0.1"]

    monkeypatch.setattr(look, "_addresses", addresses)
    tried = []

    async def look_at(address: str) -> str:
        tried.append(address)
        if address == "127.0.0.2":
            await asyncio.Event().wait()
        if address == "127.0.0.3":
            raise Failed("no")
        return "yes"

    assert "yes" == await prepared(probe("tcp", "a.test.", timeout=SOON_SECONDS), look_at)()
    assert ["127.0.0.2", "127.0.0.3", "127.0.0.1"] == tried


async def test_a_name_is_looked_up_anew_for_each_look() -> None:
    """localhost has an address, and a connection to it is made."""
    async with serving(silent) as port:
        assert "connected" == await looked("localhost", port=port)


@pytest.mark.parametrize("name", ["nowhere.invalid.", "a..b", "x" * 64 + ".test."])
async def test_a_name_without_an_address_is_down(name: str) -> None:
    """And the reason says that it was the name."""
    with pytest.raises(Failed, match=r"has no address: \S"):
        await looked(name, port=80)


async def test_it_looks_from_the_source_of_the_targets_family() -> None:
    """Of two sources the IPv4 one is for IPv4 targets."""
    seen: asyncio.Queue[str] = asyncio.Queue()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.put_nowait(writer.get_extra_info("peername")[0])

    async with serving(handle) as port:
        await looked("127.0.0.1", port=port, source=("::1", "127.0.0.9"))
        assert "127.0.0.9" == await seen.get()
        await looked("127.0.0.1", port=port, source=("::1",))
        assert "127.0.0.1" == await seen.get()


async def test_a_source_that_is_not_ours_says_nothing_of_the_target() -> None:
    """Else a mistyped source would bring everything down."""
    with pytest.raises(OSError, match="assign") as error:
        await looked("127.0.0.1", port=80, source=("192.0.2.1",))
    assert look.is_our_own(error.value)
    assert look.is_our_own(OSError(errno.EMFILE, "too many open files"))
    assert not look.is_our_own(ConnectionRefusedError(errno.ECONNREFUSED, "refused"))


def test_what_others_say_fits_in_a_line() -> None:
    """No control characters reach a terminal, and no novels."""
    assert "a [31mb c" == look.short("a\x1b[31mb\n\tc")
    assert look.DETAIL_CHARACTERS_MAX == len(look.short("long " * 100))
