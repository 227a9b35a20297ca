/**
 * The typed hook API: `net.nf.add({ hook, priority, fn })` and `net.nf.queue(num, fn)`. It stands on the kernel's own
 * nf_hook_ops and nf_queue_handler; rule languages (nft) are built the same way.
 */

import { SKB_MARK } from "../../../assembly/layout.ts";
import type { Wakeable } from "../../kernel/kernel.ts";
import { dv, u8, u32 } from "../../mm/mem.ts";
import { skbLen, skbNetworkHeader, skbNetworkOffset } from "../../mm/skb.ts";
import { EBUSY, EINVAL, ENOMEM, ENOSPC, ESRCH } from "../../uapi/errno.ts";
import { IPPROTO_ICMP, IPPROTO_TCP, IPPROTO_UDP } from "../../uapi/in.ts";
import { IP_OFFSET } from "../../uapi/ip.ts";
import {
  NF_ACCEPT,
  NF_DROP,
  NF_INET_FORWARD,
  NF_INET_LOCAL_IN,
  NF_INET_LOCAL_OUT,
  NF_INET_POST_ROUTING,
  NF_INET_PRE_ROUTING,
  NF_QUEUE,
  NF_REPEAT,
  NF_STOLEN,
  NF_STOP,
  NF_VERDICT_FLAG_QUEUE_BYPASS,
  NF_VERDICT_QBITS,
  NFPROTO_IPV4,
} from "../../uapi/netfilter.ts";
import type { NetDevice } from "../core/dev.ts";
import type { Net } from "../core/net_namespace.ts";
import { pskbExpandHead, pskbMayPull, pskbTrim, skbCopyToUser, skbEnsureWritable, skbPut } from "../core/skbuff.ts";
import type { Sock } from "../core/sock.ts";
import type { NfHookOps, NfHookState, NfQueueEntry, NfQueueHandler } from "./core.ts";
import {
  NF_DROP_ERR,
  NfRouteKey,
  nfQueueDrop,
  nfRegisterNetHook,
  nfReinject,
  nfReportError,
  nfReroute,
  nfSaveRoute,
  nfUnregisterNetHook,
} from "./core.ts";

/** The names of the hooks, as nft has them. */
export type NfHookName = "prerouting" | "input" | "forward" | "output" | "postrouting";

/**
 * What a hook answers: a name, an NF_* number, a queue, or nothing (accept).
 * `stolen`: the hook keeps the skb (`packet.skb`) and has to free it or pass it on itself.
 */
export type NfVerdict =
  | "accept"
  | "drop"
  | "stolen"
  | "queue"
  | "repeat"
  | "stop"
  | number
  | { readonly queue: number; readonly bypass?: boolean }
  | undefined
  | void;

/** A hook of the typed API. */
export interface NfHook {
  readonly hook: NfHookName;
  /** NF_IP_PRI_*: lower runs first. 0 (filter) if it isn't given. */
  readonly priority?: number;
  /** For listings. */
  readonly name?: string;
  /**
   * "route" (at "output" only): a packet whose mark, type of service or addresses the hook changes gets the route that
   * fits what it is now, as in nft's chains of that type. "filter" if it isn't given.
   */
  readonly type?: "filter" | "route";
  /** Sees each packet. `packet` is good during the call only. What it throws goes to `net.nf.onError`. */
  fn(packet: NfPacket): NfVerdict;
}

/** Removes what was registered. Calling it again does nothing. */
export interface NfHandle {
  remove(): void;
}

const HOOKNUMS: Readonly<Record<NfHookName, number>> = {
  prerouting: NF_INET_PRE_ROUTING,
  input: NF_INET_LOCAL_IN,
  forward: NF_INET_FORWARD,
  output: NF_INET_LOCAL_OUT,
  postrouting: NF_INET_POST_ROUTING,
};

/**
 * The packet at a hook. Nothing is read before it is asked for. Addresses are u32 in host order, ports host order.
 * Ports, flags and types of a packet that is too short for them, or of a later fragment, read as 0.
 */
