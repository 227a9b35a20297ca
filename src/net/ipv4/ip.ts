/**
 * include/net/ip.h: the view of an IPv4 header (RFC 791 §3.1), the IPv4 part of skb->cb, and what the output path is
 * asked with.
 *
 * The header accessors take the *address* of a header, `ipHdr(skb)`. They read 20 bytes and nothing behind them: after
 * `ipRcvCore` let a packet pass (or `pskbMayPull` of the header) none of them reads outside of the packet. Whatever
 * may move the head (`pskbMayPull`, `skbCow`, `pskbExpandHead`) invalidates the address.
 */

/* notrace file */
// All of these are static inline functions in the kernel.

import {
  IPCB_FLAGS,
  IPCB_FRAG_MAX_SIZE,
  IPCB_IIF,
  IPCB_OPT_FLAGS,
  IPCB_OPTLEN,
  IPCB_SRR,
  SKB_NETWORK_HEADER,
} from "../../../assembly/layout.ts";
import { dv, u8, u16, u32 } from "../../mm/mem.ts";
import {
  IP_PMTUDISC_DO,
  IP_PMTUDISC_INTERFACE,
  IP_PMTUDISC_OMIT,
  IP_PMTUDISC_PROBE,
  IP_PMTUDISC_WANT,
} from "../../uapi/in.ts";
import { IP_MF, IP_OFFSET } from "../../uapi/ip.ts";
import { RTAX_HOPLIMIT, RTAX_MTU } from "../../uapi/rtnetlink.ts";
import { AF_INET } from "../../uapi/socket.ts";
import type { DstEntry } from "../core/dst.ts";
import { dstMtu, dstMtuLocked } from "../core/dst.ts";
import { ipFastCsum, skbDst } from "../core/skbuff.ts";
import type { Sock } from "../core/sock.ts";
import { skFullsock } from "../core/sock.ts";
import type { FlowI4 } from "./flow.ts";
import type { InetSock } from "./inet_sock.ts";
import type { IpOptions } from "./ip_opt.ts";
import type { Rtable } from "./route.ts";

/** The smallest MTU that IPv4 works with (RFC 791 §3.2: every module must forward 68 octets). */
export const IPV4_MIN_MTU = 68;
export const IPV4_MAX_PMTU = 65535;
/** sizeof(struct iphdr). */
export const IPHDR_SIZE = 20;

// ---- struct iphdr ---------------------------------------------------------------------------------------------------
//
//   0                   1                   2                   3
//   0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//  |Version|  IHL  |Type of Service|          Total Length         |  0
//  |         Identification        |Flags|      Fragment Offset    |  4
//  |  Time to Live |    Protocol   |         Header Checksum       |  8
//  |                       Source Address                          | 12
//  |                    Destination Address                        | 16

