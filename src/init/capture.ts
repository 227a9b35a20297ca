/** Captures of devices into pcapng, with the reason of every drop as a comment. */

import type { Kernel } from "../kernel/kernel.ts";
import { u8 } from "../mm/mem.ts";
import { skbData, skbHeadlen, skbLen, skbMacHeader, skbMacHeaderWasSet } from "../mm/skb.ts";
import type { NetDevice, PacketTap } from "../net/core/dev.ts";
import { allocPage, putPage, skbCopyBits, skbDev } from "../net/core/skbuff.ts";
import { PcapngWriter } from "../tools/pcapng.ts";
import { dropReasonName } from "../uapi/dropreason.ts";

/** Room for the largest super-packet. */
const SCRATCH = 65536;

/** A running capture; `stop()` ends it. */
export class Capture implements PacketTap {
  readonly #kernel: Kernel;
  readonly #devices: readonly NetDevice[];
  readonly #writer: PcapngWriter;
  readonly #interfaces: Map<NetDevice, number> = new Map();
  readonly #maxBytes: number;
  readonly #scratch: number;
  #bytes = 0;
  /** True once `maxBytes` was reached and frames were left out. */
  truncated = false;
  #stopped = false;

  constructor(kernel: Kernel, devices: readonly NetDevice[], sink: (block: Uint8Array) => void, maxBytes: number) {
    this.#kernel = kernel;
    this.#devices = devices;
    this.#maxBytes = maxBytes;
    this.#writer = new PcapngWriter((block) => {
      this.#bytes += block.length;
      sink(block);
    });
    kernel.enter();
    this.#scratch = allocPage(SCRATCH);
    for (const dev of devices) {
      this.#interfaces.set(dev, this.#writer.addInterface(`${dev.net.name}.${dev.name}`));
      dev.taps.push(this);
    }
    const before = kernel.onDrop;
    kernel.onDrop = (skb, reason): void => {
      before?.(skb, reason);
      this.#dropped(skb, reason);
    };
    kernel.exit();
  }

  /** Frames written. */
  get packets(): number {
    return this.#writer.packets;
  }

  tap(skb: number, dev: NetDevice, outgoing: boolean): void {
    const from = outgoing || !skbMacHeaderWasSet(skb) ? skbData(skb) : skbMacHeader(skb);
    this.#write(skb, dev, from, outgoing ? "out" : "in", undefined);
  }

  #dropped(skb: number, reason: number): void {
    const dev = skbDev(skb);
    if (dev === null || !this.#interfaces.has(dev) || !skbMacHeaderWasSet(skb)) return;
    this.#write(skb, dev, skbMacHeader(skb), "in", `dropped: ${dropReasonName(reason)}`);
  }

  #write(skb: number, dev: NetDevice, from: number, direction: "in" | "out", comment: string | undefined): void {
    if (this.#stopped) return;
    const iface = this.#interfaces.get(dev);
    if (iface === undefined) return;
    const offset = from - skbData(skb);
    const length = skbLen(skb) - offset;
    if (length <= 0 || length > SCRATCH) return;
    if (this.#bytes + length + 64 > this.#maxBytes) {
      this.truncated = true;
      return;
    }
    let bytes: Uint8Array;
    if (length <= skbHeadlen(skb) - offset) {
      bytes = new Uint8Array(u8.buffer, from, length);
    } else {
      if (this.#scratch === 0 || skbCopyBits(skb, offset, this.#scratch, length) < 0) return;
      bytes = new Uint8Array(u8.buffer, this.#scratch, length);
    }
    const clock = this.#kernel.clock;
    this.#writer.packet(iface, clock.realtime(), bytes, direction, comment);
  }

  stop(): void {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#kernel.enter();
    for (const dev of this.#devices) {
      const i = dev.taps.indexOf(this);
      if (i >= 0) dev.taps.splice(i, 1);
    }
    if (this.#scratch !== 0) putPage(this.#scratch);
    this.#kernel.exit();
  }
}
