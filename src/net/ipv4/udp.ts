/** UDP (RFC 768, RFC 1122 §4.1; net/ipv4/udp.c): sending, receiving, ICMP errors, options. Tables: udp.lookup.ts. */

import {
  CHECKSUM_NONE,
  CHECKSUM_PARTIAL,
  CHECKSUM_UNNECESSARY,
  PACKET_HOST,
  SKB_CSUM,
  SKB_CSUM_OFFSET,
  SKB_CSUM_START,
  SKB_DATA,
  SKB_DESTRUCTOR,
  SKB_DESTRUCTOR_EFREE,
  SKB_FLAG_DST_PENDING_CONFIRM,
  SKB_GSO_UDP_L4,
  SKB_HEAD,
  SKB_IP_SUMMED,
  SKB_LEN,
  SKB_MAC_HEADER,
  SKB_NETWORK_HEADER,
  SKB_PKT_TYPE,
  SKB_SK,
  SKB_TRANSPORT_HEADER,
  SKB_TRUESIZE,
  SOCKCB_DROPCOUNT,
} from "../../../assembly/layout.ts";
import { icmpIncStats, ipIncStats, udpIncStats } from "../../kernel/mib.ts";
import { dv, u8, u16, u32 } from "../../mm/mem.ts";
import {
  SKB_DROP_REASON_NO_SOCKET,
  SKB_DROP_REASON_NOT_SPECIFIED,
  SKB_DROP_REASON_PKT_TOO_SMALL,
  SKB_DROP_REASON_PROTO_MEM,
  SKB_DROP_REASON_SOCKET_RCVBUFF,
  SKB_DROP_REASON_UDP_CSUM,
} from "../../uapi/dropreason.ts";
import {
  EACCES,
  EAFNOSUPPORT,
  EAGAIN,
  EDESTADDRREQ,
  EHOSTUNREACH,
  EINVAL,
  EMSGSIZE,
  ENETUNREACH,
  ENOBUFS,
  ENOENT,
  ENOMEM,
  ENOPROTOOPT,
  EOPNOTSUPP,
  EPROTO,
} from "../../uapi/errno.ts";
import {
  ICMP_DEST_UNREACH,
  ICMP_FRAG_NEEDED,
  ICMP_PARAMETERPROB,
  ICMP_PORT_UNREACH,
  ICMP_REDIRECT,
  ICMP_SOURCE_QUENCH,
  NR_ICMP_UNREACH,
} from "../../uapi/icmp.ts";
import { IN_MULTICAST, IP_PMTUDISC_DONT, IPPROTO_UDP } from "../../uapi/in.ts";
import {
  ICMP_MIB_INERRORS,
  IPSTATS_MIB_OUTNOROUTES,
  UDP_MIB_CSUMERRORS,
  UDP_MIB_IGNOREDMULTI,
  UDP_MIB_INDATAGRAMS,
  UDP_MIB_INERRORS,
  UDP_MIB_MEMERRORS,
  UDP_MIB_NOPORTS,
  UDP_MIB_OUTDATAGRAMS,
  UDP_MIB_RCVBUFERRORS,
  UDP_MIB_SNDBUFERRORS,
} from "../../uapi/linux_mib.ts";
import { RT_SCOPE_LINK, RT_SCOPE_UNIVERSE, RTCF_BROADCAST, RTCF_MULTICAST } from "../../uapi/rtnetlink.ts";
import {
  AF_INET,
  AF_UNSPEC,
  MSG_CONFIRM,
  MSG_DONTROUTE,
  MSG_ERRQUEUE,
  MSG_MORE,
  MSG_OOB,
  MSG_PEEK,
  MSG_PROBE,
  MSG_TRUNC,
  SOL_UDP,
} from "../../uapi/socket.ts";
import { SIOCINQ, SIOCOUTQ } from "../../uapi/sockios.ts";
import { TCP_CLOSE, TCP_ESTABLISHED } from "../../uapi/tcp.ts";
import { UDP_CORK, UDP_ENCAP, UDP_GRO, UDP_NO_CHECK6_RX, UDP_NO_CHECK6_TX, UDP_SEGMENT } from "../../uapi/udp.ts";
import {
  __skbTryRecvFromQueue,
  datagramPoll,
  peekOffset,
  skbCopyDatagramMsg,
  skPeekOffsetBwd,
  skPeekOffsetFwd,
} from "../core/datagram.ts";
import { NETIF_F_SG } from "../core/dev.ts";
import type { DstEntry } from "../core/dst.ts";
import { skbGsoSegment } from "../core/gso.ts";
import type { Net } from "../core/net_namespace.ts";
import { registerPernetSubsys } from "../core/net_namespace.ts";
import { putCmsg, sockRecvCmsgs } from "../core/scm.ts";
import {
  __skbChecksumComplete,
  __skbPull,
  CSUM_MANGLED_0,
  consumeSkb,
  csumAdd,
  csumPartial,
  csumTcpUdpMagic,
  csumTcpUdpNofold,
  kfreeSkb,
  kfreeSkbReason,
  pskbMayPull,
  pskbTrimRcsum,
  skbChecksum,
  skbChecksumInit,
  skbClone,
  skbDequeue,
  skbDev,
  skbDst,
  skbDstSet,
  skbFragList,
  skbGsoSize,
  skbGsoType,
  skbIsGso,
  skbNetworkHeaderLen,
  skbNext,
  skbPeek,
  skbPush,
  skbQueueTail,
  skbSetFlag,
  skbSetGsoSegs,
  skbSetGsoSize,
  skbSetGsoType,
  skbSetNext,
  skbSk,
  skbTransportOffset,
} from "../core/skbuff.ts";
import type { Cmsg, Msghdr, OptVal, Proto, Sock, SockAddr, Socket } from "../core/sock.ts";
import {
  __skMemReduceAllocated,
  ENOIOCTLCMD,
  ErrBox,
  SOCK_BINDADDR_LOCK,
  SOCK_BINDPORT_LOCK,
  SOCK_BROADCAST,
  SOCK_DEAD,
  SOCK_LOCALROUTE,
  skCommonRelease,
  skDstCheck,
  skDstReset,
  skDstSet,
  skErrorReport,
  skMemReclaimFinal,
  skRmemSchedule,
  sockError,
  sockFlag,
  sockHold,
  sockPut,
} from "../core/sock.ts";
import { optvalInt } from "../core/sock_options.ts";
import { inetSockDestruct } from "./af_inet.ts";
import { __ip4DatagramConnect } from "./datagram.ts";
import { FlowI4, flowi4InitOutput } from "./flow.ts";
import { icmpErrConvert, icmpSend } from "./icmp.ts";
import { ipMcSfAllow } from "./igmp.ts";
import { getRttos, InetCork, IpcmCookie, inetSkFlowiFlags, ipcmInitSk } from "./ip.ts";
import {
  inetCork,
  ipAppendData,
  ipFinishSkb,
  ipFlushPendingFrames,
  ipGenericGetfrag,
  ipMakeSkb,
  ipSendSkb,
} from "./ip_output.ts";
import {
  ipCmsgRecvOffset,
  ipCmsgSend,
  ipGetsockopt,
  ipIcmpError,
  ipRecvError,
  ipSetsockopt,
  ipv4PktinfoPrepare,
} from "./ip_sockglue.ts";
import type { NetProtocol } from "./protocol.ts";
import { inetAddProtocol } from "./protocol.ts";
import type { Rtable } from "./route.ts";
import { ipRouteOutputFlow, ipv4SkRedirect, ipv4SkUpdatePmtu, routeErr } from "./route.ts";
import {
  __udp4LibLookup,
  UdpSock,
  udp4LibLookup4,
  udpHash4,
  udpLibRehash,
  udpLibUnhash,
  udpNetOps,
  udpUnhash4,
  udpV4GetPort,
} from "./udp.lookup.ts";

