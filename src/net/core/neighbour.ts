/** struct neighbour, neigh_table, hh_cache: who is at the other end of a link, and how a frame gets its header. */

import { SKB_DATA, SKB_FLAG_DST_PENDING_CONFIRM, SKB_FLAGS, SKB_HEAD } from "../../../assembly/layout.ts";
import { bugOn } from "../../kernel/bug.ts";
import { kernel } from "../../kernel/kernel.ts";
import { getRandomU32Below } from "../../kernel/random.ts";
import type { TimerList } from "../../kernel/timer.ts";
import { delTimer, modTimer, timerPending, timerSetup, timerShutdown } from "../../kernel/timer.ts";
import { dv, u8, u32 } from "../../mm/mem.ts";
import { skbLen, skbNetworkOffset, skbProtocol, skbTruesize } from "../../mm/skb.ts";
import {
  SKB_CONSUMED,
  SKB_DROP_REASON_NEIGH_DEAD,
  SKB_DROP_REASON_NEIGH_FAILED,
  SKB_DROP_REASON_NEIGH_HH_FILLFAIL,
  SKB_DROP_REASON_NEIGH_QUEUEFULL,
} from "../../uapi/dropreason.ts";
import { EEXIST, EINVAL, ENETDOWN, ENOBUFS, ENODEV, ENOENT, EPERM } from "../../uapi/errno.ts";
import {
  NTF_EXT_LEARNED,
  NTF_PROXY,
  NTF_ROUTER,
  NTF_USE,
  NUD_CONNECTED,
  NUD_DELAY,
  NUD_FAILED,
  NUD_IN_TIMER,
  NUD_INCOMPLETE,
  NUD_NOARP,
  NUD_NONE,
  NUD_PERMANENT,
  NUD_PROBE,
  NUD_REACHABLE,
  NUD_STALE,
  NUD_VALID,
  RTN_MULTICAST,
} from "../../uapi/rtnetlink.ts";
import type { NetDevice } from "./dev.ts";
import { devQueueXmit, NET_XMIT_DROP } from "./dev.ts";
import type { DstEntry } from "./dst.ts";
import type { Net } from "./net_namespace.ts";
import type { NeighMsg, NetlinkExtAck } from "./rtnetlink.ts";
import {
  NLM_F_CREATE,
  NLM_F_EXCL,
  NLM_F_REPLACE,
  nlSetErrMsg,
  RTM_DELNEIGH,
  RTM_GETNEIGH,
  RTM_NEWNEIGH,
  rtnlRegister,
} from "./rtnetlink.ts";
import {
  __skbPull,
  consumeSkb,
  kfreeSkb,
  kfreeSkbReason,
  SkBuffHead,
  skbClone,
  skbDequeue,
  skbDst,
  skbPeekTail,
  skbPush,
  skbQueuePurge,
  skbQueueTail,
  skbSk,
} from "./skbuff.ts";
import type { Sock } from "./sock.ts";
import { registerSysctlInt } from "./sysctl_net.ts";

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
  /** Whose header it is. Only neigh_hh_output calls hhOutput: it passes the neighbour to neigh_resolve_output. */
  neigh: Neighbour | null = null;
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
  parms: NeighParms = null as unknown as NeighParms;
  /** The chain of the hash, and the list of those that gc may take. */
  next: Neighbour | null = null;
  gcPrev: Neighbour | null = null;
  gcNext: Neighbour | null = null;
  onGcList = false;
  exemptFromGc = false;
  /** RTPROT_*: who entered it. */
  protocol = 0;

  constructor(net: Net, tbl: NeighTable, dev: NetDevice, key: number) {
    this.hh.neigh = this;
    this.net = net;
    this.tbl = tbl;
    this.dev = dev;
    this.primaryKey = key;
  }
}

function neighNotSet(_neigh: Neighbour, _skb: number): number {
  throw new Error("neigh.output is not set");
}

// NEIGH_UPDATE_F_*: how far neigh_update may go.
/** A known link address may be replaced by another one. */
export const NEIGH_UPDATE_F_OVERRIDE = 0x00000001;
/** A differing address makes a connected entry suspect (STALE) instead of replacing it. */
export const NEIGH_UPDATE_F_WEAK_OVERRIDE = 0x00000002;
export const NEIGH_UPDATE_F_OVERRIDE_ISROUTER = 0x00000004;
export const NEIGH_UPDATE_F_USE = 0x10000000;
export const NEIGH_UPDATE_F_EXT_LEARNED = 0x20000000;
export const NEIGH_UPDATE_F_ISROUTER = 0x40000000;
/** The administrator asks: NOARP and PERMANENT entries may change too. */
export const NEIGH_UPDATE_F_ADMIN = 0x80000000;

/** neigh_parms.reachable_time is drawn anew every 300 s (RFC 4861 §6.3.2 asks for hours at most). */
const REACHABLE_TIME_LIFETIME = 300e6;
/** No neighbour timer is shorter than HZ/100. */
const MIN_TIMER = 10e3;
const MSEC = 1e3;
const SEC = 1e6;

/** struct neigh_parms: `net.ipv4.neigh.<dev>.*`. All times in microseconds. */
export class NeighParms {
  readonly dev: NetDevice | null;
  baseReachableTime: number = 30 * SEC;
  retransTime: number = SEC;
  gcStaletime: number = 60 * SEC;
  delayProbeTime: number = 5 * SEC;
  intervalProbeTime: number = 5 * SEC;
  /** Bytes of truesize that wait for a link address. */
  queueLenBytes = 212992;
  ucastProbes = 3;
  mcastProbes = 3;
  appProbes = 0;
  mcastReprobes = 0;
  anycastDelay: number = SEC;
  proxyDelay: number = 800 * MSEC;
  /** Packets. */
  proxyQlen = 64;
  /** After an entry changed, replies that would change it again are ignored for so long. */
  locktime: number = SEC;
  /** base_reachable_time × (0.5 ... 1.5); see neighReachableTime. */
  reachableTime = 0;
  reachableTimeStamp: number = -Infinity;
  dead = false;

  constructor(dev: NetDevice | null) {
    this.dev = dev;
  }
}

/** neigh_parms_alloc: a device's settings, copied from the defaults. */
export function neighParmsAlloc(from: NeighParms, dev: NetDevice): NeighParms {
  const p = new NeighParms(dev);
  p.baseReachableTime = from.baseReachableTime;
  p.retransTime = from.retransTime;
  p.gcStaletime = from.gcStaletime;
  p.delayProbeTime = from.delayProbeTime;
  p.intervalProbeTime = from.intervalProbeTime;
  p.queueLenBytes = from.queueLenBytes;
  p.ucastProbes = from.ucastProbes;
  p.mcastProbes = from.mcastProbes;
  p.appProbes = from.appProbes;
  p.mcastReprobes = from.mcastReprobes;
  p.anycastDelay = from.anycastDelay;
  p.proxyDelay = from.proxyDelay;
  p.proxyQlen = from.proxyQlen;
  p.locktime = from.locktime;
  return p;
}

