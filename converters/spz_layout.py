"""Layout of SPZ files that reader and writer share: header, planes, extension records and named frames.

Source: README.md and extensions/README.md of github.com/nianticlabs/spz; all values little-endian.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from splatlens.viewer.errors import FormatError, UnsupportedError

MAGIC = b"NGSP"
#: magic, version, numPoints, shDegree, fractionalBits, flags, and reserved (versions 1 to 3) or numStreams (version 4).
HEADER = struct.Struct("<4sIIBBBB")
#: Of version 4, after HEADER: tocByteOffset, 12 reserved bytes.
HEADER_REST = struct.Struct("<I12x")
#: Of version 4, once a stream: compressed size, uncompressed size.
TOC_ENTRY = struct.Struct("<QQ")
RECORD = struct.Struct("<II")
ANTIALIASED, HAS_EXTENSIONS = 1, 2
#: Coefficients a channel has beyond the first, for SH degree 0 to 4.
SH_REST = (0, 3, 8, 15, 24)
PLANES = ("positions", "alphas", "colors", "scales", "rotations", "sh")
#: The library shifts a signed 32-bit 1 by them.
MOST_FRACTIONAL_BITS = 30
#: Bytes of extension records that are looked at; those defined have 4 to 64.
MOST_EXTENSION_BYTES = 1 << 20
MOST_WARNINGS = 8

AGAIN = "fetch or export it again"

COORDINATE_SYSTEM = 0xADBE0003
#: Extensions that say nothing about the splats.
KNOWN_EXTENSIONS = {0xADBE0001: "SPZ_ADOBE_sh_quantization", 0xADBE0002: "SPZ_ADOBE_safe_orbit_camera"}
#: What x, y and z point to for each value of SPZ_ADOBE_coordinate_system; 0 is unspecified, and means RUB. Values 9,
#: 10, 15 and 16 are called LFD, RFD, LBU and RBU, but what the library (0.2.3) writes and reads for them is this.
FRAMES = (
    "RUB", "LDB", "RDB", "LUB", "RUB", "LDF", "RDF", "LUF", "RUF",
    "LBU", "RBU", "LFU", "RFU", "LBD", "RBD", "LFD", "RFD",
)  # fmt: skip
_AXES = {"R": (1, 0, 0), "L": (-1, 0, 0), "D": (0, 1, 0), "U": (0, -1, 0), "F": (0, 0, 1), "B": (0, 0, -1)}


@dataclass(frozen=True)
class Header:
    """version: 1 to 4; count: splats; sh_degree: 0 to 4; streams and toc: of version 4, 0 before."""

    version: int
    count: int
    sh_degree: int
    fractional_bits: int
    flags: int
    streams: int = 0
    toc: int = 0

    @property
    def strides(self) -> tuple[int, ...]:
        """Bytes a splat takes in each of PLANES."""
        positions = 6 if self.version == 1 else 9
        rotations = 4 if self.version >= 3 else 3
        return positions, 1, 3, 3, rotations, 3 * SH_REST[self.sh_degree]

    @property
    def sizes(self) -> tuple[int, ...]:
        return tuple(self.count * stride for stride in self.strides)

    def pack(self) -> bytes:
        fields = self.count, self.sh_degree, self.fractional_bits, self.flags, self.streams
        head = HEADER.pack(MAGIC, self.version, *fields)
        return head + HEADER_REST.pack(self.toc) if self.version >= 4 else head


def parse_header(path: Path, data: bytes, zipped: bool) -> Header:
    """The header that `data` starts with; zipped: whether it was inside gzip.

    Raises FormatError, and UnsupportedError for versions and degrees that are not read.
    """
    where = "inside the gzip stream" if zipped else "at the start"
    if len(data) < HEADER.size:
        raise FormatError(f"{path}: {len(data)} bytes {where}, expected the 16 of an SPZ header; {AGAIN}")
    magic, version, count, degree, bits, flags, streams = HEADER.unpack_from(data)
    if magic != MAGIC:
        raise FormatError(f"{path}: {magic!r} {where}, expected {MAGIC!r}: not an SPZ file; check the name")
    if not 1 <= version <= 4:
        raise UnsupportedError(f"{path}: SPZ version {version}; versions 1 to 4 are read; export it as one of these")
    if degree > 4:
        raise UnsupportedError(f"{path}: SH degree {degree} (byte 12), expected 0 to 4; export it with a lower one")
    if version > 1 and bits > MOST_FRACTIONAL_BITS:
        raise FormatError(f"{path}: {bits} fractional bits (byte 13), expected 0 to {MOST_FRACTIONAL_BITS}; {AGAIN}")
    if count == 0:
        raise FormatError(f"{path}: the header says 0 splats (byte 8); export it from a trained scene")
    if version < 4:
        return Header(version, count, degree, bits, flags)
    if zipped:
        raise UnsupportedError(f"{path}: SPZ version 4 inside gzip; expected it bare, or version 1 to 3; {AGAIN}")
    if len(data) < HEADER.size + HEADER_REST.size:
        raise FormatError(f"{path}: the file ends inside the 32 bytes of the header, after {len(data)}; {AGAIN}")
    (toc,) = HEADER_REST.unpack_from(data, HEADER.size)
    return Header(version, count, degree, bits, flags, streams, toc)


@dataclass(frozen=True)
class Extensions:
    """What extension records say: the stored frame, names of known ones without use here, warnings about others."""

    frame: str = "RUB"
    ignored: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def parse_extensions(data: bytes) -> Extensions:
    """Reads records [u32 type][u32 length][payload]; stops, with a warning, at one that does not fit."""
    frame = "RUB"
    ignored: dict[str, None] = {}
    warnings: dict[str, None] = {}  # each once, so that a megabyte of empty records makes no megabytes of text
    at = 0
    while at < len(data):
        if at + RECORD.size > len(data):
            warnings[f"{len(data) - at} bytes after the last extension record were ignored"] = None
            break
        kind, size = RECORD.unpack_from(data, at)
        at += RECORD.size
        if size > len(data) - at:
            warnings[f"extension 0x{kind:08X} says {size} bytes where {len(data) - at} follow; it was ignored"] = None
            break
        if kind == COORDINATE_SYSTEM:
            value = int.from_bytes(data[at : at + 4], "little") if size >= 4 else len(FRAMES)
            if value < len(FRAMES):
                frame = FRAMES[value]
            else:
                warnings[f"SPZ_ADOBE_coordinate_system names no known frame; {frame} is taken, as without it"] = None
        elif kind in KNOWN_EXTENSIONS:
            ignored[KNOWN_EXTENSIONS[kind]] = None
        elif len(warnings) < MOST_WARNINGS:
            warnings[f"extension 0x{kind:08X} ({size} bytes) is unknown and was skipped"] = None
        at += size
    return Extensions(frame, tuple(ignored), tuple(warnings))


def to_trained(frame: str) -> NDArray[np.float64]:
    """(4, 4) from a named frame, such as RUB (x right, y up, z back), to right-down-forward."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.array([_AXES[letter] for letter in frame]).T
    return matrix
