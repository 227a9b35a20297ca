/**
 * IGMP (RFC 3376, RFC 2236): what a host tells routers and snooping switches of the groups that it listens to. Joining
 * and leaving is reported twice within a second; queries are answered within the time that they give. Groups are
 * joined whole, without source filters.
 */

import { getRandomU32Below } from "../../kernel/random.ts";
import type { TimerList } from "../../kernel/timer.ts";
import { modTimerIn, timerSetup, timerShutdown } from "../../kernel/timer.ts";
import { dv, u8 } from "../../mm/mem.ts";
import {
  skbCsumUnnecessary,
  skbData,
  skbLen,
  skbResetNetworkHeader,
  skbSetCsum,
  skbSetPriority,
  skbSetTransportHeader,
} from "../../mm/skb.ts";
import { SKB_DROP_REASON_NOT_SPECIFIED } from "../../uapi/dropreason.ts";
import { IFF_LOOPBACK, IFF_MULTICAST, IFF_UP } from "../../uapi/if.ts";
import { IN_LOCAL_MULTICAST, IN_MULTICAST, INADDR_ALLHOSTS_GROUP, IPPROTO_IGMP } from "../../uapi/in.ts";
import { IP_DF, IPOPT_RA } from "../../uapi/ip.ts";
import { RT_SCOPE_UNIVERSE } from "../../uapi/rtnetlink.ts";
import type { NetDevice } from "../core/dev.ts";
import {
  __skbChecksumComplete,
  allocSkb,
  consumeSkb,
  ipComputeCsum,
  kfreeSkbReason,
  pskbMayPull,
  skbDev,
  skbDstSet,
  skbPut,
  skbReserve,
} from "../core/skbuff.ts";
import type { InDevice } from "./devinet.ts";
import { inDevGet } from "./devinet.ts";
import { FlowI4, flowi4InitOutput } from "./flow.ts";
import {
  ipcbClear,
  ipHdr,
  ipHdrDaddr,
  ipHdrSetDaddr,
  ipHdrSetFragOff,
  ipHdrSetId,
  ipHdrSetProtocol,
  ipHdrSetSaddr,
  ipHdrSetTos,
  ipHdrSetTtl,
  ipHdrSetVersionIhl,
} from "./ip.ts";
import { ipLocalOut, LL_RESERVED_SPACE } from "./ip_output.ts";
import type { NetProtocol } from "./protocol.ts";
import { inetAddProtocol } from "./protocol.ts";
import { ipRouteOutputFlow } from "./route.ts";

const IGMP_HOST_MEMBERSHIP_QUERY = 0x11;
const IGMPV2_HOST_MEMBERSHIP_REPORT = 0x16;
const IGMPV3_HOST_MEMBERSHIP_REPORT = 0x22;
/** 224.0.0.22: all IGMPv3 routers. */
const IGMPV3_ALL_MCR = 0xe0000016;
const IGMPV3_MODE_IS_EXCLUDE = 2;
const IGMPV3_CHANGE_TO_INCLUDE = 3;
const IGMPV3_CHANGE_TO_EXCLUDE = 4;
/** Milliseconds within which an unsolicited report is repeated (RFC 3376 §8.11). */
const IGMPV3_UNSOLICITED_REPORT_INTERVAL = 1000;
/** Header with the router alert option (RFC 2113), type of service 0xc0, ttl 1 (RFC 3376 §4). */
const IGMP_IPHDR = 24;
const MAX_RECORDS = 100;

/** A record that is still to be reported, and how often. */
class IgmpRecord {
  type: number;
  left: number;
  constructor(type: number, left: number) {
    this.type = type;
    this.left = left;
  }
}

/** What a device has to say. */
class IgmpDev {
  readonly inDev: InDevice;
  readonly records: Map<number, IgmpRecord> = new Map();
  /** mr_ifc_timer: changes. mr_gq_timer: answers to a query. */
  readonly ifcTimer: TimerList;
  readonly gqTimer: TimerList;
  /** Groups that a query asked for; 0 = all. */
  readonly asked: Set<number> = new Set();
  /** The querier speaks IGMPv2: answer in it. */
  v2 = false;

  constructor(inDev: InDevice) {
    this.inDev = inDev;
    this.ifcTimer = timerSetup(igmpIfcTimerExpire, this);
    this.gqTimer = timerSetup(igmpGqTimerExpire, this);
  }
}

