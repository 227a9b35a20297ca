/**
 * struct sk_buff from above (net/core/skbuff.c, include/linux/skbuff.h): lists, life and death, room at both ends,
 * and the operations on bytes, which wasm does. An skb is a number, the address of its sk_buff; 0 is NULL.
 *
 * Functions that are `static inline` in the kernel carry the mark that keeps them out of the trace.
 */

import {
  CHECKSUM_COMPLETE,
  CHECKSUM_NONE,
  CHECKSUM_PARTIAL,
  CHECKSUM_UNNECESSARY,
  FRAG_LEN,
  FRAG_OFFSET,
  FRAG_PAGE,
  MAX_SKB_FRAGS,
  NET_SKB_PAD,
  SHINFO_FRAG_LIST,
  SHINFO_NR_FRAGS,
  SHINFO_UARG,
  SKB_CB,
  SKB_CB_SIZE,
  SKB_CSUM,
  SKB_CSUM_OFFSET,
  SKB_CSUM_START,
  SKB_DATA,
  SKB_DATA_LEN,
  SKB_DESTRUCTOR,
  SKB_DEV,
  SKB_END,
  SKB_HEAD,
  SKB_IP_SUMMED,
  SKB_LEN,
  SKB_MAC_HEADER,
  SKB_MARK,
  SKB_NETWORK_HEADER,
  SKB_NEXT,
  SKB_NFCT,
  SKB_PKT_TYPE,
  SKB_PREV,
  SKB_SHARED_INFO_SIZE,
  SKB_SIZE,
  SKB_SK,
  SKB_TAIL,
  SKB_TRANSPORT_HEADER,
  SKB_TRUESIZE,
  SKB_USERS,
  UARG_REFCNT,
} from "../../../assembly/layout.ts";
import { BugError, bugOn } from "../../kernel/bug.ts";
import { kernel } from "../../kernel/kernel.ts";
import { machine, u8, u16, u32, wasm } from "../../mm/mem.ts";
import {
  skbChecksumStartOffset,
  skbCloned,
  skbCloneWritable,
  skbFrag,
  skbFragList,
  skbHeaderCloned,
  skbHeadlen,
  skbHeadroom,
  skbMacHeaderWasSet,
  skbNetworkOffset,
  skbNrFrags,
  skbSetIpSummed,
  skbSetUarg,
  skbShared,
  skbUarg,
} from "../../mm/skb.ts";
import { copyFromUser, copyToUser, csumAndCopyFromUser } from "../../mm/usercopy.ts";
import { SKB_DROP_REASON_NOT_SPECIFIED } from "../../uapi/dropreason.ts";
import { EFAULT, EINVAL, ENOMEM } from "../../uapi/errno.ts";
import { CSUM_MANGLED_0, csumAdd, csumBlockSub, csumFold } from "./checksum.ts";
import type { NetDevice } from "./dev.ts";
import type { DstEntry } from "./dst.ts";
import type { Sock } from "./sock.ts";

export * from "../../mm/pool.ts";
export * from "../../mm/skb.ts";
export { copyFromUser, copyToUser, csumAndCopyFromUser } from "../../mm/usercopy.ts";
export * from "./checksum.ts";

// ---- lists ----------------------------------------------------------------------------------------------------------

/** struct sk_buff_head: a doubly linked list of skbs. Not circular: both ends are 0. */
export class SkBuffHead {
  head = 0;
  tail = 0;
  qlen = 0;
}

/** skb_queue_head_init, __skb_queue_head_init. */
/* notrace */
export function skbQueueHeadInit(list: SkBuffHead): void {
  list.head = 0;
  list.tail = 0;
  list.qlen = 0;
}
/* notrace */
export function skbQueueEmpty(list: SkBuffHead): boolean {
  return list.head === 0;
}
/* notrace */
export function skbQueueLen(list: SkBuffHead): number {
  return list.qlen;
}
/** The first skb, 0 if there is none. */
/* notrace */
export function skbPeek(list: SkBuffHead): number {
  return list.head;
}
/* notrace */
export function skbPeekTail(list: SkBuffHead): number {
  return list.tail;
}
/** skb_peek_next / skb_queue_next: the skb after this one, 0 at the end. */
/* notrace */
export function skbQueueNext(skb: number): number {
  return u32[(skb + SKB_NEXT) >>> 2];
}
/* notrace */
export function skbPeekNext(skb: number): number {
  return u32[(skb + SKB_NEXT) >>> 2];
}
/* notrace */
export function skbQueuePrev(skb: number): number {
  return u32[(skb + SKB_PREV) >>> 2];
}
/* notrace */
export function skbQueueIsFirst(list: SkBuffHead, skb: number): boolean {
  return list.head === skb;
}
/* notrace */
export function skbQueueIsLast(list: SkBuffHead, skb: number): boolean {
  return list.tail === skb;
}
/** Appends the skb. */
export function skbQueueTail(list: SkBuffHead, skb: number): void {
  const last = list.tail;
  u32[(skb + SKB_NEXT) >>> 2] = 0;
  u32[(skb + SKB_PREV) >>> 2] = last;
  if (last !== 0) u32[(last + SKB_NEXT) >>> 2] = skb;
  else list.head = skb;
  list.tail = skb;
  list.qlen++;
}
/* notrace */
export function __skbQueueTail(list: SkBuffHead, skb: number): void {
  skbQueueTail(list, skb);
}
/** Puts the skb first. */
export function skbQueueHead(list: SkBuffHead, skb: number): void {
  const first = list.head;
  u32[(skb + SKB_NEXT) >>> 2] = first;
  u32[(skb + SKB_PREV) >>> 2] = 0;
  if (first !== 0) u32[(first + SKB_PREV) >>> 2] = skb;
  else list.tail = skb;
  list.head = skb;
  list.qlen++;
}
/* notrace */
export function __skbQueueHead(list: SkBuffHead, skb: number): void {
  skbQueueHead(list, skb);
}
/** Takes the first skb out. 0 if the list is empty. */
export function skbDequeue(list: SkBuffHead): number {
  const skb = list.head;
  if (skb !== 0) __skbUnlink(skb, list);
  return skb;
}
/* notrace */
export function __skbDequeue(list: SkBuffHead): number {
  const skb = list.head;
  if (skb !== 0) __skbUnlink(skb, list);
  return skb;
}
/** Takes the last skb out. 0 if the list is empty. */
export function skbDequeueTail(list: SkBuffHead): number {
  const skb = list.tail;
  if (skb !== 0) __skbUnlink(skb, list);
  return skb;
}
/** Takes the skb, which stands in `list`, out of it. */
/* notrace */
export function __skbUnlink(skb: number, list: SkBuffHead): void {
  const next = u32[(skb + SKB_NEXT) >>> 2];
  const prev = u32[(skb + SKB_PREV) >>> 2];
  if (next !== 0) u32[(next + SKB_PREV) >>> 2] = prev;
  else list.tail = prev;
  if (prev !== 0) u32[(prev + SKB_NEXT) >>> 2] = next;
  else list.head = next;
  u32[(skb + SKB_NEXT) >>> 2] = 0;
  u32[(skb + SKB_PREV) >>> 2] = 0;
  list.qlen--;
}
export function skbUnlink(skb: number, list: SkBuffHead): void {
  __skbUnlink(skb, list);
}
/** __skb_queue_after: inserts `newsk` after `prev`; prev = 0 means at the head. */
/* notrace */
export function skbQueueAfter(list: SkBuffHead, prev: number, newsk: number): void {
  const next = prev !== 0 ? u32[(prev + SKB_NEXT) >>> 2] : list.head;
  u32[(newsk + SKB_NEXT) >>> 2] = next;
  u32[(newsk + SKB_PREV) >>> 2] = prev;
  if (next !== 0) u32[(next + SKB_PREV) >>> 2] = newsk;
  else list.tail = newsk;
  if (prev !== 0) u32[(prev + SKB_NEXT) >>> 2] = newsk;
  else list.head = newsk;
  list.qlen++;
}
/** __skb_queue_before: inserts `newsk` before `next`; next = 0 means at the tail. */
/* notrace */
export function skbQueueBefore(list: SkBuffHead, next: number, newsk: number): void {
  skbQueueAfter(list, next !== 0 ? u32[(next + SKB_PREV) >>> 2] : list.tail, newsk);
}
/** skb_append(old, newsk, list): inserts `newsk` after `old`. */
export function skbAppend(old: number, newsk: number, list: SkBuffHead): void {
  skbQueueAfter(list, old, newsk);
}
/** skb_insert(old, newsk, list): inserts `newsk` before `old`. */
export function skbInsert(old: number, newsk: number, list: SkBuffHead): void {
  skbQueueBefore(list, old, newsk);
}
/** skb_queue_purge_reason: frees everything in the list. */
export function skbQueuePurge(list: SkBuffHead, reason: number = SKB_DROP_REASON_NOT_SPECIFIED): void {
  for (;;) {
    const skb = __skbDequeue(list);
    if (skb === 0) return;
    kfreeSkbReason(skb, reason);
  }
}
/* notrace */
export function __skbQueuePurge(list: SkBuffHead): void {
  skbQueuePurge(list);
}
/** skb_queue_splice_tail_init: appends all of `list` to `to` and empties `list`. */
/* notrace */
export function skbQueueSpliceTailInit(list: SkBuffHead, to: SkBuffHead): void {
  if (list.head === 0) return;
  if (to.tail !== 0) {
    u32[(to.tail + SKB_NEXT) >>> 2] = list.head;
    u32[(list.head + SKB_PREV) >>> 2] = to.tail;
  } else {
    to.head = list.head;
  }
  to.tail = list.tail;
  to.qlen += list.qlen;
  skbQueueHeadInit(list);
}
/** skb_queue_splice_init: puts all of `list` before `to`'s skbs and empties `list`. */
/* notrace */
export function skbQueueSpliceInit(list: SkBuffHead, to: SkBuffHead): void {
  if (list.head === 0) return;
  if (to.head !== 0) {
    u32[(list.tail + SKB_NEXT) >>> 2] = to.head;
    u32[(to.head + SKB_PREV) >>> 2] = list.tail;
  } else {
    to.tail = list.tail;
  }
  to.head = list.head;
  to.qlen += list.qlen;
  skbQueueHeadInit(list);
}

