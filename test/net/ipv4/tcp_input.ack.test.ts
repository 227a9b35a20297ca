/** ACK processing: RTT and RTO, loss recovery, undo, tail loss probes, as seen on the wire and in the state. */

import { describe, expect, it } from "vitest";
import { seededRandom } from "../../../src/kernel/random.ts";
import { skbNext } from "../../../src/net/core/skbuff.ts";
import { seq } from "../../../src/net/ipv4/seq.ts";
import { __tcpSetRto } from "../../../src/net/ipv4/tcp_h.ts";
import { tcpRttEstimator } from "../../../src/net/ipv4/tcp_input.ack.ts";
import {
  TCPCB_LOST,
  TCPCB_SACKED_ACKED,
  TCPCB_SACKED_RETRANS,
  TcpSock,
  tcpSkbPcount,
  tcpSkbSacked,
} from "../../../src/net/ipv4/tcp_sock.ts";
import {
  LINUX_MIB_TCPDSACKUNDO,
  LINUX_MIB_TCPFASTRETRANS,
  LINUX_MIB_TCPFULLUNDO,
  LINUX_MIB_TCPLOSSPROBERECOVERY,
  LINUX_MIB_TCPLOSSPROBES,
  LINUX_MIB_TCPLOSSUNDO,
  LINUX_MIB_TCPRENORECOVERY,
  LINUX_MIB_TCPSACKRECOVERY,
  LINUX_MIB_TCPSACKRENEGING,
  LINUX_MIB_TCPSACKREORDER,
  LINUX_MIB_TCPSPURIOUSRTOS,
  LINUX_MIB_TCPTIMEOUTS,
} from "../../../src/uapi/linux_mib.ts";
import { TCP_CA_CWR, TCP_CA_Disorder, TCP_CA_Loss, TCP_CA_Open, TCP_CA_Recovery } from "../../../src/uapi/tcp.ts";
import { segText, TcpWire } from "./tcp_wire.ts";

const OPTS = { mss: 1000, sackOk: true, wscale: 7 };

/** A connection that has `n` segments of 1000 bytes in flight; the handshake took `rtt` ms. */
function flying(n: number, opts: object = OPTS, rtt = 100, sysctls: Record<string, string> = {}) {
  const w = new TcpWire({ sysctls: { "net.ipv4.tcp_congestion_control": "reno", ...sysctls } });
  const lfd = w.listen();
  w.in("S", { ...opts, seq: 0, win: 32792 });
  w.sleep(rtt);
  w.in(".", { seq: 1, ack: 1, win: 2000 });
  const fd = accept(w, lfd);
  w.out();
  w.write(fd, n * 1000);
  const sk = w.sock(fd);
  return { w, fd, lfd, sk, sent: w.out() };
}

import * as sys from "../../../src/net/socket.ts";

function accept(w: TcpWire, lfd: number): number {
  return w.ok(sys.sysAccept4(w.net, lfd, null, 2048));
}

function ended(w: TcpWire, fds: number[]): void {
  const e = w.end(fds);
  expect(e.after).toEqual(e.before);
}

