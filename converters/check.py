"""The conformance test of an author's model: its contract, what it gives at times and controls, what it costs."""

from __future__ import annotations

import hashlib
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from splatlens.converters import webgpu_operators as webgpu
from splatlens.converters.check_network import NetworkCheck
from splatlens.converters.check_report import Report, moment_text
from splatlens.converters.generator import Prepared, prepare
from splatlens.converters.onnx_file import model_bytes, read_model
from splatlens.viewer.camera import Camera
from splatlens.viewer.errors import LensError
from splatlens.viewer.generated import Attributes, attributes, usable
from splatlens.viewer.generator import Model, Moment
from splatlens.viewer.generator_bounds import (
    LEAST_OPACITY,
    MOST_CONTROLS,
    moments,
    runs,
    sees_camera,
)
from splatlens.viewer.model_graph import static_rows

#: Runs that the cost is the median of.
TIMED_RUNS = 5
#: Largest stray beyond 0..1 that float16 rounding explains.
ROUNDING = 2e-3
#: Centres may leave the stated bounds by so much of their diagonal.
STRAY = 1e-3
#: Share of the rows that may be padding at all times before it is worth a word.
PADDING = 0.5
#: Most covariances looked at in a run: eigenvalues of 100,000 take 0.1 s.
MOST_COVARIANCES = 100_000


def check(path: Path, cameras: Sequence[Camera] = ()) -> Report:
    """Tests a model. cameras: of the author's, tried besides. Raises LensError where the file itself cannot be read."""
    report = Report(path)
    try:
        proto, _ = read_model(path)
    except FileNotFoundError:
        raise LensError(f"{path}: no such file; check the name") from None
    except OSError as error:
        raise LensError(f"{path}: cannot read: {error.strerror or error}") from error
    try:
        made = prepare(proto, str(path))
        model = Model(made.contract, model_bytes(made.model, str(path)), str(path))
    except LensError as error:
        report.add("error", "contract", str(error).removeprefix(f"{path}: "))
        return report
    for text in made.warnings:
        report.add("warning", "Visionary", f"{text}; write a contract (docs/generator.md)")
    _browser(report, made)
    contract = made.contract
    report.facts |= {"kind": contract.kind, "inputs": {k: one.meaning for k, one in contract.inputs.items()}}
    if contract.kind == "generator":
        _Generator(report, model, tuple(cameras)).run()
    else:
        NetworkCheck(report, model).run()
    return report


def _browser(report: Report, made: Prepared) -> None:
    """Operators and types that browsers lack, in the graph that is left when constants are folded."""
    name = str(report.path)
    left = _folded(model_bytes(made.model, name)) or made.model
    opsets = {o.domain: o.version for o in left.opset_import}
    nodes: dict[str, int] = {}
    flow, half = set(), False
    for node in left.graph.node:
        half |= any(a.HasField("t") and a.t.data_type == onnx.TensorProto.FLOAT16 for a in node.attribute)
        half |= any(a.name == "to" and a.i == onnx.TensorProto.FLOAT16 for a in node.attribute)
        if node.op_type in webgpu.CONTROL_FLOW:
            flow.add(node.op_type)
        elif node.op_type in webgpu.UNTRUSTED:
            report.add("warning", node.op_type, f"in browsers {webgpu.UNTRUSTED[node.op_type]}")
        elif webgpu.lacks(node.op_type, node.domain, opsets.get(node.domain, 1)):
            nodes[node.op_type] = nodes.get(node.op_type, 0) + 1
    for operator, count in sorted(nodes.items()):
        text = f"{count} node(s): onnxruntime-web {webgpu.VERSION} has no WebGPU kernel for opset {opsets.get('', 1)}"
        text += ", so each run copies to the CPU and back"
        report.add("warning", operator, f"{text}; express it by other operators")
    for operator in sorted(flow):
        report.add("warning", operator, "control flow makes browsers wait for the GPU in each run; export without it")
    tensors = [*made.graph.inputs.values(), *made.graph.outputs.values()]
    half |= any(t.type == "float16" for t in tensors)
    half |= any(t.data_type == onnx.TensorProto.FLOAT16 for t in left.graph.initializer)
    if half:
        text = "browsers need the feature shader-f16 for it, which some adapters lack (there it runs on the CPU)"
        report.add("warning", "float16", f"{text}; export as float32 to reach all")
    for key, tensor in made.graph.inputs.items():
        if tensor.type == "int64":
            text = "is int64, which GPUs do not have: what is computed of it runs on the CPU in browsers"
            report.add("warning", f"input {key!r}", f"{text}; declare it float32 or int32")
    used = sorted({n.op_type for n in left.graph.node})
    report.facts |= {"opset": opsets.get("", 1), "operators": used, "bytes": len(model_bytes(made.model, name))}


