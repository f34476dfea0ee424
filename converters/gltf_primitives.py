"""Splats of a glTF primitive with KHR_gaussian_splatting: which attributes mean what, in its drafts too.

Source: extensions/2.0/Khronos/KHR_gaussian_splatting of github.com/KhronosGroup/glTF. Drafts before February 2026
stored logarithms as SCALE, in signed types too; the first ones had colour and opacity in COLOR_0. Such files are about.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from splatlens.converters.gltf_accessors import Accessor, find_accessor
from splatlens.converters.gltf_colour import display_sh, encode_srgb
from splatlens.converters.gltf_file import Container, Reader
from splatlens.converters.source import checked
from splatlens.viewer.errors import FormatError, UnsupportedError
from splatlens.viewer.fields import Field
from splatlens.viewer.splats import SH_C0, SH_COEFFICIENTS, Splats

EXTENSION = "KHR_gaussian_splatting"
#: Names under which drafts carry an SPZ stream, inside EXTENSION or beside it.
SPZ_EXTENSIONS = (
    f"{EXTENSION}_compression_spz_2", f"{EXTENSION}_compression_spz", "KHR_spz_gaussian_splats_compression",
)  # fmt: skip
#: colorSpace values by meaning; those of the drafts last.
DISPLAY, LINEAR = ("srgb_rec709_display", "BT.709-sRGB", "BT.709"), ("lin_rec709_display", "BT.709-linear")
_PLAIN = "export it as a plain 3D Gaussian Splatting PLY, or with newer software"
_BYTES = tuple(f"{sign} {size}" for sign in ("unsigned", "signed") for size in ("byte", "short"))
#: Kinds of components that an attribute may have, with its width: the specification's table, and the drafts'.
_KINDS = {
    "POSITION": (3, ("float", *_BYTES, *(f"{kind} normalized" for kind in _BYTES))),
    "ROTATION": (4, ("float", "signed byte normalized", "signed short normalized")),
    "SCALE": (3, ("float", *_BYTES, *(f"{kind} normalized" for kind in _BYTES))),
    "OPACITY": (1, ("float", "unsigned byte normalized", "unsigned short normalized")),
    "COLOR_0": (4, ("float", "unsigned byte normalized", "unsigned short normalized")),
    "SH": (3, ("float",)),
}
#: Rows read at once: 8 MB at SH 3.
BLOCK_ROWS = 1 << 15
#: Rows looked at to tell logarithms of scales: all of small primitives, else so many in evenly spaced blocks.
PROBE_ROWS, PROBE_BLOCK = 1 << 16, 1 << 10


@dataclass(frozen=True)
class Primitive:
    """Attributes of `count` splats. sh: an accessor a coefficient, none where `colour` stands in for them.

    opacities: None where the alpha of `colour` stands in. linear: colours are linear light; encode: those of
    `colour` are.
    """

    count: int
    means: Accessor
    quats: Accessor
    scales: Accessor
    opacities: Accessor | None
    sh: tuple[Accessor, ...]
    colour: Accessor | None
    linear: bool
    encode: bool

    @property
    def sh_degree(self) -> int:
        return SH_COEFFICIENTS.index(max(1, len(self.sh)))

    def sign_of_scales(self, reader: Reader) -> int:
        """-1 where SCALE holds a negative value or has a signed integer type, else 1 where a positive, else 0."""
        if self.scales.kind.startswith("signed"):
            return -1
        sign = 0
        whole = self.count <= PROBE_ROWS
        for first in range(0, self.count, PROBE_BLOCK if whole else self.count // (PROBE_ROWS // PROBE_BLOCK)):
            scales = self.scales.rows(reader, first, min(PROBE_BLOCK, self.count - first))
            if (scales < 0).any():
                return -1
            sign = max(sign, int((scales > 0).any()))
        return sign

    def chunks(self, reader: Reader, rows: int, dropped: Counter[str], logarithms: bool) -> Iterator[Splats]:
        """The splats in the file's order and coordinates; logarithms: what SCALE holds."""
        rows = min(rows, BLOCK_ROWS)
        for first in range(0, self.count, rows):
            yield self._block(reader, first, min(rows, self.count - first), dropped, logarithms)

    def _block(self, reader: Reader, first: int, n: int, dropped: Counter[str], logarithms: bool) -> Splats:
        means, quats, scales = (a.rows(reader, first, n) for a in (self.means, self.quats, self.scales))
        sh = np.empty((n, max(1, len(self.sh)), 3), np.float32)
        for k, accessor in enumerate(self.sh):
            sh[:, k] = accessor.rows(reader, first, n)
        colour = None if self.colour is None else self.colour.rows(reader, first, n)
        with np.errstate(over="ignore", invalid="ignore"):
            if colour is not None:
                shown = encode_srgb(colour[:, :3]) if self.encode else colour[:, :3]
                sh[:, 0] = (shown - 0.5) / SH_C0
            elif self.linear:
                sh = display_sh(sh)
            if self.opacities is not None:
                opacities = self.opacities.rows(reader, first, n)[:, 0]
            else:
                assert colour is not None
                opacities = colour[:, 3]
            scales = np.exp(scales) if logarithms else scales
        fine = ~(scales < 0).any(axis=1)
        if not fine.all():
            dropped["a negative scale"] += int(n - np.count_nonzero(fine))
            means, quats, scales, opacities, sh = (a[fine] for a in (means, quats, scales, opacities, sh))
        return checked(means, quats[:, [3, 0, 1, 2]], scales, np.minimum(opacities, 1), sh, dropped)


