"""Form -> EPP commands: host:create (RFC 5732) for the host objects, then domain:update (RFC 5731).

Each command is an XML document of its own, since a session sends and answers them one by one.
"""

from collections.abc import Iterator
from xml.sax.saxutils import escape

from geodns.delegation.form import Form, Glue, Host
from geodns.name import Name

_HEAD = '<?xml version="1.0" encoding="UTF-8" standalone="no"?>'
_EPP = "urn:ietf:params:xml:ns:epp-1.0"  # RFC 5730 section 4.1
_HOST = "urn:ietf:params:xml:ns:host-1.0"  # RFC 5732 section 4
_DOMAIN = "urn:ietf:params:xml:ns:domain-1.0"  # RFC 5731 section 4
_SEC_DNS = "urn:ietf:params:xml:ns:secDNS-1.1"  # RFC 5910 section 4

# Comments without names: those of internationalised domains have "--" in them, which no comment may have.
_ABOUT = {
    Glue.REQUIRED: "this name is below the domain itself, and needs its addresses",
    Glue.OPTIONAL: "a name below another domain of this registry must exist: its own registrar makes it",
    # RFC 5732 section 1.1: a host of a domain that is not in this registry has no addresses here.
    Glue.NONE: "this name is of another registry, without addresses here; 2302, it exists, is no error",
}


def commands(form: Form) -> Iterator[str]:
    """The commands in the order in which they are sent: a document each, without an empty line inside.

    A sibling name is the affair of its own domain's registrar, so that no command makes it; it must exist.
    """
    number = 0
    for host in form.hosts:
        if host.glue is not Glue.OPTIONAL:
            number += 1
            yield "\n".join(_document(_create(host), number, _ABOUT[host.glue]))
    about = [_ABOUT[Glue.OPTIONAL]] if any(host.glue is Glue.OPTIONAL for host in form.hosts) else []
    about.append("nameservers that domain:info shows beside these are removed with domain:rem")
    yield "\n".join(_document(_update(form), number + 1, *about, extension=_sec_dns(form)))


def _document(body: list[str], number: int, *about: str, extension: list[str] | None = None) -> list[str]:
    comments = [f"<!-- {text} -->" for text in about]
    tail = [f"    <clTRID>geodns-{number}</clTRID>", "  </command>", "</epp>"]
    return [_HEAD, *comments, f'<epp xmlns="{_EPP}">', "  <command>", *body, *(extension or []), *tail]


def _create(host: Host) -> list[str]:
    addresses = host.addresses if host.glue is Glue.REQUIRED else ()
    return [
        "    <create>",
        f'      <host:create xmlns:host="{_HOST}">',
        f"        <host:name>{_host_name(host.name)}</host:name>",
        *(f'        <host:addr ip="v{at.family}">{escape(at.text)}</host:addr>' for at in addresses),
        "      </host:create>",
        "    </create>",
    ]


def _update(form: Form) -> list[str]:
    return [
        "    <update>",
        f'      <domain:update xmlns:domain="{_DOMAIN}">',
        f"        <domain:name>{_host_name(form.apex)}</domain:name>",
        "        <domain:add>",
        "          <domain:ns>",
        *(f"            <domain:hostObj>{_host_name(host.name)}</domain:hostObj>" for host in form.hosts),
        "          </domain:ns>",
        "        </domain:add>",
        "      </domain:update>",
        "    </update>",
    ]


def _sec_dns(form: Form) -> list[str]:
    if not form.ds:
        return []
    lines = ["    <extension>", f'      <secDNS:update xmlns:secDNS="{_SEC_DNS}">', "        <secDNS:add>"]
    for data in form.ds:
        tag, algorithm, digest_type, digest = data.split(maxsplit=3)
        lines += [
            "          <secDNS:dsData>",
            f"            <secDNS:keyTag>{tag}</secDNS:keyTag>",
            f"            <secDNS:alg>{algorithm}</secDNS:alg>",
            f"            <secDNS:digestType>{digest_type}</secDNS:digestType>",
            f"            <secDNS:digest>{''.join(digest.split()).upper()}</secDNS:digest>",
            "          </secDNS:dsData>",
        ]
    return [*lines, "        </secDNS:add>", "      </secDNS:update>", "    </extension>"]


def _host_name(name: Name) -> str:
    """RFC 5732 section 2.1: the syntax of RFC 952 and 1123, which has no final dot."""
    return escape(str(name).removesuffix("."))
