# ruff: noqa: E501 (the lines of files stand as they are)
"""One record of a hand-written file is changed, and nothing else of it, to the octet."""

import difflib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geodns.name import Name
from geodns.zone import edit, load_text
from geodns.zone.edit import EditError
from geodns.zone.source import Source

APEX = Name.parse("example.com")

# Of every style that people write: comments, flow and block, quotes, anchors, odd indents, text blocks.
STYLES = """\
# The zone of everybody.   (a comment with trailing blanks)\x20\x20
---
$zone: {ttl: 300}   # settings

'':                                  # the apex
    - type: NS
      values:
      - ns1.example.com.             # here
      - ns2.example.com.             # there
    -   type: TXT                    # wide dash
        values:
        # what the mail says
        - 'v=spf1 -all'
        - "with \\"quotes\\""
        # a last word


ns1: {type: A, value: 192.0.2.1}     # flow, and a comment behind
"ns2": { type: A ,  value : 192.0.2.2 }
mail: [{type: A, value: 192.0.2.25}, {type: AAAA, value: '2001:db8::25'}]  # flow list
web:
  # the comment of the record
  type: A        # of the type
  ttl: 0060
  # over the values
  values: [192.0.2.80,   192.0.2.81]
  geo:
     EU: [203.0.113.10]     # Frankfurt
     # over America
     NA: [203.0.113.20]

wide: {
    type: A,
    # inside of the flow
    ttl: 60,
    value: 192.0.2.7
  }
long:
  type: TXT
  value: |
    a text of # no comment

    with lines
half: &half
  type: A
  value: 192.0.2.50
other: *half
merged:
  - <<: &base {type: A, ttl: 77}
    value: 192.0.2.60
  - type: TXT
    value: beside
"*.dev": {type: CNAME, value: web.example.com.}
# the end
"""


def changed(text: str, name: str, rtype: str, record: dict[str, Any] | None) -> str:
    owner = Name.parse(name, APEX)
    data = text.encode()
    if record is None:
        return edit.remove(data, APEX, owner, rtype, "f").data.decode()
    return edit.put(data, APEX, owner, rtype, record, "f").data.decode()


def difference(before: str, after: str) -> list[str]:
    """The lines that went (-) and came (+)."""
    lines = difflib.unified_diff(before.split("\n"), after.split("\n"), n=0, lineterm="")
    return [line for line in lines if not line.startswith(("---", "+++", "@@"))]


