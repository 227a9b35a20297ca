/** Raw sockets (net/ipv4/raw.c): IP packets of one protocol, or of one's own making (IP_HDRINCL). */

import {
  CHECKSUM_NONE,
  SKB_DATA,
  SKB_LEN,
  SKB_NETWORK_HEADER,
  SKB_TRANSPORT_HEADER,
} from "../../../assembly/layout.ts";
import { ipIncStats } from "../../kernel/mib.ts";
import { dv, u8, u32 } from "../../mm/mem.ts";
import { SKB_DROP_REASON_SOCKET_RCVBUFF } from "../../uapi/dropreason.ts";
import {
  EACCES,
  EADDRNOTAVAIL,
  EAFNOSUPPORT,
  EDESTADDRREQ,
  EFAULT,
  EHOSTUNREACH,
  EINVAL,
  EMSGSIZE,
  ENOBUFS,
  ENOPROTOOPT,
  EOPNOTSUPP,
  EPROTO,
} from "../../uapi/errno.ts";
import {
  ICMP_DEST_UNREACH,
  ICMP_FILTER,
  ICMP_FRAG_NEEDED,
  ICMP_PARAMETERPROB,
  ICMP_REDIRECT,
  ICMP_SOURCE_QUENCH,
  NR_ICMP_UNREACH,
} from "../../uapi/icmp.ts";
import { ETH_P_IP } from "../../uapi/if_ether.ts";
import { IN_MULTICAST, IP_PMTUDISC_DONT, IPPROTO_ICMP, IPPROTO_RAW } from "../../uapi/in.ts";
import { IPSTATS_MIB_OUTDISCARDS } from "../../uapi/linux_mib.ts";
import { NF_INET_LOCAL_OUT, NFPROTO_IPV4 } from "../../uapi/netfilter.ts";
import {
  RT_SCOPE_LINK,
  RT_SCOPE_UNIVERSE,
  RTCF_BROADCAST,
  RTN_BROADCAST,
  RTN_MULTICAST,
} from "../../uapi/rtnetlink.ts";
import {
  AF_INET,
  AF_UNSPEC,
  MSG_CONFIRM,
  MSG_DONTROUTE,
  MSG_ERRQUEUE,
  MSG_MORE,
  MSG_OOB,
  MSG_PROBE,
  MSG_TRUNC,
  SOL_RAW,
} from "../../uapi/socket.ts";
import { SIOCINQ, SIOCOUTQ } from "../../uapi/sockios.ts";
import { TCP_CLOSE, TCP_ESTABLISHED } from "../../uapi/tcp.ts";
import { skbCopyDatagramMsg, skbRecvDatagram } from "../core/datagram.ts";
import { dstOutput } from "../core/dst.ts";
import { sockTxTimestamp } from "../core/errqueue.ts";
import type { Net, PernetOperations } from "../core/net_namespace.ts";
import { registerPernetSubsys } from "../core/net_namespace.ts";
import { sockRecvCmsgs } from "../core/scm.ts";
import {
  consumeSkb,
  kfreeSkb,
  kfreeSkbReason,
  skbClone,
  skbDev,
  skbDstSet,
  skbHeadlen,
  skbPeek,
  skbPush,
  skbPut,
  skbReserve,
  skbResetNetworkHeader,
  skbSetDev,
  skbSetIpSummed,
  skbSetMark,
  skbSetPriority,
  skbSetProtocol,
  skbSetTstamp,
} from "../core/skbuff.ts";
import type { Msghdr, OptVal, Proto, Sock, SockAddr } from "../core/sock.ts";
import {
  ENOIOCTLCMD,
  ErrBox,
  SOCK_BINDADDR_LOCK,
  SOCK_BROADCAST,
  SOCK_LOCALROUTE,
  skCommonRelease,
  skDstReset,
  skErrorReport,
  sockAllocSendSkb,
  sockFlag,
  sockQueueRcvSkb,
} from "../core/sock.ts";
import { optvalInt } from "../core/sock_options.ts";
import { NF_HOOK } from "../netfilter/core.ts";
import { inetAddrValidOrNonlocal } from "./af_inet.ts";
import { ip4DatagramConnect } from "./datagram.ts";
import { inetAddrType } from "./fib_frontend.ts";
import { FLOWI_FLAG_KNOWN_NH, FlowI4, flowi4InitOutput } from "./flow.ts";
import { icmpErrConvert, icmpOutCount } from "./icmp.ts";
import { ipMcSfAllow } from "./igmp.ts";
import { InetSock } from "./inet_sock.ts";
import { getRttos, IpcmCookie, inetSkFlowiFlags, ipcmInitSk, ipSendCheck } from "./ip.ts";
import {
  ipAppendData,
  ipFlushPendingFrames,
  ipGenericGetfrag,
  ipPushPendingFrames,
  ipSelectIdentSegs,
  LL_RESERVED_SPACE,
  netXmitErrno,
} from "./ip_output.ts";
import {
  ipCmsgRecv,
  ipCmsgSend,
  ipGetsockopt,
  ipIcmpError,
  ipLocalError,
  ipRecvError,
  ipSetsockopt,
  ipv4PktinfoPrepare,
} from "./ip_sockglue.ts";
import type { Rtable } from "./route.ts";
import { ipRouteOutputFlow, ipv4SkRedirect, ipv4SkUpdatePmtu, routeErr } from "./route.ts";

