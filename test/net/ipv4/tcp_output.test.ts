import { afterEach, describe, expect, it } from "vitest";
import { SHINFO_TSKEY, SHINFO_TX_FLAGS, TCPCB_FLAG_EOR } from "../../../assembly/layout.ts";
import { seededRandom } from "../../../src/kernel/random.ts";
import { u8, u32 } from "../../../src/mm/mem.ts";
import { skbLen, skbNext, skbShinfo, skbTruesize } from "../../../src/net/core/skbuff.ts";
import {
  ICSK_TIME_LOSS_PROBE,
  ICSK_TIME_PROBE0,
  ICSK_TIME_RETRANS,
  RequestSock,
} from "../../../src/net/ipv4/inet_sock.ts";
import { seq, seqAdd, seqRaw } from "../../../src/net/ipv4/seq.ts";
import {
  SK_PACING_NEEDED,
  TCP_NAGLE_CORK,
  TCP_NAGLE_OFF,
  TCP_NAGLE_PUSH,
  TSQF_QUEUED,
  TSQF_THROTTLED,
  tcpPacketsInFlight,
  tcpReceiveWindow,
  tcpRtxQueueUnlinkAndFree,
} from "../../../src/net/ipv4/tcp_h.ts";
import {
  __tcpPushPendingFrames,
  __tcpSelectWindow,
  TCP_FRAG_IN_RTX_QUEUE,
  TCP_FRAG_IN_WRITE_QUEUE,
  tcpConnect,
  tcpCurrentMss,
  tcpDelackMax,
  tcpEstablishedOptions,
  tcpFragment,
  tcpMakeSynack,
  tcpMssToMtu,
  tcpMtupInit,
  tcpMtuToMss,
  tcpOptionsWrite,
  tcpPushOne,
  tcpRetransmitSkb,
  tcpSelectInitialWindow,
  tcpSelectWindow,
  tcpSendAck,
  tcpSendActiveReset,
  tcpSendDelayedAck,
  tcpSendFin,
  tcpSynackOptions,
  tcpTrimHead,
  tcpTsoAutosize,
  tcpTsoSegs,
  tcpXmitRetransmitQueue,
} from "../../../src/net/ipv4/tcp_output.ts";
import {
  newTcpInitialWindow,
  newTcpOutOptions,
  TCP_SYNACK_NORMAL,
  TCPCB_LOST,
  TcpFastopenCookie,
  tcpSkbFlags,
  tcpSkbPcount,
  tcpSkbSacked,
  tcpSkbSetCbFlags,
  tcpSkbSetFlags,
  tcpSkbSetSacked,
} from "../../../src/net/ipv4/tcp_sock.ts";
import { expectPayload, ISS, parseOptions, short, TcpBench } from "./tcp_util.ts";

let b: TcpBench;
afterEach(() => b.end());

const push = () => __tcpPushPendingFrames(b.sk, tcpCurrentMss(b.sk), b.sk.nonagle);
const sentShort = () => b.sent.map(short);

