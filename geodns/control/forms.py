"""What the API takes and tells: the shapes, said once for validation, for the answers, and for OpenAPI."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, RootModel

from geodns.config import parse_duration
from geodns.health.overrides import REASON_CHARACTERS_MAX, TARGET_CHARACTERS_MAX
from geodns.problems import Problem

NAME_CHARACTERS_MAX = 1020  # 255 octets, each as \\DDD
SEARCH_CHARACTERS_MAX = 255
RECORDS_TOLD = 1_000  # of a zone without `limit`: as many rows as a page can show
RECORDS_TOLD_MAX = 100_000
OVERRIDE_SECONDS_MAX = 366 * 86_400.0  # what has to be forced for longer stands in the zone file as `status`


class Answer(BaseModel):
    """Told by us."""

    model_config = ConfigDict(extra="forbid")


class Asked(BaseModel):
    """Told by a client."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True, hide_input_in_errors=True)


# Answers


class ProblemRow(Answer):
    """One thing wrong with one place of a file; line and column count from 1, 0 is the whole file."""

    file: str
    line: int
    column: int
    where: str = Field(description='the record: "www A", or "" for the file')
    what: str
    hint: str
    level: Literal["error", "warning"]
    check: str = Field(description="the name of the check")

    @classmethod
    def of(cls, problem: Problem) -> "ProblemRow":
        return cls(
            file=problem.file.encode("utf-8", "replace").decode(),
            line=problem.line,
            column=problem.column,
            where=problem.where,
            what=problem.what,
            hint=problem.hint,
            level=problem.severity.value,
            check=problem.check,
        )


class Error(Answer):
    """Why a request was refused."""

    error: str
    problems: list[ProblemRow] | None = Field(default=None, description="of the zone, when these are why")


class ZoneRow(Answer):
    """A zone file and what is served of it."""

    zone: str
    file: str
    serial: int | None = Field(description="of the version that is served")
    state: Literal["served", "stale", "failed"] = Field(
        description="stale: the newest version is broken and the one before is served; failed: SERVFAIL"
    )
    records: int
    problems: list[ProblemRow] = Field(description="of the newest version")


class Zones(Answer):
    """All zone files."""

    zones: list[ZoneRow]
    problems: list[ProblemRow] = Field(description="of the folder, and of the geo databases")


class RecordRow(Answer):
    """A record of a zone file, as the file says it now."""

    name: str = Field(description='relative to the zone; "@" for the zone itself')
    type: str
    ttl: int | None = Field(description="seconds; null: what the file has is no number")
    steered: bool
    pools: list[str] = Field(description="those that rules name; of `geo`, its codes")
    line: int


class Records(Answer):
    """Records of a zone file."""

    zone: str
    total: int = Field(description="how many match the search; `records` has the first of them")
    records: list[RecordRow]


class Record(Answer):
    """One record, in the YAML form as JSON."""

    zone: str
    name: str
    type: str
    line: int
    record: dict[str, Any]


class Checked(Answer):
    """What `geodns check` says."""

    zone: str
    ok: bool = Field(description="whether it can be served; warnings do not count")
    records: int
    problems: list[ProblemRow]


class Written(Answer):
    """What a write did, or with `dry_run` would do."""

    zone: str
    file: str
    etag: str | None = Field(description="of the new text; null when there is none any more")
    written: bool = Field(description="false for a dry run, and where nothing differs")
    diff: str | None = Field(description="unified; null when it is too large to be of use")
    problems: list[ProblemRow] = Field(description="of the new text; of a real write warnings alone")


class StepRow(Answer):
    """A line of an explanation."""

    about: str
    said: str
    depth: int


class Explained(Answer):
    """What `geodns explain` says, of what is served now."""

    question: str
    client: str
    steps: list[StepRow]
    rcode: str
    authoritative: bool
    answer: list[str]
    scope: int | None
    text: str = Field(description="all of it, for people")


class OverridingPlace(Answer):
    """A prefix of `geo.overrides`."""

    prefix: str
    place: str


class DatabaseRow(Answer):
    """What one database says of an address."""

    file: str
    type: str
    prefix: str
    codes: list[str]
    asn: int | None


