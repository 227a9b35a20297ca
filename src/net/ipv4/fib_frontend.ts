/** Routing tables, seen from outside (signatures; being filled in). */

import type { NetDevice } from "../core/dev.ts";
import type { Net } from "../core/net_namespace.ts";

function todo(): never {
  throw new Error("todo");
}

/** RTN_LOCAL, RTN_BROADCAST, RTN_MULTICAST or RTN_UNICAST: what kind of address `addr` is here. */
export function inetAddrType(net: Net, addr: number): number { return todo(); }
/** The same, seen from `dev`: a local address of another device counts as RTN_LOCAL all the same. */
export function inetAddrTypeDevTable(net: Net, dev: NetDevice | null, addr: number): number { return todo(); }
export function inetDevAddrType(net: Net, dev: NetDevice | null, addr: number): number { return todo(); }
/** fib_compute_spec_dst: the address to answer a received `skb` from. */
export function fibComputeSpecDst(skb: number): number { return todo(); }
export function ipFibInit(): void { todo(); }
