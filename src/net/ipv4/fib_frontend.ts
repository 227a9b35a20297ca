/**
 * The routing tables seen from outside: which addresses are this host's, where a packet may come from, and which routes
 * come and go with addresses and devices.
 */

import { SKB_MARK } from "../../../assembly/layout.ts";
import { u32 } from "../../mm/mem.ts";
import { EINVAL, ESRCH, EXDEV } from "../../uapi/errno.ts";
import { IFF_LOOPBACK, IFF_LOWER_UP, IFF_RUNNING, IFF_UP } from "../../uapi/if.ts";
import {
  IFA_F_NOPREFIXROUTE,
  IFA_F_SECONDARY,
  RT_SCOPE_HOST,
  RT_SCOPE_LINK,
  RT_SCOPE_UNIVERSE,
  RT_TABLE_DEFAULT,
  RT_TABLE_LOCAL,
  RT_TABLE_MAIN,
  RTCF_BROADCAST,
  RTCF_LOCAL,
  RTCF_MULTICAST,
  RTN_BROADCAST,
  RTN_LOCAL,
  RTN_MAX,
  RTN_MULTICAST,
  RTN_UNICAST,
  RTNH_F_DEAD,
  RTNH_F_LINKDOWN,
  RTPROT_KERNEL,
} from "../../uapi/rtnetlink.ts";
import { AF_INET } from "../../uapi/socket.ts";
import type { NetDevice } from "../core/dev.ts";
import { devGetFlags, registerNetdeviceNotifier } from "../core/dev.ts";
import { NETDEV_CHANGE, NETDEV_CHANGEMTU, NETDEV_DOWN, NETDEV_UNREGISTER, NETDEV_UP } from "../core/dev_api.ts";
import type { Net, PernetOperations } from "../core/net_namespace.ts";
import { registerPernetSubsys } from "../core/net_namespace.ts";
import type { NetlinkExtAck, RouteMsg } from "../core/rtnetlink.ts";
import {
  NLM_F_APPEND,
  NLM_F_CREATE,
  nlSetErrMsg,
  RTM_DELROUTE,
  RTM_GETROUTE,
  RTM_NEWROUTE,
  rtnlRegister,
} from "../core/rtnetlink.ts";
import { skbDev } from "../core/skbuff.ts";
import { arpIfdown, arpInvalidate } from "./arp.ts";
import type { InDevice, InIfaddr } from "./devinet.ts";
import {
  inDevAcceptLocal,
  inDevGet,
  inDevRpfilter,
  inDevSrcVmark,
  inDevTxRedirects,
  inetIfaByprefix,
  inetLookupIfaddr,
  inetSelectAddr,
  registerInetaddrNotifier,
} from "./devinet.ts";
import type { FibRule } from "./fib_rules.ts";
import { fib4RulesInit, fibDefaultRulesInit, fibLookup } from "./fib_rules.ts";
import type { FibInfo, FibNh } from "./fib_semantics.ts";
import {
  FIB_LOOKUP_IGNORE_LINKSTATE,
  FibConfig,
  fibInfoNhUsesDev,
  fibResultPrefsrc,
  fibSyncDownAddr,
  fibSyncDownDev,
  fibSyncUp,
} from "./fib_semantics.ts";
import type { FibAlias } from "./fib_trie.ts";
import { FibTable, fibTableDelete, fibTableFlush, fibTableInsert, fibTableLookup, fibTableNodes } from "./fib_trie.ts";
import { FlowI4 } from "./flow.ts";
import { ifaMatch, ipv4IsLbcast, ipv4IsMulticast, ipv4IsZeronet } from "./inet_addr.ts";
import { ipHdr, ipHdrDaddr, ipHdrSaddr, ipHdrTos } from "./ip.ts";
import { FibResult } from "./ip_fib.ts";
import { rtCacheFlush, rtFlushDev, skbRtable } from "./route.ts";

/** The ifindex of `lo` in every namespace: flowi4Iif of what this host sends. */
export const LOOPBACK_IFINDEX = 1;

