"""PSNR, SSIM and picture files: against values worked out by hand and a window-by-window SSIM."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from splatlens.viewer.compare import C1, C2, SIGMA, compare, psnr, ssim
from splatlens.viewer.errors import FormatError, LensError, UnsupportedError
from splatlens.viewer.images import read_image, write_image


def pictures() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    a = rng.uniform(size=(20, 17, 4)).astype(np.float32)
    return a, (a + rng.normal(0, 0.1, a.shape)).astype(np.float32)


def test_psnr_by_hand() -> None:
    a = np.zeros((10, 10, 3))
    assert psnr(a, a) == math.inf
    assert psnr(a, a + 0.1) == pytest.approx(20)
    b = a.copy()
    b[0, 0, 0] = 1  # one value of 300
    assert psnr(a, b) == pytest.approx(10 * math.log10(300))


def test_ssim_window_by_window() -> None:
    """The definition written out: weighted mean, variance and covariance in every 11x11 window of every channel."""
    a, b = (p[..., :3].astype(np.float64) for p in pictures())
    line = np.exp(-(np.arange(-5, 6) ** 2) / (2 * SIGMA**2))
    w = np.outer(line, line) / line.sum() ** 2
    values = []
    for c in range(3):
        for i in range(a.shape[0] - 10):
            for j in range(a.shape[1] - 10):
                x, y = a[i : i + 11, j : j + 11, c], b[i : i + 11, j : j + 11, c]
                mx, my = (w * x).sum(), (w * y).sum()
                vx, vy, vxy = (w * (x - mx) ** 2).sum(), (w * (y - my) ** 2).sum(), (w * (x - mx) * (y - my)).sum()
                values.append((2 * mx * my + C1) * (2 * vxy + C2) / ((mx**2 + my**2 + C1) * (vx + vy + C2)))
    assert ssim(a, b) == pytest.approx(np.mean(values), abs=1e-12)
    assert ssim(a, a) == pytest.approx(1, abs=1e-12)
    assert ssim(a, 1 - a) < 0


def test_compare_takes_colours_only() -> None:
    a, b = pictures()
    opaque = a.copy()
    opaque[..., 3] = 1
    assert compare(a, opaque).psnr == math.inf
    assert compare(a, b) == compare(a[..., :3], b)
    report = compare(a, b)
    assert (report.width, report.height) == (17, 20)
    assert report.largest == pytest.approx(np.abs(a - b)[..., :3].max(), abs=1e-7)
    assert compare(a[:10], b[:10]).ssim is None


def test_compare_refuses() -> None:
    a, b = pictures()
    with pytest.raises(LensError, match="different sizes, 17x20 and 17x19; render"):
        compare(a, b[:19])
    b[3, 4, 1] = np.nan
    with pytest.raises(LensError, match="NaN or infinity"):
        compare(a, b)


def test_pictures_round_trip(tmp_path: Path) -> None:
    _, image = pictures()  # some values lie outside 0..1
    write_image(tmp_path / "a.npy", image)
    np.testing.assert_array_equal(read_image(tmp_path / "a.npy"), image)
    write_image(tmp_path / "a.png", image)
    got = read_image(tmp_path / "a.png")
    assert got.shape == (20, 17, 3)
    np.testing.assert_allclose(got, np.clip(image[..., :3], 0, 1), atol=0.5 / 255 + 1e-6)
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["a.npy", "a.png"]


def test_other_kinds_of_png(tmp_path: Path) -> None:
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    np.testing.assert_array_equal(read_image(tmp_path / "grey.png")[..., 1], grey / np.float32(255))
    Image.fromarray(grey).convert("P").save(tmp_path / "palette.png")
    assert read_image(tmp_path / "palette.png").shape == (16, 16, 3)
    np.save(tmp_path / "bytes.npy", np.full((3, 4, 3), 51, np.uint8))
    np.testing.assert_allclose(read_image(tmp_path / "bytes.npy"), 0.2)


def test_damaged_pictures(tmp_path: Path) -> None:
    a, _ = pictures()
    for suffix in (".png", ".npy"):
        good = tmp_path / f"good{suffix}"
        write_image(good, a)
        data = good.read_bytes()
        for size in (0, 7, 60, len(data) // 2, len(data) - 40):
            bad = tmp_path / f"bad{suffix}"
            bad.write_bytes(data[:size])
            with pytest.raises(FormatError, match=r"bad\.(png|npy): "):
                read_image(bad)
    huge = b"\x93NUMPY\x01\x00\x76\x00"
    huge += b"{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776, 1048576, 4), }"
    (tmp_path / "huge.npy").write_bytes(huge.ljust(127) + b"\n" + bytes(64))
    with pytest.raises(FormatError, match=r"huge\.npy: not an \.npy file"):
        read_image(tmp_path / "huge.npy")
    np.save(tmp_path / "objects.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(FormatError, match=r"objects\.npy"):
        read_image(tmp_path / "objects.npy")
    np.save(tmp_path / "flat.npy", np.zeros((3, 4), np.float32))
    with pytest.raises(FormatError, match=r"expected float \(height, width, 3 or 4\), got float32 \(3, 4\)"):
        read_image(tmp_path / "flat.npy")


def test_names_that_are_no_picture(tmp_path: Path) -> None:
    with pytest.raises(LensError, match=r"gone\.png: no such picture"):
        read_image(tmp_path / "gone.png")
    with pytest.raises(LensError, match=r"gone\.npy: no such picture"):
        read_image(tmp_path / "gone.npy")
    for call in (lambda p: read_image(p), lambda p: write_image(p, pictures()[0])):
        with pytest.raises(UnsupportedError, match=r"a\.jpg: not a picture's name; use \.png"):
            call(tmp_path / "a.jpg")
