/** Policy routing: which table a lookup asks, in which order (`ip rule`). */

import { EACCES, EAGAIN, EEXIST, EINVAL, ENETUNREACH, ENOENT } from "../../uapi/errno.ts";
import {
  FR_ACT_GOTO,
  FR_ACT_MAX,
  FR_ACT_NOP,
  FR_ACT_PROHIBIT,
  FR_ACT_TO_TBL,
  FR_ACT_UNREACHABLE,
  RT_TABLE_DEFAULT,
  RT_TABLE_LOCAL,
  RT_TABLE_MAIN,
  RTPROT_KERNEL,
} from "../../uapi/rtnetlink.ts";
import { AF_INET } from "../../uapi/socket.ts";
import type { Net } from "../core/net_namespace.ts";
import type { NetlinkExtAck, RuleMsg } from "../core/rtnetlink.ts";
import { NLM_F_EXCL, nlSetErrMsg, RTM_DELRULE, RTM_GETRULE, RTM_NEWRULE, rtnlRegister } from "../core/rtnetlink.ts";
import { fibGetTable, fibNewTable } from "./fib_frontend.ts";
import { fibTableLookup } from "./fib_trie.ts";
import type { FlowI4 } from "./flow.ts";
import { maskOf } from "./inet_addr.ts";
import { FibResult } from "./ip_fib.ts";
import { rtCacheFlush } from "./route.ts";

/** struct fib4_rule. */
export class FibRule {
  priority = 0;
  /** FR_ACT_*. */
  action: number = FR_ACT_TO_TBL;
  table = 0;
  src = 0;
  srcLen = 0;
  srcmask = 0;
  dst = 0;
  dstLen = 0;
  dstmask = 0;
  tos = 0;
  iifname = "";
  oifname = "";
  mark = 0;
  markMask = 0;
  ipproto = 0;
  sportLo = 0;
  sportHi = 0;
  dportLo = 0;
  dportHi = 0;
  /** Routes of at most so many bits don't count; -1 = all do. */
  suppressPrefixlen = -1;
  /** FR_ACT_GOTO: the priority to go on with. */
  target = 0;
  invert = false;
  protocol: number = RTPROT_KERNEL;

  constructor(priority: number, table: number) {
    this.priority = priority;
    this.table = table;
  }
}

/** fib_default_rules_init. */
export function fibDefaultRulesInit(net: Net): void {
  net.ipv4.fibRules = [
    new FibRule(0, RT_TABLE_LOCAL),
    new FibRule(0x7ffe, RT_TABLE_MAIN),
    new FibRule(0x7fff, RT_TABLE_DEFAULT),
  ];
  net.ipv4.fibHasCustomRules = false;
}

const mainRes: FibResult = new FibResult();

/**
 * fib_lookup: the route of a flow. 0 with `res` filled in; -ENETUNREACH if there is none, or the errno that a route of
 * type unreachable (-EHOSTUNREACH), prohibit (-EACCES) or blackhole (-EINVAL) is.
 */
export function fibLookup(net: Net, flp: FlowI4, res: FibResult, flags = 0): number {
  const ipv4 = net.ipv4;
  if (ipv4.fibHasCustomRules) return __fibLookup(net, flp, res, flags);
  // Without rules, local and main are one table: the longest prefix of both wins, and local first among equals.
  let err = fibTableLookup(ipv4.fibLocal, flp, res, flags);
  if (err === 0) {
    if (res.prefixlen === 32 || ipv4.fibMain.count === 0) return 0;
    if (fibTableLookup(ipv4.fibMain, flp, mainRes, flags) !== 0 || mainRes.prefixlen <= res.prefixlen) return 0;
    return fibTableLookup(ipv4.fibMain, flp, res, flags);
  }
  if (err === -EAGAIN) {
    err = fibTableLookup(ipv4.fibMain, flp, res, flags);
    if (err === 0) return 0;
    const dflt = ipv4.fibDefault;
    if (dflt !== null) err = fibTableLookup(dflt, flp, res, flags);
  }
  return err === -EAGAIN ? -ENETUNREACH : err;
}

