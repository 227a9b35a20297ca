/** A TCP socket with nothing below it: what it hands to icsk_af_ops->queue_xmit is kept, decoded, and freed. */

import { expect } from "vitest";
import { FRAG_LEN, SKB_TRUESIZE, SKB_TSTAMP } from "../../../assembly/layout.ts";
import { Kernel } from "../../../src/kernel/kernel.ts";
import { seededRandom } from "../../../src/kernel/random.ts";
import { createMachineSync, f64, u32 } from "../../../src/mm/mem.ts";
import { NetDevice } from "../../../src/net/core/dev.ts";
import { DstEntry, type DstOps, RTAX_SLOTS } from "../../../src/net/core/dst.ts";
import { Net } from "../../../src/net/core/net_namespace.ts";
import { NetnsCore } from "../../../src/net/core/netns_core.ts";
import {
  allocPage,
  consumeSkb,
  poolFree,
  type SkBuffHead,
  skbBytes,
  skbData,
  skbFillPageDesc,
  skbFrag,
  skbGsoSegs,
  skbGsoSize,
  skbGsoType,
  skbLenAdd,
  skbNext,
  skbPut,
  skbTransportHeader,
  skbTruesize,
} from "../../../src/net/core/skbuff.ts";
import { type Proto, type Sock, Socket, skAlloc, sockInitData, sockPut } from "../../../src/net/core/sock.ts";
import type { InetConnectionSockAfOps } from "../../../src/net/ipv4/inet_sock.ts";
import { NetnsIpv4 } from "../../../src/net/ipv4/netns.ts";
import { seq, seqAdd, seqRaw } from "../../../src/net/ipv4/seq.ts";
import { tcpInitSock, tcpSkbEntail, tcpStreamAllocSkb, tcpWriteQueuePurge } from "../../../src/net/ipv4/tcp.ts";
import { tcpCleanupCongestionControl, tcpInitCongestionControl } from "../../../src/net/ipv4/tcp_cong.ts";
import { minmaxReset, tcpClearXmitTimers, tcpMstampRefresh } from "../../../src/net/ipv4/tcp_h.ts";
import { tcpMtupInit, tcpReleaseCb } from "../../../src/net/ipv4/tcp_output.ts";
import { TcpSock, tcpSkbEndSeq, tcpSkbPcountSet, tcpSkbSeq, tcpSkbSetEndSeq } from "../../../src/net/ipv4/tcp_sock.ts";

/** A segment (or super-packet) that TCP handed down. */
export interface Sent {
  /** Microseconds. */
  at: number;
  seq: number;
  ack: number;
  /** "S", "P." ... as packetdrill writes them. */
  flags: string;
  window: number;
  urg: number;
  options: string;
  /** Payload. */
  data: Uint8Array;
  gsoSegs: number;
  gsoSize: number;
  gsoType: number;
  /** Earliest departure time. */
  tstamp: number;
  tos: number;
}

export const ISS = 1000;
/** Payload byte that belongs to a sequence number. */
export function byteAt(s: number): number {
  return (s * 31 + (s >>> 8)) & 255;
}

function flagString(f: number): string {
  let s = "";
  if (f & 2) s += "S";
  if (f & 1) s += "F";
  if (f & 4) s += "R";
  if (f & 8) s += "P";
  if (f & 16) s += ".";
  if (f & 32) s += "U";
  if (f & 64) s += "E";
  if (f & 128) s += "W";
  if (f & 256) s += "A";
  return s;
}

