/**
 * A wire between two ports (network cards, TAPs, emulators), frame by frame. Each direction has its own delay, rate,
 * loss, duplication, reordering and corruption, drawn from the machine's random source. Without any, frames pass at
 * once.
 *
 *   port 0 --> line (rate, limit) --> air (delay, jitter) --> port 1
 *
 * Frames on their way are skbs like all others: their memory is accounted. They belong to their sender's socket until
 * the last bit is on the wire, as with a real card, so that TCP small queues work.
 */

import {
  CHECKSUM_NONE,
  CHECKSUM_PARTIAL,
  CHECKSUM_UNNECESSARY,
  QDISC_TIME_TO_SEND,
  SHINFO_GSO_SIZE,
  SKB_DATA,
  SKB_END,
  SKB_IP_SUMMED,
  SKB_LEN,
  SKB_NEXT,
} from "../../../assembly/layout.ts";
import { kernel } from "../../kernel/kernel.ts";
import { getRandomU32, getRandomU32Below } from "../../kernel/random.ts";
import { modTimer, type TimerList, timerSetup, timerShutdown } from "../../kernel/timer.ts";
import { f64, u8, u16, u32, wasm } from "../../mm/mem.ts";
import { NETIF_F_HW_CSUM, NETIF_F_SG } from "../../net/core/dev.ts";
import { skbGsoSegment } from "../../net/core/gso.ts";
import { QdiscSkbHead, qdiscSkbDequeue, qdiscSkbPurge, qdiscSkbTail } from "../../net/core/sch_generic_h.ts";
import {
  allocSkb,
  consumeSkb,
  kfreeSkbReason,
  skbChecksumHelp,
  skbCopy,
  skbLinearize,
  skbOrphan,
  skbPut,
  skbReserve,
} from "../../net/core/skbuff.ts";
import {
  SKB_DROP_REASON_DEV_READY,
  SKB_DROP_REASON_NOMEM,
  SKB_DROP_REASON_QDISC_DROP,
  SKB_DROP_REASON_SKB_GSO_SEG,
} from "../../uapi/dropreason.ts";
import { ETH_ZLEN } from "../../uapi/if_ether.ts";

/** What stands at an end of a wire. */
export interface WirePort {
  /** It takes super-packets as they are; else they are cut into frames for it. */
  readonly gso: boolean;
  /** It can take no frame now and has asked for a pause (802.3x); it calls `wire.resume` when it can again. */
  readonly paused: boolean;
  /** A frame has arrived, data at its link header. Takes it over. */
  receive(skb: number): void;
  /**
   * The short way for a frame that lies in memory: `len` bytes at `addr`, to be followed by zeros up to `frameLen`.
   * False if the port wants it as an skb.
   */
  receiveRaw(addr: number, len: number, frameLen: number): boolean;
  /** The wire takes frames again, after `ready` was false. */
  wireRoom(): void;
}

/** Sees every frame that goes on the wire: data at the link header. Must not keep or change it. */
export interface WireTap {
  /** `end`: where it comes from. `lost`: it will not arrive. */
  frame(skb: number, end: number, lost: boolean): void;
}

export interface WireOptions {
  /** Time from one end to the other, in microseconds. */
  delay?: number;
  /** A random time of up to this is added to the delay, in microseconds. It does not reorder frames. */
  jitter?: number;
  /** Bits a second; 0 = no limit. */
  rate?: number;
  /** Bytes that a frame takes on the line beyond its own: preamble, FCS, gap. 24 by default, as on Ethernet. */
  overhead?: number;
  /** Frames that may wait for the line; 1000 by default. */
  limit?: number;
  /** Probabilities, 0 to 1: that a frame is lost, arrives twice, overtakes those in the air, has one bit turned. */
  loss?: number;
  duplicate?: number;
  reorder?: number;
  corrupt?: number;
  /** Cut: nothing arrives. */
  down?: boolean;
  /**
   * Super-packets cross whole, if the port at the end takes them. By default when the wire has no rate and no faults.
   */
  gso?: boolean;
}

export class WireStats {
  frames = 0;
  bytes = 0;
  delivered = 0;
  /** Drawn by `loss`, or sent while the wire was down. */
  lost = 0;
  /** More frames than `limit` were waiting. */
  overlimit = 0;
  duplicated = 0;
  reordered = 0;
  corrupted = 0;
}

/** One direction. */
export class WireDirection {
  readonly wire: Wire;
  /** The end that it starts from. */
  readonly end: number;
  readonly stats: WireStats = new WireStats();
  options: Readonly<WireOptions> = {};
  /** Who receives. */
  port: WirePort | null = null;