@dataclass(frozen=True)
class Notes:
    """What was read otherwise than the file has it: for warnings, each kind once with its number of primitives."""

    counts: Counter[str]

    def add(self, note: str) -> None:
        self.counts[note] += 1

    def warnings(self) -> tuple[str, ...]:
        return tuple(note if n == 1 else f"{note} ({n} primitives)" for note, n in list(self.counts.items())[:16])


def splat_extension(primitive: Field) -> Field | None:
    """The extension object of a primitive of splats."""
    extensions = primitive.member("extensions")
    if extensions.value is None:
        return None
    for name in (EXTENSION, *SPZ_EXTENSIONS):
        if extensions.has(name):
            return extensions.member(name)
    return None


def spz_view(primitive: Field) -> Field | None:
    """The buffer view number of the SPZ stream of a primitive, where it has one."""
    outer = primitive.member("extensions")
    inner = outer.member(EXTENSION).member("extensions") if outer.has(EXTENSION) else outer
    for holder in (inner, outer):
        for name in SPZ_EXTENSIONS:
            if holder.value is not None and holder.has(name):
                return holder.member(name).member("bufferView")
    return None


def colour_space(primitive: Field, notes: Notes) -> tuple[str, bool]:
    """Name ("" where there is none) and whether it is linear light; notes what cannot be drawn as it should be."""
    extension = splat_extension(primitive)
    assert extension is not None
    name = extension.member("colorSpace").text(200) if extension.has("colorSpace") else ""
    if name in LINEAR:
        notes.add(
            "colours in linear light (lin_rec709_display) were converted to display values splat by splat: exact "
            "where a splat is opaque and of one colour, near where views differ; overlaps blend a little otherwise"
        )
    elif name and name not in DISPLAY:
        notes.add(f"colour space {name!r:.60} is unknown; its values are shown as sRGB")
    return name, name in LINEAR


