/**
 * The hardware side of the rtl819x: the switch core of the Realtek SoC as the driver sees it through registers and
 * descriptor rings in memory. It takes the frames whose descriptors it owns when the driver kicks CPUICR, copies them
 * to the wire (DMA), gives the descriptors back, and interrupts; frames from the wire it copies into receive buffers.
 *
 * The copy goes straight from one card's buffer into the other's when a wire without faults joins two of them.
 * Interrupts
 * are taken when the running context ends, so one of them stands for a whole batch, as they do on a busy router.
 */

import {
  CHECKSUM_NONE,
  CHECKSUM_PARTIAL,
  DESC_OWNED_BIT,
  DESC_WRAP,
  MBUF_DATA,
  MBUF_EXTSIZE,
  MBUF_LEN,
  PH_FLAGS,
  PH_LEN,
  PH_MBUF,
  PH_PORTLIST,
  PH_RX_FLAGS,
  SKB_IP_SUMMED,
  SKB_LEN,
} from "../../../../assembly/layout.ts";
import { kernel } from "../../../kernel/kernel.ts";
import { type TaskletStruct, taskletHiSchedule, taskletKill, taskletSetup } from "../../../kernel/softirq.ts";
import { dv, u8, u16, u32, wasm } from "../../../mm/mem.ts";
import { csumTcpUdpMagic, ipFastCsum } from "../../../net/core/checksum.ts";
import { QdiscSkbHead, qdiscSkbDequeue, qdiscSkbPurge, qdiscSkbTail } from "../../../net/core/sch_generic_h.ts";
import { consumeSkb, kfreeSkbReason, skbChecksumHelp, skbCopyBits } from "../../../net/core/skbuff.ts";
import {
  SKB_DROP_REASON_DEV_READY,
  SKB_DROP_REASON_FULL_RING,
  SKB_DROP_REASON_NOMEM,
  SKB_DROP_REASON_PKT_TOO_BIG,
  SKB_DROP_REASON_PKT_TOO_SMALL,
  SKB_DROP_REASON_SKB_CSUM,
} from "../../../uapi/dropreason.ts";
import { ETH_FCS_LEN, ETH_HLEN, ETH_P_IP, ETH_ZLEN } from "../../../uapi/if_ether.ts";
import { IPPROTO_TCP, IPPROTO_UDP } from "../../../uapi/in.ts";
import type { Wire, WirePort } from "../wire.ts";

// CPUICR: the CPU interface's control register.
export const TXCMD: number = 1 << 30;
export const RXCMD: number = 1 << 29;
/** Transmit descriptors are to be fetched. */
export const TXFD: number = 1 << 23;

// CPUIIMR and CPUIISR: interrupt mask and status.
export const TX_ALL_DONE_IP: number = 1 << 1;
export const RX_DONE_IP: number = 1 << 3;
export const PKTHDR_DESC_RUNOUT_IP: number = 1 << 17;

// What the core has found out about a received frame (PH_RX_FLAGS).
export const CSUM_TCPUDP_OK = 0x0001;
export const CSUM_IP_OK = 0x0002;
const CSUM_OK: number = CSUM_TCPUDP_OK | CSUM_IP_OK;

/** Frames that the switch keeps while the receive ring is full; from PAUSE_ON on it asks the other side to wait. */
const HOLD_LIMIT = 1024;
const PAUSE_ON = 256;
const PAUSE_OFF = 64;

export class SwitchCoreStats {
  txFrames = 0;
  rxFrames = 0;
  interrupts = 0;
  /** Times that no receive descriptor was free. */
  runouts = 0;
  /** Received frames that were thrown away: ring and buffer full, too long, no memory. */
  rxDropped = 0;
  /** Transmitted frames that the wire had no memory for. */
  txDropped = 0;
}

/** One network card's worth of switch core. */
export class SwitchCore implements WirePort {
  readonly gso = false;
  readonly wire: Wire;
  /** Which end of the wire. */
  readonly end: number;
  readonly stats: SwitchCoreStats = new SwitchCoreStats();

