"""The HTTP API of a real server: what it reads, what it writes, and what it refuses."""

import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.server.api import TOKEN, ZONE, Api, serving_api
from tests.server.backends import addresses
from tests.server.serving import PATIENCE_SECONDS, Client, query

NO_QUESTIONS = [
    *("geo/x", "explain", "explain?name=a..b", "explain?name=a&type=NOPE", "explain?name=a&from=1.2.3"),
    *("explain?name=a&name=b", "explain?name=a&subnet=10.0.0.1/8", "explain?name=a&x=1"),
]
NO_OVERRIDES = [
    {"target": "iad"},
    {"target": "iad", "state": "x"},
    *({"target": "iad", "state": "up", "for": given} for given in ("x", -1, 1e300, True, [])),
]
WRITES = [
    ("PUT", "/v1/zones/example.com?dry_run=1"),
    ("DELETE", "/v1/zones/example.com"),
    ("PUT", "/v1/zones/example.com/records/ns1/A"),
    ("DELETE", "/v1/zones/example.com/records/ns1/A"),
    ("POST", "/v1/check?zone=a"),
    ("PUT", "/v1/overrides"),
    ("POST", "/v1/reload"),
]
# Nothing is read again by itself: a loader for every file that a test changes would take all the time.
LIMITS = "limits: {http_body_octets: 100000, reload_quiet_milliseconds: 2000, rescan_seconds: 3600}\n"
RECORD = "/v1/zones/example.com/records/ns1/A"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """One server for all tests that leave its zone as they found it."""
    with serving_api(tmp_path_factory.mktemp("api"), more=LIMITS) as api:
        yield api


@pytest.fixture
def api(server: Api) -> Api:
    for path in server.zones.iterdir():
        if path.name != "example.com.yaml":
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    path = server.zones / "example.com.yaml"
    if path.is_symlink() or not path.exists() or path.read_text() != ZONE:
        path.unlink(missing_ok=True)
        path.write_text(ZONE)
    return server


def addresses_of(api: Api, name: str = "ns1.example.com") -> tuple[str, ...]:
    return addresses(Client(api.dns).ask(query(name, "A")))


def test_zones(api: Api) -> None:
    """Every file, its state, its serial and its problems; also of one that is broken, and of one that was."""
    api.ask("POST", "/v1/reload")
    (zone,) = api.ask("GET", "/v1/zones", token=None).json["zones"]
    assert ("example.com.", "zones/example.com.yaml", "served", []) == (
        zone["zone"], zone["file"], zone["state"], zone["problems"],
    )  # fmt: skip
    assert zone["serial"] > 0
    (api.zones / "example.com.yaml").write_text(ZONE.replace("192.0.2.1}", "192.0.2.300}"))
    (api.zones / "example.net.yaml").write_text("www: [")
    told = api.ask("POST", "/v1/reload").json
    assert told["loaded"]
    assert 1 == told["zones"]
    stale, failed = api.ask("GET", "/v1/zones", token=None).json["zones"]
    assert ("stale", zone["serial"], "failed", None) == (
        stale["state"], stale["serial"], failed["state"], failed["serial"],
    )  # fmt: skip
    (problem,) = stale["problems"]
    assert (5, 23, "error", "ns1 A") == (
        problem["line"],
        problem["column"],
        problem["level"],
        problem["where"],
    )
    assert problem in told["problems"]


