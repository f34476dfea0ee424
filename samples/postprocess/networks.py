"""The sample's two networks: their layers, their ONNX graphs with the contract, and the drawing that `ink` learns."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from splatlens.converters.onnx_graph import Graph
from splatlens.viewer.contract import Columns, Contract, Control, ImageSize, Input

Images = NDArray[np.float32]
Weights = Sequence[tuple[NDArray[np.float32], NDArray[np.float32]]]
#: Three convolutions each: channels in, channels out, size, stride, padding. `detail` works at half the resolution and
#: gives 2 x 2 pixels of three channels for each of its own: a quarter of the work.
LAYERS = {
    "detail": [(3, 32, 6, 2, 2), (32, 32, 3, 1, 1), (32, 12, 3, 1, 1)],
    "ink": [(3, 16, 5, 1, 2), (16, 16, 5, 1, 2), (16, 3, 3, 1, 1)],
}
#: Side of the tiles that `ink` takes, pixels, and their overlap: twice the 5 pixels that its convolutions reach.
TILE, OVERLAP = 128, 16
LICENCE = "CC0-1.0"
_LUMINANCE = np.float32([0.299, 0.587, 0.114])  # ITU-R BT.601
#: Ink and paper of the drawing, sRGB.
_INK, _PAPER = np.float32([0.10, 0.09, 0.16]), np.float32([0.97, 0.94, 0.86])


def ink(images: Images) -> Images:
    """(N, 3, H, W) drawings of pictures: dark lines where luminance changes, a thin wash of colour on paper.

    Lines are a soft threshold of a difference of Gaussians (Winnemoeller et al. 2012, XDoG, equation 7).
    """
    out = np.empty_like(images)
    for picture, made in zip(images, out, strict=True):
        light = np.tensordot(_LUMINANCE, picture, 1)
        fine, broad = gaussian_filter(light, 0.7), gaussian_filter(light, 1.4)
        line = np.clip(1 + np.tanh(18 * (fine - 0.985 * broad - 0.004)), 0, 1)
        soft = np.stack([gaussian_filter(channel, 1.2) for channel in picture])
        wash = _PAPER[:, None, None] * (0.45 + 0.55 * (0.5 * soft + 0.5 * soft.mean(axis=0)))
        made[:] = _INK[:, None, None] + (wash - _INK[:, None, None]) * line
    return out


def graph(kind: str, weights: Weights) -> onnx.ModelProto:
    """The network as a model with its contract: picture in, picture out, a slider for its strength."""
    g = Graph(kind)
    size: tuple[int | str, ...] = (1, 3, "height", "width") if kind == "detail" else (1, 3, TILE, TILE)
    image, strength = g.input("image", size), g.input("strength", (1,))
    x = image
    for i, ((weight, bias), (*_, width, stride, padding)) in enumerate(zip(weights, LAYERS[kind], strict=True)):
        x = g.op("Relu", x) if i else x
        x = g.op("Conv", x, weight, bias, kernel_shape=[width, width], strides=[stride] * 2, pads=[padding] * 4)
    # `detail` gives what is to be added, `ink` the drawing itself.
    change = g.op("DepthToSpace", x, blocksize=2, mode="CRD") if kind == "detail" else g.op("Sub", x, image)
    made = g.op("Clip", g.op("Add", image, g.op("Mul", change, strength)), 0.0, 1.0)
    g.output(made, "picture", size)
    title, label = {"detail": ("Detail for small budgets", "Detail"), "ink": ("Ink and wash", "Ink")}[kind]
    contract = Contract(
        "postprocess",
        {"image": Input("image"), "strength": Input("controls", ("strength",))},
        {"image": Columns("picture")},
        controls=(Control("strength", label, default=1.0),),
        image=ImageSize(multiple=2) if kind == "detail" else ImageSize((TILE, TILE), OVERLAP),
        texts={"title": title, "licence": LICENCE, "source": "samples/postprocess/train.py of splatlens"},
    )
    return g.model(contract)