  cpuicr = 0;
  cpuiimr = 0;
  cpuiisr = 0;
  /** CPUTPDCR0, CPURPDCR0, CPURMDCR0: addresses of the rings; and where the core stands in them. */
  txRing = 0;
  rxRing = 0;
  rxMbufRing = 0;
  txIndex = 0;
  rxIndex = 0;
  rxMbufIndex = 0;
  /** Frames that wait for receive descriptors. */
  readonly hold: QdiscSkbHead = new QdiscSkbHead();
  pausing = false;
  /** The interrupt line. */
  readonly irq: TaskletStruct;

  /** `handler` is called with `dev` when an interrupt is taken (request_irq). */
  constructor(wire: Wire, end: number, handler: (dev: unknown) => void, dev: unknown) {
    this.wire = wire;
    this.end = end;
    this.irq = taskletSetup(switchCoreInterrupt, new IrqAction(this, handler, dev));
  }

  get paused(): boolean {
    return this.pausing;
  }

  /** CPUICR |= TXFD. */
  kick(): void {
    if ((this.cpuicr & TXCMD) !== 0) switchCoreTransmit(this);
  }

  wireRoom(): void {
    this.kick();
  }

  receive(skb: number): void {
    switchCoreReceive(this, skb);
  }

  receiveRaw(addr: number, len: number, frameLen: number): boolean {
    return switchCoreReceiveRaw(this, addr, len, frameLen);
  }

  /** Writes CPUIIMR. What was pending under the mask is raised. */
  setMask(mask: number): void {
    this.cpuiimr = mask;
    switchCoreRaise(this, 0);
  }

  /** Writes ones to CPUIISR: the bits are cleared. A cleared run-out lets frames in that had to wait. */
  ack(bits: number): void {
    this.cpuiisr &= ~bits;
    if ((bits & PKTHDR_DESC_RUNOUT_IP) !== 0 && this.hold.head !== 0) switchCoreDrain(this);
  }

  /** Switches everything off. */
  reset(): void {
    this.cpuicr = 0;
    this.cpuiimr = 0;
    this.cpuiisr = 0;
    this.txIndex = 0;
    this.rxIndex = 0;
    this.rxMbufIndex = 0;
    taskletKill(this.irq);
    qdiscSkbPurge(this.hold, SKB_DROP_REASON_DEV_READY);
    if (this.pausing) {
      this.pausing = false;
      this.wire.resume(this.end);
    }
  }
}

/** struct irqaction. */
class IrqAction {
  readonly core: SwitchCore;
  readonly handler: (dev: unknown) => void;
  readonly dev: unknown;
  constructor(core: SwitchCore, handler: (dev: unknown) => void, dev: unknown) {
    this.core = core;
    this.handler = handler;
    this.dev = dev;
  }
}

/** The CPU takes the interrupt, unless it was masked or answered meanwhile. */
/* notrace */
function switchCoreInterrupt(t: TaskletStruct): void {
  const { core, handler, dev } = t.data as IrqAction;
  if ((core.cpuiisr & core.cpuiimr) === 0) return;
  core.stats.interrupts++;
  handler(dev);
}

/* notrace */
function switchCoreRaise(core: SwitchCore, bits: number): void {
  core.cpuiisr |= bits;
  if ((core.cpuiisr & core.cpuiimr) !== 0) taskletHiSchedule(core.irq);
}

