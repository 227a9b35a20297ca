/**
 * Packet sockets (net/packet/af_packet.c): frames as they pass a device, both ways. SOCK_RAW with the link header,
 * SOCK_DGRAM without it. There are no filters, rings or fanout groups.
 *
 * Protocols are EtherTypes in host order, in socket(), in addresses and in control messages: ETH_P_ALL is 3.
 */

import {
  CHECKSUM_NONE,
  CHECKSUM_PARTIAL,
  CHECKSUM_UNNECESSARY,
  PACKET_LOOPBACK,
  PACKET_OUTGOING,
  PACKETCB_IFINDEX,
  PACKETCB_ORIGLEN,
  SKB_DATA,
  SKB_IP_SUMMED,
  SKB_LEN,
  SKB_MAC_HEADER,
  SKB_NETWORK_HEADER,
  SOCKCB_DROPCOUNT,
} from "../../../assembly/layout.ts";
import { CAP_NET_RAW, nsCapable } from "../../kernel/capability.ts";
import { dv, u8, u32 } from "../../mm/mem.ts";
import { SKB_DROP_REASON_PACKET_SOCK_ERROR } from "../../uapi/dropreason.ts";
import {
  EADDRNOTAVAIL,
  EFAULT,
  EINVAL,
  EMSGSIZE,
  ENETDOWN,
  ENODEV,
  ENOPROTOOPT,
  ENOTCONN,
  ENXIO,
  EOPNOTSUPP,
  EPERM,
  ESOCKTNOSUPPORT,
} from "../../uapi/errno.ts";
import { IFF_UP } from "../../uapi/if.ts";
import { ETH_P_ALL } from "../../uapi/if_ether.ts";
import {
  PACKET_ADD_MEMBERSHIP,
  PACKET_AUXDATA,
  PACKET_DROP_MEMBERSHIP,
  PACKET_IGNORE_OUTGOING,
  PACKET_MR_ALLMULTI,
  PACKET_MR_MULTICAST,
  PACKET_MR_PROMISC,
  PACKET_ORIGDEV,
  PACKET_STATISTICS,
  TP_STATUS_CSUM_VALID,
  TP_STATUS_CSUMNOTREADY,
  TP_STATUS_USER,
} from "../../uapi/if_packet.ts";
import {
  AF_PACKET,
  MSG_CMSG_CLOEXEC,
  MSG_DONTWAIT,
  MSG_ERRQUEUE,
  MSG_PEEK,
  MSG_TRUNC,
  PF_PACKET,
  SOCK_DGRAM,
  SOCK_PACKET,
  SOCK_RAW,
  SOL_PACKET,
} from "../../uapi/socket.ts";
import { SIOCINQ, SIOCOUTQ } from "../../uapi/sockios.ts";
import { datagramPoll, skbCopyDatagramMsg, skbRecvDatagram } from "../core/datagram.ts";
import type { NetDevice, PacketType } from "../core/dev.ts";
import {
  devAddPack,
  devGetByIndex,
  devMcAdd,
  devMcDel,
  devQueueXmit,
  devRemovePack,
  devSetAllmulti,
  devSetPromiscuity,
  registerNetdeviceNotifier,
} from "../core/dev.ts";
import { NETDEV_DOWN, NETDEV_UNREGISTER, NETDEV_UP } from "../core/dev_api.ts";
import { msgIterCopyTo } from "../core/iov_iter.ts";
import type { Net, PernetOperations } from "../core/net_namespace.ts";
import { registerPernetSubsys } from "../core/net_namespace.ts";
import { putCmsg, sockRecvCmsgs } from "../core/scm.ts";
import {
  consumeSkb,
  kfreeSkb,
  kfreeSkbReason,
  skbDstDrop,
  skbMacHeaderWasSet,
  skbPeek,
  skbPktType,
  skbProtocol,
  skbPull,
  skbPush,
  skbPut,
  skbQueuePurge,
  skbQueueTail,
  skbReserve,
  skbResetMacHeader,
  skbResetNetworkHeader,
  skbSetDev,
  skbSetIpSummed,
  skbSetMark,
  skbSetNetworkHeader,
  skbSetPriority,
  skbSetProtocol,
} from "../core/skbuff.ts";
import type { Msghdr, OptVal, Proto, ProtoOps, SockAddr, Socket } from "../core/sock.ts";
import {
  ENOIOCTLCMD,
  ErrBox,
  Sock,
  skAlloc,
  skbSetOwnerR,
  skErrorReport,
  sockAllocSendSkb,
  sockInitData,
  sockNoAccept,
  sockNoConnect,
  sockNoListen,
  sockNoShutdown,
  sockOrphan,
  sockPut,
} from "../core/sock.ts";
import { optvalInt } from "../core/sock_options.ts";
import type { NetProtoFamily } from "../socket.ts";
import { sockRegister } from "../socket.ts";

