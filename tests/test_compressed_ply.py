"""Compressed PLY: the layout bit by bit, every kind of damage, files of other tools, and what the order gains."""

from __future__ import annotations

from typing import ClassVar

from tests.conformance import WriterConformance


class TestCompressedPly(WriterConformance):
    format_name = "compressed-ply"
    file_name = "scene.compressed.ply"
    reorders = True
    tolerance: ClassVar = {"means": 0.05, "scales": 0.02, "opacities": 0.02, "quats": 0.01, "sh": 0.16}
