/** Byte streams over good and bad links: whatever the link does, what arrives is what was sent. */

import { describe, expect, it } from "vitest";
import type { LinkOptions } from "../../src/init/link_options.ts";
import { Pair } from "./pair.ts";

const links: [string, LinkOptions, number][] = [
  ["veth with offloads", {}, 20 << 20],
  ["veth without offloads", { offload: false }, 5 << 20],
  ["rtl819x", { driver: "rtl819x" }, 5 << 20],
  ["rtl819x with software GSO and GRO", { driver: "rtl819x", gso: true, gro: true }, 5 << 20],
  [
    "rtl819x with GSO and GRO, bad",
    { driver: "rtl819x", gso: true, gro: true, delay: "2ms", loss: 0.02, corrupt: 0.01 },
    1 << 20,
  ],
  ["20 ms", { delay: "20ms" }, 5 << 20],
  ["10 Mbit/s, 10 ms", { rate: "10mbit", delay: "10ms" }, 1 << 20],
  ["1% loss", { delay: "5ms", loss: 0.01 }, 2 << 20],
  ["10% loss", { delay: "2ms", loss: 0.1 }, 300_000],
  ["30% loss", { delay: "1ms", loss: 0.3 }, 40_000],
  ["reordering", { delay: "5ms", reorder: 0.2 }, 2 << 20],
  ["duplication", { delay: "5ms", duplicate: 0.2 }, 2 << 20],
  ["corruption", { delay: "5ms", corrupt: 0.02, offload: false }, 1 << 20],
  [
    "all of it on rtl819x",
    { driver: "rtl819x", delay: "5ms", jitter: "3ms", loss: 0.02, reorder: 0.05, duplicate: 0.05, corrupt: 0.01 },
    500_000,
  ],
  ["a small MTU", { mtu: 576, delay: "1ms" }, 1 << 20],
  ["jumbo frames", { mtu: 9000, delay: "1ms", offload: false }, 2 << 20],
];

describe("a transfer survives", () => {
  for (const [name, link, size] of links) {
    it(name, async () => {
      const pair = await Pair.create(link, 42);
      const [tx, rx] = await pair.connect();
      const seconds = await pair.transfer(tx, rx, size);
      expect(seconds).toBeGreaterThanOrEqual(0);
      await pair.finish([pair.a, tx], [pair.b, rx]);
    }, 120_000);
  }
});

it("is the same to the microsecond for the same seed", async () => {
  const run = async (): Promise<string> => {
    const pair = await Pair.create({ delay: "5ms", loss: 0.02, reorder: 0.02 }, 7);
    const [tx, rx] = await pair.connect();
    const seconds = await pair.transfer(tx, rx, 500_000);
    const frames = pair.devA.stats.txPackets;
    await pair.finish([pair.a, tx], [pair.b, rx]);
    return `${seconds} ${frames}`;
  };
  expect(await run()).toBe(await run());
}, 60_000);