/** __fib_lookup: asks the rules one by one. */
function __fibLookup(net: Net, flp: FlowI4, res: FibResult, flags: number): number {
  const rules = net.ipv4.fibRules;
  for (let i = 0; i < rules.length; i++) {
    const rule = rules[i] as FibRule;
    if (fib4RuleMatch(net, rule, flp) === rule.invert) continue;
    if (rule.action === FR_ACT_NOP) continue;
    if (rule.action === FR_ACT_GOTO) {
      // The target lies behind, always; without one the rule does nothing.
      let j = i + 1;
      while (j < rules.length && (rules[j] as FibRule).priority < rule.target) j++;
      if (j < rules.length && (rules[j] as FibRule).priority === rule.target) i = j - 1;
      continue;
    }
    const err = fib4RuleAction(net, rule, flp, res, flags);
    if (err === 0 && rule.suppressPrefixlen >= 0 && res.prefixlen <= rule.suppressPrefixlen) continue;
    if (err !== -EAGAIN) return err;
  }
  return -ENETUNREACH;
}

function fib4RuleMatch(net: Net, rule: FibRule, flp: FlowI4): boolean {
  if (rule.iifname !== "" && net.devByName.get(rule.iifname)?.ifindex !== flp.flowi4Iif) return false;
  if (rule.oifname !== "" && net.devByName.get(rule.oifname)?.ifindex !== flp.flowi4Oif) return false;
  if (((rule.mark ^ flp.flowi4Mark) & rule.markMask) !== 0) return false;
  if (((flp.saddr ^ rule.src) & rule.srcmask) !== 0 || ((flp.daddr ^ rule.dst) & rule.dstmask) !== 0) return false;
  if (rule.tos !== 0 && rule.tos !== flp.flowi4Tos) return false;
  if (rule.ipproto !== 0 && rule.ipproto !== flp.flowi4Proto) return false;
  if (rule.sportHi !== 0 && (flp.fl4Sport < rule.sportLo || flp.fl4Sport > rule.sportHi)) return false;
  return rule.dportHi === 0 || (flp.fl4Dport >= rule.dportLo && flp.fl4Dport <= rule.dportHi);
}

function fib4RuleAction(net: Net, rule: FibRule, flp: FlowI4, res: FibResult, flags: number): number {
  switch (rule.action) {
    case FR_ACT_TO_TBL: {
      const tbl = fibGetTable(net, rule.table);
      return tbl === null ? -EAGAIN : fibTableLookup(tbl, flp, res, flags);
    }
    case FR_ACT_UNREACHABLE:
      return -ENETUNREACH;
    case FR_ACT_PROHIBIT:
      return -EACCES;
    default:
      return -EINVAL;
  }
}

// ---- rtnetlink ----------------------------------------------------------------------------------------------------------------

function fibDefaultRulePref(net: Net): number {
  // One below the second rule (the first is local's).
  const rules = net.ipv4.fibRules;
  return rules.length > 1 ? Math.max((rules[1] as FibRule).priority - 1, 0) : 0;
}

function ruleOf(net: Net, msg: RuleMsg): FibRule {
  const rule = new FibRule(msg.priority ?? fibDefaultRulePref(net), msg.table ?? 0);
  rule.action = msg.action ?? FR_ACT_TO_TBL;
  rule.srcLen = msg.srcLen ?? 0;
  rule.src = ((msg.src ?? 0) & maskOf(rule.srcLen)) >>> 0;
  rule.srcmask = maskOf(rule.srcLen);
  rule.dstLen = msg.dstLen ?? 0;
  rule.dst = ((msg.dst ?? 0) & maskOf(rule.dstLen)) >>> 0;
  rule.dstmask = maskOf(rule.dstLen);
  rule.tos = msg.tos ?? 0;
  rule.iifname = msg.iifname ?? "";
  rule.oifname = msg.oifname ?? "";
  rule.mark = msg.fwmark ?? 0;
  rule.markMask = msg.fwmask ?? (msg.fwmark !== undefined ? 0xffffffff : 0);
  rule.ipproto = msg.ipproto ?? 0;
  if (msg.sport !== undefined) [rule.sportLo, rule.sportHi] = msg.sport;
  if (msg.dport !== undefined) [rule.dportLo, rule.dportHi] = msg.dport;
  rule.suppressPrefixlen = msg.suppressPrefixlen ?? -1;
  rule.target = msg.goto ?? 0;
  rule.invert = msg.invert ?? false;
  rule.protocol = msg.protocol ?? 0;
  return rule;
}

