/**
 * The driver's side of the descriptor rings (rtl865xc_swNic.c of Realtek's SDK). A ring is an array of words, each the
 * address of a packet header, with OWN and WRAP in the low bits; a packet header points to an mbuf, the mbuf to the
 * bytes
 * and the skb that they belong to:
 *
 *   txRing  [ph|OWN] [ph|OWN] [ph] ... [ph|WRAP]          rxRing      [ph|OWN] ...   one frame each, in order
 *             |                                           rxMbufRing  [mb|OWN] ...   one buffer each
 *             v
 *           rtl_pktHdr --ph_mbuf--> rtl_mBuf --m_data--> frame, m_skb
 *
 * All of it is one block of shared memory, made when the device is opened.
 */

import {
  DESC_OWNED_BIT,
  DESC_WRAP,
  MBUF_DATA,
  MBUF_EXTBUF,
  MBUF_EXTSIZE,
  MBUF_FLAGS,
  MBUF_LEN,
  MBUF_NEXT,
  MBUF_PKTHDR,
  MBUF_SIZE,
  MBUF_SKB,
  NET_IP_ALIGN,
  NET_SKB_PAD,
  PH_FLAGS,
  PH_LEN,
  PH_MBUF,
  PH_NEXTHDR,
  PH_PORTLIST,
  PH_RX_FLAGS,
  PH_SRC_EXT_PORT,
  PH_VLAN_ID,
  PKTHDR_SIZE,
  SKB_DATA,
  SKB_HEAD,
} from "../../../../assembly/layout.ts";
import { u16, u32 } from "../../../mm/mem.ts";
import { allocPage, allocSkb, consumeSkb, kfreeSkbReason, putPage, skbReserve } from "../../../net/core/skbuff.ts";
import { SKB_DROP_REASON_DEV_READY } from "../../../uapi/dropreason.ts";
import { ENOMEM } from "../../../uapi/errno.ts";
import { ETH_FCS_LEN, ETH_ZLEN } from "../../../uapi/if_ether.ts";
import { CSUM_IP_OK, CSUM_TCPUDP_OK, PKTHDR_DESC_RUNOUT_IP, type SwitchCore } from "./switch_core.ts";

export const NUM_TX_PKTHDR_DESC = 128;
export const NUM_RX_PKTHDR_DESC = 256;
/** Frames are handed up without a new buffer in their place, as long as more than this many buffers are left. */
const ETH_REFILL_THRESHOLD = 8;
/** Bytes of a receive buffer (CROSS_LAN_MBUF_LEN): a frame with a VLAN tag and its checksum, and some. */
const CLUSTER_SIZE = 1600;

export const RTL_NICRX_OK = 0;
/** Nothing there. */
export const RTL_NICRX_NULL = -1;
/** A frame was thrown away: look again. */
export const RTL_NICRX_REPEAT = -2;

/** rtl_nicTx_info: where a frame shall go. */
export class RtlNicTxInfo {
  vid = 0;
  portlist = 0;
  srcExtPort = 0;
  flags = 0;
  txIdx = 0;
}

/** rtl_nicRx_info: a received frame. */
export class RtlNicRxInfo {
  vid = 0;
  pid = 0;
  len = 0;
  /** The skb. */
  input = 0;
}

/** What rtl865xc_swNic.c keeps in static variables: here each card has its own. */
export class SwNic {
  readonly core: SwitchCore;
  /** The block that everything stands in; 0 while the device is closed. */
  block = 0;
  txPkthdrRing = 0;
  rxPkthdrRing = 0;
  rxMbufRing = 0;
  rxMbufs = 0;
  currTxPkthdrDescIndex = 0;
  txPktDoneDescIndex = 0;
  currRxPkthdrDescIndex = 0;
  /** The oldest receive slot without a buffer; equal to currRxPkthdrDescIndex if all have one. */
  refillIndex = 0;
  unfilled = 0;
  rxCsumErrors = 0;

  constructor(core: SwitchCore) {
    this.core = core;
  }
}

/** alloc_rx_buf: an skb whose data is where a frame goes: the IP header will be aligned. 0 = no memory. */
export function allocRxBuf(): number {
  const skb = allocSkb(NET_SKB_PAD + NET_IP_ALIGN + CLUSTER_SIZE);
  if (skb !== 0) skbReserve(skb, NET_SKB_PAD + NET_IP_ALIGN);
  return skb;
}

