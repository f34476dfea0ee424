"""Where a generator's splats are: runs at times, control ends, tracks and cameras that stand for all of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from splatlens.viewer.camera import Camera
from splatlens.viewer.contract import Contract
from splatlens.viewer.errors import LensError
from splatlens.viewer.generated import attributes, usable
from splatlens.viewer.generator import FIRST, Model, Moment
from splatlens.viewer.scene import Vector

#: Shares of a duration that are tried. With loop 1 is 0 again, so the last is just below.
SHARES = (0.0, 0.25, 0.5, 0.75, 1 - 1e-6)
#: Controls that are tried one by one, and tracks: the contract allows 256, of which each costs runs.
MOST_CONTROLS, MOST_TRACKS = 32, 8
#: A row of less opacity is never drawn.
LEAST_OPACITY = 1 / 255
CAMERA_INPUTS = ("camera_position", "world_to_camera", "projection", "viewport")


def moments(contract: Contract) -> list[Moment]:
    """Moments that stand for all: times at their ends and in between, controls at their ends, every track and none."""
    tracks = contract.tracks[:MOST_TRACKS]
    own = [contract.time.duration] if contract.time else []
    found = []
    for name, durations in [(t.name, {*own, t.duration}) for t in tracks] or [(FIRST, set(own))]:
        times = sorted({share * duration for duration in durations for share in SHARES}) or [0.0]
        found += [Moment(seconds, {}, name) for seconds in times]
    middle = found[len(SHARES) // 2 if len(found) > 1 else 0].seconds
    if tracks:
        found.append(Moment(middle, {}, None))
    lows, highs = ({c.name: getattr(c, end) for c in contract.controls} for end in ("minimum", "maximum"))
    if contract.controls:
        found += [Moment(middle, lows), Moment(middle, highs)]
    for c in contract.controls[:MOST_CONTROLS] if len(contract.controls) > 1 else ():
        found += [Moment(middle, {c.name: c.minimum}), Moment(middle, {c.name: c.maximum})]
    return found


def sees_camera(contract: Contract) -> bool:
    """Whether the splats depend on where they are seen from."""
    return any(one.meaning in CAMERA_INPUTS for one in contract.inputs.values())


def probe_camera(bounds: tuple[Vector, Vector] | None = None, direction: Vector = (0.0, 0.0, -1.0)) -> Camera:
    """A camera that sees all of the bounds (a unit box without), standing in a direction from their middle."""
    low, high = np.array(bounds if bounds else ((-1.0,) * 3, (1.0,) * 3))
    middle, radius = (low + high) / 2, max(float(np.linalg.norm(high - low)) / 2, 1e-3)
    way = np.array(direction) / np.linalg.norm(direction)
    up = np.eye(3)[int(np.argmin(np.abs(way)))]
    return Camera.look_at((middle + 2.5 * radius * way).tolist(), middle.tolist(), up.tolist(), 50, 640, 480)


def cameras_around(bounds: tuple[Vector, Vector] | None) -> list[Camera]:
    """Six cameras along the axes."""
    ways = itertools.chain(np.eye(3).tolist(), (-np.eye(3)).tolist())
    return [probe_camera(bounds, (way[0], way[1], way[2])) for way in ways]


def runs(model: Model, bounds: tuple[Vector, Vector] | None) -> Iterator[tuple[Moment, Camera]]:
    """Every moment, and cameras around at the first where the model sees them. bounds: of the model, where known."""
    for moment in moments(model.contract):
        yield moment, probe_camera(bounds)
    if sees_camera(model.contract):
        for camera in cameras_around(bounds):
            yield moments(model.contract)[0], camera


def centres(model: Model, moment: Moment, camera: Camera) -> NDArray[np.float64]:
    """(n, 3) centres of the rows that are drawn, layer coordinates."""
    found = attributes(model.contract, model.run(moment, camera))
    keep = usable(found) & (np.arange(len(found.means)) < found.rows) & (found.opacities > LEAST_OPACITY)
    return found.means[keep]


def measure_bounds(model: Model) -> tuple[Vector, Vector]:
    """Least and greatest centre over all runs that stand for all. Raises LensError where nothing is ever drawn."""
    first = _corners([centres(model, moments(model.contract)[0], probe_camera())])
    found = [centres(model, moment, camera) for moment, camera in runs(model, first)]
    bounds = _corners(found)
    if bounds is None:
        why = f"gave nothing that can be drawn in {len(found)} runs (times, controls, tracks, cameras)"
        raise LensError(f"{model.name}: {why}; mend it, or give its bounds in the contract")
    return bounds


def _corners(found: list[NDArray[np.float64]]) -> tuple[Vector, Vector] | None:
    whole = np.concatenate(found)
    if len(whole) == 0:
        return None
    low, high = whole.min(axis=0).tolist(), whole.max(axis=0).tolist()
    return (low[0], low[1], low[2]), (high[0], high[1], high[2])
