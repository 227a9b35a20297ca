/** Ping sockets (net/ipv4/ping.c): ICMP echo for programs without CAP_NET_RAW. The port is the echo identifier. */

import {
  CHECKSUM_NONE,
  SKB_DATA,
  SKB_LEN,
  SKB_NETWORK_HEADER,
  SKB_TRANSPORT_HEADER,
} from "../../../assembly/layout.ts";
import { dv, u8, u32 } from "../../mm/mem.ts";
import { SKB_DROP_REASON_NO_SOCKET, SKB_DROP_REASON_SOCKET_RCVBUFF } from "../../uapi/dropreason.ts";
import {
  EACCES,
  EADDRINUSE,
  EADDRNOTAVAIL,
  EAFNOSUPPORT,
  EDESTADDRREQ,
  EHOSTUNREACH,
  EINVAL,
  EMSGSIZE,
  EOPNOTSUPP,
  EPROTO,
} from "../../uapi/errno.ts";
import {
  ICMP_DEST_UNREACH,
  ICMP_ECHO,
  ICMP_EXT_ECHO,
  ICMP_FRAG_NEEDED,
  ICMP_PARAMETERPROB,
  ICMP_REDIRECT,
  ICMP_SOURCE_QUENCH,
  NR_ICMP_UNREACH,
} from "../../uapi/icmp.ts";
import { IN_MULTICAST, INADDR_ANY, IP_PMTUDISC_DONT } from "../../uapi/in.ts";
import {
  RT_SCOPE_LINK,
  RT_SCOPE_UNIVERSE,
  RTCF_BROADCAST,
  RTN_BROADCAST,
  RTN_LOCAL,
  RTN_MULTICAST,
} from "../../uapi/rtnetlink.ts";
import {
  AF_INET,
  AF_UNSPEC,
  MSG_CONFIRM,
  MSG_DONTROUTE,
  MSG_ERRQUEUE,
  MSG_OOB,
  MSG_PROBE,
  MSG_TRUNC,
} from "../../uapi/socket.ts";
import { TCP_ESTABLISHED } from "../../uapi/tcp.ts";
import { skbCopyDatagramMsg, skbRecvDatagram } from "../core/datagram.ts";
import { msgIterAdvance, msgIterCopyTo } from "../core/iov_iter.ts";
import type { Net, PernetOperations } from "../core/net_namespace.ts";
import { registerPernetSubsys } from "../core/net_namespace.ts";
import { sockRecvCmsgs } from "../core/scm.ts";
import {
  consumeSkb,
  csumBlockAdd,
  csumFold,
  csumPartial,
  kfreeSkbReason,
  skbDev,
  skbPeek,
  skbPush,
  skbSetIpSummed,
} from "../core/skbuff.ts";
import type { Msghdr, Proto, Sock, SockAddr } from "../core/sock.ts";
import {
  ErrBox,
  SOCK_BINDADDR_LOCK,
  SOCK_BINDPORT_LOCK,
  SOCK_BROADCAST,
  SOCK_LOCALROUTE,
  skCommonRelease,
  skDstReset,
  skErrorReport,
  sockFlag,
  sockQueueRcvSkb,
} from "../core/sock.ts";
import { inetAddrValidOrNonlocal } from "./af_inet.ts";
import { ip4DatagramConnect } from "./datagram.ts";
import { inetAddrType } from "./fib_frontend.ts";
import { FlowI4, flowi4InitOutput } from "./flow.ts";
import { icmpErrConvert } from "./icmp.ts";
import { InetSock } from "./inet_sock.ts";
import { getRttos, IpcmCookie, inetSkFlowiFlags, ipcmInitSk } from "./ip.ts";
import { ipAppendData, ipFlushPendingFrames, ipPushPendingFrames } from "./ip_output.ts";
import {
  ipCmsgRecv,
  ipCmsgSend,
  ipGetsockopt,
  ipIcmpError,
  ipRecvError,
  ipSetsockopt,
  ipv4PktinfoPrepare,
} from "./ip_sockglue.ts";
import { msgPeekByte, rawDisconnect } from "./raw.ts";
import type { Rtable } from "./route.ts";
import { ipRouteOutputFlow, ipv4SkRedirect, routeErr } from "./route.ts";

declare module "../core/net_namespace.ts" {
  interface Net {
    /** ping_table: ping sockets by identifier. */
    pingSocks: Map<number, InetSock[]>;
    /** ping_port_rover. */
    pingPortRover: number;
  }
}

