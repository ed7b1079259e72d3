#!/usr/bin/env python3
"""Make the zone and the questions of the benchmark; the same command makes the same files, always.

    records, geo names, database --build--> zones/bench.example.yaml   for geodns
                                            bench.example.zone         for the others; geo names: default
                                            {zone,static,geo,ecs}.txt  for the load generator
                                            expected.json              the right answers, for the check

It knows no server; what a peer needs beyond the zone file is made in peers/.
"""

import argparse
import ipaddress
import json
import random
import sys
from pathlib import Path

import maxminddb

APEX = "bench.example"
TTL = 300  # seconds, of every record but the geo ones
GEO_TTL = 60  # seconds
RECORDS = 1000
GEO_NAMES = 50
AMERICA = ("NA", "NA-US", "NA-US-CA", "NA-US-NY", "SA", "SA-BR")
CODES = ("EU", "EU-DE", "EU-FR", *AMERICA, "AS", "AS-JP", "AS-IN-MH", "AF", "OC")
NETWORKS = 20_000  # client networks, each a /24 that the database does not divide
MIX = (("A", 80), ("AAAA", 10), ("MX", 5), ("CNAME", 5))  # per cent of the static names


def static_records(count: int) -> list[tuple[str, str, str]]:
    """Name relative to the apex, type, value in presentation form; names and targets inside the zone."""
    dice = random.Random(1)
    kinds = [kind for kind, share in MIX for _ in range(share)]
    records = []
    for index in range(count):
        kind = kinds[index % 100]
        address = 0x2C00_0000 + index  # 44/8: public, so that no check has anything to say of it
        value = {
            "A": str(ipaddress.IPv4Address(address)),
            "AAAA": str(ipaddress.IPv6Address((0x2600_0000 << 96) + address)),
            "MX": f"10 h{dice.randrange(count // 100 or 1) * 100:06d}.{APEX}.",
            "CNAME": f"h{dice.randrange(count // 100 or 1) * 100:06d}.{APEX}.",  # every 100th is an A
        }[kind]
        records.append((f"h{index:06d}", kind, value))
    return records


def geo_values(index: int) -> dict[str, str]:
    """The address of each code, and of "default", of one geo name."""
    return {code: f"44.254.{index}.{at + 1}" for at, code in enumerate((*CODES, "default"))}


def codes_of(found: object) -> list[str]:
    """The codes of a database's record, the most specific first."""
    if not isinstance(found, dict) or "continent" not in found:
        return []
    codes = [found["continent"]["code"]]
    if "country" in found:
        codes.append(f"{codes[0]}-{found['country']['iso_code']}")
        if found.get("subdivisions"):
            codes.append(f"{codes[1]}-{found['subdivisions'][0]['iso_code']}")
    return codes[::-1]


def client_networks(database: Path, count: int) -> list[tuple[str, str]]:
    """Networks and the code that wins there, drawn evenly from the public address space in the database."""
    dice = random.Random(2)
    chosen = []
    seen = set()
    with maxminddb.open_database(str(database)) as reader:
        while len(chosen) < count:
            network = ipaddress.ip_network((dice.randrange(1 << 24) << 8, 24))
            if network in seen or not network.is_global or network.is_multicast:
                continue
            seen.add(network)
            found, prefix = reader.get_with_prefix_len(str(network.network_address))
            if found is not None and prefix <= 24:
                code = next((code for code in codes_of(found) if code in CODES), "default")
                chosen.append((str(network), code))
    return chosen


def yaml_zone(records: list[tuple[str, str, str]]) -> str:
    lines = [
        f"$zone: {{ttl: {TTL}, soa: {{mname: ns1.{APEX}., rname: hostmaster.{APEX}., minimum: 60}}}}",
        f"'': {{type: NS, values: [ns1.{APEX}., ns2.{APEX}.]}}",
        "ns1: {type: A, value: 44.255.0.1}",
        "ns2: {type: A, value: 44.255.0.2}",
    ]
    for name, kind, value in records:
        value = f'"{value}"' if kind in ("MX", "AAAA") else value
        lines += [f"{name}:", f"  type: {kind}", f"  value: {value}"]
    for index in range(GEO_NAMES):
        values = geo_values(index)
        lines += [
            f"g{index:03d}:",
            "  type: A",
            f"  ttl: {GEO_TTL}",
            f"  value: {values['default']}",
            "  geo:",
        ]
        lines += [f"    {code}: [{values[code]}]" for code in CODES]
    return "\n".join(lines) + "\n"


def rfc1035_zone(records: list[tuple[str, str, str]]) -> str:
    lines = [
        f"$ORIGIN {APEX}.",
        f"$TTL {TTL}",
        f"@ SOA ns1.{APEX}. hostmaster.{APEX}. 1 3600 600 604800 60",
        f"@ NS ns1.{APEX}.",
        f"@ NS ns2.{APEX}.",
        "ns1 A 44.255.0.1",
        "ns2 A 44.255.0.2",
        *(f"{name} {kind} {value}" for name, kind, value in records),
        *(f"g{index:03d} {GEO_TTL} A {geo_values(index)['default']}" for index in range(GEO_NAMES)),
    ]
    return "\n".join(lines) + "\n"


def build(out: Path, records: int, database: Path) -> None:
    """Write everything below `out`."""
    static = static_records(records)
    networks = client_networks(database, NETWORKS)
    (out / "zones").mkdir(parents=True, exist_ok=True)
    (out / "zones" / f"{APEX}.yaml").write_text(yaml_zone(static))
    (out / f"{APEX}.zone").write_text(rfc1035_zone(static))
    (out / "zone.txt").write_text(f"{APEX}\n")
    # A CNAME is asked for as such: gdnsd does not follow chains, so that the work would not be the same.
    (out / "static.txt").write_text("".join(f"{name}.{APEX} {kind}\n" for name, kind, _ in static))
    (out / "geo.txt").write_text("".join(f"g{index:03d}.{APEX} A\n" for index in range(GEO_NAMES)))
    (out / "ecs.txt").write_text("".join(f"{network}\n" for network, _ in networks))
    expected = {
        "apex": APEX,
        "static": [[f"{name}.{APEX}", kind, value] for name, kind, value in static],
        "geo": [geo_values(index) for index in range(GEO_NAMES)],
        "networks": networks[:2000],
    }
    (out / "expected.json").write_text(json.dumps(expected))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--records", type=int, default=RECORDS)
    parser.add_argument("--geo-db", type=Path, default=Path("geo-db/city-lite.mmdb"))
    options = parser.parse_args()
    build(options.out, options.records, options.geo_db)
    return 0


if __name__ == "__main__":
    sys.exit(main())