const igmpDevs = new WeakMap<InDevice, IgmpDev>();

function igmpDevOf(inDev: InDevice): IgmpDev {
  let idev = igmpDevs.get(inDev);
  if (idev === undefined) {
    idev = new IgmpDev(inDev);
    igmpDevs.set(inDev, idev);
  }
  return idev;
}

/** Is membership of the group anybody's business on this link? */
function igmpReportable(inDev: InDevice, addr: number): boolean {
  const { dev } = inDev;
  if (addr === INADDR_ALLHOSTS_GROUP) return false;
  if (IN_LOCAL_MULTICAST(addr) && dev.net.ipv4.sysctlIgmpLlmReports === 0) return false;
  return (dev.flags & (IFF_LOOPBACK | IFF_MULTICAST | IFF_UP)) === (IFF_MULTICAST | IFF_UP);
}

/** igmp_ifc_event: the host joined the group on the device (the first of its sockets), or left it (the last). */
export function igmpIfcEvent(inDev: InDevice, addr: number, joined: boolean): void {
  if (inDev.dead || !igmpReportable(inDev, addr)) return;
  const idev = igmpDevOf(inDev);
  const type = joined ? IGMPV3_CHANGE_TO_EXCLUDE : IGMPV3_CHANGE_TO_INCLUDE;
  idev.records.set(addr, new IgmpRecord(type, inDev.dev.net.ipv4.sysctlIgmpQrv));
  modTimerIn(idev.ifcTimer, 2000);
}

/** The device came up: what it is in is reported anew. */
export function igmpUp(inDev: InDevice): void {
  for (const key of inDev.mcList.keys()) igmpIfcEvent(inDev, key >>> 0, true);
}

/** The device went down, or away: there is nobody to tell. */
export function igmpDown(inDev: InDevice): void {
  const idev = igmpDevs.get(inDev);
  if (idev === undefined) return;
  timerShutdown(idev.ifcTimer);
  timerShutdown(idev.gqTimer);
  igmpDevs.delete(inDev);
}

// ---- messages -------------------------------------------------------------------------------------------------------

const igmpFl4 = new FlowI4();

/** An skb with `len` bytes of IGMP behind an IP header to `daddr`; 0 = it can't be sent. */
function igmpAlloc(dev: NetDevice, daddr: number, len: number): number {
  flowi4InitOutput(igmpFl4, dev.ifindex, 0, 0xc0, RT_SCOPE_UNIVERSE, IPPROTO_IGMP, 0, daddr, 0, 0, 0);
  const rt = ipRouteOutputFlow(dev.net, igmpFl4, null);
  if (rt === null) return 0;
  const reserve = LL_RESERVED_SPACE(dev);
  const skb = allocSkb(reserve + IGMP_IPHDR + len);
  if (skb === 0) return 0;
  ipcbClear(skb);
  skbReserve(skb, reserve);
  const iph = skbPut(skb, IGMP_IPHDR + len);
  u8.fill(0, iph, iph + IGMP_IPHDR + len);
  skbResetNetworkHeader(skb);
  skbSetTransportHeader(skb, IGMP_IPHDR);
  ipHdrSetVersionIhl(iph, IGMP_IPHDR >>> 2);
  ipHdrSetTos(iph, 0xc0);
  ipHdrSetFragOff(iph, IP_DF);
  ipHdrSetId(iph, 0);
  ipHdrSetTtl(iph, 1);
  ipHdrSetProtocol(iph, IPPROTO_IGMP);
  ipHdrSetSaddr(iph, igmpFl4.saddr);
  ipHdrSetDaddr(iph, daddr);
  u8[iph + 20] = IPOPT_RA;
  u8[iph + 21] = 4;
  skbSetPriority(skb, 7); // TC_PRIO_CONTROL
  skbDstSet(skb, rt);
  return skb;
}

function igmpXmit(dev: NetDevice, skb: number, len: number): void {
  const igmph = ipHdr(skb) + IGMP_IPHDR;
  dv.setUint16(igmph + 2, ipComputeCsum(igmph, len));
  ipLocalOut(dev.net, null, skb);
}

