"""The hosts that a download may go to: public addresses, and the networks that the connection names. Decided
before any contact.

A link comes from the API's answer, and a worker can reach hosts that its author cannot: so private addresses
are refused. An IPv4 address that is wrapped in an IPv6 address (mapped, compatible, 6to4, NAT64) is judged by
the IPv4 address inside it.
"""

import ipaddress
import socket
from collections.abc import Iterable
from contextlib import suppress
from urllib.parse import urlsplit

from airflow_provider_seedream.exceptions import SeedreamLandingError
from airflow_provider_seedream.hooks.extra_values import Network

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# all that is public in IPv6: site-local and multicast lie outside of it (RFC 4291)
_UNICAST = ipaddress.IPv6Network("2000::/3")
_ENDING_IN_IPV4 = (
    ipaddress.IPv6Network("64:ff9b::/96"),  # NAT64 (RFC 6052)
    ipaddress.IPv6Network("::/96"),  # compatible (RFC 4291, 2.5.5.1)
)
# both lie in ::/96 and hold no IPv4 address
_OWN_IPV6 = (ipaddress.IPv6Address("::1"), ipaddress.IPv6Address("::"))
# Where clouds give a machine its credentials outside of the link-local range: Alibaba, Oracle, Azure, AWS and
# Google over IPv6.
_METADATA = frozenset(
    map(
        ipaddress.ip_address,
        ("100.100.100.200", "192.0.0.192", "168.63.129.16", "fd00:ec2::254", "fd20:ce::254"),
    ),
)


def refuse_target(
    link: str, *, allow_loopback: bool, networks: Iterable[Network] = (), proxied: bool
) -> None:
    """Let a link pass, or say why it is refused.

    :param link: only its host is read.
    :param allow_loopback: True for an API that is itself on loopback.
    :param networks: taken for public although they are not (``download_networks`` of the connection).
    :param proxied: True where a proxy resolves the name.
    :raises SeedreamLandingError: the link does not lead over http(s) to a public address.
    :raises socket.gaierror: the name cannot be resolved now.
    """
    # A user name in a link is refused: it would be sent as a password.
    try:
        parts = urlsplit(link)
        hostname, scheme = parts.hostname, parts.scheme
    except ValueError:  # half an IPv6 address
        raise SeedreamLandingError("A result link is no link: refused.") from None
    if scheme not in ("http", "https") or not hostname or parts.username:
        raise SeedreamLandingError(
            f"A result link is no plain http(s) link (scheme {scheme[:20]!r}): refused."
        )
    for address in _addresses(hostname, proxied):
        if (
            is_public(address)
            or is_in(address, networks)
            or (allow_loopback and _judged(address).is_loopback)
        ):
            continue
        shown = str(_judged(address))
        where = hostname if hostname == shown else f"{hostname} ({shown})"
        raise SeedreamLandingError(
            f"A result link leads to {where}, which is no public address: refused.{_way_out(address)}"
        )


def is_public(address: Address) -> bool:
    """True if an address belongs to the public internet, with every Python alike.

    ``is_global`` alone also takes multicast and, before Python 3.14, site-local addresses and wrapped private
    ones.
    """
    judged = _judged(address)
    if judged in _METADATA or (judged.version == 6 and judged not in _UNICAST):
        return False
    return judged.is_global and not judged.is_multicast


def is_in(address: Address, networks: Iterable[Network]) -> bool:
    """True if one of the networks holds the address, or the IPv4 address inside it.

    Never true for multicast, "any address", link-local and other addresses where clouds keep their
    credentials.
    """
    judged = _judged(address)
    if judged in _METADATA or judged.is_link_local or judged.is_multicast or judged.is_unspecified:
        return False
    return any(address in network or judged in network for network in networks)


def _judged(address: Address) -> Address:
    """The IPv4 address inside an IPv6 address; any other address as it is."""
    if address.version == 4 or address in _OWN_IPV6:
        # not `is_loopback`: from Python 3.13 on it reads the address inside
        return address
    if wrapped := address.ipv4_mapped or address.sixtofour:
        return wrapped
    if any(address in network for network in _ENDING_IN_IPV4):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def _way_out(address: Address) -> str:
    """The setting that lets this address pass, where one does."""
    if not is_in(address, [ipaddress.ip_network(_judged(address))]):
        return ""
    return (
        " If your network answers with such addresses (a VPN, a private endpoint of the store), name their "
        "range in the"
        f" connection's extra download_networks, for example {str(ipaddress.ip_network(_judged(address)))!r}."
    )


def _addresses(hostname: str, proxied: bool) -> list[Address]:
    """The addresses that a connection to this host may go to. Every one of them is judged, not only the
    first.

    :param proxied: True if a proxy resolves the name: then there may be none here.
    :raises socket.gaierror: the name cannot be resolved now.
    """
    hostname = hostname.rstrip(".")
    with suppress(ValueError):
        return [ipaddress.ip_address(hostname.partition("%")[0])]
    with suppress(OSError):
        # 10.1, 0x0a000001: what resolvers take for an address as well
        return [ipaddress.ip_address(socket.inet_aton(hostname))]
    if hostname == "localhost" or hostname.endswith(".localhost"):
        # loopback wherever it is resolved (RFC 6761, 6.3)
        return [ipaddress.IPv4Address("127.0.0.1")]
    if proxied:  # the proxy resolves names; this machine may not be able to
        return []
    try:
        found = socket.getaddrinfo(hostname, None, type=socket.SOCK_STREAM)
    except UnicodeError:  # a label that is empty or too long
        raise SeedreamLandingError(
            f"A result link leads to {hostname[:80]!r}, which is no host name: refused."
        ) from None
    return [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