declare module "../core/net_namespace.ts" {
  interface Net {
    /** net->packet.sklist. */
    packetSocks: Set<PacketSock>;
  }
}

/** struct packet_mreq. */
export interface PacketMreq {
  ifindex: number;
  /** PACKET_MR_*. */
  type: number;
  address?: Uint8Array;
}

/** struct tpacket_auxdata: the data of a PACKET_AUXDATA control message. */
export interface TpacketAuxdata {
  /** TP_STATUS_*. */
  tpStatus: number;
  tpLen: number;
  tpSnaplen: number;
  tpMac: number;
  tpNet: number;
}

/** struct packet_sock. */
export class PacketSock extends Sock {
  /** The EtherType; 0 = receives nothing. */
  num = 0;
  /** The device it is bound to; 0 = all of them, -1 = one that has gone. */
  ifindex = 0;
  /** po->prot_hook while it is registered. */
  protHook: PacketType | null = null;
  auxdata = false;
  origdev = false;
  ignoreOutgoing = false;
  tpPackets = 0;
  tpDrops = 0;
  readonly mclist: PacketMreq[] = [];
}

const packetNetOps: PernetOperations = {
  name: "packet",
  init(net: Net): number {
    net.packetSocks = new Set();
    return 0;
  },
  exit(_net: Net): void {},
};

// ---- the hook in the device layer --------------------------------------------------------------------------------------

/** register_prot_hook. */
function registerProtHook(po: PacketSock): void {
  if (po.protHook !== null || po.num === 0 || po.ifindex < 0) return;
  const dev = po.ifindex !== 0 ? devGetByIndex(po.net, po.ifindex) : null;
  const pt: PacketType = {
    type: po.num,
    dev,
    net: po.net,
    symbol: "packet_rcv",
    ignoreSk: po.slot,
    ignoreOutgoing: po.ignoreOutgoing,
    func: (skb, d, _pt, origDev) => packetRcv(po, skb, d, origDev),
  };
  po.protHook = pt;
  devAddPack(pt);
}

/** unregister_prot_hook. */
function unregisterProtHook(po: PacketSock): void {
  if (po.protHook === null) return;
  devRemovePack(po.protHook);
  po.protHook = null;
}

/** packet_rcv: a frame of the device layer; consumes the skb. */
export function packetRcv(po: PacketSock, skb: number, dev: NetDevice, origDev: NetDevice): number {
  if (skbPktType(skb) === PACKET_LOOPBACK || dev.net !== po.net) {
    consumeSkb(skb);
    return 0;
  }
  if (dev.headerOps !== null) {
    if (po.skType !== SOCK_DGRAM) {
      // Received frames stand behind their link header, sent ones before it.
      if (skbMacHeaderWasSet(skb)) skbPush(skb, u32[(skb + SKB_DATA) >>> 2]! - u32[(skb + SKB_MAC_HEADER) >>> 2]!);
    } else if (skbPktType(skb) === PACKET_OUTGOING) {
      skbPull(skb, u32[(skb + SKB_NETWORK_HEADER) >>> 2]! - u32[(skb + SKB_DATA) >>> 2]!);
    }
  }
  if (po.skRmemAlloc >= po.skRcvbuf) {
    po.tpDrops++;
    po.skDrops++;
    kfreeSkbReason(skb, SKB_DROP_REASON_PACKET_SOCK_ERROR);
    return 0;
  }
  u32[(skb + PACKETCB_IFINDEX) >>> 2] = po.origdev ? origDev.ifindex : dev.ifindex;
  u32[(skb + PACKETCB_ORIGLEN) >>> 2] = u32[(skb + SKB_LEN) >>> 2]!;
  skbSetOwnerR(skb, po);
  skbDstDrop(skb);
  po.tpPackets++;
  u32[(skb + SOCKCB_DROPCOUNT) >>> 2] = po.skDrops;
  skbQueueTail(po.skReceiveQueue, skb);
  po.skDataReady(po);
  return 0;
}

