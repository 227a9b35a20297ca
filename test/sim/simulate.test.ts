/** Networks in virtual time: the same seed gives the same packets, and congestion control does what it is known for. */

import { createHash } from "node:crypto";
import { afterEach, describe, expect, it, vi } from "vitest";
import { simulate } from "../../src/init/simulate.ts";
import { tcpCubicParameters } from "../../src/net/ipv4/tcp_cubic.ts";
import { plotSvg, ticks } from "../../src/sim/plot.ts";
import type { SimFlow, SimOptions, SimResult, StarOptions } from "../../src/sim/simulate.ts";
import { bytesBetween, jainIndex, star } from "../../src/sim/simulate.ts";

/** Long runs and more seeds with SKBUFF_FULL=1. */
const full = process.env["SKBUFF_FULL"] === "1";
const SEEDS = full ? [1, 7, 4242] : [1];
vi.setConfig({ testTimeout: 120_000 });

function flows(...congestion: string[]): SimFlow[] {
  return congestion.map((c, i) => ({ from: `s${i + 1}`, to: "d", congestion: c }));
}

async function run(bottleneck: StarOptions, list: SimFlow[], rest: Partial<SimOptions> = {}): Promise<SimResult> {
  const senders = new Set(list.map((f) => f.from)).size;
  return await simulate({ duration: "10s", links: star({ senders, ...bottleneck }), flows: list, ...rest });
}

describe("the same seed gives the same packets, to the byte", () => {
  const hashed = async (seed: number): Promise<string> => {
    const hash = createHash("sha256");
    const result = await run(
      {
        rate: "20mbit",
        delay: "10ms",
        queue: "fq_codel",
        loss: "1%",
        reorder: "1%",
        duplicate: "0.5%",
        corrupt: "0.5%",
      },
      flows("cubic", "bbr", "reno"),
      { duration: "500ms", seed, capture: (block) => void hash.update(block) },
    );
    return `${hash.digest("hex")} ${JSON.stringify(result)}`;
  };
  it.each(SEEDS)("seed %i", async (seed) => {
    expect(await hashed(seed)).toBe(await hashed(seed));
  });
  it("and another seed others", async () => {
    expect((await hashed(1)).slice(0, 64)).not.toBe((await hashed(2)).slice(0, 64));
  });
});

describe("flows share a bottleneck", () => {
  // The first seconds belong to slow start.
  const shares = (r: SimResult): number[] => r.flows.map((f) => bytesBetween(r.times, f.samples.bytes, 10, 40));
  it.each(SEEDS)("two of CUBIC within a fifth, seed %i", async (seed) => {
    const r = await run({ rate: "4mbit", delay: "20ms", queue: "pfifo limit 40" }, flows("cubic", "cubic"), {
      duration: "40s",
      seed,
    });
    const [a, b] = shares(r) as [number, number];
    expect(Math.abs(a - b) / (a + b)).toBeLessThan(0.2);
    expect(((a + b) * 8) / 30).toBeGreaterThan(3.7e6);
  });
  it.each(SEEDS)("two of BBR within a fifth, seed %i", async (seed) => {
    const r = await run({ rate: "4mbit", delay: "20ms", queue: "pfifo limit 40" }, flows("bbr", "bbr"), {
      duration: "40s",
      seed,
    });
    const [a, b] = shares(r) as [number, number];
    expect(Math.abs(a - b) / (a + b)).toBeLessThan(0.2);
    expect(((a + b) * 8) / 30).toBeGreaterThan(3.6e6);
    // PROBE_RTT: both come down to four packets, so that the queue drains, and go back up.
    for (const { samples } of r.flows) {
      const late = samples.cwnd.slice(r.times.findIndex((t) => t > 9));
      expect(Math.min(...late)).toBe(4);
      expect(Math.max(...late)).toBeGreaterThan(20);
    }
  });
  it("fq_codel gives CUBIC of 10 ms and BBR of 40 ms the same", async () => {
    const access = [{ rate: "10gbit" }, { rate: "10gbit", delay: "15ms" }];
    const path: StarOptions = { rate: "4mbit", delay: "5ms", access, queue: "fq_codel" };
    const r = await run(path, flows("cubic", "bbr"), { duration: "40s" });
    expect(jainIndex(shares(r))).toBeGreaterThan(0.99);
  });
});

describe("queues", () => {
  it("bufferbloat: pfifo fills up, fq_codel keeps the delay at its target", async () => {
    const path: StarOptions = { rate: "10mbit", delay: "10ms" };
    const bloated = await run({ ...path, queue: "pfifo limit 400" }, flows("cubic"), { duration: "8s" });
    const managed = await run({ ...path, queue: "fq_codel" }, flows("cubic"), { duration: "8s" });
    // 400 packets of 1514 bytes take 484 ms at 10 Mbit/s.
    expect(bloated.flows[0]?.rtt.mean).toBeGreaterThan(200);
    expect(managed.flows[0]?.rtt.mean).toBeLessThan(45);
    for (const r of [bloated, managed]) expect(r.goodput).toBeGreaterThan(9e6);
  });
  it("BBR keeps a large queue nearly empty", async () => {
    const r = await run({ rate: "10mbit", delay: "10ms", queue: "pfifo limit 400" }, flows("bbr"), { duration: "8s" });
    expect(r.flows[0]?.rtt.mean).toBeLessThan(35);
    expect(r.goodput).toBeGreaterThan(9e6);
  });
});

