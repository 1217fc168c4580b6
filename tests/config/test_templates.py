"""Address templates, as the reference validator was seen to fill them in on a machine like this one."""

from twisted.trial.unittest import SynchronousTestCase

from pyconsul.config.interfaces import interface
from pyconsul.config.templates import BadTemplate, Known, expand

KNOWN = Known(
    [
        interface("lo", "127.0.0.1/8", "loopback"),
        interface("lo", "::1/128", "loopback"),
        interface("eth0", "192.0.2.2/24", "broadcast", "multicast"),
        interface("eth0", "fd00::2/64", "broadcast", "multicast"),
        interface("eth0", "fe80::fc:ff:fe00:1/64", "broadcast", "multicast"),
    ],
    "eth0",
)
SITE = Known(
    [
        interface("eth1", "8.8.4.4/24"),
        interface("eth0", "10.0.0.5/8"),
        interface("eth0", "192.168.1.5/24"),
        interface("tun0", "100.64.0.1/10"),
    ],
    "eth0",
)
ALL = "127.0.0.1,::1,192.0.2.2,fd00::2,fe80::fc:ff:fe00:1"

JOINED = {
    "": ALL,
    'sort "address"': ALL,
    'sort "-address"': "127.0.0.1,::1,192.0.2.2,fe80::fc:ff:fe00:1,fd00::2",
    'sort "name"': "192.0.2.2,fd00::2,fe80::fc:ff:fe00:1,127.0.0.1,::1",
    'sort "-name"': ALL,
    'sort "type"': "127.0.0.1,192.0.2.2,::1,fd00::2,fe80::fc:ff:fe00:1",
    'sort "-type"': "::1,fd00::2,fe80::fc:ff:fe00:1,127.0.0.1,192.0.2.2",
    'sort "type,size"': "127.0.0.1,192.0.2.2,fd00::2,fe80::fc:ff:fe00:1,::1",
    'sort "type,-size"': "192.0.2.2,127.0.0.1,::1,fd00::2,fe80::fc:ff:fe00:1",
    'sort "type, -address"': "192.0.2.2,127.0.0.1,fe80::fc:ff:fe00:1,fd00::2,::1",
    'sort "private"': "::1,fd00::2,fe80::fc:ff:fe00:1,127.0.0.1,192.0.2.2",
    'sort "+default"': "192.0.2.2,fd00::2,fe80::fc:ff:fe00:1,127.0.0.1,::1",
    'sort "port"': ALL,
    "limit 1": "127.0.0.1",
    "limit 0": "",
    "limit 9": ALL,
    "offset 3": "fd00::2,fe80::fc:ff:fe00:1",
    "offset -2": "fd00::2,fe80::fc:ff:fe00:1",
    "offset 5": "",
    'unique "name"': "127.0.0.1,192.0.2.2",
    'unique "address"': ALL,
    'include "name" "^l"': "127.0.0.1,::1",
    "include `name` `l`": "127.0.0.1,::1",
    'exclude "name" "^e"': "127.0.0.1,::1",
    'include "address" "^(127|fd)"': "127.0.0.1,fd00::2",
    'include "network" "127.0.0.5/8|192.0.0.0/8"': "127.0.0.1,192.0.2.2",
    'exclude "network" "fd00::/8"': "127.0.0.1,::1,192.0.2.2,fe80::fc:ff:fe00:1",
    'include "type" "ipv4"': "127.0.0.1,192.0.2.2",
    'include "type" "IPv6"': "::1,fd00::2,fe80::fc:ff:fe00:1",
    'include "type" "ipv4|ipv6"': ALL,
    'include "type" "ip"': ALL,
    'exclude "type" "ip"': "",
    'include "rfc" "6890"': ALL,
    'include "rfc" "1918|4193"': "fd00::2",
    'include "rfc" "4291"': "::1,fe80::fc:ff:fe00:1",
    'exclude "RFC" "4291"': "127.0.0.1,192.0.2.2,fd00::2",
    'include "flag" "up"': ALL,
    'include "flags" "up|loopback"': "127.0.0.1,::1",
    'exclude "flags" "up|loopback"': "192.0.2.2,fd00::2,fe80::fc:ff:fe00:1",
    'include "flag" "down"': "",
    'include "flag" "forwardable"': "fd00::2",
    'include "flag" "global unicast"': "192.0.2.2,fd00::2",
    'include "flag" "link-local unicast"': "fe80::fc:ff:fe00:1",
    'include "flag" "link-local multicast"': "",
    'include "flag" "interface-local multicast"': "",
    'include "flag" "unspecified"': "",
    'include "flag" "point-to-point"': "",
    'include "size" "/64"': "fd00::2,fe80::fc:ff:fe00:1",
    'include "port" "0"': ALL,
    'math "address" "+1"': "127.0.0.2,::2,192.0.2.3,fd00::3,fe80::fc:ff:fe00:2",
    'math "address" "-2"': (
        "126.255.255.255,ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff,192.0.2.0,fd00::,fe80::fc:ff:fdff:ffff"
    ),
    'math "network" "+300"': "127.0.1.44,::1,192.0.2.44,fd00::12c,fe80::12c",
    'math "network" "-1"': (
        "127.255.255.255,::1,192.0.2.255,fd00::ffff:ffff:ffff:ffff,fe80::ffff:ffff:ffff:ffff"
    ),
}
"""What stages make of all interfaces, joined by their addresses."""

