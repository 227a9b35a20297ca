/** What a link is like, and the words for it. */

import type { WireOptions } from "../drivers/net/wire.ts";

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
  /**
   * Whether received frames are joined to super-packets before they go up the stack (`ethtool -K dev gro`). By default a veth
   * with `offload: false` does, and an rtl819x does not: in the walk-through every frame goes up by itself.
   */
  gro?: boolean;
  /** rtl819x only: true has super-packets go down to the driver, and cuts them in front of it; else one MSS an skb. */
  gso?: boolean;
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
  reverse?: Omit<LinkOptions, "driver" | "subnet" | "names" | "mtu" | "offload" | "gro" | "gso" | "reverse">;
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

/** What of it the wire does. */
export function wireOptions(o: LinkOptions): WireOptions {
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
