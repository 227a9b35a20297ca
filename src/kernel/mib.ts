/** The SNMP counters of a host: what /proc/net/snmp and /proc/net/netstat show. Indexes: uapi/linux_mib.ts. */

import {
  __ICMP_MIB_MAX,
  __IPSTATS_MIB_MAX,
  __LINUX_MIB_MAX,
  __TCP_MIB_MAX,
  __UDP_MIB_MAX,
  ICMPMSG_MIB_MAX,
  IPSTATS_MIB_INPKTS,
  IPSTATS_MIB_OUTPKTS,
} from "../uapi/linux_mib.ts";

/** struct netns_mib. Doubles, so that byte counts don't wrap. */
export class Mibs {
  readonly ip: Float64Array = new Float64Array(__IPSTATS_MIB_MAX);
  readonly icmp: Float64Array = new Float64Array(__ICMP_MIB_MAX);
  /** By ICMP type: received at `type`, sent at `type + 256`. */
  readonly icmpmsg: Float64Array = new Float64Array(ICMPMSG_MIB_MAX);
  readonly tcp: Float64Array = new Float64Array(__TCP_MIB_MAX);
  readonly udp: Float64Array = new Float64Array(__UDP_MIB_MAX);
  /** TcpExt. */
  readonly linux: Float64Array = new Float64Array(__LINUX_MIB_MAX);
}

/** Anything that counts: struct net. */
export interface HasMib {
  readonly mib: Mibs;
}

/** NET_INC_STATS: a LINUX_MIB_* counter. */
export function netIncStats(net: HasMib, field: number): void {
  net.mib.linux[field]!++;
}

/** NET_ADD_STATS. */
export function netAddStats(net: HasMib, field: number, adnd: number): void {
  net.mib.linux[field]! += adnd;
}

/** IP_INC_STATS: an IPSTATS_MIB_* counter. */
export function ipIncStats(net: HasMib, field: number): void {
  net.mib.ip[field]!++;
}

/** IP_ADD_STATS. */
export function ipAddStats(net: HasMib, field: number, val: number): void {
  net.mib.ip[field]! += val;
}

/** IP_UPD_PO_STATS: a packet counter (IPSTATS_MIB_INPKTS, INMCASTPKTS ...) and the octets that go with it. */
export function ipUpdPoStats(net: HasMib, field: number, val: number): void {
  const ip = net.mib.ip;
  ip[field]!++;
  ip[field + (field === IPSTATS_MIB_INPKTS || field === IPSTATS_MIB_OUTPKTS ? 1 : 4)]! += val;
}

/** ICMP_INC_STATS: an ICMP_MIB_* counter. */
export function icmpIncStats(net: HasMib, field: number): void {
  net.mib.icmp[field]!++;
}

/** ICMPMSGIN_INC_STATS. */
export function icmpmsginIncStats(net: HasMib, type: number): void {
  net.mib.icmpmsg[type & 255]!++;
}

/** ICMPMSGOUT_INC_STATS. */
export function icmpmsgoutIncStats(net: HasMib, type: number): void {
  net.mib.icmpmsg[(type & 255) + 256]!++;
}

/** TCP_INC_STATS: a TCP_MIB_* counter. */
export function tcpIncStats(net: HasMib, field: number): void {
  net.mib.tcp[field]!++;
}

/** TCP_DEC_STATS. */
export function tcpDecStats(net: HasMib, field: number): void {
  net.mib.tcp[field]!--;
}

/** TCP_ADD_STATS. */
export function tcpAddStats(net: HasMib, field: number, val: number): void {
  net.mib.tcp[field]! += val;
}

/** UDP_INC_STATS: a UDP_MIB_* counter. */
export function udpIncStats(net: HasMib, field: number): void {
  net.mib.udp[field]!++;
}
