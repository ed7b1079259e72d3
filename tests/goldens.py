"""Reading and speaking the goldens of tests/answers: Markdown with a zone, questions and their answers.

    ```zone example.com      a zone file, as an operator writes it
    ```dns                   a question after "> ", then the answer line by line

A question is a name and a type, then words: `from ADDRESS` (the address that asks, 192.0.2.53 unless said),
`ecs PREFIX`, `no-edns`, `size N`, `tcp`, `nsid`, `cookie HEX`, `keepalive`, `class CH`, `draw N` (0 unless
said), `version N`, `opcode NAME`, `do`, `no-rd`. A word with blanks in it stands in single quotes.

And what is known of the values, which are up unless said: `down VALUE`, `up VALUE N` (it came up N seconds
ago), `doubt VALUE N` (in N seconds the next check can change its state).
"""

import re
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path

import dns.edns
import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype

ANSWERS = Path(__file__).parent / "answers"
_WORD = re.compile(r"'([^']*)'|(\S+)")
_BLOCK = re.compile(r"^```(zone|dns) ?([^\n]*)\n(.*?)^```$", re.M | re.S)


@dataclass
class Case:
    """One question of a golden, and the lines that answer it."""

    file: Path
    number: int
    question: str
    expected: list[str]

    def __str__(self) -> str:
        return f"{self.file.stem}-{self.number}: {self.question}"


@dataclass
class Golden:
    """A file of tests/answers: its zones by name, and its cases."""

    file: Path
    zones: dict[str, str] = field(default_factory=dict)
    cases: list[Case] = field(default_factory=list)


def read(file: Path) -> Golden:
    golden = Golden(file)
    for kind, title, text in _BLOCK.findall(file.read_text()):
        if kind == "zone":
            golden.zones[title] = text
        else:
            question, *expected = text.strip().splitlines()
            case = Case(file, len(golden.cases) + 1, question.removeprefix("> "), expected)
            golden.cases.append(case)
    return golden


def rewrite(file: Path, answers: list[list[str]]) -> None:
    """Put what the engine says into the file, for a person to read (`git diff`) before it is believed."""
    remaining = iter(answers)

    def replace(found: re.Match[str]) -> str:
        if found[1] == "zone":
            return found[0]
        question = found[3].strip().splitlines()[0]
        return "\n".join(["```dns", question, *next(remaining), "```"])

    file.write_text(_BLOCK.sub(replace, file.read_text()))


@dataclass
class Values:
    """What is known of values, by their text: seconds where there is a number."""

    down: set[str] = field(default_factory=set)
    up: dict[str, int] = field(default_factory=dict)
    doubt: dict[str, int] = field(default_factory=dict)


@dataclass
class Question:
    """What the words of a question come to."""

    packet: bytes
    client: str
    draw: int
    stream: bool
    values: Values


def ask(text: str) -> Question:
    """The packet, and what comes in beside it, for the words of a question."""
    name, rtype, *words = (quoted or word for quoted, word in _WORD.findall(text))
    said = iter(words)
    options: list[dns.edns.Option] = []
    edns, size, version, flags, stream, client, draw = True, 1232, 0, 0, False, "192.0.2.53", 0
    rdclass, opcode, header = "IN", "QUERY", dns.flags.RD
    values = Values()
    for word in said:
        match word:
            case "from":
                client = next(said)
            case "ecs":
                options.append(subnet(next(said)))
            case "no-edns":
                edns = False
            case "size":
                size = int(next(said))
            case "version":
                version = int(next(said))
            case "do":
                flags = dns.flags.DO
            case "tcp":
                stream = True
            case "nsid":
                options.append(dns.edns.GenericOption(dns.edns.OptionType.NSID, b""))
            case "cookie":
                options.append(dns.edns.GenericOption(10, bytes.fromhex(next(said))))
            case "keepalive":
                options.append(dns.edns.GenericOption(11, b""))
            case "draw":
                draw = int(next(said), 0)
            case "class":
                rdclass = next(said)
            case "opcode":
                opcode = next(said)
            case "no-rd":
                header = dns.flags.Flag(0)
            case "down":
                values.down.add(next(said))
            case "up" | "doubt":
                value = next(said)
                getattr(values, word)[value] = int(next(said))
            case _:
                raise ValueError(f"{text}: what is {word!r}?")
    query = dns.message.make_query(name, rtype, rdclass, id=0x1234)
    query.flags = header | dns.opcode.to_flags(dns.opcode.from_text(opcode))
    if edns:
        query.use_edns(version, flags, size, options=options)
    return Question(query.to_wire(), client, draw, stream, values)


def subnet(prefix: str) -> dns.edns.ECSOption:
    """EDNS Client Subnet for a prefix."""
    address, _, bits = prefix.partition("/")
    return dns.edns.ECSOption(address, int(bits), 0)


def say(answer: bytes | None) -> list[str]:
    """An answer in words: the rcode and the flags, the records, then the options."""
    if answer is None:
        return ["(no answer)"]
    message = dns.message.from_wire(answer)
    flags = [
        flag for flag in ("aa", "tc", "ad", "cd", "ra") if message.flags & dns.flags.from_text(flag.upper())
    ]
    lines = [" ".join([dns.rcode.to_text(message.rcode()), *flags])]
    for section in ("answer", "authority", "additional"):
        for rrset in getattr(message, section):
            rdclass = (
                "" if rrset.rdclass == dns.rdataclass.IN else dns.rdataclass.to_text(rrset.rdclass) + " "
            )
            rtype = dns.rdatatype.to_text(rrset.rdtype)
            word = "" if section == "answer" else section + " "
            lines += [f"{word}{rrset.name} {rrset.ttl} {rdclass}{rtype} {rdata}" for rdata in rrset]
    lines += [_option(option) for option in message.options]
    return lines


def _option(option: dns.edns.Option) -> str:
    match option.otype:
        case dns.edns.OptionType.ECS:
            network = ip_network(f"{option.address}/{option.srclen}") if option.srclen else "/0"
            return f"ecs {network} scope /{option.scopelen}"
        case dns.edns.OptionType.NSID:
            return f"nsid {option.to_wire().decode()}"
        case dns.edns.OptionType.COOKIE:
            return f"cookie {option.to_wire().hex()}"
        case dns.edns.OptionType.EDE:
            return f"ede {int(option.code)} ({dns.edns.EDECode(option.code).name.replace('_', ' ').lower()})"
        case 11:
            return f"keepalive {int.from_bytes(option.to_wire()) / 10:g} s"
        case _:
            return f"option {option.otype} {option.to_wire().hex()}"
