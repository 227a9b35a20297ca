/**
 * The IPv4 input path: from the device to the transport.
 *
 * ```
 *   ip_rcv            ip_rcv_core: the header is checked, once for everybody; PRE_ROUTING
 *     ip_rcv_finish   route (early demux, ip_route_input), options
 *       dst_input = dst->input
 *         ip_local_deliver    reassembly; LOCAL_IN
 *           ip_local_deliver_finish -> inet_protos[protocol]->handler
 *         ip_forward          (ip_forward.ts)
 * ```
 *
 * Every function here consumes the skb, whatever it returns (NET_RX_*).
 */

import { PACKET_BROADCAST, PACKET_MULTICAST, PACKET_OTHERHOST } from "../../../assembly/layout.ts";
import { ipAddStats, ipIncStats, ipUpdPoStats, netIncStats } from "../../kernel/mib.ts";
import {
  skbGsoSegs,
  skbHeadroom,
  skbIsGso,
  skbLen,
  skbNetworkHeaderLen,
  skbNetworkOffset,
  skbPktType,
  skbSetTransportHeader,
  skbShared,
  skbSkbIif,
} from "../../mm/skb.ts";
import {
  SKB_DROP_REASON_IP_CSUM,
  SKB_DROP_REASON_IP_INHDR,
  SKB_DROP_REASON_IP_INNOROUTES,
  SKB_DROP_REASON_IP_INVALID_DEST,
  SKB_DROP_REASON_IP_INVALID_SOURCE,
  SKB_DROP_REASON_IP_LOCAL_SOURCE,
  SKB_DROP_REASON_IP_LOCALNET,
  SKB_DROP_REASON_IP_NOPROTO,
  SKB_DROP_REASON_IP_RPFILTER,
  SKB_DROP_REASON_NOMEM,
  SKB_DROP_REASON_NOT_SPECIFIED,
  SKB_DROP_REASON_OTHERHOST,
  SKB_DROP_REASON_PKT_TOO_SMALL,
  SKB_DROP_REASON_UNICAST_IN_L2_MULTICAST,
} from "../../uapi/dropreason.ts";
import { EINVAL, EXDEV } from "../../uapi/errno.ts";
import { ICMP_DEST_UNREACH, ICMP_PROT_UNREACH } from "../../uapi/icmp.ts";
import { ETH_P_IP } from "../../uapi/if_ether.ts";
import { IN_LOOPBACK, IN_MULTICAST, INADDR_BROADCAST } from "../../uapi/in.ts";
import { INET_ECN_MASK, IPV4_DEVCONF_DROP_UNICAST_IN_L2_MULTICAST } from "../../uapi/ip.ts";
import {
  IPSTATS_MIB_CSUMERRORS,
  IPSTATS_MIB_INBCASTPKTS,
  IPSTATS_MIB_INDELIVERS,
  IPSTATS_MIB_INDISCARDS,
  IPSTATS_MIB_INHDRERRORS,
  IPSTATS_MIB_INMCASTPKTS,
  IPSTATS_MIB_INPKTS,
  IPSTATS_MIB_INTRUNCATEDPKTS,
  IPSTATS_MIB_INUNKNOWNPROTOS,
  IPSTATS_MIB_NOECTPKTS,
  LINUX_MIB_IPRPFILTER,
} from "../../uapi/linux_mib.ts";
import { NF_INET_LOCAL_IN, NF_INET_PRE_ROUTING, NFPROTO_IPV4 } from "../../uapi/netfilter.ts";
import { RTN_BROADCAST, RTN_LOCAL, RTN_MULTICAST } from "../../uapi/rtnetlink.ts";
import type { NetDevice, PacketType } from "../core/dev.ts";
import { NET_RX_DROP, NET_RX_SUCCESS } from "../core/dev.ts";
import { dstInput } from "../core/dst.ts";
import type { Net } from "../core/net_namespace.ts";
import {
  __skbPull,
  consumeSkb,
  ipFastCsum,
  kfreeSkbReason,
  pskbMayPull,
  pskbTrimRcsum,
  skbCow,
  skbDev,
  skbDst,
  skbOrphan,
  skbOrphanFragsRx,
  skbShareCheck,
  skbSk,
} from "../core/skbuff.ts";
import type { Sock } from "../core/sock.ts";
import { NF_HOOK } from "../netfilter/core.ts";
import { inDevGet, inDevOrconf, inDevSourceRoute } from "./devinet.ts";
import { inetAddrType } from "./fib_frontend.ts";
import { icmpSend } from "./icmp.ts";
import {
  IPHDR_SIZE,
  ipcbClear,
  ipcbSetIif,
  ipcbSrr,
  ipHdr,
  ipHdrDaddr,
  ipHdrIhl,
  ipHdrLen,
  ipHdrProtocol,
  ipHdrSaddr,
  ipHdrTos,
  ipHdrTotLen,
  ipHdrVersion,
  ipIsFragment,
} from "./ip.ts";
import { IP_DEFRAG_LOCAL_DELIVER, ipDefrag } from "./ip_fragment.ts";
import { ipOptionsCompile, ipOptionsRcvSrr } from "./ip_options.ts";
import { inetProtos } from "./protocol.ts";
import { rawLocalDeliver } from "./raw.ts";
import type { Rtable } from "./route.ts";
import { ipRouteInput } from "./route.ts";

