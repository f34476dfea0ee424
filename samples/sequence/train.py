"""Fits Spacetime or native 4D Gaussians to pictures of scene.py: `train.py spacetime|gaussian4d STEPS [RATE]`.

Needs torch (`pip install torch==2.13.0`); no CUDA. Pictures come from the project's own headless renderer; the fit
draws with a plain differentiable renderer of the same rules, a window of a picture at a step. Written are the files
that the original codes write: a PLY and a .splatv, or a chkpntN.pth.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import numpy as np
import scene
import torch
from torch import Tensor

from splatlens.viewer.frame import RenderOptions
from splatlens.viewer.render import RawLayer, Renderer

HERE = Path(__file__).resolve().parent
WINDOW = (48, 36)
SH_C0, MARGIN = 0.28209479177387814, 0.15
#: Coefficients of a 4D Gaussian's colours: 16 spherical harmonics, three terms in time.
COEFFICIENTS, TERMS = 16, 3


def pictures() -> tuple[Tensor, list[tuple[scene.Camera, float]]]:
    """(P, height, width, 3) and the view and time of each."""
    renderer, options, parts = Renderer(), RenderOptions(background=scene.BACKGROUND), scene.parts()
    made, shown = [], []
    for moment in scene.TIMES:
        layer = RawLayer(scene.splats(moment, parts))
        for view in scene.VIEWS:
            shown.append((scene.camera(*view), moment))
            made.append(renderer.render([layer], shown[-1][0], options)[..., :3])
    return torch.from_numpy(np.stack(made)), shown


def rotations(quats: Tensor) -> Tensor:
    """(N, 3, 3) of quaternions of any length."""
    w, x, y, z = torch.nn.functional.normalize(quats).unbind(1)
    return torch.stack([
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ], dim=1).view(-1, 3, 3)  # fmt: skip


def draw(splats: tuple[Tensor, ...], camera: scene.Camera, corner: tuple[int, int]) -> Tensor:
    """The window of a picture at `corner`, (36, 48, 3). splats: means, covariances, opacities, colours."""
    means, covariances, opacities, colors = splats
    view = torch.from_numpy(camera.world_to_camera).float()
    t = means @ view[:3, :3].T + view[:3, 3]
    z = t[:, 2].clamp(min=0.05)
    f = torch.tensor([camera.fx, camera.fy]).float()
    c = torch.tensor([camera.cx, camera.cy]).float()
    size = torch.tensor([camera.width, camera.height]).float()
    slope = t[:, :2] / z[:, None]
    low, high = -c / f - MARGIN * size / f, (size - c) / f + MARGIN * size / f
    inside = slope.clamp(min=low, max=high)
    j = torch.zeros(len(means), 2, 3)
    j[:, 0, 0], j[:, 1, 1] = f[0] / z, f[1] / z
    j[:, :, 2] = -f * inside / z[:, None]
    m = j @ view[:3, :3]
    flat = m @ covariances @ m.transpose(1, 2) + 0.3 * torch.eye(2)
    center = slope * f + c
    with torch.no_grad():
        reach = torch.sqrt(2 * torch.log((255 * opacities).clamp(min=1.0001)))[:, None] * torch.sqrt(
            torch.stack([flat[:, 0, 0], flat[:, 1, 1]], dim=1)
        )
        start = torch.tensor(corner).float()
        seen = (center + reach > start) & (center - reach < start + torch.tensor(WINDOW))
        rows = torch.nonzero(seen.all(dim=1) & (t[:, 2] > 0.05) & (255 * opacities > 1))[:, 0]
        rows = rows[torch.argsort(t[rows, 2])]
    flat, center, opacities, colors = flat[rows], center[rows], opacities[rows], colors[rows]
    inverse = torch.linalg.inv(flat)
    x = torch.arange(WINDOW[0]) + corner[0] + 0.5 - center[:, :1]
    y = torch.arange(WINDOW[1]) + corner[1] + 0.5 - center[:, 1:]
    power = inverse[:, 0, 0, None, None] * (x * x)[:, None] + inverse[:, 1, 1, None, None] * (y * y)[:, :, None]
    power = 0.5 * power + inverse[:, 0, 1, None, None] * y[:, :, None] * x[:, None]
    alpha = (opacities[:, None, None] * torch.exp(-power)).clamp(max=0.99)
    alpha = torch.where(alpha < 1 / 255, torch.zeros(()), alpha).flatten(1)
    through = torch.cumprod(1 - alpha, dim=0)
    before = torch.cat([torch.ones(1, alpha.shape[1]), through[:-1]])
    left = through[-1:] if len(rows) else torch.ones(1, WINDOW[0] * WINDOW[1])
    color = (alpha * before).T @ colors.clamp(min=0) + left.T * torch.tensor(scene.BACKGROUND)
    return color.view(WINDOW[1], WINDOW[0], 3)


def seeds(counts: dict[str, int], windows: int, degree: int, series: bool) -> dict[str, np.ndarray]:
    """Where the fit starts: points of the scene, followed over windows in time by least squares.

    counts: points of each part. What stands still has one window without an end, where its colour is steady too or is
    a series in time; a spark has its own. degree: of the polynomial that follows a point.
    """
    names = ("means", "motions", "times", "widths", "sizes", "colors", "quats")
    rows: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for part in scene.parts(**counts):
        n = part.count
        spans = [(np.full(n, (k + 0.5) / windows), 0.75 / windows) for k in range(-1, windows + 1)]
        if part.still and (part.steady or series):
            spans = [(np.full(n, 0.5), 3.0)]
        if part.births is not None:
            spans = [(part.births, scene.SPARK)]
        for middles, width in spans:
            ages = np.linspace(-1.2, 1.2, 15) * width
            track = np.array([_own(part.place, middles + age) for age in ages])
            powers = np.stack([ages**p for p in range(degree + 1)], axis=1)
            fit = np.linalg.lstsq(powers, track.reshape(15, -1), rcond=None)[0].reshape(degree + 1, n, 3)
            motions = np.zeros((n, 3, 3))
            motions[:, :degree] = fit[1:].transpose(1, 0, 2)
            normals = _own(part.normal, middles) if part.normal else np.tile([0.0, 0, 1], (n, 1))
            values = (fit[0], motions, middles, np.full(n, width), np.full(n, part.size))
            values += (np.clip(_own(part.color, middles), 0, 1), scene.facing(normals))
            for name, value in zip(names, values, strict=True):
                rows[name].append(value)
    return {name: np.concatenate(arrays) for name, arrays in rows.items()}


def _own(function: Callable[[float], np.ndarray], moments: np.ndarray) -> np.ndarray:
    """(N, 3) each row at its own time."""
    if (moments == moments[0]).all():
        return function(float(moments[0]))
    return np.array([function(float(moment))[i] for i, moment in enumerate(moments)])


class Spacetime(torch.nn.Module):
    """The parameters of ourslite.py, its activations and its motion."""

    RATES: ClassVar[dict[str, float]] = {
        "xyz": 1e-3, "motion": 4e-3, "trbf_center": 1e-3, "trbf_scale": 1e-2, "rotation": 4e-3, "omega": 8e-3,
        "scaling": 8e-3, "opacity": 3e-2, "features": 6e-3,
    }  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        s = seeds({"stage": 800, "ball": 64, "ring": 128, "lamp": 40}, 7, 3, False)
        values = {
            "xyz": s["means"], "motion": s["motions"].reshape(-1, 9), "trbf_center": s["times"][:, None],
            "trbf_scale": np.log(s["widths"])[:, None], "rotation": s["quats"], "omega": np.zeros_like(s["quats"]),
            "scaling": np.log(s["sizes"][:, None] * [1.0, 1.0, 0.4]), "opacity": np.full((len(s["means"]), 1), 1.0),
            "features": s["colors"],
        }  # fmt: skip
        for name, value in values.items():
            setattr(self, name, torch.nn.Parameter(torch.from_numpy(np.asarray(value)).float()))

    def at(self, moment: float, eye: Tensor) -> tuple[Tensor, ...]:
        dt = moment - self.trbf_center
        opacity = (torch.sigmoid(self.opacity) * torch.exp(-((dt / torch.exp(self.trbf_scale)) ** 2)))[:, 0]
        rows = torch.nonzero(255 * opacity > 1)[:, 0]
        d, m = dt[rows], self.motion[rows]
        means = self.xyz[rows] + m[:, :3] * d + m[:, 3:6] * d * d + m[:, 6:] * d * d * d
        axes = rotations(self.rotation[rows] + d * self.omega[rows]) * torch.exp(self.scaling[rows])[:, None, :]
        return means, axes @ axes.transpose(1, 2), opacity[rows], self.features[rows]

    def save(self, _: int) -> None:
        """point_cloud.ply as save_ply writes it, and the words that splaTV makes of it."""
        p = {name: value.detach().numpy() for name, value in self.named_parameters()}
        columns = ["x", "y", "z", "trbf_center", "trbf_scale", "nx", "ny", "nz"]
        groups = (("motion", 9), ("f_dc", 3), ("opacity", 0), ("scale", 3), ("rot", 4), ("omega", 4))
        for name, count in groups:
            columns += [f"{name}_{i}" for i in range(count)] if count else [name]
        table = np.concatenate(
            [p["xyz"], p["trbf_center"], p["trbf_scale"], np.zeros_like(p["xyz"]), p["motion"], p["features"],
             p["opacity"], p["scaling"], p["rotation"], p["omega"]], axis=1,
        )  # fmt: skip
        head = ["ply", "format binary_little_endian 1.0", f"element vertex {len(table)}"]
        head += [f"property float {c}" for c in columns] + ["end_header", ""]
        (HERE / "spacetime.ply").write_bytes("\n".join(head).encode() + table.astype("<f4").tobytes())
        (HERE / "spacetime.splatv").write_bytes(splatv(p))


def splatv(p: dict[str, np.ndarray]) -> bytes:
    """A .splatv of these parameters, its texture's rows filled up with zeros."""
    n = len(p["xyz"])
    height = -(-n // 1024)
    words = np.zeros((height * 1024, 16), "<u4")
    words[:n, :3] = p["xyz"].astype("<f4").view("<u4")
    zero = np.zeros((n, 1))
    rgba = np.concatenate([p["features"], 1 / (1 + np.exp(-p["opacity"]))], axis=1)
    halves = [
        (3, p["rotation"]), (5, np.concatenate([np.exp(p["scaling"]), zero], axis=1)),
        (8, np.concatenate([p["motion"], zero], axis=1)), (13, p["omega"]),
        (15, np.concatenate([p["trbf_center"], np.exp(p["trbf_scale"])], axis=1)),
    ]  # fmt: skip
    for first, values in halves:
        packed = np.ascontiguousarray(values.astype("<f2")).view("<u4")
        words[:n, first : first + packed.shape[1]] = packed
    words[:n, 7] = np.clip(np.rint(255 * rgba), 0, 255).astype("u1").view("<u4")[:, 0]
    view = scene.camera(*scene.VIEWS[0], 720, 540)
    pose = np.linalg.inv(view.world_to_camera)
    shown = {"id": 0, "img_name": "view", "width": view.width, "height": view.height, "fx": view.fx, "fy": view.fy,
             "position": pose[:3, 3].tolist(), "rotation": pose[:3, :3].tolist()}  # fmt: skip
    part = {"type": "splat", "size": words.nbytes, "texwidth": 4096, "texheight": height, "cameras": [shown]}
    text = json.dumps([part]).encode()
    return (0x674B).to_bytes(4, "little") + len(text).to_bytes(4, "little") + text + words.tobytes()


class Gaussian4D(torch.nn.Module):
    """The parameters of 4d-gaussian-splatting's GaussianModel with rot_4d, its activations and its slice."""

    RATES: ClassVar[dict[str, float]] = {
        "xyz": 1e-3, "t": 1e-3, "scaling": 8e-3, "scaling_t": 8e-3, "rotation": 3e-3, "rotation_r": 3e-3,
        "opacity": 3e-2, "features_dc": 1.5e-2, "features_rest": 3e-3,
    }  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        s = seeds({"stage": 500, "ball": 54, "ring": 100, "lamp": 20}, 10, 1, True)
        n = len(s["means"])
        turn = rotations(torch.from_numpy(s["quats"])).numpy()
        axes = turn * (1.15 * s["sizes"][:, None] * [1.0, 1.0, 0.4])[:, None, :]
        sigma = np.minimum(s["widths"] / np.sqrt(2), 2.0)
        velocities = s["motions"][:, 0]
        whole = np.zeros((n, 4, 4))
        whole[:, :3, :3] = axes @ axes.transpose(0, 2, 1)
        whole[:, :3, :3] += velocities[:, :, None] * velocities[:, None, :] * sigma[:, None, None] ** 2
        whole[:, :3, 3] = whole[:, 3, :3] = velocities * sigma[:, None] ** 2
        whole[:, 3, 3] = sigma**2
        scales, left, right = decompose(whole)
        values = {
            "xyz": s["means"], "t": s["times"][:, None], "scaling": np.log(scales[:, :3]),
            "scaling_t": np.log(scales[:, 3:]), "rotation": left, "rotation_r": right, "opacity": np.full((n, 1), 1.0),
            "features_dc": ((s["colors"] - 0.5) / SH_C0)[:, None],
            "features_rest": np.zeros((n, COEFFICIENTS * TERMS - 1, 3)),
        }  # fmt: skip
        for name, value in values.items():
            setattr(self, name, torch.nn.Parameter(torch.from_numpy(np.asarray(value)).float()))

    def at(self, moment: float, eye: Tensor) -> tuple[Tensor, ...]:
        left, right = (torch.nn.functional.normalize(q) for q in (self.rotation, self.rotation_r))
        turned = torch.einsum("na,nb,abij->nij", left, right, BASIS)
        axes = turned * torch.exp(torch.cat([self.scaling, self.scaling_t], dim=1))[:, None, :]
        whole = axes @ axes.transpose(1, 2)
        variance, cross, dt = whole[:, 3:, 3], whole[:, :3, 3], moment - self.t
        marginal = torch.exp(-0.5 * dt * dt / variance)
        opacity = (torch.sigmoid(self.opacity) * marginal)[:, 0]
        rows = torch.nonzero((marginal[:, 0] > 0.05) & (255 * opacity > 1))[:, 0]
        means = (self.xyz + cross / variance * dt)[rows]
        space = whole[rows, :3, :3] - cross[rows, :, None] * cross[rows, None, :] / variance[rows, :, None]
        direction = torch.nn.functional.normalize(self.xyz[rows].detach() - eye)
        sh = torch.cat([self.features_dc, self.features_rest], dim=1)[rows].view(len(rows), TERMS, COEFFICIENTS, 3)
        waves = torch.cos(2 * torch.pi * torch.arange(TERMS) * dt[rows])
        color = torch.einsum("nt,nk,ntkc->nc", waves, harmonics(direction), sh) + 0.5
        return means, space, opacity[rows], color

    def save(self, steps: int) -> None:
        """chkpntN.pth as capture() gives it, and the configuration that belongs to it.

        Without the optimizer's state, and with features_rest in half precision, which keep the sample small.
        """
        p = dict(self.named_parameters())
        empty = torch.empty(0)
        rest = p["features_rest"].half()
        state = (
            3, p["xyz"], p["features_dc"], rest, p["scaling"], p["rotation"], p["opacity"], empty, empty, empty, empty,
            {}, 1.0, p["t"], p["scaling_t"], p["rotation_r"], True, empty, TERMS - 1,
        )  # fmt: skip
        torch.save((state, steps), HERE / "chkpnt4d.pth")
        lines = ("gaussian_dim: 4", "time_duration: [0.0, 1.0]", "rot_4d: True", "force_sh_3d: False", "")
        (HERE / "config.yaml").write_text("\n".join(lines))


def harmonics(d: Tensor) -> Tensor:
    """(N, 16) real spherical harmonics, with the signs of 3DGS."""
    x, y, z = d.unbind(1)
    xx, yy, zz = x * x, y * y, z * z
    return torch.stack([
        torch.full_like(x, SH_C0), -0.4886025 * y, 0.4886025 * z, -0.4886025 * x, 1.0925484 * x * y,
        -1.0925484 * y * z, 0.3153916 * (2 * zz - xx - yy), -1.0925484 * x * z, 0.5462742 * (xx - yy),
        -0.5900436 * y * (3 * xx - yy), 2.8906114 * x * y * z, -0.4570458 * y * (4 * zz - xx - yy),
        0.3731763 * z * (2 * zz - 3 * xx - 3 * yy), -0.4570458 * x * (4 * zz - xx - yy), 1.4453057 * z * (xx - yy),
        -0.5900436 * x * (xx - 3 * yy),
    ], dim=1)  # fmt: skip


def _basis() -> Tensor:
    """(4, 4, 4, 4): the rotation is the sum of l_a r_b basis[a, b] (general_utils.py, build_rotation_4d)."""
    def left(a: float, b: float, c: float, d: float) -> np.ndarray:
        return np.array([[a, -b, -c, -d], [b, a, -d, c], [c, d, a, -b], [d, -c, b, a]])

    def right(p: float, q: float, r: float, s: float) -> np.ndarray:
        return np.array([[p, q, r, s], [-q, p, -s, r], [-r, s, p, -q], [-s, -r, q, p]])

    unit = np.eye(4)
    made = [[(left(*one) @ right(*r))[::-1, ::-1] for r in unit] for one in unit]
    return torch.from_numpy(np.array(made)).float()


BASIS = _basis()


def decompose(covariances: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scales (N, 4) and left and right quaternions (N, 4) of 4D covariances."""
    values, vectors = np.linalg.eigh(covariances)
    vectors[:, :, 0] *= np.sign(np.linalg.det(vectors))[:, None]
    pairs = np.einsum("nij,abij->nab", vectors, BASIS.numpy()) / 4
    u, _, v = np.linalg.svd(pairs)
    sign = np.sign(np.einsum("nab,na,nb->n", pairs, u[:, :, 0], v[:, 0]))
    return np.sqrt(np.maximum(values, 1e-10)), u[:, :, 0] * sign[:, None], v[:, 0]


def resume(model: Gaussian4D) -> None:
    """Takes the parameters of the checkpoint beside it, to go on from there."""
    saved = torch.load(HERE / "chkpnt4d.pth", weights_only=False)[0]
    places = {"xyz": 1, "features_dc": 2, "features_rest": 3, "scaling": 4, "rotation": 5, "opacity": 6, "t": 13,
              "scaling_t": 14, "rotation_r": 15}  # fmt: skip
    for name, place in places.items():
        getattr(model, name).data = saved[place].detach().float()


def main(kind: str, steps: int, rate: float = 1.0) -> None:
    """rate: of learning; below 1 a 4D fit goes on from its checkpoint."""
    torch.manual_seed(1)
    torch.set_num_threads(1)
    rng = np.random.default_rng(1)
    images, shown = pictures()
    model = Spacetime() if kind == "spacetime" else Gaussian4D()
    if rate < 1 and isinstance(model, Gaussian4D):
        resume(model)
    groups = [{"params": [getattr(model, k)], "lr": r, "initial": rate * r} for k, r in model.RATES.items()]
    adam, start, mean = torch.optim.Adam(groups, eps=1e-12), time.time(), 0.0
    print(f"{len(model.xyz)} splats, {len(images)} pictures", flush=True)
    for step in range(steps):
        for group in groups:
            group["lr"] = group["initial"] * 0.05 ** (step / steps)
        pick = rng.integers(len(images))
        camera, moment = shown[pick]
        # Windows over the middle, where everything is, more than at the edge.
        x = int(np.clip(rng.normal(0.5, 0.25) * camera.width - WINDOW[0] / 2, 0, camera.width - WINDOW[0]))
        y = int(np.clip(rng.normal(0.55, 0.25) * camera.height - WINDOW[1] / 2, 0, camera.height - WINDOW[1]))
        pose = torch.from_numpy(np.linalg.inv(camera.world_to_camera)[:3, 3]).float()
        got = draw(model.at(moment, pose), camera, (x, y))
        error = got - images[pick, y : y + WINDOW[1], x : x + WINDOW[0]]
        loss = (error**2).mean() + 0.05 * error.abs().mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        mean = 0.99 * mean + 0.01 * float((error.detach() ** 2).mean()) if step else 0.05
        if step % 200 == 199:
            print(f"step {step + 1}: {-10 * np.log10(mean):.2f} dB, {time.time() - start:.0f} s", flush=True)
            model.save(step + 1)
    model.save(steps)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]) if len(sys.argv) > 3 else 1.0)
