// Draws the triangles of every mesh node in use: which one each sample sees.
//
// Rasterisers snap vertices to grids of their own, 1/16 to 1/256 pixel, so which samples they cover differs from adapter to adapter.
// Here they are given triangles that are a little too large, and each sample decides by the exact edges itself.

@group(0) @binding(0) var<uniform> frame: Frame;
@group(0) @binding(1) var<uniform> mesh_frame: MeshFrame;
@group(0) @binding(2) var<storage, read> mesh_layers: array<MeshLayer>;
@group(0) @binding(3) var<storage, read> mesh_blocks: array<MeshBlock>;
@group(0) @binding(4) var<storage, read> mesh_words: array<u32>;

// Pixels of the target that a triangle's edges are moved outward by: twice the coarsest grid of rasterisers.
const MARGIN: f32 = 0.125;
// Pixels of the target beyond which a vertex is not drawn as it is: rasterisers clip what is farther, and float32 is too coarse.
const REACH: f32 = 8192.0;

struct MeshRasterVertex {
  @builtin(position) position: vec4f,
  @location(0) @interpolate(flat) number: u32,
  // Normals of the planes through the eye and an edge each: their sides tell a triangle's inside.
  @location(1) @interpolate(flat) first: vec3f,
  @location(2) @interpolate(flat) second: vec3f,
  @location(3) @interpolate(flat) third: vec3f,
}

fn mesh_before(a: vec3f, b: vec3f) -> bool {
  return a.x < b.x || (a.x == b.x && (a.y < b.y || (a.y == b.y && a.z < b.z)));
}

// The plane through the eye and an edge. Both triangles of an edge compute it from the same end, to the same bits: a sample that
// one of them leaves out is the other's.
fn mesh_edge(linear: mat3x3f, a: vec3f, b: vec3f) -> vec3f {
  let turned = mesh_before(b, a);
  let start = select(a, b, turned);
  let along = select(b, a, turned) - start;
  let normal = cross(linear * start, linear * along);
  return select(normal, -normal, turned);
}

@vertex
fn mesh_raster_vs(@builtin(vertex_index) vertex: u32) -> MeshRasterVertex {
  let block = mesh_blocks[vertex / MESH_CORNERS];
  let triangle = vertex % MESH_CORNERS / 3u;
  let corner = vertex % 3u;
  var out: MeshRasterVertex;
  out.number = vertex / MESH_CORNERS * MESH_BLOCK + triangle;
  out.position = vec4f(0.0, 0.0, -1.0, 1.0);  // outside: no such triangle, or none in sight
  if (triangle >= block.count) {
    return out;
  }
  let layer = mesh_layers[block.layer];
  let half = 3u * (block.first + triangle);
  let a = mesh_vertex(block, layer, mesh_corner(block, half));
  let b = mesh_vertex(block, layer, mesh_corner(block, half + 1u));
  let c = mesh_vertex(block, layer, mesh_corner(block, half + 2u));
  // Columns: the corners in camera coordinates; then times z, in pixels of the target.
  let t = mat3x3f(layer.linear * a, layer.linear * b, layer.linear * c);
  let scale = f32(mesh_frame.side);
  let z = vec3f(t[0].z, t[1].z, t[2].z);
  let x = scale * (frame.focal.x * vec3f(t[0].x, t[1].x, t[2].x) + frame.principal.x * z);
  let y = scale * (frame.focal.y * vec3f(t[0].y, t[1].y, t[2].y) + frame.principal.y * z);
  let size = scale * frame.viewport + 1.0;
  if (all(z < vec3f(frame.near)) || all(x < -z) || all(x > size.x * z) || all(y < -z) || all(y > size.y * z)) {
    return out;
  }
  out.first = mesh_edge(layer.linear, a, b);
  out.second = mesh_edge(layer.linear, b, c);
  out.third = mesh_edge(layer.linear, c, a);
  // Depth is near / z, which is linear over the picture: reversed, and what is nearer than the near plane is clipped.
  var pixel = vec2f(0.0);
  var depth = 0.0;
  if (all(z >= vec3f(frame.near)) && all(max(abs(x), abs(y)) < REACH * z)) {
    let p = mat3x2f(vec2f(x.x, y.x) / z.x, vec2f(x.y, y.y) / z.y, vec2f(x.z, y.z) / z.z);
    let depths = frame.near / z;
    // Away from the centre of the inscribed circle: all edges move by the same length.
    let sides = vec3f(distance(p[1], p[2]), distance(p[2], p[0]), distance(p[0], p[1]));
    let around = sides.x + sides.y + sides.z;
    let e1 = p[1] - p[0];
    let e2 = p[2] - p[0];
    let radius = abs(e1.x * e2.y - e1.y * e2.x) / around;
    // A triangle without an inside covers no sample.
    let growth = select(0.0, MARGIN / max(radius, 1e-4), around > 0.0);
    let shares = select(vec3f(1.0 / 3.0), sides / around, around > 0.0);
    pixel = p[corner] + growth * (p[corner] - p * shares);
    depth = depths[corner] + growth * (depths[corner] - dot(depths, shares));
  } else {
    // Across the near plane, or reaching far out: the whole picture, and the samples decide.
    pixel = (vec2f(f32(corner & 1u), f32(corner >> 1u)) * 2.0) * scale * frame.viewport;
    let ray = vec3f((pixel / scale - frame.principal) / frame.focal, 1.0);
    let normal = cross(layer.linear * (b - a), layer.linear * (c - a));
    depth = frame.near * dot(normal, ray) / dot(normal, t[0]);
  }
  out.position = vec4f(pixel / (scale * frame.viewport) * vec2f(2.0, -2.0) + vec2f(-1.0, 1.0), depth, 1.0);
  return out;
}

@fragment
fn mesh_raster_fs(in: MeshRasterVertex) -> @location(0) u32 {
  let pixel = in.position.xy / f32(mesh_frame.side);
  let ray = vec3f((pixel - frame.principal) / frame.focal, 1.0);
  let side = vec3f(dot(ray, in.first), dot(ray, in.second), dot(ray, in.third));
  if (!all(side >= vec3f(0.0)) && !all(side <= vec3f(0.0))) {
    discard;
  }
  let block = mesh_blocks[in.number / MESH_BLOCK];
  let layer = mesh_layers[block.layer];
  if (layer.empty != MESH_NONE && block.width > 0u && mesh_hole(mesh_hit(in.number, pixel), layer)) {
    discard;
  }
  return in.number + 1u;
}
