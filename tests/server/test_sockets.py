"""Binding: what is listened on, and what is said when it can not be."""

import os
import socket
from collections.abc import Iterator

import pytest

from geodns.config import Listen, parse_listen
from geodns.server.sockets import BindError, Bound, bind_all

BUFFER_OCTETS = 1 << 20


@pytest.fixture
def bind() -> Iterator[object]:
    """Binds what `--listen` means, and closes it in the end."""
    bound: list[Bound] = []

    def bind(*texts: str) -> list[Bound]:
        new = bind_all([listen for text in texts for listen in parse_listen(text)], BUFFER_OCTETS)
        bound.extend(new)
        return new

    yield bind
    for one in bound:
        one.close()


def test_udp_and_tcp_have_the_same_port(bind):
    """Port 0 becomes one free port for both protocols."""
    (bound,) = bind("127.0.0.1:0")
    assert bound.listen.port > 0
    assert bound.listen.port == bound.udp.getsockname()[1] == bound.tcp.getsockname()[1]


def test_localhost_is_two_addresses(bind):
    """`localhost` is 127.0.0.1 and ::1."""
    assert ["127.0.0.1", "::1"] == [bound.listen.host for bound in bind("localhost:0")]


def test_the_wildcards_stand_beside_each_other(bind):
    """0.0.0.0 and [::] can have the same port, since [::] leaves IPv4 alone."""
    (first,) = bind("0.0.0.0:0")
    (second,) = bind(f"[::]:{first.listen.port}")
    assert first.listen.port == second.listen.port


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
def test_an_address_in_use_names_its_user(kind):
    """The line says which address, which protocol, and which process has it."""
    with socket.socket(socket.AF_INET, kind) as other:
        other.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            other.listen()
        port = other.getsockname()[1]
        with pytest.raises(BindError) as caught:
            bind_all([Listen("127.0.0.1", port)], BUFFER_OCTETS)
    protocol = "UDP" if kind == socket.SOCK_DGRAM else "TCP"
    expected = (
        f"can not listen on 127.0.0.1:{port} ({protocol}): the address is in use by process {os.getpid()} ("
    )
    assert expected == str(caught.value)[: len(expected)]


def test_two_servers_never_share_an_address(bind):
    """A second server on the same address is told so, rather than to take every other query."""
    (bound,) = bind("127.0.0.1:0")
    with pytest.raises(BindError, match="in use"):
        bind_all([bound.listen], BUFFER_OCTETS)


def test_none_or_all(bind):
    """When one address can not be had, those bound before it are given back."""
    (taken,) = bind("127.0.0.1:0")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.2", 0))
        free = Listen("127.0.0.2", probe.getsockname()[1])
    with pytest.raises(BindError):
        bind_all([free, taken.listen], BUFFER_OCTETS)
    for bound in bind_all([free], BUFFER_OCTETS):
        bound.close()


def test_an_address_of_another_machine():
    """No IP_FREEBIND: a typing error in an address is found at the start."""
    with pytest.raises(BindError) as caught:
        bind_all([Listen("192.0.2.1", 0)], BUFFER_OCTETS)
    expected = "this machine does not have the address (ip address shows those it has)"
    assert f"can not listen on 192.0.2.1:0 (UDP): {expected}" == str(caught.value)


def test_nothing_is_fragmented(bind):
    """IP_PMTUDISC_PROBE: "don't fragment" on all answers, and what ICMP says of the path is not looked at."""
    (four, six) = bind("localhost:0")
    assert 3 == four.udp.getsockopt(socket.IPPROTO_IP, 10)
    assert 3 == six.udp.getsockopt(socket.IPPROTO_IPV6, 23)


def test_the_receive_buffer_is_as_asked(bind):
    """A queue for the moments in which nobody reads; Linux tells twice what it was asked for."""
    (bound,) = bind("127.0.0.1:0")
    least = min(BUFFER_OCTETS, 212_992)  # net.core.rmem_max by default, where we are not privileged
    assert least <= bound.udp.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
