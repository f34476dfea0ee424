"""Packs charts of any outline into an atlas: what is packed are the texels that are used, not their rectangles."""

from __future__ import annotations

import numpy as np

from splatlens.viewer.mesh_pieces import Ints

#: Charts placed, in all the widths that are tried; charts that are few.
TRIALS, FEW = 128, 16
#: What a row costs by which an atlas grows under a chart, in the chart's own rows: 2 fills 3% more than 1/2 or 4.
GROWTH = 2


def pack(left: list[Ints], size: tuple[Ints, Ints]) -> tuple[Ints, Ints, int, int]:
    """(x, y, width, height): where each of n charts goes in an atlas, and how large that is.

    left: a chart's columns: (2, w) first and last row that is used (the whole column from first to last is taken).
    size: (n,) widths and heights. The charts stand on each other's outlines: Levy et al. 2002, Least squares conformal
    maps for automatic texture atlas generation, section 4, with the chart chosen that wastes least, so that the two
    halves of quads close up.
    """
    used = sum(int((p[1] - p[0] + 1).sum()) for p in left)
    widest = int(size[0].max())
    common = int(np.median(size[0]))
    root = used**0.5
    # Few charts leave gaps at most widths, and are quickly tried at many.
    most = 1.1 if len(left) > FEW else 1.6
    tried = np.linspace(0.9 * root, max(most * root, widest), min(max(TRIALS // len(left), 4), 16))
    widths = {round(w) for w in tried} | {max(round(root / common), 1) * common}
    best = None
    for width in sorted({max(w, widest) for w in widths}):
        x, y = _place(left, size, width)
        wide = int((x + size[0]).max())
        high = int((y + size[1]).max())
        if best is None or wide * high < best[2] * best[3]:
            best = x, y, wide, high
    assert best is not None
    return best


def _place(left: list[Ints], size: tuple[Ints, Ints], width: int) -> tuple[Ints, Ints]:
    """Each chart's place: high ones first; of the next one of each kind of outline, that which wastes least."""
    kinds: dict[tuple[bool, bool], list[int]] = {}
    for i in np.lexsort((-size[0], -size[1])):
        first, last = left[i]
        slope = len(first) // 4
        kind = (bool(first[-1] - first[0] > slope), bool(last[-1] - last[0] > slope))
        kinds.setdefault(kind, []).append(int(i))
    queues = [list(reversed(queue)) for _, queue in sorted(kinds.items())]
    sky = np.zeros(width, np.int64)
    windows: dict[int, Ints] = {}
    x, y = np.zeros(len(left), np.int64), np.zeros(len(left), np.int64)
    for _ in left:
        best: tuple[float, float, int, int, int, int] | None = None
        for q, queue in enumerate(queues):
            if not queue:
                continue
            i = queue[-1]
            first, last = left[i]
            if len(first) not in windows:
                windows[len(first)] = np.arange(width - len(first) + 1)[:, None] + np.arange(len(first))
            gap = sky[windows[len(first)]] - first
            low = np.maximum(gap.max(axis=1), 0)
            # Rows of nothing left below the chart, and how far it sticks out over what is there.
            waste = low * len(first) - gap.sum(axis=1)
            top = low + int(last.max()) + 1
            score = waste + np.maximum(top - int(sky.max()), 0) * len(first) * GROWTH
            at = int(np.argmin(score + top * 1e-6))
            candidate = (float(score[at]), float(top[at]) - 1e-3 * int(size[1][i]), q, at, int(low[at]), i)
            if best is None or candidate < best:
                best = candidate
        assert best is not None
        _, _, q, at, low_at, i = best
        queues[q].pop()
        x[i], y[i] = at, low_at
        sky[at : at + len(left[i][1])] = low_at + left[i][1] + 1
    return x, y