// ---- socket calls ------------------------------------------------------------------------------------------------------

/** packet_create. `protocol`: host order. */
export function packetCreate(net: Net, sock: Socket, protocol: number, kern: boolean): number {
  if (!kern && !nsCapable(net, CAP_NET_RAW)) return -EPERM;
  if (sock.type !== SOCK_DGRAM && sock.type !== SOCK_RAW && sock.type !== SOCK_PACKET) return -ESOCKTNOSUPPORT;
  sock.ops = packetOps;
  sock.opsSetBy = "packet_create";
  const po = skAlloc(net, PF_PACKET, packetProto) as PacketSock;
  sockInitData(sock, po);
  po.skDestruct = packetSockDestruct;
  po.num = protocol & 0xffff;
  net.packetSocks.add(po);
  registerProtHook(po);
  return 0;
}

function packetSockDestruct(sk: Sock): void {
  skbQueuePurge(sk.skReceiveQueue);
  skbQueuePurge(sk.skErrorQueue);
}

/** packet_release. */
function packetRelease(sock: Socket): number {
  const po = sock.sk as PacketSock | null;
  if (po === null) return 0;
  po.net.packetSocks.delete(po);
  unregisterProtHook(po);
  for (const mreq of po.mclist) packetDevMc(po.net, mreq, -1);
  po.mclist.length = 0;
  sockOrphan(po);
  sock.sk = null;
  skbQueuePurge(po.skReceiveQueue);
  sockPut(po);
  return 0;
}

/** packet_bind: to a device (0 = all) and a protocol (0 = the one of socket()). */
function packetBind(sock: Socket, addr: SockAddr): number {
  const po = sock.sk as PacketSock;
  if (addr.family !== AF_PACKET) return -EINVAL;
  const ifindex = addr.ifindex ?? 0;
  const dev = ifindex !== 0 ? devGetByIndex(po.net, ifindex) : null;
  if (ifindex !== 0 && dev === null) return -ENODEV;
  unregisterProtHook(po);
  po.num = addr.protocol !== undefined && addr.protocol !== 0 ? addr.protocol : po.num;
  po.ifindex = ifindex;
  if (po.num === 0) return 0;
  if (dev === null || (dev.flags & IFF_UP) !== 0) registerProtHook(po);
  else {
    po.skErr = ENETDOWN;
    skErrorReport(po);
  }
  return 0;
}

/** packet_getname. */
function packetGetname(sock: Socket, out: SockAddr, peer: number): number {
  if (peer !== 0) return -EOPNOTSUPP;
  const po = sock.sk as PacketSock;
  const dev = po.ifindex > 0 ? devGetByIndex(po.net, po.ifindex) : null;
  out.family = AF_PACKET;
  out.addr = 0;
  out.port = 0;
  out.ifindex = po.ifindex;
  out.protocol = po.num;
  if (dev !== null) {
    out.hatype = dev.type;
    out.lladdr = dev.devAddr.slice(0, dev.addrLen);
  }
  return 0;
}

/** packet_poll. */
function packetPoll(sock: Socket): number {
  return datagramPoll(sock);
}

