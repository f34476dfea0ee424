"""Draws scenes without a window: the browser's shaders under wgpu, whole pictures as float32 arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import wgpu
from numpy.typing import NDArray

from splatlens.viewer import reference
from splatlens.viewer.assemble import (
    MAX_GROUPS,
    ClusterDraws,
    Draws,
    GeneratedDraws,
    RecordDraws,
    SequenceDraws,
    assemble,
)
from splatlens.viewer.assemble_mesh import assemble_meshes
from splatlens.viewer.camera import Camera
from splatlens.viewer.executor import Executor, request_device, target_format
from splatlens.viewer.frame import RenderOptions
from splatlens.viewer.generated import GeneratedLayer
from splatlens.viewer.layout import constant
from splatlens.viewer.lod import Cut, CutLayer, CutView, Nodes, cut, rows_of
from splatlens.viewer.mesh_layer import MeshLayer, choose_nodes, pack_nodes
from splatlens.viewer.mesh_reference import DrawnMesh, draw_meshes
from splatlens.viewer.plan import pipeline, resolve
from splatlens.viewer.records import pack_records, record_stride
from splatlens.viewer.scene import Kernel
from splatlens.viewer.sequence import SequenceLayer
from splatlens.viewer.splats import Splats
from splatlens.viewer.tree import Tree

Image = NDArray[np.float32]

#: Error of a mesh that is hard to see, pixels.
MESH_THRESHOLD = 1.0


class ClusterPages(Protocol):
    """Quantised clusters of one layer, as a .lens file gives them."""

    @property
    def nodes(self) -> Nodes: ...
    @property
    def boxes(self) -> NDArray[np.float64]: ...
    def load(self, clusters: NDArray[np.int64]) -> LoadedClusters: ...
    def splats(self, clusters: NDArray[np.int64]) -> Splats: ...


@dataclass(frozen=True)
class LoadedClusters:
    """GPU words of n clusters: geometry, SH (may be empty); per cluster its first slot, SH degree and origin (n, 3)."""

    words: NDArray[np.uint32]
    sh_words: NDArray[np.uint32]
    slots: NDArray[np.int64]
    sh_degrees: NDArray[np.int64]
    origins: NDArray[np.float32]


@dataclass(frozen=True)
class RawLayer:
    """Float32 splats. With a tree they are drawn by its cut, else whole."""

    splats: Splats
    tree: Tree | None = None
    transform: NDArray[np.float64] = field(default_factory=lambda: np.eye(4))
    kernel: Kernel = Kernel()

    def nodes(self) -> Nodes | None:
        return self.tree

    def drawn(self, clusters: NDArray[np.int64] | None) -> Splats:
        """The splats of a cut, or all."""
        return (
            self.splats
            if self.tree is None or clusters is None
            else self.tree.splats.take(rows_of(self.tree, clusters))
        )


@dataclass(frozen=True)
class PagedLayer:
    """Quantised clusters of a .lens layer."""

    pages: ClusterPages
    transform: NDArray[np.float64] = field(default_factory=lambda: np.eye(4))
    kernel: Kernel = Kernel()

    def nodes(self) -> Nodes | None:
        return self.pages.nodes

    def drawn(self, clusters: NDArray[np.int64] | None) -> Splats:
        """The dequantised splats of a cut."""
        assert clusters is not None
        return self.pages.splats(clusters)


SplatLayer = RawLayer | PagedLayer | GeneratedLayer | SequenceLayer
Layer = SplatLayer | MeshLayer


def _nodes(layer: SplatLayer) -> Nodes | None:
    """The tree that a cut is made through; None for layers drawn whole."""
    return None if isinstance(layer, GeneratedLayer | SequenceLayer) else layer.nodes()


def _drawn(layer: SplatLayer, clusters: NDArray[np.int64] | None, camera: Camera) -> Splats:
    if isinstance(layer, SequenceLayer):
        return layer.splats(camera)
    return layer.splats() if isinstance(layer, GeneratedLayer) else layer.drawn(clusters)


def _rows(layer: SplatLayer) -> int:
    """Splats of a layer that is drawn whole."""
    if isinstance(layer, SequenceLayer):
        return layer.sequence.info.splats
    if isinstance(layer, GeneratedLayer):
        return len(layer.outputs[layer.contract.outputs["means"].output])
    return len(layer.drawn(None))


def parted(layers: Sequence[Layer]) -> tuple[list[SplatLayer], list[MeshLayer]]:
    """Layers of splats and of meshes, each in their order."""
    meshes = [layer for layer in layers if isinstance(layer, MeshLayer)]
    return [layer for layer in layers if not isinstance(layer, MeshLayer)], meshes


def mesh_threshold(budget: float) -> float:
    """Pixels of error below which meshes are not refined: with a budget as in the page, without one all is drawn."""
    return 0.0 if np.isinf(budget) else MESH_THRESHOLD


def choose(
    layers: Sequence[SplatLayer], camera: Camera, options: RenderOptions, budget: float
) -> tuple[Cut, list[NDArray[np.int64] | None]]:
    """One cut over every layer that has a tree. The second value has an entry a layer, None where it is drawn whole."""
    nodes = [_nodes(layer) for layer in layers]
    whole = sum(_rows(layer) for layer, n in zip(layers, nodes, strict=True) if n is None)
    cuts = [
        CutLayer(n, CutView.of_camera(camera, options.near, layer.transform))
        for layer, n in zip(layers, nodes, strict=True)
        if n is not None
    ]
    made = cut(cuts, budget - whole)
    clusters = iter(made.clusters)
    return made, [None if n is None else next(clusters) for n in nodes]


class Renderer:
    """Draws layers on one device; buffers are kept between pictures. `device` None asks for the best adapter."""

    def __init__(
        self,
        device: wgpu.GPUDevice | None = None,
        *,
        max_groups: int = MAX_GROUPS,
        exact: bool = True,
        binding_bytes: int | None = None,
    ) -> None:
        """exact: blend in float32 where the adapter can; the browser's default is rgba16float.

        max_groups, binding_bytes: as if the device had no more workgroups a dimension, no larger storage bindings.
        """
        self.executor = Executor(device or request_device())
        self.binding_bytes = binding_bytes or int(self.executor.device.limits["max-storage-buffer-binding-size"])
        self.max_groups = max_groups
        self.format = target_format(self.executor.device) if exact else "rgba16float"
        self.submitted = 0  # splats given to project in the last picture

    def render(
        self, layers: Sequence[Layer], camera: Camera, options: RenderOptions = RenderOptions(), budget: float = np.inf
    ) -> Image:
        """(height, width, 4) float32: rgb over the background, unclipped; alpha = 1 - transmittance.

        budget: splats drawn at most, chosen by the cut. Raises DeviceError where the adapter's buffers are too small.
        """
        plan = self.prepare(layers, camera, options, budget)
        self.executor.run(plan)
        image = self.executor.read_texture("color")
        image[..., :3] += (1 - image[..., 3:]) * np.asarray(options.background, np.float32)
        return image

    def prepare(
        self, layers: Sequence[Layer], camera: Camera, options: RenderOptions, budget: float = np.inf
    ) -> dict[str, Any]:
        """Uploads everything and gives the frame's plan: `executor.run_timed` draws it pass by pass."""
        splat_layers, meshes = parted(layers)
        _, chosen = choose(splat_layers, camera, options, budget)
        draws: list[Draws] = []
        uploads: dict[str, NDArray[Any]] = {}
        counts = {"record": 0, "cluster": 0, "generated": 0, "output": 0, "spacetime": 0, "gaussian4d": 0}
        for layer, clusters in zip(splat_layers, chosen, strict=True):
            if isinstance(layer, PagedLayer):
                assert clusters is not None
                draws.append(self._clusters(layer, clusters, uploads, counts))
            elif isinstance(layer, GeneratedLayer):
                draws += _generated(layer, uploads, counts)
            elif isinstance(layer, SequenceLayer):
                draws += _sequence(layer, uploads, counts)
            else:
                draws += self._records(layer, layer.drawn(clusters), uploads, counts)
        frame = assemble(camera, options, draws, self.max_groups)
        words = self.binding_bytes // 4
        nodes = choose_nodes(meshes, camera, options.near, mesh_threshold(budget), words)
        mesh_draws, uploads["mesh_words"] = pack_nodes(meshes, nodes)
        mesh_frame = assemble_meshes(camera, mesh_draws, len(uploads["mesh_words"]))
        everything = pipeline()
        # `present` needs a canvas; the float target is read instead.
        offscreen = {**everything, "passes": [p for p in everything["passes"] if p["name"] != "present"]}
        plan = resolve(offscreen, frame.numbers, frame.lists | mesh_frame.lists, {"color": self.format})
        self.executor.prepare(plan)
        for name, data in (uploads | frame.uploads | mesh_frame.uploads).items():
            if len(data):
                self.executor.write(name, data)
        generated = sum(d.rows for d in draws if isinstance(d, GeneratedDraws))
        self.submitted = generated + (int(frame.uploads["draws"]["count"].sum()) if "draws" in frame.uploads else 0)
        return plan

    def _clusters(
        self, layer: PagedLayer, clusters: NDArray[np.int64], uploads: dict[str, NDArray[Any]], counts: dict[str, int]
    ) -> ClusterDraws:
        loaded = layer.pages.load(clusters)
        name = counts["cluster"]
        counts["cluster"] += 1
        uploads[f"geometry.{name}"], uploads[f"sh_words.{name}"] = loaded.words, loaded.sh_words
        slots = max(1, len(loaded.words) // constant("SLOT_WORDS"))
        return ClusterDraws(
            layer.transform,
            loaded.slots,
            layer.pages.nodes.count[clusters],
            loaded.sh_degrees,
            loaded.origins,
            layer.pages.boxes[clusters],
            slots,
            len(loaded.sh_words) // slots,
            layer.kernel,
        )

    def _records(
        self, layer: RawLayer, splats: Splats, uploads: dict[str, NDArray[Any]], counts: dict[str, int]
    ) -> list[RecordDraws]:
        """As many record buffers as the adapter's largest binding makes necessary, in row order."""
        if len(splats) == 0:
            return []
        coefficients = splats.sh.shape[1]
        rows = self.binding_bytes // (4 * record_stride(coefficients)) // constant("GROUP") * constant("GROUP")
        out = []
        for start in range(0, len(splats), rows):
            part = splats.take(slice(start, start + rows))
            uploads[f"records.{counts['record']}"] = pack_records(part)
            counts["record"] += 1
            box = np.stack([part.means.min(axis=0), part.means.max(axis=0)])
            out.append(RecordDraws(layer.transform, len(part), coefficients, box, layer.kernel))
        return out


def _generated(
    layer: GeneratedLayer, uploads: dict[str, NDArray[Any]], counts: dict[str, int]
) -> list[GeneratedDraws]:
    """A generator's draws, its outputs among the uploads; none where it gave no row."""
    made, words, live = layer.draws()
    if made is None:
        return []
    uploads[f"generated_live.{counts['generated']}"] = live
    for k, one in enumerate(words):
        uploads[f"generated_output.{counts['output'] + k}"] = one
    counts["generated"] += 1
    counts["output"] += len(words)
    return [made]


def _sequence(layer: SequenceLayer, uploads: dict[str, NDArray[Any]], counts: dict[str, int]) -> list[SequenceDraws]:
    """A sequence's draws, one a part, their words among the uploads."""
    motion = layer.sequence.info.motion
    for words in layer.sequence.parts:
        uploads[f"{motion}_words.{counts[motion]}"] = words
        counts[motion] += 1
    return layer.draws()


def render_reference(
    layers: Sequence[Layer], camera: Camera, options: RenderOptions = RenderOptions(), budget: float = np.inf
) -> Image:
    """The same picture by the float64 NumPy reference."""
    splat_layers, meshes = parted(layers)
    _, chosen = choose(splat_layers, camera, options, budget)
    projections = [
        reference.project(_drawn(layer, clusters, camera), camera, options, layer.transform, layer.kernel)
        for layer, clusters in zip(splat_layers, chosen, strict=True)
    ]
    if not meshes:
        return reference.blend(projections, camera, options)
    nodes = choose_nodes(meshes, camera, options.near, mesh_threshold(budget))
    drawn = [
        DrawnMesh([layer.mesh.surfaces[int(n)] for n in own], layer.mesh.look, layer.transform)
        for layer, own in zip(meshes, nodes, strict=True)
    ]
    shown = draw_meshes(drawn, camera, options)
    return reference.blend(projections, camera, options, (shown.color, shown.front))
