/**
 * One host with one device, and routes that are made by hand: what the tests of the IP layer stand on. What reaches the
 * neighbour is recorded as bytes from the IP header on.
 */

import { expect } from "vitest";
import type { Clock } from "../../../src/kernel/kernel.ts";
import { Kernel } from "../../../src/kernel/kernel.ts";
import { seededRandom } from "../../../src/kernel/random.ts";
import { createMachineSync, u8 } from "../../../src/mm/mem.ts";
import type { PoolFree } from "../../../src/mm/pool.ts";
import { poolFree, poolInUse } from "../../../src/mm/pool.ts";
import { NETIF_F_HW_CSUM, NETIF_F_SG, NetDevice } from "../../../src/net/core/dev.ts";
import type { DstOps } from "../../../src/net/core/dst.ts";
import { Neighbour } from "../../../src/net/core/neighbour.ts";
import { Net, setupNet } from "../../../src/net/core/net_namespace.ts";
import {
  allocSkb,
  consumeSkb,
  netdevSlots,
  skbBytes,
  skbDstSet,
  skbPut,
  skbReserve,
  skbResetMacHeader,
  skbResetNetworkHeader,
  skbSetDev,
  skbSetProtocol,
  skbSetTransportHeader,
  skbSkbIif,
} from "../../../src/net/core/skbuff.ts";
import { icmpInit } from "../../../src/net/ipv4/icmp.ts";
import { ipcbClear } from "../../../src/net/ipv4/ip.ts";
import { ipfragInit } from "../../../src/net/ipv4/ip_fragment.ts";
import { ipInit, ipOutput } from "../../../src/net/ipv4/ip_output.ts";
import { netnsIpv4Init } from "../../../src/net/ipv4/netns.ts";
import { Rtable } from "../../../src/net/ipv4/route.ts";
import { IFF_MULTICAST, IFF_UP } from "../../../src/uapi/if.ts";
import { RTN_UNICAST } from "../../../src/uapi/rtnetlink.ts";
import { rfc1071 } from "../../mm/util.ts";

export { RUNS, SEED } from "../../mm/util.ts";

export const A = 0x0a000001; // 10.0.0.1: this host
export const B = 0x0a000002;
export const C = 0x0a010003; // 10.1.0.3: behind a router

/** A clock that tests move by hand. */
export class TestClock implements Clock {
  us = 1_000_000;
  now(): number {
    return this.us;
  }
  realtime(): number {
    return 1_700_000_000_000_000 + this.us;
  }
}

const dstOps: DstOps = {
  family: 2,
  check: (dst) => dst,
  defaultAdvmss: () => 1460,
  mtu: (dst) => (dst as Rtable).rtPmtu || dst.dev.mtu,
  negativeAdvice: () => {},
  linkFailure: () => {},
  updatePmtu: () => {},
  redirect: () => {},
};

export class FakeHost {
  readonly clock: TestClock = new TestClock();
  readonly kernel: Kernel;
  readonly net: Net;
  readonly dev: NetDevice;
  readonly before: PoolFree;
  /** Packets that reached the neighbour. */
  readonly sent: Uint8Array[] = [];
  /** Drop reasons, in order. */
  readonly drops: number[] = [];
  /** What the neighbour answers. */
  result = 0;

  constructor(mtu = 1500) {
    netnsIpv4Init();
    ipInit();
    icmpInit();
    ipfragInit();
    this.kernel = new Kernel(createMachineSync({ memoryBytes: 64 << 20 }), this.clock, seededRandom(1));
    this.kernel.onDrop = (_skb, reason) => this.drops.push(reason);
    this.kernel.enter();
    this.net = new Net(this.kernel, "test");
    expect(setupNet(this.net)).toBe(0);
    this.dev = this.device("eth0", mtu);
    this.before = poolFree();
  }

  /** A device that is known and up, with nothing behind it. */
  device(name: string, mtu: number): NetDevice {
    const dev = new NetDevice(this.net, name, { symbol: "fake_ops", ndoStartXmit: () => 0 });
    dev.mtu = mtu;
    dev.ifindex = this.net.ifindexNext++;
    dev.slot = netdevSlots.alloc(dev);
    dev.features = NETIF_F_SG | NETIF_F_HW_CSUM;
    dev.flags |= IFF_UP | IFF_MULTICAST;
    this.net.devByIndex.set(dev.ifindex, dev);
    this.net.devByName.set(name, dev);
    return dev;
  }

