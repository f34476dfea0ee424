"""Clusters of splats to the bytes of a page and to the words the GPU reads (docs/format.md, "Page payload").

INTERFACE IN PROGRESS (the scheme behind it is being measured; the signatures below are what to build on):

@dataclass(frozen=True)
class LayerCodec:                 # steps, SH degree and SH basis of one layer; lives in the layer's description in the file
    sh_degree: int
    def to_json(self) -> dict[str, Any]
    @staticmethod
    def from_json(data: dict[str, Any]) -> LayerCodec          # FormatError when anything is out of range
def fit_layer_codec(sample: Splats) -> LayerCodec

@dataclass(frozen=True)
class Block:                      # one RFC 1950 stream (made here: deflate block boundaries follow the planes) and its inflated length
    data: bytes
    decoded_length: int

def quantise_clusters(splats: Splats, first, count, coarse, codec: LayerCodec) -> Quantised
    # first, count: (C,) as in Tree; coarse: (C,) bool, True for inner clusters (coarser steps). Rows are reordered inside clusters.
    # Quantised.order: (N,) source row of each stored row.
def encode_geometry(quantised: Quantised, clusters: Sequence[int]) -> Block     # one page: clusters in file order, at most 16
def encode_sh(quantised: Quantised, clusters: Sequence[int]) -> Block           # the same clusters' SH; not for sh_degree 0

@dataclass(frozen=True)
class Geometry:                   # a decoded page
    words: uint32 (slots * SLOT_WORDS,)   # GPU words of the page's slots, one after another
    first_slot: int32 (n,)        # of each cluster inside words; a cluster of float32 centres takes two slots
    slots: int32 (n,)             # 1 or 2
    origins: float32 (n, 3)       # the draw passes `offset` = origin - camera, subtracted in float64, rounded to float32
    classes: uint8 (rows,)        # keep until SH is decoded: it depends on them
def decode_geometry(payload: bytes, counts: Sequence[int], codec: LayerCodec) -> Geometry     # payload: inflated; FormatError
def decode_sh(payload: bytes, counts, classes, codec) -> uint32 (n * 256 * SH_WORDS[degree],)    # one SH slot a cluster, FormatError
def dequantise(words, slot, count, origin, sh_words=None) -> Splats                            # NumPy twin of shaders/lib/decode.wgsl
# bound for the reader: max_payload_length(counts, sh_degree) -> (geometry bytes, sh bytes)

static/decode.js mirrors: decodeGeometry(payload: Uint8Array, counts: Uint16Array, codec) -> {words, firstSlot, slots, origins, classes};
decodeSh(payload, counts, classes, codec) -> Uint32Array. (codec = the JSON of the layer description.)
"""