describe("options", () => {
  const at = 4 * 1024 * 1024; // an unused place in the machine's memory

  function write(fill: (o: ReturnType<typeof newTcpOutOptions>) => number, withTp = true): string {
    const opts = newTcpOutOptions();
    const size = fill(opts);
    u8.fill(0xaa, at, at + 100);
    tcpOptionsWrite(at, withTp ? b.sk : null, opts);
    // Exactly the promised bytes were written.
    expect(u8[at + 20 + size]).toBe(0xaa);
    if (size > 0) expect(size % 4).toBe(0);
    return parseOptions(u8.slice(at + 20, at + 20 + size));
  }

  it.each([
    ["none", false, 0, false, ""],
    ["timestamps", true, 0, false, "nop,nop,TS val 10007 ecr 77"],
    ["3 sacks", false, 3, false, "nop,nop,sack 1:2 3:4 5:6"],
    ["4 sacks", false, 4, false, "nop,nop,sack 1:2 3:4 5:6 7:8"],
    ["timestamps leave room for 3", true, 4, false, "nop,nop,TS val 10007 ecr 77,nop,nop,sack 1:2 3:4 5:6"],
    ["a D-SACK comes first", true, 2, true, "nop,nop,TS val 10007 ecr 77,nop,nop,sack 9:10 1:2 3:4"],
    ["and takes the room of the last", true, 3, true, "nop,nop,TS val 10007 ecr 77,nop,nop,sack 9:10 1:2 3:4"],
  ])("established: %s", (_name, ts, sacks, dsack, expected) => {
    b = new TcpBench().establish({ ts });
    const rx = b.sk.rxOpt;
    rx.tsRecent = 77;
    b.sk.tsoffset = 7;
    rx.numSacks = sacks;
    rx.dsack = dsack;
    for (let i = 0; i < 4; i++) {
      b.sk.selectiveAcks[i]!.startSeq = seq(2 * i + 1);
      b.sk.selectiveAcks[i]!.endSeq = seq(2 * i + 2);
    }
    b.sk.duplicateSack[0]!.startSeq = seq(9);
    b.sk.duplicateSack[0]!.endSeq = seq(10);
    const skb = b.queue(100);
    b.kernel.machine.f64[(skb + 96) >>> 3] = 10_000_999;
    expect(write((o) => tcpEstablishedOptions(b.sk, skb, o))).toBe(expected);
    expect(rx.dsack).toBe(false); // reported once
  });

  it("the MSS shrinks by what SACK blocks take", () => {
    b = new TcpBench().establish({ mss: 1000, ts: true });
    expect(tcpCurrentMss(b.sk)).toBe(1000);
    b.sk.rxOpt.numSacks = 2;
    expect(tcpCurrentMss(b.sk)).toBe(1000 - 20);
  });

  it.each([
    [true, true, true, true, "mss 1400,sackOK,TS val 10005 ecr 3,nop,wscale 7"],
    [true, false, true, true, "mss 1400,nop,nop,sackOK,nop,wscale 7"],
    [false, true, true, true, "mss 1400,nop,nop,TS val 10005 ecr 3,nop,wscale 7"],
    [false, false, false, true, "mss 1400"],
    [true, true, true, false, "mss 1400,sackOK,TS val 10005 ecr 3,nop,wscale 7"],
  ])("SYN-ACK sack=%s ts=%s wscale=%s", (sackOk, tstampOk, wscaleOk, _x, expected) => {
    b = new TcpBench().establish();
    const req = new RequestSock(b.sk, {} as never);
    Object.assign(req, { sackOk, tstampOk, wscaleOk, rcvWscale: 7, tsRecent: 3, tsOff: 5 });
    const skb = b.queue(1);
    b.kernel.machine.f64[(skb + 96) >>> 3] = 10_000_000;
    expect(write((o) => tcpSynackOptions(b.sk, req, 1400, skb, o, null, TCP_SYNACK_NORMAL), false)).toBe(expected);
  });

  it.each([
    [false, 8, "mss 1400,nop,nop,sackOK,FO 0001020304050607,nop,nop"],
    [false, 6, "mss 1400,nop,nop,sackOK,FO 000102030405"],
    [true, 8, "mss 1400,nop,nop,sackOK,FOEXP 0001020304050607"],
    [true, 0, "mss 1400,nop,nop,sackOK,FOEXP"],
    [false, 0, "mss 1400,nop,nop,sackOK,FO,nop,nop"],
    [false, 16, "mss 1400,nop,nop,sackOK,FO 000102030405060708090a0b0c0d0e0f,nop,nop"],
  ])("Fast Open exp=%s len=%i", (exp, len, expected) => {
    b = new TcpBench().establish();
    const foc = new TcpFastopenCookie();
    foc.exp = exp;
    foc.len = len;
    for (let i = 0; i < 16; i++) foc.val[i] = i;
    const req = new RequestSock(b.sk, {} as never);
    req.sackOk = true;
    const skb = b.queue(1);
    expect(write((o) => tcpSynackOptions(b.sk, req, 1400, skb, o, foc, TCP_SYNACK_NORMAL), false)).toBe(expected);
  });
});

