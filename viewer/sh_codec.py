"""SH coefficients to a few integers a splat: the layer's principal components with one step (reverse water-filling)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from splatlens.viewer.layer_codec import SCALE_STEPS, Integers, LayerCodec, importance, scale_code, scale_index, shifts
from splatlens.viewer.splats import Splats

#: Rows that the principal components are computed from; more change no figure.
_SAMPLE = 65536
#: Rows transformed at once: 65536 rows of 45 doubles are 24 MB.
_CHUNK = 65536
#: Components whose standard deviation is below this share of a step are always 0 and are left out.
_NEGLIGIBLE = 0.25
#: Largest magnitude of a stored component.
_MOST = 127
#: Largest exponent of a cluster's SH: 2^24 steps.
MAX_EXPONENT = 24


def fit_sh(codec: LayerCodec, sample: Splats, step: float) -> LayerCodec:
    """The codec with the SH basis of the sample. step: of a component where the shift is 0, SH units.

    Karhunen-Loeve transform of all coefficients of all channels, weighted by what errors cost: uniform steps then spend
    bits where they save most error. The basis is small integers, so that every decoder gets the same bits from it.
    """
    chosen = sample.take(slice(None, None, max(1, -(-len(sample) // _SAMPLE))))
    values = _flat(chosen.sh)
    weights = np.exp2(-2.0 * _sh_shifts(codec, chosen))
    covariance = (values * weights[:, None]).T @ values / max(float(weights.sum()), 1e-30)
    variances, vectors = np.linalg.eigh(covariance)
    keep = np.sqrt(np.maximum(variances, 0)) > _NEGLIGIBLE * step
    basis = vectors[:, keep][:, ::-1].T
    # The sign of an eigenvector is an accident of the library: its largest entry is made positive.
    basis *= np.sign(np.take_along_axis(basis, np.abs(basis).argmax(axis=1)[:, None], axis=1))
    unit = np.abs(basis).max(initial=1e-30) / 127
    integers = np.rint(basis / unit).astype(np.int8)
    return replace(codec, sh_step=step * unit, sh_basis=integers)


def _flat(sh: NDArray[np.float32]) -> NDArray[np.float64]:
    return sh[:, 1:].reshape(len(sh), -1).astype(np.float64)


def _sh_shifts(codec: LayerCodec, splats: Splats) -> Integers:
    index = SCALE_STEPS * np.log2(np.maximum(splats.scales.max(axis=1).astype(np.float64), 1e-30))
    scale = scale_index(scale_code(index, codec.knee), codec.knee)
    root = np.rint(np.sqrt(splats.opacities.astype(np.float64)) / codec.opacity_step).astype(np.int32)
    return shifts(codec, "sh", importance(codec, scale, np.minimum(root, 255)), 0, 0)


def quantise_sh(
    sh: NDArray[np.float32],
    order: NDArray[np.int64],
    first: NDArray[np.int64],
    shift: Integers,
    codec: LayerCodec,
    least: float,
) -> tuple[NDArray[np.int8], Integers]:
    """(N, components) int8 of the rows in `order`, and the (C,) exponent by which a cluster's shift is larger.

    least: magnitude, in steps, below which a component becomes 0; others are rounded by the same threshold.
    """
    out = np.zeros((len(order), len(codec.sh_basis)), np.int8)
    exponent = np.zeros(len(first), np.int32)
    if not out.shape[1]:
        return out, exponent
    analysis = np.linalg.pinv(codec.sh_basis.astype(np.float64)) / codec.sh_step
    edges = np.append(first, len(order))
    start = 0
    while start < len(first):
        stop = max(start + 1, int(np.searchsorted(edges, edges[start] + _CHUNK, side="right")) - 1)
        low, high = edges[start], edges[stop]
        cluster = np.repeat(np.arange(stop - start), np.diff(edges[start : stop + 1]))
        steps = _flat(sh[order[low:high]]) @ analysis * np.exp2(-shift[low:high])[:, None]
        peak = np.maximum.reduceat(np.abs(steps).max(axis=1), edges[start:stop] - low)
        exponent[start:stop] = np.clip(np.ceil(np.log2(np.maximum(peak / (_MOST + least - 0.01), 1))), 0, MAX_EXPONENT)
        steps *= np.exp2(-exponent[start:stop])[cluster][:, None]
        whole = np.floor(np.abs(steps) + (1 - least))
        out[low:high] = np.copysign(np.minimum(whole, _MOST), steps)
        start = stop
    return out, exponent
