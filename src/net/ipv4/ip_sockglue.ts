/** The IP level of sockets: options of SOL_IP, control messages, and the error queue (ip(7)). */

import {
  CHECKSUM_COMPLETE,
  IPCB_FRAG_MAX_SIZE,
  IPCB_IIF,
  IPCB_NEXTHOP,
  IPCB_OPTLEN,
} from "../../../assembly/layout.ts";
import { CAP_NET_ADMIN, CAP_NET_RAW, nsCapable } from "../../kernel/capability.ts";
import { dv, u8, u16, u32 } from "../../mm/mem.ts";
import {
  skbCsum,
  skbData,
  skbIpSummed,
  skbLen,
  skbNetworkHeader,
  skbResetNetworkHeader,
  skbResetTransportHeader,
  skbTransportHeader,
  skbTransportOffset,
} from "../../mm/skb.ts";
import { EADDRNOTAVAIL, EAGAIN, EINVAL, ENOPROTOOPT, ENOTCONN, EPERM, EPROTO } from "../../uapi/errno.ts";
import {
  IP_ADD_MEMBERSHIP,
  IP_BIND_ADDRESS_NO_PORT,
  IP_CHECKSUM,
  IP_DROP_MEMBERSHIP,
  IP_FREEBIND,
  IP_HDRINCL,
  IP_LOCAL_PORT_RANGE,
  IP_MINTTL,
  IP_MTU,
  IP_MTU_DISCOVER,
  IP_MULTICAST_ALL,
  IP_MULTICAST_IF,
  IP_MULTICAST_LOOP,
  IP_MULTICAST_TTL,
  IP_NODEFRAG,
  IP_OPTIONS,
  IP_ORIGDSTADDR,
  IP_PASSSEC,
  IP_PKTINFO,
  IP_PMTUDISC_DONT,
  IP_PMTUDISC_OMIT,
  IP_PROTOCOL,
  IP_RECVERR,
  IP_RECVERR_RFC4884,
  IP_RECVFRAGSIZE,
  IP_RECVOPTS,
  IP_RECVTOS,
  IP_RECVTTL,
  IP_RETOPTS,
  IP_TOS,
  IP_TRANSPARENT,
  IP_TTL,
  IP_UNICAST_IF,
  MCAST_JOIN_GROUP,
  MCAST_LEAVE_GROUP,
  IPPROTO_IP as SOL_IP,
} from "../../uapi/in.ts";
import { INET_ECN_MASK, MAX_IPOPTLEN } from "../../uapi/ip.ts";
import { SOF_TIMESTAMPING_OPT_CMSG } from "../../uapi/net_tstamp.ts";
import {
  AF_INET,
  MSG_ERRQUEUE,
  MSG_TRUNC,
  SO_EE_ORIGIN_ICMP,
  SO_EE_ORIGIN_LOCAL,
  SO_EE_ORIGIN_TIMESTAMPING,
  SOCK_DGRAM,
  SOCK_RAW,
  SOCK_STREAM,
  SOL_SOCKET,
} from "../../uapi/socket.ts";
import { skbCopyDatagramMsg } from "../core/datagram.ts";
import { dstMtu } from "../core/dst.ts";
import {
  skbExtErr,
  skbExtErrAddrOffset,
  skbExtErrOrigin,
  skbExtErrPort,
  skbSetExtErr,
  skbSetExtErrAddr,
  sockDequeueErrSkb,
} from "../core/errqueue.ts";
import { putCmsg, sockRecvErrTimestamp } from "../core/scm.ts";
import {
  __skbPull,
  allocSkb,
  consumeSkb,
  csumFold,
  kfreeSkb,
  pskbMayPull,
  pskbPull,
  skbClone,
  skbDst,
  skbDstDrop,
  skbPut,
  skbQueuePurge,
} from "../core/skbuff.ts";
import type { ErrBox, Msghdr, OptVal, Sock } from "../core/sock.ts";
import { skDstGet, skDstReset, sockQueueErrSkb } from "../core/sock.ts";
import { __sockCmsgSend, optvalInt } from "../core/sock_options.ts";
import { ipDevFind } from "./devinet.ts";
import { fibComputeSpecDst } from "./fib_frontend.ts";
import { ipMcJoinGroup, ipMcLeaveGroup } from "./igmp.ts";
import type { InetConnectionSock, InetSock } from "./inet_sock.ts";
import type { IpcmCookie } from "./ip.ts";
import { IPHDR_SIZE, ipHdr, ipHdrDaddr, ipHdrSaddr, ipHdrSetDaddr, ipHdrTos, ipHdrTtl, rtTos2priority } from "./ip.ts";
import { IpOptions } from "./ip_opt.ts";
import { ipOptionsEcho, ipOptionsGet, ipOptionsUndo } from "./ip_options.ts";
import type { Rtable } from "./route.ts";

