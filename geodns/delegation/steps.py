"""Form -> words: what each field of a registrar's form is, and what to do in which order."""

from geodns.delegation.form import Form, Glue, Host


def meaning(host: Host, form: Form) -> str:
    """Why a nameserver goes with or without its addresses."""
    if host.glue is Glue.REQUIRED:
        return f"needs its addresses (glue): it is below {form.apex}, which nobody could ask without them"
    if host.glue is Glue.OPTIONAL:
        return f"addresses are optional: it is below {form.parent}, but its own domain's host object has them"
    return f"the name alone: it is not below {form.parent}, and its addresses are found where it is"


def of_ds(form: Form) -> str:
    """What to do with the fields for DNSSEC."""
    if form.ds:
        return "for DNSSEC: key tag, algorithm, digest type and digest, as the zone's CDS has them"
    return (
        "the zone is not signed: leave it empty, and remove what is there; a wrong DS makes all of it vanish"
    )


def steps(form: Form) -> list[str]:
    """What to do, in order. The host objects come first: a domain cannot name one that does not exist."""
    told = ["Start both servers, and ask each from outside: dig @ADDRESS " + f"{form.apex} SOA +norecurse"]
    required = [host for host in form.hosts if host.glue is Glue.REQUIRED]
    if form.parent_file:
        told.append(f"Write the lines of --format zone {form.keeper}")
    else:
        if required:
            names = " and ".join(str(host.name) for host in required)
            told.append(
                f"{_capital(form.keeper)}, first the host objects (child name servers, glue records, "
                f"registered name servers): {names}, with the addresses above"
            )
        told.append(
            "Then the domain's name servers: exactly the names above, in place of those that are there"
        )
        told.append(
            "Then DNSSEC: "
            + ("the DS records above" if form.ds else "no DS record, also none of an old provider")
        )
    told.append(
        f"The parent shows it after minutes, or a day at most: geodns delegation {form.apex} --verify"
    )
    return told


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
