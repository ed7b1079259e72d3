"""The main config: where to listen, which zones, which databases, and every limit by name.

    geodns.yaml -> nodes with positions -> Config (pydantic), or Problems with file:line:column

A path in the file is relative to the file's own folder. Without a file the defaults below hold, which is
`./zones` with `./geo-db` on 127.0.0.1:5301.
"""

import difflib
import glob
import os
import re
import stat
from dataclasses import dataclass, field, replace
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from geodns.engine import snapshot
from geodns.engine.cookie import SECRET_OCTETS
from geodns.geo import overrides
from geodns.name import BadName, Name
from geodns.problems import Problem, Severity
from geodns.zone import source

CONFIG_NAME = "geodns.yaml"  # what `load_config` looks for in the working directory
CONFIG_OCTETS_MAX = 1 << 20  # a config of a megabyte is some other file
SECRET_FILE_OCTETS_MAX = 1 << 16  # some secrets, with a page of comments
DNS_PORT = 53  # RFC 1035 section 4.2
CONTROL_PORT = 5380  # of our own choice: nothing is registered there
TOKEN_OCTETS_MIN = 16  # of a token: what can not be guessed; openssl rand -hex 16 makes 32
DEFAULT_LISTEN = "127.0.0.1:5301"
DEFAULT_DATABASES = "geo-db/*.mmdb"
OVERRIDES_NAME = "overrides"
OPEN = "everybody"  # in acme.allow_register
_NUMBER = r"([0-9]+(?:\.[0-9]+)?)"
_DURATION = re.compile(rf"(?:{_NUMBER}d)?(?:{_NUMBER}h)?(?:{_NUMBER}m)?(?:{_NUMBER}s?)?")
_ESCAPED = re.compile(r"\[([*?[])\]")  # as glob.escape does it


@dataclass(frozen=True, slots=True)
class Listen:
    """An address to listen on, with UDP and TCP. Port 0: the system picks one (for tests)."""

    host: str  # numeric; an IPv6 address may have a scope id
    port: int

    @property
    def is_v6(self) -> bool:
        return ":" in self.host

    @property
    def is_wildcard(self) -> bool:
        return self.host in ("0.0.0.0", "::")

    @property
    def is_loopback(self) -> bool:
        return ip_address(self.host).is_loopback

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if self.is_v6 else f"{self.host}:{self.port}"


def parse_listen(text: str, usual_port: int = DNS_PORT) -> tuple[Listen, ...]:
    """The addresses that `ADDR:PORT`, `[v6]:PORT` or `localhost:PORT` means; the port may be left out.

    `0.0.0.0` is every IPv4 address of the machine and `[::]` every IPv6 address, neither of them both, so
    that they can stand beside each other. Raises ValueError with a sentence for the user.
    """
    host, port_text = _split_host(text.strip(), text)
    port = usual_port
    if port_text is not None:
        if not (port_text.isascii() and port_text.isdigit() and int(port_text) <= 65535):
            raise ValueError(f'"{port_text}" in "{text}" is not a port (0 to 65535)')
        port = int(port_text)
    if host.lower() == "localhost":
        return (Listen("127.0.0.1", port), Listen("::1", port))
    if host == "*":
        raise ValueError(
            f'"{text}": write 0.0.0.0:{port} for every IPv4 address and [::]:{port} for every IPv6 one'
        )
    try:
        address = ip_address(host)
    except ValueError:
        raise ValueError(f'"{host}" in "{text}" is not an IP address (or localhost)') from None
    if address.is_multicast:
        raise ValueError(f'"{host}" is a multicast address: no server can answer from it')
    return (Listen(str(address), port),)


def _split_host(text: str, whole: str) -> tuple[str, str | None]:
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ValueError(f'"{whole}" is not of the form [IPv6 address]:PORT')
        if ":" not in host:
            raise ValueError(f'"{host}" in "{whole}" is in brackets, but is not an IPv6 address')
        return host, rest[1:] if rest else None
    if text.count(":") > 1:
        raise ValueError(f'"{whole}": an IPv6 address stands in brackets, as in [::1]:5301')
    host, colon, port = text.partition(":")
    return host, port if colon else None


def _checked_listen(values: list[str]) -> list[str]:
    listens = [listen for value in values for listen in parse_listen(value)]
    if not listens:
        raise ValueError("there is no address to listen on")
    _check_distinct(listens)
    return values


