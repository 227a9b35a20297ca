/** Links between two hosts: two network cards, a wire between them, and addresses. */

import { re865xProbe } from "../drivers/net/rtl819x/rtl_nic.ts";
import { vethNewlink, vethPeer, wireNewlink } from "../drivers/net/veth.ts";
import type { WireOptions } from "../drivers/net/wire.ts";
import { Wire } from "../drivers/net/wire.ts";
import type { Kernel } from "../kernel/kernel.ts";
import type { NetDevice } from "../net/core/dev.ts";
import {
  devSetFeature,
  NETIF_F_GRO,
  NETIF_F_HW_CSUM,
  NETIF_F_RXCSUM,
  NETIF_F_TSO,
  NETIF_F_TSO_ECN,
  NETIF_F_TSO6,
} from "../net/core/dev.ts";
import { inetAton, inetNtoa } from "../net/ipv4/inet_addr.ts";
import { SocketError } from "../net/socket_error.ts";
import type { Host } from "./host.ts";

/** What a link is like. Without impairments frames cross it at once. */
export interface LinkOptions {
  /**
   * "veth" (default): scatter-gather, TSO, checksum offload. "rtl819x": the NIC of the walk-through: descriptor rings, one
   * MSS a frame, software checksums.
   */
  driver?: "veth" | "rtl819x";
  /** "10.0.0.0/24": the first host gets .1, the second .2. Left out: no addresses are set. */
  subnet?: string;
  /** Names of the two devices; "eth0", "eth1" ... by default. */
  names?: [string, string];
  /** Layer-3 MTU in bytes; 1500 by default. */
  mtu?: number;
  /** veth only: false switches TSO and checksum offloads off, so that real 1514-byte frames with real checksums cross. */
  offload?: boolean;
  /** With `offload: false`: false also has every received frame go up the stack by itself (`ethtool -K dev gro off`). */
  gro?: boolean;
  /** Latency of each direction: "20ms", "150us", "1s", or a number of milliseconds. */
  delay?: string | number;
  /** Random extra latency, same units. Frames stay in order. */
  jitter?: string | number;
  /** Bits a second: "100mbit", "1gbit", or a number. */
  rate?: string | number;
  /** Frames that may wait for a link with a rate; 1000 by default. */
  limit?: number;
  /** Probabilities from 0 to 1, or "1%". */
  loss?: string | number;
  duplicate?: string | number;
  reorder?: string | number;
  corrupt?: string | number;
  /**
   * What the way from the second host to the first one is like where that differs: delay, jitter, rate, limit, loss,
   * duplicate, reorder, corrupt.
   */
  reverse?: Omit<LinkOptions, "driver" | "subnet" | "names" | "mtu" | "offload" | "reverse">;
}

/** "20ms" -> microseconds. A bare number is milliseconds. */
export function parseDelay(value: string | number, what: string): number {
  if (typeof value === "number") {
    if (!(value >= 0)) throw new RangeError(`${what}: ${value} is no time`);
    return value * 1000;
  }
  const m = /^(\d+(?:\.\d+)?)\s*(us|ms|s)?$/.exec(value);
  if (m === null) throw new RangeError(`${what}: "${value}" is no time (try "20ms")`);
  return Number(m[1]) * (m[2] === "us" ? 1 : m[2] === "s" ? 1e6 : 1000);
}

/** "100mbit" -> bits a second. */
export function parseRate(value: string | number): number {
  if (typeof value === "number") return value;
  const m = /^(\d+(?:\.\d+)?)\s*([kmgt]?)bit$/.exec(value.toLowerCase());
  if (m === null) throw new RangeError(`rate: "${value}" is no rate (try "100mbit")`);
  return Number(m[1]) * { "": 1, k: 1e3, m: 1e6, g: 1e9, t: 1e12 }[m[2] as "" | "k" | "m" | "g" | "t"];
}

/** "1%" or 0.01 -> 0.01. */
export function parseProbability(value: string | number, what: string): number {
  const n = typeof value === "number" ? value : value.endsWith("%") ? Number(value.slice(0, -1)) / 100 : Number(value);
  if (!(n >= 0 && n <= 1)) throw new RangeError(`${what}: ${String(value)} is no probability (0 to 1, or "1%")`);
  return n;
}

