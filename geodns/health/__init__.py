"""Health: is a value up? Checks, damping, overrides, the votes of the peers, and what survives a restart.

    Steers (of the table) --> checks --> prober process --Results--> Monitors --+
                                            peers' views, overrides file -------+--> Standings --> snapshot

`prober` is a process of its own that looks at the world; everything else here decides, without sockets or
clocks: the time comes in as an argument. It answers no queries and knows nothing of zones or packets.
"""
