"""The figure's rig: bones and how they weigh, blendshapes as displacements, clips whose last pose is their first."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import figure
import numpy as np
from figure import BROWS, EYES, F64, MOUTH, Surface, on_face
from numpy.typing import NDArray

#: Frames a second of the clips' keys.
RATE = 24
#: Name: parent, and where the joint is at rest, metres. Rotations at rest are none.
BONES: dict[str, tuple[str, tuple[float, float, float]]] = {
    "hips": ("", (0, 0.360, 0)),
    "spine": ("hips", (0, 0.440, 0)),
    "chest": ("spine", (0, 0.520, 0)),
    "head": ("chest", (0, 0.610, 0.005)),
    "hat": ("head", (0, 0.880, -0.020)),
    "hat mid": ("hat", (0.004, 0.985, -0.050)),
    "hat tip": ("hat mid", (0.036, 1.075, -0.100)),
    "scarf": ("chest", (0.058, 0.570, 0.130)),
    "scarf tip": ("scarf", (0.066, 0.500, 0.190)),
}
for _side, _x in (("left", 1.0), ("right", -1.0)):
    BONES[f"arm {_side}"] = ("chest", (0.090 * _x, 0.560, 0))
    BONES[f"forearm {_side}"] = (f"arm {_side}", (0.178 * _x, 0.470, 0))
    BONES[f"hand {_side}"] = (f"forearm {_side}", (0.240 * _x, 0.396, 0.014))
    BONES[f"thigh {_side}"] = ("hips", (0.062 * _x, 0.340, 0))
    BONES[f"shin {_side}"] = (f"thigh {_side}", (0.068 * _x, 0.205, 0.004))
    BONES[f"foot {_side}"] = (f"shin {_side}", (0.072 * _x, 0.085, 0))
NAMES = tuple(BONES)
JOINTS = np.array([place for _, place in BONES.values()])
#: Which bones move a part, in the order in which they follow each other; * stands for the side.
CHAINS = {
    "head": ("head",), "nose": ("head",), "ears": ("head",), "hair": ("head",), "buttons": ("hips", "spine", "chest"),
    "brim": ("head",), "hat": ("head", "hat", "hat mid", "hat tip"), "bobble": ("hat tip",),
    "coat": ("hips", "spine", "chest"), "hem": ("hips",), "scarf": ("chest",), "scarf end": ("scarf", "scarf tip"),
    "sleeves": ("arm *", "forearm *", "hand *"), "cuffs": ("forearm *", "hand *"), "mittens": ("hand *",),
    "legs": ("thigh *", "shin *", "foot *"), "boots": ("shin *", "foot *"),
}  # fmt: skip
#: Half the length over which one bone of a chain gives way to the next, metres.
BLEND = 0.035


@dataclass(frozen=True)
class Clip:
    """Keys at `times` (F,): rotations of bones as vectors (F, 3), axis times angle; the hips' place (F, 3); weights."""

    name: str
    times: F64
    turns: dict[str, F64]
    hips: F64
    weights: dict[str, F64]


def skin(surface: Surface) -> tuple[NDArray[np.int64], F64]:
    """Joints (N, 4) and weights (N, 4)."""
    full = np.zeros((len(surface.positions), len(NAMES)))
    for tag in np.unique(surface.tags):
        for side, where in (("left", surface.positions[:, 0] >= 0), ("right", surface.positions[:, 0] < 0)):
            rows = np.flatnonzero((surface.tags == tag) & where)
            chain = [NAMES.index(b.replace("*", side)) for b in CHAINS.get(str(tag), ("head",))]
            p = surface.positions[rows]
            left = np.ones(len(p))
            for this, following in pairwise(chain):
                # Past the following joint, along the way that leads there: 0 to 1.
                way = JOINTS[following] - JOINTS[this]
                beyond = (p - JOINTS[following]) @ (way / np.linalg.norm(way))
                share = np.clip(0.5 + beyond / (2 * BLEND), 0, 1)
                share = share * share * (3 - 2 * share)
                full[rows, this] += left * (1 - share)
                left = left * share
            full[rows, chain[-1]] += left
    joints = np.argsort(-full, axis=1)[:, :4]
    weights = np.take_along_axis(full, joints, 1)
    return joints, weights / weights.sum(axis=1, keepdims=True)


