/**
 * The Internet checksum (RFC 1071), as include/net/checksum.h.
 *
 * A *partial sum* is 32 bits wide: the one's complement sum of the data as 16-bit words in **little-endian** order,
 * with the carries of the upper half not yet added back (byte order does not matter to the sum, RFC 1071 §2 (B), so
 * it is the machine's). Partial sums may be added in any order with csumAdd, as long as every piece but the last has
 * an even length, or goes through csumBlockAdd.
 *
 * `csumFold`, `csumTcpUdpMagic` and `ipFastCsum` return the checksum **as a number to be stored big-endian**:
 * `dv.setUint16(addr, csumFold(sum))`. A checksum field read with `dv.getUint16` is such a number. To add one to a
 * partial sum, swap it first: `csumAdd(sum, csumUnfold(check))`.
 */

import { u8, u16, wasm } from "../../mm/mem.ts";

/** What is stored when the computed checksum is 0 but 0 means "none" (UDP). */
export const CSUM_MANGLED_0 = 0xffff;

function swap16(v: number): number {
  return ((v & 0xff) << 8) | (v >>> 8);
}

/** The partial sum of `len` bytes at `addr` (taken to start at an even offset, whatever the address), plus `sum`. */
/* notrace */
export function csumPartial(addr: number, len: number, sum: number): number {
  return wasm.csumPartial(addr, len, sum) >>> 0;
}

/** One's complement sum of two partial sums. */
/* notrace */
export function csumAdd(csum: number, addend: number): number {
  const s = csum + addend;
  return s > 0xffffffff ? s - 0xffffffff : s;
}

/** csum - addend, in one's complement. */
/* notrace */
export function csumSub(csum: number, addend: number): number {
  return csumAdd(csum, ~addend >>> 0);
}

/** csum_shift: what a partial sum becomes when its data stands at `offset`. */
/* notrace */
export function csumShift(sum: number, offset: number): number {
  return (offset & 1) !== 0 ? ((sum >>> 8) | (sum << 24)) >>> 0 : sum;
}

/** Adds the sum of a block that starts `offset` bytes into the data of `csum`; the offset may be odd. */
/* notrace */
export function csumBlockAdd(csum: number, csum2: number, offset: number): number {
  return csumAdd(csum, csumShift(csum2, offset));
}

/** csumBlockAdd undone. */
/* notrace */
export function csumBlockSub(csum: number, csum2: number, offset: number): number {
  return csumBlockAdd(csum, ~csum2 >>> 0, offset);
}

/** The checksum of a partial sum: folded, complemented, and ready for `dv.setUint16`. */
/* notrace */
export function csumFold(sum: number): number {
  let s = (sum & 0xffff) + (sum >>> 16);
  s = (s & 0xffff) + (s >>> 16);
  return swap16(~s & 0xffff);
}

/** A checksum field (`dv.getUint16`) as a partial sum. */
/* notrace */
export function csumUnfold(check: number): number {
  return swap16(check);
}

/** Adds the pseudo-header to a partial sum. Addresses in host order, `len` = TCP/UDP header and data. */
/* notrace */
export function csumTcpUdpNofold(saddr: number, daddr: number, len: number, proto: number, sum: number): number {
  // Summed big-endian (at most 6 * 0xffff), folded to 16 bits, and swapped to the order of partial sums.
  let s = (saddr >>> 16) + (saddr & 0xffff) + (daddr >>> 16) + (daddr & 0xffff) + proto + (len & 0xffff) + (len >>> 16);
  s = (s & 0xffff) + (s >>> 16);
  s = (s & 0xffff) + (s >>> 16);
  return csumAdd(sum, swap16(s));
}

/**
 * The TCP/UDP checksum over pseudo-header and `sum`, for `dv.setUint16`. Complemented (`~x & 0xffff`), the seed of
 * CHECKSUM_PARTIAL.
 */
/* notrace */
export function csumTcpUdpMagic(saddr: number, daddr: number, len: number, proto: number, sum: number): number {
  return csumFold(csumTcpUdpNofold(saddr, daddr, len, proto, sum));
}

/** The checksum of an IPv4 header of `ihl` 32-bit words; 0 if the header holds a right checksum. For `dv.setUint16`. */
/* notrace */
export function ipFastCsum(addr: number, ihl: number): number {
  if ((addr & 1) !== 0) return csumFold(csumPartial(addr, ihl << 2, 0));
  // Unrolled for the usual 20 bytes: as fast as the call into wasm, and the counters count payload.
  const w = u16;
  const i = addr >>> 1;
  let sum = w[i] + w[i + 1] + w[i + 2] + w[i + 3] + w[i + 4] + w[i + 5] + w[i + 6] + w[i + 7] + w[i + 8] + w[i + 9];
  for (let k = 10; k < ihl << 1; k++) sum += w[i + k];
  return csumFold(sum);
}

/** ip_compute_csum: the checksum of `len` bytes (ICMP). For `dv.setUint16`; 0 if they hold a right one. */
/* notrace */
export function ipComputeCsum(addr: number, len: number): number {
  return csumFold(csumPartial(addr, len, 0));
}

/**
 * RFC 1624 eqn. 3 on numbers: the checksum after a 16-bit word changed from `from` to `to` (all big-endian numbers).
 */
/* notrace */
export function csumUpdate2(check: number, from: number, to: number): number {
  let s = (~check & 0xffff) + (~from & 0xffff) + to;
  s = (s & 0xffff) + (s >>> 16);
  s = (s & 0xffff) + (s >>> 16);
  return ~s & 0xffff;
}

/** The same for a 32-bit word in host order. */
/* notrace */
export function csumUpdate4(check: number, from: number, to: number): number {
  return csumUpdate2(csumUpdate2(check, from >>> 16, to >>> 16), from & 0xffff, to & 0xffff);
}

/** csum_replace2: updates the checksum field at `sumAddr` for a 16-bit word that changed (RFC 1624 eqn. 3). */
/* notrace */
export function csumReplace2(sumAddr: number, from: number, to: number): void {
  const check = csumUpdate2((u8[sumAddr] << 8) | u8[sumAddr + 1], from, to);
  u8[sumAddr] = check >>> 8;
  u8[sumAddr + 1] = check & 0xff;
}

/** csum_replace4: the same for a 32-bit word, in host order. */
/* notrace */
export function csumReplace4(sumAddr: number, from: number, to: number): void {
  csumReplace2(sumAddr, from >>> 16, to >>> 16);
  csumReplace2(sumAddr, from & 0xffff, to & 0xffff);
}
