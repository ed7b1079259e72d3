"""The prober: a process that looks at the world and says what it saw; what that means is decided elsewhere.

    stdin: Settings, Watch --> Schedule --due--> tcp http dns exec --Result--+
                               external: a file that others write --Result---+--> Outbox --> stdout
                               peers: what other instances see --PeerView----+

A process of its own, so that ten thousand checks take none of the interpreter's time from the threads that
answer queries, and so that whatever a library does with what comes from the network harms nobody else.
`schedule` decides what is looked at when, without a clock; every kind of check is a module. It knows nothing
of zones, pools or damping, and keeps nothing from one look to the next.
"""
