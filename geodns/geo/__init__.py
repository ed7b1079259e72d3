"""Where an address is, and what follows from it for a list of rules. Knows no DNS, no zone, no socket.

    mmdb files --database--> layers --+
    geo.overrides ------overrides-----+--locator--> Partition --locate(address)--> (outcome, scope)
    a record's rules -----------------+
    address --locator.explain--> Explanation (database, prefix, place, override), for people

An outcome is a route: the rules that may take a client, and for rules with `nearest` which sites are near.

`address` says which addresses count as which; `codes` which geo codes exist and where they are. `locator`,
`database`, `runs`, `nearest` and `divide` need numpy and maxminddb, and only where partitions are built; a
Partition that serves needs neither.
"""