export class NfPacket {
  /** The skb's handle. */
  skb = 0;
  /** The device it came in by (prerouting, input, forward), or null. */
  in: NetDevice | null = null;
  /** The device it leaves by (forward, output, postrouting), or null. */
  out: NetDevice | null = null;
  /** The socket it comes from (output, postrouting), or null. */
  sk: Sock | null = null;
  /** NF_INET_* */
  hooknum = 0;

  /** Bytes of the packet, IP header included. */
  get length(): number {
    return skbLen(this.skb) - skbNetworkOffset(this.skb);
  }
  get tos(): number {
    return u8[skbNetworkHeader(this.skb) + 1];
  }
  get id(): number {
    return dv.getUint16(skbNetworkHeader(this.skb) + 4);
  }
  /** Flags and fragment offset. */
  get fragOff(): number {
    return dv.getUint16(skbNetworkHeader(this.skb) + 6);
  }
  get ttl(): number {
    return u8[skbNetworkHeader(this.skb) + 8];
  }
  /** IPPROTO_*. */
  get protocol(): number {
    return u8[skbNetworkHeader(this.skb) + 9];
  }
  get saddr(): number {
    return dv.getUint32(skbNetworkHeader(this.skb) + 12);
  }
  get daddr(): number {
    return dv.getUint32(skbNetworkHeader(this.skb) + 16);
  }
  /** "10.0.0.1". */
  get src(): string {
    return formatAddr(this.saddr);
  }
  get dst(): string {
    return formatAddr(this.daddr);
  }
  /** Source port of TCP and UDP. */
  get sport(): number {
    const th = this.#ports();
    return th === 0 ? 0 : dv.getUint16(th);
  }
  /** Destination port of TCP and UDP. */
  get dport(): number {
    const th = this.#ports();
    return th === 0 ? 0 : dv.getUint16(th + 2);
  }
  /** TCP's flags byte (FIN 1, SYN 2, RST 4, PSH 8, ACK 16 ...). */
  get tcpFlags(): number {
    if (this.protocol !== IPPROTO_TCP) return 0;
    const th = this.#transport(20);
    return th === 0 ? 0 : u8[th + 13];
  }
  get icmpType(): number {
    if (this.protocol !== IPPROTO_ICMP) return 0;
    const th = this.#transport(8);
    return th === 0 ? 0 : u8[th];
  }
  get icmpCode(): number {
    if (this.protocol !== IPPROTO_ICMP) return 0;
    const th = this.#transport(8);
    return th === 0 ? 0 : u8[th + 1];
  }
  get mark(): number {
    return u32[(this.skb + SKB_MARK) >>> 2];
  }
  set mark(mark: number) {
    u32[(this.skb + SKB_MARK) >>> 2] = mark;
  }

  /** A copy of the packet from the IP header on. Transport checksums may still be undone (CHECKSUM_PARTIAL). */
  bytes(): Uint8Array {
    const len = this.length;
    const out = new Uint8Array(len);
    skbCopyToUser(this.skb, skbNetworkOffset(this.skb), out, 0, len);
    return out;
  }

  /** A copy of what is behind the IP header and the TCP, UDP or ICMP header. */
  payload(): Uint8Array {
    const off = skbNetworkOffset(this.skb);
    const ihl = (u8[skbNetworkHeader(this.skb)] & 15) << 2;
    let hlen = 0;
    if (this.protocol === IPPROTO_TCP) {
      const th = this.#transport(20);
      hlen = th === 0 ? 0 : (u8[th + 12] >>> 4) << 2;
    } else if (this.protocol === IPPROTO_UDP || this.protocol === IPPROTO_ICMP) hlen = 8;
    const len = Math.max(0, this.length - ihl - hlen);
    const out = new Uint8Array(len);
    if (len !== 0) skbCopyToUser(this.skb, off + ihl + hlen, out, 0, len);
    return out;
  }

  #ports(): number {
    const protocol = this.protocol;
    return protocol === IPPROTO_TCP || protocol === IPPROTO_UDP ? this.#transport(4) : 0;
  }

  /** The address of `need` linear bytes of the transport header, or 0. */
  #transport(need: number): number {
    const skb = this.skb;
    const iph = skbNetworkHeader(skb);
    if ((dv.getUint16(iph + 6) & IP_OFFSET) !== 0) return 0;
    const ihl = (u8[iph] & 15) << 2;
    if (!pskbMayPull(skb, skbNetworkOffset(skb) + ihl + need)) return 0;
    return skbNetworkHeader(skb) + ihl;
  }
}

