"""Sequences: their formulas against plain ones, the words they are stored in, the layer, and the headless picture."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from splatlens.viewer.compare import psnr
from splatlens.viewer.contract import TimeSpan
from splatlens.viewer.errors import FormatError, LensError
from splatlens.viewer.fields import Field
from splatlens.viewer.render import RawLayer, Renderer, render_reference
from splatlens.viewer.sequence import SequenceInfo, SequenceLayer, SequenceSplats, model_time, storable
from splatlens.viewer.sequence_kernels import Gaussians4D, Spacetime, length_unit, lower_factor, slice4d
from tests.sequence_scenes import SPAN, gaussians4d, sequence, spacetime
from tests.twin_scenes import CAMERA, random_splats

MOTIONS = ("spacetime", "gaussian4d")
EYE = np.array([0.3, -0.2, -4.0])


def read(made: SequenceSplats, **changed: Any) -> SequenceSplats:
    layer = made.layer("moving")
    return SequenceSplats.read(Field({**layer.properties, **changed}, "a.lens", "properties"), layer.blobs.__getitem__)


@pytest.mark.parametrize("motion", MOTIONS)
def test_the_layer_gives_the_same_words_back(motion: str) -> None:
    made = sequence(motion)
    again = read(made)
    assert again.info == made.info
    assert [part.tobytes() for part in again.parts] == [part.tobytes() for part in made.parts]


def test_words_keep_spacetime_gaussians_to_half_precision() -> None:
    given, made = spacetime(), sequence("spacetime")
    got = made.motion(0)
    assert isinstance(got, Spacetime)
    for name in ("means", "times", "widths"):
        np.testing.assert_array_equal(getattr(got, name), getattr(given, name).astype(np.float32))
    for name in ("motions", "quats", "omegas", "scales", "opacities", "colors"):
        np.testing.assert_allclose(getattr(got, name), getattr(given, name), rtol=2**-11, atol=1e-7)


@pytest.mark.parametrize(("coefficients", "terms"), [(1, 1), (4, 1), (9, 1), (16, 1), (16, 2), (16, 3)])
def test_words_keep_4d_gaussians(coefficients: int, terms: int) -> None:
    given = gaussians4d(300, 5, coefficients, terms)
    made = SequenceSplats.of(given, SPAN)
    assert made.parts[0].shape == (made.info.words, 300)
    got = made.motion(0)
    assert isinstance(got, Gaussians4D)
    np.testing.assert_allclose(got.factors, given.factors, rtol=2**-11, atol=1e-7)
    np.testing.assert_allclose(got.velocities, given.velocities, rtol=2**-11, atol=1e-7)
    flat, back = given.sh.reshape(300, -1, 3), got.sh.reshape(300, -1, 3)
    np.testing.assert_allclose(back[:, 0], flat[:, 0], rtol=2**-11, atol=1e-7)
    step = np.abs(flat[:, 1:]).max(axis=(1, 2), initial=0) / 127
    assert (np.abs(back[:, 1:] - flat[:, 1:]) <= 0.501 * step[:, None, None] * (1 + 2**-9)).all()


def test_small_and_large_scenes_have_their_own_unit() -> None:
    for size in (1e-6, 1.0, 1e6):
        given = spacetime(50)
        scaled = replace(given, **{name: size * getattr(given, name) for name in ("means", "motions", "scales")})
        got = SequenceSplats.of(scaled, SPAN).motion(0)
        np.testing.assert_allclose(got.lengths(), scaled.lengths(), rtol=2**-10, atol=1e-6 * size)
    assert length_unit(32768.0) == 1 and length_unit(32769.0) == 2 and length_unit(0.0) == 1


def test_slices_are_the_conditional_gaussians_of_the_4d_covariance() -> None:
    # Yang et al. 2024, equations 8 and 9, written out: S = R diag(s^2) R^T, then mean and covariance given the time.
    r = np.random.default_rng(3)
    n = 200
    scales = np.exp(r.normal(-2, 1, (n, 4)))
    left, right = (q / np.linalg.norm(q, axis=1, keepdims=True) for q in r.normal(size=(2, n, 4)))
    velocities, widths, factors = slice4d(scales, left, right)
    for i in range(n):
        a, b, c, d = left[i]
        p, q, x, y = right[i]
        m_l = np.array([[a, -b, -c, -d], [b, a, -d, c], [c, d, a, -b], [d, -c, b, a]])
        m_r = np.array([[p, q, x, y], [-q, p, -y, x], [-x, y, p, -q], [-y, -x, q, p]])
        rotation = np.flip(m_l @ m_r)
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(4), atol=1e-12)
        whole = rotation @ np.diag(scales[i] ** 2) @ rotation.T
        np.testing.assert_allclose(widths[i] ** 2, whole[3, 3], rtol=1e-9)
        np.testing.assert_allclose(velocities[i], whole[:3, 3] / whole[3, 3], rtol=1e-7, atol=1e-9)
        space = whole[:3, :3] - np.outer(whole[:3, 3], whole[:3, 3]) / whole[3, 3]
        np.testing.assert_allclose(factors[i] @ factors[i].T, space, rtol=1e-6, atol=1e-9 * np.trace(whole))
    _, wider, same = slice4d(scales, left, right, 0.25)
    np.testing.assert_allclose(wider**2, widths**2 + 0.25)
    np.testing.assert_array_equal(same, factors)


def test_fast_needles_keep_their_thin_axis() -> None:
    # As a difference of covariances it would be lost: 1e-8 beside 1e10 has no digit in float64.
    scales = np.array([[1e-4, 2e-4, 3e-4, 1e5]])
    half = np.pi / 8
    turn = np.array([[np.cos(half), np.sin(half), 0, 0]])
    velocities, widths, factors = slice4d(scales, turn, turn * [1, -1, 1, 1])
    np.testing.assert_allclose([*velocities[0], widths[0]], [0, 0, 1, 1e5 * np.sqrt(0.5)], atol=1e-9)
    np.testing.assert_allclose(np.linalg.svd(factors[0], compute_uv=False), [3e-4 * np.sqrt(2), 2e-4, 1e-4], rtol=1e-6)


def test_centres_follow_the_polynomial_and_opacities_the_bell() -> None:
    given, time = spacetime(40), 0.8
    means, opacities = given.centres(time)
    moment = given.at(time, EYE)
    for i in range(40):
        dt = time - given.times[i]
        want = given.means[i] + given.motions[i, 0] * dt + given.motions[i, 1] * dt**2 + given.motions[i, 2] * dt**3
        np.testing.assert_allclose(means[i], want, rtol=1e-12)
        bell = np.exp(-((dt / given.widths[i]) ** 2))
        np.testing.assert_allclose(opacities[i], given.opacities[i] * bell, rtol=1e-12)
    size = np.linalg.norm(moment.axes, axis=1)
    np.testing.assert_allclose(size, given.scales, rtol=1e-9)


def test_the_box_holds_every_visible_centre() -> None:
    for motion in MOTIONS:
        made = sequence(motion)
        low, high = np.array(made.info.bounds)
        inner = np.linspace(SPAN.start, SPAN.end, 400)
        for time in inner:
            means, opacities = made.motion(0).centres(float(time))
            seen = means[255 * opacities > 1]
            slack = 0.02 * (high - low)
            assert (seen >= low - slack).all() and (seen <= high + slack).all()


@pytest.mark.parametrize("motion", MOTIONS)
def test_pictures_match_the_reference_and_sort_with_stored_splats(motion: str) -> None:
    renderer = Renderer()
    for seconds in (0.0, 1.7, 3.9):
        transform = np.eye(4)
        transform[:3, 3] = 0.3, 0.1, 0.2
        layers = [RawLayer(random_splats(200, 4)), SequenceLayer(sequence(motion), seconds, transform)]
        got, want = renderer.render(layers, CAMERA), render_reference(layers, CAMERA)
        assert psnr(got[..., :3], want[..., :3]) > 60
        alone = render_reference(layers[:1], CAMERA)
        assert psnr(alone[..., :3], want[..., :3]) < 30  # the sequence is in it


def test_several_parts_draw_the_picture_of_one() -> None:
    renderer = Renderer()
    whole, parts = sequence("gaussian4d"), sequence("gaussian4d", part_bytes=300 * 4 * 48)
    assert len(parts.parts) == 3
    one, three = (renderer.render([SequenceLayer(s, 1.0)], CAMERA) for s in (whole, parts))
    np.testing.assert_array_equal(one, three)


def test_time_of_the_clock() -> None:
    looped, once = TimeSpan(10, 20, 4), TimeSpan(10, 20, 4, loop=False)
    assert [model_time(looped, s) for s in (0, 1, 4, 5, -1)] == [10, 12.5, 10, 12.5, 17.5]
    assert [model_time(once, s) for s in (0, 1, 4, 5, -1)] == [10, 12.5, 20, 20, 10]


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("motion", "magic", "expected one of spacetime, gaussian4d"),
        ("splats", 0, "expected an integer in 1..16777216"),
        ("splats", 601, "expected 40868 for 601 splats of 68 bytes"),
        ("unit", 0.3, "expected a power of two"),
        ("unit", None, "unit: expected a number"),
        ("sh_degree", 2, "expected sh_degree 0, one term and no cut with it"),
        ("terms", 99, "expected an integer in 1..8"),
        ("bounds", [[1, 0, 0], [0, 1, 1]], "expected a minimum and a maximum"),
        ("time", {"start": 1, "end": 1}, "expected start below end"),
        ("period", 0, "period: expected a number"),
        ("kernel", {}, "dilation: expected"),
    ],
)
def test_damaged_properties_are_named(field: str, value: Any, message: str) -> None:
    with pytest.raises(FormatError, match=message) as caught:
        read(sequence("spacetime"), **{field: value})
    assert str(caught.value).startswith("a.lens: ") and "\n" not in str(caught.value)


def test_a_blob_of_another_length_is_refused() -> None:
    made = sequence("spacetime")
    with pytest.raises(FormatError, match=r"blob splats.0: 40796 bytes, expected 40800 for 600 splats"):
        properties = Field(made.info.to_json(), "a.lens", "properties")
        SequenceSplats.read(properties, lambda name: made.parts[0].tobytes()[4:])


def test_rows_that_cannot_be_stored_are_told_apart() -> None:
    given = spacetime(6)
    means, colors, quats = given.means.copy(), given.colors.copy(), given.omegas.copy()
    means[1, 0], colors[2, 1], quats[3, 3] = np.nan, 1e5, np.inf
    found = storable(replace(given, means=means, colors=colors, omegas=quats))
    assert [list(np.flatnonzero(~rows)) for rows in found.values()] == [[1, 3], [2, 3]]


def test_splats_never_visible_are_an_error() -> None:
    given = spacetime(5)
    with pytest.raises(LensError, match=r"none of its 5 splats is visible between -0.5 and 1.5"):
        SequenceSplats.of(replace(given, times=np.full(5, 50.0), widths=np.full(5, 0.1)), SPAN)


def test_lower_factor() -> None:
    axes = np.random.default_rng(0).normal(size=(50, 3, 3))
    lower = lower_factor(axes)
    np.testing.assert_allclose(lower @ lower.transpose(0, 2, 1), axes @ axes.transpose(0, 2, 1), atol=1e-12)
    assert (np.triu(lower, 1) == 0).all() and (np.einsum("nii->ni", lower) >= 0).all()


def test_the_format_page_has_the_tables_of_the_code() -> None:
    text = (Path(__file__).resolve().parent.parent / "docs" / "format-sequence.md").read_text()
    for info in (sequence("spacetime").info, sequence("gaussian4d").info):
        for name in info.to_json():
            assert f"`{name}`" in text, name
    assert SequenceInfo.from_json(Field(sequence("gaussian4d").info.to_json(), "f", "p")).words == 48