def _checked_control(values: list[str]) -> list[str]:
    _check_distinct([listen for value in values for listen in parse_listen(value, CONTROL_PORT)])
    return values


def _check_distinct(listens: list[Listen]) -> None:
    for at, listen in enumerate(listens):
        for other in listens[at + 1 :]:
            if listen.port and listen.port == other.port and listen.is_v6 == other.is_v6:
                if listen.host == other.host:
                    raise ValueError(f"{listen} is listed twice")
                if listen.is_wildcard or other.is_wildcard:
                    every, one = (listen, other) if listen.is_wildcard else (other, listen)
                    raise ValueError(
                        f"{one} is already part of {every}, which is every address of the machine"
                    )


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _checked_secret(value: str) -> str:
    try:
        octets = len(bytes.fromhex(value))
    except ValueError:
        octets = 0
    if octets != SECRET_OCTETS:
        # the value itself is not told: it may be a secret with a typing error
        raise ValueError(f"a cookie secret is {2 * SECRET_OCTETS} hexadecimal digits (openssl rand -hex 16)")
    return value.lower()


def _checked_networks(values: list[str]) -> list[str]:
    for value in values:
        try:
            ip_network(value)
        except ValueError as error:
            raise ValueError(f'"{value}" is not a network such as 192.0.2.0/24: {error}') from None
    return values


Secret = Annotated[str, AfterValidator(_checked_secret)]
Strings = Annotated[list[str], BeforeValidator(_as_list)]
Text = Annotated[str, Field(max_length=255)]  # one character-string of a TXT record (RFC 1035 section 3.3)


Account = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*\$?$", max_length=32)]
"""A user or a group, by name or number."""


class _Part(BaseModel):
    # The validators are made when they are first used: those of Config contain those of the parts, which
    # nobody needs alone. So defaults, which are good, are made by `model_construct`.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, defer_build=True)


class Geo(_Part):
    """Where addresses are."""

    databases: Strings = Field(
        default=[DEFAULT_DATABASES],
        description="MaxMind-format files or patterns; each field comes from the first file that has it",
    )
    overrides: dict[str, str] = Field(
        default_factory=dict,
        description=f"prefix: geo code, or the word {overrides.DATABASE} for one that is not looked up",
    )


class Server(_Part):
    """What the server says of itself; an empty text is refused instead of told."""

    id: Text | None = Field(default=None, description="id.server and NSID; the hostname if left out")
    hostname: Text | None = Field(default=None, description="hostname.bind; the machine's name if left out")
    version: Text | None = Field(default=None, description='version.bind; "geodns" if left out')
    user: Account | None = Field(
        default=None, description="whom to become, started as root, once the addresses are bound"
    )
    group: Account | None = Field(default=None, description="its group; the user's own if left out")

    @model_validator(mode="after")
    def _no_group_alone(self) -> Self:
        if self.group is not None and self.user is None:
            raise ValueError("a group without a user: whom should it become?")
        return self


class Cookies(_Part):
    """Secrets of the DNS cookies (RFC 9018). Random at every start if left out.

    Servers that share one address (anycast, a load balancer) must share a secret; ns1 and ns2 need not.
    """

    secret_file: Path | None = Field(
        default=None, description="a file with one secret a line, readable by nobody else"
    )
    secret: Annotated[list[Secret], BeforeValidator(_as_list)] = Field(
        default_factory=list, description="the secret, or several: the first signs, all verify", max_length=4
    )

    require: Literal["never", "when_limited"] = Field(
        default="when_limited",
        description="when_limited: over a limit of rrl, a client with half a cookie is sent the other half "
        "(BADCOOKIE, RFC 7873 section 5.2.3) instead of to TCP",
    )

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if self.secret_file is not None and self.secret:
            raise ValueError("secret and secret_file exclude each other")
        return self


PerSecond = Annotated[int | None, Field(ge=0, le=50_000)]
"""Responses a second to one network."""


