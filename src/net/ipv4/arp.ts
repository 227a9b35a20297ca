/** ARP (signatures; being filled in). */

import type { NetDevice } from "../core/dev.ts";
import type { DstEntry } from "../core/dst.ts";

function todo(): never {
  throw new Error("todo");
}

export function arpInit(): void { todo(); }
/** The packet handler of ETH_P_ARP; consumes the skb. */
export function arpRcv(skb: number, dev: NetDevice, pt: unknown, origDev: NetDevice): number { return todo(); }
/** arp_send: `destHw` null = broadcast, `srcHw` null = the device's, `targetHw` null = zeros (all Ethernet addresses). */
export function arpSend(type: number, ptype: number, destIp: number, dev: NetDevice, srcIp: number, destHw: Uint8Array | null, srcHw: Uint8Array | null, targetHw: Uint8Array | null): void { todo(); }
/** arp_bind_neighbour: sets dst.neighbour for the route's next hop. 0 or a negative errno. */
export function arpBindNeighbour(dst: DstEntry): number { return todo(); }
