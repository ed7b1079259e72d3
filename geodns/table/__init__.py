"""The table: every answer of every zone, rendered as far as it can be known before a query comes.

    CheckedZone --compile.compile_zone--> ZoneTable --compile.link--> Table
                                                        |
                              what both engines read <--+--> explain, for people

It knows the model of a zone and nothing of files, sockets or databases. The shape is in `shape`; what is
rendered and how in `render`; which plan answers what in `compile`; who is steered where in `steer` (the
types) and `steering` (how they are made).
"""