class Rrl(_Part):
    """Response rate limiting over UDP. Off as long as no rate is set, as in BIND and Knot DNS.

    What is too much depends on how many clients share a resolver's network, which no default knows.
    """

    responses_per_second: PerSecond = Field(
        default=None, description="of each class of response to one network; 0 and nothing: no limit"
    )
    nodata_per_second: PerSecond = Field(default=None, description="that many, of answers without a record")
    nxdomains_per_second: PerSecond = Field(default=None, description="likewise, of names that do not exist")
    referrals_per_second: PerSecond = Field(default=None, description="likewise, of referrals")
    errors_per_second: PerSecond = Field(
        default=None, description="likewise, of REFUSED, FORMERR, SERVFAIL and the like"
    )
    burst_seconds: int = Field(
        default=2, ge=1, le=10, description="a network that was quiet may have so many seconds' worth at once"
    )
    slip: int = Field(
        default=1,
        ge=0,
        le=10,
        description="of the answers over the limit each so manyth is sent empty with TC, so that whoever did "
        "ask comes by TCP; 1: all, since what is dropped helps those who forge answers, as in Knot DNS; "
        "0: none",
    )
    ipv4_prefix_bits: int = Field(default=24, ge=8, le=32, description="of a network that counts as one")
    ipv6_prefix_bits: int = Field(default=56, ge=16, le=64, description="of a network that counts as one")
    exempt: Annotated[Strings, AfterValidator(_checked_networks)] = Field(
        default_factory=list, description="networks that are not limited", max_length=1000
    )
    log_only: bool = Field(default=False, description="count and log what would be limited, and send it")


def parse_duration(text: str) -> float:
    """The seconds that `10`, `0.5s`, `5m`, `1h30m` or `2d` are. Raises ValueError with a sentence."""
    found = _DURATION.fullmatch(text.strip())
    if not found or not text.strip():
        raise ValueError(f'"{text}" is not a duration, such as 10, 0.5s, 5m or 1h30m')
    days, hours, minutes, seconds = (float(part or 0) for part in found.groups())
    return days * 86_400 + hours * 3600 + minutes * 60 + seconds


def _duration(value: object) -> object:
    return parse_duration(value) if isinstance(value, str) else value


Duration = Annotated[float, BeforeValidator(_duration)]
"""Seconds; written as a number of them, or with units: 10, 0.5s, 5m, 1h30m."""


class Health(_Part):
    """How values are checked, where a zone file does not say otherwise, and what checks may do."""

    interval: Duration = Field(default=10.0, ge=0.05, le=86_400, description="from check to check")
    timeout: Duration = Field(default=3.0, ge=0.01, le=300, description="of one check")
    rise: int = Field(default=2, ge=1, le=1000, description="successes in a row that bring a value up")
    fall: int = Field(default=3, ge=1, le=1000, description="failures that bring a value down")
    ok: int = Field(
        default=1, ge=1, le=1000, description="successes in a row that forget the failures counted so far"
    )
    jitter: float = Field(
        default=0.1, ge=0, le=1, description="share of the interval by which each check is moved at random"
    )
    source: Strings = Field(
        default_factory=list, description="addresses to check from, one for each family at most", max_length=2
    )
    startup_timeout: Duration = Field(
        default=2.0, ge=0, le=300, description="for the first round of checks, before anything is answered"
    )
    exec: bool = Field(default=False, description="whether zone files may have commands run as checks")
    external: Path | None = Field(
        default=None,
        description='a file that other tools write: lines of "NAME up [reason]" or "NAME down [reason]"',
    )
    probes_at_once: int = Field(
        default=500, ge=1, le=100_000, description="checks under way at a time; each is a file descriptor"
    )


class Control(_Part):
    """The HTTP endpoint of this instance, for `geodns status`, peers and other tools."""

    listen: Annotated[Strings, AfterValidator(_checked_control)] = Field(
        default_factory=list, description="ADDR:PORT or [v6]:PORT; nothing listens when there is none"
    )
    token_file: Path | None = Field(
        default=None,
        description="a file with the token that others show, readable by nobody else; needed for writing, "
        "and for everything when `listen` is no loopback address",
    )

    @property
    def addresses(self) -> tuple[Listen, ...]:
        """What `listen` means, in its order."""
        return tuple(listen for text in self.listen for listen in parse_listen(text, CONTROL_PORT))

    @model_validator(mode="after")
    def _token_where_others_reach_it(self) -> Self:
        for listen in self.addresses:
            if self.token_file is None and not listen.is_loopback:
                raise ValueError(f"others can reach {listen}: it needs a token_file, or a loopback address")
        return self


def _checked_url(value: str) -> str:
    if not re.fullmatch(r"https?://[^/\s]+/?", value):
        raise ValueError(f'"{value}" is not of the form http://ADDRESS:PORT')
    return value.rstrip("/")