declare module "../core/net_namespace.ts" {
  interface Net {
    /** raw_v4_hashinfo: raw sockets by protocol. */
    rawSocks: (Sock | null)[];
    /** How many there are: without any, packets pass at the cost of one test. */
    rawCount: number;
  }
}

/** struct raw_sock. */
export class RawSock extends InetSock {
  /** ICMP_FILTER: bit n set = ICMP type n is not wanted. */
  filter = 0;
}

const RAW_HTABLE_SIZE = 256;

const rawNetOps: PernetOperations = {
  name: "raw",
  init(net: Net): number {
    net.rawSocks = new Array<Sock | null>(RAW_HTABLE_SIZE).fill(null);
    net.rawCount = 0;
    return 0;
  },
  exit(_net: Net): void {},
};

/** raw_hash_sk: skc_num is the protocol. */
export function rawHashSk(sk: Sock): number {
  const net = sk.net;
  const slot = sk.skcNum & (RAW_HTABLE_SIZE - 1);
  const head = net.rawSocks[slot] as Sock | null;
  sk.skcHash = slot;
  sk.skcPrev = null;
  sk.skcNext = head;
  if (head !== null) head.skcPrev = sk;
  net.rawSocks[slot] = sk;
  sk.skcHashed = true;
  net.rawCount++;
  return 0;
}

/** raw_unhash_sk. */
export function rawUnhashSk(sk: Sock): void {
  if (!sk.skcHashed) return;
  const net = sk.net;
  if (sk.skcPrev !== null) sk.skcPrev.skcNext = sk.skcNext;
  else net.rawSocks[sk.skcHash] = sk.skcNext;
  if (sk.skcNext !== null) sk.skcNext.skcPrev = sk.skcPrev;
  sk.skcNext = null;
  sk.skcPrev = null;
  sk.skcHashed = false;
  net.rawCount--;
}

/** raw_v4_match. */
function rawV4Match(sk: Sock, num: number, raddr: number, laddr: number, dif: number): boolean {
  return (
    sk.skcNum === num &&
    (sk.skcDaddr === 0 || sk.skcDaddr === raddr) &&
    (sk.skcRcvSaddr === 0 || sk.skcRcvSaddr === laddr) &&
    (sk.skcBoundDevIf === 0 || sk.skcBoundDevIf === dif)
  );
}

// ---- receiving ------------------------------------------------------------------------------------------------------

/** icmp_filter: true = the socket does not want this ICMP message. */
function icmpFilter(sk: RawSock, skb: number): boolean {
  // Too short to have a type: nobody gets it.
  if (skbHeadlen(skb) < 8) return true;
  const type = u8[u32[(skb + SKB_TRANSPORT_HEADER) >>> 2]!]!;
  return type < 32 && ((1 << type) & sk.filter) !== 0;
}

/**
 * raw_local_deliver: a copy for every raw socket of the protocol that matches. True if there was one. Does not consume the
 * skb; its data is at the transport header.
 */
export function rawLocalDeliver(skb: number, protocol: number): boolean {
  const net = skbDev(skb).net;
  if (net.rawCount === 0) return false;
  return rawV4Input(net, skb, protocol);
}

