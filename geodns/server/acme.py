"""ACME challenges while the server runs: everything around `acme.book.Book` that is not a decision.

    control endpoint --set, clear, register, update--> Book --texts--> Served (table.overlay)
    peers <--PUT /v1/acme/state, GET every 2 s-->      Book <--> state/acme-ID.json

What is set here goes to the peers at once, and every instance asks itself over DNS whether it answers so,
before it says that it does. A peer that was away gets what it missed when it asks us.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dns.exception
import dns.flags
import dns.message
import dns.name

from geodns.acme import accounts, state, words
from geodns.acme.book import SECONDS_DEFAULT, Book, parse
from geodns.acme.words import Change, Refused, checked_value
from geodns.config import Acme, Config, Listen, Tokens
from geodns.control.document import Document, document
from geodns.name import Name
from geodns.server.files import Fingerprint, fingerprint_of
from geodns.server.say import Sayer
from geodns.server.served import Served
from geodns.table.overlay import Misplaced, place

if TYPE_CHECKING:
    from geodns.control.peers import PeerCalls

LOOK_SECONDS = 1.0  # between looks at the clock and the state file
SYNC_SECONDS = 2.0  # between questions to a peer; one that came back has what it missed within it
ANSWER_SECONDS = 1.0  # for our own answer to a question of our own; it takes a millisecond
ANSWER_TRIES = 3

_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # where to ask a server that listens on all addresses


class Challenger:
    """All methods are for the event loop's thread; what the control endpoint asks raises Refused."""

    def __init__(
        self,
        config: Config,
        tokens: Tokens,
        server_id: str,
        served: Served,
        say: Sayer,
        listens: tuple[Listen, ...],
        calls: "PeerCalls | None",
    ) -> None:
        """`calls` is how peers are asked; None without a control endpoint, where they ask us."""
        self._served = served
        self._say = say
        self._listens = listens
        self._calls = calls
        self._book = Book()
        self._publishing = asyncio.Lock()
        self._saving = asyncio.Lock()
        self._file: tuple[Path, Fingerprint] | None = None  # as we read or wrote it last
        self._is_writable = True
        self._document: Document | None = None  # what peers were told last, as long as it is so
        self._etags: dict[str, str] = {}  # by a peer's URL, of what it told last
        self._tasks: list[asyncio.Task[None]] = []
        self.configure(config, tokens, server_id)

    # The life of it

    def configure(self, config: Config, tokens: Tokens, server_id: str) -> None:
        """Go by another config from now on."""
        self._config, self._server_id = config, server_id
        self._peers = [
            (peer.url, token or "") for peer, token in zip(config.peers, tokens.peers, strict=True)
        ]
        self._book.zone = config.acme.apex

    async def start(self) -> None:
        """Read what was saved; it is served with the first zones."""
        await self._read()
        self._tasks = [asyncio.create_task(self._forever(LOOK_SECONDS, self._look))]
        if self._calls is not None:
            self._tasks.append(asyncio.create_task(self._forever(SYNC_SECONDS, self._sync)))

    async def stop(self) -> None:
        """Never raises; everything was saved when it was set."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._calls is not None:
            await self._calls.close()

    # What the control endpoint asks

    @property
    def settings(self) -> Acme:
        """The config's."""
        return self._config.acme

    def live(self) -> dict[str, Any]:
        """The challenges that are answered, for people."""
        now = time.time()
        rows = []
        for change in self._book.live(now):
            row = {"name": str(Name(change.owner)), "value": change.value, "until": change.until}
            try:
                path = place(self._served.base, change.owner)
                row["served_at"] = str(Name(path[-1]))
            except Misplaced as error:
                row["trouble"] = str(error)
            rows.append(row)
        return {"id": self._server_id, "at": now, "challenges": rows, "accounts": len(self._book.accounts)}

    async def put(self, name: str, value: Any, seconds: float = SECONDS_DEFAULT) -> dict[str, Any]:
        """Set a challenge here and at the peers; what came of it."""
        owner = words.owner_of(name).key
        value = checked_value(value)
        try:
            place(self._served.base, owner)
        except Misplaced as error:
            raise Refused(409, str(error)) from None
        change = self._book.set(owner, value, seconds, time.time())
        return await self._spread(owner, [change])

    async def clear(self, name: str, value: Any = None) -> dict[str, Any]:
        """Clear a value, or with None all of a name's, here and at the peers; what came of it."""
        owner = words.owner_of(name).key
        value = None if value is None else checked_value(value)
        return await self._spread(owner, self._book.clear(owner, value, time.time()))

    async def register(self, allow_from: list[accounts.Network]) -> dict[str, Any]:
        """A new account, in the words of acme-dns."""
        self._check_zone()
        account, key = self._book.register(allow_from, time.time())
        await self._save()
        await self._tell_peers({"accounts": [accounts.to_json(account)]})
        name = str(Name(self._book.owner_of(account))).rstrip(".")
        return {
            "username": account.user,
            "password": key,
            "fulldomain": name,
            "subdomain": account.subdomain,
            "allowfrom": list(account.allow_from),
        }

    async def update(self, user: str, key: str, address: str, subdomain: Any, value: Any) -> dict[str, Any]:
        """Set a value of an account's subdomain, as acme-dns does. `address` is whose request it is."""
        account = self._book.accounts.get(user)
        is_allowed = accounts.opens(account, key)
        if account is None or not is_allowed or account.subdomain != subdomain:
            raise Refused(401, "this is not the user, the key and the subdomain of an account")
        if account.allow_from and not accounts.is_within(address, accounts.networks([*account.allow_from])):
            raise Refused(401, "this account may not be used from this address")
        value = checked_value(value)
        self._check_zone()
        owner = self._book.owner_of(account)
        changes = self._book.update(account, value, time.time())
        await self._spread(owner, changes)
        return {"txt": value}

    def _check_zone(self) -> None:
        """In one zone with the alias, the answer would hold what was there when it was compiled."""
        zone = self._book.zone
        if zone is None or zone.key not in self._served.base.zones:
            raise Refused(409, f"acme.zone ({zone}) has no good zone file of its own")

    def state(self) -> Document:
        """Everything, for peers."""
        if self._document is None:
            self._document = document(self._book.to_json())
        return self._document

    async def merge(self, given: Any) -> dict[str, Any]:
        """Take over what a peer says, and say whether we answer so."""
        changes, theirs = parse(given)
        if self._book.merge(changes, theirs, time.time()):
            await self._take_up()
        return await self._own_report(changes)

    # Publishing and saving

    async def _spread(self, owner: bytes, changes: list[Change]) -> dict[str, Any]:
        """Serve the changes, tell the peers, and report how every instance answers."""
        if changes:
            await self._take_up()
        told = {"changes": [words.to_json(change) for change in changes]}
        own, others = await asyncio.gather(self._own_report(changes), self._tell_peers(told))
        report: dict[str, Any] = {"name": str(Name(owner)), "instances": [own, *others]}
        report["changed"] = len(changes)
        if changes and changes[-1].is_set:
            report["until"] = changes[-1].until
        with suppress(Misplaced):
            report["served_at"] = str(Name(place(self._served.base, owner)[-1]))
        return report

    async def _take_up(self) -> None:
        async with self._publishing:
            await asyncio.to_thread(self._served.challenge, self._book.texts(time.time()))
        await self._save()

    async def _save(self) -> None:
        self._document = None
        path = state.state_path(self._config, self._server_id)
        async with self._saving:
            problems = await asyncio.to_thread(state.write, path, self._book.to_json())
            self._file = (path, await asyncio.to_thread(fingerprint_of, str(path)))
        if problems and self._is_writable:
            self._say(f"{problems[0]}; challenges and accounts are not saved, and a restart forgets them")
        self._is_writable = not problems

    async def _read(self) -> None:
        """Take over what the file has, which a process that we follow may have written meanwhile."""
        path = state.state_path(self._config, self._server_id)
        self._file = (path, await asyncio.to_thread(fingerprint_of, str(path)))
        changes, theirs, problems = await asyncio.to_thread(state.read, path)
        for problem in problems:
            aside = path.with_name(path.name + state.BROKEN)
            with suppress(OSError):
                path.replace(aside)
            self._say(f"{problem}; it was moved to {aside}, and the challenges known so far hold")
        if self._book.merge(changes, theirs, time.time()):
            self._document = None
            async with self._publishing:
                await asyncio.to_thread(self._served.challenge, self._book.texts(time.time()))

    # Time and peers

    async def _forever(self, seconds: float, work: Callable[[], Any]) -> None:
        while True:
            try:
                await work()
            except Exception as error:
                self._say.rarely("acme", f"challenges: {type(error).__name__}: {error}; a bug of geodns")
            await asyncio.sleep(seconds)

    async def _look(self) -> None:
        path = state.state_path(self._config, self._server_id)
        now = (path, await asyncio.to_thread(fingerprint_of, str(path)))
        if now != self._file and not self._saving.locked():
            await self._read()
        if self._book.expire(time.time()):
            await self._take_up()

    async def _sync(self) -> None:
        """Take over what the peers have."""
        assert self._calls is not None
        for url, token in self._peers:
            got = await self._calls.get(url, token, self._etags.get(url, ""))
            if got is None:
                continue
            given, etag = got
            try:
                changes, theirs = parse(given)
            except Refused as error:
                self._say.rarely(f"acme {url}", f"what {url} tells of challenges is not taken: {error}")
                continue
            self._etags[url] = etag
            if self._book.merge(changes, theirs, time.time()):
                await self._take_up()

    async def _tell_peers(self, told: dict[str, Any]) -> list[dict[str, Any]]:
        """Tell every peer, all at once; what each says of it."""
        if self._calls is None:
            return []
        return list(await asyncio.gather(*(self._tell_peer(url, token, told) for url, token in self._peers)))

    async def _tell_peer(self, url: str, token: str, told: dict[str, Any]) -> dict[str, Any]:
        """Tell a peer, each change by itself, as a request has a limit; the first that fails is reported."""
        assert self._calls is not None
        report = {"id": url, "ok": True, "detail": ""}
        for kind, items in told.items():
            for item in items:
                report = {**await self._calls.put(url, token, {kind: [item]}), "peer": url}
                if not report["ok"]:
                    return report
        return report

    # Does this instance answer so?

    async def _own_report(self, changes: Iterable[Change]) -> dict[str, Any]:
        """Ask ourselves over DNS: whether every value that is set is answered, and none that is cleared."""
        detail = ""
        by_owner: dict[bytes, list[Change]] = {}
        for change in changes:
            by_owner.setdefault(change.owner, []).append(change)
        for owner, some in by_owner.items():
            detail = detail or await self._judge(owner, some)
        return {"id": self._server_id, "ok": not detail, "detail": detail}

    async def _judge(self, owner: bytes, changes: list[Change]) -> str:
        """Why this instance does not answer for a name as these changes say; "" when it does."""
        try:
            at = place(self._served.base, owner)[-1]
        except Misplaced as error:
            return str(error) if any(change.is_set for change in changes) else ""
        try:
            values = await self._ask(at)
        except (dns.exception.DNSException, OSError, EOFError) as error:
            return f"it does not answer over DNS: {str(error) or type(error).__name__}"
        served = self._book.texts(time.time()).get(owner, ())
        for change in changes:
            wanted = words.rdata(change.value) in served
            if (change.value.encode() in values) is not wanted:
                return f"it does not answer so yet for {Name(at)}"
        return ""

    async def _ask(self, name: bytes) -> set[bytes]:
        """The TXT values that we answer with."""
        import dns.asyncquery  # takes 50 ms: not for those who set no challenge

        listen = self._listens[0]
        host = _EVERYWHERE.get(listen.host, listen.host)
        query = dns.message.make_query(dns.name.from_wire(name, 0)[0], "TXT")
        query.flags &= ~dns.flags.RD  # an authoritative server is asked, not a resolver
        for tries_left in reversed(range(ANSWER_TRIES)):
            try:
                answer, _ = await dns.asyncquery.udp_with_fallback(
                    query, host, timeout=ANSWER_SECONDS, port=listen.port
                )
                break
            except dns.exception.Timeout:
                if not tries_left:
                    raise
        return {b"".join(rdata.strings) for rrset in answer.answer for rdata in rrset if rdata.rdtype == 16}
