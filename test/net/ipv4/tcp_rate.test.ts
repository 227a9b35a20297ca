import { afterEach, describe, expect, it } from "vitest";
import { skbNext } from "../../../src/net/core/skbuff.ts";
import { minmaxGet, minmaxReset, minmaxRunningMin, RateSample } from "../../../src/net/ipv4/tcp_h.ts";
import { __tcpPushPendingFrames, tcpCurrentMss } from "../../../src/net/ipv4/tcp_output.ts";
import { tcpRateCheckAppLimited, tcpRateGen, tcpRateSkbDelivered } from "../../../src/net/ipv4/tcp_rate.ts";
import { TcpBench } from "./tcp_util.ts";

let b: TcpBench | null = null;
afterEach(() => {
  b?.end();
  b = null;
});

describe("delivery rate", () => {
  it("packets delivered over the longer of send phase and ACK phase", () => {
    b = new TcpBench().establish({ cwnd: 10 });
    const sk = b.sk;
    b.queue(5000);
    __tcpPushPendingFrames(sk, tcpCurrentMss(sk), sk.nonagle);
    b.advance(3000);
    b.queue(5000);
    __tcpPushPendingFrames(sk, tcpCurrentMss(sk), sk.nonagle);
    const first = sk.tcpRtxQueue.head;
    const second = skbNext(first);
    b.advance(17_000); // 20 ms after the first
    minmaxReset(sk.rttMin, 0, 15_000);

    // The first 5 are acknowledged after 20 ms: 5 packets in 20 ms.
    let rs = new RateSample();
    tcpRateSkbDelivered(sk, first, rs);
    sk.delivered += 5;
    tcpRateGen(sk, 5, 0, false, rs);
    expect([rs.delivered, rs.intervalUs, rs.sndIntervalUs, rs.rcvIntervalUs]).toEqual([5, 20_000, 0, 20_000]);
    expect([sk.rateDelivered, sk.rateIntervalUs]).toEqual([5, 20_000]);

    // All ten by 25 ms: 10 packets since the first was sent.
    b.advance(5000);
    rs = new RateSample();
    tcpRateSkbDelivered(sk, second, rs);
    sk.delivered += 5;
    tcpRateGen(sk, 5, 0, false, rs);
    expect([rs.delivered, rs.intervalUs, rs.sndIntervalUs]).toEqual([10, 25_000, 3000]);
  });

  it("no sample without a time, on reneging, or in less than the minimum RTT", () => {
    b = new TcpBench().establish();
    const sk = b.sk;
    b.queue(1000);
    __tcpPushPendingFrames(sk, tcpCurrentMss(sk), sk.nonagle);
    const skb = sk.tcpRtxQueue.head;
    let rs = new RateSample();
    tcpRateGen(sk, 1, 0, false, rs);
    expect([rs.delivered, rs.intervalUs]).toEqual([-1, -1]);
    b.advance(5000);
    rs = new RateSample();
    tcpRateSkbDelivered(sk, skb, rs);
    sk.delivered++;
    minmaxReset(sk.rttMin, 0, 10_000);
    tcpRateGen(sk, 1, 0, false, rs);
    expect(rs.intervalUs).toBe(-1);
    rs = new RateSample();
    tcpRateSkbDelivered(sk, skb, rs);
    tcpRateGen(sk, 1, 2, true, rs);
    expect([rs.delivered, rs.losses]).toEqual([-1, 2]);
  });

  it("an application that has nothing to send marks the samples", () => {
    b = new TcpBench().establish();
    const sk = b.sk;
    sk.appLimited = 0;
    sk.delivered = 100;
    tcpRateCheckAppLimited(sk);
    expect(sk.appLimited).toBe(100);
    b.queue(500);
    __tcpPushPendingFrames(sk, tcpCurrentMss(sk), sk.nonagle);
    b.advance(20_000);
    minmaxReset(sk.rttMin, 0, 20_000);
    const rs = new RateSample();
    tcpRateSkbDelivered(sk, sk.tcpRtxQueue.head, rs);
    expect(rs.isAppLimited).toBe(true);
    sk.delivered++;
    tcpRateGen(sk, 1, 0, false, rs);
    expect(sk.appLimited).toBe(0); // the bubble is gone
    expect(sk.rateAppLimited).toBe(true);
  });

  it("is not limited by the application while a segment waits, or cwnd is full", () => {
    b = new TcpBench().establish({ cwnd: 1 });
    b.sk.appLimited = 0;
    b.queue(3000);
    tcpRateCheckAppLimited(b.sk);
    expect(b.sk.appLimited).toBe(0);
  });
});

describe("windowed minimum", () => {
  it("is the minimum of the window, within a quarter of it", () => {
    const m = new Float64Array(6);
    minmaxReset(m, 0, 50);
    expect(minmaxRunningMin(m, 100, 10, 40)).toBe(40);
    expect(minmaxRunningMin(m, 100, 20, 60)).toBe(40);
    expect(minmaxRunningMin(m, 100, 50, 45)).toBe(40);
    expect(minmaxRunningMin(m, 100, 90, 55)).toBe(40);
    expect(minmaxRunningMin(m, 100, 115, 70)).toBe(45); // 40 has aged out
    expect(minmaxRunningMin(m, 100, 300, 90)).toBe(90);
    expect(minmaxGet(m)).toBe(90);
  });

  it("never exceeds the true minimum of the last quarters", () => {
    const m = new Float64Array(6);
    let seed = 12345;
    const next = () => (seed = (seed * 1103515245 + 12345) & 0x7fffffff);
    const values: number[] = [];
    minmaxReset(m, 0, 0xffffffff);
    for (let t = 1; t < 3000; t++) {
      const v = 100 + (next() % 1000);
      values[t] = v;
      const got = minmaxRunningMin(m, 200, t, v);
      const min = Math.min(...values.slice(Math.max(1, t - 200), t + 1));
      const half = Math.min(...values.slice(Math.max(1, t - 50), t + 1));
      expect(got).toBeGreaterThanOrEqual(min);
      expect(got).toBeLessThanOrEqual(half);
    }
  });
});
