#!/usr/bin/env python3
"""`make serve`: ns1 and ns2 side by side on this machine, until Ctrl-C.

usage: serve_two.py [PORT PORT [CONTROL CONTROL]]     instead of 5301 5302 5381 5382

Each asks the other at its CONTROL port which values it sees up. Whatever ends this process ends both servers;
when one of them ends, so does the other.
"""

import asyncio
import ctypes
import shutil
import signal
import sys
from collections.abc import Iterable

USUAL = ["5301", "5302", "5381", "5382"]
GIVEN = sys.argv[1:]
PORTS = GIVEN[:2] or USUAL[:2]
CONTROLS = [f"127.0.0.1:{port}" for port in GIVEN[2:] or USUAL[2:]]
SERVERS = {  # name: address, own control endpoint, the other's
    "ns1": (f"127.0.0.1:{PORTS[0]}", CONTROLS[0], CONTROLS[1]),
    "ns2": (f"127.0.0.1:{PORTS[1]}", CONTROLS[1], CONTROLS[0]),
}
STOP_SECONDS = 3.0  # for a server to end by itself
PR_SET_PDEATHSIG = 1  # <sys/prctl.h>
QUESTIONS = f"""\
Both answer. Try, in another terminal:

  dig @127.0.0.1 -p {PORTS[0]} +noall +answer www.example.com A +subnet=8.8.8.0/24
  dig @127.0.0.1 -p {PORTS[1]} +noall +answer where.example.com TXT +subnet=92.1.1.0/24
  dig @127.0.0.1 -p {PORTS[0]} +noall +answer localhost AAAA

The first asks for somebody in California, the second for somebody elsewhere: +subnet= says where the
client is, and the answer follows; try other addresses. The third asks a built-in zone.

What they do is shown at http://{CONTROLS[0]}/ and http://{CONTROLS[1]}/. Ctrl-C stops both.
"""


def end_with_parent() -> None:
    """Run in a server before it starts: it ends when this process does, even by SIGKILL."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


async def start(name: str, address: str, control: str, peer: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "geodns", "serve", "--zones", "zones", "--listen", address, "--id", name),
        *("--control", control, "--peer", f"http://{peer}", "--log", "text"),
        stdin=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        preexec_fn=end_with_parent,
        start_new_session=True,  # Ctrl-C comes here, and from here to them
    )


async def tell(name: str, server: asyncio.subprocess.Process, ready: asyncio.Event) -> None:
    """Pass on what a server says, until it ends."""
    assert server.stderr is not None
    async for line in server.stderr:
        text = line.decode("utf-8", "replace").rstrip()
        print(f"{name}  {text}", flush=True)
        if text.startswith("geodns: ready:"):
            ready.set()


async def wait_for_all(events: Iterable[asyncio.Event]) -> None:
    for event in events:
        await event.wait()


async def main() -> int:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stopped.set)
    servers = {name: await start(name, *where) for name, where in SERVERS.items()}
    ready = {name: asyncio.Event() for name in servers}
    telling = [asyncio.create_task(tell(name, server, ready[name])) for name, server in servers.items()]
    stop = asyncio.create_task(stopped.wait())
    both = asyncio.create_task(wait_for_all(ready.values()))
    await asyncio.wait([stop, both, *telling], return_when=asyncio.FIRST_COMPLETED)
    if both.done():
        print(f"\n{QUESTIONS}", flush=True)
        if shutil.which("dig") is None:
            print("dig is in the package bind9-dnsutils (Debian, Ubuntu) or bind-utils (Fedora).", flush=True)
        await asyncio.wait([stop, *telling], return_when=asyncio.FIRST_COMPLETED)
    both.cancel()
    for server in servers.values():
        if server.returncode is None:
            server.terminate()
    await asyncio.wait(telling, timeout=STOP_SECONDS)
    for server in servers.values():
        if server.returncode is None and not stopped.is_set():
            server.kill()
    codes = [await server.wait() for server in servers.values()]
    if stopped.is_set():
        print("\nBoth servers have stopped.", flush=True)
        return 0
    print("\nOne of the servers has ended, so the other one was stopped.", file=sys.stderr, flush=True)
    return max(1, *codes)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