/* notrace */
function mbufSetSkb(mbuf: number, skb: number): void {
  u32[(mbuf + MBUF_SKB) >>> 2] = skb;
  u32[(mbuf + MBUF_DATA) >>> 2] = u32[(skb + SKB_DATA) >>> 2] as number;
  u32[(mbuf + MBUF_EXTBUF) >>> 2] = u32[(skb + SKB_HEAD) >>> 2] as number;
  u32[(mbuf + MBUF_EXTSIZE) >>> 2] = CLUSTER_SIZE;
}

/* notrace */
function pkthdrInit(pkthdr: number, mbuf: number): void {
  u32.fill(0, pkthdr >>> 2, (pkthdr + PKTHDR_SIZE) >>> 2);
  u32.fill(0, mbuf >>> 2, (mbuf + MBUF_SIZE) >>> 2);
  u32[(pkthdr + PH_NEXTHDR) >>> 2] = 0;
  u32[(pkthdr + PH_MBUF) >>> 2] = mbuf;
  u32[(mbuf + MBUF_NEXT) >>> 2] = 0;
  u32[(mbuf + MBUF_PKTHDR) >>> 2] = pkthdr;
}

/** swNic_init: makes the rings and the receive buffers. -ENOMEM if there is no memory for them. */
export function swNicInit(nic: SwNic): number {
  const size =
    NUM_TX_PKTHDR_DESC * (4 + PKTHDR_SIZE + MBUF_SIZE) + NUM_RX_PKTHDR_DESC * (4 + 4 + PKTHDR_SIZE + MBUF_SIZE);
  const block = allocPage(size);
  if (block === 0) return -ENOMEM;
  nic.block = block;
  let at = block;
  const take = (bytes: number): number => {
    const addr = at;
    at += bytes;
    return addr;
  };
  // What must be aligned to 32 bytes comes first.
  const txPkthdrs = take(NUM_TX_PKTHDR_DESC * PKTHDR_SIZE);
  const txMbufs = take(NUM_TX_PKTHDR_DESC * MBUF_SIZE);
  const rxPkthdrs = take(NUM_RX_PKTHDR_DESC * PKTHDR_SIZE);
  nic.rxMbufs = take(NUM_RX_PKTHDR_DESC * MBUF_SIZE);
  nic.txPkthdrRing = take(NUM_TX_PKTHDR_DESC * 4);
  nic.rxPkthdrRing = take(NUM_RX_PKTHDR_DESC * 4);
  nic.rxMbufRing = take(NUM_RX_PKTHDR_DESC * 4);
  for (let i = 0; i < NUM_TX_PKTHDR_DESC; i++) {
    const pkthdr = txPkthdrs + i * PKTHDR_SIZE;
    pkthdrInit(pkthdr, txMbufs + i * MBUF_SIZE);
    u32[(nic.txPkthdrRing + i * 4) >>> 2] = pkthdr | (i === NUM_TX_PKTHDR_DESC - 1 ? DESC_WRAP : 0);
  }
  for (let i = 0; i < NUM_RX_PKTHDR_DESC; i++) {
    const pkthdr = rxPkthdrs + i * PKTHDR_SIZE;
    const mbuf = nic.rxMbufs + i * MBUF_SIZE;
    const wrap = i === NUM_RX_PKTHDR_DESC - 1 ? DESC_WRAP : 0;
    pkthdrInit(pkthdr, mbuf);
    u32[(nic.rxPkthdrRing + i * 4) >>> 2] = pkthdr | wrap;
    u32[(nic.rxMbufRing + i * 4) >>> 2] = mbuf | wrap;
  }
  nic.currTxPkthdrDescIndex = 0;
  nic.txPktDoneDescIndex = 0;
  nic.currRxPkthdrDescIndex = 0;
  nic.refillIndex = 0;
  nic.unfilled = NUM_RX_PKTHDR_DESC;
  refillRxSkb(nic);
  if (nic.unfilled > 0) {
    swNicFree(nic);
    return -ENOMEM;
  }
  nic.core.reset();
  nic.core.txRing = nic.txPkthdrRing;
  nic.core.rxRing = nic.rxPkthdrRing;
  nic.core.rxMbufRing = nic.rxMbufRing;
  return 0;
}

