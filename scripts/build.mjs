// Builds skbuff:  assembly/ --asc--> build/skbuff.wasm --base64--> src/mm/skbuff.wasm.ts
//                 src/ + assembly/layout.ts --tsc--> dist/ --instrument.mjs, constants.mjs--> dist/
//
//   node scripts/build.mjs            what is missing or stale
//   node scripts/build.mjs --wasm     the WebAssembly module only
//   node scripts/build.mjs --debug    also build/skbuff.debug.wasm, with a source map
//   node scripts/build.mjs --force    everything
//
// Staleness is judged by content: build/*.stamp holds a hash of everything the output depends on.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, relative, sep } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { inlineConstants } from "./constants.mjs";
import { instrument, shouldInstrument } from "./instrument.mjs";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const require = createRequire(import.meta.url);
const at = (...parts) => join(root, ...parts);

/** All files below `dir` (relative to the root, "/" separated, sorted) whose name passes `accept`. */
function walk(dir, accept) {
  const out = [];
  const visit = (path) => {
    for (const entry of readdirSync(path, { withFileTypes: true })) {
      const full = join(path, entry.name);
      if (entry.isDirectory()) visit(full);
      else if (accept(entry.name)) out.push(relative(root, full).split(sep).join("/"));
    }
  };
  if (existsSync(at(dir))) visit(at(dir));
  return out.sort();
}

function hashOf(files, extra = "") {
  const hash = createHash("sha256").update(extra);
  for (const file of files) {
    hash.update(`\0${file}\0`);
    if (existsSync(at(file))) hash.update(readFileSync(at(file)));
  }
  return hash.digest("hex");
}

const versionOf = (name) => JSON.parse(readFileSync(at("node_modules", name, "package.json"), "utf8")).version;
const readIf = (file) => (existsSync(file) ? readFileSync(file, "utf8") : "");

/** Writes through a rename, so that a reader never sees half a file; leaves an identical file (and its mtime) alone. */
function writeIfChanged(file, text) {
  if (readIf(file) === text) return;
  mkdirSync(dirname(file), { recursive: true });
  const temporary = `${file}.${process.pid}.tmp`;
  writeFileSync(temporary, text);
  renameSync(temporary, file);
}

function run(what, script, args) {
  const done = spawnSync(process.execPath, [script, ...args], { cwd: root, stdio: "inherit" });
  if (done.status !== 0) throw new Error(`${what} failed`);
}

const WASM_TS = "src/mm/skbuff.wasm.ts";

/** Compiles assembly/ if it is newer than the module we have. Returns whether it did. */
export function buildWasm({ force = false, debug = false } = {}) {
  if (!existsSync(at("assembly/index.ts"))) return false;
  const sources = walk("assembly", (name) => name.endsWith(".ts"));
  const stamp = hashOf([...sources, "asconfig.json"], `asc ${versionOf("assemblyscript")} v1`);
  const stampFile = at("build/wasm.stamp");
  const target = debug ? "debug" : "release";
  const wasm = at(debug ? "build/skbuff.debug.wasm" : "build/skbuff.wasm");
  const fresh = !debug && readIf(stampFile) === stamp && existsSync(wasm) && existsSync(at(WASM_TS));
  if (fresh && !force) return false;
  mkdirSync(at("build"), { recursive: true });
  const temporary = `build/.${process.pid}`;
  const asc = at("node_modules/assemblyscript/bin/asc.js");
  const outputs = ["--outFile", `${temporary}.wasm`, "--textFile", `${temporary}.wat`];
  try {
    run("asc", asc, ["--config", "asconfig.json", "--target", target, ...(debug ? [] : outputs)]);
    if (debug) return true;
    renameSync(at(`${temporary}.wat`), at("build/skbuff.wat"));
    renameSync(at(`${temporary}.wasm`), wasm);
  } finally {
    rmSync(at(`${temporary}.wat`), { force: true });
    rmSync(at(`${temporary}.wasm`), { force: true });
  }
  const base64 = readFileSync(wasm).toString("base64");
  const lines = base64.match(/.{1,110}/g) ?? [];
  writeIfChanged(
    at(WASM_TS),
    `// Generated from assembly/ by scripts/build.mjs. ${statSync(wasm).size} bytes.\n` +
      `export const WASM_BASE64: string = [\n${lines.map((line) => `  "${line}",\n`).join("")}].join("");\n`,
  );
  writeFileSync(stampFile, stamp);
  return true;
}