describe("connect", () => {
  it("sends a SYN, keeps it, and arms the RTO of one second", () => {
    b = new TcpBench();
    b.sk.skcState = 2;
    b.sk.skRcvbuf = 131072;
    b.sk.rxOpt.mssClamp = 536;
    b.sk.writeSeq = seq(0xffffffff);
    expect(tcpConnect(b.sk)).toBe(0);
    expect(b.sent).toHaveLength(1);
    const s = b.sent[0]!;
    expect(s).toMatchObject({ flags: "S", seq: 0xffffffff, ack: 0, window: 64240, gsoSegs: 1 });
    expect(s.options).toBe("mss 1460,sackOK,TS val 10000 ecr 0,nop,wscale 10");
    expect(seqRaw(b.sk.sndNxt)).toBe(0); // the SYN took the last number before the wrap
    expect(b.sk.packetsOut).toBe(1);
    expect(b.sk.icskPending).toBe(ICSK_TIME_RETRANS);
    expect(b.sk.icskTimeout).toBe(11_000_000);
    expect(b.sk.mssCache).toBe(524); // the clamp of 536 holds until the SYN-ACK
    b.check();
  });

  it("an ECN-setup SYN, when the sysctl asks for it", () => {
    b = new TcpBench();
    b.net.ipv4.sysctlTcpEcn = 1;
    b.net.ipv4.sysctlTcpTimestamps = 0;
    b.sk.skcState = 2;
    b.sk.rxOpt.mssClamp = 1460;
    tcpConnect(b.sk);
    expect(b.sent[0]).toMatchObject({ flags: "SEW", options: "mss 1460,nop,nop,sackOK,nop,wscale 10" });
    expect(b.sk.ecnFlags).toBe(1);
    // RFC 3168 §6.1.1.1: the retry is without.
    b.sk.undoRetrans = -1;
    expect(tcpRetransmitSkb(b.sk, b.sk.tcpRtxQueue.head, 1)).toBe(0);
    expect(b.sent[1]).toMatchObject({ flags: "S", tos: 0 });
  });

  it.each([
    // [space, mss, clamp, wscaleOk, initRcvWnd] -> [rcvWnd, clamp, wscale]
    [65536, 1460, 0, true, 0, 64240, 65535 << 10, 10],
    [270000, 1000, 0, true, 0, 270000, 65535 << 10, 10],
    [65536, 1460, 0, false, 0, 64240, 65535, 0],
    [65536, 1460, 0, true, 10, 14600, 65535 << 10, 10],
    [65536, 1460, 30000, true, 0, 29200, 30000, 0],
    [500, 1460, 0, true, 0, 500, 65535 << 10, 10],
    [-1, 1460, 0, true, 0, 0, 65535 << 10, 10],
  ])("initial window: space %i mss %i clamp %i", (space, mss, clamp, ws, init, rcvWnd, outClamp, scale) => {
    b = new TcpBench();
    const w = newTcpInitialWindow();
    w.windowClamp = clamp;
    tcpSelectInitialWindow(b.sk, space, mss, w, ws, init);
    expect(w).toEqual({ rcvWnd, windowClamp: outClamp, rcvWscale: scale });
  });

  it("SYN-ACK", () => {
    b = new TcpBench().establish();
    b.net.ipv4.sysctlTcpEcn = 2;
    const req = new RequestSock(b.sk, {} as never);
    Object.assign(req, {
      irNum: 80,
      irRmtPort: 4000,
      sntIsn: 7,
      rcvNxt: 9,
      rskRcvWnd: 100000,
      ecnOk: true,
      sackOk: true,
    });
    const skb = tcpMakeSynack(b.sk, b.dst, req, null, 0, 0);
    expect(skb).not.toBe(0);
    b.sk.icskAfOps.queueXmit(b.sk, skb, b.sk.corkFl);
    expect(b.sent[0]).toMatchObject({ flags: "S.E", seq: 7, ack: 9, window: 65535 });
    expect(b.sent[0]!.options).toBe("mss 1000,nop,nop,sackOK");
    expect(req.snt_synack).toBe(10_000_000);
  });
});

describe("the offered window", () => {
  it("is scaled, and never shrinks what was offered", () => {
    b = new TcpBench().establish({ wscale: 4 });
    const sk = b.sk;
    expect(tcpSelectWindow(sk)).toBe(65536 >> 4);
    expect(sk.rcvWnd).toBe(65536);
    // The buffer fills up, nothing is read: the right edge stays where it was.
    sk.skRmemAlloc = sk.skRcvbuf;
    sk.rcvNxt = seqAdd(sk.rcvNxt, 1000);
    expect(__tcpSelectWindow(sk)).toBe(0);
    expect(tcpSelectWindow(sk)).toBe(((65536 - 1000 + 15) & ~15) >> 4);
    sk.rcvNxt = seqAdd(sk.rcvNxt, tcpReceiveWindow(sk));
    expect(tcpSelectWindow(sk)).toBe(0);
    expect(sk.predFlags).toBe(0);
  });

  it.each([
    // rcvbuf used, rcvWnd before, mss, wscale -> window
    [0, 65536, 1000, 4, 65536],
    [131072 - 8192 * 2, 4096, 1000, 4, 8192], // half the buffer gone, 8 KiB left: still more than 1/16 of 64 KiB
    [131072 - 4095 * 2, 4096, 1000, 4, 0], // less than 1/16
    [131072 - 2000 * 2, 0, 3000, 4, 0], // less than a segment
    [0, 60000, 1000, 0, 65000], // without scaling: whole segments
    [0, 65100, 1000, 0, 65100], // kept while within an MSS
  ])("rmem %i, window %i, mss %i, wscale %i -> %i", (rmem, wnd, mss, wscale, expected) => {
    b = new TcpBench().establish({ wscale });
    b.sk.windowClamp = 65535 << wscale;
    b.sk.skRmemAlloc = rmem;
    b.sk.rcvWnd = wnd;
    b.sk.icskAck.rcvMss = mss;
    b.sk.rcvSsthresh = 65536;
    expect(__tcpSelectWindow(b.sk)).toBe(expected);
  });

  it("may shrink if the sysctl says so", () => {
    b = new TcpBench().establish({ wscale: 4 });
    b.net.ipv4.sysctlTcpShrinkWindow = 1;
    b.sk.skRmemAlloc = b.sk.skRcvbuf;
    expect(tcpSelectWindow(b.sk)).toBe(0);
  });
});

