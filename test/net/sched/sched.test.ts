import { describe, expect, it } from "vitest";
import { SKB_HASH, SKB_PRIORITY, SKB_TSTAMP } from "../../../assembly/layout.ts";
import { f64, u32 } from "../../../src/mm/mem.ts";
import {
  devClose,
  devOpen,
  devQueueXmit,
  devSetTxQueueLen,
  IFF_NO_QUEUE,
  type NetDevice,
  netifStopQueue,
  netifWakeQueue,
  registerNetdevice,
  unregisterNetdevice,
} from "../../../src/net/core/dev.ts";
import type { Qdisc } from "../../../src/net/core/sch_generic_h.ts";
import {
  formatHandle,
  qdiscChange,
  qdiscCreate,
  qdiscDelete,
  qdiscDump,
  qdiscKinds,
  qdiscLookup,
  qdiscReplace,
} from "../../../src/net/sched/sch_api.ts";
import type { FqOpt } from "../../../src/net/sched/sch_fq.ts";
import type { FqCodelOpt } from "../../../src/net/sched/sch_fq_codel.ts";
import type { NetemOpt } from "../../../src/net/sched/sch_netem.ts";
import type { RedOpt } from "../../../src/net/sched/sch_red.ts";
import type { TbfOpt } from "../../../src/net/sched/sch_tbf.ts";
import { TimeHeap } from "../../../src/net/sched/time_heap.ts";
import { EEXIST, EINVAL, ENOENT } from "../../../src/uapi/errno.ts";
import { Random, SEED } from "../../mm/util.ts";
import { FakeNic, frame, send, tcpChecksumRight, tcpFrame, withWorld } from "../core/dev_util.ts";

const held = withWorld(SEED);

interface Sender extends FakeNic {
  /** When each frame left, from the start on, and what was in it. */
  readonly times: number[];
}

function nic(change?: (dev: NetDevice) => void): Sender {
  const { w } = held;
  const n = Object.assign(new FakeNic(w.net("a"), "eth0", change), { times: [] as number[] });
  w.do(() => {
    expect(registerNetdevice(n.dev)).toBe(0);
    expect(devOpen(n.dev)).toBe(0);
  });
  const t0 = w.clock.us;
  n.onXmit = () => n.times.push(w.clock.us - t0);
  return n;
}

function add(n: FakeNic, kind: string, opt: object | null = null): Qdisc {
  const q = held.w.do(() => qdiscCreate(n.dev, kind, opt));
  if (typeof q === "number") throw new Error(`${kind}: ${q}`);
  return q;
}

const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes.subarray(14)).replace(/\0+$/, "");
const texts = (n: FakeNic): string[] => n.sent.map(text);
const numbers = (n: number): string[] => Array.from({ length: n }, (_, i) => String(i));