/** Sends every frame whose descriptor is ours, as long as the wire takes them. */
/* notrace */
function switchCoreTransmit(core: SwitchCore): void {
  const { wire, end, txRing, stats } = core;
  let index = core.txIndex;
  const first = index;
  let desc = u32[(txRing + index * 4) >>> 2] as number;
  while ((desc & DESC_OWNED_BIT) !== 0 && wire.ready(end)) {
    const pkthdr = desc & ~(DESC_OWNED_BIT | DESC_WRAP);
    const mbuf = u32[(pkthdr + PH_MBUF) >>> 2] as number;
    const len = u16[(mbuf + MBUF_LEN) >>> 1] as number;
    // ph_len counts the checksum that the core appends; what the buffer lacks is filled up with zeros.
    const frameLen = (u16[(pkthdr + PH_LEN) >>> 1] as number) - ETH_FCS_LEN;
    // The descriptor is given back before anything can come of the frame.
    u32[(txRing + index * 4) >>> 2] = desc & ~DESC_OWNED_BIT;
    index = (desc & DESC_WRAP) !== 0 ? 0 : index + 1;
    core.txIndex = index;
    if (wire.sendRaw(end, u32[(mbuf + MBUF_DATA) >>> 2] as number, len, frameLen)) {
      stats.txFrames++;
    } else {
      // There is no skb to drop: the driver's has been sent, as far as the driver knows.
      stats.txDropped++;
      kernel.dropReasons[SKB_DROP_REASON_NOMEM]!++;
    }
    desc = u32[(txRing + index * 4) >>> 2] as number;
  }
  if (index !== first && (desc & DESC_OWNED_BIT) === 0) switchCoreRaise(core, TX_ALL_DONE_IP);
}

/**
 * Whether the frame's sums are right, as PH_RX_FLAGS. What is not IPv4, or has no sum that could be checked, counts as
 * right.
 */
/* notrace */
function switchCoreChecksum(addr: number, len: number): number {
  if (len < ETH_HLEN + 20 || dv.getUint16(addr + 12) !== ETH_P_IP) return CSUM_OK;
  const iph = addr + ETH_HLEN;
  const ihl = (u8[iph] as number) & 15;
  const total = dv.getUint16(iph + 2);
  if ((u8[iph] as number) >>> 4 !== 4 || ihl < 5 || total < ihl * 4 || ETH_HLEN + total > len) return CSUM_TCPUDP_OK;
  if (ipFastCsum(iph, ihl) !== 0) return CSUM_TCPUDP_OK;
  const proto = u8[iph + 9] as number;
  const payload = total - ihl * 4;
  const min = proto === IPPROTO_TCP ? 20 : 8;
  if ((proto !== IPPROTO_TCP && proto !== IPPROTO_UDP) || (dv.getUint16(iph + 6) & 0x3fff) !== 0 || payload < min) {
    return CSUM_OK;
  }
  const th = iph + ihl * 4;
  if (proto === IPPROTO_UDP && dv.getUint16(th + 6) === 0) return CSUM_OK;
  const sum = wasm.csumPartial(th, payload, 0) >>> 0;
  return csumTcpUdpMagic(dv.getUint32(iph + 12), dv.getUint32(iph + 16), payload, proto, sum) === 0
    ? CSUM_OK
    : CSUM_IP_OK;
}

/** The receive buffer that the next frame goes to: the address of its mbuf; 0 = run-out. */
/* notrace */
function switchCoreRxMbuf(core: SwitchCore): number {
  const desc = u32[(core.rxRing + core.rxIndex * 4) >>> 2] as number;
  const mdesc = u32[(core.rxMbufRing + core.rxMbufIndex * 4) >>> 2] as number;
  if ((desc & mdesc & DESC_OWNED_BIT) !== 0) return mdesc & ~(DESC_OWNED_BIT | DESC_WRAP);
  core.stats.runouts++;
  switchCoreRaise(core, PKTHDR_DESC_RUNOUT_IP);
  return 0;
}

/** The frame is in the buffer of `mbuf`: writes its packet header and gives both descriptors to the CPU. */
/* notrace */
function switchCoreRxDone(core: SwitchCore, mbuf: number, frameLen: number, flags: number): void {
  const slot = (core.rxRing + core.rxIndex * 4) >>> 2;
  const desc = u32[slot] as number;
  const mslot = (core.rxMbufRing + core.rxMbufIndex * 4) >>> 2;
  const mdesc = u32[mslot] as number;
  const pkthdr = desc & ~(DESC_OWNED_BIT | DESC_WRAP);
  u32[(pkthdr + PH_MBUF) >>> 2] = mbuf;
  u16[(pkthdr + PH_LEN) >>> 1] = frameLen + ETH_FCS_LEN;
  u16[(pkthdr + PH_PORTLIST) >>> 1] = core.end;
  u16[(pkthdr + PH_FLAGS) >>> 1] = 0;
  u16[(pkthdr + PH_RX_FLAGS) >>> 1] = flags;
  u16[(mbuf + MBUF_LEN) >>> 1] = frameLen + ETH_FCS_LEN;
  u32[slot] = desc & ~DESC_OWNED_BIT;
  u32[mslot] = mdesc & ~DESC_OWNED_BIT;
  core.rxIndex = (desc & DESC_WRAP) !== 0 ? 0 : core.rxIndex + 1;
  core.rxMbufIndex = (mdesc & DESC_WRAP) !== 0 ? 0 : core.rxMbufIndex + 1;
  core.stats.rxFrames++;
  switchCoreRaise(core, RX_DONE_IP);
}

