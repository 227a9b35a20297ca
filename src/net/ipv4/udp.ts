/** UDP (signatures; being filled in). */
import type { Proto, Socket } from "../core/sock.ts";
export const udpProt: Proto = null as unknown as Proto;
export function udpPoll(_sock: Socket): number {
  return 0;
}
export function udpRcv(_skb: number): number {
  return 0;
}
export function udpErr(_skb: number, _info: number): number {
  return 0;
}
