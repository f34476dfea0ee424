"""Runs a post-processing network on pictures of several sizes, at times and controls, for `splatlens check`."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splatlens.converters.check_report import Report, moment_text
from splatlens.viewer.camera import Camera
from splatlens.viewer.errors import LensError
from splatlens.viewer.generator import Model
from splatlens.viewer.generator_bounds import moments, probe_camera

#: Sides of pictures that dynamic networks are tried with, pixels, rounded up to the contract's multiple.
SIZES = ((64, 96), (97, 131))


@dataclass
class NetworkCheck:
    report: Report
    model: Model

    def run(self) -> None:
        """A few pictures of several sizes, at times and controls."""
        contract, report = self.model.contract, self.report
        name = next(key for key, one in contract.inputs.items() if one.meaning == "image")
        output, kind = contract.outputs["image"].output, self.model.graph.inputs[name].type
        image = contract.image
        assert image is not None
        sizes = [image.size] if image.size else [
            tuple(-(-side // image.multiple) * image.multiple for side in size) for size in SIZES
        ]
        done, seconds = 0, []
        for size in sizes:
            for moment in moments(contract):
                for label, picture in _pictures(size).items():
                    when = f"{label} of {size[1]}x{size[0]}, {moment_text(contract, moment)}"
                    given = picture.astype(kind)
                    start = time.perf_counter()
                    try:
                        made = self.model.run(moment, _camera_of(size), images={name: given})[output]
                    except LensError as error:
                        text = str(error).removeprefix(f"{self.model.name}: ")
                        report.add("error", "run", f"{when}: {text}")
                        return
                    seconds.append(time.perf_counter() - start)
                    done += 1
                    self._picture(when, given, made)
        pixels = sizes[-1][0] * sizes[-1][1]
        report.facts |= {
            "sizes": [list(size) for size in sizes], "runs": done, "tiled": image.size is not None,
            "seconds_per_run": statistics.median(seconds),
            "gpu_bytes_per_pixel": 2 * 3 * np.dtype(kind).itemsize, "pixels": pixels,
        }  # fmt: skip

    def _picture(self, when: str, given: NDArray[Any], made: NDArray[Any]) -> None:
        add = self.report.add
        if made.shape != given.shape:
            text = f"{when}: gave {list(made.shape)} for {list(given.shape)}"
            add("error", "image", f"{text}; a network keeps the size of its picture")
            return
        bad = int(np.count_nonzero(~np.isfinite(made).all(axis=1)))
        if bad:
            text = f"{when}: {bad:,} of {made[0, 0].size:,} pixels are NaN or infinite and stay as they were"
            add("error", "image", f"{text}; look for divisions by zero")
        elif (float(made.min()) < -1 or float(made.max()) > 2) and not bad:
            text = f"{when}: values from {made.min():.3g} to {made.max():.3g}"
            add("warning", "image", f"{text}; the picture is sRGB from 0 to 1, not 0 to 255 nor normalised")


def _pictures(size: tuple[int, ...]) -> dict[str, NDArray[np.float32]]:
    """(1, 3, H, W) each: black, white, and colours that run across with noise on them."""
    height, width = size[0], size[1]
    y, x = np.mgrid[0:height, 0:width]
    ramp = np.stack([x / max(width - 1, 1), y / max(height - 1, 1), 1 - x / max(width - 1, 1)])
    noise = np.random.default_rng(0).uniform(-0.1, 0.1, ramp.shape)
    shape = (1, 3, height, width)
    mixed = np.clip(ramp + noise, 0, 1).astype(np.float32)[None]
    return {"black": np.zeros(shape, np.float32), "white": np.ones(shape, np.float32), "a picture": mixed}


def _camera_of(size: tuple[int, ...]) -> Camera:
    return probe_camera().resized(size[1], size[0])
