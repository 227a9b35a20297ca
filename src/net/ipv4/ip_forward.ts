/** Forwarding: dst->input of packets that go on to another host (RFC 1812 §5.2). */

import { CHECKSUM_COMPLETE, CHECKSUM_NONE, PACKET_HOST } from "../../../assembly/layout.ts";
import { ipIncStats } from "../../kernel/mib.ts";
import {
  skbIgnoreDf,
  skbIpSummed,
  skbIsGso,
  skbLen,
  skbPktType,
  skbSetIpSummed,
  skbSetPriority,
  skbSetTstamp,
} from "../../mm/skb.ts";
import {
  SKB_DROP_REASON_IP_INHDR,
  SKB_DROP_REASON_NOMEM,
  SKB_DROP_REASON_NOT_SPECIFIED,
  SKB_DROP_REASON_PKT_TOO_BIG,
} from "../../uapi/dropreason.ts";
import {
  ICMP_DEST_UNREACH,
  ICMP_EXC_TTL,
  ICMP_FRAG_NEEDED,
  ICMP_SR_FAILED,
  ICMP_TIME_EXCEEDED,
} from "../../uapi/icmp.ts";
import { IP_DF } from "../../uapi/ip.ts";
import { IPSTATS_MIB_FRAGFAILS, IPSTATS_MIB_INHDRERRORS, IPSTATS_MIB_OUTFORWDATAGRAMS } from "../../uapi/linux_mib.ts";
import { NF_INET_FORWARD, NFPROTO_IPV4 } from "../../uapi/netfilter.ts";
import { NET_RX_DROP } from "../core/dev.ts";
import { dstOutput } from "../core/dst.ts";
import { skbGsoValidateNetworkLen } from "../core/gso.ts";
import type { Net } from "../core/net_namespace.ts";
import { kfreeSkbReason, skbCow, skbDev, skbDst, skbSk } from "../core/skbuff.ts";
import type { Sock } from "../core/sock.ts";
import { NF_HOOK } from "../netfilter/core.ts";
import { icmpSend } from "./icmp.ts";
import {
  IPSKB_DOREDIRECT,
  IPSKB_FORWARDED,
  ipcbFlags,
  ipcbFragMaxSize,
  ipcbOptFlags,
  ipcbOptlen,
  ipcbSetFlags,
  ipcbSrr,
  ipDecreaseTtl,
  ipDstMtuMaybeForward,
  ipHdr,
  ipHdrFragOff,
  ipHdrTos,
  ipHdrTtl,
  OPT_IS_STRICTROUTE,
  rtTos2priority,
} from "./ip.ts";
import { ipForwardOptions } from "./ip_options.ts";
import { LL_RESERVED_SPACE } from "./ip_output.ts";
import type { Rtable } from "./route.ts";
import { ipRtSendRedirect } from "./route.ts";

/** ip_exceeds_mtu: too long, and not to be fragmented. */
function ipExceedsMtu(skb: number, mtu: number): boolean {
  if (skbLen(skb) <= mtu) return false;
  if ((ipHdrFragOff(ipHdr(skb)) & IP_DF) === 0) return false;
  // It was put together from fragments, one of which was too long already.
  if (ipcbFragMaxSize(skb) > mtu) return true;
  if (skbIgnoreDf(skb)) return false;
  return !(skbIsGso(skb) && skbGsoValidateNetworkLen(skb, mtu));
}

/** ip_forward_finish: behind FORWARD. */
export function ipForwardFinish(net: Net, sk: Sock | null, skb: number): number {
  if (ipcbOptlen(skb) !== 0) ipForwardOptions(skb);
  // The time of receipt is no time to send at.
  skbSetTstamp(skb, 0);
  return dstOutput(net, sk, skb);
}

function ipForwardDrop(skb: number, reason: number): number {
  kfreeSkbReason(skb, reason);
  return NET_RX_DROP;
}

/** ip_forward. Consumes the skb. */
export function ipForward(skb: number): number {
  // Link-layer broadcasts and multicasts aren't forwarded (RFC 1812 §5.3.4), nor is what a local socket sent.
  if (skbPktType(skb) !== PACKET_HOST || skbSk(skb) !== null) return ipForwardDrop(skb, SKB_DROP_REASON_NOT_SPECIFIED);
  const rt = skbDst(skb) as Rtable;
  const net = rt.dev.net;
  if (skbIpSummed(skb) === CHECKSUM_COMPLETE) skbSetIpSummed(skb, CHECKSUM_NONE);

  // RFC 1812 §5.3.1: a ttl that would reach 0 ends here, with a message to the sender.
  if (ipHdrTtl(ipHdr(skb)) <= 1) {
    ipIncStats(net, IPSTATS_MIB_INHDRERRORS);
    icmpSend(skb, ICMP_TIME_EXCEEDED, ICMP_EXC_TTL, 0);
    return ipForwardDrop(skb, SKB_DROP_REASON_IP_INHDR);
  }
  // A strict source route names the next hop itself, not a gateway on the way to it.
  if ((ipcbOptFlags(skb) & OPT_IS_STRICTROUTE) !== 0 && rt.rtUsesGateway) {
    icmpSend(skb, ICMP_DEST_UNREACH, ICMP_SR_FAILED, 0);
    return ipForwardDrop(skb, SKB_DROP_REASON_NOT_SPECIFIED);
  }

  ipIncStats(net, IPSTATS_MIB_OUTFORWDATAGRAMS);
  ipcbSetFlags(skb, ipcbFlags(skb) | IPSKB_FORWARDED);
  const mtu = ipDstMtuMaybeForward(rt, true);
  if (ipExceedsMtu(skb, mtu)) {
    ipIncStats(net, IPSTATS_MIB_FRAGFAILS);
    icmpSend(skb, ICMP_DEST_UNREACH, ICMP_FRAG_NEEDED, mtu);
    return ipForwardDrop(skb, SKB_DROP_REASON_PKT_TOO_BIG);
  }

  // The header changes from here on: it has to be this skb's own, with room for the next link's header.
  if (skbCow(skb, LL_RESERVED_SPACE(rt.dev) + rt.headerLen) !== 0) return ipForwardDrop(skb, SKB_DROP_REASON_NOMEM);
  const iph = ipHdr(skb);
  ipDecreaseTtl(iph);

  // It leaves by the device that it came in by: the sender could have sent it there itself (RFC 1812 §5.2.7.2).
  if ((ipcbFlags(skb) & IPSKB_DOREDIRECT) !== 0 && ipcbSrr(skb) === 0) ipRtSendRedirect(skb);
  if (net.ipv4.sysctlIpFwdUpdatePriority !== 0) skbSetPriority(skb, rtTos2priority(ipHdrTos(iph)));
  return NF_HOOK(NFPROTO_IPV4, NF_INET_FORWARD, net, null, skb, skbDev(skb), rt.dev, ipForwardFinish);
}
