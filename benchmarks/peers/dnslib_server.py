#!/usr/bin/env python3
"""The other end of the scale: a nameserver as one writes it first, with dnslib and a loop.

usage: dnslib_server.py PORT ZONE_FILE EXPECTED_JSON GEO_DB
"""

import ipaddress
import json
import socket
import sys

import maxminddb
from dnslib import QTYPE, RCODE, RR, A, DNSRecord, EDNSOption


def main(port: str, zone_file: str, expected_file: str, geo_db: str) -> None:
    records: dict[str, list[RR]] = {}
    with open(zone_file) as file:
        for rr in RR.fromZone(file.read()):
            records.setdefault(str(rr.rname), []).append(rr)
    with open(expected_file) as file:
        expected = json.load(file)
    apex = expected["apex"] + "."
    soa = next(rr for rr in records[apex] if rr.rtype == QTYPE.SOA)
    geo = {f"g{index:03d}.{apex}": values for index, values in enumerate(expected["geo"])}
    reader = maxminddb.open_database(geo_db)
    listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    listener.bind(("127.0.0.1", int(port)))
    while True:
        packet, client = listener.recvfrom(4096)
        query = DNSRecord.parse(packet)
        reply = query.reply(ra=0, aa=1)
        name, kind = str(query.q.qname), query.q.qtype
        if name in geo:
            address, subnet = client[0], None
            for rr in query.ar:
                for option in rr.rdata if rr.rtype == QTYPE.OPT else ():
                    if option.code == 8:
                        subnet = option
                        octets = option.data[4:].ljust(4, b"\0")
                        address = str(ipaddress.IPv4Address(octets))
            reply.add_answer(RR(name, QTYPE.A, ttl=60, rdata=A(choose(reader.get(address), geo[name]))))
            if subnet is not None:
                data = subnet.data[:3] + bytes([24]) + subnet.data[4:]
                reply.add_ar(RR("", QTYPE.OPT, rclass=1232, rdata=[EDNSOption(8, data)]))
        elif name in records:
            found = [rr for rr in records[name] if rr.rtype in (kind, QTYPE.CNAME)]
            reply.add_answer(*found)
            if found and found[0].rtype == QTYPE.CNAME:
                reply.add_answer(
                    *(rr for rr in records.get(str(found[0].rdata.label), ()) if rr.rtype == kind)
                )
        else:
            reply.header.rcode = RCODE.NXDOMAIN
            reply.add_auth(soa)
        listener.sendto(reply.pack(), client)


def choose(found: dict, values: dict[str, str]) -> str:
    codes = []
    if found and "continent" in found:
        codes = [found["continent"]["code"]]
        if "country" in found:
            codes.insert(0, f"{codes[0]}-{found['country']['iso_code']}")
            if "subdivisions" in found:
                codes.insert(0, f"{codes[0]}-{found['subdivisions'][0]['iso_code']}")
    return values[next((code for code in codes if code in values), "default")]


if __name__ == "__main__":
    main(*sys.argv[1:])
