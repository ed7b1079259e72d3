"""The life of a server: bind, load, say that it is ready, serve, reload, end."""

import asyncio
import os
import pwd
import resource
import signal
import socket
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from geodns.config import Config, Limits, Tokens, cookie_secrets, rate_limits, server_id, tokens
from geodns.engine.native import why_not
from geodns.engine.snapshot import RRL_KEY_OCTETS, Identity, Snapshot
from geodns.problems import Problem
from geodns.server import activation, native, takeover
from geodns.server.acme import Challenger
from geodns.server.gather import Gatherer
from geodns.server.keeper import Keeper
from geodns.server.library import Library, Settings
from geodns.server.listeners import Listeners, PythonListeners
from geodns.server.notify import Notifier
from geodns.server.observer import Observer
from geodns.server.privileges import Account, PrivilegeError, account, drop, own
from geodns.server.reload import Reloader, status
from geodns.server.say import Sayer
from geodns.server.served import Served
from geodns.server.sockets import UDP_KINDS, BindError, Bound, bind_all, bind_tcp
from geodns.table.compile import link

if TYPE_CHECKING:
    from geodns._native import Engine
    from geodns.control.acme import AcmePaths
    from geodns.control.app import ControlApp
    from geodns.control.peers import PeerCalls
    from geodns.server.clerks import Clerks

SWITCH_SECONDS = 0.0005  # until a thread that works lets another one answer; Python's 5 ms are 200 queries
SPARE_DESCRIPTORS = 128  # beside those of DNS and HTTP: listeners, files, pipes to children
PRIVILEGED_PORTS = 1024  # ports below are root's, unless the system says otherwise
VERSION_TOLD = "geodns"  # version.bind without a number: it would tell attackers what to try
_RRL_KEY = os.urandom(RRL_KEY_OCTETS)  # of this process: nobody can know where the buckets of a network are

Reread = Callable[[], tuple[Config | None, list[Problem]]]