declare module "./netns.ts" {
  interface NetnsIpv4 {
    fibTables: Map<number, FibTable>;
    fibLocal: FibTable;
    fibMain: FibTable;
    /** Table 253; null while it has never been used. */
    fibDefault: FibTable | null;
    fibRules: FibRule[];
    /** A rule was added or removed: lookups have to ask them. */
    fibHasCustomRules: boolean;
    /** The user added local routes: a source address may be local without being a device's. */
    fibHasCustomLocalRoutes: boolean;
    fibInfoHash: Map<string, FibInfo[]>;
    fibMultipathSeed: number;
  }
}

// ---- tables ------------------------------------------------------------------------------------------------------------------

/** fib_get_table: null if the table does not exist. 0 = main. */
export function fibGetTable(net: Net, id: number): FibTable | null {
  const ipv4 = net.ipv4;
  if (id === RT_TABLE_LOCAL) return ipv4.fibLocal;
  if (id === RT_TABLE_MAIN || id === 0) return ipv4.fibMain;
  return ipv4.fibTables.get(id) ?? null;
}

/** fib_new_table: the table, made if need be. */
export function fibNewTable(net: Net, id: number): FibTable {
  let tb = fibGetTable(net, id);
  if (tb === null) {
    tb = new FibTable(net, id);
    net.ipv4.fibTables.set(id, tb);
    if (id === RT_TABLE_DEFAULT) net.ipv4.fibDefault = tb;
  }
  return tb;
}

/** fib_flush: forgets the routes that lead nowhere any more. */
export function fibFlush(net: Net): void {
  let flushed = 0;
  for (const tb of net.ipv4.fibTables.values()) flushed += fibTableFlush(tb, false);
  if (flushed !== 0) rtCacheFlush(net);
}

// ---- kinds of addresses ---------------------------------------------------------------------------------------------------

const typeFl: FlowI4 = new FlowI4();
const typeRes: FibResult = new FibResult();

function inetDevAddrTypeIn(net: Net, dev: NetDevice | null, addr: number): number {
  if (ipv4IsLbcast(addr) || ipv4IsZeronet(addr)) return RTN_BROADCAST;
  if (ipv4IsMulticast(addr)) return RTN_MULTICAST;
  typeFl.daddr = addr;
  if (fibTableLookup(net.ipv4.fibLocal, typeFl, typeRes) !== 0) return RTN_UNICAST;
  const nh = (typeRes.fi as FibInfo).fibNh[0] as FibNh;
  return dev === null || dev === nh.fibNhDev ? typeRes.type : RTN_UNICAST;
}

/** inet_addr_type: RTN_LOCAL, RTN_BROADCAST, RTN_MULTICAST or RTN_UNICAST: what kind of address `addr` is to this host. */
export function inetAddrType(net: Net, addr: number): number {
  return inetDevAddrTypeIn(net, null, addr);
}
/** inet_addr_type_dev_table: the same; `dev` would choose the table of its VRF, of which there are none. */
export function inetAddrTypeDevTable(net: Net, _dev: NetDevice | null, addr: number): number {
  return inetDevAddrTypeIn(net, null, addr);
}

const specFl: FlowI4 = new FlowI4();
const specRes: FibResult = new FibResult();

/** fib_compute_spec_dst: the address to answer a received `skb` from (RFC 1122 §3.2.1.3: never a broadcast address). */
export function fibComputeSpecDst(skb: number): number {
  const rt = skbRtable(skb);
  const iph = ipHdr(skb);
  if (rt !== null && (rt.rtFlags & (RTCF_BROADCAST | RTCF_MULTICAST | RTCF_LOCAL)) === (RTCF_LOCAL | 0)) {
    return ipHdrDaddr(iph);
  }
  const dev = skbDev(skb);
  const inDev = inDevGet(dev);
  const saddr = ipHdrSaddr(iph);
  let scope = RT_SCOPE_UNIVERSE;
  if (!ipv4IsZeronet(saddr)) {
    const fl = specFl;
    fl.flowi4Iif = LOOPBACK_IFINDEX;
    fl.flowi4Oif = 0;
    fl.daddr = saddr;
    fl.saddr = 0;
    fl.flowi4Tos = ipHdrTos(iph) & 0xfc;
    fl.flowi4Scope = scope;
    fl.flowi4Mark = inDev !== null && inDevSrcVmark(inDev) ? u32[(skb + SKB_MARK) >>> 2] : 0;
    if (fibLookup(dev.net, fl, specRes) === 0) return fibResultPrefsrc(dev.net, specRes);
  } else {
    scope = RT_SCOPE_LINK;
  }
  return inetSelectAddr(dev, saddr, scope);
}