/**
 * neigh_rand_reach_time: base × (0.5 ... 1.5), so that hosts that met at one time don't probe each other at one time.
 * The kernel draws it again from a work item every 300 s; here it is drawn when it is asked for and that old.
 */
export function neighReachableTime(parms: NeighParms): number {
  if (kernel.now - parms.reachableTimeStamp >= REACHABLE_TIME_LIFETIME) {
    const base = Math.floor(parms.baseReachableTime / MSEC);
    parms.reachableTime = base === 0 ? 0 : (getRandomU32Below(base) + (base >>> 1)) * MSEC;
    parms.reachableTimeStamp = kernel.now;
  }
  return parms.reachableTime;
}

/** struct neigh_statistics. */
export class NeighStatistics {
  allocs = 0;
  destroys = 0;
  hashGrows = 0;
  resFailed = 0;
  lookups = 0;
  hits = 0;
  rcvProbesMcast = 0;
  rcvProbesUcast = 0;
  periodicGcRuns = 0;
  forcedGcRuns = 0;
  /** Packets pushed out of full queues of unresolved entries. */
  unresDiscards = 0;
  tableFulls = 0;
}

/** struct pneigh_entry: an address that this host answers for on a device. */
export interface PneighEntry {
  readonly key: number;
  /** null = on every device. */
  readonly dev: NetDevice | null;
  flags: number;
  protocol: number;
}

/** struct neigh_table: arp_tbl. It holds code only; the entries are kept by namespace (`state`), keyed by device and address. */
export interface NeighTable {
  readonly id: string;
  readonly family: number;
  /** EtherType of what the entries carry. */
  readonly protocol: number;
  /** Fills in a new entry's type, parms, ops and output. 0 or a negative errno. */
  constructor_(neigh: Neighbour): number;
  /** Called with a packet that waited in the proxy queue; consumes it. */
  proxyRedo(skb: number): void;
  state(net: Net): NeighTableState;
}

/** The entries of a table in one namespace. Chains are linked through `neigh.next`: looking one up makes no garbage. */
export class NeighTableState {
  readonly tbl: NeighTable;
  readonly net: Net;
  /** `net.ipv4.neigh.default.*`. */
  readonly parms: NeighParms = new NeighParms(null);
  gcThresh1 = 128;
  gcThresh2 = 512;
  gcThresh3 = 1024;
  buckets: (Neighbour | null)[] = new Array<Neighbour | null>(8).fill(null);
  /** All entries, and those that gc may take. */
  entries = 0;
  gcEntries = 0;
  /** The entries that gc may take, oldest first. */
  gcHead: Neighbour | null = null;
  gcTail: Neighbour | null = null;
  lastFlush = 0;
  readonly gcWork: TimerList = timerSetup(neighPeriodicWork, this);
  readonly stats: NeighStatistics = new NeighStatistics();
  readonly pneighs: PneighEntry[] = [];
  readonly proxyQueue: ProxyPacket[] = [];
  readonly proxyTimer: TimerList = timerSetup(neighProxyProcess, this);

  constructor(tbl: NeighTable, net: Net) {
    this.tbl = tbl;
    this.net = net;
  }
}

interface ProxyPacket {
  readonly skb: number;
  readonly due: number;
  readonly parms: NeighParms;
}

function neighHash(state: NeighTableState, pkey: number, dev: NetDevice): number {
  let h = Math.imul(pkey, 0x9e3779b1) ^ Math.imul(dev.ifindex, 0x85ebca6b);
  h ^= h >>> 15;
  return h & (state.buckets.length - 1);
}

/** neigh_lookup: null if there is none. */
export function neighLookup(tbl: NeighTable, pkey: number, dev: NetDevice): Neighbour | null {
  const state = tbl.state(dev.net);
  state.stats.lookups++;
  let n = state.buckets[neighHash(state, pkey, dev)] as Neighbour | null;
  while (n !== null) {
    if (n.primaryKey === pkey && n.dev === dev) {
      state.stats.hits++;
      return n;
    }
    n = n.next;
  }
  return null;
}

/** __neigh_lookup_errno: looks up, and creates if there is none; null when that is impossible. */
export function __neighLookup(tbl: NeighTable, pkey: number, dev: NetDevice): Neighbour | null {
  return neighLookup(tbl, pkey, dev) ?? __neighCreate(tbl, pkey, dev, false);
}

/** neigh_create: the entry, made if need be; null when the table is full. */
export function neighCreate(tbl: NeighTable, pkey: number, dev: NetDevice): Neighbour | null {
  return neighLookup(tbl, pkey, dev) ?? __neighCreate(tbl, pkey, dev, false);
}

/** ___neigh_create. `exemptFromGc`: a permanent or externally learned entry, which never counts towards the thresholds. */
export function __neighCreate(tbl: NeighTable, pkey: number, dev: NetDevice, exemptFromGc: boolean): Neighbour | null {
  const state = tbl.state(dev.net);
  const n = neighAlloc(state, pkey, dev, exemptFromGc);
  if (n === null) return null;
  if (tbl.constructor_(n) < 0) {
    neighDestroyUnlinked(state, n);
    return null;
  }
  n.confirmed = kernel.now - n.parms.baseReachableTime * 2;
  if (state.entries > state.buckets.length) neighHashGrow(state);
  const slot = neighHash(state, pkey, dev);
  n.next = state.buckets[slot] as Neighbour | null;
  state.buckets[slot] = n;
  n.dead = false;
  if (!exemptFromGc) neighGcListAdd(state, n);
  if (state.gcEntries >= state.gcThresh1 && !timerPending(state.gcWork)) {
    modTimer(state.gcWork, kernel.now + state.parms.baseReachableTime / 2);
  }
  return n;
}

function neighAlloc(state: NeighTableState, pkey: number, dev: NetDevice, exemptFromGc: boolean): Neighbour | null {
  if (!exemptFromGc) {
    const entries = state.gcEntries;
    if (entries >= state.gcThresh3 || (entries >= state.gcThresh2 && kernel.now > state.lastFlush + 5 * SEC)) {
      if (neighForcedGc(state) === 0 && entries >= state.gcThresh3) {
        state.stats.tableFulls++;
        return null;
      }
    }
    state.gcEntries++;
  }
  const n = new Neighbour(state.net, state.tbl, dev, pkey);
  n.exemptFromGc = exemptFromGc;
  n.updated = kernel.now;
  n.used = kernel.now;
  n.output = neighBlackhole;
  n.outputSetBy = "neigh_alloc";
  n.parms = state.parms;
  n.timer = timerSetup(neighTimerHandler, n);
  n.dead = true;
  state.entries++;
  state.stats.allocs++;
  return n;
}

