/**
 * Coalescing (net/core/gro.c, net/ipv4/{af_inet,tcp_offload}.c): one call takes all the frames of a poll, verifies their
 * checksums and joins those of one flow to super-packets.
 *
 *   frame 0        | IP | TCP |  payload 0 |                       held, the first of its flow
 *   frame 1                   |            |  payload 1 |          its payload is moved over by reference, the rest is freed
 *   super-packet   | IP'| TCP'|  payload 0 |  payload 1 | ...      when nothing more fits, or the poll is over
 *
 * The rules are Linux's: nothing is lost by joining, so that segmentation gives back the same frames.
 */

import {
  ARENA_RESULT,
  CHECKSUM_COMPLETE,
  CHECKSUM_NONE,
  CHECKSUM_PARTIAL,
  CHECKSUM_UNNECESSARY,
  FRAG_LEN,
  FRAG_OFFSET,
  FRAG_PAGE,
  FRAG_SIZE,
  GROCB_COUNT,
  GROCB_FIXEDID,
  GROCB_LAST,
  MAX_SKB_FRAGS,
  SHINFO_FRAG_LIST,
  SHINFO_FRAGS,
  SHINFO_GSO_SEGS,
  SHINFO_GSO_SIZE,
  SHINFO_GSO_TYPE,
  SHINFO_NR_FRAGS,
  SHINFO_UARG,
  SKB_CSUM,
  SKB_CSUM_OFFSET,
  SKB_CSUM_START,
  SKB_DATA,
  SKB_DATA_LEN,
  SKB_DESTRUCTOR,
  SKB_DEV,
  SKB_GSO_DODGY,
  SKB_GSO_TCP_ACCECN,
  SKB_GSO_TCP_FIXEDID,
  SKB_GSO_TCPV4,
  SKB_HEAD,
  SKB_IP_SUMMED,
  SKB_LEN,
  SKB_MAC_HEADER,
  SKB_NETWORK_HEADER,
  SKB_NEXT,
  SKB_NFCT,
  SKB_PROTOCOL,
  SKB_SIZE,
  SKB_TRANSPORT_HEADER,
  SKB_TRUESIZE,
  SKB_USERS,
  SKB_VLAN_TCI,
} from "../../layout";
import { fold16, fold64 } from "../../lib/checksum";
import { arena, bufferSize, getPage, putPage } from "../../mm/slab";
import { get16, put16 } from "./gso";
import { isCloned, kfreeSkbMem, setResult, shinfo, skbChecksum } from "./skbuff";

const ETH_P_IP: u16 = 0x0800;
const ETH_HLEN: u32 = 14;
const IPPROTO_TCP: u8 = 6;
const IP_HLEN: u32 = 20;
const IP_DF: u32 = 0x4000;
/** Flows that are held at once (MAX_GRO_SKBS in each of GRO_HASH_BUCKETS). */
const MAX_HELD: u32 = 64;
/** A super-packet stays below this (GRO_LEGACY_MAX_SIZE): its length has 16 bits. */
const GRO_MAX_SIZE: u32 = 65536;
/** FIN and PSH, and what makes a frame the last of its super-packet, in the word that holds data offset and flags. */
const FIN_PSH: u32 = 0x0900;
const URG_PSH_RST_SYN_FIN: u32 = 0x2f00;
const CWR: u32 = 0x8000;

/** What is done with a frame. */
const GRO_NORMAL: u32 = 0;
const GRO_MERGED: u32 = 1;
const GRO_HELD: u32 = 2;

/** Whether an IPv4 header of 20 bytes sums up to 0. */
function ipHeaderOk(ih: u32): bool {
  const a = load<u64>(ih);
  const b = load<u64>(ih, 8);
  const s = (a & 0xffff_ffff) + (a >> 32) + (b & 0xffff_ffff) + (b >> 32) + (load<u32>(ih, 16) as u64);
  return fold16(fold64(s)) == 0xffff;
}

