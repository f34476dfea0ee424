"""Plain numpy 3D Gaussian Splatting renderer: the reference every peer is compared with.

EWA projection as in the INRIA rasteriser (0.3 px low-pass, no opacity compensation, alpha < 1/255
skipped, global depth order, colours blended in the trained (sRGB-coded) space). Vectorised by tile.
Usage: render.py scenes.json DATA_DIR OUT_DIR [SCENE ...]          writes SCENE_POSE.png and .npy
       render.py --psnr a.png b.png
       render.py --pair original.ply converted.ply scenes.json SCENE   PSNR of the converted scene
"""

import json
import math
import sys
import time
from pathlib import Path

import numpy as np

C0 = 0.28209479177387814
TILE = 16


def read_ply(path):
    """Columns of a binary little-endian float PLY as {name: float32 array}."""
    with open(path, "rb") as f:
        names, n, inside = [], 0, False
        if f.readline().strip() != b"ply":
            raise ValueError(f"{path}: not a PLY file")
        while (line := f.readline().split()) != [b"end_header"]:
            if line[0] == b"element":
                inside = line[1] == b"vertex"
                if inside:
                    n = int(line[2])
            elif line[0] == b"property" and inside:
                if line[1] not in (b"float", b"float32"):
                    raise ValueError(f"{path}: only float properties are read here, got {line[1].decode()}")
                names.append(line[2].decode())
        a = np.frombuffer(f.read(n * len(names) * 4), "<f4").reshape(n, len(names))
    return {k: a[:, i] for i, k in enumerate(names)}


def load(path):
    """Scene as means, linear scales, quats (w,x,y,z), opacity 0..1, SH coefficients (n,k,3)."""
    p = read_ply(path)

    def st(*k):
        return np.stack([p[x] for x in k], 1).astype("f4")

    dc = st("f_dc_0", "f_dc_1", "f_dc_2")[:, None]
    rest = sum(k.startswith("f_rest_") for k in p)
    sh = (
        dc
        if not rest
        else np.concatenate(
            [dc, st(*(f"f_rest_{i}" for i in range(rest))).reshape(len(dc), 3, -1).transpose(0, 2, 1)], 1
        )
    )
    q = st("rot_0", "rot_1", "rot_2", "rot_3")
    return dict(
        means=st("x", "y", "z"),
        scales=np.exp(st("scale_0", "scale_1", "scale_2")),
        quats=q / np.linalg.norm(q, axis=1, keepdims=True),
        opacity=1 / (1 + np.exp(-p["opacity"].astype("f4"))),
        sh=sh,
    )


def sh_colour(c, d):
    """Colour of SH coefficients c (n,k,3), k in 1,4,9,16, seen along unit directions d (n,3)."""
    x, y, z = (d[:, i : i + 1] for i in range(3))
    r = C0 * c[:, 0]
    if c.shape[1] > 1:
        k = 0.4886025119029199
        r = r - k * y * c[:, 1] + k * z * c[:, 2] - k * x * c[:, 3]
    if c.shape[1] > 4:
        k = (1.0925484305920792, 0.31539156525252005, 0.5462742152960396)
        r = (
            r
            + k[0] * x * y * c[:, 4]
            - k[0] * y * z * c[:, 5]
            + k[1] * (2 * z * z - x * x - y * y) * c[:, 6]
            - k[0] * x * z * c[:, 7]
            + k[2] * (x * x - y * y) * c[:, 8]
        )
    if c.shape[1] > 9:
        k = (0.5900435899266435, 2.890611442640554, 0.4570457994644658, 0.3731763325901154, 1.445305721320277)
        xx, yy, zz = x * x, y * y, z * z
        r = (
            r
            - k[0] * y * (3 * xx - yy) * c[:, 9]
            + k[1] * x * y * z * c[:, 10]
            - k[2] * y * (4 * zz - xx - yy) * c[:, 11]
            + k[3] * z * (2 * zz - 3 * xx - 3 * yy) * c[:, 12]
            - k[2] * x * (4 * zz - xx - yy) * c[:, 13]
            + k[4] * z * (xx - yy) * c[:, 14]
            - k[0] * x * (xx - 3 * yy) * c[:, 15]
        )
    return np.maximum(r + 0.5, 0)