export { UdpSock } from "./udp.lookup.ts";

// struct udphdr: u16 source, dest, len, check.
const UDPHDR_SIZE = 8;
/** Datagrams of one UDP_SEGMENT send. */
const UDP_MAX_SEGMENTS = 128;

// ---- sending --------------------------------------------------------------------------------------------------------

// One send at a time runs on a machine; it ends before the packet is received, wherever that is.
const sendIpc: IpcmCookie = new IpcmCookie();
const sendCork: InetCork = new InetCork();
const sendFl4: FlowI4 = new FlowI4();

/** udp_cmsg_send: UDP's own control messages. 1 if there are others, 0, or a negative errno. */
function udpCmsgSend(control: Cmsg[], ipc: IpcmCookie): number {
  let needIp = 0;
  for (let i = 0; i < control.length; i++) {
    const cmsg = control[i] as Cmsg;
    if (cmsg.level !== SOL_UDP) {
      needIp = 1;
      continue;
    }
    if (cmsg.type !== UDP_SEGMENT || typeof cmsg.data !== "number") return -EINVAL;
    ipc.gsoSize = cmsg.data & 0xffff;
  }
  return needIp;
}

/** udp_sendmsg. */
export function udpSendmsg(sk: Sock, msg: Msghdr, len: number): number {
  const up = sk as UdpSock;
  if (len > 0xffff) return -EMSGSIZE;
  // RFC 1122 §4.1.4: the API is the user's; UDP has no urgent data.
  if ((msg.flags & MSG_OOB) !== 0) return -EOPNOTSUPP;
  const corkreq = up.corkflag || (msg.flags & MSG_MORE) !== 0;
  if (up.pending !== 0) return udpAppend(up, up.corkFl, msg, len, null, corkreq);

  const ulen = len + UDPHDR_SIZE;
  const usin = msg.name;
  let daddr: number;
  let dport: number;
  let connected = false;
  if (usin !== null) {
    if (usin.family !== AF_INET && usin.family !== AF_UNSPEC) return -EAFNOSUPPORT;
    daddr = usin.addr;
    dport = usin.port;
    if (dport === 0) return -EINVAL;
  } else {
    if (sk.skcState !== TCP_ESTABLISHED) return -EDESTADDRREQ;
    daddr = up.skcDaddr;
    dport = up.skcDport;
    // The cached route will do, unless an option asks for another.
    connected = true;
  }

  const ipc = sendIpc;
  ipcmInitSk(ipc, up);
  ipc.gsoSize = up.gsoSize;
  if (msg.control !== null && msg.control.length !== 0) {
    let err = udpCmsgSend(msg.control, ipc);
    if (err > 0) {
      err = ipCmsgSend(sk, msg, ipc);
      connected = false;
    }
    if (err < 0) return err;
  }
  if (ipc.opt === null) ipc.opt = up.inetOpt;

  let saddr = ipc.addr;
  let faddr = daddr;
  ipc.addr = daddr;
  if (ipc.opt !== null && ipc.opt.srr !== 0) {
    if (daddr === 0) return -EINVAL;
    faddr = ipc.opt.faddr;
    connected = false;
  }
  let scope = RT_SCOPE_UNIVERSE;
  if (
    sockFlag(sk, SOCK_LOCALROUTE) ||
    (msg.flags & MSG_DONTROUTE) !== 0 ||
    (ipc.opt !== null && ipc.opt.isStrictroute)
  ) {
    scope = RT_SCOPE_LINK;
    connected = false;
  }
  if (IN_MULTICAST(daddr)) {
    if (ipc.oif === 0) ipc.oif = up.mcIndex;
    if (saddr === 0) saddr = up.mcAddr;
    connected = false;
  } else if (ipc.oif === 0) ipc.oif = up.ucIndex;

  let fl4 = up.corkFl;
  let rt = connected ? (skDstCheck(sk, 0) as Rtable | null) : null;
  if (rt === null) {
    fl4 = sendFl4;
    flowi4InitOutput(
      fl4,
      ipc.oif,
      ipc.mark,
      getRttos(ipc, up),
      scope,
      sk.skProtocol,
      inetSkFlowiFlags(sk),
      faddr,
      saddr,
      dport,
      up.inetSport,
    );
    rt = ipRouteOutputFlow(sk.net, fl4, sk);
    if (rt === null) {
      if (routeErr.value === -ENETUNREACH) ipIncStats(sk.net, IPSTATS_MIB_OUTNOROUTES);
      return routeErr.value;
    }
    if ((rt.rtFlags & RTCF_BROADCAST) !== 0 && !sockFlag(sk, SOCK_BROADCAST)) return -EACCES;
    if (connected) skDstSet(sk, rt);
  }
  if (ipc.addr === 0) {
    daddr = fl4.daddr;
    ipc.addr = daddr;
  }
  // MSG_CONFIRM: the neighbour is alive, says the application. With MSG_PROBE and no data that is all.
  if ((msg.flags & (MSG_CONFIRM | MSG_PROBE)) === (MSG_CONFIRM | MSG_PROBE) && len === 0) {
    sk.skDstPendingConfirm = true;
    return 0;
  }

  if (!corkreq) {
    const cork = sendCork;
    const skb = ipMakeSkb(sk, fl4, ipGenericGetfrag, msg, ulen, UDPHDR_SIZE, ipc, rt, cork, msg.flags);
    let err = skb;
    if (skb > 0) {
      if ((msg.flags & MSG_CONFIRM) !== 0) skbSetFlag(skb, SKB_FLAG_DST_PENDING_CONFIRM);
      err = udpSendSkb(skb, fl4, cork);
    }
    return udpSendDone(sk, msg, len, err);
  }

  const corkFl = up.corkFl;
  if (fl4 !== corkFl) {
    corkFl.saddr = fl4.saddr;
    corkFl.fl4Dport = dport;
    corkFl.fl4Sport = up.inetSport;
  }
  corkFl.daddr = daddr;
  up.pending = AF_INET;
  return udpAppend(up, corkFl, msg, len, rt, true);
}

