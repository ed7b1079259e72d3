"""Zone files by the thousand, and zone files that are none."""

import subprocess
import sys
import time
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from geodns.name import Name
from geodns.zone import load_text

APEX = Name.parse("example.com.")
ROOT = Path(__file__).parents[2]
EXAMPLE = (ROOT / "zones" / "example.com.yaml").read_bytes()
BROKEN = [path.read_bytes() for path in sorted(Path(__file__).parent.joinpath("broken").glob("*.yaml"))]

# Reading, parsing and checking take 3 to 4 s and 120 MB of the 10 s and 400 MB that serving 100,000 records
# may
# take; the bounds leave room for a busy machine.
LOAD_SECONDS_MAX = 15
LOAD_MEGABYTES_MAX = 250

_WORDS = (
    "A AAAA MX TXT NS CNAME www '' '*' @ type: ttl: value: values: geo: dynamic: pools: rules: $zone: soa: "
    "octodns: healthcheck: protocol: fallback: location: share: nearest: "
    "true EU NA-US 192.0.2.1 2001:db8::1 a.example.com. [ ] { } , & * &a *a << : - ! !!int | > ? # % ~ "
    "null \n \t \\"
)
WORDS = st.sampled_from(_WORDS.split(" "))


def outcome(data: bytes) -> None:
    checked, problems = load_text(data, APEX, "z.yaml", 1)
    errors = [problem for problem in problems if problem.is_error]
    assert (checked is None) == bool(errors)
    for problem in problems:
        assert problem.check
        assert problem.line >= 0
        assert "\n" not in str(problem)


@given(st.binary(max_size=400))
def test_any_octets_are_a_zone_or_a_problem(data: bytes) -> None:
    """No exception, and never neither."""
    outcome(data)


@settings(max_examples=300)
@given(st.lists(WORDS, max_size=40), st.sampled_from([" ", "\n", ": ", "\n  "]))
def test_any_words_are_a_zone_or_a_problem(words: list[str], glue: str) -> None:
    """What the format has, in any order."""
    outcome(glue.join(words).encode())


@settings(max_examples=300)
@given(
    st.sampled_from([EXAMPLE, *BROKEN]),
    st.lists(
        st.tuples(
            st.integers(0, 10_000),
            st.integers(0, 12),
            st.one_of(st.binary(max_size=6), WORDS.map(str.encode)),
        ),
        min_size=1,
        max_size=4,
    ),
)
def test_a_damaged_zone_file_is_a_zone_or_a_problem(data: bytes, cuts: list[tuple[int, int, bytes]]) -> None:
    """Pieces are cut out of zone files, and others are put in."""
    for at, length, piece in cuts:
        start = at % (len(data) + 1)
        data = data[:start] + piece + data[start + length :]
    outcome(data)


def test_100_000_records_load_in_time_and_memory() -> None:
    """Read, parsed and checked in a process of its own, as the server does it; its time and memory are
    printed.
    """
    run = subprocess.run([sys.executable, __file__], capture_output=True, text=True, check=True)
    print(run.stdout)
    seconds, megabytes, records = map(float, run.stdout.split())
    assert 100_000 <= records
    assert seconds < LOAD_SECONDS_MAX
    assert megabytes < LOAD_MEGABYTES_MAX


def many_records(count: int) -> bytes:
    lines = ["'': {type: NS, values: [ns1.example.net., ns2.example.net.]}\n"]
    for number in range(count):
        last = f"{number // 65536}.{number // 256 % 256}.{number % 256}"
        lines.append(f"host{number}:\n  type: A\n  ttl: 300\n  value: 203.{last}\n")
    return "".join(lines).encode()


if __name__ == "__main__":
    zone_file = many_records(100_000)
    before = time.process_time()
    loaded, _ = load_text(zone_file, APEX, "z.yaml", 1)
    spent = time.process_time() - before
    assert loaded is not None
    # not getrusage, whose ru_maxrss has the parent's from before exec in it
    peak = Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]
    print(spent, int(peak) / 1024, len(loaded.zone.rrsets))