class Peer(_Part):
    """Another instance of these nameservers, whose view of the values counts as much as ours."""

    url: Annotated[str, AfterValidator(_checked_url)] = Field(
        description="its control endpoint, such as http://192.0.2.2:5380"
    )
    token_file: Path | None = Field(default=None, description="a file with its token; ours if left out")


def _share(value: object) -> object:
    if isinstance(value, str) and value.strip().endswith("%"):
        try:
            return float(value.strip().removesuffix("%")) / 100
        except ValueError:
            raise ValueError(f'"{value}" is not a share, such as 1% or 0.01') from None
    return value


Share = Annotated[float, BeforeValidator(_share), Field(gt=0, le=1)]
"""Written as 0.01 or 1%."""


class Truncate(_Part):
    """How much of an address is kept; the other bits become 0."""

    v4: int = Field(default=32, ge=0, le=32, description="bits of an IPv4 address; 24 hides who it is")
    v6: int = Field(default=128, ge=0, le=128, description="bits of an IPv6 address; 56 hides who it is")

    def bits(self, family: int) -> int:
        """Of an address of the family, 4 or 6."""
        return self.v4 if family == 4 else self.v6


def _zone_text(value: str) -> str:
    return str(Name.parse(value))


class Log(_Part):
    """The lines on stderr."""

    format: Literal["auto", "text", "json"] = Field(
        default="auto", description="auto: text on a terminal, else a JSON object a line"
    )


class QueryLog(_Part):
    """A line of JSON for each query, or for some; off without a `file`."""

    file: Path | None = Field(default=None, description="where to; nothing is logged when left out")
    sample: Share = Field(default=1.0, description="how many of the queries, such as 1% or 0.01")
    zones: Annotated[
        list[str], BeforeValidator(_as_list), AfterValidator(lambda names: [*map(_zone_text, names)])
    ] = Field(default_factory=list, description="only queries to these zones", max_length=1000)
    rcodes: Strings = Field(default_factory=list, description="only answers with these, such as NXDOMAIN")
    places: Strings = Field(default_factory=list, description="only clients in these, such as EU or NA-US")
    truncate: Truncate = Field(default=Truncate.model_construct())
    rotate_octets: int = Field(
        default=100 << 20, ge=0, le=1 << 40, description="a larger file is set aside as FILE.1; 0: never"
    )
    rotate_after: Duration = Field(
        default=86_400.0, ge=0, le=366 * 86_400, description="so is an older one; 0: never"
    )
    rotate_keep: int = Field(default=7, ge=0, le=1000, description="files set aside that are kept")


class Dnstap(_Part):
    """Every query and answer in dnstap's format, for other tools; off without `socket` or `file`."""

    socket: Path | None = Field(
        default=None, description="a Unix socket at which a reader listens, such as fstrm_capture"
    )
    file: Path | None = Field(default=None, description="a file; the one before becomes FILE.1")
    sample: Share = Field(default=1.0, description="how many of the queries")
    truncate: Truncate = Field(default=Truncate.model_construct())

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if self.socket is not None and self.file is not None:
            raise ValueError("socket and file exclude each other")
        return self


def _checked_apex(value: str) -> str:
    try:
        return str(Name.parse(value))
    except (BadName, ValueError) as error:
        raise ValueError(str(error)) from None


def _checked_registrants(values: list[str]) -> list[str]:
    for value in values:
        if value != OPEN:
            try:
                ip_network(value, strict=False)
            except ValueError:
                raise ValueError(f'"{value}" is not a network, such as 192.0.2.0/24, or {OPEN}') from None
    return values


class Acme(_Part):
    """The HTTP API of acme-dns, for ACME clients that speak it; it is there when there is a zone."""

    zone: Annotated[str, AfterValidator(_checked_apex)] | None = Field(
        default=None, description="the zone, with a zone file of its own, in which accounts have their names"
    )
    allow_register: Annotated[Strings, AfterValidator(_checked_registrants)] = Field(
        default_factory=list,
        description=f"networks that may register without the token, or {OPEN}",
        max_length=64,
    )

    @property
    def apex(self) -> Name | None:
        """What `zone` means."""
        return None if self.zone is None else Name.parse(self.zone)