/** An IGMPv3 report (RFC 3376 §4.2) of the given groups, all of one record type or of each one's own. */
function igmpv3SendReport(dev: NetDevice, groups: readonly number[], types: readonly number[]): void {
  for (let at = 0; at < groups.length; at += MAX_RECORDS) {
    const n = Math.min(groups.length - at, MAX_RECORDS);
    const len = 8 + 8 * n;
    const skb = igmpAlloc(dev, IGMPV3_ALL_MCR, len);
    if (skb === 0) return;
    const igmph = ipHdr(skb) + IGMP_IPHDR;
    u8[igmph] = IGMPV3_HOST_MEMBERSHIP_REPORT;
    dv.setUint16(igmph + 6, n);
    for (let i = 0; i < n; i++) {
      u8[igmph + 8 + 8 * i] = types[at + i];
      dv.setUint32(igmph + 12 + 8 * i, groups[at + i]);
    }
    igmpXmit(dev, skb, len);
  }
}

function igmpIfcTimerExpire(t: TimerList): void {
  const idev = t.data as IgmpDev;
  const groups: number[] = [];
  const types: number[] = [];
  for (const [addr, record] of idev.records) {
    groups.push(addr);
    types.push(record.type);
    if (--record.left <= 0) idev.records.delete(addr);
  }
  igmpv3SendReport(idev.inDev.dev, groups, types);
  if (idev.records.size !== 0) {
    modTimerIn(t, 2000 + 1000 * getRandomU32Below(IGMPV3_UNSOLICITED_REPORT_INTERVAL));
  }
}

function igmpGqTimerExpire(t: TimerList): void {
  const idev = t.data as IgmpDev;
  const { inDev } = idev;
  const groups: number[] = [];
  for (const key of inDev.mcList.keys()) {
    const addr = key >>> 0;
    if (igmpReportable(inDev, addr) && (idev.asked.has(0) || idev.asked.has(addr))) groups.push(addr);
  }
  idev.asked.clear();
  if (!idev.v2) {
    igmpv3SendReport(
      inDev.dev,
      groups,
      groups.map(() => IGMPV3_MODE_IS_EXCLUDE),
    );
    return;
  }
  for (const addr of groups) {
    const skb = igmpAlloc(inDev.dev, addr, 8);
    if (skb === 0) return;
    const igmph = ipHdr(skb) + IGMP_IPHDR;
    u8[igmph] = IGMPV2_HOST_MEMBERSHIP_REPORT;
    dv.setUint32(igmph + 4, addr);
    igmpXmit(inDev.dev, skb, 8);
  }
}

/** igmp_heard_query: answers within the time that the querier gives (RFC 3376 §5.2). */
function igmpHeardQuery(inDev: InDevice, skb: number): void {
  const igmph = skbData(skb);
  const len = skbLen(skb);
  const idev = igmpDevOf(inDev);
  idev.v2 = len < 12;
  const code = u8[igmph + 1];
  // RFC 3376 §4.1.1: tenths of a second; from 128 on a mantissa and an exponent. IGMPv1 (0): ten seconds.
  const tenths = code === 0 ? 100 : code < 128 || idev.v2 ? code : ((code & 15) | 16) << (((code >>> 4) & 7) + 3);
  idev.asked.add(dv.getUint32(igmph + 4));
  if (!idev.gqTimer.pending) modTimerIn(idev.gqTimer, getRandomU32Below(tenths * 100) * 1000);
}

/** igmp_rcv: the handler of IPPROTO_IGMP. Consumes the skb. */
export function igmpRcv(skb: number): number {
  const inDev = inDevGet(skbDev(skb));
  let ok = inDev !== null && pskbMayPull(skb, 8);
  if (ok && !skbCsumUnnecessary(skb)) {
    skbSetCsum(skb, 0);
    ok = __skbChecksumComplete(skb) === 0;
  }
  if (!ok) {
    kfreeSkbReason(skb, SKB_DROP_REASON_NOT_SPECIFIED);
    return 0;
  }
  // A query that isn't sent to a group is nobody's (RFC 3376 §9.1).
  if (u8[skbData(skb)] === IGMP_HOST_MEMBERSHIP_QUERY && IN_MULTICAST(ipHdrDaddr(ipHdr(skb)))) {
    igmpHeardQuery(inDev as InDevice, skb);
  }
  consumeSkb(skb);
  return 0;
}

/** igmp_protocol: what inet_init registers for IPPROTO_IGMP. */
export const igmpProtocol: NetProtocol = { symbol: "igmp_protocol", handler: igmpRcv };

/** igmp_mc_init: run by ip_init; running it again does nothing. */
export function igmpMcInit(): void {
  inetAddProtocol(IPPROTO_IGMP, igmpProtocol);
}
