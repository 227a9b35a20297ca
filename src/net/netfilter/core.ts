/**
 * Netfilter: hooks in the path of a packet. Per namespace and family an array of hook functions by priority; `null`
 * while nothing is registered, so that a hook point costs one load and one compare.
 *
 * Ownership: `nfHook` answers 1 and leaves the skb with the caller, who goes on with okfn; any other answer means that
 * the skb is gone (dropped, stolen or queued). okfn is called from here only when a queued packet comes back.
 */

import type { Wakeable } from "../../kernel/kernel.ts";
import { kernel } from "../../kernel/kernel.ts";
import { SKB_DROP_REASON_NETFILTER_DROP } from "../../uapi/dropreason.ts";
import { EBUSY, EINVAL, ENOENT, ENOSPC, EPERM, ESRCH } from "../../uapi/errno.ts";
import {
  NF_ACCEPT,
  NF_DROP,
  NF_INET_LOCAL_OUT,
  NF_INET_NUMHOOKS,
  NF_QUEUE,
  NF_REPEAT,
  NF_STOLEN,
  NF_STOP,
  NF_VERDICT_FLAG_QUEUE_BYPASS,
  NF_VERDICT_MASK,
  NF_VERDICT_QBITS,
  NFPROTO_ARP,
  NFPROTO_INET,
  NFPROTO_IPV4,
  NFPROTO_IPV6,
} from "../../uapi/netfilter.ts";
import type { NetDevice } from "../core/dev.ts";
import type { Net } from "../core/net_namespace.ts";
import { registerPernetSubsys } from "../core/net_namespace.ts";
import { kfreeSkb, kfreeSkbReason } from "../core/skbuff.ts";
import type { Sock } from "../core/sock.ts";
import type { NfHandle, NfHook, NfQueueFn } from "./api.ts";
import { nfAddHook, nfAddQueue } from "./api.ts";

export type NfOkFn = (net: Net, sk: Sock | null, skb: number) => number;

/** struct nf_hook_state: where the packet is. Valid during the call only; a queued packet keeps a copy. */
export class NfHookState {
  hook = 0;
  pf = 0;
  in: NetDevice | null = null;
  out: NetDevice | null = null;
  sk: Sock | null = null;
  net: Net = null as unknown as Net;
  okfn: NfOkFn = okfnNotSet;
}

function okfnNotSet(_net: Net, _sk: Sock | null, _skb: number): number {
  return -EINVAL;
}

/** nf_hookfn: answers NF_ACCEPT ...; NF_STOLEN means that it took the skb over. */
export type NfHookFn = (priv: unknown, skb: number, state: NfHookState) => number;

/** struct nf_hook_ops. */
export interface NfHookOps {
  readonly hook: NfHookFn;
  /** NFPROTO_*. NFPROTO_INET stands for IPv4 and IPv6. */
  readonly pf: number;
  /** NF_INET_PRE_ROUTING ... */
  readonly hooknum: number;
  /** Lower runs first; of equals the one registered first. */
  readonly priority: number;
  readonly name: string;
  readonly priv?: unknown;
}

/** struct nf_hook_entries: replaced as a whole, never changed, so that a walk in progress isn't disturbed. */
export type NfHookEntries = readonly NfHookOps[];

/** struct nf_queue_handler: who takes queued packets (nfnetlink_queue). */
export interface NfQueueHandler {
  /** Takes the entry over: 0, or a negative errno (-ESRCH: nobody listens on that queue). */
  outfn(entry: NfQueueEntry, queuenum: number): number;
  /** The handler or the namespace goes away: drop what waits. */
  nfHookDrop(net: Net): void;
}

/** struct nf_queue_entry. */
export class NfQueueEntry {
  readonly skb: number;
  readonly state: NfHookState;
  /** The hook that queued it. */
  readonly ops: NfHookOps;
  readonly route: NfRouteKey = new NfRouteKey();
  id = 0;
  /** Set by nfReinject: the entry has had its verdict. */
  done = false;

