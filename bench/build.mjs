// Bundles each peer's page script, minified, into build/. Usage: node build.mjs [peer ...]
import { build } from 'esbuild';
import path from 'node:path';

const here = import.meta.dirname ?? path.dirname(new URL(import.meta.url).pathname);
const all = ['splatlens', 'playcanvas', 'spark', 'gs3d', 'supersplat'];
for (const p of process.argv.slice(2).length ? process.argv.slice(2) : all) {
  const r = await build({
    stdin: { contents: `import { create } from './pages/${p}.js'; window.bench.start(create);`, resolveDir: here, loader: 'js' },
    bundle: true, format: 'esm', minify: true, treeShaking: true, target: 'chrome120', outfile: path.join(here, 'build', p + '.js'),
    nodePaths: [path.join(here, 'node_modules')], loader: { '.css': 'text' }, metafile: true, logLevel: 'error', legalComments: 'none',
  });
  console.log(p, Object.values(r.metafile.outputs)[0].bytes, 'bytes');
}
