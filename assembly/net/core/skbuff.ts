/**
 * sk_buff: allocation, cloning, freeing, and all that moves bytes between the linear part, the frags and the frag list
 * (net/core/skbuff.c). Pure field moves (skb_put, skb_push, skb_pull) are done by src/net/core/skbuff.ts on the views.
 *
 * What an operation gives back besides its return value stands in this cpu's ARENA_RESULT words. An sk_buff that came
 * out of a frag list is never freed here: its destructor is JavaScript. It is returned, linked through `next`.
 */

import { cpu } from "../../env";
import {
  ARENA_RESULT,
  ARENA_SERIAL,
  ARENA_STAT_ALLOC_FAIL,
  ARENA_STAT_BYTES_COPIED,
  ARENA_STAT_SKB_ALLOC,
  ARENA_STAT_SKB_CLONE,
  ARENA_STAT_SKB_FREE,
  BLOCK_SIZE,
  CHECKSUM_PARTIAL,
  CLASS_SKB,
  FRAG_LEN,
  FRAG_OFFSET,
  FRAG_PAGE,
  FRAG_SIZE,
  MAX_SKB_FRAGS,
  SHINFO_DATAREF,
  SHINFO_FRAG_LIST,
  SHINFO_FRAGS,
  SHINFO_GSO_SEGS,
  SHINFO_GSO_SIZE,
  SHINFO_NR_FRAGS,
  SHINFO_UARG,
  SKB_CLONED,
  SKB_CSUM_START,
  SKB_DATA,
  SKB_DATA_LEN,
  SKB_DATAREF_MASK,
  SKB_DATAREF_SHIFT,
  SKB_DESTRUCTOR,
  SKB_END,
  SKB_FLAG_HEAD_LOCKED,
  SKB_FLAG_NOHDR,
  SKB_FLAG_PEEKED,
  SKB_FLAGS,
  SKB_HDR_LEN,
  SKB_HEAD,
  SKB_ID,
  SKB_IP_SUMMED,
  SKB_LEN,
  SKB_MAC_HEADER,
  SKB_NETWORK_HEADER,
  SKB_NEXT,
  SKB_ORIGIN,
  SKB_SHARED_INFO_SIZE,
  SKB_SIZE,
  SKB_SK,
  SKB_TAIL,
  SKB_TRANSPORT_HEADER,
  SKB_TRUESIZE,
  SKB_USERS,
  UARG_REFCNT,
} from "../../layout";
import { copyBytes, csumAndCopy, csumBlockAdd, csumPartial } from "../../lib/checksum";
import {
  allocBuffer,
  allocObject,
  allocPage,
  arena,
  bufferSize,
  classSize,
  freeObject,
  getPage,
  putPage,
  sizeToClass,
  statAdd,
} from "../../mm/slab";

const ENOMEM: i32 = 12;
const EFAULT: i32 = 14;

/** Sets word `i` of the result area. */
export function setResult(i: u32, value: u32): void {
  store<u32>(arena() + ARENA_RESULT + (i << 2), value);
}

/** The next serial number: the cpu in the top 4 bits, so that no two cpus share one and cpu 0 counts 1, 2, 3. */
function nextSerial(): u32 {
  const a = arena();
  const serial = (load<u32>(a, ARENA_SERIAL) + 1) & 0x0fff_ffff;
  store<u32>(a, serial, ARENA_SERIAL);
  return serial | ((cpu as u32) << 28);
}

/** Zeroes an sk_buff, all SKB_SIZE bytes. Unrolled: a loop costs more than its stores. */
function zeroSkb(skb: u32): void {
  const zero = i64x2.splat(0);
  v128.store(skb, zero);
  v128.store(skb, zero, 16);
  v128.store(skb, zero, 32);
  v128.store(skb, zero, 48);
  v128.store(skb, zero, 64);
  v128.store(skb, zero, 80);
  v128.store(skb, zero, 96);
  v128.store(skb, zero, 112);
  v128.store(skb, zero, 128);
  v128.store(skb, zero, 144);
  v128.store(skb, zero, 160);
  v128.store(skb, zero, 176);
  v128.store(skb, zero, 192);
  v128.store(skb, zero, 208);
  v128.store(skb, zero, 224);
  v128.store(skb, zero, 240);
}

/** Copies an sk_buff, all SKB_SIZE bytes. */
function copySkb(n: u32, skb: u32): void {
  v128.store(n, v128.load(skb));
  v128.store(n, v128.load(skb, 16), 16);
  v128.store(n, v128.load(skb, 32), 32);
  v128.store(n, v128.load(skb, 48), 48);
  v128.store(n, v128.load(skb, 64), 64);
  v128.store(n, v128.load(skb, 80), 80);
  v128.store(n, v128.load(skb, 96), 96);
  v128.store(n, v128.load(skb, 112), 112);
  v128.store(n, v128.load(skb, 128), 128);
  v128.store(n, v128.load(skb, 144), 144);
  v128.store(n, v128.load(skb, 160), 160);
  v128.store(n, v128.load(skb, 176), 176);
  v128.store(n, v128.load(skb, 192), 192);
  v128.store(n, v128.load(skb, 208), 208);
  v128.store(n, v128.load(skb, 224), 224);
  v128.store(n, v128.load(skb, 240), 240);
}

/** skb_shinfo(skb). */
export function shinfo(skb: u32): u32 {
  return load<u32>(skb, SKB_END);
}