  constructor(skb: number, state: NfHookState, ops: NfHookOps) {
    this.skb = skb;
    const own = new NfHookState();
    own.hook = state.hook;
    own.pf = state.pf;
    own.in = state.in;
    own.out = state.out;
    own.sk = state.sk;
    own.net = state.net;
    own.okfn = state.okfn;
    this.state = own;
    this.ops = ops;
  }
}

/** struct netns_nf, and the hook API of a host: `net.nf.add(...)`. */
export class NetnsNf {
  readonly net: Net;
  readonly hooksIpv4: (NfHookEntries | null)[] = emptyHooks();
  readonly hooksIpv6: (NfHookEntries | null)[] = emptyHooks();
  readonly hooksArp: (NfHookEntries | null)[] = emptyHooks();
  queueHandler: NfQueueHandler | null = null;
  /**
   * Called, outside of kernel context, with what a hook of the typed API threw (its packet is dropped). The default
   * throws it on, into whoever drives the kernel.
   */
  onError: (error: unknown) => void = rethrow;

  constructor(net: Net) {
    this.net = net;
  }

  /**
   * Registers a hook and returns the handle that removes it.
   *
   * @example
   * const h = net.nf.add({ hook: "input", priority: 0, fn: (p) => (p.dport === 25 ? "drop" : "accept") });
   * h.remove();
   */
  add(hook: NfHook): NfHandle {
    return nfAddHook(this.net, hook);
  }

  /**
   * Takes the packets that hooks answer `{ queue: num }` for. `fn` runs outside of kernel context, once a packet, and
   * gives the verdict then or later: `packet.accept()`, `packet.drop()`, `packet.accept({ bytes })`.
   * At most `maxlen` packets wait (1024); more are dropped.
   */
  queue(num: number, fn: NfQueueFn, maxlen = 1024): NfHandle {
    return nfAddQueue(this.net, num, fn, maxlen);
  }
}

declare module "../core/net_namespace.ts" {
  interface Net {
    /** Netfilter's hooks. */
    nf: NetnsNf;
  }
}

function emptyHooks(): (NfHookEntries | null)[] {
  const hooks: (NfHookEntries | null)[] = [];
  for (let i = 0; i < NF_INET_NUMHOOKS; i++) hooks.push(null);
  return hooks;
}

function rethrow(error: unknown): void {
  throw error;
}

/** The hook array of a family, or null if it has none. */
function nfHookEntriesOf(net: Net, pf: number): (NfHookEntries | null)[] | null {
  switch (pf) {
    case NFPROTO_IPV4:
      return net.nf.hooksIpv4;
    case NFPROTO_IPV6:
      return net.nf.hooksIpv6;
    case NFPROTO_ARP:
      return net.nf.hooksArp;
    default:
      return null;
  }
}

/** nf_register_net_hook. 0, -EINVAL (no such family or hook) or -EBUSY (registered already). */
export function nfRegisterNetHook(net: Net, reg: NfHookOps): number {
  if (reg.pf === NFPROTO_INET) {
    const err = __nfRegisterNetHook(net, NFPROTO_IPV4, reg);
    if (err < 0) return err;
    const err6 = __nfRegisterNetHook(net, NFPROTO_IPV6, reg);
    if (err6 < 0) __nfUnregisterNetHook(net, NFPROTO_IPV4, reg);
    return err6;
  }
  return __nfRegisterNetHook(net, reg.pf, reg);
}

function __nfRegisterNetHook(net: Net, pf: number, reg: NfHookOps): number {
  const hooks = nfHookEntriesOf(net, pf);
  if (hooks === null || hooks[reg.hooknum] === undefined) return -EINVAL;
  const old = hooks[reg.hooknum] ?? [];
  if (old.includes(reg)) return -EBUSY;
  if (old.length >= 1024) return -ENOSPC;
  const entries = old.slice();
  let i = 0;
  while (i < entries.length && (entries[i] as NfHookOps).priority <= reg.priority) i++;
  entries.splice(i, 0, reg);
  hooks[reg.hooknum] = entries;
  return 0;
}