def _folded(model: bytes) -> onnx.ModelProto | None:
    """The model after onnxruntime's basic optimisations: constants folded, what is unused gone. None where it fails."""
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "folded.onnx"
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(file)
        try:
            onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
            return onnx.load(str(file))
        except Exception:  # onnxruntime's own classes; the graph as it is serves as well
            return None


def _timed(model: Model, tries: Sequence[tuple[Moment, Camera]]) -> float:
    """Median seconds of a run, warm."""
    taken = []
    for k in range(TIMED_RUNS + 1):
        moment, camera = tries[k % len(tries)]
        model.forget()
        start = time.perf_counter()
        model.run(moment, camera)
        taken.append(time.perf_counter() - start)
    return statistics.median(taken[1:])


@dataclass
class _Generator:
    report: Report
    model: Model
    cameras: tuple[Camera, ...]
    low: NDArray[np.float64] = field(default_factory=lambda: np.full(3, np.inf))
    high: NDArray[np.float64] = field(default_factory=lambda: np.full(3, -np.inf))
    live: int = 0
    rows: int = 0
    #: Digests of what came of moments and cameras.
    seen: dict[str, bytes] = field(default_factory=dict)

    def run(self) -> None:
        """All runs, then what only all of them together show."""
        contract = self.model.contract
        tries = self._tries()
        done = 0
        for moment, camera in tries:
            try:
                outputs = self.model.run(moment, camera)
            except LensError as error:
                text = str(error).removeprefix(f"{self.model.name}: ")
                self.report.add("error", "run", f"{moment_text(contract, moment)}: {text}")
                return
            done += 1
            self.seen[_key(moment, camera)] = _digest(outputs)
            self._rows(moment_text(contract, moment), outputs)
        if self.live == 0:
            text = f"nothing in {done} runs could be drawn (rows {self.rows}); check count and opacities"
            self.report.add("error", "rows", text)
        self._bounds()
        self._effects(tries)
        row_bytes = self._row_bytes()
        static = static_rows(contract, self.model.graph)
        self.report.facts |= {
            "capacity": contract.capacity, "most_live_rows": self.live, "static_rows": static, "runs": done,
            "bytes_per_splat": row_bytes, "gpu_bytes": row_bytes * contract.capacity,
            "seconds_per_run": _timed(self.model, tries),
        }  # fmt: skip
        if not static:
            text = f"their number is dynamic, for which browsers copy {row_bytes} bytes a splat each run"
            self.report.add("warning", "rows", f"{text}; export with N = capacity, and `count` where fewer are drawn")
        elif self.live and self.live < PADDING * contract.capacity:
            text = f"never more than {self.live:,} of {contract.capacity:,} rows are drawn, all of which take memory"
            self.report.add("warning", "capacity", f"{text} ({row_bytes} bytes each); export fewer")

    def _tries(self) -> list[tuple[Moment, Camera]]:
        bounds = self.model.contract.bounds
        tries = list(runs(self.model, bounds))
        tries += [(tries[0][0], camera) for camera in self.cameras if sees_camera(self.model.contract)]
        return tries

    def _row_bytes(self) -> int:
        """Of all outputs that are drawn, a row."""
        names = {one.output for m, one in self.model.contract.outputs.items() if m not in ("count", "features")}
        size = 0
        for name in names:
            tensor = self.model.graph.outputs[name]
            size += int(np.prod([d or 0 for d in tensor.shape[1:]], dtype=int)) * np.dtype(tensor.type).itemsize
        return size

    def _rows(self, when: str, outputs: dict[str, NDArray[Any]]) -> None:
        contract, add = self.model.contract, self.report.add
        found = attributes(contract, outputs)
        n = len(found.means)
        self.rows = max(self.rows, n)
        if "count" in contract.outputs:
            count = int(outputs[contract.outputs["count"].output].reshape(-1)[0])
            if not 0 <= count <= n:
                add("error", "count", f"{when}: is {count}, and {n} rows came; give 0 to N")
        values = {m: getattr(found, m) for m in contract.outputs if m != "count"}
        for meaning, table in values.items():
            finite = np.isfinite(table[: found.rows]).all(axis=tuple(range(1, table.ndim)))
            bad = int(np.count_nonzero(~finite))
            if bad:
                text = f"{when}: {bad:,} of {found.rows:,} rows are NaN or infinite and are not drawn"
                add("error", meaning, f"{text}; look for divisions by zero, logarithms and exp of large numbers")
        if found.rows:
            self._ranges(when, found)
        keep = usable(found) & (np.arange(n) < found.rows) & (found.opacities > LEAST_OPACITY)
        self.live = max(self.live, int(keep.sum()))
        if keep.any():
            self.low = np.minimum(self.low, found.means[keep].min(axis=0))
            self.high = np.maximum(self.high, found.means[keep].max(axis=0))

    def _ranges(self, when: str, found: Attributes) -> None:
        """Values that mean something else than the author took them for."""
        add, rows = self.report.add, slice(0, found.rows)
        with np.errstate(invalid="ignore"):
            opacities = found.opacities[rows]
            outside = (opacities < -ROUNDING) | (opacities > 1 + ROUNDING)
            if outside.any():
                text = f"{when}: {_count(outside)} rows are outside of 0 to 1 ({_span(opacities)})"
                add("error", "opacities", f"{text}; give them after the sigmoid")
            if found.scales is not None and (negative := (found.scales[rows] < 0).any(axis=1)).any():
                text = f"{when}: {_count(negative)} rows are below 0 ({_span(found.scales[rows])})"
                add("error", "scales", f"{text}; give standard deviations, exp of the logarithms")
            if found.quats is not None and (zero := (found.quats[rows] == 0).all(axis=1)).any():
                text = f"{when}: {_count(zero)} rows are zero, which is no rotation, and are not drawn"
                add("error", "quats", f"{text}; give 1 0 0 0 where nothing turns")
            if found.colors is not None:
                strays = (found.colors[rows] < -0.1) | (found.colors[rows] > 1.1)
                if strays.mean() > 0.01:
                    text = f"{when}: {strays.mean():.0%} of them are outside of 0 to 1 ({_span(found.colors[rows])})"
                    add("warning", "colors", f"{text}; they are final colours, not SH coefficients")
        if found.covariances is not None:
            some = found.covariances[rows][:MOST_COVARIANCES]
            some = some[np.isfinite(some).all(axis=1)]
            xx, xy, xz, yy, yz, zz = some.T
            least = np.linalg.eigvalsh(np.stack([xx, xy, xz, xy, yy, yz, xz, yz, zz], axis=1).reshape(-1, 3, 3))
            negative = least[:, 0] < -1e-2 * np.maximum(least[:, 2], 1e-12)
            if negative.any():
                text = f"{when}: {_count(np.asarray(negative))} rows are no covariances (an eigenvalue is below 0)"
                add("error", "covariances", f"{text}; the order is xx xy xz yy yz zz")

    def _bounds(self) -> None:
        stated = self.model.contract.bounds
        if stated is None or self.live == 0:
            return
        low, high = np.array(stated)
        slack = STRAY * float(np.linalg.norm(high - low))
        if (self.low < low - slack).any() or (self.high > high + slack).any():
            reach = f"{_numbers(self.low)} to {_numbers(self.high)}"
            text = f"centres reach {reach}, the contract says {_numbers(low)} to {_numbers(high)}"
            self.report.add("error", "bounds", f"{text}; correct them, or leave them out to have them measured")

    def _effects(self, tries: list[tuple[Moment, Camera]]) -> None:
        """Controls and times that change nothing, and runs that differ although nothing changed."""
        contract, add = self.model.contract, self.report.add
        moment, camera = tries[0]
        self.model.forget()
        if self.seen.pop(_key(moment, camera)) != self._outcome(moment, camera):
            text = "two runs with equal inputs differ: pictures will flicker and captures not repeat"
            add("warning", "run", f"{text}; replace random operators by constants")
            return
        middle = moments(contract)[-1].seconds
        for control in contract.controls[:MOST_CONTROLS]:
            ends = [Moment(middle, {control.name: value}) for value in (control.minimum, control.maximum)]
            if len({self._outcome(end, camera) for end in ends}) == 1:
                text = f"changes nothing from {control.minimum:g} to {control.maximum:g}, all else at its default"
                add("warning", f"control {control.name!r}", f"{text}; leave it out, or connect it")
        if contract.time and any(one.meaning in ("time", "frame") for one in contract.inputs.values()):
            spread = [replace(moment, seconds=share * contract.time.duration) for share in (0.0, 0.25, 0.75)]
            if len({self._outcome(one, camera) for one in spread}) == 1:
                text = "changes nothing; leave the input out, so that the model does not run each frame"
                add("warning", "time", text)

    def _outcome(self, moment: Moment, camera: Camera) -> bytes:
        """What came of a run made before, or made now."""
        key = _key(moment, camera)
        if key not in self.seen:
            self.seen[key] = _digest(self.model.run(moment, camera))
        return self.seen[key]


def _key(moment: Moment, camera: Camera) -> str:
    return f"{moment} {camera.world_to_camera.tolist()} {camera.width} {camera.height}"


def _digest(outputs: dict[str, NDArray[Any]]) -> bytes:
    digest = hashlib.sha256()
    for name in sorted(outputs):
        digest.update(outputs[name].tobytes())
    return digest.digest()


def _count(rows: Any) -> str:
    return f"{int(np.count_nonzero(rows)):,} of {len(rows):,}"


def _span(values: NDArray[np.float64]) -> str:
    return f"{np.nanmin(values):.3g} to {np.nanmax(values):.3g}"


def _numbers(values: NDArray[np.float64]) -> str:
    return ",".join(f"{v:.4g}" for v in values)
