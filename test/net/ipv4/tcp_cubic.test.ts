import { afterEach, describe, expect, it } from "vitest";
import { seededRandom } from "../../../src/kernel/random.ts";
import { seq, seqAdd } from "../../../src/net/ipv4/seq.ts";
import {
  Bictcp,
  bictcpUpdate,
  cubicDelta,
  cubicRoot,
  cubictcpAcked,
  cubictcpCongAvoid,
  cubictcpCwndEventTxStart,
  cubictcpRecalcSsthresh,
  cubictcpState,
  tcpCubicParameters,
} from "../../../src/net/ipv4/tcp_cubic.ts";
import { AckSample } from "../../../src/net/ipv4/tcp_h.ts";
import { LINUX_MIB_TCPHYSTARTDELAYDETECT, LINUX_MIB_TCPHYSTARTTRAINDETECT } from "../../../src/uapi/linux_mib.ts";
import { TcpBench } from "./tcp_util.ts";

const SEED = 9438;
let b: TcpBench;
afterEach(() => b.end());

/** The same window function in exact 64-bit integers. */
class Reference {
  cnt = 0n;
  lastMax = 0n;
  lastCwnd = 0n;
  lastTime = 0n;
  origin = 0n;
  k = 0n;
  delayMin = 0n;
  epoch = 0n;
  ackCnt = 0n;
  tcpCwnd = 0n;
  update(now: bigint, cwnd: bigint, acked: bigint): void {
    this.ackCnt += acked;
    if (this.lastCwnd === cwnd && now - this.lastTime <= 31n) return;
    if (this.epoch === 0n || now !== this.lastTime) {
      this.lastCwnd = cwnd;
      this.lastTime = now;
      if (this.epoch === 0n) {
        this.epoch = now;
        this.ackCnt = acked;
        this.tcpCwnd = cwnd;
        if (this.lastMax <= cwnd) {
          this.k = 0n;
          this.origin = cwnd;
        } else {
          this.k = root((2n ** 40n / 410n) * (this.lastMax - cwnd));
          this.origin = this.lastMax;
        }
      }
      const t = ((now - this.epoch + (this.delayMin + 999n) / 1000n) * 1024n) / 1000n;
      const offs = t < this.k ? this.k - t : t - this.k;
      const delta = (410n * offs * offs * offs) >> 40n;
      const target = t < this.k ? this.origin - delta : this.origin + delta;
      this.cnt = target > cwnd ? cwnd / (target - cwnd) : 100n * cwnd;
      if (this.lastMax === 0n && this.cnt > 20n) this.cnt = 20n;
    }
    const delta = (cwnd * 15n) >> 3n;
    while (this.ackCnt > delta) {
      this.ackCnt -= delta;
      this.tcpCwnd++;
    }
    if (this.tcpCwnd > cwnd) {
      const max = cwnd / (this.tcpCwnd - cwnd);
      if (this.cnt > max) this.cnt = max;
    }
    if (this.cnt < 2n) this.cnt = 2n;
  }
}

function root(a: bigint): bigint {
  let lo = 0n;
  let hi = 1n << 22n;
  while (lo < hi) {
    const mid = (lo + hi + 1n) >> 1n;
    if (mid * mid * mid <= a) lo = mid;
    else hi = mid - 1n;
  }
  return lo;
}

describe("arithmetic", () => {
  it("cubic_root is exact", () => {
    b = new TcpBench();
    for (let x = 0; x < 2000; x++) {
      const c = x * x * x;
      expect(cubicRoot(c)).toBe(x);
      if (x > 0) expect(cubicRoot(c - 1)).toBe(x - 1);
    }
    const random = seededRandom(SEED);
    for (let i = 0; i < 5000; i++) {
      const a = random.u32() * 2 ** (random.u32() % 20);
      expect(BigInt(cubicRoot(a))).toBe(root(BigInt(a)));
    }
  });

  it("C t^3 is exact in 72 bits", () => {
    b = new TcpBench();
    const random = seededRandom(SEED);
    for (let i = 0; i < 20_000; i++) {
      const offs = random.u32() >>> (12 + (random.u32() % 20));
      const o = BigInt(offs);
      expect(cubicDelta(410, offs)).toBe(Number((410n * o * o * o) >> 40n));
    }
  });

  it("bictcp_update agrees with 64-bit integers over long random histories", () => {
    b = new TcpBench();
    console.log(`tcp_cubic seed ${SEED}`);
    const random = seededRandom(SEED);
    for (let run = 0; run < 20; run++) {
      const ca = new Bictcp();
      const ref = new Reference();
      ca.delayMin = 1000 + (random.u32() % 200_000);
      ref.delayMin = BigInt(ca.delayMin);
      ca.lastMaxCwnd = random.u32() % 2 === 0 ? 0 : 10 + (random.u32() % 5000);
      ref.lastMax = BigInt(ca.lastMaxCwnd);
      let cwnd = 10 + (random.u32() % 3000);
      for (let i = 0; i < 400; i++) {
        b.advance((random.u32() % 3) * (random.u32() % 20_000));
        const acked = 1 + (random.u32() % 10);
        bictcpUpdate(ca, cwnd, acked);
        ref.update(BigInt(b.kernel.jiffies), BigInt(cwnd), BigInt(acked));
        expect([ca.cnt, ca.bicK, ca.bicOriginPoint, ca.tcpCwnd, ca.ackCnt]).toEqual(
          [ref.cnt, ref.k, ref.origin, ref.tcpCwnd, ref.ackCnt].map(Number),
        );
        if (random.u32() % 4 === 0) cwnd += random.u32() % 5;
        if (random.u32() % 97 === 0) {
          ca.epochStart = 0;
          ref.epoch = 0n;
          ca.lastMaxCwnd = cwnd;
          ref.lastMax = BigInt(cwnd);
          cwnd = Math.max(2, Math.floor((cwnd * 717) / 1024));
        }
      }
    }
  });
});

