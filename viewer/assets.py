"""Where the shaders and the browser client lie: beside the package, in a checkout and in a wheel alike."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SHADERS = ROOT / "shaders"
STATIC = ROOT / "static"


def bare_wgsl(source: str) -> str:
    """WGSL without comments (a third of it), lines kept: what the browser and wgpu both compile, byte for byte."""
    return re.sub(r"[ \t]*//.*", "", source)