describe("what may leave", () => {
  it("a window of data: bursts of at most half of cwnd, PSH where Linux puts it", () => {
    b = new TcpBench().establish({ cwnd: 10 });
    const skb = b.queue(20_000);
    tcpSkbSetFlags(skb, tcpSkbFlags(skb) | 8);
    push();
    expect(sentShort()).toEqual(["P. 1000:6000(5000)", "P. 6000:11000(5000)"]);
    expect(b.sent.map((s) => [s.gsoSegs, s.gsoSize, s.gsoType])).toEqual([
      [5, 1000, 1],
      [5, 1000, 1],
    ]);
    b.sent.forEach(expectPayload);
    expect(b.sk.packetsOut).toBe(10);
    expect(b.sk.isCwndLimited).toBe(true);
    expect(seqRaw(b.sk.sndNxt)).toBe(11000);
    b.check();
  });

  it("PSH on a single segment only if sendmsg set it", () => {
    b = new TcpBench().establish();
    b.queue(1000);
    const skb = b.queue(1000);
    tcpSkbSetFlags(skb, tcpSkbFlags(skb) | 8);
    b.net.ipv4.sysctlTcpMinTsoSegs = 1;
    b.sk.skPacingRate = 1000; // one segment a skb
    push();
    expect(sentShort()).toEqual([". 1000:2000(1000)", "P. 2000:3000(1000)"]);
  });

  it("skbs that were left small by sendmsg are filled up (tcp_grow_skb)", () => {
    b = new TcpBench().establish();
    for (let i = 0; i < 4; i++) b.queue(300);
    b.sk.nonagle = TCP_NAGLE_OFF;
    push();
    // One neighbour per turn, as in Linux.
    expect(sentShort()).toEqual([". 1000:1600(600)", ". 1600:2200(600)"]);
    b.sent.forEach(expectPayload);
    expect(b.sk.tcpRtxQueue.qlen).toBe(2);
    b.check();
  });

  it("but not across MSG_EOR", () => {
    b = new TcpBench().establish();
    const skb = b.queue(300);
    tcpSkbSetCbFlags(skb, TCPCB_FLAG_EOR);
    b.queue(300);
    b.sk.nonagle = TCP_NAGLE_OFF;
    push();
    expect(sentShort()).toEqual([". 1000:1300(300)", ". 1300:1600(300)"]);
  });

  it("the peer's window: an exact fit, then a probe timer", () => {
    b = new TcpBench().establish({ wnd: 2500 });
    b.sk.icskSyncMss(b.sk, b.mtu); // half of a window of 2500 is 1250
    b.queue(10_000);
    push();
    expect(sentShort()).toEqual(["P. 1000:3500(2500)"]);
    expect(b.sk.icskPending).toBe(ICSK_TIME_LOSS_PROBE);
    b.check();
  });

  it("a closed window arms the probe timer", () => {
    b = new TcpBench().establish();
    b.sk.sndWnd = 0;
    b.queue(1000);
    push();
    expect(b.sent).toEqual([]);
    expect(b.sk.icskPending).toBe(ICSK_TIME_PROBE0);
    expect(b.sk.icskTimeout).toBe(b.now + 200_000);
  });

  it.each([
    ["nothing in flight: a small segment goes", 0, 500, [500]],
    ["full segments in flight: it goes (Minshall)", 1000, 500, [500]],
    ["a small one in flight: it waits", 500, 300, []],
    ["a full one never waits", 500, 1000, [1000]],
  ] as [string, number, number, number[]][])("Nagle: %s", (_name, first, second, expected) => {
    b = new TcpBench().establish();
    if (first > 0) {
      b.queue(first);
      push();
    }
    b.sent.length = 0;
    b.queue(second);
    push();
    expect(b.sent.map((s) => s.data.length)).toEqual(expected);
  });

  it("Nagle holds the odd tail of a large write, and TCP_CORK any partial segment", () => {
    b = new TcpBench().establish();
    b.queue(500);
    push();
    b.sent.length = 0;
    b.queue(2300);
    push();
    expect(sentShort()).toEqual(["P. 1500:3500(2000)"]);
    b.sent.length = 0;
    b.sk.nonagle = TCP_NAGLE_CORK;
    push();
    expect(b.sent).toEqual([]);
    __tcpPushPendingFrames(b.sk, 1000, TCP_NAGLE_PUSH);
    expect(b.sent).toHaveLength(1);
  });

  it("a FIN goes with the last data, whatever Nagle says", () => {
    b = new TcpBench().establish();
    b.queue(500);
    push();
    b.queue(300);
    tcpSendFin(b.sk);
    expect(sentShort()).toEqual([". 1000:1500(500)", "F. 1500:1801(300)"]);
    b.check();
  });

  it("a FIN of its own", () => {
    b = new TcpBench().establish();
    tcpSendFin(b.sk);
    expect(sentShort()).toEqual(["F. 1000:1001(0)"]);
    expect(b.sk.packetsOut).toBe(1);
    expect(seqRaw(b.sk.writeSeq)).toBe(1001);
    b.check();
  });

  it("defers a super-packet that the next ACK would let grow", () => {
    b = new TcpBench().establish({ cwnd: 10 });
    b.sk.srttUs = 100_000 << 3;
    b.sk.skPacingRate = 1e9;
    b.queue(30_000);
    push();
    expect(b.sk.packetsOut).toBe(10);
    b.sent.length = 0;
    // An RTT later an ACK for 2: that is less than a third of the window; the next ACKs are due now.
    b.now += 100_000;
    b.softirq();
    b.kernel.now = b.now;
    const head = b.sk.tcpRtxQueue.head;
    tcpFragment(b.sk, TCP_FRAG_IN_RTX_QUEUE, head, 2000, 1000);
    ack(2000);
    b.sk.tcpWstampNs = b.now;
    push();
    expect(b.sent).toEqual([]);
    expect(b.sk.isCwndLimited).toBe(true);
    // Two more, and it is more than a third.
    const next = b.sk.tcpRtxQueue.head;
    tcpFragment(b.sk, TCP_FRAG_IN_RTX_QUEUE, next, 2000, 1000);
    ack(4000);
    push();
    expect(sentShort()).toEqual(["P. 11000:15000(4000)"]);
    b.check();
  });

  /** What tcp_clean_rtx_queue does with everything before `bytes`. */
  function ack(bytes: number): void {
    const sk = b.sk;
    sk.sndUna = sk.sndUp = seq(ISS + bytes);
    while (sk.tcpRtxQueue.head !== 0 && b.list(sk.tcpRtxQueue)[0]![1] <= ISS + bytes) {
      sk.packetsOut -= tcpSkbPcount(sk.tcpRtxQueue.head);
      tcpRtxFree(sk, sk.tcpRtxQueue.head);
    }
  }

  it("tcp_push_one sends one skb of at most cwnd/2 segments", () => {
    b = new TcpBench().establish();
    b.queue(60_000);
    tcpPushOne(b.sk, 1000);
    expect(sentShort()).toEqual(["P. 1000:6000(5000)"]);
  });

  it("an error below leaves the queue as it was", () => {
    b = new TcpBench().establish();
    b.queue(1000);
    b.xmitResults.push(-105);
    push();
    expect(b.sent).toHaveLength(1);
    expect(b.sk.packetsOut).toBe(0);
    expect(b.sk.skWriteQueue.qlen).toBe(1);
    b.check();
  });

  it("linear skbs (a device without SG) go one MSS each", () => {
    b = new TcpBench().establish();
    b.sk.skGsoMaxSegs = 1;
    for (let i = 0; i < 3; i++) b.queue(1000, { linear: true });
    push();
    expect(b.sent.map((s) => [s.data.length, s.gsoSegs])).toEqual([
      [1000, 1],
      [1000, 1],
      [1000, 1],
    ]);
    b.sent.forEach(expectPayload);
    b.check();
  });

  it("and can be cut", () => {
    b = new TcpBench().establish({ wnd: 600 });
    b.sk.maxWindow = 4000;
    b.sk.skGsoMaxSegs = 1;
    b.queue(1000, { linear: true });
    b.sk.icskSyncMss(b.sk, 540); // MSS 500
    b.mtu = 540;
    push();
    expect(sentShort()).toEqual([". 1000:1500(500)"]);
    b.sent.forEach(expectPayload);
    b.check();
  });

  it("the urgent pointer", () => {
    b = new TcpBench().establish();
    b.queue(1000);
    b.sk.sndUp = b.sk.writeSeq;
    push();
    expect(b.sent[0]).toMatchObject({ flags: ".U", urg: 1000 });
  });
});