ATTRIBUTES = {
    "address": ALL,
    "host": ALL,
    "name": "lo,lo,eth0,eth0,eth0",
    "type": "IPv4,IPv6,IPv4,IPv6,IPv6",
    "port": "0,0,0,0,0",
    "network": "127.0.0.0,::1,192.0.2.0,fd00::,fe80::",
    "string": "127.0.0.1/8,::1,192.0.2.2/24,fd00::2/64,fe80::fc:ff:fe00:1/64",
    "size": "16777216,1,256,18446744073709551616,18446744073709551616",
    "mask_bits": "8,128,24,64,64",
    "flags": "up|loopback,up|loopback,up|broadcast|multicast,up|broadcast|multicast,up|broadcast|multicast",
    "hex": (
        "7f000001,00000000000000000000000000000001,c0000202,"
        "fd000000000000000000000000000002,fe8000000000000000fc00fffe000001"
    ),
    "first_usable": "127.0.0.1,::1,192.0.2.1,fd00::,fe80::",
    "last_usable": ("127.255.255.254,::1,192.0.2.254,fd00::ffff:ffff:ffff:ffff,fe80::ffff:ffff:ffff:ffff"),
}

FILLED = {
    "1.2.3.4": "1.2.3.4",
    "GetPrivateIP }}": "GetPrivateIP }}",
    "{{ GetPrivateIP }}": "fd00::2",
    "{{GetPrivateIP}}:1 {{ GetPrivateIP }}": "fd00::2:1 fd00::2",
    "a  {{- GetPrivateIP -}}  b": "afd00::2b",
    "{{/* a remark */}}x": "x",
    "{{ GetPrivateIPs }}": "fd00::2",
    "{{ GetPublicIP }}": "",
    "{{ GetPublicIPs }}": "",
    '{{ GetInterfaceIP "eth0" }}': "fd00::2",
    '{{ GetInterfaceIP "lo" }}': "",
    '{{ GetInterfaceIP "none" }}': "",
    '{{ GetInterfaceIPs "lo" }}': "127.0.0.1 ::1",
    '{{ GetDefaultInterfaces | attr "name" }}': "eth0",
    '{{ GetPublicInterfaces | attr "name" }}': "",
    '{{ GetAllInterfaces | attr "NETMASK" }}': "255.0.0.0",
    '{{ GetAllInterfaces | attr "broadcast" }}': "127.255.255.255",
    '{{ GetAllInterfaces | attr "uint32" }}': "2130706433",
    '{{ GetAllInterfaces | attr "binary" }}': "01111111000000000000000000000001",
    '{{ GetAllInterfaces | attr "octets" }}': "127 0 0 1",
    '{{ GetAllInterfaces | include "type" "ipv6" | attr "uint128" }}': "1",
    '{{ (GetAllInterfaces | limit 1) | attr "name" }}': "lo",
    '{{ attr "name" (offset 2 GetAllInterfaces) }}': "eth0",
    '{{ attr "address" GetAllInterfaces }}': "127.0.0.1",
    '{{ "a\\"b" }}': 'a"b',
    "{{ 5 }}": "5",
    "{{ ((5)) }}": "5",
}

