/**
 * Rules (net/netfilter/nf_tables_*.c), a subset: tables, base and regular chains, and rules made of matches and
 * statements. A base chain is one nf_hook_ops; what it does with a packet is decided by walking its rules. The `nft`
 * command (src/tools/nft_command.ts) is a parser on top of the functions here.
 */

import { SKB_MARK } from "../../../assembly/layout.ts";
import { kernel } from "../../kernel/kernel.ts";
import { KERN_WARNING, netRatelimit, printk } from "../../kernel/printk.ts";
import { dv, u8, u32 } from "../../mm/mem.ts";
import { skbId, skbLen, skbNetworkHeader, skbNetworkOffset } from "../../mm/skb.ts";
import { EBUSY, EEXIST, EINVAL, ELOOP, ENOENT, EOPNOTSUPP } from "../../uapi/errno.ts";
import { IPPROTO_ICMP, IPPROTO_TCP, IPPROTO_UDP } from "../../uapi/in.ts";
import { IP_OFFSET } from "../../uapi/ip.ts";
import {
  NF_ACCEPT,
  NF_DROP,
  NF_QUEUE,
  NF_VERDICT_FLAG_QUEUE_BYPASS,
  NF_VERDICT_QBITS,
  NFPROTO_IPV4,
} from "../../uapi/netfilter.ts";
import type { NetDevice } from "../core/dev.ts";
import type { Net } from "../core/net_namespace.ts";
import { pskbMayPull } from "../core/skbuff.ts";
import type { NfHookOps, NfHookState } from "./core.ts";
import { nfRegisterNetHook, nfUnregisterNetHook } from "./core.ts";

/** How deep chains may jump into each other (NFT_JUMP_STACK_SIZE). */
const JUMP_STACK_SIZE = 16;

/** What a match reads. `proto`: the transport protocol that has such a field; 0 = any. */
export type NftField =
  | "saddr"
  | "daddr"
  | "protocol"
  | "ttl"
  | "dscp"
  | "length"
  | "sport"
  | "dport"
  | "tcpflags"
  | "icmptype"
  | "icmpcode"
  | "mark"
  | "iif"
  | "oif"
  | "iifname"
  | "oifname";

const FIELD_CODES: Readonly<Record<NftField, number>> = {
  saddr: 0,
  daddr: 1,
  protocol: 2,
  ttl: 3,
  dscp: 4,
  length: 5,
  sport: 6,
  dport: 7,
  tcpflags: 8,
  icmptype: 9,
  icmpcode: 10,
  mark: 11,
  iif: 12,
  oif: 13,
  iifname: 14,
  oifname: 15,
};
const FIRST_L4_FIELD = 6;
const LAST_L4_FIELD = 10;
const FIRST_NAME_FIELD = 14;

/** A match: the rule goes on if the field is (not) in one of the ranges, or has (not) one of the names. */
export interface NftMatch {
  readonly kind: "match";
  readonly field: NftField;
  /** IPPROTO_* that the packet has to be, for fields of a transport header; 0 = any. */
  readonly proto: number;
  readonly negate: boolean;
  /** ANDed to the field first; 0 = nothing is. */
  readonly mask: number;
  /** Pairs of lowest and highest value. */
  readonly ranges: readonly number[];
  /** For iifname and oifname; a name may end in `*`. */
  readonly names: readonly string[];
  /** As `nft list` prints it. */
  readonly text: string;
}

/** counter: what has come so far. */
export interface NftCounter {
  readonly kind: "counter";
  packets: number;
  bytes: number;
}

/** limit: passes `rate` packets in `per` microseconds, or (`over`) what comes beyond that. */
export interface NftLimit {
  readonly kind: "limit";
  readonly over: boolean;
  /** Microseconds that one packet costs, and that can be saved up. */
  readonly cost: number;
  readonly max: number;
  tokens: number;
  last: number;
  readonly text: string;
}

/** `meta mark set`. */
export interface NftMarkSet {
  readonly kind: "mark";
  readonly mark: number;
  readonly text: string;
}

/** `log`: a line to the kernel log. */
export interface NftLog {
  readonly kind: "log";
  readonly prefix: string;
  readonly text: string;
}

