/**
 * net/ipv4/af_inet.c: AF_INET's place behind socket(2). `inet_create` walks inetsw[type] for the protocol; the entry
 * decides both halves of every later call: `sock->ops` (the family's) and `sk->sk_prot` (the protocol's).
 *
 * ```
 *   net_families[AF_INET] -> inet_create
 *   inetsw[SOCK_STREAM] -> {IPPROTO_TCP,  tcp_prot,  inet_stream_ops}
 *   inetsw[SOCK_DGRAM]  -> {IPPROTO_UDP,  udp_prot,  inet_dgram_ops} -> {IPPROTO_ICMP, ping_prot, inet_sockraw_ops}
 *   inetsw[SOCK_RAW]    -> {IPPROTO_IP,   raw_prot,  inet_sockraw_ops}
 * ```
 */

import { bugOn } from "../../kernel/bug.ts";
import { CAP_NET_BIND_SERVICE, CAP_NET_RAW, nsCapable } from "../../kernel/capability.ts";
import {
  EACCES,
  EADDRINUSE,
  EADDRNOTAVAIL,
  EAFNOSUPPORT,
  EAGAIN,
  EALREADY,
  ECONNABORTED,
  EINPROGRESS,
  EINVAL,
  EISCONN,
  ENOTCONN,
  EPERM,
  EPROTONOSUPPORT,
  ESOCKTNOSUPPORT,
} from "../../uapi/errno.ts";
import { O_NONBLOCK } from "../../uapi/fcntl.ts";
import {
  INADDR_ANY,
  IP_PMTUDISC_DONT,
  IP_PMTUDISC_WANT,
  IPPROTO_ICMP,
  IPPROTO_IP,
  IPPROTO_MAX,
  IPPROTO_RAW,
  IPPROTO_TCP,
  IPPROTO_UDP,
} from "../../uapi/in.ts";
import { RTN_BROADCAST, RTN_LOCAL, RTN_MULTICAST } from "../../uapi/rtnetlink.ts";
import { AF_INET, AF_UNSPEC, PF_INET, SOCK_DGRAM, SOCK_MAX, SOCK_RAW, SOCK_STREAM } from "../../uapi/socket.ts";
import {
  TCP_CLOSE,
  TCP_LISTEN,
  TCP_SYN_SENT,
  TCPF_CLOSE,
  TCPF_CLOSE_WAIT,
  TCPF_CLOSING,
  TCPF_ESTABLISHED,
  TCPF_FIN_WAIT1,
  TCPF_FIN_WAIT2,
  TCPF_LISTEN,
  TCPF_SYN_RECV,
  TCPF_SYN_SENT,
} from "../../uapi/tcp.ts";
import { datagramPoll, skSetPeekOff } from "../core/datagram.ts";
import { devAddPack } from "../core/dev.ts";
import type { Net } from "../core/net_namespace.ts";
import { registerPernetSubsys } from "../core/net_namespace.ts";
import { skbQueuePurge } from "../core/skbuff.ts";
import type { Msghdr, Proto, ProtoOps, Sock, SockAddr, Socket } from "../core/sock.ts";
import {
  __skDstCheck,
  ENOIOCTLCMD,
  ErrBox,
  RCV_SHUTDOWN,
  SHUTDOWN_MASK,
  SK_CAN_REUSE,
  SOCK_BINDADDR_LOCK,
  SOCK_BINDPORT_LOCK,
  SOCK_DEAD,
  SOCK_LINGER,
  SS_CONNECTED,
  SS_CONNECTING,
  SS_DISCONNECTING,
  SS_UNCONNECTED,
  skAlloc,
  skCommonRelease,
  skDstReset,
  skMemReclaimFinal,
  skSetupCaps,
  sockCommonGetsockopt,
  sockCommonSetsockopt,
  sockError,
  sockFlag,
  sockGraft,
  sockInitData,
  sockNoAccept,
  sockNoListen,
} from "../core/sock.ts";
import type { NetProtoFamily } from "../socket.ts";
import { sockRegister } from "../socket.ts";
import { inetAddrType } from "./fib_frontend.ts";
import type { FlowI4 } from "./flow.ts";
import { FLOWI_FLAG_ANYSRC, flowi4InitOutput } from "./flow.ts";
import { icmpInit, icmpProtocol } from "./icmp.ts";
import { ipMcDropSocket } from "./igmp.ts";
import { inetCskListenStart } from "./inet_connection_sock.ts";
import { inetHashtablesNetOps } from "./inet_hashtables.ts";
import type { InetConnectionSock, InetSock } from "./inet_sock.ts";
import { ipfragInit } from "./ip_fragment.ts";
import { ipPacketType } from "./ip_input.ts";
import { ipInit } from "./ip_output.ts";
import { netnsIpv4Init } from "./netns.ts";
import { pingInit, pingProt } from "./ping.ts";
import { ipMiscProcInit } from "./proc.ts";
import { inetAddProtocol } from "./protocol.ts";
import { rawInit, rawProt } from "./raw.ts";
import { ipRouteOutputFlow, ipRtInit, routeErr } from "./route.ts";
import { tcpSpliceEof, tcpSpliceRead } from "./tcp.splice.ts";
import { tcpPoll, tcpSendmsg, tcpSendmsgStop, tcpSetRcvlowat } from "./tcp.ts";
import { tcpFastopenInitKeyOnce } from "./tcp_fastopen.ts";
import { fastopenQueueTune, TFO_SERVER_ENABLE, TFO_SERVER_WO_SOCKOPT1 } from "./tcp_h.ts";
import { tcp4ProcInit } from "./tcp_ipv4.proc.ts";
import { tcpProt, tcpV4Init } from "./tcp_ipv4.ts";
import { tcpPeek, tcpReserve } from "./tcp_lent.ts";
import { udp4ProcInit } from "./udp.proc.ts";
import { udpInit, udpPoll, udpProt, udpSpliceEof } from "./udp.ts";