describe("the tree", () => {
  it("adds, replaces, changes and removes, with tc's errors", () => {
    const { w } = held;
    const n = nic();
    w.do(() => {
      expect(qdiscKinds().sort()).toEqual([
        "bfifo",
        "fq",
        "fq_codel",
        "netem",
        "noqueue",
        "pfifo",
        "pfifo_fast",
        "red",
        "tbf",
      ]);
      expect(qdiscCreate(n.dev, "sfq")).toBe(-ENOENT);
      expect(qdiscCreate(n.dev, "tbf")).toBe(-EINVAL);
      const root = qdiscCreate(n.dev, "netem", { delay: 1000 }, { handle: 0x10000 }) as Qdisc;
      expect([formatHandle(root.handle), root.parent >>> 0]).toEqual(["1:", 0xffffffff]);
      expect(qdiscCreate(n.dev, "pfifo")).toBe(-EEXIST);
      expect(qdiscCreate(n.dev, "pfifo", null, { parent: 0x20001 })).toBe(-ENOENT);
      const inner = qdiscCreate(n.dev, "tbf", { rate: 1000, burst: 1600, limit: 3000 }, { parent: 0x10001 }) as Qdisc;
      expect(formatHandle(inner.handle)).toBe("8001:");
      expect(qdiscCreate(n.dev, "pfifo", null, { parent: 0x10001 })).toBe(-EEXIST);
      expect(qdiscLookup(n.dev, inner.handle)).toBe(inner);
      expect(qdiscDump(n.dev).map((q) => [q.kind, formatHandle(q.handle), formatHandle(q.parent), q.options])).toEqual([
        ["netem", "1:", "root", "limit 1000 delay 1ms"],
        ["tbf", "8001:", "1:1", "rate 8000bit burst 1600b limit 3000b"],
      ]);
      expect(qdiscReplace(n.dev, "netem", { loss: 0.5 }, { handle: 0x10000 })).toBe(root);
      expect(qdiscReplace(n.dev, "pfifo", null, { handle: 0x10000 })).toBe(-EINVAL);
      expect(qdiscChange(root, { loss: 3 })).toBe(-EINVAL);
      const replaced = qdiscReplace(n.dev, "pfifo", { limit: 3 }) as Qdisc;
      expect(qdiscDump(n.dev).map((q) => q.options)).toEqual(["limit 3p"]);
      expect(n.dev.qdisc).toBe(replaced);
      expect(qdiscDelete(n.dev)).toBe(0);
      expect(n.dev.qdisc?.ops.id).toBe("pfifo_fast");
      expect(qdiscDelete(n.dev)).toBe(-ENOENT);
    });
  });

  it("frees what waits when a qdisc goes, the device closes or goes away", () => {
    const { w } = held;
    const n = nic();
    add(n, "netem", { delay: 1000 });
    w.do(() => qdiscCreate(n.dev, "fq_codel", null, { parent: n.dev.qdisc!.handle + 1 }));
    send(w, n.dev, "1");
    w.do(() => qdiscReplace(n.dev, "tbf", { rate: 1, burst: 1600, limit: 10_000 }));
    for (let i = 0; i < 60; i++) send(w, n.dev, String(i));
    w.do(() => devClose(n.dev));
    w.do(() => devOpen(n.dev));
    for (let i = 0; i < 200; i++) send(w, n.dev, String(i));
    w.do(() => qdiscReplace(n.dev, "fq"));
    send(w, n.dev, "x");
    w.do(() => unregisterNetdevice(n.dev));
    expect(w.kernel.timers.nextExpiry()).toBe(Infinity);
    expect(w.drops.every((d) => d === "QUEUE_PURGE" || d === "QDISC_DROP")).toBe(true);
  });

  it("virtual devices get a queue when they are given one", () => {
    const { w } = held;
    const n = nic((d) => {
      d.privFlags |= IFF_NO_QUEUE;
    });
    expect(qdiscDump(n.dev).map((q) => q.kind)).toEqual(["noqueue"]);
    add(n, "netem", { delay: 500 });
    send(w, n.dev, "x");
    w.run(1000);
    expect(n.times).toEqual([500]);
  });
});

describe("fifos", () => {
  it("pfifo_fast: three bands by priority, each of tx_queue_len", () => {
    const { w } = held;
    const n = nic();
    w.do(() => {
      devSetTxQueueLen(n.dev, 2);
      netifStopQueue(n.dev);
      // The first passes the empty queue by, meets the stopped driver, and is requeued before all others.
      for (const [i, prio] of [2, 0, 6, 7, 2, 2, 2, 0].entries()) {
        const skb = frame(n.dev, String(i));
        u32[(skb + SKB_PRIORITY) >>> 2] = prio;
        expect(devQueueXmit(skb)).toBe(i === 6 ? 1 : 0);
      }
      expect(n.dev.qdisc).toMatchObject({ q: { qlen: 7 }, stats: { backlog: 105, drops: 1 } });
      netifWakeQueue(n.dev);
    });
    expect(texts(n)).toEqual(["0", "2", "3", "1", "7", "4", "5"]);
    expect(n.dev.qdisc?.stats).toMatchObject({ packets: 7, bytes: 105, backlog: 0 });
  });

  it.each([
    ["pfifo", { limit: 3 }, 3],
    ["bfifo", { limit: 45 }, 3],
    ["bfifo", { limit: 44 }, 2],
  ])("%s %o", (kind, opt, fit) => {
    const { w } = held;
    const n = nic();
    add(n, kind, opt);
    w.do(() => netifStopQueue(n.dev));
    const rcs = numbers(5).map((t) => send(w, n.dev, t));
    expect(rcs).toEqual(numbers(5).map((_, i) => (i < fit ? 0 : 1)));
    w.do(() => netifWakeQueue(n.dev));
    expect(texts(n)).toEqual(numbers(fit));
  });
});

