/**
 * What a route leads to: fib_info (metrics, preferred source, next hops), shared by all routes that lead to the same,
 * and how it follows devices and addresses that come and go.
 */

import { bugOn } from "../../kernel/bug.ts";
import { EACCES, EAGAIN, EHOSTUNREACH, EINVAL, ENETDOWN, ENODEV } from "../../uapi/errno.ts";
import { IFF_LOWER_UP, IFF_RUNNING, IFF_UP } from "../../uapi/if.ts";
import { IPPROTO_TCP, IPPROTO_UDP } from "../../uapi/in.ts";
import {
  NUD_INCOMPLETE,
  NUD_NONE,
  NUD_REACHABLE,
  NUD_VALID,
  RT_SCOPE_HOST,
  RT_SCOPE_LINK,
  RT_SCOPE_NOWHERE,
  RT_SCOPE_UNIVERSE,
  RT_TABLE_MAIN,
  RTAX_ADVMSS,
  RTAX_CC_ALGO,
  RTAX_FEATURE_MASK,
  RTAX_FEATURES,
  RTAX_HOPLIMIT,
  RTAX_LOCK,
  RTAX_MAX,
  RTAX_MTU,
  RTN_LOCAL,
  RTN_MAX,
  RTN_MULTICAST,
  RTN_UNICAST,
  RTNH_F_DEAD,
  RTNH_F_LINKDOWN,
  RTNH_F_ONLINK,
  RTNH_F_PERVASIVE,
} from "../../uapi/rtnetlink.ts";
import type { NetDevice } from "../core/dev.ts";
import { devGetFlags, netifCarrierOk } from "../core/dev.ts";
import { NETDEV_CHANGE, NETDEV_DOWN, NETDEV_UNREGISTER } from "../core/dev_api.ts";
import { RTAX_SLOTS } from "../core/dst.ts";
import { neighLookup } from "../core/neighbour.ts";
import type { Net } from "../core/net_namespace.ts";
import type { NetlinkExtAck, NextHopMsg } from "../core/rtnetlink.ts";
import { nlSetErrMsg } from "../core/rtnetlink.ts";
import { arpTbl } from "./arp.ts";
import { inDevGet, inDevIgnoreRoutesWithLinkdown, inetSelectAddr } from "./devinet.ts";
import { fibGetTable, inetAddrType, inetAddrTypeDevTable } from "./fib_frontend.ts";
import { fibLookup } from "./fib_rules.ts";
import type { FibAlias, FibTable, TrieNode } from "./fib_trie.ts";
import { fibTableLookup } from "./fib_trie.ts";
import { FlowI4 } from "./flow.ts";
import { FibResult } from "./ip_fib.ts";
import type { FibNhException, Rtable, RthCache } from "./route.ts";
import { tcpCaGetKeyByName } from "./tcp_cong.ts";

/** fib_props: the errno that a route of a type is, and the widest scope it can have. By RTN_*. */
export const fibPropsError: readonly number[] = [
  0,
  0,
  0,
  0,
  0,
  0,
  -EINVAL, // blackhole
  -EHOSTUNREACH, // unreachable
  -EACCES, // prohibit
  -EAGAIN, // throw
  -EINVAL,
  -EINVAL,
];
const fibPropsScope: readonly number[] = [
  RT_SCOPE_NOWHERE,
  RT_SCOPE_UNIVERSE,
  RT_SCOPE_HOST,
  RT_SCOPE_LINK,
  RT_SCOPE_LINK,
  RT_SCOPE_UNIVERSE,
  RT_SCOPE_UNIVERSE,
  RT_SCOPE_UNIVERSE,
  RT_SCOPE_UNIVERSE,
  RT_SCOPE_UNIVERSE,
  RT_SCOPE_NOWHERE,
  RT_SCOPE_NOWHERE,
];

/** FIB_LOOKUP_*. */
export const FIB_LOOKUP_IGNORE_LINKSTATE = 2;

/** struct fib_config: a route as it is asked for. */
export class FibConfig {
  fcDst = 0;
  fcDstLen = 0;
  fcTos = 0;
  fcTable = 0;
  fcProtocol = 0;
  fcScope = 0;
  fcType = 0;
  /** RTNH_F_*. */
  fcFlags = 0;
  fcOif = 0;
  fcGw = 0;
  fcHasGw = false;
  fcPriority = 0;
  fcPrefsrc = 0;
  fcMetrics: ReadonlyMap<number, number> | null = null;
  fcCongctl = "";
  fcMp: readonly NextHopMsg[] | null = null;
  /** NLM_F_*. */
  fcNlflags = 0;
}