/** The do_append_data half of udp_sendmsg: `rt` is null for all but the first call of a datagram. */
/* notrace */
function udpAppend(up: UdpSock, fl4: FlowI4, msg: Msghdr, len: number, rt: Rtable | null, corkreq: boolean): number {
  const ulen = rt !== null ? len + UDPHDR_SIZE : len;
  up.len += ulen;
  let err = ipAppendData(
    up,
    fl4,
    ipGenericGetfrag,
    msg,
    ulen,
    UDPHDR_SIZE,
    sendIpc,
    rt as unknown as DstEntry,
    corkreq ? msg.flags | MSG_MORE : msg.flags,
  );
  if (err !== 0) udpFlushPendingFrames(up);
  else if (!corkreq) err = udpPushPendingFrames(up);
  else if (up.skWriteQueue.qlen === 0) up.pending = 0;
  return udpSendDone(up, msg, len, err);
}

/** The end of udp_sendmsg: counts what failed for lack of room. */
/* notrace */
function udpSendDone(sk: Sock, msg: Msghdr, len: number, err: number): number {
  if (err === 0) return len;
  if (err === -ENOBUFS || err === -EAGAIN) udpIncStats(sk.net, UDP_MIB_SNDBUFERRORS);
  return err;
}

/** udp4_hwcsum: leaves the checksum to the device, unless the datagram is in several packets. */
function udp4Hwcsum(skb: number, src: number, dst: number, len: number): void {
  const uh = u32[(skb + SKB_TRANSPORT_HEADER) >>> 2]!;
  let frag = skbFragList(skb);
  if (frag === 0) {
    u16[(skb + SKB_CSUM_START) >>> 1] = uh - u32[(skb + SKB_HEAD) >>> 2]!;
    u16[(skb + SKB_CSUM_OFFSET) >>> 1] = 6;
    u8[skb + SKB_IP_SUMMED] = CHECKSUM_PARTIAL;
    dv.setUint16(uh + 6, ~csumTcpUdpMagic(src, dst, len, IPPROTO_UDP, 0) & 0xffff);
    return;
  }
  const offset = uh - u32[(skb + SKB_DATA) >>> 2]!;
  let hlen = len;
  let csum = 0;
  for (; frag !== 0; frag = skbNext(frag)) {
    csum = csumAdd(csum, u32[(frag + SKB_CSUM) >>> 2]!);
    hlen -= u32[(frag + SKB_LEN) >>> 2]!;
  }
  csum = skbChecksum(skb, offset, hlen, csum);
  u8[skb + SKB_IP_SUMMED] = CHECKSUM_NONE;
  const check = csumTcpUdpMagic(src, dst, len, IPPROTO_UDP, csum);
  dv.setUint16(uh + 6, check !== 0 ? check : CSUM_MANGLED_0);
}