describe("TSO sizing", () => {
  it.each([
    // pacing rate (bytes/s), gso max, min tso, min rtt (us) -> segments of 1000 bytes
    [Infinity, 65391, 2, 0xffffffff, 65],
    [10_240_000, 65391, 2, 0xffffffff, 10], // 10 KB per 1/1024 s
    [1_000, 65391, 2, 0xffffffff, 2],
    [10_240_000, 65391, 2, 511, 65], // RTT below 512 us: a full super-packet more
    [10_240_000, 65391, 2, 1024, 26], // a quarter of it
    [1_000, 65391, 4, 0xffffffff, 4],
  ])("rate %d, max %i, min %i, rtt %i -> %i", (rate, max, minSegs, rtt, expected) => {
    b = new TcpBench().establish();
    b.sk.skPacingRate = rate;
    b.sk.skGsoMaxSize = max;
    b.sk.rttMin[1] = rtt;
    expect(tcpTsoAutosize(b.sk, 1000, minSegs)).toBe(expected);
    b.sk.skGsoMaxSegs = 3;
    b.net.ipv4.sysctlTcpMinTsoSegs = minSegs;
    expect(tcpTsoSegs(b.sk, 1000)).toBe(Math.min(3, expected));
  });
});

describe("cutting and joining", () => {
  it("tcp_fragment: flags, EOR, timestamps and counters go where they belong", () => {
    b = new TcpBench().establish();
    const skb = b.queue(5000);
    tcpSkbSetFlags(skb, tcpSkbFlags(skb) | 9); // PSH FIN
    tcpSkbSetCbFlags(skb, TCPCB_FLAG_EOR);
    u8[skbShinfo(skb) + SHINFO_TX_FLAGS] = 2;
    u32[(skbShinfo(skb) + SHINFO_TSKEY) >>> 2] = ISS + 4999;
    expect(tcpFragment(b.sk, TCP_FRAG_IN_WRITE_QUEUE, skb, 2000, 1000)).toBe(0);
    const rest = skbNext(skb);
    expect([skbLen(skb), skbLen(rest)]).toEqual([2000, 3000]);
    expect([tcpSkbFlags(skb), tcpSkbFlags(rest)]).toEqual([16, 25]);
    expect([tcpSkbPcount(skb), tcpSkbPcount(rest)]).toEqual([2, 3]);
    expect(u8[skbShinfo(skb) + SHINFO_TX_FLAGS]).toBe(0);
    expect(u8[skbShinfo(rest) + SHINFO_TX_FLAGS]).toBe(2);
    b.check();
    tcpSkbSetFlags(rest, 16);
  });

  it("a lost super-packet is sent again in pieces", () => {
    b = new TcpBench().establish({ cwnd: 20 });
    b.queue(10_000);
    push();
    b.sent.length = 0;
    const skb = b.sk.tcpRtxQueue.head;
    tcpSkbSetSacked(skb, TCPCB_LOST);
    b.sk.lostOut = tcpSkbPcount(skb);
    b.sk.sndCwnd = tcpPacketsInFlight(b.sk) + 3;
    b.sk.undoRetrans = -1;
    tcpXmitRetransmitQueue(b.sk);
    expect(sentShort()).toEqual(["P. 1000:4000(3000)"]);
    expectPayload(b.sent[0]!);
    expect(b.sk.retransOut).toBe(3);
    expect(b.sk.lostOut).toBe(10);
    expect(b.sk.undoRetrans).toBe(3);
    expect(b.sk.totalRetrans).toBe(3);
    expect(b.sk.retransStamp).toBe(10_000);
    b.check();
  });

  it("an original that has not left this host is not sent again", () => {
    b = new TcpBench().establish();
    b.hold = true;
    b.queue(1000);
    push();
    const skb = b.sk.tcpRtxQueue.head;
    expect(tcpRetransmitSkb(b.sk, skb, 1)).toBe(-16);
    b.release();
    b.hold = false;
    expect(tcpRetransmitSkb(b.sk, skb, 1)).toBe(0);
  });

  it("small neighbours of a small retransmission go along", () => {
    b = new TcpBench().establish();
    b.sk.nonagle = TCP_NAGLE_OFF;
    for (let i = 0; i < 4; i++) {
      b.queue(300);
      push();
    }
    expect(b.sent).toHaveLength(4);
    b.sent.length = 0;
    b.sk.undoRetrans = -1;
    expect(tcpRetransmitSkb(b.sk, b.sk.tcpRtxQueue.head, 1)).toBe(0);
    expect(sentShort()).toEqual([". 1000:1900(900)"]);
    expectPayload(b.sent[0]!);
    expect(b.sk.packetsOut).toBe(2);
    expect(b.sk.tcpRtxQueue.qlen).toBe(2);
    b.check();
  });

  it("tcp_trim_head", () => {
    b = new TcpBench().establish();
    const skb = b.queue(5000, { fragSize: 512 });
    push();
    const before = skbTruesize(skb);
    expect(tcpTrimHead(b.sk, skb, 1700)).toBe(0);
    expect(skbLen(skb)).toBe(3300);
    expect(tcpSkbPcount(skb)).toBe(4);
    expect(skbTruesize(skb)).toBe(before - 1700);
    b.sk.sndUna = b.sk.sndUp = seq(ISS + 1700);
    b.sk.undoRetrans = -1;
    b.sk.packetsOut--;
    b.sent.length = 0;
    tcpRetransmitSkb(b.sk, skb, 9);
    expect(sentShort()).toEqual(["P. 2700:6000(3300)"]);
    expectPayload(b.sent[0]!);
    b.check();
  });

  it("any sequence of cuts and joins keeps the bytes, the numbers and the accounts", () => {
    const seed = 20240607;
    console.log(`tcp_output fuzz seed ${seed}`);
    const random = seededRandom(seed);
    const below = (n: number) => random.u32() % n;
    b = new TcpBench().establish({ cwnd: 1000, wnd: 1 << 29 });
    const sk = b.sk;
    sk.undoRetrans = -1;
    sk.nonagle = TCP_NAGLE_OFF;
    for (let step = 0; step < 600; step++) {
      sk.sndCwnd = tcpPacketsInFlight(sk) + 1 + below(40);
      switch (below(6)) {
        case 0:
        case 1:
          b.queue(1 + below(6000), { fragSize: 512 + below(2000) });
          break;
        case 2:
          push();
          break;
        case 3: {
          let skb = sk.tcpRtxQueue.head;
          for (let n = below(8); n > 0 && skb !== 0 && skbNext(skb) !== 0; n--) skb = skbNext(skb);
          if (skb !== 0 && (tcpSkbSacked(skb) & 2) === 0) tcpRetransmitSkb(sk, skb, 1 + below(4));
          break;
        }
        case 4: {
          const skb = sk.tcpRtxQueue.head;
          if (skb !== 0 && skbLen(skb) > 1) {
            const n = 1 + below(skbLen(skb) - 1);
            expect(tcpFragment(sk, TCP_FRAG_IN_RTX_QUEUE, skb, n, 1000)).toBe(0);
          }
          break;
        }
        case 5: {
          const skb = sk.tcpRtxQueue.head;
          if (skb !== 0 && skbLen(skb) > 1 && (tcpSkbSacked(skb) & 2) === 0) {
            const n = 1 + below(skbLen(skb) - 1);
            const was = tcpSkbPcount(skb);
            expect(tcpTrimHead(sk, skb, n)).toBe(0);
            sk.packetsOut -= was - tcpSkbPcount(skb);
            sk.sndUna = sk.sndUp = seqAdd(sk.sndUna, n);
          } else if (skb !== 0) {
            sk.sndUna = sk.sndUp = seq(b.list(sk.tcpRtxQueue)[0]![1]);
            sk.packetsOut -= tcpSkbPcount(skb);
            if ((tcpSkbSacked(skb) & 2) !== 0) sk.retransOut -= tcpSkbPcount(skb);
            tcpRtxFree(sk, skb);
          }
          break;
        }
      }
      b.check();
      let packets = 0;
      for (let skb = sk.tcpRtxQueue.head; skb !== 0; skb = skbNext(skb)) packets += tcpSkbPcount(skb);
      expect(sk.packetsOut).toBe(packets);
      b.sent.forEach(expectPayload);
      b.sent.length = 0;
    }
  });
});

