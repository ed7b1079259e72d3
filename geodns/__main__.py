"""`geodns`, which is also `python -m geodns`: the command line, and a way to end it from the first moment on.

Only what is quickly imported may stand here above: until SIGTERM has its handler, the first process of a
container does not hear it.
"""

import os
import signal
import sys

FIRST_PROCESS = 1  # of a container, that is of a PID namespace


def main() -> None:
    if os.getpid() == FIRST_PROCESS:
        # pid_namespaces(7): "only signals for which the "init" process has established a signal handler can
        # be sent to the "init" process"; so a `docker stop` before the server has its own handler would be
        # lost, wait for ten seconds, and kill.
        signal.signal(signal.SIGTERM, _leave)
    from geodns.cli import main as command  # takes a while

    command(prog_name="geodns")


def _leave(number: int, _: object) -> None:
    """End at once. A server that has not begun leaves nothing undone, any other command does."""
    os._exit(0 if sys.argv[1:2] == ["serve"] else 128 + number)


if __name__ == "__main__":
    main()
