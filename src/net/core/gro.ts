/**
 * Generic receive offload (net/core/gro.c): NAPI drivers hand their frames to `napiGroReceive`, and those of one poll are
 * joined to super-packets in one wasm call (assembly/net/core/gro.ts), so that IP and TCP work once on up to 64 KiB.
 */

import { SKB_DESTRUCTOR, SKB_NEXT } from "../../../assembly/layout.ts";
import { machine, u8, u32, wasm } from "../../mm/mem.ts";
import { SKB_DROP_REASON_DEV_READY } from "../../uapi/dropreason.ts";
import { type NapiStruct, netifReceiveSkb, netifReceiveSkbList } from "./dev.rx.ts";
import { NETIF_F_GRO } from "./netdev_features.ts";
import { kfreeSkbReason, skbDev, skbDstDrop, skbOrphan } from "./skbuff.ts";

/** Word of ARENA_RESULT in which groReceive leaves what it holds. */
const RESULT_HELD = 4;

/**
 * napi_gro_receive: a frame that the poll function of `napi` has received, after eth_type_trans; or a chain of them (linked
 * through next) up to `last`, all of one device. Takes them over. They go up the stack when the poll is over (napiGroPoll),
 * alone or as part of a super-packet; at once if the device has GRO switched off.
 */
export function napiGroReceive(napi: NapiStruct, first: number, last: number = first): void {
  u32[(last + SKB_NEXT) >>> 2] = 0;
  if ((skbDev(first).features & NETIF_F_GRO) === 0) {
    netifReceiveSkbList(first);
    return;
  }
  // Joined frames have one owner or none, and no route yet.
  for (let skb = first; skb !== 0; skb = u32[(skb + SKB_NEXT) >>> 2]) {
    if (u8[skb + SKB_DESTRUCTOR] !== 0) skbOrphan(skb);
    skbDstDrop(skb);
  }
  if (napi.rxTail === 0) napi.rxList = first;
  else u32[(napi.rxTail + SKB_NEXT) >>> 2] = first;
  napi.rxTail = last;
}

/** What a poll has collected goes up. `flush`: there is no more to come for now, so nothing is held back. */
export function napiGroPoll(napi: NapiStruct, flush: boolean): void {
  const list = napi.rxList;
  napi.rxList = 0;
  napi.rxTail = 0;
  let skb = wasm.groReceive(list, napi.groHeld, flush ? 1 : 0);
  napi.groHeld = u32[(machine.result >>> 2) + RESULT_HELD];
  while (skb !== 0) {
    const next = u32[(skb + SKB_NEXT) >>> 2];
    u32[(skb + SKB_NEXT) >>> 2] = 0;
    netifReceiveSkb(skb);
    skb = next;
  }
}

/** flush_gro_hash: frees what is held for a device that goes away. */
export function napiGroPurge(napi: NapiStruct): void {
  if (napi.rxList === 0 && napi.groHeld === 0) return;
  let skb = wasm.groReceive(napi.rxList, napi.groHeld, 1);
  napi.rxList = 0;
  napi.rxTail = 0;
  napi.groHeld = 0;
  while (skb !== 0) {
    const next = u32[(skb + SKB_NEXT) >>> 2];
    u32[(skb + SKB_NEXT) >>> 2] = 0;
    kfreeSkbReason(skb, SKB_DROP_REASON_DEV_READY);
    skb = next;
  }
}
