/** Hosts on one machine in virtual time, with frames of an EtherType of their own: what the device layer's tests share. */

import { afterEach, beforeEach, expect } from "vitest";
import {
  CHECKSUM_PARTIAL,
  SKB_CSUM_OFFSET,
  SKB_CSUM_START,
  SKB_DATA,
  SKB_GSO_TCPV4,
  SKB_HEAD,
  SKB_IP_SUMMED,
  SKB_PROTOCOL,
} from "../../../assembly/layout.ts";
import type { Clock } from "../../../src/kernel/kernel.ts";
import { Kernel } from "../../../src/kernel/kernel.ts";
import { seededRandom } from "../../../src/kernel/random.ts";
import { createMachineSync, dv, u8, u16, u32, useMachine } from "../../../src/mm/mem.ts";
import { type PoolFree, poolFree, poolInUse } from "../../../src/mm/pool.ts";
import {
  skbLen,
  skbSetGsoSegs,
  skbSetGsoSize,
  skbSetGsoType,
  skbSetNetworkHeader,
  skbSetTransportHeader,
} from "../../../src/mm/skb.ts";
import { csumFold, csumTcpUdpMagic, csumTcpUdpNofold, ipFastCsum } from "../../../src/net/core/checksum.ts";
import {
  devAddPack,
  devQueueXmit,
  devRemovePack,
  type NetDevice,
  type NetDeviceOps,
  type PacketType,
  unregisterNetdevice,
} from "../../../src/net/core/dev.ts";
import { Net, setupNet } from "../../../src/net/core/net_namespace.ts";
import { allocSkb, consumeSkb, skbBytes, skbPut, skbReserve, skbSetDev } from "../../../src/net/core/skbuff.ts";
import { allocEtherdev } from "../../../src/net/ethernet/eth.ts";
import { pktschedInit } from "../../../src/net/sched/sch_api.ts";
import { dropReasonName } from "../../../src/uapi/dropreason.ts";
import { IFF_UP } from "../../../src/uapi/if.ts";

/** IEEE local experimental. */
export const ETH_P_TEST = 0x88b5;

export class TestClock implements Clock {
  us = 1_000_000;
  now(): number {
    return this.us;
  }
  realtime(): number {
    return 1_700_000_000_000_000 + this.us;
  }
}

export interface Frame {
  readonly dev: string;
  readonly net: string;
  readonly at: number;
  /** From the network header on. */
  readonly bytes: Uint8Array;
  readonly skbLen: number;
  readonly ipSummed: number;
}

export class World {
  readonly clock: TestClock = new TestClock();
  readonly kernel: Kernel;
  readonly frames: Frame[] = [];
  readonly drops: string[] = [];
  readonly log: string[] = [];
  readonly before: PoolFree;
  readonly pt: PacketType;
  #nets: Net[] = [];

  constructor(seed = 1, memoryBytes: number = 64 << 20) {
    pktschedInit();
    const machine = createMachineSync({ memoryBytes });
    useMachine(machine);
    this.before = poolFree();
    this.kernel = new Kernel(machine, this.clock, seededRandom(seed));
    this.kernel.onDrop = (_skb, reason) => this.drops.push(dropReasonName(reason));
    this.kernel.onPrintk = (_level, text) => this.log.push(text);
    this.pt = {
      type: ETH_P_TEST,
      func: (skb, dev): number => {
        this.frames.push({
          dev: dev.name,
          net: dev.net.name,
          at: this.clock.us,
          bytes: skbBytes(skb),
          skbLen: skbLen(skb),
          ipSummed: u8[skb + SKB_IP_SUMMED],
        });
        consumeSkb(skb);
        return 0;
      },
    };
    devAddPack(this.pt);
  }

  net(name: string): Net {
    return this.do(() => {
      const net = new Net(this.kernel, name);
      expect(setupNet(net)).toBe(0);
      this.#nets.push(net);
      return net;
    });
  }

