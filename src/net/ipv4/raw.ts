/** Raw sockets (signatures; being filled in). */
import type { Proto } from "../core/sock.ts";
export const rawProt: Proto = null as unknown as Proto;
/** raw_local_deliver: gives clones to raw sockets; true if there was one. Does not consume the skb; data = transport header. */
export function rawLocalDeliver(_skb: number, _protocol: number): boolean {
  return false;
}
/** raw_icmp_error: an ICMP error for raw sockets; data = the quoted IP header. */
export function rawIcmpError(_skb: number, _protocol: number, _info: number): void {}
