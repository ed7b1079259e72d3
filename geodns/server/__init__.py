"""Sockets, clocks, dice, processes: everything around the engine that is not a decision.

    zones/, geo-db/ --watch--> loader (a child process) --chunks--> library --> Served.snapshot
                                                                    (by one assignment) |
    UDP socket --udp, a thread each--+                                                  v
                                     +--> engine.answer(packet, client, snapshot, draw, now) --> same socket
    TCP socket --tcp, asyncio--------+

    prober (a child process), overrides, peers --> keeper --> standings --> Served.snapshot, likewise

This room decides no answers and reads no zone file itself; it hands bytes to the engine and brings bytes
back, and sees to it that whatever breaks (a file, a database, a client, the loader) costs only what broke.
"""