/** struct fib_nh: one next hop. */
export class FibNh {
  readonly nhParent: FibInfo;
  fibNhDev: NetDevice | null = null;
  fibNhOif = 0;
  /** RTNH_F_*. */
  fibNhFlags = 0;
  fibNhScope = 0;
  /** The gateway; only if fibNhHasGw. */
  fibNhGw = 0;
  fibNhHasGw = false;
  fibNhWeight = 1;
  /** The 31-bit flow hashes up to here go this way; -1 = none. */
  fibNhUpperBound = 0;
  nhSaddr = 0;
  nhSaddrGenid = -1;
  /**
   * The cached decisions. Through a gateway, one rtable serves all destinations. On a link every destination has its
   * own neighbour and so its own rtable, kept by address.
   */
  nhcRthOutput: Rtable | null = null;
  nhcRthInput: Rtable | null = null;
  nhcRthOnlink: RthCache | null = null;
  nhcExceptions: Map<number, FibNhException> | null = null;

  constructor(parent: FibInfo) {
    this.nhParent = parent;
  }
}

/** struct fib_info. */
export class FibInfo {
  readonly fibNet: Net;
  /** Routes that lead here. */
  fibTreeref = 0;
  fibDead = false;
  /** RTNH_F_DEAD, RTNH_F_LINKDOWN. */
  fibFlags = 0;
  fibProtocol = 0;
  fibScope = 0;
  fibType = 0;
  fibPrefsrc = 0;
  fibTbId = 0;
  fibPriority = 0;
  /** By RTAX_*; 0 = not set. */
  readonly fibMetrics: Float64Array = new Float64Array(RTAX_SLOTS);
  /** Bits 1 << RTAX_*. */
  fibMetricsLock = 0;
  /** The name behind fibMetrics[RTAX_CC_ALGO]. */
  fibCongctl = "";
  readonly fibNh: FibNh[] = [];
  pfsrcRemoved = false;

  constructor(net: Net) {
    this.fibNet = net;
  }
}

/** FIB_RES_DEV, FIB_RES_OIF. */
export function fibResDev(res: FibResult): NetDevice | null {
  return res.nhc === null ? null : res.nhc.fibNhDev;
}

// ---- making a fib_info --------------------------------------------------------------------------------------------------------

/** ip_metrics_convert. 0 or -EINVAL. */
function fibConvertMetrics(fi: FibInfo, cfg: FibConfig, extack: NetlinkExtAck | null): number {
  if (cfg.fcMetrics !== null) {
    for (const [type, value] of cfg.fcMetrics) {
      if (type === RTAX_LOCK) {
        fi.fibMetricsLock = value;
        continue;
      }
      if (type < 1 || type > RTAX_MAX) return nlSetErrMsg(extack, "Invalid metric type", -EINVAL);
      let val = value;
      if (type === RTAX_ADVMSS && val > 65535 - 40) val = 65535 - 40;
      if (type === RTAX_MTU && val > 65535 - 15) val = 65535 - 15;
      if (type === RTAX_HOPLIMIT && val > 255) val = 255;
      if (type === RTAX_FEATURES && (val & ~RTAX_FEATURE_MASK) !== 0) {
        return nlSetErrMsg(extack, "Unknown flag set in feature mask in metrics attribute", -EINVAL);
      }
      fi.fibMetrics[type] = val;
    }
  }
  if (cfg.fcCongctl !== "") {
    const key = tcpCaGetKeyByName(cfg.fcCongctl);
    if (key === 0) return nlSetErrMsg(extack, "Unknown tcp congestion algorithm", -EINVAL);
    fi.fibMetrics[RTAX_CC_ALGO] = key;
    fi.fibCongctl = cfg.fcCongctl;
  }
  return 0;
}

function fibNhInit(fi: FibInfo, oif: number, gw: number | undefined, weight: number, flags: number): FibNh {
  const nh = new FibNh(fi);
  nh.fibNhOif = oif;
  nh.fibNhFlags = flags;
  nh.fibNhWeight = weight;
  if (gw !== undefined) {
    nh.fibNhGw = gw;
    // A gateway of 0.0.0.0 is none.
    nh.fibNhHasGw = gw !== 0;
  }
  return nh;
}