  // The options, as they are used.
  plain = true;
  gso = true;
  delay = 0;
  jitter = 0;
  /** Microseconds a byte. */
  usPerByte = 0;
  overhead = 24;
  limit = 1000;
  loss = 0;
  duplicate = 0;
  reorder = 0;
  corrupt = 0;
  down = false;

  /** Waiting for the line or on it; qdisc_skb_cb.time_to_send is when the last bit is out. */
  readonly line: QdiscSkbHead = new QdiscSkbHead();
  /** When the line is free. */
  lineFree = 0;
  /** In the air, in the order of arrival. */
  readonly air: QdiscSkbHead = new QdiscSkbHead();
  lastArrival = 0;
  readonly lineTimer: TimerList = timerSetup(wireLineTimer, this);
  readonly airTimer: TimerList = timerSetup(wireAirTimer, this);
  /** The port it starts from was told to wait. */
  stalled = false;

  constructor(wire: Wire, end: number) {
    this.wire = wire;
    this.end = end;
  }

  configure(options: WireOptions): void {
    this.options = { ...options };
    this.delay = options.delay ?? 0;
    this.jitter = options.jitter ?? 0;
    const rate = options.rate ?? 0;
    this.usPerByte = rate > 0 ? 8e6 / rate : 0;
    this.overhead = options.overhead ?? 24;
    this.limit = options.limit ?? 1000;
    this.loss = probability("loss", options.loss);
    this.duplicate = probability("duplicate", options.duplicate);
    this.reorder = probability("reorder", options.reorder);
    this.corrupt = probability("corrupt", options.corrupt);
    this.down = options.down === true;
    for (const [name, value] of Object.entries({ delay: this.delay, jitter: this.jitter, rate, limit: this.limit })) {
      if (!(value >= 0)) throw new RangeError(`${name} ${value} is not a number from 0 up`);
    }
    const faulty = this.down || this.loss + this.duplicate + this.reorder + this.corrupt > 0;
    this.gso = options.gso ?? !(faulty || rate > 0);
    this.plain = !faulty && rate === 0 && this.delay === 0 && this.jitter === 0;
  }
}

/** A probability as a bound for random u32s. */
function probability(name: string, p: number | undefined): number {
  if (p === undefined) return 0;
  if (!(p >= 0 && p <= 1)) throw new RangeError(`${name} ${p} is not a probability`);
  return p * 4294967296;
}

/**
 * A wire. `configure` may change it while frames are on their way.
 *
 * @example
 * const wire = new Wire({ delay: 20_000, rate: 100e6, loss: 0.01 });   // both directions
 * wire.configure(1, { delay: 20_000 });                                // but none is lost from end 1 to end 0
 */
export class Wire {
  readonly directions: readonly [WireDirection, WireDirection] = [
    new WireDirection(this, 0),
    new WireDirection(this, 1),
  ];
  /** Shows every frame, see WireTap. */
  tap: WireTap | null = null;

  constructor(options: WireOptions = {}) {
    this.configure(0, options);
    this.configure(1, options);
  }

  /** Sets what happens to frames that `end` sends from now on. What is not given is at its default. */
  configure(end: number, options: WireOptions): void {
    (this.directions[end] as WireDirection).configure(options);
  }

  /** Puts `port` at `end`. */
  attach(end: number, port: WirePort): void {
    (this.directions[1 - end] as WireDirection).port = port;
  }

  /** Takes the port at `end` away. Frames on their way to it, and those it has sent, are lost. */
  detach(end: number): void {
    (this.directions[1 - end] as WireDirection).port = null;
    wirePurge(this.directions[0]);
    wirePurge(this.directions[1]);
    wireUnstall(this.directions[0]);
    wireUnstall(this.directions[1]);
  }

  /** Sends a frame from `end`. Takes it over. */
  send(end: number, skb: number): void {
    wireSend(this.directions[end] as WireDirection, skb);
  }

  /** Sends a frame that lies in memory (see WirePort.receiveRaw); it is copied. False if there is no memory for it. */
  sendRaw(end: number, addr: number, len: number, frameLen: number): boolean {
    return wireSendRaw(this.directions[end] as WireDirection, addr, len, frameLen);
  }

  /**
   * Whether `end` should send now: the line is not busy with frames that it has already, and the other end has not
   * asked
   * for a pause. If not, `wireRoom` of its port is called later. Only those who can wait need to ask.
   */
  ready(end: number): boolean {
    const d = this.directions[end] as WireDirection;
    if (d.line.qlen < 2 && (d.port === null || !d.port.paused)) return true;
    d.stalled = true;
    return false;
  }