function packetIoctl(sock: Socket, cmd: number): number {
  const sk = sock.sk as Sock;
  if (cmd === SIOCOUTQ) return sk.skWmemAlloc - 1;
  if (cmd === SIOCINQ) {
    const skb = skbPeek(sk.skReceiveQueue);
    return skb !== 0 ? u32[(skb + SKB_LEN) >>> 2]! : 0;
  }
  return -ENOIOCTLCMD;
}

const sendErr: ErrBox = new ErrBox();

/** packet_snd: a frame (SOCK_RAW) or what goes behind the link header that the device makes (SOCK_DGRAM). */
function packetSendmsg(sock: Socket, msg: Msghdr, len: number): number {
  const po = sock.sk as PacketSock;
  let proto = po.num;
  let ifindex = po.ifindex;
  let lladdr: Uint8Array | null = null;
  if (msg.name !== null) {
    if (msg.name.family !== AF_PACKET) return -EINVAL;
    proto = msg.name.protocol ?? 0;
    ifindex = msg.name.ifindex ?? 0;
    lladdr = msg.name.lladdr ?? null;
  }
  const dev = ifindex > 0 ? devGetByIndex(po.net, ifindex) : null;
  if (dev === null) return -ENXIO;
  if ((dev.flags & IFF_UP) === 0) return -ENETDOWN;
  if (sock.type === SOCK_DGRAM && lladdr !== null && lladdr.length < dev.addrLen) return -EINVAL;
  const raw = sock.type !== SOCK_DGRAM;
  const reserve = raw ? dev.hardHeaderLen : 0;
  // Four bytes more than the MTU may be a VLAN tag.
  if (len > dev.mtu + reserve + 4) return -EMSGSIZE;

  const hlen = (dev.hardHeaderLen + dev.neededHeadroom + 15) & ~15;
  const skb = sockAllocSendSkb(po, hlen + len + dev.neededTailroom, sendErr);
  if (skb === 0) return sendErr.value;
  skbReserve(skb, hlen);
  skbResetNetworkHeader(skb);
  if (!raw && dev.headerOps !== null) {
    if (dev.headerOps.create(skb, dev, proto, lladdr, null, len) < 0) {
      kfreeSkb(skb);
      return -EINVAL;
    }
  }
  const at = skbPut(skb, len);
  if (msgIterCopyTo(at, msg, len) !== 0) {
    kfreeSkb(skb);
    return -EFAULT;
  }
  if (raw) {
    if (len < dev.hardHeaderLen) {
      kfreeSkb(skb);
      return -EINVAL;
    }
    // dev_parse_header_protocol
    if ((proto === 0 || proto === ETH_P_ALL) && dev.hardHeaderLen === 14) proto = dv.getUint16(at + 12);
    skbSetNetworkHeader(skb, reserve);
  }
  skbResetMacHeader(skb);
  skbSetProtocol(skb, proto);
  skbSetDev(skb, dev);
  skbSetPriority(skb, po.skPriority);
  skbSetMark(skb, po.skMark);
  skbSetIpSummed(skb, CHECKSUM_NONE);
  const err = devQueueXmit(skb);
  return err < 0 ? err : len;
}

const rcvErr: ErrBox = new ErrBox();

/** packet_recvmsg. */
function packetRecvmsg(sock: Socket, msg: Msghdr, len: number, flags: number): number {
  const po = sock.sk as PacketSock;
  if ((flags & ~(MSG_PEEK | MSG_DONTWAIT | MSG_TRUNC | MSG_CMSG_CLOEXEC | MSG_ERRQUEUE)) !== 0) return -EINVAL;
  if ((flags & MSG_ERRQUEUE) !== 0) return -EOPNOTSUPP;
  // The device went away: said once.
  const skb = skbRecvDatagram(po, flags, rcvErr);
  if (skb === 0) return rcvErr.value;
  const total = u32[(skb + SKB_LEN) >>> 2]!;
  let copied = total;
  if (copied > len) {
    copied = len;
    msg.flags |= MSG_TRUNC;
  }
  const err = skbCopyDatagramMsg(skb, 0, msg, copied);
  if (err !== 0) {
    consumeSkb(skb);
    return err;
  }
  sockRecvCmsgs(msg, po, skb);
  if (msg.name !== null) packetFillName(po, msg.name, skb);
  if (po.auxdata) putCmsg(msg, SOL_PACKET, PACKET_AUXDATA, packetAuxdata(skb, total));
  consumeSkb(skb);
  return (flags & MSG_TRUNC) !== 0 ? total : copied;
}