const checkFl: FlowI4 = new FlowI4();
const checkRes: FibResult = new FibResult();

/** fib_check_nh_v4_gw: the gateway must itself be reachable, and by a route of a narrower scope than the new one. */
function fibCheckNhGw(net: Net, nh: FibNh, table: number, scope: number, extack: NetlinkExtAck | null): number {
  if ((nh.fibNhFlags & RTNH_F_ONLINK) !== 0) {
    if (scope >= RT_SCOPE_LINK) return nlSetErrMsg(extack, "Nexthop has invalid scope", -EINVAL);
    const dev = net.devByIndex.get(nh.fibNhOif);
    if (dev === undefined) return nlSetErrMsg(extack, "Nexthop device required for onlink", -ENODEV);
    if ((dev.flags & IFF_UP) === 0) return nlSetErrMsg(extack, "Nexthop device is not up", -ENETDOWN);
    if (inetAddrTypeDevTable(net, dev, nh.fibNhGw) !== RTN_UNICAST) {
      return nlSetErrMsg(extack, "Nexthop has invalid gateway", -EINVAL);
    }
    if (!netifCarrierOk(dev)) nh.fibNhFlags |= RTNH_F_LINKDOWN;
    nh.fibNhDev = dev;
    nh.fibNhScope = RT_SCOPE_LINK;
    return 0;
  }
  const fl = checkFl;
  fl.daddr = nh.fibNhGw;
  fl.saddr = 0;
  fl.flowi4Oif = nh.fibNhOif;
  fl.flowi4Iif = 1;
  fl.flowi4Scope = Math.max(scope + 1, RT_SCOPE_LINK);
  const res = checkRes;
  const tbl = table !== 0 && table !== RT_TABLE_MAIN ? fibGetTable(net, table) : null;
  let err = -EAGAIN;
  if (tbl !== null) err = fibTableLookup(tbl, fl, res, FIB_LOOKUP_IGNORE_LINKSTATE);
  if (err !== 0) err = fibLookup(net, fl, res, FIB_LOOKUP_IGNORE_LINKSTATE);
  if (err !== 0) return nlSetErrMsg(extack, "Nexthop has invalid gateway", err);
  if (res.type !== RTN_UNICAST && res.type !== RTN_LOCAL) {
    return nlSetErrMsg(extack, "Nexthop has invalid gateway", -EINVAL);
  }
  const dev = fibResDev(res);
  if (dev === null) return nlSetErrMsg(extack, "No egress device for nexthop gateway", -EINVAL);
  nh.fibNhScope = res.scope;
  nh.fibNhOif = dev.ifindex;
  nh.fibNhDev = dev;
  if (!netifCarrierOk(dev)) nh.fibNhFlags |= RTNH_F_LINKDOWN;
  return (dev.flags & IFF_UP) !== 0 ? 0 : -ENETDOWN;
}

/** fib_check_nh. */
function fibCheckNh(net: Net, nh: FibNh, table: number, scope: number, extack: NetlinkExtAck | null): number {
  if (nh.fibNhHasGw) return fibCheckNhGw(net, nh, table, scope, extack);
  if ((nh.fibNhFlags & (RTNH_F_PERVASIVE | RTNH_F_ONLINK)) !== 0) {
    return nlSetErrMsg(extack, "Invalid flags for nexthop - PERVASIVE and ONLINK can not be set", -EINVAL);
  }
  const dev = net.devByIndex.get(nh.fibNhOif);
  if (dev === undefined || inDevGet(dev) === null) return -ENODEV;
  if ((dev.flags & IFF_UP) === 0) return nlSetErrMsg(extack, "Device for nexthop is not up", -ENETDOWN);
  nh.fibNhDev = dev;
  nh.fibNhScope = RT_SCOPE_HOST;
  if (!netifCarrierOk(dev)) nh.fibNhFlags |= RTNH_F_LINKDOWN;
  return 0;
}

/** fib_valid_prefsrc. */
function fibValidPrefsrc(cfg: FibConfig, net: Net, prefsrc: number): boolean {
  // A local route may be of an address that it makes local itself.
  if (cfg.fcType === RTN_LOCAL && cfg.fcDst !== 0 && prefsrc === cfg.fcDst) return true;
  return inetAddrType(net, prefsrc) === RTN_LOCAL;
}

