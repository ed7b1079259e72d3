"""The HTTP API: zone files read, checked and written; explanations, places, forced states, a reload.

    request --parameters, body--> Api --Task--> Server (another process does it) --> Outcome
                                   |
                                   +--folder--> zones/, when what is asked for is good and nobody came before

What it takes and tells is in `forms`; the same table of operations makes the routes and the OpenAPI document.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Protocol, TypeVar

from aiohttp import web
from pydantic import BaseModel, ValidationError

from geodns.config import Config
from geodns.control import folder
from geodns.control.document import Document, document
from geodns.control.folder import ChangedError, Expected, FolderError, Stored
from geodns.control.forms import (
    AnyObject,
    Checked,
    CheckQuery,
    Explained,
    ExplainQuery,
    Located,
    NoQuery,
    Overridden,
    Override,
    Overrides,
    ProblemRow,
    Record,
    RecordBody,
    Records,
    RecordsQuery,
    Reloaded,
    Report,
    StepRow,
    TrafficQuery,
    WriteQuery,
    Written,
    Zones,
)
from geodns.control.openapi import YAML, Operation, openapi
from geodns.control.replies import Refuse, allow, read_body, reply, send
from geodns.control.tasks import Check, Edit, File, List, Outcome, Refused, Show, Task
from geodns.control.tasks import Checked as CheckOutcome
from geodns.explain import Explanation
from geodns.geo.address import Address, BadAddress, Prefix, parse, parse_prefix
from geodns.name import BadName, Name
from geodns.problems import Problem
from geodns.zone import rdata

BODY_SECONDS = 30.0  # for the body of a zone: 16 MiB over 5 Mbit/s
TELLING_SECONDS = 60.0  # for what is told of a zone: 16 MiB over 2 Mbit/s
SMALL_BODY_OCTETS_MAX = 16_384  # of a body that is no zone and no record
SMALL_BODY_SECONDS = 5.0
RECORD_OCTETS_MAX = 1 << 20  # of a record's JSON: 4,096 values of 255 octets
QUERY_TYPE_ANY = 255  # RFC 1035 section 3.2.3

# What a zone that is read and written here may be named: hosts, underscores, and RFC 2317's slash.
_LABEL = re.compile(rb"[a-zA-Z0-9_](?:[a-zA-Z0-9_/-]*[a-zA-Z0-9_])?")

ModelT = TypeVar("ModelT", bound=BaseModel)
T = TypeVar("T")


class Server(Protocol):
    """Whom the API asks. All of it is called in the event loop, and takes no time there; raises Refuse."""

    @property
    def config(self) -> Config: ...

    def file_of(self, apex: Name) -> str: ...

    async def zones(self) -> Zones: ...

    async def perform(self, task: Task) -> Outcome: ...

    async def explain(
        self, name: Name, qtype: int, client: Address, subnet: Prefix | None
    ) -> Explanation: ...

    async def locate(self, address: Address) -> Located: ...

    async def overrides(self) -> Overrides: ...

    async def override(self, asked: Override) -> Overridden: ...

    async def reload(self) -> Reloaded: ...


_ZONE = "/v1/zones/{zone}"
_RECORDS = f"{_ZONE}/records"
_RECORD = f"{_RECORDS}/{{name}}/{{type}}"
_FILE_ERRORS = (404, 409)
_WRITE_ERRORS = (404, 408, 409, 412, 413, 415, 422, 507)
_BOTH = ("If-Match", "If-None-Match")
_MATCH = ("If-Match",)


class Api:
    """Its routes are for a ControlApp, whose guard has let a request in before it comes here."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._openapi: Document | None = None
        self._table: list[tuple[Operation, Callable[[web.Request, Any], Awaitable[web.StreamResponse]]]] = [
            (
                Operation("GET", "/v1/zones", "every zone file, its state and its problems", Zones),
                self._zones,
            ),
            (
                Operation("GET", _ZONE, "the text of a zone file", YAML, errors=_FILE_ERRORS, has_etag=True),
                self._zone,
            ),
            (
                Operation(
                    *("PUT", _ZONE, "write a whole zone file", Written, WriteQuery, YAML),
                    good=(200, 201),
                    errors=_WRITE_ERRORS,
                    conditions=_BOTH,
                ),
                self._put_zone,
            ),
            (
                Operation(
                    *("DELETE", _ZONE, "take a zone file away", Written, WriteQuery),
                    errors=_WRITE_ERRORS,
                    conditions=_MATCH,
                ),
                self._delete_zone,
            ),
            (
                Operation(
                    *("GET", _RECORDS, "the records of a zone file", Records, RecordsQuery),
                    errors=(*_FILE_ERRORS, 422, 507),
                    has_etag=True,
                ),
                self._records,
            ),
            (
                Operation(
                    "GET", _RECORD, "one record", Record, errors=(*_FILE_ERRORS, 422, 507), has_etag=True
                ),
                self._record,
            ),
            (
                Operation(
                    *("PUT", _RECORD, "put a record in the place of the one of its name and type, or add it"),
                    *(Written, WriteQuery, RecordBody),
                    errors=_WRITE_ERRORS,
                    conditions=_MATCH,
                ),
                self._put_record,
            ),
            (
                Operation(
                    *("DELETE", _RECORD, "take a record out", Written, WriteQuery),
                    errors=_WRITE_ERRORS,
                    conditions=_MATCH,
                ),
                self._delete_record,
            ),
            (
                Operation(
                    *(
                        "POST",
                        "/v1/check",
                        "what is wrong with the text of a zone",
                        Checked,
                        CheckQuery,
                        YAML,
                    ),
                    errors=(408, 413, 415, 422, 507),
                ),
                self._check,
            ),
            (
                Operation(
                    *(
                        "GET",
                        "/v1/explain",
                        "which answer somebody gets now, and why",
                        Explained,
                        ExplainQuery,
                    ),
                    errors=(409,),
                ),
                self._explain,
            ),
            (
                Operation("GET", "/v1/geo/{address}", "where an address is", Located, errors=(409,)),
                self._geo,
            ),
            (Operation("GET", "/v1/overrides", "the states that are forced", Overrides), self._overrides),
            (
                Operation(
                    *(
                        "PUT",
                        "/v1/overrides",
                        "force a value or a pool up or down, or leave it to its checks",
                    ),
                    *(Overridden, NoQuery, Override),
                    errors=(408, 409, 413, 415, 422),
                ),
                self._override,
            ),
            (
                Operation("POST", "/v1/reload", "read config, zones and databases again, and wait", Reloaded),
                self._reload,
            ),
            (Operation("GET", "/v1/openapi.json", "this document", AnyObject), self._document),
        ]

    def routes(self) -> list[web.AbstractRouteDef]:
        """Of all operations."""
        return [
            web.route(operation.method, operation.path, _asked(operation, handler))
            for operation, handler in self._table
        ]

    # Reading

    async def _document(self, request: web.Request, query: NoQuery) -> web.StreamResponse:
        if self._openapi is None:
            operations = [*(operation for operation, _ in self._table), *ELSEWHERE]
            self._openapi = await asyncio.to_thread(lambda: document(openapi(operations)))
        return await send(request, self._openapi)

    async def _zones(self, request: web.Request, query: NoQuery) -> web.StreamResponse:
        zones = await self._server.zones()
        return await send(request, await asyncio.to_thread(lambda: document(zones.model_dump())))

    async def _zone(self, request: web.Request, query: NoQuery) -> web.StreamResponse:
        _, stored = await self._read(_zone_of(request))
        return await send(request, Document(stored.data, None, stored.etag), YAML)

    async def _records(self, request: web.Request, query: RecordsQuery) -> web.StreamResponse:
        self._allow(request)
        file, stored = await self._read(_zone_of(request))
        found = await self._performed(List(file, query.search, query.limit), Document)
        return await send(request, found._replace(etag=stored.etag))

    async def _record(self, request: web.Request, query: NoQuery) -> web.StreamResponse:
        self._allow(request)
        zone = _zone_of(request)
        owner, rtype = _record_of(request, zone)
        file, stored = await self._read(zone)
        found = await self._performed(Show(file, owner.wire, rtype), Document)
        return await send(request, found._replace(etag=stored.etag))

    async def _explain(self, request: web.Request, query: ExplainQuery) -> web.StreamResponse:
        try:
            name = Name.parse(query.name)
            qtype = _type_number(query.type)
            client = parse(query.from_)
            subnet = None if query.subnet is None else parse_prefix(query.subnet)
        except (BadName, BadAddress, rdata.BadRdata, ValueError) as error:
            raise Refuse(400, str(error)) from None
        found = await self._server.explain(name, qtype, client, subnet if subnet and subnet.length else None)
        told = Explained(
            question=found.question,
            client=found.client,
            steps=[StepRow(about=step.about, said=step.said, depth=step.depth) for step in found.steps],
            rcode=found.rcode,
            authoritative=found.authoritative,
            answer=list(found.answer),
            scope=found.scope,
            text=str(found),
        )
        return reply(200, told.model_dump())

    async def _geo(self, request: web.Request, query: NoQuery) -> web.StreamResponse:
        try:
            address = parse(request.match_info["address"])
        except BadAddress as error:
            raise Refuse(400, str(error)) from None
        return reply(200, (await self._server.locate(address)).model_dump())

    async def _overrides(self, request: web.Request, query: NoQuery) -> web.StreamResponse:
        return reply(200, (await self._server.overrides()).model_dump())

    # Checking and writing

    async def _check(self, request: web.Request, query: CheckQuery) -> web.StreamResponse:
        self._allow(request)
        zone = _zone_named(query.zone)
        body = await self._body(request)
        name = self._server.file_of(zone)
        outcome = await self._performed(Check(body, self._file(zone, body), name), CheckOutcome)
        told = Checked(
            zone=str(zone),
            ok=outcome.is_good,
            records=outcome.records,
            problems=_rows(outcome.problems),
        )
        return reply(200, told.model_dump())

    async def _put_zone(self, request: web.Request, query: WriteQuery) -> web.StreamResponse:
        self._allow(request)
        zone = _zone_of(request)
        expected = _expected(request)
        body = await self._body(request)
        stored = await self._seen(zone, expected)
        file = self._file(zone, body)
        before = b"" if stored is None else stored.data
        return await self._write(zone, stored, Check(before, file, file.name), query)

    async def _delete_zone(self, request: web.Request, query: WriteQuery) -> web.StreamResponse:
        self._allow(request)
        zone = _zone_of(request)
        stored = await self._seen(zone, _expected(request))
        if stored is None:
            raise Refuse(404, f"there is no zone {zone}")
        task = Check(stored.data, None, self._file(zone, b"").name)
        return await self._write(zone, stored, task, query)

    async def _put_record(self, request: web.Request, query: WriteQuery) -> web.StreamResponse:
        body = await read_body(request, RECORD_OCTETS_MAX, BODY_SECONDS)
        return await self._edit(request, query, body)

    async def _delete_record(self, request: web.Request, query: WriteQuery) -> web.StreamResponse:
        return await self._edit(request, query, None)

    async def _edit(
        self, request: web.Request, query: WriteQuery, record: bytes | None
    ) -> web.StreamResponse:
        self._allow(request)
        zone = _zone_of(request)
        owner, rtype = _record_of(request, zone)
        stored = await self._seen(zone, _expected(request))
        if stored is None:
            raise Refuse(404, f"there is no zone {zone}")
        task = Edit(self._file(zone, stored.data), owner.wire, rtype, record)
        return await self._write(zone, stored, task, query)

    async def _write(
        self, zone: Name, stored: Stored | None, task: Check | Edit, query: WriteQuery
    ) -> web.StreamResponse:
        """Have it checked; when it is good and nobody else has written meanwhile, write it."""
        outcome = await self._performed(task, CheckOutcome)
        is_gone = isinstance(task, Check) and task.after is None
        is_same = stored is not None and not is_gone and outcome.data == stored.data
        if not (query.dry_run or outcome.is_good):
            raise _refuse(Refused(422, "the zone has errors, and nothing was written", outcome.problems))
        seen = None if stored is None else stored.etag
        if not (query.dry_run or is_same):
            directory, name = self._server.config.zones, self._server.file_of(zone)
            await _in_folder(
                (lambda: folder.remove(directory, name, lambda etag: etag == seen))
                if is_gone
                else (lambda: folder.write(directory, name, outcome.data, lambda etag: etag == seen))
            )
        etag = None if is_gone else await asyncio.to_thread(folder.etag_of, outcome.data)
        told = Written(
            zone=str(zone),
            file=self._file(zone, b"").name,
            etag=etag,
            written=not (query.dry_run or is_same),
            diff=outcome.diff,
            problems=_rows(outcome.problems),
        )
        status = 201 if stored is None and told.written else 200
        return reply(status, told.model_dump(), {} if etag is None or query.dry_run else {"ETag": etag})

    async def _override(self, request: web.Request, query: NoQuery) -> web.StreamResponse:
        body = await read_body(request, SMALL_BODY_OCTETS_MAX, SMALL_BODY_SECONDS)
        try:
            asked = Override.model_validate_json(body)
        except ValidationError as error:
            raise Refuse(400, _sentence(error)) from None
        return reply(200, (await self._server.override(asked)).model_dump())

    async def _reload(self, request: web.Request, query: NoQuery) -> web.StreamResponse:
        # another load may have to end before
        allow(request, 2 * self._server.config.limits.loader_seconds + TELLING_SECONDS)
        return reply(200, (await self._server.reload()).model_dump())

    # What several of them do

    def _allow(self, request: web.Request) -> None:
        """Of a request that has zones read: for its body, for its turn, for its work, and for the telling."""
        limits = self._server.config.limits
        allow(request, BODY_SECONDS + 2 * limits.http_work_seconds + TELLING_SECONDS)

    def _file(self, zone: Name, data: bytes) -> File:
        """A file as messages call it."""
        name = str(self._server.config.zones / self._server.file_of(zone))
        return File(zone.wire, name, data)

    async def _body(self, request: web.Request) -> bytes:
        return await read_body(request, self._server.config.limits.http_body_octets, BODY_SECONDS)

    async def _stored(self, zone: Name) -> Stored | None:
        directory, name = self._server.config.zones, self._server.file_of(zone)
        return await _in_folder(lambda: folder.read(directory, name))

    async def _read(self, zone: Name) -> tuple[File, Stored]:
        stored = await self._stored(zone)
        if stored is None:
            raise Refuse(404, f"there is no zone {zone}")
        return self._file(zone, stored.data), stored

    async def _seen(self, zone: Name, expected: Expected) -> Stored | None:
        """The file, if it is the one that the client has seen."""
        stored = await self._stored(zone)
        etag = None if stored is None else stored.etag
        if not expected(etag):
            raise _changed(etag)
        return stored

    async def _performed(self, task: Task, kind: type[T]) -> T:
        """The outcome, which is of this kind. Raises Refuse."""
        outcome = await self._server.perform(task)
        if isinstance(outcome, Refused):
            raise _refuse(outcome)
        assert isinstance(outcome, kind)
        return outcome