describe("path MTU probing (RFC 4821)", () => {
  function probing(linear: boolean): void {
    b = new TcpBench().establish({ mss: 1000, cwnd: 20 });
    const sk = b.sk;
    sk.rxOpt.mssClamp = 3000;
    b.mtu = 3040;
    b.net.ipv4.sysctlTcpMtuProbing = 2;
    tcpMtupInit(sk);
    sk.icskSyncMss(sk, b.mtu);
    expect(tcpCurrentMss(sk)).toBe(1024); // tcp_base_mss
    if (linear) sk.skGsoMaxSegs = 1;
    for (let i = 0; i < 12; i++) b.queue(1024, { linear });
  }

  it.each([false, true])("one packet of half way up, then ordinary ones; linear: %s", (linear) => {
    probing(linear);
    push();
    const sizes = b.sent.map((s) => s.data.length);
    expect(sizes[0]).toBe(2012); // MTU (1064 + 3040) / 2 = 2052
    expect(b.sent[0]).toMatchObject({ gsoSegs: 1, gsoSize: 0 });
    expect(sizes.reduce((a, n) => a + n, 0)).toBe(12 * 1024);
    expect(Math.max(...b.sent.slice(1).map((s) => Math.min(s.data.length, s.gsoSize || s.data.length)))).toBe(1024);
    b.sent.forEach(expectPayload);
    expect(b.sk.icskMtupProbeSize).toBe(2052);
    expect(b.sk.sndCwnd).toBe(19);
    expect(seqRaw(b.sk.mtuProbeProbeSeqStart)).toBe(ISS);
    expect(seqRaw(b.sk.mtuProbeProbeSeqEnd)).toBe(ISS + 2012);
    b.check();
  });

  it("not without enough data behind it, nor in a small window", () => {
    probing(false);
    b.sk.sndCwnd = 10;
    push();
    expect(b.sk.icskMtupProbeSize).toBe(0);
  });
});

