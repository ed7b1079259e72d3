"""The life of a server: bind, load, say that it is ready, serve, reload, end."""

import asyncio
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from geodns.config import Config, Tokens, cookie_secrets, tokens
from geodns.control.app import CONNECTIONS_MAX, ControlApp
from geodns.engine.native import why_not
from geodns.engine.snapshot import Identity, Snapshot
from geodns.problems import Problem
from geodns.server import native
from geodns.server.keeper import Keeper
from geodns.server.library import Library, Settings
from geodns.server.listeners import Listeners, PythonListeners
from geodns.server.notify import Notifier
from geodns.server.reload import Reloader, status
from geodns.server.say import Sayer
from geodns.server.served import Served
from geodns.server.sockets import BindError, Bound, bind_all, bind_tcp
from geodns.table.compile import link

if TYPE_CHECKING:
    from geodns._native import Engine

SWITCH_SECONDS = 0.0005  # until a thread that works lets another one answer; Python's 5 ms are 200 queries
SPARE_DESCRIPTORS = 128 + CONNECTIONS_MAX  # beside those of DNS: listeners, files, pipes, HTTP
VERSION_TOLD = "geodns"  # version.bind without a number: it would tell attackers what to try

Reread = Callable[[], tuple[Config | None, list[Problem]]]


def run(config: Config, reread: Reread | None = None) -> int:
    """Serve until SIGTERM or SIGINT. Returns the exit code; what is to be said is said on stderr.

    `reread` gives the config anew for SIGHUP; without it SIGHUP reads only zones and databases again.
    """
    say = Sayer()
    engine, why = _engine(config)
    if engine is None and config.engine == "native":
        say(f"{why.replace('native one', 'native engine')} (--engine python, or auto)")
        return 1
    secret = os.urandom(16)  # for this run, when none is configured
    settings, shown, problems = _settings(config, secret)
    for problem in problems:
        say.line(str(problem))
    if any(problem.is_error for problem in problems):
        return 1
    udp_sockets = native.cores() if engine is not None else 1
    _allow_descriptors(config, udp_sockets * len(config.addresses), say)
    bounds: list[Bound] = []
    try:
        bounds = bind_all(config.addresses, config.limits.udp_receive_buffer_octets, udp_sockets)
        control = bind_tcp(config.control.addresses)
    except BindError as error:
        say(str(error))
        for bound in bounds:
            bound.close()
        return 1
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        served = _Run(config, settings, shown, secret, bounds, control, say, reread, engine, why)
        return asyncio.run(served.run())
    finally:
        for bound in bounds:
            bound.close()
        for listening in control:
            listening.close()


