"""DNS messages as bytes: plain questions in, answers out.

Only what an answer of ours can hold is encoded here, with one ``struct`` call a record; questions
in an unusual form are left to twisted.names (``pyconsul.net.dns``). Source: RFC 1035, section 4;
RFC 2782 (the target of SRV is not compressed); RFC 6891 (EDNS); RFC 7871 (client subnet).

Names in records are in wire form, without compression; an empty name stands for the name asked.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Sequence

from msgspec import Struct

A, NS, CNAME, SOA, PTR, TXT, AAAA, SRV, OPT, IXFR, AXFR, ANY = 1, 2, 5, 6, 12, 16, 28, 33, 41, 251, 252, 255
IN = 1
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED = range(6)

RESPONSE, AUTHORITATIVE, TRUNCATED = 0x8000, 0x0400, 0x0200
RECURSION_DESIRED, RECURSION_AVAILABLE, CHECKING_DISABLED = 0x0100, 0x0080, 0x0010
OPCODE_MASK = 0x7800
_UNUSUAL = RESPONSE | OPCODE_MASK
_COPIED = RECURSION_DESIRED | CHECKING_DISABLED

UDP_SIZE = 512
TCP_SIZE = 65535
LABEL_MAX, NAME_MAX = 63, 255
_POINTER_MAX = 0x3FFF
_CLIENT_SUBNET = 8

_header = struct.Struct("!HHHHHH")
_question_end = struct.Struct("!HH")
_opt = struct.Struct("!xHHIH")
_fixed = struct.Struct("!HHIH")
_fixed_at_question = struct.Struct("!HHHIH")
_srv_at_question = struct.Struct("!HHHIH6s")
_pair = struct.Struct("!HH")


class Query(Struct, kw_only=True):
    """A question as far as the answer depends on it.

    :ivar question: the bytes of the question section, to be repeated.
    :ivar labels: the name as it was written; bytes that are no UTF-8 are replaced.
    :ivar flags: those of the header.
    :ivar edns_size: the largest answer the client takes by UDP, as it said; 0 without EDNS.
    :ivar subnet: the client-subnet option to repeat, empty if there was none.
    :ivar peer: the address that the question came from, empty if that is not known.
    """

    id: int
    flags: int = RECURSION_DESIRED
    question: bytes
    labels: list[str]
    type: int
    class_: int = IN
    edns_size: int = 0
    subnet: bytes = b""
    tcp: bool = False
    peer: str = ""

    @property
    def client(self) -> str:
        """Where the client is: its subnet, if a resolver told it, else who asks."""
        return subnet_address(self.subnet) or self.peer

    @property
    def size_max(self) -> int:
        """How long the answer may be, in bytes."""
        return TCP_SIZE if self.tcp else max(UDP_SIZE, self.edns_size)


class Record(Struct, frozen=True, gc=False):
    """A resource record.

    :ivar data: the record's data before ``target``, a name.
    """

    owner: bytes
    type: int
    ttl: int
    data: bytes = b""
    target: bytes = b""


class Reply(Struct, kw_only=True):
    """An answer.

    :ivar cut: answers were left out to keep to a limit.
    :ivar follow: the host name that the only answer, a CNAME, leads to.
    :ivar edns: whether EDNS is answered in kind.
    """

    code: int = NOERROR
    authoritative: bool = True
    recursion_available: bool = False
    answers: Sequence[Record] = ()
    authority: Sequence[Record] = ()
    additional: Sequence[Record] = ()
    cut: bool = False
    follow: str = ""
    edns: bool = True


# ---------------------------------------------------------------- names


def name_bytes(text: str) -> bytes:
    """A name in wire form.

    :raises ValueError: for an empty or overlong label, or an overlong name.
    """
    parts = []
    for label in text.rstrip(".").split(".") if text.rstrip(".") else ():
        raw = label.encode()
        if not 0 < len(raw) <= LABEL_MAX:
            raise ValueError(f"label of {len(raw)} bytes in {text!r}")
        parts.append(bytes((len(raw),)) + raw)
    parts.append(b"\0")
    name = b"".join(parts)
    if len(name) > NAME_MAX:
        raise ValueError(f"name of {len(name)} bytes: {text!r}")
    return name


# ---------------------------------------------------------------- questions


def parse_query(data: bytes, tcp: bool = False) -> Query | None:
    """The question in ``data``, or ``None`` if it is not one plain question, with or without EDNS."""
    size = len(data)
    if size < 17:
        return None
    ident, flags, questions, answers, authority, additional = _header.unpack_from(data)
    if flags & _UNUSUAL or questions != 1 or answers or authority or additional > 1:
        return None
    labels = []
    at = 12
    while length := data[at]:
        end = at + 1 + length
        if length > LABEL_MAX or end >= size or end > 12 + NAME_MAX:
            return None
        labels.append(data[at + 1 : end].decode("utf-8", "replace"))
        at = end
    end = at + 5
    if end > size:
        return None
    type_, class_ = _question_end.unpack_from(data, at + 1)
    query = Query(
        id=ident,
        flags=flags,
        question=data[12:end],
        labels=labels,
        type=type_,
        class_=class_,
        tcp=tcp,
    )
    if additional:
        if size < end + 11 or data[end]:
            return None
        kind, query.edns_size, _, length = _opt.unpack_from(data, end)
        if kind != OPT or size < end + 11 + length:
            return None
        if length:
            query.subnet = subnet_answer(data[end + 11 : end + 11 + length])
    return query


def subnet_answer(options: bytes) -> bytes:
    """The client-subnet option among EDNS ``options`` as it is answered: good for everybody."""
    at = 0
    while at + 4 <= len(options):
        code, length = _pair.unpack_from(options, at)
        data = options[at + 4 : at + 4 + length]
        if code == _CLIENT_SUBNET and len(data) == length >= 4:
            return options[at : at + 4] + data[:3] + b"\0" + data[4:]
        at += 4 + length
    return b""


def only_there(option: bytes) -> bytes:
    """A client-subnet option as it is answered when the answer is good for that subnet alone."""
    return option[:7] + option[6:7] + option[8:]


def subnet_address(option: bytes) -> str:
    """The address in a client-subnet option, empty if there is none."""
    if len(option) < 9:
        return ""
    size = {1: 4, 2: 16}.get(int.from_bytes(option[4:6], "big"), 0)
    return str(ipaddress.ip_address(option[8 : 8 + size].ljust(size, b"\0"))) if size else ""


def bare_answer(data: bytes, code: int) -> bytes:
    """An answer that is only a header, to a question that could not be read; at least 12 bytes."""
    ident, flags = _pair.unpack_from(data)
    return _header.pack(ident, RESPONSE | flags & (OPCODE_MASK | RECURSION_DESIRED) | code, 0, 0, 0, 0)


# ---------------------------------------------------------------- answers


def encode(query: Query, reply: Reply, compress: bool = True) -> bytes:
    """The bytes of ``reply``, however many."""
    writer = _Writer(query.question, compress)
    for section in (reply.answers, reply.authority, reply.additional):
        for record in section:
            writer.add(record)
    extra = 0
    if reply.edns and query.edns_size:
        extra = 1
        writer.parts.append(_opt_record(query))
    flags = RESPONSE | query.flags & _COPIED | reply.code
    if reply.authoritative:
        flags |= AUTHORITATIVE
    if reply.recursion_available:
        flags |= RECURSION_AVAILABLE
    if reply.cut:
        flags |= TRUNCATED
    writer.parts[0] = _header.pack(
        query.id, flags, 1, len(reply.answers), len(reply.authority), len(reply.additional) + extra
    )
    return b"".join(writer.parts)


def _opt_record(query: Query) -> bytes:
    return _opt.pack(OPT, query.edns_size, 0, len(query.subnet)) + query.subnet


class _Writer:
    """Puts records behind the question and remembers where names are."""

    __slots__ = ("_at", "_compress", "_known", "_question", "parts")

    def __init__(self, question: bytes, compress: bool) -> None:
        self.parts: list[bytes] = [b"", question]
        self._question = question
        self._at = 12 + len(question)
        self._compress = compress
        self._known: dict[bytes, int] = {}

    def add(self, record: Record) -> None:
        owner = record.owner
        target = record.target
        if not owner and self._compress:
            if record.type == SRV:
                part = _srv_at_question.pack(0xC00C, SRV, IN, record.ttl, 6 + len(target), record.data)
                at = self._at + len(part)
                if at <= _POINTER_MAX:
                    self._known.setdefault(target, at)
                self._at = at + len(target)
                self.parts += (part, target)
                return
            if not target:
                data = record.data
                part = _fixed_at_question.pack(0xC00C, record.type, IN, record.ttl, len(data)) + data
                self._at += len(part)
                self.parts.append(part)
                return
        self._add_any(record)

    def _add_any(self, record: Record) -> None:
        owner = self._name(record.owner or self._question[:-4], self._at)
        data_at = self._at + len(owner) + 10
        data = record.data
        if record.target:
            if record.type == SRV:
                data += record.target
            else:
                data += self._name(record.target, data_at + len(data))
        self.parts.append(owner + _fixed.pack(record.type, IN, record.ttl, len(data)) + data)
        self._at = data_at + len(data)

    def _name(self, name: bytes, at: int) -> bytes:
        """``name`` as it is written at ``at``: its end may point to where it was written before."""
        if not self._compress:
            return name
        known = self._known
        offset = known.get(name)
        if offset is not None:
            return (0xC000 | offset).to_bytes(2, "big")
        if self._question[:-4] not in known:
            self._remember(self._question[:-4], 12)
        place = 0
        while name[place]:
            offset = known.get(name[place:])
            if offset is not None:
                self._remember(name, at, place)
                return name[:place] + (0xC000 | offset).to_bytes(2, "big")
            place += 1 + name[place]
        self._remember(name, at)
        return name

    def _remember(self, name: bytes, at: int, end: int = NAME_MAX) -> None:
        place = 0
        while place < end and name[place] and at + place <= _POINTER_MAX:
            self._known.setdefault(name[place:], at + place)
            place += 1 + name[place]


def fit(query: Query, reply: Reply, compress: bool = True, mark_cut: bool = False) -> bytes:
    """The bytes of ``reply`` with as much as the client can take.

    What is added goes first, then answers from the end with what belongs to them.

    :param mark_cut: set the TC bit when answers are left out, which tells the client to ask again by
        TCP. It is always set when nothing of the answer would be left.
    """
    if reply.cut and not mark_cut:
        reply.cut = False
    data = encode(query, reply, compress)
    size_max = query.size_max
    if len(data) <= size_max:
        return data
    answers, all_additional = reply.answers, reply.additional
    additional = reply.additional = [record for record in all_additional if record.type != TXT]
    data = encode(query, reply, compress)
    if len(data) <= size_max:
        return data
    few, many = 0, len(answers)  # few fit, many do not
    while many - few > 1:
        middle = (few + many) // 2
        _keep(reply, answers, additional, middle)
        if len(encode(query, reply, compress)) <= size_max:
            few = middle
        else:
            many = middle
    _keep(reply, answers, additional, few)
    reply.cut = mark_cut or not few
    data = encode(query, reply, compress)
    if len(data) > size_max:
        reply.authority = ()
        data = encode(query, reply, compress)
    return data


def _keep(reply: Reply, answers: Sequence[Record], additional: Sequence[Record], count: int) -> None:
    reply.answers = answers[:count]
    targets = {record.target for record in reply.answers}
    reply.additional = [record for record in additional if record.owner in targets]