function neighHashGrow(state: NeighTableState): void {
  const old = state.buckets;
  state.buckets = new Array<Neighbour | null>(old.length * 2).fill(null);
  state.stats.hashGrows++;
  for (let i = 0; i < old.length; i++) {
    let n = old[i] as Neighbour | null;
    while (n !== null) {
      const next: Neighbour | null = n.next;
      const slot = neighHash(state, n.primaryKey, n.dev);
      n.next = state.buckets[slot] as Neighbour | null;
      state.buckets[slot] = n;
      n = next;
    }
  }
}

function neighGcListAdd(state: NeighTableState, n: Neighbour): void {
  n.gcPrev = state.gcTail;
  n.gcNext = null;
  if (state.gcTail !== null) state.gcTail.gcNext = n;
  else state.gcHead = n;
  state.gcTail = n;
  n.onGcList = true;
}

function neighGcListDel(state: NeighTableState, n: Neighbour): void {
  if (!n.onGcList) return;
  if (n.gcPrev !== null) n.gcPrev.gcNext = n.gcNext;
  else state.gcHead = n.gcNext;
  if (n.gcNext !== null) n.gcNext.gcPrev = n.gcPrev;
  else state.gcTail = n.gcPrev;
  n.gcPrev = null;
  n.gcNext = null;
  n.onGcList = false;
}

/** neigh_update_gc_list: an entry became permanent, or stopped being it. */
function neighUpdateGcList(n: Neighbour): void {
  if (n.dead) return;
  const state = n.tbl.state(n.net);
  const exempt = (n.nudState & NUD_PERMANENT) !== 0 || (n.flags & NTF_EXT_LEARNED) !== 0;
  if (exempt && !n.exemptFromGc) {
    neighGcListDel(state, n);
    state.gcEntries--;
  } else if (!exempt && n.exemptFromGc) {
    neighGcListAdd(state, n);
    state.gcEntries++;
  }
  n.exemptFromGc = exempt;
}

/** Takes an entry out of the hash and ends it. */
function neighUnlink(state: NeighTableState, n: Neighbour): void {
  const slot = neighHash(state, n.primaryKey, n.dev);
  let p = state.buckets[slot] as Neighbour | null;
  if (p === n) {
    state.buckets[slot] = n.next;
  } else {
    while (p !== null && p.next !== n) p = p.next;
    if (p !== null) p.next = n.next;
  }
  n.next = null;
  neighDestroy(n);
}

/**
 * neigh_destroy, and what neigh_flush_dev does to entries that are still referred to: routes bound to it find it dead
 * and bind again (dstNeighLookup).
 */
export function neighDestroy(neigh: Neighbour): void {
  bugOn(neigh.dead, "destroying a dead neighbour");
  const state = neigh.tbl.state(neigh.net);
  neigh.dead = true;
  neighGcListDel(state, neigh);
  timerShutdown(neigh.timer);
  neighPurgeQueue(neigh);
  neigh.output = neighBlackhole;
  neigh.outputSetBy = "neigh_flush_dev";
  neigh.hh.hhOutput = neighHhDead;
  neigh.hh.hhOutputSetBy = "neigh_flush_dev";
  neigh.nudState = neigh.nudState & NUD_VALID ? NUD_NOARP : NUD_NONE;
  neighDestroyUnlinked(state, neigh);
}

function neighDestroyUnlinked(state: NeighTableState, n: Neighbour): void {
  state.stats.destroys++;
  state.entries--;
  if (!n.exemptFromGc) state.gcEntries--;
}

function neighPurgeQueue(neigh: Neighbour): void {
  skbQueuePurge(neigh.arpQueue, SKB_DROP_REASON_NEIGH_DEAD);
  neigh.arpQueueLenBytes = 0;
}

/** neigh_remove_one: false if it is gone already. */
export function neighRemoveOne(neigh: Neighbour): boolean {
  if (neigh.dead) return false;
  neighUnlink(neigh.tbl.state(neigh.net), neigh);
  return true;
}

/** neigh_flush_dev: ends the entries of `dev` (all if null). */
function neighFlushDev(state: NeighTableState, dev: NetDevice | null, skipPerm: boolean): void {
  for (let i = 0; i < state.buckets.length; i++) {
    let n = state.buckets[i] as Neighbour | null;
    while (n !== null) {
      const next: Neighbour | null = n.next;
      if ((dev === null || n.dev === dev) && !(skipPerm && (n.nudState & NUD_PERMANENT) !== 0)) neighUnlink(state, n);
      n = next;
    }
  }
}

/** neigh_changeaddr: the device's own link address changed. */
export function neighChangeaddr(tbl: NeighTable, dev: NetDevice): void {
  neighFlushDev(tbl.state(dev.net), dev, false);
}

/** neigh_carrier_down: the cable was pulled; what the administrator entered stays. */
export function neighCarrierDown(tbl: NeighTable, dev: NetDevice): void {
  const state = tbl.state(dev.net);
  neighFlushDev(state, dev, true);
  pneighQueuePurge(state, dev);
}

/** neigh_ifdown. */
export function neighIfdown(tbl: NeighTable, dev: NetDevice): void {
  const state = tbl.state(dev.net);
  neighFlushDev(state, dev, false);
  for (let i = state.pneighs.length - 1; i >= 0; i--) {
    if ((state.pneighs[i] as PneighEntry).dev === dev) state.pneighs.splice(i, 1);
  }
  pneighQueuePurge(state, dev);
}

/** neigh_table_clear: the namespace goes away. */
export function neighTableClear(state: NeighTableState): void {
  timerShutdown(state.gcWork);
  neighFlushDev(state, null, false);
  state.pneighs.length = 0;
  pneighQueuePurge(state, null);
  timerShutdown(state.proxyTimer);
}

/**
 * neigh_forced_gc: the table is getting full. Takes failed entries, those that hold no address of their own, and those
 * that did not change in the last 5 s, oldest first, until gc_thresh2 is met. Returns how many.
 */