  /** The port at `end` takes frames again. */
  resume(end: number): void {
    wireUnstall(this.directions[1 - end] as WireDirection);
  }
}

function wireUnstall(d: WireDirection): void {
  if (!d.stalled) return;
  d.stalled = false;
  const source = (d.wire.directions[1 - d.end] as WireDirection).port;
  if (source !== null) source.wireRoom();
}

function wirePurge(d: WireDirection): void {
  qdiscSkbPurge(d.line, SKB_DROP_REASON_DEV_READY);
  qdiscSkbPurge(d.air, SKB_DROP_REASON_DEV_READY);
  timerShutdown(d.lineTimer);
  timerShutdown(d.airTimer);
  d.lineFree = 0;
  d.lastArrival = 0;
}

function wireSendRaw(d: WireDirection, addr: number, len: number, frameLen: number): boolean {
  const { port } = d;
  if (d.plain && port !== null && d.wire.tap === null && !port.paused && port.receiveRaw(addr, len, frameLen)) {
    d.stats.frames++;
    d.stats.bytes += frameLen;
    d.stats.delivered++;
    return true;
  }
  const skb = allocSkb(frameLen + 66);
  if (skb === 0) return false;
  // The network header is to be aligned behind the 14 bytes of the link header.
  skbReserve(skb, 66);
  const data = skbPut(skb, frameLen);
  wasm.memcpy(data, addr, len);
  if (frameLen > len) u8.fill(0, data + len, data + frameLen);
  // Its host has written the sums; a card at the other end finds them right unless the wire does damage (wireCorrupt).
  u8[skb + SKB_IP_SUMMED] = CHECKSUM_UNNECESSARY;
  wireSendOne(d, skb);
  return true;
}

/** A frame, or a super-packet that may have to be cut into frames first. */
function wireSend(d: WireDirection, skb: number): void {
  const gso = u16[((u32[(skb + SKB_END) >>> 2] as number) + SHINFO_GSO_SIZE) >>> 1] !== 0;
  if (!gso || (d.gso && d.port !== null && d.port.gso)) {
    wireSendOne(d, skb);
    return;
  }
  let seg = skbGsoSegment(skb, NETIF_F_SG | NETIF_F_HW_CSUM);
  if (seg === 0) {
    kfreeSkbReason(skb, SKB_DROP_REASON_SKB_GSO_SEG);
    return;
  }
  consumeSkb(skb);
  while (seg !== 0) {
    const next = u32[(seg + SKB_NEXT) >>> 2] as number;
    u32[(seg + SKB_NEXT) >>> 2] = 0;
    wireSendOne(d, seg);
    seg = next;
  }
}

function wireSendOne(d: WireDirection, skb: number): void {
  const { stats, port } = d;
  stats.frames++;
  stats.bytes += u32[(skb + SKB_LEN) >>> 2] as number;
  if (!d.plain) {
    wireSendImpaired(d, skb);
    return;
  }
  if (d.wire.tap !== null) d.wire.tap.frame(skb, d.end, port === null);
  if (port === null) {
    stats.lost++;
    kfreeSkbReason(skb, SKB_DROP_REASON_DEV_READY);
    return;
  }
  stats.delivered++;
  skbOrphan(skb);
  port.receive(skb);
}

function wireSendImpaired(d: WireDirection, first: number): void {
  const { stats } = d;
  let skb = first;
  const lost = d.down || d.port === null || (d.loss > 0 && getRandomU32() < d.loss);
  if (d.wire.tap !== null) d.wire.tap.frame(skb, d.end, lost);
  if (lost) {
    stats.lost++;
    kfreeSkbReason(skb, d.port === null ? SKB_DROP_REASON_DEV_READY : SKB_DROP_REASON_QDISC_DROP);
    return;
  }
  if (d.corrupt > 0 && getRandomU32() < d.corrupt) {
    skb = wireCorrupt(skb);
    if (skb === 0) return;
    stats.corrupted++;
  }
  if (d.usPerByte === 0) {
    wireDepart(d, skb, kernel.now);
    return;
  }
  // One is on the line, `limit` may wait behind it.
  if (d.line.qlen > d.limit) {
    stats.overlimit++;
    kfreeSkbReason(skb, SKB_DROP_REASON_QDISC_DROP);
    return;
  }
  const len = u32[(skb + SKB_LEN) >>> 2] as number;
  const start = d.lineFree > kernel.now ? d.lineFree : kernel.now;
  const out = start + ((len < ETH_ZLEN ? ETH_ZLEN : len) + d.overhead) * d.usPerByte;
  d.lineFree = out;
  f64[(skb + QDISC_TIME_TO_SEND) >>> 3] = out;
  qdiscSkbTail(d.line, skb);
  if (d.line.qlen === 1) modTimer(d.lineTimer, out);
}