/** nf_unregister_net_hook. Packets that it has queued are dropped when their verdict comes. */
export function nfUnregisterNetHook(net: Net, reg: NfHookOps): void {
  if (reg.pf === NFPROTO_INET) {
    __nfUnregisterNetHook(net, NFPROTO_IPV4, reg);
    __nfUnregisterNetHook(net, NFPROTO_IPV6, reg);
  } else __nfUnregisterNetHook(net, reg.pf, reg);
}

function __nfUnregisterNetHook(net: Net, pf: number, reg: NfHookOps): number {
  const hooks = nfHookEntriesOf(net, pf);
  const old = hooks?.[reg.hooknum];
  if (hooks == null || old == null || !old.includes(reg)) return -ENOENT;
  const entries = old.filter((e) => e !== reg);
  hooks[reg.hooknum] = entries.length === 0 ? null : entries;
  return 0;
}

/** nf_register_net_hooks: all or none. */
export function nfRegisterNetHooks(net: Net, reg: readonly NfHookOps[]): number {
  for (let i = 0; i < reg.length; i++) {
    const err = nfRegisterNetHook(net, reg[i] as NfHookOps);
    if (err < 0) {
      while (--i >= 0) nfUnregisterNetHook(net, reg[i] as NfHookOps);
      return err;
    }
  }
  return 0;
}

export function nfUnregisterNetHooks(net: Net, reg: readonly NfHookOps[]): void {
  for (let i = reg.length - 1; i >= 0; i--) nfUnregisterNetHook(net, reg[i] as NfHookOps);
}

/** NF_DROP_ERR: a drop that the sender sees as `err` (negative, -ECONNREFUSED) instead of -EPERM. */
export function NF_DROP_ERR(err: number): number {
  return (-err << NF_VERDICT_QBITS) | NF_DROP;
}

/** NF_QUEUE_NR. */
export function NF_QUEUE_NR(queuenum: number): number {
  return (queuenum << NF_VERDICT_QBITS) | NF_QUEUE;
}

/** A hook that keeps answering NF_REPEAT would hold the machine; after this many the packet is dropped. */
const NF_MAX_REPEAT = 64;

/** States of hook walks that are under way: a hook may send packets, which walk hooks themselves. */
const hookStates: NfHookState[] = [];
let hookDepth = 0;

/**
 * nf_hook: 1 = every hook let the packet pass, and the caller goes on with okfn. 0 or a negative errno (-EPERM): the
 * skb was consumed.
 */
export function nfHook(
  pf: number,
  hook: number,
  net: Net,
  sk: Sock | null,
  skb: number,
  indev: NetDevice | null,
  outdev: NetDevice | null,
  okfn: NfOkFn,
): number {
  const hooks = pf === NFPROTO_IPV4 ? net.nf.hooksIpv4 : nfHookEntriesOf(net, pf);
  if (hooks === null) return 1;
  const entries = hooks[hook] as NfHookEntries | null;
  if (entries === null) return 1;

  const depth = hookDepth++;
  let state = hookStates[depth];
  if (state === undefined) {
    state = new NfHookState();
    hookStates[depth] = state;
  }
  state.hook = hook;
  state.pf = pf;
  state.in = indev;
  state.out = outdev;
  state.sk = sk;
  state.net = net;
  state.okfn = okfn;
  try {
    return nfHookSlow(skb, state, entries, 0);
  } finally {
    hookDepth = depth;
    // Nothing that outlives the packet hangs on it.
    state.in = null;
    state.out = null;
    state.sk = null;
  }
}