  /** Runs `fn` in kernel context. */
  do<T>(fn: () => T): T {
    this.kernel.enter();
    try {
      return fn();
    } finally {
      this.kernel.exit();
    }
  }

  /** Lets virtual time pass. */
  run(us: number): void {
    const end = this.clock.us + us;
    for (let next = this.kernel.run(); next <= end; next = this.kernel.run())
      this.clock.us = Math.max(next, this.clock.us);
    this.clock.us = end;
    this.kernel.run();
  }

  /** The payloads of what has arrived, as text. */
  texts(): string[] {
    return this.frames.map((f) => new TextDecoder().decode(f.bytes).replace(/\0+$/, ""));
  }

  /** The devices go, and then everything must be gone. */
  end(): void {
    devRemovePack(this.pt);
    this.do(() => {
      for (const net of this.#nets) for (const dev of [...net.devByIndex.values()]) unregisterNetdevice(dev);
    });
    useMachine(this.kernel.machine);
    expect(this.kernel.machine.devs.size).toBe(0);
    expect(this.kernel.timers.pending).toBe(0);
    expect(poolInUse()).toEqual([]);
    expect(poolFree()).toEqual(this.before);
  }
}

/** A world for every test of the file; afterwards its pool has to be whole. */
export function withWorld(seed = 1, memoryBytes?: number): { w: World } {
  const held = {} as { w: World };
  beforeEach(() => {
    held.w = new World(seed, memoryBytes);
  });
  afterEach(() => held.w.end());
  return held;
}

export const BROADCAST: Uint8Array = new Uint8Array(6).fill(0xff);

/** A frame with `payload` behind its Ethernet header, for `dev` to send. */
export function frame(
  dev: NetDevice,
  payload: string | Uint8Array,
  dst: Uint8Array = BROADCAST,
  proto: number = ETH_P_TEST,
): number {
  const bytes = typeof payload === "string" ? new TextEncoder().encode(payload) : payload;
  const skb = allocSkb(66 + 14 + bytes.length);
  expect(skb).not.toBe(0);
  skbReserve(skb, 66);
  const at = skbPut(skb, 14 + bytes.length);
  u8.set(dst, at);
  u8.set(dev.devAddr, at + 6);
  dv.setUint16(at + 12, proto);
  u8.set(bytes, at + 14);
  skbSetNetworkHeader(skb, 14);
  skbSetDev(skb, dev);
  u16[(skb + SKB_PROTOCOL) >>> 1] = proto;
  return skb;
}

/** Sends a frame through `dev` and returns what dev_queue_xmit has said. */
export function send(w: World, dev: NetDevice, payload: string | Uint8Array, dst?: Uint8Array): number {
  return w.do(() => devQueueXmit(frame(dev, payload, dst)));
}

export interface TcpOptions {
  /** Bytes a segment; 0 = one frame. */
  gsoSize?: number;
  /** Leave the checksum to the device. */
  partial?: boolean;
  dst?: Uint8Array;
  sport?: number;
  tos?: number;
  payload?: Uint8Array;
}

/** An Ethernet frame with a TCP segment of `len` payload bytes, or a super-packet. */
export function tcpFrame(dev: NetDevice, len: number, o: TcpOptions = {}): number {
  const skb = allocSkb(66 + 54 + len);
  expect(skb).not.toBe(0);
  skbReserve(skb, 66);
  const at = skbPut(skb, 54 + len);
  u8.fill(0, at, at + 54);
  u8.set(o.dst ?? BROADCAST, at);
  u8.set(dev.devAddr, at + 6);
  dv.setUint16(at + 12, 0x0800);
  const ip = at + 14;
  u8[ip] = 0x45;
  u8[ip + 1] = o.tos ?? 0;
  dv.setUint16(ip + 2, 40 + len);
  dv.setUint16(ip + 4, 1);
  dv.setUint16(ip + 6, 0x4000);
  u8[ip + 8] = 64;
  u8[ip + 9] = 6;
  dv.setUint32(ip + 12, 0x0a000001);
  dv.setUint32(ip + 16, 0x0a000002);
  dv.setUint16(ip + 10, ipFastCsum(ip, 5));
  const th = ip + 20;
  dv.setUint16(th, o.sport ?? 1000);
  dv.setUint16(th + 2, 80);
  dv.setUint32(th + 4, 1);
  u8[th + 12] = 0x50;
  u8[th + 13] = 0x10;
  for (let i = 0; i < len; i++) u8[th + 20 + i] = o.payload?.[i] ?? i * 7;
  skbSetNetworkHeader(skb, 14);
  skbSetTransportHeader(skb, 34);
  skbSetDev(skb, dev);
  u16[(skb + SKB_PROTOCOL) >>> 1] = 0x0800;
  if (o.gsoSize || o.partial) {
    dv.setUint16(th + 16, ~csumFold(csumTcpUdpNofold(0x0a000001, 0x0a000002, 20 + len, 6, 0)) & 0xffff);
    u8[skb + SKB_IP_SUMMED] = CHECKSUM_PARTIAL;
    u16[(skb + SKB_CSUM_START) >>> 1] = th - u32[(skb + SKB_HEAD) >>> 2];
    u16[(skb + SKB_CSUM_OFFSET) >>> 1] = 16;
  } else {
    let sum = 0;
    for (let i = 0; i < 20 + len; i += 2) sum += (u8[th + i] << 8) | (i + 1 < 20 + len ? u8[th + i + 1] : 0);
    for (let i = 12; i < 20; i += 2) sum += dv.getUint16(ip + i);
    sum += 6 + 20 + len;
    while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
    dv.setUint16(th + 16, ~sum & 0xffff);
  }
  if (o.gsoSize) {
    skbSetGsoSize(skb, o.gsoSize);
    skbSetGsoSegs(skb, Math.ceil(len / o.gsoSize));
    skbSetGsoType(skb, SKB_GSO_TCPV4);
  }
  return skb;
}

/** Whether the TCP checksum of an IP packet in `bytes` is right. */
export function tcpChecksumRight(bytes: Uint8Array): boolean {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const len = view.getUint16(2) - 20;
  let sum = 6 + len;
  for (let i = 12; i < 20; i += 2) sum += view.getUint16(i);
  for (let i = 0; i < len; i += 2)
    sum += ((bytes[20 + i] as number) << 8) | (i + 1 < len ? (bytes[21 + i] as number) : 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return sum === 0xffff;
}

export { csumTcpUdpMagic };

/** A device whose driver does what the test says. */
export class FakeNic {
  readonly dev: NetDevice;
  /** What was sent: the frames' bytes from the link header on. */
  readonly sent: Uint8Array[] = [];
  readonly more: boolean[] = [];
  /** Answers NETDEV_TX_BUSY instead of taking packets. */
  busy = false;
  readonly calls: string[] = [];
  onXmit: ((skb: number) => void) | null = null;

  constructor(net: Net, name: string, change?: (dev: NetDevice) => void, more?: () => boolean) {
    const self = this;
    const ops: NetDeviceOps = {
      symbol: "fake_ops",
      ndoOpen: () => (self.calls.push("open"), 0),
      ndoStop: () => (self.calls.push("stop"), 0),
      ndoStartXmit(skb: number): number {
        if (self.busy) return 0x10;
        self.onXmit?.(skb);
        self.more.push(more?.() ?? false);
        self.sent.push(skbBytes(skb));
        consumeSkb(skb);
        return 0;
      },
      ndoTxTimeout: () => void self.calls.push("timeout"),
    };
    this.dev = allocEtherdev(net, name, ops, "test");
    this.dev.devAddr.set([2, 0, 0, 0, 0, 1]);
    change?.(this.dev);
  }

  get up(): boolean {
    return (this.dev.flags & IFF_UP) !== 0;
  }
}

/** skb->data of a frame as bytes, before it is sent. */
export function dataOf(skb: number): number {
  return u32[(skb + SKB_DATA) >>> 2];
}
