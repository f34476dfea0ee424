"""Makes the scene of this sample from the trained run beside this script.

    python samples/scaffold/make.py OUT.lens
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import splatlens
from splatlens.viewer.camera import Camera
from splatlens.viewer.camera_files import camera_json

RUN = Path(__file__).resolve().parent / "run"
#: What the run does not say; a file NAME.scene.json beside NAME.onnx does.
FACTS = {
    "title": "Houseplant, distilled",
    "attribution": "Scan: Houseplant by Marcel Padilla, CC BY 4.0; distilled into Scaffold-GS by splatlens",
    "licence": "CC-BY-4.0",
    "up": [0, -1, 0],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    out = parser.parse_args().out
    camera = Camera.look_at((0.7, -0.3, -1.0), (0, 0, 0), (0, -1, 0), 50, 960, 640)
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "plant.onnx"
        splatlens.convert(RUN, model)
        model.with_suffix(".scene.json").write_text(json.dumps({**FACTS, "camera": camera_json(camera)}))
        out.parent.mkdir(parents=True, exist_ok=True)
        splatlens.convert(model, out, force=True)
    print(f"{out}: {out.stat().st_size:,} bytes", flush=True)


if __name__ == "__main__":
    main()