function packetFillName(po: PacketSock, name: SockAddr, skb: number): void {
  const ifindex = u32[(skb + PACKETCB_IFINDEX) >>> 2]!;
  const dev = devGetByIndex(po.net, ifindex);
  name.family = AF_PACKET;
  name.addr = 0;
  name.port = 0;
  name.ifindex = ifindex;
  name.protocol = skbProtocol(skb);
  name.pkttype = skbPktType(skb);
  name.hatype = dev?.type ?? 0;
  if (dev?.headerOps?.parse !== undefined && skbMacHeaderWasSet(skb)) {
    const lladdr = new Uint8Array(dev.addrLen);
    dev.headerOps.parse(skb, lladdr);
    name.lladdr = lladdr;
  }
}

function packetAuxdata(skb: number, snaplen: number): TpacketAuxdata {
  const summed = u8[skb + SKB_IP_SUMMED];
  let tpStatus = TP_STATUS_USER;
  // A frame of this host whose checksum the device would have filled in.
  if (summed === CHECKSUM_PARTIAL) tpStatus |= TP_STATUS_CSUMNOTREADY;
  else if (skbPktType(skb) !== PACKET_OUTGOING && summed === CHECKSUM_UNNECESSARY) tpStatus |= TP_STATUS_CSUM_VALID;
  return {
    tpStatus,
    tpLen: u32[(skb + PACKETCB_ORIGLEN) >>> 2]!,
    tpSnaplen: snaplen,
    tpMac: 0,
    tpNet: u32[(skb + SKB_NETWORK_HEADER) >>> 2]! - u32[(skb + SKB_DATA) >>> 2]!,
  };
}

// ---- options -----------------------------------------------------------------------------------------------------------

/** packet_dev_mc: takes a membership of the device, or gives it back. */
function packetDevMc(net: Net, mreq: PacketMreq, what: number): number {
  const dev = devGetByIndex(net, mreq.ifindex);
  if (dev === null) return -ENODEV;
  switch (mreq.type) {
    case PACKET_MR_PROMISC:
      return devSetPromiscuity(dev, what);
    case PACKET_MR_ALLMULTI:
      return devSetAllmulti(dev, what);
    case PACKET_MR_MULTICAST: {
      const address = mreq.address ?? new Uint8Array(0);
      if (address.length < dev.addrLen) return -EINVAL;
      return what > 0 ? devMcAdd(dev, address) : devMcDel(dev, address);
    }
    default:
      return -EINVAL;
  }
}

function sameMreq(a: PacketMreq, b: PacketMreq): boolean {
  return a.ifindex === b.ifindex && a.type === b.type && String(a.address ?? "") === String(b.address ?? "");
}

/** packet_setsockopt. */
function packetSetsockopt(sock: Socket, level: number, optname: number, optval: OptVal): number {
  if (level !== SOL_PACKET) return -ENOPROTOOPT;
  const po = sock.sk as PacketSock;
  if (optname === PACKET_ADD_MEMBERSHIP || optname === PACKET_DROP_MEMBERSHIP) {
    const mreq = optval as PacketMreq;
    if (typeof mreq !== "object" || typeof mreq.ifindex !== "number") return -EINVAL;
    const at = po.mclist.findIndex((m) => sameMreq(m, mreq));
    if (optname === PACKET_ADD_MEMBERSHIP) {
      const err = packetDevMc(po.net, mreq, 1);
      if (err === 0) po.mclist.push({ ...mreq });
      return err;
    }
    if (at < 0) return -EADDRNOTAVAIL;
    po.mclist.splice(at, 1);
    packetDevMc(po.net, mreq, -1);
    return 0;
  }
  const val = optvalInt(optval);
  if (Number.isNaN(val)) return -EINVAL;
  switch (optname) {
    case PACKET_AUXDATA:
      po.auxdata = val !== 0;
      return 0;
    case PACKET_ORIGDEV:
      po.origdev = val !== 0;
      return 0;
    case PACKET_IGNORE_OUTGOING: {
      if (val < 0 || val > 1) return -EINVAL;
      po.ignoreOutgoing = val !== 0;
      const hooked = po.protHook !== null;
      unregisterProtHook(po);
      if (hooked) registerProtHook(po);
      return 0;
    }
    default:
      return -ENOPROTOOPT;
  }
}