def blendshapes(s: Surface) -> dict[str, F64]:
    """Displacements (N, 3) by name, after ARKit's where it has one."""
    p, shapes = s.positions, dict[str, F64]()
    skin_of_face = np.isin(s.tags, ("head", "nose")) & (p[:, 2] > 0)
    for number, side in enumerate(("left", "right")):
        cx, cy = EYES[number]
        eye, light, brow = (s.tags == f"{what} {side}" for what in ("eye", "light", "brow"))
        x = p[eye, 0] - cx
        shut = np.zeros_like(p)
        shut[eye] = _at(p[eye, 0] + 0.10 * x, cy - 0.010 + 14 * x**2 + 0.09 * (p[eye, 1] - cy), 0.004) - p[eye]
        shut[light, 2] = -0.030  # into the head
        shapes[f"eyeBlink{side.capitalize()}"] = shut
        bx = BROWS[number, 0]
        inner = np.clip(0.5 - (p[brow, 0] - bx) * np.sign(bx) / 0.054, 0, 1)
        up, down = np.zeros_like(p), np.zeros_like(p)
        up[brow] = _at(p[brow, 0], p[brow, 1] + 0.006 + 0.012 * inner, 0.0035) - p[brow]
        down[brow] = _at(p[brow, 0] - 0.004 * np.sign(bx), p[brow, 1] - 0.004 - 0.014 * inner, 0.0035) - p[brow]
        shapes["browInnerUp"] = shapes.get("browInnerUp", 0) + up
        shapes["browDown"] = shapes.get("browDown", 0) + down
        for name, dx, dy in (("eyeLookLeft", 0.013, 0), ("eyeLookRight", -0.013, 0), ("eyeLookUp", 0, 0.011)):
            look = np.zeros_like(p)
            for rows, lift in ((eye, 0.004), (light, 0.0075)):
                look[rows] = _at(p[rows, 0] + dx, p[rows, 1] + dy, lift) - p[rows]
            shapes[name] = shapes.get(name, 0) + look
    mouth = s.tags == "mouth"
    u, w = s.plane[mouth].T
    x0, y0 = MOUTH

    def lips(x: F64, y: F64) -> F64:
        d = np.zeros_like(p)
        d[mouth] = _at(x0 + x, y0 + y, 0.0045) - p[mouth]
        return d

    line, round_ = figure.mouth_line(u), np.clip(1 - u * u, 0, 1) ** 0.65
    chin = np.exp(-(((p[:, 1] - 0.610) / 0.020) ** 2) - (p[:, 0] / 0.070) ** 2) * skin_of_face
    cheeks = np.exp(-(((np.abs(p[:, 0]) - 0.098) / 0.040) ** 2) - ((p[:, 1] - 0.688) / 0.027) ** 2) * skin_of_face
    normal = s.normals
    shapes["mouthSmile"] = lips(0.046 * u, line + 0.015 * u * u - 0.003 - 0.011 * w * round_)
    shapes["mouthSmile"] += cheeks[:, None] * ([0, 0.007, 0] + 0.006 * normal)
    shapes["mouthFrown"] = lips(0.030 * u, 0.004 - 0.013 * u * u - 0.0022 * w)
    shapes["mouthFunnel"] = lips(0.0145 * u, (0.5 - w) * 0.030 * round_ + 0.001)
    shapes["jawOpen"] = lips(0.036 * u, 0.005 * round_ + line - 0.042 * w * round_) + chin[:, None] * [0, -0.008, 0]
    shapes["cheekPuff"] = cheeks[:, None] * normal * 0.018 + lips(0.022 * u, 0.3 * line - 0.0022 * w)
    clothes = np.isin(s.tags, ("coat", "sleeves", "scarf", "scarf end", "buttons"))
    chest = np.exp(-(((p[:, 1] - 0.500) / 0.060) ** 2)) * clothes
    shapes["breathe"] = chest[:, None] * np.stack([0.09 * p[:, 0], np.full(len(p), 0.004), 0.11 * p[:, 2]], axis=1)
    return shapes


def _at(x: F64, y: F64, lift: float) -> F64:
    return on_face(x, y, lift)[0]


