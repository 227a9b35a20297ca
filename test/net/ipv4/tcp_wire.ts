/**
 * One host whose only link ends in the test: what it sends is decoded and kept, what the test writes arrives. The way
 * packetdrill sees a stack, as a library. Sequence numbers are relative: ours (the test's, the remote's) to `iss`, the
 * host's to its own ISN once that was seen.
 */

import { destroyNet } from "../../../src/init/main.ts";
import type { Kernel } from "../../../src/kernel/kernel.ts";
import { u8 } from "../../../src/mm/mem.ts";
import {
  devOpen,
  IFF_NO_QUEUE,
  NetDevice,
  type NetDeviceOps,
  netifRx,
  registerNetdevice,
  unregisterNetdevice,
} from "../../../src/net/core/dev.ts";
import type { Net } from "../../../src/net/core/net_namespace.ts";
import {
  allocSkb,
  consumeSkb,
  poolFree,
  skbBytes,
  skbLen,
  skbPut,
  skbResetMacHeader,
  skbResetNetworkHeader,
  skbSetDev,
  skbSetIpSummed,
  skbSetPktType,
  skbSetProtocol,
} from "../../../src/net/core/skbuff.ts";
import { type Socket, skDstReset } from "../../../src/net/core/sock.ts";
import { InIfaddr, inDevGet, inetInsertIfa } from "../../../src/net/ipv4/devinet.ts";
import { inetAllSocks } from "../../../src/net/ipv4/inet_hashtables.ts";
import { TcpSock } from "../../../src/net/ipv4/tcp_sock.ts";
import * as sys from "../../../src/net/socket.ts";
import { IFF_NOARP, IFF_POINTOPOINT } from "../../../src/uapi/if.ts";
import { type TestClock, testKernel, testNet } from "../machine.ts";

export const LOCAL = 0xc0a80001;
export const REMOTE = 0xc0a80002;
export const PORT = 8080;
export const RPORT = 40000;

const FLAG_BITS: Record<string, number> = { F: 1, S: 2, R: 4, P: 8, ".": 16, U: 32, E: 64, W: 128 };

export interface TcpOpts {
  mss?: number;
  wscale?: number;
  sackOk?: boolean;
  /** TSval, TSecr; the ecr "last" echoes the latest TSval of the host. */
  ts?: [number, number];
  sack?: [number, number][];
  /** Raw option bytes behind the others. */
  raw?: number[];
}

/** A segment as the test sees or sends it. */
export interface Seg extends TcpOpts {
  flags: string;
  seq: number;
  ack: number;
  win: number;
  len: number;
  data: Uint8Array;
  urg: number;
  /** Microseconds since the wire was made. */
  at: number;
  tos: number;
  gsoSize: number;
}

export interface In extends TcpOpts {
  seq?: number;
  ack?: number;
  win?: number;
  len?: number;
  data?: Uint8Array;
  urg?: number;
  tos?: number;
  ttl?: number;
  sport?: number;
  dport?: number;
  /** Wrong TCP checksum. */
  badsum?: boolean;
  /** The device vouches for the checksum. */
  nosum?: boolean;
}

