"""Operators that onnxruntime's WebGPU provider runs in browsers, and what `splatlens check` says of the others."""

from __future__ import annotations

#: Version of onnxruntime-web that the lists below are of.
VERSION = "1.30.0"

#: docs/webgpu-operators.md of the npm package: name and first opset that it is supported of; newer ones are too.
_DOCUMENTED = (
    "Abs:6 Acos:7 Acosh:9 Add:7 ArgMax:1 ArgMin:1 Asin:7 Asinh:9 Atan:7 Atanh:9 AveragePool:7 BatchNormalization:7 "
    "Cast:6 Ceil:6 Clip:6 Concat:1 Conv:1 ConvTranspose:1 Cos:7 Cosh:9 CumSum:11 DFT:17 DepthToSpace:11 "
    "DequantizeLinear:10 Div:7 Einsum:12 Elu:6 Equal:7 Erf:9 Exp:6 Expand:8 Flatten:1 Floor:6 Gather:1 "
    "GatherElements:11 GatherND:11 Gelu:20 Gemm:7 GlobalAveragePool:1 GlobalMaxPool:1 Greater:7 GreaterOrEqual:12 "
    "HardSigmoid:6 HardSwish:14 If:1 InstanceNormalization:6 LayerNormalization:1 LeakyRelu:6 Less:7 LessOrEqual:12 "
    "Log:6 MatMul:1 MaxPool:1 Mul:7 Neg:6 Not:1 Pad:2 Pow:7 Range:11 Reciprocal:6 ReduceL1:1 ReduceL2:1 "
    "ReduceLogSum:1 ReduceLogSumExp:1 ReduceMax:1 ReduceMean:1 ReduceMin:1 ReduceProd:1 ReduceSum:1 ReduceSumSquare:1 "
    "Relu:6 Reshape:5 Resize:10 ScatterND:11 Shape:1 Sigmoid:6 SimplifiedLayerNormalization:1 Sin:7 Sinh:9 Slice:1 "
    "Softmax:1 Split:1 Sqrt:6 Squeeze:1 Sub:7 Tan:7 Tanh:6 ThresholdedRelu:10 Tile:6 Transpose:1 Unsqueeze:1 Where:9 "
)
#: Not in that document, yet run there: those of 41 further operators for which Chromium made a session of one node with
#: `session.disable_cpu_ep_fallback`. Those for which it did not: Mean, Sum, Mod, Or, Xor, Sign, Round, Softsign, Selu,
#: Celu, LogSoftmax, Hardmax, IsNaN, IsInf, Det, NonZero, SpaceToDepth, OneHot, ConstantOfShape, Size, EyeLike, Dropout,
#: GroupNormalization, Upsample, BitShift, ReverseSequence, Unique, Compress, QuantizeLinear.
_MEASURED = (
    "And:7 GRU:7 Identity:1 LSTM:7 LpNormalization:1 Max:8 Min:8 Mish:18 PRelu:7 ScatterElements:11 Softplus:1 TopK:1 "
    "Trilu:14 "
)
#: No operator of the run.
_FREE = "Constant:1"
_ENTRIES = (entry.partition(":") for entry in f"{_DOCUMENTED}{_MEASURED}{_FREE}".split())
SUPPORTED: dict[str, int] = {name: int(opset) for name, _, opset in _ENTRIES}
#: Supported up to an opset: first and last.
_SPANS = {"GridSample": (16, 19)}
#: Of the domain com.microsoft.
_MICROSOFT = frozenset((
    "Attention", "BiasAdd", "BiasSplitGelu", "FastGelu", "FusedConv", "GatherBlockQuantized", "Gelu",
    "GroupQueryAttention", "MatMulNBits", "MultiHeadAttention", "QuickGelu", "RotaryEmbedding",
    "SkipLayerNormalization", "SkipSimplifiedLayerNormalization",
))  # fmt: skip
CONTROL_FLOW = ("If", "Loop", "Scan")
#: Supported, but.
UNTRUSTED = {"GridSample": "its kernel there is not to be trusted; use Gather and products of linear weights"}


def lacks(operator: str, domain: str, opset: int) -> bool:
    """Whether the provider leaves a node to the CPU: the model runs, at the cost of copies there and back each time."""
    if domain not in ("", "ai.onnx"):
        return domain != "com.microsoft" or operator not in _MICROSOFT
    if operator in _SPANS:
        first, last = _SPANS[operator]
        return not first <= opset <= last
    return operator not in SUPPORTED or opset < SUPPORTED[operator]