/** How often one packet may be handed on to another protocol: each time an encapsulation was taken off. */
const MAX_RESUBMITS = 8;

/** ip_protocol_deliver_rcu: raw sockets get copies, the protocol gets the packet; nobody: ICMP (RFC 1122 §3.2.2.1). */
export function ipProtocolDeliverRcu(net: Net, skb: number, protocol: number): void {
  for (let resubmits = 0; ; resubmits++) {
    const raw = rawLocalDeliver(skb, protocol);
    const ipprot = inetProtos[protocol];
    if (ipprot !== null) {
      const ret = ipprot.handler(skb);
      if (ret < 0 && resubmits < MAX_RESUBMITS) {
        protocol = -ret & 0xff;
        continue;
      }
      ipIncStats(net, IPSTATS_MIB_INDELIVERS);
      return;
    }
    if (raw) {
      ipIncStats(net, IPSTATS_MIB_INDELIVERS);
      consumeSkb(skb);
      return;
    }
    ipIncStats(net, IPSTATS_MIB_INUNKNOWNPROTOS);
    icmpSend(skb, ICMP_DEST_UNREACH, ICMP_PROT_UNREACH, 0);
    kfreeSkbReason(skb, SKB_DROP_REASON_IP_NOPROTO);
    return;
  }
}

/** ip_local_deliver_finish. */
export function ipLocalDeliverFinish(net: Net, _sk: Sock | null, skb: number): number {
  if (skbOrphanFragsRx(skb) !== 0) {
    ipIncStats(net, IPSTATS_MIB_INDISCARDS);
    kfreeSkbReason(skb, SKB_DROP_REASON_NOMEM);
    return 0;
  }
  __skbPull(skb, skbNetworkHeaderLen(skb));
  ipProtocolDeliverRcu(net, skb, ipHdrProtocol(ipHdr(skb)));
  return 0;
}

/** ip_local_deliver: dst->input of packets for this host. */
export function ipLocalDeliver(skb: number): number {
  const dev = skbDev(skb);
  const net = dev.net;
  if (ipIsFragment(ipHdr(skb)) && ipDefrag(net, skb, IP_DEFRAG_LOCAL_DELIVER) !== 0) return 0;
  return NF_HOOK(NFPROTO_IPV4, NF_INET_LOCAL_IN, net, null, skb, dev, null, ipLocalDeliverFinish);
}

/**
 * ip_rcv_options: compiles the options of a received packet and follows a source route. True = the packet is to be
 * dropped.
 */