class Limits(_Part):
    """Every bound, with its unit in its name."""

    udp_answer_octets: int = Field(
        default=1232,
        ge=512,
        le=1400,
        description="larger answers go over TCP, and none is fragmented (RFC 9715); DNS flag day 2020: 1280 "
        "less the headers, more is lost on a path with less room",
    )
    udp_receive_buffer_octets: int = Field(
        default=4 << 20,
        ge=1 << 12,
        le=1 << 30,
        description="kernel queue of a UDP socket; 4 MiB is about 5,000 queries, 0.25 s at full speed",
    )
    tcp_connections: int = Field(
        default=1000, ge=1, le=1_000_000, description="in all; each costs about 10 kB and a file descriptor"
    )
    tcp_connections_per_client: int = Field(
        default=100,
        ge=1,
        le=1_000_000,
        description="of one IPv4 address or IPv6 /64: a tenth, so that ten can not lock all out",
    )
    tcp_idle_seconds: float = Field(
        default=10.0,
        gt=0,
        le=3600,
        description="without a whole query; RFC 7766 section 6.2.3: a few seconds, as Knot DNS has it",
    )
    tcp_write_buffer_octets: int = Field(
        default=64 << 10,
        ge=1,
        le=16 << 20,
        description="unread answers of a connection before its queries wait: one message",
    )
    tcp_queries_per_turn: int = Field(
        default=64,
        ge=1,
        le=10_000,
        description="of one connection before the others have their turn; about 1 ms of work",
    )
    http_connections: int = Field(
        default=64,
        ge=1,
        le=10_000,
        description="of the control endpoint: peers and people; each is a file descriptor",
    )
    http_connections_per_client: int = Field(
        default=32,
        ge=1,
        le=10_000,
        description="of one IPv4 address or IPv6 /64: half, so that one can not lock all out",
    )
    http_header_octets: int = Field(
        default=4096,
        ge=512,
        le=1 << 16,
        description="of one field of a request's header: more than any token",
    )
    http_request_seconds: float = Field(
        default=5.0,
        gt=0,
        le=300,
        description="from a connection to the end of its request's header; as much again for its body",
    )
    http_connection_seconds: float = Field(
        default=30.0, gt=0, le=3600, description="from a connection to its end: 5 MB over a bad line"
    )
    loader_seconds: float = Field(
        default=600.0,
        gt=0,
        le=86_400,
        description="for one load; 100,000 records take less than 10, so this is a hang",
    )
    loader_memory_octets: int = Field(
        default=4 << 30,
        ge=128 << 20,
        description="address space of the loading process; 100,000 records need 0.3 GB",
    )
    http_body_octets: int = Field(
        default=16 << 20,
        ge=1 << 12,
        le=source.FILE_OCTETS_MAX,
        description="of a zone that is written over HTTP; 250,000 records, each a line",
    )
    http_work_seconds: float = Field(
        default=120.0,
        gt=0,
        le=3600,
        description="to read, check and change a zone for a request; 100,000 records take 20 of a core",
    )
    reload_quiet_milliseconds: int = Field(
        default=100,
        ge=1,
        le=2000,
        description="without a change in the folder before it is read: editors write in steps",
    )
    rescan_seconds: float = Field(
        default=1.0,
        gt=0,
        le=3600,
        description="between looks at the folders, for file systems that do not report changes",
    )


class Config(_Part):
    """The whole of geodns.yaml. Make it with `load_config` or `override`."""

    listen: Annotated[Strings, AfterValidator(_checked_listen)] = Field(
        default=[DEFAULT_LISTEN],
        description="ADDR:PORT, [v6]:PORT or localhost:PORT; 0.0.0.0 and [::] are every address",
    )
    zones: Path = Field(default=Path("zones"), description="the folder of the zone files")
    local_zones: bool = Field(default=True, description="serve localhost and its kin (RFC 6761, RFC 6303)")
    engine: Literal["auto", "native", "python"] = Field(
        default="auto", description="auto: native where it is built"
    )
    geo: Geo = Field(default=Geo.model_construct())
    server: Server = Field(default=Server.model_construct())
    cookies: Cookies = Field(default=Cookies.model_construct())
    rrl: Rrl = Field(default=Rrl.model_construct())
    health: Health = Field(default=Health.model_construct())
    control: Control = Field(default=Control.model_construct())
    peers: list[Peer] = Field(
        default_factory=list,
        description="the other instances; a value is down when most of those that are heard see it down",
        max_length=16,
    )
    acme: Acme = Field(default=Acme.model_construct())
    state: Path = Field(
        default=Path("state"),
        description="the folder for what has to survive a restart: health, overrides, challenges",
    )
    log: Log = Field(default=Log.model_construct())
    querylog: QueryLog = Field(default=QueryLog.model_construct())
    dnstap: Dnstap = Field(default=Dnstap.model_construct())
    limits: Limits = Field(default=Limits.model_construct())

    @property
    def addresses(self) -> tuple[Listen, ...]:
        """What `listen` means, in its order."""
        return tuple(listen for text in self.listen for listen in parse_listen(text))

    @property
    def overrides_file(self) -> Path:
        """Where the states that people force are written."""
        return self.state / OVERRIDES_NAME

    def database_files(self) -> list[Path]:
        """The files that `geo.databases` means now; a name that is no pattern stands as it is."""
        files: dict[Path, None] = {}
        for pattern in self.geo.databases:
            literal = _ESCAPED.sub(r"\1", pattern)
            found = [literal] if glob.escape(literal) == pattern else sorted(glob.glob(pattern))
            files.update(dict.fromkeys(map(Path, found)))
        return list(files)