/** ip_hdr: the address of the skb's network header. */
export function ipHdr(skb: number): number {
  return u32[(skb + SKB_NETWORK_HEADER) >>> 2];
}
/** ip_hdrlen: bytes of the skb's IP header, options included. */
export function ipHdrlen(skb: number): number {
  return (u8[u32[(skb + SKB_NETWORK_HEADER) >>> 2]] & 15) << 2;
}
export function ipHdrVersion(iph: number): number {
  return u8[iph] >>> 4;
}
/** Header length in 32-bit words, as on the wire. */
export function ipHdrIhl(iph: number): number {
  return u8[iph] & 15;
}
/** Header length in bytes. */
export function ipHdrLen(iph: number): number {
  return (u8[iph] & 15) << 2;
}
export function ipHdrSetVersionIhl(iph: number, ihl: number): void {
  u8[iph] = 0x40 | ihl;
}
export function ipHdrTos(iph: number): number {
  return u8[iph + 1];
}
export function ipHdrSetTos(iph: number, tos: number): void {
  u8[iph + 1] = tos;
}
export function ipHdrTotLen(iph: number): number {
  return dv.getUint16(iph + 2);
}
export function ipHdrSetTotLen(iph: number, len: number): void {
  dv.setUint16(iph + 2, len);
}
export function ipHdrId(iph: number): number {
  return dv.getUint16(iph + 4);
}
export function ipHdrSetId(iph: number, id: number): void {
  dv.setUint16(iph + 4, id);
}
/** Flags (IP_DF, IP_MF) and offset in units of 8 bytes (IP_OFFSET). */
export function ipHdrFragOff(iph: number): number {
  return dv.getUint16(iph + 6);
}
export function ipHdrSetFragOff(iph: number, off: number): void {
  dv.setUint16(iph + 6, off);
}
export function ipHdrTtl(iph: number): number {
  return u8[iph + 8];
}
export function ipHdrSetTtl(iph: number, ttl: number): void {
  u8[iph + 8] = ttl;
}
export function ipHdrProtocol(iph: number): number {
  return u8[iph + 9];
}
export function ipHdrSetProtocol(iph: number, protocol: number): void {
  u8[iph + 9] = protocol;
}
export function ipHdrSaddr(iph: number): number {
  return dv.getUint32(iph + 12);
}
export function ipHdrSetSaddr(iph: number, saddr: number): void {
  dv.setUint32(iph + 12, saddr);
}
export function ipHdrDaddr(iph: number): number {
  return dv.getUint32(iph + 16);
}
export function ipHdrSetDaddr(iph: number, daddr: number): void {
  dv.setUint32(iph + 16, daddr);
}
/** ip_is_fragment. */
export function ipIsFragment(iph: number): boolean {
  return (dv.getUint16(iph + 6) & (IP_MF | IP_OFFSET)) !== 0;
}

/** ip_send_check: computes the header checksum and writes it. */
export function ipSendCheck(iph: number): void {
  dv.setUint16(iph + 10, 0);
  dv.setUint16(iph + 10, ipFastCsum(iph, u8[iph] & 15));
}

/** ip_decrease_ttl: one hop less, with the checksum updated incrementally (RFC 1141, RFC 1624). Returns the new ttl. */
export function ipDecreaseTtl(iph: number): number {
  let check = dv.getUint16(iph + 10) + 0x0100;
  check += check >= 0xffff ? 1 : 0;
  dv.setUint16(iph + 10, check & 0xffff);
  const ttl = (u8[iph + 8] - 1) & 0xff;
  u8[iph + 8] = ttl;
  return ttl;
}

// ---- IPCB(skb): struct inet_skb_parm --------------------------------------------------------------------------------

export const IPSKB_FORWARDED = 1;
export const IPSKB_FRAG_COMPLETE = 8;
export const IPSKB_REROUTED = 16;
export const IPSKB_DOREDIRECT = 32;
/** The datagram arrived in fragments and one of them had DF set. */
export const IPSKB_FRAG_PMTU = 64;
export const IPSKB_MULTIPATH = 512;

// IPCB_OPT_FLAGS.
export const OPT_IS_STRICTROUTE = 1;
export const OPT_SRR_IS_HIT = 2;
export const OPT_IS_CHANGED = 4;
export const OPT_RR_NEEDADDR = 8;
export const OPT_TS_NEEDTIME = 16;
export const OPT_TS_NEEDADDR = 32;

export function ipcbFlags(skb: number): number {
  return u16[(skb + IPCB_FLAGS) >>> 1];
}
export function ipcbSetFlags(skb: number, flags: number): void {
  u16[(skb + IPCB_FLAGS) >>> 1] = flags;
}
/** The largest fragment that a reassembled datagram came in; 0 = it came whole. */
export function ipcbFragMaxSize(skb: number): number {
  return u16[(skb + IPCB_FRAG_MAX_SIZE) >>> 1];
}
export function ipcbSetFragMaxSize(skb: number, size: number): void {
  u16[(skb + IPCB_FRAG_MAX_SIZE) >>> 1] = size;
}
export function ipcbSetIif(skb: number, iif: number): void {
  u32[(skb + IPCB_IIF) >>> 2] = iif;
}
export function ipcbOptlen(skb: number): number {
  return u8[skb + IPCB_OPTLEN];
}
/** OPT_* of the compiled options. */
export function ipcbOptFlags(skb: number): number {
  return u8[skb + IPCB_OPT_FLAGS];
}
/** Offset of the source route from the IP header; 0 = none. */
export function ipcbSrr(skb: number): number {
  return u8[skb + IPCB_SRR];
}
/** memset(IPCB(skb), 0): five words, IPCB_FLAGS to IPCB_NEXTHOP. */
export function ipcbClear(skb: number): void {
  const i = (skb + IPCB_FLAGS) >>> 2;
  u32[i] = 0;
  u32[i + 1] = 0;
  u32[i + 2] = 0;
  u32[i + 3] = 0;
  u32[i + 4] = 0;
}