/** Zeroes a skb_shared_info and gives it its first reference. */
function initShinfo(si: u32): void {
  v128.store(si, i64x2.splat(0));
  store<u64>(si, (1 as u64) << 32, 16); // uarg = 0, dataref = 1
}

/** alloc_skb: no headroom; the tailroom is what the size class has. 0 = no memory, or more than CLASS_64K holds. */
export function allocSkb(size: u32): u32 {
  const cls = size > 65536 ? 0 : sizeToClass(size + SKB_SHARED_INFO_SIZE);
  if (cls == 0) {
    statAdd(ARENA_STAT_ALLOC_FAIL, 1);
    return 0;
  }
  const skb = allocObject(CLASS_SKB);
  if (skb == 0) return 0;
  const head = allocBuffer(cls);
  if (head == 0) {
    store<u32>(skb, 0, SKB_USERS);
    freeObject(skb);
    return 0;
  }
  zeroSkb(skb);
  const bytes = classSize(cls);
  const end = head + bytes - SKB_SHARED_INFO_SIZE;
  store<u32>(skb, head, SKB_HEAD);
  store<u32>(skb, head, SKB_DATA);
  store<u32>(skb, head, SKB_TAIL);
  store<u32>(skb, end, SKB_END);
  store<u32>(skb, bytes + SKB_SIZE, SKB_TRUESIZE);
  store<u32>(skb, 1, SKB_USERS);
  const id = nextSerial();
  store<u32>(skb, id, SKB_ID);
  store<u32>(skb, id, SKB_ORIGIN);
  initShinfo(end);
  statAdd(ARENA_STAT_SKB_ALLOC, 1);
  return skb;
}

/** __skb_clone: makes `n` an sk_buff over the data of `skb`, without owner and in no list. */
function becomeClone(n: u32, skb: u32): void {
  copySkb(n, skb);
  store<u64>(n, 0, SKB_NEXT); // next, prev
  store<u32>(n, 0, SKB_SK);
  store<u8>(n, 0, SKB_DESTRUCTOR);
  const flags = load<u8>(skb, SKB_FLAGS);
  if ((flags & (SKB_FLAG_NOHDR as u8)) != 0) {
    store<u16>(n, (load<u32>(skb, SKB_DATA) - load<u32>(skb, SKB_HEAD)) as u16, SKB_HDR_LEN);
  }
  store<u8>(n, flags & ~((SKB_FLAG_NOHDR | SKB_FLAG_PEEKED) as u8), SKB_FLAGS);
  store<u8>(n, 1, SKB_CLONED);
  store<u32>(n, 1, SKB_USERS);
  store<u8>(skb, 1, SKB_CLONED);
  atomic.add<u32>(shinfo(skb) + SHINFO_DATAREF, 1);
}

/** skb_clone: a second sk_buff over the same data. It has no owner and stands in no list. 0 = no memory. */
export function skbClone(skb: u32): u32 {
  const n = allocObject(CLASS_SKB);
  if (n == 0) return 0;
  becomeClone(n, skb);
  store<u32>(n, nextSerial(), SKB_ID);
  statAdd(ARENA_STAT_SKB_CLONE, 1);
  return n;
}

/** Drops the sk_buff's reference to its data. Returns the detached frag list, if the data went and there was one. */
export function skbReleaseData(skb: u32): u32 {
  const head: u32 = load<u32>(skb, SKB_HEAD);
  if (head == 0) return 0; // stolen by skbTryCoalesce
  const si = shinfo(skb);
  const dec: u32 = (load<u8>(skb, SKB_FLAGS) & (SKB_FLAG_NOHDR as u8)) != 0 ? (1 << SKB_DATAREF_SHIFT) + 1 : 1;
  const refs = load<u32>(si, SHINFO_DATAREF);
  if (refs != dec && atomic.sub<u32>(si, dec, SHINFO_DATAREF) != dec) {
    if ((refs & SKB_DATAREF_MASK) == 0) unreachable();
    return 0;
  }
  let frag = si + SHINFO_FRAGS;
  const stop = frag + (load<u8>(si, SHINFO_NR_FRAGS) as u32) * FRAG_SIZE;
  for (; frag < stop; frag += FRAG_SIZE) putPage(load<u32>(frag, FRAG_PAGE));
  const list = load<u32>(si, SHINFO_FRAG_LIST);
  const uarg = load<u32>(si, SHINFO_UARG);
  if (uarg != 0 && atomic.sub<u32>(uarg, 1, UARG_REFCNT) == 1) setResult(1, uarg);
  putPage(head);
  return list;
}

/**
 * Frees an sk_buff of which the caller held the last reference, and what it holds. Returns the frag list that came
 * loose (to be freed by the caller) or 0. A zero-copy notifier that nobody refers to any more is left in result word 1.
 */
export function kfreeSkbMem(skb: u32): u32 {
  const list = skbReleaseData(skb);
  store<u32>(skb, 0, SKB_USERS);
  statAdd(ARENA_STAT_SKB_FREE, 1);
  freeObject(skb);
  return list;
}

/**
 * kfreeSkbMem for a whole chain (linked through `next`), none of which has a frag list or a zero-copy notifier, in one
 * call.
 */
export function kfreeSkbListMem(skb: u32): void {
  while (skb != 0) {
    const next = load<u32>(skb, SKB_NEXT);
    kfreeSkbMem(skb);
    skb = next;
  }
}

// ---- helpers --------------------------------------------------------------------------------------------------------

function headlen(skb: u32): u32 {
  return load<u32>(skb, SKB_LEN) - load<u32>(skb, SKB_DATA_LEN);
}

