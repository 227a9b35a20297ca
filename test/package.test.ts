/**
 * The package as its users get it: packed, installed into an empty project without a network, imported, run. And what
 * publint and "are the types wrong" say of it.
 */
import { type SpawnSyncReturns, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const npmCache = process.env["npm_config_cache"];
let dir = "";
let project = "";
let tarball = "";

function run(command: string, args: string[], cwd: string): SpawnSyncReturns<string> {
  const env: NodeJS.ProcessEnv = { ...process.env, NO_COLOR: "1" };
  // What `npm test` has set would send an npm that runs inside it back to this package.
  for (const name of Object.keys(env))
    if (/^npm_|^(?:NODE_OPTIONS|FORCE_COLOR|VITEST\w*|INIT_CWD)$/.test(name)) delete env[name];
  if (npmCache !== undefined) env["npm_config_cache"] = npmCache;
  env["PATH"] = `${join(root, "node_modules", ".bin")}${delimiter}${env["PATH"] ?? ""}`;
  return spawnSync(command, args, { cwd, env, encoding: "utf8" });
}

function script(name: string, text: string): SpawnSyncReturns<string> {
  writeFileSync(join(project, name), text);
  return run(process.execPath, [name], project);
}

beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), "skbuff-package-"));
  project = join(dir, "project");
  mkdirSync(project);
  const packed = run("npm", ["pack", "--json", "--pack-destination", dir], root);
  expect(packed.status, packed.stderr).toBe(0);
  tarball = join(dir, readdirSync(dir).find((name) => name.endsWith(".tgz")) ?? "");
  writeFileSync(join(project, "package.json"), '{ "name": "user", "private": true, "type": "module" }\n');
  const installed = run("npm", ["install", "--offline", "--no-audit", "--no-fund", tarball], project);
  expect(installed.status, installed.stderr).toBe(0);
}, 240_000);

afterAll(() => rmSync(dir, { recursive: true, force: true }));

describe("the package", () => {
  test("brings no other package with it", () => {
    expect(readdirSync(join(project, "node_modules")).filter((name) => !name.startsWith("."))).toEqual(["skbuff"]);
  });

  test("holds what it needs and nothing of the repository besides", () => {
    const at = join(project, "node_modules", "skbuff");
    const { exports, bin } = JSON.parse(readFileSync(join(at, "package.json"), "utf8")) as {
      exports: Record<string, string | Record<string, string>>;
      bin: Record<string, string>;
    };
    const named = [
      ...Object.values(exports).flatMap((one) => (typeof one === "string" ? [one] : Object.values(one))),
      ...Object.values(bin),
    ];
    for (const path of named) expect(() => readFileSync(join(at, path)), path).not.toThrow();
    const files = readdirSync(at, { recursive: true, encoding: "utf8" });
    expect(files.filter((name) => /(?:^|[\\/])(?:test|scripts|node_modules|\.stamp)(?:$|[\\/])/.test(name))).toEqual(
      [],
    );
    expect(files.filter((name) => name.endsWith(".ts") && !name.endsWith(".d.ts"))).toEqual([]);
  });

  test("every entry can be imported", () => {
    const { stdout, stderr } = script(
      "entries.mjs",
      `const main = await import("skbuff"), uapi = await import("skbuff/uapi");
       const bench = await import("skbuff/bench");
       const { passed } = bench.gate([{ name: "x", base: () => 1, head: () => 1 }], { warmup: 1 });
       console.log(typeof main.createKernel, uapi.ECONNREFUSED, uapi.errnoName(111), passed);`,
    );
    expect(stderr).toBe("");
    expect(stdout.trim()).toBe("function 111 ECONNREFUSED true");
  });

  test("moves a file from one host to another", () => {
    const { stdout, stderr } = script(
      "transfer.mjs",
      `import { createHash } from "node:crypto";
       import { createKernel } from "skbuff";
       const file = new Uint8Array(3_000_000);
       for (let i = 0; i < file.length; i++) file[i] = (i * 2654435761) >>> 13;
       const sha = (bytes) => createHash("sha256").update(bytes).digest("hex");
       const kernel = await createKernel();
       const a = kernel.netns("a"), b = kernel.netns("b");
       kernel.link(a, b, { subnet: "10.0.0.0/24" });
       const got = [];
       const done = new Promise((resolve, reject) => {
         b.net.createServer((s) => {
           s.on("data", (chunk) => got.push(Uint8Array.from(chunk)));
           s.on("end", () => { s.end(); resolve(); });
           s.on("error", reject);
         }).listen(7);
       });
       const s = a.net.connect(7, "10.0.0.2");
       s.on("error", (error) => { console.error(error); process.exit(1); });
       s.end(file);
       await done;
       console.log(sha(Buffer.concat(got)) === sha(file) ? "the same" : "not the same");
       process.exit(0);`,
    );
    expect(stderr).toBe("");
    expect(stdout.trim()).toBe("the same");
  });

  test("traces a send, with hooks that the build has put in", () => {
    const { stdout, stderr } = script(
      "trace.mjs",
      `import { createKernel } from "skbuff";
       const kernel = await createKernel();
       const a = kernel.netns("a"), b = kernel.netns("b");
       kernel.link(a, b, { subnet: "10.0.0.0/24" });
       b.net.createServer((s) => s.resume()).listen(7);
       const s = a.net.connect(7, "10.0.0.2", () => {
         kernel.trace.start({ skb: "next" });
         s.write("hello");
         console.log(kernel.trace.stop().functions().join(" "));
         process.exit(0);
       });`,
    );
    expect(stderr).toBe("");
    expect(stdout).toMatch(/tcp_sendmsg .*tcp_write_xmit .*ip_queue_xmit .*ip_output .*dev_queue_xmit/);
  });

  test("npx skbuff --help", () => {
    const help = run("npx", ["--offline", "skbuff", "--help"], project);
    expect(help.status, help.stderr).toBe(0);
    expect(help.stdout).toMatch(/^Usage: skbuff COMMAND[^]*\btrace\b/);
  });

  test("publint", () => {
    const lint = run("publint", ["run", tarball, "--strict"], project);
    expect(lint.status, lint.stdout + lint.stderr).toBe(0);
  });

  test("are the types wrong", () => {
    const types = run("attw", [tarball, "--profile", "esm-only", "--exclude-entrypoints", "./skbuff.wasm"], project);
    expect(types.status, types.stdout + types.stderr).toBe(0);
  });
});