def shown(text: str, name: str, rtype: str) -> Any:
    """The record as JSON."""
    owner = Name.parse(name, APEX)
    for each in edit.records(Source(text.encode(), "f"), APEX):
        if (each.owner, each.type) == (owner, rtype):
            return edit.as_json(each.node)
    return None


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize(
    ("name", "rtype", "record", "expected"),
    [
        ("ns1", "A", {"value": "192.0.2.9"}, ["-ns1: {type: A, value: 192.0.2.1}     # flow, and a comment behind",
                                               "+ns1: {type: A, value: 192.0.2.9}     # flow, and a comment behind"]),
        ("ns2", "A", {"value": "192.0.2.9"}, ['-"ns2": { type: A ,  value : 192.0.2.2 }', '+"ns2": {type: A, value: 192.0.2.9}']),
        ("mail", "AAAA", {"value": "2001:db8::26"},
         ["-mail: [{type: A, value: 192.0.2.25}, {type: AAAA, value: '2001:db8::25'}]  # flow list",
          "+mail: [{type: A, value: 192.0.2.25}, {type: AAAA, value: '2001:db8::26'}]  # flow list"]),
        ("mail", "TXT", {"value": "x y"},
         ["-mail: [{type: A, value: 192.0.2.25}, {type: AAAA, value: '2001:db8::25'}]  # flow list",
          "+mail: [{type: A, value: 192.0.2.25}, {type: AAAA, value: '2001:db8::25'}, {type: TXT, value: 'x y'}]  # flow list"]),
        ("mail", "A", None,
         ["-mail: [{type: A, value: 192.0.2.25}, {type: AAAA, value: '2001:db8::25'}]  # flow list",
          "+mail: [{type: AAAA, value: '2001:db8::25'}]  # flow list"]),
        ("@", "NS", {"values": ["ns1.example.com.", "ns3.example.com."]},
         ["-      - ns2.example.com.             # there", "+      - ns3.example.com.             # there"]),
        ("web", "A", {"ttl": 60, "values": ["192.0.2.80", "192.0.2.82"],
                      "geo": {"EU": ["203.0.113.10"], "NA": ["203.0.113.21"]}}, None),
        ("wide", "A", {"ttl": 61, "value": "192.0.2.7"}, None),
        ("long", "TXT", {"value": "short"}, None),
        ("ns1", "AAAA", {"value": "2001:db8::1"},
         ["-ns1: {type: A, value: 192.0.2.1}     # flow, and a comment behind", "+ns1:",
          "+  - {type: A, value: 192.0.2.1}     # flow, and a comment behind", "+  - type: AAAA", "+    value: 2001:db8::1"]),
        ("web", "TXT", {"value": "x"}, None),
        ("merged", "TXT", None, ["-  - type: TXT", "-    value: beside"]),
        ("long", "TXT", None, ["-long:", "-  type: TXT", "-  value: |", "-    a text of # no comment", "-", "-    with lines"]),
        ("*.dev", "CNAME", None, ['-"*.dev": {type: CNAME, value: web.example.com.}']),
        ("new.sub", "A", {"values": ["192.0.2.3", "192.0.2.4"]},
         ["+", "+new.sub:", "+  type: A", "+  values:", "+    - 192.0.2.3", "+    - 192.0.2.4"]),
        ("1", "PTR", {"value": "no."}, ["+", "+'1':", "+  type: PTR", "+  value: no."]),
    ],
)  # fmt: skip
def test_only_the_record_differs(
    name: str, rtype: str, record: dict[str, Any] | None, expected: list[str] | None, newline: str, mark: str
) -> None:
    """The other lines of a file of many styles are the same octets; comments in the record itself are kept."""
    before = mark + STYLES.replace("\n", newline)
    after = changed(before, name, rtype, record)
    told = [line.removesuffix("\r") for line in difference(before, after)]
    if expected is not None:
        assert expected == told
    wanted = None if record is None else {"type": rtype, **record}
    assert wanted == shown(after, name, rtype)
    assert after.count("\r\n") == (after.count("\n") if newline == "\r\n" else 0)
    gone = [line for line in told if line.startswith("-") and line[1:].lstrip().startswith("#")]
    come = [line for line in told if line.startswith("+") and line[1:].lstrip().startswith("#")]
    assert sorted(line[1:].strip() for line in gone) == sorted(line[1:].strip() for line in come)


def test_comments_in_a_record() -> None:
    """What is not changed in a record keeps its line, its comment and its place."""
    record = shown(STYLES, "web", "A")
    record["geo"]["NA"] = ["203.0.113.20", "203.0.113.21"]
    assert [
        "-     NA: [203.0.113.20]",
        "+     NA: [203.0.113.20, 203.0.113.21]",
    ] == [line for line in difference(STYLES, changed(STYLES, "web", "A", record)) if "values" not in line]
    del record["geo"]["NA"]
    after = changed(STYLES, "web", "A", record)
    assert "# over America" in after
    assert "EU: [203.0.113.10]     # Frankfurt" in after


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_what_comes_and_goes_leaves_nothing(newline: str) -> None:
    """Also no blank line, of those that stand around it; others stay."""
    for text in (
        "a: {type: A, value: 192.0.2.1}\n",
        "a: {type: A, value: 192.0.2.1}\n\nb: {type: A, value: 192.0.2.2}\n",
    ):
        before = text.replace("\n", newline)
        assert before == changed(changed(before, "new", "A", {"value": "192.0.2.3"}), "new", "A", None)
    between = "a: {type: A, value: 192.0.2.1}\n\nb: {type: A, value: 192.0.2.2}\n\n# of c\nc: {type: A, value: 192.0.2.3}\n"
    assert between.replace("b: {type: A, value: 192.0.2.2}\n\n", "") == changed(between, "b", "A", None)