/** Options as packetdrill writes them. Throws on what is malformed. */
export function parseOptions(b: Uint8Array): string {
  const v = new DataView(b.buffer, b.byteOffset, b.byteLength);
  const out: string[] = [];
  for (let i = 0; i < b.length; ) {
    const kind = b[i] as number;
    if (kind === 0) break;
    if (kind === 1) {
      out.push("nop");
      i++;
      continue;
    }
    const len = b[i + 1] as number;
    if (len === undefined || len < 2 || i + len > b.length) throw new Error(`bad option ${kind} length ${len}`);
    const hex = (from: number) => [...b.subarray(from, i + len)].map((x) => x.toString(16).padStart(2, "0")).join("");
    if (kind === 2) out.push(`mss ${v.getUint16(i + 2)}`);
    else if (kind === 3) out.push(`wscale ${b[i + 2]}`);
    else if (kind === 4) out.push("sackOK");
    else if (kind === 5) {
      const blocks: string[] = [];
      for (let j = i + 2; j < i + len; j += 8) blocks.push(`${v.getUint32(j)}:${v.getUint32(j + 4)}`);
      out.push(`sack ${blocks.join(" ")}`);
    } else if (kind === 8) out.push(`TS val ${v.getUint32(i + 2)} ecr ${v.getUint32(i + 6)}`);
    else if (kind === 172 || kind === 174) {
      const names = kind === 172 ? ["e0b", "ceb", "e1b"] : ["e1b", "ceb", "e0b"];
      const fields = names.slice(0, (len - 2) / 3);
      out.push(["ECN", ...fields.map((f, j) => `${f} ${v.getUint32(i + 1 + 3 * j) & 0xffffff}`)].join(" "));
    } else if (kind === 34) out.push(`FO ${hex(i + 2)}`.trimEnd());
    else if (kind === 254) out.push(`FOEXP ${hex(i + 4)}`.trimEnd());
    else throw new Error(`unknown option ${kind}`);
    i += len;
  }
  return out.join(",");
}

export class TcpBench {
  now: number;
  readonly kernel: Kernel;
  readonly net: Net;
  readonly sk: TcpSock;
  readonly dst: DstEntry;
  readonly sent: Sent[] = [];
  /** Return values of the next queue_xmit calls; empty = 0. */
  readonly xmitResults: number[] = [];
  /** Skbs that stay "in the driver" when set; `release` frees them. */
  hold = false;
  readonly held: number[] = [];
  readonly #before: ReturnType<typeof poolFree>;
  mtu = 1500;

  constructor(startUs = 10_000_000) {
    this.now = startUs;
    const machine = createMachineSync({ memoryBytes: 64 * 1024 * 1024 });
    const clock = { now: () => this.now, realtime: () => this.now };
    this.kernel = new Kernel(machine, clock, seededRandom(7));
    this.kernel.enter();
    this.#before = poolFree();
    const net = new Net(this.kernel, "test");
    net.ipv4 = new NetnsIpv4();
    net.core = new NetnsCore();
    net.orphanCount = 0;
    this.net = net;

    const prot = {
      name: "TCP",
      symbol: "tcp_prot",
      alloc: () => new TcpSock(),
      unhash() {},
      releaseCb: tcpReleaseCb,
      maxHeader: 144,
    } as unknown as Proto;
    const sk = skAlloc(net, 2, prot) as TcpSock;
    const sock = new Socket(net, 1);
    sockInitData(sock, sk);
    sk.skProtocol = 6;
    tcpInitSock(sk);
    this.sk = sk;

    const dev = new NetDevice(net, "test0", {} as never);
    const ops = {
      family: 2,
      mtu: () => this.mtu,
      defaultAdvmss: () => this.mtu - 40,
      check: (d: DstEntry) => d,
      negativeAdvice() {},
      updatePmtu() {},
      linkFailure() {},
      redirect() {},
    } as unknown as DstOps;
    this.dst = new DstEntry(dev, ops, new Float64Array(RTAX_SLOTS));
    sk.skDstCache = this.dst;
    sk.icskAfOps = {
      symbol: "ipv4_specific",
      netHeaderLen: 20,
      sockaddrLen: 16,
      sendCheck() {},
      rebuildHeader: () => 0,
      mtuReduced() {},
      queueXmit: (s: Sock, skb: number) => this.queueXmit(s as TcpSock, skb),
    } as unknown as InetConnectionSockAfOps;
    sk.inetSport = 5000;
    sk.skcDport = 8080;
    sk.skGsoType = 1;
    sk.skGsoMaxSize = 65536 - 145;
    sk.skGsoMaxSegs = 65535;
    sk.skRouteCaps = -1;
    sk.skSndbuf = 4 * 1024 * 1024;
  }

