"""Writes SOG version 2 (PlayCanvas, "The SOG Format"): no GPU, no Node; the colours' palette is made here.

Values are rounded, codebooks and palette weigh splats by how much of a picture they cover, and rows stand along a
Z-order curve of their quantised centres. Codebooks and pictures are of the whole scene, so the whole scene is held: the
process grows by 200 bytes a splat and 45 MB without SH, by 470 bytes a splat and 115 MB with SH of degree 3.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import splatlens
from splatlens.converters.format import WriteOptions
from splatlens.converters.ordering import spread
from splatlens.converters.sog_bundle import bundle
from splatlens.converters.sog_codebook import codebook, nearest
from splatlens.converters.sog_layout import (
    ANTIALIASED,
    FLAT,
    MAX_PALETTE,
    MAX_SIDE,
    MEANS_FILES,
    META_NAME,
    QUATS_FILES,
    REST,
    SCALES_FILES,
    SH0_FILES,
    SHN_FILES,
    VERSION,
    centroids_size,
    log_transform,
    texture_size,
)
from splatlens.converters.sog_palette import palette
from splatlens.converters.sog_quats import pack, shortest
from splatlens.converters.source import TINY, Source, SourceInfo
from splatlens.viewer.errors import LensError, UnsupportedError
from splatlens.viewer.splats import Splats

Bytes = NDArray[np.uint8]

#: libwebp's effort for lossless pictures: 0.3 s for 100,000 splats; 4 and 75 take 1.2 s and save nothing, 6 and 100
#: take 140 s and save 0.2%.
WEBP_METHOD, WEBP_QUALITY = 2, 50
#: Rows that the palette of a small scene may have whatever the rule below gives.
SMALL = 1024
#: Share of the work done once the rows are read, and once the palette is made.
READ_SHARE, PALETTE_SHARE = 0.2, 0.9


def write_sog(path: Path, source: Source, options: WriteOptions) -> int:
    """Writes a `.sog` archive, or for a name of `meta.json` the files of its folder; returns their bytes.

    Reads `source` once. What stood at `path` stays until all is ready. Raises LensError.
    """
    with bundle(path) as add:
        planes = _gather(path, source, options)
        files = _encode(planes, source.info, options)
        for name, data in files.items():
            add(name, data)
    options.progress(1)
    return sum(map(len, files.values())) if path.name.lower() == META_NAME else path.stat().st_size


@dataclass(frozen=True)
class _Planes:
    """A scene's columns, in the order of the source.

    means (N, 3) float32; quats (N, 4) texels; log_scales (N, 3), sh0 (N, 3) float32; opacities (N,) bytes;
    rest (N, 3 (K - 1)) float32, coefficient-major; weights (N,) float32.
    """

    means: NDArray[np.float32]
    quats: Bytes
    log_scales: NDArray[np.float32]
    sh0: NDArray[np.float32]
    opacities: Bytes
    rest: NDArray[np.float32]
    weights: NDArray[np.float32]


def _gather(path: Path, source: Source, options: WriteOptions) -> _Planes:
    """Reads the source. `info.splats` is an upper bound: memory that no row comes for is never touched."""
    info = source.info
    n, rest = info.splats, 3 * REST[info.sh_degree]
    shapes = {"means": 3, "log_scales": 3, "sh0": 3, "rest": rest}
    columns: dict[str, NDArray[Any]] = {name: np.empty((n, width), np.float32) for name, width in shapes.items()}
    columns |= {"quats": np.empty((n, 4), np.uint8), "opacities": np.empty(n, np.uint8)}
    columns["weights"] = np.empty(n, np.float32)
    done = 0
    for part in source.chunks():
        for name, values in _columns(part, info.flat).items():
            columns[name][done : done + len(part)] = values
        done += len(part)
        options.progress(READ_SHARE * done / n)
    if done == 0:
        raise LensError(f"{path}: no splats to write; check what the filters leave of {info.path}")
    if max(texture_size(done)) > MAX_SIDE:
        most = f"{MAX_SIDE}x{MAX_SIDE} texels of a WebP picture"
        raise UnsupportedError(f"{path}: {done} splats do not fit the {most}; write a .lens or several files")
    return _Planes(**{name: values[:done] for name, values in columns.items()})


def _columns(part: Splats, flat: bool) -> dict[str, NDArray[Any]]:
    quats, scales = shortest(part.quats, np.maximum(part.scales, TINY), flat)
    return {
        "means": part.means,
        "quats": pack(quats, scales),
        "log_scales": np.log(scales),
        "sh0": part.sh[:, 0],
        "opacities": np.round(np.clip(part.opacities, 0, 1) * 255),
        "rest": part.sh[:, 1:].reshape(len(part), -1),
        "weights": importance(part.opacities, scales),
    }


def importance(opacities: NDArray[np.floating], scales: NDArray[np.floating]) -> NDArray[np.float64]:
    """(N,) weights of squared errors: the root of opacity times the area of the two largest axes.

    An error shows in as many pixels as the splat covers, which goes with its area; the root, because views that come
    near to small splats count too. For the plant's scales: 69.4 dB, beside 64.9 without weights.
    """
    axes = np.sort(scales.astype(np.float64), axis=1)
    weights: NDArray[np.float64] = np.sqrt(np.minimum(opacities, 1) * axes[:, 1] * axes[:, 2])
    return weights


def palette_entries(count: int) -> int:
    """Most SH rows for a number of splats: the greatest power of two, at least 1024 and at most 65,536, or all."""
    return min(count, max(SMALL, min(MAX_PALETTE, 1 << (count.bit_length() - 1))))


def _encode(planes: _Planes, info: SourceInfo, options: WriteOptions) -> dict[str, bytes]:
    """All files by name, meta.json last."""
    n = len(planes.means)
    size = texture_size(n)
    mins, maxs, steps = _quantised_means(planes.means)
    codes = spread(steps[:, 0]) | spread(steps[:, 1]) << np.uint64(1) | spread(steps[:, 2]) << np.uint64(2)
    order = np.argsort(codes, kind="stable")
    generator = f"splatlens {splatlens.__version__}"
    meta: dict[str, Any] = {"version": VERSION, "asset": {"generator": generator}, "count": n}
    if info.flat or info.antialias:
        meta["model"] = FLAT if info.flat else ANTIALIASED
    meta["means"] = {"mins": mins.tolist(), "maxs": maxs.tolist(), "files": list(MEANS_FILES)}
    files: dict[str, Future[bytes]] = {}
    with ThreadPoolExecutor(2) as pool:  # libwebp works outside the interpreter's lock

        def picture(name: str, *columns: NDArray[Any]) -> None:
            files[name] = pool.submit(_webp, size, [column[order].astype(np.uint8) for column in columns])

        picture(MEANS_FILES[0], *(steps & np.uint64(255)).T)
        picture(MEANS_FILES[1], *(steps >> np.uint64(8)).T)
        del steps, codes
        picture(QUATS_FILES[0], *planes.quats.T)
        weights = np.repeat(planes.weights, 3)
        scales = codebook(planes.log_scales.reshape(-1), weights)
        picture(SCALES_FILES[0], *nearest(planes.log_scales, scales).T)
        colours = codebook(planes.sh0.reshape(-1), weights)
        picture(SH0_FILES[0], *nearest(planes.sh0, colours).T, planes.opacities)
        del weights
        meta["scales"] = {"codebook": _numbers(scales), "files": list(SCALES_FILES)}
        meta["quats"] = {"files": list(QUATS_FILES)}
        meta["sh0"] = {"codebook": _numbers(colours), "files": list(SH0_FILES)}
        if info.sh_degree:
            rows, labels = palette(planes.rest, _positive(planes.weights), palette_entries(n))
            options.progress(PALETTE_SHARE)
            rows, labels = _by_first_use(rows, labels, order)
            picture(SHN_FILES[1], labels & 255, labels >> 8)
            share = np.bincount(labels, planes.weights, len(rows))
            values = codebook(rows.reshape(-1), np.repeat(share, rows.shape[1]))
            entries = nearest(rows, values).reshape(-1, 3)
            centroids = centroids_size(len(rows), REST[info.sh_degree])
            files[SHN_FILES[0]] = pool.submit(_webp, centroids, list(entries.T))
            shn = {"count": len(rows), "bands": info.sh_degree, "codebook": _numbers(values)}
            meta["shN"] = {**shn, "files": list(SHN_FILES)}
        out = {name: future.result() for name, future in files.items()}
    out[META_NAME] = json.dumps(meta, separators=(",", ":"), allow_nan=False).encode()
    return out


def _quantised_means(means: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.uint64]]:
    """mins (3,) and maxs (3,) of the transformed means, and 16-bit steps (N, 3) between them."""
    mins, maxs = log_transform(means.min(axis=0)), log_transform(means.max(axis=0))
    span = np.where(maxs > mins, maxs - mins, 1)
    steps = np.empty(means.shape, np.uint64)
    for axis in range(3):
        steps[:, axis] = np.round((log_transform(means[:, axis]) - mins[axis]) / span[axis] * 65535)
    return mins, maxs, steps


def _positive(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Weights of which none is so small that its row would be lost: at least a thousandth of the mean."""
    return np.maximum(weights, max(weights.mean() / 1000, TINY))