/** udp_send_skb: the header, its checksum, and off to IP. */
function udpSendSkb(skb: number, fl4: FlowI4, cork: InetCork): number {
  const sk = skbSk(skb) as UdpSock;
  const net = sk.net;
  const uh = u32[(skb + SKB_TRANSPORT_HEADER) >>> 2]!;
  const len = u32[(skb + SKB_LEN) >>> 2]! - (uh - u32[(skb + SKB_DATA) >>> 2]!);
  dv.setUint16(uh, sk.inetSport);
  dv.setUint16(uh + 2, fl4.fl4Dport);
  dv.setUint16(uh + 4, len);
  dv.setUint16(uh + 6, 0);

  let gso = false;
  if (cork.gsoSize !== 0) {
    const datalen = len - UDPHDR_SIZE;
    const hlen = skbNetworkHeaderLen(skb) + UDPHDR_SIZE;
    if (hlen + Math.min(datalen, cork.gsoSize) > cork.fragsize) {
      kfreeSkb(skb);
      return -EMSGSIZE;
    }
    if (datalen > cork.gsoSize * UDP_MAX_SEGMENTS || sk.skNoCheckTx) {
      kfreeSkb(skb);
      return -EINVAL;
    }
    if (datalen > cork.gsoSize) {
      skbSetGsoSize(skb, cork.gsoSize);
      skbSetGsoType(skb, SKB_GSO_UDP_L4);
      skbSetGsoSegs(skb, Math.ceil(datalen / cork.gsoSize));
      gso = true;
    }
  }

  // The payload of a super-packet is summed when it is cut, if at all.
  if (gso || u8[skb + SKB_IP_SUMMED] === CHECKSUM_PARTIAL) {
    if (sk.skNoCheckTx) u8[skb + SKB_IP_SUMMED] = CHECKSUM_NONE;
    else udp4Hwcsum(skb, fl4.saddr, fl4.daddr, len);
  } else if (sk.skNoCheckTx) {
    // RFC 768: a checksum of zero means that there is none.
    u8[skb + SKB_IP_SUMMED] = CHECKSUM_NONE;
  } else {
    let csum = csumPartial(uh, UDPHDR_SIZE, u32[(skb + SKB_CSUM) >>> 2]!);
    for (let frag = skbFragList(skb); frag !== 0; frag = skbNext(frag)) {
      csum = csumAdd(csum, u32[(frag + SKB_CSUM) >>> 2]!);
    }
    const check = csumTcpUdpMagic(fl4.saddr, fl4.daddr, len, sk.skProtocol, csum);
    dv.setUint16(uh + 6, check !== 0 ? check : CSUM_MANGLED_0);
  }

  const err = ipSendSkb(net, skb);
  if (err !== 0) {
    // The queue below is full: the application hears of it only if it asked for errors.
    if (err === -ENOBUFS && !sk.recverr) {
      udpIncStats(net, UDP_MIB_SNDBUFERRORS);
      return 0;
    }
    return err;
  }
  udpIncStats(net, UDP_MIB_OUTDATAGRAMS);
  return 0;
}

/** udp_push_pending_frames: sends what is corked. */
export function udpPushPendingFrames(sk: Sock): number {
  const up = sk as UdpSock;
  const fl4 = up.corkFl;
  let err = 0;
  const skb = ipFinishSkb(sk, fl4);
  if (skb !== 0) err = udpSendSkb(skb, fl4, inetCork(up));
  up.len = 0;
  up.pending = 0;
  return err;
}

/** udp_flush_pending_frames: throws what is corked away. */
export function udpFlushPendingFrames(sk: Sock): void {
  const up = sk as UdpSock;
  if (up.pending === 0) return;
  up.len = 0;
  up.pending = 0;
  ipFlushPendingFrames(sk);
}

/** udp_splice_eof, the end of sendfile(2): a datagram that MSG_MORE left open goes out. */
export function udpSpliceEof(sock: Socket): void {
  const up = sock.sk as UdpSock;
  if (up.pending !== 0 && !up.corkflag) udpPushPendingFrames(up);
}

// ---- receiving: from IP ---------------------------------------------------------------------------------------------

/** udp_rcv: the handler of IPPROTO_UDP. */
export function udpRcv(skb: number): number {
  return __udp4LibRcv(skb);
}