// ---- inetsw ---------------------------------------------------------------------------------------------------------

export const INET_PROTOSW_REUSE = 0x01;
export const INET_PROTOSW_PERMANENT = 0x02;
export const INET_PROTOSW_ICSK = 0x04;

/** struct inet_protosw: one protocol behind one socket type. */
export interface InetProtosw {
  /** SOCK_*: which list of inetsw. */
  readonly type: number;
  /** IPPROTO_*; IPPROTO_IP stands for any (raw). */
  readonly protocol: number;
  readonly prot: Proto;
  readonly ops: ProtoOps;
  /** INET_PROTOSW_*. */
  readonly flags: number;
}

/** inetsw[SOCK_MAX]: permanent entries first, then the others, latest first. One table a process: it holds code only. */
export const inetsw: InetProtosw[][] = Array.from({ length: SOCK_MAX }, () => []);

/** inet_register_protosw. 0; -EINVAL for a type out of range; -EPERM when a permanent entry has the protocol. */
export function inetRegisterProtosw(p: InetProtosw): number {
  if (p.type >= SOCK_MAX) return -EINVAL;
  const list = inetsw[p.type] as InetProtosw[];
  // An entry that may be taken away goes behind the permanent ones; a permanent protocol can't be overridden.
  let lastPerm = 0;
  for (let i = 0; i < list.length; i++) {
    const answer = list[i] as InetProtosw;
    if ((answer.flags & INET_PROTOSW_PERMANENT) === 0) break;
    if (p.protocol === answer.protocol) return -EPERM;
    lastPerm = i + 1;
  }
  list.splice(lastPerm, 0, p);
  return 0;
}

/** inet_unregister_protosw. -EPERM for a permanent entry. */
export function inetUnregisterProtosw(p: InetProtosw): number {
  if ((p.flags & INET_PROTOSW_PERMANENT) !== 0) return -EPERM;
  const list = inetsw[p.type] as InetProtosw[];
  const i = list.indexOf(p);
  if (i >= 0) list.splice(i, 1);
  return 0;
}

// ---- socket(2) ------------------------------------------------------------------------------------------------------