def test_the_same_record_is_the_same_file() -> None:
    """A record that says what is there already changes no octet, whatever its style."""
    for name, rtype in (("web", "A"), ("wide", "A"), ("long", "TXT"), ("@", "TXT"), ("merged", "A")):
        assert STYLES == changed(STYLES, name, rtype, shown(STYLES, name, rtype))


@pytest.mark.parametrize(
    ("name", "record"),
    [
        ("half", {"value": "192.0.2.51"}),
        ("half", None),
        ("other", {"value": "192.0.2.51"}),
        ("other", None),
        ("merged", {"ttl": 5, "value": "192.0.2.61"}),
    ],
)
def test_shared_text_is_left_alone(name: str, record: dict[str, Any] | None) -> None:
    """A record that is an alias or merged, or that others are aliases of, is left: others would change too."""
    with pytest.raises(EditError, match="alias"):
        changed(STYLES, name, "A", record)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("<<: {www: {type: A, value: 192.0.2.1}}\nns: {type: A, value: 192.0.2.1}\n", "`<<`"),
        ("www: [", "errors"),
        ("www: !x {type: A, value: 192.0.2.1}\n", "errors"),
    ],
)
def test_what_can_not_be_edited(text: str, what: str) -> None:
    """A file that is broken, or whose names come from elsewhere, is refused with a reason."""
    with pytest.raises(EditError, match=what):
        changed(text, "www", "A", {"value": "192.0.2.2"})


def test_what_is_not_there() -> None:
    """A record that is not there cannot be taken out."""
    with pytest.raises(LookupError):
        changed(STYLES, "web", "MX", None)
    with pytest.raises(EditError, match="AAAA"):
        changed(STYLES, "web", "A", {"type": "AAAA", "value": "192.0.2.2"})


def test_what_is_said_already_stays() -> None:
    """A mapping in a list keeps its braces beside what is changed."""
    start = "app:\n  type: A\n  ttl: 60\n  values: [192.0.2.80]\n  dynamic:\n    pools:\n"
    end = "    rules: [{pool: iad}]\n"
    pool = "      iad: {values: [{value: 192.0.2.1}], location: {lat: 39.1, lon: -77.5}}\n"
    record = {
        "ttl": 30,
        "values": ["192.0.2.80"],
        "dynamic": {
            "pools": {"iad": {"values": [{"value": "192.0.2.1"}], "location": {"lat": 39.1, "lon": -77.5}}},
            "rules": [{"pool": "iad"}],
        },
    }
    text = start + pool + end
    owner = Name.parse("app.example.com")
    assert (
        text.replace("ttl: 60", "ttl: 30").encode()
        == edit.put(text.encode(), APEX, owner, "A", record, "x").data
    )


