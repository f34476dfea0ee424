"""The Scaffold-GS model in PyTorch, and its files as the training code writes them.

Structure and file layout of city-super/Scaffold-GS (scene/gaussian_model.py, gaussian_renderer/__init__.py), options
appearance_dim 0 and no add_*_dist.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

#: Splats of an anchor (n_offsets), columns of its feature and of the hidden layers (feat_dim).
PER_ANCHOR, FEATURE = 4, 40


@dataclass(frozen=True)
class Made:
    """N k Gaussians: colors (N k, 3), opacities (N k,) which may be below 0, scales (N k, 3), quats (N k, 4) wxyz."""

    colors: torch.Tensor
    opacities: torch.Tensor
    scales: torch.Tensor
    quats: torch.Tensor

    def covs(self) -> torch.Tensor:
        """(N k, 3, 3) covariances."""
        w, x, y, z = self.quats.unbind(1)
        rows = [
            1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
            2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
            2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
        ]  # fmt: skip
        axes = torch.stack(rows, dim=1).reshape(-1, 3, 3) * self.scales[:, None]
        return axes @ axes.transpose(1, 2)


class Scaffold(nn.Module):
    """Anchors (N, 3), offsets (N, k, 3), features (N, F), log_scales (N, 6) and the three MLPs."""

    def __init__(self, anchors: Any, offsets: Any, features: Any, log_scales: Any) -> None:
        super().__init__()
        self.anchors, self.offsets = (torch.tensor(a, dtype=torch.float32) for a in (anchors, offsets))
        self.features = nn.Parameter(torch.tensor(features, dtype=torch.float32))
        self.log_scales = nn.Parameter(torch.tensor(log_scales, dtype=torch.float32))
        k, feature = self.offsets.shape[1], self.features.shape[1]

        def network(outputs: int, *last: nn.Module) -> nn.Sequential:
            return nn.Sequential(nn.Linear(feature + 3, feature), nn.ReLU(True), nn.Linear(feature, outputs), *last)

        self.opacity, self.cov, self.color = network(k, nn.Tanh()), network(7 * k), network(3 * k, nn.Sigmoid())
        with torch.no_grad():  # quaternions start near the identity
            self.cov[2].bias.view(k, 7)[:, 3] = 1

    def network_parameters(self) -> list[nn.Parameter]:
        return [p for network in (self.opacity, self.cov, self.color) for p in network.parameters()]

    def forward(self, camera: torch.Tensor) -> Made:
        """What a camera at (3,) sees. Centres are fixed: anchors + offsets * exp(log_scales[:, :3])."""
        k = self.offsets.shape[1]
        view = nn.functional.normalize(self.anchors - camera)
        given = torch.cat([self.features, view], dim=1)
        shape = self.cov(given).reshape(-1, 7)
        scales = torch.exp(self.log_scales[:, 3:]).repeat_interleave(k, dim=0) * torch.sigmoid(shape[:, :3])
        quats = nn.functional.normalize(shape[:, 3:])
        return Made(self.color(given).reshape(-1, 3), self.opacity(given).reshape(-1), scales, quats)


def write_run(model: Scaffold, folder: Path, iteration: int) -> int:
    """Writes point_cloud.ply and the MLPs as TorchScript below `folder`; bytes of all."""
    place = folder / "point_cloud" / f"iteration_{iteration}"
    place.mkdir(parents=True, exist_ok=True)
    n, k = model.offsets.shape[:2]
    names = ["x", "y", "z", "nx", "ny", "nz", *(f"f_offset_{i}" for i in range(3 * k))]
    names += [f"f_anchor_feat_{i}" for i in range(model.features.shape[1])]
    names += ["opacity", *(f"scale_{i}" for i in range(6)), *(f"rot_{i}" for i in range(4))]
    offsets = model.offsets.transpose(1, 2).reshape(n, -1).numpy()
    # Normals, and the anchors' own opacity (0.1 as a logit) and rotation, are written but not used by the method.
    normals, opacity, turn = np.zeros((n, 3)), np.full((n, 1), np.log(0.1 / 0.9)), np.tile([1.0, 0, 0, 0], (n, 1))
    features, log_scales = model.features.detach().numpy(), model.log_scales.detach().numpy()
    columns: list[NDArray[Any]] = [model.anchors.numpy(), normals, offsets, features, opacity, log_scales, turn]
    header = f"ply\nformat binary_little_endian 1.0\nelement vertex {n}\n"
    header += "".join(f"property float {name}\n" for name in names) + "end_header\n"
    (place / "point_cloud.ply").write_bytes(header.encode() + np.concatenate(columns, axis=1).astype("<f4").tobytes())
    for name, network in (("opacity_mlp", model.opacity), ("cov_mlp", model.cov), ("color_mlp", model.color)):
        traced = torch.jit.trace(network.eval(), torch.rand(1, model.features.shape[1] + 3))
        traced.save(str(place / f"{name}.pt"))
    return sum(file.stat().st_size for file in place.iterdir())
