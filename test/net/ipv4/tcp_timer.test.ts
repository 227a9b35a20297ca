import { afterEach, describe, expect, it } from "vitest";
import { SOCK_KEEPOPEN, sockSetFlag } from "../../../src/net/core/sock.ts";
import { ICSK_TIME_LOSS_PROBE, ICSK_TIME_RETRANS } from "../../../src/net/ipv4/inet_sock.ts";
import { seq } from "../../../src/net/ipv4/seq.ts";
import { TCP_RTO_MIN, tcpProbe0When, tcpTimeStampTs, USEC_PER_SEC } from "../../../src/net/ipv4/tcp_h.ts";
import {
  __tcpPushPendingFrames,
  tcpConnect,
  tcpCurrentMss,
  tcpSendDelayedAck,
} from "../../../src/net/ipv4/tcp_output.ts";
import { retransmitsTimedOut, tcpModelTimeout, tcpSetKeepalive } from "../../../src/net/ipv4/tcp_timer.ts";
import { LINUX_MIB_DELAYEDACKS, LINUX_MIB_TCPLOSSPROBES, LINUX_MIB_TCPTIMEOUTS } from "../../../src/uapi/linux_mib.ts";
import { short, TcpBench } from "./tcp_util.ts";

let b: TcpBench;
afterEach(() => b.end());

const push = () => __tcpPushPendingFrames(b.sk, tcpCurrentMss(b.sk), b.sk.nonagle);
/** Milliseconds after the first, and what. */
const log = () => b.sent.map((s) => [Math.round((s.at - b.sent[0]!.at) / 1000), short(s)]);
/** [segment, milliseconds after the first] of everything that was sent again. */
const times = () => b.sent.map((s) => Math.round((s.at - b.sent[0]!.at) / 1000));

function connecting(): void {
  b = new TcpBench();
  b.sk.skcState = 2;
  b.sk.rxOpt.mssClamp = 1460;
  b.sk.writeSeq = seq(1);
  tcpConnect(b.sk);
}

describe("SYN", () => {
  it("four linear timeouts of 1 s, then exponential ones, then ETIMEDOUT", () => {
    connecting();
    b.advance(500 * USEC_PER_SEC);
    // tcp_syn_retries 6 + tcp_syn_linear_timeouts 4.
    expect(times().map((t) => t / 1000)).toEqual([0, 1, 2, 3, 4, 5, 7, 11, 19, 35, 67]);
    expect(b.sent.every((s) => s.flags === "S")).toBe(true);
    expect(b.sk.skErr).toBe(110);
    expect(b.sk.skcState).toBe(7);
  });

  it("exponential from the first if the sysctl says so; TCP_SYNCNT", () => {
    b = new TcpBench();
    b.net.ipv4.sysctlTcpSynLinearTimeouts = 0;
    b.sk.icskSynRetries = 3;
    b.sk.skcState = 2;
    b.sk.rxOpt.mssClamp = 1460;
    tcpConnect(b.sk);
    b.advance(100 * USEC_PER_SEC);
    expect(times().map((t) => t / 1000)).toEqual([0, 1, 3, 7]);
  });

  it("each SYN has a timestamp of its own", () => {
    connecting();
    b.advance(1.5 * USEC_PER_SEC);
    expect(b.sent.map((s) => /TS val (\d+)/.exec(s.options)![1])).toEqual(["10000", "11000"]);
  });
});