// ---- where a packet may come from (RFC 3704) -----------------------------------------------------------------------------

const srcFl: FlowI4 = new FlowI4();
const srcRes: FibResult = new FibResult();

/**
 * fib_validate_source: may a packet from `src` to `dst` arrive on `dev`? Returns 1 if its sender is on the device's own
 * link (redirects make sense), 0 if not, -EINVAL for a martian (its source is one of our own addresses), -EXDEV if
 * rp_filter refuses it.
 */
export function fibValidateSource(
  skb: number,
  src: number,
  dst: number,
  tos: number,
  oif: number,
  dev: NetDevice,
  idev: InDevice,
): number {
  const rpf = inDevRpfilter(idev);
  const net = dev.net;
  if (rpf === 0 && (dev.ifindex !== oif || !inDevTxRedirects(idev))) {
    if (inDevAcceptLocal(idev)) return 0;
    if (!net.ipv4.fibHasCustomLocalRoutes && !net.ipv4.fibHasCustomRules) {
      return inetLookupIfaddr(net, src) !== null ? -EINVAL : 0;
    }
  }
  return __fibValidateSource(skb, src, dst, tos, oif, dev, rpf, idev);
}

function __fibValidateSource(
  skb: number,
  src: number,
  dst: number,
  tos: number,
  oif: number,
  dev: NetDevice,
  rpf: number,
  idev: InDevice,
): number {
  const net = dev.net;
  const fl = srcFl;
  fl.flowi4Oif = 0;
  fl.flowi4Iif = oif !== 0 ? oif : LOOPBACK_IFINDEX;
  fl.daddr = src;
  fl.saddr = dst;
  fl.flowi4Tos = tos;
  fl.flowi4Scope = RT_SCOPE_UNIVERSE;
  fl.flowi4Mark = inDevSrcVmark(idev) ? u32[(skb + SKB_MARK) >>> 2] : 0;
  const res = srcRes;
  if (fibLookup(net, fl, res) !== 0) return rpf !== 0 ? -EXDEV : 0;
  if (res.type !== RTN_UNICAST && (res.type !== RTN_LOCAL || !inDevAcceptLocal(idev))) return -EINVAL;
  if (
    fibInfoNhUsesDev(res.fi as FibInfo, dev) ||
    // Rare: packets over loopback keep the route that they were sent with.
    (res.type === RTN_LOCAL && dev === net.loopbackDev)
  ) {
    return (res.nhc as FibNh).fibNhScope >= RT_SCOPE_HOST ? 1 : 0;
  }
  if (idev.ifaList === null) return rpf !== 0 ? -EXDEV : 0;
  if (rpf === 1) return -EXDEV;
  fl.flowi4Oif = dev.ifindex;
  if (fibLookup(net, fl, res, FIB_LOOKUP_IGNORE_LINKSTATE) === 0 && res.type === RTN_UNICAST) {
    return (res.nhc as FibNh).fibNhScope >= RT_SCOPE_HOST ? 1 : 0;
  }
  return 0;
}

// ---- routes of addresses ----------------------------------------------------------------------------------------------------

