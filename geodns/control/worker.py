"""A process that does the API's Tasks, one after another, until its stdin ends.

    stdin: Limits, then Tasks --perform--> stdout: for each an Outcome, after its length

A process of its own, for the reasons that the loader is one: what takes time or memory, or crashes, harms
nobody but the request that asked for it.
"""

import gc
import os
import pickle
import resource
import sys

from geodns.control.tasks import EXIT_MEMORY, LENGTH, Limits, Refused
from geodns.control.work import perform


def main() -> int:
    """Work. Returns the exit code."""
    out = os.fdopen(os.dup(1), "wb", buffering=1 << 16)
    os.dup2(2, 1)  # what a library may print goes where tracebacks go
    limits: Limits = pickle.load(sys.stdin.buffer)
    resource.setrlimit(resource.RLIMIT_AS, (limits.memory_octets, limits.memory_octets))
    os.nice(limits.niceness)
    gc.disable()  # to look for cycles while a zone is read takes longer than to read it
    while True:
        try:
            task = pickle.load(sys.stdin.buffer)
        except EOFError:
            return 0
        try:
            outcome = perform(task)
        except MemoryError:
            os._exit(EXIT_MEMORY)  # Python may be unable to print a traceback, or to end in good order
        except Exception as error:
            outcome = Refused(500, f"a bug of geodns: {type(error).__name__}: {error}")
        octets = pickle.dumps(outcome, pickle.HIGHEST_PROTOCOL)
        out.write(LENGTH.pack(len(octets)) + octets)
        out.flush()
        del task, outcome, octets
        gc.collect()


if __name__ == "__main__":
    sys.exit(main())