function neighForcedGc(state: NeighTableState): number {
  const maxClean = state.gcEntries - state.gcThresh2;
  const tref = kernel.now - 5 * SEC;
  let shrunk = 0;
  state.stats.forcedGcRuns++;
  let n = state.gcHead;
  while (n !== null) {
    const next: Neighbour | null = n.gcNext;
    if (
      (n.nudState & (NUD_FAILED | NUD_NOARP)) !== 0 ||
      n.type === RTN_MULTICAST ||
      !(n.updated >= tref && n.updated <= kernel.now)
    ) {
      neighUnlink(state, n);
      if (++shrunk >= maxClean) break;
    }
    n = next;
  }
  state.lastFlush = kernel.now;
  return shrunk;
}

/** neigh_periodic_work: with gc_thresh1 entries or more, forgets those that nobody used for gc_stale_time. */
function neighPeriodicWork(t: TimerList): void {
  const state = t.data as NeighTableState;
  state.stats.periodicGcRuns++;
  if (state.gcEntries < state.gcThresh1) return;
  for (let i = 0; i < state.buckets.length; i++) {
    let n = state.buckets[i] as Neighbour | null;
    while (n !== null) {
      const next: Neighbour | null = n.next;
      if ((n.nudState & (NUD_PERMANENT | NUD_IN_TIMER)) === 0 && (n.flags & NTF_EXT_LEARNED) === 0) {
        if (n.used < n.confirmed) n.used = n.confirmed;
        if (n.nudState === NUD_FAILED || kernel.now >= n.used + n.parms.gcStaletime) neighUnlink(state, n);
      }
      n = next;
    }
  }
  // The kernel looks again for ever; below the threshold there is nothing to do until the table has grown.
  if (state.gcEntries >= state.gcThresh1) modTimer(t, kernel.now + state.parms.baseReachableTime / 2);
}

// ---- the state machine -----------------------------------------------------------------------------------------------------

function neighAddTimer(n: Neighbour, when: number): void {
  bugOn(modTimer(n.timer, when), "neighbour timer was armed twice");
}

function neighDelTimer(n: Neighbour): void {
  if ((n.nudState & NUD_IN_TIMER) !== 0) delTimer(n.timer);
}

/** neigh_suspect: the neighbour may be gone: every packet goes through neigh_resolve_output, which will ask. */
export function neighSuspect(neigh: Neighbour): void {
  neigh.output = neigh.ops.output;
  neigh.outputSetBy = "neigh_suspect";
  neigh.hh.hhOutput = neigh.ops.output as unknown as (skb: number) => number;
  neigh.hh.hhOutputSetBy = "neigh_suspect";
}

/** neigh_connect: the neighbour is known to be there: packets take the short way. */
export function neighConnect(neigh: Neighbour): void {
  neigh.output = neigh.ops.connectedOutput;
  neigh.outputSetBy = "neigh_connect";
  neigh.hh.hhOutput = neigh.ops.hhOutput;
  neigh.hh.hhOutputSetBy = "neigh_connect";
}

function neighMaxProbes(n: Neighbour): number {
  const p = n.parms;
  return p.ucastProbes + p.appProbes + ((n.nudState & NUD_PROBE) !== 0 ? p.mcastReprobes : p.mcastProbes);
}

/** neigh_invalidate: no answer came; tells those who wait. */
function neighInvalidate(neigh: Neighbour): void {
  neigh.tbl.state(neigh.net).stats.resFailed++;
  neigh.updated = kernel.now;
  // An error report can lead back here (it sends ICMP), and can change the state.
  while (neigh.nudState === NUD_FAILED) {
    const skb = skbDequeue(neigh.arpQueue);
    if (skb === 0) break;
    neigh.ops.errorReport(neigh, skb);
  }
  skbQueuePurge(neigh.arpQueue, SKB_DROP_REASON_NEIGH_FAILED);
  neigh.arpQueueLenBytes = 0;
}

/** neigh_probe: asks once. The packet that waits longest behind decides from which address (arp_solicit). */
function neighProbe(neigh: Neighbour): void {
  let skb = skbPeekTail(neigh.arpQueue);
  if (skb !== 0) skb = skbClone(skb);
  neigh.ops.solicit(neigh, skb);
  neigh.probes++;
  if (skb !== 0) consumeSkb(skb);
}

function neighTimerHandler(t: TimerList): void {
  const neigh = t.data as Neighbour;
  if (neigh.dead || (neigh.nudState & NUD_IN_TIMER) === 0) return;
  const now = kernel.now;
  const parms = neigh.parms;
  let next = now + SEC;

  if ((neigh.nudState & NUD_REACHABLE) !== 0) {
    const reachable = neighReachableTime(parms);
    if (now < neigh.confirmed + reachable) {
      next = neigh.confirmed + reachable;
    } else if (now <= neigh.used + parms.delayProbeTime) {
      neigh.nudState = NUD_DELAY;
      neigh.updated = now;
      neighSuspect(neigh);
      next = now + parms.delayProbeTime;
    } else {
      neigh.nudState = NUD_STALE;
      neigh.updated = now;
      neighSuspect(neigh);
    }
  } else if ((neigh.nudState & NUD_DELAY) !== 0) {
    if (now <= neigh.confirmed + parms.delayProbeTime) {
      neigh.nudState = NUD_REACHABLE;
      neigh.updated = now;
      neighConnect(neigh);
      next = neigh.confirmed + neighReachableTime(parms);
    } else {
      neigh.nudState = NUD_PROBE;
      neigh.updated = now;
      neigh.probes = 0;
      next = now + Math.max(parms.retransTime, MIN_TIMER);
    }
  } else {
    // NUD_PROBE, NUD_INCOMPLETE
    next = now + Math.max(parms.retransTime, MIN_TIMER);
  }

  if ((neigh.nudState & (NUD_INCOMPLETE | NUD_PROBE)) !== 0 && neigh.probes >= neighMaxProbes(neigh)) {
    neigh.nudState = NUD_FAILED;
    neighInvalidate(neigh);
    return;
  }
  if ((neigh.nudState & NUD_IN_TIMER) !== 0) modTimer(neigh.timer, Math.max(next, now + MIN_TIMER));
  if ((neigh.nudState & (NUD_INCOMPLETE | NUD_PROBE)) !== 0) neighProbe(neigh);
}

/** neigh_event_send: somebody wants to send. 0: do it. 1: the skb waits in the queue, or was freed. */
export function neighEventSend(neigh: Neighbour, skb: number): number {
  neigh.used = kernel.now;
  if ((neigh.nudState & (NUD_CONNECTED | NUD_DELAY | NUD_PROBE)) !== 0) return 0;
  return __neighEventSend(neigh, skb, true);
}

