/**
 * The fields of struct sk_buff and skb_shared_info, as functions of the handle. No checks: these are the kernel's plain
 * field accesses and inline functions. See assembly/layout.ts for the picture.
 */

import {
  CHECKSUM_PARTIAL,
  CHECKSUM_UNNECESSARY,
  FRAG_LEN,
  FRAG_OFFSET,
  FRAG_PAGE,
  FRAG_SIZE,
  SHINFO_DATAREF,
  SHINFO_FRAG_LIST,
  SHINFO_FRAGS,
  SHINFO_GSO_SEGS,
  SHINFO_GSO_SIZE,
  SHINFO_GSO_TYPE,
  SHINFO_NR_FRAGS,
  SHINFO_TSKEY,
  SHINFO_TX_FLAGS,
  SHINFO_UARG,
  SKB_CB,
  SKB_CLONED,
  SKB_CSUM,
  SKB_CSUM_OFFSET,
  SKB_CSUM_START,
  SKB_DATA,
  SKB_DATA_LEN,
  SKB_DATAREF_MASK,
  SKB_DATAREF_SHIFT,
  SKB_DESTRUCTOR,
  SKB_DEV,
  SKB_END,
  SKB_FLAG_IGNORE_DF,
  SKB_FLAG_NOHDR,
  SKB_FLAGS,
  SKB_HASH,
  SKB_HDR_LEN,
  SKB_HEAD,
  SKB_ID,
  SKB_IP_SUMMED,
  SKB_LEN,
  SKB_MAC_HEADER,
  SKB_MAC_LEN,
  SKB_MARK,
  SKB_NETWORK_HEADER,
  SKB_NEXT,
  SKB_NF,
  SKB_NFCT,
  SKB_ORIGIN,
  SKB_PKT_TYPE,
  SKB_PREV,
  SKB_PRIORITY,
  SKB_PROTOCOL,
  SKB_QUEUE_MAPPING,
  SKB_SK,
  SKB_SKB_IIF,
  SKB_TAIL,
  SKB_TRANSPORT_HEADER,
  SKB_TRUESIZE,
  SKB_TSTAMP,
  SKB_USERS,
  SKB_VLAN_TCI,
} from "../../assembly/layout.ts";
import { f64, u8, u16, u32 } from "./mem.ts";

// ---- lists ----------------------------------------------------------------------------------------------------------

/** The next skb of whatever list this one stands in; 0 = end. */
export function skbNext(skb: number): number {
  return u32[(skb + SKB_NEXT) >>> 2];
}
export function skbSetNext(skb: number, v: number): void {
  u32[(skb + SKB_NEXT) >>> 2] = v;
}
export function skbPrev(skb: number): number {
  return u32[(skb + SKB_PREV) >>> 2];
}
export function skbSetPrev(skb: number, v: number): void {
  u32[(skb + SKB_PREV) >>> 2] = v;
}
/** skb_mark_not_on_list. */
export function skbMarkNotOnList(skb: number): void {
  u32[(skb + SKB_NEXT) >>> 2] = 0;
}

// ---- the data -------------------------------------------------------------------------------------------------------

