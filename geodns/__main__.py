"""`python -m geodns` is `geodns`."""

from geodns.cli import main

main(prog_name="geodns")
