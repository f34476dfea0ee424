"""The byte layout of a .lens file: records, enumerations and limits of version 1 (a test compares docs/format.md)."""

from __future__ import annotations

from enum import IntEnum
from typing import Any, Final

import numpy as np

#: A byte above 127, then text, both line endings and an end-of-file mark: as PNG's, it notices transfers as text.
MAGIC: Final = b"\x89LENS\r\n\x1a"
VERSION: Final = 1
MEDIA_TYPE: Final = "application/vnd.splatlens.lens"

#: Bytes of the first request. Header, sections, information and each layer's first directory block lie inside them.
HEAD_BYTES: Final = 16384
CONTENT_ID_BYTES: Final = 16
#: Clusters a page may hold, children a cluster may have, splats a cluster may hold.
PAGE_CLUSTERS: Final = 16
MAX_CHILDREN: Final = 16
CLUSTER_SPLATS: Final = 256
#: Entries of every directory block but a layer's first and last.
DIRECTORY_ENTRIES: Final = 128
#: Bounds that keep a hostile file from asking for much memory.
MAX_SECTIONS: Final = 1024
MAX_LAYERS: Final = 256
MAX_INFO_BYTES: Final = 65536
MAX_DATA_BYTES: Final = 1 << 28
#: Deflate cannot shrink further than 1032 to 1 (RFC 1951: 258 bytes of a match in two bits).
MAX_DEFLATE_RATIO: Final = 1032
#: "no page", "no layer".
NONE: Final = 0xFFFFFFFF


class SectionKind(IntEnum):
    """What a section holds. A reader skips kinds it does not know."""

    INFO = 1
    DIRECTORY = 2
    DIRECTORY_TAIL = 3
    DATA = 4


class Encoding(IntEnum):
    """How a section is stored."""

    RAW = 0
    ZLIB = 1


class NodeFlag(IntEnum):
    """Bits of a cluster's flags."""

    FLOAT32_CENTRES = 1


_ID = ("u1", (CONTENT_ID_BYTES,))

HEADER: Final = np.dtype(
    [
        ("magic", "u1", (8,)),
        ("version", "<u2"),
        ("minor", "<u2"),
        ("head_length", "<u4"),
        ("content_id", *_ID),
        ("file_length", "<u8"),
        ("section_count", "<u4"),
        ("layer_count", "<u4"),
        ("reserved", "u1", (12,)),
        ("crc32", "<u4"),
    ]
)

SECTION: Final = np.dtype(
    [
        ("kind", "<u2"),
        ("encoding", "u1"),
        ("reserved", "u1"),
        ("layer", "<u4"),
        ("offset", "<u8"),
        ("length", "<u8"),
        ("decoded_length", "<u8"),
        ("crc32", "<u4"),
        ("reserved2", "<u4"),
    ]
)

DIRECTORY: Final = np.dtype(
    [
        ("content_id", *_ID),
        ("layer", "<u4"),
        ("first_page", "<u4"),
        ("page_count", "<u4"),
        ("crc32", "<u4"),
    ]
)

PAGE: Final = np.dtype(
    [
        ("geometry_offset", "<u8"),
        ("sh_offset", "<u8"),
        ("geometry_length", "<u4"),
        ("geometry_decoded", "<u4"),
        ("sh_length", "<u4"),
        ("sh_decoded", "<u4"),
        ("first_cluster", "<u4"),
        ("cluster_count", "<u2"),
        ("slot_count", "<u2"),
        ("parent_page", "<u4"),
        ("error", "<f4"),
    ]
)

#: One cluster. A page stores its clusters' nodes plane by plane: all of the first field, then all of the second, ...
NODE: Final = np.dtype(
    [
        ("child_first", "<u4"),
        ("child_page", "<u4"),
        ("error", "<f4"),
        ("sphere", "<f4", (4,)),
        ("box", "<f4", (2, 3)),
        ("support", "<f4", (2, 3)),
        ("count", "<u2"),
        ("child_count", "u1"),
        ("flags", "u1"),
    ]
)

#: The records of the file under the names docs/format.md gives them.
RECORDS: Final[dict[str, np.dtype[Any]]] = {
    "Header": HEADER,
    "Section": SECTION,
    "Directory block": DIRECTORY,
    "Page entry": PAGE,
    "Node": NODE,
}

#: Magic numbers of files that get taken for .lens files: first bytes, what they are, what to do.
OTHER_FILES: Final = (
    (b"ply", "a PLY file", "convert it with `splatlens convert`"),
    (b"PK\x03\x04", "a ZIP archive (perhaps a .sog)", "convert it with `splatlens convert`"),
    (
        b"\x1f\x8b",
        "gzip data (a .spz, or a .lens compressed on the way)",
        "convert it, or serve it without Content-Encoding",
    ),
    (b"glTF", "a binary glTF", "convert it with `splatlens convert`"),
    (b"<", "an HTML or XML page", "check the address: the server answered with a page"),
    (b"{", "JSON text", "check the address or path"),
    (b"version https://git-lfs", "a Git LFS pointer", "fetch the real file with `git lfs pull`"),
    (b"LENS\n\x1a", "a .lens whose first byte was stripped in transfer", "transfer the file in binary mode"),
    (b"\x89LENS\n", "a .lens whose line endings were changed in transfer", "transfer the file in binary mode"),
)
