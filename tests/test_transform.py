"""Transforms of splats: the same picture from a camera that moved along, by the float64 renderer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from splatlens.converters.transform import TURN_X, moved_camera, parse_transform, similarity, transformed, turn_sh
from splatlens.viewer.camera import Camera
from splatlens.viewer.compare import psnr
from splatlens.viewer.errors import LensError
from splatlens.viewer.frame import RenderOptions
from splatlens.viewer.reference import sh_basis
from splatlens.viewer.render import RawLayer, render_reference
from splatlens.viewer.splats import Splats, covariances
from tests.conformance import assert_same, random_splats

VIEW = Camera.look_at((0.5, -1.0, -9.0), (0, 0, 0), (0, -1, 0), 50, 160, 120)


@pytest.mark.parametrize(
    "text",
    [
        "rotate=20,-50,130",
        "rotate=90,0,0 scale=2.5 move=1,-2,3",
        "scale=0.01",
        "matrix=-1,0,0,0,0,1,0,0,0,0,1,0,0,0,0,1 rotate=10,20,30",
        "rotate=180,0,0",
    ],
)
def test_the_picture_stays(text: str) -> None:
    splats = random_splats(300, 3)
    splats.sh[:] *= 0.5
    matrix = parse_transform(text)
    scale, _ = similarity(matrix)
    options = RenderOptions()
    want = render_reference([RawLayer(splats)], VIEW, options)
    view = moved_camera(VIEW, matrix)
    if np.linalg.det(matrix[:3, :3]) < 0:  # a mirrored camera is no camera: the picture itself is mirrored
        flip = np.diag([-1.0, 1.0, 1.0, 1.0])
        view = replace(view, world_to_camera=flip @ view.world_to_camera, cx=VIEW.width - VIEW.cx)
        want = want[:, ::-1]
    got = render_reference([RawLayer(transformed(splats, matrix))], view, replace(options, near=options.near * scale))
    assert psnr(got[..., :3], want[..., :3]) > 85  # float32 means and quaternions; asked are 60


def test_sh_turn_with_the_directions() -> None:
    """f'(turn d) = f(d) at any direction, each degree, mirror images too."""
    rng = np.random.default_rng(3)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    directions = rng.normal(size=(50, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    for sign in (turn, -turn):
        for degree, k in enumerate((1, 4, 9, 16)):
            sh = random_splats(5, degree).sh
            turned = turn_sh(sh, sign)
            got = np.einsum("dk,nkc->ndc", sh_basis(directions @ sign.T, k), turned)
            np.testing.assert_allclose(got, np.einsum("dk,nkc->ndc", sh_basis(directions, k), sh), atol=2e-7)


def test_half_turns_are_exact_and_their_own_inverse() -> None:
    splats = random_splats(200, 3)
    once = transformed(splats, TURN_X)
    assert np.array_equal(once.means, splats.means * np.float32([1, -1, -1]))
    assert_same(transformed(once, TURN_X), splats, {})
    flip = np.diag([1.0, -1.0, -1.0])
    np.testing.assert_allclose(covariances(once), flip @ covariances(splats) @ flip, rtol=1e-5, atol=1e-12)


def test_covariances_follow() -> None:
    splats = random_splats(100, 0)
    matrix = parse_transform("rotate=33,44,55 scale=3 matrix=0,1,0,0,1,0,0,0,0,0,1,0,0,0,0,1")
    m = matrix[:3, :3]
    got, want = covariances(transformed(splats, matrix)), m @ covariances(splats) @ m.T
    np.testing.assert_allclose(got, want, atol=1e-5 * np.abs(want).max())


def test_words_apply_from_left_to_right() -> None:
    matrix = parse_transform("move=1,0,0; rotate=0,0,90 scale=2")
    assert np.array_equal(matrix @ (0, 0, 0, 1), (0, 2, 0, 1))
    assert np.array_equal(parse_transform("rotate=90,0,90") @ (0, 1, 0, 1), (0, 0, 1, 1))  # x first, then z
    assert np.array_equal(parse_transform("rotate=180,0,0"), TURN_X)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "says nothing"),
        ("turn=1,2,3", "'turn' with 3 numbers; expected move=x,y,z"),
        ("move=1,2", "'move' with 2 numbers"),
        ("move=a,b,c", "cannot read 'move=a,b,c'"),
        ("scale=0", "cannot be inverted"),
        ("scale=nan", "cannot be inverted"),
        ("matrix=1,0,0,0,0,1,0,0,0,0,1,0,0,0,0,2", "last row"),
    ],
)
def test_bad_text(text: str, why: str) -> None:
    with pytest.raises(LensError, match=why):
        parse_transform(text)


def test_uneven_scale_is_refused() -> None:
    with pytest.raises(LensError, match=r"write a \.lens, whose layers take any matrix"):
        transformed(random_splats(3, 0), np.diag([1.0, 1.0, 1.1, 1.0]))


def test_empty() -> None:
    assert len(transformed(Splats.empty(2), TURN_X)) == 0