describe("window", () => {
  it("goes back to Wmax after K seconds: the concave half of the curve (RFC 9438 figure 1)", () => {
    b = new TcpBench().establish({ cwnd: 200 });
    const sk = b.sk;
    sk.isCwndLimited = true;
    sk.sndSsthresh = cubictcpRecalcSsthresh(sk);
    sk.sndCwnd = sk.sndSsthresh;
    expect(sk.sndSsthresh).toBe(140);
    const ca = sk.icskCaPriv as Bictcp;
    const k = Math.cbrt((200 - 140) / 0.4);
    const rtt = 0.1;
    const at: number[] = [];
    for (let t = 0; t < k + 2; t += rtt) {
      at.push(sk.sndCwnd);
      for (let acked = 0; acked < sk.sndCwnd; acked += 2) cubictcpCongAvoid(sk, 0, 2);
      b.advance(rtt * 1e6);
    }
    expect(ca.bicK / 1024).toBeCloseTo(k, 1);
    const atK = at[Math.round(k / rtt)]!;
    expect(atK).toBeGreaterThan(193);
    expect(atK).toBeLessThan(206);
    // Fast, flat, fast.
    const growth = (from: number, to: number) => at[Math.round(to / rtt)]! - at[Math.round(from / rtt)]!;
    expect(growth(0, k / 3)).toBeGreaterThan(growth(k / 3, (2 * k) / 3));
    expect(growth(k - 1, k)).toBeLessThan(growth(0, 1));
  });

  it("fast convergence remembers a falling Wmax as lower still", () => {
    b = new TcpBench().establish({ cwnd: 100 });
    const ca = b.sk.icskCaPriv as Bictcp;
    expect(cubictcpRecalcSsthresh(b.sk)).toBe(70);
    expect(ca.lastMaxCwnd).toBe(100);
    b.sk.sndCwnd = 80;
    expect(cubictcpRecalcSsthresh(b.sk)).toBe(56);
    expect(ca.lastMaxCwnd).toBe(Math.floor((80 * 1741) / 2048));
    b.sk.sndCwnd = 2;
    expect(cubictcpRecalcSsthresh(b.sk)).toBe(2);
  });

  it("a timeout forgets; idleness moves the epoch", () => {
    b = new TcpBench().establish({ cwnd: 100 });
    const ca = b.sk.icskCaPriv as Bictcp;
    ca.epochStart = b.kernel.jiffies;
    b.sk.lsndtime = b.kernel.jiffies;
    b.advance(5_000_000);
    cubictcpCwndEventTxStart(b.sk);
    expect(ca.epochStart).toBe(15_000);
    ca.lastMaxCwnd = 77;
    cubictcpState(b.sk, 4);
    expect([ca.lastMaxCwnd, ca.epochStart]).toEqual([0, 0]);
  });
});

describe("HyStart", () => {
  const sample = new AckSample();
  function ackWith(rttUs: number): void {
    sample.rttUs = rttUs;
    cubictcpAcked(b.sk, sample);
  }

  it("leaves slow start when the RTT of a round has grown by an eighth, at least 4 ms", () => {
    b = new TcpBench().establish({ cwnd: 20 });
    for (let i = 0; i < 9; i++) ackWith(50_000);
    expect(b.sk.sndSsthresh).toBe(0x7fffffff);
    // A new round: the first eight samples only gather.
    b.sk.sndUna = seqAdd(b.sk.sndNxt, 1);
    ackWith(57_000);
    b.sk.sndUna = seq(1000);
    for (let i = 0; i < 7; i++) ackWith(57_000);
    expect(b.sk.sndSsthresh).toBe(0x7fffffff);
    b.advance(10_000);
    ackWith(57_000);
    expect(b.sk.sndSsthresh).toBe(20);
    expect(b.net.mib.linux[LINUX_MIB_TCPHYSTARTDELAYDETECT]).toBe(1);
  });

  it("not below cwnd 16, nor when switched off", () => {
    b = new TcpBench().establish({ cwnd: 15 });
    for (let i = 0; i < 30; i++) ackWith(50_000 + i * 1000);
    expect(b.sk.sndSsthresh).toBe(0x7fffffff);
    b.sk.sndCwnd = 20;
    tcpCubicParameters.hystart = 0;
    for (let i = 0; i < 30; i++) ackWith(90_000);
    tcpCubicParameters.hystart = 1;
    expect(b.sk.sndSsthresh).toBe(0x7fffffff);
  });

  it("leaves it when a train of ACKs lasts for half of the RTT", () => {
    b = new TcpBench().establish({ cwnd: 20 });
    b.sk.skPacingRate = 1e12;
    ackWith(20_000);
    for (let ms = 0; ms < 10; ms++) {
      b.advance(1000);
      ackWith(20_000);
      expect(b.sk.sndSsthresh).toBe(0x7fffffff);
    }
    b.advance(1000);
    ackWith(20_000);
    expect(b.sk.sndSsthresh).toBe(20);
    expect(b.net.mib.linux[LINUX_MIB_TCPHYSTARTTRAINDETECT]).toBe(1);
  });
});