function rawV4Input(net: Net, skb: number, protocol: number): boolean {
  const iph = u32[(skb + SKB_NETWORK_HEADER) >>> 2]!;
  const saddr = dv.getUint32(iph + 12);
  const daddr = dv.getUint32(iph + 16);
  const dif = skbDev(skb).ifindex;
  let delivered = false;
  for (let sk = net.rawSocks[protocol & (RAW_HTABLE_SIZE - 1)] as Sock | null; sk !== null; sk = sk.skcNext) {
    if (!rawV4Match(sk, protocol, saddr, daddr, dif)) continue;
    delivered = true;
    if (sk.skRmemAlloc >= sk.skRcvbuf) {
      sk.skDrops++;
      continue;
    }
    if (protocol === IPPROTO_ICMP && icmpFilter(sk as RawSock, skb)) continue;
    if (!ipMcSfAllow(sk, daddr, saddr, dif)) continue;
    const clone = skbClone(skb);
    if (clone !== 0) rawRcv(sk, clone);
  }
  return delivered;
}

/** raw_rcv: a raw socket gets the packet with its IP header. */
export function rawRcv(sk: Sock, skb: number): number {
  ipv4PktinfoPrepare(sk, skb, true);
  skbPush(skb, u32[(skb + SKB_DATA) >>> 2]! - u32[(skb + SKB_NETWORK_HEADER) >>> 2]!);
  if (sockQueueRcvSkb(sk, skb) < 0) kfreeSkbReason(skb, SKB_DROP_REASON_SOCKET_RCVBUFF);
  return 0;
}

const rcvErr: ErrBox = new ErrBox();

/** raw_recvmsg. */
export function rawRecvmsg(sk: Sock, msg: Msghdr, len: number, flags: number): number {
  if ((flags & MSG_OOB) !== 0) return -EOPNOTSUPP;
  if ((flags & MSG_ERRQUEUE) !== 0) return ipRecvError(sk, msg, len);
  const skb = skbRecvDatagram(sk, flags, rcvErr);
  if (skb === 0) return rcvErr.value;
  const ulen = u32[(skb + SKB_LEN) >>> 2]!;
  let copied = ulen;
  if (len < copied) {
    msg.flags |= MSG_TRUNC;
    copied = len;
  }
  const err = skbCopyDatagramMsg(skb, 0, msg, copied);
  if (err === 0) {
    sockRecvCmsgs(msg, sk, skb);
    const sin = msg.name;
    if (sin !== null) {
      sin.family = AF_INET;
      sin.addr = dv.getUint32(u32[(skb + SKB_NETWORK_HEADER) >>> 2]! + 12);
      sin.port = 0;
    }
    if ((sk as InetSock).cmsgFlags !== 0) ipCmsgRecv(msg, sk, skb);
    if ((flags & MSG_TRUNC) !== 0) copied = ulen;
  }
  consumeSkb(skb);
  return err !== 0 ? err : copied;
}

/**
 * raw_icmp_error: an ICMP error for the raw sockets that may have sent the quoted packet. data is at the quoted IP header.
 */
export function rawIcmpError(skb: number, protocol: number, info: number): void {
  const net = skbDev(skb).net;
  if (net.rawCount === 0) return;
  const iph = u32[(skb + SKB_DATA) >>> 2]!;
  const saddr = dv.getUint32(iph + 12);
  const daddr = dv.getUint32(iph + 16);
  const dif = skbDev(skb).ifindex;
  for (let sk = net.rawSocks[protocol & (RAW_HTABLE_SIZE - 1)] as Sock | null; sk !== null; sk = sk.skcNext) {
    if (rawV4Match(sk, protocol, daddr, saddr, dif)) rawErr(sk as RawSock, skb, info);
  }
}

