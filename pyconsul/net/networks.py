"""Which addresses may take part in gossip."""

from __future__ import annotations

from collections.abc import Callable, Sequence


def anywhere(address: str) -> bool:
    """No address is refused."""
    return True


def within(networks: Sequence[str]) -> Callable[[str], bool]:
    """Tells of an IP address whether it is in one of ``networks``, or anywhere if there are none."""
    if not networks:
        return anywhere
    from ipaddress import ip_address, ip_network  # most agents do without

    known = [ip_network(network, strict=False) for network in networks]

    def allowed(address: str) -> bool:
        place = ip_address(address)
        return any(place in network for network in known)

    return allowed