BAD = {
    "{{ GetAllInterfaces }}": "it gives interfaces",
    "{{ }}": "a function is missing",
    "{{ GetPrivateIP": "does not end",
    "{{ GetPrivateIP | }}": "a function is missing",
    "{{ | GetPrivateIP }}": "a function is missing",
    '{{ 5 "x" }}': "only functions take arguments",
    "{{ GetPrivateIP | 5 }}": "a function is missing",
    "{{ (GetPrivateIP }}": "a ) is missing",
    "{{ GetPrivateIP ) }}": "unexpected )",
    '{{ "open }}': 'unexpected "',
    "{{ $x := GetPrivateIP }}": "unexpected $",
    "{{ 5x }}": "unexpected 5",
    "{{ Nope }}": 'function "Nope" not defined; there are GetAllInterfaces, ',
    "{{ GetInterfaceIP lo }}": 'function "lo" not defined',
    "{{ GetInterfaceIP }}": "GetInterfaceIP takes NAME",
    "{{ GetInterfaceIP 5 }}": "GetInterfaceIP takes NAME",
    '{{ GetPrivateIP "x" }}': "GetPrivateIP takes no arguments",
    '{{ GetPrivateIP | attr "address" }}': "attr takes ATTRIBUTE INTERFACES",
    '{{ GetAllInterfaces | limit "1" }}': "limit takes NUMBER INTERFACES",
    "{{ GetAllInterfaces | limit -1 }}": "limit: the number must not be negative",
    "{{ GetAllInterfaces | offset 6 }}": "offset: there are only 5 interfaces",
    '{{ GetAllInterfaces | unique "x" }}': "unique: ",
    '{{ GetAllInterfaces | sort "x" }}': 'sort: "x" is none of address, default',
    '{{ GetAllInterfaces | include "x" "y" }}': 'include: "x" is none of address, flags',
    '{{ GetAllInterfaces | include "name" "(" }}': "include: error parsing regexp",
    '{{ GetAllInterfaces | include "network" "x" }}': "include: 'x' does not appear to be",
    '{{ GetAllInterfaces | include "rfc" "99" }}': "include: nothing is known of RFC 99; there are 919",
    '{{ GetAllInterfaces | include "type" "x" }}': "include: the types are ip",
    '{{ GetAllInterfaces | include "flag" "x" }}': 'include: unknown interface flag "x"',
    '{{ GetAllInterfaces | include "size" "129" }}': 'include: "129" is not the number of bits',
    '{{ GetAllInterfaces | exclude "size" "x" }}': 'exclude: "x" is not the number of bits',
    '{{ GetAllInterfaces | attr "mtu" }}': 'attr: unsupported attribute name "mtu"; there are address',
    '{{ GetAllInterfaces | join "broadcast" "," }}': "join: unsupported attribute name",
    '{{ GetAllInterfaces | math "address" "1" }}': 'math: "1" is not + or - and a number',
    '{{ GetAllInterfaces | math "mask" "+1" }}': 'math: "mask" is none of address and network',
    "{{ " + "(" * 20 + "5" + ")" * 20 + " }}": "nested too deeply",
}


class TemplateTests(SynchronousTestCase):
    def test_stages(self) -> None:
        for stage, expected in JOINED.items():
            pipe = " | ".join(filter(None, ("GetAllInterfaces", stage, 'join "address" ","')))
            self.assertEqual(expand("{{ " + pipe + " }}", KNOWN), expected, stage)

    def test_attributes(self) -> None:
        for name, expected in ATTRIBUTES.items():
            template = f'{{{{ GetAllInterfaces | join "{name}" "," }}}}'
            self.assertEqual(expand(template, KNOWN), expected, name)

    def test_filled(self) -> None:
        for template, expected in FILLED.items():
            self.assertEqual(expand(template, KNOWN), expected, template)

    def test_reachable(self) -> None:
        """Those of the default route come first, then larger networks."""
        for template, expected in {
            "{{ GetPrivateIPs }}": "10.0.0.5 192.168.1.5 100.64.0.1",
            "{{ GetPrivateIP }}": "10.0.0.5",
            "{{ GetPublicIP }}": "8.8.4.4",
            '{{ GetPrivateInterfaces | include "network" "192.168.0.0/16" | attr "address" }}': "192.168.1.5",
            '{{ GetPrivateInterfaces | exclude "network" "10.0.0.0/8|192.0.0.0/8" | attr "name" }}': "tun0",
        }.items():
            self.assertEqual(expand(template, SITE), expected, template)

    def test_without_interfaces(self) -> None:
        for function in ("All", "Default", "Private", "Public"):
            template = f'{{{{ Get{function}Interfaces | sort "type" | attr "address" }}}}'
            self.assertEqual(expand(template, Known([])), "")

    def test_bad(self) -> None:
        """Each says what is wrong, and where that helps what there is."""
        for template, expected in BAD.items():
            error = self.assertRaises(BadTemplate, expand, template, KNOWN)
            self.assertIn(expected, str(error), template)
