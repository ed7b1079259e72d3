"""geodns: a geo-aware authoritative nameserver.

query:  socket -> wire -> lookup -> [choose, only where the plan has a choice] -> assemble -> socket
zone:   YAML -> source -> model -> checked -> table -> snapshot (published by one assignment)
"""

__version__ = "0.1.0"