function formatAddr(a: number): string {
  return `${a >>> 24}.${(a >>> 16) & 255}.${(a >>> 8) & 255}.${a & 255}`;
}

function verdictOf(v: NfVerdict): number {
  switch (v) {
    case undefined:
    case "accept":
      return NF_ACCEPT;
    case "drop":
      return NF_DROP;
    case "stolen":
      return NF_STOLEN;
    case "queue":
      return NF_QUEUE;
    case "repeat":
      return NF_REPEAT;
    case "stop":
      return NF_STOP;
    default:
      if (typeof v === "number") return v;
      if (typeof v !== "object") return NF_ACCEPT;
      return (v.queue << NF_VERDICT_QBITS) | NF_QUEUE | (v.bypass === true ? NF_VERDICT_FLAG_QUEUE_BYPASS : 0);
  }
}

/** Packets of hook calls under way; nested ones get their own. */
const packets: NfPacket[] = [];
let packetDepth = 0;

function nfCallHook(priv: unknown, skb: number, state: NfHookState): number {
  const depth = packetDepth++;
  const packet = (packets[depth] ??= new NfPacket());
  packet.skb = skb;
  packet.in = state.in;
  packet.out = state.out;
  packet.sk = state.sk;
  packet.hooknum = state.hook;
  try {
    return verdictOf((priv as NfHook).fn(packet));
  } catch (error) {
    nfReportError(state.net, error);
    return NF_DROP;
  } finally {
    packetDepth = depth;
    packet.in = null;
    packet.out = null;
    packet.sk = null;
  }
}

/** nf_route_table_hook4, for hooks of type "route". */
function nfCallRouteHook(priv: unknown, skb: number, state: NfHookState): number {
  const key = new NfRouteKey();
  nfSaveRoute(skb, state, key);
  const verdict = nfCallHook(priv, skb, state);
  if (verdict !== NF_ACCEPT) return verdict;
  const err = nfReroute(skb, state, key);
  return err < 0 ? NF_DROP_ERR(err) : NF_ACCEPT;
}

/** `net.nf.add`. Throws a RangeError for a hook that there is not. */
export function nfAddHook(net: Net, hook: NfHook): NfHandle {
  const ops: NfHookOps = {
    hook: hook.type === "route" ? nfCallRouteHook : nfCallHook,
    pf: NFPROTO_IPV4,
    hooknum: HOOKNUMS[hook.hook],
    priority: hook.priority ?? 0,
    name: hook.name ?? "hook",
    priv: hook,
  };
  if (ops.hooknum === undefined || nfRegisterNetHook(net, ops) < 0) {
    throw new RangeError(`no such netfilter hook: ${hook.hook}`);
  }
  return {
    remove(): void {
      nfUnregisterNetHook(net, ops);
    },
  };
}

// ---- queues ---------------------------------------------------------------------------------------------------------

/** A packet that waits for its verdict in a queue. The first verdict counts, later ones do nothing. */
export class NfQueuedPacket extends NfPacket {
  readonly entry: NfQueueEntry;
  readonly #queue: NfQueue;

  constructor(queue: NfQueue, entry: NfQueueEntry) {
    super();
    this.entry = entry;
    this.#queue = queue;
    this.skb = entry.skb;
    this.in = entry.state.in;
    this.out = entry.state.out;
    this.sk = entry.state.sk;
    this.hooknum = entry.state.hook;
  }

  /**
   * Lets it go on. `bytes` replaces the packet from the IP header on (its checksums are the caller's to get right).
   * Returns 0 or a negative errno (-EINVAL: not an IPv4 packet, -ENOMEM), with which the packet was dropped.
   */
  accept(change?: { readonly bytes?: Uint8Array; readonly mark?: number }): number {
    return this.verdict(NF_ACCEPT, change);
  }

  drop(): void {
    this.verdict(NF_DROP);
  }