// inet->cmsg_flags: what recvmsg adds to a datagram.
export const IP_CMSG_PKTINFO = 1;
export const IP_CMSG_TTL = 2;
export const IP_CMSG_TOS = 4;
export const IP_CMSG_RECVOPTS = 8;
export const IP_CMSG_RETOPTS = 16;
export const IP_CMSG_PASSSEC = 32;
export const IP_CMSG_ORIGDSTADDR = 64;
export const IP_CMSG_CHECKSUM = 128;
export const IP_CMSG_RECVFRAGSIZE = 256;

/** struct in_pktinfo: data of an IP_PKTINFO control message. Addresses are u32 in host order. */
export interface InPktinfo {
  /** The device that it came in by, or is to leave by (0 = the route decides). */
  ipiIfindex: number;
  /** The local address: to answer from, or to send from. */
  ipiSpecDst: number;
  /** The destination of the packet's header (receive). */
  ipiAddr: number;
}

/** struct ip_mreqn: a multicast group and a device, by ifindex or by one of its addresses. Host order. */
export interface IpMreqn {
  multiaddr?: number;
  address?: number;
  ifindex?: number;
}

// ---- setsockopt -----------------------------------------------------------------------------------------------------

/** An option's value as an int; a single byte will do. NaN if it is neither. */
function ipOptvalInt(optval: OptVal): number {
  if (optval instanceof Uint8Array && optval.length >= 1 && optval.length < 4) return optval[0];
  return optvalInt(optval);
}

/** The addresses and the ifindex of a membership: an object, or the bytes of ip_mreqn, ip_mreq or in_addr. */
function ipMreqnOf(optval: OptVal): IpMreqn | null {
  if (typeof optval === "number") return { address: optval >>> 0 };
  if (optval instanceof Uint8Array) {
    const view = new DataView(optval.buffer, optval.byteOffset, optval.length);
    if (optval.length >= 12) {
      return { multiaddr: view.getUint32(0), address: view.getUint32(4), ifindex: view.getInt32(8, true) };
    }
    if (optval.length >= 8) return { multiaddr: view.getUint32(0), address: view.getUint32(4) };
    return optval.length >= 4 ? { address: view.getUint32(0) } : null;
  }
  return typeof optval === "object" ? (optval as IpMreqn) : null;
}

function setCmsgFlag(inet: InetSock, flag: number, on: boolean): number {
  if (on) inet.cmsgFlags |= flag;
  else inet.cmsgFlags &= ~flag;
  return 0;
}

/** ip_sock_set_tos. The ECN bits of a stream are TCP's. */
export function ipSockSetTos(sk: Sock, val: number): void {
  const inet = sk as InetSock;
  val &= 0xff;
  if (sk.skType === SOCK_STREAM) val = (val & ~INET_ECN_MASK) | (inet.tos & INET_ECN_MASK);
  if (inet.tos !== val) {
    inet.tos = val;
    sk.skPriority = rtTos2priority(val);
    skDstReset(sk);
  }
}

/** is_icsk: the socket is a connection. */
function inetIsIcsk(sk: Sock): boolean {
  return sk.skType === SOCK_STREAM;
}

function ipSetOptions(sk: Sock, optval: OptVal): number {
  const inet = sk as InetSock;
  if (!(optval instanceof Uint8Array) || optval.length > MAX_IPOPTLEN) return -EINVAL;
  const opt = ipOptionsGet(sk.net, optval);
  if (opt === null) return -EINVAL;
  const old = inet.inetOpt;
  inet.inetOpt = opt.optlen !== 0 ? opt : null;
  if (inetIsIcsk(sk)) {
    const icsk = sk as InetConnectionSock;
    icsk.icskExtHdrLen += opt.optlen - (old !== null ? old.optlen : 0);
    icsk.icskSyncMss(sk, icsk.icskPmtuCookie);
  }
  return 0;
}

