"""Whole pictures: gsplat's goldens, the shaders against the NumPy reference, and what must not change them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import wgpu
from safetensors.numpy import load_file

import splatlens
from splatlens.viewer import reference
from splatlens.viewer.camera import Camera
from splatlens.viewer.convert import SourceLayer, build_lens
from splatlens.viewer.executor import request_device
from splatlens.viewer.frame import RenderOptions
from splatlens.viewer.generated import GeneratedLayer
from splatlens.viewer.lens import LensReader
from splatlens.viewer.paged import LensPages
from splatlens.viewer.render import Layer, PagedLayer, RawLayer, Renderer, render_reference
from splatlens.viewer.scene import Kernel
from splatlens.viewer.splats import Splats
from splatlens.viewer.tree import build_tree
from tests.generated_scenes import LAYOUTS, outputs_of
from tests.twin_scenes import CAMERA, TWIN_SCENES, random_splats


@pytest.fixture(scope="module")
def device() -> wgpu.GPUDevice:
    return request_device(default_limits=True)


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(-10 * np.log10(np.mean((a.astype(np.float64) - b) ** 2)))


def golden(data_dir: Path, name: str) -> tuple[Splats, Camera, np.ndarray]:
    """Scene, camera and float32 RGBA picture that gsplat's CUDA rasterizer drew (data/README.md has the camera)."""
    d = load_file(data_dir / "brush_reference" / f"{name}_case.safetensors")
    image = d["out_img"].reshape(d["out_img"].shape[-3:])
    quats = d["quats"].astype(np.float64)
    splats = Splats(
        d["means"].astype(np.float32),
        (quats / np.linalg.norm(quats, axis=1, keepdims=True)).astype(np.float32),
        np.exp(d["scales"].astype(np.float64)).astype(np.float32),
        (1 / (1 + np.exp(-d["opacities"].reshape(-1).astype(np.float64)))).astype(np.float32),
        d["coeffs"].astype(np.float32),
    )
    height, width = image.shape[:2]
    view = np.eye(4)
    view[:3, 3] = -0.123, -0.456, 8.0
    return splats, Camera(width, height, width / 2, width / 2, width / 2, height / 2, view), image


@pytest.mark.data
@pytest.mark.parametrize("name", ["tiny", "basic"])
def test_gsplat_goldens(device: wgpu.GPUDevice, data_dir: Path, name: str) -> None:
    splats, camera, image = golden(data_dir, name)
    options = RenderOptions(alpha_cap=0.999)
    assert psnr(reference.render(splats, camera, options), image) > 120
    assert psnr(Renderer(device).render([RawLayer(splats)], camera, options), image) > 80


@pytest.mark.parametrize("name", TWIN_SCENES)
def test_shaders_draw_what_the_reference_draws(device: wgpu.GPUDevice, name: str) -> None:
    scene = TWIN_SCENES[name]()
    layers = [RawLayer(scene.splats, kernel=scene.kernel)]
    got = Renderer(device).render(layers, scene.camera, scene.options)
    assert psnr(got, render_reference(layers, scene.camera, scene.options)) > 70


def test_half_float_target_stays_close(device: wgpu.GPUDevice) -> None:
    # lavapipe truncates when it blends halves, the worst that WebGPU allows: 2,000 deep still differ by under 1%.
    scene = TWIN_SCENES["2,000 overlapping"]()
    renderer = Renderer(device, exact=False)
    assert renderer.format == "rgba16float"
    got = renderer.render([RawLayer(scene.splats)], scene.camera)
    assert psnr(got, reference.render(scene.splats, scene.camera)) > 45


def test_two_pictures_of_one_view_are_the_same_bytes(device: wgpu.GPUDevice) -> None:
    scene = TWIN_SCENES["equal depths"]()
    renderer = Renderer(device)
    first = renderer.render([RawLayer(scene.splats)], scene.camera).tobytes()
    renderer.render([RawLayer(scene.splats)], replace(scene.camera, fx=50.0))
    assert renderer.render([RawLayer(scene.splats)], scene.camera).tobytes() == first
    assert Renderer(device, max_groups=2).render([RawLayer(scene.splats)], scene.camera).tobytes() == first


def test_layers_mix_by_depth_under_their_transforms(device: wgpu.GPUDevice) -> None:
    turned = np.eye(4)
    turned[:3, :3] = [[0, -1, 0], [1, 0, 0], [0, 0, 1]]
    turned[:3, 3] = 0.2, 0.1, -0.3
    layers = [RawLayer(random_splats(300, 1)), RawLayer(random_splats(300, 2), transform=turned)]
    got = Renderer(device).render(layers, CAMERA)
    assert psnr(got, render_reference(layers, CAMERA)) > 70
    # One behind the other would be another picture.
    assert psnr(got, reference.render(layers[0].splats, CAMERA)) < 30