// ---- what a sender asks for -----------------------------------------------------------------------------------------

/** struct ipcm_cookie: per-call sending parameters, from the socket (ipcmInitSk) and from control messages. */
export class IpcmCookie {
  /** Source address asked for with IP_PKTINFO; 0 = the route decides. */
  addr = 0;
  oif = 0;
  opt: IpOptions | null = null;
  protocol = 0;
  /** 0 = the socket's. */
  ttl = 0;
  /** -1 = the socket's. */
  tos = -1;
  priority = 0;
  gsoSize = 0;
  mark = 0;
  tsflags = 0;
  tsOptId = 0;
  /** SO_TXTIME, microseconds; 0 = now. */
  transmitTime = 0;
}

/** ipcm_init. */
export function ipcmInit(ipc: IpcmCookie): void {
  ipc.addr = 0;
  ipc.oif = 0;
  ipc.opt = null;
  ipc.protocol = 0;
  ipc.ttl = 0;
  ipc.tos = -1;
  ipc.priority = 0;
  ipc.gsoSize = 0;
  ipc.mark = 0;
  ipc.tsflags = 0;
  ipc.tsOptId = 0;
  ipc.transmitTime = 0;
}

/** ipcm_init_sk. */
export function ipcmInitSk(ipc: IpcmCookie, inet: InetSock): void {
  ipcmInit(ipc);
  ipc.mark = inet.skMark;
  ipc.priority = inet.skPriority;
  ipc.tos = inet.tos;
  ipc.tsflags = inet.skTsflags;
  ipc.oif = inet.skcBoundDevIf;
  ipc.addr = inet.inetSaddr;
  ipc.protocol = inet.skcNum;
}

/** get_rttos: the tos of the route lookup of a call. */
export function getRttos(ipc: IpcmCookie, inet: InetSock): number {
  return (ipc.tos !== -1 ? ipc.tos : inet.tos) & 0xfc;
}

export const IPCORK_OPT = 1;
export const IPCORK_TS_OPT_ID = 4;

/** struct inet_cork: what stays fixed while a datagram is put together from several sends. */
export class InetCork {
  /** IPCORK_*. */
  flags = 0;
  addr = 0;
  opt: IpOptions | null = null;
  /** Bytes of one IP packet: the path MTU, or the device's. */
  fragsize = 0;
  /** Bytes of payload so far, headers of the transport included. */
  length = 0;
  dst: DstEntry | null = null;
  ttl = 0;
  tos = -1;
  priority = 0;
  gsoSize = 0;
  mark = 0;
  tsflags = 0;
  tsOptId = 0;
  transmitTime = 0;
  /** The flow that the first call looked up (inet_cork_full.fl). */
  fl: FlowI4 | null = null;
}

/** struct ip_reply_arg: a segment that answers a packet which has no full socket (RST, ACK in TIME_WAIT). */
export class IpReplyArg {
  /** The transport header (and payload), network order, checksum field 0. */
  readonly iov: Uint8Array;
  /** How many bytes of `iov` are to be sent. */
  len = 0;
  /** The unfolded sum of the pseudo header (csumTcpUdpNofold). */
  csum = 0;
  /** Byte offset of the checksum field in `iov`; -1 = no checksum. */
  csumoffset = -1;
  /** The device to send from; 0 = the route decides. */
  boundDevIf = 0;
  tos = 0;
  /** IP_REPLY_ARG_NOSRCCHECK. */
  flags = 0;
  mark = 0;
  priority = 0;
  /** 0 = the default ttl of the route. */
  ttl = 0;
  txhash = 0;

  constructor(size = 64) {
    this.iov = new Uint8Array(size);
  }
}

export const IP_REPLY_ARG_NOSRCCHECK = 1;