def look_at(eye, target, up):
    """World -> camera rotation, camera x right, y down, z forward."""
    f = np.subtract(target, eye).astype("f8")
    f /= np.linalg.norm(f)
    r = np.cross(f, up)
    r /= np.linalg.norm(r)
    return np.stack([r, np.cross(f, r), f])


def render(g, eye, target, up, fovy, width, height, bg=(0, 0, 0), near=0.05):
    """Image (h,w,3) float32 in the trained colour space."""
    V = look_at(eye, target, up).astype("f4")
    F = height / 2 / math.tan(math.radians(fovy) / 2)
    rel = g["means"] - np.asarray(eye, "f4")
    t = rel @ V.T
    keep = np.flatnonzero((t[:, 2] > near) & (g["opacity"] > 1 / 255))
    t, rel = t[keep], rel[keep]
    w, x, y, z = g["quats"][keep].T
    R = np.stack(
        [
            1 - 2 * (y * y + z * z),
            2 * (x * y - w * z),
            2 * (x * z + w * y),
            2 * (x * y + w * z),
            1 - 2 * (x * x + z * z),
            2 * (y * z - w * x),
            2 * (x * z - w * y),
            2 * (y * z + w * x),
            1 - 2 * (x * x + y * y),
        ],
        1,
    ).reshape(-1, 3, 3)
    tz = t[:, 2]
    lx, ly = 1.3 * width / 2 / F, 1.3 * height / 2 / F
    J = np.zeros((len(t), 2, 3), "f4")
    J[:, 0, 0] = J[:, 1, 1] = F / tz
    J[:, 0, 2] = -F * np.clip(t[:, 0] / tz, -lx, lx) / tz
    J[:, 1, 2] = -F * np.clip(t[:, 1] / tz, -ly, ly) / tz
    M = (J @ V) @ (R * g["scales"][keep][:, None, :])
    cov = M @ M.transpose(0, 2, 1)
    a, b, c = cov[:, 0, 0] + 0.3, cov[:, 0, 1], cov[:, 1, 1] + 0.3
    det = a * c - b * b
    op = g["opacity"][keep]
    u, v = F * t[:, 0] / tz + width / 2, F * t[:, 1] / tz + height / 2
    lim = 2 * np.log(255 * op)  # alpha >= 1/255 inside this Mahalanobis^2
    rx, ry = np.sqrt(lim * a), np.sqrt(lim * c)
    tw, th = -(-width // TILE), -(-height // TILE)
    x0, x1 = np.floor((u - rx) / TILE).clip(0, tw), np.ceil((u + rx) / TILE).clip(0, tw)
    y0, y1 = np.floor((v - ry) / TILE).clip(0, th), np.ceil((v + ry) / TILE).clip(0, th)
    order = np.argsort(tz, kind="stable")
    order = order[((x1 - x0) * (y1 - y0))[order] > 0]
    x0, x1, y0, y1 = (q[order].astype("i8") for q in (x0, x1, y0, y1))
    nx, cnt = x1 - x0, (x1 - x0) * (y1 - y0)
    idx = np.repeat(np.arange(len(order)), cnt)
    k = np.arange(len(idx)) - np.repeat(np.cumsum(cnt) - cnt, cnt)
    tile = (y0[idx] + k // nx[idx]) * tw + x0[idx] + k % nx[idx]
    by = np.argsort(tile, kind="stable")
    tile, idx = tile[by], idx[by]
    edge = np.searchsorted(tile, np.arange(tw * th + 1))
    u, v, op = u[order], v[order], op[order]
    A, B, C = (c / det)[order], (-b / det)[order], (a / det)[order]
    d = rel[order]
    col = sh_colour(g["sh"][keep][order], d / np.linalg.norm(d, axis=1, keepdims=True)).astype("f4")
    img = np.empty((th * TILE, tw * TILE, 3), "f4")
    px = np.arange(TILE, dtype="f4") + 0.5
    for ti in range(tw * th):
        ty, tx = divmod(ti, tw)
        T = np.ones(TILE * TILE, "f4")
        acc = np.zeros((TILE * TILE, 3), "f4")
        for s in range(edge[ti], edge[ti + 1], 256):
            i = idx[s : min(s + 256, edge[ti + 1])]
            dx = tx * TILE + px[None] - u[i][:, None]
            dy = ty * TILE + px[None] - v[i][:, None]
            q = (
                (0.5 * C[i][:, None] * dy * dy)[:, :, None]
                + (0.5 * A[i][:, None] * dx * dx)[:, None, :]
                + (B[i][:, None] * dy)[:, :, None] * dx[:, None, :]
            )
            al = np.minimum(op[i][:, None] * np.exp(-q.reshape(len(i), -1)), 0.999)
            al[al < 1 / 255] = 0
            tr = np.cumprod(1 - al, axis=0)
            wgt = al * T
            wgt[1:] *= tr[:-1]
            acc += wgt.T @ col[i]
            T = T * tr[-1]
            if T.max() < 1e-4:
                break
        over = acc + T[:, None] * np.asarray(bg, "f4")
        img[ty * TILE : (ty + 1) * TILE, tx * TILE : (tx + 1) * TILE] = over.reshape(TILE, TILE, 3)
    return img[:height, :width]


def pose(cfg, scene, i):
    s = cfg["scenes"][scene]
    a = math.radians(s["a0"] + i * cfg["frames"]["step"])
    tgt = np.array(s["target"], float)
    return tgt + np.array([s["radius"] * math.sin(a), s["height"], s["radius"] * math.cos(a)]), tgt


def psnr(a, b):
    e = np.mean((np.asarray(a, "f8") - np.asarray(b, "f8")) ** 2)
    return 99.0 if e == 0 else -10 * math.log10(e)


def png(path):
    from PIL import Image

    return np.asarray(Image.open(path).convert("RGB"), "f4") / 255


def quant(img):
    return np.round(img.clip(0, 1) * 255) / 255


def main(argv):
    if argv[0] == "--psnr":
        print(round(psnr(png(argv[1]), png(argv[2])), 2))
        return
    if argv[0] == "--pair":
        cfg = json.loads(Path(argv[3]).read_text())
        out = []
        a, b = load(argv[1]), load(argv[2])
        for i in cfg["stills"]:
            e, t = pose(cfg, argv[4], i)
            im = [
                quant(render(g, e, t, cfg["up"], cfg["fovy"], 640, 360, cfg["background"], cfg["near"])) for g in (a, b)
            ]
            out.append(psnr(*im))
        print(" ".join(f"{x:.2f}" for x in out))
        return
    from PIL import Image

    cfg = json.loads(Path(argv[0]).read_text())
    data, out = Path(argv[1]), Path(argv[2])
    out.mkdir(parents=True, exist_ok=True)
    for name in argv[3:] or cfg["scenes"]:
        f = data / cfg["scenes"][name]["file"]
        g = load(f if f.exists() else out / cfg["scenes"][name]["file"])
        for i in cfg["stills"]:
            t0 = time.perf_counter()
            e, t = pose(cfg, name, i)
            im = render(g, e, t, cfg["up"], cfg["fovy"], 640, 360, cfg["background"], cfg["near"])
            Image.fromarray(np.uint8(np.round(im.clip(0, 1) * 255))).save(out / f"{name}_{i}.png")
            print(name, i, f"{time.perf_counter() - t0:.1f} s, max {im.max():.3f}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