describe("RTT (RFC 6298 with the kernel's deviation)", () => {
  /** The estimator written down again, with shifts on 32-bit integers. */
  function model(samples: number[], rtoMin: number): [srtt: number, rttvar: number, rto: number][] {
    let srtt = 0;
    let mdev = 0;
    let mdevMax = 0;
    let rttvar = 0;
    return samples.map((m) => {
      if (srtt === 0) {
        srtt = m << 3;
        mdev = m << 1;
        rttvar = Math.max(mdev, rtoMin);
        mdevMax = rttvar;
      } else {
        let d = m - (srtt >> 3);
        srtt += d;
        if (d < 0) {
          d = -d - (mdev >> 2);
          if (d > 0) d >>= 3;
        } else {
          d -= mdev >> 2;
        }
        mdev += d;
        if (mdev > mdevMax) {
          mdevMax = mdev;
          if (mdevMax > rttvar) rttvar = mdevMax;
        }
        // Every sample is a round trip of its own here.
        if (mdevMax < rttvar) rttvar -= (rttvar - mdevMax) >> 2;
        mdevMax = rtoMin;
      }
      return [srtt, rttvar, Math.ceil(((srtt >> 3) + rttvar) / 1000) * 1000];
    });
  }

  const vectors: Record<string, number[]> = {
    "one sample: RTO = 3 RTT, but at least RTT + 200 ms": [100_000],
    "short RTTs": [100, 120, 90, 100, 100],
    "a jump up and back": [50_000, 50_000, 500_000, 50_000, 50_000, 50_000, 50_000],
    falling: [400_000, 300_000, 200_000, 100_000, 50_000, 25_000],
    rising: [1000, 10_000, 100_000, 1_000_000],
  };
  const rnd = seededRandom(5);
  vectors["random (seed 5)"] = Array.from({ length: 200 }, () => 1 + (rnd.u32() % 300_000));
  for (const [name, samples] of Object.entries(vectors)) {
    it(name, () => {
      const sk = new TcpSock();
      sk.icskRtoMin = 200_000;
      const want = model(samples, 200_000);
      samples.forEach((m, i) => {
        sk.sndUna = seq(i * 10 + 1);
        sk.sndNxt = seq(i * 10 + 5);
        tcpRttEstimator(sk, m);
        expect([sk.srttUs, sk.rttvarUs, __tcpSetRto(sk)]).toEqual(want[i]);
      });
    });
  }

  it("the handshake is measured, and so is data", () => {
    const { w, fd, lfd, sk } = flying(1);
    expect(sk.srttUs >> 3).toBe(100_000);
    expect(sk.icskRto).toBe(300_000);
    w.sleep(60);
    w.in(".", { seq: 1, ack: 1001, win: 2000 });
    expect(sk.srttUs >> 3).toBe(95_000);
    ended(w, [fd, lfd]);
  });

  it("a retransmitted segment is no sample (Karn), unless a timestamp tells", () => {
    const { w, fd, lfd, sk } = flying(1);
    w.sleep(400);
    expect(w.out().length).toBeGreaterThan(0);
    const srtt = sk.srttUs;
    w.in(".", { seq: 1, ack: 1001, win: 2000 });
    expect(sk.srttUs).toBe(srtt);
    ended(w, [fd, lfd]);
  });
});

