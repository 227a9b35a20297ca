/** How a rule says no (net/ipv4/netfilter/nf_reject_ipv4.c): with ICMP, or with a RST. */

import { IPCB_OPTLEN, PACKET_HOST } from "../../../assembly/layout.ts";
import { dv, u8 } from "../../mm/mem.ts";
import {
  skbNetworkHeader,
  skbNetworkOffset,
  skbPktType,
  skbResetNetworkHeader,
  skbSetProtocol,
  skbSetTransportHeader,
} from "../../mm/skb.ts";
import { ICMP_DEST_UNREACH } from "../../uapi/icmp.ts";
import { ETH_P_IP } from "../../uapi/if_ether.ts";
import { IPPROTO_TCP } from "../../uapi/in.ts";
import { IP_DF, IP_OFFSET } from "../../uapi/ip.ts";
import { NF_INET_LOCAL_OUT, NF_INET_PRE_ROUTING } from "../../uapi/netfilter.ts";
import { RTCF_BROADCAST, RTCF_MULTICAST } from "../../uapi/rtnetlink.ts";
import type { Net } from "../core/net_namespace.ts";
import {
  allocSkb,
  csumPartial,
  csumTcpUdpMagic,
  kfreeSkb,
  pskbMayPull,
  skbDev,
  skbDst,
  skbDstSet,
  skbPut,
  skbReserve,
  skbSetDev,
} from "../core/skbuff.ts";
import { FLOWI_FLAG_ANYSRC, FlowI4, flowi4InitOutput } from "./flow.ts";
import { icmpSend } from "./icmp.ts";
import { ipHdrProtocol, ipHdrSetTotLen, ipHdrTos, ipSendCheck } from "./ip.ts";
import { ipLocalOut } from "./ip_output.ts";
import { ip4DstHoplimit, ipRouteInput, ipRouteOutputKey, skbRtable } from "./route.ts";

const TH_FIN = 1;
const TH_SYN = 2;
const TH_RST = 4;
const TH_ACK = 16;

const rejectFl: FlowI4 = new FlowI4();

/** A packet that was rejected before it was routed gets its route now: ICMP asks it where it came from. */
function fillinDst(skb: number): boolean {
  if (skbDst(skb) !== null) return true;
  const iph = skbNetworkHeader(skb);
  const dev = skbDev(skb);
  return (
    dev !== null && ipRouteInput(skb, dv.getUint32(iph + 16), dv.getUint32(iph + 12), u8[iph + 1] & 0xfc, dev) === 0
  );
}

/** nf_send_unreach: ICMP destination unreachable. Does not consume the skb. */
export function nfSendUnreach(_net: Net, skb: number, code: number, hook: number): void {
  const iph = skbNetworkHeader(skb);
  if ((dv.getUint16(iph + 6) & IP_OFFSET) !== 0) return;
  if (hook === NF_INET_PRE_ROUTING && !fillinDst(skb)) return;
  u8[skb + IPCB_OPTLEN] = 0;
  icmpSend(skb, ICMP_DEST_UNREACH, code, 0);
}

/** nf_send_reset: a RST to the sender of a TCP segment (RFC 9293 §3.10.7.1). Does not consume the skb. */
export function nfSendReset(net: Net, skb: number, hook: number): void {
  const iph = skbNetworkHeader(skb);
  const ihl = (u8[iph] & 15) << 2;
  if ((dv.getUint16(iph + 6) & IP_OFFSET) !== 0 || ipHdrProtocol(iph) !== IPPROTO_TCP) return;
  if (!pskbMayPull(skb, skbNetworkOffset(skb) + ihl + 20)) return;
  const oiph = skbNetworkHeader(skb);
  const oth = oiph + ihl;
  const flags = u8[oth + 13];
  // No RST for a RST.
  if ((flags & TH_RST) !== 0) return;
  if (hook !== NF_INET_LOCAL_OUT && skbPktType(skb) !== PACKET_HOST) return;
  const saddr = dv.getUint32(oiph + 12);
  const daddr = dv.getUint32(oiph + 16);
  const ort = skbRtable(skb);
  if (ort !== null && (ort.rtFlags & (RTCF_BROADCAST | RTCF_MULTICAST)) !== 0) return;
  const tos = ipHdrTos(oiph);
  const len = dv.getUint16(oiph + 2) - ihl - ((u8[oth + 12] >>> 4) << 2);

  flowi4InitOutput(rejectFl, 0, 0, tos & 0xfc, 0, IPPROTO_TCP, FLOWI_FLAG_ANYSRC, saddr, daddr, 0, 0);
  const rt = ipRouteOutputKey(net, rejectFl);
  if (rt === null) return;
  const nskb = allocSkb(128 + 40);
  if (nskb === 0) return;
  skbReserve(nskb, 80);
  skbResetNetworkHeader(nskb);
  const niph = skbPut(nskb, 40);
  u8.fill(0, niph, niph + 40);
  u8[niph] = 0x45;
  dv.setUint16(niph + 6, IP_DF);
  u8[niph + 8] = ip4DstHoplimit(rt);
  u8[niph + 9] = IPPROTO_TCP;
  dv.setUint32(niph + 12, daddr);
  dv.setUint32(niph + 16, saddr);
  ipHdrSetTotLen(niph, 40);
  ipSendCheck(niph);

  const th = niph + 20;
  dv.setUint16(th, dv.getUint16(oth + 2));
  dv.setUint16(th + 2, dv.getUint16(oth));
  u8[th + 12] = 0x50;
  if ((flags & TH_ACK) !== 0) {
    dv.setUint32(th + 4, dv.getUint32(oth + 8));
    u8[th + 13] = TH_RST;
  } else {
    const syn = (flags & TH_SYN) !== 0 ? 1 : 0;
    const fin = (flags & TH_FIN) !== 0 ? 1 : 0;
    dv.setUint32(th + 8, (dv.getUint32(oth + 4) + syn + fin + len) >>> 0);
    u8[th + 13] = TH_RST | TH_ACK;
  }
  dv.setUint16(th + 16, csumTcpUdpMagic(daddr, saddr, 20, IPPROTO_TCP, csumPartial(th, 20, 0)));
  skbSetTransportHeader(nskb, 20);
  skbSetProtocol(nskb, ETH_P_IP);
  skbSetDev(nskb, rt.dev);
  skbDstSet(nskb, rt);
  if (rt.error !== 0) {
    kfreeSkb(nskb);
    return;
  }
  ipLocalOut(net, null, nskb);
}