// ---- what an skb refers to: device, socket, route, conntrack entry --------------------------------------------------

/** The slots that skb->dev, skb->sk and skb->_nfct count in, of the current machine. */
export interface Slots<T> {
  /** Gives the object a slot (never 0). */
  alloc(object: T): number;
  /** Gives the slot back; no skb may refer to it any more. */
  free(slot: number): void;
  /** The object of a slot; null for slot 0 and free ones. */
  get(slot: number): T | null;
}

/** Device slots: register_netdevice takes one (`dev.slot = netdevSlots.alloc(dev)`), free_netdev gives it back. */
export const netdevSlots: Slots<NetDevice> = {
  alloc: (dev) => machine.devs.alloc(dev),
  free: (slot) => machine.devs.free(slot),
  get: (slot) => machine.devs.items[slot] as NetDevice | null,
};
/** Socket slots: sk_alloc takes one (`sk.slot = skSlots.alloc(sk)`), sk_free gives it back. */
export const skSlots: Slots<Sock> = {
  alloc: (sk) => machine.socks.alloc(sk),
  free: (slot) => machine.socks.free(slot),
  get: (slot) => machine.socks.items[slot] as Sock | null,
};
/** Conntrack slots. */
export const nfctSlots: Slots<unknown> = {
  alloc: (ct) => machine.nfcts.alloc(ct),
  free: (slot) => machine.nfcts.free(slot),
  get: (slot) => machine.nfcts.items[slot],
};

/** skb->dev. Null when there is none, whatever the type says: below the device layer an skb always has one. */
/* notrace */
export function skbDev(skb: number): NetDevice {
  return machine.devs.items[u32[(skb + SKB_DEV) >>> 2]] as NetDevice;
}
/* notrace */
export function skbSetDev(skb: number, dev: NetDevice | null): void {
  u32[(skb + SKB_DEV) >>> 2] = dev === null ? 0 : dev.slot;
}
/** skb->sk. */
/* notrace */
export function skbSk(skb: number): Sock | null {
  return machine.socks.items[u32[(skb + SKB_SK) >>> 2]] as Sock | null;
}
/* notrace */
export function skbSetSk(skb: number, sk: Sock | null): void {
  u32[(skb + SKB_SK) >>> 2] = sk === null ? 0 : sk.slot;
}

/** skb_dst(skb). */
/* notrace */
export function skbDst(skb: number): DstEntry | null {
  const block = machine.dsts[skb >>> 16];
  return block === null ? null : (block[(skb >>> 8) & 255] as DstEntry | null);
}
/** skb_dst_set(skb, dst). */
/* notrace */
export function skbDstSet(skb: number, dst: DstEntry | null): void {
  let block = machine.dsts[skb >>> 16];
  if (block === null) {
    if (dst === null) return;
    block = new Array<unknown>(256).fill(null);
    machine.dsts[skb >>> 16] = block;
  }
  block[(skb >>> 8) & 255] = dst;
}
/** skb_dst_drop(skb). */
/* notrace */
export function skbDstDrop(skb: number): void {
  const block = machine.dsts[skb >>> 16];
  if (block !== null) block[(skb >>> 8) & 255] = null;
}
/** skb_dst_copy(nskb, oskb). */
/* notrace */
export function skbDstCopy(nskb: number, oskb: number): void {
  skbDstSet(nskb, skbDst(oskb));
}

/** The functions behind skb->destructor, by SKB_DESTRUCTOR_*. */
export const skbDestructors: ((skb: number) => void)[] = [];
/** Their kernel names, for the trace. */
export const skbDestructorNames: string[] = [];

/** Fills in skbDestructors: sock.ts and tcp_output.ts call it when they are loaded. */
/* notrace */
export function registerSkbDestructor(kind: number, name: string, fn: (skb: number) => void): void {
  skbDestructors[kind] = fn;
  skbDestructorNames[kind] = name;
}

/** nf_conntrack_get / nf_conntrack_put on skb->_nfct, and the zero-copy notifier's completion. */
interface SkbHooks {
  nfctGet: (slot: number) => void;
  nfctPut: (slot: number) => void;
  uargDone: (uarg: number) => void;
}
const hooks: SkbHooks = { nfctGet: noHook, nfctPut: noHook, uargDone: noHook };
function noHook(_slot: number): void {}

