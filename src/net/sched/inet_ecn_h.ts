/** include/net/inet_ecn.h: marking a packet instead of dropping it (RFC 3168). */

import { SKB_DATA, SKB_DATA_LEN, SKB_LEN, SKB_NETWORK_HEADER, SKB_PROTOCOL } from "../../../assembly/layout.ts";
import { dv, u8, u16, u32 } from "../../mm/mem.ts";
import { ETH_P_IP } from "../../uapi/if_ether.ts";
import { INET_ECN_CE, INET_ECN_MASK } from "../../uapi/ip.ts";
import { csumUpdate2 } from "../core/checksum.ts";

/**
 * INET_ECN_set_ce: marks the packet "congestion experienced". False if its sender has not said that it understands that
 * (RFC 3168 section 5), or it is no IPv4 packet.
 */
export function inetEcnSetCe(skb: number): boolean {
  if (u16[(skb + SKB_PROTOCOL) >>> 1] !== ETH_P_IP) return false;
  const iph = u32[(skb + SKB_NETWORK_HEADER) >>> 2] as number;
  const headlen = (u32[(skb + SKB_LEN) >>> 2] as number) - (u32[(skb + SKB_DATA_LEN) >>> 2] as number);
  if (iph === 0 || iph + 20 > (u32[(skb + SKB_DATA) >>> 2] as number) + headlen) return false;
  const tos = u8[iph + 1] as number;
  const ecn = tos & INET_ECN_MASK;
  if (ecn === 0) return false;
  if (ecn !== INET_ECN_CE) {
    const word = dv.getUint16(iph);
    u8[iph + 1] = tos | INET_ECN_CE;
    dv.setUint16(iph + 10, csumUpdate2(dv.getUint16(iph + 10), word, dv.getUint16(iph)));
  }
  return true;
}
