"""Reads what a Scaffold-GS training run leaves: anchors from the PLY, MLPs from TorchScript files or one state dict.

Lu et al. 2024, "Scaffold-GS: Structured 3D Gaussians for View-Adaptive Rendering"; layouts of city-super/Scaffold-GS,
scene/gaussian_model.py: `save_ply` and `save_mlp_checkpoints` in mode split (opacity_mlp.pt, cov_mlp.pt, color_mlp.pt,
feature_bank_mlp.pt, embedding_appearance.pt), mode unite (checkpoints.pth) and of its first release (checkpoint.pth).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splatlens.converters.checkpoint import state_dict
from splatlens.converters.ply_rows import open_rows, pick
from splatlens.viewer.errors import FormatError, UnsupportedError

Array = NDArray[np.float32]

#: Columns of a Gaussian in the output of the covariance MLP: scales 3, quaternion 4.
COVARIANCE_COLUMNS = 7
#: The MLPs by the names of their TorchScript files.
MLPS = ("opacity_mlp", "cov_mlp", "color_mlp")
BANK, APPEARANCE = "feature_bank_mlp", "embedding_appearance"
#: Keys of state dicts, as the releases call them.
_KEYS = {"mlp_feature_bank": BANK, "appearance": APPEARANCE}
#: State dicts of all MLPs, newest release first.
UNITED = ("checkpoints.pth", "checkpoint.pth")
_REMEDY = "give the folder of a Scaffold-GS run, with the MLPs beside point_cloud.ply"


@dataclass(frozen=True)
class Mlp:
    """Linear layers with a ReLU between each two: weights (out, in) and biases (out,), as torch has them."""

    layers: tuple[tuple[Array, Array], ...]

    @property
    def inputs(self) -> int:
        return int(self.layers[0][0].shape[1])

    @property
    def outputs(self) -> int:
        return int(self.layers[-1][0].shape[0])


@dataclass(frozen=True)
class ScaffoldModel:
    """A trained model of N anchors with k Gaussians each.

    anchors (N, 3); offsets (N, k, 3), in units of exp(log_scales[:, :3]); features (N, F); log_scales (N, 6): of the
    offsets and of the Gaussians. opacity, covariance and color give k, 7 k and 3 k columns; their inputs are the
    feature, the direction from the camera and, where `distances` says so, its length. bank: mixes three resolutions of
    the feature, or None. appearance (M, A): what the colour MLP is given of each of M training views, or None.
    """

    anchors: Array
    offsets: Array
    features: Array
    log_scales: Array
    opacity: Mlp
    covariance: Mlp
    color: Mlp
    distances: tuple[bool, bool, bool]
    bank: Mlp | None
    appearance: Array | None

    @property
    def k(self) -> int:
        return int(self.offsets.shape[1])


def read_model(ply: Path) -> tuple[ScaffoldModel, tuple[Path, ...]]:
    """The model whose anchors are in `ply`, and the files read. Raises LensError."""
    anchors, offsets, features, log_scales = read_anchors(ply)
    found, files = _read_networks(ply)
    k, feature = offsets.shape[1], features.shape[1]
    mlps = [_mlp(ply, name, found) for name in MLPS]
    opacity, covariance, color = mlps
    for name, mlp, columns in zip(MLPS, mlps, (1, COVARIANCE_COLUMNS, 3), strict=True):
        if mlp.outputs != columns * k:
            raise FormatError(
                f"{ply.parent}: {name} gives {mlp.outputs} numbers, expected {columns * k}: {columns} for each of the "
                f"{k} offsets in {ply.name}; take both from the same run"
            )
    appearance = _appearance(ply, found)
    extra = (0, 0, 0 if appearance is None else int(appearance.shape[1]))
    distances = [mlp.inputs - feature - 3 - more for mlp, more in zip(mlps, extra, strict=True)]
    for name, mlp, distance, more in zip(MLPS, mlps, distances, extra, strict=True):
        if distance not in (0, 1):
            sizes = f"{feature + more + 3} or {feature + more + 4} (feature {feature}, direction 3, distance 1"
            sizes += f", appearance {more})" if more else ")"
            missing = f", or is {APPEARANCE}.pt missing" if name == "color_mlp" and not more and distance > 1 else ""
            raise FormatError(f"{ply.parent}: {name} takes {mlp.inputs} numbers, expected {sizes}{missing}; {_REMEDY}")
    bank = _mlp(ply, BANK, found) if any(key.startswith(f"{BANK}.") for key in found) else None
    if bank and (bank.inputs, bank.outputs) != (4, 3):
        raise FormatError(f"{ply.parent}: {BANK}: {bank.inputs} to {bank.outputs} numbers, expected 4 to 3; {_REMEDY}")
    if bank and feature % 4:
        raise FormatError(f"{ply.parent}: a feature bank of {feature} columns, expected a multiple of 4; {_REMEDY}")
    first, second, third = (bool(d) for d in distances)
    far = first, second, third
    model = ScaffoldModel(
        anchors, offsets, features, log_scales, opacity, covariance, color, far, bank, appearance
    )
    return model, (ply, *files)


def read_anchors(ply: Path) -> tuple[Array, Array, Array, Array]:
    """anchors (N, 3), offsets (N, k, 3), features (N, F) and log_scales (N, 6) of the PLY. Raises LensError."""
    rows = open_rows(ply)
    if "level" in rows.index or "extra_level" in rows.index:
        raise UnsupportedError(f"{ply}: anchors with levels (Octree-GS); only Scaffold-GS is read; train with that")
    columns = [_columns(ply, rows.index, name) for name in ("f_offset", "f_anchor_feat", "scale")]
    missing = [axis for axis in "xyz" if axis not in rows.index]
    offsets, features, scales = columns
    if missing or not offsets or len(offsets) % 3 or not features or len(scales) != 6:
        raise FormatError(
            f"{ply}: {len(offsets)} columns f_offset_*, {len(features)} f_anchor_feat_* and {len(scales)} scale_*, "
            f"{'without ' + missing[0] + ', ' if missing else ''}expected 3 k, F and 6 beside x, y, z; export it again"
        )
    wanted = [[rows.index[axis] for axis in "xyz"], *columns]
    tables: list[list[NDArray[Any]]] = [[] for _ in wanted]
    for table in rows.tables(8192):
        for kept, part in zip(tables, wanted, strict=True):
            with np.errstate(over="ignore"):  # a float64 beyond float32 becomes infinite, and then counts as such
                kept.append(pick(table, part).astype(np.float32))
    anchor, offset, feature, scale = (np.concatenate(parts) for parts in tables)
    finite = np.isfinite(np.concatenate([anchor, offset, feature, scale], axis=1)).all(axis=1)
    if not finite.any():
        raise FormatError(f"{ply}: none of the {len(anchor)} anchors is finite; export the scene again")
    anchor, offset, feature, scale = (part[finite] for part in (anchor, offset, feature, scale))
    # `save_ply` writes them as (3, k), transposed.
    return anchor, offset.reshape(len(anchor), 3, -1).transpose(0, 2, 1), feature, scale


def _columns(ply: Path, index: dict[str, int], name: str) -> list[int]:
    """Places of the columns NAME_0, NAME_1 and so on. Raises FormatError for gaps."""
    found = {int(m[1]): place for key, place in index.items() if (m := re.fullmatch(rf"{name}_(\d{{1,6}})", key))}
    if sorted(found) != list(range(len(found))):
        raise FormatError(f"{ply}: columns {name}_0 to {name}_{max(found)} with gaps; export it again")
    return [found[i] for i in range(len(found))]


def _read_networks(ply: Path) -> tuple[dict[str, Array], list[Path]]:
    """Tensors of the MLPs beside the PLY, as "opacity_mlp.0.weight"."""
    folder = ply.parent
    # The newest release writes TorchScript files here; a version between wrote them into a folder of the old name.
    for place in (folder, *(folder / name for name in UNITED)):
        files = [place / f"{name}.pt" for name in (*MLPS, BANK, APPEARANCE)]
        if any(file.is_file() for file in files):
            present = [file for file in files if file.is_file()]
            tensors = {f"{f.stem}.{key}": value for f in present for key, value in state_dict(f).items()}
            return _as_float(tensors), present
    for name in UNITED:
        if (file := folder / name).is_file():
            named = {}
            for key, value in state_dict(file).items():
                network, _, rest = key.partition(".")
                named[f"{_KEYS.get(network, network)}.{rest}"] = value
            return _as_float(named), [file]
    names = ", ".join(f"{name}.pt" for name in MLPS)
    raise FormatError(f"{folder}: anchors without their MLPs: neither {names} nor {' or '.join(UNITED)}; {_REMEDY}")


def _as_float(tensors: dict[str, NDArray[Any]]) -> dict[str, Array]:
    return {key: value.astype(np.float32) for key, value in tensors.items() if value.dtype.kind == "f"}


def _mlp(ply: Path, name: str, found: dict[str, Array]) -> Mlp:
    """The MLP called `name`: its Linear layers in order of their place in the Sequential. Raises FormatError."""
    pattern = re.compile(rf"{name}\.(?:\w+\.)*?(\d{{1,4}})\.weight")
    places = sorted((int(m[1]), key) for key in found if (m := pattern.fullmatch(key)))
    layers: list[tuple[Array, Array]] = []
    for _, key in places:
        weight, bias = found[key], found.get(key.removesuffix("weight") + "bias")
        before = layers[-1][0].shape[0] if layers else weight.shape[-1]
        if weight.ndim != 2 or bias is None or bias.shape != weight.shape[:1] or weight.shape[1] != before:
            shapes = f"weight {weight.shape}, bias {None if bias is None else bias.shape} after {before} columns"
            raise FormatError(f"{ply.parent}: {key}: {shapes} is no linear layer; {_REMEDY}")
        layers.append((weight, bias))
    if not layers:
        raise FormatError(f"{ply.parent}: {name} is missing or has no linear layers; {_REMEDY}")
    if not all(np.isfinite(part).all() for layer in layers for part in layer):
        raise FormatError(f"{ply.parent}: {name} has weights that are not finite: the training diverged")
    return Mlp(tuple(layers))


def _appearance(ply: Path, found: dict[str, Array]) -> Array | None:
    """(M, A) embeddings of the training views, None where the run has none."""
    tables = [value for key, value in found.items() if key.startswith(f"{APPEARANCE}.")]
    if not tables:
        return None
    if len(tables) != 1 or tables[0].ndim != 2 or not np.isfinite(tables[0]).all():
        raise FormatError(f"{ply.parent}: {APPEARANCE} is no finite table (views, columns); {_REMEDY}")
    return tables[0]