/** inet_create: net_families[AF_INET]->create. */
export function inetCreate(net: Net, sock: Socket, protocol: number, kern: boolean): number {
  if (protocol < 0 || protocol >= IPPROTO_MAX) return -EINVAL;
  sock.state = SS_UNCONNECTED;

  let answer: InetProtosw | null = null;
  let err = -ESOCKTNOSUPPORT;
  const list = inetsw[sock.type] as InetProtosw[];
  for (let i = 0; i < list.length; i++) {
    const p = list[i] as InetProtosw;
    // The exact protocol; or the caller has none and takes the entry's; or the entry takes any (raw).
    if (protocol === p.protocol) {
      if (protocol !== IPPROTO_IP) {
        answer = p;
        break;
      }
    } else {
      if (protocol === IPPROTO_IP) {
        protocol = p.protocol;
        answer = p;
        break;
      }
      if (p.protocol === IPPROTO_IP) {
        answer = p;
        break;
      }
    }
    err = -EPROTONOSUPPORT;
  }
  if (answer === null) return err;
  if (sock.type === SOCK_RAW && !kern && !nsCapable(net, CAP_NET_RAW)) return -EPERM;

  sock.ops = answer.ops;
  sock.opsSetBy = "inet_create";
  const sk = skAlloc(net, PF_INET, answer.prot) as InetSock;
  if ((answer.flags & INET_PROTOSW_REUSE) !== 0) sk.skcReuse = SK_CAN_REUSE;
  if (sock.type === SOCK_RAW) {
    sk.skcNum = protocol;
    if (protocol === IPPROTO_RAW) sk.hdrincl = true;
  }
  sk.pmtudisc = net.ipv4.sysctlIpNoPmtuDisc !== 0 ? IP_PMTUDISC_DONT : IP_PMTUDISC_WANT;
  sk.inetId = 0;

  sockInitData(sock, sk);
  sk.skDestruct = inetSockDestruct;
  sk.skProtocol = protocol;
  if (answer.prot.backlogRcv !== undefined) sk.skBacklogRcv = answer.prot.backlogRcv;
  sk.ucTtl = -1;
  sk.mcLoop = true;
  sk.mcTtl = 1;
  sk.mcIndex = 0;
  sk.rcvTos = 0;

  if (sk.skcNum !== 0) {
    // The protocol number is the port of a raw socket: it can be found right away.
    sk.inetSport = sk.skcNum;
    err = sk.skProt.hash(sk);
    if (err !== 0) return inetCreateFail(sock, sk, err);
  }
  if (sk.skProt.init !== undefined) {
    err = sk.skProt.init(sk);
    if (err !== 0) return inetCreateFail(sock, sk, err);
  }
  return 0;
}

/* notrace */
function inetCreateFail(sock: Socket, sk: Sock, err: number): number {
  skCommonRelease(sk);
  sock.sk = null;
  return err;
}

/** inet_sock_destruct: sk->sk_destruct. */
export function inetSockDestruct(sk: Sock): void {
  skbQueuePurge(sk.skReceiveQueue);
  skbQueuePurge(sk.skErrorQueue);
  skMemReclaimFinal(sk);
  bugOn(sk.skType === SOCK_STREAM && sk.skcState !== TCP_CLOSE, "destroying a TCP socket that is not closed");
  bugOn(!sockFlag(sk, SOCK_DEAD), "destroying a socket that somebody holds");
  bugOn(sk.skRmemAlloc !== 0, "sk_rmem_alloc of a dead socket");
  bugOn(sk.skWmemQueued !== 0, "sk_wmem_queued of a dead socket");
  bugOn(sk.skProtMem !== null && sk.skForwardAlloc !== 0, "sk_forward_alloc of a dead socket");
  (sk as InetSock).inetOpt = null;
}

/** inet_release: close(2). */
export function inetRelease(sock: Socket): number {
  const sk = sock.sk;
  if (sk === null) return 0;
  ipMcDropSocket(sk);
  // SO_LINGER's time is for tcp_close to wait in; who calls close() asynchronously waits outside.
  const timeout = sockFlag(sk, SOCK_LINGER) ? sk.skLingertime : 0;
  sk.skProt.close(sk, timeout);
  sock.sk = null;
  return 0;
}

// ---- bind(2) --------------------------------------------------------------------------------------------------------

/** inet_can_nonlocal_bind. */
/* notrace */
export function inetCanNonlocalBind(net: Net, inet: InetSock): boolean {
  return net.ipv4.sysctlIpNonlocalBind !== 0 || inet.freebind || inet.transparent;
}

/** inet_addr_valid_or_nonlocal. */
/* notrace */
export function inetAddrValidOrNonlocal(net: Net, inet: InetSock, addr: number, type: number): boolean {
  return (
    inetCanNonlocalBind(net, inet) ||
    addr === INADDR_ANY ||
    type === RTN_LOCAL ||
    type === RTN_MULTICAST ||
    type === RTN_BROADCAST
  );
}

