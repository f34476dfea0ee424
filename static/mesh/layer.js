// One mesh layer as the viewer holds it: which of its nodes are resident, where they lie, and what a frame draws of them.

/** @typedef {import("../lens.js").Layer} Layer */
/** @typedef {import("./assemble.js").MeshDraws} MeshDraws */
/** @typedef {import("./nodes.js").MeshFile} MeshFile */
/** @typedef {import("./decode.js").Packed} Packed */

/**
 * @param {Layer} layer @param {MeshFile} file @param {number} firstPage number of its page 0 among the pages of all layers
 */
export function createMeshLayer(layer, file, firstPage) {
  const { nodes, look, page: pageOf } = file, n = pageOf.length;
  const resident = new Uint8Array(n), at = new Uint32Array(n), vertices = new Uint32Array(n), triangles = new Uint32Array(n), size = new Uint32Array(2 * n);
  /** Nodes of each page, the page above it, and its words. */
  const members = Array.from({ length: file.pages }, () => /** @type {number[]} */ ([])), parents = new Int32Array(file.pages).fill(-1), words = new Float64Array(file.pages);
  for (let i = 0; i < n; i++) {
    members[pageOf[i]].push(i);
    words[pageOf[i]] += file.words[i];
    if (nodes.childCount[i]) parents[pageOf[nodes.childFirst[i]]] = pageOf[i];
  }
  /** The nodes of the last cut, and what a frame draws of them. @type {Int32Array} */
  let drawn = new Int32Array(0);
  /** @type {MeshDraws} */
  let draws = { transform: layer.transform, look, at: [], vertices: [], triangles: [], size: [] };

  return {
    layer, file, nodes, resident, firstPage,
    /** Words that all its pages take together. */
    get words() { return words.reduce((sum, w) => sum + w, 0); },
    /** @param {number} page */
    wordsOf: (page) => words[page],
    /** The page above a page, -1 for the root's. @param {number} page */
    above: (page) => parents[page],
    /** Page that holds the children of a node, or the root for -1. @param {number} node */
    pageBelow: (node) => node < 0 ? 0 : pageOf[nodes.childFirst[node]],
    get drawn() { return drawn; },
    get draws() { return draws; },
    /** Pages of the nodes of the last cut. */
    pages: () => new Set([...drawn].map((i) => pageOf[i])),

    /**
     * A page has come to lie at a word of the pool.
     * @param {number} page @param {Packed[]} packed of its nodes, ascending @param {number} word
     */
    place(page, packed, word) {
      members[page].forEach((i, k) => {
        const one = packed[k];
        [at[i], vertices[i], triangles[i], size[2 * i], size[2 * i + 1]] = [word, one.vertices, one.triangles, one.width, one.height];
        resident[i] = 1;
        word += one.words.length;
      });
    },

    /** @param {number} page that has left the pool */
    forget(page) {
      for (const i of members[page]) resident[i] = 0;
    },

    /** Takes the nodes of a cut, ascending. Whether they are others than before. @param {Int32Array} clusters */
    use(clusters) {
      if (clusters.length === drawn.length && clusters.every((i, k) => i === drawn[k])) return false;
      drawn = clusters;
      /** @param {Uint32Array} all */
      const some = (all) => Uint32Array.from(drawn, (i) => all[i]);
      draws = {
        transform: layer.transform, look, at: some(at), vertices: some(vertices), triangles: some(triangles),
        size: Uint32Array.from({ length: 2 * drawn.length }, (_, k) => size[2 * drawn[k >> 1] + (k & 1)]),
      };
      return true;
    },
  };
}

/** @typedef {ReturnType<typeof createMeshLayer>} MeshLayer */
