/**
 * The routing tables. Where the kernel has a level-compressed trie, here is a path-compressed one (a Patricia tree over
 * prefixes): at most 33 steps to the longest prefix that matches, and from there up through `parent` when none of its
 * routes fits (scope, tos, dead next hops). What a lookup answers is the kernel's: among the routes of one prefix the
 * ones with the larger tos come first, then those with the smaller metric, then the newer ones.
 */

import { EAGAIN, EEXIST, EINVAL, ENOENT, ESRCH } from "../../uapi/errno.ts";
import { RT_SCOPE_NOWHERE, RTNH_F_DEAD, RTNH_F_LINKDOWN } from "../../uapi/rtnetlink.ts";
import type { Net } from "../core/net_namespace.ts";
import type { NetlinkExtAck } from "../core/rtnetlink.ts";
import { NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, nlSetErrMsg } from "../core/rtnetlink.ts";
import type { FibConfig, FibInfo, FibNh } from "./fib_semantics.ts";
import {
  FIB_LOOKUP_IGNORE_LINKSTATE,
  fibCreateErr,
  fibCreateInfo,
  fibMetricsMatch,
  fibNhMatch,
  fibPropsError,
  fibReleaseInfo,
  ipIgnoreLinkdown,
} from "./fib_semantics.ts";
import type { FlowI4 } from "./flow.ts";
import { maskOf } from "./inet_addr.ts";
import type { FibResult } from "./ip_fib.ts";
import { rtCacheFlush } from "./route.ts";

/** struct fib_alias: a route. */
export class FibAlias {
  faInfo: FibInfo;
  readonly faTos: number;
  /** RTN_*. */
  faType: number;
  /** A lookup found it, so that cached decisions may depend on it. */
  accessed = false;
  /** fib_select_default: which of several default routes was taken last. */
  faDefault = -1;

  constructor(fi: FibInfo, tos: number, type: number) {
    this.faInfo = fi;
    this.faTos = tos;
    this.faType = type;
  }
}

/** A prefix with its routes, or a place where two prefixes part (no routes). */
export class TrieNode {
  readonly key: number;
  readonly len: number;
  readonly mask: number;
  parent: TrieNode | null = null;
  left: TrieNode | null = null;
  right: TrieNode | null = null;
  readonly aliases: FibAlias[] = [];

  constructor(key: number, len: number) {
    this.len = len;
    this.mask = maskOf(len);
    this.key = (key & this.mask) >>> 0;
  }
}

/** struct fib_table. */
export class FibTable {
  readonly tbId: number;
  readonly net: Net;
  /** Default routes in it. */
  tbNumDefault = 0;
  /** Routes in it. */
  count = 0;
  root: TrieNode | null = null;

  constructor(net: Net, id: number) {
    this.net = net;
    this.tbId = id;
  }
}

function bitOf(key: number, pos: number): number {
  return (key >>> (31 - pos)) & 1;
}

/** fib_find_node: the node of exactly this prefix; null if there is none. */
function fibFindNode(tb: FibTable, key: number, len: number): TrieNode | null {
  let n = tb.root;
  while (n !== null && n.len <= len) {
    if (((key ^ n.key) & n.mask) !== 0) return null;
    if (n.len === len) return n;
    n = bitOf(key, n.len) !== 0 ? n.right : n.left;
  }
  return null;
}

function setChild(parent: TrieNode, child: TrieNode): void {
  child.parent = parent;
  if (bitOf(child.key, parent.len) !== 0) parent.right = child;
  else parent.left = child;
}

function replaceChild(tb: FibTable, parent: TrieNode | null, old: TrieNode, by: TrieNode | null): void {
  if (by !== null) by.parent = parent;
  if (parent === null) tb.root = by;
  else if (parent.left === old) parent.left = by;
  else parent.right = by;
}

/** The node of a prefix, made if need be. */
function fibInsertNode(tb: FibTable, key: number, len: number): TrieNode {
  let parent: TrieNode | null = null;
  let n = tb.root;
  while (n !== null) {
    const diff = (key ^ n.key) >>> 0;
    const common = Math.min(diff === 0 ? 32 : Math.clz32(diff), len, n.len);
    if (common === n.len) {
      if (n.len === len) return n;
      parent = n;
      n = bitOf(key, n.len) !== 0 ? n.right : n.left;
      continue;
    }
    const made = new TrieNode(key, len);
    if (common === len) {
      // The new prefix covers n.
      replaceChild(tb, parent, n, made);
      setChild(made, n);
      return made;
    }
    // They part after `common` bits.
    const fork = new TrieNode(key, common);
    replaceChild(tb, parent, n, fork);
    setChild(fork, n);
    setChild(fork, made);
    return made;
  }
  const made = new TrieNode(key, len);
  if (parent === null) tb.root = made;
  else setChild(parent, made);
  return made;
}

