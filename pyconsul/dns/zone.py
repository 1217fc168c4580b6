"""The zone as it is configured: its names, its TTLs, its SOA record."""

from __future__ import annotations

import struct
from ipaddress import ip_address

from pyconsul.dns.settings import DnsSettings
from pyconsul.dns.wire import SOA, SRV, Query, Record, name_bytes

_NAMES_MAX = 16384
_soa_numbers = struct.Struct("!IIIII")


class Zone:
    """What all answers have in common; remembers names and addresses in wire form.

    :ivar domains: the labels of each domain, in lower case.
    :ivar apex: the name of the (first) domain, which is the one that answers lead to.
    """

    def __init__(self, settings: DnsSettings) -> None:
        self.settings = settings
        names = [settings.domain, *([settings.alt_domain] if settings.alt_domain else [])]
        self.domains = [name.strip(".").lower().split(".") for name in names]
        self.apex = name_bytes(settings.domain)
        self._soa_names = name_bytes("ns." + settings.domain) + name_bytes("hostmaster." + settings.domain)
        self._addresses: dict[str, bytes] = {}
        self._names: dict[tuple[str, str, str], bytes] = {}

    # ------------------------------------------------------------ names

    def contains(self, name: str) -> bool:
        """Whether ``name`` is in one of the domains."""
        labels = name.rstrip(".").lower().split(".")
        return any(labels[len(labels) - len(domain) :] == domain for domain in self.domains)

    def name(self, first: str, kind: str, datacenter: str) -> bytes:
        """``first.kind.datacenter.domain``; empty if that is no name, for which there is no record."""
        key = (first, kind, datacenter)
        name = self._names.get(key)
        if name is None:
            try:
                name = name_bytes(f"{first}.{kind}.{datacenter}.{self.settings.domain}")
            except ValueError:
                name = b""
            if len(self._names) >= _NAMES_MAX:
                self._names.clear()
            self._names[key] = name
        return name

    def node_name(self, node: str, datacenter: str) -> bytes:
        """The name of a node."""
        return self.name(node, "node", datacenter or self.settings.datacenter)

    def address_name(self, packed: bytes, datacenter: str) -> bytes:
        """The name that spells out an address."""
        return self.name(packed.hex(), "addr", datacenter or self.settings.datacenter)

    def packed(self, address: str) -> bytes:
        """The 4 or 16 bytes of an IP address; empty for a host name."""
        packed = self._addresses.get(address)
        if packed is None:
            try:
                packed = ip_address(address).packed
            except ValueError:
                packed = b""
            if len(self._addresses) >= _NAMES_MAX:
                self._addresses.clear()
            self._addresses[address] = packed
        return packed

    # ------------------------------------------------------------ numbers

    def service_ttl(self, service: str) -> int:
        """Exact name, longest ``prefix*``, ``*``, 0; in seconds."""
        ttls = self.settings.service_ttl_s
        if not ttls:
            return 0
        service = service.lower()
        exact = ttls.get(service)
        if exact is not None:
            return exact
        best = max(
            (key for key in ttls if key.endswith("*") and service.startswith(key[:-1])), key=len, default=None
        )
        return 0 if best is None else ttls[best]

    def count_max(self, query: Query) -> int:
        """How many answers ``udp_answer_limit`` leaves; 0 for no limit."""
        return 0 if query.tcp or query.edns_size > 512 else self.settings.udp_answer_limit

    def soa(self, serial: int) -> Record:
        """The SOA record.

        :param serial: the time in seconds since 1970.
        """
        soa = self.settings.soa
        numbers = _soa_numbers.pack(serial & 0xFFFFFFFF, soa.refresh, soa.retry, soa.expire, soa.min_ttl)
        return Record(self.apex, SOA, soa.min_ttl, self._soa_names + numbers)

    @staticmethod
    def records_max(query: Query) -> int:
        """More answers than this cannot fit, whatever they look like."""
        return query.size_max // (40 if query.type == SRV else 16)