def load_config(path: Path | None = None) -> tuple[Config | None, list[Problem]]:
    """Read `path`, or ./geodns.yaml if there is one, or take the defaults; None for one with errors."""
    if path is None:
        path = Path(CONFIG_NAME)
        if not path.exists():
            return Config(), []
    return _Reader(path).read()


def override(
    config: Config,
    listen: tuple[str, ...] = (),
    zones: Path | None = None,
    databases: tuple[Path, ...] = (),
    engine: str | None = None,
    server_id: str | None = None,
    control: tuple[str, ...] = (),
    peers: tuple[str, ...] = (),
    log_format: str | None = None,
) -> Config:
    """`config` with what the command line says instead. Raises ValueError with a sentence for the user."""
    data = config.model_dump()
    if listen:
        data["listen"] = list(listen)
    if zones is not None:
        data["zones"] = zones
    if databases:
        # a file's name is meant literally here: the shell has had its turn at patterns
        data["geo"]["databases"] = [glob.escape(str(database)) for database in databases]
    if engine is not None:
        data["engine"] = engine
    if server_id is not None:
        data["server"]["id"] = server_id
    if control:
        data["control"]["listen"] = list(control)
    if peers:
        data["peers"] = [{"url": url} for url in peers]
    if log_format is not None:
        data["log"]["format"] = log_format
    try:
        return Config.model_validate(data)
    except ValidationError as error:
        raise ValueError(_message(error.errors()[0])) from None


def server_id(config: Config) -> str:
    """What this instance calls itself: `server.id`, else its hostname."""
    hostname = os.uname().nodename if config.server.hostname is None else config.server.hostname
    return hostname if config.server.id is None else config.server.id


def cookie_secrets(config: Config) -> tuple[tuple[bytes, ...], list[Problem]]:
    """The configured secrets, the one that signs first; none when the config names none or one is bad."""
    if config.cookies.secret_file is None:
        return tuple(map(bytes.fromhex, config.cookies.secret)), []
    lines, problems = _secret_lines(config.cookies.secret_file)
    path = str(config.cookies.secret_file)
    secrets: list[bytes] = []
    for number, text in lines:
        try:
            secrets.append(bytes.fromhex(_checked_secret(text)))
        except ValueError as error:
            problems.append(Problem(path, number, 1, "", str(error)))
    if not secrets and not problems:
        problems.append(Problem(path, 0, 0, "", "there is no secret in this file", "openssl rand -hex 16"))
    return (() if problems else tuple(secrets)), problems


def rate_limits(config: Config, key: bytes) -> snapshot.Rrl | None:
    """What `rrl` comes to, with a key for its table; None as long as no rate is set."""
    rrl = config.rrl
    common = rrl.responses_per_second or 0
    special = (
        rrl.nodata_per_second,
        rrl.nxdomains_per_second,
        rrl.referrals_per_second,
        rrl.errors_per_second,
    )
    answers, nodata, nxdomain, referrals, errors = (
        common if rate is None else rate for rate in (common, *special)
    )
    rates = (answers, nodata, nxdomain, referrals, errors)
    if not any(rates):
        return None
    networks = map(ip_network, rrl.exempt)
    return snapshot.Rrl(
        rates=rates,
        burst_seconds=rrl.burst_seconds,
        slip=rrl.slip,
        bits4=rrl.ipv4_prefix_bits,
        bits6=rrl.ipv6_prefix_bits,
        exempt=tuple((network.network_address.packed, network.prefixlen) for network in networks),
        log_only=rrl.log_only,
        badcookie=config.cookies.require == "when_limited",
        key=key,
    )


