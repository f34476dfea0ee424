// Draws the triangles of every mesh node in use: which one each sample sees.

@group(0) @binding(0) var<uniform> frame: Frame;
@group(0) @binding(1) var<uniform> mesh_frame: MeshFrame;
@group(0) @binding(2) var<storage, read> mesh_layers: array<MeshLayer>;
@group(0) @binding(3) var<storage, read> mesh_blocks: array<MeshBlock>;
@group(0) @binding(4) var<storage, read> mesh_words: array<u32>;

struct MeshRasterVertex {
  @builtin(position) position: vec4f,
  @location(0) @interpolate(flat) number: u32,
}

@vertex
fn mesh_raster_vs(@builtin(vertex_index) vertex: u32) -> MeshRasterVertex {
  let block = mesh_blocks[vertex / MESH_CORNERS];
  let triangle = vertex % MESH_CORNERS / 3u;
  var out: MeshRasterVertex;
  out.number = vertex / MESH_CORNERS * MESH_BLOCK + triangle;
  out.position = vec4f(0.0, 0.0, -1.0, 1.0);  // outside, where the block has no such triangle
  if (triangle < block.count) {
    let layer = mesh_layers[block.layer];
    let t = layer.linear * mesh_vertex(block, layer, mesh_corner(block, 3u * block.first + vertex % MESH_CORNERS));
    let pixel = t.xy * frame.focal + t.z * frame.principal;
    let scaled = pixel / frame.viewport * vec2f(2.0, -2.0);
    // Depth near / z: what is nearer than the near plane, or behind, is clipped.
    out.position = vec4f(scaled + vec2f(-t.z, t.z), frame.near, t.z);
  }
  return out;
}

@fragment
fn mesh_raster_fs(in: MeshRasterVertex) -> @location(0) u32 {
  let block = mesh_blocks[in.number / MESH_BLOCK];
  let layer = mesh_layers[block.layer];
  if (layer.empty != MESH_NONE && block.width > 0u) {
    if (mesh_hole(mesh_hit(in.number, in.position.xy / f32(mesh_frame.side)), layer)) {
      discard;
    }
  }
  return in.number + 1u;
}