/** Conntrack registers how references to its entries are counted. */
/* notrace */
export function registerNfctHooks(get: (slot: number) => void, put: (slot: number) => void): void {
  hooks.nfctGet = get;
  hooks.nfctPut = put;
}
/** MSG_ZEROCOPY registers who is told that nobody refers to a notifier (SHINFO_UARG) any more. */
/* notrace */
export function registerUargDone(done: (uarg: number) => void): void {
  hooks.uargDone = done;
}

// ---- life and death -------------------------------------------------------------------------------------------------

/** alloc_skb: room for `size` bytes behind data, no headroom. 0 = no memory. Sizes above 65,296 need frags. */
export function allocSkb(size: number): number {
  return wasm.allocSkb(size);
}
/** alloc_skb_fclone: clones cost the same here. */
/* notrace */
export function allocSkbFclone(size: number): number {
  return wasm.allocSkb(size);
}
/** netdev_alloc_skb: `length` bytes behind NET_SKB_PAD of headroom, for a frame that `dev` received. 0 = no memory. */
/* notrace */
export function netdevAllocSkb(dev: NetDevice, length: number): number {
  const skb = wasm.allocSkb(length + NET_SKB_PAD);
  if (skb === 0) return 0;
  skbReserve(skb, NET_SKB_PAD);
  u32[(skb + SKB_DEV) >>> 2] = dev.slot;
  return skb;
}
/** netdev_alloc_skb_ip_align: NET_IP_ALIGN (2) more, so that the header after Ethernet's 14 bytes is 4-byte aligned. */
/* notrace */
export function netdevAllocSkbIpAlign(dev: NetDevice, length: number): number {
  const skb = netdevAllocSkb(dev, length + 2);
  if (skb !== 0) skbReserve(skb, 2);
  return skb;
}
/**
 * alloc_skb_with_frags: `headerLen` bytes of linear room and `dataLen` bytes of page frags, already counted in len. For
 * packets that no single buffer holds. 0 = no memory.
 */
export function allocSkbWithFrags(headerLen: number, dataLen: number): number {
  const skb = allocSkb(headerLen);
  if (skb === 0) return 0;
  for (let i = 0, left = dataLen; left > 0; i++) {
    const size = left < 32768 ? left : 32768;
    const page = i < MAX_SKB_FRAGS ? allocPage(size) : 0;
    if (page === 0) {
      consumeSkb(skb);
      return 0;
    }
    skbAddRxFrag(skb, i, page, 0, size, pageSize(page));
    left -= size;
  }
  return skb;
}

/** SKB_TRUESIZE(x): what an skb with `x` bytes of linear room is charged at least. */
/* notrace */
export function skbTruesizeOf(size: number): number {
  const need = size + SKB_SHARED_INFO_SIZE;
  const cls =
    need <= 512
      ? 512
      : need <= 2048
        ? 2048
        : need <= 4096
          ? 4096
          : need <= 16384
            ? 16384
            : need <= 32768
              ? 32768
              : 65536;
  return cls + SKB_SIZE;
}

/** A second sk_buff over the same data; no owner, in no list. 0 = no memory. */
export function skbClone(skb: number): number {
  const n = wasm.skbClone(skb);
  if (n !== 0) copySkbRefs(n, skb);
  return n;
}
/** What __copy_skb_header does for objects: the route and the conntrack entry go along. */
/* notrace */
export function copySkbRefs(n: number, skb: number): void {
  const block = machine.dsts[skb >>> 16];
  if (block !== null) {
    const dst = block[(skb >>> 8) & 255] as DstEntry | null;
    if (dst !== null) skbDstSet(n, dst);
  }
  const ct = u32[(skb + SKB_NFCT) >>> 2];
  if (ct !== 0) hooks.nfctGet(ct);
}

/** skb_get: one more reference to the sk_buff. */
/* notrace */
export function skbGet(skb: number): number {
  Atomics.add(u32, (skb + SKB_USERS) >>> 2, 1);
  return skb;
}

/** skb_unref: drops a reference; true if it was the last. */
/* notrace */
function skbUnref(skb: number): boolean {
  // The only holder needs no atomic operation (and Atomics cost 20 ns here).
  const users = u32[(skb + SKB_USERS) >>> 2];
  if (users === 1) return true;
  if (users === 0) throw new BugError("skb freed twice");
  return Atomics.sub(u32, (skb + SKB_USERS) >>> 2, 1) === 1;
}

/** skb_release_head_state: lets go of route, owner and conntrack entry. */
/* notrace */
function skbReleaseHeadState(skb: number): void {
  const block = machine.dsts[skb >>> 16];
  if (block !== null) block[(skb >>> 8) & 255] = null;
  const destructor = u8[skb + SKB_DESTRUCTOR];
  if (destructor !== 0) {
    skbDestructors[destructor](skb);
    u8[skb + SKB_DESTRUCTOR] = 0;
  }
  const ct = u32[(skb + SKB_NFCT) >>> 2];
  if (ct !== 0) {
    hooks.nfctPut(ct);
    u32[(skb + SKB_NFCT) >>> 2] = 0;
  }
}

/** Where the walk over a frag list goes on after a list inside it (afterRelease). */
const pending: number[] = [];

/**
 * After data was released: completes a zero-copy send, and frees the frag list that came loose. Other skbs may share
 * the list, so its links stay as they are; a list inside a list costs an entry on `pending`, not stack.
 */
/* notrace */
function afterRelease(loose: number): void {
  const word = (machine.result >>> 2) + 1;
  const uarg = u32[word];
  if (uarg !== 0) {
    u32[word] = 0;
    hooks.uargDone(uarg);
  }
  const floor = pending.length;
  let skb = loose;
  for (;;) {
    while (skb === 0) {
      if (pending.length === floor) return;
      skb = pending.pop() as number;
    }
    const next = u32[(skb + SKB_NEXT) >>> 2];
    if (skbUnref(skb)) {
      skbReleaseHeadState(skb);
      const inner = wasm.kfreeSkbMem(skb);
      if (inner !== 0) {
        if (next !== 0) pending.push(next);
        skb = inner;
        continue;
      }
    }
    skb = next;
  }
}

/** __kfree_skb: frees an skb whose last reference is gone. */
/* notrace */
export function __kfreeSkb(skb: number): void {
  skbReleaseHeadState(skb);
  const loose = wasm.kfreeSkbMem(skb);
  if (loose !== 0 || u32[(machine.result >>> 2) + 1] !== 0) afterRelease(loose);
}

/** consume_skb: drops a reference to an skb that served its purpose. 0 is fine. */
export function consumeSkb(skb: number): void {
  if (skb !== 0 && skbUnref(skb)) __kfreeSkb(skb);
}
/** kfree_skb: drops a reference to an skb that is thrown away. */
/* notrace */
export function kfreeSkb(skb: number): void {
  kfreeSkbReason(skb, SKB_DROP_REASON_NOT_SPECIFIED);
}
/**
 * kfree_skb_reason: the same, and says why (SKB_DROP_REASON_*): counted in kernel.dropReasons, told to kernel.onDrop.
 */
