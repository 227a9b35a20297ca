/** Which flow a packet belongs to (net/core/flow_dissector.c), for schedulers that are fair between flows. */

import {
  SKB_DATA,
  SKB_DATA_LEN,
  SKB_HASH,
  SKB_LEN,
  SKB_NETWORK_HEADER,
  SKB_PROTOCOL,
} from "../../../assembly/layout.ts";
import { dv, u8, u16, u32 } from "../../mm/mem.ts";
import { ETH_P_IP } from "../../uapi/if_ether.ts";
import { IPPROTO_TCP, IPPROTO_UDP } from "../../uapi/in.ts";

/* notrace */
function mix(hash: number, word: number): number {
  let h = Math.imul(word, 0xcc9e2d51);
  h = Math.imul((h << 15) | (h >>> 17), 0x1b873593) ^ hash;
  return (Math.imul((h << 13) | (h >>> 19), 5) + 0xe6546b64) | 0;
}

/**
 * skb_get_hash: the same non-zero number for all packets of a flow: from the socket that sent it, else from addresses,
 * protocol and ports. Kept in the skb. 0 = not IP.
 */
export function skbGetHash(skb: number): number {
  const known = u32[(skb + SKB_HASH) >>> 2] as number;
  if (known !== 0) return known;
  if (u16[(skb + SKB_PROTOCOL) >>> 1] !== ETH_P_IP) return 0;
  const nh = u32[(skb + SKB_NETWORK_HEADER) >>> 2] as number;
  const headlen = (u32[(skb + SKB_LEN) >>> 2] as number) - (u32[(skb + SKB_DATA_LEN) >>> 2] as number);
  const end = (u32[(skb + SKB_DATA) >>> 2] as number) + headlen;
  if (nh === 0 || nh + 20 > end || (u8[nh] as number) >>> 4 !== 4) return 0;
  const ihl = ((u8[nh] as number) & 15) * 4;
  const proto = u8[nh + 9] as number;
  let hash = mix(mix(mix(0x9747b28c, dv.getUint32(nh + 12)), dv.getUint32(nh + 16)), proto);
  // A fragment but the first has no ports; so that a datagram stays together, none of its fragments uses them.
  const fragment = (dv.getUint16(nh + 6) & 0x3fff) !== 0;
  if (!fragment && (proto === IPPROTO_TCP || proto === IPPROTO_UDP) && nh + ihl + 4 <= end) {
    hash = mix(hash, dv.getUint32(nh + ihl));
  }
  hash ^= hash >>> 16;
  hash = Math.imul(hash, 0x85ebca6b);
  hash ^= hash >>> 13;
  hash = Math.imul(hash, 0xc2b2ae35);
  hash = (hash ^ (hash >>> 16)) >>> 0;
  if (hash === 0) hash = 1;
  u32[(skb + SKB_HASH) >>> 2] = hash;
  return hash;
}