function add32(addr: u32, n: u32): void {
  store<u32>(addr, load<u32>(addr) + n);
}

function fragAt(si: u32, i: u32): u32 {
  return si + SHINFO_FRAGS + i * FRAG_SIZE;
}

function copyFrag(to: u32, from: u32): void {
  store<u64>(to, load<u64>(from));
  store<u32>(to, load<u32>(from, FRAG_LEN), FRAG_LEN);
}

/** skb_cloned(skb). */
export function isCloned(skb: u32): bool {
  return load<u8>(skb, SKB_CLONED) != 0 && (load<u32>(shinfo(skb), SHINFO_DATAREF) & SKB_DATAREF_MASK) != 1;
}

/** skb_get for every skb of a frag list. */
function getFragList(list: u32): void {
  for (; list != 0; list = load<u32>(list, SKB_NEXT)) atomic.add<u32>(list + SKB_USERS, 1);
}

/**
 * An sk_buff with everything of `skb` but its data, its owner, its place in a list and its sharing:
 * __copy_skb_header. It has a buffer that holds `size` bytes, `headroom` of them before data; len, data_len and
 * frags are zero. 0 = no memory.
 */
export function allocLike(skb: u32, size: u32, headroom: u32): u32 {
  const cls = size > BLOCK_SIZE ? 0 : sizeToClass(size + SKB_SHARED_INFO_SIZE);
  if (cls == 0) {
    statAdd(ARENA_STAT_ALLOC_FAIL, 1);
    return 0;
  }
  const n = allocObject(CLASS_SKB);
  if (n == 0) return 0;
  const head = allocBuffer(cls);
  if (head == 0) {
    store<u32>(n, 0, SKB_USERS);
    freeObject(n);
    return 0;
  }
  copySkb(n, skb);
  const data = head + headroom;
  const delta = data - load<u32>(skb, SKB_DATA);
  const bytes = classSize(cls);
  const end = head + bytes - SKB_SHARED_INFO_SIZE;
  store<u64>(n, 0, SKB_NEXT); // next, prev
  store<u32>(n, 0, SKB_SK);
  store<u64>(n, 0, SKB_LEN); // len, data_len
  store<u32>(n, head, SKB_HEAD);
  store<u32>(n, data, SKB_DATA);
  store<u32>(n, data, SKB_TAIL);
  store<u32>(n, end, SKB_END);
  moveHeaders(n, delta);
  store<u16>(
    n,
    (load<u16>(skb, SKB_CSUM_START) as u32) + headroom - (load<u32>(skb, SKB_DATA) - load<u32>(skb, SKB_HEAD)),
    SKB_CSUM_START,
  );
  store<u32>(n, bytes + SKB_SIZE, SKB_TRUESIZE);
  store<u32>(n, 1, SKB_USERS);
  store<u8>(n, 0, SKB_CLONED);
  store<u8>(n, 0, SKB_DESTRUCTOR);
  store<u8>(n, load<u8>(skb, SKB_FLAGS) & ~((SKB_FLAG_NOHDR | SKB_FLAG_PEEKED) as u8), SKB_FLAGS);
  store<u16>(n, 0, SKB_HDR_LEN);
  store<u32>(n, nextSerial(), SKB_ID);
  initShinfo(end);
  statAdd(ARENA_STAT_SKB_ALLOC, 1);
  return n;
}

/** Moves the header addresses that are set by `delta`. */
function moveHeaders(skb: u32, delta: u32): void {
  const transport = load<u32>(skb, SKB_TRANSPORT_HEADER);
  const network = load<u32>(skb, SKB_NETWORK_HEADER);
  const mac = load<u32>(skb, SKB_MAC_HEADER);
  if (transport != 0) store<u32>(skb, transport + delta, SKB_TRANSPORT_HEADER);
  if (network != 0) store<u32>(skb, network + delta, SKB_NETWORK_HEADER);
  if (mac != 0) store<u32>(skb, mac + delta, SKB_MAC_HEADER);
}

/** skb_copy_header's part of the shared info: what makes it a super-packet. */
function copyGso(to: u32, from: u32): void {
  store<u16>(to, load<u16>(from, SHINFO_GSO_SIZE), SHINFO_GSO_SIZE);
  store<u32>(to, load<u32>(from, SHINFO_GSO_SEGS), SHINFO_GSO_SEGS); // gso_segs and gso_type
}

// ---- walking over the bytes -----------------------------------------------------------------------------------------

/** What `walk` does with each piece. */
const OP_COPY: u32 = 0;
const OP_STORE: u32 = 1;
const OP_CSUM: u32 = 2;
const OP_COPY_CSUM: u32 = 3;

function piece(op: u32, at: u32, buffer: u32, n: u32, sum: u32, pos: u32): u32 {
  if (op == OP_COPY) {
    statAdd(ARENA_STAT_BYTES_COPIED, n);
    copyBytes(buffer + pos, at, n);
    return sum;
  }
  if (op == OP_STORE) {
    statAdd(ARENA_STAT_BYTES_COPIED, n);
    copyBytes(at, buffer + pos, n);
    return sum;
  }
  return csumBlockAdd(sum, op == OP_CSUM ? csumPartial(at, n, 0) : csumAndCopy(buffer + pos, at, n, 0), pos);
}

/**
 * Applies `op` to `len` bytes from `offset`, which must be there. `pos` counts the bytes that were done before: it
 * is the offset into `buffer`, and its parity matters to the sum.
 */
