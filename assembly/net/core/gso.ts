/**
 * Segmentation (net/core/gso.c, net/ipv4/{tcp,udp}_offload.c): one call cuts a super-packet into its frames.
 *
 *   super-packet   | link | IP | TCP |  payload ............................................. |
 *   frame 0        | link | IP'| TCP'|  gso_size  |
 *   frame 1        | link | IP'| TCP'|                 gso_size  |  ...
 *
 * The headers are a template: they are summed once without the fields that differ, and each frame adds its own.
 * Towards a device that gathers, a frame is a small head and references to the payload; towards any other it is one
 * linear buffer, and the payload is copied and summed in one pass.
 */

import {
  ARENA_STAT_SEGMENTS,
  BLOCK_SIZE,
  CHECKSUM_NONE,
  CHECKSUM_PARTIAL,
  FRAG_LEN,
  FRAG_OFFSET,
  FRAG_PAGE,
  FRAG_SIZE,
  GSO_SEG_CSUM,
  GSO_SEG_SG,
  MAX_SKB_FRAGS,
  NET_SKB_PAD,
  SHINFO_FRAG_LIST,
  SHINFO_FRAGS,
  SHINFO_GSO_SIZE,
  SHINFO_GSO_TYPE,
  SHINFO_NR_FRAGS,
  SHINFO_TSKEY,
  SHINFO_TX_FLAGS,
  SKB_CSUM_OFFSET,
  SKB_CSUM_START,
  SKB_DATA,
  SKB_DATA_LEN,
  SKB_DEV,
  SKB_FLAGS,
  SKB_GSO_TCP_ACCECN,
  SKB_GSO_TCP_FIXEDID,
  SKB_HEAD,
  SKB_IP_SUMMED,
  SKB_LEN,
  SKB_MAC_HEADER,
  SKB_NETWORK_HEADER,
  SKB_NEXT,
  SKB_NFCT,
  SKB_ORIGIN,
  SKB_PRIORITY,
  SKB_PROTOCOL,
  SKB_SHARED_INFO_SIZE,
  SKB_SKB_IIF,
  SKB_TAIL,
  SKB_TRANSPORT_HEADER,
  SKB_TRUESIZE,
  SKB_TSTAMP,
} from "../../layout";
import { copyBytes, csumAndCopy, csumBlockAdd, csumPartial, fold16, fold64 } from "../../lib/checksum";
import { getPage, statAdd } from "../../mm/slab";
import { allocLike, kfreeSkbListMem, setResult, shinfo, zerocopyClone } from "./skbuff";

const ETH_HLEN: u32 = 14;
/** Word of ARENA_RESULT where forwardFrames leaves what it counted. Others are the zero-copy notifier's, and GRO's. */
const FORWARDED: u32 = 8;
const IPPROTO_TCP: u32 = 6;
const IPPROTO_UDP: u32 = 17;
/** In the byte of the TCP header that holds them. */
const TCP_FIN: u32 = 0x01;
const TCP_PSH: u32 = 0x08;
const TCP_CWR: u32 = 0x80;

/** A 16-bit header field as a number, and back. */
export function get16(at: u32): u32 {
  return bswap<u16>(load<u16>(at)) as u32;
}
export function put16(at: u32, v: u32): void {
  store<u16>(at, bswap<u16>(v as u16));
}
/** What a 16-bit big-endian number adds to a partial sum. */
function be16(v: u32): u64 {
  return bswap<u16>(v as u16) as u64;
}

/**
 * Cuts `skb` (data at its first header, network and transport header set and linear, gso_size set) into frames, chained
 * through `next`. `features`: GSO_SEG_*. Returns 0 when there is no memory or the headers do not hold together.
 * `skb` stays.
 */
