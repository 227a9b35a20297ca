/** `skbuff serve` on a TAP device: the real kernel's curl and ping are the other end. */

import * as fs from "node:fs";
import * as path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { cli, makeFile, missing, Namespace, sha256File, tsharkProblems } from "./namespace.ts";

const MIB = 1 << 20;
const lacks = missing("curl", "ping");
const full = process.env["SKBUFF_FULL"] !== undefined;

describe.skipIf(lacks !== "")("skbuff serve, seen from the Linux kernel", () => {
  let ns: Namespace;
  let sum: string;
  let small: string;

  beforeAll(() => {
    ns = new Namespace();
    fs.mkdirSync(path.join(ns.dir, "www"));
    sum = makeFile(path.join(ns.dir, "www/big"), 100 * MIB);
    small = makeFile(path.join(ns.dir, "www/small"), 3 * MIB + 17);
  }, 60_000);
  afterAll(() => ns.close());

  async function serving(args: string[], body: () => Promise<void>): Promise<void> {
    const child = await ns.start(
      /serving/,
      process.execPath,
      cli,
      "serve",
      "--tap",
      "tap0",
      "--address",
      "10.9.0.2/24",
      ...args,
      path.join(ns.dir, "www"),
    );
    try {
      ns.run("ip", "addr", "add", "10.9.0.1/24", "dev", "tap0");
      ns.run("ip", "link", "set", "tap0", "up");
      await body();
    } finally {
      await ns.stop(child);
    }
  }

  async function download(name: string, to: string): Promise<string> {
    const file = path.join(ns.dir, to);
    await ns.runAsync("curl", "-sS", "--max-time", "100", "-o", file, `http://10.9.0.2/${name}`);
    const got = sha256File(file);
    fs.rmSync(file);
    return got;
  }

  it("gives curl 100 MB byte for byte, then 16 downloads at once", async () => {
    await serving([], async () => {
      expect(await download("big", "one")).toBe(sum);
      const all = await Promise.all(Array.from({ length: 16 }, (_, i) => download("small", `many${i}`)));
      expect(new Set(all)).toEqual(new Set([small]));
    });
  }, 180_000);

  it("gives curl 100 MB without offloads as well", async () => {
    await serving(["--no-offload"], async () => {
      expect(await download("big", "plain")).toBe(sum);
    });
  }, 180_000);

  it("recovers from 1% loss and reordering in both directions", async () => {
    await serving(["--no-offload", "--netem", "loss 1% delay 1ms reorder 25% 50%"], async () => {
      const netem = ns.try("tc", "qdisc", "add", "dev", "tap0", "root", "netem", "loss", "1%", "delay", "1ms");
      if (!netem) process.stderr.write("this kernel has no netem: only the stack's own impairment is on\n");
      expect(await download(full ? "big" : "small", "lossy")).toBe(full ? sum : small);
    });
  }, 180_000);

  it("answers ping from 64 to 9000 bytes, in fragments where they are needed", async () => {
    await serving(["--no-offload"], async () => {
      for (const size of ["56", "1472", "1473", "4000", "9000"]) {
        expect(ns.run("ping", "-c", "3", "-i", "0.05", "-W", "2", "-s", size, "10.9.0.2"), size).toContain(
          " 0% packet loss",
        );
      }
    });
  }, 60_000);

  it("writes captures that tshark finds no fault in", async () => {
    if (missing("tshark") !== "") return;
    const capture = path.join(ns.dir, "serve.pcapng");
    await serving(["--no-offload", "--pcap", capture], async () => {
      expect(await download("small", "captured")).toBe(small);
      ns.run("ping", "-c", "2", "-i", "0.05", "-s", "4000", "10.9.0.2");
    });
    expect(tsharkProblems(capture)).toEqual([]);
  }, 60_000);
});