/** __neigh_event_send. `immediateOk`: the first question may be asked here and now; else a timer asks it, 1 ms later. */
export function __neighEventSend(neigh: Neighbour, skb: number, immediateOk: boolean): number {
  if ((neigh.nudState & (NUD_CONNECTED | NUD_DELAY | NUD_PROBE)) !== 0) return 0;
  if (neigh.dead) {
    if ((neigh.nudState & NUD_STALE) !== 0) return 0;
    if (skb !== 0) kfreeSkbReason(skb, SKB_DROP_REASON_NEIGH_DEAD);
    return 1;
  }
  const parms = neigh.parms;
  const now = kernel.now;
  let immediateProbe = false;
  if ((neigh.nudState & (NUD_STALE | NUD_INCOMPLETE)) === 0) {
    if (parms.mcastProbes + parms.appProbes !== 0) {
      // No unicast probes: there is no address to send them to yet.
      neigh.probes = parms.ucastProbes;
      neighDelTimer(neigh);
      neigh.nudState = NUD_INCOMPLETE;
      neigh.updated = now;
      let next = now + MSEC;
      if (immediateOk) {
        immediateProbe = true;
        next = now + Math.max(parms.retransTime, MIN_TIMER);
      }
      neighAddTimer(neigh, next);
    } else {
      neigh.nudState = NUD_FAILED;
      neigh.updated = now;
      if (skb !== 0) kfreeSkbReason(skb, SKB_DROP_REASON_NEIGH_FAILED);
      return 1;
    }
  } else if ((neigh.nudState & NUD_STALE) !== 0) {
    neighDelTimer(neigh);
    neigh.nudState = NUD_DELAY;
    neigh.updated = now;
    neighAddTimer(neigh, now + parms.delayProbeTime);
  }

  let rc = 0;
  if (neigh.nudState === NUD_INCOMPLETE) {
    if (skb !== 0) {
      while (neigh.arpQueueLenBytes + skbTruesize(skb) > parms.queueLenBytes) {
        const buff = skbDequeue(neigh.arpQueue);
        if (buff === 0) break;
        neigh.arpQueueLenBytes -= skbTruesize(buff);
        kfreeSkbReason(buff, SKB_DROP_REASON_NEIGH_QUEUEFULL);
        neigh.tbl.state(neigh.net).stats.unresDiscards++;
      }
      skbQueueTail(neigh.arpQueue, skb);
      neigh.arpQueueLenBytes += skbTruesize(skb);
    }
    rc = 1;
  }
  if (immediateProbe) neighProbe(neigh);
  return rc;
}

function sameHa(a: Uint8Array, b: Uint8Array, len: number): boolean {
  for (let i = 0; i < len; i++) if (a[i] !== b[i]) return false;
  return true;
}

/** neigh_update_hhs: the ready-made header holds the old address. */
function neighUpdateHhs(neigh: Neighbour): void {
  const update = neigh.dev.headerOps?.cacheUpdate;
  if (update !== undefined && neigh.hh.hhLen !== 0) update(neigh.hh, neigh.dev, neigh.ha);
}

/**
 * neigh_update: something was learnt (a reply, the administrator's word). `lladdr`: the link address, null = the one
 * that is known. `flags`: NEIGH_UPDATE_F_*.
 *
 * Returns 0, -EPERM (NOARP and PERMANENT entries are the administrator's) or -EINVAL (no address is known).
 */
export function neighUpdate(neigh: Neighbour, lladdr: Uint8Array | null, new_: number, flags: number): number {
  const old = neigh.nudState;
  const dev = neigh.dev;
  if (neigh.dead) return -EPERM;
  if ((flags & NEIGH_UPDATE_F_ADMIN) === 0 && (old & (NUD_NOARP | NUD_PERMANENT)) !== 0) return -EPERM;
  neighUpdateFlags(neigh, flags);

  if ((flags & NEIGH_UPDATE_F_USE) !== 0) {
    neigh.nudState = old & ~NUD_PERMANENT;
    if (((neigh.nudState ^ old) & NUD_PERMANENT) !== 0) neighUpdateGcList(neigh);
    return 0;
  }
  if ((new_ & NUD_VALID) === 0) {
    neighDelTimer(neigh);
    if ((old & NUD_CONNECTED) !== 0) neighSuspect(neigh);
    neigh.nudState = new_;
    if ((old & (NUD_INCOMPLETE | NUD_PROBE)) !== 0 && (new_ & NUD_FAILED) !== 0) neighInvalidate(neigh);
    if (((new_ ^ old) & NUD_PERMANENT) !== 0) neighUpdateGcList(neigh);
    return 0;
  }

  // Compare the new link address with the one that is known.
  let ha = neigh.ha;
  if (dev.addrLen !== 0) {
    if (lladdr !== null) {
      if ((old & NUD_VALID) === 0 || !sameHa(lladdr, neigh.ha, dev.addrLen)) ha = lladdr;
    } else if ((old & NUD_VALID) === 0) {
      return -EINVAL;
    }
  }
  // An answer counts as a confirmation even if it changes nothing.
  if ((new_ & NUD_CONNECTED) !== 0) neigh.confirmed = kernel.now;

  let next = new_;
  if ((old & NUD_VALID) !== 0) {
    if (ha !== neigh.ha && (flags & NEIGH_UPDATE_F_OVERRIDE) === 0) {
      if ((flags & NEIGH_UPDATE_F_WEAK_OVERRIDE) === 0 || (old & NUD_CONNECTED) === 0) return 0;
      ha = neigh.ha;
      next = NUD_STALE;
    } else if (ha === neigh.ha && next === NUD_STALE && (flags & NEIGH_UPDATE_F_ADMIN) === 0) {
      next = old;
    }
  }
  if (next !== old || ha !== neigh.ha) neigh.updated = kernel.now;
  if (next !== old) {
    neighDelTimer(neigh);
    if ((next & NUD_PROBE) !== 0) neigh.probes = 0;
    neigh.nudState = next;
    if ((next & NUD_IN_TIMER) !== 0) {
      neighAddTimer(neigh, kernel.now + ((next & NUD_REACHABLE) !== 0 ? neighReachableTime(neigh.parms) : 0));
    }
  }
  if (ha !== neigh.ha) {
    for (let i = 0; i < dev.addrLen; i++) neigh.ha[i] = ha[i] as number;
    neighUpdateHhs(neigh);
    if ((next & NUD_CONNECTED) === 0) neigh.confirmed = kernel.now - neigh.parms.baseReachableTime * 2;
  }
  if (next !== old) {
    if ((next & NUD_CONNECTED) !== 0) neighConnect(neigh);
    else neighSuspect(neigh);
    if ((old & NUD_VALID) === 0) neighSendQueue(neigh);
  }
  if (((next ^ old) & NUD_PERMANENT) !== 0) neighUpdateGcList(neigh);
  return 0;
}