describe("HyStart (RFC 9406's ancestor) leaves slow start before the queue overflows", () => {
  afterEach(() => {
    tcpCubicParameters.hystart = 1;
  });
  const path: StarOptions = { rate: "50mbit", delay: "25ms", queue: "pfifo limit 210" };
  const start = async (): Promise<SimResult> => await run(path, flows("cubic"), { duration: "600ms" });
  it("with it nothing is dropped", async () => {
    const r = await start();
    expect(r.links[0]?.queueDrops).toBe(0);
    expect(r.flows[0]?.retransmits).toBe(0);
  });
  it("without it the window overshoots by half", async () => {
    tcpCubicParameters.hystart = 0;
    const r = await start();
    expect(r.links[0]?.queueDrops).toBeGreaterThan(50);
    expect(Math.max(...(r.flows[0]?.samples.cwnd ?? []))).toBeGreaterThan(500);
  });
});

it("flows with an end have one, whatever the link does; those that begin later do so", async () => {
  const r = await run(
    { rate: "20mbit", delay: "5ms", loss: "2%", reorder: "2%", duplicate: "2%", corrupt: "1%" },
    [
      { from: "s1", to: "d", bytes: 1_000_000 },
      { from: "s2", to: "d", bytes: 300_000, start: "1s", congestion: "bbr" },
      { from: "d", to: "s1", bytes: 100_001, start: 1500 },
    ],
    { duration: "20s" },
  );
  expect(r.flows.map((f) => [f.completed, f.bytes, f.error])).toEqual([
    [true, 1_000_000, ""],
    [true, 300_000, ""],
    [true, 100_001, ""],
  ]);
  expect(r.flows.map((f) => f.start)).toEqual([0, 1, 1.5]);
  for (const f of r.flows) expect(f.end).toBeLessThan(20);
});

it("routes of several hops, a named card to capture, sysctls, the sender's fq", async () => {
  const chunks: Uint8Array[] = [];
  const r = await simulate({
    duration: "1s",
    links: [
      { between: ["a", "b"], delay: "1ms" },
      { between: ["b", "c"], delay: "2ms", rate: "10mbit" },
      { between: ["c", "d"], delay: "3ms", reverse: { delay: "4ms" } },
    ],
    flows: [{ from: "a", to: "d", congestion: "bbr", bytes: 100_000 }],
    sysctl: { "net.ipv4.tcp_timestamps": "0" },
    senderQueue: "fq",
    captureAt: "c.eth1",
    capture: (block) => chunks.push(block),
  });
  expect(r.flows[0]?.completed).toBe(true);
  expect(r.flows[0]?.rtt.min).toBeGreaterThanOrEqual(13);
  expect(r.flows[0]?.rtt.min).toBeLessThan(14);
  expect(r.links.map((l) => l.device)).toEqual(["a.eth0", "b.eth0", "b.eth1", "c.eth0", "c.eth1", "d.eth0"]);
  expect(chunks.length).toBeGreaterThan(100);
});

it("what makes no sense is refused", async () => {
  const links = star({ rate: "1mbit" });
  const ok = { duration: "1s", links, flows: flows("cubic") };
  await expect(simulate({ ...ok, duration: 0 })).rejects.toThrow(RangeError);
  await expect(simulate({ ...ok, links: [] })).rejects.toThrow(RangeError);
  await expect(simulate({ ...ok, flows: [{ from: "s1", to: "nowhere" }] })).rejects.toThrow(/nowhere/);
  await expect(simulate({ ...ok, flows: [{ from: "d", to: "d" }] })).rejects.toThrow(RangeError);
  await expect(simulate({ ...ok, flows: flows("no-such") })).rejects.toThrow(/ENOENT/);
  await expect(simulate({ ...ok, links: star({ queue: "no_such" }) })).rejects.toThrow(/no_such/);
  await expect(simulate({ ...ok, sysctl: { "net.ipv4.no_such": "1" } })).rejects.toThrow(/no_such/);
  await expect(simulate({ ...ok, captureAt: "x.eth9", capture: () => {} })).rejects.toThrow(RangeError);
  await expect(simulate({ ...ok, links: star({ loss: "200%" }) })).rejects.toThrow(RangeError);
});

it("the plot has a line a flow, axes with units, a legend, and escapes what it is given", async () => {
  const r = await run({ rate: "10mbit", queue: "pfifo limit 30" }, flows("cubic", "bbr"), { duration: "2s" });
  const svg = plotSvg(r, "a & b <c>");
  for (const text of ["congestion window [packets]", "smoothed RTT [ms]", "delivered [", "queue [kB]", "time [s]"])
    expect(svg).toContain(text);
  expect(svg).toContain("a &amp; b &lt;c&gt;");
  expect(svg).toContain("s1 &gt; d cubic");
  expect(svg).toContain("prefers-color-scheme");
  // Two flows in three panels, a queue in one, three in the legend.
  expect(svg.match(/<path class="l"/g)?.length).toBe(3 * 2 + 1 + 3);
  expect(svg).not.toMatch(/NaN|Infinity|undefined/);
  expect(svg.length).toBeLessThan(120_000);
  // Well-formed: every element is closed, in its place.
  const stack: string[] = [];
  for (const [, close, name, self] of svg.matchAll(/<(\/?)([a-z]+)\b(?:[^>"]|"[^"]*")*?(\/?)>/g)) {
    if (close === "/") expect(stack.pop()).toBe(name);
    else if (self !== "/") stack.push(name as string);
  }
  expect(stack).toEqual([]);
});

it("ticks are round numbers", () => {
  expect(ticks(10)).toEqual([0, 2.5, 5, 7.5, 10]);
  expect(ticks(97)).toEqual([0, 25, 50, 75]);
  expect(ticks(0.4, 4).length).toBe(5);
  expect(ticks(0)).toEqual([0]);
});

it("Jain's index", () => {
  expect(jainIndex([1, 1, 1, 1])).toBe(1);
  expect(jainIndex([1, 0, 0, 0])).toBe(0.25);
  expect(jainIndex([0, 0])).toBe(1);
});