class _Run:
    """One run of the server, from bound sockets to the exit code."""

    def __init__(
        self,
        config: Config,
        settings: Settings,
        shown: Tokens,
        secret: bytes,
        bounds: list[Bound],
        control: list[socket.socket],
        say: Sayer,
        reread: Reread | None,
        engine: "Engine | None",
        why: str,
    ) -> None:
        self._secret = secret
        self._which = "native" if engine is not None else f"python: {why}" if why else "python"
        self._bounds = bounds
        self._control_sockets = control
        self._say = say
        self._reread_config = reread
        self._notifier = Notifier()
        self._served = (
            Served(Snapshot(link([])), say)
            if engine is None
            else Served(Snapshot(link([])), say, publish=engine.publish)
        )
        server_id = settings.identity.server_id.decode()
        self._keeper = Keeper(config, shown, server_id, self._served, say, self._changed)
        self._library = Library(config, settings, self._served, self._keeper)
        self._control = ControlApp(self._keeper, shown.own, say.rarely)
        self._reloader = Reloader(self._library, say, self._notifier, self._reread, self._status)
        self._listeners: Listeners = (
            PythonListeners(bounds, config.limits, self._served, self._lost)
            if engine is None
            else native.NativeListeners(bounds, config.limits, engine, say, self._lost)
        )
        self._stopping = asyncio.Event()
        self._told = ""  # to the service manager; nothing before it is ready
        self._code = 0

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        self._loop = loop
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        loop.add_signal_handler(signal.SIGHUP, self._reloader.ask)
        stopped = asyncio.create_task(self._stopping.wait())
        await self._keeper.start()
        first = loop.run_in_executor(None, self._library.load)
        await asyncio.wait((stopped, asyncio.ensure_future(first)), return_when=asyncio.FIRST_COMPLETED)
        if not first.done():
            self._library.stop()
            self._keeper.interrupt()
            await first
            await self._keeper.stop()
            return 0
        if not first.result():
            await self._keeper.stop()
            return 1
        await self._start()
        tasks = [asyncio.create_task(self._reloader.run()), asyncio.create_task(self._watchdog())]
        await asyncio.wait([stopped, *tasks], return_when=asyncio.FIRST_COMPLETED)
        await self._stop(tasks)
        return self._code

    async def _start(self) -> None:
        await self._listeners.start()
        await self._control.start(self._control_sockets)
        zones = len(self._library.zones)
        if not zones:
            self._say(f"no zone is served: there is no good zone file in {self._library.config.zones}")
        where = ", ".join(str(bound.listen) for bound in self._bounds)
        self._say(f"ready: {zones} zones on {where} (engine {self._which})")
        self._told = self._status()
        self._notifier.ready(self._told)

    async def _stop(self, tasks: list[asyncio.Task[None]]) -> None:
        self._notifier.stopping()
        self._library.stop()
        await self._listeners.stop()
        await self._control.stop()
        await self._keeper.stop()
        for task in tasks:
            if task.done() and not task.cancelled() and task.exception():
                self._say(f"reloading failed, a bug of geodns: {task.exception()!r}")
                self._code = 1
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _watchdog(self) -> None:
        """Signs of life, as long as the threads that answer live and this loop turns."""
        seconds = self._notifier.watchdog_seconds
        while seconds and self._listeners.is_alive:
            self._notifier.alive()
            await asyncio.sleep(seconds)
        await self._stopping.wait()

    def _status(self) -> str:
        return status(self._library, self._keeper)

    def _changed(self) -> None:
        """A value went up or down; called in any thread."""

        def tell() -> None:
            now = self._status()
            if self._told and now != self._told:
                self._told = now
                self._notifier.status(now)

        self._loop.call_soon_threadsafe(tell)

    def _lost(self) -> None:
        """A thread ended by itself: to start anew is better than to answer on some addresses only."""

        def end() -> None:
            self._code = 1
            self._stopping.set()

        self._loop.call_soon_threadsafe(end)

    def _reread(self) -> Config | None:
        """The config for a reload; None, after the problems were said, when it can not be taken."""
        old = self._library.config
        if self._reread_config is None:
            return old
        config, problems = self._reread_config()
        if config is not None:
            settings, shown, more = _settings(config, self._secret)
            problems = problems + more
        for problem in problems:
            self._say.line(str(problem))
        if config is None or any(problem.is_error for problem in problems):
            self._say("the config was not taken up; the one before holds, and nothing was loaded")
            return None
        takes_restart = (config.addresses, config.engine, config.control.addresses)
        if takes_restart != (old.addresses, old.engine, old.control.addresses):
            what = "a changed listen, control.listen or engine takes a restart"
            self._say(f"{what}; the rest of the config was taken up")
        self._library.configure(config, settings)
        self._keeper.configure(config, shown, settings.identity.server_id.decode())
        self._control.token = shown.own
        self._listeners.limit(config.limits)
        return config


def _settings(config: Config, secret: bytes) -> tuple[Settings, Tokens, list[Problem]]:
    secrets, problems = cookie_secrets(config)
    shown, more = tokens(config)
    hostname = socket.gethostname() if config.server.hostname is None else config.server.hostname
    identity = Identity(
        server_id=(hostname if config.server.id is None else config.server.id).encode(),
        hostname=hostname.encode(),
        version=(VERSION_TOLD if config.server.version is None else config.server.version).encode(),
    )
    return Settings(identity, secrets or (secret,)), shown, problems + more


def _engine(config: Config) -> tuple["Engine | None", str]:
    """The native engine, unless it is not wanted; or why it can not be had."""
    why = "" if config.engine == "python" else why_not()
    if config.engine == "python" or why:
        return None, why
    from geodns._native import Engine  # as why_not has found, it is there

    return Engine(), ""


def _allow_descriptors(config: Config, udp_sockets: int, say: Sayer) -> None:
    """Raise the limit on open files as far as the connections may need it."""
    # twice: ours and the duplicates that the native threads have
    wanted = config.limits.tcp_connections + 2 * udp_sockets + SPARE_DESCRIPTORS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    possible = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (possible, hard))
    except (OSError, ValueError):
        possible = soft
    if possible < wanted:
        connections = config.limits.tcp_connections
        say(f"limits.tcp_connections is {connections}, but it may open only {possible} files (ulimit -n)")