/** inet_sk_flowi_flags. */
export function inetSkFlowiFlags(sk: Sock): number {
  return (sk as InetSock).transparent || (sk as InetSock).hdrincl ? 1 : 0; // FLOWI_FLAG_ANYSRC
}

/** RT_TOS-like mask of 6.x: the route sees the DSCP, never the ECN bits. */
export const INET_DSCP_MASK = 0xfc;

// ---- path MTU and ttl of a socket's packets -------------------------------------------------------------------------

/** ip_sk_accept_pmtu: may an ICMP message change what this socket believes of its path? */
export function ipSkAcceptPmtu(sk: Sock): boolean {
  const pmtudisc = (sk as InetSock).pmtudisc;
  return pmtudisc !== IP_PMTUDISC_INTERFACE && pmtudisc !== IP_PMTUDISC_OMIT;
}
/** ip_sk_use_pmtu. */
export function ipSkUsePmtu(sk: Sock): boolean {
  return (sk as InetSock).pmtudisc < IP_PMTUDISC_PROBE;
}
/** ip_sk_ignore_df: this host may fragment what the socket sends. */
export function ipSkIgnoreDf(sk: Sock): boolean {
  const pmtudisc = (sk as InetSock).pmtudisc;
  return pmtudisc < IP_PMTUDISC_DO || pmtudisc === IP_PMTUDISC_OMIT;
}
/** ip_dont_fragment: does the socket's packet get DF? */
export function ipDontFragment(sk: Sock, dst: DstEntry): boolean {
  const pmtudisc = (sk as InetSock).pmtudisc;
  return pmtudisc === IP_PMTUDISC_DO || (pmtudisc === IP_PMTUDISC_WANT && !ipMtuLocked(dst));
}
/** ip_mtu_locked: the route's MTU is fixed, or a learnt one was too small to be believed (RFC 1191 §3 attack). */
export function ipMtuLocked(dst: DstEntry): boolean {
  return (dst as Rtable).rtMtuLocked || dstMtuLocked(dst);
}
/**
 * ip_dst_mtu_maybe_forward: the MTU of the path. A packet that is forwarded doesn't use what was learnt for this host's
 * own traffic (it could be forged), unless ip_forward_use_pmtu says so.
 */
export function ipDstMtuMaybeForward(dst: DstEntry, forwarding: boolean): number {
  if (!forwarding || dst.dev.net.ipv4.sysctlIpFwdUsePmtu !== 0 || ipMtuLocked(dst)) return dstMtu(dst);
  const mtu = dst.metrics[RTAX_MTU];
  return mtu !== 0 ? mtu : Math.min(dst.dev.mtu, IPV4_MAX_PMTU);
}
/** ip_skb_dst_mtu. */
export function ipSkbDstMtu(sk: Sock | null, skb: number): number {
  const dst = skbDst(skb) as DstEntry;
  if (sk === null || !skFullsock(sk) || sk.skcFamily !== AF_INET || ipSkUsePmtu(sk)) {
    return ipDstMtuMaybeForward(dst, (u16[(skb + IPCB_FLAGS) >>> 1] & IPSKB_FORWARDED) !== 0);
  }
  return Math.min(dst.dev.mtu, IPV4_MAX_PMTU);
}
/** ip_select_ttl. */
export function ipSelectTtl(inet: InetSock, dst: DstEntry): number {
  if (inet.ucTtl >= 0) return inet.ucTtl;
  // ip4_dst_hoplimit: not imported, so that this file is loaded before all that make instances of its classes.
  const hoplimit = dst.metrics[RTAX_HOPLIMIT];
  return hoplimit !== 0 ? hoplimit : dst.dev.net.ipv4.sysctlIpDefaultTtl;
}

/** ip_tos2prio: the TC_PRIO_* of the four bits of RFC 1349's type of service (the lowest was ECN's and cost's). */
const ipTos2prio: readonly number[] = [0, 0, 0, 0, 2, 2, 2, 2, 6, 6, 6, 6, 4, 4, 4, 4];

/** rt_tos2priority. */
export function rtTos2priority(tos: number): number {
  return ipTos2prio[(tos & 0x1e) >>> 1];
}