/** __udp4_lib_rcv. data is at the UDP header. */
export function __udp4LibRcv(skb: number): number {
  const net = skbDev(skb).net;
  if (!pskbMayPull(skb, UDPHDR_SIZE)) return udpDrop(net, skb, SKB_DROP_REASON_NOT_SPECIFIED);
  let uh = u32[(skb + SKB_TRANSPORT_HEADER) >>> 2]!;
  const ulen = dv.getUint16(uh + 4);
  const len = u32[(skb + SKB_LEN) >>> 2]!;
  if (ulen !== len) {
    if (ulen > len || ulen < UDPHDR_SIZE) return udpDrop(net, skb, SKB_DROP_REASON_PKT_TOO_SMALL);
    // IP's payload may be longer than the datagram: the rest is no data.
    if (pskbTrimRcsum(skb, ulen) !== 0) return udpDrop(net, skb, SKB_DROP_REASON_PKT_TOO_SMALL);
    uh = u32[(skb + SKB_TRANSPORT_HEADER) >>> 2]!;
  }
  const iph = u32[(skb + SKB_NETWORK_HEADER) >>> 2]!;
  const saddr = dv.getUint32(iph + 12);
  const daddr = dv.getUint32(iph + 16);

  // What the device left to be summed is summed once, here; a bad datagram wakes nobody.
  const summed = u8[skb + SKB_IP_SUMMED]!;
  if (summed !== CHECKSUM_UNNECESSARY && summed !== CHECKSUM_PARTIAL && !udp4CsumOk(skb, uh, ulen, saddr, daddr)) {
    udpIncStats(net, UDP_MIB_CSUMERRORS);
    return udpDrop(net, skb, SKB_DROP_REASON_UDP_CSUM);
  }

  if (u32[(skb + SKB_SK) >>> 2] !== 0) {
    // Early demux has found the socket, and holds a reference for us.
    const early = skbSk(skb) as UdpSock;
    u32[(skb + SKB_SK) >>> 2] = 0;
    u8[skb + SKB_DESTRUCTOR] = 0;
    const dst = skbDst(skb);
    if (early.skRxDst !== dst) early.skRxDst = dst;
    udpQueueRcvSkb(early, skb);
    sockPut(early);
    return 0;
  }
  if (((skbDst(skb) as Rtable).rtFlags & (RTCF_BROADCAST | RTCF_MULTICAST)) !== 0) {
    return __udp4LibMcastDeliver(net, skb, uh, saddr, daddr);
  }
  const dport = dv.getUint16(uh + 2);
  const sk = __udp4LibLookup(net, saddr, dv.getUint16(uh), daddr, dport, skbDev(skb).ifindex);
  if (sk !== null) {
    udpQueueRcvSkb(sk, skb);
    return 0;
  }

  // Nobody listens (RFC 1122 §4.1.3.1).
  udpIncStats(net, UDP_MIB_NOPORTS);
  icmpSend(skb, ICMP_DEST_UNREACH, ICMP_PORT_UNREACH, 0);
  kfreeSkbReason(skb, SKB_DROP_REASON_NO_SOCKET);
  return 0;
}

/* notrace */
function udpDrop(net: Net, skb: number, reason: number): number {
  udpIncStats(net, UDP_MIB_INERRORS);
  kfreeSkbReason(skb, reason);
  return 0;
}

/** udp4_csum_init and the check itself. */
/* notrace */
function udp4CsumOk(skb: number, uh: number, ulen: number, saddr: number, daddr: number): boolean {
  if (dv.getUint16(uh + 6) === 0) {
    u8[skb + SKB_IP_SUMMED] = CHECKSUM_UNNECESSARY;
    return true;
  }
  const pseudo = csumTcpUdpNofold(saddr, daddr, ulen, IPPROTO_UDP, 0);
  const rc = skbChecksumInit(skb, pseudo);
  if (rc !== 0) return false;
  if (u8[skb + SKB_IP_SUMMED] !== CHECKSUM_UNNECESSARY) {
    if (__skbChecksumComplete(skb) !== 0) return false;
    u8[skb + SKB_IP_SUMMED] = CHECKSUM_UNNECESSARY;
  }
  return true;
}

/** udp_v4_early_demux: finds a connected socket before the route is looked up, and saves that when it knows the route. */
export function udpV4EarlyDemux(skb: number): void {
  const dev = skbDev(skb);
  const net = dev.net;
  if (net.udpTable.count4 === 0 || net.ipv4.sysctlUdpEarlyDemux === 0) return;
  if (u8[skb + SKB_PKT_TYPE] !== PACKET_HOST) return;
  if (!pskbMayPull(skb, skbTransportOffset(skb) + UDPHDR_SIZE)) return;
  const iph = u32[(skb + SKB_NETWORK_HEADER) >>> 2]!;
  const uh = u32[(skb + SKB_TRANSPORT_HEADER) >>> 2]!;
  const sk = udp4LibLookup4(
    net.udpTable,
    dv.getUint32(iph + 12),
    dv.getUint16(uh),
    dv.getUint32(iph + 16),
    dv.getUint16(uh + 2),
    dev.ifindex,
  );
  if (sk === null) return;
  sockHold(sk);
  u32[(skb + SKB_SK) >>> 2] = sk.slot;
  u8[skb + SKB_DESTRUCTOR] = SKB_DESTRUCTOR_EFREE;
  const dst = sk.skRxDst;
  if (dst === null) return;
  if (dst.obsolete !== 0 && dst.ops.check(dst, 0) === null) sk.skRxDst = null;
  else skbDstSet(skb, dst);
}

/** __udp_is_mcast_sock. */
function udpIsMcastSock(
  sk: UdpSock,
  locPort: number,
  locAddr: number,
  rmtPort: number,
  rmtAddr: number,
  dif: number,
): boolean {
  return (
    sk.udpPortHash === locPort &&
    (sk.skcDaddr === 0 || sk.skcDaddr === rmtAddr) &&
    (sk.skcDport === 0 || sk.skcDport === rmtPort) &&
    (sk.skcRcvSaddr === 0 || sk.skcRcvSaddr === locAddr) &&
    (sk.skcBoundDevIf === 0 || sk.skcBoundDevIf === dif) &&
    ipMcSfAllow(sk, locAddr, rmtAddr, dif)
  );
}

/** __udp4_lib_mcast_deliver: multicasts and broadcasts go to every socket that wants them; the first gets the skb itself. */
function __udp4LibMcastDeliver(net: Net, skb: number, uh: number, saddr: number, daddr: number): number {
  const table = net.udpTable;
  const dport = dv.getUint16(uh + 2);
  const sport = dv.getUint16(uh);
  const dif = skbDev(skb).ifindex;
  let first: UdpSock | null = null;
  for (let sk = table.hash[dport & table.mask] as Sock | null; sk !== null; sk = sk.skcNext) {
    if (!udpIsMcastSock(sk as UdpSock, dport, daddr, sport, saddr, dif)) continue;
    if (first === null) {
      first = sk as UdpSock;
      continue;
    }
    const nskb = skbClone(skb);
    if (nskb === 0) {
      sk.skDrops++;
      udpIncStats(net, UDP_MIB_RCVBUFERRORS);
      udpIncStats(net, UDP_MIB_INERRORS);
      continue;
    }
    udpQueueRcvSkb(sk as UdpSock, nskb);
  }
  if (first !== null) udpQueueRcvSkb(first, skb);
  else {
    consumeSkb(skb);
    udpIncStats(net, UDP_MIB_IGNOREDMULTI);
  }
  return 0;
}