function walk(op: u32, skb: u32, offset: u32, len: u32, buffer: u32, sum: u32, pos: u32): u32 {
  const linear = headlen(skb);
  if (offset < linear) {
    const n = min<u32>(len, linear - offset);
    sum = piece(op, load<u32>(skb, SKB_DATA) + offset, buffer, n, sum, pos);
    len -= n;
    if (len == 0) return sum;
    pos += n;
    offset = 0;
  } else {
    offset -= linear;
  }
  const si = shinfo(skb);
  const nr = load<u8>(si, SHINFO_NR_FRAGS) as u32;
  for (let i: u32 = 0; i < nr && len != 0; i++) {
    const frag = fragAt(si, i);
    const size = load<u32>(frag, FRAG_LEN);
    if (offset >= size) {
      offset -= size;
      continue;
    }
    const n = min<u32>(len, size - offset);
    sum = piece(op, load<u32>(frag, FRAG_PAGE) + load<u32>(frag, FRAG_OFFSET) + offset, buffer, n, sum, pos);
    len -= n;
    pos += n;
    offset = 0;
  }
  if (len == 0) return sum;
  for (let list = load<u32>(si, SHINFO_FRAG_LIST); list != 0 && len != 0; list = load<u32>(list, SKB_NEXT)) {
    const size = load<u32>(list, SKB_LEN);
    if (offset >= size) {
      offset -= size;
      continue;
    }
    const n = min<u32>(len, size - offset);
    sum = walk(op, list, offset, n, buffer, sum, pos);
    len -= n;
    pos += n;
    offset = 0;
  }
  return sum;
}

/** Whether the skb has `len` bytes at `offset` (both may be anything). */
function hasBytes(skb: u32, offset: u32, len: u32): bool {
  const total = load<u32>(skb, SKB_LEN);
  return offset <= total && len <= total - offset;
}

/** skb_copy_bits: 0 or -EFAULT. */
export function skbCopyBits(skb: u32, offset: u32, to: u32, len: u32): i32 {
  if (!hasBytes(skb, offset, len)) return -EFAULT;
  walk(OP_COPY, skb, offset, len, to, 0, 0);
  return 0;
}

/** skb_store_bits: 0 or -EFAULT. */
export function skbStoreBits(skb: u32, offset: u32, from: u32, len: u32): i32 {
  if (!hasBytes(skb, offset, len)) return -EFAULT;
  walk(OP_STORE, skb, offset, len, from, 0, 0);
  return 0;
}

/** skb_checksum: the partial sum of `len` bytes from `offset`, plus `sum`. Traps (BUG) if they are not there. */
export function skbChecksum(skb: u32, offset: u32, len: u32, sum: u32): u32 {
  if (!hasBytes(skb, offset, len)) unreachable();
  return walk(OP_CSUM, skb, offset, len, 0, sum, 0);
}

/** skb_copy_and_csum_bits: copies and returns the partial sum. Traps (BUG) if the bytes are not there. */
export function skbCopyAndCsumBits(skb: u32, offset: u32, to: u32, len: u32): u32 {
  if (!hasBytes(skb, offset, len)) unreachable();
  return walk(OP_COPY_CSUM, skb, offset, len, to, 0, 0);
}

// ---- copies ---------------------------------------------------------------------------------------------------------

/** skb_zerocopy_clone: the frags of `to` are also those of `from`, so that its notifier has one more to wait for. */
export function zerocopyClone(to: u32, from: u32): void {
  const uarg = load<u32>(from, SHINFO_UARG);
  if (uarg == 0) return;
  atomic.add<u32>(uarg, 1, UARG_REFCNT);
  store<u32>(to, uarg, SHINFO_UARG);
}

/** Moves references to the frags and the frag list of `skb` into `n`'s empty shared info. */
function shareFrags(n: u32, skb: u32): void {
  const from = shinfo(skb);
  const to = shinfo(n);
  zerocopyClone(to, from);
  const nr = load<u8>(from, SHINFO_NR_FRAGS) as u32;
  for (let i: u32 = 0; i < nr; i++) {
    const frag = fragAt(from, i);
    getPage(load<u32>(frag, FRAG_PAGE));
    copyFrag(fragAt(to, i), frag);
  }
  store<u8>(to, nr, SHINFO_NR_FRAGS);
  const list = load<u32>(from, SHINFO_FRAG_LIST);
  store<u32>(to, list, SHINFO_FRAG_LIST);
  getFragList(list);
}

/** skb_copy_expand: a private, linear copy with the given room at both ends. 0 = no memory. */
export function skbCopyExpand(skb: u32, newheadroom: u32, newtailroom: u32): u32 {
  const len = load<u32>(skb, SKB_LEN);
  const room = newheadroom + len + newtailroom;
  if (room > BLOCK_SIZE - SKB_SHARED_INFO_SIZE) return copyToPages(skb, newheadroom);
  const n = allocLike(skb, room, newheadroom);
  if (n == 0) return 0;
  copyGso(shinfo(n), shinfo(skb));
  const data = load<u32>(n, SKB_DATA);
  walk(OP_COPY, skb, 0, len, data, 0, 0);
  store<u32>(n, len, SKB_LEN);
  store<u32>(n, data + len, SKB_TAIL);
  return n;
}