/** Why the last fibCreateInfo returned null. */
export let fibCreateErr = 0;

function failed(err: number): null {
  fibCreateErr = err;
  return null;
}

/** fib_create_info: the fib_info that `cfg` asks for, an existing one if there is an equal one; null with fibCreateErr. */
export function fibCreateInfo(net: Net, cfg: FibConfig, extack: NetlinkExtAck | null): FibInfo | null {
  if (cfg.fcType > RTN_MAX) return failed(-EINVAL);
  if ((fibPropsScope[cfg.fcType] as number) > cfg.fcScope) {
    return failed(nlSetErrMsg(extack, "Invalid scope", -EINVAL));
  }
  if ((cfg.fcFlags & (RTNH_F_DEAD | RTNH_F_LINKDOWN)) !== 0) {
    return failed(nlSetErrMsg(extack, "Invalid rtm_flags - can not contain DEAD or LINKDOWN", -EINVAL));
  }
  const fi = new FibInfo(net);
  fi.fibProtocol = cfg.fcProtocol;
  fi.fibScope = cfg.fcScope;
  fi.fibFlags = cfg.fcFlags;
  fi.fibPriority = cfg.fcPriority;
  fi.fibPrefsrc = cfg.fcPrefsrc;
  fi.fibType = cfg.fcType;
  fi.fibTbId = cfg.fcTable;
  let err = fibConvertMetrics(fi, cfg, extack);
  if (err < 0) return failed(err);
  if (cfg.fcMp !== null) {
    for (const hop of cfg.fcMp) {
      if (((hop.flags ?? 0) & (RTNH_F_DEAD | RTNH_F_LINKDOWN)) !== 0) {
        return failed(nlSetErrMsg(extack, "Invalid flags for nexthop - can not contain DEAD or LINKDOWN", -EINVAL));
      }
      const flags = (cfg.fcFlags & ~0xff) | (hop.flags ?? 0);
      fi.fibNh.push(fibNhInit(fi, hop.oif ?? 0, hop.gateway, hop.weight ?? 1, flags));
    }
    if (fi.fibNh.length === 0) return failed(-EINVAL);
  } else {
    fi.fibNh.push(fibNhInit(fi, cfg.fcOif, cfg.fcHasGw ? cfg.fcGw : undefined, 1, cfg.fcFlags));
  }

  if (fibPropsError[cfg.fcType] !== 0) {
    if (cfg.fcHasGw || cfg.fcOif !== 0 || cfg.fcMp !== null) {
      return failed(
        nlSetErrMsg(extack, "Gateway, device and multipath can not be specified for this route type", -EINVAL),
      );
    }
    return fibLinkInfo(fi);
  }
  if (cfg.fcType < RTN_UNICAST || cfg.fcType > RTN_MULTICAST) {
    return failed(nlSetErrMsg(extack, "Invalid route type", -EINVAL));
  }
  if (cfg.fcScope > RT_SCOPE_HOST) return failed(nlSetErrMsg(extack, "Invalid scope", -EINVAL));

  if (cfg.fcScope === RT_SCOPE_HOST) {
    const nh = fi.fibNh[0] as FibNh;
    if (fi.fibNh.length !== 1) {
      return failed(nlSetErrMsg(extack, "Route with host scope can not have multiple nexthops", -EINVAL));
    }
    if (nh.fibNhHasGw) return failed(nlSetErrMsg(extack, "Route with host scope can not have a gateway", -EINVAL));
    nh.fibNhScope = RT_SCOPE_NOWHERE;
    const dev = net.devByIndex.get(nh.fibNhOif);
    if (dev === undefined) return failed(-ENODEV);
    nh.fibNhDev = dev;
  } else {
    let linkdown = 0;
    for (const nh of fi.fibNh) {
      err = fibCheckNh(net, nh, cfg.fcTable, cfg.fcScope, extack);
      if (err !== 0) return failed(err);
      if ((nh.fibNhFlags & RTNH_F_LINKDOWN) !== 0) linkdown++;
    }
    if (linkdown === fi.fibNh.length) fi.fibFlags |= RTNH_F_LINKDOWN;
  }
  if (fi.fibPrefsrc !== 0 && !fibValidPrefsrc(cfg, net, fi.fibPrefsrc)) {
    return failed(nlSetErrMsg(extack, "Invalid prefsrc address", -EINVAL));
  }
  for (const nh of fi.fibNh) fibInfoUpdateNhcSaddr(net, nh, fi.fibScope);
  fibRebalance(fi);
  return fibLinkInfo(fi);
}