  /** As after a handshake: MSS 1000 (without timestamps), SACK, the peer's window, cwnd 10. */
  establish(
    opts: { mss?: number; ts?: boolean; sack?: boolean; wnd?: number; cwnd?: number; wscale?: number } = {},
  ): this {
    const sk = this.sk;
    const mss = opts.mss ?? 1000;
    this.mtu = mss + 40 + (opts.ts ? 12 : 0);
    sk.skcState = 1;
    sk.rxOpt.mssClamp = mss + (opts.ts ? 12 : 0);
    sk.rxOpt.sackOk = opts.sack === false ? 0 : 1;
    sk.rxOpt.tstampOk = opts.ts ?? false;
    sk.rxOpt.wscaleOk = true;
    sk.rxOpt.rcvWscale = opts.wscale ?? 8;
    sk.rxOpt.sndWscale = 8;
    sk.tcpHeaderLen = opts.ts ? 32 : 20;
    sk.sndUna = sk.sndNxt = sk.writeSeq = sk.sndUp = sk.sndSml = sk.pushedSeq = seq(ISS);
    sk.cwndUsageSeq = seq(ISS);
    sk.rcvNxt = sk.copiedSeq = sk.rcvWup = seq(5000);
    sk.sndWnd = opts.wnd ?? 1_000_000;
    sk.maxWindow = sk.sndWnd;
    sk.windowClamp = 65535 << sk.rxOpt.rcvWscale;
    sk.skRcvbuf = 131072;
    sk.rcvWnd = 65536;
    sk.rcvSsthresh = 65536;
    sk.icskAck.rcvMss = mss;
    sk.icskAck.ato = 40_000;
    sk.advmss = mss;
    sk.sndCwnd = opts.cwnd ?? 10;
    sk.icskRto = 200_000;
    sk.lsndtime = this.kernel.jiffies;
    sk.rcvTstamp = this.kernel.jiffies;
    sk.icskAck.lrcvtime = this.kernel.jiffies - 1000;
    sk.sndCwndStamp = this.kernel.jiffies;
    minmaxReset(sk.rttMin, this.kernel.jiffies, 0xffffffff);
    tcpMtupInit(sk);
    sk.icskSyncMss(sk, this.mtu);
    tcpMstampRefresh(sk);
    tcpInitCongestionControl(sk);
    return this;
  }

  private queueXmit(sk: TcpSock, skb: number): number {
    const b = skbBytes(skb);
    expect(skbTransportHeader(skb)).toBe(skbData(skb));
    const v = new DataView(b.buffer);
    const hlen = (v.getUint8(12) >> 4) * 4;
    const result = this.xmitResults.shift() ?? 0;
    this.sent.push({
      at: this.now,
      seq: v.getUint32(4),
      ack: v.getUint32(8),
      flags: flagString(v.getUint16(12) & 0x1ff),
      window: v.getUint16(14),
      urg: v.getUint16(18),
      options: parseOptions(b.subarray(20, hlen)),
      data: b.slice(hlen),
      gsoSegs: skbGsoSegs(skb),
      gsoSize: skbGsoSize(skb),
      gsoType: skbGsoType(skb),
      tstamp: f64[(skb + SKB_TSTAMP) >>> 3] as number,
      tos: sk.tos,
    });
    if (this.hold) this.held.push(skb);
    else consumeSkb(skb);
    return result;
  }

  /** The driver is done with what it holds. */
  release(n: number = this.held.length): void {
    for (const skb of this.held.splice(0, n)) consumeSkb(skb);
  }