/** fib_magic: adds or removes a route that comes with an address. */
function fibMagic(add: boolean, type: number, dst: number, dstLen: number, ifa: InIfaddr, rtPriority: number): void {
  const net = ifa.ifaDev.dev.net;
  const cfg = new FibConfig();
  const tb = fibNewTable(net, type === RTN_UNICAST ? RT_TABLE_MAIN : RT_TABLE_LOCAL);
  cfg.fcProtocol = RTPROT_KERNEL;
  cfg.fcType = type;
  cfg.fcDst = dst >>> 0;
  cfg.fcDstLen = dstLen;
  cfg.fcPriority = rtPriority;
  cfg.fcPrefsrc = ifa.ifaLocal;
  cfg.fcOif = ifa.ifaDev.dev.ifindex;
  cfg.fcNlflags = NLM_F_CREATE | NLM_F_APPEND;
  cfg.fcTable = tb.tbId;
  cfg.fcScope = type !== RTN_LOCAL ? RT_SCOPE_LINK : RT_SCOPE_HOST;
  if (add) fibTableInsert(net, tb, cfg, null);
  else fibTableDelete(net, tb, cfg, null);
}

/** fib_add_ifaddr: the routes of an address: itself, its broadcast addresses, its subnet. */
export function fibAddIfaddr(ifa: InIfaddr): void {
  const inDev = ifa.ifaDev;
  const dev = inDev.dev;
  const mask = ifa.ifaMask;
  const prefix = (ifa.ifaAddress & mask) >>> 0;
  let prim: InIfaddr | null = ifa;
  if ((ifa.ifaFlags & IFA_F_SECONDARY) !== 0) {
    prim = inetIfaByprefix(inDev, prefix, mask);
    if (prim === null) return;
  }
  fibMagic(true, RTN_LOCAL, ifa.ifaLocal, 32, prim, 0);
  if ((dev.flags & IFF_UP) === 0) return;
  if (ifa.ifaBroadcast !== 0 && ifa.ifaBroadcast !== 0xffffffff) {
    fibMagic(true, RTN_BROADCAST, ifa.ifaBroadcast, 32, prim, 0);
    arpInvalidate(dev, ifa.ifaBroadcast, false);
  }
  if (
    !ipv4IsZeronet(prefix) &&
    (ifa.ifaFlags & IFA_F_SECONDARY) === 0 &&
    (prefix !== ifa.ifaLocal || ifa.ifaPrefixlen < 32)
  ) {
    if ((ifa.ifaFlags & IFA_F_NOPREFIXROUTE) === 0) {
      const type = (dev.flags & IFF_LOOPBACK) !== 0 ? RTN_LOCAL : RTN_UNICAST;
      fibMagic(true, type, prefix, ifa.ifaPrefixlen, prim, ifa.ifaRtPriority);
    }
    if (ifa.ifaPrefixlen < 31) {
      const brd = (prefix | ~mask) >>> 0;
      fibMagic(true, RTN_BROADCAST, brd, 32, prim, 0);
      arpInvalidate(dev, brd, false);
    }
  }
}

/** fib_modify_prefix_metric: the prefix route with the new metric, then without the old one. */
export function fibModifyPrefixMetric(ifa: InIfaddr, newMetric: number): void {
  const dev = ifa.ifaDev.dev;
  if (
    (dev.flags & IFF_UP) === 0 ||
    (ifa.ifaFlags & (IFA_F_SECONDARY | IFA_F_NOPREFIXROUTE)) !== 0 ||
    ipv4IsZeronet((ifa.ifaAddress & ifa.ifaMask) >>> 0)
  ) {
    return;
  }
  const prefix = (ifa.ifaAddress & ifa.ifaMask) >>> 0;
  const type = (dev.flags & IFF_LOOPBACK) !== 0 ? RTN_LOCAL : RTN_UNICAST;
  fibMagic(true, type, prefix, ifa.ifaPrefixlen, ifa, newMetric);
  fibMagic(false, type, prefix, ifa.ifaPrefixlen, ifa, ifa.ifaRtPriority);
}

const LOCAL_OK = 1;
const BRD_OK = 2;
const BRD0_OK = 4;
const BRD1_OK = 8;

/**
 * fib_del_ifaddr: takes away the routes of an address, but not those that another address of the device needs as well.
 * `iprim`: the primary address that goes while its secondary ones are promoted; null otherwise.
 */