function sameMetrics(a: Float64Array, b: Float64Array): boolean {
  for (let i = 0; i < RTAX_SLOTS; i++) if (a[i] !== b[i]) return false;
  return true;
}

function sameNhs(a: FibInfo, b: FibInfo): boolean {
  for (let i = 0; i < a.fibNh.length; i++) {
    const x = a.fibNh[i] as FibNh;
    const y = b.fibNh[i] as FibNh;
    if (
      x.fibNhOif !== y.fibNhOif ||
      x.fibNhHasGw !== y.fibNhHasGw ||
      x.fibNhGw !== y.fibNhGw ||
      x.fibNhScope !== y.fibNhScope ||
      x.fibNhWeight !== y.fibNhWeight ||
      ((x.fibNhFlags ^ y.fibNhFlags) & ~(RTNH_F_DEAD | RTNH_F_LINKDOWN)) !== 0
    ) {
      return false;
    }
  }
  return true;
}

/** The key of fib_info_hash. */
function fibInfoHashKey(fi: FibInfo): string {
  const nh = fi.fibNh[0] as FibNh;
  return `${fi.fibNh.length},${fi.fibProtocol},${fi.fibScope},${fi.fibPrefsrc},${fi.fibPriority},${nh.fibNhOif},${nh.fibNhGw}`;
}

/** fib_find_info, or puts the new one into the hash. */
function fibLinkInfo(fi: FibInfo): FibInfo {
  const hash = fi.fibNet.ipv4.fibInfoHash;
  const key = fibInfoHashKey(fi);
  const list = hash.get(key) ?? [];
  for (const ofi of list) {
    if (
      ofi.fibProtocol === fi.fibProtocol &&
      ofi.fibScope === fi.fibScope &&
      ofi.fibPrefsrc === fi.fibPrefsrc &&
      ofi.fibPriority === fi.fibPriority &&
      ofi.fibTbId === fi.fibTbId &&
      ofi.fibType === fi.fibType &&
      ofi.fibMetricsLock === fi.fibMetricsLock &&
      ((ofi.fibFlags ^ fi.fibFlags) & ~(RTNH_F_DEAD | RTNH_F_LINKDOWN)) === 0 &&
      sameMetrics(ofi.fibMetrics, fi.fibMetrics) &&
      sameNhs(ofi, fi)
    ) {
      ofi.fibTreeref++;
      return ofi;
    }
  }
  fi.fibTreeref = 1;
  list.push(fi);
  hash.set(key, list);
  return fi;
}

/** fib_release_info: a route that led there is gone. */
export function fibReleaseInfo(fi: FibInfo): void {
  bugOn(fi.fibTreeref <= 0, "fib_info released too often");
  if (--fi.fibTreeref !== 0) return;
  const hash = fi.fibNet.ipv4.fibInfoHash;
  const key = fibInfoHashKey(fi);
  const list = hash.get(key);
  if (list !== undefined) {
    const i = list.indexOf(fi);
    if (i >= 0) list.splice(i, 1);
    if (list.length === 0) hash.delete(key);
  }
  fi.fibDead = true;
  for (const nh of fi.fibNh) {
    nh.nhcRthInput = null;
    nh.nhcRthOutput = null;
    nh.nhcRthOnlink = null;
    nh.nhcExceptions = null;
  }
}

/** fib_info_update_nhc_saddr: the address to send from over this next hop. */
export function fibInfoUpdateNhcSaddr(net: Net, nh: FibNh, scope: number): number {
  nh.nhSaddr = nh.fibNhDev === null ? 0 : inetSelectAddr(nh.fibNhDev, nh.fibNhGw, scope);
  nh.nhSaddrGenid = net.ipv4.devAddrGenid;
  return nh.nhSaddr;
}