/** __skb_gro_checksum_validate: whether the TCP checksum is right, or somebody else has seen that it is. */
function checksumOk(skb: u32, ih: u32, len: u32): bool {
  const summed = load<u8>(skb, SKB_IP_SUMMED) as u32;
  if (summed == CHECKSUM_UNNECESSARY || summed == CHECKSUM_PARTIAL) return true;
  const tlen = len - IP_HLEN;
  const pseudo =
    (load<u32>(ih, 12) as u64) +
    (load<u32>(ih, 16) as u64) +
    (bswap<u16>(IPPROTO_TCP as u16) as u64) +
    (bswap<u16>(tlen as u16) as u64);
  // The sum of a whole packet is that of its TCP part: a right IP header adds nothing.
  const sum = summed == CHECKSUM_COMPLETE ? load<u32>(skb, SKB_CSUM) : skbChecksum(skb, IP_HLEN, tlen, 0);
  if (fold16(fold64(pseudo + (sum as u64))) != 0xffff) return false;
  if (summed == CHECKSUM_NONE) store<u8>(skb, CHECKSUM_UNNECESSARY as u8, SKB_IP_SUMMED);
  return true;
}

/** gro_list_prepare, inet_gro_receive and tcp_gro_lookup: `p` is of the flow of `skb`. */
function sameFlow(p: u32, skb: u32): bool {
  const a = load<u32>(p, SKB_DATA);
  const b = load<u32>(skb, SKB_DATA);
  if (load<u32>(a, IP_HLEN) != load<u32>(b, IP_HLEN)) return false; // ports
  if (load<u64>(a, 12) != load<u64>(b, 12)) return false; // addresses
  if (load<u32>(p, SKB_DEV) != load<u32>(skb, SKB_DEV) || load<u16>(p, SKB_VLAN_TCI) != load<u16>(skb, SKB_VLAN_TCI)) {
    return false;
  }
  const am = load<u32>(p, SKB_MAC_HEADER);
  const bm = load<u32>(skb, SKB_MAC_HEADER);
  if (am == 0 || bm == 0) return am == bm;
  // The Ethernet headers, 14 bytes in two overlapping words.
  return (
    a - am == b - bm && (a - am != ETH_HLEN || (load<u64>(am) == load<u64>(bm) && load<u64>(am, 6) == load<u64>(bm, 6)))
  );
}

/** inet_gro_flush: the IP headers say that this frame does not continue `p`. Decides on the second one about the ids. */
function ipFlush(p: u32, ih2: u32, ih: u32): bool {
  if (load<u8>(ih, 8) != load<u8>(ih2, 8) || load<u8>(ih, 1) != load<u8>(ih2, 1)) return true; // ttl, tos
  if (((get16(ih + 6) ^ get16(ih2 + 6)) & IP_DF) != 0) return true;
  const offset = (get16(ih + 4) - get16(ih2 + 4)) & 0xffff;
  const count = load<u32>(p, GROCB_COUNT);
  if (count == 1 && offset == 0) store<u8>(p, 1, GROCB_FIXEDID);
  return offset != (load<u8>(p, GROCB_FIXEDID) != 0 ? 0 : count);
}

/** Appends a piece of a buffer to the frags of `si`; the reference to the buffer goes along. */
function addFrag(si: u32, page: u32, offset: u32, len: u32): void {
  const nr = load<u8>(si, SHINFO_NR_FRAGS) as u32;
  const frag = si + SHINFO_FRAGS + nr * FRAG_SIZE;
  if (nr != 0) {
    const last = frag - FRAG_SIZE;
    const end = load<u32>(last, FRAG_OFFSET) + load<u32>(last, FRAG_LEN);
    if (load<u32>(last, FRAG_PAGE) == page && end == offset) {
      store<u32>(last, load<u32>(last, FRAG_LEN) + len, FRAG_LEN);
      putPage(page);
      return;
    }
  }
  store<u32>(frag, page, FRAG_PAGE);
  store<u32>(frag, offset, FRAG_OFFSET);
  store<u32>(frag, len, FRAG_LEN);
  store<u8>(si, nr + 1, SHINFO_NR_FRAGS);
}

function add32(addr: u32, n: u32): void {
  store<u32>(addr, load<u32>(addr) + n);
}

