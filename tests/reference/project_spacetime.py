"""NumPy twin of shaders/project_spacetime.wgsl: Li et al. 2024, section 4.1, dt = t - the splat's own time."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.reference.projection import project_splats


def project_spacetime(
    frame: NDArray[np.void],
    layers: NDArray[np.void],
    draw: NDArray[np.void],
    sequence: NDArray[np.void],
    words: NDArray[np.uint32],
) -> dict[str, Any]:
    """What the workgroup of one Draw writes. words: (17, rows)."""
    part = words[:, int(draw["slot"]) : int(draw["slot"]) + int(draw["count"])]
    mean = part[:3].view(np.float32).astype(np.float64).T
    center, width = part[3:5].view(np.float32).astype(np.float64)
    halves = np.array([[w & 0xFFFF, w >> 16] for w in part[5:]], np.uint16).reshape(24, -1)
    h = halves.view(np.float16).astype(np.float64).T
    time, unit = float(sequence["time"]), float(sequence["unit"])
    dt = time - center
    polynomial = sum(
        unit * h[:, 12 + 3 * (k - 1) : 15 + 3 * (k - 1)] * (dt**k)[:, None] for k in (1, 2, 3)
    )
    q = h[:, 0:4] + dt[:, None] * h[:, 4:8]
    w, x, y, z = (q / np.linalg.norm(q, axis=1, keepdims=True)).T
    rotation = np.array([
        [w * w + x * x - y * y - z * z, 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), w * w - x * x + y * y - z * z, 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), w * w - x * x - y * y + z * z],
    ]).transpose(2, 0, 1)  # fmt: skip
    opacity = h[:, 11] * np.exp(-((dt / width) ** 2))
    layer = layers[int(draw["layer"])]
    linear = layer["linear"][:, :3].T.astype(np.float64)
    t = (mean + polynomial + draw["offset"]) @ linear.T
    axes = linear @ rotation * (unit * h[:, 8:11])[:, None, :]
    return project_splats(frame, layer, t, axes, opacity, h[:, 21:24])