function ipSetMulticastIf(sk: Sock, optval: OptVal): number {
  const inet = sk as InetSock;
  if (sk.skType === SOCK_STREAM) return -EINVAL;
  const mreq = ipMreqnOf(optval);
  if (mreq === null) return -EINVAL;
  const address = mreq.address ?? 0;
  let ifindex = mreq.ifindex ?? 0;
  if (ifindex === 0) {
    if (address === 0) {
      inet.mcIndex = 0;
      inet.mcAddr = 0;
      return 0;
    }
    const dev = ipDevFind(sk.net, address);
    if (dev === null) return -EADDRNOTAVAIL;
    ifindex = dev.ifindex;
  } else if (!sk.net.devByIndex.has(ifindex)) return -EADDRNOTAVAIL;
  if (sk.skcBoundDevIf !== 0 && sk.skcBoundDevIf !== ifindex) return -EINVAL;
  inet.mcIndex = ifindex;
  inet.mcAddr = address;
  return 0;
}

function ipSetUnicastIf(sk: Sock, val: number): number {
  const inet = sk as InetSock;
  // In network order, as in Windows, where the option is from.
  const ifindex = ((val << 24) | ((val & 0xff00) << 8) | ((val >>> 8) & 0xff00) | (val >>> 24)) >>> 0;
  if (ifindex !== 0) {
    if (!sk.net.devByIndex.has(ifindex)) return -EADDRNOTAVAIL;
    if (sk.skcBoundDevIf !== 0) return -EINVAL;
  }
  inet.ucIndex = ifindex;
  return 0;
}

/**
 * ip_setsockopt. Integers are numbers (or their bytes), IP_OPTIONS takes raw option bytes, memberships an `IpMreqn` or
 * the bytes of the struct. 0 or a negative errno.
 */