/** raw_err. */
function rawErr(sk: RawSock, skb: number, info: number): void {
  const icmph = u32[(skb + SKB_TRANSPORT_HEADER) >>> 2]!;
  const type = u8[icmph]!;
  const code = u8[icmph + 1]!;
  if (type === ICMP_DEST_UNREACH && code === ICMP_FRAG_NEEDED) ipv4SkUpdatePmtu(skb, sk, info);
  else if (type === ICMP_REDIRECT) {
    ipv4SkRedirect(skb, sk);
    return;
  }
  if (!sk.recverr && sk.skcState !== TCP_ESTABLISHED) return;
  let err = EHOSTUNREACH;
  let harderr = false;
  switch (type) {
    case ICMP_SOURCE_QUENCH:
      return;
    case ICMP_PARAMETERPROB:
      err = EPROTO;
      harderr = true;
      break;
    case ICMP_DEST_UNREACH:
      if (code > NR_ICMP_UNREACH) break;
      if (code === ICMP_FRAG_NEEDED) {
        harderr = sk.pmtudisc !== IP_PMTUDISC_DONT;
        err = EMSGSIZE;
      } else {
        err = icmpErrConvert[code]!.errno;
        harderr = icmpErrConvert[code]!.fatal;
      }
      break;
    default:
      break;
  }
  if (sk.recverr) {
    const iph = u32[(skb + SKB_DATA) >>> 2]!;
    ipIcmpError(sk, skb, err, 0, info, sk.hdrincl ? iph : iph + ((u8[iph]! & 15) << 2));
  }
  if (sk.recverr || harderr) {
    sk.skErr = err;
    skErrorReport(sk);
  }
}

// ---- sending --------------------------------------------------------------------------------------------------------

const sendIpc: IpcmCookie = new IpcmCookie();
const sendFl4: FlowI4 = new FlowI4();
const sendErr: ErrBox = new ErrBox();

/** Byte `at` of what is about to be sent; 0 behind its end. */
/* notrace */
export function msgPeekByte(msg: Msghdr, at: number): number {
  let off = msg.iovOff + at;
  for (let i = msg.iovIdx; i < msg.iov.length; i++) {
    const buf = msg.iov[i] as Uint8Array;
    if (off < buf.length) return buf[off]!;
    off -= buf.length;
  }
  return 0;
}

/** raw_sendmsg. */
export function rawSendmsg(sk0: Sock, msg: Msghdr, len: number): number {
  const sk = sk0 as RawSock;
  const net = sk.net;
  if (len > 0xffff) return -EMSGSIZE;
  const hdrincl = sk.hdrincl;
  if ((msg.flags & MSG_OOB) !== 0) return -EOPNOTSUPP;
  let daddr: number;
  if (msg.name !== null) {
    if (msg.name.family !== AF_INET && msg.name.family !== AF_UNSPEC) return -EAFNOSUPPORT;
    // The port is the protocol's business, if anybody's.
    daddr = msg.name.addr;
  } else {
    if (sk.skcState !== TCP_ESTABLISHED) return -EDESTADDRREQ;
    daddr = sk.skcDaddr;
  }

  const ipc = sendIpc;
  ipcmInitSk(ipc, sk);
  if (hdrincl) ipc.protocol = IPPROTO_RAW;
  if (msg.control !== null && msg.control.length !== 0) {
    const err = ipCmsgSend(sk, msg, ipc);
    if (err !== 0) return err;
  }
  let saddr = ipc.addr;
  ipc.addr = daddr;
  if (ipc.opt === null) ipc.opt = sk.inetOpt;
  if (ipc.opt !== null) {
    // With its own header the packet carries its own options.
    if (hdrincl) return -EINVAL;
    if (ipc.opt.srr !== 0) {
      if (daddr === 0) return -EINVAL;
      daddr = ipc.opt.faddr;
    }
  }
  const scope =
    sockFlag(sk, SOCK_LOCALROUTE) || (msg.flags & MSG_DONTROUTE) !== 0 || (ipc.opt !== null && ipc.opt.isStrictroute)
      ? RT_SCOPE_LINK
      : RT_SCOPE_UNIVERSE;
  if (IN_MULTICAST(daddr)) {
    if (ipc.oif === 0) ipc.oif = sk.mcIndex;
    if (saddr === 0) saddr = sk.mcAddr;
  } else if (ipc.oif === 0) ipc.oif = sk.ucIndex;

  const fl4 = sendFl4;
  flowi4InitOutput(
    fl4,
    ipc.oif,
    ipc.mark,
    getRttos(ipc, sk),
    scope,
    hdrincl ? ipc.protocol : sk.skProtocol,
    inetSkFlowiFlags(sk) | (hdrincl ? FLOWI_FLAG_KNOWN_NH : 0),
    daddr,
    saddr,
    0,
    0,
  );
  // raw_probe_proto_opt
  if (!hdrincl && fl4.flowi4Proto === IPPROTO_ICMP && len >= 2) {
    fl4.fl4IcmpType = msgPeekByte(msg, 0);
    fl4.fl4IcmpCode = msgPeekByte(msg, 1);
  }
  const rt = ipRouteOutputFlow(net, fl4, sk);
  if (rt === null) return routeErr.value;
  if ((rt.rtFlags & RTCF_BROADCAST) !== 0 && !sockFlag(sk, SOCK_BROADCAST)) return -EACCES;
  if ((msg.flags & (MSG_CONFIRM | MSG_PROBE)) === (MSG_CONFIRM | MSG_PROBE) && len === 0) return 0;

  let err: number;
  if (hdrincl) err = rawSendHdrinc(sk, fl4, msg, len, rt, msg.flags, ipc);
  else {
    if (ipc.addr === 0) ipc.addr = fl4.daddr;
    err = ipAppendData(sk, fl4, ipGenericGetfrag, msg, len, 0, ipc, rt, msg.flags);
    if (err !== 0) ipFlushPendingFrames(sk);
    else if ((msg.flags & MSG_MORE) === 0) {
      err = ipPushPendingFrames(sk, fl4);
      if (err === -ENOBUFS && !sk.recverr) err = 0;
    }
  }
  return err < 0 ? err : len;
}

