"""What a scene says about itself: title, up, cameras, attribution, and its list of layers; to and from JSON."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splatlens.viewer.camera import Camera
from splatlens.viewer.camera_files import camera_json, parse_cameras
from splatlens.viewer.errors import FormatError, LensError
from splatlens.viewer.fields import MAX_TEXT, Field
from splatlens.viewer.lens_layout import MAX_SECTIONS

Vector = tuple[float, float, float]

#: Kinds of layers. A reader skips the kinds it does not know, or cannot draw, with a notice.
LAYER_KINDS = ("splats", "mesh", "generator", "sequence", "postprocess", "volume")
#: Triangles with bytes on them, and a method that makes colours of the bytes.
MESH = "mesh"
#: Those whose splats, or pictures, are made anew for every moment.
LIVE_KINDS = ("generator", "sequence", "postprocess")
_TEXTS = ("title", "attribution", "licence", "source", "converter")
#: Attachments with a meaning; others may be there and are skipped.
CAMERAS, THUMBNAIL = "cameras", "thumbnail"
#: Most cameras a scene may have.
MAX_CAMERAS = 100_000
_AFFINE = "an affine 4 x 4 matrix that can be inverted, last row 0 0 0 1"


@dataclass(frozen=True)
class Kernel:
    """How splats are blurred on the screen.

    dilation: pixels^2 added to the diagonal of the 2D covariance; antialias: opacity is scaled to make up for it
    (Yu et al. 2024, Mip-Splatting, section 4.2).
    """

    dilation: float = 0.3
    antialias: bool = False

    def to_json(self) -> dict[str, Any]:
        return {"dilation": self.dilation, "antialias": self.antialias}

    @staticmethod
    def from_json(data: Field) -> Kernel:
        """Raises FormatError."""
        return Kernel(data.member("dilation").number(0, 100), data.member("antialias").boolean())


@dataclass(frozen=True)
class SceneInfo:
    """Facts about a scene, in world coordinates (the trained ones where a layer's transform is the identity).

    title, attribution, licence: shown in the viewer. source: file name it was made of; converter: program and version.
    bounds: minimum and maximum corner of the splats' centres, None lets the writer measure them. up: unit vector.
    background: sRGB, 0..1. camera: where the viewer starts, None lets the writer choose. cameras: the training views.
    thumbnail: PNG, WebP or JPEG bytes, empty for none.
    """

    title: str = ""
    attribution: str = ""
    licence: str = ""
    source: str = ""
    converter: str = ""
    bounds: tuple[Vector, Vector] | None = None
    up: Vector = (0.0, -1.0, 0.0)
    background: Vector = (0.0, 0.0, 0.0)
    camera: Camera | None = None
    cameras: tuple[Camera, ...] = ()
    thumbnail: bytes = b""

    def __post_init__(self) -> None:
        for name in _TEXTS:
            if len(getattr(self, name)) > MAX_TEXT:
                raise LensError(f"scene: field {name}: longer than {MAX_TEXT} characters; link to the long text")
        vectors: list[tuple[str, Vector]] = [("up", self.up), ("background", self.background)]
        vectors += [(f"bounds[{i}]", corner) for i, corner in enumerate(self.bounds or ())]
        for name, vector in vectors:
            if len(vector) != 3 or not all(math.isfinite(v) for v in vector):
                raise LensError(f"scene: field {name}: expected three finite numbers, got {vector}")
        if self.bounds and any(a > b for a, b in zip(*self.bounds, strict=True)):
            raise LensError(f"scene: field bounds: minimum {self.bounds[0]} is above maximum {self.bounds[1]}")
        if not any(self.up):
            raise LensError("scene: field up: has no direction; give a vector such as 0,-1,0")
        if self.thumbnail and not thumbnail_type(self.thumbnail):
            raise LensError("scene: field thumbnail: is neither PNG, JPEG nor WebP; convert the picture")

    def to_json(self) -> dict[str, Any]:
        """Without cameras and thumbnail, which are attachments."""
        result: dict[str, Any] = {name: getattr(self, name) for name in _TEXTS if getattr(self, name)}
        result["up"], result["background"] = list(self.up), list(self.background)
        if self.bounds:
            result["bounds"] = [list(v) for v in self.bounds]
        if self.camera:
            result["camera"] = camera_json(self.camera)
        return result

    @staticmethod
    def from_json(data: Field) -> SceneInfo:
        """Raises FormatError, also for what __post_init__ finds."""
        values: dict[str, Any] = {k: data.member(k).text() for k in _TEXTS if data.has(k)}
        values |= {k: _vector(data.member(k).numbers(3)) for k in ("up", "background")}
        if data.has("bounds"):
            low, high = data.member("bounds").rows(2, 3)
            values["bounds"] = _vector(low), _vector(high)
        if data.has("camera"):
            one = Field([data.object()["camera"]], data.file, f"{data.path}.camera")
            values["camera"] = cameras_from_json(one)[0]
        try:
            return SceneInfo(**values)
        except LensError as error:
            raise FormatError(f"{data.file}: {error}; fetch or convert it again") from error


def _vector(values: tuple[float, ...]) -> Vector:
    return (values[0], values[1], values[2])


def thumbnail_type(data: bytes) -> str:
    """Media type of a picture by its first bytes, empty where it is none that every browser shows."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return "image/jpeg" if data.startswith(b"\xff\xd8\xff") else ""


def cameras_from_json(data: Field) -> tuple[Camera, ...]:
    """A list of cameras, each in our own form (docs/format.md, "Camera"). Raises FormatError."""
    items = data.items(0, MAX_CAMERAS)
    for item in items:
        if not item.has("world_to_camera"):
            item.fail("a camera with world_to_camera")
    try:
        return tuple(parse_cameras(data.value, f"{data.file}: {data.path}")) if items else ()
    except FormatError as error:
        raise FormatError(f"{error}; fetch or convert it again") from error


@dataclass(frozen=True)
class SplatsInfo:
    """What a layer of kind `splats` says of its clusters.

    splats: source splats, the leaves' rows. stored: rows of all clusters. clusters, pages: of its tree.
    codec: quantisation of the whole layer (docs/format-payload.md).
    """

    splats: int
    stored: int
    clusters: int
    pages: int
    sh_degree: int
    kernel: Kernel
    codec: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        numbers = {k: getattr(self, k) for k in ("splats", "stored", "clusters", "pages", "sh_degree")}
        return {**numbers, "kernel": self.kernel.to_json(), "codec": self.codec}

    @staticmethod
    def from_json(data: Field) -> SplatsInfo:
        """Raises FormatError. The counts are checked against the directory by the reader."""
        counts = ("splats", "stored", "clusters", "pages")
        splats, stored, clusters, pages = (data.member(k).integer(1, 2**40) for k in counts)
        degree, kernel = data.member("sh_degree").integer(0, 3), Kernel.from_json(data.member("kernel"))
        return SplatsInfo(splats, stored, clusters, pages, degree, kernel, data.member("codec").object())


@dataclass(frozen=True)
class LayerInfo:
    """One layer: kind, name, transform (layer to world, (4, 4) float64, affine), blobs by name (section indices).

    splats: set for the kind `splats`. properties: the kind's own object for every other kind, as it was written.
    """

    kind: str
    name: str
    transform: NDArray[np.float64]
    blobs: dict[str, int] = field(default_factory=dict)
    splats: SplatsInfo | None = None
    properties: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        own = self.splats.to_json() if self.splats else self.properties
        matrix = check_transform(self.transform).tolist()
        return {"kind": self.kind, "name": self.name, "transform": matrix, "blobs": self.blobs, "properties": own}

    @staticmethod
    def from_json(data: Field) -> LayerInfo:
        """Raises FormatError. Properties of kinds other than `splats` are left to those who draw them."""
        kind, own = data.member("kind").text(), data.member("properties")
        transform = data.member("transform")
        rows = np.array(transform.rows(4, 4), np.float64)
        try:
            matrix = check_transform(rows)
        except LensError:
            transform.fail(_AFFINE)
        blobs = {k: f.integer(0, MAX_SECTIONS - 1) for k, f in data.member("blobs").members(MAX_SECTIONS).items()}
        splats = SplatsInfo.from_json(own) if kind == "splats" else None
        return LayerInfo(kind, data.member("name").text(), matrix, blobs, splats, {} if splats else own.object())


def check_transform(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """The (4, 4) matrix, if it is affine, finite and can be inverted. Raises LensError."""
    m = np.asarray(matrix, np.float64)
    good = m.shape == (4, 4) and bool(np.isfinite(m).all()) and not (m[3] != (0, 0, 0, 1)).any()
    if not good or not 1e-30 < abs(np.linalg.det(m[:3, :3])) < 1e30:
        raise LensError(f"layer: field transform: expected {_AFFINE}")
    return m