/** udp_queue_rcv_skb: a super-packet is cut for a socket that has not asked for UDP_GRO. */
function udpQueueRcvSkb(sk: UdpSock, skb: number): number {
  if (!skbIsGso(skb) || (sk.groEnabled && (skbGsoType(skb) & SKB_GSO_UDP_L4) !== 0)) return udpQueueRcvOneSkb(sk, skb);
  // Segmentation copies the headers from the link header on.
  skbPush(skb, u32[(skb + SKB_DATA) >>> 2]! - u32[(skb + SKB_MAC_HEADER) >>> 2]!);
  let seg = skbGsoSegment(skb, NETIF_F_SG);
  if (seg === 0) {
    udpIncStats(sk.net, UDP_MIB_INERRORS);
    sk.skDrops++;
    kfreeSkb(skb);
    return -1;
  }
  consumeSkb(skb);
  while (seg !== 0) {
    const next = skbNext(seg);
    skbSetNext(seg, 0);
    __skbPull(seg, skbTransportOffset(seg));
    udpQueueRcvOneSkb(sk, seg);
    seg = next;
  }
  return 0;
}

/** udp_queue_rcv_one_skb and __udp_queue_rcv_skb. */
function udpQueueRcvOneSkb(sk: UdpSock, skb: number): number {
  __skbPull(skb, UDPHDR_SIZE);
  if (sk.cmsgFlags !== 0) ipv4PktinfoPrepare(sk, skb, true);
  else skbDstSet(skb, null);
  const err = __udpEnqueueScheduleSkb(sk, skb);
  if (err < 0) {
    let reason = SKB_DROP_REASON_PROTO_MEM;
    if (err === -ENOMEM) {
      udpIncStats(sk.net, UDP_MIB_RCVBUFERRORS);
      reason = SKB_DROP_REASON_SOCKET_RCVBUFF;
    } else udpIncStats(sk.net, UDP_MIB_MEMERRORS);
    udpIncStats(sk.net, UDP_MIB_INERRORS);
    kfreeSkbReason(skb, reason);
    return -1;
  }
  return 0;
}

/**
 * __udp_enqueue_schedule_skb: charges the skb to the receive buffer and queues it. The skb has no destructor: reading it
 * gives the memory back in batches (udp_rmem_release). 0, -ENOMEM (receive buffer full), -ENOBUFS (udp_mem).
 */
export function __udpEnqueueScheduleSkb(sk: UdpSock, skb: number): number {
  const size = u32[(skb + SKB_TRUESIZE) >>> 2]!;
  if (sk.skRmemAlloc > sk.skRcvbuf) {
    sk.skDrops++;
    return -ENOMEM;
  }
  if (!skRmemSchedule(sk, skb, size)) {
    sk.skDrops++;
    return -ENOBUFS;
  }
  sk.skRmemAlloc += size;
  if (sk.skProtMem !== null) sk.skForwardAlloc -= size;
  u32[(skb + SOCKCB_DROPCOUNT) >>> 2] = sk.skDrops;
  skbQueueTail(sk.skReceiveQueue, skb);
  if (!sockFlag(sk, SOCK_DEAD)) sk.skDataReady(sk);
  return 0;
}

/** udp_rmem_release: gives back `size` bytes of receive memory. `partial`: keep a page, and wait for a quarter of rcvbuf. */
function udpRmemRelease(sk: UdpSock, size: number, partial: boolean): void {
  if (partial) {
    sk.forwardDeficit += size;
    size = sk.forwardDeficit;
    if (size < sk.skRcvbuf >> 2 && sk.skReceiveQueue.qlen !== 0) return;
  } else size += sk.forwardDeficit;
  sk.forwardDeficit = 0;
  sk.skRmemAlloc -= size;
  if (sk.skProtMem === null) return;
  sk.skForwardAlloc += size;
  const amt = (sk.skForwardAlloc - (partial ? 1 : 0)) & ~4095;
  if (amt > 0) {
    sk.skForwardAlloc -= amt;
    __skMemReduceAllocated(sk, amt >>> 12);
  }
}

// ---- receiving: to the user -----------------------------------------------------------------------------------------

const rcvErr: ErrBox = new ErrBox();

/** __skb_recv_udp: the next datagram; 0 with `rcvErr`: a pending error or -EAGAIN. */
function __skbRecvUdp(sk: UdpSock, flags: number): number {
  if (sk.skErr !== 0) {
    rcvErr.value = sockError(sk);
    return 0;
  }
  let skb: number;
  if ((flags & MSG_PEEK) === 0) {
    skb = skbDequeue(sk.skReceiveQueue);
    if (skb !== 0) {
      udpRmemRelease(sk, u32[(skb + SKB_TRUESIZE) >>> 2]!, true);
      return skb;
    }
  } else {
    skb = __skbTryRecvFromQueue(sk.skReceiveQueue, flags, sk.skPeekOff);
    if (skb !== 0) return skb;
  }
  rcvErr.value = -EAGAIN;
  return 0;
}