/** fib_result_prefsrc. */
export function fibResultPrefsrc(net: Net, res: FibResult): number {
  const fi = res.fi as FibInfo;
  if (fi.fibPrefsrc !== 0) return fi.fibPrefsrc;
  const nh = res.nhc as FibNh;
  return nh.nhSaddrGenid === net.ipv4.devAddrGenid ? nh.nhSaddr : fibInfoUpdateNhcSaddr(net, nh, fi.fibScope);
}

/** fib_rebalance: spreads the 31-bit hash values over the next hops that work, by weight. */
function fibRebalance(fi: FibInfo): void {
  if (fi.fibNh.length < 2) return;
  let total = 0;
  for (const nh of fi.fibNh) if (usable(nh)) total += nh.fibNhWeight;
  let w = 0;
  for (const nh of fi.fibNh) {
    if (!usable(nh)) {
      nh.fibNhUpperBound = -1;
    } else {
      w += nh.fibNhWeight;
      nh.fibNhUpperBound = Math.floor((w * 0x80000000 + Math.floor(total / 2)) / total) - 1;
    }
  }
}

function usable(nh: FibNh): boolean {
  if ((nh.fibNhFlags & RTNH_F_DEAD) !== 0) return false;
  return !((nh.fibNhFlags & RTNH_F_LINKDOWN) !== 0 && ipIgnoreLinkdown(nh.fibNhDev));
}

/** ip_ignore_linkdown. */
export function ipIgnoreLinkdown(dev: NetDevice | null): boolean {
  const inDev = dev === null ? null : inDevGet(dev);
  return inDev !== null && inDevIgnoreRoutesWithLinkdown(inDev);
}

/** fib_nh_match: does the route lead where a delete asks for? */
export function fibNhMatch(cfg: FibConfig, fi: FibInfo): boolean {
  if (cfg.fcPriority !== 0 && cfg.fcPriority !== fi.fibPriority) return false;
  if (cfg.fcOif !== 0 || cfg.fcHasGw) {
    const nh = fi.fibNh[0] as FibNh;
    return (
      (cfg.fcOif === 0 || cfg.fcOif === nh.fibNhOif) && (!cfg.fcHasGw || (nh.fibNhHasGw ? nh.fibNhGw : 0) === cfg.fcGw)
    );
  }
  if (cfg.fcMp === null) return true;
  if (cfg.fcMp.length !== fi.fibNh.length) return false;
  for (let i = 0; i < fi.fibNh.length; i++) {
    const want = cfg.fcMp[i] as NextHopMsg;
    const nh = fi.fibNh[i] as FibNh;
    if (want.oif !== undefined && want.oif !== 0 && want.oif !== nh.fibNhOif) return false;
    if (want.gateway !== undefined && want.gateway !== nh.fibNhGw) return false;
  }
  return true;
}

/** fib_metrics_match. */
export function fibMetricsMatch(cfg: FibConfig, fi: FibInfo): boolean {
  if (cfg.fcMetrics !== null) {
    for (const [type, value] of cfg.fcMetrics) {
      if (type !== RTAX_LOCK && fi.fibMetrics[type] !== value) return false;
    }
  }
  return cfg.fcCongctl === "" || cfg.fcCongctl === fi.fibCongctl;
}

/** fib_info_nh_uses_dev. */
export function fibInfoNhUsesDev(fi: FibInfo, dev: NetDevice): boolean {
  for (let i = 0; i < fi.fibNh.length; i++) if ((fi.fibNh[i] as FibNh).fibNhDev === dev) return true;
  return false;
}

// ---- devices and addresses that go and come --------------------------------------------------------------------------------

function* fibInfos(net: Net): Generator<FibInfo> {
  for (const list of net.ipv4.fibInfoHash.values()) yield* list;
}

/** fib_sync_down_addr: routes that prefer `local` as their source die with it. Returns how many fib_infos died. */
export function fibSyncDownAddr(dev: NetDevice, local: number): number {
  let ret = 0;
  if (local === 0) return 0;
  for (const fi of fibInfos(dev.net)) {
    if (fi.fibPrefsrc !== local || fi.fibTbId !== RT_TABLE_MAIN) continue;
    fi.fibFlags |= RTNH_F_DEAD;
    fi.pfsrcRemoved = true;
    ret++;
  }
  return ret;
}

/**
 * fib_sync_down_dev: next hops over `dev` die, or lose their link. `force`: local addresses' routes too (the last address
 * or the device itself goes). Returns how many fib_infos have no next hop left.
 */
