// Triangles of mesh nodes: where a sample's ray meets one, and what the surface carries there.
// Needs the globals `frame`, `mesh_frame`, `mesh_layers`, `mesh_blocks` and `mesh_words`.

// weights: of the three corners. relative: the point seen, from the camera, in layer coordinates. normal: of the triangle's
// plane, layer coordinates, of any length.
struct MeshHit {
  block: MeshBlock,
  corners: vec3u,
  weights: vec3f,
  relative: vec3f,
  normal: vec3f,
}

// What a surface carries at a point: the sum of weights[k] times the words from at[k] on.
struct MeshTaps {
  at: vec4u,
  weights: vec4f,
}

fn mesh_corner(block: MeshBlock, half: u32) -> u32 {
  return (mesh_words[block.corners + (half >> 1u)] >> (16u * (half & 1u))) & 0xffffu;
}

// Words from one vertex to the next.
fn mesh_stride(block: MeshBlock, layer: MeshLayer) -> u32 {
  return select(3u + layer.carried, 5u, block.width > 0u);
}

// A vertex as seen from the camera, layer coordinates. The same for every node that has it: nodes meet without cracks.
fn mesh_vertex(block: MeshBlock, layer: MeshLayer, vertex: u32) -> vec3f {
  let at = block.vertices + vertex * mesh_stride(block, layer);
  let position = vec3f(bitcast<f32>(mesh_words[at]), bitcast<f32>(mesh_words[at + 1u]), bitcast<f32>(mesh_words[at + 2u]));
  return (position - layer.eye) - layer.eye_rest;
}

// Where the ray through `pixel` (pixels, centres at +0.5) meets the plane of a triangle (Moeller and Trumbore 1997), inside of it.
// Not from interpolated coordinates: rasterisers snap vertices to a grid of their own, and no two alike.
fn mesh_hit(number: u32, pixel: vec2f) -> MeshHit {
  var hit: MeshHit;
  hit.block = mesh_blocks[number / MESH_BLOCK];
  let layer = mesh_layers[hit.block.layer];
  let half = 3u * (hit.block.first + number % MESH_BLOCK);
  hit.corners = vec3u(mesh_corner(hit.block, half), mesh_corner(hit.block, half + 1u), mesh_corner(hit.block, half + 2u));
  let a = mesh_vertex(hit.block, layer, hit.corners.x);
  let b = mesh_vertex(hit.block, layer, hit.corners.y);
  let c = mesh_vertex(hit.block, layer, hit.corners.z);
  let ray = vec3f((pixel - frame.principal) / frame.focal, 1.0);
  let start = layer.linear * -a;
  let e1 = layer.linear * (b - a);
  let e2 = layer.linear * (c - a);
  let determinant = dot(ray, cross(e2, e1));
  let u = dot(ray, cross(e2, start)) / determinant;
  let v = dot(ray, cross(start, e1)) / determinant;
  // Rasterisers cover samples that lie outside by their grid's rounding; a triangle seen from its edge has no inside.
  let inside = clamp(vec3f(1.0 - u - v, u, v), vec3f(0.0), vec3f(1.0));
  let sum = inside.x + inside.y + inside.z;
  hit.weights = select(vec3f(1.0, 0.0, 0.0), inside / sum, sum > 0.0);
  hit.relative = hit.weights.x * a + hit.weights.y * b + hit.weights.z * c;
  hit.normal = cross(b - a, c - a);
  return hit;
}

// Texel coordinates of a point of a node with texels.
fn mesh_uv(hit: MeshHit) -> vec2f {
  var uv = vec2f(0.0);
  for (var k = 0u; k < 3u; k++) {
    let at = hit.block.vertices + hit.corners[k] * 5u + 3u;
    uv += hit.weights[k] * vec2f(bitcast<f32>(mesh_words[at]), bitcast<f32>(mesh_words[at + 1u]));
  }
  return uv;
}

// First word of a texel; the nearest one of the node's where there is none.
fn mesh_texel(block: MeshBlock, layer: MeshLayer, texel: vec2i) -> u32 {
  let inside = vec2u(clamp(texel, vec2i(0), vec2i(i32(block.width), i32(block.height)) - 1));
  return block.texels + (inside.y * block.width + inside.x) * layer.carried;
}

// Whether there is nothing at a texel.
fn mesh_empty(layer: MeshLayer, texel: u32) -> bool {
  return ((mesh_words[texel + layer.empty / 4u] >> (8u * (layer.empty % 4u))) & 0xffu) == 0u;
}

// Whether there is nothing at a point: the nearest texel decides.
fn mesh_hole(hit: MeshHit, layer: MeshLayer) -> bool {
  return layer.empty != MESH_NONE && hit.block.width > 0u
    && mesh_empty(layer, mesh_texel(hit.block, layer, vec2i(floor(mesh_uv(hit)))));
}