/** Bytes in the linear part and the frags together. */
export function skbLen(skb: number): number {
  return u32[(skb + SKB_LEN) >>> 2];
}
export function skbSetLen(skb: number, v: number): void {
  u32[(skb + SKB_LEN) >>> 2] = v;
}
/** Bytes in the frags and the frag list. */
export function skbDataLen(skb: number): number {
  return u32[(skb + SKB_DATA_LEN) >>> 2];
}
export function skbSetDataLen(skb: number, v: number): void {
  u32[(skb + SKB_DATA_LEN) >>> 2] = v;
}
/** skb_headlen: bytes in the linear part. */
export function skbHeadlen(skb: number): number {
  return u32[(skb + SKB_LEN) >>> 2] - u32[(skb + SKB_DATA_LEN) >>> 2];
}
/** skb_is_nonlinear. */
export function skbIsNonlinear(skb: number): boolean {
  return u32[(skb + SKB_DATA_LEN) >>> 2] !== 0;
}
export function skbHead(skb: number): number {
  return u32[(skb + SKB_HEAD) >>> 2];
}
export function skbSetHead(skb: number, v: number): void {
  u32[(skb + SKB_HEAD) >>> 2] = v;
}
export function skbData(skb: number): number {
  return u32[(skb + SKB_DATA) >>> 2];
}
export function skbSetData(skb: number, v: number): void {
  u32[(skb + SKB_DATA) >>> 2] = v;
}
export function skbTail(skb: number): number {
  return u32[(skb + SKB_TAIL) >>> 2];
}
export function skbSetTail(skb: number, v: number): void {
  u32[(skb + SKB_TAIL) >>> 2] = v;
}
/** End of the linear room, where the skb_shared_info stands. */
export function skbEnd(skb: number): number {
  return u32[(skb + SKB_END) >>> 2];
}
/** skb_headroom: bytes between head and data. */
export function skbHeadroom(skb: number): number {
  return u32[(skb + SKB_DATA) >>> 2] - u32[(skb + SKB_HEAD) >>> 2];
}
/** skb_tailroom: bytes that skb_put may add; 0 when there are frags. */
export function skbTailroom(skb: number): number {
  return u32[(skb + SKB_DATA_LEN) >>> 2] !== 0 ? 0 : u32[(skb + SKB_END) >>> 2] - u32[(skb + SKB_TAIL) >>> 2];
}
/** skb_end_offset: bytes between head and end. */
export function skbEndOffset(skb: number): number {
  return u32[(skb + SKB_END) >>> 2] - u32[(skb + SKB_HEAD) >>> 2];
}
/** skb_tail_pointer of a linear skb == the address after its last byte. */
export function skbTailPointer(skb: number): number {
  return u32[(skb + SKB_TAIL) >>> 2];
}

// ---- headers: absolute addresses inside the linear part, 0 = not set ------------------------------------------------

/** Address of the transport header; 0 = not set. */
export function skbTransportHeader(skb: number): number {
  return u32[(skb + SKB_TRANSPORT_HEADER) >>> 2];
}
/** skb_set_transport_header: `offset` counts from data and may be negative. */
export function skbSetTransportHeader(skb: number, offset: number): void {
  u32[(skb + SKB_TRANSPORT_HEADER) >>> 2] = u32[(skb + SKB_DATA) >>> 2] + offset;
}
/** skb_reset_transport_header: the transport header is where data is. */
export function skbResetTransportHeader(skb: number): void {
  u32[(skb + SKB_TRANSPORT_HEADER) >>> 2] = u32[(skb + SKB_DATA) >>> 2];
}
/** skb_transport_header_was_set. */
export function skbTransportHeaderWasSet(skb: number): boolean {
  return u32[(skb + SKB_TRANSPORT_HEADER) >>> 2] !== 0;
}
/** skb_transport_offset: from data to the transport header; negative once it was pulled. */
export function skbTransportOffset(skb: number): number {
  return u32[(skb + SKB_TRANSPORT_HEADER) >>> 2] - u32[(skb + SKB_DATA) >>> 2];
}
/** Address of the network header; 0 = not set. */
export function skbNetworkHeader(skb: number): number {
  return u32[(skb + SKB_NETWORK_HEADER) >>> 2];
}
/** skb_set_network_header: `offset` counts from data and may be negative. */
export function skbSetNetworkHeader(skb: number, offset: number): void {
  u32[(skb + SKB_NETWORK_HEADER) >>> 2] = u32[(skb + SKB_DATA) >>> 2] + offset;
}
/** skb_reset_network_header: the network header is where data is. */
export function skbResetNetworkHeader(skb: number): void {
  u32[(skb + SKB_NETWORK_HEADER) >>> 2] = u32[(skb + SKB_DATA) >>> 2];
}
/** skb_network_header_was_set. */
export function skbNetworkHeaderWasSet(skb: number): boolean {
  return u32[(skb + SKB_NETWORK_HEADER) >>> 2] !== 0;
}
/** skb_network_offset: from data to the network header; negative once it was pulled. */
export function skbNetworkOffset(skb: number): number {
  return u32[(skb + SKB_NETWORK_HEADER) >>> 2] - u32[(skb + SKB_DATA) >>> 2];
}
/** Address of the mac header; 0 = not set. */
export function skbMacHeader(skb: number): number {
  return u32[(skb + SKB_MAC_HEADER) >>> 2];
}
/** skb_set_mac_header: `offset` counts from data and may be negative. */
export function skbSetMacHeader(skb: number, offset: number): void {
  u32[(skb + SKB_MAC_HEADER) >>> 2] = u32[(skb + SKB_DATA) >>> 2] + offset;
}
/** skb_reset_mac_header: the mac header is where data is. */
export function skbResetMacHeader(skb: number): void {
  u32[(skb + SKB_MAC_HEADER) >>> 2] = u32[(skb + SKB_DATA) >>> 2];
}
/** skb_mac_header_was_set. */
export function skbMacHeaderWasSet(skb: number): boolean {
  return u32[(skb + SKB_MAC_HEADER) >>> 2] !== 0;
}
/** skb_mac_offset: from data to the mac header; negative once it was pulled. */
export function skbMacOffset(skb: number): number {
  return u32[(skb + SKB_MAC_HEADER) >>> 2] - u32[(skb + SKB_DATA) >>> 2];
}
/** skb_unset_mac_header. */
export function skbUnsetMacHeader(skb: number): void {
  u32[(skb + SKB_MAC_HEADER) >>> 2] = 0;
}
/** skb_network_header_len. */
export function skbNetworkHeaderLen(skb: number): number {
  return u32[(skb + SKB_TRANSPORT_HEADER) >>> 2] - u32[(skb + SKB_NETWORK_HEADER) >>> 2];
}
/** skb_reset_mac_len. */
export function skbResetMacLen(skb: number): void {
  u16[(skb + SKB_MAC_LEN) >>> 1] = u32[(skb + SKB_NETWORK_HEADER) >>> 2] - u32[(skb + SKB_MAC_HEADER) >>> 2];
}
export function skbMacLen(skb: number): number {
  return u16[(skb + SKB_MAC_LEN) >>> 1];
}
export function skbSetMacLen(skb: number, v: number): void {
  u16[(skb + SKB_MAC_LEN) >>> 1] = v;
}
export function skbHdrLen(skb: number): number {
  return u16[(skb + SKB_HDR_LEN) >>> 1];
}
export function skbSetHdrLen(skb: number, v: number): void {
  u16[(skb + SKB_HDR_LEN) >>> 1] = v;
}