/** Takes a node without routes out, and the fork above it that then has one branch. */
function fibRemoveNode(tb: FibTable, n: TrieNode): void {
  if (n.aliases.length !== 0 || (n.left !== null && n.right !== null)) return;
  const parent = n.parent;
  replaceChild(tb, parent, n, n.left ?? n.right);
  if (parent !== null) fibRemoveNode(tb, parent);
}

/** fib_find_alias: the index of the first route with this tos and a metric of `prio` or more; -1 = append. */
function fibFindAlias(aliases: readonly FibAlias[], tos: number, prio: number): number {
  for (let i = 0; i < aliases.length; i++) {
    const fa = aliases[i] as FibAlias;
    if (fa.faTos > tos) continue;
    if (fa.faInfo.fibPriority >= prio || fa.faTos < tos) return i;
  }
  return -1;
}

/**
 * fib_table_lookup: the route that `flp` takes in the table. 0 with `res` filled in, -EAGAIN if there is none, or the
 * errno of a route that is one (unreachable: -EHOSTUNREACH, prohibit: -EACCES, blackhole: -EINVAL, throw: -EAGAIN).
 */
export function fibTableLookup(tb: FibTable, flp: FlowI4, res: FibResult, fibFlags = 0): number {
  const key = flp.daddr;
  let n = tb.root;
  let match: TrieNode | null = null;
  while (n !== null && ((key ^ n.key) & n.mask) === 0) {
    match = n;
    if (n.len === 32) break;
    n = bitOf(key, n.len) !== 0 ? n.right : n.left;
  }
  for (n = match; n !== null; n = n.parent) {
    const aliases = n.aliases;
    for (let i = 0; i < aliases.length; i++) {
      const fa = aliases[i] as FibAlias;
      const fi = fa.faInfo;
      if (fa.faTos !== 0 && fa.faTos !== flp.flowi4Tos) continue;
      if (fi.fibDead || fi.fibScope < flp.flowi4Scope) continue;
      fa.accessed = true;
      const err = fibPropsError[fa.faType] as number;
      if (err < 0) return err;
      if ((fi.fibFlags & RTNH_F_DEAD) !== 0) continue;
      const nhs = fi.fibNh;
      for (let sel = 0; sel < nhs.length; sel++) {
        const nh = nhs[sel] as FibNh;
        if (!fibLookupGoodNhc(nh, fibFlags, flp)) continue;
        res.prefix = n.key;
        res.prefixlen = n.len;
        res.nhSel = sel;
        res.nhc = nh;
        res.type = fa.faType;
        res.scope = fi.fibScope;
        res.tos = fa.faTos;
        res.fi = fi;
        res.table = tb;
        res.leaf = n;
        return 0;
      }
    }
  }
  return -EAGAIN;
}

/* notrace */
function fibLookupGoodNhc(nh: FibNh, fibFlags: number, flp: FlowI4): boolean {
  if ((nh.fibNhFlags & RTNH_F_DEAD) !== 0) return false;
  if (
    (nh.fibNhFlags & RTNH_F_LINKDOWN) !== 0 &&
    (fibFlags & FIB_LOOKUP_IGNORE_LINKSTATE) === 0 &&
    ipIgnoreLinkdown(nh.fibNhDev)
  ) {
    return false;
  }
  return flp.flowi4Oif === 0 || flp.flowi4Oif === nh.fibNhOif;
}

function fibValidKeyLen(key: number, plen: number, extack: NetlinkExtAck | null): boolean {
  if (plen > 32) {
    nlSetErrMsg(extack, "Invalid prefix length", 0);
    return false;
  }
  if ((key & ~maskOf(plen)) !== 0) {
    nlSetErrMsg(extack, "Invalid prefix for given prefix length", 0);
    return false;
  }
  return true;
}

/**
 * fib_table_insert: `cfg.fcNlflags` says what may happen: NLM_F_CREATE, _EXCL (nothing of that prefix, tos and metric may
 * exist), _REPLACE (the first such), _APPEND (behind them). 0, -EEXIST, -ENOENT or -EINVAL.
 */
