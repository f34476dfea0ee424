// Lossless WebP pictures to their very bytes, by the browser's own decoder.

/** @typedef {import("./decode.js").DecodePicture} DecodePicture */
/** @typedef {import("./decode.js").Pixels} Pixels */

/** Width and height of a file that is one lossless WebP picture without alpha and nothing else; null for others. @param {Uint8Array} file */
export function pictureSize(file) {
  if (file.length < 25) return null;
  const view = new DataView(file.buffer, file.byteOffset), text = String.fromCharCode(...file.subarray(0, 16)), bits = view.getUint32(21, true);
  if (!text.startsWith("RIFF") || text.slice(8) !== "WEBPVP8L" || file[20] !== 0x2f) return null;
  const picture = view.getUint32(16, true);
  // Chunks have an even number of bytes; 14 bits of width - 1, 14 of height - 1, alpha, 3 of the version.
  if (view.getUint32(4, true) + 8 !== file.length || 20 + picture + (picture % 2) !== file.length || bits >>> 28) return null;
  return [(bits & 0x3fff) + 1, ((bits >>> 14) & 0x3fff) + 1];
}

/** The ways to a picture's bytes, best first. @type {DecodePicture} */
export async function decodePicture(file, width, height, attempt) {
  const ways = typeof ImageDecoder === "undefined" ? [viaCanvas] : [viaDecoder, viaCanvas];
  if (attempt >= ways.length) return null;
  try {
    return await ways[attempt](file, width, height);
  } catch (error) {
    if (attempt + 1 < ways.length) return decodePicture(file, width, height, attempt + 1);
    throw error;
  }
}

/** WebCodecs: reads nothing back from a canvas. @param {Uint8Array<ArrayBuffer>} file @param {number} width @param {number} height @returns {Promise<Pixels>} */
async function viaDecoder(file, width, height) {
  const decoder = new ImageDecoder({ data: file, type: "image/webp", colorSpaceConversion: "none" });
  try {
    const { image } = await decoder.decode();
    try {
      if (image.codedWidth !== width || image.codedHeight !== height || !/^(RGB|BGR)[AX]$/.test(image.format ?? "")) throw new Error(`${image.format} ${image.codedWidth} x ${image.codedHeight}`);
      const data = new Uint8Array(4 * width * height);
      await image.copyTo(data, { layout: [{ offset: 0, stride: 4 * width }] });
      return { data, swapped: image.format?.startsWith("B") ?? false };
    } finally {
      image.close();
    }
  } finally {
    decoder.close();
  }
}

/** @param {Uint8Array<ArrayBuffer>} file @param {number} width @param {number} height @returns {Promise<Pixels>} */
async function viaCanvas(file, width, height) {
  const image = await createImageBitmap(new Blob([file], { type: "image/webp" }), { premultiplyAlpha: "none", colorSpaceConversion: "none" });
  try {
    const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true, alpha: false });
    if (!context) throw new Error("no canvas");
    context.drawImage(image, 0, 0);
    return { data: context.getImageData(0, 0, width, height).data, swapped: false };
  } finally {
    image.close();
  }
}

export const WAYS = { viaDecoder, viaCanvas };