  verdict(verdict: number, change?: { readonly bytes?: Uint8Array; readonly mark?: number }): number {
    const { entry } = this;
    if (entry.done) return 0;
    const { kernel } = entry.state.net;
    kernel.enter();
    try {
      this.#queue.entries.delete(entry);
      let err = 0;
      if (change?.mark !== undefined) this.mark = change.mark;
      if (change?.bytes !== undefined) err = nfMangle(entry.skb, change.bytes);
      nfReinject(entry, err < 0 ? NF_DROP : verdict);
      return err;
    } finally {
      kernel.exit();
    }
  }
}

/** nfqnl_mangle: replaces the bytes of the packet. */
function nfMangle(skb: number, bytes: Uint8Array): number {
  const len = bytes.length;
  const ihl = ((bytes[0] as number) & 15) << 2;
  if (len < 20 || len > 65535 || (bytes[0] as number) >>> 4 !== 4 || ihl < 20 || ihl > len) return -EINVAL;
  const diff = len - skbLen(skb);
  if (diff < 0) {
    if (pskbTrim(skb, len) !== 0) return -ENOMEM;
    if (!pskbMayPull(skb, len)) return -ENOMEM;
  } else {
    if (!pskbMayPull(skb, skbLen(skb))) return -ENOMEM;
    if (diff > 0) {
      if (pskbExpandHead(skb, 0, diff) !== 0) return -ENOMEM;
      skbPut(skb, diff);
    }
  }
  if (skbEnsureWritable(skb, len) !== 0) return -ENOMEM;
  u8.set(bytes, skbNetworkHeader(skb));
  return 0;
}

export type NfQueueFn = (packet: NfQueuedPacket) => void;

/** One queue and what waits in it. */
class NfQueue implements Wakeable {
  readonly net: Net;
  readonly fn: NfQueueFn;
  readonly maxlen: number;
  readonly entries: Set<NfQueueEntry> = new Set();
  /** Not handed to `fn` yet. */
  fresh: NfQueueEntry[] = [];
  wakePending = false;

  constructor(net: Net, fn: NfQueueFn, maxlen: number) {
    this.net = net;
    this.fn = fn;
    this.maxlen = maxlen;
  }

  onWake(): void {
    const { fresh } = this;
    this.fresh = [];
    for (const entry of fresh) if (!entry.done) this.fn(new NfQueuedPacket(this, entry));
  }

  flush(): void {
    for (const entry of this.entries) nfQueueDrop(entry);
    this.entries.clear();
    this.fresh = [];
  }
}

/** The queue handler behind `net.nf.queue`. */
class NfQueues implements NfQueueHandler {
  readonly queues: Map<number, NfQueue> = new Map();
  #serial = 0;

  outfn(entry: NfQueueEntry, queuenum: number): number {
    const queue = this.queues.get(queuenum);
    if (queue === undefined) return -ESRCH;
    if (queue.entries.size >= queue.maxlen) return -ENOSPC;
    entry.id = ++this.#serial;
    queue.entries.add(entry);
    queue.fresh.push(entry);
    queue.net.kernel.wake(queue);
    return 0;
  }

  nfHookDrop(): void {
    for (const queue of this.queues.values()) queue.flush();
  }
}

/** `net.nf.queue`. Throws a RangeError if the queue has a listener. */
export function nfAddQueue(net: Net, num: number, fn: NfQueueFn, maxlen: number): NfHandle {
  const nf = net.nf;
  if (nf.queueHandler === null) nf.queueHandler = new NfQueues();
  const handler = nf.queueHandler;
  if (!(handler instanceof NfQueues)) throw new RangeError(`another queue handler is registered (errno ${EBUSY})`);
  if (handler.queues.has(num)) throw new RangeError(`queue ${num} has a listener`);
  const queue = new NfQueue(net, fn, maxlen);
  handler.queues.set(num, queue);
  return {
    remove(): void {
      if (handler.queues.get(num) !== queue) return;
      handler.queues.delete(num);
      net.kernel.enter();
      try {
        queue.flush();
      } finally {
        net.kernel.exit();
      }
    },
  };
}