export function fibDelIfaddr(ifa: InIfaddr, iprim: InIfaddr | null): void {
  const inDev = ifa.ifaDev;
  const dev = inDev.dev;
  const brd = (ifa.ifaAddress | ~ifa.ifaMask) >>> 0;
  const any = (ifa.ifaAddress & ifa.ifaMask) >>> 0;
  let prim: InIfaddr | null = ifa;
  let subnet = false;
  if ((ifa.ifaFlags & IFA_F_SECONDARY) !== 0) {
    prim = inetIfaByprefix(inDev, any, ifa.ifaMask);
    if (prim === null || (iprim !== null && iprim !== prim)) return;
  } else if (!ipv4IsZeronet(any) && (any !== ifa.ifaLocal || ifa.ifaPrefixlen < 32)) {
    if ((ifa.ifaFlags & IFA_F_NOPREFIXROUTE) === 0) {
      const type = (dev.flags & IFF_LOOPBACK) !== 0 ? RTN_LOCAL : RTN_UNICAST;
      fibMagic(false, type, any, ifa.ifaPrefixlen, prim, 0);
    }
    subnet = true;
  }

  let ok = 0;
  let gone = true;
  if (!inDev.dead) {
    let prim1: InIfaddr | null = null;
    let samePrefsrc = false;
    for (let ifa1 = inDev.ifaList; ifa1 !== null; ifa1 = ifa1.ifaNext) {
      if (ifa1 === ifa) {
        // It is being promoted: the address stays.
        gone = false;
        continue;
      }
      if (iprim !== null && ifa1.ifaMask === iprim.ifaMask && ifaMatch(ifa1.ifaAddress, iprim)) continue;
      if ((ifa1.ifaFlags & IFA_F_SECONDARY) !== 0) {
        if (ifa1.ifaMask === prim.ifaMask && ifaMatch(ifa1.ifaAddress, prim)) {
          prim1 = prim;
        } else {
          if (!samePrefsrc) continue;
          if (prim1 === null || ifa1.ifaMask !== prim1.ifaMask || !ifaMatch(ifa1.ifaAddress, prim1)) {
            prim1 = inetIfaByprefix(inDev, ifa1.ifaAddress, ifa1.ifaMask);
          }
          if (prim1 === null || prim1.ifaLocal !== prim.ifaLocal) continue;
        }
      } else {
        if (prim.ifaLocal !== ifa1.ifaLocal) continue;
        prim1 = ifa1;
        if (prim !== prim1) samePrefsrc = true;
      }
      if (ifa.ifaLocal === ifa1.ifaLocal) ok |= LOCAL_OK;
      if (ifa.ifaBroadcast === ifa1.ifaBroadcast) ok |= BRD_OK;
      if (brd === ifa1.ifaBroadcast) ok |= BRD1_OK;
      if (any === ifa1.ifaBroadcast) ok |= BRD0_OK;
      if (prim1 === ifa1 && ifa1.ifaPrefixlen < 31) {
        const brd1 = (ifa1.ifaAddress | ~ifa1.ifaMask) >>> 0;
        const any1 = (ifa1.ifaAddress & ifa1.ifaMask) >>> 0;
        if (!ipv4IsZeronet(any1)) {
          if (ifa.ifaBroadcast === brd1 || ifa.ifaBroadcast === any1) ok |= BRD_OK;
          if (brd === brd1 || brd === any1) ok |= BRD1_OK;
          if (any === brd1 || any === any1) ok |= BRD0_OK;
        }
      }
    }
  }
  if ((ok & BRD_OK) === 0) fibMagic(false, RTN_BROADCAST, ifa.ifaBroadcast, 32, prim, 0);
  if (subnet && ifa.ifaPrefixlen < 31) {
    if ((ok & BRD1_OK) === 0) fibMagic(false, RTN_BROADCAST, brd, 32, prim, 0);
    if ((ok & BRD0_OK) === 0) fibMagic(false, RTN_BROADCAST, any, 32, prim, 0);
  }
  if ((ok & LOCAL_OK) === 0) {
    fibMagic(false, RTN_LOCAL, ifa.ifaLocal, 32, prim, 0);
    if (gone && inetAddrType(dev.net, ifa.ifaLocal) !== RTN_LOCAL) {
      // The address is no one's any more: routes that prefer it as their source go too.
      if (fibSyncDownAddr(dev, ifa.ifaLocal) !== 0) fibFlush(dev.net);
    }
  }
}