describe("netem", () => {
  function run(opt: NetemOpt, count: number, gap = 0, after = 10_000_000): Sender {
    const { w } = held;
    const n = nic();
    add(n, "netem", opt);
    for (let i = 0; i < count; i++) {
      send(w, n.dev, String(i).padEnd(46, "\0"));
      if (gap > 0) w.run(gap);
    }
    w.run(after);
    return n;
  }

  it("delays", () => {
    expect(run({ delay: 20_000 }, 3, 100).times).toEqual([20_000, 20_100, 20_200]);
  });

  it("varies the delay, and so reorders", () => {
    const n = run({ delay: 5000, jitter: 1000 }, 500, 10);
    const late = texts(n).map((t, i) => (n.times[i] as number) - Number(t) * 10);
    expect(Math.min(...late)).toBeGreaterThanOrEqual(4000);
    expect(Math.max(...late)).toBeLessThanOrEqual(6000);
    expect(Math.abs(late.reduce((a, b) => a + b, 0) / late.length - 5000)).toBeLessThan(100);
    expect(texts(n)).not.toEqual(numbers(500));
  });

  it.each(["normal", "pareto", "paretonormal"] as const)(
    "the %s distribution has the mean and the spread",
    (distribution) => {
      const n = run({ delay: 50_000, jitter: 2000, distribution, limit: 5000 }, 4000, 10);
      const late = texts(n).map((t, i) => (n.times[i] as number) - Number(t) * 10);
      const mean = late.reduce((a, b) => a + b, 0) / late.length;
      const deviation = Math.sqrt(late.reduce((a, b) => a + (b - mean) ** 2, 0) / late.length);
      expect(Math.abs(mean - 50_000)).toBeLessThan(250);
      expect(deviation).toBeGreaterThan(distribution === "paretonormal" ? 1000 : 1500);
      expect(deviation).toBeLessThan(2600);
    },
  );

  it("loses", () => {
    const { w } = held;
    const n = run({ loss: 0.2 }, 2000);
    expect(Math.abs(n.sent.length - 1600)).toBeLessThan(60);
    expect(w.drops.length).toBe(2000 - n.sent.length);
    expect(n.dev.qdisc?.stats.drops).toBe(w.drops.length);
  });

  it("a lost packet is a success for its sender; one too many is not", () => {
    const { w } = held;
    const n = nic();
    add(n, "netem", { loss: 1 });
    expect(send(w, n.dev, "x")).toBe(0);
    w.do(() => qdiscReplace(n.dev, "netem", { delay: 1000, limit: 1 }));
    expect([send(w, n.dev, "x"), send(w, n.dev, "y")]).toEqual([0, 1]);
    w.run(2000);
    expect(texts(n)).toEqual(["x"]);
  });

  it("Gilbert-Elliott loses in bursts", () => {
    const n = run({ gemodel: { p: 0.02, r: 0.2 } }, 4000);
    const lost = new Set(numbers(4000));
    for (const t of texts(n)) lost.delete(t);
    // p / (p + r) of them, in bursts of 1 / r.
    expect(Math.abs(lost.size / 4000 - 0.0909)).toBeLessThan(0.03);
    const bursts = [...lost].map(Number).filter((i) => !lost.has(String(i - 1))).length;
    expect(Math.abs(lost.size / bursts - 5)).toBeLessThan(2);
  });

  it("the four-state model loses in bursts with gaps", () => {
    const n = run({ state: { p13: 0.01, p31: 0.3, p32: 0.1, p23: 0.5 } }, 4000);
    const share = 1 - n.sent.length / 4000;
    expect(share).toBeGreaterThan(0.01);
    expect(share).toBeLessThan(0.08);
  });

  it("duplicates", () => {
    const n = run({ duplicate: 0.1, delay: 10 }, 1000, 5);
    expect(Math.abs(n.sent.length - 1100)).toBeLessThan(40);
    expect(new Set(texts(n)).size).toBe(1000);
  });

  it("reorders every gap-th packet, or at random", () => {
    const n = run({ delay: 10_000, gap: 5 }, 10, 1);
    expect(n.sent.slice(0, 2).map(text)).toEqual(["4", "9"]);
    const m = run({ delay: 10_000, reorder: 0.25 }, 1000, 1);
    const early = m.times.filter((t) => t < 10_000).length;
    expect(Math.abs(early - 250)).toBeLessThan(50);
  });

  it("corrupts one bit", () => {
    const { w } = held;
    const n = nic();
    add(n, "netem", { corrupt: 1 });
    const bytes = new Uint8Array(200).fill(0x55);
    for (let i = 0; i < 20; i++) send(w, n.dev, bytes);
    w.do(() => devQueueXmit(tcpFrame(n.dev, 3000, { gsoSize: 1000 })));
    for (const sent of n.sent.slice(0, 20)) {
      let bits = 0;
      const clean = [...new Uint8Array(6).fill(255), 2, 0, 0, 0, 0, 1, 0x88, 0xb5, ...bytes];
      sent.forEach((b, i) => {
        for (let x = b ^ (clean[i] as number); x !== 0; x &= x - 1) bits++;
      });
      expect(bits).toBe(1);
    }
    // Of a super-packet only one frame is hit.
    const frames = n.sent.slice(20);
    expect(frames.length).toBe(3);
    expect(frames.filter((f) => tcpChecksumRight(f.subarray(14))).length).toBeGreaterThanOrEqual(2);
  });

  it("a rate spaces packets out, and counts into the delay", () => {
    expect(run({ rate: 60_000 }, 3).times).toEqual([1000, 2000, 3000]);
    expect(run({ rate: 60_000, delay: 10_000 }, 3).times).toEqual([11_000, 12_000, 13_000]);
  });

  it("an inner qdisc takes packets when their delay is over", () => {
    const { w } = held;
    const n = nic();
    const root = add(n, "netem", { delay: 1000 });
    w.do(() => {
      const q = qdiscCreate(n.dev, "tbf", { rate: 60_000, burst: 60, limit: 180 }, { parent: root.handle + 1 });
      expect(typeof q).toBe("object");
    });
    for (let i = 0; i < 5; i++) send(w, n.dev, String(i).padEnd(46, "\0"));
    w.run(100_000);
    // The first takes the burst, three fit into the queue, one is lost.
    expect(n.times.map(Math.round)).toEqual([1000, 2000, 3000]);
    expect(root.q.qlen).toBe(0);
    expect(root.stats.backlog).toBe(0);
  });

  it.each([
    [{ reorder: 0.1 }],
    [{ loss: -0.1 }],
    [{ delay: -1 }],
    [{ distribution: "normal", delay: 5 }],
    [{ gemodel: { p: 2 } }],
  ] as [NetemOpt][])("refuses %o", (opt) => {
    const n = nic();
    expect(held.w.do(() => qdiscCreate(n.dev, "netem", opt))).toBe(-EINVAL);
  });
});

