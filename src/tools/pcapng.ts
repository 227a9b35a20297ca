/**
 * pcapng captures (draft-ietf-opsawg-pcapng): nanosecond time stamps, interface names, direction and a comment a packet.
 * The writer hands finished blocks to a sink, so it serves files, pipes and tests alike.
 *
 * @example
 * ```ts
 * const chunks: Uint8Array[] = [];
 * const pcap = new PcapngWriter((block) => chunks.push(block));
 * const eth0 = pcap.addInterface("eth0");
 * pcap.packet(eth0, 1_000_000, new Uint8Array(60), "out", "hello");
 * ```
 */

const SHB = 0x0a0d0d0a;
const IDB = 1;
const EPB = 6;
const OPT_COMMENT = 1;
const IF_NAME = 2;
const IF_TSRESOL = 9;
const EPB_FLAGS = 2;
export const LINKTYPE_ETHERNET = 1;
export const LINKTYPE_RAW = 101;

/** UTF-8 of a short text, by the language alone (TextEncoder belongs to the platform). */
function utf8(text: string): Uint8Array {
  const latin1 = encodeURIComponent(text).replace(/%(..)/g, (_, hex: string) =>
    String.fromCharCode(Number.parseInt(hex, 16)),
  );
  return Uint8Array.from(latin1, (c) => c.charCodeAt(0));
}

/** Bytes of an option: code, length, value padded to 4. */
function optionSize(length: number): number {
  return 4 + ((length + 3) & ~3);
}

export class PcapngWriter {
  readonly #sink: (block: Uint8Array) => void;
  #interfaces = 0;
  /** Packets written. */
  packets = 0;

  /** Writes the section header at once. `sink` gets every block as its own fresh array. */
  constructor(sink: (block: Uint8Array) => void) {
    this.#sink = sink;
    const b = new Uint8Array(28);
    const v = new DataView(b.buffer);
    v.setUint32(0, SHB, true);
    v.setUint32(4, 28, true);
    v.setUint32(8, 0x1a2b3c4d, true);
    v.setUint16(12, 1, true);
    v.setUint32(16, 0xffffffff, true); // section length: unknown
    v.setUint32(20, 0xffffffff, true);
    v.setUint32(24, 28, true);
    sink(b);
  }

  /** Declares an interface and returns its number for `packet`. */
  addInterface(name: string, linkType: number = LINKTYPE_ETHERNET): number {
    const n = utf8(name);
    const size = 16 + optionSize(n.length) + optionSize(1) + 4 + 4;
    const b = new Uint8Array(size);
    const v = new DataView(b.buffer);
    v.setUint32(0, IDB, true);
    v.setUint32(4, size, true);
    v.setUint16(8, linkType, true);
    v.setUint32(12, 0, true); // snap length: none
    let at = 16;
    v.setUint16(at, IF_NAME, true);
    v.setUint16(at + 2, n.length, true);
    b.set(n, at + 4);
    at += optionSize(n.length);
    v.setUint16(at, IF_TSRESOL, true);
    v.setUint16(at + 2, 1, true);
    b[at + 4] = 9; // 10^-9 s
    v.setUint32(size - 4, size, true);
    this.#sink(b);
    return this.#interfaces++;
  }

  /**
   * Writes one packet. `timeUs`: microseconds since 1970 (fractions become nanoseconds). `bytes` is copied; it may be a
   * view of shared memory.
   */
  packet(iface: number, timeUs: number, bytes: Uint8Array, direction?: "in" | "out", comment?: string): void {
    const c = comment === undefined ? undefined : utf8(comment);
    const padded = (bytes.length + 3) & ~3;
    const options = (direction === undefined ? 0 : optionSize(4)) + (c === undefined ? 0 : optionSize(c.length));
    const size = 32 + padded + (options === 0 ? 0 : options + 4);
    const b = new Uint8Array(size);
    const v = new DataView(b.buffer);
    const whole = Math.floor(timeUs);
    const ns = BigInt(whole) * 1000n + BigInt(Math.round((timeUs - whole) * 1000));
    v.setUint32(0, EPB, true);
    v.setUint32(4, size, true);
    v.setUint32(8, iface, true);
    v.setUint32(12, Number(ns >> 32n), true);
    v.setUint32(16, Number(ns & 0xffffffffn), true);
    v.setUint32(20, bytes.length, true);
    v.setUint32(24, bytes.length, true);
    b.set(bytes, 28);
    let at = 28 + padded;
    if (direction !== undefined) {
      v.setUint16(at, EPB_FLAGS, true);
      v.setUint16(at + 2, 4, true);
      v.setUint32(at + 4, direction === "in" ? 1 : 2, true);
      at += optionSize(4);
    }
    if (c !== undefined) {
      v.setUint16(at, OPT_COMMENT, true);
      v.setUint16(at + 2, c.length, true);
      b.set(c, at + 4);
    }
    v.setUint32(size - 4, size, true);
    this.#sink(b);
    this.packets++;
  }
}
