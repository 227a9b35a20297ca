/** A network namespace of the test's own, with the real kernel in it. */

import type { ChildProcess } from "node:child_process";
import { execFileSync, spawn, spawnSync } from "node:child_process";
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import { fileURLToPath } from "node:url";

export const root: string = fileURLToPath(new URL("../..", import.meta.url));
export const cli: string = path.join(root, "dist/src/cli/main.js");

function has(tool: string): boolean {
  return spawnSync("sh", ["-c", `command -v ${tool}`]).status === 0;
}

/** What the interop tests miss on this machine, or "" when they can run. The reason is printed, so that skips are seen. */
export function missing(...tools: string[]): string {
  const lacks: string[] = [];
  if (process.getuid?.() !== 0) lacks.push("root");
  if (!fs.existsSync("/dev/net/tun")) lacks.push("/dev/net/tun");
  for (const tool of ["ip", ...tools]) if (!has(tool)) lacks.push(tool);
  if (lacks.length === 0) {
    const probe = `skbprobe${process.pid}`;
    if (spawnSync("ip", ["netns", "add", probe]).status === 0) spawnSync("ip", ["netns", "del", probe]);
    else lacks.push("network namespaces (ip netns add failed)");
  }
  if (lacks.length > 0) process.stderr.write(`interop tests SKIP: this machine lacks ${lacks.join(", ")}\n`);
  return lacks.join(", ");
}

let count = 0;

export class Namespace {
  readonly name: string;
  readonly dir: string;
  readonly #children: ChildProcess[] = [];

  constructor() {
    this.name = `skb${process.pid}x${count++}`;
    this.dir = fs.mkdtempSync(path.join(os.tmpdir(), "skbuff-interop-"));
    execFileSync("ip", ["netns", "add", this.name]);
    this.run("ip", "link", "set", "lo", "up");
  }

  /** Runs a command inside and returns its output; throws with its stderr if it fails. */
  run(command: string, ...args: string[]): string {
    const r = spawnSync("ip", ["netns", "exec", this.name, command, ...args], {
      encoding: "utf8",
      maxBuffer: 1 << 28,
      timeout: 120_000,
    });
    if (r.status !== 0) throw new Error(`${command} ${args.join(" ")}: exit ${r.status} ${r.stderr}`);
    return r.stdout;
  }

  /** Does this command succeed? */
  try(command: string, ...args: string[]): boolean {
    return spawnSync("ip", ["netns", "exec", this.name, command, ...args]).status === 0;
  }

  /** Runs a command and resolves with its output. */
  runAsync(command: string, ...args: string[]): Promise<string> {
    return new Promise((resolve, reject) => {
      const child = spawn("ip", ["netns", "exec", this.name, command, ...args], { stdio: ["ignore", "pipe", "pipe"] });
      this.#children.push(child);
      let out = "";
      let err = "";
      child.stdout.on("data", (d: Buffer) => (out += d.toString()));
      child.stderr.on("data", (d: Buffer) => (err += d.toString()));
      child.on("error", reject);
      child.on("exit", (code) => {
        if (code === 0) resolve(out);
        else reject(new Error(`${command} ${args.join(" ")}: exit ${code} ${err}`));
      });
    });
  }

  /** Starts a program inside; resolves when its standard output matches `ready`. */
  start(ready: RegExp, command: string, ...args: string[]): Promise<ChildProcess> {
    return new Promise((resolve, reject) => {
      const child = spawn("ip", ["netns", "exec", this.name, command, ...args], {
        stdio: ["ignore", "pipe", "pipe"],
        cwd: this.dir,
      });
      this.#children.push(child);
      let text = "";
      const seen = (d: Buffer): void => {
        text += d.toString();
        if (ready.test(text)) resolve(child);
      };
      child.stdout.on("data", seen);
      child.stderr.on("data", seen);
      child.on("error", reject);
      child.on("exit", (code) => reject(new Error(`${command} ended with ${code}: ${text}`)));
    });
  }

  /** Ends a program and waits until it is gone. */
  async stop(child: ChildProcess): Promise<void> {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGTERM");
    const timer = setTimeout(() => child.kill("SIGKILL"), 3000);
    await gone;
    clearTimeout(timer);
  }

  async close(): Promise<void> {
    for (const child of this.#children) await this.stop(child);
    spawnSync("ip", ["netns", "del", this.name]);
    fs.rmSync(this.dir, { recursive: true, force: true });
  }
}

/** A file of `size` pseudo-random bytes and its SHA-256. */
export function makeFile(file: string, size: number): string {
  const fd = fs.openSync(file, "w");
  let x = 0x2545f491;
  const block = new Uint32Array(1 << 18);
  for (let at = 0; at < size; at += block.byteLength) {
    for (let i = 0; i < block.length; i++) {
      x ^= x << 13;
      x ^= x >>> 17;
      x ^= x << 5;
      block[i] = x;
    }
    fs.writeSync(fd, new Uint8Array(block.buffer, 0, Math.min(block.byteLength, size - at)));
  }
  fs.closeSync(fd);
  return sha256File(file);
}

export function sha256File(file: string): string {
  return execFileSync("sha256sum", [file], { encoding: "utf8" }).slice(0, 64);
}

/**
 * Reads a capture with every checksum validated. Returns the frames that are malformed or have a bad checksum, and the
 * expert warnings and errors, each as one line.
 */
export function tsharkProblems(capture: string): string[] {
  const checks = ["ip", "tcp", "udp"].flatMap((p) => ["-o", `${p}.check_checksum:TRUE`]);
  const filter =
    "_ws.malformed || ip.checksum.status == 0 || tcp.checksum.status == 0 || udp.checksum.status == 0 || " +
    "icmp.checksum.status == 0 || _ws.expert.severity >= 0x00600000";
  const r = spawnSync(
    "tshark",
    // What TCP carries are random bytes: no guesses about them.
    [
      "-n",
      "-r",
      capture,
      "-d",
      "tcp.port==1-65535,data",
      ...checks,
      "-Y",
      filter,
      "-T",
      "fields",
      "-e",
      "frame.number",
      "-e",
      "_ws.expert.message",
      "-e",
      "_ws.col.Info",
    ],
    { encoding: "utf8", maxBuffer: 1 << 28 },
  );
  if (r.status !== 0) throw new Error(`tshark: ${r.stderr}`);
  return r.stdout.split("\n").filter((line) => line !== "");
}
