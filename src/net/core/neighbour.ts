/** struct neighbour, neigh_table, hh_cache: who is at the other end of a link, and how a frame gets its header. */

import type { TimerList } from "../../kernel/timer.ts";
import type { NetDevice } from "./dev.ts";
import type { DstEntry } from "./dst.ts";
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

/** struct neigh_table: arp_tbl. It holds code only; the entries are kept by namespace (`state`), keyed by device and address. */
export interface NeighTable {
  readonly id: string;
  readonly family: number;
  constructor_(neigh: Neighbour): number;
}

/** struct neigh_parms: `net.ipv4.neigh.<dev>.*`. */
export class NeighParms {}

function todo(): never {
  throw new Error("todo");
}

/** neigh_lookup: null if there is none. */
export function neighLookup(tbl: NeighTable, pkey: number, dev: NetDevice): Neighbour | null { return todo(); }
/** neigh_create: the entry, made if need be; null when the table is full. */
export function neighCreate(tbl: NeighTable, pkey: number, dev: NetDevice): Neighbour | null { return todo(); }
/** 0: go on and send. 1: the skb was queued or freed. */
export function neighEventSend(neigh: Neighbour, skb: number): number { return todo(); }
export function __neighEventSend(neigh: Neighbour, skb: number, immediateOk: boolean): number { return todo(); }
/** neigh_update: `lladdr` null = keep. NEIGH_UPDATE_F_*. 0 or a negative errno. */
export function neighUpdate(neigh: Neighbour, lladdr: Uint8Array | null, new_: number, flags: number): number { return todo(); }
export function neighResolveOutput(neigh: Neighbour, skb: number): number { return todo(); }
export function neighConnectedOutput(neigh: Neighbour, skb: number): number { return todo(); }
export function neighDirectOutput(neigh: Neighbour, skb: number): number { return todo(); }
/** neigh_hh_output: puts the ready-made header before the packet and passes it on. */
export function neighHhOutput(hh: HhCache, skb: number): number { return todo(); }
/** The upper layer knows that the neighbour is alive. */
export function neighConfirm(neigh: Neighbour): void { todo(); }
/** dst_confirm_neigh. */
export function dstConfirmNeigh(dst: DstEntry, daddr: number): void { todo(); }
/** sock_confirm_neigh: does what the skb was marked with (SKB_FLAG_DST_PENDING_CONFIRM). */
export function sockConfirmNeigh(skb: number, neigh: Neighbour): void { todo(); }
/** The live neighbour of the route's next hop, bound to the dst again if the old one died; null when there is none. */
export function dstNeighLookup(dst: DstEntry, skb: number): Neighbour | null { return todo(); }