/** Turns one bit of the frame, wherever it is. Its checksums are written first: nobody may take it for good. */
function wireCorrupt(skb: number): number {
  const copy = skbCopy(skb);
  if (copy === 0) {
    kfreeSkbReason(skb, SKB_DROP_REASON_NOMEM);
    return 0;
  }
  consumeSkb(skb);
  if (skbLinearize(copy) !== 0 || (u8[copy + SKB_IP_SUMMED] === CHECKSUM_PARTIAL && skbChecksumHelp(copy) !== 0)) {
    kfreeSkbReason(copy, SKB_DROP_REASON_NOMEM);
    return 0;
  }
  u8[copy + SKB_IP_SUMMED] = CHECKSUM_NONE;
  const at = (u32[(copy + SKB_DATA) >>> 2] as number) + getRandomU32Below(u32[(copy + SKB_LEN) >>> 2] as number);
  u8[at] ^= 1 << getRandomU32Below(8);
  return copy;
}

/** The last bit of frames has left the line. */
function wireLineTimer(t: TimerList): void {
  const d = t.data as WireDirection;
  for (;;) {
    const skb = d.line.head;
    if (skb === 0) break;
    const out = f64[(skb + QDISC_TIME_TO_SEND) >>> 3] as number;
    if (out > kernel.now) {
      modTimer(t, out);
      break;
    }
    qdiscSkbDequeue(d.line);
    wireDepart(d, skb, out);
  }
  if (d.line.qlen < 2) wireUnstall(d);
}

/** A frame is in the air from `time` on. */
function wireDepart(d: WireDirection, skb: number, time: number): void {
  skbOrphan(skb);
  let copy = 0;
  if (d.duplicate > 0 && getRandomU32() < d.duplicate) {
    // A copy: the receiver writes into what it receives.
    copy = skbCopy(skb);
    if (copy !== 0) d.stats.duplicated++;
  }
  wireFly(d, skb, time);
  if (copy !== 0) wireFly(d, copy, time);
}

function wireFly(d: WireDirection, skb: number, time: number): void {
  let arrival = time + d.delay;
  if (d.jitter > 0) arrival += d.jitter * (getRandomU32() / 4294967296);
  if (d.reorder > 0 && d.air.qlen > 0 && getRandomU32() < d.reorder) {
    // It overtakes: as if there were no delay.
    arrival = time;
    d.stats.reordered++;
  } else {
    if (arrival < d.lastArrival) arrival = d.lastArrival;
    d.lastArrival = arrival;
  }
  if (arrival <= kernel.now && d.air.head === 0) {
    wireDeliver(d, skb);
    return;
  }
  f64[(skb + QDISC_TIME_TO_SEND) >>> 3] = arrival;
  wireAirInsert(d.air, skb, arrival);
  if (d.air.head === skb) modTimer(d.airTimer, arrival);
}

/** In the order of arrival, behind those of the same time. */
function wireAirInsert(air: QdiscSkbHead, skb: number, arrival: number): void {
  if (air.tail === 0 || (f64[(air.tail + QDISC_TIME_TO_SEND) >>> 3] as number) <= arrival) {
    qdiscSkbTail(air, skb);
    return;
  }
  let prev = 0;
  let at = air.head;
  while ((f64[(at + QDISC_TIME_TO_SEND) >>> 3] as number) <= arrival) {
    prev = at;
    at = u32[(at + SKB_NEXT) >>> 2] as number;
  }
  u32[(skb + SKB_NEXT) >>> 2] = at;
  if (prev === 0) air.head = skb;
  else u32[(prev + SKB_NEXT) >>> 2] = skb;
  air.qlen++;
}

/** Frames arrive: all that are due. */
function wireAirTimer(t: TimerList): void {
  const d = t.data as WireDirection;
  for (;;) {
    const skb = d.air.head;
    if (skb === 0) return;
    const arrival = f64[(skb + QDISC_TIME_TO_SEND) >>> 3] as number;
    if (arrival > kernel.now) {
      modTimer(t, arrival);
      return;
    }
    qdiscSkbDequeue(d.air);
    wireDeliver(d, skb);
  }
}

function wireDeliver(d: WireDirection, skb: number): void {
  if (d.port === null) {
    kfreeSkbReason(skb, SKB_DROP_REASON_DEV_READY);
    return;
  }
  d.stats.delivered++;
  d.port.receive(skb);
}
