#!/usr/bin/env sh
# For acme.sh: copy it to ~/.acme.sh/dnsapi/ on a machine with geodns, then
#
#   acme.sh --issue --dns dns_geodns -d example.com -d '*.example.com'
#
# GEODNS is the command (geodns), GEODNS_CONFIG the config of the server (./geodns.yaml); both are remembered.

# Usage: dns_geodns_add _acme-challenge.www.example.com XKrxpRBosdIKFzxW_CT3KLZNf6q0HG9i01zxXp5CPBs
dns_geodns_add() {
  _geodns_settings
  _info "Setting the challenge of $1 with $GEODNS"
  if ! _geodns set "$1" "$2"; then
    _err "geodns could not set the challenge of $1 everywhere"
    return 1
  fi
}

# Usage: dns_geodns_rm _acme-challenge.www.example.com XKrxpRBosdIKFzxW_CT3KLZNf6q0HG9i01zxXp5CPBs
dns_geodns_rm() {
  _geodns_settings
  _info "Clearing the challenge of $1 with $GEODNS"
  if ! _geodns clear "$1" "$2"; then
    _err "geodns could not clear the challenge of $1 everywhere; it ends by itself"
    return 1
  fi
}

_geodns_settings() {
  GEODNS="${GEODNS:-$(_readaccountconf_mutable GEODNS)}"
  GEODNS="${GEODNS:-geodns}"
  GEODNS_CONFIG="${GEODNS_CONFIG:-$(_readaccountconf_mutable GEODNS_CONFIG)}"
  _saveaccountconf_mutable GEODNS "$GEODNS"
  if [ -n "$GEODNS_CONFIG" ]; then
    _saveaccountconf_mutable GEODNS_CONFIG "$GEODNS_CONFIG"
  fi
}

_geodns() {
  if [ -n "$GEODNS_CONFIG" ]; then
    "$GEODNS" acme-dns-01 --config "$GEODNS_CONFIG" "$@"
  else
    "$GEODNS" acme-dns-01 "$@"
  fi
}