export function kfreeSkbReason(skb: number, reason: number): void {
  if (skb === 0 || !skbUnref(skb)) return;
  if (kernel !== undefined) {
    kernel.dropReasons[reason]++;
    if (kernel.onDrop !== null) kernel.onDrop(skb, reason);
  }
  __kfreeSkb(skb);
}
/** kfree_skb_list_reason: drops every skb of a chain (linked through next), in one call into wasm. */
export function kfreeSkbListReason(segs: number, reason: number): void {
  freeList(segs, reason);
}
/** kfree_skb_list. */
/* notrace */
export function kfreeSkbList(segs: number): void {
  freeList(segs, SKB_DROP_REASON_NOT_SPECIFIED);
}
/** consume_skb for a chain: no drop is counted. */
/* notrace */
export function consumeSkbList(segs: number): void {
  freeList(segs, -1);
}

/* notrace */
function freeList(segs: number, reason: number): void {
  let first = 0;
  let last = 0;
  for (let skb = segs; skb !== 0; ) {
    const next = u32[(skb + SKB_NEXT) >>> 2];
    u32[(skb + SKB_NEXT) >>> 2] = 0;
    if (skbUnref(skb)) {
      if (reason >= 0 && kernel !== undefined) {
        kernel.dropReasons[reason]++;
        if (kernel.onDrop !== null) kernel.onDrop(skb, reason);
      }
      const si = u32[(skb + SKB_END) >>> 2];
      if (u32[(si + SHINFO_FRAG_LIST) >>> 2] !== 0 || u32[(si + SHINFO_UARG) >>> 2] !== 0) {
        __kfreeSkb(skb);
      } else {
        skbReleaseHeadState(skb);
        if (last !== 0) u32[(last + SKB_NEXT) >>> 2] = skb;
        else first = skb;
        last = skb;
      }
    }
    skb = next;
  }
  if (first !== 0) wasm.kfreeSkbListMem(first);
}

/** kfree_skb_partial(skb, stolen): frees an skb after skbTryCoalesce took what it held. */
/* notrace */
export function kfreeSkbPartial(skb: number, _headStolen = false): void {
  consumeSkb(skb);
}

/** skb_orphan: runs the destructor now; the skb belongs to no socket from here on. */
/* notrace */
export function skbOrphan(skb: number): void {
  const destructor = u8[skb + SKB_DESTRUCTOR];
  if (destructor !== 0) {
    skbDestructors[destructor](skb);
    u8[skb + SKB_DESTRUCTOR] = 0;
  }
  u32[(skb + SKB_SK) >>> 2] = 0;
}

/** skb_copy: a private copy of everything, linear. 0 = no memory. */
export function skbCopy(skb: number): number {
  const n = wasm.skbCopy(skb);
  if (n !== 0) copySkbRefs(n, skb);
  return n;
}
/** pskb_copy: a private copy of the linear part; the frags are shared. 0 = no memory. */
/* notrace */
export function pskbCopy(skb: number): number {
  return __pskbCopy(skb, skbHeadroom(skb));
}
/** __pskb_copy: the same with another headroom. */
export function __pskbCopy(skb: number, headroom: number): number {
  const n = wasm.pskbCopy(skb, headroom);
  if (n !== 0) copySkbRefs(n, skb);
  return n;
}
/** skb_copy_expand: a linear copy with the given head- and tailroom. 0 = no memory. */
export function skbCopyExpand(skb: number, newheadroom: number, newtailroom: number): number {
  const n = wasm.skbCopyExpand(skb, newheadroom, newtailroom);
  if (n !== 0) copySkbRefs(n, skb);
  return n;
}
/** skb_share_check: an skb that nobody else refers to; a shared one is cloned and let go. 0 = no memory. */
/* notrace */
export function skbShareCheck(skb: number): number {
  if (!skbShared(skb)) return skb;
  const n = skbClone(skb);
  if (n !== 0) consumeSkb(skb);
  else kfreeSkb(skb);
  return n;
}
/** skb_unshare: an skb whose data nobody else sees; a cloned one is copied and let go. 0 = no memory. */
/* notrace */
export function skbUnshare(skb: number): number {
  if (!skbCloned(skb)) return skb;
  const n = skbCopy(skb);
  if (n !== 0) consumeSkb(skb);
  else kfreeSkb(skb);
  return n;
}

/** skb_morph: dst becomes what a clone of src would be. */
export function skbMorph(dst: number, src: number): number {
  skbReleaseHeadState(dst);
  const loose = wasm.skbMorph(dst, src);
  copySkbRefs(dst, src);
  if (loose !== 0 || u32[(machine.result >>> 2) + 1] !== 0) afterRelease(loose);
  return dst;
}

/**
 * skb_orphan_frags_rx: a packet that stays on this machine lets its sender have the notification of MSG_ZEROCOPY: what it
 * shares with the sender's queue it gets for itself. 0, or a negative errno (the caller drops it).
 */
/* notrace */
export function skbOrphanFragsRx(skb: number): number {
  return skbUarg(skb) === 0 ? 0 : skbCopyUbufs(skb);
}

/** skb_copy_ubufs. The fragments are the stack's memory already, so only the head is copied. */
function skbCopyUbufs(skb: number): number {
  if (skbShared(skb)) return -EINVAL;
  const err = skbUnclone(skb);
  if (err !== 0) return err;
  const uarg = skbUarg(skb);
  skbSetUarg(skb, 0);
  const refs = u32[(uarg + UARG_REFCNT) >>> 2] - 1;
  u32[(uarg + UARG_REFCNT) >>> 2] = refs;
  if (refs === 0) hooks.uargDone(uarg);
  return 0;
}

// ---- room at both ends ----------------------------------------------------------------------------------------------

