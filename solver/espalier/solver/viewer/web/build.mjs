// Bundles the pages: `node build.mjs OUT`, or their tests: `node build.mjs --test OUT`.
import { readdirSync } from "node:fs";
import { build } from "esbuild";

const test = process.argv[2] === "--test";
const outdir = process.argv[test ? 3 : 2];

const common = { bundle: true, outdir, jsx: "automatic", jsxImportSource: "preact", legalComments: "none", charset: "utf8" };

if (test) {
  const entryPoints = readdirSync("test").map((name) => `test/${name}`);
  await build({ ...common, entryPoints, platform: "node", format: "esm", outExtension: { ".js": ".mjs" } });
} else {
  await build({
    ...common,
    entryPoints: [{ in: "src/main.tsx", out: "app" }, { in: "src/style/app.css", out: "app" }],
    minify: true,
    format: "iife",
    target: ["chrome111", "firefox115", "safari16.4"],
    define: { "process.env.NODE_ENV": '"production"' },
  });
}
