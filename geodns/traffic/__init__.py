"""What queries leave behind: counts, the last minutes, a sample of queries with their answers.

    Python listeners --Tally--+
    native threads -----------+--Sums (by name)--> Recent (the last minutes), metrics
                              +--Events (a sample)--> places, query log, dnstap

All of it is looked at by a thread of its own, in which nothing has to be quick. A listener waits for nobody:
what finds no room is dropped and counted. This room knows packets, zones and places; it has no sockets of
its own but those that it writes to, and decides no answers.
"""