describe("tbf", () => {
  it("lets a burst through and then the rate", () => {
    const { w } = held;
    const n = nic();
    const opt: TbfOpt = { rate: 100_000, burst: 200, latency: 5000 };
    const q = add(n, "tbf", opt);
    for (let i = 0; i < 12; i++) send(w, n.dev, new Uint8Array(86)); // 100 bytes each: 1 ms
    w.run(100_000);
    // Two at once, then one a millisecond; of the rest 700 bytes fit into the queue.
    expect(n.times.map(Math.round)).toEqual([0, 0, 1000, 2000, 3000, 4000, 5000, 6000, 7000]);
    expect(q.stats).toMatchObject({ drops: 3, packets: 9, backlog: 0 });
    expect(q.stats.overlimits).toBeGreaterThan(0);
    expect(q.ops.dump?.(q)).toBe("rate 800000bit burst 200b lat 5000us");
  });

  it("does not wait for now when the machine has been up for so long that a nanosecond is lost in the rounding", () => {
    const { w } = held;
    w.clock.us = 2 ** 42 + 0.375;
    const n = nic();
    add(n, "tbf", { rate: 1e6 / 7.000391, burst: 200, limit: 1e6 });
    for (let i = 0; i < 400; i++) send(w, n.dev, new Uint8Array(50 + (i % 100)));
    for (let turns = 0; n.sent.length < 400; turns++) {
      expect(turns).toBeLessThan(2000);
      w.kernel.run();
      w.clock.us = Math.max(w.clock.us, w.kernel.nextDeadline());
    }
  });

  it("a peak rate spaces the burst", () => {
    const { w } = held;
    const n = nic();
    add(n, "tbf", { rate: 100_000, burst: 1000, limit: 10_000, peakrate: 200_000, mtu: 100 });
    for (let i = 0; i < 4; i++) send(w, n.dev, new Uint8Array(86));
    w.run(100_000);
    expect(n.times.map(Math.round)).toEqual([0, 500, 1000, 1500]);
  });

  it("cuts super-packets that are larger than the bucket; drops frames that are", () => {
    const { w } = held;
    const n = nic();
    const q = add(n, "tbf", { rate: 1e6, burst: 1500, limit: 20_000 });
    w.do(() => devQueueXmit(tcpFrame(n.dev, 5000, { gsoSize: 1000 })));
    expect(send(w, n.dev, new Uint8Array(1487))).toBe(1);
    w.run(100_000);
    expect(n.sent.length).toBe(5);
    expect(q.q.qlen).toBe(0);
    expect(q.stats.backlog).toBe(0);
    w.do(() => expect(qdiscChange(q, { rate: 0 })).toBe(-EINVAL));
  });
});