/**
 * A frame straight from another card's buffer. Its sums were written by that card's host and not touched since, so they
 * are not checked again here: IP and TCP will.
 */
/* notrace */
function switchCoreReceiveRaw(core: SwitchCore, addr: number, len: number, frameLen: number): boolean {
  if ((core.cpuicr & RXCMD) === 0 || core.hold.head !== 0 || frameLen < ETH_HLEN) return false;
  const mbuf = switchCoreRxMbuf(core);
  if (mbuf === 0 || frameLen > (u32[(mbuf + MBUF_EXTSIZE) >>> 2] as number)) return false;
  const data = u32[(mbuf + MBUF_DATA) >>> 2] as number;
  wasm.memcpy(data, addr, len);
  if (frameLen > len) u8.fill(0, data + len, data + frameLen);
  switchCoreRxDone(core, mbuf, frameLen, CSUM_OK);
  return true;
}

/** A frame that comes as an skb. */
/* notrace */
function switchCoreReceive(core: SwitchCore, skb: number): void {
  const len = u32[(skb + SKB_LEN) >>> 2] as number;
  let reason = 0;
  if ((core.cpuicr & RXCMD) === 0) reason = SKB_DROP_REASON_DEV_READY;
  else if (len < ETH_HLEN) reason = SKB_DROP_REASON_PKT_TOO_SMALL;
  else if (u8[skb + SKB_IP_SUMMED] === CHECKSUM_PARTIAL && skbChecksumHelp(skb) !== 0)
    reason = SKB_DROP_REASON_SKB_CSUM;
  else if (core.hold.qlen >= HOLD_LIMIT) reason = SKB_DROP_REASON_FULL_RING;
  if (reason !== 0) {
    core.stats.rxDropped++;
    kfreeSkbReason(skb, reason);
    return;
  }
  qdiscSkbTail(core.hold, skb);
  switchCoreDrain(core);
  if (core.hold.qlen >= PAUSE_ON) core.pausing = true;
}

/** Frames that waited for descriptors go into the ring. */
/* notrace */
function switchCoreDrain(core: SwitchCore): void {
  while (core.hold.head !== 0) {
    const mbuf = switchCoreRxMbuf(core);
    if (mbuf === 0) break;
    const skb = qdiscSkbDequeue(core.hold);
    const len = u32[(skb + SKB_LEN) >>> 2] as number;
    const frameLen = len < ETH_ZLEN ? ETH_ZLEN : len;
    if (frameLen > (u32[(mbuf + MBUF_EXTSIZE) >>> 2] as number)) {
      core.stats.rxDropped++;
      kfreeSkbReason(skb, SKB_DROP_REASON_PKT_TOO_BIG);
      continue;
    }
    const data = u32[(mbuf + MBUF_DATA) >>> 2] as number;
    skbCopyBits(skb, 0, data, len);
    if (frameLen > len) u8.fill(0, data + len, data + frameLen);
    // Whatever has been on a wire may have been damaged there.
    const flags = u8[skb + SKB_IP_SUMMED] === CHECKSUM_NONE ? switchCoreChecksum(data, len) : CSUM_OK;
    consumeSkb(skb);
    switchCoreRxDone(core, mbuf, frameLen, flags);
  }
  if (core.pausing && core.hold.qlen <= PAUSE_OFF) {
    core.pausing = false;
    core.wire.resume(core.end);
  }
}