function neighUpdateFlags(neigh: Neighbour, flags: number): void {
  const was = neigh.flags;
  if ((flags & NEIGH_UPDATE_F_ADMIN) !== 0) {
    if ((flags & NEIGH_UPDATE_F_EXT_LEARNED) !== 0) neigh.flags |= NTF_EXT_LEARNED;
    else neigh.flags &= ~NTF_EXT_LEARNED;
  }
  if ((flags & NEIGH_UPDATE_F_OVERRIDE_ISROUTER) !== 0) {
    if ((flags & NEIGH_UPDATE_F_ISROUTER) !== 0) neigh.flags |= NTF_ROUTER;
    else neigh.flags &= ~NTF_ROUTER;
  }
  if (((was ^ neigh.flags) & NTF_EXT_LEARNED) !== 0) neighUpdateGcList(neigh);
}

/** The address has become known: sends what waited for it, each by its own route's neighbour. */
function neighSendQueue(neigh: Neighbour): void {
  while ((neigh.nudState & NUD_VALID) !== 0) {
    const skb = skbDequeue(neigh.arpQueue);
    if (skb === 0) break;
    const dst = skbDst(skb);
    const n1 = (dst !== null ? dstNeighLookup(dst, skb) : null) ?? neigh;
    n1.output(n1, skb);
  }
  skbQueuePurge(neigh.arpQueue, SKB_CONSUMED);
  neigh.arpQueueLenBytes = 0;
}

/** neigh_event_ns: a neighbour asked for us and told its own address with it. The entry, or null. */
export function neighEventNs(tbl: NeighTable, lladdr: Uint8Array, saddr: number, dev: NetDevice): Neighbour | null {
  const neigh = __neighLookup(tbl, saddr, dev);
  if (neigh !== null) neighUpdate(neigh, lladdr, NUD_STALE, NEIGH_UPDATE_F_OVERRIDE);
  return neigh;
}

// ---- output ----------------------------------------------------------------------------------------------------------------

/**
 * neigh_hh_init: the first packet that is sent with an address makes the ready-made header for those after it. While the
 * neighbour is CONNECTED, hh_output leads straight to the device; otherwise through neigh_resolve_output.
 */
export function neighHhInit(neigh: Neighbour, dst: DstEntry | null, protocol: number): void {
  const hh = neigh.hh;
  if (hh.hhLen === 0) {
    const ops = neigh.dev.headerOps;
    if (ops === null || ops.cache === undefined || ops.cache(neigh, hh, protocol) !== 0) return;
    hh.hhType = protocol;
    hh.hhOutput =
      (neigh.nudState & NUD_CONNECTED) !== 0
        ? neigh.ops.hhOutput
        : (neigh.ops.output as unknown as (skb: number) => number);
    hh.hhOutputSetBy = "neigh_hh_init";
  }
  if (dst !== null && hh.hhType === protocol && dst.neighbour === neigh) dst.hh = hh;
}

/** neigh_resolve_output (neigh->output while anything has to be found out): asks for the address, or uses it. */
export function neighResolveOutput(neigh: Neighbour, skb: number): number {
  if (neighEventSend(neigh, skb) !== 0) return 0;
  const dev = neigh.dev;
  const dst = skbDst(skb);
  const ops = dev.headerOps;
  if (ops !== null && ops.cache !== undefined && (dst === null || dst.hh === null)) {
    neighHhInit(neigh, dst, skbProtocol(skb));
  }
  // The packet may come from neigh_hh_output, with a header already before it.
  __skbPull(skb, skbNetworkOffset(skb));
  if (ops !== null && ops.create(skb, dev, skbProtocol(skb), neigh.ha, null, skbLen(skb)) < 0) {
    kfreeSkbReason(skb, SKB_DROP_REASON_NEIGH_HH_FILLFAIL);
    return -EINVAL;
  }
  return neigh.ops.queueXmit(skb);
}

/** neigh_connected_output (neigh->output while CONNECTED, of devices whose header cannot be cached). */
export function neighConnectedOutput(neigh: Neighbour, skb: number): number {
  const dev = neigh.dev;
  __skbPull(skb, skbNetworkOffset(skb));
  const ops = dev.headerOps;
  if (ops !== null && ops.create(skb, dev, skbProtocol(skb), neigh.ha, null, skbLen(skb)) < 0) {
    kfreeSkbReason(skb, SKB_DROP_REASON_NEIGH_HH_FILLFAIL);
    return -EINVAL;
  }
  return neigh.ops.queueXmit(skb);
}

/** neigh_direct_output: the device has no link header. */
export function neighDirectOutput(_neigh: Neighbour, skb: number): number {
  return devQueueXmit(skb);
}

/** neigh_blackhole: what a dead entry does with a packet. */
export function neighBlackhole(_neigh: Neighbour, skb: number): number {
  kfreeSkbReason(skb, SKB_DROP_REASON_NEIGH_DEAD);
  return -ENETDOWN;
}

/** hh_output of a dead entry: the route finds itself another neighbour. */
function neighHhDead(skb: number): number {
  const dst = skbDst(skb);
  const neigh = dst !== null ? dstNeighLookup(dst, skb) : null;
  if (neigh === null) {
    kfreeSkbReason(skb, SKB_DROP_REASON_NEIGH_DEAD);
    return -ENETDOWN;
  }
  __skbPull(skb, skbNetworkOffset(skb));
  return neigh.output(neigh, skb);
}

/**
 * neigh_hh_output: puts the ready-made header before the packet and passes it on through hh->hh_output.
 *
 * ```
 *   data-16   data-14                        data = the IP header
 *   | 2 pad   | destination 6 | source 6 | type 2 |
 *   |<------------- 16 bytes, four words -------->|
 * ```
 */
export function neighHhOutput(hh: HhCache, skb: number): number {
  const data = u32[(skb + SKB_DATA) >>> 2];
  const headroom = data - u32[(skb + SKB_HEAD) >>> 2];
  const words = hh.hhData;
  if (headroom >= 16) {
    if ((data & 3) === 0) {
      const at = (data - 16) >>> 2;
      u32[at] = words[0];
      u32[at + 1] = words[1];
      u32[at + 2] = words[2];
      u32[at + 3] = words[3];
    } else {
      dv.setUint32(data - 16, words[0], true);
      dv.setUint32(data - 12, words[1], true);
      dv.setUint32(data - 8, words[2], true);
      dv.setUint32(data - 4, words[3], true);
    }
  } else if (headroom >= hh.hhLen) {
    for (let i = 16 - hh.hhLen; i < 16; i++) u8[data - 16 + i] = words[i >>> 2] >>> ((i & 3) << 3);
  } else {
    kfreeSkb(skb);
    return NET_XMIT_DROP;
  }
  skbPush(skb, hh.hhLen);
  // In 2.6.30 neigh_resolve_output took the skb alone and found the neighbour by its dst.
  if (hh.hhOutput === (neighResolveOutput as unknown)) return neighResolveOutput(hh.neigh as Neighbour, skb);
  return hh.hhOutput(skb);
}