describe("fq", () => {
  /** A frame of flow `id`. */
  function flowFrame(n: FakeNic, id: number, payload: string, at = 0): number {
    const skb = frame(n.dev, payload);
    u32[(skb + SKB_HASH) >>> 2] = id;
    f64[(skb + SKB_TSTAMP) >>> 3] = at;
    return skb;
  }

  /** Eight packets that the card does not take yet: after them the fast path is full. */
  function fillFastPath(n: FakeNic): void {
    netifStopQueue(n.dev);
    for (let i = 0; i < 8; i++) devQueueXmit(flowFrame(n, 99, "-"));
  }

  it("what may leave at once takes the fast path, in the order of its coming", () => {
    const { w } = held;
    const n = nic();
    const q = add(n, "fq");
    w.do(() => {
      netifStopQueue(n.dev);
      for (let i = 0; i < 10; i++) devQueueXmit(flowFrame(n, i, String(i)));
      netifWakeQueue(n.dev);
    });
    expect(texts(n).join("")).toBe("0123456789");
    expect(q.ops.dumpStats?.(q)).toMatchObject({ fastpath: 8, flows: 2, inactive: 2 });
  });

  it("serves flows in turn", () => {
    const { w } = held;
    const n = nic();
    const opt: FqOpt = { quantum: 256, initialQuantum: 256 };
    add(n, "fq", opt);
    w.do(() => {
      fillFastPath(n);
      for (let i = 0; i < 4; i++) devQueueXmit(flowFrame(n, 1, `a${i}`.padEnd(286)));
      for (let i = 0; i < 2; i++) devQueueXmit(flowFrame(n, 2, `b${i}`.padEnd(286)));
      netifWakeQueue(n.dev);
    });
    expect(
      texts(n)
        .slice(8)
        .map((t) => t.trim()),
    ).toEqual(["a0", "b0", "a1", "b1", "a2", "a3"]);
  });

  it("sends no packet before its time, and orders a flow by time", () => {
    const { w } = held;
    const n = nic();
    const q = add(n, "fq");
    const { us } = w.clock;
    w.do(() => {
      devQueueXmit(flowFrame(n, 1, "late", us + 5000));
      devQueueXmit(flowFrame(n, 1, "soon", us + 1000));
      devQueueXmit(flowFrame(n, 2, "now"));
      expect(devQueueXmit(flowFrame(n, 3, "beyond", us + 20e6))).toBe(1);
    });
    w.run(10_000);
    // The flow was throttled until its first packet's time; the earlier one moves that (fq_flow_adjust_timer).
    expect(texts(n)).toEqual(["now", "soon", "late"]);
    expect(n.times).toEqual([0, 1000, 5000]);
    expect(q.ops.dumpStats?.(q)).toMatchObject({ horizon_drops: 1, flows: 1, throttled_flows: 0, fastpath: 1 });
  });

  it("horizon_cap sends what is beyond the horizon at the horizon", () => {
    const { w } = held;
    const n = nic();
    const q = add(n, "fq", { horizon: 2000, horizonCap: true });
    const { us } = w.clock;
    w.do(() => devQueueXmit(flowFrame(n, 1, "far", us + 50_000)));
    w.run(10_000);
    expect(n.times).toEqual([2000]);
    expect(q.ops.dumpStats?.(q)).toMatchObject({ horizon_drops: 0, horizon_caps: 1 });
  });

  it("holds every flow to maxrate, and to its limit", () => {
    const { w } = held;
    const n = nic();
    const q = add(n, "fq", { maxrate: 100_000, flowLimit: 3 });
    w.do(() => {
      for (let i = 0; i < 5; i++) devQueueXmit(flowFrame(n, 1, String(i).padEnd(86), 1));
    });
    w.run(100_000);
    expect(n.times.map(Math.round)).toEqual([0, 1000, 2000, 3000]);
    expect(q.ops.dumpStats?.(q)).toMatchObject({ flows_plimit: 1 });
  });

  it("gives the bands of the priorities their weights, and each its limit", () => {
    const { w } = held;
    const n = nic();
    const q = add(n, "fq", { weights: [32768, 16384, 16384], limit: 60 });
    const send = (name: string, priority: number, count: number): void => {
      for (let i = 0; i < count; i++) {
        const skb = flowFrame(n, priority, name.padEnd(1486));
        u32[(skb + SKB_PRIORITY) >>> 2] = priority;
        devQueueXmit(skb);
      }
    };
    w.do(() => {
      fillFastPath(n);
      send("control", 7, 70);
      send("best", 0, 60);
      send("bulk", 2, 60);
      netifWakeQueue(n.dev);
    });
    const count = (name: string): number =>
      texts(n)
        .slice(8, 52)
        .filter((t) => t.trim() === name).length;
    expect([count("control"), count("best"), count("bulk")]).toEqual([22, 11, 11]);
    expect(n.sent.length).toBe(8 + 180);
    expect(q.ops.dumpStats?.(q)).toMatchObject({ band0_drops: 10, band1_drops: 0, band0_pkts: 0 });
  });

  it.each<[FqOpt]>([
    [{ weights: [9, 3, 1] }],
    [{ weights: [32768, 32768] }],
    [{ priomap: [0, 1, 2] }],
    [{ priomap: [3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0] }],
    [{ initialQuantum: 2 ** 21 }],
    [{ horizon: -1 }],
  ])("refuses %j", (opt) => {
    const { w } = held;
    const n = nic();
    const q = add(n, "fq");
    w.do(() => expect(qdiscChange(q, opt)).toBe(-EINVAL));
  });

  it("forgets flows that have been idle", () => {
    const { w } = held;
    const n = nic();
    // A maxrate, so that no packet takes the fast path.
    const q = add(n, "fq", { maxrate: 1e9 });
    for (let i = 1; i <= 1000; i++) w.do(() => devQueueXmit(flowFrame(n, i, "x")));
    // An empty flow is idle from the time that its turn comes: here nobody else has anything to send at once.
    w.do(() => devQueueXmit(flowFrame(n, 2000, "x", w.clock.us + 1000)));
    w.run(4_000_000);
    for (let i = 1001; i <= 1100; i++) w.do(() => devQueueXmit(flowFrame(n, i, "x")));
    expect(q.ops.dumpStats?.(q)?.["gc"]).toBeGreaterThan(100);
    expect(n.sent.length).toBe(1101);
  });
});