/** `reject`: drops the packet and tells its sender. */
export interface NftReject {
  readonly kind: "reject";
  /** True: a TCP RST. False: ICMP destination unreachable with `code`. */
  readonly reset: boolean;
  readonly code: number;
  readonly text: string;
}

/** accept, drop, queue, continue, return, jump, goto. */
export interface NftVerdict {
  readonly kind: "verdict";
  readonly verdict: "accept" | "drop" | "queue" | "continue" | "return" | "jump" | "goto";
  /** Name of the chain of jump and goto. */
  readonly chain: string;
  /** queue: number and whether to pass packets on that nobody takes. */
  readonly queue: number;
  readonly bypass: boolean;
  readonly text: string;
}

export type NftExpr = NftMatch | NftCounter | NftLimit | NftMarkSet | NftLog | NftReject | NftVerdict;

export interface NftRule {
  readonly handle: number;
  readonly exprs: readonly NftExpr[];
  readonly comment: string;
}

/** A base chain's place. */
export interface NftBaseChain {
  /** NF_INET_*. */
  readonly hooknum: number;
  readonly priority: number;
  /** NF_ACCEPT or NF_DROP. */
  policy: number;
}

export class NftChain {
  readonly table: NftTable;
  readonly name: string;
  readonly handle: number;
  readonly base: NftBaseChain | null;
  readonly rules: NftRule[] = [];
  ops: NfHookOps | null = null;

  constructor(table: NftTable, name: string, handle: number, base: NftBaseChain | null) {
    this.table = table;
    this.name = name;
    this.handle = handle;
    this.base = base;
  }
}

export class NftTable {
  /** "ip" or "inet". */
  readonly family: string;
  readonly name: string;
  readonly handle: number;
  readonly chains: Map<string, NftChain> = new Map();
  /** The next handle of a chain or a rule. */
  nextHandle = 1;

  constructor(family: string, name: string, handle: number) {
    this.family = family;
    this.name = name;
    this.handle = handle;
  }
}

/** The tables of a namespace. */
export class NftPernet {
  readonly tables: NftTable[] = [];
  nextHandle = 1;
}

const pernet: WeakMap<Net, NftPernet> = new WeakMap();

/** The tables of a namespace. They go with it. */
export function nftPernet(net: Net): NftPernet {
  let p = pernet.get(net);
  if (p === undefined) {
    p = new NftPernet();
    pernet.set(net, p);
  }
  return p;
}

/** What a reject statement does, which needs the family: registered by who has it (net/ipv4/nf_reject_ipv4.ts). */
export interface NfRejectOps {
  /** Sends a RST for the TCP packet. Does not consume the skb. */
  reset(net: Net, skb: number, hook: number): void;
  /** Sends ICMP destination unreachable with `code`. Does not consume the skb. */
  unreach(net: Net, skb: number, code: number, hook: number): void;
}

let rejectOps: NfRejectOps | null = null;

export function nftRegisterReject(ops: NfRejectOps): void {
  rejectOps = ops;
}

// ---- tables, chains and rules ------------------------------------------------------------------------------------------------

/** null if there is no such table. */
export function nftTableLookup(net: Net, family: string, name: string): NftTable | null {
  for (const t of nftPernet(net).tables) if (t.family === family && t.name === name) return t;
  return null;
}

/** 0, -EEXIST (only if `excl`) or -EOPNOTSUPP (no such family). */
export function nftAddTable(net: Net, family: string, name: string, excl: boolean): number {
  if (family !== "ip" && family !== "inet") return -EOPNOTSUPP;
  if (nftTableLookup(net, family, name) !== null) return excl ? -EEXIST : 0;
  const p = nftPernet(net);
  p.tables.push(new NftTable(family, name, p.nextHandle++));
  return 0;
}

/** 0 or -ENOENT. */
export function nftDelTable(net: Net, family: string, name: string): number {
  const table = nftTableLookup(net, family, name);
  if (table === null) return -ENOENT;
  for (const chain of table.chains.values()) unhook(net, chain);
  const { tables } = nftPernet(net);
  tables.splice(tables.indexOf(table), 1);
  return 0;
}

