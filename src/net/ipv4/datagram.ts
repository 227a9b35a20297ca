/** net/ipv4/datagram.c: connect() of the connectionless protocols. */

import { ipIncStats } from "../../kernel/mib.ts";
import { getRandomU32 } from "../../kernel/random.ts";
import { EACCES, EAFNOSUPPORT, ENETUNREACH } from "../../uapi/errno.ts";
import { IN_MULTICAST } from "../../uapi/in.ts";
import { IPSTATS_MIB_OUTNOROUTES } from "../../uapi/linux_mib.ts";
import { RTCF_BROADCAST } from "../../uapi/rtnetlink.ts";
import { AF_INET } from "../../uapi/socket.ts";
import { TCP_ESTABLISHED } from "../../uapi/tcp.ts";
import type { Sock, SockAddr } from "../core/sock.ts";
import { SOCK_BROADCAST, skDstReset, skDstSet, sockFlag } from "../core/sock.ts";
import type { InetSock } from "./inet_sock.ts";
import { ipRouteConnect, routeErr } from "./route.ts";

/** __ip4_datagram_connect: fixes the peer, and with it the route and the local address. 0 or a negative errno. */
export function __ip4DatagramConnect(sk: Sock, addr: SockAddr): number {
  const inet = sk as InetSock;
  if (addr.family !== AF_INET) return -EAFNOSUPPORT;
  skDstReset(sk);
  let oif = sk.skcBoundDevIf;
  let saddr = inet.inetSaddr;
  if (IN_MULTICAST(addr.addr)) {
    if (oif === 0) oif = inet.mcIndex;
    if (saddr === 0) saddr = inet.mcAddr;
  } else if (oif === 0) oif = inet.ucIndex;
  const fl4 = inet.corkFl;
  const rt = ipRouteConnect(fl4, addr.addr, saddr, oif, sk.skProtocol, inet.inetSport, addr.port, sk);
  if (rt === null) {
    if (routeErr.value === -ENETUNREACH) ipIncStats(sk.net, IPSTATS_MIB_OUTNOROUTES);
    return routeErr.value;
  }
  if ((rt.rtFlags & RTCF_BROADCAST) !== 0 && !sockFlag(sk, SOCK_BROADCAST)) return -EACCES;

  // The addresses are set before the sock is hashed again by them.
  inet.skcDaddr = fl4.daddr;
  inet.skcDport = addr.port;
  if (inet.inetSaddr === 0) inet.inetSaddr = fl4.saddr;
  if (inet.skcRcvSaddr === 0) {
    inet.skcRcvSaddr = fl4.saddr;
    if (sk.skProt.rehash !== undefined) sk.skProt.rehash(sk);
  }
  sk.skcState = TCP_ESTABLISHED;
  sk.skTxhash = getRandomU32() | 1;
  inet.inetId = getRandomU32() & 0xffff;
  skDstSet(sk, rt);
  return 0;
}

/** ip4_datagram_connect. */
export function ip4DatagramConnect(sk: Sock, addr: SockAddr): number {
  return __ip4DatagramConnect(sk, addr);
}