describe("fast retransmit and recovery (RFC 6675, RFC 8985, RFC 6937)", () => {
  it("three SACKed segments: the hole is resent at once, cwnd is halved when it is over", () => {
    const { w, fd, lfd, sk } = flying(10);
    w.sleep(100);
    w.in(".", { seq: 1, ack: 1, win: 2000, sack: [[1001, 2001]] });
    expect(sk.icskCaState).toBe(TCP_CA_Disorder);
    expect(w.outText()).toEqual([]);
    w.in(".", { seq: 1, ack: 1, win: 2000, sack: [[1001, 3001]] });
    w.in(".", { seq: 1, ack: 1, win: 2000, sack: [[1001, 4001]] });
    expect(sk.icskCaState).toBe(TCP_CA_Recovery);
    expect(w.outText()).toEqual([". 1:1001(1000) ack 1"]);
    expect(w.ext(LINUX_MIB_TCPSACKRECOVERY)).toBe(1);
    expect(w.ext(LINUX_MIB_TCPFASTRETRANS)).toBe(1);
    for (let r = 5001; r <= 10001; r += 1000) w.in(".", { seq: 1, ack: 1, win: 2000, sack: [[1001, r]] });
    w.sleep(100);
    w.in(".", { seq: 1, ack: 10001, win: 2000 });
    expect(sk.icskCaState).toBe(TCP_CA_Open);
    expect(sk.sndCwnd).toBe(5);
    expect([sk.packetsOut, sk.sackedOut, sk.lostOut, sk.retransOut]).toEqual([0, 0, 0, 0]);
    ended(w, [fd, lfd]);
  });

  it("without SACK: three duplicate ACKs, then a segment for every partial ACK (RFC 6582)", () => {
    const { w, fd, lfd, sk } = flying(10, { mss: 1000, wscale: 7 });
    w.sleep(100);
    for (let i = 0; i < 2; i++) w.in(".", { seq: 1, ack: 1, win: 2000 });
    expect(w.outText()).toEqual([]);
    w.in(".", { seq: 1, ack: 1, win: 2000 });
    expect(w.outText()).toEqual([". 1:1001(1000) ack 1"]);
    expect(w.ext(LINUX_MIB_TCPRENORECOVERY)).toBe(1);
    for (let i = 0; i < 4; i++) w.in(".", { seq: 1, ack: 1, win: 2000 });
    w.sleep(100);
    w.out();
    // The second hole.
    w.in(".", { seq: 1, ack: 4001, win: 2000 });
    expect(w.outText()).toEqual([". 4001:5001(1000) ack 1"]);
    w.sleep(100);
    w.in(".", { seq: 1, ack: 10001, win: 2000 });
    // Held until something above high_seq is acknowledged.
    expect(sk.icskCaState).toBe(TCP_CA_Recovery);
    w.write(fd, 1000);
    w.sleep(100);
    w.in(".", { seq: 1, ack: 11001, win: 2000 });
    expect(sk.icskCaState).toBe(TCP_CA_Open);
    ended(w, [fd, lfd]);
  });

  it("reordering within a quarter of the RTT is waited for", () => {
    const { w, fd, lfd, sk } = flying(10);
    w.sleep(100);
    // Two segments overtake the first one; then it comes: reordering is known now.
    w.in(".", { seq: 1, ack: 1, win: 2000, sack: [[1001, 3001]] });
    w.sleep(5);
    w.in(".", { seq: 1, ack: 3001, win: 2000 });
    expect(w.ext(LINUX_MIB_TCPSACKREORDER)).toBe(1);
    expect(sk.reordSeen).toBe(1);
    w.in(".", { seq: 1, ack: 10001, win: 2000 });
    w.out();
    w.write(fd, 10_000);
    w.out();
    w.sleep(100);
    w.in(".", { seq: 1, ack: 10001, win: 2000, sack: [[11001, 14001]] });
    expect(w.outText().filter((t) => t.startsWith(". 10001"))).toEqual([]);
    w.sleep(30);
    expect(w.outText()).toContain(". 10001:11001(1000) ack 1");
    ended(w, [fd, lfd]);
  });

  it("a D-SACK for every retransmission undoes the reduction (RFC 3708)", () => {
    const { w, fd, lfd, sk } = flying(10);
    w.sleep(100);
    w.in(".", { seq: 1, ack: 1, win: 2000, sack: [[1001, 4001]] });
    expect(sk.icskCaState).toBe(TCP_CA_Recovery);
    w.in(".", { seq: 1, ack: 4001, win: 2000 });
    w.sleep(100);
    w.in(".", { seq: 1, ack: 4001, win: 2000, sack: [[1, 1001]] });
    expect(w.ext(LINUX_MIB_TCPDSACKUNDO)).toBe(1);
    expect(sk.sndCwnd).toBeGreaterThanOrEqual(10);
    w.in(".", { seq: 1, ack: 10001, win: 2000 });
    ended(w, [fd, lfd]);
  });

  it("an echoed timestamp from before the retransmission undoes it (Eifel, RFC 3522)", () => {
    const { w, fd, lfd, sk, sent } = flying(10, { ...OPTS, mss: 1012, ts: [1, 0] });
    // The handshake's ACK needs a timestamp of its own.
    expect(sent[0]!.ts).toBeDefined();
    const ts0 = sent[0]!.ts![0];
    w.sleep(100);
    w.in(".", { seq: 1, ack: 1, win: 2000, sack: [[1001, 4001]], ts: [2, ts0] });
    expect(sk.icskCaState).toBe(TCP_CA_Recovery);
    w.sleep(5);
    w.in(".", { seq: 1, ack: 10001, win: 2000, ts: [3, ts0] });
    expect(w.ext(LINUX_MIB_TCPFULLUNDO)).toBe(1);
    expect(sk.icskCaState).toBe(TCP_CA_Open);
    expect(sk.sndCwnd).toBeGreaterThanOrEqual(10);
    ended(w, [fd, lfd]);
  });

  it("ECE: CWR, once a window (RFC 3168 §6.1.2)", () => {
    const w = new TcpWire({
      sysctls: { "net.ipv4.tcp_congestion_control": "reno", "net.ipv4.tcp_ecn": "1" },
    });
    const lfd = w.listen();
    w.in("SEW", { ...OPTS, seq: 0, win: 32792 });
    expect(w.out()[0]!.flags).toBe("S.E");
    w.sleep(100);
    w.in(".", { seq: 1, ack: 1, win: 2000 });
    const fd = accept(w, lfd);
    w.write(fd, 10_000);
    const sk = w.sock(fd);
    expect(w.out().every((s) => (s.tos & 3) === 2)).toBe(true);
    w.sleep(100);
    w.in("E.", { seq: 1, ack: 1001, win: 2000 });
    expect(sk.icskCaState).toBe(TCP_CA_CWR);
    w.in("E.", { seq: 1, ack: 2001, win: 2000 });
    for (let a = 3001; a <= 10001; a += 1000) w.in("E.", { seq: 1, ack: a, win: 2000 });
    expect(sk.sndSsthresh).toBe(5);
    w.write(fd, 3000);
    expect(w.out().some((s) => s.flags.includes("W"))).toBe(true);
    w.in(".", { seq: 1, ack: 13001, win: 2000 });
    expect(sk.icskCaState).toBe(TCP_CA_Open);
    expect(sk.sndCwnd).toBeLessThanOrEqual(6);
    ended(w, [fd, lfd]);
  });
});