/** skb_reserve: makes `len` bytes of headroom in an empty skb. */
/* notrace */
export function skbReserve(skb: number, len: number): void {
  u32[(skb + SKB_DATA) >>> 2] += len;
  u32[(skb + SKB_TAIL) >>> 2] += len;
}
/** skb_put: `len` more bytes at the tail. Returns where they start. Too many are a bug (skb_over_panic). */
export function skbPut(skb: number, len: number): number {
  const tail = u32[(skb + SKB_TAIL) >>> 2];
  if (tail + len > u32[(skb + SKB_END) >>> 2]) throw new BugError("skb_over_panic: put beyond the end");
  if (u32[(skb + SKB_DATA_LEN) >>> 2] !== 0) throw new BugError("skb_put on a nonlinear skb");
  u32[(skb + SKB_TAIL) >>> 2] = tail + len;
  u32[(skb + SKB_LEN) >>> 2] += len;
  return tail;
}
/* notrace */
export function __skbPut(skb: number, len: number): number {
  const tail = u32[(skb + SKB_TAIL) >>> 2];
  u32[(skb + SKB_TAIL) >>> 2] = tail + len;
  u32[(skb + SKB_LEN) >>> 2] += len;
  return tail;
}
/** skb_put_zero. */
/* notrace */
export function skbPutZero(skb: number, len: number): number {
  const at = skbPut(skb, len);
  u8.fill(0, at, at + len);
  return at;
}
/** skb_push: `len` more bytes before data. Returns the new data. Too many are a bug (skb_under_panic). */
export function skbPush(skb: number, len: number): number {
  const data = u32[(skb + SKB_DATA) >>> 2] - len;
  if (data < u32[(skb + SKB_HEAD) >>> 2]) throw new BugError("skb_under_panic: push beyond the head");
  u32[(skb + SKB_DATA) >>> 2] = data;
  u32[(skb + SKB_LEN) >>> 2] += len;
  return data;
}
/* notrace */
export function __skbPush(skb: number, len: number): number {
  const data = u32[(skb + SKB_DATA) >>> 2] - len;
  u32[(skb + SKB_DATA) >>> 2] = data;
  u32[(skb + SKB_LEN) >>> 2] += len;
  return data;
}
/** skb_pull: takes `len` bytes off the front. Returns the new data, 0 if the skb is shorter. They must be linear. */
export function skbPull(skb: number, len: number): number {
  return len > u32[(skb + SKB_LEN) >>> 2] ? 0 : __skbPull(skb, len);
}
/* notrace */
export function __skbPull(skb: number, len: number): number {
  const left = u32[(skb + SKB_LEN) >>> 2] - len;
  if (left < u32[(skb + SKB_DATA_LEN) >>> 2]) throw new BugError("skb_pull beyond the linear part");
  u32[(skb + SKB_LEN) >>> 2] = left;
  const data = u32[(skb + SKB_DATA) >>> 2] + len;
  u32[(skb + SKB_DATA) >>> 2] = data;
  return data;
}
/** pskb_pull: skb_pull that first makes the bytes linear. 0 if the skb is shorter or there is no memory. */
/* notrace */
export function pskbPull(skb: number, len: number): number {
  return pskbMayPull(skb, len) ? __skbPull(skb, len) : 0;
}
/** skb_pull_rcsum: pulls `len` linear bytes and takes them out of a CHECKSUM_COMPLETE sum. */
export function skbPullRcsum(skb: number, len: number): number {
  const data = u32[(skb + SKB_DATA) >>> 2];
  const at = skbPull(skb, len);
  if (at !== 0) skbPostpullRcsum(skb, data, len);
  return at;
}
/** skb_postpull_rcsum. */
/* notrace */
export function skbPostpullRcsum(skb: number, start: number, len: number): void {
  if (u8[skb + SKB_IP_SUMMED] === CHECKSUM_COMPLETE) {
    const csum = wasm.csumPartial(start, len, 0) >>> 0;
    u32[(skb + SKB_CSUM) >>> 2] = csumBlockSub(u32[(skb + SKB_CSUM) >>> 2], csum, 0);
  } else if (u8[skb + SKB_IP_SUMMED] === CHECKSUM_PARTIAL && skbChecksumStartOffset(skb) < 0) {
    u8[skb + SKB_IP_SUMMED] = CHECKSUM_NONE;
  }
}

/** pskb_may_pull: true if the first `len` bytes are (now) linear. Header addresses taken before may be stale after. */
/* notrace */
export function pskbMayPull(skb: number, len: number): boolean {
  const headlen = u32[(skb + SKB_LEN) >>> 2] - u32[(skb + SKB_DATA_LEN) >>> 2];
  if (len <= headlen) return true;
  if (len > u32[(skb + SKB_LEN) >>> 2]) return false;
  return __pskbPullTail(skb, len - headlen) !== 0;
}
/** pskb_network_may_pull. */
/* notrace */
export function pskbNetworkMayPull(skb: number, len: number): boolean {
  return pskbMayPull(skb, skbNetworkOffset(skb) + len);
}
/** __pskb_pull_tail: moves `delta` bytes from the frags to the linear part. Returns its new tail, 0 on failure. */
export function __pskbPullTail(skb: number, delta: number): number {
  const tail = wasm.pskbPullTail(skb, delta);
  freeResultList();
  return tail;
}
/**
 * Frees the skbs that a wasm call took out of a frag list (result word 0), or whose head it let go of last (word 2).
 */
/* notrace */
function freeResultList(): void {
  const word = machine.result >>> 2;
  const list = u32[word];
  const loose = u32[word + 2];
  if ((list | loose) === 0) return;
  u32[word] = 0;
  u32[word + 2] = 0;
  afterRelease(list);
  afterRelease(loose);
}
/** skb_linearize: 0, or -ENOMEM. */
/* notrace */
export function skbLinearize(skb: number): number {
  const dataLen = u32[(skb + SKB_DATA_LEN) >>> 2];
  return dataLen === 0 || __pskbPullTail(skb, dataLen) !== 0 ? 0 : -ENOMEM;
}
/** skb_linearize_cow: linear, and private. 0, or -ENOMEM. */
/* notrace */
export function skbLinearizeCow(skb: number): number {
  if (u32[(skb + SKB_DATA_LEN) >>> 2] !== 0) return skbLinearize(skb);
  return skbCloned(skb) ? pskbExpandHead(skb, 0, 0) : 0;
}

/** skb_trim: cuts a linear skb to `len` bytes, if it is longer. */
export function skbTrim(skb: number, len: number): void {
  if (u32[(skb + SKB_LEN) >>> 2] > len) __skbTrim(skb, len);
}
/** __skb_trim: sets the length of a linear skb. */
/* notrace */
export function __skbTrim(skb: number, len: number): void {
  if (u32[(skb + SKB_DATA_LEN) >>> 2] !== 0) throw new BugError("skb_trim on a nonlinear skb");
  u32[(skb + SKB_LEN) >>> 2] = len;
  u32[(skb + SKB_TAIL) >>> 2] = u32[(skb + SKB_DATA) >>> 2] + len;
}
/** skb_set_length of a linear skb. */
/* notrace */
export function skbSetLength(skb: number, len: number): void {
  __skbTrim(skb, len);
}
/** pskb_trim: cuts the skb to `len` bytes, if it is longer; frags too. 0, or -ENOMEM. */
/* notrace */
export function pskbTrim(skb: number, len: number): number {
  return len < u32[(skb + SKB_LEN) >>> 2] ? ___pskbTrim(skb, len) : 0;
}
/* notrace */
export function __pskbTrim(skb: number, len: number): number {
  return pskbTrim(skb, len);
}
/** ___pskb_trim: sets a length that is not above the present one. */
export function ___pskbTrim(skb: number, len: number): number {
  if (u32[(skb + SKB_DATA_LEN) >>> 2] === 0) {
    __skbTrim(skb, len);
    return 0;
  }
  const err = wasm.pskbTrim(skb, len);
  freeResultList();
  if (err === 0 && u32[(skb + SKB_SK) >>> 2] === 0) skbCondense(skb);
  return err;
}
/** skb_condense: copies short frags into the tailroom and gives their pages back; truesize is what is left. */
export function skbCondense(skb: number): void {
  const dataLen = u32[(skb + SKB_DATA_LEN) >>> 2];
  if (dataLen !== 0) {
    if (dataLen > u32[(skb + SKB_END) >>> 2] - u32[(skb + SKB_TAIL) >>> 2] || skbCloned(skb)) return;
    __pskbPullTail(skb, dataLen);
  }
  const head = u32[(skb + SKB_HEAD) >>> 2];
  u32[(skb + SKB_TRUESIZE) >>> 2] = u32[(skb + SKB_END) >>> 2] - head + SKB_SHARED_INFO_SIZE + SKB_SIZE;
}
/** pskb_trim_rcsum: pskb_trim that keeps a CHECKSUM_COMPLETE sum right. */
/* notrace */
export function pskbTrimRcsum(skb: number, len: number): number {
  const delta = u32[(skb + SKB_LEN) >>> 2] - len;
  if (delta <= 0) return 0;
  if (u8[skb + SKB_IP_SUMMED] === CHECKSUM_COMPLETE) {
    const csum = skbChecksum(skb, len, delta, 0);
    u32[(skb + SKB_CSUM) >>> 2] = csumBlockSub(u32[(skb + SKB_CSUM) >>> 2], csum, len);
  } else if (u8[skb + SKB_IP_SUMMED] === CHECKSUM_PARTIAL) {
    const field = skbChecksumStartOffset(skb) + u16[(skb + SKB_CSUM_OFFSET) >>> 1] + 2;
    if (len < field) return -EINVAL;
  }
  return ___pskbTrim(skb, len);
}

