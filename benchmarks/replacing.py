#!/usr/bin/env python3
"""The native sockets and engine; SIGUSR1 begins or ends to replace the snapshot every second.

    two tables of the same zone --in turn, every second--> Served.publish --copy, swap--> the threads

usage: replacing.py PORT DATA GEO_DB      DATA as zone.py makes it; prints "ready", ends with SIGTERM

The two tables have nothing in common, so that every replacing copies all of it. Nothing is read or compiled
meanwhile: that is the loader's work, in a process of its own.
"""

import asyncio
import itertools
import signal
import sys
from pathlib import Path

from geodns._native import Engine
from geodns.config import Limits, Listen
from geodns.engine.snapshot import Snapshot
from geodns.geo.locator import Locator
from geodns.geo.partition import build
from geodns.server.native import NativeListeners
from geodns.server.say import Sayer
from geodns.server.served import Served
from geodns.server.sockets import bind_all
from geodns.table.compile import compile_zone, link, table_rules
from geodns.zone import load

SECONDS = 1.0


def snapshot(data: Path, database: str) -> Snapshot:
    apex = (data / "zone.txt").read_text().strip()
    checked, problems = load(data / "zones" / f"{apex}.yaml")
    if checked is None:
        raise SystemExit("\n".join(map(str, problems)))
    table = link([compile_zone(checked)])
    locator = Locator.open([database], {})
    return Snapshot(table, {key: build(rules, locator) for key, rules in table_rules(table).items()})


async def serve(port: int, data: Path, database: str) -> None:
    loop = asyncio.get_running_loop()
    is_replacing = asyncio.Event()
    stopping = asyncio.Event()
    loop.add_signal_handler(
        signal.SIGUSR1, lambda: is_replacing.clear() if is_replacing.is_set() else is_replacing.set()
    )
    loop.add_signal_handler(signal.SIGTERM, stopping.set)
    both = [snapshot(data, database), snapshot(data, database)]
    say = Sayer()
    engine = Engine()
    served = Served(both[0], say, publish=engine.publish)
    served.publish()
    limits = Limits()
    bounds = bind_all([Listen("127.0.0.1", port)], limits.udp_receive_buffer_octets)
    listeners = NativeListeners(bounds, limits, engine, served, stopping.set)
    await listeners.start()

    async def replace() -> None:
        for one in itertools.cycle(reversed(both)):
            await is_replacing.wait()
            # The zones alone, as when one of them is saved; the partition of the places stays.
            await asyncio.to_thread(served.publish, table=one.table)
            await asyncio.sleep(SECONDS)

    replacing = asyncio.create_task(replace())
    print("ready", flush=True)
    await stopping.wait()
    replacing.cancel()
    await listeners.stop()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]))