function fibDisableIp(dev: NetDevice, event: number, force: boolean): void {
  if (fibSyncDownDev(dev, event, force) !== 0) fibFlush(dev.net);
  else rtCacheFlush(dev.net);
  arpIfdown(dev);
}

/** fib_inetaddr_event. */
function fibInetaddrEvent(event: number, ifa: InIfaddr): void {
  const dev = ifa.ifaDev.dev;
  const net = dev.net;
  if (event === NETDEV_UP) {
    fibAddIfaddr(ifa);
    fibSyncUp(dev, RTNH_F_DEAD);
    net.ipv4.devAddrGenid++;
    rtCacheFlush(net);
  } else if (event === NETDEV_DOWN) {
    fibDelIfaddr(ifa, null);
    net.ipv4.devAddrGenid++;
    // The last address of the device: it has no IP any more.
    if (ifa.ifaDev.ifaList === null) fibDisableIp(dev, event, true);
    else rtCacheFlush(net);
  }
}

/** fib_netdev_event. */
function fibNetdevEvent(event: number, dev: NetDevice): void {
  const net = dev.net;
  if (net.ipv4 === undefined || net.ipv4.fibTables === undefined) return;
  if (event === NETDEV_UNREGISTER) {
    fibDisableIp(dev, event, true);
    rtFlushDev(dev);
    return;
  }
  const inDev = inDevGet(dev);
  if (inDev === null) return;
  switch (event) {
    case NETDEV_UP:
      for (let ifa = inDev.ifaList; ifa !== null; ifa = ifa.ifaNext) fibAddIfaddr(ifa);
      fibSyncUp(dev, RTNH_F_DEAD);
      net.ipv4.devAddrGenid++;
      rtCacheFlush(net);
      break;
    case NETDEV_DOWN:
      fibDisableIp(dev, event, false);
      break;
    case NETDEV_CHANGE:
      if ((devGetFlags(dev) & (IFF_RUNNING | IFF_LOWER_UP)) !== 0) fibSyncUp(dev, RTNH_F_LINKDOWN);
      else fibSyncDownDev(dev, event, false);
      rtCacheFlush(net);
      break;
    case NETDEV_CHANGEMTU:
      rtCacheFlush(net);
      break;
    default:
      break;
  }
}

// ---- rtnetlink ----------------------------------------------------------------------------------------------------------------

/** rtm_to_fib_config. */
function rtmToFibConfig(msg: RouteMsg, flags: number): FibConfig {
  const cfg = new FibConfig();
  cfg.fcDst = msg.dst ?? 0;
  cfg.fcDstLen = msg.dstLen;
  cfg.fcTos = msg.tos ?? 0;
  cfg.fcTable = msg.table ?? 0;
  cfg.fcProtocol = msg.protocol ?? 0;
  cfg.fcScope = msg.scope ?? 0;
  cfg.fcType = msg.type ?? 0;
  cfg.fcFlags = msg.flags ?? 0;
  cfg.fcNlflags = flags;
  cfg.fcOif = msg.oif ?? 0;
  if (msg.gateway !== undefined) {
    cfg.fcGw = msg.gateway;
    cfg.fcHasGw = msg.gateway !== 0;
  }
  cfg.fcPriority = msg.priority ?? 0;
  cfg.fcPrefsrc = msg.prefsrc ?? 0;
  cfg.fcMetrics = msg.metrics ?? null;
  cfg.fcCongctl = msg.congctl ?? "";
  cfg.fcMp = msg.multipath ?? null;
  return cfg;
}