/** skb_gro_receive: moves the payload of `skb`, `len` bytes behind `hlen`, to the end of `p`. False: it cannot. */
function merge(p: u32, skb: u32, hlen: u32, len: u32): bool {
  if (load<u32>(p, SKB_LEN) + len >= GRO_MAX_SIZE) return false;
  const from = shinfo(skb);
  if (load<u32>(from, SHINFO_UARG) != 0 || load<u32>(shinfo(p), SHINFO_UARG) != 0) return false;
  const headlen = load<u32>(skb, SKB_LEN) - load<u32>(skb, SKB_DATA_LEN);
  const last = load<u32>(p, GROCB_LAST);
  const to = shinfo(last);
  const linear: u32 = headlen > hlen ? 1 : 0;
  const nr = load<u8>(from, SHINFO_NR_FRAGS) as u32;
  const shared = isCloned(skb);
  const count: u32 = load<u16>(from, SHINFO_GSO_SIZE) != 0 ? load<u16>(from, SHINFO_GSO_SEGS) : 1;
  let truesize = load<u32>(skb, SKB_TRUESIZE);
  if ((load<u8>(to, SHINFO_NR_FRAGS) as u32) + linear + nr <= MAX_SKB_FRAGS) {
    if (linear != 0) {
      const head = load<u32>(skb, SKB_HEAD);
      getPage(head);
      addFrag(to, head, load<u32>(skb, SKB_DATA) + hlen - head, headlen - hlen);
      truesize -= SKB_SIZE;
    } else {
      // All but the frags is freed.
      truesize -= bufferSize(load<u32>(skb, SKB_HEAD)) + SKB_SIZE;
    }
    for (let i: u32 = 0; i < nr; i++) {
      const frag = from + SHINFO_FRAGS + i * FRAG_SIZE;
      if (shared) getPage(load<u32>(frag, FRAG_PAGE));
      addFrag(to, load<u32>(frag, FRAG_PAGE), load<u32>(frag, FRAG_OFFSET), load<u32>(frag, FRAG_LEN));
    }
    if (!shared) store<u8>(from, 0, SHINFO_NR_FRAGS);
    kfreeSkbMem(skb);
    if (last != p) {
      add32(last + SKB_LEN, len);
      add32(last + SKB_DATA_LEN, len);
      add32(last + SKB_TRUESIZE, truesize);
    }
  } else {
    // Full: the skb itself goes on the frag list, and what follows into its frags.
    if (shared) return false;
    add32(skb + SKB_DATA, hlen);
    store<u32>(skb, load<u32>(skb, SKB_LEN) - hlen, SKB_LEN);
    if (last == p) store<u32>(to, skb, SHINFO_FRAG_LIST);
    else store<u32>(last, skb, SKB_NEXT);
    store<u32>(p, skb, GROCB_LAST);
  }
  add32(p + GROCB_COUNT, count);
  add32(p + SKB_LEN, len);
  add32(p + SKB_DATA_LEN, len);
  add32(p + SKB_TRUESIZE, truesize);
  return true;
}

/** gro_complete, tcp4_gro_complete, inet_gro_complete: `p` goes up as a super-packet, if it is more than one frame. */
function complete(p: u32): void {
  const si = shinfo(p);
  const count = load<u32>(p, GROCB_COUNT);
  if (count == 1) {
    store<u16>(si, 0, SHINFO_GSO_SIZE);
    return;
  }
  const ih = load<u32>(p, SKB_DATA);
  const th = ih + IP_HLEN;
  const len = load<u32>(p, SKB_LEN);
  const tlen = len - IP_HLEN;
  const pseudo =
    (load<u32>(ih, 12) as u64) +
    (load<u32>(ih, 16) as u64) +
    (bswap<u16>(IPPROTO_TCP as u16) as u64) +
    (bswap<u16>(tlen as u16) as u64);
  store<u16>(th, fold16(fold64(pseudo)), 16);
  store<u16>(p, th - load<u32>(p, SKB_HEAD), SKB_CSUM_START);
  store<u16>(p, 16, SKB_CSUM_OFFSET);
  store<u8>(p, CHECKSUM_PARTIAL as u8, SKB_IP_SUMMED);
  store<u16>(si, count, SHINFO_GSO_SEGS);
  let type = (load<u16>(si, SHINFO_GSO_TYPE) as u32) | SKB_GSO_TCPV4;
  if (load<u8>(p, GROCB_FIXEDID) != 0) type |= SKB_GSO_TCP_FIXEDID;
  if ((load<u32>(th, 12) & CWR) != 0) type |= SKB_GSO_TCP_ACCECN;
  store<u16>(si, type, SHINFO_GSO_TYPE);
  put16(ih + 2, len);
  store<u16>(ih, 0, 10);
  const a = load<u64>(ih);
  const b = load<u64>(ih, 8);
  const s = (a & 0xffff_ffff) + (a >> 32) + (b & 0xffff_ffff) + (b >> 32) + (load<u32>(ih, 16) as u64);
  store<u16>(ih, ~fold16(fold64(s)), 10);
}