export function gsoSegment(skb: u32, features: u32, proto: u32): u32 {
  const mss = load<u16>(shinfo(skb), SHINFO_GSO_SIZE) as u32;
  const total = load<u32>(skb, SKB_LEN);
  const thOff = load<u32>(skb, SKB_TRANSPORT_HEADER) - load<u32>(skb, SKB_DATA);
  const ihOff = load<u32>(skb, SKB_NETWORK_HEADER) - load<u32>(skb, SKB_DATA);
  const isTcp = proto == IPPROTO_TCP;
  if (!isTcp && proto != IPPROTO_UDP) return 0;
  let thlen: u32 = isTcp ? 20 : 8;
  const linearLen = total - load<u32>(skb, SKB_DATA_LEN);
  if (mss == 0 || ihOff >= thOff || thOff > 0xffff || thOff + thlen > linearLen) return 0;
  if (isTcp) {
    thlen = ((load<u8>(load<u32>(skb, SKB_TRANSPORT_HEADER), 12) as u32) >> 4) << 2;
    if (thlen < 20 || thOff + thlen > linearLen) return 0;
  }
  const hlen = thOff + thlen;
  if (total == hlen) return 0;
  const data = load<u32>(skb, SKB_DATA);
  const ih = data + ihOff;
  const th = data + thOff;
  const version = (load<u8>(ih) as u32) >> 4;
  const isV6 = version == 6;
  const ihMin: u32 = isV6 ? 40 : 20;
  if ((version != 4 && !isV6) || thOff - ihOff < ihMin) return 0;

  // The template: sums of the headers without what differs from frame to frame.
  const si = shinfo(skb);
  const fixedId = (load<u16>(si, SHINFO_GSO_TYPE) & (SKB_GSO_TCP_FIXEDID as u16)) != 0;
  const accecn = (load<u16>(si, SHINFO_GSO_TYPE) & (SKB_GSO_TCP_ACCECN as u16)) != 0;
  const id = isV6 ? 0 : get16(ih + 4);
  const ihlen: u32 = isV6 ? 0 : ((load<u8>(ih) as u32) & 15) << 2;
  if (!isV6 && (ihlen < 20 || ihlen > thOff - ihOff)) return 0;
  let ipBase: u64 = 0;
  for (let i: u32 = 0; i < ihlen; i += 2) if (i != 2 && i != 4 && i != 10) ipBase += load<u16>(ih + i) as u64;
  let thBase: u64 = be16(proto);
  if (isV6) thBase += csumPartial(ih + 8, 32, 0) as u64;
  else thBase += (load<u32>(ih, 12) as u64) + (load<u32>(ih, 16) as u64);
  const seq = isTcp ? bswap<u32>(load<u32>(th, 4)) : 0;
  const flags = isTcp ? (load<u8>(th, 13) as u32) : 0;
  // UDP without a checksum stays without.
  const wantsSum = isTcp || load<u16>(th, 6) != 0 || load<u8>(skb, SKB_IP_SUMMED) == CHECKSUM_PARTIAL;
  let thSum: u64 = 0;
  if (isTcp) {
    for (let i: u32 = 0; i < thlen; i += 4) if (i != 4 && i != 12 && i != 16) thSum += load<u32>(th + i) as u64;
    thSum += (load<u16>(th, 14) as u64) + (load<u8>(th, 12) as u64) + (load<u16>(th, 18) as u64);
  } else {
    thSum = load<u32>(th) as u64; // the ports
  }

  // Headroom: what the super-packet had, unless that costs a larger buffer; its alignment stays.
  const sg = (features & GSO_SEG_SG) != 0;
  const headroom0 = data - load<u32>(skb, SKB_HEAD);
  let headroom = headroom0;
  if (headroom > NET_SKB_PAD + 16) headroom = NET_SKB_PAD + (headroom & 15);
  const txFlags = load<u8>(si, SHINFO_TX_FLAGS);
  const tskey = load<u32>(si, SHINFO_TSKEY);

  // The cursor over the payload: `left` bytes at `at` of buffer `page`; then frag `frag` of `cur`, then the frag list.
  let cur = skb;
  let list = load<u32>(si, SHINFO_FRAG_LIST);
  let frag: u32 = 0;
  let page = load<u32>(skb, SKB_HEAD);
  let at = data + hlen;
  let left = load<u32>(skb, SKB_TAIL) - at;

  let first: u32 = 0;
  let last: u32 = 0;
  let count: u32 = 0;
  for (let pos = hlen; pos < total; ) {
    const size = min<u32>(mss, total - pos);
    const linear = sg ? 0 : size;
    // A frame's payload that no buffer holds beside the headers can only go by reference.
    if (headroom + hlen + linear + SKB_SHARED_INFO_SIZE > BLOCK_SIZE) break;
    const seg = allocLike(skb, headroom + hlen + linear, headroom);
    if (seg == 0) break;
    if (first == 0) first = seg;
    else store<u32>(last, seg, SKB_NEXT);
    last = seg;
    const base = load<u32>(seg, SKB_DATA);
    const ssi = shinfo(seg);
    copyBytes(base, data, hlen);
    store<u32>(seg, base + hlen + linear, SKB_TAIL);
    store<u32>(seg, hlen + size, SKB_LEN);

    // Payload.
    const sumNow = wantsSum && (features & GSO_SEG_CSUM) == 0;
    let sum: u32 = 0;
    let nr: u32 = 0;
    let to = base + hlen;
    let done: u32 = 0;
    while (done < size) {
      while (left == 0) {
        const csi = shinfo(cur);
        if (frag < (load<u8>(csi, SHINFO_NR_FRAGS) as u32)) {
          const f = csi + SHINFO_FRAGS + frag * FRAG_SIZE;
          page = load<u32>(f, FRAG_PAGE);
          at = page + load<u32>(f, FRAG_OFFSET);
          left = load<u32>(f, FRAG_LEN);
          frag++;
        } else {
          if (list == 0) unreachable(); // len is more than there is
          cur = list;
          list = load<u32>(cur, SKB_NEXT);
          frag = 0;
          page = load<u32>(cur, SKB_HEAD);
          at = load<u32>(cur, SKB_DATA);
          left = load<u32>(cur, SKB_TAIL) - at;
        }
      }
      const n = min<u32>(left, size - done);
      if (!sg) {
        if (done == 0) sum = csumAndCopy(to, at, n, 0);
        else sum = csumBlockAdd(sum, csumAndCopy(to, at, n, 0), done);
        to += n;
      } else {
        if (sumNow) sum = csumBlockAdd(sum, csumPartial(at, n, 0), done);
        if (nr == MAX_SKB_FRAGS) break;
        const f = ssi + SHINFO_FRAGS + nr * FRAG_SIZE;
        getPage(page);
        store<u32>(f, page, FRAG_PAGE);
        store<u32>(f, at - page, FRAG_OFFSET);
        store<u32>(f, n, FRAG_LEN);
        nr++;
        store<u8>(ssi, nr, SHINFO_NR_FRAGS);
      }
      at += n;
      left -= n;
      done += n;
    }
    if (done != size) break; // the payload is in too many pieces for one frame
    if (sg) {
      zerocopyClone(ssi, si);
      store<u32>(seg, size, SKB_DATA_LEN);
      store<u32>(seg, load<u32>(seg, SKB_TRUESIZE) + size, SKB_TRUESIZE);
    }

    // Headers.
    const isLast = pos + size == total;
    const segIh = base + ihOff;
    const segTh = base + thOff;
    const tlen = thlen + size;
    if (isV6) {
      put16(segIh + 4, thOff - ihOff - 40 + tlen);
    } else {
      const tot = thOff - ihOff + tlen;
      const segId = fixedId ? id : id + count;
      put16(segIh + 2, tot);
      put16(segIh + 4, segId);
      store<u16>(segIh, ~fold16(fold64(ipBase + be16(tot) + be16(segId))), 10);
    }
    const pseudo = thBase + be16(tlen);
    let own = thSum;
    let check = segTh + 6;
    if (isTcp) {
      const segSeq = seq + (pos - hlen);
      let segFlags = flags;
      if (!isLast) segFlags &= ~(TCP_FIN | TCP_PSH);
      if (count != 0 && !accecn) segFlags &= ~TCP_CWR;
      store<u32>(segTh, bswap<u32>(segSeq), 4);
      store<u8>(segTh, segFlags, 13);
      own += (load<u32>(segTh, 4) as u64) + ((segFlags as u64) << 8);
      check = segTh + 16;
    } else {
      put16(segTh + 4, tlen);
      own += be16(tlen);
    }
    if (!wantsSum) {
      store<u8>(seg, CHECKSUM_NONE as u8, SKB_IP_SUMMED);
    } else if ((features & GSO_SEG_CSUM) != 0) {
      store<u16>(check, fold16(fold64(pseudo)));
      store<u8>(seg, CHECKSUM_PARTIAL as u8, SKB_IP_SUMMED);
      store<u16>(seg, segTh - load<u32>(seg, SKB_HEAD), SKB_CSUM_START);
      store<u16>(seg, check - segTh, SKB_CSUM_OFFSET);
    } else {
      let folded = ~fold16(fold64(pseudo + own + (sum as u64))) & 0xffff;
      if (folded == 0 && !isTcp) folded = 0xffff; // 0 means none (RFC 768)
      store<u16>(check, folded);
      store<u8>(seg, CHECKSUM_NONE as u8, SKB_IP_SUMMED);
    }
    // tcp_gso_tstamp: the stamp goes with the frame that holds the byte it was asked for.
    if (txFlags != 0 && (isTcp ? tskey - (seq + (pos - hlen)) < size : isLast)) {
      store<u8>(ssi, txFlags, SHINFO_TX_FLAGS);
      store<u32>(ssi, tskey, SHINFO_TSKEY);
    }
    pos += size;
    count++;
    if (isLast) {
      statAdd(ARENA_STAT_SEGMENTS, count);
      return first;
    }
  }
  kfreeSkbListMem(first);
  return 0;
}

