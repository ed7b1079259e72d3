"""The engine: a packet in, a packet or silence out.

    packet --wire.read--> Query --lookup.find--> Plan --choose.choose--> Plan --assemble--> packet
                                                  |  (only where the plan has a choice)
             who can answer now, by decide.decide +  and by hashing, where clients are spread by subnet
    answer(packet, client, snapshot, draw, now) is the whole of it.

It is pure: the clock, the dice, the client's address and the snapshot come in as arguments. It knows no YAML,
no database file and no socket, and nothing in here logs or raises for anything that a packet can contain.
"""
