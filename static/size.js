// The size of an element in device pixels, told whenever it changes.

/**
 * @param {HTMLElement} element @param {number} most device pixels a CSS pixel, at most
 * @param {(width: number, height: number) => void} changed called before the browser paints, 0 x 0 where the element is hidden
 * @returns {() => void} ends it
 */
export function observeSize(element, most, changed) {
  const observer = new ResizeObserver((entries) => {
    const entry = entries[entries.length - 1], box = entry.devicePixelContentBoxSize?.[0];
    const ratio = Math.min(most, devicePixelRatio), { width, height } = entry.contentRect;
    // The browser's own count, where it is one of this ratio: rounding may be off by one, which blurs.
    if (box && Math.abs(box.inlineSize - width * ratio) < 1) changed(box.inlineSize, box.blockSize);
    else changed(Math.round(width * ratio), Math.round(height * ratio));
  });
  try {
    observer.observe(element, { box: "device-pixel-content-box" });
  } catch {
    observer.observe(element); // Safari has no device pixels here
  }
  return () => observer.disconnect();
}
