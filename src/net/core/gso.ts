/**
 * Generic segmentation offload (net/core/gso.c): cuts a super-packet into the frames that go on the wire, one wasm
 * call for all of them.
 */

import {
  GSO_SEG_CSUM,
  GSO_SEG_SG,
  SHINFO_GSO_TYPE,
  SKB_DESTRUCTOR,
  SKB_DESTRUCTOR_NONE,
  SKB_DESTRUCTOR_TCP_WFREE,
  SKB_DESTRUCTOR_WFREE,
  SKB_END,
  SKB_GSO_TCPV4,
  SKB_GSO_TCPV6,
  SKB_GSO_UDP_L4,
  SKB_NEXT,
  SKB_SK,
  SKB_TRUESIZE,
} from "../../../assembly/layout.ts";
import { u8, u16, u32, wasm } from "../../mm/mem.ts";
import {
  skbGsoSize,
  skbGsoType,
  skbMacHeader,
  skbNetworkHeader,
  skbTransportHeader,
  skbTransportOffset,
} from "../../mm/skb.ts";
import { IPPROTO_TCP, IPPROTO_UDP } from "../../uapi/in.ts";
import { NETIF_F_CSUM_MASK, NETIF_F_SG } from "./dev.ts";
import { copySkbRefs, pskbMayPull, skbSk } from "./skbuff.ts";

/** The device features that matter to a segmentation. */
/* notrace */
function segFeatures(features: number): number {
  if ((features & NETIF_F_SG) === 0) return 0;
  return (features & NETIF_F_CSUM_MASK) !== 0 ? GSO_SEG_SG | GSO_SEG_CSUM : GSO_SEG_SG;
}

/**
 * skb_gso_segment: the frames of super-packet `skb` for a device with `features` (NETIF_F_*), as a chain linked
 * through next. Returns 0 if there is no memory or the packet makes no sense. The super-packet stays with the
 * caller, who frees it; what it was charged to its socket has moved to the frames.
 *
 * With NETIF_F_SG the frames refer to the payload where it is; else they are linear, copied and summed in one pass.
 */
export function skbGsoSegment(skb: number, features: number): number {
  const type = skbGsoType(skb);
  if ((type & (SKB_GSO_TCPV4 | SKB_GSO_TCPV6)) !== 0) return tcp4GsoSegment(skb, features);
  if ((type & SKB_GSO_UDP_L4) !== 0) return udp4GsoSegment(skb, features);
  return 0;
}

/**
 * tcp4_gso_segment (and tcp6's: the IP version is read from the header): see skbGsoSegment. FIN and PSH stay on the
 * last frame only, CWR on the first.
 */
export function tcp4GsoSegment(skb: number, features: number): number {
  const offset = skbTransportOffset(skb);
  if (!pskbMayPull(skb, offset + 20)) return 0;
  if (!pskbMayPull(skb, offset + ((u8[skbTransportHeader(skb) + 12] >>> 4) << 2))) return 0;
  return segment(skb, segFeatures(features), IPPROTO_TCP);
}

/** udp4_ufo_fragment's UDP L4 half: every frame is a datagram of gso_size bytes, the last one may be shorter. */
export function udp4GsoSegment(skb: number, features: number): number {
  if (!pskbMayPull(skb, skbTransportOffset(skb) + 8)) return 0;
  return segment(skb, segFeatures(features), IPPROTO_UDP);
}

/* notrace */
function segment(skb: number, features: number, proto: number): number {
  let segs = wasm.gsoSegment(skb, features, proto);
  // A payload in more pieces than one frame has frags for can still be copied.
  if (segs === 0 && features !== 0) segs = wasm.gsoSegment(skb, 0, proto);
  return segs === 0 ? 0 : finishSegments(skb, segs);
}

/** What is not bytes: route and conntrack references, and the socket's accounting (as tcp_gso_segment does it). */
/* notrace */
function finishSegments(skb: number, segs: number): number {
  const destructor = u8[skb + SKB_DESTRUCTOR];
  const owned = destructor === SKB_DESTRUCTOR_WFREE || destructor === SKB_DESTRUCTOR_TCP_WFREE;
  const sk = owned ? u32[(skb + SKB_SK) >>> 2] : 0;
  let truesize = 0;
  for (let seg = segs; seg !== 0; seg = u32[(seg + SKB_NEXT) >>> 2]) {
    copySkbRefs(seg, skb);
    if (!owned) continue;
    u32[(seg + SKB_SK) >>> 2] = sk;
    u8[seg + SKB_DESTRUCTOR] = destructor;
    truesize += u32[(seg + SKB_TRUESIZE) >>> 2];
  }
  if (owned) {
    const owner = skbSk(skb);
    if (owner !== null) owner.skWmemAlloc += truesize - u32[(skb + SKB_TRUESIZE) >>> 2];
    u8[skb + SKB_DESTRUCTOR] = SKB_DESTRUCTOR_NONE;
    u32[(skb + SKB_SK) >>> 2] = 0;
  }
  return segs;
}

/** skb_gso_transport_seglen: transport header and payload of one full segment. */
export function skbGsoTransportSeglen(skb: number): number {
  const transport = skbTransportHeader(skb);
  const type = u16[(u32[(skb + SKB_END) >>> 2] + SHINFO_GSO_TYPE) >>> 1];
  const thlen = (type & (SKB_GSO_TCPV4 | SKB_GSO_TCPV6)) !== 0 ? (u8[transport + 12] >>> 4) << 2 : 8;
  return thlen + skbGsoSize(skb);
}
/** skb_gso_network_seglen: length of one full segment from the network header. */
export function skbGsoNetworkSeglen(skb: number): number {
  return skbGsoTransportSeglen(skb) + skbTransportHeader(skb) - skbNetworkHeader(skb);
}
/** skb_gso_mac_seglen: length of one full segment from the link header. */
export function skbGsoMacSeglen(skb: number): number {
  return skbGsoTransportSeglen(skb) + skbTransportHeader(skb) - skbMacHeader(skb);
}
/** skb_gso_validate_network_len: every segment fits in `mtu`. */
export function skbGsoValidateNetworkLen(skb: number, mtu: number): boolean {
  return skbGsoNetworkSeglen(skb) <= mtu;
}
/** skb_gso_validate_mac_len. */
export function skbGsoValidateMacLen(skb: number, len: number): boolean {
  return skbGsoMacSeglen(skb) <= len;
}