// ---- what the packet is ---------------------------------------------------------------------------------------------

/** EtherType in host order. */
export function skbProtocol(skb: number): number {
  return u16[(skb + SKB_PROTOCOL) >>> 1];
}
export function skbSetProtocol(skb: number, v: number): void {
  u16[(skb + SKB_PROTOCOL) >>> 1] = v;
}
/** PACKET_HOST ... */
export function skbPktType(skb: number): number {
  return u8[skb + SKB_PKT_TYPE];
}
export function skbSetPktType(skb: number, v: number): void {
  u8[skb + SKB_PKT_TYPE] = v;
}
/** CHECKSUM_NONE ... */
export function skbIpSummed(skb: number): number {
  return u8[skb + SKB_IP_SUMMED];
}
export function skbSetIpSummed(skb: number, v: number): void {
  u8[skb + SKB_IP_SUMMED] = v;
}
/** CHECKSUM_COMPLETE: partial sum over data. */
export function skbCsum(skb: number): number {
  return u32[(skb + SKB_CSUM) >>> 2];
}
export function skbSetCsum(skb: number, v: number): void {
  u32[(skb + SKB_CSUM) >>> 2] = v;
}
/** CHECKSUM_PARTIAL: first summed byte, counted from head. */
export function skbCsumStart(skb: number): number {
  return u16[(skb + SKB_CSUM_START) >>> 1];
}
export function skbSetCsumStart(skb: number, v: number): void {
  u16[(skb + SKB_CSUM_START) >>> 1] = v;
}
/** CHECKSUM_PARTIAL: the checksum field, counted from csum_start. */
export function skbCsumOffset(skb: number): number {
  return u16[(skb + SKB_CSUM_OFFSET) >>> 1];
}
export function skbSetCsumOffset(skb: number, v: number): void {
  u16[(skb + SKB_CSUM_OFFSET) >>> 1] = v;
}
/** skb_checksum_start_offset: csum_start counted from data. */
export function skbChecksumStartOffset(skb: number): number {
  return u16[(skb + SKB_CSUM_START) >>> 1] - (u32[(skb + SKB_DATA) >>> 2] - u32[(skb + SKB_HEAD) >>> 2]);
}
/** skb_csum_unnecessary. */
export function skbCsumUnnecessary(skb: number): boolean {
  const how = u8[skb + SKB_IP_SUMMED];
  return how === CHECKSUM_UNNECESSARY || (how === CHECKSUM_PARTIAL && skbChecksumStartOffset(skb) >= 0);
}
/** Bytes of memory that the skb stands for, its own struct included. */
export function skbTruesize(skb: number): number {
  return u32[(skb + SKB_TRUESIZE) >>> 2];
}
export function skbSetTruesize(skb: number, v: number): void {
  u32[(skb + SKB_TRUESIZE) >>> 2] = v;
}
export function skbPriority(skb: number): number {
  return u32[(skb + SKB_PRIORITY) >>> 2];
}
export function skbSetPriority(skb: number, v: number): void {
  u32[(skb + SKB_PRIORITY) >>> 2] = v;
}
export function skbMark(skb: number): number {
  return u32[(skb + SKB_MARK) >>> 2];
}
export function skbSetMark(skb: number, v: number): void {
  u32[(skb + SKB_MARK) >>> 2] = v;
}
export function skbHash(skb: number): number {
  return u32[(skb + SKB_HASH) >>> 2];
}
export function skbSetHash(skb: number, v: number): void {
  u32[(skb + SKB_HASH) >>> 2] = v;
}
export function skbSkbIif(skb: number): number {
  return u32[(skb + SKB_SKB_IIF) >>> 2];
}
export function skbSetSkbIif(skb: number, v: number): void {
  u32[(skb + SKB_SKB_IIF) >>> 2] = v;
}
export function skbVlanTci(skb: number): number {
  return u16[(skb + SKB_VLAN_TCI) >>> 1];
}
export function skbSetVlanTci(skb: number, v: number): void {
  u16[(skb + SKB_VLAN_TCI) >>> 1] = v;
}
export function skbQueueMapping(skb: number): number {
  return u16[(skb + SKB_QUEUE_MAPPING) >>> 1];
}
export function skbSetQueueMapping(skb: number, v: number): void {
  u16[(skb + SKB_QUEUE_MAPPING) >>> 1] = v;
}
/** Microseconds; 0 = none. */
export function skbTstamp(skb: number): number {
  return f64[(skb + SKB_TSTAMP) >>> 3];
}
export function skbSetTstamp(skb: number, v: number): void {
  f64[(skb + SKB_TSTAMP) >>> 3] = v;
}
/** Serial number, for tracing. */
export function skbId(skb: number): number {
  return u32[(skb + SKB_ID) >>> 2];
}
/** Serial number of the skb that this one was cloned or segmented from. */
export function skbOrigin(skb: number): number {
  return u32[(skb + SKB_ORIGIN) >>> 2];
}
export function skbSetOrigin(skb: number, v: number): void {
  u32[(skb + SKB_ORIGIN) >>> 2] = v;
}
export function skbNf(skb: number): number {
  return u8[skb + SKB_NF];
}
export function skbSetNf(skb: number, v: number): void {
  u8[skb + SKB_NF] = v;
}
export function skbNfctSlot(skb: number): number {
  return u32[(skb + SKB_NFCT) >>> 2];
}
export function skbSetNfctSlot(skb: number, v: number): void {
  u32[(skb + SKB_NFCT) >>> 2] = v;
}
/** Slot of the device; 0 = none. See skbDev. */
export function skbDevSlot(skb: number): number {
  return u32[(skb + SKB_DEV) >>> 2];
}
export function skbSetDevSlot(skb: number, v: number): void {
  u32[(skb + SKB_DEV) >>> 2] = v;
}
/** Slot of the socket; 0 = none. See skbSk. */
export function skbSkSlot(skb: number): number {
  return u32[(skb + SKB_SK) >>> 2];
}
export function skbSetSkSlot(skb: number, v: number): void {
  u32[(skb + SKB_SK) >>> 2] = v;
}
/** SKB_DESTRUCTOR_*. */
export function skbDestructor(skb: number): number {
  return u8[skb + SKB_DESTRUCTOR];
}
export function skbSetDestructor(skb: number, v: number): void {
  u8[skb + SKB_DESTRUCTOR] = v;
}
/** Bit set of SKB_FLAG_*. */
export function skbFlags(skb: number): number {
  return u8[skb + SKB_FLAGS];
}
export function skbSetFlags(skb: number, v: number): void {
  u8[skb + SKB_FLAGS] = v;
}
export function skbFlag(skb: number, flag: number): boolean {
  return (u8[skb + SKB_FLAGS] & flag) !== 0;
}
export function skbSetFlag(skb: number, flag: number): void {
  u8[skb + SKB_FLAGS] |= flag;
}
export function skbClearFlag(skb: number, flag: number): void {
  u8[skb + SKB_FLAGS] &= ~flag;
}
export function skbIgnoreDf(skb: number): boolean {
  return (u8[skb + SKB_FLAGS] & SKB_FLAG_IGNORE_DF) !== 0;
}
export function skbSetIgnoreDf(skb: number, on: boolean): void {
  if (on) u8[skb + SKB_FLAGS] |= SKB_FLAG_IGNORE_DF;
  else u8[skb + SKB_FLAGS] &= ~SKB_FLAG_IGNORE_DF;
}
/** Address of skb->cb. */
export function skbCb(skb: number): number {
  return skb + SKB_CB;
}