describe("TCP small queues", () => {
  it("stops when two packets are below, and goes on when one is done", () => {
    b = new TcpBench().establish({ cwnd: 100 });
    b.hold = true;
    b.sk.skPacingRate = 1000; // the limit is two packets
    for (let i = 0; i < 10; i++) b.queue(2000);
    push();
    const first = b.sent.length;
    expect(first).toBeLessThan(10);
    expect(b.sk.tsqFlags & TSQF_THROTTLED).toBe(TSQF_THROTTLED);
    b.release(2);
    expect(b.sk.tsqFlags & TSQF_QUEUED).toBe(TSQF_QUEUED);
    b.softirq();
    expect(b.sk.tsqFlags & TSQF_QUEUED).toBe(0);
    expect(b.sent.length).toBeGreaterThan(first);
    while (b.held.length > 0) {
      b.release();
      b.softirq();
    }
    expect(b.sent.reduce((n, s) => n + s.data.length, 0)).toBe(20_000);
    b.sent.forEach(expectPayload);
  });

  it("pure ACKs do not count", () => {
    b = new TcpBench().establish();
    b.hold = true;
    tcpSendAck(b.sk);
    expect(b.sk.skWmemAlloc).toBe(3);
    expect(sentShort()).toEqual([". 1000:1000(0)"]);
    b.release();
    expect(b.sk.skWmemAlloc).toBe(1);
  });
});

