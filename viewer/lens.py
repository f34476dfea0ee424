"""The .lens container in one import: writing and reading (docs/format.md)."""

from __future__ import annotations

from splatlens.viewer.lens_layers import BlobLayer, SplatsLayer
from splatlens.viewer.lens_layout import MEDIA_TYPE
from splatlens.viewer.lens_nodes import LayerNodes
from splatlens.viewer.lens_pages import Page, SplatsReader
from splatlens.viewer.lens_reader import GetBytes, LensReader
from splatlens.viewer.lens_writer import WriteReport, write_lens

__all__ = [
    "MEDIA_TYPE", "BlobLayer", "GetBytes", "LayerNodes", "LensReader", "Page", "SplatsLayer", "SplatsReader",
    "WriteReport", "write_lens",
]  # fmt: skip