/** pskb_expand_head: `nhead` more bytes of headroom, `ntail` more of tailroom, in a private head. 0, or -ENOMEM. */
export function pskbExpandHead(skb: number, nhead: number, ntail: number): number {
  const err = wasm.pskbExpandHead(skb, nhead, ntail);
  freeResultList();
  return err;
}
/** skb_expand_head: an skb with at least `headroom`, the same one or a private copy of it; 0 (and freed) on failure. */
export function skbExpandHead(skb: number, headroom: number): number {
  const delta = headroom - skbHeadroom(skb);
  if (delta <= 0 && !skbHeaderCloned(skb)) return skb;
  if (pskbExpandHead(skb, delta > 0 ? align(delta, 16) : 0, 0) !== 0) {
    kfreeSkb(skb);
    return 0;
  }
  return skb;
}
/** skb_realloc_headroom: a private copy of the head with at least `headroom`; the original stays. 0 = no memory. */
export function skbReallocHeadroom(skb: number, headroom: number): number {
  const delta = headroom - skbHeadroom(skb);
  if (delta <= 0) return pskbCopy(skb);
  const n = skbClone(skb);
  if (n !== 0 && pskbExpandHead(n, align(delta, 16), 0) !== 0) {
    kfreeSkb(n);
    return 0;
  }
  return n;
}
/* notrace */
function align(n: number, to: number): number {
  return (n + to - 1) & ~(to - 1);
}
/** skb_cow: at least `headroom`, and data that nobody else sees. 0, or -ENOMEM. */
/* notrace */
export function skbCow(skb: number, headroom: number): number {
  return __skbCow(skb, headroom, skbCloned(skb));
}
/** skb_cow_head: at least `headroom`, and a header that nobody else needs. 0, or -ENOMEM. */
/* notrace */
export function skbCowHead(skb: number, headroom: number): number {
  return __skbCow(skb, headroom, skbHeaderCloned(skb));
}
/* notrace */
function __skbCow(skb: number, headroom: number, cloned: boolean): number {
  const delta = headroom - skbHeadroom(skb);
  if (delta <= 0 && !cloned) return 0;
  return pskbExpandHead(skb, delta > 0 ? align(delta, NET_SKB_PAD) : 0, 0);
}
/** skb_ensure_writable: the first `writeLen` bytes are linear and may be written. 0, or -ENOMEM. */
export function skbEnsureWritable(skb: number, writeLen: number): number {
  if (!pskbMayPull(skb, writeLen)) return -ENOMEM;
  if (!skbCloned(skb) || skbCloneWritable(skb, writeLen)) return 0;
  return pskbExpandHead(skb, 0, 0);
}
/** skb_unclone: data that nobody else sees. 0, or -ENOMEM. */
/* notrace */
export function skbUnclone(skb: number): number {
  return skbCloned(skb) ? pskbExpandHead(skb, 0, 0) : 0;
}
/** skb_header_unclone. */
/* notrace */
export function skbHeaderUnclone(skb: number): number {
  return skbHeaderCloned(skb) ? pskbExpandHead(skb, 0, 0) : 0;
}
/** skb_padto: zero bytes up to `len`. 0; or -ENOMEM, and the skb is freed. The length does not change. */
/* notrace */
export function skbPadto(skb: number, len: number): number {
  const size = u32[(skb + SKB_LEN) >>> 2];
  return size >= len ? 0 : skbPad(skb, len - size);
}
/** skb_pad: `pad` zero bytes behind the tail. 0; or -ENOMEM, and the skb is freed. */
export function skbPad(skb: number, pad: number): number {
  const nonlinear = u32[(skb + SKB_DATA_LEN) >>> 2] !== 0;
  const ntail = pad - (u32[(skb + SKB_END) >>> 2] - u32[(skb + SKB_TAIL) >>> 2]);
  if (nonlinear || ntail > 0 || skbCloned(skb)) {
    let err = ntail > 0 || skbCloned(skb) ? pskbExpandHead(skb, 0, ntail > 0 ? ntail : 0) : 0;
    if (err === 0) err = skbLinearize(skb);
    if (err === 0 && u32[(skb + SKB_END) >>> 2] - u32[(skb + SKB_TAIL) >>> 2] < pad) err = pskbExpandHead(skb, 0, pad);
    if (err !== 0) {
      kfreeSkb(skb);
      return err;
    }
  }
  const tail = u32[(skb + SKB_TAIL) >>> 2];
  u8.fill(0, tail, tail + pad);
  return 0;
}
/** skb_put_padto: pads with zeros to `len` and counts them in. 0; or -ENOMEM, and the skb is freed. */
/* notrace */
export function skbPutPadto(skb: number, len: number): number {
  const size = u32[(skb + SKB_LEN) >>> 2];
  if (size >= len) return 0;
  const err = skbPad(skb, len - size);
  if (err === 0) __skbPut(skb, len - size);
  return err;
}

// ---- pages and frags ------------------------------------------------------------------------------------------------

