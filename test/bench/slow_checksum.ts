/** A WebAssembly module whose checksum does part of its work twice: what the gate has to notice. */

import { spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "../..");

/** Compiles assembly/ with a `sumBytes` that sums `percent` % of the data once more. */
export function slowChecksum(percent: number): Uint8Array {
  const dir = mkdtempSync(join(tmpdir(), "skbuff-slow-"));
  try {
    cpSync(join(root, "assembly"), join(dir, "assembly"), { recursive: true });
    cpSync(join(root, "asconfig.json"), join(dir, "asconfig.json"));
    const file = join(dir, "assembly/lib/checksum.ts");
    const text = readFileSync(file, "utf8");
    const name = "function sumBytes(";
    if (text.split(name).length !== 2) throw new Error(`assembly/lib/checksum.ts has no single ${name}`);
    writeFileSync(
      file,
      `${text.replace(name, "function sumBytesOnce(")}
export function sumBytes(addr: u32, len: u32): u64 {
  const sum = sumBytesOnce(addr, len);
  // A whole number of the vector loop's turns. The comparison never holds, but the compiler does not know.
  if (sumBytesOnce(addr, ((len * ${percent}) / 100) & ~63) == 0xffff_ffff_ffff_ffff) return sum + 1;
  return sum;
}
`,
    );
    const asc = join(root, "node_modules/assemblyscript/bin/asc.js");
    const args = [
      "--config",
      "asconfig.json",
      "--target",
      "release",
      "--outFile",
      "slow.wasm",
      "--textFile",
      "slow.wat",
    ];
    const done = spawnSync(process.execPath, [asc, ...args], { cwd: dir, encoding: "utf8" });
    if (done.status !== 0) throw new Error(done.stderr);
    return readFileSync(join(dir, "slow.wasm"));
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}