/** inet_bind. */
export function inetBind(sock: Socket, addr: SockAddr): number {
  const sk = sock.sk as Sock;
  // Raw and ping sockets have their own.
  if (sk.skProt.bind !== undefined) return sk.skProt.bind(sk, addr);
  return __inetBind(sk as InetSock, addr, true);
}

/** __inet_bind. */
export function __inetBind(inet: InetSock, addr: SockAddr, checkCap: boolean): number {
  const net = inet.net;
  // AF_UNSPEC with INADDR_ANY is let through for old programs.
  if (addr.family !== AF_INET && (addr.family !== AF_UNSPEC || addr.addr !== INADDR_ANY)) return -EAFNOSUPPORT;
  const chkAddrRet = inetAddrType(net, addr.addr);
  if (!inetAddrValidOrNonlocal(net, inet, addr.addr, chkAddrRet)) return -EADDRNOTAVAIL;
  const snum = addr.port;
  if (checkCap && snum !== 0 && snum < net.ipv4.sysctlIpProtSock && !nsCapable(net, CAP_NET_BIND_SERVICE)) {
    return -EACCES;
  }
  if (inet.skcState !== TCP_CLOSE || inet.skcNum !== 0) return -EINVAL;

  inet.skcRcvSaddr = addr.addr;
  inet.inetSaddr = addr.addr;
  // A multicast or broadcast address is received on, but the device's own is sent from.
  if (chkAddrRet === RTN_MULTICAST || chkAddrRet === RTN_BROADCAST) inet.inetSaddr = 0;

  if (snum !== 0 || !inet.bindAddressNoPort) {
    const err = inet.skProt.getPort(inet, snum);
    if (err !== 0) {
      inet.inetSaddr = 0;
      inet.skcRcvSaddr = 0;
      return err < 0 ? err : -EADDRINUSE;
    }
  }
  if (inet.skcRcvSaddr !== 0) inet.skUserlocks |= SOCK_BINDADDR_LOCK;
  if (snum !== 0) inet.skUserlocks |= SOCK_BINDPORT_LOCK;
  inet.inetSport = inet.skcNum;
  inet.skcDaddr = 0;
  inet.skcDport = 0;
  skDstReset(inet);
  return 0;
}

/** inet_autobind: a socket that sends or connects without bind() gets a free port. */
export function inetAutobind(sk: Sock): number {
  const inet = sk as InetSock;
  if (inet.skcNum === 0) {
    if (inet.skProt.getPort(inet, 0) !== 0) return -EAGAIN;
    inet.inetSport = inet.skcNum;
  }
  return 0;
}

// ---- connect(2), listen(2), accept(2) -------------------------------------------------------------------------------

/** inet_dgram_connect: UDP and raw. It only fixes the peer, so it never waits. */
export function inetDgramConnect(sock: Socket, addr: SockAddr, flags: number): number {
  const sk = sock.sk as Sock;
  const prot = sk.skProt;
  if (addr.family === AF_UNSPEC) return prot.disconnect !== undefined ? prot.disconnect(sk, flags) : 0;
  if (prot.preConnect !== undefined) {
    const err = prot.preConnect(sk, addr);
    if (err !== 0) return err;
  }
  if ((sk as InetSock).skcNum === 0 && inetAutobind(sk) !== 0) return -EAGAIN;
  return (prot.connect as (sk: Sock, addr: SockAddr) => number)(sk, addr);
}

/** inet_stream_connect. */
export function inetStreamConnect(sock: Socket, addr: SockAddr, flags: number): number {
  return __inetStreamConnect(sock, addr, flags, false);
}

/**
 * __inet_stream_connect. Nothing sleeps here: while the handshake goes on, the answer is -EINPROGRESS the first time and
 * -EALREADY then; called again when the state has changed, it says how the connect went. `addr` is null for the second
 * half of a deferred (Fast Open) connect.
 */
