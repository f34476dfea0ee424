"""Fits a 4DGaussians model (planes, perceptron, splats at rest) to the jellyfish, and writes it as the authors do.

    pip install torch==2.13.0
    python samples/deform/train.py samples/deform/model

The network is Wu et al. 2024, section 4, with the state dict of hustvl/4DGaussians (scene/deformation.py,
scene/hexplane.py), smaller. What it is fitted to are the Gaussians' own trajectories at 41 times, not pictures of them.
"""

from __future__ import annotations

import sys
import time
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from scene import Attributes, Scene
from torch import Tensor, nn
from torch.nn import functional

from splatlens.viewer.splats import SH_C0

#: The authors' ModelHiddenParams: planes a quarter of theirs along each axis, opacities move, colours do not.
SETTINGS = {
    "net_width": 32, "timebase_pe": 4, "defor_depth": 1, "posebase_pe": 10, "scale_rotation_pe": 2, "opacity_pe": 2,
    "timenet_width": 8, "timenet_output": 4, "bounds": 1.6,
    "kplanes_config": {
        "grid_dimensions": 2, "input_coordinate_dim": 4, "output_coordinate_dim": 16, "resolution": [16, 16, 16, 32]
    },
    "multires": [1, 2], "no_dx": False, "no_grid": False, "no_ds": False, "no_dr": False, "no_do": False,
    "no_dshs": True, "empty_voxel": False, "grid_pe": 0, "static_mlp": False, "apply_rotation": False,
}  # fmt: skip
#: Intervals between the times that are trained on; what is between them is held out.
INTERVALS = 40
STEPS, BATCH = 4000, 6144
#: Errors that weigh 1: of a centre, in units; of log scales; of quaternions; of opacity's logit.
CENTRE, LOG_SCALE, QUAT, LOGIT = 0.01, 0.15, 0.12, 0.5


class Planes(nn.Module):
    """Six planes a scale, multiplied; `aabb` has the greater corner first."""

    def __init__(self, high: Tensor, low: Tensor) -> None:
        super().__init__()
        config = SETTINGS["kplanes_config"]
        self.aabb = nn.Parameter(torch.stack([high, low]), requires_grad=False)
        self.grids = nn.ModuleList()
        for factor in SETTINGS["multires"]:
            sizes = [n * factor for n in config["resolution"][:3]] + config["resolution"][3:]
            made = nn.ParameterList()
            for a, b in combinations(range(4), 2):
                plane = torch.empty(1, config["output_coordinate_dim"], sizes[b], sizes[a])
                made.append(nn.Parameter(plane.fill_(1.0) if b == 3 else plane.uniform_(0.1, 0.5)))
            self.grids.append(made)

    def forward(self, means: Tensor, times: Tensor) -> Tensor:
        place = (means - self.aabb[0]) * (2 / (self.aabb[1] - self.aabb[0])) - 1
        place = torch.cat([place, times], dim=1)
        features = []
        for planes in self.grids:
            product: Tensor | float = 1.0
            for plane, pair in zip(planes, combinations(range(4), 2), strict=True):
                at = place[None, None, :, pair]
                sampled = functional.grid_sample(plane, at, padding_mode="border", align_corners=True)
                product = product * sampled[0, :, 0].T
            features.append(product)
        return torch.cat(features, dim=1)

    def roughness(self) -> Tensor:
        """Mean squared second difference of the time planes along time."""
        bent = [p[..., 2:, :] - 2 * p[..., 1:-1, :] + p[..., :-2, :] for g in self.grids for p in (g[2], g[4], g[5])]
        return sum(((b**2).mean() for b in bent), torch.zeros(()))


class Deformation(nn.Module):
    def __init__(self, high: Tensor, low: Tensor) -> None:
        super().__init__()
        width = SETTINGS["net_width"]
        features = SETTINGS["kplanes_config"]["output_coordinate_dim"] * len(SETTINGS["multires"])
        self.grid = Planes(high, low)
        self.feature_out = nn.Sequential(nn.Linear(features, width))

        def head(columns: int) -> nn.Sequential:
            return nn.Sequential(nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, columns))

        self.pos_deform, self.scales_deform, self.rotations_deform = head(3), head(3), head(4)
        self.opacity_deform, self.shs_deform = head(1), head(48)

    def forward(self, means: Tensor, times: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        hidden = self.feature_out(self.grid(means, times))
        heads = (self.pos_deform, self.scales_deform, self.rotations_deform, self.opacity_deform)
        dx, ds, dr, do = (head(hidden) for head in heads)
        return dx, ds, dr, do


class DeformNetwork(nn.Module):
    """With `timenet` and the frequencies that the authors' network carries and does not use."""

    def __init__(self, high: Tensor, low: Tensor) -> None:
        super().__init__()
        wide, out = SETTINGS["timenet_width"], SETTINGS["timenet_output"]
        self.timenet = nn.Sequential(nn.Linear(2 * SETTINGS["timebase_pe"] + 1, wide), nn.ReLU(), nn.Linear(wide, out))
        self.deformation_net = Deformation(high, low)
        names = {"time": "timebase", "pos": "posebase", "rotation_scaling": "scale_rotation", "opacity": "opacity"}
        for buffer, setting in names.items():
            powers = 2.0 ** torch.arange(SETTINGS[f"{setting}_pe"])
            self.register_buffer(f"{buffer}_poc", powers)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)