const ICMPHDR_SIZE = 8;

const pingNetOps: PernetOperations = {
  name: "ping",
  init(net: Net): number {
    net.pingSocks = new Map();
    net.pingPortRover = 0;
    return 0;
  },
  exit(_net: Net): void {},
};

// ---- identifiers ----------------------------------------------------------------------------------------------------

/** ping_get_port: takes identifier `ident`, or a free one for 0. 0, or 1 when it is in use. */
export function pingGetPort(sk: Sock, ident: number): number {
  const table = sk.net.pingSocks;
  if (ident === 0) {
    for (let i = 0; i < 0x10000 && ident === 0; i++) {
      const rover = (sk.net.pingPortRover + 1) & 0xffff;
      sk.net.pingPortRover = rover;
      if (rover !== 0 && !table.has(rover)) ident = rover;
    }
    if (ident === 0) return 1;
  } else {
    const list = table.get(ident);
    if (list !== undefined) {
      for (const sk2 of list) if (sk2 !== sk && (sk2.skcReuse === 0 || sk.skcReuse === 0)) return 1;
    }
  }
  sk.skcNum = ident;
  if (!sk.skcHashed) {
    const list = table.get(ident);
    if (list === undefined) table.set(ident, [sk as InetSock]);
    else list.unshift(sk as InetSock);
    sk.skcHashed = true;
  }
  return 0;
}

/** ping_unhash. */
export function pingUnhash(sk: Sock): void {
  if (!sk.skcHashed) return;
  const table = sk.net.pingSocks;
  const list = table.get(sk.skcNum) as InetSock[];
  list.splice(list.indexOf(sk as InetSock), 1);
  if (list.length === 0) table.delete(sk.skcNum);
  sk.skcHashed = false;
  sk.skcNum = 0;
  (sk as InetSock).inetSport = 0;
}

/** ping_lookup: who sent the echo request with this identifier from the address that the packet was sent to. */
function pingLookup(net: Net, skb: number, ident: number): InetSock | null {
  const list = net.pingSocks.get(ident);
  if (list === undefined) return null;
  const laddr = dv.getUint32(u32[(skb + SKB_NETWORK_HEADER) >>> 2]! + 16);
  const dif = skbDev(skb).ifindex;
  for (let i = 0; i < list.length; i++) {
    const sk = list[i] as InetSock;
    if (sk.skcRcvSaddr !== 0 && sk.skcRcvSaddr !== laddr) continue;
    if (sk.skcBoundDevIf !== 0 && sk.skcBoundDevIf !== dif) continue;
    return sk;
  }
  return null;
}

/** ping_init_sock: net.ipv4.ping_group_range says who may; the host's user is of group 0. */
export function pingInitSock(sk: Sock): number {
  const range = sk.net.ipv4.sysctlPingGroupRange;
  return (range[0] as number) <= 0 && (range[1] as number) >= 0 ? 0 : -EACCES;
}

/** ping_bind. */
export function pingBind(sk0: Sock, addr: SockAddr): number {
  const sk = sk0 as InetSock;
  if (addr.family !== AF_INET && !(addr.family === AF_UNSPEC && addr.addr === INADDR_ANY)) return -EAFNOSUPPORT;
  const type = addr.addr === INADDR_ANY ? RTN_LOCAL : inetAddrType(sk.net, addr.addr);
  if (!inetAddrValidOrNonlocal(sk.net, sk, addr.addr, type) || type === RTN_MULTICAST || type === RTN_BROADCAST) {
    return -EADDRNOTAVAIL;
  }
  if (sk.skcNum !== 0) return -EINVAL;
  if (pingGetPort(sk, addr.port) !== 0) return -EADDRINUSE;
  sk.skcRcvSaddr = addr.addr;
  sk.inetSaddr = addr.addr;
  if (addr.addr !== 0) sk.skUserlocks |= SOCK_BINDADDR_LOCK;
  if (addr.port !== 0) sk.skUserlocks |= SOCK_BINDPORT_LOCK;
  sk.inetSport = sk.skcNum;
  sk.skcDaddr = 0;
  sk.skcDport = 0;
  skDstReset(sk);
  return 0;
}

// ---- sending --------------------------------------------------------------------------------------------------------

const sendIpc: IpcmCookie = new IpcmCookie();
const sendFl4: FlowI4 = new FlowI4();
/** pfh->wcheck: the sum of the payload, and then of the header. */
let wcheck = 0;