function ipRcvOptions(skb: number, dev: NetDevice): boolean {
  const net = dev.net;
  // Options are written to (routes and times are recorded), so the header has to be this skb's own.
  if (skbCow(skb, skbHeadroom(skb)) !== 0) {
    ipIncStats(net, IPSTATS_MIB_INDISCARDS);
    return true;
  }
  if (ipOptionsCompile(net, skb) !== 0) {
    ipIncStats(net, IPSTATS_MIB_INHDRERRORS);
    return true;
  }
  if (ipcbSrr(skb) !== 0) {
    // RFC 1122 §3.3.5, RFC 7126 §4.3: source-routed packets are dropped unless the host was told to take them.
    const inDev = inDevGet(dev);
    if (inDev !== null && !inDevSourceRoute(inDev)) return true;
    if (ipOptionsRcvSrr(skb, dev) !== 0) return true;
  }
  return false;
}

/** Why there is no route for a received packet: what ip_route_input tells by an errno alone. */
function routeDropReason(net: Net, skb: number, err: number): number {
  if (err === -EXDEV) {
    netIncStats(net, LINUX_MIB_IPRPFILTER);
    return SKB_DROP_REASON_IP_RPFILTER;
  }
  const iph = ipHdr(skb);
  const saddr = ipHdrSaddr(iph);
  const daddr = ipHdrDaddr(iph);
  if (IN_MULTICAST(saddr) || saddr === INADDR_BROADCAST || saddr === 0) return SKB_DROP_REASON_IP_INVALID_SOURCE;
  if (daddr === 0 || IN_MULTICAST(daddr)) return SKB_DROP_REASON_IP_INVALID_DEST;
  if (IN_LOOPBACK(saddr) || IN_LOOPBACK(daddr)) return SKB_DROP_REASON_IP_LOCALNET;
  if (err !== -EINVAL) return SKB_DROP_REASON_IP_INNOROUTES;
  return inetAddrType(net, saddr) === RTN_LOCAL ? SKB_DROP_REASON_IP_LOCAL_SOURCE : SKB_DROP_REASON_IP_INVALID_SOURCE;
}

/** ip_rcv_finish_core: where the packet goes. NET_RX_SUCCESS: its dst is set. NET_RX_DROP: it is gone. */
function ipRcvFinishCore(net: Net, skb: number, dev: NetDevice): number {
  let iph = ipHdr(skb);
  if (net.ipv4.sysctlIpEarlyDemux !== 0 && skbDst(skb) === null && skbSk(skb) === null && !ipIsFragment(iph)) {
    const ipprot = inetProtos[ipHdrProtocol(iph)];
    if (ipprot !== null && ipprot.earlyDemux !== undefined) {
      ipprot.earlyDemux(skb);
      iph = ipHdr(skb);
    }
  }

  if (skbDst(skb) === null) {
    const err = ipRouteInput(skb, ipHdrDaddr(iph), ipHdrSaddr(iph), ipHdrTos(iph), dev);
    if (err !== 0) {
      kfreeSkbReason(skb, routeDropReason(net, skb, err));
      return NET_RX_DROP;
    }
    iph = ipHdr(skb);
  }

  if (ipHdrIhl(iph) > 5 && ipRcvOptions(skb, dev)) {
    kfreeSkbReason(skb, SKB_DROP_REASON_IP_INHDR);
    return NET_RX_DROP;
  }

  const rt = skbDst(skb) as Rtable;
  if (rt.rtType === RTN_MULTICAST) ipUpdPoStats(net, IPSTATS_MIB_INMCASTPKTS, skbLen(skb));
  else if (rt.rtType === RTN_BROADCAST) ipUpdPoStats(net, IPSTATS_MIB_INBCASTPKTS, skbLen(skb));
  else {
    const pktType = skbPktType(skb);
    if (pktType === PACKET_BROADCAST || pktType === PACKET_MULTICAST) {
      // RFC 1122 §3.3.6: a link-layer broadcast that isn't an IP broadcast or multicast. Dropping it is a setting.
      const inDev = inDevGet(dev);
      if (inDev !== null && inDevOrconf(inDev, IPV4_DEVCONF_DROP_UNICAST_IN_L2_MULTICAST)) {
        kfreeSkbReason(skb, SKB_DROP_REASON_UNICAST_IN_L2_MULTICAST);
        return NET_RX_DROP;
      }
    }
  }
  return NET_RX_SUCCESS;
}

/** ip_rcv_finish: behind PRE_ROUTING. */
export function ipRcvFinish(net: Net, _sk: Sock | null, skb: number): number {
  const ret = ipRcvFinishCore(net, skb, skbDev(skb));
  return ret === NET_RX_DROP ? ret : dstInput(skb);
}