describe("timeouts", () => {
  it("RTO: one segment, slow start, all is well again", () => {
    const { w, fd, lfd, sk } = flying(4, { mss: 1000, wscale: 7 }, 100, { "net.ipv4.tcp_early_retrans": "0" });
    w.sleep(310);
    expect(w.outText()).toEqual([". 1:1001(1000) ack 1"]);
    expect(sk.icskCaState).toBe(TCP_CA_Loss);
    expect(sk.sndCwnd).toBe(1);
    expect(w.ext(LINUX_MIB_TCPTIMEOUTS)).toBe(1);
    w.sleep(100);
    w.in(".", { seq: 1, ack: 1001, win: 2000 });
    expect(w.outText()).toEqual([". 1001:2001(1000) ack 1", ". 2001:3001(1000) ack 1"]);
    w.sleep(100);
    w.in(".", { seq: 1, ack: 4001, win: 2000 });
    w.sleep(2000);
    w.write(fd, 1000);
    w.sleep(100);
    w.in(".", { seq: 1, ack: 5001, win: 2000 });
    expect(sk.icskCaState).toBe(TCP_CA_Open);
    ended(w, [fd, lfd]);
  });

  it("F-RTO: the ACKs of the originals come after all (RFC 5682)", () => {
    const { w, fd, lfd, sk } = flying(10, OPTS, 100, { "net.ipv4.tcp_early_retrans": "0" });
    w.write(fd, 10_000);
    w.sleep(310);
    w.out();
    expect(sk.icskCaState).toBe(TCP_CA_Loss);
    // The delayed ACK of the first originals, then of more: new data is tried, and the timeout was spurious.
    w.in(".", { seq: 1, ack: 2001, win: 2000 });
    expect(w.outText()[0]).toMatch(/^P?\. 10001:/);
    w.in(".", { seq: 1, ack: 4001, win: 2000 });
    expect(w.ext(LINUX_MIB_TCPSPURIOUSRTOS)).toBe(1);
    expect(w.ext(LINUX_MIB_TCPLOSSUNDO)).toBe(1);
    expect(sk.icskCaState).toBe(TCP_CA_Open);
    expect(sk.sndCwnd).toBeGreaterThanOrEqual(10);
    w.in(".", { seq: 1, ack: 20001, win: 2000 });
    ended(w, [fd, lfd]);
  });

  it("a tail loss probe after two RTTs (RFC 8985 §7.2), and its repair is counted as a loss", () => {
    const { w, fd, lfd, sk, sent } = flying(10);
    w.sleep(100);
    // 8 arrive, the last two are lost.
    w.in(".", { seq: 1, ack: 8001, win: 2000 });
    const t = w.now;
    w.sleep(250);
    const probe = w.out();
    expect(probe.map(segText)).toEqual(["P. 9001:10001(1000) ack 1"]);
    expect(probe[0]!.at - t).toBeGreaterThanOrEqual(195_000);
    expect(probe[0]!.at - t).toBeLessThanOrEqual(215_000);
    expect(sent.length).toBe(10);
    expect(w.ext(LINUX_MIB_TCPLOSSPROBES)).toBe(1);
    w.sleep(100);
    // The probe's ACK shows the other one to be lost.
    w.in(".", { seq: 1, ack: 8001, win: 2000, sack: [[9001, 10001]] });
    w.sleep(20);
    expect(w.outText()).toEqual([". 8001:9001(1000) ack 1"]);
    w.in(".", { seq: 1, ack: 10001, win: 2000 });
    expect(sk.icskCaState).toBe(TCP_CA_Open);
    ended(w, [fd, lfd]);
  });

  it("a probe that repairs a lone loss reduces the window", () => {
    const { w, fd, lfd, sk } = flying(10);
    w.sleep(100);
    w.in(".", { seq: 1, ack: 9001, win: 2000 });
    const cwnd = sk.sndCwnd;
    // A lone segment may wait for a delayed ACK, but not longer than the RTO.
    w.sleep(330);
    expect(w.outText()).toEqual(["P. 9001:10001(1000) ack 1"]);
    w.sleep(100);
    w.write(fd, 1000);
    w.in(".", { seq: 1, ack: 11001, win: 2000 });
    expect(w.ext(LINUX_MIB_TCPLOSSPROBERECOVERY)).toBe(1);
    expect(sk.sndCwnd).toBeLessThan(cwnd);
    ended(w, [fd, lfd]);
  });

  it("reneging: a SACKed segment that SND.UNA reaches is resent (RFC 2018 §8)", () => {
    const { w, fd, lfd, sk } = flying(10);
    w.sleep(100);
    w.in(".", { seq: 1, ack: 1, win: 2000, sack: [[1001, 5001]] });
    w.out();
    w.sleep(20);
    // The hole is filled, but the receiver has thrown the rest away.
    w.in(".", { seq: 1, ack: 1001, win: 2000 });
    w.sleep(60);
    expect(w.ext(LINUX_MIB_TCPSACKRENEGING)).toBe(1);
    expect(w.outText().some((t) => t.startsWith(". 1001:2001"))).toBe(true);
    expect(sk.sackedOut).toBe(0);
    w.in(".", { seq: 1, ack: 10001, win: 2000 });
    ended(w, [fd, lfd]);
  });
});

