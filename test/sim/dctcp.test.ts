/**
 * DCTCP at a bottleneck, against the fluid model of its paper (Alizadeh et al., SIGCOMM 2010, section 3.3): N flows with
 * the same round trip time d over a link of C packets a second that marks above K packets have windows of at most
 * W = (C d + K) / N, alpha = sqrt(2 / W), and a queue that swings between K + N and sqrt(2 N (C d + K)) / 2 below that.
 */

import { describe, expect, it } from "vitest";
import { createKernel, type SkbuffKernel } from "../../src/init/create.ts";
import type { Host } from "../../src/init/host.ts";
import { devSetFeature, NETIF_F_GSO, NETIF_F_SG, type NetDevice } from "../../src/net/core/dev.ts";
import type { Qdisc } from "../../src/net/core/sch_generic_h.ts";
import { ErrBox } from "../../src/net/core/sock.ts";
import type { TcpDctcpInfo } from "../../src/net/ipv4/tcp_dctcp.ts";
import { EAGAIN, EINPROGRESS } from "../../src/uapi/errno.ts";
import { AF_INET, SOCK_NONBLOCK, SOCK_STREAM, SOL_TCP } from "../../src/uapi/socket.ts";
import { TCP_CC_INFO } from "../../src/uapi/tcp.ts";

/** Bits a second of the bottleneck, and what a full frame takes of them. */
const RATE = 20e6;
const FRAME = 1514;
const MSS = 1448;

interface Result {
  /** Of the bottleneck's capacity. */
  utilization: number;
  /** Packets in the bottleneck's queue. */
  meanQueue: number;
  minQueue: number;
  maxQueue: number;
  drops: number;
  /** Of DCTCP, averaged over time and flows, a fraction. */
  alpha: number;
  /** Jain's index of the flows' goodputs. */
  fairness: number;
}

/** a -- r -- b: `flows` connections from a to b with `cc`; r's queue towards b is `qdisc`, below its rate. */
class Dumbbell {
  readonly kernel: SkbuffKernel;
  readonly a: Host;
  readonly r: Host;
  readonly b: Host;
  readonly bottleneck: NetDevice;

  constructor(kernel: SkbuffKernel, cc: string, qdisc: string, ecn: number) {
    this.kernel = kernel;
    this.a = kernel.netns("a");
    this.r = kernel.netns("r");
    this.b = kernel.netns("b");
    const [devA] = kernel.link(this.a, this.r, { subnet: "10.0.0.0/24", offload: false });
    const [devR] = kernel.link(this.r, this.b, { subnet: "10.0.1.0/24", offload: false });
    this.bottleneck = devR;
    // One frame a segment: the model knows no bursts.
    kernel.core.enter();
    devSetFeature(devA, NETIF_F_SG | NETIF_F_GSO, false);
    kernel.core.exit();
    this.r.sysctl("net.ipv4.ip_forward=1");
    this.a.ip("route add 10.0.1.0/24 via 10.0.0.2");
    this.b.ip("route add 10.0.0.0/24 via 10.0.1.1");
    for (const host of [this.a, this.b]) {
      host.sysctl(`net.ipv4.tcp_congestion_control=${cc}`);
      host.sysctl(`net.ipv4.tcp_ecn=${ecn}`);
    }
    this.r.tc(`qdisc add dev ${devR.name} root handle 1: tbf rate ${RATE}bit burst 1600 limit 2mb`);
    this.r.tc(`qdisc add dev ${devR.name} parent 1:1 ${qdisc}`);
    // The way back is where the time goes.
    this.b.tc(`qdisc add dev eth0 root netem delay 50ms limit 10000`);
  }

