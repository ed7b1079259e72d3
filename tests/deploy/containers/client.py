"""What runs in the third container: a resolver's way of asking, and the questions of the tests.

usage: client.py ask PROTOCOL NAME TYPE CLASS ADDRESS...   each one's answer, or why there is none, as JSON
       client.py resolve NAME ADDRESS...                   asks until stdin ends; then the counts as JSON
       client.py insist NAME ADDRESS                       the same of one server, once each, with patience

Needs nothing but dnspython, which is in the image.
"""

import json
import random
import select
import sys
import time

import dns.exception
import dns.message
import dns.query
import dns.rcode

ASK_SECONDS = 2.0
TRY_SECONDS = 0.4  # as Unbound waits for a server that it knows nothing of (376 ms)
INSIST_SECONDS = 20.0  # longer than any restart
TRIES_EACH = 4  # of a server, before the client is told SERVFAIL
PAUSE_SECONDS = 0.002  # between questions: a few hundred in a second


def ask(protocol: str, name: str, rtype: str, rclass: str, *addresses: str) -> list[list[str]]:
    """For each address the texts of the answer's data, or one line that begins with "no answer"."""
    return [_ask(protocol, name, rtype, rclass, address) for address in addresses]


def _ask(protocol: str, name: str, rtype: str, rclass: str, address: str) -> list[str]:
    question = dns.message.make_query(name, rtype, rclass)
    send = {"udp": dns.query.udp, "tcp": dns.query.tcp}[protocol]
    try:
        answer = send(question, address, timeout=ASK_SECONDS)
    except (dns.exception.Timeout, OSError, EOFError) as error:
        return [f"no answer: {type(error).__name__}"]
    if answer.rcode() != dns.rcode.NOERROR:
        return [dns.rcode.to_text(answer.rcode())]
    return sorted(rdata.to_text().strip('"') for rrset in answer.answer for rdata in rrset)


def resolve(
    name: str, *addresses: str, seconds: float = TRY_SECONDS, tries_each: int = TRIES_EACH
) -> dict[str, float]:
    """Ask for `name` as a resolver does: a server, and the next one when no answer comes in time."""
    counts: dict[str, float] = {"asked": 0, "lost": 0, "retried": 0, "slowest": 0.0}
    chance = random.Random(1)
    while not select.select([sys.stdin], [], [], PAUSE_SECONDS)[0]:
        began = time.monotonic()
        order = list(addresses)
        chance.shuffle(order)
        tries = 0
        for address in order * tries_each:
            if _answers(name, address, seconds):
                break
            tries += 1
        else:
            counts["lost"] += 1
        counts["asked"] += 1
        counts["retried"] += bool(tries)
        counts["slowest"] = max(counts["slowest"], time.monotonic() - began)
        if counts["asked"] == 1:
            print("asking", flush=True)
    return counts


def insist(name: str, address: str) -> dict[str, float]:
    """Ask the one server once each time: what it does not answer is lost."""
    return resolve(name, address, seconds=INSIST_SECONDS, tries_each=1)


def _answers(name: str, address: str, seconds: float) -> bool:
    question = dns.message.make_query(name, "TXT")
    try:
        answer = dns.query.udp(question, address, timeout=seconds)
    except (dns.exception.Timeout, OSError):
        return False
    return answer.rcode() == dns.rcode.NOERROR and bool(answer.answer)


def main() -> None:
    command, *arguments = sys.argv[1:]
    result = {"ask": ask, "resolve": resolve, "insist": insist}[command](*arguments)
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