def test_each_layer_is_drawn_with_its_own_kernel(device: wgpu.GPUDevice, tmp_path: Path) -> None:
    """An anti-aliased layer beside a classic one and a wide one, raw and from a .lens file, as the reference has it."""
    splats = [random_splats(400, seed, size=0.01) for seed in (1, 2, 3)]
    kernels = [Kernel(0.3), Kernel(0.1, antialias=True), Kernel(3.0)]
    raw = [RawLayer(s, kernel=k) for s, k in zip(splats, kernels, strict=True)]
    renderer = Renderer(device)
    got = renderer.render(raw, CAMERA)
    assert psnr(got, render_reference(raw, CAMERA)) > 70
    alike = [replace(layer, kernel=kernels[0]) for layer in raw]
    assert psnr(got, renderer.render(alike, CAMERA)) < 35
    build_lens([SourceLayer(s, kernel=k) for s, k in zip(splats, kernels, strict=True)], tmp_path / "a.lens")
    with LensReader.open(tmp_path / "a.lens") as reader:
        read = reader.splats_layers.values()
        stored: list[Layer] = [PagedLayer(LensPages(layer), kernel=layer.info.kernel) for layer in read]
        got = renderer.render(stored, CAMERA)
        assert psnr(got, render_reference(stored, CAMERA)) > 70
        assert psnr(got, render_reference(raw, CAMERA)) > 40
        scene = splatlens.open(tmp_path / "a.lens")
        assert np.array_equal(scene.render(CAMERA, reference=True), render_reference(stored, CAMERA))


def test_a_large_raw_layer_is_split_over_bindings(device: wgpu.GPUDevice) -> None:
    scene = TWIN_SCENES["2,000 overlapping"]()
    renderer = Renderer(device)
    whole = renderer.render([RawLayer(scene.splats)], scene.camera)
    split = Renderer(device, binding_bytes=512 * 4 * 58)
    assert np.array_equal(split.render([RawLayer(scene.splats)], scene.camera), whole)
    assert "records.3" in split.executor.buffers


def test_a_budget_draws_the_cut(device: wgpu.GPUDevice) -> None:
    splats = random_splats(5000, 3, degree=1, size=0.03)
    layer = RawLayer(splats, build_tree(splats))
    renderer = Renderer(device)
    full = renderer.render([layer], CAMERA)
    assert renderer.submitted <= 5000
    coarse = renderer.render([layer], CAMERA, budget=1000)
    assert 0 < renderer.submitted <= 1000
    assert psnr(coarse, render_reference([layer], CAMERA, budget=1000)) > 70
    assert 15 < psnr(coarse, full) < 60


def test_no_splats_draw_the_background(device: wgpu.GPUDevice) -> None:
    image = Renderer(device).render([RawLayer(Splats.empty(3))], CAMERA, RenderOptions(background=(0.1, 0.2, 0.3)))
    np.testing.assert_allclose(image[..., :3], np.broadcast_to([0.1, 0.2, 0.3], (120, 160, 3)), atol=1e-6)
    assert not image[..., 3].any()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_generated_splats_draw_as_the_reference_has_it(device: wgpu.GPUDevice, layout: str) -> None:
    scene, renderer = TWIN_SCENES["plain"](), Renderer(device)
    other = RawLayer(TWIN_SCENES["2,000 overlapping"]().splats)
    contract, outputs = outputs_of(scene.splats, layout)
    layers = [other, GeneratedLayer(contract, outputs), GeneratedLayer(contract, outputs, moved())]
    want = render_reference(layers, scene.camera, scene.options)
    assert psnr(renderer.render(layers, scene.camera, scene.options), want) >= 60


def moved() -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] *= 0.5
    matrix[:3, 3] = 0.7, -0.4, 0.2
    return matrix


def test_a_generator_without_rows_draws_nothing(device: wgpu.GPUDevice) -> None:
    scene, renderer = TWIN_SCENES["plain"](), Renderer(device)
    empty = GeneratedLayer(*outputs_of(scene.splats.take(slice(0)), "quats"))
    rest = RawLayer(scene.splats)
    want = renderer.render([rest], scene.camera)
    np.testing.assert_array_equal(renderer.render([empty, rest], scene.camera), want)
    assert not renderer.render([empty], scene.camera).any()


def test_rows_that_cannot_be_drawn_change_nothing_else(device: wgpu.GPUDevice) -> None:
    scene, renderer = TWIN_SCENES["plain"](), Renderer(device)
    contract, outputs = outputs_of(scene.splats, "sh")
    outputs = {name: array.copy() for name, array in outputs.items()}
    outputs["means"][::3] = np.nan
    outputs["quats"][1::3] = 0
    kept = RawLayer(scene.splats.take(slice(2, None, 3)))
    got = renderer.render([GeneratedLayer(contract, outputs)], scene.camera)
    assert psnr(got, render_reference([kept], scene.camera)) >= 60
