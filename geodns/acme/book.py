"""The Book: every value that is set, every account; what is refused, what expires, what peers bring."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from geodns.acme import accounts, words
from geodns.acme.accounts import Account
from geodns.acme.words import Change, Refused, rdata
from geodns.name import Name

SECONDS_DEFAULT = 3600.0  # of a challenge: a CA looks within minutes, and a hook that dies clears nothing
SECONDS_MIN = 60.0  # less may end before the CA has looked
SECONDS_MAX = (
    86_400.0  # an order's validation takes no longer (RFC 8555 has no bound; Let's Encrypt has 7 days)
)
ACCOUNT_SECONDS = 366 * 86_400.0  # of a value set by an account: acme-dns keeps it until the next ones come
ACCOUNT_VALUES = 2  # of an account's subdomain, as acme-dns: the apex and the wildcard of one certificate
VALUES_MAX = 8  # of one name, in an answer of 450 octets: several clients may renew at once
NAMES_MAX = 1000  # with a value set, beside those of accounts
ACCOUNTS_MAX = 1000  # each costs 300 octets, and two values
CHANGES_MAX = 20_000  # with those that were cleared and are not over: 4 MB
AHEAD_SECONDS = 300.0  # a peer's clock may be ahead of ours
CHANGES_PER_SECOND = 5.0  # each publishes a snapshot, in a millisecond or, with 100,000 names, in ten
CHANGES_AT_ONCE = 200.0
REGISTRATIONS_PER_SECOND = 0.1
REGISTRATIONS_AT_ONCE = 20.0


@dataclass(slots=True)
class Bucket:
    """So many at once, and so many a second in the long run."""

    per_second: float
    at_once: float
    level: float = 0.0
    at: float = 0.0

    def take(self, now: float, what: str) -> None:
        """One more now. Raises Refused when it is one too many."""
        self.level = max(0.0, self.level - max(0.0, now - self.at) * self.per_second)
        self.at = now
        if self.level + 1 > self.at_once:
            raise Refused(429, f"too many {what}: at most {self.per_second:g} a second; try again later")
        self.level += 1


class Book:
    """All times are Unix seconds. `zone` is where accounts have their subdomains; None: there are none."""

    def __init__(self, zone: Name | None = None) -> None:
        self.zone = zone
        self.accounts: dict[str, Account] = {}  # by user
        self._changes: dict[tuple[bytes, str], Change] = {}
        self._setting = Bucket(CHANGES_PER_SECOND, CHANGES_AT_ONCE)
        self._registering = Bucket(REGISTRATIONS_PER_SECOND, REGISTRATIONS_AT_ONCE)

    # What is answered

    def live(self, now: float) -> list[Change]:
        """The values that are set, by name, the newest of a name last."""
        found = [change for change in self._changes.values() if change.is_set and now < change.until]
        return sorted(found, key=lambda change: (change.owner, change.at, change.value))

    def texts(self, now: float) -> dict[bytes, tuple[bytes, ...]]:
        """What `table.overlay` is to serve."""
        found: dict[bytes, list[bytes]] = {}
        for change in self.live(now):
            found.setdefault(change.owner, []).append(rdata(change.value))
        return {owner: tuple(datas[-self._values_max(owner) :]) for owner, datas in found.items()}

    # Changes

    def set(self, owner: bytes, value: str, seconds: float, now: float) -> Change:
        """Set one more value of a name. Raises Refused."""
        if not SECONDS_MIN <= seconds <= SECONDS_MAX:
            raise Refused(400, f"a challenge lasts {SECONDS_MIN:g} to {SECONDS_MAX:g} seconds")
        self._setting.take(now, "challenges")
        live = self.live(now)
        others = [change for change in live if change.owner == owner and change.value != value]
        if len(others) >= VALUES_MAX:
            raise Refused(409, f"{Name(owner)} has {VALUES_MAX} values already: clear some")
        names = {change.owner for change in live if not self._is_of_account(change.owner)}
        if len(names - {owner}) >= NAMES_MAX:
            raise Refused(409, f"{NAMES_MAX:,} names have a challenge already: clear some")
        return self._put(owner, value, True, now, now + seconds)

    def clear(self, owner: bytes, value: str | None, now: float) -> list[Change]:
        """Clear a value of a name, or with None all of them; none that are not set."""
        return [
            self._put(owner, change.value, False, now, change.until)
            for change in self.live(now)
            if change.owner == owner and value in (None, change.value)
        ]

    def update(self, account: Account, value: str, now: float) -> list[Change]:
        """Set a value of an account's subdomain; the oldest goes, as with acme-dns. Raises Refused."""
        self._setting.take(now, "challenges")
        owner = self.owner_of(account)
        others = [change for change in self.live(now) if change.owner == owner and change.value != value]
        surplus = others[: max(0, len(others) + 1 - ACCOUNT_VALUES)]
        gone = [self._put(owner, change.value, False, now, change.until) for change in surplus]
        return [*gone, self._put(owner, value, True, now, now + ACCOUNT_SECONDS)]

    def register(self, allow_from: list[accounts.Network], now: float) -> tuple[Account, str]:
        """A new account and its key. Raises Refused."""
        self._registering.take(now, "registrations")
        if len(self.accounts) >= ACCOUNTS_MAX:
            raise Refused(409, f"there are {ACCOUNTS_MAX:,} accounts already")
        account, key = accounts.make_account(allow_from, now)
        self.accounts[account.user] = account
        return account, key

    def owner_of(self, account: Account) -> bytes:
        """The name whose values an account sets."""
        assert self.zone is not None
        return self.zone.child(account.subdomain.encode()).key

    def _put(self, owner: bytes, value: str, is_set: bool, now: float, until: float) -> Change:
        known = self._changes.get((owner, value))
        if known is None and len(self._changes) >= CHANGES_MAX:
            raise Refused(409, f"{CHANGES_MAX:,} values were set and are not over: try again later")
        at = now if known is None else max(now, known.at + 0.001)  # later than what it replaces
        change = self._changes[owner, value] = Change(owner, value, is_set, at, until)
        return change

    def _is_of_account(self, owner: bytes) -> bool:
        return self.zone is not None and owner.endswith(self.zone.key) and Name(owner).parent() == self.zone

    def _values_max(self, owner: bytes) -> int:
        return ACCOUNT_VALUES if self._is_of_account(owner) else VALUES_MAX

    # Time, peers and files

    def expire(self, now: float) -> bool:
        """Forget what is over; whether something was answered until now."""
        over = [change for change in self._changes.values() if change.until <= now]
        for change in over:
            del self._changes[change.owner, change.value]
        return any(change.is_set for change in over)

    def merge(self, changes: Iterable[Change], theirs: Iterable[Account], now: float) -> bool:
        """Take over what a peer or a file has and we have not; whether there was something."""
        is_new = False
        for change in changes:
            until = min(change.until, now + ACCOUNT_SECONDS)
            change = replace(change, at=min(change.at, now + AHEAD_SECONDS), until=until)
            known = self._changes.get((change.owner, change.value))
            has_room = known is not None or len(self._changes) < CHANGES_MAX
            if until > now and has_room and (known is None or _order(known) < _order(change)):
                self._changes[change.owner, change.value] = change
                is_new = True
        for account in theirs:
            if account.user not in self.accounts and len(self.accounts) < ACCOUNTS_MAX:
                self.accounts[account.user] = account
                is_new = True
        return is_new

    def to_json(self) -> dict[str, Any]:
        """Everything, as `parse` reads it."""
        return {
            "changes": [words.to_json(change) for change in self._changes.values()],
            "accounts": [accounts.to_json(account) for account in self.accounts.values()],
        }


def parse(given: Any) -> tuple[list[Change], list[Account]]:
    """The changes and accounts of what `to_json` made, of whatever comes. Raises Refused."""
    if not isinstance(given, dict) or not given.keys() <= {"changes", "accounts"}:
        raise Refused(400, "what is told of challenges has changes and accounts")
    changes, found = given.get("changes", []), given.get("accounts", [])
    if not isinstance(changes, list) or not isinstance(found, list):
        raise Refused(400, "changes and accounts are lists")
    if len(changes) > CHANGES_MAX or len(found) > ACCOUNTS_MAX:
        raise Refused(400, f"at most {CHANGES_MAX:,} changes and {ACCOUNTS_MAX:,} accounts")
    return [words.from_json(item) for item in changes], [accounts.from_json(item) for item in found]


def _order(change: Change) -> tuple[float, bool, float]:
    """Of two changes of one value the greater counts; equal ones are the same."""
    return change.at, not change.is_set, change.until
