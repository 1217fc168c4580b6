"""Network coordinates: where this node is, in terms of round-trip times.

Source: Vivaldi (2004); the gravity and the adjustment term come from Ledlie et al. (2007); numbers
from the specs of coordinates, sections 1 to 4. All lengths are seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from pyconsul.structs.coordinate import DIMENSIONS, ERROR_MAX, HEIGHT_MIN, Coordinate, difference, length
from pyconsul.swim import wire
from pyconsul.swim.wire import DecodeError

if TYPE_CHECKING:
    from random import Random

_ERROR_GAIN = 0.25
_POSITION_GAIN = 0.25
_WINDOW = 20
_FILTER_SIZE = 3
_GRAVITY_RHO = 150.0
_ZERO = 1e-6
_RTT_MAX_S = 10.0
_PEERS_MAX = 8192
"""Peers whose samples are kept."""

_PAYLOAD_VERSION = 1
_FIELDS = (b"Vec", b"Error", b"Adjustment", b"Height")

ORIGIN = Coordinate()


def encode(coordinate: Coordinate) -> bytes:
    """The payload of an ack."""
    return bytes((_PAYLOAD_VERSION,)) + wire.pack({
        "Adjustment": coordinate.adjustment, "Error": coordinate.error, "Height": coordinate.height,
        "Vec": list(coordinate.vec),
    })  # fmt: skip


def decode(payload: bytes) -> Coordinate:
    """Read the payload of an ack.

    :raises DecodeError: if it is of another version or no coordinate.
    """
    if payload[:1] != bytes((_PAYLOAD_VERSION,)):
        raise DecodeError("coordinate of another version")
    vec, error, adjustment, height = wire.values(wire.unpack(payload[1:]), _FIELDS)
    numbers = tuple(wire.number(item) for item in wire.sequence(vec))
    return Coordinate(numbers, wire.number(error), wire.number(adjustment), wire.number(height))


class CoordinateSource(Protocol):
    """What the serf layer needs of network coordinates."""

    resets: int

    def payload(self) -> bytes | None:
        """What to put into acks."""
        ...

    def observe(self, node: str, payload: bytes, rtt_s: float) -> None:
        """A ping of ``node`` took ``rtt_s``, and its ack carried ``payload``."""
        ...

    def forget(self, node: str) -> None:
        """The node is gone."""
        ...


class NoCoordinates:
    """Coordinates are switched off."""

    resets = 0

    def payload(self) -> bytes | None:
        return None

    def observe(self, node: str, payload: bytes, rtt_s: float) -> None: ...

    def forget(self, node: str) -> None: ...


class CoordinateClient:
    """This node's own coordinate, moved a little by every ping.

    :ivar coordinate: where this node is.
    :ivar peers: the latest coordinate of each node that acked a ping.
    :ivar resets: how often the own coordinate had to be started over.
    """

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self.coordinate = ORIGIN
        self.peers: dict[str, Coordinate] = {}
        self.resets = 0
        self._samples: dict[str, list[float]] = {}
        self._adjustments = [0.0] * _WINDOW
        self._next_adjustment = 0
        self._payload: bytes | None = None

    def payload(self) -> bytes | None:
        """What to put into acks."""
        if self._payload is None:
            self._payload = encode(self.coordinate)
        return self._payload

    def forget(self, node: str) -> None:
        """The node is gone."""
        self.peers.pop(node, None)
        self._samples.pop(node, None)

    def observe(self, node: str, payload: bytes, rtt_s: float) -> None:
        """A ping of ``node`` took ``rtt_s``, and its ack carried ``payload``.

        :raises DecodeError: if the payload or the time makes no sense.
        """
        other = decode(payload)
        self.update(node, other, rtt_s)

    def update(self, node: str, other: Coordinate, rtt_s: float) -> None:
        """Move towards or away from ``other``.

        :raises DecodeError: if its coordinate or the time makes no sense; nothing has changed then.
        """
        if not other.valid:
            raise DecodeError("coordinate is not comparable")
        if not 0 <= rtt_s <= _RTT_MAX_S:
            raise DecodeError("round-trip time is not possible")
        if node not in self._samples and len(self._samples) >= _PEERS_MAX:
            self.forget(next(iter(self._samples)))
        rtt_s = max(self._filtered(node, rtt_s), _ZERO)
        self.peers[node] = other
        moved = self._gravity(self._adjusted(self._vivaldi(other, rtt_s), other, rtt_s))
        if not moved.valid:
            moved = ORIGIN
            self.resets += 1
        self.coordinate = moved
        self._payload = None

    def _filtered(self, node: str, rtt_s: float) -> float:
        """The median of the last few times, so that one slow packet counts little."""
        samples = self._samples.setdefault(node, [])
        samples.append(rtt_s)
        del samples[:-_FILTER_SIZE]
        return sorted(samples)[len(samples) // 2]

    def _vivaldi(self, other: Coordinate, rtt_s: float) -> Coordinate:
        own = self.coordinate
        distance = own.distance_to(other)
        wrongness = abs(distance - rtt_s) / rtt_s
        total = max(own.error + other.error, _ZERO)
        weight = own.error / total
        error = _ERROR_GAIN * weight * wrongness + own.error * (1.0 - _ERROR_GAIN * weight)
        vec, height = self._pushed(own, _POSITION_GAIN * weight * (rtt_s - distance), other)
        return Coordinate(vec, min(ERROR_MAX, error), own.adjustment, height)

    def _adjusted(self, own: Coordinate, other: Coordinate, rtt_s: float) -> Coordinate:
        self._adjustments[self._next_adjustment] = rtt_s - own.raw_distance_to(other)
        self._next_adjustment = (self._next_adjustment + 1) % _WINDOW
        return Coordinate(own.vec, own.error, sum(self._adjustments) / (2.0 * _WINDOW), own.height)

    def _gravity(self, own: Coordinate) -> Coordinate:
        """Pull towards the origin, so that the whole pool does not drift away."""
        distance = ORIGIN.distance_to(own) / _GRAVITY_RHO
        vec, height = self._pushed(own, -(distance * distance), ORIGIN)
        return Coordinate(vec, own.error, own.adjustment, height)

    def _pushed(self, own: Coordinate, force: float, other: Coordinate) -> tuple[tuple[float, ...], float]:
        """Where ``own`` is after ``force`` away from ``other``, and its height."""
        apart = difference(own.vec, other.vec)
        far = length(apart)
        height = own.height
        if far > _ZERO:
            unit = [part / far for part in apart]
            height = max(HEIGHT_MIN, (own.height + other.height) * force / far + own.height)
        else:
            unit = self._random_direction()
        return tuple(place + part * force for place, part in zip(own.vec, unit)), height

    def _random_direction(self) -> list[float]:
        drawn = [self._rng.random() - 0.5 for _ in range(DIMENSIONS)]
        far = length(drawn)
        if far <= _ZERO:
            return [1.0] + [0.0] * (DIMENSIONS - 1)
        return [part / far for part in drawn]