const SAME: readonly (keyof FibRule)[] = [
  "action",
  "table",
  "src",
  "srcLen",
  "dst",
  "dstLen",
  "tos",
  "iifname",
  "oifname",
  "mark",
  "markMask",
  "ipproto",
  "sportLo",
  "sportHi",
  "dportLo",
  "dportHi",
  "suppressPrefixlen",
  "target",
  "invert",
];

/** fib_nl_newrule. */
function fibNlNewrule(net: Net, m: object, flags: number, extack: NetlinkExtAck): number {
  const msg = m as RuleMsg;
  const rule = ruleOf(net, msg);
  if (rule.srcLen > 32 || rule.dstLen > 32) return nlSetErrMsg(extack, "Invalid address length", -EINVAL);
  if (rule.action === 0 || rule.action > FR_ACT_MAX) return nlSetErrMsg(extack, "Unknown action", -EINVAL);
  if (rule.action === FR_ACT_GOTO && rule.target <= rule.priority) {
    return nlSetErrMsg(extack, "Backward goto not supported", -EINVAL);
  }
  if (rule.action === FR_ACT_TO_TBL) {
    if (rule.table === 0) return nlSetErrMsg(extack, "Invalid table identifier", -EINVAL);
    fibNewTable(net, rule.table);
  }
  const rules = net.ipv4.fibRules;
  if ((flags & NLM_F_EXCL) !== 0) {
    for (const r of rules) {
      if (r.priority === rule.priority && SAME.every((key) => r[key] === rule[key])) return -EEXIST;
    }
  }
  let at = rules.findIndex((r) => r.priority > rule.priority);
  if (at < 0) at = rules.length;
  rules.splice(at, 0, rule);
  net.ipv4.fibHasCustomRules = true;
  rtCacheFlush(net);
  return 0;
}

/** fib_nl_delrule: the first rule with everything that `msg` names. */
function fibNlDelrule(net: Net, m: object, _flags: number, extack: NetlinkExtAck): number {
  const msg = m as RuleMsg;
  const want = ruleOf(net, msg);
  const rules = net.ipv4.fibRules;
  const i = rules.findIndex(
    (r) =>
      (msg.priority === undefined || r.priority === msg.priority) &&
      (msg.action === undefined || r.action === msg.action) &&
      (msg.table === undefined || msg.table === 0 || r.table === msg.table) &&
      (msg.src === undefined || (r.src === want.src && r.srcLen === want.srcLen)) &&
      (msg.dst === undefined || (r.dst === want.dst && r.dstLen === want.dstLen)) &&
      (msg.tos === undefined || msg.tos === 0 || r.tos === msg.tos) &&
      (msg.iifname === undefined || r.iifname === msg.iifname) &&
      (msg.oifname === undefined || r.oifname === msg.oifname) &&
      (msg.fwmark === undefined || r.mark === msg.fwmark) &&
      (msg.fwmask === undefined || r.markMask === msg.fwmask) &&
      (msg.ipproto === undefined || r.ipproto === msg.ipproto) &&
      (msg.sport === undefined || (r.sportLo === want.sportLo && r.sportHi === want.sportHi)) &&
      (msg.dport === undefined || (r.dportLo === want.dportLo && r.dportHi === want.dportHi)),
  );
  if (i < 0) return nlSetErrMsg(extack, "", -ENOENT);
  rules.splice(i, 1);
  net.ipv4.fibHasCustomRules = true;
  rtCacheFlush(net);
  return 0;
}

/** fib4_rules_init. */
export function fib4RulesInit(): void {
  rtnlRegister(AF_INET, RTM_NEWRULE, fibNlNewrule, null);
  rtnlRegister(AF_INET, RTM_DELRULE, fibNlDelrule, null);
  rtnlRegister(AF_INET, RTM_GETRULE, null, (net) => net.ipv4.fibRules.slice());
}