export function ipSetsockopt(sk: Sock, level: number, optname: number, optval: OptVal): number {
  if (level !== SOL_IP) return -ENOPROTOOPT;
  const inet = sk as InetSock;

  // The options that aren't integers.
  switch (optname) {
    case IP_OPTIONS:
      return ipSetOptions(sk, optval);
    case IP_MULTICAST_IF:
      return ipSetMulticastIf(sk, optval);
    case IP_ADD_MEMBERSHIP:
    case IP_DROP_MEMBERSHIP:
    case MCAST_JOIN_GROUP:
    case MCAST_LEAVE_GROUP: {
      if (inetIsIcsk(sk)) return -EPROTO;
      const mreq = ipMreqnOf(optval);
      if (mreq === null || mreq.multiaddr === undefined) return -EINVAL;
      return optname === IP_ADD_MEMBERSHIP || optname === MCAST_JOIN_GROUP
        ? ipMcJoinGroup(sk, mreq.multiaddr, mreq.address ?? 0, mreq.ifindex ?? 0)
        : ipMcLeaveGroup(sk, mreq.multiaddr, mreq.address ?? 0, mreq.ifindex ?? 0);
    }
    default:
      break;
  }

  const val = ipOptvalInt(optval);
  if (Number.isNaN(val)) return -EINVAL;
  const on = val !== 0;
  switch (optname) {
    case IP_PKTINFO:
      return setCmsgFlag(inet, IP_CMSG_PKTINFO, on);
    case IP_RECVTTL:
      return setCmsgFlag(inet, IP_CMSG_TTL, on);
    case IP_RECVTOS:
      return setCmsgFlag(inet, IP_CMSG_TOS, on);
    case IP_RECVOPTS:
      return setCmsgFlag(inet, IP_CMSG_RECVOPTS, on);
    case IP_RETOPTS:
      return setCmsgFlag(inet, IP_CMSG_RETOPTS, on);
    case IP_PASSSEC:
      return setCmsgFlag(inet, IP_CMSG_PASSSEC, on);
    case IP_ORIGDSTADDR:
      return setCmsgFlag(inet, IP_CMSG_ORIGDSTADDR, on);
    case IP_CHECKSUM:
      return setCmsgFlag(inet, IP_CMSG_CHECKSUM, on);
    case IP_RECVFRAGSIZE:
      if (sk.skType !== SOCK_RAW && sk.skType !== SOCK_DGRAM) return -EINVAL;
      return setCmsgFlag(inet, IP_CMSG_RECVFRAGSIZE, on);
    case IP_RECVERR:
      inet.recverr = on;
      if (!on) skbQueuePurge(sk.skErrorQueue);
      return 0;
    case IP_RECVERR_RFC4884:
      if (val !== 0 && val !== 1) return -EINVAL;
      inet.recverrRfc4884 = on;
      return 0;
    case IP_FREEBIND:
      inet.freebind = on;
      return 0;
    case IP_HDRINCL:
      if (sk.skType !== SOCK_RAW) return -ENOPROTOOPT;
      inet.hdrincl = on;
      return 0;
    case IP_TRANSPARENT:
      if (on && !nsCapable(sk.net, CAP_NET_RAW) && !nsCapable(sk.net, CAP_NET_ADMIN)) return -EPERM;
      inet.transparent = on;
      return 0;
    case IP_NODEFRAG:
      if (sk.skType !== SOCK_RAW) return -ENOPROTOOPT;
      inet.nodefrag = on;
      return 0;
    case IP_BIND_ADDRESS_NO_PORT:
      inet.bindAddressNoPort = on;
      return 0;
    case IP_TTL:
      if (val !== -1 && (val < 1 || val > 255)) return -EINVAL;
      inet.ucTtl = val;
      return 0;
    case IP_MINTTL:
      if (val < 0 || val > 255) return -EINVAL;
      inet.minTtl = val;
      return 0;
    case IP_TOS:
      ipSockSetTos(sk, val);
      return 0;
    case IP_MTU_DISCOVER:
      if (val < IP_PMTUDISC_DONT || val > IP_PMTUDISC_OMIT) return -EINVAL;
      inet.pmtudisc = val;
      return 0;
    case IP_MULTICAST_TTL:
      if (sk.skType === SOCK_STREAM || val < -1 || val > 255) return -EINVAL;
      inet.mcTtl = val === -1 ? 1 : val;
      return 0;
    case IP_MULTICAST_LOOP:
      inet.mcLoop = on;
      return 0;
    case IP_MULTICAST_ALL:
      if (val !== 0 && val !== 1) return -EINVAL;
      inet.mcAll = on;
      return 0;
    case IP_UNICAST_IF:
      return ipSetUnicastIf(sk, val);
    case IP_LOCAL_PORT_RANGE: {
      const lo = val & 0xffff;
      const hi = (val >>> 16) & 0xffff;
      if (lo !== 0 && hi !== 0 && lo > hi) return -EINVAL;
      inet.localPortRange = val >>> 0;
      return 0;
    }
    default:
      return -ENOPROTOOPT;
  }
}