  async run(flows: number, warmup: number, seconds: number): Promise<Result> {
    const { a, b, kernel } = this;
    const listener = b.sys.socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    expect(b.sys.bind(listener, { family: AF_INET, addr: 0, port: 5000 })).toBe(0);
    expect(b.sys.listen(listener, 64)).toBe(0);
    const tx: number[] = [];
    for (let i = 0; i < flows; i++) {
      const fd = a.sys.socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
      expect(a.sys.connect(fd, { family: AF_INET, addr: b.primaryAddress(), port: 5000 })).toBe(-EINPROGRESS);
      tx.push(fd);
    }
    await kernel.advance(200);
    const rx: number[] = [];
    for (let i = 0; i < flows; i++) rx.push(b.sys.accept4(listener, null, SOCK_NONBLOCK));
    expect(Math.min(...rx)).toBeGreaterThanOrEqual(0);
    const buf = new Uint8Array(65536);
    const got = new Array<number>(flows).fill(0);
    const root = this.bottleneck.qdisc as Qdisc;
    let sum = 0;
    let samples = 0;
    let min = Infinity;
    let max = 0;
    let alpha = 0;
    let drops = 0;
    const err = new ErrBox();
    for (let ms = 0; ms < (warmup + seconds) * 1000; ms += 5) {
      if (ms === warmup * 1000) {
        got.fill(0);
        drops = root.stats.drops;
      }
      for (const fd of tx) while (a.sys.send(fd, buf, buf.length, 0) > 0);
      for (let i = 0; i < flows; i++) {
        for (;;) {
          const n = b.sys.recv(rx[i] as number, buf, buf.length, 0);
          if (n <= 0) {
            expect(n).toBe(-EAGAIN);
            break;
          }
          got[i] = (got[i] as number) + n;
        }
      }
      if (ms >= warmup * 1000) {
        const q = root.q.qlen;
        sum += q;
        samples++;
        min = Math.min(min, q);
        max = Math.max(max, q);
        for (const fd of tx) {
          const info = a.sys.getsockopt(fd, SOL_TCP, TCP_CC_INFO, err) as TcpDctcpInfo;
          if (info.name === "dctcp") alpha += info.dctcpAlpha / 1024 / flows;
        }
      }
      await kernel.advance(5);
    }
    const total = got.reduce((x, y) => x + y, 0);
    const squares = got.reduce((x, y) => x + y * y, 0);
    const result: Result = {
      utilization: ((total / MSS) * FRAME * 8) / seconds / RATE,
      meanQueue: sum / samples,
      minQueue: min,
      maxQueue: max,
      drops: root.stats.drops - drops,
      alpha: alpha / samples,
      fairness: (total * total) / (flows * squares),
    };
    this.kernel.close();
    return result;
  }
}

async function run(cc: string, flows: number, qdisc: string, ecn = 1): Promise<Result> {
  const kernel = await createKernel({ clock: "virtual", autoAdvance: false, seed: 8257 });
  return new Dumbbell(kernel, cc, qdisc, ecn).run(flows, 3, 2);
}

/** C d, the packets that the path itself holds: the round trip is the delay and the two frames on the wire. */
const BDP = (RATE * 0.05) / 8 / FRAME;

/** Marks above `k` packets. */
function red(k: number): string {
  return `red limit 1mb min ${k * FRAME} max ${k * FRAME} avpkt ${FRAME} burst ${k} bandwidth 20mbit probability 1 ecn`;
}
const K = 20;

describe("DCTCP keeps the queue at the threshold and the line full", () => {
  // [flows, net.ipv4.tcp_ecn]: 3 is Accurate ECN, whose option takes 12 bytes of every segment.
  it.each([
    [1, 1],
    [2, 1],
    [8, 1],
    [2, 3],
  ])(
    "%i flows, tcp_ecn=%i",
    async (n, ecn) => {
      const r = await run("dctcp", n, red(K), ecn);
      expect(r.utilization).toBeGreaterThan(ecn === 3 ? 0.98 * (1436 / MSS) : 0.98);
      expect(r.drops).toBe(0);
      expect(r.fairness).toBeGreaterThan(0.95);
      const top = K + n;
      const amplitude = Math.sqrt(2 * n * (BDP + K)) / 2;
      expect(r.maxQueue).toBeLessThanOrEqual(top + 5);
      expect(r.minQueue).toBeGreaterThanOrEqual(top - amplitude - 5);
      expect(Math.abs(r.meanQueue - K)).toBeLessThan(3);
      expect(r.maxQueue - r.minQueue).toBeGreaterThan(0.6 * amplitude);
      expect(r.maxQueue - r.minQueue).toBeLessThan(1.6 * amplitude);
      // The model marks whole windows, so this is the most that there can be.
      expect(r.alpha).toBeGreaterThan(0);
      expect(r.alpha).toBeLessThan(Math.sqrt((2 * n) / (BDP + K)));
    },
    120_000,
  );

  it("a threshold below C d / 7 costs throughput (section 3.4)", async () => {
    expect((await run("dctcp", 1, red(Math.ceil(BDP / 7)))).utilization).toBeGreaterThan(0.95);
    expect((await run("dctcp", 1, red(2))).utilization).toBeLessThan(0.7);
  }, 120_000);

  it("by fq_codel's ce_threshold as well", async () => {
    const us = (K * FRAME * 8e6) / RATE;
    const r = await run("dctcp", 2, `fq_codel ce_threshold ${Math.round(us)}us`);
    expect(r.utilization).toBeGreaterThan(0.98);
    expect(Math.abs(r.meanQueue - K)).toBeLessThan(4);
    expect(r.drops).toBe(0);
  }, 120_000);
});

describe("the others", () => {
  it("Reno halves its window at the same marks: the line runs dry", async () => {
    const r = await run("reno", 1, red(K));
    expect(r.utilization).toBeLessThan(0.95);
    expect(r.minQueue).toBe(0);
    expect(r.drops).toBe(0);
  }, 120_000);

  it("CUBIC over a queue without marks fills it", async () => {
    const r = await run("cubic", 2, "pfifo limit 200");
    expect(r.utilization).toBeGreaterThan(0.98);
    expect(r.meanQueue).toBeGreaterThan(5 * K);
    expect(r.drops).toBeGreaterThan(0);
  }, 120_000);
});
