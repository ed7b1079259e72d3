"""The only room that knows YAML: zone files in, checked zones out.

    file --source--> Source --parse--> Zone --checks--> CheckedZone --> table.compile
           |                  |                 |
           +------------------+-----------------+--> problems, each with file:line:column

It knows nothing of packets, sockets, databases or tables.
"""