// ---- the two lists, in words of ARENA_RESULT: what is held, the latest first, and what goes up, in order -----------

const HELD: u32 = 4;
const HELD_COUNT: u32 = 5;
const READY: u32 = 6;
const READY_TAIL: u32 = 7;

function get(i: u32): u32 {
  return load<u32>(arena() + ARENA_RESULT + (i << 2));
}

/** gro_normal_one: `skb` goes up, behind what does already. */
function pushReady(skb: u32): void {
  const tail = get(READY_TAIL);
  if (tail == 0) setResult(READY, skb);
  else store<u32>(tail, skb, SKB_NEXT);
  setResult(READY_TAIL, skb);
  store<u32>(skb, 0, SKB_NEXT);
}

/** Takes `p`, which stands behind `prev` (0 = is the first), out of what is held and sends it up. */
function flushHeld(p: u32, prev: u32): void {
  const next = load<u32>(p, SKB_NEXT);
  if (prev == 0) setResult(HELD, next);
  else store<u32>(prev, next, SKB_NEXT);
  setResult(HELD_COUNT, get(HELD_COUNT) - 1);
  complete(p);
  pushReady(p);
}

/** Sends up the oldest that is held. */
function flushOldest(): void {
  let prev: u32 = 0;
  let p = get(HELD);
  if (p == 0) return;
  for (let next = load<u32>(p, SKB_NEXT); next != 0; next = load<u32>(p, SKB_NEXT)) {
    prev = p;
    p = next;
  }
  flushHeld(p, prev);
}