/** ip_getsockopt. Sets `err.value` (0 or a negative errno) and returns the value. */
export function ipGetsockopt(sk: Sock, level: number, optname: number, err: ErrBox): OptVal {
  err.value = 0;
  const inet = sk as InetSock;
  const flags = inet.cmsgFlags;
  if (level !== SOL_IP) {
    err.value = -ENOPROTOOPT;
    return 0;
  }
  switch (optname) {
    case IP_OPTIONS:
      return inet.inetOpt !== null ? ipOptionsUndo(inet.inetOpt) : new Uint8Array(0);
    case IP_PKTINFO:
      return (flags & IP_CMSG_PKTINFO) !== 0 ? 1 : 0;
    case IP_RECVTTL:
      return (flags & IP_CMSG_TTL) !== 0 ? 1 : 0;
    case IP_RECVTOS:
      return (flags & IP_CMSG_TOS) !== 0 ? 1 : 0;
    case IP_RECVOPTS:
      return (flags & IP_CMSG_RECVOPTS) !== 0 ? 1 : 0;
    case IP_RETOPTS:
      return (flags & IP_CMSG_RETOPTS) !== 0 ? 1 : 0;
    case IP_PASSSEC:
      return (flags & IP_CMSG_PASSSEC) !== 0 ? 1 : 0;
    case IP_ORIGDSTADDR:
      return (flags & IP_CMSG_ORIGDSTADDR) !== 0 ? 1 : 0;
    case IP_CHECKSUM:
      return (flags & IP_CMSG_CHECKSUM) !== 0 ? 1 : 0;
    case IP_RECVFRAGSIZE:
      return (flags & IP_CMSG_RECVFRAGSIZE) !== 0 ? 1 : 0;
    case IP_RECVERR:
      return inet.recverr ? 1 : 0;
    case IP_RECVERR_RFC4884:
      return inet.recverrRfc4884 ? 1 : 0;
    case IP_FREEBIND:
      return inet.freebind ? 1 : 0;
    case IP_HDRINCL:
      return inet.hdrincl ? 1 : 0;
    case IP_TRANSPARENT:
      return inet.transparent ? 1 : 0;
    case IP_NODEFRAG:
      return inet.nodefrag ? 1 : 0;
    case IP_BIND_ADDRESS_NO_PORT:
      return inet.bindAddressNoPort ? 1 : 0;
    case IP_TTL:
      return inet.ucTtl < 0 ? sk.net.ipv4.sysctlIpDefaultTtl : inet.ucTtl;
    case IP_MINTTL:
      return inet.minTtl;
    case IP_TOS:
      return inet.tos;
    case IP_MTU_DISCOVER:
      return inet.pmtudisc;
    case IP_MTU: {
      const dst = skDstGet(sk);
      const mtu = dst !== null ? dstMtu(dst) : 0;
      if (mtu === 0) err.value = -ENOTCONN;
      return mtu;
    }
    case IP_MULTICAST_TTL:
      return inet.mcTtl;
    case IP_MULTICAST_LOOP:
      return inet.mcLoop ? 1 : 0;
    case IP_MULTICAST_ALL:
      return inet.mcAll ? 1 : 0;
    case IP_MULTICAST_IF:
      return inet.mcAddr;
    case IP_UNICAST_IF: {
      const i = inet.ucIndex;
      return (i << 24) | ((i & 0xff00) << 8) | ((i >>> 8) & 0xff00) | (i >>> 24);
    }
    case IP_LOCAL_PORT_RANGE:
      return inet.localPortRange;
    case IP_PROTOCOL:
      return sk.skProtocol;
    default:
      err.value = -ENOPROTOOPT;
      return 0;
  }
}

// ---- control messages -----------------------------------------------------------------------------------------------

/** ip_cmsg_send: what the control messages of a send ask for, into `ipc`. 0 or a negative errno. */
export function ipCmsgSend(sk: Sock, msg: Msghdr, ipc: IpcmCookie): number {
  const control = msg.control;
  if (control === null) return 0;
  for (let i = 0; i < control.length; i++) {
    const cmsg = control[i];
    if (cmsg.level === SOL_SOCKET) {
      const err = __sockCmsgSend(sk, cmsg, ipc);
      if (err !== 0) return err;
      continue;
    }
    if (cmsg.level !== SOL_IP) continue;
    const val = cmsg.data as number;
    switch (cmsg.type) {
      case IP_RETOPTS: {
        if (!(cmsg.data instanceof Uint8Array)) return -EINVAL;
        const opt = ipOptionsGet(sk.net, cmsg.data);
        if (opt === null) return -EINVAL;
        ipc.opt = opt.optlen !== 0 ? opt : null;
        break;
      }
      case IP_PKTINFO: {
        const info = cmsg.data as Partial<InPktinfo> | null;
        if (typeof info !== "object" || info === null) return -EINVAL;
        if (info.ipiIfindex !== undefined && info.ipiIfindex !== 0) ipc.oif = info.ipiIfindex;
        ipc.addr = (info.ipiSpecDst ?? 0) >>> 0;
        break;
      }
      case IP_TTL:
        if (!(val >= 1 && val <= 255)) return -EINVAL;
        ipc.ttl = val;
        break;
      case IP_TOS:
        if (!(val >= 0 && val <= 255)) return -EINVAL;
        ipc.tos = val;
        ipc.priority = rtTos2priority(val);
        break;
      case IP_PROTOCOL:
        if (!(val >= 1 && val <= 255)) return -EINVAL;
        ipc.protocol = val;
        break;
      default:
        return -EINVAL;
    }
  }
  return 0;
}

/**
 * ipv4_pktinfo_prepare: run when a datagram is put on a receive queue: keeps what IP_PKTINFO will tell, as the route
 * doesn't stay on the skb (`dropDst`).
 */