export function fibTableInsert(net: Net, tb: FibTable, cfg: FibConfig, extack: NetlinkExtAck | null): number {
  const plen = cfg.fcDstLen;
  const key = cfg.fcDst >>> 0;
  if (!fibValidKeyLen(key, plen, extack)) return -EINVAL;
  const fi = fibCreateInfo(net, cfg, extack);
  if (fi === null) return fibCreateErr;
  const node = fibFindNode(tb, key, plen);
  let at = node === null ? -1 : fibFindAlias(node.aliases, cfg.fcTos, fi.fibPriority);

  if (node !== null && at >= 0) {
    const aliases = node.aliases;
    const first = aliases[at] as FibAlias;
    if (first.faTos === cfg.fcTos && first.faInfo.fibPriority === fi.fibPriority) {
      if ((cfg.fcNlflags & NLM_F_EXCL) !== 0) return release(fi, -EEXIST);
      let match: FibAlias | null = null;
      let end = at;
      for (; end < aliases.length; end++) {
        const fa = aliases[end] as FibAlias;
        if (fa.faTos !== cfg.fcTos || fa.faInfo.fibPriority !== fi.fibPriority) break;
        if (fa.faType === cfg.fcType && fa.faInfo === fi) {
          match = fa;
          break;
        }
      }
      if ((cfg.fcNlflags & NLM_F_REPLACE) !== 0) {
        if (match !== null) return release(fi, match === first ? 0 : -EEXIST);
        const old = first.faInfo;
        const accessed = first.accessed;
        aliases[at] = new FibAlias(fi, cfg.fcTos, cfg.fcType);
        fibReleaseInfo(old);
        if (accessed) rtCacheFlush(net);
        return 0;
      }
      if (match !== null) return release(fi, -EEXIST);
      if ((cfg.fcNlflags & NLM_F_APPEND) !== 0) at = end;
    }
  }
  if ((cfg.fcNlflags & NLM_F_CREATE) === 0) return release(fi, -ENOENT);
  const into = node ?? fibInsertNode(tb, key, plen);
  const alias = new FibAlias(fi, cfg.fcTos, cfg.fcType);
  if (at < 0) into.aliases.push(alias);
  else into.aliases.splice(at, 0, alias);
  tb.count++;
  if (plen === 0) tb.tbNumDefault++;
  rtCacheFlush(net);
  return 0;
}

function release(fi: FibInfo, err: number): number {
  fibReleaseInfo(fi);
  return err;
}

/** fib_table_delete: the first route that fits; what `cfg` leaves open (0, RT_SCOPE_NOWHERE) fits all. 0 or -ESRCH. */
export function fibTableDelete(net: Net, tb: FibTable, cfg: FibConfig, extack: NetlinkExtAck | null): number {
  const key = cfg.fcDst >>> 0;
  if (!fibValidKeyLen(key, cfg.fcDstLen, extack)) return -EINVAL;
  const node = fibFindNode(tb, key, cfg.fcDstLen);
  if (node === null) return -ESRCH;
  const aliases = node.aliases;
  for (let i = 0; i < aliases.length; i++) {
    const fa = aliases[i] as FibAlias;
    const fi = fa.faInfo;
    if (
      fa.faTos === cfg.fcTos &&
      (cfg.fcType === 0 || fa.faType === cfg.fcType) &&
      (cfg.fcScope === RT_SCOPE_NOWHERE || fi.fibScope === cfg.fcScope) &&
      (cfg.fcPrefsrc === 0 || fi.fibPrefsrc === cfg.fcPrefsrc) &&
      (cfg.fcProtocol === 0 || fi.fibProtocol === cfg.fcProtocol) &&
      fibNhMatch(cfg, fi) &&
      fibMetricsMatch(cfg, fi)
    ) {
      fibRemoveAlias(tb, node, i);
      if (fa.accessed) rtCacheFlush(net);
      return 0;
    }
  }
  return -ESRCH;
}

function fibRemoveAlias(tb: FibTable, node: TrieNode, i: number): void {
  const fa = node.aliases[i] as FibAlias;
  node.aliases.splice(i, 1);
  tb.count--;
  if (node.len === 0) tb.tbNumDefault--;
  fibReleaseInfo(fa.faInfo);
  fibRemoveNode(tb, node);
}

/** Every node with routes, in the kernel's order: by address, and the longer prefix first. */
export function fibTableNodes(tb: FibTable): TrieNode[] {
  const nodes: TrieNode[] = [];
  const walk = (n: TrieNode | null): void => {
    if (n === null) return;
    if (n.aliases.length !== 0) nodes.push(n);
    walk(n.left);
    walk(n.right);
  };
  walk(tb.root);
  return nodes.sort((a, b) => a.key - b.key || b.len - a.len);
}

/** fib_table_flush: removes the routes whose next hops are all dead (`all`: every route). Returns how many. */
export function fibTableFlush(tb: FibTable, all: boolean): number {
  let found = 0;
  for (const node of fibTableNodes(tb)) {
    for (let i = node.aliases.length - 1; i >= 0; i--) {
      const fa = node.aliases[i] as FibAlias;
      if (!all && ((fa.faInfo.fibFlags & RTNH_F_DEAD) === 0 || fibPropsError[fa.faType] !== 0)) continue;
      fibRemoveAlias(tb, node, i);
      found++;
    }
  }
  return found;
}