def test_a_zone_and_its_records(api: Api) -> None:
    """The file's own octets with their ETag; the records by name, with their pools; one as JSON."""
    text = api.ask("GET", "/v1/zones/example.com.", token=None)
    assert (200, ZONE.encode(), "text/yaml; charset=utf-8") == (
        text.status,
        text.body,
        text.headers["Content-Type"],
    )
    assert 304 == api.ask("GET", "/v1/zones/EXAMPLE.com", If_None_Match=text.etag).status
    listed = api.ask("GET", "/v1/zones/example.com/records", token=None)
    assert text.etag == listed.etag
    assert [("@", "NS", []), ("ns1", "A", []), ("app", "A", ["fra", "iad"])] == [
        (row["name"], row["type"], row["pools"]) for row in listed.json["records"]
    ]
    assert [300, True, 7] == [listed.json["records"][2][key] for key in ("ttl", "steered", "line")]
    found = api.ask("GET", "/v1/zones/example.com/records?search=AP&limit=1").json
    assert (1, "app") == (found["total"], found["records"][0]["name"])
    one = api.ask("GET", RECORD, token=None)
    assert ({"type": "A", "value": "192.0.2.1"}, text.etag) == (one.json["record"], one.etag)
    for path in ("/v1/zones/example.net", "/v1/zones/example.net/records", f"{RECORD}AAA"):
        assert 404 == api.ask("GET", path).status


def test_explain_and_geo(api: Api) -> None:
    """What the server would answer now, forced states included, and where an address is."""
    asked = "/v1/explain?name=app.example.com&from=127.0.0.1"
    told = api.ask("GET", f"{asked}&subnet=127.11.0.0/16", token=None).json
    assert "127.0.0.1, which sends 127.11.0.0/16" == told["client"]
    assert told["text"].startswith("app.example.com. A for 127.0.0.1, which sends")
    assert re.search(r"rule 1 +EU: yes", told["text"]) is not None
    assert 200 == api.ask("PUT", "/v1/overrides", {"target": "fra", "state": "down"}).status
    until(
        lambda: (
            "fra: all of its values are down" in api.ask("GET", f"{asked}&subnet=127.11.0.0/16").json["text"]
        )
    )
    assert 200 == api.ask("PUT", "/v1/overrides", {"target": "fra", "state": "auto"}).status
    place = api.ask("GET", "/v1/geo/127.11.0.1", token=None).json
    assert ("127.11.0.1", "EU") == (place["address"], place["codes"][-1])
    for path in NO_QUESTIONS:
        assert 400 == api.ask("GET", f"/v1/{path}").status, path
    for qtype in (*range(1, 70), *range(240, 260), 65535):
        answer = api.ask("GET", f"/v1/explain?name=app.example.com&type=TYPE{qtype}")
        assert answer.status in (200, 400), (qtype, answer)


def until(is_so: object) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_so():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_check(api: Api) -> None:
    """The problems of a text, with lines and columns, and nothing is written."""
    path = "/v1/check?zone=example.com"
    assert {"zone": "example.com.", "ok": True, "records": 4, "problems": []} == api.ask(
        "POST", path, ZONE.encode()
    ).json
    told = api.ask("POST", path, ZONE.replace("pool: iad", "pool: lhr").encode()).json
    assert not told["ok"]
    assert 15 in [problem["line"] for problem in told["problems"]]
    bomb = "".join(f"x{at}: &x{at} [{', '.join([f'*x{at - 1}'] * 9) if at else '1'}]\n" for at in range(12))
    what = [problem["what"] for problem in api.ask("POST", path, bomb.encode()).json["problems"]]
    assert any("aliases counted as what they stand for" in each for each in what)
    assert ["example.com.yaml"] == os.listdir(api.zones)


