/** `skbuff demo [FILE]`: the main job: a file goes from send() through a NIC and a wire into recv(), and is checked. */

import * as crypto from "node:crypto";
import * as fs from "node:fs";
import * as path from "node:path";
import { fileURLToPath } from "node:url";
import type { SkbuffKernel } from "../init/create.ts";
import { createKernel } from "../init/create.ts";
import type { Host } from "../init/host.ts";
import { SocketError } from "../net/socket_error.ts";
import { EAGAIN, EINPROGRESS } from "../uapi/errno.ts";
import { AF_INET, SHUT_WR, SOCK_NONBLOCK, SOCK_STREAM } from "../uapi/socket.ts";
import { formatBytes, parseOptions, parseSize, UsageError } from "./usage.ts";

const HELP = `Usage: skbuff demo [OPTIONS] [FILE]

Sends FILE (this package's README unless told) from host A to host B: through send(), TCP, IP, ARP, an
rtl819x NIC with a 1500-byte MTU, a wire, the other NIC, and recv(). Compares the SHA-256 of both sides.

  --driver NAME    rtl819x (default) or veth
  --pcap FILE      where the capture goes (default skbuff-demo.pcapng)
  --pcap-limit N   stop capturing after so many bytes (default 16M; 0 = no capture)
  --no-trace       do not print the call path of the first send()
  --json           print one JSON object instead
`;

const PORT = 7000;
const CHUNK = 256 * 1024;

/** A system call's result, or a SocketError that names it. */
function must(result: number, call: string): number {
  if (result < 0) throw new SocketError(call, result);
  return result;
}

/** Connects a to b and returns both ends' descriptors. */
async function connectPair(kernel: SkbuffKernel, a: Host, b: Host): Promise<[number, number]> {
  const listener = must(b.sys.socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), "socket");
  must(b.sys.bind(listener, { family: AF_INET, addr: 0, port: PORT }), "bind");
  must(b.sys.listen(listener, 1), "listen");
  const client = must(a.sys.socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), "socket");
  const err = a.sys.connect(client, { family: AF_INET, addr: b.primaryAddress(), port: PORT });
  if (err !== -EINPROGRESS) must(err, "connect");
  for (;;) {
    const fd = b.sys.accept4(listener, null, SOCK_NONBLOCK);
    if (fd >= 0) {
      b.sys.close(listener);
      return [client, fd];
    }
    if (fd !== -EAGAIN) must(fd, "accept");
    await idle(kernel);
  }
}

/** Nothing moved: runs what is due, or lets the clock get there. */
async function idle(kernel: SkbuffKernel): Promise<void> {
  const due = kernel.core.run();
  const wait = (due - kernel.now) / 1000;
  if (wait > 0) await new Promise((resolve) => setTimeout(resolve, Math.min(wait, 1000)));
}