describe("windows", () => {
  it("a closed window is probed, and opens with the answer", () => {
    const { w, fd, lfd } = flying(1);
    w.in(".", { seq: 1, ack: 1001, win: 0 });
    w.write(fd, 1000);
    expect(w.out()).toEqual([]);
    w.sleep(400);
    // A probe is one old byte.
    expect(w.outText()[0]).toBe(". 1000:1000(0) ack 1");
    w.in(".", { seq: 1, ack: 1001, win: 2000 });
    expect(w.outText()).toEqual(["P. 1001:2001(1000) ack 1"]);
    w.in(".", { seq: 1, ack: 2001, win: 2000 });
    ended(w, [fd, lfd]);
  });

  it("an old segment does not change the window (SND.WL1)", () => {
    const { w, fd, lfd, sk } = flying(1);
    w.in("P.", { seq: 1, ack: 1001, win: 100, len: 10 });
    expect(sk.sndWnd).toBe(100 << 7);
    w.in(".", { seq: 1, ack: 1001, win: 50 });
    expect(sk.sndWnd).toBe(100 << 7);
    w.in(".", { seq: 11, ack: 1001, win: 50 });
    expect(sk.sndWnd).toBe(50 << 7);
    // Of equally new ones the larger.
    w.in(".", { seq: 11, ack: 1001, win: 60 });
    expect(sk.sndWnd).toBe(60 << 7);
    w.in(".", { seq: 11, ack: 1001, win: 55 });
    expect(sk.sndWnd).toBe(60 << 7);
    ended(w, [fd, lfd]);
  });
});