/** Puts numbers in the place of imported constants, in every module below `dir`. */
function inlineAll(dir) {
  const files = new Map();
  for (const file of walk(relative(root, dir), (name) => name.endsWith(".js"))) {
    files.set(file, readFileSync(at(file), "utf8"));
  }
  for (const [file, code] of inlineConstants(files)) writeFileSync(at(file), code);
}

/** Compiles and instruments src/ if anything that dist/ depends on has changed. Returns whether it did. */
export function buildDist({ force = false, target = "dist", trace = true } = {}) {
  const sources = ["src", "bench"].flatMap((dir) => walk(dir, (name) => name.endsWith(".ts")));
  if (!sources.some((file) => !file.endsWith(".d.ts"))) return false;
  const others = [
    "assembly/layout.ts",
    "tsconfig.json",
    "tsconfig.build.json",
    "scripts/instrument.mjs",
    "scripts/constants.mjs",
  ];
  const stamp = hashOf([...sources, ...others, "scripts/build.mjs"], `tsc ${versionOf("typescript")}`);
  const stampFile = at(target, ".stamp");
  if (!force && readIf(stampFile) === stamp) return false;
  const out = `dist.${process.pid}`;
  rmSync(at(out), { recursive: true, force: true });
  try {
    const tsc = join(dirname(require.resolve("typescript/package.json")), "bin/tsc");
    run("tsc", tsc, ["-p", "tsconfig.build.json", "--outDir", out]);
    for (const file of walk(out, (name) => name.endsWith(".js"))) {
      const source = file.slice(out.length + 1).replace(/\.js$/, ".ts");
      if (!trace || !shouldInstrument(source)) continue;
      const code = readFileSync(at(file), "utf8");
      const done = instrument(code, source, { original: readFileSync(at(source), "utf8"), extension: ".js" });
      if (done) writeFileSync(at(file), done.code);
    }
    inlineAll(at(out));
    // The number types of AssemblyScript are not known to those who import our declarations.
    const layout = at(out, "assembly/layout.d.ts");
    if (existsSync(layout)) {
      const text = readFileSync(layout, "utf8");
      writeFileSync(layout, text.replace(/\b(?:[iu](?:8|16|32)|[iu]size|f64)\b/g, "number"));
    }
    if (existsSync(at("build/skbuff.wasm"))) copyFileSync(at("build/skbuff.wasm"), at(out, "skbuff.wasm"));
    writeFileSync(at(out, ".stamp"), stamp);
    const old = `dist.${process.pid}.old`;
    if (existsSync(at(target))) renameSync(at(target), at(old));
    try {
      renameSync(at(out), at(target));
    } catch {
      // Another build got there between the two renames; its output came from the same sources.
      cpSync(at(out), at(target), { recursive: true });
    }
    rmSync(at(old), { recursive: true, force: true });
  } finally {
    rmSync(at(out), { recursive: true, force: true });
  }
  return true;
}

export function build(options = {}) {
  const wasm = buildWasm(options);
  if (options.debug) buildWasm({ ...options, debug: false });
  const dist = options.wasm ? false : buildDist(options);
  if (wasm || dist)
    console.log(`skbuff: built ${[wasm && "build/skbuff.wasm", dist && "dist/"].filter(Boolean).join(", ")}`);
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const flags = new Set(process.argv.slice(2));
  try {
    build({ force: flags.has("--force"), debug: flags.has("--debug"), wasm: flags.has("--wasm") });
  } catch (error) {
    console.error(`skbuff: ${error.message}`);
    process.exit(1);
  }
}