// ---- sharing --------------------------------------------------------------------------------------------------------

/** References to the sk_buff itself. */
export function skbUsers(skb: number): number {
  return u32[(skb + SKB_USERS) >>> 2];
}
/** skb_shared: more than one reference to this sk_buff. */
export function skbShared(skb: number): boolean {
  return u32[(skb + SKB_USERS) >>> 2] !== 1;
}
/** skb_cloned: other sk_buffs see the same data. */
export function skbCloned(skb: number): boolean {
  return u8[skb + SKB_CLONED] !== 0 && (skbDataref(skb) & SKB_DATAREF_MASK) !== 1;
}
/** skb_header_cloned: somebody else needs the header part; a payload-only reference (nohdr) does not count. */
export function skbHeaderCloned(skb: number): boolean {
  if (u8[skb + SKB_CLONED] === 0) return false;
  const refs = skbDataref(skb);
  return (refs & SKB_DATAREF_MASK) - (refs >>> SKB_DATAREF_SHIFT) !== 1;
}
/** __skb_header_release: from now on this sk_buff reads the payload only, and its clones may write the header. */
export function __skbHeaderRelease(skb: number): void {
  u8[skb + SKB_FLAGS] |= SKB_FLAG_NOHDR;
  u32[(u32[(skb + SKB_END) >>> 2] + SHINFO_DATAREF) >>> 2] = (1 << SKB_DATAREF_SHIFT) + 1;
}
/** skb_clone_writable: the first `len` bytes of data may be written though the skb is a clone. */
export function skbCloneWritable(skb: number, len: number): boolean {
  return !skbHeaderCloned(skb) && skbHeadroom(skb) + len <= u16[(skb + SKB_HDR_LEN) >>> 1];
}

