import { describe, expect, it } from "vitest";
import { CHECKSUM_NONE, CHECKSUM_PARTIAL } from "../../../assembly/layout.ts";
import { wireNewlink } from "../../../src/drivers/net/veth.ts";
import { Wire, type WireOptions } from "../../../src/drivers/net/wire.ts";
import {
  devAddPack,
  devClose,
  devOpen,
  devQueueXmit,
  devRemovePack,
  devSetFeature,
  NETIF_F_ALL_TSO,
  type NetDevice,
  type PacketType,
  unregisterNetdevice,
} from "../../../src/net/core/dev.ts";
import { skbBytes } from "../../../src/net/core/skbuff.ts";
import { SEED } from "../../mm/util.ts";
import { send, tcpChecksumRight, tcpFrame, World, withWorld } from "../../net/core/dev_util.ts";

const held = withWorld(SEED);

function link(options: WireOptions, world?: World): { wire: Wire; a: NetDevice; b: NetDevice; w: World } {
  const w = world ?? held.w;
  const wire = new Wire(options);
  const [a, b] = [w.net("a"), w.net("b")];
  return w.do(() => {
    const devs = [wireNewlink(a, "eth0", wire, 0), wireNewlink(b, "eth0", wire, 1)] as [NetDevice, NetDevice];
    for (const dev of devs) expect(devOpen(dev)).toBe(0);
    return { wire, a: devs[0], b: devs[1], w };
  });
}

/** Sends `n` numbered frames, `gap` microseconds apart. */
function burst(w: World, dev: NetDevice, n: number, gap = 0): void {
  for (let i = 0; i < n; i++) {
    send(w, dev, String(i).padEnd(46, "\0"));
    if (gap > 0) w.run(gap);
  }
}