/** nf_hook_slow: the walk, from entry `s` on. */
export function nfHookSlow(skb: number, state: NfHookState, e: NfHookEntries, s: number): number {
  let repeats = 0;
  while (s < e.length) {
    const entry = e[s] as NfHookOps;
    const verdict = entry.hook(entry.priv, skb, state);
    switch (verdict & NF_VERDICT_MASK) {
      case NF_ACCEPT:
        s++;
        break;
      case NF_REPEAT:
        if (++repeats <= NF_MAX_REPEAT) break;
        kfreeSkbReason(skb, SKB_DROP_REASON_NETFILTER_DROP);
        return -EPERM;
      case NF_STOP:
        return 1;
      case NF_QUEUE:
        if (nfQueue(skb, state, entry, verdict) !== 1) return 0;
        s++;
        break;
      case NF_STOLEN:
        return -(verdict >> NF_VERDICT_QBITS) | 0;
      default: {
        // NF_DROP, and whatever no hook may answer.
        kfreeSkbReason(skb, SKB_DROP_REASON_NETFILTER_DROP);
        const err = (verdict & NF_VERDICT_MASK) === NF_DROP ? -(verdict >> NF_VERDICT_QBITS) : 0;
        return err !== 0 ? err : -EPERM;
      }
    }
  }
  return 1;
}

/** NF_HOOK: the hooks and then okfn. */
export function NF_HOOK(
  pf: number,
  hook: number,
  net: Net,
  sk: Sock | null,
  skb: number,
  indev: NetDevice | null,
  outdev: NetDevice | null,
  okfn: NfOkFn,
): number {
  const ret = nfHook(pf, hook, net, sk, skb, indev, outdev, okfn);
  return ret === 1 ? okfn(net, sk, skb) : ret;
}

/** NF_HOOK_COND: okfn at once if `cond` is false. */
export function NF_HOOK_COND(
  pf: number,
  hook: number,
  net: Net,
  sk: Sock | null,
  skb: number,
  indev: NetDevice | null,
  outdev: NetDevice | null,
  okfn: NfOkFn,
  cond: boolean,
): number {
  if (cond) {
    const ret = nfHook(pf, hook, net, sk, skb, indev, outdev, okfn);
    if (ret !== 1) return ret;
  }
  return okfn(net, sk, skb);
}

export { NF_HOOK as nfHookAndGo };

/** nf_register_queue_handler. */
export function nfRegisterQueueHandler(net: Net, qh: NfQueueHandler): void {
  net.nf.queueHandler = qh;
}

export function nfUnregisterQueueHandler(net: Net): void {
  net.nf.queueHandler?.nfHookDrop(net);
  net.nf.queueHandler = null;
}

/** nf_queue: 0 = the skb was taken (or dropped), 1 = nobody listens and the verdict says to go on then. */
export function nfQueue(skb: number, state: NfHookState, ops: NfHookOps, verdict: number): number {
  const qh = state.net.nf.queueHandler;
  const entry = new NfQueueEntry(skb, state, ops);
  nfSaveRoute(skb, state, entry.route);
  const ret = qh === null ? -ESRCH : qh.outfn(entry, verdict >>> NF_VERDICT_QBITS);
  if (ret < 0) {
    if (ret === -ESRCH && (verdict & NF_VERDICT_FLAG_QUEUE_BYPASS) !== 0) return 1;
    kfreeSkbReason(skb, SKB_DROP_REASON_NETFILTER_DROP);
  }
  return 0;
}

/** What a packet's route depends on, as it was before hooks or a queue may have changed it (struct ip_rt_info). */
export class NfRouteKey {
  saddr = 0;
  daddr = 0;
  tos = 0;
  mark = 0;
}

/** What a family does for packets that change on their way out (nf_ip_saveroute, nf_ip_reroute, ip_route_me_harder). */
export interface NfRerouteOps {
  readonly family: number;
  save(skb: number, key: NfRouteKey): void;
  /** Looks the route up again if what it depends on has changed. 0 or a negative errno; keeps the skb. */
  reroute(net: Net, sk: Sock | null, skb: number, key: NfRouteKey): number;
}