def test_a_whole_zone_is_written(api: Api) -> None:
    """Made, replaced and taken away, only by who has seen what is there; served when the reload is done."""
    path = "/v1/zones/example.net"
    text = ZONE.replace("example.com", "example.net").encode()
    dry = api.ask("PUT", f"{path}?dry_run=1", text, If_None_Match="*")
    assert (200, False) == (dry.status, dry.json["written"])
    assert not (api.zones / "example.net.yaml").exists()
    made = api.ask("PUT", path, text, If_None_Match="*")
    assert (201, True, "zones/example.net.yaml") == (made.status, made.json["written"], made.json["file"])
    assert made.json["diff"].startswith(
        "--- a/zones/example.net.yaml\n+++ b/zones/example.net.yaml\n@@ -0,0 +1,"
    )
    assert text == (api.zones / "example.net.yaml").read_bytes()
    api.ask("POST", "/v1/reload")
    assert ("192.0.2.1",) == addresses_of(api, "ns1.example.net")
    for headers in ({}, {"If_None_Match": "*"}, {"If_Match": '"old"'}, {"If_Match": f"W/{made.etag}"},
                    {"If_Match": made.etag, "If_None_Match": "*"}):  # fmt: skip
        assert 412 == api.ask("PUT", path, text + b"#", **headers).status, headers
    other = api.ask("PUT", path, text.replace(b"192.0.2.1}", b"192.0.2.2}"), If_Match=f'"old", {made.etag}')
    assert [
        "-ns1: {type: A, value: 192.0.2.1}   # the server",
        "+ns1: {type: A, value: 192.0.2.2}   # the server",
    ] == [line for line in other.json["diff"].split("\n") if re.match("[-+][^-+]", line)]
    assert other.etag == api.etag("example.net")
    assert 412 == api.ask("DELETE", path, If_Match=made.etag).status
    assert 200 == api.ask("DELETE", f"{path}?dry_run=true", If_Match=other.etag).status
    gone = api.ask("DELETE", path, If_Match=other.etag)
    assert (200, None, True) == (gone.status, gone.json["etag"], gone.json["written"])
    assert ["example.com.yaml"] == os.listdir(api.zones)
    assert 412 == api.ask("DELETE", path, If_Match="*").status


def test_a_record_is_written(api: Api) -> None:
    """One record is changed, added and taken out, and the file keeps everything else as it was written."""
    seen = api.etag()
    dry = api.ask("PUT", f"{RECORD}?dry_run=1", {"value": "192.0.2.300"}, If_Match=seen)
    assert (200, 5, False) == (dry.status, dry.json["problems"][0]["line"], dry.json["written"])
    bad = api.ask("PUT", RECORD, {"value": "192.0.2.300"}, If_Match=seen)
    assert (422, 5, 23) == (bad.status, bad.json["problems"][0]["line"], bad.json["problems"][0]["column"])
    assert ZONE == (api.zones / "example.com.yaml").read_text()
    done = api.ask("PUT", RECORD, {"ttl": 60, "value": "192.0.2.3"}, If_Match=seen)
    assert 200 == done.status
    wanted = ZONE.replace("{type: A, value: 192.0.2.1}", "{type: A, value: 192.0.2.3, ttl: 60}")
    assert wanted == (api.zones / "example.com.yaml").read_text()
    assert 412 == api.ask("PUT", RECORD, {"value": "192.0.2.4"}, If_Match=seen).status
    api.ask("POST", "/v1/reload")
    assert ("192.0.2.3",) == addresses_of(api)
    path = "/v1/zones/example.com/records/%2A.a%2Fb.example.com./TXT"
    added = api.ask("PUT", path, {"value": "über; all"}, If_Match=done.etag)
    assert (200, "*.a/b") == (added.status, api.ask("GET", path).json["name"])
    assert 200 == api.ask("DELETE", path, If_Match=added.etag).status
    assert 404 == api.ask("DELETE", path, If_Match="*").status
    same = api.ask("PUT", RECORD, {"type": "A", "ttl": 60, "value": "192.0.2.3"}, If_Match="*")
    assert (False, "") == (same.json["written"], same.json["diff"])


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"[]", b"{", b'{"value": NaN}', b'{"a": 1, "a": 2}', b'"x"', b"\xff", b'{"value": "\\ud800"}'),
        b'{"value":' + b"[" * 5000 + b"]" * 5000 + b"}",
        b'{"value": 1' + b"0" * 5000 + b"}",
    ],
)
def test_what_is_no_record(api: Api, body: bytes) -> None:
    """Anything but a JSON object that YAML can say is refused, and the file stays."""
    assert 400 == api.ask("PUT", RECORD, body, If_Match="*").status
    assert ZONE == (api.zones / "example.com.yaml").read_text()