/** raw_send_hdrinc: the caller's bytes are the packet; what it left 0 (source, id, checksum, length) is filled in. */
function rawSendHdrinc(
  sk: RawSock,
  fl4: FlowI4,
  msg: Msghdr,
  length: number,
  rt: Rtable,
  flags: number,
  ipc: IpcmCookie,
): number {
  const net = sk.net;
  const dev = rt.dev;
  if (length > dev.mtu) {
    ipLocalError(sk, EMSGSIZE, fl4.daddr, sk.skcDport, dev.mtu);
    return -EMSGSIZE;
  }
  if (length < 20) return -EINVAL;
  if ((flags & MSG_PROBE) !== 0) return 0;
  const hlen = LL_RESERVED_SPACE(dev);
  const skb = sockAllocSendSkb(sk, length + hlen + dev.neededTailroom + 15, sendErr);
  if (skb === 0) return rawSendError(sk, sendErr.value);
  skbReserve(skb, hlen);
  skbSetProtocol(skb, ETH_P_IP);
  skbSetPriority(skb, ipc.priority);
  skbSetMark(skb, ipc.mark);
  if (ipc.transmitTime !== 0) skbSetTstamp(skb, ipc.transmitTime);
  skbDstSet(skb, rt);
  skbSetDev(skb, dev);
  skbResetNetworkHeader(skb);
  const iph = skbPut(skb, length);
  skbSetIpSummed(skb, CHECKSUM_NONE);
  if (ipc.tsflags !== 0) sockTxTimestamp(skb, sk, ipc.tsflags, ipc.tsOptId);
  if (ipGenericGetfrag(msg, iph, 0, length, 0, skb) !== 0) {
    kfreeSkb(skb);
    return rawSendError(sk, -EFAULT);
  }
  const iphlen = (u8[iph]! & 15) << 2;
  // A header longer than the packet would mislead everything below.
  if (iphlen > length) {
    kfreeSkb(skb);
    return rawSendError(sk, -EINVAL);
  }
  u32[(skb + SKB_TRANSPORT_HEADER) >>> 2] = iph;
  if (iphlen >= 20) {
    if (dv.getUint32(iph + 12) === 0) dv.setUint32(iph + 12, fl4.saddr);
    dv.setUint16(iph + 2, length);
    if (dv.getUint16(iph + 4) === 0) ipSelectIdentSegs(net, skb, null, 1);
    ipSendCheck(iph);
    u32[(skb + SKB_TRANSPORT_HEADER) >>> 2] = iph + iphlen;
    if (u8[iph + 9] === IPPROTO_ICMP && length >= iphlen + 8) icmpOutCount(net, u8[iph + iphlen]!);
  }
  let err = NF_HOOK(NFPROTO_IPV4, NF_INET_LOCAL_OUT, net, sk, skb, null, dev, dstOutput);
  if (err > 0) err = netXmitErrno(err);
  return err !== 0 ? rawSendError(sk, err) : 0;
}