/** neigh_confirm: the upper layer knows that the neighbour is alive; in DELAY, that saves the probes. */
export function neighConfirm(neigh: Neighbour): void {
  neigh.confirmed = kernel.now;
}

/** dst_confirm_neigh: the neighbour of the route (to `daddr`) is alive. */
export function dstConfirmNeigh(dst: DstEntry, _daddr: number): void {
  if (dst.neighbour !== null) dst.neighbour.confirmed = kernel.now;
}

/** sock_confirm_neigh: if the skb was marked so when TCP made it, its neighbour is alive. */
export function sockConfirmNeigh(skb: number, neigh: Neighbour): void {
  if ((u8[skb + SKB_FLAGS] & SKB_FLAG_DST_PENDING_CONFIRM) === 0) return;
  neigh.confirmed = kernel.now;
  const sk: Sock | null = skbSk(skb);
  if (sk !== null) sk.skDstPendingConfirm = false;
}

/**
 * The live neighbour of the route's next hop. A route is bound when it is made (arp_bind_neighbour); if that neighbour
 * was forgotten since, it is bound anew here. null if there can be none (the table is full, the device is going).
 */
export function dstNeighLookup(dst: DstEntry, skb: number): Neighbour | null {
  const neigh = dst.neighbour;
  if (neigh !== null && !neigh.dead) return neigh;
  dst.neighbour = null;
  dst.hh = null;
  return dst.ops.neighLookup === undefined ? null : dst.ops.neighLookup(dst, skb);
}

// ---- proxies -----------------------------------------------------------------------------------------------------------------

/** pneigh_lookup: does this host answer for `pkey` on `dev`? */
export function pneighLookup(tbl: NeighTable, pkey: number, dev: NetDevice): PneighEntry | null {
  const list = tbl.state(dev.net).pneighs;
  for (let i = 0; i < list.length; i++) {
    const p = list[i] as PneighEntry;
    if (p.key === pkey && (p.dev === dev || p.dev === null)) return p;
  }
  return null;
}

/** pneigh_create. */
export function pneighCreate(tbl: NeighTable, net: Net, pkey: number, dev: NetDevice | null, flags: number): void {
  const list = tbl.state(net).pneighs;
  for (const p of list) if (p.key === pkey && p.dev === dev) return;
  list.push({ key: pkey, dev, flags, protocol: 0 });
}

/** pneigh_delete: false if there was none. */
export function pneighDelete(tbl: NeighTable, net: Net, pkey: number, dev: NetDevice | null): boolean {
  const list = tbl.state(net).pneighs;
  const i = list.findIndex((p) => p.key === pkey && p.dev === dev);
  if (i >= 0) list.splice(i, 1);
  return i >= 0;
}

/** pneigh_enqueue: answers for others are delayed by a random part of proxy_delay, so that the owner can come first. */
export function pneighEnqueue(tbl: NeighTable, net: Net, parms: NeighParms, skb: number): void {
  const state = tbl.state(net);
  let queued = 0;
  for (const p of state.proxyQueue) if (p.parms === parms) queued++;
  if (queued > parms.proxyQlen) {
    kfreeSkb(skb);
    return;
  }
  const due = kernel.now + getRandomU32Below(Math.floor(parms.proxyDelay / MSEC)) * MSEC;
  state.proxyQueue.push({ skb, due, parms });
  if (!timerPending(state.proxyTimer) || due < state.proxyTimer.expires) modTimer(state.proxyTimer, due);
}

function neighProxyProcess(t: TimerList): void {
  const state = t.data as NeighTableState;
  let next = Infinity;
  const list = state.proxyQueue.splice(0);
  for (const p of list) {
    if (p.due <= kernel.now) {
      state.tbl.proxyRedo(p.skb);
    } else {
      state.proxyQueue.push(p);
      if (p.due < next) next = p.due;
    }
  }
  if (next !== Infinity) modTimer(t, next);
}

function pneighQueuePurge(state: NeighTableState, dev: NetDevice | null): void {
  const list = state.proxyQueue.splice(0);
  for (const p of list) {
    if (dev === null || p.parms.dev === dev) kfreeSkb(p.skb);
    else state.proxyQueue.push(p);
  }
}

/** All entries, in the order of their addresses: for listings. */
export function neighDump(state: NeighTableState): Neighbour[] {
  const out: Neighbour[] = [];
  for (const head of state.buckets) for (let n = head; n !== null; n = n.next) out.push(n);
  return out.sort((a, b) => a.dev.ifindex - b.dev.ifindex || a.primaryKey - b.primaryKey);
}

// ---- rtnetlink -----------------------------------------------------------------------------------------------------------------

const neighTables: NeighTable[] = [];

function neighFindTable(family: number): NeighTable | null {
  for (const tbl of neighTables) if (tbl.family === family) return tbl;
  return null;
}

/** neigh_add (RTM_NEWNEIGH). */
function neighAdd(tbl: NeighTable, net: Net, m: object, flags: number, extack: NetlinkExtAck): number {
  const msg = m as NeighMsg;
  if (msg.dst === undefined) return nlSetErrMsg(extack, "Network address not specified", -EINVAL);
  const dev = net.devByIndex.get(msg.ifindex) ?? null;
  if (msg.ifindex !== 0 && dev === null) return -ENODEV;
  if (dev !== null && msg.lladdr !== undefined && msg.lladdr.length < dev.addrLen) {
    return nlSetErrMsg(extack, "Invalid link address", -EINVAL);
  }
  const ndmFlags = msg.flags ?? 0;
  if ((ndmFlags & NTF_PROXY) !== 0) {
    pneighCreate(tbl, net, msg.dst, dev, ndmFlags);
    return 0;
  }
  if (dev === null) return nlSetErrMsg(extack, "Device not specified", -EINVAL);
  const state = msg.state ?? NUD_PERMANENT;
  let update = NEIGH_UPDATE_F_ADMIN | NEIGH_UPDATE_F_OVERRIDE | NEIGH_UPDATE_F_OVERRIDE_ISROUTER;
  let neigh = neighLookup(tbl, msg.dst, dev);
  if (neigh === null) {
    if ((flags & NLM_F_CREATE) === 0) return -ENOENT;
    const exempt = (state & NUD_PERMANENT) !== 0 || (ndmFlags & NTF_EXT_LEARNED) !== 0;
    neigh = __neighCreate(tbl, msg.dst, dev, exempt);
    if (neigh === null) return -ENOBUFS;
  } else {
    if ((flags & NLM_F_EXCL) !== 0) return -EEXIST;
    if ((flags & NLM_F_REPLACE) === 0) update &= ~(NEIGH_UPDATE_F_OVERRIDE | NEIGH_UPDATE_F_OVERRIDE_ISROUTER);
  }
  if (msg.protocol !== undefined) neigh.protocol = msg.protocol;
  if ((ndmFlags & NTF_EXT_LEARNED) !== 0) update |= NEIGH_UPDATE_F_EXT_LEARNED;
  if ((ndmFlags & NTF_ROUTER) !== 0) update |= NEIGH_UPDATE_F_ISROUTER;
  if ((ndmFlags & NTF_USE) !== 0) update |= NEIGH_UPDATE_F_USE;
  const err = neighUpdate(neigh, msg.lladdr ?? null, state, update);
  if (err === -EINVAL) extack.msg = "No link layer address given";
  if (err === 0 && (ndmFlags & NTF_USE) !== 0) neighEventSend(neigh, 0);
  return err;
}

