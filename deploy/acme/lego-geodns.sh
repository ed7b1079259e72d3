#!/bin/sh
# For lego's exec provider: EXEC_PATH=/path/to/lego-geodns.sh lego --dns exec ...
# lego calls it with "present" or "cleanup", the name and the value, or in EXEC_MODE=RAW with the domain, "--",
# the token and the key authorization. GEODNS is the command, GEODNS_CONFIG the config of the server.
exec "${GEODNS:-geodns}" acme-dns-01 ${GEODNS_CONFIG:+--config "$GEODNS_CONFIG"} "$@"