/** A buffer of at least `size` bytes (up to 64 KiB) with one reference. 0 = no memory. */
/* notrace */
export function allocPage(size: number): number {
  return wasm.allocPage(size);
}
/** get_page: one more reference to a buffer. */
/* notrace */
export function getPage(page: number): void {
  wasm.getPage(page);
}
/** put_page: one reference less; the last one frees the buffer. */
/* notrace */
export function putPage(page: number): void {
  wasm.putPage(page);
}
/** page_count. */
/* notrace */
export function pageRefs(page: number): number {
  return wasm.pageRefs(page);
}
/** The real size of a buffer. */
/* notrace */
export function pageSize(page: number): number {
  return wasm.bufferSize(page);
}
/** __skb_fill_page_desc: sets frag `i`, and nr_frags to `i + 1`. The reference to the page goes to the skb. */
/* notrace */
export function skbFillPageDesc(skb: number, i: number, page: number, off: number, size: number): void {
  const frag = skbFrag(skb, i) >>> 2;
  u32[frag] = page;
  u32[frag + 1] = off;
  u32[frag + 2] = size;
  u8[u32[(skb + SKB_END) >>> 2] + SHINFO_NR_FRAGS] = i + 1;
}
/** skb_add_rx_frag: skbFillPageDesc that also counts the bytes and their memory. */
export function skbAddRxFrag(skb: number, i: number, page: number, off: number, size: number, truesize: number): void {
  skbFillPageDesc(skb, i, page, off, size);
  u32[(skb + SKB_LEN) >>> 2] += size;
  u32[(skb + SKB_DATA_LEN) >>> 2] += size;
  u32[(skb + SKB_TRUESIZE) >>> 2] += truesize;
}
/** skb_coalesce_rx_frag: frag `i` grows by bytes that follow it in its page. */
export function skbCoalesceRxFrag(skb: number, i: number, size: number, truesize: number): void {
  u32[(skbFrag(skb, i) + FRAG_LEN) >>> 2] += size;
  u32[(skb + SKB_LEN) >>> 2] += size;
  u32[(skb + SKB_DATA_LEN) >>> 2] += size;
  u32[(skb + SKB_TRUESIZE) >>> 2] += truesize;
}
/** skb_can_coalesce: bytes at `off` of `page` would follow frag i - 1. */
/* notrace */
export function skbCanCoalesce(skb: number, i: number, page: number, off: number): boolean {
  if (i === 0) return false;
  const frag = skbFrag(skb, i - 1);
  return (
    u32[(frag + FRAG_PAGE) >>> 2] === page && u32[(frag + FRAG_OFFSET) >>> 2] + u32[(frag + FRAG_LEN) >>> 2] === off
  );
}
/** skb_frag_ref. */
/* notrace */
export function skbFragRef(skb: number, i: number): void {
  wasm.getPage(u32[(skbFrag(skb, i) + FRAG_PAGE) >>> 2]);
}
/** skb_frag_unref. */
/* notrace */
export function skbFragUnref(skb: number, i: number): void {
  wasm.putPage(u32[(skbFrag(skb, i) + FRAG_PAGE) >>> 2]);
}
/** skb_len_add: bytes that were put into frags by hand. */
/* notrace */
export function skbLenAdd(skb: number, delta: number): void {
  u32[(skb + SKB_LEN) >>> 2] += delta;
  u32[(skb + SKB_DATA_LEN) >>> 2] += delta;
  u32[(skb + SKB_TRUESIZE) >>> 2] += delta;
}
/** skb_frag_list_init. */
/* notrace */
export function skbHasFrags(skb: number): boolean {
  return skbNrFrags(skb) !== 0 || skbFragList(skb) !== 0;
}

/**
 * skb_split: `skb` keeps its first `len` bytes, the rest goes to `skb1`, which is empty and has tailroom for what is
 * linear of it. Frags move; the one that straddles the cut is shared.
 */
export function skbSplit(skb: number, skb1: number, len: number): void {
  wasm.skbSplit(skb, skb1, len);
}
/**
 * skb_shift: moves `shiftlen` bytes of frags from the front of `skb` to the end of `tgt`. Returns `shiftlen`, or 0
 * if that is not possible (linear bytes, no slots). As much truesize moves along.
 */
export function skbShift(tgt: number, skb: number, shiftlen: number): number {
  return wasm.skbShift(tgt, skb, shiftlen);
}
/**
 * skb_try_coalesce: appends the bytes of `from` to `to`. Returns the truesize that moved (0 when they were copied),
 * or -1 if it cannot be done. On success the caller frees `from` (kfreeSkbPartial).
 */
export function skbTryCoalesce(to: number, from: number): number {
  return wasm.skbTryCoalesce(to, from);
}

// ---- bytes ----------------------------------------------------------------------------------------------------------

/** skb_copy_bits: copies `len` bytes from `offset` to the address `to`. 0, or -EFAULT if the skb is shorter. */
export function skbCopyBits(skb: number, offset: number, to: number, len: number): number {
  return wasm.skbCopyBits(skb, offset, to, len);
}
/** skb_store_bits: the other way round. */
export function skbStoreBits(skb: number, offset: number, from: number, len: number): number {
  return wasm.skbStoreBits(skb, offset, from, len);
}
/**
 * skb_header_pointer: the address of `len` bytes at `offset`: in place if they are linear, else copied to `buffer`. 0
 * = too short.
 */
/* notrace */
export function skbHeaderPointer(skb: number, offset: number, len: number, buffer: number): number {
  if (skbHeadlen(skb) - offset >= len) return u32[(skb + SKB_DATA) >>> 2] + offset;
  return wasm.skbCopyBits(skb, offset, buffer, len) < 0 ? 0 : buffer;
}

/** Copies `len` bytes from `offset` of the skb into `dst` at `dstOff` (skb_copy_datagram_iter). 0, or -EFAULT. */
/* notrace */
export function skbCopyToUser(skb: number, offset: number, dst: Uint8Array, dstOff: number, len: number): number {
  if (offset + len > u32[(skb + SKB_LEN) >>> 2] || dstOff + len > dst.length) return -EFAULT;
  let skip = offset;
  let at = dstOff;
  let left = len;
  const headlen = skbHeadlen(skb);
  if (skip < headlen) {
    const n = left < headlen - skip ? left : headlen - skip;
    copyToUser(dst, at, u32[(skb + SKB_DATA) >>> 2] + skip, n);
    at += n;
    left -= n;
    skip = 0;
  } else {
    skip -= headlen;
  }
  const nrFrags = skbNrFrags(skb);
  for (let i = 0; i < nrFrags && left > 0; i++) {
    const frag = skbFrag(skb, i);
    const size = u32[(frag + FRAG_LEN) >>> 2];
    if (skip >= size) {
      skip -= size;
      continue;
    }
    const n = left < size - skip ? left : size - skip;
    copyToUser(dst, at, u32[(frag + FRAG_PAGE) >>> 2] + u32[(frag + FRAG_OFFSET) >>> 2] + skip, n);
    at += n;
    left -= n;
    skip = 0;
  }
  for (let list = skbFragList(skb); list !== 0 && left > 0; list = u32[(list + SKB_NEXT) >>> 2]) {
    const size = u32[(list + SKB_LEN) >>> 2];
    if (skip >= size) {
      skip -= size;
      continue;
    }
    const n = left < size - skip ? left : size - skip;
    skbCopyToUser(list, skip, dst, at, n);
    at += n;
    left -= n;
    skip = 0;
  }
  return 0;
}
/** Appends `len` bytes of `src` from `srcOff` to the linear part. Returns where they stand. */
/* notrace */
export function skbCopyFromUser(skb: number, src: Uint8Array, srcOff: number, len: number): number {
  const at = skbPut(skb, len);
  copyFromUser(at, src, srcOff, len);
  return at;
}
/** skb_add_data: the same, with the bytes added to skb->csum as the skb's data from 0. 0. */
export function skbAddData(skb: number, src: Uint8Array, srcOff: number, len: number): number {
  const off = u32[(skb + SKB_LEN) >>> 2];
  const at = skbPut(skb, len);
  if (u8[skb + SKB_IP_SUMMED] === CHECKSUM_NONE) {
    const csum = csumAndCopyFromUser(at, src, srcOff, len, 0);
    const shifted = (off & 1) !== 0 ? ((csum >>> 8) | (csum << 24)) >>> 0 : csum;
    u32[(skb + SKB_CSUM) >>> 2] = csumAdd(u32[(skb + SKB_CSUM) >>> 2], shifted);
  } else {
    copyFromUser(at, src, srcOff, len);
  }
  return 0;
}
/** copy_from_user without a checksum, by the name that the data path's tables use. */
/* notrace */
export function copyFromUserNoCsum(dst: number, src: Uint8Array, srcOff: number, len: number): void {
  copyFromUser(dst, src, srcOff, len);
}
/** A copy of `len` bytes (default: all) from `offset`, on the JS heap. For tests, taps and tools. */
/* notrace */
export function skbBytes(
  skb: number,
  offset = 0,
  len: number = u32[(skb + SKB_LEN) >>> 2] - offset,
): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(len);
  bugOn(skbCopyToUser(skb, offset, out, 0, len) !== 0, "skbBytes beyond the skb");
  return out;
}

