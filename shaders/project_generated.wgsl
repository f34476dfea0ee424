// Projects the rows of a generator's outputs where the model left them: one workgroup 256 rows. Copying them into records
// first would cost 52 bytes a splat and a pass.

@group(0) @binding(0) var<uniform> frame: Frame;
@group(0) @binding(1) var<uniform> generated: Generated;
@group(0) @binding(2) var<storage, read> means: array<u32>;
@group(0) @binding(3) var<storage, read> shapes: array<u32>;
@group(0) @binding(4) var<storage, read> turns: array<u32>;
@group(0) @binding(5) var<storage, read> opacities: array<u32>;
@group(0) @binding(6) var<storage, read> colors: array<u32>;
// The rows that are drawn, and how many of them were left out in all frames so far.
@group(0) @binding(7) var<storage, read_write> generated_live: array<atomic<i32>>;
@group(0) @binding(8) var<storage, read_write> projected: array<Projected>;
@group(0) @binding(9) var<storage, read_write> keys: array<u32>;

var<private> unusable: bool;

// Element `at` of an array of float32 words, or of float16 two a word; notes what is not finite. By bits: a shader's
// arithmetic may assume that there are no NaN.
fn finite(word: u32, at: u32, half: u32) -> f32 {
  var bits = word;
  if (half == 1u) {
    let h = (word >> (16u * (at & 1u))) & 0xffffu;
    bits = select(bitcast<u32>(unpack2x16float(h).x), 0x7f800000u, (h & 0x7c00u) == 0x7c00u);
  }
  if ((bits & 0x7f800000u) == 0x7f800000u) {
    unusable = true;
    return 0.0;
  }
  return bitcast<f32>(bits);
}

fn mean_of(row: u32, k: u32) -> f32 {
  let at = generated.means_at.x + row * generated.means_at.y + k;
  return finite(means[at >> generated.means_at.z], at, generated.means_at.z);
}

fn shape_of(row: u32, k: u32) -> f32 {
  let at = generated.shapes_at.x + row * generated.shapes_at.y + k;
  return finite(shapes[at >> generated.shapes_at.z], at, generated.shapes_at.z);
}

fn turn_of(row: u32, k: u32) -> f32 {
  let at = generated.turns_at.x + row * generated.turns_at.y + k;
  return finite(turns[at >> generated.turns_at.z], at, generated.turns_at.z);
}

fn color_of(row: u32, k: u32) -> vec3f {
  let at = generated.colors_at.x + row * generated.colors_at.y + 3u * k;
  let half = generated.colors_at.z;
  return vec3f(
    finite(colors[at >> half], at, half),
    finite(colors[(at + 1u) >> half], at + 1u, half),
    finite(colors[(at + 2u) >> half], at + 2u, half));
}

// L of covariance = L L^T (Cholesky); what rounding made negative counts as flat.
fn factor(row: u32) -> mat3x3f {
  let a = sqrt(max(shape_of(row, 0u), 0.0));
  let over_a = select(0.0, 1.0 / a, a > 0.0);
  let b = shape_of(row, 1u) * over_a;
  let c = shape_of(row, 2u) * over_a;
  let d = sqrt(max(shape_of(row, 3u) - b * b, 0.0));
  let e = select(0.0, (shape_of(row, 4u) - b * c) / d, d > 0.0);
  let f = sqrt(max(shape_of(row, 5u) - c * c - e * e, 0.0));
  return mat3x3f(a, b, c, 0.0, d, e, 0.0, 0.0, f);
}

// R S of a quaternion of any length but zero.
fn turned(row: u32) -> mat3x3f {
  var q = vec4f(turn_of(row, 0u), turn_of(row, 1u), turn_of(row, 2u), turn_of(row, 3u));
  let largest = max(max(abs(q.x), abs(q.y)), max(abs(q.z), abs(q.w)));
  if (largest == 0.0) {
    unusable = true;
    return mat3x3f();
  }
  q = normalize(q / largest);
  let w = q.x;
  let v = q.yzw;
  return mat3x3f(
    shape_of(row, 0u) * vec3f(1.0 - 2.0 * (v.y * v.y + v.z * v.z), 2.0 * (v.x * v.y + w * v.z), 2.0 * (v.x * v.z - w * v.y)),
    shape_of(row, 1u) * vec3f(2.0 * (v.x * v.y - w * v.z), 1.0 - 2.0 * (v.x * v.x + v.z * v.z), 2.0 * (v.y * v.z + w * v.x)),
    shape_of(row, 2u) * vec3f(2.0 * (v.x * v.z + w * v.y), 2.0 * (v.y * v.z - w * v.x), 1.0 - 2.0 * (v.x * v.x + v.y * v.y)));
}

@compute @workgroup_size(GROUP)
fn project_generated(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let number = group_number(group, groups);
  let live = number < generated.groups;
  let row = number * GROUP + lane;
  var splat: Projected;
  var key = KEY_CULLED;
  if (live && row < generated.rows && i32(row) < atomicLoad(&generated_live[0])) {
    let relative = vec3f(mean_of(row, 0u), mean_of(row, 1u), mean_of(row, 2u)) + generated.offset;
    let t = generated.linear * relative;
    if (unusable || t.z > frame.near) {
      var axes: mat3x3f;
      if (generated.covariance == 1u) {
        axes = factor(row);
      } else {
        axes = turned(row);
      }
      let at = generated.opacities_at.x + row * generated.opacities_at.y;
      let opacity = finite(opacities[at >> generated.opacities_at.z], at, generated.opacities_at.z);
      var color = color_of(row, 0u);
      if (generated.sh_coefficients > 0u) {
        color = 0.5 + SH_C0 * color;
        let direction = normalize(relative);
        for (var k = 1u; k < generated.sh_coefficients; k++) {
          color += sh_weight(k, direction) * color_of(row, k);
        }
      }
      if (unusable) {
        atomicAdd(&generated_live[1], 1);
      } else {
        let layer = LayerView(generated.linear, generated.dilation, generated.antialias);
        key = project_splat(layer, t, generated.linear * axes, opacity, color, &splat);
      }
    }
  }
  emit(live, generated.first + min(number, generated.groups - 1u), lane, splat, key);
}