/** neigh_delete (RTM_DELNEIGH). */
function neighDelete(tbl: NeighTable, net: Net, m: object, _flags: number, extack: NetlinkExtAck): number {
  const msg = m as NeighMsg;
  if (msg.dst === undefined) return nlSetErrMsg(extack, "Network address not specified", -EINVAL);
  const dev = net.devByIndex.get(msg.ifindex) ?? null;
  if (msg.ifindex !== 0 && dev === null) return -ENODEV;
  if (((msg.flags ?? 0) & NTF_PROXY) !== 0) return pneighDelete(tbl, net, msg.dst, dev) ? 0 : -ENOENT;
  if (dev === null) return -EINVAL;
  const neigh = neighLookup(tbl, msg.dst, dev);
  if (neigh === null) return -ENOENT;
  const err = neighUpdate(neigh, null, NUD_FAILED, NEIGH_UPDATE_F_OVERRIDE | NEIGH_UPDATE_F_ADMIN);
  neighRemoveOne(neigh);
  return err;
}

/** A neighbour, or a proxied address (`neigh` null), of a listing. */
export interface NeighDumpEntry {
  readonly neigh: Neighbour | null;
  readonly proxy: PneighEntry | null;
}

/** neigh_dump_info: NeighDumpEntry objects; `flags` NTF_PROXY asks for the proxied addresses. */
function neighDumpInfo(tbl: NeighTable, net: Net, filter: object): object[] {
  const state = tbl.state(net);
  if ((((filter as Partial<NeighMsg>).flags ?? 0) & NTF_PROXY) !== 0) {
    return state.pneighs.map((proxy): NeighDumpEntry => ({ neigh: null, proxy }));
  }
  return neighDump(state).map((neigh): NeighDumpEntry => ({ neigh, proxy: null }));
}

/** neigh_table_init: makes a table known to rtnetlink. */
export function neighInit(tbl: NeighTable): void {
  if (neighFindTable(tbl.family) !== null) return;
  neighTables.push(tbl);
  rtnlRegister(tbl.family, RTM_NEWNEIGH, (net, m, flags, extack) => neighAdd(tbl, net, m, flags, extack), null);
  rtnlRegister(tbl.family, RTM_DELNEIGH, (net, m, flags, extack) => neighDelete(tbl, net, m, flags, extack), null);
  rtnlRegister(tbl.family, RTM_GETNEIGH, null, (net, filter) => neighDumpInfo(tbl, net, filter));
}

// ---- sysctl --------------------------------------------------------------------------------------------------------------------

/** The unit of *_time names that have none: USER_HZ, a hundredth of a second. */
const USER_HZ_TICK: number = SEC / 100;

/** neigh_sysctl_register: `net.<proto>.neigh.<name>.*`. `state`: the table's own names as well, for "default". */
export function neighSysctlRegister(
  net: Net,
  proto: string,
  name: string,
  parms: NeighParms,
  state: NeighTableState | null,
): void {
  const prefix = `net.${proto}.neigh.${name}.`;
  const again = (): void => {
    parms.reachableTimeStamp = -Infinity;
  };
  const max = 0x7fffffff;
  registerSysctlInt(net, `${prefix}mcast_solicit`, parms, "mcastProbes", 0);
  registerSysctlInt(net, `${prefix}ucast_solicit`, parms, "ucastProbes", 0);
  registerSysctlInt(net, `${prefix}app_solicit`, parms, "appProbes", 0);
  registerSysctlInt(net, `${prefix}mcast_resolicit`, parms, "mcastReprobes", 0);
  registerSysctlInt(net, `${prefix}retrans_time`, parms, "retransTime", 0, max, USER_HZ_TICK);
  registerSysctlInt(net, `${prefix}retrans_time_ms`, parms, "retransTime", 0, max, MSEC);
  registerSysctlInt(net, `${prefix}base_reachable_time`, parms, "baseReachableTime", 0, max, SEC, again);
  registerSysctlInt(net, `${prefix}base_reachable_time_ms`, parms, "baseReachableTime", 0, max, MSEC, again);
  registerSysctlInt(net, `${prefix}delay_first_probe_time`, parms, "delayProbeTime", 0, max, SEC);
  registerSysctlInt(net, `${prefix}interval_probe_time_ms`, parms, "intervalProbeTime", 1, max, MSEC);
  registerSysctlInt(net, `${prefix}gc_stale_time`, parms, "gcStaletime", 0, max, SEC);
  registerSysctlInt(net, `${prefix}unres_qlen_bytes`, parms, "queueLenBytes", 0);
  // Counted in the longest frames: SKB_TRUESIZE(ETH_FRAME_LEN) of Linux.
  registerSysctlInt(net, `${prefix}unres_qlen`, parms, "queueLenBytes", 0, max / 2090, 2090);
  registerSysctlInt(net, `${prefix}proxy_qlen`, parms, "proxyQlen", 0);
  registerSysctlInt(net, `${prefix}anycast_delay`, parms, "anycastDelay", 0, max, USER_HZ_TICK);
  registerSysctlInt(net, `${prefix}proxy_delay`, parms, "proxyDelay", 0, max, USER_HZ_TICK);
  registerSysctlInt(net, `${prefix}locktime`, parms, "locktime", 0, max, USER_HZ_TICK);
  if (state === null) return;
  registerSysctlInt(net, `${prefix}gc_thresh1`, state, "gcThresh1", 0);
  registerSysctlInt(net, `${prefix}gc_thresh2`, state, "gcThresh2", 0);
  registerSysctlInt(net, `${prefix}gc_thresh3`, state, "gcThresh3", 0);
}
