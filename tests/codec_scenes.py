"""Splats and clusters that the codec's tests quantise, and how they are encoded and decoded in one go."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from splatlens.viewer import codec
from splatlens.viewer.splats import SH_COEFFICIENTS, Splats


def random_splats(rng: np.random.Generator, n: int, degree: int) -> Splats:
    """Clumps of splats of all shapes, faint and opaque, as training leaves them."""
    means = np.repeat(rng.normal(0, 5, (-(-n // 100), 3)), 100, axis=0)[:n] + rng.normal(0, 0.3, (n, 3))
    scales = np.exp(rng.normal(-4, 1, (n, 1)) + rng.normal(0, 1, (n, 3)))
    quats = rng.normal(size=(n, 4))
    coefficients = SH_COEFFICIENTS[degree]
    sh = rng.normal(0, 1, (n, coefficients, 3)) * np.r_[0.8, np.full(coefficients - 1, 0.15)][:, None]
    quats /= np.linalg.norm(quats, axis=1, keepdims=True)
    parts = (means, quats, scales, rng.beta(1.2, 0.6, n), sh)
    return Splats(*(np.ascontiguousarray(p, np.float32) for p in parts))


def spans(n: int, size: int = 256) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """first and count of clusters of `size` rows, the last one shorter."""
    first = np.arange(0, n, size)
    return first, np.minimum(size, n - first)


@dataclass(frozen=True)
class Page:
    clusters: list[int]
    counts: list[int]
    geometry: codec.Block
    sh: codec.Block | None


@dataclass(frozen=True)
class Encoded:
    codec: codec.LayerCodec
    quantised: codec.Quantised
    pages: list[Page]

    @property
    def size(self) -> int:
        return sum(len(p.geometry.data) + (len(p.sh.data) if p.sh else 0) for p in self.pages)


def encode(
    splats: Splats, first: NDArray[np.int64], count: NDArray[np.int64], coarse: NDArray[np.integer] | None = None
) -> Encoded:
    """Every cluster, in pages of 16."""
    own = codec.fit_layer_codec(splats)
    quantised = codec.quantise_clusters(splats, first, count, np.zeros(len(first)) if coarse is None else coarse, own)
    pages = []
    for start in range(0, len(first), 16):
        ids = list(range(start, min(start + 16, len(first))))
        sh = codec.encode_sh(quantised, ids) if own.sh_degree else None
        pages.append(Page(ids, [int(count[i]) for i in ids], codec.encode_geometry(quantised, ids), sh))
    return Encoded(own, quantised, pages)


def decode(encoded: Encoded) -> Splats:
    """All rows in stored order."""
    parts = []
    words = codec.sh_slot_words(encoded.codec.sh_degree)
    for page in encoded.pages:
        g = codec.decode_geometry(zlib.decompress(page.geometry.data), page.counts, encoded.codec)
        sh = np.zeros(0, np.uint32)
        if page.sh:
            sh = codec.decode_sh(zlib.decompress(page.sh.data), page.counts, g.classes, encoded.codec)
        for i, n in enumerate(page.counts):
            own = sh[i * words : (i + 1) * words]
            parts.append(codec.dequantise(g.words, int(g.first_slot[i]), n, g.origins[i], own))
    return Splats.concatenate(parts)


def round_trip(splats: Splats, size: int = 256) -> tuple[Splats, Splats]:
    """The splats in stored order, and what came back."""
    encoded = encode(splats, *spans(len(splats), size))
    return splats.take(encoded.quantised.order), decode(encoded)