def _by_first_use(
    rows: NDArray[np.float32], labels: NDArray[np.int64], order: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Palette rows in the order in which the texels come to use them, unused ones left out.

    New labels then rise along the picture: its file takes 182 kB instead of 248 for playbot_l2, whose rows are each
    used about twice.
    """
    used, first = np.unique(labels[order], return_index=True)
    used = used[np.argsort(first, kind="stable")]
    place = np.zeros(len(rows), np.int64)
    place[used] = np.arange(len(used))
    return rows[used], place[labels]


def _numbers(codes: NDArray[np.float32]) -> list[float]:
    """The shortest decimals that are the same float32: half the bytes of their float64 forms."""
    return [float(str(code)) for code in codes]


def _webp(size: tuple[int, int], columns: Sequence[Bytes]) -> bytes:
    """A lossless picture whose channels start with the columns; alpha is 255 unless given, texels left over are 0."""
    from PIL import Image

    width, height = size
    texels = np.zeros((height * width, 4), np.uint8)
    texels[:, 3] = 255
    for channel, column in enumerate(columns):
        texels[: len(column), channel] = column
    out = io.BytesIO()
    image = Image.fromarray(texels.reshape(height, width, 4), "RGBA")
    # exact: libwebp would change colours where alpha is 0.
    image.save(out, "WEBP", lossless=True, exact=True, method=WEBP_METHOD, quality=WEBP_QUALITY)
    return out.getvalue()