const rerouteOps: (NfRerouteOps | null)[] = [];

/** Set once by a family (net/ipv4/netfilter.ts). */
export function nfRegisterReroute(ops: NfRerouteOps): void {
  rerouteOps[ops.family] = ops;
}

/** Keeps what the route of `skb`, which is at LOCAL_OUT, depends on. */
export function nfSaveRoute(skb: number, state: NfHookState, key: NfRouteKey): void {
  if (state.hook === NF_INET_LOCAL_OUT) rerouteOps[state.pf]?.save(skb, key);
}

/** Routes the packet again if it was changed since nfSaveRoute. 0 or a negative errno; keeps the skb. */
export function nfReroute(skb: number, state: NfHookState, key: NfRouteKey): number {
  if (state.hook !== NF_INET_LOCAL_OUT) return 0;
  return rerouteOps[state.pf]?.reroute(state.net, state.sk, skb, key) ?? 0;
}

/**
 * nf_reinject: a queued packet comes back with its verdict. NF_ACCEPT goes on behind the hook that queued it, NF_REPEAT
 * runs that hook again, NF_STOP goes straight on; anything else frees the skb. Must run in kernel context.
 */
export function nfReinject(entry: NfQueueEntry, verdict: number): void {
  if (entry.done) return;
  entry.done = true;
  const skb = entry.skb;
  const state = entry.state;
  const net = state.net;
  const hooks = nfHookEntriesOf(net, state.pf);
  const e = hooks === null ? null : (hooks[state.hook] as NfHookEntries | null);
  const i = e === null ? -1 : e.indexOf(entry.ops);
  if (e === null || i < 0) {
    kfreeSkbReason(skb, SKB_DROP_REASON_NETFILTER_DROP);
    return;
  }
  if (verdict === NF_REPEAT) {
    verdict = entry.ops.hook(entry.ops.priv, skb, state);
  }
  if (verdict === NF_ACCEPT && nfReroute(skb, state, entry.route) < 0) verdict = NF_DROP;

  switch (verdict & NF_VERDICT_MASK) {
    case NF_ACCEPT:
      if (nfHookSlow(skb, state, e, i + 1) === 1) state.okfn(net, state.sk, skb);
      return;
    case NF_STOP:
      state.okfn(net, state.sk, skb);
      return;
    case NF_QUEUE:
      if (nfQueue(skb, state, entry.ops, verdict) !== 1) return;
      if (nfHookSlow(skb, state, e, i + 1) === 1) state.okfn(net, state.sk, skb);
      return;
    case NF_STOLEN:
      return;
    default:
      kfreeSkbReason(skb, SKB_DROP_REASON_NETFILTER_DROP);
  }
}

/** Hands an error to `net.nf.onError` once the outermost context has ended: nothing may unwind a packet's path. */
export function nfReportError(net: Net, error: unknown): void {
  const report: Wakeable = {
    wakePending: false,
    onWake(): void {
      net.nf.onError(error);
    },
  };
  kernel.wake(report);
}

/** Frees a packet that a queue gives up on. */
export function nfQueueDrop(entry: NfQueueEntry): void {
  if (entry.done) return;
  entry.done = true;
  kfreeSkb(entry.skb);
}

function netfilterNetInit(net: Net): number {
  net.nf = new NetnsNf(net);
  return 0;
}

function netfilterNetExit(net: Net): void {
  net.nf.queueHandler?.nfHookDrop(net);
  net.nf.queueHandler = null;
}

/** netfilter_init. Must have run before the first namespace is made; running it again does nothing. */
export function netfilterInit(): void {
  registerPernetSubsys(netfilterNetOps);
}

const netfilterNetOps = { name: "netfilter", init: netfilterNetInit, exit: netfilterNetExit };
netfilterInit();