/** ping_getfrag. */
function pingGetfrag(from: unknown, to: number, offset: number, len: number, _odd: number, _skb: number): number {
  const err = msgIterCopyTo(to, from as Msghdr, len);
  if (err < 0) return err;
  wcheck = csumBlockAdd(wcheck, csumPartial(to, len, 0), offset);
  return 0;
}

/** ping_v4_sendmsg: the message starts with an echo request's header; type, code and sequence number are the caller's. */
export function pingV4Sendmsg(sk0: Sock, msg: Msghdr, len: number): number {
  const sk = sk0 as InetSock;
  const net = sk.net;
  if (len > 0xffff) return -EMSGSIZE;
  if (len < ICMPHDR_SIZE) return -EINVAL;
  if ((msg.flags & MSG_OOB) !== 0) return -EOPNOTSUPP;
  const type = msgPeekByte(msg, 0);
  const code = msgPeekByte(msg, 1);
  const sequence = (msgPeekByte(msg, 6) << 8) | msgPeekByte(msg, 7);
  if ((type !== ICMP_ECHO && type !== ICMP_EXT_ECHO) || code !== 0) return -EINVAL;
  msgIterAdvance(msg, ICMPHDR_SIZE);

  let daddr: number;
  if (msg.name !== null) {
    if (msg.name.family !== AF_INET) return -EAFNOSUPPORT;
    daddr = msg.name.addr;
  } else {
    if (sk.skcState !== TCP_ESTABLISHED) return -EDESTADDRREQ;
    daddr = sk.skcDaddr;
  }
  const ipc = sendIpc;
  ipcmInitSk(ipc, sk);
  if (msg.control !== null && msg.control.length !== 0) {
    const err = ipCmsgSend(sk, msg, ipc);
    if (err !== 0) return err;
  }
  if (ipc.opt === null) ipc.opt = sk.inetOpt;
  let saddr = ipc.addr;
  let faddr = daddr;
  ipc.addr = daddr;
  if (ipc.opt !== null && ipc.opt.srr !== 0) {
    if (daddr === 0) return -EINVAL;
    faddr = ipc.opt.faddr;
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
    sk.skProtocol,
    inetSkFlowiFlags(sk),
    faddr,
    saddr,
    0,
    0,
  );
  fl4.fl4IcmpType = type;
  fl4.fl4IcmpCode = code;
  const rt = ipRouteOutputFlow(net, fl4, sk) as Rtable | null;
  if (rt === null) return routeErr.value;
  if ((rt.rtFlags & RTCF_BROADCAST) !== 0 && !sockFlag(sk, SOCK_BROADCAST)) return -EACCES;
  if ((msg.flags & (MSG_CONFIRM | MSG_PROBE)) === (MSG_CONFIRM | MSG_PROBE) && len === ICMPHDR_SIZE) return 0;
  if (ipc.addr === 0) ipc.addr = fl4.daddr;

  wcheck = 0;
  let err = ipAppendData(sk, fl4, pingGetfrag, msg, len, ICMPHDR_SIZE, ipc, rt, msg.flags);
  if (err !== 0) ipFlushPendingFrames(sk);
  else err = pingV4PushPendingFrames(sk, fl4, type, sequence);
  return err < 0 ? err : len;
}

/** ping_v4_push_pending_frames. */
function pingV4PushPendingFrames(sk: InetSock, fl4: FlowI4, type: number, sequence: number): number {
  const skb = skbPeek(sk.skWriteQueue);
  if (skb === 0) return 0;
  const icmph = u32[(skb + SKB_TRANSPORT_HEADER) >>> 2]!;
  u8[icmph] = type;
  u8[icmph + 1] = 0;
  dv.setUint16(icmph + 2, 0);
  dv.setUint16(icmph + 4, sk.inetSport);
  dv.setUint16(icmph + 6, sequence);
  dv.setUint16(icmph + 2, csumFold(csumPartial(icmph, ICMPHDR_SIZE, wcheck)));
  skbSetIpSummed(skb, CHECKSUM_NONE);
  return ipPushPendingFrames(sk, fl4);
}

// ---- receiving ------------------------------------------------------------------------------------------------------