def run(config: Config, reread: Reread | None = None) -> int:
    """Serve until SIGTERM or SIGINT. Returns the exit code; what is to be said is said on stderr.

    `reread` gives the config anew for SIGHUP; without it SIGHUP reads only zones and databases again.
    """
    say = Sayer(form=config.log.format)
    engine, why = _engine(config)
    if engine is None and config.engine == "native":
        say(f"{why.replace('native one', 'native engine')} (--engine python, or auto)")
        return 1
    secret = os.urandom(16)  # for this run, when none is configured
    settings, shown, problems = _settings(config, secret)
    for problem in problems:
        say.problem(problem)
    if any(problem.is_error for problem in problems):
        return 1
    udp_sockets = native.cores() if engine is not None else 1
    try:
        become = _become(config, say)
    except PrivilegeError as error:
        say(str(error))
        return 1
    _allow_descriptors(config, udp_sockets * len(config.addresses), say)
    given, remarks = activation.sockets(config.control.addresses)
    for remark in remarks:
        say(remark)
    predecessor = None
    are_lent = bool(given)
    if not given:
        predecessor = takeover.ask(_keys(config), None if become is None else become.uid)
    if predecessor is not None:
        given, are_lent = predecessor.taken, predecessor.are_lent
    bounds: list[Bound] = []
    try:
        bounds = bind_all(config.addresses, config.limits.udp_receive_buffer_octets, udp_sockets, given)
        control = bind_tcp(config.control.addresses, given)
        if become is not None:
            settings, shown = _dropped(config, become, secret, say)
    except (BindError, PrivilegeError) as error:
        say(str(error))
        for bound in bounds:
            bound.close()
        if predecessor is not None:
            predecessor.leave()
        return 1
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        served = (bounds, control, are_lent)
        run = _Run(config, settings, shown, secret, *served, say, reread, predecessor, engine, why)
        return asyncio.run(run.run())
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
        are_lent: bool,
        say: Sayer,
        reread: Reread | None,
        predecessor: takeover.Predecessor | None,
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
        self._keeper = Keeper(config, shown, server_id(config), self._served, say, self._changed)
        self._library = Library(config, settings, self._served, self._keeper)
        calls = _peer_calls() if control else None
        listens = tuple(bound.listen for bound in bounds)
        self._challenger = Challenger(config, shown, server_id(config), self._served, say, listens, calls)
        self._reloader = Reloader(self._library, say, self._notifier, self._reread, self._status)
        self._clerks: Clerks | None = None
        self._listeners: Listeners = (
            PythonListeners(bounds, config.limits, self._served, self._lost)
            if engine is None
            else native.NativeListeners(bounds, config.limits, engine, self._served, self._lost)
        )
        self._observer = Observer(self._listeners, self._library, self._served, server_id(config), say)
        self._facts = Gatherer(
            self._library,
            self._keeper,
            self._listeners,
            "python" if engine is None else "native",
            self._not_ready,
            self._observer.writers,
        )
        self._acme: AcmePaths | None = None
        self._control = self._control_app(shown.own, config.limits) if control else None
        self._predecessor = predecessor
        sockets = {key: one for bound in bounds for key, one in bound.sockets().items()}
        sockets |= {
            ("control", listen): one for listen, one in zip(config.control.addresses, control, strict=True)
        }
        self._are_lent = are_lent
        self._handover = takeover.Handover(sockets, are_lent, self._keeper.save, self._begin_drain)
        self._succeeding: asyncio.Task[None] | None = None
        self._is_draining = False
        self._is_serving = False
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
        await self._challenger.start()
        if self._control is not None and self._predecessor is None:
            # /readyz is answered from the beginning; one that is taken over from answers until we serve
            await self._control.start(self._control_sockets)
        first = loop.run_in_executor(None, self._library.load)
        await asyncio.wait((stopped, asyncio.ensure_future(first)), return_when=asyncio.FIRST_COMPLETED)
        if not first.done():
            self._library.stop()
            self._keeper.interrupt()
            await first
            await self._stop_watching()
            return 0
        if not first.result():
            await self._stop_watching()
            return 1
        await self._start()
        tasks = [asyncio.create_task(self._reloader.run()), asyncio.create_task(self._watchdog())]
        await asyncio.wait([stopped, *tasks], return_when=asyncio.FIRST_COMPLETED)
        await self._stop(tasks)
        return self._code

    async def _start(self) -> None:
        self._observer.start()
        await self._listeners.start()
        self._is_serving = True
        if self._control is not None:
            self._control.is_serving = True
            if self._predecessor is not None:
                await self._control.start(self._control_sockets)
        if self._predecessor is None:
            self._handover.start()
        zones = len(self._library.zones)
        if not zones:
            self._say(f"no zone is served: there is no good zone file in {self._library.config.zones}")
        where = ", ".join(str(bound.listen) for bound in self._bounds)
        self._say(
            f"ready: {zones} zones on {where} (engine {self._which})",
            "ready",
            zones=zones,
            listen=[str(bound.listen) for bound in self._bounds],
            engine=self._which.partition(":")[0],
        )
        self._told = self._status()
        self._notifier.ready(self._told)
        if self._predecessor is not None:
            self._succeeding = asyncio.create_task(self._succeed(self._predecessor))

    async def _succeed(self, predecessor: takeover.Predecessor) -> None:
        """We serve: the process whose sockets we have may end, and another one may have them of us."""
        who = takeover.named(predecessor.pid)
        self._say(f"took over from {who}", "takeover", process=predecessor.pid)
        if not await asyncio.to_thread(predecessor.end):
            self._say(f"{who} has not said that it ended")
        self._handover.start()

    def _begin_drain(self, pid: int) -> None:
        self._say(f"{takeover.named(pid)} has taken over", "takeover", process=pid)
        self._is_draining = True
        self._stopping.set()

    async def _stop(self, tasks: list[asyncio.Task[None]]) -> None:
        self._notifier.stopping()
        self._library.stop()
        if self._is_draining:
            await self._listeners.drain()
        elif self._are_lent:
            # Shutting a socket down ends it for all who have it, and the service manager keeps these for the
            # next start.
            await self._listeners.drain(patience_seconds=0)
        else:
            await self._listeners.stop()
        await asyncio.to_thread(self._observer.stop)
        await self._stop_watching()
        if self._succeeding is not None:
            self._succeeding.cancel()
        self._handover.stop()
        for task in tasks:
            if task.done() and not task.cancelled() and task.exception():
                self._say(f"reloading failed, a bug of geodns: {task.exception()!r}")
                self._code = 1
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _stop_watching(self) -> None:
        """End what shows what is up, and what finds it out."""
        if self._control is not None:
            await self._control.stop()
        if self._clerks is not None:
            await self._clerks.stop()
        await self._challenger.stop()
        await self._keeper.stop()

    async def _watchdog(self) -> None:
        """Signs of life, as long as the threads that answer live and this loop turns."""
        seconds = self._notifier.watchdog_seconds
        while seconds and self._listeners.is_alive:
            self._notifier.alive()
            await asyncio.sleep(seconds)
        await self._stopping.wait()

    def _control_app(self, token: str | None, limits: Limits) -> "ControlApp":
        # aiohttp and what explains take 0.3 s and 30 MB: not for those who have no endpoint
        from geodns.control import metrics, traffic
        from geodns.control.acme import AcmePaths
        from geodns.control.api import Api
        from geodns.control.app import ControlApp
        from geodns.control.page import Page
        from geodns.control.worldmap import MapPaths
        from geodns.server.atlas import AtlasError, AtlasMaker
        from geodns.server.clerks import Clerks
        from geodns.server.desk import Desk

        self._clerks = Clerks(self._say, lambda: self._library.config.limits)
        desk = Desk(self._library, self._keeper, self._served, self._reloader, self._clerks)
        self._acme = AcmePaths(self._challenger, token)

        def snapshot() -> Snapshot:
            if self._is_draining:  # there is none any more that may be looked at
                raise AtlasError("the server ends")
            return self._served.snapshot

        page = Page()
        atlas = AtlasMaker(lambda: self._library.config)
        routes = [
            *page.routes(),
            *MapPaths(snapshot, atlas.divide, AtlasError).routes(),
            *Api(desk).routes(),
            *self._acme.routes(),
            *traffic.routes(self._observer.recent, lambda: server_id(self._library.config)),
            *metrics.routes(self._facts.gather, self._not_ready),
        ]
        app = ControlApp(self._keeper, token, self._say.rarely, routes, limits, page.paths)
        app.own_guard = self._acme.own_guard
        return app

    def _not_ready(self, for_any_zone: bool = False) -> str:
        """Why queries should not come here; "" when they should."""
        if self._is_draining or self._stopping.is_set():
            return "the server ends"
        if not self._is_serving:
            return "the zones are not loaded yet"
        if self._library.files and not self._library.zones:
            return "there is no good version of any zone"
        failed = len(self._library.files) - len(self._library.zones)
        if for_any_zone and failed:
            return f"there is no good version of {failed} of the zones"
        return ""

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

    def _reread(self) -> tuple[Config | None, list[Problem]]:
        """The config for a reload, None when it can not be taken, and its problems, which were said."""
        old = self._library.config
        if self._reread_config is None:
            return old, []
        config, problems = self._reread_config()
        if config is not None:
            settings, shown, more = _settings(config, self._secret)
            problems = problems + more
        for problem in problems:
            self._say.problem(problem)
        if config is None or any(problem.is_error for problem in problems):
            self._say("the config was not taken up; the one before holds, and nothing was loaded")
            return None, problems
        takes_restart = (config.addresses, config.engine, config.control.addresses)
        if takes_restart != (old.addresses, old.engine, old.control.addresses):
            what = "a changed listen, control.listen or engine takes a restart"
            self._say(f"{what}; the rest of the config was taken up")
        self._library.configure(config, settings)
        self._keeper.configure(config, shown, server_id(config))
        self._challenger.configure(config, shown, server_id(config))
        if self._control is not None and self._acme is not None:
            self._control.token = self._acme.token = shown.own
            self._control.own_guard = self._acme.own_guard
            self._control.limits = config.limits
        self._listeners.limit(config.limits)
        self._observer.configure(config, server_id(config))
        self._say.form = config.log.format
        return config, problems