/** packet_getsockopt. PACKET_STATISTICS counts from the last time it was asked: `{ tpPackets, tpDrops }`. */
function packetGetsockopt(sock: Socket, level: number, optname: number, err: ErrBox): OptVal {
  const po = sock.sk as PacketSock;
  err.value = 0;
  if (level === SOL_PACKET) {
    switch (optname) {
      case PACKET_STATISTICS: {
        // Packets count those that were dropped.
        const stats = { tpPackets: po.tpPackets + po.tpDrops, tpDrops: po.tpDrops };
        po.tpPackets = 0;
        po.tpDrops = 0;
        return stats;
      }
      case PACKET_AUXDATA:
        return po.auxdata ? 1 : 0;
      case PACKET_ORIGDEV:
        return po.origdev ? 1 : 0;
      case PACKET_IGNORE_OUTGOING:
        return po.ignoreOutgoing ? 1 : 0;
      default:
        break;
    }
  }
  err.value = -ENOPROTOOPT;
  return 0;
}

/** packet_notifier: what happens to the sockets of a device that goes down, comes up, or goes away. */
function packetNotifier(event: number, dev: NetDevice): number {
  const socks = dev.net.packetSocks;
  if (socks === undefined || socks.size === 0) return 0;
  for (const po of socks) {
    if (event === NETDEV_UNREGISTER) {
      for (let i = po.mclist.length - 1; i >= 0; i--) if (po.mclist[i]?.ifindex === dev.ifindex) po.mclist.splice(i, 1);
    }
    if (po.ifindex !== dev.ifindex) continue;
    if (event === NETDEV_UNREGISTER || event === NETDEV_DOWN) {
      if (po.protHook !== null) {
        unregisterProtHook(po);
        po.skErr = ENETDOWN;
        skErrorReport(po);
      }
      if (event === NETDEV_UNREGISTER) po.ifindex = -1;
    } else if (event === NETDEV_UP) registerProtHook(po);
  }
  return 0;
}

// ---- the tables ----------------------------------------------------------------------------------------------------------

/** Nothing of the protocol's half is reached: packet_ops goes straight. */
function protoNone(_sk: Sock): number {
  return -ENOTCONN;
}
function protoVoid(_sk: Sock): void {}

export const packetProto: Proto = {
  name: "PACKET",
  symbol: "packet_proto",
  alloc: () => new PacketSock(),
  close: protoVoid,
  sendmsg: protoNone,
  recvmsg: protoNone,
  hash: protoNone,
  unhash: protoVoid,
  getPort: protoNone,
  maxHeader: 0,
};

export const packetOps: ProtoOps = {
  family: PF_PACKET,
  symbol: "packet_ops",
  release: packetRelease,
  bind: packetBind,
  connect: sockNoConnect,
  accept: sockNoAccept,
  getname: packetGetname,
  poll: packetPoll,
  ioctl: packetIoctl,
  listen: sockNoListen,
  shutdown: sockNoShutdown,
  setsockopt: packetSetsockopt,
  getsockopt: packetGetsockopt,
  sendmsg: packetSendmsg,
  recvmsg: packetRecvmsg,
};

const packetFamilyOps: NetProtoFamily = { family: PF_PACKET, symbol: "packet_family_ops", create: packetCreate };

/** packet_init: PF_PACKET, once a process. */
export function packetInit(): void {
  registerPernetSubsys(packetNetOps);
  registerNetdeviceNotifier(packetNotifier);
  sockRegister(packetFamilyOps);
}
