"""Figures beside other viewers: bench/ run with this viewer and PlayCanvas on the same scenes in the same browser."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

from figures_base import DATA_VARIABLE, ROOT, MissingError, Row, chromium, data_file, reported, work

BENCH = ROOT / "bench"
PEERS = ("splatlens", "pc-webgpu-full", "pc-webgpu")
SCENES = {"plant113k": "ply_converted/plant_sh0.ply", "playbot125k": "ply_converted/playbot_l2_sh2.ply"}
#: Seconds of measured frames a peer gets.
CAP = 14


def peers() -> list[Row]:
    """Median frame time and PSNR at 640x360, one browser after another."""
    if not (BENCH / "node_modules").is_dir():
        raise MissingError("the other viewers: (cd bench && npm ci --ignore-scripts)")
    for file in SCENES.values():
        data_file(file)
    node = shutil.which("node")
    if node is None:
        raise MissingError("Node.js 18 or later")
    out = work() / "peers"
    places = {"DATA_DIR": os.environ[DATA_VARIABLE], "OUT_DIR": str(out)}
    environment = {**os.environ, **places, "CHROMIUM": chromium(), "PYTHON": sys.executable}

    def run(*command: str) -> None:
        done = subprocess.run(command, cwd=BENCH, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()[-300:]}")

    run(node, "build.mjs", "splatlens", "playcanvas")
    run(sys.executable, "ref/render.py", "scenes.json", environment["DATA_DIR"], str(out), *SCENES)
    names = ["--peers", ",".join(PEERS), "--scenes", ",".join(SCENES), "--sizes", "640x360"]
    run(node, "drive.mjs", *names, "--cap", str(CAP), "--no-lag", "--tag", "figures")
    measured = {(r["scene"], r["peer"]): r for r in json.loads((out / "figures.json").read_text())}
    rows = []
    for scene in SCENES:
        texts = {peer: _text(measured[scene, peer]) for peer in PEERS}
        ours, bar, aim = (measured[scene, peer].get("ms", {}).get("median") for peer in PEERS)
        reached = None if ours is None or bar is None else ours < bar
        asked = f"< {bar:.0f} ms (pc-webgpu-full), aim {aim:.0f} ms (pc-webgpu)" if bar and aim else "pc-webgpu-full"
        rows.append(Row(f"{scene}, 640x360 in Chromium: frame median", asked, texts["splatlens"], reached))
        rows += [reported(f"{scene}: {peer}", texts[peer]) for peer in PEERS[1:]]
    return rows


def _text(row: dict) -> str:  # type: ignore[type-arg]
    if row.get("failed"):
        return f"failed: {row['failed'][:120]}"
    decibels = " / ".join(f"{still['psnr']:.1f}" for still in row.get("stills", {}).values() if "psnr" in still)
    size = f"{row['jsGzip'] / 1000:.0f} kB of code gzipped"
    times = f"{row['ms']['median']:.0f} ms (p95 {row['ms']['p95']:.0f}, n {row['frames']})"
    return f"{times}, {decibels} dB, {size}, first pixel {row['firstPixelMs']} ms"