/** Frees the rings and every skb in them (swNic_freeRxBuf, and what was still to be sent). */
export function swNicFree(nic: SwNic): void {
  if (nic.block === 0) return;
  for (let i = 0; i < NUM_TX_PKTHDR_DESC; i++) {
    const pkthdr = (u32[(nic.txPkthdrRing + i * 4) >>> 2] as number) & ~(DESC_OWNED_BIT | DESC_WRAP);
    const mbuf = u32[(pkthdr + PH_MBUF) >>> 2] as number;
    kfreeSkbReason(u32[(mbuf + MBUF_SKB) >>> 2] as number, SKB_DROP_REASON_DEV_READY);
  }
  swNicFreeRxBuf(nic);
  putPage(nic.block);
  nic.block = 0;
}

/** swNic_freeRxBuf. */
export function swNicFreeRxBuf(nic: SwNic): void {
  for (let i = 0; i < NUM_RX_PKTHDR_DESC; i++) {
    const mbuf = nic.rxMbufs + i * MBUF_SIZE;
    consumeSkb(u32[(mbuf + MBUF_SKB) >>> 2] as number);
    u32[(mbuf + MBUF_SKB) >>> 2] = 0;
  }
}

/**
 * swNic_send: gives the `len` bytes at `output`, which belong to `skb`, to the switch core. -1: the ring is full (it
 * holds
 * one frame less than it has descriptors); the caller keeps the skb then. Interrupts are off meanwhile.
 */
export function swNicSend(nic: SwNic, skb: number, output: number, len: number, nicTx: RtlNicTxInfo): number {
  const index = nic.currTxPkthdrDescIndex;
  const next = index + 1 === NUM_TX_PKTHDR_DESC ? 0 : index + 1;
  if (next === nic.txPktDoneDescIndex) return -1;
  const slot = (nic.txPkthdrRing + index * 4) >>> 2;
  const desc = u32[slot] as number;
  const pkthdr = desc & ~(DESC_OWNED_BIT | DESC_WRAP);
  const mbuf = u32[(pkthdr + PH_MBUF) >>> 2] as number;
  u32[(mbuf + MBUF_DATA) >>> 2] = output;
  u32[(mbuf + MBUF_EXTBUF) >>> 2] = output;
  u32[(mbuf + MBUF_EXTSIZE) >>> 2] = len;
  u32[(mbuf + MBUF_SKB) >>> 2] = skb;
  u16[(mbuf + MBUF_LEN) >>> 1] = len;
  u16[(mbuf + MBUF_FLAGS) >>> 1] = 0;
  // With the checksum that the core appends; a short frame is made as long as the shortest there is.
  u16[(pkthdr + PH_LEN) >>> 1] = len < ETH_ZLEN ? ETH_ZLEN + ETH_FCS_LEN : len + ETH_FCS_LEN;
  u16[(pkthdr + PH_PORTLIST) >>> 1] = nicTx.portlist;
  u16[(pkthdr + PH_FLAGS) >>> 1] = nicTx.flags;
  u16[(pkthdr + PH_SRC_EXT_PORT) >>> 1] = nicTx.srcExtPort;
  u16[(pkthdr + PH_VLAN_ID) >>> 1] = nicTx.vid;
  nic.currTxPkthdrDescIndex = next;
  u32[slot] = desc | DESC_OWNED_BIT;
  nic.core.kick();
  return 0;
}

/** swNic_txDone: frees the skbs of the frames that have left. Returns how many. `idx`: which ring; there is one. */
export function swNicTxDone(nic: SwNic, _idx: number): number {
  let index = nic.txPktDoneDescIndex;
  let n = 0;
  while (index !== nic.currTxPkthdrDescIndex) {
    const desc = u32[(nic.txPkthdrRing + index * 4) >>> 2] as number;
    if ((desc & DESC_OWNED_BIT) !== 0) break;
    const mbuf = u32[((desc & ~DESC_WRAP) + PH_MBUF) >>> 2] as number;
    const skb = u32[(mbuf + MBUF_SKB) >>> 2] as number;
    u32[(mbuf + MBUF_SKB) >>> 2] = 0;
    index = (desc & DESC_WRAP) !== 0 ? 0 : index + 1;
    // First: freeing may wake a socket, which may send.
    nic.txPktDoneDescIndex = index;
    consumeSkb(skb);
    n++;
  }
  return n;
}

/** A receive slot, with whatever buffer its mbuf has, goes back to the core. */
/* notrace */
function rxSlotToCore(nic: SwNic, index: number): void {
  const slot = (nic.rxPkthdrRing + index * 4) >>> 2;
  const desc = u32[slot] as number;
  // Which mbuf the core had taken is known from the packet header only.
  const mbuf = u32[((desc & ~DESC_WRAP) + PH_MBUF) >>> 2] as number;
  const mslot = (nic.rxMbufRing + ((mbuf - nic.rxMbufs) / MBUF_SIZE) * 4) >>> 2;
  u32[mslot] |= DESC_OWNED_BIT;
  u32[slot] = desc | DESC_OWNED_BIT;
}