// ---- skb_shared_info ------------------------------------------------------------------------------------------------

/** Address of the skb_shared_info. */
export function skbShinfo(skb: number): number {
  return u32[(skb + SKB_END) >>> 2];
}
export function skbDataref(skb: number): number {
  return u32[(u32[(skb + SKB_END) >>> 2] + SHINFO_DATAREF) >>> 2];
}
export function skbNrFrags(skb: number): number {
  return u8[u32[(skb + SKB_END) >>> 2] + SHINFO_NR_FRAGS];
}
export function skbSetNrFrags(skb: number, v: number): void {
  u8[u32[(skb + SKB_END) >>> 2] + SHINFO_NR_FRAGS] = v;
}
export function skbTxFlags(skb: number): number {
  return u8[u32[(skb + SKB_END) >>> 2] + SHINFO_TX_FLAGS];
}
export function skbSetTxFlags(skb: number, v: number): void {
  u8[u32[(skb + SKB_END) >>> 2] + SHINFO_TX_FLAGS] = v;
}
/** Payload bytes a segment; 0 = not a super-packet. */
export function skbGsoSize(skb: number): number {
  return u16[(u32[(skb + SKB_END) >>> 2] + SHINFO_GSO_SIZE) >>> 1];
}
export function skbSetGsoSize(skb: number, v: number): void {
  u16[(u32[(skb + SKB_END) >>> 2] + SHINFO_GSO_SIZE) >>> 1] = v;
}
export function skbGsoSegs(skb: number): number {
  return u16[(u32[(skb + SKB_END) >>> 2] + SHINFO_GSO_SEGS) >>> 1];
}
export function skbSetGsoSegs(skb: number, v: number): void {
  u16[(u32[(skb + SKB_END) >>> 2] + SHINFO_GSO_SEGS) >>> 1] = v;
}
/** SKB_GSO_*. */
export function skbGsoType(skb: number): number {
  return u16[(u32[(skb + SKB_END) >>> 2] + SHINFO_GSO_TYPE) >>> 1];
}
export function skbSetGsoType(skb: number, v: number): void {
  u16[(u32[(skb + SKB_END) >>> 2] + SHINFO_GSO_TYPE) >>> 1] = v;
}
export function skbFragList(skb: number): number {
  return u32[(u32[(skb + SKB_END) >>> 2] + SHINFO_FRAG_LIST) >>> 2];
}
export function skbSetFragList(skb: number, v: number): void {
  u32[(u32[(skb + SKB_END) >>> 2] + SHINFO_FRAG_LIST) >>> 2] = v;
}
export function skbTskey(skb: number): number {
  return u32[(u32[(skb + SKB_END) >>> 2] + SHINFO_TSKEY) >>> 2];
}
export function skbSetTskey(skb: number, v: number): void {
  u32[(u32[(skb + SKB_END) >>> 2] + SHINFO_TSKEY) >>> 2] = v;
}
export function skbUarg(skb: number): number {
  return u32[(u32[(skb + SKB_END) >>> 2] + SHINFO_UARG) >>> 2];
}
export function skbSetUarg(skb: number, v: number): void {
  u32[(u32[(skb + SKB_END) >>> 2] + SHINFO_UARG) >>> 2] = v;
}
/** skb_is_gso. */
export function skbIsGso(skb: number): boolean {
  return skbGsoSize(skb) !== 0;
}
/** skb_gso_reset. */
export function skbGsoReset(skb: number): void {
  skbSetGsoSize(skb, 0);
  skbSetGsoSegs(skb, 0);
  skbSetGsoType(skb, 0);
}
/** skb_has_frag_list. */
export function skbHasFragList(skb: number): boolean {
  return skbFragList(skb) !== 0;
}
/** Address of frag `i` (FRAG_PAGE, FRAG_OFFSET, FRAG_LEN). */
export function skbFrag(skb: number, i: number): number {
  return u32[(skb + SKB_END) >>> 2] + SHINFO_FRAGS + i * FRAG_SIZE;
}
/** The buffer that frag `i` holds a reference to. */
export function skbFragPage(skb: number, i: number): number {
  return u32[(skbFrag(skb, i) + FRAG_PAGE) >>> 2];
}
export function skbFragOffset(skb: number, i: number): number {
  return u32[(skbFrag(skb, i) + FRAG_OFFSET) >>> 2];
}
export function skbFragSize(skb: number, i: number): number {
  return u32[(skbFrag(skb, i) + FRAG_LEN) >>> 2];
}
export function skbFragSizeSet(skb: number, i: number, size: number): void {
  u32[(skbFrag(skb, i) + FRAG_LEN) >>> 2] = size;
}
export function skbFragSizeAdd(skb: number, i: number, delta: number): void {
  u32[(skbFrag(skb, i) + FRAG_LEN) >>> 2] += delta;
}
export function skbFragOffAdd(skb: number, i: number, delta: number): void {
  u32[(skbFrag(skb, i) + FRAG_OFFSET) >>> 2] += delta;
}
/** skb_frag_address: where the bytes of frag `i` are. */
export function skbFragAddress(skb: number, i: number): number {
  const frag = skbFrag(skb, i);
  return u32[(frag + FRAG_PAGE) >>> 2] + u32[(frag + FRAG_OFFSET) >>> 2];
}