def clips() -> list[Clip]:
    """Idle, wave, walk, nod and hop."""
    return [_idle(), _wave(), _walk(), _nod(), _hop()]


def _times(seconds: float) -> tuple[F64, F64]:
    """Keys and the share of the clip that has passed, 0 to 1."""
    u = np.linspace(0, 1, round(seconds * RATE) + 1)
    return u * seconds, u


def _turn(u: F64, x: F64 | float = 0.0, y: F64 | float = 0.0, z: F64 | float = 0.0) -> F64:
    return np.stack([np.broadcast_to(np.asarray(c, float), u.shape) for c in (x, y, z)], axis=1)


def _wave_of(u: F64, times: float, late: float = 0.0) -> F64:
    return np.sin(2 * np.pi * (times * u - late))


def _bump(u: F64, centre: float, width: float) -> F64:
    """0 to 1 and back, smoothly, around a share of the clip."""
    d = np.clip(np.abs(u - centre) / width, 0, 1)
    return (1 - d * d) ** 2


def _rise(u: F64, start: float, end: float) -> F64:
    """0 before `start`, 1 after `end`."""
    h = np.clip((u - start) / (end - start), 0, 1)
    return h * h * (3 - 2 * h)


def _hips(u: F64, y: F64 | float = 0.0, x: F64 | float = 0.0) -> F64:
    return np.array(BONES["hips"][1]) + _turn(u, x, y, 0)


def _swinging(u: F64, times: float, size: float) -> dict[str, F64]:
    """Hat and scarf, that follow late."""
    return {
        "hat": _turn(u, 0.3 * size * _wave_of(u, times, 0.10), 0, 0.5 * size * _wave_of(u, times / 2, 0.08)),
        "hat mid": _turn(u, 0.6 * size * _wave_of(u, times, 0.20), 0, 0.9 * size * _wave_of(u, times / 2, 0.14)),
        "hat tip": _turn(u, 0.9 * size * _wave_of(u, times, 0.30), 0, 1.3 * size * _wave_of(u, times / 2, 0.20)),
        "scarf": _turn(u, -0.5 * size * _wave_of(u, times, 0.15), 0, 0.3 * size * _wave_of(u, times / 2, 0.1)),
        "scarf tip": _turn(u, -0.8 * size * _wave_of(u, times, 0.28), 0, 0.4 * size * _wave_of(u, times / 2, 0.2)),
    }


def _blinks(u: F64, *at: float, width: float = 0.035) -> dict[str, F64]:
    shut = np.max([_bump(u, a, width) for a in at], axis=0)
    return {"eyeBlinkLeft": shut, "eyeBlinkRight": shut}


def _idle() -> Clip:
    t, u = _times(6)
    turns = _swinging(u, 2, 0.10) | {
        "spine": _turn(u, 0.015 * _wave_of(u, 2), 0, 0.025 * _wave_of(u, 1)),
        "head": _turn(u, 0.03 * _wave_of(u, 1, 0.2), 0.20 * _wave_of(u, 1, 0.05), 0.04 * _wave_of(u, 1, 0.4)),
        "arm left": _turn(u, 0, 0, 0.03 * _wave_of(u, 2)), "arm right": _turn(u, 0, 0, -0.03 * _wave_of(u, 2)),
    }  # fmt: skip
    weights = _blinks(u, 0.22, 0.63, 0.70) | {
        "breathe": 0.5 - 0.5 * np.cos(4 * np.pi * u), "mouthSmile": 0.30 * _bump(u, 0.45, 0.30),
        "eyeLookLeft": 0.6 * _bump(u, 0.28, 0.14), "eyeLookRight": 0.6 * _bump(u, 0.80, 0.14),
    }  # fmt: skip
    return Clip("idle", t, turns, _hips(u, 0, 0.004 * _wave_of(u, 1)), weights)


