"""The pipe between the serving process and its prober."""

import pytest

from geodns.health.messages import (
    FRAME_OCTETS_MAX,
    PROBES_PER_MESSAGE,
    FrameError,
    Frames,
    Notice,
    Watch,
    frame,
    watch_frames,
)
from tests.health.prober.parts import probe


def test_messages_come_out_whole_whatever_the_pipe_does() -> None:
    """Cut anywhere, or several at a time."""
    octets = frame(Notice("one")) + frame(Notice("two"))
    for size in (1, 3, 7, len(octets)):
        frames = Frames()
        found = []
        for at in range(0, len(octets), size):
            frames.feed(octets[at : at + size])
            found += list(frames)
        assert [Notice("one"), Notice("two")] == found


@pytest.mark.parametrize(
    "octets",
    [(FRAME_OCTETS_MAX + 1).to_bytes(4), b"\0\0\0\4nope", b"\0\0\0\0"],
    ids=["too long", "no pickle", "empty"],
)
def test_what_is_no_message_is_an_error(octets: bytes) -> None:
    """So that a library that prints to the pipe is noticed, and nobody waits for a gigabyte."""
    frames = Frames()
    frames.feed(octets)
    with pytest.raises(FrameError):
        next(frames)


def test_many_checks_go_in_pieces() -> None:
    """Removed first; nothing is left out; no piece holds the interpreter for long."""
    probes = [probe("tcp", key=str(number)) for number in range(450)]
    frames = Frames()
    for octets in watch_frames(probes, ["gone"]):
        frames.feed(octets)
    messages = list(frames)
    assert Watch((), ("gone",)) == messages[0]
    assert probes == [added for message in messages for added in message.added]
    assert max(len(message.added) for message in messages) == PROBES_PER_MESSAGE
