// Weight of SH coefficient k (1..15) along unit direction d, with the signs of 3DGS (Sloan 2008, appendix A2). Coefficient 0 is SH_C0.
fn sh_weight(k: u32, d: vec3f) -> f32 {
  let x = d.x;
  let y = d.y;
  let z = d.z;
  switch k {
    case 1u: { return -0.4886025119029199 * y; }
    case 2u: { return 0.4886025119029199 * z; }
    case 3u: { return -0.4886025119029199 * x; }
    case 4u: { return 1.0925484305920792 * x * y; }
    case 5u: { return -1.0925484305920792 * y * z; }
    case 6u: { return 0.31539156525252005 * (2.0 * z * z - x * x - y * y); }
    case 7u: { return -1.0925484305920792 * x * z; }
    case 8u: { return 0.5462742152960396 * (x * x - y * y); }
    case 9u: { return -0.5900435899266435 * y * (3.0 * x * x - y * y); }
    case 10u: { return 2.890611442640554 * x * y * z; }
    case 11u: { return -0.4570457994644658 * y * (4.0 * z * z - x * x - y * y); }
    case 12u: { return 0.3731763325901154 * z * (2.0 * z * z - 3.0 * x * x - 3.0 * y * y); }
    case 13u: { return -0.4570457994644658 * x * (4.0 * z * z - x * x - y * y); }
    case 14u: { return 1.445305721320277 * z * (x * x - y * y); }
    default: { return -0.5900435899266435 * x * (x * x - 3.0 * y * y); }
  }
}