function sum16(bytes: Uint8Array, from: number, to: number, start: number): number {
  let sum = start;
  for (let i = from; i < to; i += 2) sum += (bytes[i]! << 8) | (i + 1 < to ? bytes[i + 1]! : 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + Math.floor(sum / 65536);
  return sum;
}

export function encodeOpts(o: TcpOpts, sackBase: number): number[] {
  const b: number[] = [];
  const u32be = (v: number): void => void b.push((v >>> 24) & 255, (v >>> 16) & 255, (v >>> 8) & 255, v & 255);
  if (o.mss !== undefined) b.push(2, 4, o.mss >> 8, o.mss & 255);
  if (o.sackOk) b.push(1, 1, 4, 2);
  if (o.ts !== undefined) {
    b.push(1, 1, 8, 10);
    u32be(o.ts[0]);
    u32be(o.ts[1]);
  }
  if (o.wscale !== undefined) b.push(1, 3, 3, o.wscale);
  if (o.sack !== undefined) {
    b.push(1, 1, 5, 2 + 8 * o.sack.length);
    for (const [l, r] of o.sack) {
      u32be((l + sackBase) >>> 0);
      u32be((r + sackBase) >>> 0);
    }
  }
  if (o.raw !== undefined) b.push(...o.raw);
  while (b.length % 4 !== 0) b.push(0);
  return b;
}

export class TcpWire {
  readonly kernel: Kernel;
  readonly clock: TestClock;
  readonly net: Net;
  readonly dev: NetDevice;
  readonly sent: Seg[] = [];
  /** ICMP and other packets that the host sent. */
  readonly other: Uint8Array[] = [];
  readonly t0: number;
  /** The test's ISN, and the host's (-1 = not seen yet). */
  iss = 1_000_000;
  peerIss = -1;
  /** The latest TSval of the host. */
  lastTsval = 0;
  readonly #free0: { bytes: number; skbs: number; buffers: number };

  constructor(opts: { seed?: number; mtu?: number; features?: number; sysctls?: Record<string, string> } = {}) {
    const { kernel, clock } = testKernel(opts.seed ?? 1);
    this.kernel = kernel;
    this.clock = clock;
    this.t0 = clock.t;
    kernel.enter();
    this.#free0 = poolFree();
    kernel.exit();
    this.net = testNet(kernel, "h");
    for (const [k, v] of Object.entries(opts.sysctls ?? {})) this.sysctl(k, v);
    const self = this;
    const ops: NetDeviceOps = {
      symbol: "wire_ops",
      ndoStartXmit(skb: number): number {
        self.#rx(skb);
        consumeSkb(skb);
        return 0;
      },
    };
    const dev = new NetDevice(this.net, "tun0", ops);
    dev.type = 0xfffe;
    dev.flags = IFF_POINTOPOINT | IFF_NOARP;
    dev.hardHeaderLen = 0;
    dev.addrLen = 0;
    dev.mtu = opts.mtu ?? 1500;
    dev.features = opts.features ?? 0;
    dev.privFlags |= IFF_NO_QUEUE;
    this.dev = dev;
    this.run(() => {
      registerNetdevice(dev);
      devOpen(dev);
      const ifa = new InIfaddr(inDevGet(dev)!);
      ifa.ifaLocal = ifa.ifaAddress = LOCAL;
      ifa.ifaPrefixlen = 16;
      ifa.ifaMask = 0xffff0000;
      inetInsertIfa(ifa, null);
    });
  }

  sysctl(name: string, value: string): void {
    const err = this.net.sysctlTable.get(name)?.set(value);
    if (err !== 0) throw new Error(`sysctl ${name}: ${err}`);
  }

  /** Runs `fn` in a context, and what it leaves to be done. */
  run<T>(fn: () => T): T {
    this.kernel.enter();
    let r: T;
    try {
      r = fn();
    } finally {
      this.kernel.exit();
    }
    this.kernel.run();
    return r;
  }

  /** Lets `ms` milliseconds pass. */
  sleep(ms: number): void {
    const end = this.clock.t + ms * 1000;
    for (;;) {
      const due = this.kernel.nextDeadline();
      if (due > end) break;
      if (due > this.clock.t) this.clock.t = due;
      this.kernel.run();
    }
    this.clock.t = end;
    this.kernel.run();
  }

  get now(): number {
    return this.clock.t - this.t0;
  }

  #rx(skb: number): void {
    const b = skbBytes(skb, 0, skbLen(skb)).slice();
    const v = new DataView(b.buffer, b.byteOffset, b.length);
    const ihl = (b[0]! & 15) * 4;
    if (b[9] !== 6) {
      this.other.push(b);
      return;
    }
    const doff = (b[ihl + 12]! >> 4) * 4;
    let flags = "";
    const f = b[ihl + 13]!;
    for (const [c, bit] of Object.entries(FLAG_BITS)) if (f & bit) flags += c;
    const rawSeq = v.getUint32(ihl + 4);
    if (flags.includes("S") && this.peerIss < 0) this.peerIss = rawSeq;
    const seg: Seg = {
      flags,
      seq: (rawSeq - (this.peerIss < 0 ? 0 : this.peerIss)) >>> 0,
      ack: (v.getUint32(ihl + 8) - this.iss) >>> 0,
      win: v.getUint16(ihl + 14),
      urg: v.getUint16(ihl + 18),
      data: b.subarray(ihl + doff),
      len: b.length - ihl - doff,
      at: this.now,
      tos: b[1]!,
      gsoSize: 0,
    };
    for (let i = ihl + 20; i < ihl + doff; ) {
      const kind = b[i]!;
      if (kind === 0) break;
      if (kind === 1) {
        i++;
        continue;
      }
      const size = b[i + 1]!;
      if (kind === 2) seg.mss = v.getUint16(i + 2);
      else if (kind === 3) seg.wscale = b[i + 2]!;
      else if (kind === 4) seg.sackOk = true;
      else if (kind === 8) {
        seg.ts = [v.getUint32(i + 2), v.getUint32(i + 6)];
        this.lastTsval = seg.ts[0];
      } else if (kind === 5) {
        seg.sack = [];
        for (let k = i + 2; k < i + size; k += 8) {
          seg.sack.push([(v.getUint32(k) - this.iss) >>> 0, (v.getUint32(k + 4) - this.iss) >>> 0]);
        }
      }
      i += size;
    }
    this.sent.push(seg);
  }

  /** The segment that `in` would send, as bytes of an IP packet. */
  packet(flags: string, s: In): Uint8Array {
    const data = s.data ?? new Uint8Array(s.len ?? 0).map((_, i) => ((s.seq ?? 0) + i) & 255);
    const opts = encodeOpts(s, Math.max(0, this.peerIss));
    const doff = 20 + opts.length;
    const b = new Uint8Array(20 + doff + data.length);
    const v = new DataView(b.buffer);
    b[0] = 0x45;
    b[1] = s.tos ?? 0;
    v.setUint16(2, b.length);
    v.setUint16(6, 0x4000);
    b[8] = s.ttl ?? 64;
    b[9] = 6;
    v.setUint32(12, REMOTE);
    v.setUint32(16, LOCAL);
    v.setUint16(10, ~sum16(b, 0, 20, 0) & 0xffff);
    v.setUint16(20, s.sport ?? RPORT);
    v.setUint16(22, s.dport ?? PORT);
    v.setUint32(24, ((s.seq ?? 0) + this.iss) >>> 0);
    v.setUint32(28, flags.includes(".") ? ((s.ack ?? 0) + Math.max(0, this.peerIss)) >>> 0 : 0);
    let f = 0;
    for (const c of flags) f |= FLAG_BITS[c]!;
    b[32] = (doff / 4) << 4;
    b[33] = f;
    v.setUint16(34, s.win ?? 32792);
    v.setUint16(38, s.urg ?? 0);
    b.set(opts, 40);
    b.set(data, 20 + doff);
    const pseudo = sum16(b, 12, 20, 6 + doff + data.length);
    const sum = ~sum16(b, 20, b.length, pseudo) & 0xffff;
    v.setUint16(36, s.badsum ? sum ^ 0x55 : sum);
    return b;
  }

  /** A packet arrives. */
  receive(b: Uint8Array, unnecessary = false): void {
    this.run(() => {
      const skb = allocSkb(b.length + 64);
      u8.set(b, skbPut(skb, b.length));
      skbSetDev(skb, this.dev);
      skbSetProtocol(skb, 0x0800);
      skbSetPktType(skb, 0);
      if (unnecessary) skbSetIpSummed(skb, 1);
      skbResetMacHeader(skb);
      skbResetNetworkHeader(skb);
      netifRx(skb);
    });
  }

  /** A segment of the remote arrives. */
  in(flags: string, s: In = {}): void {
    this.receive(this.packet(flags, s), s.nosum === true);
  }

  /** What the host has sent since the last call. */
  out(): Seg[] {
    return this.sent.splice(0);
  }

  /** `out` in packetdrill's notation: "P. 1:1001(1000) ack 1 <sack 5:9>". */
  outText(): string[] {
    return this.out().map(segText);
  }

  // ---- sockets ----

  sock(fd: number): TcpSock {
    return (sys.sockfdSocket(this.net, fd) as Socket).sk as TcpSock;
  }

  tcp(): TcpSock[] {
    return inetAllSocks(this.net).filter((s): s is TcpSock => s instanceof TcpSock);
  }

  listen(backlog = 10): number {
    const fd = sys.sysSocket(this.net, 2, 1 | 2048, 0);
    this.ok(sys.sysBind(this.net, fd, { family: 2, addr: 0, port: PORT }));
    this.ok(sys.sysListen(this.net, fd, backlog));
    return fd;
  }

  ok(r: number): number {
    if (r < 0) throw new Error(`system call failed: ${r}`);
    this.kernel.run();
    return r;
  }

  /** Passive open up to ESTABLISHED: returns the accepted fd and the listener. */
  accept(opts: TcpOpts = { mss: 1000, sackOk: true, wscale: 7 }, win = 256): { fd: number; lfd: number } {
    const lfd = this.listen();
    this.in("S", { ...opts, seq: 0, win: 32792 });
    const synack = this.out().find((s) => s.flags.includes("S"));
    if (synack === undefined) throw new Error("no SYN-ACK");
    this.in(".", { seq: 1, ack: 1, win, ...(opts.ts !== undefined ? { ts: [opts.ts[0] + 1, this.lastTsval] } : {}) });
    const fd = this.ok(sys.sysAccept4(this.net, lfd, null, 2048));
    return { fd, lfd };
  }

  /** connect() to the remote: the SYN is the next thing in `out`. */
  connect(): number {
    const fd = sys.sysSocket(this.net, 2, 1 | 2048, 0);
    this.ok(sys.sysBind(this.net, fd, { family: 2, addr: 0, port: PORT }));
    const r = sys.sysConnect(this.net, fd, { family: 2, addr: REMOTE, port: RPORT });
    if (r !== -115) throw new Error(`connect: ${r}`);
    this.kernel.run();
    return fd;
  }

  write(fd: number, data: Uint8Array | number): number {
    const b = typeof data === "number" ? new Uint8Array(data) : data;
    const r = sys.sysSend(this.net, fd, b, b.length, 0);
    this.kernel.run();
    return r;
  }

  read(fd: number, len = 65536): Uint8Array | number {
    const b = new Uint8Array(len);
    const r = sys.sysRecv(this.net, fd, b, len, 0);
    this.kernel.run();
    return r < 0 ? r : b.subarray(0, r);
  }

  close(fd: number): number {
    const r = sys.sysClose(this.net, fd);
    this.kernel.run();
    return r;
  }

  shutdown(fd: number, how: number): number {
    const r = sys.sysShutdown(this.net, fd, how);
    this.kernel.run();
    return r;
  }

  /** Counter of /proc/net/netstat's TcpExt. */
  ext(i: number): number {
    return this.net.mib.linux[i]!;
  }

  /** Closes everything, lets TIME_WAIT pass, and compares the pool with how it was. */
  end(fds: number[]): { before: unknown; after: unknown } {
    for (const fd of fds) this.close(fd);
    this.sleep(200_000);
    for (const sk of this.tcp()) {
      this.run(() => {
        skDstReset(sk);
        sk.skProt.diagDestroy?.(sk, 103);
      });
    }
    this.sleep(200_000);
    this.run(() => unregisterNetdevice(this.dev));
    destroyNet(this.net);
    this.kernel.run();
    this.kernel.enter();
    const after = poolFree();
    this.kernel.exit();
    return { before: this.#free0, after };
  }
}

export function segText(s: Seg): string {
  let t = `${s.flags} ${s.seq}:${s.seq + s.len}(${s.len})`;
  if (s.flags.includes(".")) t += ` ack ${s.ack}`;
  if (s.sack !== undefined) t += ` <sack ${s.sack.map(([l, r]) => `${l}:${r}`).join(" ")}>`;
  return t;
}