/** ping_rcv: an echo reply. Consumes the skb; 0 or SKB_DROP_REASON_*. */
export function pingRcv(skb: number): number {
  const icmph = u32[(skb + SKB_TRANSPORT_HEADER) >>> 2]!;
  skbPush(skb, u32[(skb + SKB_DATA) >>> 2]! - icmph);
  const sk = pingLookup(skbDev(skb).net, skb, dv.getUint16(icmph + 4));
  if (sk === null) {
    kfreeSkbReason(skb, SKB_DROP_REASON_NO_SOCKET);
    return SKB_DROP_REASON_NO_SOCKET;
  }
  ipv4PktinfoPrepare(sk, skb, true);
  if (sockQueueRcvSkb(sk, skb) < 0) {
    kfreeSkbReason(skb, SKB_DROP_REASON_SOCKET_RCVBUFF);
    return SKB_DROP_REASON_SOCKET_RCVBUFF;
  }
  return 0;
}

const rcvErr: ErrBox = new ErrBox();

/** ping_recvmsg: the reply, ICMP header included. */
export function pingRecvmsg(sk: Sock, msg: Msghdr, len: number, flags: number): number {
  if ((flags & MSG_OOB) !== 0) return -EOPNOTSUPP;
  if ((flags & MSG_ERRQUEUE) !== 0) return ipRecvError(sk, msg, len);
  const skb = skbRecvDatagram(sk, flags, rcvErr);
  if (skb === 0) return rcvErr.value;
  let copied = u32[(skb + SKB_LEN) >>> 2]!;
  if (len < copied) {
    msg.flags |= MSG_TRUNC;
    copied = len;
  }
  const err = skbCopyDatagramMsg(skb, 0, msg, copied);
  if (err === 0) {
    sockRecvCmsgs(msg, sk, skb);
    if (msg.name !== null) {
      msg.name.family = AF_INET;
      msg.name.port = 0;
      msg.name.addr = dv.getUint32(u32[(skb + SKB_NETWORK_HEADER) >>> 2]! + 12);
    }
    if ((sk as InetSock).cmsgFlags !== 0) ipCmsgRecv(msg, sk, skb);
  }
  consumeSkb(skb);
  return err !== 0 ? err : copied;
}

/** ping_err: an ICMP error about an echo request. data is at the quoted IP header; `offset`: from there to the ICMP header. */
export function pingErr(skb: number, offset: number, info: number): void {
  const quoted = u32[(skb + SKB_DATA) >>> 2]! + offset;
  const icmph = u32[(skb + SKB_TRANSPORT_HEADER) >>> 2]!;
  const type = u8[icmph]!;
  const code = u8[icmph + 1]!;
  if (u8[quoted] !== ICMP_ECHO && u8[quoted] !== ICMP_EXT_ECHO) return;
  const sk = pingLookup(skbDev(skb).net, skb, dv.getUint16(quoted + 4));
  if (sk === null) return;
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
      if (code === ICMP_FRAG_NEEDED) {
        if (sk.pmtudisc === IP_PMTUDISC_DONT) return;
        err = EMSGSIZE;
        harderr = true;
      } else if (code <= NR_ICMP_UNREACH) {
        err = icmpErrConvert[code]!.errno;
        harderr = icmpErrConvert[code]!.fatal;
      }
      break;
    case ICMP_REDIRECT:
      ipv4SkRedirect(skb, sk);
      err = 0;
      return;
    default:
      break;
  }
  if (!sk.recverr) {
    if (!harderr || sk.skcState !== TCP_ESTABLISHED) return;
  } else ipIcmpError(sk, skb, err, 0, info, quoted);
  sk.skErr = err;
  skErrorReport(sk);
}

// ---- the table ------------------------------------------------------------------------------------------------------

function pingClose(sk: Sock, _timeout: number): void {
  skCommonRelease(sk);
}

function pingDestroy(sk: Sock): void {
  ipFlushPendingFrames(sk);
}

function pingHash(_sk: Sock): number {
  return 0;
}

export const pingProt: Proto = {
  name: "PING",
  symbol: "ping_prot",
  alloc: () => new InetSock(),
  init: pingInitSock,
  close: pingClose,
  destroy: pingDestroy,
  connect: ip4DatagramConnect,
  disconnect: rawDisconnect,
  setsockopt: ipSetsockopt,
  getsockopt: ipGetsockopt,
  sendmsg: pingV4Sendmsg,
  recvmsg: pingRecvmsg,
  bind: pingBind,
  hash: pingHash,
  unhash: pingUnhash,
  getPort: pingGetPort,
  maxHeader: 80,
};

/** ping_init. */
export function pingInit(): void {
  registerPernetSubsys(pingNetOps);
}
