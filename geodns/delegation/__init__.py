"""A zone and its parent: what to type into the registrar's form, and whether the world sees it so.

    CheckedZone --form.fill--> Form --written--> RFC 1035 lines
                                |  \\---epp-----> EPP commands
                                |   \\--steps---> what to do, in order, in words
                                |
    root servers --walk--> the parent's referrals --observe--> Observed --checks--> findings
                     network.Network asks: the only part that sends anything

A Form is what our zone file wants the parent to say; an Observed is what parent, servers and resolver did
say. `checks` compares the two and is pure, so that each of them is tested by a function call. Nothing here
knows terminals, and nothing but `network` knows sockets.
"""