export function __inetStreamConnect(sock: Socket, addr: SockAddr | null, flags: number, isSendmsg: boolean): number {
  const sk = sock.sk as InetConnectionSock;
  const prot = sk.skProt;
  if (addr !== null && addr.family === AF_UNSPEC) {
    sk.skDisconnects++;
    const err = (prot.disconnect as (sk: Sock, flags: number) => number)(sk, flags);
    sock.state = err !== 0 ? SS_DISCONNECTING : SS_UNCONNECTED;
    return err;
  }
  let err: number;
  switch (sock.state) {
    case SS_CONNECTED:
      return -EISCONN;
    case SS_CONNECTING:
      // A deferred connect has not sent its SYN yet; for the application it looks connected.
      if (sk.deferConnect) err = isSendmsg ? -EINPROGRESS : -EISCONN;
      else err = -EALREADY;
      break;
    case SS_UNCONNECTED:
      if (sk.skcState !== TCP_CLOSE) return -EISCONN;
      // sendmsg(MSG_FASTOPEN) without an address.
      if (addr === null) return -EINVAL;
      if (prot.preConnect !== undefined) {
        err = prot.preConnect(sk, addr);
        if (err !== 0) return err;
      }
      err = (prot.connect as (sk: Sock, addr: SockAddr) => number)(sk, addr);
      if (err < 0) return err;
      sock.state = SS_CONNECTING;
      if (err === 0 && sk.deferConnect) return 0;
      err = -EINPROGRESS;
      break;
    default:
      return -EINVAL;
  }
  if (((1 << sk.skcState) & (TCPF_SYN_SENT | TCPF_SYN_RECV)) !== 0) return err;
  // Closed by a RST, a timeout or an ICMP error.
  if (sk.skcState === TCP_CLOSE) {
    err = sockError(sk);
    if (err === 0) err = -ECONNABORTED;
    sock.state = SS_UNCONNECTED;
    sk.skDisconnects++;
    if ((prot.disconnect as (sk: Sock, flags: number) => number)(sk, flags) !== 0) sock.state = SS_DISCONNECTING;
    return err;
  }
  // sk_err may be set already: it is about the established connection, and the next call reports it.
  sock.state = SS_CONNECTED;
  return 0;
}

/** inet_listen. */
export function inetListen(sock: Socket, backlog: number): number {
  const sk = sock.sk as InetConnectionSock;
  if (sock.state !== SS_UNCONNECTED || sock.type !== SOCK_STREAM) return -EINVAL;
  const oldState = sk.skcState;
  if (((1 << oldState) & (TCPF_CLOSE | TCPF_LISTEN)) === 0) return -EINVAL;
  // Listening already: only the backlog changes.
  sk.skMaxAckBacklog = backlog;
  if (oldState === TCP_LISTEN) return 0;
  const tfo = sk.net.ipv4.sysctlTcpFastopen;
  if (
    (tfo & TFO_SERVER_WO_SOCKOPT1) !== 0 &&
    (tfo & TFO_SERVER_ENABLE) !== 0 &&
    sk.icskAcceptQueue.fastopenq.maxQlen === 0
  ) {
    fastopenQueueTune(sk, backlog);
    tcpFastopenInitKeyOnce(sk.net);
  }
  return inetCskListenStart(sk);
}

const acceptErr: ErrBox = new ErrBox();

/** inet_accept. */
export function inetAccept(sock: Socket, newsock: Socket, flags: number): number {
  const sk1 = sock.sk as Sock;
  acceptErr.value = -EINVAL;
  const sk2 = sk1.skProt.accept !== undefined ? sk1.skProt.accept(sk1, flags, acceptErr) : null;
  if (sk2 === null) return acceptErr.value;
  const ok =
    TCPF_ESTABLISHED | TCPF_SYN_RECV | TCPF_FIN_WAIT1 | TCPF_FIN_WAIT2 | TCPF_CLOSING | TCPF_CLOSE_WAIT | TCPF_CLOSE;
  bugOn(((1 << sk2.skcState) & ok) === 0, "accepted a socket in a wrong state");
  sockGraft(sk2, newsock);
  newsock.state = SS_CONNECTED;
  return 0;
}

// ---- names, data, the end -------------------------------------------------------------------------------------------

/** inet_getname: getsockname(2) and, with `peer`, getpeername(2). */
export function inetGetname(sock: Socket, out: SockAddr, peer: number): number {
  const inet = sock.sk as InetSock;
  if (peer !== 0) {
    if (inet.skcDport === 0 || (((1 << inet.skcState) & (TCPF_CLOSE | TCPF_SYN_SENT)) !== 0 && peer === 1)) {
      return -ENOTCONN;
    }
    out.port = inet.skcDport;
    out.addr = inet.skcDaddr;
  } else {
    out.addr = inet.skcRcvSaddr !== 0 ? inet.skcRcvSaddr : inet.inetSaddr;
    out.port = inet.inetSport;
  }
  out.family = AF_INET;
  return 0;
}

