"""Form -> RFC 1035 lines, as they stand in the parent zone."""

from collections.abc import Iterator

from geodns.delegation.form import Form, Glue


def lines(form: Form) -> Iterator[str]:
    """The delegation in master file format, with absolute names, so that it fits under any $ORIGIN.

    Glue that is optional is there as a comment. The TTLs are the zone's own; the parent may have its own.
    """
    apex = form.apex
    yield f"; for the zone {form.parent}: the delegation of {apex}, from {form.file}"
    for host in form.hosts:
        yield f"{apex}\t{form.ns_ttl}\tIN\tNS\t{host.name}"
    for host in form.hosts:
        if host.glue is Glue.NONE:
            yield f"; {host.name} is not below {form.parent}: its address stands in its own zone"
        if host.glue is Glue.OPTIONAL:
            yield f"; {host.name} is not below {apex}: its address belongs to its own domain's delegation"
        for address in host.addresses if host.glue is not Glue.NONE else ():
            mark = "" if host.glue is Glue.REQUIRED else ";"
            rtype = "AAAA" if address.family == 6 else "A"
            yield f"{mark}{host.name}\t{form.glue_ttls[host.name]}\tIN\t{rtype}\t{address.text}"
    for data in form.ds:
        yield f"{apex}\t{form.ns_ttl}\tIN\tDS\t{data}"