@pytest.mark.parametrize(
    ("values", "location", "expected"),
    [
        # as JavaScript sends what it was given: 39 for 39.0
        ([{"value": "192.0.2.1", "weight": 2}], {"lat": 39, "lon": -77.5}, ("[{value: 192.0.2.1, weight: 2.0}]", "39.0")),
        ([{"value": "192.0.2.9"}, {"value": "192.0.2.1", "weight": 2}], {"lat": 39, "lon": -77.5},
         ("[{value: 192.0.2.9}, {value: 192.0.2.1, weight: 2.0}]", "39.0")),
        ([{"weight": 2, "value": "192.0.2.9"}], {"lat": 39, "lon": -77.5}, ("[{value: 192.0.2.9, weight: 2.0}]", "39.0")),
        ([{"value": "192.0.2.1", "weight": 3}], {"lat": 39.5, "lon": -77.5}, ("[{value: 192.0.2.1, weight: 3}]", "39.5")),
        ([{"value": "192.0.2.1", "weight": True}], {"lat": "39", "lon": -77.5},
         ("[{value: 192.0.2.1, weight: true}]", "39")),
    ],
)  # fmt: skip
def test_numbers_keep_their_spelling(values: Any, location: Any, expected: tuple[str, str]) -> None:
    """A number that has not changed stays as it is written, wherever in its list it is now; a text is no number."""

    def text(ttl: int, values: str, latitude: str) -> str:
        pools = f"{{iad: {{values: {values}, location: {{lat: {latitude}, lon: -77.5}}}}}}"
        dynamic = f"  dynamic:\n    pools: {pools}\n    rules: [{{pool: iad}}]\n"
        return f"www:\n  type: A\n  ttl: {ttl}\n  values: [192.0.2.80]\n{dynamic}"

    before = text(60, "[{value: 192.0.2.1, weight: 2.0}]", "39.0")
    pools = {"iad": {"values": values, "location": location}}
    record = {"ttl": 30, "values": ["192.0.2.80"], "dynamic": {"pools": pools, "rules": [{"pool": "iad"}]}}
    after = changed(before, "www", "A", record)
    assert text(30, expected[0], expected[1]) == after.replace("'39'", "39")
    assert before == changed(
        before, "www", "A", json.loads(json.dumps(shown(before, "www", "A")).replace(".0,", ","))
    )


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('{"www": {"type": "A", "value": "192.0.2.1"}}', '{"www": {"type": "A", "value": "192.0.2.2"}}'),
        ("www: {type: A, value: 192.0.2.1}", "www: {type: A, value: 192.0.2.2}"),
        ("  www:\n    type: A\n    value: 192.0.2.1\n...\n", "  www:\n    type: A\n    value: 192.0.2.2\n...\n"),
        ("? www\n: type: A\n  value: 192.0.2.1\n", "? www\n: type: A\n  value: 192.0.2.2\n"),
        ("www:\n- type: A\n  value: 192.0.2.1", "www:\n- type: A\n  value: 192.0.2.2"),
        ("WWW.example.com.: {type: a, value: 192.0.2.1}\n", "WWW.example.com.: {type: A, value: 192.0.2.2}\n"),
        ("www: &x {type: A, value: 192.0.2.1}\n", "www: &x {type: A, value: 192.0.2.2}\n"),
        ("www: &x\n  type: A\n  value: 192.0.2.1\n", "www: &x\n  type: A\n  value: 192.0.2.2\n"),
        ("www: {type: TYPE1, value: 192.0.2.1}\n", "www: {type: A, value: 192.0.2.2}\n"),
    ],
)  # fmt: skip
def test_rare_styles(before: str, after: str) -> None:
    """JSON, indented roots, explicit keys, no newline at the end, other ways to write name and type."""
    assert after == changed(before, "www", "A", {"value": "192.0.2.2"})


TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12)
LABELS = st.sampled_from(["www", "a", "*", "_sip._tcp", "1", "no", "null", "@", "x.y", "http-alt", "ns"])
TXTS = st.fixed_dictionaries(
    {"value": TEXTS}, optional={"ttl": st.integers(0, 2**31 - 1), "octodns": st.just({"lenient": True})}
)
ADDRESSES = st.fixed_dictionaries(
    {"values": st.lists(st.sampled_from(["192.0.2.1", "192.0.2.2"]), min_size=1, max_size=2)}
)
EDITS = st.lists(
    st.one_of(
        st.tuples(LABELS, st.just("TXT"), TXTS),
        st.tuples(LABELS, st.just("A"), ADDRESSES),
        st.tuples(LABELS, st.sampled_from(["TXT", "A"]), st.none()),
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=60, deadline=None)
@given(edits=EDITS, start=st.sampled_from(["", STYLES]))
def test_any_edits_come_to_what_they_say(edits: list[Any], start: str) -> None:
    """After any sequence of edits, every record says what was put last, and the others what they said."""
    text = start or "ns1: {type: A, value: 192.0.2.1}\n"
    said = {
        (each.owner.key, each.type): edit.as_json(each.node)
        for each in edit.records(Source(text.encode(), "f"), APEX)
    }
    for name, rtype, record in edits:
        key = (Name.parse(name, APEX).key, rtype)
        try:
            text = changed(text, name, rtype, record)
        except LookupError:
            assert key not in said
            continue
        if record is None:
            del said[key]
        else:
            said[key] = {"type": rtype, **record}
    source = Source(text.encode(), "f")
    now = {(each.owner.key, each.type): edit.as_json(each.node) for each in edit.records(source, APEX)}
    assert [] == source.problems
    assert said == now
    load_text(text.encode(), APEX, "f", 1)