/**
 * ip_rcv_core: what RFC 1122 §3.2.1 wants checked. After it the header is linear, right and at skb->data, the skb is as
 * long as its header says and nobody else's, and its IPCB is clean. 0 = it was dropped.
 */
function ipRcvCore(skb: number, net: Net): number {
  // In promiscuous mode: not for this host.
  if (skbPktType(skb) === PACKET_OTHERHOST) {
    skbDev(skb).stats.rxDropped++;
    kfreeSkbReason(skb, SKB_DROP_REASON_OTHERHOST);
    return 0;
  }
  ipUpdPoStats(net, IPSTATS_MIB_INPKTS, skbLen(skb));
  if (skbShared(skb)) {
    skb = skbShareCheck(skb);
    if (skb === 0) {
      ipIncStats(net, IPSTATS_MIB_INDISCARDS);
      return 0;
    }
  }

  if (!pskbMayPull(skb, IPHDR_SIZE)) return ipRcvError(net, skb, SKB_DROP_REASON_IP_INHDR);
  let iph = ipHdr(skb);
  const ihl = ipHdrIhl(iph);
  if (ihl < 5 || ipHdrVersion(iph) !== 4) return ipRcvError(net, skb, SKB_DROP_REASON_IP_INHDR);
  const segs = skbGsoSegs(skb);
  ipAddStats(net, IPSTATS_MIB_NOECTPKTS + (ipHdrTos(iph) & INET_ECN_MASK), segs > 1 ? segs : 1);
  if (ihl > 5) {
    if (!pskbMayPull(skb, ihl * 4)) return ipRcvError(net, skb, SKB_DROP_REASON_IP_INHDR);
    iph = ipHdr(skb);
  }
  if (ipFastCsum(iph, ihl) !== 0) {
    ipIncStats(net, IPSTATS_MIB_CSUMERRORS);
    return ipRcvError(net, skb, SKB_DROP_REASON_IP_CSUM);
  }

  let len = ipHdrTotLen(iph);
  if (len === 0 && skbIsGso(skb)) len = skbLen(skb) - skbNetworkOffset(skb);
  if (skbLen(skb) < len) {
    ipIncStats(net, IPSTATS_MIB_INTRUNCATEDPKTS);
    kfreeSkbReason(skb, SKB_DROP_REASON_PKT_TOO_SMALL);
    return 0;
  }
  if (len < ihl * 4) return ipRcvError(net, skb, SKB_DROP_REASON_IP_INHDR);
  // The link may have padded the frame.
  if (skbLen(skb) !== len && pskbTrimRcsum(skb, len) !== 0) {
    ipIncStats(net, IPSTATS_MIB_INDISCARDS);
    kfreeSkbReason(skb, SKB_DROP_REASON_NOMEM);
    return 0;
  }
  skbSetTransportHeader(skb, skbNetworkOffset(skb) + ipHdrLen(ipHdr(skb)));
  ipcbClear(skb);
  ipcbSetIif(skb, skbSkbIif(skb));
  skbOrphan(skb);
  return skb;
}

function ipRcvError(net: Net, skb: number, reason: number): number {
  ipIncStats(net, IPSTATS_MIB_INHDRERRORS);
  kfreeSkbReason(skb, reason !== 0 ? reason : SKB_DROP_REASON_NOT_SPECIFIED);
  return 0;
}

/** ip_rcv: the packet_type function of ETH_P_IP. skb->data is at the network header. */
export function ipRcv(skb: number, dev: NetDevice, _pt: PacketType, _origDev: NetDevice): number {
  const net = dev.net;
  skb = ipRcvCore(skb, net);
  if (skb === 0) return NET_RX_DROP;
  return NF_HOOK(NFPROTO_IPV4, NF_INET_PRE_ROUTING, net, null, skb, dev, null, ipRcvFinish);
}

/** ip_packet_type: what inet_init registers with the device layer. */
export const ipPacketType: PacketType = { type: ETH_P_IP, symbol: "ip_packet_type", func: ipRcv };