function checkRouteMsg(msg: RouteMsg, extack: NetlinkExtAck): number {
  if (((msg.tos ?? 0) & 3) !== 0) return nlSetErrMsg(extack, "Invalid dsfield (tos): ECN bits must be 0", -EINVAL);
  if ((msg.type ?? 0) > RTN_MAX) return nlSetErrMsg(extack, "Invalid route type", -EINVAL);
  return 0;
}

/** inet_rtm_newroute. */
function inetRtmNewroute(net: Net, m: object, flags: number, extack: NetlinkExtAck): number {
  const msg = m as RouteMsg;
  const bad = checkRouteMsg(msg, extack);
  if (bad !== 0) return bad;
  const cfg = rtmToFibConfig(msg, flags);
  const tb = fibNewTable(net, cfg.fcTable);
  cfg.fcTable = tb.tbId;
  const err = fibTableInsert(net, tb, cfg, extack);
  if (err === 0 && cfg.fcType === RTN_LOCAL) net.ipv4.fibHasCustomLocalRoutes = true;
  return err;
}

/** inet_rtm_delroute. */
function inetRtmDelroute(net: Net, m: object, flags: number, extack: NetlinkExtAck): number {
  const msg = m as RouteMsg;
  const bad = checkRouteMsg(msg, extack);
  if (bad !== 0) return bad;
  const cfg = rtmToFibConfig(msg, flags);
  const tb = fibGetTable(net, cfg.fcTable);
  if (tb === null) return nlSetErrMsg(extack, "FIB table does not exist", -ESRCH);
  return fibTableDelete(net, tb, cfg, extack);
}

/** A route of a listing. */
export interface FibDumpEntry {
  readonly table: FibTable;
  readonly dst: number;
  readonly dstLen: number;
  readonly alias: FibAlias;
}

/** inet_dump_fib: FibDumpEntry objects: by table, address, longer prefix first, and the order of a lookup. */
export function inetDumpFib(net: Net, filter: object): FibDumpEntry[] {
  const only = (filter as RouteMsg).table;
  const tables = [...net.ipv4.fibTables.values()].sort((a, b) => (a.tbId & 255) - (b.tbId & 255));
  const out: FibDumpEntry[] = [];
  for (const table of tables) {
    if (only !== undefined && only !== 0 && table.tbId !== only) continue;
    for (const node of fibTableNodes(table)) {
      for (const alias of node.aliases) out.push({ table, dst: node.key, dstLen: node.len, alias });
    }
  }
  return out;
}

// ---- setup -----------------------------------------------------------------------------------------------------------------------

export const fibNetOps: PernetOperations = {
  name: "fib",
  init(net: Net): number {
    const ipv4 = net.ipv4;
    ipv4.fibLocal = new FibTable(net, RT_TABLE_LOCAL);
    ipv4.fibMain = new FibTable(net, RT_TABLE_MAIN);
    ipv4.fibDefault = null;
    ipv4.fibTables = new Map([
      [RT_TABLE_MAIN, ipv4.fibMain],
      [RT_TABLE_LOCAL, ipv4.fibLocal],
    ]);
    ipv4.fibInfoHash = new Map();
    ipv4.fibHasCustomLocalRoutes = false;
    ipv4.fibMultipathSeed = net.kernel.random.u32();
    fibDefaultRulesInit(net);
    return 0;
  },
  exit(net: Net): void {
    for (const tb of net.ipv4.fibTables.values()) fibTableFlush(tb, true);
    rtCacheFlush(net);
  },
};

/** ip_fib_init. */
export function ipFibInit(): void {
  registerPernetSubsys(fibNetOps);
  registerNetdeviceNotifier(fibNetdevEvent);
  registerInetaddrNotifier(fibInetaddrEvent);
  fib4RulesInit();
  rtnlRegister(AF_INET, RTM_NEWROUTE, inetRtmNewroute, null);
  rtnlRegister(AF_INET, RTM_DELROUTE, inetRtmDelroute, null);
  rtnlRegister(AF_INET, RTM_GETROUTE, null, inetDumpFib);
}