  /** A route out of `dev`, with a neighbour that records. */
  route(dev: NetDevice = this.dev): Rtable {
    const rt = new Rtable(dev, dstOps, new Float64Array(18));
    rt.rtType = RTN_UNICAST;
    rt.output = ipOutput;
    const neigh = new Neighbour(this.net, null as never, dev, B);
    neigh.output = (_neigh, skb) => {
      this.sent.push(skbBytes(skb));
      consumeSkb(skb);
      return this.result;
    };
    rt.neighbour = neigh;
    return rt;
  }

  /** An skb that holds `bytes` from the IP header on, as a driver hands it up. */
  receive(bytes: ArrayLike<number>, headroom = 64): number {
    const skb = allocSkb(bytes.length + headroom);
    expect(skb).not.toBe(0);
    skbReserve(skb, headroom);
    u8.set(bytes, skbPut(skb, bytes.length));
    skbResetMacHeader(skb);
    skbResetNetworkHeader(skb);
    skbSetTransportHeader(skb, 20);
    skbSetDev(skb, this.dev);
    skbSetProtocol(skb, 0x0800);
    ipcbClear(skb);
    void skbSkbIif(skb);
    return skb;
  }

  /** The same with a route. */
  packet(bytes: ArrayLike<number>, rt: Rtable): number {
    const skb = this.receive(bytes);
    skbDstSet(skb, rt);
    return skb;
  }

  /** Moves time and runs what is due. */
  advance(us: number): void {
    this.kernel.exit();
    this.clock.us += us;
    this.kernel.run();
    this.kernel.enter();
  }

  /** A counter of the IP MIB. */
  ip(field: number): number {
    return this.net.mib.ip[field] as number;
  }

  /** Nothing leaked. */
  end(): void {
    const inUse = poolInUse();
    const after = poolFree();
    this.kernel.exit();
    expect(inUse).toEqual([]);
    expect(after).toEqual(this.before);
  }
}

export interface Ip {
  tos?: number;
  id?: number;
  /** Flags and offset. */
  frag?: number;
  ttl?: number;
  protocol?: number;
  saddr?: number;
  daddr?: number;
  options?: readonly number[];
  /** Values that a wrong packet has. */
  version?: number;
  ihl?: number;
  totLen?: number;
  check?: number;
}

/** An IPv4 packet, right unless told otherwise. */
export function ipPacket(h: Ip, payload: ArrayLike<number>): Uint8Array {
  const options = h.options ?? [];
  const hlen = 20 + options.length;
  const out = new Uint8Array(hlen + payload.length);
  const v = new DataView(out.buffer);
  out[0] = ((h.version ?? 4) << 4) | (h.ihl ?? hlen >>> 2);
  out[1] = h.tos ?? 0;
  v.setUint16(2, h.totLen ?? out.length);
  v.setUint16(4, h.id ?? 0x1234);
  v.setUint16(6, h.frag ?? 0);
  out[8] = h.ttl ?? 64;
  out[9] = h.protocol ?? 17;
  v.setUint32(12, h.saddr ?? B);
  v.setUint32(16, h.daddr ?? A);
  out.set(options, 20);
  v.setUint16(10, h.check ?? rfc1071(out.subarray(0, Math.min(hlen, (out[0] & 15) * 4 || hlen))));
  out.set(Uint8Array.from(payload), hlen);
  return out;
}

export interface IpView {
  tos: number;
  totLen: number;
  id: number;
  frag: number;
  ttl: number;
  protocol: number;
  saddr: number;
  daddr: number;
  options: number[];
  payload: Uint8Array;
}

/** Reads a packet, checking its lengths and its header checksum. */
export function readIp(b: Uint8Array): IpView {
  const v = new DataView(b.buffer, b.byteOffset, b.length);
  const hlen = ((b[0] as number) & 15) * 4;
  expect((b[0] as number) >>> 4).toBe(4);
  expect(rfc1071(b.subarray(0, hlen))).toBe(0);
  expect(v.getUint16(2)).toBe(b.length);
  return {
    tos: b[1] as number,
    totLen: b.length,
    id: v.getUint16(4),
    frag: v.getUint16(6),
    ttl: b[8] as number,
    protocol: b[9] as number,
    saddr: v.getUint32(12),
    daddr: v.getUint32(16),
    options: [...b.subarray(20, hlen)],
    payload: b.slice(hlen),
  };
}

/** `n` bytes that differ from their neighbours. */
export function pattern(n: number, seed = 0): Uint8Array {
  const out = new Uint8Array(n);
  for (let i = 0; i < n; i++) out[i] = (i * 31 + (i >>> 8) * 7 + seed) & 255;
  return out;
}
