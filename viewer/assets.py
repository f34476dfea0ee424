"""Where the shaders and the browser client lie: beside the package, in a checkout and in a wheel alike."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SHADERS = ROOT / "shaders"
STATIC = ROOT / "static"
