"""One source to the plan of a .lens layer in bounded memory: block by block into a tree and quantised rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from splatlens.viewer import codec
from splatlens.viewer.blocks import WHOLE_SPLATS, Blocks, in_blocks
from splatlens.viewer.errors import LensError
from splatlens.viewer.lens_layers import SplatsPlan, append_tree, leaf_rows, plan_clusters
from splatlens.viewer.quantise import typical_sigma
from splatlens.viewer.quantised_file import QuantisedFile
from splatlens.viewer.scene import Kernel
from splatlens.viewer.splats import Splats
from splatlens.viewer.tree import Clusters, Tree, build_subtree, bulk, outlying
from splatlens.viewer.tree_top import Root, join_trees

Progress = Callable[[float], None]


class ChunkedSource(Protocol):
    """What converters.open_source gives."""

    def chunks(self) -> Iterator[Splats]: ...


def _identity() -> NDArray[np.float64]:
    return np.eye(4)


@dataclass(frozen=True)
class SourceLayer:
    """What becomes one layer of kind `splats`. transform: (4, 4) layer to world, affine. kernel: its blur."""

    source: Splats | ChunkedSource
    name: str = ""
    transform: NDArray[np.float64] = field(default_factory=_identity)
    kernel: Kernel = field(default_factory=Kernel)

    def chunks(self) -> Iterator[Splats]:
        """The splats; those in memory as few views."""
        if isinstance(self.source, Splats):
            for first in range(0, len(self.source), WHOLE_SPLATS):
                yield self.source.take(slice(first, first + WHOLE_SPLATS))
        else:
            yield from self.source.chunks()


@dataclass(frozen=True)
class Planned:
    """A layer ready to be written. centres: (S, 3) float32 of every `step`-th splat, layer coordinates."""

    plan: SplatsPlan
    centres: NDArray[np.float32]
    step: int


def plan_source(
    layer: SourceLayer,
    rows: QuantisedFile,
    progress: Progress,
    whole: int = WHOLE_SPLATS,
) -> Planned:
    """Builds a layer's tree and quantises it into `rows`. `progress` hears the share done, 0 to 1.

    whole: splats up to which a layer is one block. Raises LensError.
    """
    with in_blocks(layer.chunks(), whole) as blocks:
        if not blocks.count:
            raise LensError(
                "tree: the scene has no splats; there is nothing to build. Check that the source file is the right one"
            )
        trees: list[Clusters] = []
        roots: list[Root] = []
        own: codec.LayerCodec | None = None
        typical: float | None = None
        bounds = []
        for k in range(len(blocks.sizes)):
            tree, root = _block(blocks, k, lambda share, k=k: progress((k + share) / len(blocks.sizes)))  # type: ignore[misc]
            if own is None:
                leaves = tree.splats.take(leaf_rows(tree))
                own = codec.fit_layer_codec(leaves if len(blocks.sizes) == 1 else blocks.sample)
                if len(blocks.sizes) > 1:
                    # Of all rows, merged ones included, as in a layer of one block: these are larger by the same factor
                    # in all blocks, about.
                    typical = typical_sigma(blocks.sample) * typical_sigma(tree.splats) / typical_sigma(leaves)
                del leaves
            append_tree(rows, tree, own, typical)
            bounds += [tree.splats.means.min(axis=0), tree.splats.means.max(axis=0)]
            roots.append(root)
            trees.append(Clusters(*(getattr(tree, f.name) for f in fields(Clusters))))
            del tree
        assert own is not None
        joined = join_trees(blocks.top, trees, roots)
        if len(joined.counts):
            first = np.cumsum(joined.counts, dtype=np.int64) - joined.counts
            coarse = np.zeros(len(first), np.int32)
            rows.append(codec.quantise_clusters(joined.above, first, joined.counts, coarse, own, typical))
            bounds += [joined.above.means.min(axis=0), joined.above.means.max(axis=0)]
        box = np.stack([np.min(bounds, axis=0), np.max(bounds, axis=0)])
        plan = plan_clusters(joined.clusters, rows, joined.place, own, box, layer.name, layer.transform, layer.kernel)
        return Planned(plan, blocks.centres, blocks.step)


def _block(blocks: Blocks, number: int, progress: Progress) -> tuple[Tree, Root]:
    splats = blocks.take(number)
    # In a scene of several blocks its outliers have some of their own.
    apart = outlying(splats, *bulk(splats.means)) if len(blocks.sizes) == 1 else np.zeros(len(splats), np.bool_)
    tree, moments = build_subtree(splats, apart, progress)
    return tree, Root.of(tree, moments)