/** Removes every table. */
export function nftFlushRuleset(net: Net): void {
  const { tables } = nftPernet(net);
  while (tables.length > 0) {
    const t = tables[0] as NftTable;
    nftDelTable(net, t.family, t.name);
  }
}

/** A chain; with `base`, one that sees the packets of a hook. 0, -EEXIST (only if `excl`) or -EBUSY (another base). */
export function nftAddChain(net: Net, table: NftTable, name: string, base: NftBaseChain | null, excl: boolean): number {
  const old = table.chains.get(name);
  if (old !== undefined) {
    if (excl) return -EEXIST;
    if (base === null) return 0;
    if (old.base === null || old.base.hooknum !== base.hooknum || old.base.priority !== base.priority) return -EBUSY;
    old.base.policy = base.policy;
    return 0;
  }
  const chain = new NftChain(table, name, table.nextHandle++, base);
  if (base !== null) {
    const ops: NfHookOps = {
      hook: nftDoChainIpv4,
      pf: NFPROTO_IPV4,
      hooknum: base.hooknum,
      priority: base.priority,
      name: `nft ${table.family} ${table.name} ${name}`,
      priv: chain,
    };
    const err = nfRegisterNetHook(net, ops);
    if (err < 0) return err;
    chain.ops = ops;
  }
  table.chains.set(name, chain);
  return 0;
}

function unhook(net: Net, chain: NftChain): void {
  if (chain.ops !== null) nfUnregisterNetHook(net, chain.ops);
  chain.ops = null;
}

/** 0, -ENOENT, or -EBUSY while rules jump there or it has rules of its own. */
export function nftDelChain(net: Net, table: NftTable, name: string): number {
  const chain = table.chains.get(name);
  if (chain === undefined) return -ENOENT;
  if (chain.rules.length > 0) return -EBUSY;
  for (const other of table.chains.values()) {
    for (const rule of other.rules) {
      for (const e of rule.exprs) if (e.kind === "verdict" && e.chain === name) return -EBUSY;
    }
  }
  unhook(net, chain);
  table.chains.delete(name);
  return 0;
}

/**
 * Puts a rule behind (`before` false) or before the one with handle `at`, or at the end or the beginning (`at` 0). The
 * rule's handle, or -ENOENT (no such rule, or no such chain to jump to), -ELOOP, -EINVAL.
 */
export function nftAddRule(
  chain: NftChain,
  exprs: readonly NftExpr[],
  at: number,
  before: boolean,
  comment: string,
): number {
  const { table } = chain;
  for (const e of exprs) {
    if (e.kind !== "verdict" || e.chain === "") continue;
    const target = table.chains.get(e.chain);
    if (target === undefined) return -ENOENT;
    if (target.base !== null) return -EOPNOTSUPP;
    if (target === chain || leadsTo(target, chain, 0)) return -ELOOP;
  }
  let index = before ? 0 : chain.rules.length;
  if (at !== 0) {
    const i = chain.rules.findIndex((r) => r.handle === at);
    if (i < 0) return -ENOENT;
    index = before ? i : i + 1;
  }
  const rule: NftRule = { handle: table.nextHandle++, exprs, comment };
  chain.rules.splice(index, 0, rule);
  return rule.handle;
}

function leadsTo(from: NftChain, to: NftChain, depth: number): boolean {
  if (depth > JUMP_STACK_SIZE) return true;
  for (const rule of from.rules) {
    for (const e of rule.exprs) {
      if (e.kind !== "verdict" || e.chain === "") continue;
      const next = from.table.chains.get(e.chain);
      if (next !== undefined && (next === to || leadsTo(next, to, depth + 1))) return true;
    }
  }
  return false;
}

/** 0 or -ENOENT. */
export function nftDelRule(chain: NftChain, handle: number): number {
  const i = chain.rules.findIndex((r) => r.handle === handle);
  if (i < 0) return -ENOENT;
  chain.rules.splice(i, 1);
  return 0;
}

