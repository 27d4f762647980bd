"""Which slice a key belongs to: fixed for ever, so that a topic can grow without moving keys by accident.

Key -> slice is this function; slice -> partition is versioned data in the write database
(its table `slice_map`). Only the second ever changes.
"""

from zlib import crc32

SLICES = 256


def slice_of(key: str) -> int:
    """The slice of an aggregate id, 0 to 255: CRC-32 of its UTF-8 bytes, modulo 256."""
    return crc32(key.encode()) % SLICES


def initial_map(partitions: int) -> tuple[int, ...]:
    """The first slice map of a topic with `partitions` partitions: slice n to partition n mod count."""
    return tuple(number % partitions for number in range(SLICES))