export function fibSyncDownDev(dev: NetDevice, event: number, force: boolean): number {
  const scope = force ? -1 : RT_SCOPE_NOWHERE;
  let ret = 0;
  for (const fi of fibInfos(dev.net)) {
    if (!fibInfoNhUsesDev(fi, dev)) continue;
    let dead = 0;
    for (const nh of fi.fibNh) {
      if ((nh.fibNhFlags & RTNH_F_DEAD) !== 0) {
        dead++;
      } else if (nh.fibNhDev === dev && nh.fibNhScope !== scope) {
        if (event === NETDEV_DOWN || event === NETDEV_UNREGISTER) nh.fibNhFlags |= RTNH_F_DEAD | RTNH_F_LINKDOWN;
        else if (event === NETDEV_CHANGE) nh.fibNhFlags |= RTNH_F_LINKDOWN;
        dead++;
      }
      if (event === NETDEV_UNREGISTER && nh.fibNhDev === dev) {
        dead = fi.fibNh.length;
        break;
      }
    }
    if (dead === fi.fibNh.length) {
      if (event === NETDEV_DOWN || event === NETDEV_UNREGISTER) fi.fibFlags |= RTNH_F_DEAD | RTNH_F_LINKDOWN;
      else if (event === NETDEV_CHANGE) fi.fibFlags |= RTNH_F_LINKDOWN;
      ret++;
    }
    fibRebalance(fi);
  }
  return ret;
}

/** fib_sync_up: next hops over `dev` lose the flags (RTNH_F_DEAD or RTNH_F_LINKDOWN): the device is back. */
export function fibSyncUp(dev: NetDevice, nhFlags: number): number {
  if ((dev.flags & IFF_UP) === 0) return 0;
  let flags = nhFlags;
  if ((flags & RTNH_F_DEAD) !== 0 && (devGetFlags(dev) & (IFF_RUNNING | IFF_LOWER_UP)) !== 0) flags |= RTNH_F_LINKDOWN;
  let ret = 0;
  for (const fi of fibInfos(dev.net)) {
    if (!fibInfoNhUsesDev(fi, dev)) continue;
    let alive = 0;
    for (const nh of fi.fibNh) {
      if ((nh.fibNhFlags & flags) === 0) {
        alive++;
        continue;
      }
      if (nh.fibNhDev === null || (nh.fibNhDev.flags & IFF_UP) === 0) continue;
      if (nh.fibNhDev !== dev || inDevGet(dev) === null) continue;
      alive++;
      nh.fibNhFlags &= ~flags;
    }
    if (alive > 0) {
      fi.fibFlags &= ~flags;
      ret++;
    }
    fibRebalance(fi);
  }
  return ret;
}

// ---- choosing among several ---------------------------------------------------------------------------------------------------

function mix(h0: number, v: number): number {
  let h = h0 ^ v;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return h ^ (h >>> 16);
}

/** fib_multipath_hash: 31 bits; by addresses, and with fib_multipath_hash_policy 1 by protocol and ports as well. */
function fibMultipathHash(net: Net, fl4: FlowI4): number {
  let h = mix(net.ipv4.sysctlFibMultipathHashSeed || net.ipv4.fibMultipathSeed, fl4.saddr);
  h = mix(h, fl4.daddr);
  if (net.ipv4.sysctlFibMultipathHashPolicy === 1) {
    h = mix(h, fl4.flowi4Proto);
    if (fl4.flowi4Proto === IPPROTO_TCP || fl4.flowi4Proto === IPPROTO_UDP) {
      h = mix(h, (fl4.fl4Sport << 16) | fl4.fl4Dport);
    }
  }
  return h >>> 1;
}

/** fib_good_nh: not known to be unreachable. */
function fibGoodNh(nh: FibNh): boolean {
  if (nh.fibNhScope !== RT_SCOPE_LINK || !nh.fibNhHasGw || nh.fibNhDev === null) return true;
  const n = neighLookup(arpTbl, nh.fibNhGw, nh.fibNhDev);
  return n === null || n.nudState === NUD_NONE || (n.nudState & NUD_VALID) !== 0;
}