/* notrace */
function rawSendError(sk: RawSock, err: number): number {
  ipIncStats(sk.net, IPSTATS_MIB_OUTDISCARDS);
  return err === -ENOBUFS && !sk.recverr ? 0 : err;
}

// ---- the sock -------------------------------------------------------------------------------------------------------

/** raw_bind. */
export function rawBind(sk0: Sock, addr: SockAddr): number {
  const sk = sk0 as RawSock;
  if (sk.skcState !== TCP_CLOSE) return -EINVAL;
  const type = inetAddrType(sk.net, addr.addr);
  if (!inetAddrValidOrNonlocal(sk.net, sk, addr.addr, type)) return -EADDRNOTAVAIL;
  sk.skcRcvSaddr = addr.addr;
  sk.inetSaddr = type === RTN_MULTICAST || type === RTN_BROADCAST ? 0 : addr.addr;
  skDstReset(sk);
  return 0;
}

/** __udp_disconnect, as raw and ping sockets have it: they stay where they are hashed. */
export function rawDisconnect(sk0: Sock, _flags: number): number {
  const sk = sk0 as InetSock;
  sk.skcState = TCP_CLOSE;
  sk.skcDaddr = 0;
  sk.skcDport = 0;
  sk.skcBoundDevIf = 0;
  if ((sk.skUserlocks & SOCK_BINDADDR_LOCK) === 0) {
    sk.skcRcvSaddr = 0;
    sk.inetSaddr = 0;
  }
  skDstReset(sk);
  return 0;
}

/** raw_close. */
export function rawClose(sk: Sock, _timeout: number): void {
  skCommonRelease(sk);
}

/** raw_destroy. */
export function rawDestroy(sk: Sock): void {
  ipFlushPendingFrames(sk);
}

/** raw_sk_init. */
export function rawSkInit(sk: Sock): number {
  (sk as RawSock).filter = 0;
  return 0;
}

/** raw_setsockopt: ICMP_FILTER takes the mask as a number. */
export function rawSetsockopt(sk: Sock, level: number, optname: number, optval: OptVal): number {
  if (level !== SOL_RAW) return ipSetsockopt(sk, level, optname, optval);
  if (optname !== ICMP_FILTER) return -ENOPROTOOPT;
  if (sk.skcNum !== IPPROTO_ICMP) return -EOPNOTSUPP;
  const val = optvalInt(optval);
  if (Number.isNaN(val)) return -EINVAL;
  (sk as RawSock).filter = val;
  return 0;
}

/** raw_getsockopt. */
export function rawGetsockopt(sk: Sock, level: number, optname: number, err: ErrBox): OptVal {
  if (level !== SOL_RAW) return ipGetsockopt(sk, level, optname, err);
  err.value = 0;
  if (optname !== ICMP_FILTER) err.value = -ENOPROTOOPT;
  else if (sk.skcNum !== IPPROTO_ICMP) err.value = -EOPNOTSUPP;
  return err.value === 0 ? (sk as RawSock).filter >>> 0 : 0;
}

/** raw_ioctl. */
export function rawIoctl(sk: Sock, cmd: number): number {
  if (cmd === SIOCOUTQ) return sk.skWmemAlloc - 1;
  if (cmd === SIOCINQ) {
    const skb = skbPeek(sk.skReceiveQueue);
    return skb !== 0 ? u32[(skb + SKB_LEN) >>> 2]! : 0;
  }
  return -ENOIOCTLCMD;
}

function rawGetPort(_sk: Sock, _snum: number): number {
  return 0;
}

export const rawProt: Proto = {
  name: "RAW",
  symbol: "raw_prot",
  alloc: () => new RawSock(),
  close: rawClose,
  destroy: rawDestroy,
  connect: ip4DatagramConnect,
  disconnect: rawDisconnect,
  ioctl: rawIoctl,
  init: rawSkInit,
  setsockopt: rawSetsockopt,
  getsockopt: rawGetsockopt,
  sendmsg: rawSendmsg,
  recvmsg: rawRecvmsg,
  bind: rawBind,
  hash: rawHashSk,
  unhash: rawUnhashSk,
  getPort: rawGetPort,
  maxHeader: 80,
};

/** raw_init. */
export function rawInit(): void {
  registerPernetSubsys(rawNetOps);
}