/** What the tags of the retransmit queue add up to. Without SACK sacked_out counts duplicate ACKs. */
function recount(sk: TcpSock): number[] {
  const n = [0, 0, 0, 0];
  for (let skb = sk.tcpRtxQueue.head; skb !== 0; skb = skbNext(skb)) {
    const pcount = tcpSkbPcount(skb);
    const sacked = tcpSkbSacked(skb);
    n[0] += pcount;
    if ((sacked & TCPCB_SACKED_ACKED) !== 0) n[1] += pcount;
    if ((sacked & TCPCB_LOST) !== 0) n[2] += pcount;
    if ((sacked & TCPCB_SACKED_RETRANS) !== 0) n[3] += pcount;
  }
  if (sk.rxOpt.sackOk === 0) n[1] = Math.min(sk.sackedOut, n[0]!);
  return n;
}

function counters(sk: TcpSock): number[] {
  return [sk.packetsOut, sk.sackedOut, sk.lostOut, sk.retransOut];
}

describe("a hostile peer", () => {
  for (let s = 1; s <= 10; s++) {
    it(`random ACKs and SACKs keep the counters consistent (seed ${s})`, () => {
      const rnd = seededRandom(s);
      const below = (n: number): number => rnd.u32() % n;
      const sackOk = below(4) !== 0;
      const ts = below(2) === 0;
      const { w, fd, lfd, sk } = flying(10, {
        mss: 1000,
        wscale: 7,
        ...(sackOk ? { sackOk: true } : {}),
        ...(ts ? { ts: [1, 0] as [number, number] } : {}),
      });
      let tsval = 2;
      for (let i = 0; i < 400; i++) {
        const una = (sk.sndUna as unknown as number) - w.peerIss;
        const nxt = (sk.sndNxt as unknown as number) - w.peerIss;
        const span = Math.max(1, nxt - una + 3000);
        const block = (): [number, number] => {
          const l = una - 1500 + below(span + 1500);
          return [l, l + (below(8) === 0 ? -below(2000) : below(5000))];
        };
        const n = below(4);
        const o: Record<string, unknown> = {
          seq: 1 - (below(10) === 0 ? below(3) : 0),
          ack: below(3) === 0 ? una + below(Math.max(1, nxt - una + 1)) : una - (below(10) === 0 ? below(3000) : 0),
          win: below(10) === 0 ? 0 : 2000,
        };
        if (n > 0) o["sack"] = Array.from({ length: n }, block);
        if (ts) o["ts"] = [tsval++, below(5) === 0 ? rnd.u32() : w.lastTsval - below(50)];
        w.in(below(8) === 0 ? "E." : ".", o);
        if (below(4) === 0) w.write(fd, below(5000));
        if (below(3) === 0) w.sleep(below(200));
        if (sk.skcState !== 1) break;
        expect(counters(sk)).toEqual(recount(sk));
        expect(sk.sndCwnd).toBeGreaterThanOrEqual(1);
        w.out();
      }
      ended(w, [fd, lfd]);
    });
  }
});
