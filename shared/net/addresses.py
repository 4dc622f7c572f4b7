"""Which addresses a system outside may have: public ones, by name, over TLS.

A URL that somebody configures is called by our processes, which stand where that somebody does not: beside databases,
brokers and a cloud's metadata service.
"""

import ipaddress
import re
from dataclasses import dataclass
from typing import NoReturn, TypeAlias
from urllib.parse import urlsplit

from shared.domain.errors import PermanentError, SafeCode

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

PORTS = frozenset({443, 8443})
MAX_URL = 2048  # characters
_HOST = re.compile(r"(?=.{4,253}\Z)([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
# Names of one's own network, which its resolver may lead to public addresses all the same.
_OWN = (".local", ".localhost", ".internal", ".intranet", ".home.arpa", ".lan", ".svc", ".cluster", ".onion", ".arpa")
_NAT64 = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("64:ff9b:1::/48"))


@dataclass(frozen=True, slots=True)
class OutgoingUrl:
    """An https URL that may be tried. What its host resolves to is checked when it is called, each time."""

    host: str
    port: int
    url: str

    @classmethod
    def parse(cls, url: str) -> "OutgoingUrl":
        """Check a URL by its text; raise `PermanentError(OUTGOING_ADDRESS_REFUSED)` with the `reason`.

        The host is a name with a dot, in ASCII (`xn--…` for others). Addresses are refused in every spelling that some
        resolver takes for one, such as `2130706433` or `0x7f.1`: the last part of a name begins with a letter.
        """
        if len(url) > MAX_URL or not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
            refuse("spelling")
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port or 443
        except ValueError:
            refuse("spelling")
        if parts.scheme != "https":
            refuse("scheme")
        if parts.username is not None or parts.password is not None or "@" in parts.netloc:
            refuse("credentials")
        if port not in PORTS:
            refuse("port")
        if not _HOST.fullmatch(host) or host.endswith(_OWN):
            refuse("host")
        return cls(host, port, url)


def is_public(address: Address) -> bool:
    """Tell whether an address belongs to the public network, and so does each IPv4 address that is packed into it."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = _packed(address)
        if inner is not None:
            return is_public(inner)
        if address.is_site_local or address.scope_id is not None:
            return False
    return address.is_global and not (
        address.is_multicast
        or address.is_private
        or address.is_loopback
        or address.is_link_local
        or address.is_reserved
        or address.is_unspecified
    )


def _packed(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address that an IPv6 address stands for: mapped, 6to4, Teredo, NAT64 or compatible."""
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    number = int(address)
    if any(address in network for network in _NAT64) or 1 < number < 2**32:
        return ipaddress.IPv4Address(number & 0xFFFFFFFF)
    return None


def refuse(reason: str) -> NoReturn:
    """Raise `PermanentError(OUTGOING_ADDRESS_REFUSED)`; the reason is a stable word and names no address."""
    raise PermanentError(SafeCode.OUTGOING_ADDRESS_REFUSED, reason=reason)