describe("Wire", () => {
  it("without faults passes frames at once", () => {
    const { a, b, w, wire } = link({});
    burst(w, a, 3);
    send(w, b, "back");
    expect(w.texts()).toEqual(["0", "1", "2", "back"]);
    expect(wire.directions[0].stats).toMatchObject({ frames: 3, delivered: 3, bytes: 180 });
    expect([a.stats.txPackets, b.stats.rxPackets, b.stats.rxBytes]).toEqual([3, 3, 180]);
    expect(w.kernel.timers.armed).toBe(0);
  });

  it("delays, in order, to the microsecond", () => {
    const { a, w } = link({ delay: 1500 });
    const t0 = w.clock.us;
    burst(w, a, 3, 100);
    w.run(10_000);
    expect(w.frames.map((f) => f.at - t0)).toEqual([1500, 1600, 1700]);
  });

  it("frames with the same time share a timer", () => {
    const { a, w } = link({ delay: 1500 });
    w.do(() => {
      for (let i = 0; i < 50; i++) send(w, a, "x");
    });
    const { armed } = w.kernel.timers;
    w.run(2000);
    expect(w.frames.length).toBe(50);
    expect(w.kernel.timers.armed - armed).toBeLessThanOrEqual(1);
  });

  it("jitter spreads frames and leaves them in order", () => {
    const { a, w } = link({ delay: 1000, jitter: 5000 });
    const t0 = w.clock.us;
    burst(w, a, 200, 10);
    w.run(20_000);
    expect(w.texts()).toEqual(Array.from({ length: 200 }, (_, i) => String(i)));
    const first = (w.frames[0]?.at ?? 0) - t0;
    expect(first).toBeGreaterThanOrEqual(1000);
    expect(new Set(w.frames.map((f) => f.at)).size).toBeGreaterThan(5);
    for (const [i, f] of w.frames.entries()) expect(f.at - t0 - i * 10).toBeLessThanOrEqual(6000);
  });

  it("a rate serializes: each frame takes its bits and the gap", () => {
    const { a, w } = link({ rate: 8e6, delay: 100 }); // a byte a microsecond
    const t0 = w.clock.us;
    burst(w, a, 3);
    send(w, a, new Uint8Array(1000));
    w.run(100_000);
    const one = 60 + 24;
    expect(w.frames.map((f) => Math.round(f.at - t0))).toEqual([
      one + 100,
      2 * one + 100,
      3 * one + 100,
      3 * one + 1038 + 100,
    ]);
  });

  it("frames beyond the limit are dropped", () => {
    const { a, w, wire } = link({ rate: 8e6, limit: 5 });
    w.do(() => burst(w, a, 10));
    w.run(100_000);
    expect(w.frames.length).toBe(6);
    expect(wire.directions[0].stats.overlimit).toBe(4);
    expect(w.drops).toEqual(Array(4).fill("QDISC_DROP"));
  });

  it.each([
    ["loss", 0.1, 900],
    ["duplicate", 0.1, 1100],
  ] as const)("%s happens as often as it should", (what, p, expected) => {
    const { a, w, wire } = link({ [what]: p });
    burst(w, a, 1000);
    w.run(1000);
    expect(Math.abs(w.frames.length - expected)).toBeLessThan(40);
    const { stats } = wire.directions[0];
    expect(w.frames.length).toBe(1000 - stats.lost + stats.duplicated);
    expect(w.drops.length).toBe(stats.lost);
  });

  it("one direction may be worse than the other, and a wire may be cut and mended", () => {
    const { a, b, w, wire } = link({});
    wire.configure(0, { loss: 1 });
    burst(w, a, 5);
    send(w, b, "back");
    expect(w.texts()).toEqual(["back"]);
    wire.configure(0, { down: true });
    burst(w, a, 1);
    wire.configure(0, {});
    burst(w, a, 1);
    expect(w.texts()).toEqual(["back", "0"]);
    expect(wire.directions[0].stats.lost).toBe(6);
  });

  it("reordered frames overtake those in the air", () => {
    const { a, w, wire } = link({ delay: 1000, reorder: 0.2 });
    burst(w, a, 200, 10);
    w.run(10_000);
    const order = w.texts().map(Number);
    expect([...order].sort((x, y) => x - y)).toEqual(Array.from({ length: 200 }, (_, i) => i));
    const early = order.filter(
      (n, i) => order.slice(0, i).every((m) => m < n) && order.slice(i + 1).some((m) => m < n),
    );
    expect(early.length).toBeGreaterThan(10);
    expect(wire.directions[0].stats.reordered).toBeGreaterThan(20);
  });

  it("corruption turns one bit, and whoever checks sums finds it", () => {
    const { a, w, wire } = link({ corrupt: 1 });
    const pt: PacketType = { type: 0x0800, func: (skb, dev, p, orig) => w.pt.func(skb, dev, p, orig) };
    devAddPack(pt);
    w.do(() => devQueueXmit(tcpFrame(a, 1000, { partial: true })));
    let bits = 0;
    const clean = w.do(() => {
      const skb = tcpFrame(a, 1000);
      const bytes = skbBytes(skb);
      devQueueXmit(skb);
      return bytes;
    });
    devRemovePack(pt);
    expect(wire.directions[0].stats.corrupted).toBe(2);
    for (const f of w.frames) {
      expect(f.ipSummed).toBe(CHECKSUM_NONE);
      for (let i = 0; i < f.bytes.length; i++) {
        for (let x = (f.bytes[i] as number) ^ (clean[i + 14] as number); x !== 0; x &= x - 1) bits++;
      }
    }
    // A bit of the link header may have been hit, in which case the frame may not even arrive as IP.
    expect(bits + (2 - w.frames.length)).toBeGreaterThanOrEqual(1);
    expect(bits).toBeLessThanOrEqual(2);
  });

  it("super-packets cross whole, or in frames when the wire has a rate or faults", () => {
    const { a, w, wire } = link({});
    const pt: PacketType = { type: 0x0800, func: (skb, dev, p, orig) => w.pt.func(skb, dev, p, orig) };
    devAddPack(pt);
    w.do(() => devQueueXmit(tcpFrame(a, 5000, { gsoSize: 1000 })));
    wire.configure(0, { rate: 1e9 });
    w.do(() => devQueueXmit(tcpFrame(a, 5000, { gsoSize: 1000 })));
    w.run(10_000);
    expect(w.frames.map((f) => f.skbLen)).toEqual([5040, 1040, 1040, 1040, 1040, 1040]);
    expect(w.frames.every((f) => f.ipSummed === CHECKSUM_PARTIAL)).toBe(true);
    w.frames.length = 0;
    w.do(() => {
      devSetFeature(a, NETIF_F_ALL_TSO, false);
      devSetFeature(a, 8, false);
      devQueueXmit(tcpFrame(a, 3000, { gsoSize: 1000 }));
    });
    w.run(10_000);
    expect(w.frames.every((f) => tcpChecksumRight(f.bytes))).toBe(true);
    devRemovePack(pt);
  });

  it("shows frames to a tap", () => {
    const { a, b, w, wire } = link({});
    const seen: [number, number, boolean][] = [];
    wire.tap = { frame: (skb, end, lost) => seen.push([skbBytes(skb).length, end, lost]) };
    send(w, a, "abc");
    send(w, b, "defg");
    wire.configure(0, { loss: 1 });
    send(w, a, "x");
    expect(seen).toEqual([
      [17, 0, false],
      [18, 1, false],
      [15, 0, true],
    ]);
  });

  it("what is on its way is freed when an end goes", () => {
    const { a, b, w } = link({ delay: 1000, rate: 1e6 });
    burst(w, a, 5);
    w.run(2500);
    w.do(() => unregisterNetdevice(b));
    expect(w.drops.length).toBe(5 - w.frames.length);
    burst(w, a, 1);
    w.run(10_000);
    expect(w.drops.length).toBe(6 - w.frames.length);
    w.do(() => unregisterNetdevice(a));
    expect(w.kernel.timers.nextExpiry()).toBe(Infinity);
  });

  it("a closed device receives nothing", () => {
    const { a, b, w } = link({ delay: 10 });
    burst(w, a, 1);
    w.do(() => devClose(b));
    w.run(100);
    expect(w.drops).toEqual(["DEV_READY"]);
  });

  it("the same seed gives the same frames, to the microsecond", () => {
    const run = (seed: number): unknown => {
      const world = new World(seed);
      const { a } = link({ delay: 500, jitter: 900, loss: 0.2, duplicate: 0.1, reorder: 0.1, rate: 5e6 }, world);
      burst(world, a, 200, 50);
      world.run(1e6);
      const seen = world.frames.map((f, i) => [f.at, world.texts()[i]]);
      world.end();
      return seen;
    };
    expect(run(7)).toEqual(run(7));
    expect(run(7)).not.toEqual(run(8));
  });

  it("refuses nonsense", () => {
    for (const bad of [{ loss: 2 }, { loss: -1 }, { corrupt: Number.NaN }, { delay: -1 }, { rate: Number.NaN }]) {
      expect(() => new Wire(bad), JSON.stringify(bad)).toThrow(RangeError);
    }
  });
});