# What other modules of the endpoint answer, for the document.
ELSEWHERE = (
    Operation("GET", "/v1/status", "every value and pool, and what is known of it", AnyObject, has_etag=True),
    Operation("GET", "/v1/view", "what this instance sees, for its peers", AnyObject, has_etag=True),
    Operation(
        *("PUT", "/v1/external/{name}", "the state of somebody else's checks", AnyObject),
        body=Report,
        errors=(404, 408, 413),
    ),
    Operation(
        "GET", "/v1/traffic", "what was asked in the last minutes", AnyObject, TrafficQuery, has_etag=True
    ),
    Operation("GET", "/healthz", "ok, to everybody", AnyObject),
)


def _asked(
    operation: Operation, handler: Callable[[web.Request, Any], Awaitable[web.StreamResponse]]
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handled(request: web.Request) -> web.StreamResponse:
        return await handler(request, _query(request, operation.query))

    return handled


def _query(request: web.Request, model: type[ModelT]) -> ModelT:
    """The parameters of the URL. Raises Refuse."""
    if len(request.query) != len(set(request.query)):
        raise Refuse(400, "a parameter is given twice")
    try:
        return model.model_validate(dict(request.query))
    except ValidationError as error:
        raise Refuse(400, _sentence(error)) from None


def _sentence(error: ValidationError) -> str:
    """What is wrong, without what was given: it may be anything."""
    told = [
        f"{'.'.join(map(str, one['loc'])) or 'the body'}: {one['msg'][:1].lower()}{one['msg'][1:]}"
        for one in error.errors(include_url=False, include_input=False, include_context=False)
    ]
    return "; ".join(told)


def _zone_of(request: web.Request) -> Name:
    return _zone_named(request.match_info["zone"])


def _zone_named(text: str) -> Name:
    """A zone that may have a file. Raises Refuse."""
    try:
        zone = Name.parse(text)
    except (BadName, ValueError) as error:
        raise Refuse(400, f"this is no name of a zone: {error}") from None
    if not all(_LABEL.fullmatch(label) for label in zone.labels()):
        raise Refuse(400, "zones are named with letters, digits, - and _ here")
    return zone


def _record_of(request: web.Request, zone: Name) -> tuple[Name, str]:
    """The owner and the type of a record of the zone. Raises Refuse."""
    text = request.match_info["name"]
    try:
        owner = Name.parse(text, zone)
    except (BadName, ValueError) as error:
        raise Refuse(400, f"this is no name of a record: {error}") from None
    if not owner.is_under(zone) or b"\0" in b"".join(owner.labels()):
        raise Refuse(400, f"the name is not one of the zone {zone}")
    return owner, _type_named(request.match_info["type"])


def _type_named(text: str) -> str:
    if text.upper() in ("ALIAS", "URLFWD"):  # octoDNS's own, which have no number
        return text.upper()
    try:
        return rdata.type_name(rdata.type_number(text))
    except (rdata.BadRdata, ValueError) as error:
        raise Refuse(400, str(error)) from None


def _type_number(text: str) -> int:
    return QUERY_TYPE_ANY if text.upper() == "ANY" else rdata.type_number(text)


def _expected(request: web.Request) -> Expected:
    """What a write may replace (RFC 9110 section 13.1). Raises Refuse."""
    match, none_match = (", ".join(request.headers.getall(name, [])) for name in _BOTH)
    if none_match.strip() == "*" and not match:
        return lambda etag: etag is None
    if not match or none_match:
        what = (
            "say which version is to be replaced (If-Match: ETAG), or that there is none (If-None-Match: *)"
        )
        raise Refuse(412, what)
    if match.strip() == "*":
        return lambda etag: etag is not None
    # strong comparison (RFC 9110 section 8.8.3.2): W/"..." matches nothing
    wanted = {each.strip() for each in match.split(",")}
    return lambda etag: etag in wanted


async def _in_folder(work: Callable[[], T]) -> T:
    """Disks take their time: not in the event loop's thread."""
    try:
        return await asyncio.to_thread(work)
    except FolderError as error:
        raise Refuse(error.status, str(error)) from None
    except ChangedError as error:
        raise _changed(error.etag) from None


def _changed(etag: str | None) -> Refuse:
    now = "there is none now" if etag is None else f"its ETag is {etag} now"
    return Refuse(412, f"the zone is not the version that you have seen: {now}")


def _refuse(refused: Refused) -> Refuse:
    problems = [row.model_dump() for row in _rows(refused.problems)]
    return Refuse(refused.status, refused.what, {"problems": problems} if problems else {})


def _rows(problems: Iterable[Problem]) -> list[ProblemRow]:
    return [ProblemRow.of(problem) for problem in problems]