/** udp_recvmsg. */
export function udpRecvmsg(sk0: Sock, msg: Msghdr, len: number, flags: number): number {
  const sk = sk0 as UdpSock;
  if ((flags & MSG_ERRQUEUE) !== 0) return ipRecvError(sk, msg, len);
  const peeking = (flags & MSG_PEEK) !== 0;
  const skb = __skbRecvUdp(sk, flags);
  if (skb === 0) return rcvErr.value;
  const off = peeking ? peekOffset : 0;
  const ulen = u32[(skb + SKB_LEN) >>> 2]!;
  let copied = len;
  if (copied > ulen - off) copied = ulen - off;
  else if (copied < ulen) msg.flags |= MSG_TRUNC;

  let err = skbCopyDatagramMsg(skb, off, msg, copied);
  if (err !== 0) {
    if (!peeking) {
      sk.skDrops++;
      udpIncStats(sk.net, UDP_MIB_INERRORS);
    }
    kfreeSkb(skb);
    return err;
  }
  if (!peeking) udpIncStats(sk.net, UDP_MIB_INDATAGRAMS);
  sockRecvCmsgs(msg, sk, skb);
  const sin = msg.name;
  if (sin !== null) {
    sin.family = AF_INET;
    sin.port = dv.getUint16(u32[(skb + SKB_TRANSPORT_HEADER) >>> 2]!);
    sin.addr = dv.getUint32(u32[(skb + SKB_NETWORK_HEADER) >>> 2]! + 12);
  }
  if (sk.groEnabled && skbIsGso(skb)) putCmsg(msg, SOL_UDP, UDP_GRO, skbGsoSize(skb));
  if (sk.cmsgFlags !== 0) ipCmsgRecvOffset(msg, sk, skb, UDPHDR_SIZE, off);
  err = (flags & MSG_TRUNC) !== 0 ? ulen : copied;
  if (sk.skPeekOff >= 0) {
    if (peeking) skPeekOffsetFwd(sk, err);
    else skPeekOffsetBwd(sk, err);
  }
  consumeSkb(skb);
  return err;
}

/** udp_poll. Checksums are verified before a datagram is queued, so what is there can be read. */
export function udpPoll(sock: Socket): number {
  return datagramPoll(sock);
}

/** udp_ioctl: SIOCOUTQ, and SIOCINQ: the length of the next datagram. */
export function udpIoctl(sk: Sock, cmd: number): number {
  switch (cmd) {
    case SIOCOUTQ:
      return sk.skWmemAlloc - 1;
    case SIOCINQ: {
      const skb = skbPeek(sk.skReceiveQueue);
      return skb !== 0 ? u32[(skb + SKB_LEN) >>> 2]! : 0;
    }
    default:
      return -ENOIOCTLCMD;
  }
}

// ---- ICMP errors ----------------------------------------------------------------------------------------------------

/** udp_err: `info` is the next hop's MTU of a fragmentation needed. data is at the quoted IP header. */
export function udpErr(skb: number, info: number): number {
  const net = skbDev(skb).net;
  const iph = u32[(skb + SKB_DATA) >>> 2]!;
  const uh = iph + ((u8[iph]! & 15) << 2);
  const icmph = u32[(skb + SKB_TRANSPORT_HEADER) >>> 2]!;
  const type = u8[icmph]!;
  const code = u8[icmph + 1]!;
  // The quoted packet is one that we sent: its source is this socket.
  const sk = __udp4LibLookup(
    net,
    dv.getUint32(iph + 16),
    dv.getUint16(uh + 2),
    dv.getUint32(iph + 12),
    dv.getUint16(uh),
    skbDev(skb).ifindex,
  );
  if (sk === null) {
    icmpIncStats(net, ICMP_MIB_INERRORS);
    return -ENOENT;
  }
  let err = EHOSTUNREACH;
  let harderr = false;
  switch (type) {
    case ICMP_SOURCE_QUENCH:
      return 0;
    case ICMP_PARAMETERPROB:
      err = EPROTO;
      harderr = true;
      break;
    case ICMP_DEST_UNREACH:
      if (code === ICMP_FRAG_NEEDED) {
        ipv4SkUpdatePmtu(skb, sk, info);
        if (sk.pmtudisc === IP_PMTUDISC_DONT) return 0;
        err = EMSGSIZE;
        harderr = true;
        break;
      }
      if (code <= NR_ICMP_UNREACH) {
        harderr = icmpErrConvert[code]!.fatal;
        err = icmpErrConvert[code]!.errno;
      }
      break;
    case ICMP_REDIRECT:
      ipv4SkRedirect(skb, sk);
      return 0;
    default:
      break;
  }
  // RFC 1122 §4.1.3.3: errors are passed to the application. One that did not ask hears of hard ones on its connection.
  if (!sk.recverr) {
    if (!harderr || sk.skcState !== TCP_ESTABLISHED) return 0;
  } else ipIcmpError(sk, skb, err, dv.getUint16(uh + 2), info, uh + UDPHDR_SIZE);
  sk.skErr = err;
  skErrorReport(sk);
  return 0;
}

// ---- the sock -------------------------------------------------------------------------------------------------------

/** udp_init_sock. */
export function udpInitSock(sk: Sock): number {
  sk.skDestruct = udpDestructSock;
  return 0;
}

/** udp_destruct_common: what nobody read. */
function udpDestructSock(sk0: Sock): void {
  const sk = sk0 as UdpSock;
  let total = 0;
  for (let skb = skbDequeue(sk.skReceiveQueue); skb !== 0; skb = skbDequeue(sk.skReceiveQueue)) {
    total += u32[(skb + SKB_TRUESIZE) >>> 2]!;
    kfreeSkb(skb);
  }
  udpRmemRelease(sk, total, false);
  skMemReclaimFinal(sk);
  inetSockDestruct(sk);
}