def find_primitive(container: Container, primitive: Field, notes: Notes) -> Primitive:
    """The attributes of a primitive of splats. Raises LensError for damaged or missing ones."""
    where = f"{container.path}: {primitive.path.removeprefix('glTF.')}"
    extension = splat_extension(primitive)
    assert extension is not None
    if primitive.has("indices"):
        raise UnsupportedError(f"{where}: splats with indices are not supported; {_PLAIN}")
    if primitive.member("mode").value != 0:
        notes.add(f"the mode of a primitive of splats is {primitive.member('mode').value!r:.20}, not 0 (points)")
    attributes = primitive.member("attributes").members(256)
    kernel = extension.member("kernel").text(200) if extension.has("kernel") else "ellipse"
    found = {name: _find(container, attributes, where, name) for name in ("POSITION", "ROTATION", "SCALE", "OPACITY")}
    sh = _find_sh(container, attributes, where, notes)
    colour = _find(container, attributes, where, "COLOR_0")
    stands_in = colour is not None and (found["OPACITY"] is not None or colour.width == 4)
    needed = ("POSITION", "ROTATION", "SCALE", *(() if stands_in else ("OPACITY",)))
    missing = [name for name in needed if found[name] is None]
    missing += [] if sh or colour is not None else ["SH_DEGREE_0_COEF_0"]
    if missing:
        why = f"the splats have no {', '.join(missing)}"
        if kernel != "ellipse":
            raise UnsupportedError(f"{where}: kernel {kernel!r:.60} is not supported, and {why}; {_PLAIN}")
        raise FormatError(f"{where}: {why}; {_PLAIN}")
    if kernel != "ellipse":
        notes.add(f"kernel {kernel!r:.60} is unknown; drawn as 'ellipse', as the specification suggests")
    for name, value in (("projection", "perspective"), ("sortingMethod", "cameraDistance")):
        if extension.has(name) and extension.member(name).value != value:
            notes.add(f"{name} {extension.member(name).value!r:.60} is unknown; {value} is used")
    if not sh:
        notes.add("colours come from COLOR_0, as there are no spherical harmonics")
    space, linear = colour_space(primitive, notes)
    means, quats, scales, opacities = found.values()
    assert means is not None and quats is not None and scales is not None
    colour = colour if not sh or opacities is None else None
    for accessor in (quats, scales, opacities, *sh, colour):
        if accessor is not None and accessor.count != means.count:
            named = accessor.path.removeprefix("glTF.")
            raise FormatError(f"{where}: {named} has {accessor.count} rows, POSITION {means.count}; export it again")
    # COLOR_0 holds linear light (glTF 2.0 section 3.9.2), but in the drafts that had their colours there.
    encode = bool(space) and not space.startswith("BT.")
    return Primitive(means.count, means, quats, scales, opacities, sh, colour, linear, encode)


def _find(container: Container, attributes: dict[str, Field], where: str, name: str) -> Accessor | None:
    """The accessor of an attribute, of a kind that the specification or a draft allows."""
    full = name if name in ("POSITION", "COLOR_0") else f"{EXTENSION}:{name}"
    if full not in attributes:
        return None
    accessor = find_accessor(container, attributes[full])
    width, kinds = _KINDS["SH" if name.startswith("SH_") else name]
    widths = (3, 4) if name == "COLOR_0" else (width,)
    if accessor.width not in widths or accessor.kind not in kinds:
        shown = [f"{accessor.width} x {accessor.kind}", f"{width} x {' or '.join(kinds)}"]
        raise FormatError(f"{where}: {name} is {shown[0]}, expected {shown[1]}; export it again")
    return accessor


def _find_sh(container: Container, attributes: dict[str, Field], where: str, notes: Notes) -> tuple[Accessor, ...]:
    """Accessors of the coefficients of all complete degrees up to 3, lowest order first."""
    sh: list[Accessor] = []
    held = [int(m[1]) for m in (re.fullmatch(rf"{EXTENSION}:SH_DEGREE_(\d)_COEF_\d+", a) for a in attributes) if m]
    for degree in range(4):
        names = [f"SH_DEGREE_{degree}_COEF_{n}" for n in range(2 * degree + 1)]
        found = [_find(container, attributes, where, name) for name in names]
        complete = [accessor for accessor in found if accessor is not None]
        if len(complete) < len(names):
            if max(held, default=-1) >= degree and degree:
                notes.add(f"SH degree {degree} is incomplete; it and higher ones were left out")
            break
        sh += complete
    if len(sh) == SH_COEFFICIENTS[3] and max(held) > 3:
        notes.add(f"SH of degree {max(held)} was reduced to degree 3")
    return tuple(sh)


def as_degree(splats: Splats, degree: int) -> Splats:
    """The same with zeros for the SH coefficients up to `degree`."""
    more = SH_COEFFICIENTS[degree] - splats.sh.shape[1]
    if not more:
        return splats
    sh: NDArray[np.float32] = np.pad(splats.sh, ((0, 0), (0, more), (0, 0)))
    return Splats(splats.means, splats.quats, splats.scales, splats.opacities, sh)