/**
 * The frames of one super-packet on their way into a device that receives them: gives those behind `first` what
 * eth_type_trans and skb_scrub_packet have given to it (its data is at the network header already, theirs at the link
 * header). Stops at a frame that is another one's, is longer, or needs to be looked at, and after `max`. Returns the last that it
 * has done (`first`, if none); how many there are with `first` stands in result word 8, the bytes of the others in 9.
 */
export function forwardFrames(first: u32, max: u32): u32 {
  const mac = load<u32>(first, SKB_MAC_HEADER);
  const origin = load<u32>(first, SKB_ORIGIN);
  const len = load<u32>(first, SKB_LEN);
  let last = first;
  let count: u32 = 1;
  let bytes: u32 = 0;
  for (let skb = load<u32>(first, SKB_NEXT); skb != 0 && count < max; skb = load<u32>(skb, SKB_NEXT)) {
    const data = load<u32>(skb, SKB_DATA);
    const total = load<u32>(skb, SKB_LEN);
    const si = shinfo(skb);
    if (load<u32>(skb, SKB_ORIGIN) != origin || total > len + ETH_HLEN) break;
    if (load<u32>(skb, SKB_NFCT) != 0 || load<u16>(si, SHINFO_GSO_SIZE) != 0 || load<u8>(si, SHINFO_TX_FLAGS) != 0)
      break;
    if (total - load<u32>(skb, SKB_DATA_LEN) < ETH_HLEN) break;
    if (load<u64>(data) != load<u64>(mac) || load<u64>(data, 6) != load<u64>(mac, 6)) break;
    store<u32>(skb, data, SKB_MAC_HEADER);
    store<u32>(skb, data + ETH_HLEN, SKB_DATA);
    store<u32>(skb, total - ETH_HLEN, SKB_LEN);
    store<u32>(skb, load<u32>(first, SKB_DEV), SKB_DEV);
    store<u32>(skb, load<u32>(first, SKB_PROTOCOL), SKB_PROTOCOL); // and pkt_type; ip_summed is the same
    store<u64>(skb, load<u64>(first, SKB_PRIORITY), SKB_PRIORITY); // and mark
    store<u32>(skb, load<u32>(first, SKB_SKB_IIF), SKB_SKB_IIF);
    store<u64>(skb, load<u64>(first, SKB_TSTAMP), SKB_TSTAMP);
    store<u8>(skb, load<u8>(first, SKB_FLAGS), SKB_FLAGS);
    last = skb;
    count++;
    bytes += total;
  }
  setResult(FORWARDED, count);
  setResult(FORWARDED + 1, bytes);
  return last;
}