def _become(config: Config, say: Sayer) -> Account | None:
    """Whom to become; None for a process that is not root's, or stays it. Raises PrivilegeError."""
    user = config.server.user
    if os.geteuid() != 0:
        if user is not None and user not in (str(os.geteuid()), _user_name()):
            raise PrivilegeError(f"only root can become {user} (server.user), and this is {_user_name()}")
        return None
    if user is None:
        if any(listen.port < PRIVILEGED_PORTS for listen in config.addresses if listen.port):
            say("everything runs as root: server.user says whom to become once the addresses are bound")
        return None
    return account(user, config.server.group)


def _user_name() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def _dropped(config: Config, become: Account, secret: bytes, say: Sayer) -> tuple[Settings, Tokens]:
    """Become somebody else, and read again, as that one, what a reload will read. Raises PrivilegeError."""
    own(config.state, become)
    drop(become)
    settings, shown, problems = _settings(config, secret)
    for problem in problems:
        say.problem(problem)
    if any(problem.is_error for problem in problems):
        raise PrivilegeError(f"{become.name} (server.user) has to be able to read these files at a reload")
    say(f"root's privileges are given up: this is {become.name} now")
    return settings, shown


def _peer_calls() -> "PeerCalls":
    # aiohttp takes 0.2 s and 15 MB: not for those who have no endpoint
    from geodns.control.peers import PeerCalls

    return PeerCalls()


def _keys(config: Config) -> list[takeover.Key]:
    """The sockets that this config asks for."""
    keys = [(kind, listen) for listen in config.addresses for kind in (*UDP_KINDS, "tcp")]
    return keys + [("control", listen) for listen in config.control.addresses]


def _settings(config: Config, secret: bytes) -> tuple[Settings, Tokens, list[Problem]]:
    secrets, problems = cookie_secrets(config)
    shown, more = tokens(config)
    hostname = socket.gethostname() if config.server.hostname is None else config.server.hostname
    identity = Identity(
        server_id=server_id(config).encode(),
        hostname=hostname.encode(),
        version=(VERSION_TOLD if config.server.version is None else config.server.version).encode(),
    )
    return Settings(identity, secrets or (secret,), rate_limits(config, _RRL_KEY)), shown, problems + more


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
    wanted += config.limits.http_connections
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