def _wave() -> Clip:
    t, u = _times(3)
    up = _rise(u, 0.03, 0.22) * (1 - _rise(u, 0.78, 0.97))
    sway = _wave_of(u, 5) * up
    turns = _swinging(u, 4, 0.22) | {
        "arm right": _turn(u, 0, 0, -1.45 * up), "forearm right": _turn(u, 0, 0.25 * up, -0.40 * up - 0.45 * sway),
        "hand right": _turn(u, 0, 0, -0.25 * sway), "arm left": _turn(u, 0, 0, 0.10 * up),
        "spine": _turn(u, 0, 0, 0.07 * up), "head": _turn(u, 0, -0.10 * up, -0.16 * up + 0.03 * sway),
    }  # fmt: skip
    weights = _blinks(u, 0.12, 0.90, width=0.06) | {
        "mouthSmile": 0.9 * up, "jawOpen": 0.45 * up, "browInnerUp": 0.8 * up,
        "breathe": 0.5 - 0.5 * np.cos(2 * np.pi * u),
    }  # fmt: skip
    return Clip("wave", t, turns, _hips(u, 0.006 * up * np.abs(sway)), weights)


def _walk() -> Clip:
    t, u = _times(1)
    turns = _swinging(u, 2, 0.30)
    for side, late, sign in (("left", 0.0, 1.0), ("right", 0.5, -1.0)):
        step = _wave_of(u, 1, late)
        turns[f"thigh {side}"] = _turn(u, -0.62 * step)
        turns[f"shin {side}"] = _turn(u, 0.85 * np.clip(_wave_of(u, 1, late - 0.25), 0, None) ** 1.5)
        turns[f"foot {side}"] = _turn(u, -0.30 * _wave_of(u, 1, late - 0.15))
        turns[f"arm {side}"] = _turn(u, 0.60 * step, 0, -0.42 * sign)
        turns[f"forearm {side}"] = _turn(u, -0.25 + 0.25 * step)
    turns["hips"] = _turn(u, 0, 0.10 * _wave_of(u, 1), 0.05 * _wave_of(u, 1, 0.25))
    turns["spine"] = _turn(u, 0.06, -0.10 * _wave_of(u, 1), -0.03 * _wave_of(u, 1, 0.25))
    turns["head"] = _turn(u, -0.04 + 0.03 * _wave_of(u, 2, 0.1), -0.03 * _wave_of(u, 1), 0.03 * _wave_of(u, 1, 0.3))
    bob = 0.014 * np.abs(np.cos(2 * np.pi * u)) - 0.010
    return Clip("walk", t, turns, _hips(u, bob, 0.008 * _wave_of(u, 1)), {"mouthSmile": np.full(len(u), 0.45)})


def _nod() -> Clip:
    t, u = _times(2)
    active = _bump(u, 0.5, 0.5)
    turns = _swinging(u, 2, 0.20) | {
        "head": _turn(u, 0.26 * active * (0.35 + _wave_of(u, 3))), "spine": _turn(u, 0.03 * active * _wave_of(u, 3)),
        "chest": _turn(u, 0.03 * active),
    }  # fmt: skip
    weights = _blinks(u, 0.5, width=0.30) | {"mouthSmile": 0.7 * active, "browInnerUp": 0.5 * active}
    return Clip("nod", t, turns, _hips(u), weights)


def _hop() -> Clip:
    t, u = _times(1.5)
    crouch = _bump(u, 0.20, 0.18) + 0.8 * _bump(u, 0.80, 0.16)
    air = _bump(u, 0.50, 0.24)
    turns = _swinging(u, 2, 0.45)
    for side, sign in (("left", 1.0), ("right", -1.0)):
        turns[f"thigh {side}"] = _turn(u, -0.80 * crouch - 0.25 * air, 0, 0.18 * sign * air)
        turns[f"shin {side}"] = _turn(u, 1.45 * crouch + 0.55 * air)
        turns[f"foot {side}"] = _turn(u, -0.65 * crouch + 0.35 * air)
        turns[f"arm {side}"] = _turn(u, 0.5 * crouch, 0, sign * (1.55 * air - 0.15 * crouch))
        turns[f"forearm {side}"] = _turn(u, -0.5 * crouch, 0, sign * 0.35 * air)
    turns["spine"] = _turn(u, 0.22 * crouch - 0.06 * air)
    turns["head"] = _turn(u, -0.12 * crouch - 0.10 * air)
    weights = {"mouthSmile": 0.9 * air, "jawOpen": 0.8 * air, "browInnerUp": air}
    weights |= _blinks(u, 0.80, width=0.12)
    return Clip("hop", t, turns, _hips(u, 0.17 * air - 0.055 * crouch), weights)