/** inet_send_prepare: gives an unbound socket a port. */
export function inetSendPrepare(sk: Sock): number {
  if (sk.skcNum === 0 && sk.skProt.noAutobind !== true && inetAutobind(sk) !== 0) return -EAGAIN;
  return 0;
}

/** inet_sendmsg. */
export function inetSendmsg(sock: Socket, msg: Msghdr, size: number): number {
  const sk = sock.sk as Sock;
  if (sk.skcNum === 0 && inetSendPrepare(sk) !== 0) return -EAGAIN;
  return sk.skProt.sendmsg(sk, msg, size);
}

/** inet_recvmsg. */
export function inetRecvmsg(sock: Socket, msg: Msghdr, size: number, flags: number): number {
  const sk = sock.sk as Sock;
  return sk.skProt.recvmsg(sk, msg, size, flags);
}

/** inet_shutdown. `how`: SHUT_*. */
export function inetShutdown(sock: Socket, how: number): number {
  const sk = sock.sk as Sock;
  const prot = sk.skProt;
  // SHUT_RD, SHUT_WR, SHUT_RDWR are 0, 1, 2; the bits are 1, 2, 3.
  how++;
  if ((how & ~SHUTDOWN_MASK) !== 0 || how === 0) return -EINVAL;
  if (sock.state === SS_CONNECTING) {
    sock.state =
      ((1 << sk.skcState) & (TCPF_SYN_SENT | TCPF_SYN_RECV | TCPF_CLOSE)) !== 0 ? SS_DISCONNECTING : SS_CONNECTED;
  }
  let err = 0;
  if (sk.skcState === TCP_SYN_SENT || (sk.skcState === TCP_LISTEN && (how & RCV_SHUTDOWN) !== 0)) {
    err = (prot.disconnect as (sk: Sock, flags: number) => number)(sk, O_NONBLOCK);
    sock.state = err !== 0 ? SS_DISCONNECTING : SS_UNCONNECTED;
  } else if (sk.skcState !== TCP_LISTEN) {
    // An unconnected datagram socket is shut down as well (its readers wake up), though the call fails.
    if (sk.skcState === TCP_CLOSE) err = -ENOTCONN;
    sk.skShutdown |= how;
    if (prot.shutdown !== undefined) prot.shutdown(sk, how);
  }
  sk.skStateChange(sk);
  return err;
}

/** inet_ioctl: what the protocol knows. */
export function inetIoctl(sock: Socket, cmd: number): number {
  const sk = sock.sk as Sock;
  return sk.skProt.ioctl !== undefined ? sk.skProt.ioctl(sk, cmd) : -ENOIOCTLCMD;
}

// ---- routes of connected sockets ------------------------------------------------------------------------------------

/** inet_sk_init_flowi4: the flow of a connected socket. */
/* notrace */
export function inetSkInitFlowi4(inet: InetSock, fl4: FlowI4): void {
  const opt = inet.inetOpt;
  const daddr = opt !== null && opt.srr !== 0 ? opt.faddr : inet.skcDaddr;
  flowi4InitOutput(
    fl4,
    inet.skcBoundDevIf,
    inet.skMark,
    inet.tos & 0xfc,
    0,
    inet.skProtocol,
    inet.transparent || inet.hdrincl ? FLOWI_FLAG_ANYSRC : 0,
    daddr,
    inet.inetSaddr,
    inet.skcDport,
    inet.inetSport,
  );
}

/** inet_sk_rebuild_header: makes sure that a connected socket has a route. 0 or a negative errno. */
export function inetSkRebuildHeader(sk: Sock): number {
  const inet = sk as InetSock;
  if (__skDstCheck(sk, 0) !== null) return 0;
  const fl4 = inet.corkFl;
  inetSkInitFlowi4(inet, fl4);
  const rt = ipRouteOutputFlow(sk.net, fl4, sk);
  if (rt !== null) {
    skSetupCaps(sk, rt);
    return 0;
  }
  // The route is lost for now: a soft error, that the timers report if it stays.
  const err = routeErr.value;
  sk.skRouteCaps = 0;
  sk.skErrSoft = -err;
  return err;
}

// ---- the tables -----------------------------------------------------------------------------------------------------