/** udp_destroy_sock. */
export function udpDestroySock(sk: Sock): void {
  udpFlushPendingFrames(sk);
  (sk as UdpSock).skRxDst = null;
}

/** udp_lib_close. */
export function udpLibClose(sk: Sock, _timeout: number): void {
  skCommonRelease(sk);
}

/** udp_lib_hash: UDP hashes in get_port. */
export function udpLibHash(_sk: Sock): number {
  return 0;
}

/** udp_pre_connect and udp_connect. */
export function udpConnect(sk: Sock, addr: SockAddr): number {
  const res = __ip4DatagramConnect(sk, addr);
  if (res === 0) udpHash4(sk as UdpSock);
  return res;
}

/** __udp_disconnect. */
export function __udpDisconnect(sk0: Sock, _flags: number): number {
  const sk = sk0 as UdpSock;
  udpUnhash4(sk);
  sk.skcState = TCP_CLOSE;
  sk.skcDaddr = 0;
  sk.skcDport = 0;
  sk.skcBoundDevIf = 0;
  sk.skRxDst = null;
  if ((sk.skUserlocks & SOCK_BINDADDR_LOCK) === 0) {
    sk.skcRcvSaddr = 0;
    sk.inetSaddr = 0;
    if ((sk.skUserlocks & SOCK_BINDPORT_LOCK) !== 0) udpLibRehash(sk);
  }
  if ((sk.skUserlocks & SOCK_BINDPORT_LOCK) === 0) {
    udpLibUnhash(sk);
    sk.inetSport = 0;
  }
  skDstReset(sk);
  return 0;
}

/** udp_disconnect. */
export function udpDisconnect(sk: Sock, flags: number): number {
  return __udpDisconnect(sk, flags);
}

/** udp_abort (ss -K). */
export function udpAbort(sk: Sock, err: number): number {
  sk.skErr = err;
  skErrorReport(sk);
  __udpDisconnect(sk, 0);
  return 0;
}

// ---- options --------------------------------------------------------------------------------------------------------

/** udp_setsockopt. */
export function udpSetsockopt(sk: Sock, level: number, optname: number, optval: OptVal): number {
  return level === SOL_UDP
    ? udpLibSetsockopt(sk as UdpSock, optname, optval)
    : ipSetsockopt(sk, level, optname, optval);
}

function udpLibSetsockopt(up: UdpSock, optname: number, optval: OptVal): number {
  const val = optvalInt(optval);
  if (Number.isNaN(val)) return -EINVAL;
  switch (optname) {
    case UDP_CORK:
      up.corkflag = val !== 0;
      if (val === 0 && up.pending !== 0) udpPushPendingFrames(up);
      return 0;
    case UDP_ENCAP:
      if (val !== 0) return -ENOPROTOOPT;
      up.encapType = 0;
      return 0;
    case UDP_NO_CHECK6_TX:
      up.noCheck6Tx = val !== 0;
      return 0;
    case UDP_NO_CHECK6_RX:
      up.noCheck6Rx = val !== 0;
      return 0;
    case UDP_SEGMENT:
      if (val < 0 || val > 0xffff) return -EINVAL;
      up.gsoSize = val;
      return 0;
    case UDP_GRO:
      up.groEnabled = val !== 0;
      return 0;
    default:
      return -ENOPROTOOPT;
  }
}

/** udp_getsockopt. */
export function udpGetsockopt(sk: Sock, level: number, optname: number, err: ErrBox): OptVal {
  if (level !== SOL_UDP) return ipGetsockopt(sk, level, optname, err);
  const up = sk as UdpSock;
  err.value = 0;
  switch (optname) {
    case UDP_CORK:
      return up.corkflag ? 1 : 0;
    case UDP_ENCAP:
      return up.encapType;
    case UDP_NO_CHECK6_TX:
      return up.noCheck6Tx ? 1 : 0;
    case UDP_NO_CHECK6_RX:
      return up.noCheck6Rx ? 1 : 0;
    case UDP_SEGMENT:
      return up.gsoSize;
    case UDP_GRO:
      return up.groEnabled ? 1 : 0;
    default:
      err.value = -ENOPROTOOPT;
      return 0;
  }
}

// ---- the tables -----------------------------------------------------------------------------------------------------

export const udpProt: Proto = {
  name: "UDP",
  symbol: "udp_prot",
  alloc: () => new UdpSock(),
  close: udpLibClose,
  connect: udpConnect,
  disconnect: udpDisconnect,
  ioctl: udpIoctl,
  init: udpInitSock,
  destroy: udpDestroySock,
  setsockopt: udpSetsockopt,
  getsockopt: udpGetsockopt,
  sendmsg: udpSendmsg,
  recvmsg: udpRecvmsg,
  hash: udpLibHash,
  unhash: udpLibUnhash,
  rehash: udpLibRehash,
  getPort: udpV4GetPort,
  diagDestroy: udpAbort,
  sysctlMem: (net: Net) => net.ipv4.sysctlUdpMem,
  sysctlRmem0: (net: Net) => net.ipv4.sysctlUdpRmemMin,
  sysctlWmem0: (net: Net) => net.ipv4.sysctlUdpWmemMin,
  maxHeader: 80,
};

const udpProtocol: NetProtocol = {
  symbol: "udp_protocol",
  handler: udpRcv,
  errHandler: udpErr,
  earlyDemux: udpV4EarlyDemux,
};

/** udp_init: UDP's handler, and its tables in every namespace. */
export function udpInit(): void {
  registerPernetSubsys(udpNetOps);
  inetAddProtocol(IPPROTO_UDP, udpProtocol);
}