/** A private copy of an skb that no single buffer holds: the linear part stays linear, the rest goes to pages. */
function copyToPages(skb: u32, headroom: u32): u32 {
  const linear = headlen(skb);
  const n = allocLike(skb, headroom + linear, headroom);
  if (n == 0) return 0;
  const data = load<u32>(n, SKB_DATA);
  const si = shinfo(n);
  copyGso(si, shinfo(skb));
  walk(OP_COPY, skb, 0, linear, data, 0, 0);
  store<u32>(n, data + linear, SKB_TAIL);
  store<u32>(n, linear, SKB_LEN);
  const total = load<u32>(skb, SKB_LEN);
  let i: u32 = 0;
  for (let pos = linear; pos < total; ) {
    const size = min<u32>(total - pos, 32768);
    const page = i < MAX_SKB_FRAGS ? allocPage(size) : 0;
    if (page == 0) {
      kfreeSkbMem(n);
      return 0;
    }
    walk(OP_COPY, skb, pos, size, page, 0, 0);
    const frag = fragAt(si, i++);
    store<u32>(frag, page, FRAG_PAGE);
    store<u32>(frag, 0, FRAG_OFFSET);
    store<u32>(frag, size, FRAG_LEN);
    store<u8>(si, i, SHINFO_NR_FRAGS);
    add32(n + SKB_LEN, size);
    add32(n + SKB_DATA_LEN, size);
    add32(n + SKB_TRUESIZE, bufferSize(page));
    pos += size;
  }
  return n;
}

/** skb_copy: a private copy with the same headroom. 0 = no memory. */
export function skbCopy(skb: u32): u32 {
  return skbCopyExpand(skb, load<u32>(skb, SKB_DATA) - load<u32>(skb, SKB_HEAD), 0);
}

/** __pskb_copy: a private copy of the linear part, with `headroom`; frags and frag list are shared. 0 = no memory. */
export function pskbCopy(skb: u32, headroom: u32): u32 {
  const linear = headlen(skb);
  const n = allocLike(skb, headroom + linear, headroom);
  if (n == 0) return 0;
  const data = load<u32>(n, SKB_DATA);
  const dataLen = load<u32>(skb, SKB_DATA_LEN);
  statAdd(ARENA_STAT_BYTES_COPIED, linear);
  copyBytes(data, load<u32>(skb, SKB_DATA), linear);
  store<u32>(n, data + linear, SKB_TAIL);
  store<u32>(n, linear + dataLen, SKB_LEN);
  store<u32>(n, dataLen, SKB_DATA_LEN);
  add32(n + SKB_TRUESIZE, dataLen);
  copyGso(shinfo(n), shinfo(skb));
  shareFrags(n, skb);
  return n;
}

/** skb_morph: `dst` lets go of its data and becomes a clone of `src`. Returns the frag list that came loose. */
export function skbMorph(dst: u32, src: u32): u32 {
  const list = skbReleaseData(dst);
  const id = load<u32>(dst, SKB_ID);
  becomeClone(dst, src);
  store<u32>(dst, id, SKB_ID);
  return list;
}

// ---- the linear part ------------------------------------------------------------------------------------------------

/**
 * pskb_expand_head: gives the skb a head of its own with `nhead` more bytes in front and `ntail` more behind. 0 or
 * -ENOMEM. A frag list that comes loose is left in result word 2.
 */
export function pskbExpandHead(skb: u32, nhead: u32, ntail: u32): i32 {
  const head = load<u32>(skb, SKB_HEAD);
  const used = load<u32>(skb, SKB_TAIL) - head;
  const osize = load<u32>(skb, SKB_END) - head;
  let size = nhead + osize + ntail + SKB_SHARED_INFO_SIZE;
  // A head that is as large as can be: give up tailroom that nobody asked for.
  if (size > BLOCK_SIZE) size = nhead + used + ntail + SKB_SHARED_INFO_SIZE;
  const cls = sizeToClass(size);
  const fresh = cls == 0 ? 0 : allocBuffer(cls);
  if (fresh == 0) {
    if (cls == 0) statAdd(ARENA_STAT_ALLOC_FAIL, 1);
    return -ENOMEM;
  }
  const end = fresh + classSize(cls) - SKB_SHARED_INFO_SIZE;
  const si = shinfo(skb);
  statAdd(ARENA_STAT_BYTES_COPIED, used);
  copyBytes(fresh + nhead, head, used);
  copyBytes(end, si, SHINFO_FRAGS + (load<u8>(si, SHINFO_NR_FRAGS) as u32) * FRAG_SIZE);
  store<u32>(end, 1, SHINFO_DATAREF);
  if (isCloned(skb)) {
    const nr = load<u8>(si, SHINFO_NR_FRAGS) as u32;
    for (let i: u32 = 0; i < nr; i++) getPage(load<u32>(fragAt(si, i), FRAG_PAGE));
    getFragList(load<u32>(si, SHINFO_FRAG_LIST));
    const uarg = load<u32>(si, SHINFO_UARG);
    if (uarg != 0) atomic.add<u32>(uarg, 1, UARG_REFCNT);
    const loose = skbReleaseData(skb);
    if (loose != 0) setResult(2, loose); // another cpu let go at the same moment
  } else {
    putPage(head);
  }
  const delta = fresh + nhead - head;
  store<u32>(skb, fresh, SKB_HEAD);
  add32(skb + SKB_DATA, delta);
  add32(skb + SKB_TAIL, delta);
  store<u32>(skb, end, SKB_END);
  moveHeaders(skb, delta);
  store<u16>(skb, (load<u16>(skb, SKB_CSUM_START) as u32) + nhead, SKB_CSUM_START);
  store<u8>(skb, 0, SKB_CLONED);
  store<u8>(skb, load<u8>(skb, SKB_FLAGS) & ~(SKB_FLAG_NOHDR as u8), SKB_FLAGS);
  store<u16>(skb, 0, SKB_HDR_LEN);
  // What is charged to a socket stays as it was charged.
  if (load<u32>(skb, SKB_SK) == 0) add32(skb + SKB_TRUESIZE, end - fresh - osize);
  return 0;
}

