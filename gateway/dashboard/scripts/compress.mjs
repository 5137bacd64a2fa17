// After a build: writes each file's gzip and brotli forms beside it, and fails when the panel has
// grown over what it may weigh.

import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";

const dist = fileURLToPath(new URL("../dist/", import.meta.url));
/** In bytes, compressed by gzip. */
const LIMITS = { "the first load of the login": 150_000, "the whole panel": 550_000 };

const manifest = JSON.parse(readFileSync(path.join(dist, ".vite/manifest.json"), "utf8"));
// Of use here only.
rmSync(path.join(dist, ".vite"), { recursive: true });

const sizes = new Map();
for (const file of readdirSync(dist, { recursive: true, withFileTypes: true })) {
  const full = path.join(file.parentPath, file.name);
  if (!file.isFile() || /\.(gz|br)$/.test(file.name)) continue;
  const content = readFileSync(full);
  const gzip = gzipSync(content, { level: 9 });
  sizes.set(path.relative(dist, full), gzip.length);
  if (gzip.length >= content.length) continue;
  writeFileSync(`${full}.gz`, gzip);
  writeFileSync(
    `${full}.br`,
    brotliCompressSync(content, { params: { [constants.BROTLI_PARAM_SIZE_HINT]: content.length } }),
  );
}

/** What a file brings with it without being asked: what it imports at once, and styles. */
function brought(key, seen = new Set()) {
  if (seen.has(key)) return seen;
  seen.add(key);
  for (const next of manifest[key].imports ?? []) brought(next, seen);
  return seen;
}
const login = new Set(["index.html"]);
for (const entry of ["index.html", "src/screens/Login.vue", "src/i18n/en/index.ts"]) {
  for (const key of brought(entry)) {
    login.add(manifest[key].file);
    for (const css of manifest[key].css ?? []) login.add(css);
  }
}

const sum = (files) => [...files].reduce((total, file) => total + (sizes.get(file) ?? 0), 0);
const weights = { "the first load of the login": sum(login), "the whole panel": sum(sizes.keys()) };
for (const [what, weight] of Object.entries(weights)) {
  const limit = LIMITS[what];
  console.log(`${what}: ${(weight / 1000).toFixed(1)} kB gzip (limit ${limit / 1000})`);
  if (weight > limit) process.exitCode = 1;
}
if (process.exitCode === 1) console.error("the panel is heavier than it may be");