  /** One more skb of `len` bytes at the tail of the write queue: page frags of at most `fragSize`, or linear. */
  queue(len: number, opts: { linear?: boolean; fragSize?: number; flags?: number } = {}): number {
    const sk = this.sk;
    const skb = tcpStreamAllocSkb(sk, opts.linear ? len : 0, true);
    expect(skb).not.toBe(0);
    tcpSkbEntail(sk, skb);
    const start = seqRaw(sk.writeSeq);
    if (opts.linear) {
      const at = skbPut(skb, len);
      for (let i = 0; i < len; i++) this.kernel.machine.u8[at + i] = byteAt(start + i);
    } else {
      const max = opts.fragSize ?? 32768;
      for (let done = 0, i = 0; done < len; i++) {
        const n = Math.min(max, len - done);
        const page = allocPage(n);
        expect(page).not.toBe(0);
        skbFillPageDesc(skb, i, page, 0, n);
        for (let j = 0; j < n; j++) this.kernel.machine.u8[page + j] = byteAt(start + done + j);
        expect(u32[(skbFrag(skb, i) + FRAG_LEN) >>> 2]).toBe(n);
        skbLenAdd(skb, n);
        done += n;
      }
      // skb_len_add counts truesize as well in the kernel; make both agree whatever it does here.
      const extra = u32[(skb + SKB_TRUESIZE) >>> 2]! - 768;
      if (extra < len) u32[(skb + SKB_TRUESIZE) >>> 2] = 768 + len;
      sk.skWmemQueued += skbTruesize(skb) - 768;
    }
    sk.writeSeq = seqAdd(sk.writeSeq, len);
    tcpSkbSetEndSeq(skb, sk.writeSeq);
    tcpSkbPcountSet(skb, 0);
    return skb;
  }

  /** Runs timers up to `us` from now. */
  advance(us: number): void {
    const target = this.now + us;
    this.kernel.exit();
    for (;;) {
      const next = this.kernel.nextDeadline();
      if (next > target) break;
      this.now = Math.max(this.now, next);
      this.kernel.run();
    }
    this.now = target;
    this.kernel.enter();
    tcpMstampRefresh(this.sk);
  }

  /** Ends the context, so that softirqs run, and begins another. */
  softirq(): void {
    this.kernel.exit();
    this.kernel.enter();
  }

  /** The queue's skbs as [seq, end_seq, truesize]. */
  list(q: SkBuffHead): [number, number, number][] {
    const out: [number, number, number][] = [];
    for (let skb = q.head; skb !== 0; skb = skbNext(skb)) {
      out.push([seqRaw(tcpSkbSeq(skb)), seqRaw(tcpSkbEndSeq(skb)), skbTruesize(skb)]);
    }
    return out;
  }

  /** What holds between any two events: the queues are gapless and accounted for. */
  check(): void {
    const sk = this.sk;
    const all = [...this.list(sk.tcpRtxQueue), ...this.list(sk.skWriteQueue)];
    for (let i = 1; i < all.length; i++) expect(all[i]![0]).toBe(all[i - 1]![1]);
    expect(sk.skWmemQueued).toBe(all.reduce((n, x) => n + x[2], 0));
  }

  /** Frees everything; the pool must be whole. */
  end(): void {
    const sk = this.sk;
    try {
      this.release();
      tcpClearXmitTimers(sk);
      tcpWriteQueuePurge(sk);
      tcpCleanupCongestionControl(sk);
      sk.tsqFlags = 0;
      this.softirq();
      expect(sk.skWmemQueued).toBe(0);
      expect(sk.skWmemAlloc).toBe(1);
      sockPut(sk);
      expect(poolFree()).toEqual(this.#before);
    } finally {
      this.kernel.exit();
    }
  }
}

/** The payload that the sequence numbers promise. */
export function expectPayload(s: Sent): void {
  for (let i = 0; i < s.data.length; i++) {
    if (s.data[i] !== byteAt(s.seq + i)) throw new Error(`wrong byte at ${s.seq + i}`);
  }
}
/** "P. 1000:2000(1000)" with relative numbers, as packetdrill prints. */
export function short(s: Sent): string {
  const n = s.data.length + (/[SF]/.test(s.flags) ? 1 : 0);
  return `${s.flags} ${s.seq}:${s.seq + n}(${s.data.length})`;
}