class Located(Answer):
    """What `geodns geo lookup` says."""

    address: str
    used: str
    embedding: str | None
    special: str | None
    override: OverridingPlace | None
    located: bool
    codes: list[str]
    names: list[str]
    latitude: float | None
    longitude: float | None
    asn: int | None
    organization: str | None
    databases: list[DatabaseRow]


class OverrideRow(Answer):
    """A line that forces a state."""

    target: str
    state: Literal["up", "down"]
    until: float | None = Field(description="Unix seconds; null: until it is taken away")
    reason: str
    place: str = Field(description="file:line")


class Overrides(Answer):
    """The states that are forced; with problems none of them is obeyed."""

    overrides: list[OverrideRow]
    problems: list[ProblemRow]


class Overridden(Answer):
    """What came of an override. Values are forced within a second."""

    target: str
    state: Literal["up", "down", "auto"]
    until: float | None
    values: int = Field(description="that match, of what is served")
    records: int
    removed: int = Field(description="lines with this target that were there before")
    others: list[OverrideRow] = Field(description="of auto: lines that still force something of the target")


class Reloaded(Answer):
    """What a reload came to: `problems` are all there are, of config, databases and zones."""

    loaded: bool = Field(description="false: what was served before is served still")
    zones: int
    problems: list[ProblemRow]


class AnyObject(RootModel[dict[str, Any]]):
    """A JSON object that is described elsewhere."""


# Questions


class RecordBody(RootModel[dict[str, Any]]):
    """A record in the YAML form as JSON: `geodns schema` prints its JSON Schema. `type` may be left out."""


class Report(Asked):
    """What somebody else's check has found."""

    state: Literal["up", "down"]
    reason: str = ""


class NoQuery(Asked):
    """No parameters."""


class WriteQuery(Asked):
    """Parameters of everything that writes."""

    dry_run: bool = Field(default=False, description="tell problems and diff, and write nothing")


class RecordsQuery(Asked):
    """Which records."""

    search: str = Field(
        default="", max_length=SEARCH_CHARACTERS_MAX, description="a part of the name, or a type"
    )
    limit: int = Field(default=RECORDS_TOLD, ge=1, le=RECORDS_TOLD_MAX)


class CheckQuery(Asked):
    """Of which zone the text is."""

    zone: str = Field(max_length=NAME_CHARACTERS_MAX, description="such as example.com")


class ExplainQuery(Asked):
    """A question to explain."""

    name: str = Field(max_length=NAME_CHARACTERS_MAX, description="such as www.example.com")
    type: str = Field(default="A", max_length=16)
    from_: str = Field(
        default="127.0.0.1", alias="from", max_length=64, description="the address that asks, or its client's"
    )
    subnet: str | None = Field(
        default=None, max_length=64, description="EDNS Client Subnet: a prefix, or an address"
    )


def _seconds(value: object) -> object:
    seconds = parse_duration(value) if isinstance(value, str) else value
    is_number = isinstance(seconds, (int, float)) and not isinstance(seconds, bool)
    if not is_number or not 0 < seconds <= OVERRIDE_SECONDS_MAX:  # type: ignore[operator]
        raise ValueError("a duration is more than none and at most 366 days, such as 2h")
    return seconds


class TrafficQuery(Asked):
    """Which seconds."""

    since: float | None = Field(default=None, ge=0, description="leave out the seconds up to this Unix time")


class Override(Asked):
    """A state to force, or to leave to the checks again (`auto`)."""

    target: str = Field(
        min_length=1,
        max_length=TARGET_CHARACTERS_MAX,
        description="a value, a pool, owner/TYPE/pool, owner/TYPE/pool/value, or a pattern over them",
    )
    state: Literal["up", "down", "auto"]
    for_: Annotated[float | str, BeforeValidator(_seconds)] | None = Field(
        default=None, alias="for", description="seconds, or a duration such as 2h; null: for good"
    )
    reason: str = Field(default="", max_length=REASON_CHARACTERS_MAX)
    force: bool = Field(default=False, description="also when no value of any zone matches")