@dataclass(frozen=True, slots=True)
class Tokens:
    """What instances show each other: `own` opens our control endpoint, `peers` theirs, in their order.

    None: there is none, so nothing is written, and nothing is read from another machine.
    """

    own: str | None = field(default=None, repr=False)
    peers: tuple[str | None, ...] = field(default=(), repr=False)


def tokens(config: Config) -> tuple[Tokens, list[Problem]]:
    """The tokens of the files that `control` and `peers` name; None in the place of one with a problem."""
    own, problems = _token(config.control.token_file)
    peers = []
    for peer in config.peers:
        theirs, more = (own, []) if peer.token_file is None else _token(peer.token_file)
        peers.append(theirs)
        problems += more
    return Tokens(own, tuple(peers)), list(dict.fromkeys(problems))


def _token(path: Path | None) -> tuple[str | None, list[Problem]]:
    if path is None:
        return None, []
    lines, problems = _secret_lines(path)
    if problems:
        return None, problems
    if len(lines) != 1:
        what = f"there are {len(lines)} tokens in this file" if lines else "there is no token in this file"
        return None, [Problem(str(path), 0, 0, "", what, "one line, such as of openssl rand -hex 16")]
    number, token = lines[0]
    if len(token) < TOKEN_OCTETS_MIN or not re.fullmatch(r"[!-~]+", token):
        # the token itself is not told: it may be one with a typing error
        what = f"a token is {TOKEN_OCTETS_MIN} or more letters and digits without spaces"
        return None, [Problem(str(path), number, 1, "", what, "openssl rand -hex 16")]
    return token, []


def _secret_lines(path: Path) -> tuple[list[tuple[int, str]], list[Problem]]:
    """The numbers and texts of the lines of a file that nobody else may read, without comments.

    A link counts as what it leads to, as Kubernetes has its secrets; what is looked at is what is read.
    """
    try:
        with open(path, encoding="ascii", opener=_open_without_waiting) as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                return [], [Problem(str(path), 0, 0, "", "this is not a file")]
            if found.st_mode & stat.S_IRWXO:
                what = "everybody on this machine may read or write this secret"
                return [], [Problem(str(path), 0, 0, "", what, f"chmod o= {path}")]
            text = file.read(SECRET_FILE_OCTETS_MAX + 1)
            if len(text) > SECRET_FILE_OCTETS_MAX:
                what = f"larger than {SECRET_FILE_OCTETS_MAX} octets: this is no file of secrets"
                return [], [Problem(str(path), 0, 0, "", what)]
            lines = text.splitlines()
    except (OSError, UnicodeDecodeError) as error:
        return [], [Problem(str(path), 0, 0, "", _reason(error))]
    texts = [(number, line.partition("#")[0].strip()) for number, line in enumerate(lines, 1)]
    return [(number, text) for number, text in texts if text], []


def _open_without_waiting(path: str, flags: int) -> int:
    """Not for the writer of a pipe, who may never come."""
    return os.open(path, flags | os.O_NONBLOCK)


_Path = tuple[str | int, ...]
_Places = dict[_Path, int]


