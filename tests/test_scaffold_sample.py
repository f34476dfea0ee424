"""The distilled plant: made without torch, credited, and close to the scan where it is there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import splatlens
from splatlens.converters import read_splats
from splatlens.viewer import reference
from splatlens.viewer.camera import Camera
from splatlens.viewer.compare import psnr

SAMPLE = Path(__file__).resolve().parent.parent / "samples" / "scaffold"
#: Bytes of what is committed of it at most.
MOST_BYTES = 1_500_000


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scene, by the script as a user runs it; a torch that cannot be imported stands in its way."""
    folder = tmp_path_factory.mktemp("scaffold")
    (folder / "torch.py").write_text("raise ImportError('make.py needs no torch')")
    out = folder / "plant.lens"
    run = f"import sys, runpy; sys.path.insert(0, {str(folder)!r}); sys.argv[1:] = [{str(out)!r}]; "
    run += f"runpy.run_path({str(SAMPLE / 'make.py')!r}, run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", run], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return out


def test_scene(made: Path) -> None:
    with splatlens.open(made) as scene:
        facts = scene.facts()
        assert scene.live[0].properties == {"capacity": 20_000}
    assert "Marcel Padilla" in facts["attribution"]
    assert facts["licence"] == "CC-BY-4.0"
    assert sum(f.stat().st_size for f in (SAMPLE / "run").rglob("*") if f.is_file()) < MOST_BYTES


@pytest.mark.data
def test_close_to_the_scan(made: Path, data_dir: Path) -> None:
    """The hardest of the held-out views (scripts/figures_scaffold.py), small."""
    camera = Camera.look_at((0.4, -0.2, -0.4), (0, 0, 0), (0, -1, 0), 50, 160, 90)
    with splatlens.open(made) as scene:
        got = scene.render(camera, reference=True)
    want = reference.render(read_splats(data_dir / "ply_converted/plant_sh0.ply")[0], camera)
    assert psnr(np.clip(got[..., :3], 0, 1), np.clip(want[..., :3], 0, 1)) > 28