describe("fq_codel", () => {
  /** Offers `pps` frames a second of each flow to a line of `lineBytes` bytes a second, for `ms`. */
  function overload(opt: FqCodelOpt, flows: number, tos: number, ms: number, fast: number): { n: Sender; q: Qdisc } {
    const { w } = held;
    const n = nic();
    const q = add(n, "fq_codel", opt);
    let busyUntil = 0;
    const start = n.onXmit as (skb: number) => void;
    n.onXmit = (skb) => {
      start(skb);
      netifStopQueue(n.dev);
      busyUntil = w.clock.us + 1000;
    };
    for (let t = 0; t < ms; t++) {
      for (let f = 0; f < flows; f++) {
        const count = f === 0 ? fast : 1;
        for (let i = 0; i < count; i++) w.do(() => devQueueXmit(tcpFrame(n.dev, 400, { sport: f, tos })));
      }
      w.run(1000);
      if (w.clock.us >= busyUntil) w.do(() => netifWakeQueue(n.dev));
    }
    n.onXmit = start;
    w.do(() => netifWakeQueue(n.dev));
    w.run(10);
    return { n, q };
  }

  it("keeps the queue short by dropping", () => {
    const { q } = overload({ ecn: true }, 1, 0, 3000, 2);
    expect(q.ops.dumpStats?.(q)?.["drop_count"]).toBeGreaterThan(50);
    expect(q.ops.dumpStats?.(q)?.["ecn_mark"]).toBe(0);
    expect(q.q.qlen).toBe(0);
    expect(q.stats.backlog).toBe(0);
  });

  it("marks what can be marked, keeping the header's checksum right", () => {
    const { n, q } = overload({}, 1, 2, 1000, 2);
    expect(q.ops.dumpStats?.(q)?.["drop_count"]).toBe(0);
    const marked = n.sent.filter((b) => (b[15] as number) === 3);
    expect(marked.length).toBe(q.ops.dumpStats?.(q)?.["ecn_mark"]);
    expect(marked.length).toBeGreaterThan(5);
    for (const b of marked) {
      let sum = 0;
      for (let i = 14; i < 34; i += 2) sum += ((b[i] as number) << 8) | (b[i + 1] as number);
      while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
      expect(sum).toBe(0xffff);
    }
  });

  it("a flow that takes too much loses; the others don't notice", () => {
    const { w } = held;
    const n = nic();
    const q = add(n, "fq_codel", { limit: 20, dropBatch: 1 });
    w.do(() => netifStopQueue(n.dev));
    for (let i = 0; i < 30; i++) w.do(() => devQueueXmit(tcpFrame(n.dev, 400, { sport: 1 })));
    for (let i = 0; i < 5; i++) w.do(() => devQueueXmit(tcpFrame(n.dev, 400, { sport: 2 })));
    expect(q.ops.dumpStats?.(q)).toMatchObject({ drop_overlimit: 15, new_flow_count: 2 });
    w.do(() => netifWakeQueue(n.dev));
    const ports = n.sent.map((b) => b[35] as number);
    expect(ports.filter((p) => p === 2).length).toBe(5);
    expect(ports.filter((p) => p === 1).length).toBe(15);
    expect(q.stats.backlog).toBe(0);
  });
});

