/** struct neighbour, neigh_table, hh_cache: who is at the other end of a link, and how a frame gets its header. */

import type { TimerList } from "../../kernel/timer.ts";
import type { NetDevice } from "./dev.ts";
import type { Net } from "./net_namespace.ts";
import { SkBuffHead } from "./skbuff.ts";

/** struct hh_cache: a ready-made link-layer header and where to send with it. */
export class HhCache {
  /** Length of the link header in bytes; 0 = not built yet. */
  hhLen = 0;
  /** EtherType in host order. */
  hhType = 0;
  /** 16 bytes as four little-endian words, as they stand in memory before the network header (2 bytes of pad first). */
  readonly hhData: Uint32Array = new Uint32Array(4);
  /** hh->hh_output: dev_queue_xmit while the neighbour is CONNECTED, else neigh_resolve_output. */
  hhOutput: (skb: number) => number = hhNotSet;
  hhOutputSetBy = "";
}

function hhNotSet(_skb: number): number {
  throw new Error("hh_output is not set");
}

/** struct neigh_ops. */
export interface NeighOps {
  readonly symbol: string;
  readonly family: number;
  solicit(neigh: Neighbour, skb: number): void;
  errorReport(neigh: Neighbour, skb: number): void;
  output(neigh: Neighbour, skb: number): number;
  connectedOutput(neigh: Neighbour, skb: number): number;
  /** What hh->hh_output becomes while connected. */
  hhOutput(skb: number): number;
  queueXmit(skb: number): number;
}

export class Neighbour {
  readonly net: Net;
  readonly tbl: NeighTable;
  readonly dev: NetDevice;
  /** The protocol address: IPv4 as a u32 in host order. */
  readonly primaryKey: number;
  /** The link-layer address. */
  readonly ha: Uint8Array = new Uint8Array(8);
  nudState = 0;
  type = 0;
  flags = 0;
  dead = false;
  /** Microseconds. */
  confirmed = 0;
  updated = 0;
  used = 0;
  probes = 0;
  readonly arpQueue: SkBuffHead = new SkBuffHead();
  arpQueueLenBytes = 0;
  timer: TimerList = null as unknown as TimerList;
  ops: NeighOps = null as unknown as NeighOps;
  /** neigh->output, by NUD state. */
  output: (neigh: Neighbour, skb: number) => number = neighNotSet;
  outputSetBy = "";
  readonly hh: HhCache = new HhCache();
  refcnt = 1;

  constructor(net: Net, tbl: NeighTable, dev: NetDevice, key: number) {
    this.net = net;
    this.tbl = tbl;
    this.dev = dev;
    this.primaryKey = key;
  }
}

function neighNotSet(_neigh: Neighbour, _skb: number): number {
  throw new Error("neigh.output is not set");
}

/** struct neigh_table: arp_tbl. One a protocol and kernel; entries are keyed by device and address. */
export interface NeighTable {
  readonly id: string;
  readonly family: number;
  constructor_(neigh: Neighbour): number;
}
