// Makes the page: its code with that of the packages that it uses, and their licences, in the folder that is given.

import { build } from "esbuild";
import { copyFile, mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";

const folder = process.argv[2] ?? "../bluesky_ext/view/page";

/** The folder of the package that a file belongs to. */
function packageOf(file) {
  return /^.*node_modules\/(?:@[^/]+\/)?[^/]+/.exec(file)?.[0];
}

async function licenceOf(place) {
  const { name, version, license } = JSON.parse(await readFile(`${place}/package.json`, "utf8"));
  const files = (await readdir(place)).filter((file) => /^(licen[cs]e|copying)/i.test(file));
  const texts = await Promise.all(files.map((file) => readFile(`${place}/${file}`, "utf8")));
  return [`${name} ${version}, ${license}`, ...texts].join("\n\n");
}

await rm(folder, { recursive: true, force: true });
await mkdir(folder, { recursive: true });
const { metafile } = await build({
  entryPoints: ["src/main.tsx", "src/listener.ts"],
  outdir: folder,
  bundle: true,
  minify: true,
  format: "esm",
  splitting: true, // h5web is read when somebody browses
  chunkNames: "[name]-[hash]",
  target: "es2022",
  jsx: "automatic",
  define: { "process.env.NODE_ENV": '"production"' },
  alias: { ndarray: "./src/ndarray.ts", "ndarray-ops": "./src/ndarray.ts" },
  legalComments: "none", // the licences are whole in a file
  metafile: true,
  logLevel: "warning",
  logLimit: 0,
});
const places = [...new Set(Object.keys(metafile.inputs).map(packageOf).filter(Boolean))].sort();
await writeFile(`${folder}/licences.txt`, (await Promise.all(places.map(licenceOf))).join(`\n\n${"-".repeat(80)}\n\n`));
for (const file of ["page.html", "icon.svg"]) {
  await copyFile(`src/${file}`, `${folder}/${file}`);
}