/** refill_rx_skb: gives buffers to the receive slots that are without one. */
export function refillRxSkb(nic: SwNic): void {
  if (nic.unfilled === 0) return;
  while (nic.unfilled > 0) {
    const skb = allocRxBuf();
    if (skb === 0) break;
    const index = nic.refillIndex;
    const desc = u32[(nic.rxPkthdrRing + index * 4) >>> 2] as number;
    mbufSetSkb(u32[((desc & ~DESC_WRAP) + PH_MBUF) >>> 2] as number, skb);
    rxSlotToCore(nic, index);
    nic.refillIndex = index + 1 === NUM_RX_PKTHDR_DESC ? 0 : index + 1;
    nic.unfilled--;
  }
  nic.core.ack(PKTHDR_DESC_RUNOUT_IP);
}

/**
 * swNic_receive: the next received frame, in `info`. RTL_NICRX_NULL: there is none, or no memory and hardly a buffer
 * left.
 * RTL_NICRX_REPEAT: one was thrown away because its sums were wrong.
 */
export function swNicReceive(nic: SwNic, info: RtlNicRxInfo): number {
  const index = nic.currRxPkthdrDescIndex;
  const desc = u32[(nic.rxPkthdrRing + index * 4) >>> 2] as number;
  // All slots without a buffer: then this one is not a received frame but the oldest of them.
  if ((desc & DESC_OWNED_BIT) !== 0 || nic.unfilled === NUM_RX_PKTHDR_DESC) return RTL_NICRX_NULL;
  const pkthdr = desc & ~DESC_WRAP;
  const mbuf = u32[(pkthdr + PH_MBUF) >>> 2] as number;
  const next = (desc & DESC_WRAP) !== 0 ? 0 : index + 1;
  const good = CSUM_TCPUDP_OK | CSUM_IP_OK;
  if (((u16[(pkthdr + PH_RX_FLAGS) >>> 1] as number) & good) !== good) {
    nic.rxCsumErrors++;
    if (nic.unfilled > 0) {
      // Its buffer serves the slot that has waited longest.
      const skb = u32[(mbuf + MBUF_SKB) >>> 2] as number;
      u32[(mbuf + MBUF_SKB) >>> 2] = 0;
      nic.unfilled++;
      rxSlotRefillWith(nic, skb);
    } else {
      rxSlotToCore(nic, index);
      nic.refillIndex = next;
    }
    nic.currRxPkthdrDescIndex = next;
    nic.core.ack(PKTHDR_DESC_RUNOUT_IP);
    return RTL_NICRX_REPEAT;
  }
  if (nic.unfilled > 0) refillRxSkb(nic);
  const replacement = allocRxBuf();
  if (replacement === 0 && nic.unfilled >= NUM_RX_PKTHDR_DESC - ETH_REFILL_THRESHOLD) return RTL_NICRX_NULL;
  info.input = u32[(mbuf + MBUF_SKB) >>> 2] as number;
  info.len = (u16[(pkthdr + PH_LEN) >>> 1] as number) - ETH_FCS_LEN;
  info.pid = u16[(pkthdr + PH_PORTLIST) >>> 1] as number;
  info.vid = u16[(pkthdr + PH_VLAN_ID) >>> 1] as number;
  nic.currRxPkthdrDescIndex = next;
  if (replacement === 0 || nic.unfilled > 0) {
    u32[(mbuf + MBUF_SKB) >>> 2] = 0;
    nic.unfilled++;
    if (replacement !== 0) rxSlotRefillWith(nic, replacement);
  } else {
    mbufSetSkb(mbuf, replacement);
    rxSlotToCore(nic, index);
    nic.refillIndex = next;
  }
  nic.core.ack(PKTHDR_DESC_RUNOUT_IP);
  return RTL_NICRX_OK;
}

/* notrace */
function rxSlotRefillWith(nic: SwNic, skb: number): void {
  const index = nic.refillIndex;
  const desc = u32[(nic.rxPkthdrRing + index * 4) >>> 2] as number;
  mbufSetSkb(u32[((desc & ~DESC_WRAP) + PH_MBUF) >>> 2] as number, skb);
  rxSlotToCore(nic, index);
  nic.refillIndex = index + 1 === NUM_RX_PKTHDR_DESC ? 0 : index + 1;
  nic.unfilled--;
}