describe("retransmission", () => {
  it("backs off from the RTO, doubling, up to tcp_rto_max", () => {
    b = new TcpBench().establish({ sack: false });
    b.queue(1000);
    push();
    expect(b.sk.icskPending).toBe(ICSK_TIME_RETRANS);
    b.advance(60 * USEC_PER_SEC);
    expect(times()).toEqual([0, 200, 600, 1400, 3000, 6200, 12600, 25400, 51000]);
    expect(b.sent.every((s) => short(s) === ". 1000:2000(1000)")).toBe(true);
    expect(b.sk.icskRetransmits).toBe(8);
    expect(b.sk.sndCwnd).toBe(1);
    expect(b.net.mib.linux[LINUX_MIB_TCPTIMEOUTS]).toBe(8);
    expect(b.sk.totalRto).toBe(8);
    expect(b.sk.totalRtoRecoveries).toBe(1);
  });

  it("gives up at the first RTO that is 924.6 s (tcp_retries2 backoffs) behind the first retransmission", () => {
    b = new TcpBench().establish({ sack: false });
    b.queue(1000);
    push();
    b.advance(2000 * USEC_PER_SEC);
    expect(b.sk.skErr).toBe(110);
    expect(b.sent).toHaveLength(17);
    expect(times().at(-1)).toBe(924_600);
  });

  it.each([1000, 5000])("TCP_USER_TIMEOUT %i ms", (ms) => {
    b = new TcpBench().establish({ sack: false });
    b.sk.icskUserTimeout = ms;
    b.queue(1000);
    push();
    b.advance(60 * USEC_PER_SEC);
    expect(b.sk.skErr).toBe(110);
    // The last timer is clamped, so that it ends `ms` after the first retransmission.
    expect(times()).toEqual([0, 200, 600, 1400, 3000].filter((t) => t < ms + 200));
    expect(b.sk.icskTimeout).toBe(10_200_000 + ms * 1000);
  });

  it("only the head is sent again; the rest is lost and waits for cwnd", () => {
    b = new TcpBench().establish({ sack: false, cwnd: 10 });
    b.queue(10_000);
    push();
    b.sent.length = 0;
    b.advance(250_000);
    expect(b.sent.map(short)).toEqual(["P. 1000:2000(1000)".replace("P.", ".")]);
    expect(b.sk.lostOut).toBe(10);
    expect(b.sk.retransOut).toBe(1);
    b.check();
  });

  it("a shrunk window: the retransmission probes it, without end", () => {
    b = new TcpBench().establish({ sack: false });
    b.queue(1000);
    push();
    b.sk.sndWnd = 0;
    b.advance(100 * USEC_PER_SEC);
    expect(times().slice(0, 5)).toEqual([0, 200, 600, 1400, 3000]);
    expect(b.sk.skErr).toBe(0);
  });

  it("local congestion: try again after half a second", () => {
    b = new TcpBench().establish({ sack: false });
    b.queue(1000);
    push();
    b.xmitResults.push(1); // NET_XMIT_DROP
    b.advance(900_000);
    expect(times()).toEqual([0, 200, 700]);
  });

  it.each([
    [3, TCP_RTO_MIN, 3000],
    [8, TCP_RTO_MIN, 102_200],
    [15, TCP_RTO_MIN, 924_600],
    [5, USEC_PER_SEC, 63_000],
  ])("tcp_model_timeout(%i backoffs from %i) = %i ms", (n, base, ms) => {
    b = new TcpBench().establish();
    expect(tcpModelTimeout(b.sk, n, base)).toBe(ms);
  });

  it("retransmits_timed_out counts from the first retransmission", () => {
    b = new TcpBench().establish();
    b.sk.retransStamp = tcpTimeStampTs(b.sk);
    expect(retransmitsTimedOut(b.sk, 3, 0)).toBe(false);
    b.sk.icskRetransmits = 1;
    b.advance(2_999_000);
    expect(retransmitsTimedOut(b.sk, 3, 0)).toBe(false);
    b.advance(1000);
    expect(retransmitsTimedOut(b.sk, 3, 0)).toBe(true);
  });
});

describe("tail loss probe", () => {
  it("after 2 RTT + 2 ms, with several packets out: the last segment; then the RTO", () => {
    b = new TcpBench().establish({ cwnd: 10 });
    b.sk.srttUs = 50_000 << 3;
    b.sk.icskRto = 300_000;
    b.queue(4000);
    push();
    expect(b.sk.icskPending).toBe(ICSK_TIME_LOSS_PROBE);
    b.advance(410_000);
    expect(log()).toEqual([
      [0, "P. 1000:5000(4000)"],
      [102, ". 4000:5000(1000)"],
      [402, ". 1000:2000(1000)"],
    ]);
    expect(b.net.mib.linux[LINUX_MIB_TCPLOSSPROBES]).toBe(1);
    b.check();
  });

  it("a lone packet waits for a delayed ACK too, but not beyond the RTO", () => {
    b = new TcpBench().establish();
    b.sk.srttUs = 50_000 << 3;
    b.sk.icskRto = 350_000;
    b.queue(500);
    push();
    b.advance(345_000);
    expect(times()).toEqual([0, 300]);
    b.end();
    b = new TcpBench().establish();
    b.sk.srttUs = 50_000 << 3;
    b.sk.icskRto = 250_000;
    b.queue(500);
    push();
    b.advance(260_000);
    expect(times()).toEqual([0, 250]);
    expect(b.sk.tlpRetrans).toBe(true);
  });

  it("prefers new data, beyond cwnd", () => {
    b = new TcpBench().establish({ cwnd: 2 });
    b.sk.srttUs = 50_000 << 3;
    b.sk.icskRto = 300_000;
    b.queue(5000);
    push();
    expect(b.sk.packetsOut).toBe(2);
    b.advance(110_000);
    expect(log()).toEqual([
      [0, ". 1000:2000(1000)"],
      [0, ". 2000:3000(1000)"],
      [102, ". 3000:4000(1000)"],
    ]);
    expect(b.sk.tlpRetrans).toBe(false);
    expect(b.sk.tlpHighSeqSet).toBe(true);
  });

  it("off without SACK, or by the sysctl", () => {
    b = new TcpBench().establish();
    b.net.ipv4.sysctlTcpEarlyRetrans = 0;
    b.queue(500);
    push();
    expect(b.sk.icskPending).toBe(ICSK_TIME_RETRANS);
  });
});