/** Puts `skb` on the pile of those that JavaScript frees after this call (result word 0). */
function freeLater(skb: u32): void {
  // A shared one is only let go; its place in the other holder's list must stay.
  if (load<u32>(skb, SKB_USERS) != 1 && atomic.sub<u32>(skb + SKB_USERS, 1) != 1) return;
  store<u32>(skb, 1, SKB_USERS);
  store<u32>(skb, load<u32>(arena() + ARENA_RESULT), SKB_NEXT);
  setResult(0, skb);
}

/**
 * __pskb_pull_tail: makes `delta` more bytes linear. Returns the new tail, or 0. The skb must have them. What the
 * frag list loses is left in result word 0.
 */
export function pskbPullTail(skb: u32, delta: u32): u32 {
  if (delta > load<u32>(skb, SKB_DATA_LEN)) return 0;
  const have = load<u32>(skb, SKB_END) - load<u32>(skb, SKB_TAIL);
  if (delta > have || isCloned(skb)) {
    const more = delta > have ? delta - have : 0;
    // 128 more, as the kernel: the next header is pulled soon. Without them if that would be too large.
    if (pskbExpandHead(skb, 0, more != 0 ? more + 128 : 0) != 0) {
      if (more == 0 || pskbExpandHead(skb, 0, more) != 0) return 0;
    }
  }
  const tail = load<u32>(skb, SKB_TAIL);
  walk(OP_COPY, skb, headlen(skb), delta, tail, 0, 0);

  const si = shinfo(skb);
  const nr = load<u8>(si, SHINFO_NR_FRAGS) as u32;
  let eat = delta;
  let k: u32 = 0;
  for (let i: u32 = 0; i < nr; i++) {
    const frag = fragAt(si, i);
    const size = load<u32>(frag, FRAG_LEN);
    if (size <= eat) {
      putPage(load<u32>(frag, FRAG_PAGE));
      eat -= size;
      continue;
    }
    if (eat != 0) {
      add32(frag + FRAG_OFFSET, eat);
      store<u32>(frag, size - eat, FRAG_LEN);
      eat = 0;
    }
    if (k != i) copyFrag(fragAt(si, k), frag);
    k++;
  }
  store<u8>(si, k, SHINFO_NR_FRAGS);
  while (eat != 0) {
    const list = load<u32>(si, SHINFO_FRAG_LIST);
    const size = load<u32>(list, SKB_LEN);
    const next = load<u32>(list, SKB_NEXT);
    if (size <= eat) {
      eat -= size;
      store<u32>(si, next, SHINFO_FRAG_LIST);
      freeLater(list);
      continue;
    }
    let first = list;
    if (load<u32>(list, SKB_USERS) != 1) {
      // Somebody else's frag list runs through it too.
      first = skbClone(list);
      if (first == 0) return 0;
      store<u32>(first, next, SKB_NEXT);
      store<u32>(si, first, SHINFO_FRAG_LIST);
      freeLater(list);
    }
    if (eat > headlen(first) && pskbPullTail(first, eat - headlen(first)) == 0) return 0;
    add32(first + SKB_DATA, eat);
    store<u32>(first, size - eat, SKB_LEN);
    eat = 0;
  }
  store<u32>(skb, tail + delta, SKB_TAIL);
  store<u32>(skb, load<u32>(skb, SKB_DATA_LEN) - delta, SKB_DATA_LEN);
  return tail + delta;
}

/** ___pskb_trim: cuts the skb to `len` bytes. 0 or -ENOMEM. What the frag list loses is left in result word 0. */
export function pskbTrim(skb: u32, len: u32): i32 {
  if (len >= load<u32>(skb, SKB_LEN)) return 0;
  if (load<u32>(skb, SKB_DATA_LEN) != 0) {
    if (isCloned(skb) && pskbExpandHead(skb, 0, 0) != 0) return -ENOMEM;
    const si = shinfo(skb);
    let offset = headlen(skb);
    const nr = load<u8>(si, SHINFO_NR_FRAGS) as u32;
    let kept: u32 = 0;
    for (let i: u32 = 0; i < nr; i++) {
      const frag = fragAt(si, i);
      const size = load<u32>(frag, FRAG_LEN);
      if (offset >= len) {
        putPage(load<u32>(frag, FRAG_PAGE));
      } else {
        if (offset + size > len) store<u32>(frag, len - offset, FRAG_LEN);
        kept++;
      }
      offset += size;
    }
    store<u8>(si, kept, SHINFO_NR_FRAGS);
    let link = si + SHINFO_FRAG_LIST;
    while (true) {
      let list = load<u32>(link);
      if (list == 0) break;
      const next = load<u32>(list, SKB_NEXT);
      const size = load<u32>(list, SKB_LEN);
      if (offset >= len) {
        store<u32>(link, next);
        freeLater(list);
      } else {
        if (load<u32>(list, SKB_USERS) != 1) {
          const own = skbClone(list);
          if (own == 0) return -ENOMEM;
          store<u32>(own, next, SKB_NEXT);
          store<u32>(link, own);
          freeLater(list);
          list = own;
        }
        if (offset + size > len && pskbTrim(list, len - offset) != 0) return -ENOMEM;
        link = list + SKB_NEXT;
      }
      offset += size;
    }
  }
  const linear = headlen(skb);
  if (len > linear) {
    store<u32>(skb, len - linear, SKB_DATA_LEN);
  } else {
    store<u32>(skb, 0, SKB_DATA_LEN);
    store<u32>(skb, load<u32>(skb, SKB_DATA) + len, SKB_TAIL);
  }
  store<u32>(skb, len, SKB_LEN);
  return 0;
}