describe("red", () => {
  const SIZE = 1000;
  /** Enough for its average, of which every frame replaces a half, to follow the queue. */
  const base: RedOpt = { limit: 30_000, min: 10_000, max: 10_000, avpkt: SIZE, burst: 10, ecn: true };
  /** Offers `count` frames to a line that stands still. */
  function offer(n: FakeNic, count: number, tos: number): void {
    const { w } = held;
    w.do(() => netifStopQueue(n.dev));
    for (let i = 0; i < count; i++) w.do(() => devQueueXmit(tcpFrame(n.dev, SIZE - 54, { sport: 1, tos })));
  }
  const marks = (n: FakeNic): number => n.sent.filter((b) => (b[15] as number) === 3).length;

  it.each([
    ["marks all from max on what can be marked", { ...base }, 2, 20, { marked: 9, early: 0, pdrop: 0 }],
    ["drops what cannot be marked", { ...base }, 0, 20, { marked: 0, early: 9, pdrop: 0 }],
    ["or lets it pass (nodrop)", { ...base, nodrop: true }, 0, 20, { marked: 0, early: 0, pdrop: 0 }],
    ["drops all from max on (harddrop)", { ...base, harddrop: true }, 2, 20, { marked: 0, early: 9, pdrop: 0 }],
    ["drops without ecn", { ...base, ecn: false }, 2, 20, { marked: 0, early: 9, pdrop: 0 }],
    ["has a limit", { ...base, limit: 15_000 }, 2, 20, { marked: 9, early: 0, pdrop: 5 }],
  ])("%s", (_name, opt, tos, count, stats) => {
    const { w } = held;
    const n = nic();
    const q = add(n, "red", opt);
    offer(n, count, tos);
    expect(q.ops.dumpStats?.(q)).toMatchObject(stats);
    expect(q.q.qlen).toBe(count - stats.early - stats.pdrop);
    w.do(() => netifWakeQueue(n.dev));
    expect(marks(n)).toBe(stats.marked - stats.pdrop);
    expect([q.q.qlen, q.stats.backlog]).toEqual([0, 0]);
  });

  it("between min and max chance decides, more often with a longer queue", () => {
    const n = nic();
    const q = add(n, "red", { ...base, limit: 4_000_000, min: 100_000, max: 2_000_000, burst: 200, probability: 0.5 });
    const counts: number[] = [];
    for (let i = 0, before = 0; i < 3; i++) {
      offer(n, 600, 2);
      const marked = Number(q.ops.dumpStats?.(q)?.["marked"]);
      counts.push(marked - before);
      before = marked;
    }
    const [few, more, most] = counts as [number, number, number];
    expect(few).toBeGreaterThan(5);
    expect(more).toBeGreaterThan(few * 1.5);
    expect(most).toBeGreaterThan(more);
    expect(most).toBeLessThan(400);
    held.w.do(() => netifWakeQueue(n.dev));
  });

  it("forgets its average while the line is idle", () => {
    const { w } = held;
    const n = nic();
    const q = add(n, "red", { ...base, bandwidth: 1_000_000 });
    offer(n, 20, 2);
    w.do(() => netifWakeQueue(n.dev));
    expect(q.ops.dumpStats?.(q)).toMatchObject({ marked: 9 });
    // Ten packets could have left: 2^-10 of the average is left.
    w.run(10_000);
    offer(n, 20, 2);
    w.do(() => netifWakeQueue(n.dev));
    expect(q.ops.dumpStats?.(q)).toMatchObject({ marked: 18 });
  });

  it.each([
    ["no limit", { avpkt: 1000 }],
    ["max below min", { ...base, max: 5000 }],
    ["nodrop without ecn", { ...base, ecn: false, nodrop: true }],
    ["a burst that cannot reach min", { ...base, burst: 5 }],
  ])("refuses %s", (_name, opt) => {
    const n = nic();
    expect(held.w.do(() => qdiscCreate(n.dev, "red", opt))).toBe(-EINVAL);
  });
});

it("TimeHeap keeps times in order, and equal ones in the order of their coming", () => {
  const random = new Random(SEED);
  const heap = new TimeHeap();
  let model: [number, number, number][] = [];
  let order = 0;
  for (let i = 0; i < 5000; i++) {
    if (random.below(3) > 0) {
      const key = random.below(50);
      heap.push(i + 1, key);
      model.push([key, order++, i + 1]);
    } else {
      model.sort((a, b) => a[0] - b[0] || a[1] - b[1]);
      expect([heap.topKey(), heap.top(), heap.size]).toEqual([
        model[0]?.[0] ?? Infinity,
        model[0]?.[2] ?? 0,
        model.length,
      ]);
      expect(heap.pop()).toBe(model[0]?.[2] ?? 0);
      model = model.slice(1);
    }
  }
});