@pytest.mark.parametrize(
    "zone",
    [
        *("..", "%2e%2e", "..%2f..%2fetc", "%2fetc%2fpasswd", "%2e%2e%2fsecret", "a%2f..%2f..%2fb", "..%5c"),
        *(
            "a%00b",
            "%00",
            "secret.yaml%00",
            "-x",
            "\\047etc",
            "a%20b",
            "%ff",
            "*.example",
            "$x",
            "a..b",
            ".hidden",
        ),
        *("x" * 64 + ".example", ".".join(["a" * 60] * 5), "x" * 1500, "%252e%252e%252fsecret"),
    ],
)
def test_nothing_outside_of_the_folder(api: Api, zone: str) -> None:
    """Whatever stands for another folder, hidden files or no name is refused in every operation."""
    (api.folder / "secret.yaml").write_text("secret: true")
    before = sorted(os.listdir(api.folder))
    for method in ("GET", "PUT", "DELETE"):
        answer = api.ask(
            method, f"/v1/zones/{zone}", ZONE.encode() if method == "PUT" else None, If_None_Match="*"
        )
        assert 400 <= answer.status < 500, (method, answer.status)
        assert b"secret: true" not in answer.body
    assert (
        400
        <= api.ask("PUT", f"/v1/zones/{zone}/records/a/A", {"value": "192.0.2.1"}, If_Match="*").status
        < 500
    )
    assert ["example.com.yaml"] == os.listdir(api.zones)
    assert before == sorted(os.listdir(api.folder))


def test_a_record_of_many(api: Api) -> None:
    """One record of 2,000 is changed, with the other lines as they were, and is served."""
    head = "'': {type: NS, values: [ns1.example.com.]}\n"
    before = head + "".join(f"h{at}: {{type: A, value: 198.51.{at >> 8}.{at & 255}}}\n" for at in range(2000))
    (api.zones / "many.example.yaml").write_text(before)
    record = {"value": "203.0.113.77"}
    path = "/v1/zones/many.example/records/h1234/A"
    done = api.ask("PUT", path, record, If_Match=api.etag("many.example"))
    assert (200, True) == (done.status, done.json["written"])
    after = before.replace("{type: A, value: 198.51.4.210}", "{type: A, value: 203.0.113.77}")
    assert after == (api.zones / "many.example.yaml").read_text()
    assert done.json["diff"].count("\n+h") == done.json["diff"].count("\n-h") == 1
    api.ask("POST", "/v1/reload")
    assert ("203.0.113.77",) == addresses_of(api, "h1234.many.example")
    assert ("198.51.4.211",) == addresses_of(api, "h1235.many.example")


def test_work_has_a_limit(tmp_path: Path) -> None:
    """What takes longer than limits.http_work_seconds is ended and refused, and nothing is written."""
    with serving_api(
        tmp_path, more="limits: {http_work_seconds: 0.01}\n"
    ) as api:  # as long as Python takes to start
        refused = api.ask("PUT", RECORD, {"value": "192.0.2.2"}, If_Match="*")
        assert (422, True) == (refused.status, "limits.http_work_seconds, 0.01 s" in refused.json["error"])
        assert ZONE == (api.zones / "example.com.yaml").read_text()


def test_links(api: Api) -> None:
    """A link in the folder is neither read nor written through, to a file or to a folder."""
    (api.folder / "secret").write_text(ZONE)
    (api.zones / "link.example.yaml").symlink_to(api.folder / "secret")
    (api.zones / "dir.example.yaml").symlink_to(api.folder)
    for zone in ("link.example", "dir.example"):
        for method, body in (("GET", None), ("PUT", ZONE.encode()), ("DELETE", None)):
            answer = api.ask(method, f"/v1/zones/{zone}", body, If_Match="*")
            assert (409, True) == (answer.status, "link" in answer.json["error"])
    assert ZONE == (api.folder / "secret").read_text()