/** dev_gro_receive for one frame: GRO_MERGED, GRO_HELD or GRO_NORMAL (it goes up as it is). */
function receiveOne(skb: u32): u32 {
  const len = load<u32>(skb, SKB_LEN);
  const headlen = len - load<u32>(skb, SKB_DATA_LEN);
  const ih = load<u32>(skb, SKB_DATA);
  if (load<u16>(skb, SKB_PROTOCOL) != ETH_P_IP || len < IP_HLEN + 20) return GRO_NORMAL;
  if (headlen < IP_HLEN + 20) {
    // Headers that are not there to be read: it may belong to anyone, and nobody may be overtaken.
    while (get(HELD) != 0) flushOldest();
    return GRO_NORMAL;
  }
  if (load<u8>(ih) != 0x45 || load<u8>(ih, 9) != IPPROTO_TCP) return GRO_NORMAL;
  const frag = get16(ih + 6);
  if ((frag & 0x3fff) != 0 || !ipHeaderOk(ih)) return GRO_NORMAL;
  // What can be neither held nor merged, but lets go what it follows.
  const si = shinfo(skb);
  const gsoSize = load<u16>(si, SHINFO_GSO_SIZE) as u32;
  const gsoType = load<u16>(si, SHINFO_GSO_TYPE) as u32;
  let alone =
    get16(ih + 2) != len ||
    (frag & 0x8000) != 0 ||
    load<u32>(si, SHINFO_FRAG_LIST) != 0 ||
    load<u32>(skb, SKB_USERS) != 1 ||
    load<u8>(skb, SKB_DESTRUCTOR) != 0 ||
    load<u32>(skb, SKB_NFCT) != 0 ||
    (gsoSize != 0 && ((gsoType & SKB_GSO_TCPV4) == 0 || (gsoType & SKB_GSO_DODGY) != 0));
  if (!alone && !checksumOk(skb, ih, len)) return GRO_NORMAL; // TCP will count and drop it
  const th = ih + IP_HLEN;
  const thlen = ((load<u8>(th, 12) as u32) >> 4) << 2;
  const hlen = IP_HLEN + thlen;
  if (thlen < 20 || hlen > len) return GRO_NORMAL;
  if (hlen > headlen) alone = true;

  let prev: u32 = 0;
  let p = get(HELD);
  while (p != 0 && !sameFlow(p, skb)) {
    prev = p;
    p = load<u32>(p, SKB_NEXT);
  }

  // tcp_gro_receive.
  const plen = len - hlen;
  const word = load<u32>(th, 12);
  let mss: u32 = 1;
  let merged = false;
  if (p != 0) {
    const ih2 = load<u32>(p, SKB_DATA);
    const th2 = ih2 + IP_HLEN;
    const word2 = load<u32>(th2, 12);
    mss = load<u16>(shinfo(p), SHINFO_GSO_SIZE) as u32;
    let flush =
      alone ||
      ((word ^ word2) & ~FIN_PSH) != 0 ||
      load<u32>(th, 8) != load<u32>(th2, 8) ||
      bswap<u32>(load<u32>(th2, 4)) + (load<u32>(p, SKB_LEN) - hlen) != bswap<u32>(load<u32>(th, 4)) ||
      (gsoSize != 0 ? gsoSize != mss : plen - 1 >= mss) ||
      ipFlush(p, ih2, ih);
    for (let i: u32 = 20; i < thlen && !flush; i += 4) flush = load<u32>(th + i) != load<u32>(th2 + i);
    const count: u32 = gsoSize != 0 ? load<u16>(si, SHINFO_GSO_SEGS) : 1;
    merged = !flush && merge(p, skb, hlen, plen);
    if (merged) {
      store<u32>(th2, word2 | (word & FIN_PSH), 12);
      const short = gsoSize != 0 ? plen != count * gsoSize : plen < mss;
      if (short || (word & URG_PSH_RST_SYN_FIN) != 0) flushHeld(p, prev);
      return GRO_MERGED;
    }
    flushHeld(p, prev);
  }
  // It begins a super-packet of its own, if more can follow it, and if its headers are its own to write.
  if (alone || (word & URG_PSH_RST_SYN_FIN) != 0 || isCloned(skb)) return GRO_NORMAL;
  if (gsoSize != 0 ? plen != (load<u16>(si, SHINFO_GSO_SEGS) as u32) * gsoSize : plen == 0) return GRO_NORMAL;
  if (get(HELD_COUNT) >= MAX_HELD) flushOldest();
  store<u32>(skb, skb, GROCB_LAST);
  store<u32>(skb, gsoSize != 0 ? (load<u16>(si, SHINFO_GSO_SEGS) as u32) : 1, GROCB_COUNT);
  store<u8>(skb, 0, GROCB_FIXEDID);
  if (gsoSize == 0) store<u16>(si, plen, SHINFO_GSO_SIZE);
  store<u32>(skb, th, SKB_TRANSPORT_HEADER);
  store<u32>(skb, ih, SKB_NETWORK_HEADER);
  return GRO_HELD;
}

/**
 * Takes the received frames of chain `list` (linked through `next`; data at the network header, no owner, no route) after
 * those that are `held` since the last call. Returns the packets that go up the stack, chained, in order; what is held
 * now stands in result word 4. With `flush` nothing is held afterwards.
 */
export function groReceive(list: u32, held: u32, flush: u32): u32 {
  let count: u32 = 0;
  for (let p = held; p != 0; p = load<u32>(p, SKB_NEXT)) count++;
  setResult(HELD, held);
  setResult(HELD_COUNT, count);
  setResult(READY, 0);
  setResult(READY_TAIL, 0);
  while (list != 0) {
    const skb = list;
    list = load<u32>(skb, SKB_NEXT);
    store<u32>(skb, 0, SKB_NEXT);
    const verdict = receiveOne(skb);
    if (verdict == GRO_NORMAL) {
      pushReady(skb);
    } else if (verdict == GRO_HELD) {
      store<u32>(skb, get(HELD), SKB_NEXT);
      setResult(HELD, skb);
      setResult(HELD_COUNT, get(HELD_COUNT) + 1);
    }
  }
  if (flush != 0) while (get(HELD) != 0) flushOldest();
  return get(READY);
}
