"""ACME's dns-01 challenges (RFC 8555 section 8.4): which TXT values are answered, and who may set them.

    geodns acme-dns-01, PUT /v1/acme-dns-01/NAME --set, clear--+
    POST /register, /update (acme-dns's API) --accounts--------+--> Book --texts--> table.overlay
    peers, state/acme-ID.json --merge--------------------------+

Nothing here has a socket, a clock or a thread: the time comes in as an argument. A value that is set or
cleared is a Change; of two Changes of one value the later counts, wherever and in whichever order they come,
so that instances agree.
"""
