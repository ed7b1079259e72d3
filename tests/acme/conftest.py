"""ACME: what geodns decides and does is here; real clients that get certificates are in clients/."""

collect_ignore = ["clients"]  # half a minute's work: `make test-acme` names the folder