def test_bodies_have_a_limit(api: Api) -> None:
    """A zone that is larger than limits.http_body_octets is refused, announced or not; so is a packed one."""
    large = b"#" * 100_001
    assert 413 == api.ask("PUT", "/v1/zones/example.com", large, If_Match="*").status
    assert 413 == api.ask("POST", "/v1/check?zone=a", large).status
    assert 415 == api.ask("POST", "/v1/check?zone=a", b"", Content_Encoding="gzip").status
    assert 413 == api.ask("PUT", "/v1/overrides", b" " * 20_000).status
    with socket.create_connection(("127.0.0.1", api.port), PATIENCE_SECONDS) as sock:
        head = f"POST /v1/check?zone=a HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {TOKEN}\r\n"
        sock.sendall(
            f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + b"19000\r\n" + large[:0x19000] + b"\r\n"
        )
        assert b" 413 " in sock.recv(100)


def test_writing_needs_the_token(api: Api) -> None:
    """Every operation that writes, also those that only would."""
    for method, path in WRITES:
        assert 401 == api.ask(method, path, b"", token=None, If_Match="*").status
        assert 401 == api.ask(method, path, b"", token="x" * 32, If_Match="*").status
    assert ZONE == (api.zones / "example.com.yaml").read_text()


def test_one_of_many_writers_wins(api: Api) -> None:
    """Of writers with the same ETag one is told that it has written, and its text is what is there."""
    seen = api.etag()
    texts = [ZONE.replace("# by hand", f"# by {at}").encode() for at in range(8)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(lambda text: api.ask("PUT", "/v1/zones/example.com", text, If_Match=seen), texts)
        )
    assert [200, *[412] * 7] == sorted(answer.status for answer in answers)
    (won,) = (text for text, answer in zip(texts, answers, strict=True) if answer.status == 200)
    assert won == (api.zones / "example.com.yaml").read_bytes()


def test_overrides(api: Api) -> None:
    """A pool is forced down for a while, is answered so within a second, and left to its checks again."""
    told = api.ask(
        "PUT", "/v1/overrides", {"target": "iad", "state": "down", "for": "2h", "reason": "works"}
    ).json
    assert (1, 1, "down") == (told["values"], told["records"], told["state"])
    assert 7190 < told["until"] - time.time() < 7202
    (line,) = api.ask("GET", "/v1/overrides", token=None).json["overrides"]
    assert ("iad", "down", "works") == (line["target"], line["state"], line["reason"])
    until(lambda: addresses_of(api, "app.example.com") == ("192.0.2.80",))
    refused = api.ask("PUT", "/v1/overrides", {"target": "lhr", "state": "down"})
    assert (422, True) == (refused.status, "no value" in refused.json["error"])
    assert 422 == api.ask("PUT", "/v1/overrides", {"target": "a\nb", "state": "up", "force": True}).status
    for body in NO_OVERRIDES:
        assert 400 == api.ask("PUT", "/v1/overrides", body).status
    assert 1 == api.ask("PUT", "/v1/overrides", {"target": "iad", "state": "auto"}).json["removed"]
    assert [] == api.ask("GET", "/v1/overrides").json["overrides"]
    until(lambda: addresses_of(api, "app.example.com") == ("203.0.113.20",))


def test_a_config_that_is_broken(tmp_path: Path) -> None:
    """A reload that the config forbids says so, with the place in the config, and nothing else changes."""
    with serving_api(tmp_path) as api:
        config = tmp_path / "geodns.yaml"
        good = config.read_text()
        config.write_text(f"{good}listen: nowhere\n")
        told = api.ask("POST", "/v1/reload").json
        assert (False, 1, 3) == (told["loaded"], told["zones"], told["problems"][0]["line"])
        config.write_text(good)
        assert {"loaded": True, "zones": 1, "problems": []} == api.ask("POST", "/v1/reload").json
        threads = [threading.Thread(target=api.ask, args=("POST", "/v1/reload")) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert 0 == api.process.end()