/** The rule at `handle` becomes another one. Its new handle, or what nftAddRule answers. */
export function nftReplaceRule(chain: NftChain, handle: number, exprs: readonly NftExpr[], comment: string): number {
  const i = chain.rules.findIndex((r) => r.handle === handle);
  if (i < 0) return -ENOENT;
  const made = nftAddRule(chain, exprs, handle, false, comment);
  if (made > 0) chain.rules.splice(i, 1);
  return made === 0 ? -EINVAL : made;
}

// ---- packets -----------------------------------------------------------------------------------------------------------------

const NFT_CONTINUE = -1;
const NFT_RETURN = -5;

/** The transport header of the packet under the rules; 0 = none that can be read. */
let thoff = 0;
let l4proto = 0;

/** nft_do_chain_ipv4: the hook of a base chain. */
function nftDoChainIpv4(priv: unknown, skb: number, state: NfHookState): number {
  const chain = priv as NftChain;
  setPktinfo(skb);
  const verdict = nftDoChain(chain, skb, state, 0);
  return verdict === NFT_CONTINUE || verdict === NFT_RETURN ? (chain.base as NftBaseChain).policy : verdict;
}

/** nft_set_pktinfo_ipv4: finds the transport header. */
function setPktinfo(skb: number): void {
  let iph = skbNetworkHeader(skb);
  const ihl = (u8[iph] & 15) << 2;
  l4proto = u8[iph + 9];
  thoff = 0;
  if ((dv.getUint16(iph + 6) & IP_OFFSET) !== 0) return;
  const need = l4proto === IPPROTO_TCP ? 20 : l4proto === IPPROTO_UDP || l4proto === IPPROTO_ICMP ? 8 : 0;
  if (need === 0 || !pskbMayPull(skb, skbNetworkOffset(skb) + ihl + need)) return;
  iph = skbNetworkHeader(skb);
  thoff = iph + ihl;
}

/** nft_do_chain. NF_*, NFT_CONTINUE at the chain's end, or NFT_RETURN. */
function nftDoChain(chain: NftChain, skb: number, state: NfHookState, depth: number): number {
  const rules = chain.rules;
  for (let i = 0; i < rules.length; i++) {
    const verdict = nftDoRule(chain, (rules[i] as NftRule).exprs, skb, state, depth);
    if (verdict !== NFT_CONTINUE) return verdict;
  }
  return NFT_CONTINUE;
}

function nftDoRule(chain: NftChain, exprs: readonly NftExpr[], skb: number, state: NfHookState, depth: number): number {
  for (let i = 0; i < exprs.length; i++) {
    const e = exprs[i] as NftExpr;
    switch (e.kind) {
      case "match":
        if (!nftMatch(e, skb, state)) return NFT_CONTINUE;
        break;
      case "counter":
        e.packets++;
        e.bytes += skbLen(skb) - skbNetworkOffset(skb);
        break;
      case "limit":
        if (nftLimit(e)) return NFT_CONTINUE;
        break;
      case "mark":
        u32[(skb + SKB_MARK) >>> 2] = e.mark;
        break;
      case "log":
        nftLog(e, skb, state);
        break;
      case "reject":
        nftReject(e, skb, state);
        return NF_DROP;
      case "verdict": {
        const verdict = nftVerdict(chain, e, skb, state, depth);
        if (verdict !== NFT_CONTINUE) return verdict;
        break;
      }
      default:
        return NF_DROP;
    }
  }
  return NFT_CONTINUE;
}

function nftVerdict(chain: NftChain, e: NftVerdict, skb: number, state: NfHookState, depth: number): number {
  switch (e.verdict) {
    case "accept":
      return NF_ACCEPT;
    case "drop":
      return NF_DROP;
    case "queue":
      return (e.queue << NF_VERDICT_QBITS) | NF_QUEUE | (e.bypass ? NF_VERDICT_FLAG_QUEUE_BYPASS : 0);
    case "return":
      return NFT_RETURN;
    case "jump":
    case "goto": {
      const target = chain.table.chains.get(e.chain);
      if (target === undefined || depth >= JUMP_STACK_SIZE) return NF_DROP;
      const verdict = nftDoChain(target, skb, state, depth + 1);
      if (verdict !== NFT_CONTINUE && verdict !== NFT_RETURN) return verdict;
      // goto does not come back: the chain that it was in is over as well.
      return e.verdict === "jump" ? NFT_CONTINUE : NFT_RETURN;
    }
    default:
      return NFT_CONTINUE;
  }
}

