/**
 * The real kernel's CUBIC and BBR over an impaired path, against this stack's over the same one. The kernel stands at both
 * ends of a wire of this stack (wire.mjs): two TAP devices in two network namespaces, a netem qdisc between them, in real
 * time; this stack runs over the same qdiscs in virtual time. The host's timers add to the kernel's RTT, so CUBIC, whose
 * rate is a window an RTT, is compared by its window. Takes minutes: SKBUFF_FULL=1.
 */

import type { ChildProcess } from "node:child_process";
import { spawn, spawnSync } from "node:child_process";
import * as path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { SimLink } from "../../src/sim/simulate.ts";
import { BUFFERS, MSS, measure } from "../sim/goodput.ts";
import { missing, Namespace, root } from "./namespace.ts";

const full = process.env["SKBUFF_FULL"] === "1";
const lacks = full ? missing("iperf3", "sysctl") : "SKBUFF_FULL=1";
const available = spawnSync("sysctl", ["-n", "net.ipv4.tcp_available_congestion_control"], { encoding: "utf8" });

const RATE = "50mbit";
const qdiscs = (loss: string): [string, string] => [
  "netem delay 25ms limit 20000",
  `netem delay 25ms rate ${RATE} limit 1000 loss ${loss}`,
];

/** The same qdiscs in virtual time. */
function links(loss: string): SimLink[] {
  const [back, forth] = qdiscs(loss);
  return [
    { between: ["r", "d"], queue: forth, reverse: { queue: back } },
    { between: ["s1", "r"], rate: "10gbit", limit: 100_000 },
  ];
}

interface Iperf {
  end: { sum_received: { bits_per_second: number }; streams: { sender: { mean_rtt: number } }[] };
  intervals: { sum: { seconds: number; bits_per_second: number } }[];
}

describe.skipIf(lacks !== "")("the same path, the kernel and this stack", () => {
  let hosts: Namespace[];
  let wire: ChildProcess | null = null;

  beforeAll(() => {
    hosts = [new Namespace(), new Namespace()];
  });
  afterAll(async () => {
    for (const ns of hosts) await ns.close();
  });

  /** Plugs a wire in between the two namespaces. */
  async function plug(loss: string): Promise<void> {
    const taps = hosts.map((_, i) => `skw${process.pid % 100_000}${"ab"[i]}`);
    const child = spawn(process.execPath, [path.join(root, "test/interop/wire.mjs"), ...taps, ...qdiscs(loss)], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    wire = child;
    await new Promise<void>((resolve, reject) => {
      child.stdout.on("data", (d: Buffer) => String(d).includes("ready") && resolve());
      child.on("exit", (code) => reject(new Error(`wire.mjs ended with ${code}`)));
    });
    for (const [i, ns] of hosts.entries()) {
      const tap = taps[i] as string;
      spawnSync("ip", ["link", "set", tap, "netns", ns.name]);
      ns.run("ip", "addr", "add", `10.77.${i}.1/24`, "dev", tap);
      ns.run("ip", "link", "set", tap, "up", "txqueuelen", "10000");
      ns.run("ip", "route", "add", "default", "via", `10.77.${i}.254`);
      ns.run("sysctl", "-qw", "net.ipv4.tcp_no_metrics_save=1");
      for (const [key, value] of Object.entries(BUFFERS)) ns.run("sysctl", "-qw", `${key}=${value}`);
    }
  }

  async function unplug(): Promise<void> {
    const child = wire as ChildProcess;
    const gone = new Promise((resolve) => child.on("exit", resolve));
    child.stdin?.end();
    await gone;
  }

  /** Goodput and window of the kernel, without the first `warm` seconds. */
  async function kernelRun(congestion: string, loss: string, seconds: number, warm: number) {
    await plug(loss);
    try {
      const [client, server] = hosts as [Namespace, Namespace];
      const listener = await server.start(/listening/i, "iperf3", "-s", "-1", "--forceflush");
      const args = ["-c", "10.77.1.1", "-C", congestion, "-t", String(seconds), "-O", String(warm), "-J"];
      const result = JSON.parse(await client.runAsync("iperf3", ...args)) as Iperf;
      await server.stop(listener);
      const goodput = result.end.sum_received.bits_per_second;
      const rtt = (result.end.streams[0]?.sender.mean_rtt ?? 0) / 1e6;
      return { goodput, rtt, window: (goodput * rtt) / 8 / MSS };
    } finally {
      await unplug();
    }
  }

  const rows: [string, string, "window" | "goodput", number, number][] = [
    ["cubic", "1%", "window", 120, 5],
    ["cubic", "0.1%", "window", 150, 20],
    ["bbr", "1%", "goodput", 20, 5],
    ["bbr", "0.1%", "goodput", 20, 5],
  ];
  for (const [congestion, loss, what, seconds, warm] of rows) {
    // A run of CUBIC at 0.1% sees about a hundred losses: two runs of one stack differ by up to a tenth themselves.
    const part = congestion === "cubic" ? 0.15 : 0.1;
    it.skipIf(!available.stdout.includes(congestion))(
      `${congestion}, ${RATE}, ${loss} lost`,
      async () => {
        const theirs = await kernelRun(congestion, loss, seconds, warm);
        const runs = congestion === "cubic" ? [1, 2, 3] : [1];
        let ours = 0;
        for (const seed of runs) {
          const m = await measure(links(loss), congestion, seconds + warm, warm, seed);
          ours += m[what] / runs.length;
        }
        const unit = what === "window" ? "packets" : "bit/s";
        process.stdout.write(
          `${congestion} ${loss}: this stack ${ours.toPrecision(4)}, the kernel ${theirs[what].toPrecision(4)} ${unit}` +
            ` (its RTT ${(theirs.rtt * 1000).toFixed(1)} ms, ${(theirs.goodput / 1e6).toFixed(2)} Mbit/s)\n`,
        );
        expect(ours / theirs[what]).toBeGreaterThan(1 - part);
        expect(ours / theirs[what]).toBeLessThan(1 + part);
      },
      900_000,
    );
  }
});