// ---- between two skbs -----------------------------------------------------------------------------------------------

/** skb_split: `skb` keeps `len` bytes, the rest goes to the empty `skb1`. Neither shared info may be a clone's. */
export function skbSplit(skb: u32, skb1: u32, len: u32): void {
  const si = shinfo(skb);
  const si1 = shinfo(skb1);
  zerocopyClone(si1, si);
  const total = load<u32>(skb, SKB_LEN);
  let pos = headlen(skb);
  const nr = load<u8>(si, SHINFO_NR_FRAGS) as u32;
  if (len < pos) {
    const n = pos - len;
    const tail = load<u32>(skb1, SKB_TAIL);
    if (tail + n > load<u32>(skb1, SKB_END)) unreachable(); // skb_over_panic
    statAdd(ARENA_STAT_BYTES_COPIED, n);
    copyBytes(tail, load<u32>(skb, SKB_DATA) + len, n);
    store<u32>(skb1, tail + n, SKB_TAIL);
    copyBytes(fragAt(si1, 0), fragAt(si, 0), nr * FRAG_SIZE);
    store<u8>(si1, nr, SHINFO_NR_FRAGS);
    store<u8>(si, 0, SHINFO_NR_FRAGS);
    store<u32>(skb1, load<u32>(skb, SKB_DATA_LEN), SKB_DATA_LEN);
    add32(skb1 + SKB_LEN, total - len);
    store<u32>(skb, 0, SKB_DATA_LEN);
    store<u32>(skb, load<u32>(skb, SKB_DATA) + len, SKB_TAIL);
  } else {
    const linear = pos;
    let kept: u32 = 0;
    let k: u32 = 0;
    for (let i: u32 = 0; i < nr; i++) {
      const frag = fragAt(si, i);
      const size = load<u32>(frag, FRAG_LEN);
      if (pos + size > len) {
        const to = fragAt(si1, k++);
        copyFrag(to, frag);
        if (pos < len) {
          // Straddles the cut: both refer to the page.
          getPage(load<u32>(frag, FRAG_PAGE));
          add32(to + FRAG_OFFSET, len - pos);
          store<u32>(to, size - (len - pos), FRAG_LEN);
          store<u32>(frag, len - pos, FRAG_LEN);
          kept++;
        }
      } else {
        kept++;
      }
      pos += size;
    }
    store<u8>(si, kept, SHINFO_NR_FRAGS);
    store<u8>(si1, k, SHINFO_NR_FRAGS);
    add32(skb1 + SKB_LEN, total - len);
    store<u32>(skb1, total - len, SKB_DATA_LEN);
    store<u32>(skb, len - linear, SKB_DATA_LEN);
  }
  store<u32>(skb, len, SKB_LEN);
}

/** Frag `b` follows frag `a` in the same page. */
function adjacent(a: u32, b: u32): bool {
  return (
    load<u32>(a, FRAG_PAGE) == load<u32>(b, FRAG_PAGE) &&
    load<u32>(a, FRAG_OFFSET) + load<u32>(a, FRAG_LEN) == load<u32>(b, FRAG_OFFSET)
  );
}

/** skb_unclone_keeptruesize. */
function uncloneKeepTruesize(skb: u32): bool {
  if (!isCloned(skb)) return true;
  const truesize = load<u32>(skb, SKB_TRUESIZE);
  if (pskbExpandHead(skb, 0, 0) != 0) return false;
  store<u32>(skb, truesize, SKB_TRUESIZE);
  return true;
}

function lenAdd(skb: u32, delta: u32): void {
  add32(skb + SKB_LEN, delta);
  add32(skb + SKB_DATA_LEN, delta);
  add32(skb + SKB_TRUESIZE, delta);
}