function nftField(code: number, skb: number, state: NfHookState): number {
  const iph = skbNetworkHeader(skb);
  switch (code) {
    case 0:
      return dv.getUint32(iph + 12);
    case 1:
      return dv.getUint32(iph + 16);
    case 2:
      return l4proto;
    case 3:
      return u8[iph + 8];
    case 4:
      return u8[iph + 1] >>> 2;
    case 5:
      return dv.getUint16(iph + 2);
    case 6:
      return dv.getUint16(thoff);
    case 7:
      return dv.getUint16(thoff + 2);
    case 8:
      return u8[thoff + 13];
    case 9:
      return u8[thoff];
    case 10:
      return u8[thoff + 1];
    case 11:
      return u32[(skb + SKB_MARK) >>> 2];
    case 12:
      return state.in === null ? 0 : state.in.ifindex;
    default:
      return state.out === null ? 0 : state.out.ifindex;
  }
}

function nftMatch(e: NftMatch, skb: number, state: NfHookState): boolean {
  const code = FIELD_CODES[e.field];
  if (e.proto !== 0 && l4proto !== e.proto) return false;
  if (code >= FIRST_L4_FIELD && code <= LAST_L4_FIELD && thoff === 0) return false;
  if (code >= FIRST_NAME_FIELD) {
    return nftMatchName(e.names, code === FIRST_NAME_FIELD ? state.in : state.out) !== e.negate;
  }
  let v = nftField(code, skb, state);
  if (e.mask !== 0) v = (v & e.mask) >>> 0;
  const ranges = e.ranges;
  for (let i = 0; i < ranges.length; i += 2) {
    if (v >= (ranges[i] as number) && v <= (ranges[i + 1] as number)) return !e.negate;
  }
  return e.negate;
}

function nftMatchName(names: readonly string[], dev: NetDevice | null): boolean {
  if (dev === null) return false;
  for (let i = 0; i < names.length; i++) {
    const name = names[i] as string;
    if (name === dev.name || (name.endsWith("*") && dev.name.startsWith(name.slice(0, -1)))) return true;
  }
  return false;
}

/** nft_limit_eval: true = the rule ends here. */
function nftLimit(e: NftLimit): boolean {
  const tokens = Math.min(e.tokens + (kernel.now - e.last), e.max);
  e.last = kernel.now;
  const within = tokens >= e.cost;
  e.tokens = within ? tokens - e.cost : tokens;
  return within === e.over;
}

function nftLog(e: NftLog, skb: number, state: NfHookState): void {
  if (!netRatelimit()) return;
  const iph = skbNetworkHeader(skb);
  const inName = state.in === null ? "" : state.in.name;
  const outName = state.out === null ? "" : state.out.name;
  let line = `${e.prefix}IN=${inName} OUT=${outName} SRC=${addr(dv.getUint32(iph + 12))} `;
  line += `DST=${addr(dv.getUint32(iph + 16))} LEN=${dv.getUint16(iph + 2)} TTL=${u8[iph + 8]} PROTO=${l4proto}`;
  if (thoff !== 0 && l4proto !== IPPROTO_ICMP) line += ` SPT=${dv.getUint16(thoff)} DPT=${dv.getUint16(thoff + 2)}`;
  printk(KERN_WARNING, `${line} SKB=${skbId(skb)}`);
}

function addr(a: number): string {
  return `${a >>> 24}.${(a >>> 16) & 255}.${(a >>> 8) & 255}.${a & 255}`;
}

function nftReject(e: NftReject, skb: number, state: NfHookState): void {
  if (rejectOps === null) return;
  // What is sent passes the hooks itself, and so changes what is remembered of this packet.
  const th = thoff;
  const proto = l4proto;
  if (e.reset) rejectOps.reset(state.net, skb, state.hook);
  else rejectOps.unreach(state.net, skb, e.code, state.hook);
  thoff = th;
  l4proto = proto;
}
