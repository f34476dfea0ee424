"""Clusters of splats to the bytes of a page and on to the words the GPU reads (docs/format-payload.md)."""

from __future__ import annotations

import numpy as np

from splatlens.viewer.codec_payload import Block, encode_geometry, encode_sh
from splatlens.viewer.dequantise import dequantise
from splatlens.viewer.layer_codec import SCALE_STEPS, LayerCodec
from splatlens.viewer.page_decode import Geometry, decode_geometry, decode_sh, max_payload_length, sh_slot_words
from splatlens.viewer.quantise import Quantised, quantise_clusters
from splatlens.viewer.sh_codec import fit_sh
from splatlens.viewer.splats import SH_COEFFICIENTS, Splats

__all__ = [
    "Block",
    "Geometry",
    "LayerCodec",
    "Quantised",
    "decode_geometry",
    "decode_sh",
    "dequantise",
    "encode_geometry",
    "encode_sh",
    "fit_layer_codec",
    "max_payload_length",
    "quantise_clusters",
    "sh_slot_words",
]

#: Step of the square root of opacity: 8 bits reach an opacity of 10. The second without SH, see _PLAIN.
_OPACITY_STEP, _PLAIN_OPACITY_STEP = 1 / 80, 1 / 56
#: 32 log2 of the steps, at the importance of a splat of opacity 1/2 and the layer's median scale; lattices as in
#: docs/format-payload.md, which has the measurements behind these numbers.
_STEPS = {"middle": 47, "thin": 88, "axis": 171, "roll": 161, "color": 76, "sh": 60}
#: Without SH all of the error may be geometry's and DC's: steps are larger by 20 / 32 octaves.
_PLAIN = 20
#: Importance is limited to what makes steps 0.3 octaves larger and 1.85 smaller.
_IMPORTANCE = (-10, 59)
#: Index of the knee of the largest scale, above the layer's median.
_KNEE = -8
#: Step of SH components at the smallest shift, SH units.
_SH_STEP = 0.02


def fit_layer_codec(sample: Splats) -> LayerCodec:
    """Steps and SH basis for splats like the sample (those at full detail)."""
    largest = sample.scales.max(axis=1).astype(np.float64) if len(sample) else np.ones(1)
    reference = round(SCALE_STEPS * float(np.median(np.log2(np.maximum(largest, 1e-30)))))
    larger, opacity_step = (0, _OPACITY_STEP) if sample.sh_degree else (_PLAIN, _PLAIN_OPACITY_STEP)
    zero = reference - 16 - round(32 * float(np.log2(opacity_step)))
    steps = {name: step + larger for name, step in _STEPS.items()}
    width = 3 * (SH_COEFFICIENTS[sample.sh_degree] - 1)
    basis = np.zeros((0, max(1, width)), np.int8)
    limits = (zero, *_IMPORTANCE)
    codec = LayerCodec(sample.sh_degree, opacity_step, reference + _KNEE + larger, limits, steps, 1.0, basis)
    return fit_sh(codec, sample, _SH_STEP) if sample.sh_degree else codec