export function ipv4PktinfoPrepare(sk: Sock, skb: number, dropDst: boolean): void {
  const rt = skbDst(skb) as Rtable | null;
  if (((sk as InetSock).cmsgFlags & IP_CMSG_PKTINFO) !== 0 && rt !== null) {
    // A packet that this host sent to itself came in by lo, but its route knows the device that was meant.
    if (rt.rtIif !== 0) u32[(skb + IPCB_IIF) >>> 2] = rt.rtIif;
    // The word held a source route's next hop, which has been used.
    u32[(skb + IPCB_NEXTHOP) >>> 2] = fibComputeSpecDst(skb);
  }
  if (dropDst) skbDstDrop(skb);
}

const cmsgOpts = new IpOptions();

/**
 * ip_cmsg_recv_offset: the control messages that the socket's options ask for, in the kernel's order. `tlen` bytes of
 * transport header stand behind skb_transport_header; the user's data starts at `offset` of skb->data.
 */
export function ipCmsgRecvOffset(msg: Msghdr, sk: Sock, skb: number, _tlen: number, _offset: number): void {
  const flags = (sk as InetSock).cmsgFlags;
  const iph = ipHdr(skb);
  if ((flags & IP_CMSG_PKTINFO) !== 0) {
    const info: InPktinfo = {
      ipiIfindex: u32[(skb + IPCB_IIF) >>> 2],
      ipiSpecDst: u32[(skb + IPCB_NEXTHOP) >>> 2],
      ipiAddr: ipHdrDaddr(iph),
    };
    putCmsg(msg, SOL_IP, IP_PKTINFO, info);
  }
  if ((flags & IP_CMSG_TTL) !== 0) putCmsg(msg, SOL_IP, IP_TTL, ipHdrTtl(iph));
  if ((flags & IP_CMSG_TOS) !== 0) putCmsg(msg, SOL_IP, IP_TOS, ipHdrTos(iph));
  const optlen = u8[skb + IPCB_OPTLEN];
  if ((flags & IP_CMSG_RECVOPTS) !== 0 && optlen !== 0) {
    const opts = new Uint8Array(optlen);
    for (let i = 0; i < optlen; i++) opts[i] = u8[iph + IPHDR_SIZE + i];
    putCmsg(msg, SOL_IP, IP_RECVOPTS, opts);
  }
  if ((flags & IP_CMSG_RETOPTS) !== 0 && optlen !== 0 && ipOptionsEcho(sk.net, cmsgOpts, skb) === 0) {
    putCmsg(msg, SOL_IP, IP_RETOPTS, ipOptionsUndo(cmsgOpts));
  }
  if ((flags & IP_CMSG_ORIGDSTADDR) !== 0) {
    const end = skbTransportOffset(skb) + 4;
    if (end <= 0 || pskbMayPull(skb, end)) {
      const port = dv.getUint16(skbTransportHeader(skb) + 2);
      putCmsg(msg, SOL_IP, IP_ORIGDSTADDR, { family: AF_INET, addr: ipHdrDaddr(ipHdr(skb)), port });
    }
  }
  if ((flags & IP_CMSG_CHECKSUM) !== 0 && skbIpSummed(skb) === CHECKSUM_COMPLETE) {
    putCmsg(msg, SOL_IP, IP_CHECKSUM, csumFold(skbCsum(skb)));
  }
  const fragMaxSize = u16[(skb + IPCB_FRAG_MAX_SIZE) >>> 1];
  if ((flags & IP_CMSG_RECVFRAGSIZE) !== 0 && fragMaxSize !== 0) putCmsg(msg, SOL_IP, IP_RECVFRAGSIZE, fragMaxSize);
}

/** ip_cmsg_recv. */
export function ipCmsgRecv(msg: Msghdr, sk: Sock, skb: number): void {
  ipCmsgRecvOffset(msg, sk, skb, 0, 0);
}

// ---- the error queue (IP_RECVERR) -----------------------------------------------------------------------------------

/**
 * ip_icmp_error: puts the ICMP error `skb` (data: the quoted IP header; transport header: the ICMP header) on the error
 * queue, as a copy whose data starts at `payload` (address). `err`: positive errno. `port`: host order.
 */