/** skb_shift: moves `shiftlen` bytes of frags from the front of `skb` to the end of `tgt`. Returns shiftlen or 0. */
export function skbShift(tgt: u32, skb: u32, shiftlen: u32): u32 {
  if (shiftlen > load<u32>(skb, SKB_LEN)) unreachable();
  if (shiftlen == 0 || headlen(skb) != 0) return 0;
  if (load<u32>(shinfo(tgt), SHINFO_FRAG_LIST) != 0 || load<u32>(shinfo(skb), SHINFO_FRAG_LIST) != 0) return 0;
  if (load<u32>(shinfo(tgt), SHINFO_UARG) != 0 || load<u32>(shinfo(skb), SHINFO_UARG) != 0) return 0;
  // How many slots it takes, before anything is touched.
  const nr = load<u8>(shinfo(skb), SHINFO_NR_FRAGS) as u32;
  let to = load<u8>(shinfo(tgt), SHINFO_NR_FRAGS) as u32;
  const merge: bool = to != 0 && adjacent(fragAt(shinfo(tgt), to - 1), fragAt(shinfo(skb), 0));
  let need: u32 = 0;
  for (let i: u32 = 0, sum: u32 = 0; sum < shiftlen; i++) {
    sum += load<u32>(fragAt(shinfo(skb), i), FRAG_LEN);
    need++;
  }
  if (to + need - (merge as u32) > MAX_SKB_FRAGS) return 0;
  if (!uncloneKeepTruesize(skb) || !uncloneKeepTruesize(tgt)) return 0;

  const si = shinfo(skb);
  const ti = shinfo(tgt);
  let todo = shiftlen;
  let from: u32 = 0;
  while (todo != 0) {
    const frag = fragAt(si, from);
    const size = load<u32>(frag, FRAG_LEN);
    const n = min<u32>(size, todo);
    if (from == 0 && merge) {
      add32(fragAt(ti, to - 1) + FRAG_LEN, n);
      if (n == size) putPage(load<u32>(frag, FRAG_PAGE));
    } else {
      const slot = fragAt(ti, to++);
      copyFrag(slot, frag);
      store<u32>(slot, n, FRAG_LEN);
      if (n != size) getPage(load<u32>(frag, FRAG_PAGE));
    }
    if (n != size) {
      add32(frag + FRAG_OFFSET, n);
      store<u32>(frag, size - n, FRAG_LEN);
    } else {
      from++;
    }
    todo -= n;
  }
  store<u8>(ti, to, SHINFO_NR_FRAGS);
  if (from != 0) {
    for (let i = from; i < nr; i++) copyFrag(fragAt(si, i - from), fragAt(si, i));
    store<u8>(si, nr - from, SHINFO_NR_FRAGS);
  }
  store<u8>(tgt, CHECKSUM_PARTIAL as u8, SKB_IP_SUMMED);
  store<u8>(skb, CHECKSUM_PARTIAL as u8, SKB_IP_SUMMED);
  lenAdd(skb, 0 - shiftlen);
  lenAdd(tgt, shiftlen);
  return shiftlen;
}

/**
 * skb_try_coalesce: appends the bytes of `from` to `to`, without copying where there is no tailroom for them: frags
 * move, and a linear part goes along as a frag of its own head. Returns the truesize that moved, or -1 if it cannot
 * be done. `from` is to be freed after success.
 */
export function skbTryCoalesce(to: u32, from: u32): i32 {
  if (isCloned(to)) return -1;
  const len = load<u32>(from, SKB_LEN);
  const tail = load<u32>(to, SKB_TAIL);
  if (load<u32>(to, SKB_DATA_LEN) == 0 && len <= load<u32>(to, SKB_END) - tail) {
    walk(OP_COPY, from, 0, len, tail, 0, 0);
    store<u32>(to, tail + len, SKB_TAIL);
    add32(to + SKB_LEN, len);
    return 0;
  }
  const ti = shinfo(to);
  const fi = shinfo(from);
  if (load<u32>(ti, SHINFO_FRAG_LIST) != 0 || load<u32>(fi, SHINFO_FRAG_LIST) != 0) return -1;
  if (load<u32>(ti, SHINFO_UARG) != 0 || load<u32>(fi, SHINFO_UARG) != 0) return -1;
  let k = load<u8>(ti, SHINFO_NR_FRAGS) as u32;
  const nr = load<u8>(fi, SHINFO_NR_FRAGS) as u32;
  const cloned = isCloned(from);
  const linear = headlen(from);
  let delta: u32;
  if (linear != 0) {
    // skb_head_is_locked
    if (k + nr >= MAX_SKB_FRAGS || cloned || (load<u8>(from, SKB_FLAGS) & SKB_FLAG_HEAD_LOCKED) != 0) return -1;
    delta = load<u32>(from, SKB_TRUESIZE) - SKB_SIZE;
    const head = load<u32>(from, SKB_HEAD);
    const frag = fragAt(ti, k++);
    store<u32>(frag, head, FRAG_PAGE);
    store<u32>(frag, load<u32>(from, SKB_DATA) - head, FRAG_OFFSET);
    store<u32>(frag, linear, FRAG_LEN);
  } else {
    if (k + nr > MAX_SKB_FRAGS && !(k + nr == MAX_SKB_FRAGS + 1 && adjacent(fragAt(ti, k - 1), fragAt(fi, 0))))
      return -1;
    delta =
      load<u32>(from, SKB_TRUESIZE) -
      (load<u32>(from, SKB_END) - load<u32>(from, SKB_HEAD)) -
      SKB_SHARED_INFO_SIZE -
      SKB_SIZE;
  }
  for (let i: u32 = 0; i < nr; i++) {
    const frag = fragAt(fi, i);
    const page = load<u32>(frag, FRAG_PAGE);
    // A sender that writes a page in small pieces gets them back as one frag.
    if (k != 0 && adjacent(fragAt(ti, k - 1), frag)) {
      add32(fragAt(ti, k - 1) + FRAG_LEN, load<u32>(frag, FRAG_LEN));
      if (!cloned) putPage(page);
      continue;
    }
    if (cloned) getPage(page);
    copyFrag(fragAt(ti, k++), frag);
  }
  store<u8>(ti, k, SHINFO_NR_FRAGS);
  if (!cloned) store<u8>(fi, 0, SHINFO_NR_FRAGS);
  if (linear != 0) store<u32>(from, 0, SKB_HEAD); // its reference went to the frag
  // The kernel warns when an skb is charged for less than its bytes; here it moves what is honest.
  if ((delta as i32) < (len as i32)) delta = len;
  add32(to + SKB_TRUESIZE, delta);
  add32(to + SKB_LEN, len);
  add32(to + SKB_DATA_LEN, len);
  return delta as i32;
}