describe("pacing", () => {
  it("spaces skbs by their length over the rate, after the first ten segments", () => {
    b = new TcpBench().establish({ cwnd: 100 });
    b.sk.skPacingStatus = SK_PACING_NEEDED;
    b.sk.skPacingRate = 1_000_000; // 1000 bytes a millisecond; skbs of 2 segments
    b.queue(20_000);
    push();
    expect(b.sk.dataSegsOut).toBe(10);
    b.advance(20_000);
    expect(b.sent.map((s) => Math.round(s.at - 10_000_000))).toEqual([0, 0, 0, 0, 0, 2000, 4000, 6000, 8000, 10000]);
    expect(b.sent.map((s) => s.data.length)).toEqual(new Array(10).fill(2000));
  });
});

describe("segments without data", () => {
  it("RST", () => {
    b = new TcpBench().establish();
    tcpSendActiveReset(b.sk);
    expect(b.sent[0]).toMatchObject({ flags: "R.", seq: ISS, ack: 5000 });
    expect(b.sent[0]!.options).toBe("");
  });

  it("a segment without data uses the window's end if the peer shrank it under snd_nxt", () => {
    b = new TcpBench().establish();
    b.queue(5000);
    push();
    b.sent.length = 0;
    b.sk.sndWnd = 2000;
    tcpSendAck(b.sk);
    expect(b.sent[0]!.seq).toBe(ISS + 2000);
    b.sk.sndWnd = 4800; // within a unit of the scale: rounding, not shrinking
    tcpSendAck(b.sk);
    expect(b.sent[1]!.seq).toBe(ISS + 5000);
  });

  it("delayed ACK: after ato, not later than an earlier timer, at once if that is about to fire", () => {
    b = new TcpBench().establish();
    const sk = b.sk;
    expect(tcpDelackMax(sk)).toBe(199_000);
    sk.icskAck.pending = 1;
    tcpSendDelayedAck(sk);
    expect(sk.icskAck.timeout).toBe(b.now + 40_000);
    b.advance(20_000);
    tcpSendDelayedAck(sk);
    expect(sk.icskAck.timeout).toBe(10_040_000);
    expect(b.sent).toEqual([]);
    b.advance(12_000); // 8 ms left, less than ato / 4
    tcpSendDelayedAck(sk);
    expect(b.sent).toHaveLength(1);
    expect(sk.icskAck.pending).toBe(0);
  });

  it("MTU and MSS convert both ways", () => {
    b = new TcpBench().establish({ mss: 1000, ts: true });
    expect(tcpMtuToMss(b.sk, 1052)).toBe(1000);
    expect(tcpMssToMtu(b.sk, 1000)).toBe(1052);
    expect(tcpMtuToMss(b.sk, 60)).toBe(48 - 12); // tcp_min_snd_mss, less the timestamp
  });

  it("ECN: ECT on data, CWR once, ECE until the sender reacts; not on ACKs", () => {
    b = new TcpBench().establish();
    b.sk.ecnFlags = 1 | 2; // OK, QUEUE_CWR
    b.queue(1000);
    push();
    b.queue(1000);
    push();
    tcpSendAck(b.sk);
    b.sk.ecnFlags |= 4; // DEMAND_CWR
    tcpSendAck(b.sk);
    expect(b.sent.map((s) => [s.flags, s.tos])).toEqual([
      [".W", 2],
      [".", 2],
      [".", 0],
      [".E", 0],
    ]);
    expect(b.sent[0]!.gsoType & 4).toBe(4);
  });
});

function tcpRtxFree(sk: TcpBench["sk"], skb: number): void {
  if (sk.highestSack === skb) sk.highestSack = skbNext(skb);
  if (sk.retransmitSkbHint === skb) sk.retransmitSkbHint = 0;
  tcpRtxQueueUnlinkAndFree(skb, sk);
}
