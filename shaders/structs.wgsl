// Every struct and constant that shaders, Python and JavaScript share. viewer/layout.py reads this file into layout.json;
// nothing else declares a struct. Grammar it accepts: `const NAME: u32 = 1u;`, `const NAME: f32 = 1.0;`, and structs of
// scalars, vectors, matrices and arrays of fixed length.

// Splats a workgroup projects, and the invocations of every compute stage.
const GROUP: u32 = 256u;
// Bits of a depth key that sorting looks at, and the key of a splat that is not drawn.
const KEY_BITS: u32 = 20u;
const KEY_CULLED: u32 = 0xffffffffu;
// A pass of the sort looks at SORT_BITS of the keys. An invocation takes a run of SORT_RUN keys, a workgroup a chunk of SORT_CHUNK runs.
const SORT_BITS: u32 = 4u;
const SORT_DIGITS: u32 = 16u;           // 1 << SORT_BITS
const SORT_RUN: u32 = 256u;             // GROUP
const SORT_CHUNK: u32 = 64u;
const SORT_CHUNK_COUNTS: u32 = 1024u;   // SORT_CHUNK * SORT_DIGITS
const SORT_SCAN_RUNS: u32 = 256u;       // runs a workgroup of sort_scan_runs covers, an invocation a (chunk, digit)
// Vertices that draw a splat.
const SPLAT_VERTICES: u32 = 3u;
// Triangles of a block of mesh_raster, and their corners. A triangle's number in mesh_ids is block * MESH_BLOCK + triangle + 1.
const MESH_BLOCK: u32 = 64u;
const MESH_CORNERS: u32 = 192u;         // 3 * MESH_BLOCK
const MESH_FEATURES: u32 = 8u;          // vec4f of channels that a pixel is shaded from
const MESH_GIVEN: u32 = 25u;            // vec4f that a network is given at most: channels, direction, sines
const MESH_UNITS: u32 = 16u;            // vec4f of units of a layer of a network at most
const MESH_NONE: u32 = 0xffffffffu;
// View depth of a pixel without a mesh.
const MESH_FAR: f32 = 3e38;
// The constant spherical harmonic, 1 / (2 sqrt(pi)).
const SH_C0: f32 = 0.28209479177387814;

// codec: a slot of the page pool and how its words are scaled (docs/format-payload.md, "GPU words").
const HEADER_WORDS: u32 = 8u;
const SLOT_WORDS: u32 = 1032u;          // HEADER_WORDS + 4 * GROUP
const SH_WORDS_1: u32 = 3u;             // words a splat by degree: int8 coefficients, the last 16 bits a bfloat16 step
const SH_WORDS_2: u32 = 7u;
const SH_WORDS_3: u32 = 12u;
const SCALE_STEPS: f32 = 16.0;          // steps a factor of two
const AXIS_UNITS: f32 = 447.0;          // sqrt(1/2) in units of the two quaternion components that turn the longest axis
const ROLL_UNITS: f32 = 191.0;          // sqrt(1/2) in units of the one that turns about it

// A splat of a slot. rel: centre - camera; quat: w x y z; dc: the constant SH coefficient.
struct ClusterSplat {
  rel: vec3f,
  opacity: f32,
  quat: vec4f,
  scales: vec3f,
  dc: vec3f,
}

// What one frame needs to know. Lengths in pixels unless said otherwise.
struct Frame {
  viewport: vec2f,      // width, height
  focal: vec2f,         // fx, fy
  principal: vec2f,     // cx, cy; pixel centres lie at +0.5
  near: f32,            // world units; splats whose centre is nearer are dropped
  alpha_cap: f32,       // alpha never exceeds it
  slope_min: vec2f,     // J is evaluated at x/z and y/z clamped to slope_min..slope_max
  slope_max: vec2f,
  key_base: u32,        // bit pattern of the float32 depth that gets key 0, the nearest
  key_shift: u32,       // depth bit patterns are shifted right by it, so that KEY_BITS are enough
  max_groups: u32,      // workgroups a dimension of a dispatch may have
  groups: u32,          // workgroups of 256 splats that project writes this frame
  background: vec4f,    // rgb 0..1; a is 1 when the target is to be opaque
}

// A layer as the camera sees it, and its kernel.
struct LayerView {
  linear: mat3x3f,      // of camera-from-layer: camera coordinates of a point relative to the camera centre
  dilation: f32,        // pixels^2 added to the diagonal of the 2D covariance (0.3 in 3DGS)
  antialias: u32,       // 1: opacity is scaled by sqrt(det / det dilated) (Mip-Splatting)
}

// One workgroup of project: a cluster of a pool, or up to 256 rows of a record buffer.
struct Draw {
  offset: vec3f,        // cluster: box minimum - camera; records: - camera; layer coordinates, computed in float64
  slot: u32,            // cluster: pool slot; records: first row
  layer: u32,           // index into the LayerViews
  sh_degree: u32,       // degree to evaluate: 0 while the cluster's SH has not arrived
  count: u32,           // splats, 1..256
  unused: u32,
}

