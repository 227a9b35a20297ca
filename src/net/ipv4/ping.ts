/** Ping sockets (signatures; being filled in). */
import type { Proto } from "../core/sock.ts";
export const pingProt: Proto = null as unknown as Proto;
/** ping_rcv: an echo reply. Consumes the skb; 0 or SKB_DROP_REASON_*. data = anything behind the ICMP (transport) header. */
export function pingRcv(_skb: number): number {
  return 0;
}
/** ping_err: an ICMP error about an echo request; data = the quoted IP header, the ICMP header is `offset` behind it. */
export function pingErr(_skb: number, _offset: number, _info: number): void {}