function fibSelectMultipath(net: Net, res: FibResult, hash: number): void {
  const fi = res.fi as FibInfo;
  let first = -1;
  for (let i = 0; i < fi.fibNh.length; i++) {
    const nh = fi.fibNh[i] as FibNh;
    if (nh.fibNhUpperBound < 0) continue;
    if (net.ipv4.sysctlFibMultipathUseNeigh !== 0) {
      if (!fibGoodNh(nh)) continue;
      if (first < 0) first = i;
    }
    if (hash > nh.fibNhUpperBound) continue;
    res.nhSel = i;
    res.nhc = nh;
    return;
  }
  if (first >= 0) {
    res.nhSel = first;
    res.nhc = fi.fibNh[first] as FibNh;
  }
}

let lastResort: FibInfo | null = null;
let lastIdx = -1;

/** fib_detect_death: true if the gateway of a default route is not known to answer. */
function fibDetectDeath(fi: FibInfo, order: number, dflt: number): boolean {
  const nh = fi.fibNh[0] as FibNh;
  const n = nh.fibNhDev === null ? null : neighLookup(arpTbl, nh.fibNhGw, nh.fibNhDev);
  // Nobody has asked for it yet (routes that were made are bound to an entry already).
  if (n === null || n.nudState === NUD_NONE) return false;
  const state = n.nudState;
  if (state === NUD_REACHABLE) return false;
  if ((state & NUD_VALID) !== 0 && order !== dflt) return false;
  if ((state & NUD_VALID) !== 0 || (lastIdx < 0 && order > dflt && state !== NUD_INCOMPLETE)) {
    lastResort = fi;
    lastIdx = order;
  }
  return true;
}

function fibResultAssign(res: FibResult, fi: FibInfo): void {
  res.fi = fi;
  res.nhSel = 0;
  res.nhc = fi.fibNh[0] as FibNh;
}

/** fib_select_default: several default routes of one metric: the first whose gateway is known to answer. */
function fibSelectDefault(fl4: FlowI4, res: FibResult): void {
  const aliases = (res.leaf as TrieNode).aliases;
  let fi: FibInfo | null = null;
  let fa1: FibAlias | null = null;
  let order = -1;
  let lastPrio = (res.fi as FibInfo).fibPriority;
  let lastTos = 0;
  lastResort = null;
  lastIdx = -1;
  for (let i = 0; i < aliases.length; i++) {
    const fa = aliases[i] as FibAlias;
    const next = fa.faInfo;
    if (fa.faTos !== 0 && fa.faTos !== fl4.flowi4Tos) continue;
    if (next.fibPriority > lastPrio && fa.faTos === lastTos) {
      if (lastTos !== 0) continue;
      break;
    }
    if ((next.fibFlags & RTNH_F_DEAD) !== 0) continue;
    lastTos = fa.faTos;
    lastPrio = next.fibPriority;
    if (next.fibScope !== res.scope || fa.faType !== RTN_UNICAST) continue;
    const nh = next.fibNh[0] as FibNh;
    if (!nh.fibNhHasGw || nh.fibNhScope !== RT_SCOPE_LINK) continue;
    if (fi === null) {
      if (next !== res.fi) break;
      fa1 = fa;
    } else if (fa1 !== null && !fibDetectDeath(fi, order, fa1.faDefault)) {
      fibResultAssign(res, fi);
      fa1.faDefault = order;
      return;
    }
    fi = next;
    order++;
  }
  if (order <= 0 || fi === null || fa1 === null) {
    if (fa1 !== null) fa1.faDefault = -1;
    return;
  }
  if (!fibDetectDeath(fi, order, fa1.faDefault)) {
    fibResultAssign(res, fi);
    fa1.faDefault = order;
    return;
  }
  if (lastIdx >= 0 && lastResort !== null) fibResultAssign(res, lastResort);
  fa1.faDefault = lastIdx;
}

/** fib_select_path: one of several next hops, and the source address if it is still open. */
export function fibSelectPath(net: Net, res: FibResult, fl4: FlowI4): void {
  const fi = res.fi as FibInfo;
  if (fl4.flowi4Oif === 0) {
    if (fi.fibNh.length > 1) {
      fibSelectMultipath(net, res, fibMultipathHash(net, fl4));
    } else if (res.prefixlen === 0 && (res.table as FibTable).tbNumDefault > 1 && res.type === RTN_UNICAST) {
      fibSelectDefault(fl4, res);
    }
  }
  if (fl4.saddr === 0) fl4.saddr = fibResultPrefsrc(net, res);
}