class Progress {
  readonly #total: number;
  readonly #on: boolean;
  #shown = 0;
  constructor(total: number, on: boolean) {
    this.#total = total;
    this.#on = on && process.stderr.isTTY === true;
  }
  update(done: number, started: number): void {
    const now = performance.now();
    if (!this.#on || now - this.#shown < 100) return;
    this.#shown = now;
    const part = this.#total === 0 ? 1 : done / this.#total;
    const bar = "#".repeat(Math.round(part * 30)).padEnd(30, ".");
    const rate = (done * 8) / (now - started) / 1e6;
    process.stderr.write(`\r[${bar}] ${(part * 100).toFixed(1).padStart(5)}%  ${rate.toFixed(2)} Gbit/s `);
  }
  end(): void {
    if (this.#on) process.stderr.write(`\r${" ".repeat(64)}\r`);
  }
}

export interface DemoResult {
  file: string;
  bytes: number;
  seconds: number;
  /** Seconds of it spent hashing on both sides and reading the file, which are not the stack's. */
  hashSeconds: number;
  /** Of the stack: without the hashing. */
  gbitPerSecond: number;
  sha256Sent: string;
  sha256Received: string;
  equal: boolean;
  framesAtoB: number;
  framesBtoA: number;
  bytesOnWire: number;
  pcap: string | null;
  framesCaptured: number;
  trace: string | null;
}

export async function run(argv: string[]): Promise<number> {
  const parsed = parseOptions(
    argv,
    {
      driver: { type: "string" },
      pcap: { type: "string" },
      "pcap-limit": { type: "string" },
      "no-trace": { type: "boolean" },
      json: { type: "boolean" },
    },
    HELP,
  );
  if (parsed === null) return 0;
  const { values, positionals } = parsed;
  if (positionals.length > 1) throw new UsageError("one FILE at most");
  const driver = (values["driver"] as string | undefined) ?? "rtl819x";
  if (driver !== "rtl819x" && driver !== "veth")
    throw new UsageError(`--driver: "${driver}" is neither rtl819x nor veth`);
  const file = positionals[0] ?? fileURLToPath(new URL("../../../README.md", import.meta.url));
  if (!fs.existsSync(file) || !fs.statSync(file).isFile()) throw new UsageError(`${file}: no such file`);
  const limit = parseSize((values["pcap-limit"] as string | undefined) ?? "16M", "--pcap-limit");
  const pcap = limit === 0 ? null : ((values["pcap"] as string | undefined) ?? "skbuff-demo.pcapng");
  const json = values["json"] === true;
  const result = await sendFile(file, driver, pcap, limit, values["no-trace"] !== true, !json);
  if (json) process.stdout.write(`${JSON.stringify(result, null, 2)}\n`);
  else print(result, driver);
  return result.equal ? 0 : 1;
}

async function sendFile(
  file: string,
  driver: "rtl819x" | "veth",
  pcap: string | null,
  limit: number,
  trace: boolean,
  progressBar: boolean,
): Promise<DemoResult> {
  const size = fs.statSync(file).size;
  const kernel = await createKernel();
  const a = kernel.netns("A");
  const b = kernel.netns("B");
  const [devA, devB] = kernel.link(a, b, { driver, subnet: "10.0.0.0/24" });
  const pcapFd = pcap === null ? -1 : fs.openSync(pcap, "w");
  const capture =
    pcap === null ? null : kernel.capture([devA], (block) => void fs.writeSync(pcapFd, block), { maxBytes: limit });
  const [tx, rx] = await connectPair(kernel, a, b);

  const source = fs.openSync(file, "r");
  const sentHash = crypto.createHash("sha256");
  const receivedHash = crypto.createHash("sha256");
  const out = new Uint8Array(CHUNK);
  const inn = new Uint8Array(CHUNK);
  const progress = new Progress(size, progressBar);
  let outAt = 0;
  let outEnd = 0;
  let eof = false;
  let received = 0;
  let traceText: string | null = null;
  let wantTrace = trace;
  let hashing = 0;
  const started = performance.now();
  for (;;) {
    let moved = false;
    while (!eof) {
      if (outAt === outEnd) {
        const before = performance.now();
        outEnd = fs.readSync(source, out, 0, CHUNK, null);
        outAt = 0;
        sentHash.update(out.subarray(0, outEnd));
        hashing += performance.now() - before;
        if (outEnd === 0) {
          eof = true;
          must(a.sys.shutdown(tx, SHUT_WR), "shutdown");
          moved = true;
          break;
        }
      }
      if (wantTrace) kernel.trace.start({ skb: "next" });
      const n = a.sys.send(tx, outAt === 0 && outEnd === CHUNK ? out : out.subarray(outAt, outEnd), outEnd - outAt, 0);
      if (wantTrace) {
        traceText = kernel.trace.stop().toText();
        wantTrace = false;
      }
      if (n === -EAGAIN) break;
      outAt += must(n, "send");
      moved = true;
    }
    let ended = false;
    for (;;) {
      const n = b.sys.recv(rx, inn, CHUNK, 0);
      if (n === -EAGAIN) break;
      if (must(n, "recv") === 0) {
        ended = true;
        break;
      }
      const before = performance.now();
      receivedHash.update(inn.subarray(0, n));
      hashing += performance.now() - before;
      received += n;
      moved = true;
    }
    progress.update(received, started);
    if (ended) break;
    if (!moved) await idle(kernel);
  }
  const seconds = (performance.now() - started) / 1000;
  progress.end();
  fs.closeSync(source);
  b.sys.close(rx);
  a.sys.close(tx);
  capture?.stop();
  if (pcapFd >= 0) fs.closeSync(pcapFd);
  const result: DemoResult = {
    file,
    bytes: received,
    seconds,
    hashSeconds: hashing / 1000,
    gbitPerSecond: (received * 8) / (seconds - hashing / 1000) / 1e9,
    sha256Sent: sentHash.digest("hex"),
    sha256Received: receivedHash.digest("hex"),
    equal: false,
    framesAtoB: devB.stats.rxPackets,
    framesBtoA: devA.stats.rxPackets,
    bytesOnWire: devA.stats.txBytes + devB.stats.txBytes,
    pcap: pcap === null ? null : path.resolve(pcap),
    framesCaptured: capture?.packets ?? 0,
    trace: traceText,
  };
  result.equal = result.sha256Sent === result.sha256Received && received === size;
  kernel.close();
  return result;
}

function print(r: DemoResult, driver: string): void {
  const o = process.stdout;
  if (r.trace !== null) o.write(`The first send() of host A:\n\n${r.trace}\n`);
  o.write(`file       ${r.file}\n`);
  o.write(`path       send() -> TCP -> IP -> ARP -> ${driver} -> wire -> ${driver} -> IP -> TCP -> recv()\n`);
  o.write(
    `moved      ${formatBytes(r.bytes)} in ${r.seconds.toFixed(3)} s: ${r.gbitPerSecond.toFixed(2)} Gbit/s through the stack`,
  );
  o.write(` (${r.hashSeconds.toFixed(3)} s were hashing both sides)\n`);
  o.write(`frames     A -> B ${r.framesAtoB}, B -> A ${r.framesBtoA}; ${formatBytes(r.bytesOnWire)} on the wire\n`);
  o.write(`sha256 A   ${r.sha256Sent}\n`);
  o.write(`sha256 B   ${r.sha256Received}  ${r.equal ? "equal" : "DIFFERENT"}\n`);
  if (r.pcap !== null)
    o.write(`capture    ${r.pcap} (${r.framesCaptured} frames; wireshark ${path.basename(r.pcap)})\n`);
}