// ---- checksums ------------------------------------------------------------------------------------------------------

/** skb_checksum: the partial sum of `len` bytes from `offset`, plus `csum`. */
export function skbChecksum(skb: number, offset: number, len: number, csum: number): number {
  return wasm.skbChecksum(skb, offset, len, csum) >>> 0;
}
/** skb_copy_and_csum_bits: skbCopyBits and skbChecksum in one pass. */
export function skbCopyAndCsumBits(skb: number, offset: number, to: number, len: number): number {
  return wasm.skbCopyAndCsumBits(skb, offset, to, len) >>> 0;
}
/** skb_checksum_help: computes in software what CHECKSUM_PARTIAL left to the device. 0, or a negative errno. */
export function skbChecksumHelp(skb: number): number {
  if (u8[skb + SKB_IP_SUMMED] === CHECKSUM_COMPLETE) {
    u8[skb + SKB_IP_SUMMED] = CHECKSUM_NONE;
    return 0;
  }
  const offset = skbChecksumStartOffset(skb);
  const field = offset + u16[(skb + SKB_CSUM_OFFSET) >>> 1];
  if (offset < 0 || field + 2 > skbHeadlen(skb)) return -EINVAL;
  const csum = skbChecksum(skb, offset, u32[(skb + SKB_LEN) >>> 2] - offset, 0);
  const err = skbEnsureWritable(skb, field + 2);
  if (err !== 0) return err;
  const check = csumFold(csum) || CSUM_MANGLED_0;
  const at = u32[(skb + SKB_DATA) >>> 2] + field;
  u8[at] = check >>> 8;
  u8[at + 1] = check & 0xff;
  u8[skb + SKB_IP_SUMMED] = CHECKSUM_NONE;
  return 0;
}
/**
 * __skb_checksum_complete: sums all of data onto skb->csum (the pseudo-header). 0 = right; the sum is kept as
 * COMPLETE.
 */
export function __skbChecksumComplete(skb: number): number {
  const csum = skbChecksum(skb, 0, u32[(skb + SKB_LEN) >>> 2], 0);
  const sum = csumFold(csumAdd(u32[(skb + SKB_CSUM) >>> 2], csum));
  if (!skbShared(skb)) {
    u32[(skb + SKB_CSUM) >>> 2] = csum;
    // There is no csum_valid here: what was found right needs no second look.
    u8[skb + SKB_IP_SUMMED] = sum === 0 ? CHECKSUM_UNNECESSARY : CHECKSUM_COMPLETE;
  }
  return sum;
}
/** __skb_checksum_complete_head: the same for the first `len` bytes. */
export function __skbChecksumCompleteHead(skb: number, len: number): number {
  return csumFold(skbChecksum(skb, 0, len, u32[(skb + SKB_CSUM) >>> 2]));
}
/** skb_checksum_complete: 0 if the checksum is right or known to be. */
/* notrace */
export function skbChecksumComplete(skb: number): number {
  const how = u8[skb + SKB_IP_SUMMED];
  if (how === CHECKSUM_UNNECESSARY || (how === CHECKSUM_PARTIAL && skbChecksumStartOffset(skb) >= 0)) return 0;
  return __skbChecksumComplete(skb);
}
/**
 * skb_checksum_init / __skb_checksum_validate: `pseudo` is the partial sum of the pseudo-header (0 for none). 0 = the
 * checksum is right, or will be checked by skb_checksum_complete (skb->csum then holds the pseudo-header).
 */
/* notrace */
export function skbChecksumInit(skb: number, pseudo: number): number {
  const how = u8[skb + SKB_IP_SUMMED];
  if (how === CHECKSUM_UNNECESSARY || (how === CHECKSUM_PARTIAL && skbChecksumStartOffset(skb) >= 0)) return 0;
  if (how === CHECKSUM_COMPLETE && csumFold(csumAdd(pseudo, u32[(skb + SKB_CSUM) >>> 2])) === 0) {
    u8[skb + SKB_IP_SUMMED] = CHECKSUM_UNNECESSARY;
    return 0;
  }
  u32[(skb + SKB_CSUM) >>> 2] = pseudo;
  // Short packets are checked at once (CHECKSUM_BREAK).
  if (how === CHECKSUM_COMPLETE || u32[(skb + SKB_LEN) >>> 2] <= 76) return __skbChecksumComplete(skb);
  return 0;
}
/**
 * skb_partial_csum_set: makes the skb CHECKSUM_PARTIAL, `start` and `off` counted from data. False if out of bounds.
 */
export function skbPartialCsumSet(skb: number, start: number, off: number): boolean {
  const headlen = skbHeadlen(skb);
  const fromHead = skbHeadroom(skb) + start;
  if (fromHead > 0xffff || start + off + 2 > headlen || start + 2 > headlen) return false;
  skbSetIpSummed(skb, CHECKSUM_PARTIAL);
  u16[(skb + SKB_CSUM_START) >>> 1] = fromHead;
  u16[(skb + SKB_CSUM_OFFSET) >>> 1] = off;
  u32[(skb + SKB_TRANSPORT_HEADER) >>> 2] = u32[(skb + SKB_DATA) >>> 2] + start;
  return true;
}

/** skb_scrub_packet: forgets what a packet must not carry into another namespace. */
export function skbScrubPacket(skb: number, xnet: boolean): void {
  u8[skb + SKB_PKT_TYPE] = 0;
  skbDstDrop(skb);
  const ct = u32[(skb + SKB_NFCT) >>> 2];
  if (ct !== 0) {
    hooks.nfctPut(ct);
    u32[(skb + SKB_NFCT) >>> 2] = 0;
  }
  if (xnet) u32[(skb + SKB_MARK) >>> 2] = 0;
}
/** Clears skb->cb. */
/* notrace */
export function skbClearCb(skb: number): void {
  u32.fill(0, (skb + SKB_CB) >>> 2, (skb + SKB_CB + SKB_CB_SIZE) >>> 2);
}
/** skb_gso_network_seglen etc. are in gso.ts; the mac header length is here. */
/* notrace */
export function skbMacHeaderLen(skb: number): number {
  return skbMacHeaderWasSet(skb) ? u32[(skb + SKB_NETWORK_HEADER) >>> 2] - u32[(skb + SKB_MAC_HEADER) >>> 2] : 0;
}