// The groups that one dispatch of project covers, and how its record buffer is laid out.
struct Span {
  first: u32,           // first group, an index into the Draws
  groups: u32,
  stride: u32,          // floats a record: 10 + 3 * SH coefficients
  sh_coefficients: u32, // 1, 4, 9 or 16
}

// A generator's layer as the camera sees it, and where its attributes lie: first element, elements a row, 1 for float16.
struct Generated {
  linear: mat3x3f,      // of camera-from-layer
  offset: vec3f,        // - camera, layer coordinates
  dilation: f32,        // as in LayerView
  antialias: u32,
  first: u32,           // first group
  groups: u32,
  rows: u32,            // rows that the outputs hold
  sh_coefficients: u32, // 1, 4, 9 or 16; 0: final colours
  covariance: u32,      // 1: shapes are covariances xx xy xz yy yz zz; 0: standard deviations, and turns quaternions w x y z
  means_at: vec3u,
  shapes_at: vec3u,
  turns_at: vec3u,
  opacities_at: vec3u,
  colors_at: vec3u,
}

// A part of a sequence at a time, its words a plane of `rows` each (docs/format-sequence.md).
struct Sequence {
  first: u32,           // first group
  groups: u32,
  rows: u32,
  sh_coefficients: u32, // of one term
  terms: u32,           // of the colours' Fourier series in time
  time: f32,            // in the model's units, as period is
  unit: f32,            // of stored lengths, layer units
  period: f32,
  cut: f32,             // temporal opacity at or below which a splat is not drawn
}

// One run of a post-processing network: the pixels that its tensors [1, 3, height, width] hold, and those taken of it.
struct ImageTile {
  size: vec2u,          // width, height of the tensors
  origin: vec2u,        // pixel of the picture that their first one is
  first: vec2u,         // pixels of the picture that are kept, from here
  end: vec2u,           // to here, not included
  half_input: u32,      // 1: the input is float16, 0: float32
  half_output: u32,
  input_words: u32,     // u32 that the input takes
  unused: u32,
}

// A splat on the screen.
struct Projected {
  center: vec2f,        // pixels
  major: vec2f,         // sigma along the major axis times its direction, pixels
  minor: f32,           // sigma along the minor axis, pixels
  depth: f32,           // view z, world units
  rg: u32,              // two float16: colour
  ba: u32,              // two float16: colour, opacity
}

// What the sort found.
struct SortInfo {
  count: u32,           // splats to draw
}

// Arguments of an indirect draw, as WebGPU lays them out.
struct DrawArgs {
  vertex_count: u32,
  instance_count: u32,
  first_vertex: u32,
  first_instance: u32,
}

// What the mesh passes of a frame need to know.
struct MeshFrame {
  side: u32,            // samples a pixel along x and along y: 1 or 2
}

// A mesh layer as the camera sees it, and what its surface carries (viewer/mesh.py, "Look").
struct MeshLayer {
  linear: mat3x3f,      // of camera-from-layer
  direction: mat3x3f,   // from layer coordinates to the method's
  eye: vec3f,           // camera centre, layer coordinates: nearest float32
  carried: u32,         // words of channels a texel or a vertex
  eye_rest: vec3f,      // what that lacks of the float64 centre
  empty: u32,           // channel whose byte 0 says that nothing is there, or MESH_NONE
  smoothed: u32,        // 1: texels are filtered linearly, 0: the nearest one counts
}

// Up to MESH_BLOCK triangles of a node, whose words lie in mesh_words (pack_surface in viewer/mesh.py).
struct MeshBlock {
  vertices: u32,        // word of the node's first vertex
  corners: u32,         // word of its first two corners
  texels: u32,          // word of its first texel
  width: u32,           // texels; 0: the vertices carry the channels
  height: u32,
  first: u32,           // triangle of the node that is the block's first
  count: u32,           // triangles
  layer: u32,           // index into the MeshLayers
}

// What a shading stage of a mesh layer needs to know; its numbers lie in mesh_params (viewer/mesh_params.py).
struct MeshShading {
  layer: u32,           // index into the MeshLayers
  channels: u32,
  light: u32,           // plain: 1 where it is lit from the eye
  lobes: u32,           // gaussians
  terms: u32,           // light field
  map_size: vec2u,      // light field: texels of the map of directions
  map_smoothed: u32,    // light field: 1 where the map is filtered linearly
  waves: u32,           // network: groups of four inputs that are sines
  depth: u32,           // network: its layers
  base: u32,            // network: first channel of the colour that is added, or MESH_NONE
  outputs: vec4u,       // network: units of each layer
  activations: vec4u,   // network: of each layer, 0 none, 1 relu, 2 sigmoid
}
