/** Multicast membership (signatures; being filled in). */

import type { Sock } from "../core/sock.ts";
import type { InDevice } from "./devinet.ts";

function todo(): never {
  throw new Error("todo");
}

/** ip_check_mc_rcu: does the host listen to `mcAddr` on the device? */
export function ipCheckMc(inDev: InDevice, mcAddr: number, srcAddr: number, proto: number): boolean { return todo(); }
/** ip_mc_inc_group. */
export function ipMcIncGroup(inDev: InDevice, addr: number): void { todo(); }
/** ip_mc_dec_group. */
export function ipMcDecGroup(inDev: InDevice, addr: number): void { todo(); }
/** IP_ADD_MEMBERSHIP; `ifindex` 0 and `address` 0 = the route decides. 0 or a negative errno. */
export function ipMcJoinGroup(sk: Sock, multiaddr: number, address: number, ifindex: number): number { return todo(); }
/** IP_DROP_MEMBERSHIP. */
export function ipMcLeaveGroup(sk: Sock, multiaddr: number, address: number, ifindex: number): number { return todo(); }
/** ip_mc_drop_socket: the socket closes. */
export function ipMcDropSocket(sk: Sock): void { todo(); }
