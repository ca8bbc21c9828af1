// Bundles the pages: `node build.mjs OUT`, or their tests: `node build.mjs --test OUT`.
// Beside the bundle, `notices.txt` carries the licences of the packages that are in it.
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { build } from "esbuild";

const test = process.argv[2] === "--test";
const outdir = process.argv[test ? 3 : 2];

const common = { bundle: true, outdir, jsx: "automatic", jsxImportSource: "preact", legalComments: "none", charset: "utf8" };

if (test) {
  const entryPoints = readdirSync("test").map((name) => `test/${name}`);
  await build({ ...common, entryPoints, platform: "node", format: "esm", outExtension: { ".js": ".mjs" } });
} else {
  const { metafile } = await build({
    ...common,
    metafile: true,
    entryPoints: [{ in: "src/main.tsx", out: "app" }, { in: "src/style/app.css", out: "app" }],
    minify: true,
    format: "iife",
    target: ["chrome111", "firefox115", "safari16.4"],
    define: { "process.env.NODE_ENV": '"production"' },
  });
  writeFileSync(join(outdir, "notices.txt"), notices(Object.keys(metafile.inputs)));
}

/** Name, version and licence of every package that one of these files belongs to. */
function notices(files) {
  const packages = new Set(files.map((file) => /^.*node_modules\/(?:@[^/]+\/)?[^/]+/.exec(file)?.[0]).filter(Boolean));
  const parts = [...packages].sort().map((folder) => {
    const { name, version, license } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
    const file = readdirSync(folder).find((entry) => /^licen[cs]e/i.test(entry));
    if (!file) throw new Error(`${name} has no licence file: its notice has to be written by hand`);
    return `${name} ${version} (${license})\n\n${readFileSync(join(folder, file), "utf8").trim()}\n`;
  });
  return `The pages of Espalier contain the following packages.\n\n${parts.join(`\n${"-".repeat(80)}\n\n`)}`;
}