describe("zero window probe", () => {
  it("with an old sequence number, exponentially later", () => {
    b = new TcpBench().establish();
    b.sk.sndWnd = 0;
    b.queue(1000);
    push();
    const start = b.now;
    b.advance(20 * USEC_PER_SEC);
    expect(b.sent.map((s) => [(s.at - start) / 1000, short(s)])).toEqual([
      [200, ". 999:999(0)"],
      [600, ". 999:999(0)"],
      [1400, ". 999:999(0)"],
      [3000, ". 999:999(0)"],
      [6200, ". 999:999(0)"],
      [12600, ". 999:999(0)"],
    ]);
    expect(b.sk.icskProbesOut).toBe(6);
  });

  it("with data if the window has any room", () => {
    b = new TcpBench().establish();
    b.queue(1000);
    b.sk.sndWnd = 0;
    push();
    b.sk.sndWnd = 300;
    b.advance(250_000);
    expect(b.sent.map(short)).toEqual(["P. 1000:1300(300)"]);
    expect(b.sk.packetsOut).toBe(1);
    expect(b.sk.icskProbesOut).toBe(0);
    b.check();
  });

  it("TCP_USER_TIMEOUT ends it", () => {
    b = new TcpBench().establish();
    b.sk.icskUserTimeout = 3000;
    b.sk.sndWnd = 0;
    b.queue(1000);
    push();
    b.advance(10 * USEC_PER_SEC);
    expect(b.sk.skErr).toBe(110);
    expect(b.sent.length).toBeGreaterThan(2);
  });

  it("tcp_probe0_when", () => {
    b = new TcpBench().establish();
    b.sk.icskBackoff = 3;
    expect(tcpProbe0When(b.sk, 120 * USEC_PER_SEC)).toBe(1_600_000);
    b.sk.icskBackoff = 30;
    expect(tcpProbe0When(b.sk, 120 * USEC_PER_SEC)).toBe(120 * USEC_PER_SEC);
  });
});

describe("delayed ACK", () => {
  it("fires after ato, and inflates it", () => {
    b = new TcpBench().establish();
    const sk = b.sk;
    sk.icskAck.pending = 1;
    sk.icskAck.pingpong = 0;
    tcpSendDelayedAck(sk);
    b.advance(39_000);
    expect(b.sent).toEqual([]);
    b.advance(1000);
    expect(b.sent).toHaveLength(1);
    expect(sk.icskAck.ato).toBe(80_000);
    expect(b.net.mib.linux[LINUX_MIB_DELAYEDACKS]).toBe(1);
  });

  it("in pingpong mode a missed one leaves that mode", () => {
    b = new TcpBench().establish();
    b.sk.icskAck.pingpong = 3;
    b.sk.icskAck.ato = 100_000;
    b.sk.icskAck.pending = 1;
    tcpSendDelayedAck(b.sk);
    b.advance(150_000);
    expect(b.sent).toHaveLength(1);
    expect(b.sk.icskAck.pingpong).toBe(0);
    expect(b.sk.icskAck.ato).toBe(40_000);
  });
});

describe("keepalive", () => {
  it("probes after the idle time, every interval, then resets", () => {
    b = new TcpBench().establish();
    const sk = b.sk;
    sk.keepaliveTime = 10 * USEC_PER_SEC;
    sk.keepaliveIntvl = 2 * USEC_PER_SEC;
    sk.keepaliveProbes = 3;
    sk.icskAck.lrcvtime = sk.rcvTstamp = b.kernel.jiffies;
    tcpSetKeepalive(sk, true);
    sockSetFlag(sk, SOCK_KEEPOPEN);
    const start = b.now;
    b.advance(60 * USEC_PER_SEC);
    expect(b.sent.map((s) => [(s.at - start) / USEC_PER_SEC, short(s)])).toEqual([
      [10, ". 999:999(0)"],
      [12, ". 999:999(0)"],
      [14, ". 999:999(0)"],
      [16, "R. 1000:1000(0)"],
    ]);
    expect(sk.skErr).toBe(110);
  });

  it("counts from the last segment of the peer", () => {
    b = new TcpBench().establish();
    const sk = b.sk;
    sk.keepaliveTime = 10 * USEC_PER_SEC;
    tcpSetKeepalive(sk, true);
    sockSetFlag(sk, SOCK_KEEPOPEN);
    b.advance(6 * USEC_PER_SEC);
    sk.rcvTstamp = b.kernel.jiffies;
    b.advance(9 * USEC_PER_SEC);
    expect(b.sent).toEqual([]);
    b.advance(1 * USEC_PER_SEC);
    expect(b.sent).toHaveLength(1);
  });
});