export function ipIcmpError(sk: Sock, skb: number, err: number, port: number, info: number, payload: number): void {
  const skip = payload - skbData(skb);
  skb = skbClone(skb);
  if (skb === 0) return;
  const icmph = skbTransportHeader(skb);
  skbSetExtErr(skb, err, SO_EE_ORIGIN_ICMP, u8[icmph], u8[icmph + 1], info, 0);
  // The destination of the quoted packet.
  skbSetExtErrAddr(skb, icmph + 8 + 16 - skbNetworkHeader(skb), port);
  if (skip >= 0 && pskbPull(skb, skip) !== 0) {
    skbResetTransportHeader(skb);
    if (sockQueueErrSkb(sk, skb) === 0) return;
  }
  kfreeSkb(skb);
}

/**
 * ip_local_error: an error that this host found itself (EMSGSIZE). Positive errno, host order; nothing without
 * IP_RECVERR.
 */
export function ipLocalError(sk: Sock, err: number, daddr: number, port: number, info: number): void {
  if (!(sk as InetSock).recverr) return;
  const skb = allocSkb(IPHDR_SIZE);
  if (skb === 0) return;
  const iph = skbPut(skb, IPHDR_SIZE);
  u8.fill(0, iph, iph + IPHDR_SIZE);
  skbResetNetworkHeader(skb);
  ipHdrSetDaddr(iph, daddr);
  skbSetExtErr(skb, err, SO_EE_ORIGIN_LOCAL, 0, 0, info, 0);
  skbSetExtErrAddr(skb, 16, port);
  __skbPull(skb, IPHDR_SIZE);
  skbResetTransportHeader(skb);
  if (sockQueueErrSkb(sk, skb) !== 0) kfreeSkb(skb);
}

/**
 * ipv4_datagram_support_cmsg: whether the socket's control messages make sense for this error: the packet came from
 * somewhere, or it is a stamped one of our own that went out by a device (SOF_TIMESTAMPING_OPT_CMSG; IP_PKTINFO).
 */
function ipv4DatagramSupportCmsg(sk: Sock, skb: number, origin: number): boolean {
  if (origin === SO_EE_ORIGIN_ICMP) return true;
  if (origin !== SO_EE_ORIGIN_TIMESTAMPING) return false;
  if ((sk.skTsflags & SOF_TIMESTAMPING_OPT_CMSG) === 0 || u32[(skb + IPCB_IIF) >>> 2] === 0) return false;
  u32[(skb + IPCB_NEXTHOP) >>> 2] = ipHdrSaddr(ipHdr(skb));
  return true;
}

/**
 * ip_recv_error: recvmsg with MSG_ERRQUEUE: the payload of the packet that failed, its destination in `msg.name`
 * (unless null), and an IP_RECVERR control message with a SockExtendedErr. Bytes copied, or a negative errno (-EAGAIN:
 * the queue is empty).
 */
export function ipRecvError(sk: Sock, msg: Msghdr, len: number): number {
  const skb = sockDequeueErrSkb(sk);
  if (skb === 0) return -EAGAIN;
  let copied = skbLen(skb);
  if (copied > len) {
    msg.flags |= MSG_TRUNC;
    copied = len;
  }
  const err = skbCopyDatagramMsg(skb, 0, msg, copied);
  if (err !== 0) {
    kfreeSkb(skb);
    return err;
  }
  sockRecvErrTimestamp(msg, sk, skb);

  const origin = skbExtErrOrigin(skb);
  const port = skbExtErrPort(skb);
  const sin = msg.name;
  if (sin !== null && (origin === SO_EE_ORIGIN_ICMP || origin === SO_EE_ORIGIN_LOCAL || port !== 0)) {
    sin.family = AF_INET;
    sin.addr = dv.getUint32(skbNetworkHeader(skb) + skbExtErrAddrOffset(skb));
    sin.port = port;
  }
  const ee = skbExtErr(skb);
  if (ipv4DatagramSupportCmsg(sk, skb, origin)) {
    ee.offender = ipHdrSaddr(ipHdr(skb));
    if ((sk as InetSock).cmsgFlags !== 0) ipCmsgRecv(msg, sk, skb);
  }
  putCmsg(msg, SOL_IP, IP_RECVERR, ee);
  msg.flags |= MSG_ERRQUEUE;
  consumeSkb(skb);
  return copied;
}