/** As in the kernel of the walk (2.6.30), `sendmsg` of a stream goes straight to tcp_sendmsg: there is no autobind. */
export const inetStreamOps: ProtoOps = {
  family: PF_INET,
  symbol: "inet_stream_ops",
  release: inetRelease,
  bind: inetBind,
  connect: inetStreamConnect,
  accept: inetAccept,
  getname: inetGetname,
  poll: tcpPoll,
  ioctl: inetIoctl,
  listen: inetListen,
  shutdown: inetShutdown,
  setsockopt: sockCommonSetsockopt,
  getsockopt: sockCommonGetsockopt,
  sendmsg: tcpSendmsg,
  sendmsgStop: tcpSendmsgStop,
  recvmsg: inetRecvmsg,
  spliceRead: tcpSpliceRead,
  spliceEof: tcpSpliceEof,
  setRcvlowat: tcpSetRcvlowat,
  setPeekOff: skSetPeekOff,
  reserve: tcpReserve,
  peek: tcpPeek,
};

export const inetDgramOps: ProtoOps = {
  family: PF_INET,
  symbol: "inet_dgram_ops",
  release: inetRelease,
  bind: inetBind,
  connect: inetDgramConnect,
  accept: sockNoAccept,
  getname: inetGetname,
  poll: udpPoll,
  ioctl: inetIoctl,
  listen: sockNoListen,
  shutdown: inetShutdown,
  setsockopt: sockCommonSetsockopt,
  getsockopt: sockCommonGetsockopt,
  sendmsg: inetSendmsg,
  recvmsg: inetRecvmsg,
  spliceEof: udpSpliceEof,
  setPeekOff: skSetPeekOff,
};

/** For SOCK_RAW sockets; should be the same as inet_dgram_ops but without udp_poll. */
export const inetSockrawOps: ProtoOps = {
  family: PF_INET,
  symbol: "inet_sockraw_ops",
  release: inetRelease,
  bind: inetBind,
  connect: inetDgramConnect,
  accept: sockNoAccept,
  getname: inetGetname,
  poll: datagramPoll,
  ioctl: inetIoctl,
  listen: sockNoListen,
  shutdown: inetShutdown,
  setsockopt: sockCommonSetsockopt,
  getsockopt: sockCommonGetsockopt,
  sendmsg: inetSendmsg,
  recvmsg: inetRecvmsg,
};

const inetFamilyOps: NetProtoFamily = { family: PF_INET, symbol: "inet_family_ops", create: inetCreate };

/** inetsw_array: what inet_init loads into inetsw. A function, since the tables of the protocols load after this file. */
/* notrace */
function inetswArray(): InetProtosw[] {
  return [
    {
      type: SOCK_STREAM,
      protocol: IPPROTO_TCP,
      prot: tcpProt,
      ops: inetStreamOps,
      flags: INET_PROTOSW_PERMANENT | INET_PROTOSW_ICSK,
    },
    { type: SOCK_DGRAM, protocol: IPPROTO_UDP, prot: udpProt, ops: inetDgramOps, flags: INET_PROTOSW_PERMANENT },
    { type: SOCK_DGRAM, protocol: IPPROTO_ICMP, prot: pingProt, ops: inetSockrawOps, flags: INET_PROTOSW_REUSE },
    { type: SOCK_RAW, protocol: IPPROTO_IP, prot: rawProt, ops: inetSockrawOps, flags: INET_PROTOSW_REUSE },
  ];
}

let inetInitDone = false;

/**
 * inet_init: everything of IPv4 that is code, once a process: the family, its protocols, and what each namespace gets when
 * it is made. In the kernel's order, but that the sysctls come first, which all of the rest reads.
 */
export function inetInit(): void {
  if (inetInitDone) return;
  inetInitDone = true;
  netnsIpv4Init();
  sockRegister(inetFamilyOps);
  inetAddProtocol(IPPROTO_ICMP, icmpProtocol);
  for (const q of inetswArray()) inetRegisterProtosw(q);
  ipInit();
  ipRtInit();
  rawInit();
  registerPernetSubsys(inetHashtablesNetOps);
  tcpV4Init();
  udpInit();
  pingInit();
  icmpInit();
  ipfragInit();
  tcp4ProcInit();
  udp4ProcInit();
  ipMiscProcInit();
  devAddPack(ipPacketType);
}