class _Reader:
    """One reading of one config file: the data, and where each part of it stands."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problems: list[Problem] = []
        self.keys: _Places = {}
        self.values: _Places = {}

    def read(self) -> tuple[Config | None, list[Problem]]:
        data = self._data()
        if self.problems:
            return None, self.problems
        try:
            config = Config.model_validate(data)
        except ValidationError as error:
            for item in error.errors():
                self._invalid(item)
            return None, sorted(self.problems, key=lambda problem: (problem.line, problem.column))
        for prefix, what in overrides.parse(config.geo.overrides)[1]:
            self._problem(self.keys["geo", "overrides", prefix], "geo.overrides", what)
        if self.problems:
            return None, self.problems
        if config.cookies.secret and self.path.stat().st_mode & stat.S_IRWXO:
            what = "everybody on this machine may read this secret"
            hint = f"chmod o= {self.path}, or use secret_file"
            self._problem(self.values["cookies", "secret"], "cookies.secret", what, hint, Severity.WARNING)
        return self._placed(config), self.problems

    def _data(self) -> dict[str, Any]:
        contents = source.read_file(self.path)
        if isinstance(contents, Problem):
            self.problems.append(contents)
            return {}
        if len(contents.data) > CONFIG_OCTETS_MAX:
            self._problem(None, "", f"larger than {CONFIG_OCTETS_MAX} octets: this is no config")
            return {}
        text = source.Source(contents.data, str(self.path))
        data = {}
        for key, node in text.entries():
            self.keys[key,] = key.at
            data[str(key)] = self._value(node, (str(key),))
        for problem in text.problems:
            if problem.check == "yaml-not-a-mapping":
                what = "a config is a mapping of settings"
                problem = replace(problem, what=what, hint="such as `listen: 127.0.0.1:5301`")
            if problem.check != "yaml-empty":  # an empty config is one with nothing but defaults
                self.problems.append(problem)
        return {key: value for key, value in data.items() if value is not None}

    def _value(self, node: source.Node, at: _Path) -> Any:
        self.values[at] = node.at
        if isinstance(node, source.Mapping):
            for key in node:
                self.keys[*at, str(key)] = key.at
            values = {str(key): self._value(value, (*at, str(key))) for key, value in node.items()}
            return {key: value for key, value in values.items() if value is not None}
        if isinstance(node, source.Items):
            return [self._value(item, (*at, index)) for index, item in enumerate(node)]
        return None if node.is_null else str(node)

    def _invalid(self, item: Any) -> None:
        at = tuple(part for part in item["loc"] if part != "[key]")
        marks = self.keys if item["type"] == "extra_forbidden" or "[key]" in item["loc"] else self.values
        mark = next((marks[at[:end]] for end in range(len(at), 0, -1) if at[:end] in marks), None)
        where = ".".join(map(str, at))
        if item["type"] == "extra_forbidden":
            names = _names(at[:-1])
            close = difflib.get_close_matches(str(at[-1]), names, 1)
            hint = f"{close[0]}?" if close else "there are: " + ", ".join(names)
            self._problem(mark, where, "there is no such setting", hint)
        else:
            self._problem(mark, where, _message(item))

    def _placed(self, config: Config) -> Config:
        """`config` with its paths relative to the folder of the file that names them."""
        folder = self.path.parent
        databases = [str(folder / pattern) for pattern in config.geo.databases]
        update: dict[str, Any] = {
            "zones": folder / config.zones,
            "geo": config.geo.model_copy(update={"databases": databases}),
        }
        if config.cookies.secret_file is not None:
            secret_file = folder / config.cookies.secret_file
            update["cookies"] = config.cookies.model_copy(update={"secret_file": secret_file})
        if config.health.external is not None:
            update["health"] = config.health.model_copy(update={"external": folder / config.health.external})
        if config.control.token_file is not None:
            token_file = folder / config.control.token_file
            update["control"] = config.control.model_copy(update={"token_file": token_file})
        update["peers"] = [
            peer
            if peer.token_file is None
            else peer.model_copy(update={"token_file": folder / peer.token_file})
            for peer in config.peers
        ]
        if config.querylog.file is not None:
            file = folder / config.querylog.file
            update["querylog"] = config.querylog.model_copy(update={"file": file})
        for key in ("socket", "file"):
            path = getattr(config.dnstap, key)
            if path is not None:
                update["dnstap"] = config.dnstap.model_copy(update={key: folder / path})
        update["state"] = folder / config.state
        return config.model_copy(update=update)

    def _problem(
        self, at: int | None, where: str, what: str, hint: str = "", severity: Severity = Severity.ERROR
    ) -> None:
        line, column = (0, 0) if at is None else source.unpack(at)
        self.problems.append(Problem(str(self.path), line, column, where, what, hint, severity))


def _names(at: _Path) -> list[str]:
    """The settings that there are in one part of the config."""
    model: type[BaseModel] = Config
    for part in at:
        annotation = model.model_fields[str(part)].annotation
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        model = annotation
    return list(model.model_fields)


def _message(item: Any) -> str:
    """pydantic's message in our words: a ValueError's own sentence, or pydantic's without its capital."""
    message = str(item["msg"]).removeprefix("Value error, ")
    return message.replace("Input should", "this should") if message.startswith("Input should") else message


def _reason(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "this is not a text of hexadecimal digits"
    return (error.strerror or str(error)).lower() if isinstance(error, OSError) else str(error)
