import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { ICSK_ACK_NOW, ICSK_ACK_TIMER } from "../../../src/net/ipv4/inet_sock.ts";
import { seqAdd } from "../../../src/net/ipv4/seq.ts";
import { CA_EVENT_ECN_IS_CE, CA_EVENT_ECN_NO_CE, CA_EVENT_LOSS, tcpCaFind } from "../../../src/net/ipv4/tcp_cong.ts";
import {
  Dctcp,
  dctcpCwndEvent,
  dctcpCwndUndo,
  dctcpGetInfo,
  dctcpInit,
  dctcpSsthresh,
  dctcpState,
  dctcpUpdateAlpha,
} from "../../../src/net/ipv4/tcp_dctcp.ts";
import { TCP_ECN_DEMAND_CWR, TCP_ECN_MODE_RFC3168 } from "../../../src/net/ipv4/tcp_h.ts";
import { INET_DIAG_DCTCPINFO } from "../../../src/uapi/inet_diag.ts";
import { LINUX_MIB_TCPPLBREHASH } from "../../../src/uapi/linux_mib.ts";
import { TCP_CA_Open, TCP_CA_Recovery } from "../../../src/uapi/tcp.ts";
import { TcpBench } from "./tcp_util.ts";

let b: TcpBench;
let ca: Dctcp;
beforeEach(() => {
  b = new TcpBench().establish({ cwnd: 100 });
  b.sk.ecnFlags = TCP_ECN_MODE_RFC3168;
  b.sk.icskCaOps = tcpCaFind("dctcp") as NonNullable<ReturnType<typeof tcpCaFind>>;
  dctcpInit(b.sk);
  ca = b.sk.icskCaPriv as Dctcp;
});
afterEach(() => b.end());

/** A window of `delivered` packets, `marked` of them, is acknowledged. */
function round(delivered: number, marked: number): void {
  b.sk.delivered += delivered;
  b.sk.deliveredCe += marked;
  ca.nextSeq = b.sk.sndUna;
  dctcpUpdateAlpha(b.sk, 0);
}

describe("alpha (RFC 8257 §3.3)", () => {
  it("begins with everything congested, and is kept while the window of data lasts", () => {
    expect(ca.dctcpAlpha).toBe(1024);
    b.sk.delivered += 10;
    ca.nextSeq = seqAdd(b.sk.sndUna, 1);
    dctcpUpdateAlpha(b.sk, 0);
    expect(ca.dctcpAlpha).toBe(1024);
  });

  it.each([
    [100, 100, 1024],
    [100, 50, 512],
    [100, 10, 102.4],
    [40, 1, 25.6],
  ])("of %i packets %i marked: alpha nears %d of 1024", (delivered, marked, alpha) => {
    for (let i = 0; i < 200; i++) round(delivered, marked);
    // Integer arithmetic: alpha / 16 is rounded down, and so is F / 16.
    expect(Math.abs(ca.dctcpAlpha - alpha)).toBeLessThanOrEqual(17);
  });

  it("moves by a sixteenth of the difference, and fades out to nothing", () => {
    round(100, 0);
    expect(ca.dctcpAlpha).toBe(960);
    round(100, 100);
    expect(ca.dctcpAlpha).toBe(964);
    for (let i = 0; i < 100; i++) round(100, 0);
    expect(ca.dctcpAlpha).toBe(0);
  });
});

describe("the window", () => {
  it.each([
    [1024, 50],
    [512, 75],
    [102, 96],
    [0, 100],
  ])("alpha %i: 100 packets become %i", (alpha, ssthresh) => {
    ca.dctcpAlpha = alpha;
    expect(dctcpSsthresh(b.sk)).toBe(ssthresh);
    b.sk.sndCwnd = ssthresh;
    expect(dctcpCwndUndo(b.sk)).toBe(100);
  });

  it("is halved by a loss whatever alpha says (§3.5), once: on entering recovery, and by a timeout", () => {
    ca.dctcpAlpha = 0;
    b.sk.icskCaState = TCP_CA_Open;
    dctcpState(b.sk, TCP_CA_Recovery);
    expect(b.sk.sndSsthresh).toBe(50);
    b.sk.icskCaState = TCP_CA_Recovery;
    b.sk.sndCwnd = 60;
    dctcpState(b.sk, TCP_CA_Recovery);
    expect(b.sk.sndSsthresh).toBe(50);
    dctcpCwndEvent(b.sk, CA_EVENT_LOSS);
    expect(b.sk.sndSsthresh).toBe(30);
  });
});

