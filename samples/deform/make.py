"""Makes the scene of this sample from the trained model folder beside it; needs no torch.

    python samples/deform/make.py OUT.lens
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from scene import BACKGROUND, UP, cameras

import splatlens
from splatlens.converters.deform import export
from splatlens.viewer.camera_files import camera_json

HERE = Path(__file__).resolve().parent
#: Seconds from time 0 to 1: a beat of the bells.
DURATION = 4.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    out = parser.parse_args().out
    facts = {
        "title": "Jellyfish", "licence": "CC0-1.0", "attribution": "splatlens", "up": list(UP),
        "background": list(BACKGROUND), "camera": camera_json(cameras(1280, 720)[0]),
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "jellyfish.onnx"
        model.write_bytes(export(HERE / "model", DURATION).SerializeToString())
        model.with_suffix(".scene.json").write_text(json.dumps(facts))
        out.parent.mkdir(parents=True, exist_ok=True)
        splatlens.convert([model], out, force=True)
    print(f"{out}: {out.stat().st_size:,} bytes", flush=True)


if __name__ == "__main__":
    main()