def trajectories(times: np.ndarray) -> tuple[dict[str, Tensor], np.ndarray]:
    """(T, N, columns) of each attribute, quaternions without jumps of sign; colours (N, 3)."""
    scene = Scene()
    moments: list[Attributes] = [scene.at(float(t)) for t in times]
    quats = [moments[0].quats]
    for moment in moments[1:]:
        same = np.sum(moment.quats * quats[-1], axis=1, keepdims=True)
        quats.append(np.where(same < 0, -moment.quats, moment.quats))
    arrays = {
        "means": np.stack([m.means for m in moments]), "log_scales": np.stack([m.log_scales for m in moments]),
        "quats": np.stack(quats), "logits": np.stack([m.logits for m in moments])[..., None],
    }  # fmt: skip
    return {k: torch.from_numpy(v.astype(np.float32)) for k, v in arrays.items()}, moments[0].colors


def fit(truth: dict[str, Tensor], times: np.ndarray) -> tuple[dict[str, Tensor], DeformNetwork]:
    """The splats at rest and their network."""
    names = ("means", "log_scales", "quats", "logits")
    rest = {k: nn.Parameter(truth[k].mean(dim=0)) for k in names}
    network = DeformNetwork(rest["means"].data.amax(dim=0), rest["means"].data.amin(dim=0))
    net = network.deformation_net
    planes = list(net.grid.grids.parameters())
    layers = [p for name, p in net.named_parameters() if not name.startswith("grid.")]
    groups = [(planes, 1e-2), (layers, 3e-3), ([rest[k] for k in names[1:]], 1e-3), ([rest["means"]], 2e-4)]
    optimiser = torch.optim.Adam([{"params": p, "lr": lr, "first": lr} for p, lr in groups], eps=1e-15)
    clock = torch.from_numpy(times.astype(np.float32))
    began = time.time()
    for step in range(STEPS):
        for group in optimiser.param_groups:
            group["lr"] = group["first"] * 0.02 ** (step / STEPS)
        moment, row = torch.randint(len(times), (BATCH,)), torch.randint(len(rest["means"]), (BATCH,))
        here = {k: rest[k][row] for k in names}
        dx, ds, dr, do = net(here["means"], clock[moment, None])
        want = {k: truth[k][moment, row] for k in names}
        turned = functional.normalize(here["quats"] + dr)
        centre = (here["means"] + dx - want["means"]) / CENTRE
        loss = torch.sqrt(1 + (centre**2).sum(dim=1)).mean()
        loss = loss + (((here["log_scales"] + ds - want["log_scales"]) / LOG_SCALE) ** 2).mean()
        loss = loss + (((turned - want["quats"]) / QUAT) ** 2).sum(dim=1).clamp(max=20).mean()
        loss = loss + (((here["logits"] + do - want["logits"]) / LOGIT) ** 2).mean()
        optimiser.zero_grad()
        (loss + 0.1 * net.grid.roughness()).backward()
        optimiser.step()
        if step % 250 == 0 or step == STEPS - 1:
            away = float((centre.detach() * CENTRE).norm(dim=1).mean())
            seconds = time.time() - began
            print(f"{step:5d}  loss {float(loss.detach()):.3f}  centres {away:.4f}  {seconds:.0f} s", flush=True)
    return {k: v.detach() for k, v in rest.items()}, network


def write(folder: Path, rest: dict[str, Tensor], colors: np.ndarray, network: DeformNetwork) -> None:
    """The model folder as a run of the authors' code leaves it (SH degree 0)."""
    iteration = folder / "point_cloud" / f"iteration_{STEPS}"
    iteration.mkdir(parents=True, exist_ok=True)
    count = len(rest["means"])
    columns = ["x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2", "opacity"]
    columns += [f"scale_{i}" for i in range(3)] + [f"rot_{i}" for i in range(4)]
    still = {k: v.numpy() for k, v in rest.items()}
    parts = (still["means"], np.zeros((count, 3)), (colors - 0.5) / SH_C0, still["logits"], still["log_scales"])
    table = np.concatenate([*parts, still["quats"]], axis=1).astype("<f4")
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {count}"]
    header += [f"property float {name}" for name in columns] + ["end_header", ""]
    (iteration / "point_cloud.ply").write_bytes("\n".join(header).encode() + table.tobytes())
    torch.save(network.state_dict(), iteration / "deformation.pth")
    torch.save(torch.ones(count, dtype=torch.bool), iteration / "deformation_table.pth")
    settings = {"sh_degree": 0, "white_background": False, **SETTINGS}
    words = ", ".join(f"{key}={value!r}" for key, value in settings.items())
    (folder / "cfg_args").write_text(f"Namespace({words})\n")


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    times = np.linspace(0, 1, INTERVALS + 1)
    truth, colors = trajectories(times)
    rest, network = fit(truth, times)
    write(folder, rest, colors, network)
    print(f"{folder}: {sum(f.stat().st_size for f in folder.rglob('*') if f.is_file()) / 1e6:.2f} MB")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