function wireOptions(o: LinkOptions): WireOptions {
  const w: WireOptions = {};
  if (o.delay !== undefined) w.delay = parseDelay(o.delay, "delay");
  if (o.jitter !== undefined) w.jitter = parseDelay(o.jitter, "jitter");
  if (o.rate !== undefined) w.rate = parseRate(o.rate);
  if (o.limit !== undefined) w.limit = o.limit;
  if (o.loss !== undefined) w.loss = parseProbability(o.loss, "loss");
  if (o.duplicate !== undefined) w.duplicate = parseProbability(o.duplicate, "duplicate");
  if (o.reorder !== undefined) w.reorder = parseProbability(o.reorder, "reorder");
  if (o.corrupt !== undefined) w.corrupt = parseProbability(o.corrupt, "corrupt");
  return w;
}

/** The first free ethN. */
function freeName(host: Host): string {
  let n = 0;
  while (host.ns.devByName.has(`eth${n}`)) n++;
  return `eth${n}`;
}

function parseSubnet(subnet: string): [number, number] {
  const m = /^([\d.]+)\/(\d+)$/.exec(subnet);
  const addr = m === null ? -1 : inetAton(m[1] as string);
  const len = m === null ? -1 : Number(m[2]);
  if (addr < 0 || len < 1 || len > 30)
    throw new RangeError(`subnet: "${subnet}" is no A.B.C.D/LEN with room for two hosts`);
  const mask = len === 0 ? 0 : (0xffffffff << (32 - len)) >>> 0;
  return [(addr & mask) >>> 0, len];
}

/** Makes the cards and the wire. `n`-th link of the kernel, which gives the cards' addresses: 02:00:00:00:nn:01, :02. */
export function linkHosts(kernel: Kernel, a: Host, b: Host, o: LinkOptions, n: number): [NetDevice, NetDevice] {
  if (a === b) throw new RangeError("a link needs two hosts");
  const driver = o.driver ?? "veth";
  if (driver !== "veth" && driver !== "rtl819x")
    throw new RangeError(`driver: ${String(driver)} is neither veth nor rtl819x`);
  const subnet = o.subnet === undefined ? null : parseSubnet(o.subnet);
  const impaired = wireOptions(o);
  const reverse = o.reverse === undefined ? null : { ...impaired, ...wireOptions(o.reverse) };
  const newWire = (): Wire => {
    const wire = new Wire(impaired);
    if (reverse !== null) wire.configure(1, reverse);
    return wire;
  };
  const nameA = o.names?.[0] ?? freeName(a);
  const nameB = o.names?.[1] ?? freeName(b);
  const mac = (end: number): Uint8Array => new Uint8Array([2, 0, 0, n >> 8, n & 255, end]);
  const mtu = o.mtu ?? 1500;

  kernel.enter();
  let devs: [NetDevice, NetDevice];
  try {
    const made = (r: NetDevice | number): NetDevice => {
      if (typeof r === "number") throw new SocketError("link", r);
      return r;
    };
    if (driver === "rtl819x") {
      const wire = newWire();
      devs = [
        made(re865xProbe(a.ns, nameA, wire, 0, { address: mac(1), mtu })),
        made(re865xProbe(b.ns, nameB, wire, 1, { address: mac(2), mtu })),
      ];
    } else if (Object.keys(impaired).length > 0 || reverse !== null) {
      const wire = newWire();
      devs = [
        made(wireNewlink(a.ns, nameA, wire, 0, { address: mac(1), mtu })),
        made(wireNewlink(b.ns, nameB, wire, 1, { address: mac(2), mtu })),
      ];
    } else {
      const dev = made(vethNewlink(a.ns, nameA, b.ns, nameB, { address: mac(1), mtu }, { address: mac(2), mtu }));
      devs = [dev, vethPeer(dev) as NetDevice];
    }
    if (o.offload === false && driver === "veth") {
      const offloads = NETIF_F_TSO | NETIF_F_TSO_ECN | NETIF_F_TSO6 | NETIF_F_HW_CSUM | NETIF_F_RXCSUM;
      for (const dev of devs) {
        devSetFeature(dev, offloads, false);
        devSetFeature(dev, NETIF_F_GRO, o.gro !== false);
      }
    }
  } finally {
    kernel.exit();
  }
  if (subnet !== null) {
    a.ip(`addr add ${inetNtoa(subnet[0] + 1)}/${subnet[1]} dev ${nameA}`);
    b.ip(`addr add ${inetNtoa(subnet[0] + 2)}/${subnet[1]} dev ${nameB}`);
  }
  a.ip(`link set ${nameA} up`);
  b.ip(`link set ${nameB} up`);
  return devs;
}