it("the receiver acknowledges a change of marks at once, and what came before it in its own way (§3.2)", () => {
  const ack = b.sk.icskAck;
  dctcpCwndEvent(b.sk, CA_EVENT_ECN_NO_CE);
  expect([ack.pending & ICSK_ACK_NOW, b.sk.ecnFlags & TCP_ECN_DEMAND_CWR]).toEqual([0, 0]);
  dctcpCwndEvent(b.sk, CA_EVENT_ECN_IS_CE);
  expect([ack.pending & ICSK_ACK_NOW, b.sk.ecnFlags & TCP_ECN_DEMAND_CWR]).toEqual([ICSK_ACK_NOW, TCP_ECN_DEMAND_CWR]);
  const before = b.sk.rcvNxt;
  b.sk.rcvNxt = seqAdd(before, 1000);
  ack.pending = ICSK_ACK_TIMER;
  dctcpCwndEvent(b.sk, CA_EVENT_ECN_NO_CE);
  expect(b.sent.map((s) => [s.flags, s.ack])).toEqual([[".E", before as unknown as number]]);
  expect([ack.pending & ICSK_ACK_NOW, b.sk.ecnFlags & TCP_ECN_DEMAND_CWR]).toEqual([ICSK_ACK_NOW, 0]);
});

describe("without ECN", () => {
  it("is Reno under another name, and says so", () => {
    b.sk.ecnFlags = 0;
    dctcpInit(b.sk);
    expect(b.sk.icskCaOps.name).toBe("dctcp-reno");
    expect(b.sk.tos & 3).toBe(0);
    expect(b.sk.icskCaOps.ssthresh(b.sk)).toBe(50);
    expect(dctcpGetInfo(b.sk, -1)?.dctcpEnabled).toBe(0);
  });
});

it("tells what it knows to who asks for it", () => {
  round(100, 25);
  b.sk.mssCache = 1000;
  b.sk.delivered += 7;
  b.sk.deliveredCe += 2;
  expect(dctcpGetInfo(b.sk, 0)).toBe(null);
  expect(dctcpGetInfo(b.sk, 1 << (INET_DIAG_DCTCPINFO - 1))).toEqual({
    name: "dctcp",
    dctcpEnabled: 1,
    dctcpCeState: 0,
    dctcpAlpha: 976,
    dctcpAbEcn: 2000,
    dctcpAbTot: 7000,
  });
});

describe("protective load balancing (tcp_plb.c)", () => {
  it("takes another flow hash after so many congested rounds in a row, but not soon after a timeout", () => {
    Object.assign(b.net.ipv4, { sysctlTcpPlbEnabled: 1, sysctlTcpPlbRehashRounds: 3, sysctlTcpPlbIdleRehashRounds: 0 });
    b.sk.skTxhash = 1;
    b.sk.skTxrehash = 1;
    for (const marked of [60, 60, 10, 60, 60]) round(100, marked);
    expect([b.sk.plbRehash, b.sk.skTxhash]).toEqual([0, 1]);
    round(100, 60);
    expect(b.sk.plbRehash).toBe(1);
    expect(b.sk.skTxhash).not.toBe(1);
    expect(b.net.mib.linux[LINUX_MIB_TCPPLBREHASH]).toBe(1);
    dctcpCwndEvent(b.sk, CA_EVENT_LOSS);
    for (let i = 0; i < 10; i++) round(100, 60);
    expect(b.sk.plbRehash).toBe(1);
    b.advance(120_000_000);
    round(100, 60);
    expect(b.sk.plbRehash).toBe(2);
  });
});
