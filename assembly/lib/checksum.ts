/**
 * The Internet checksum (RFC 1071): sums, and copies that sum on the way.
 *
 * A partial sum is a u32: the one's complement sum of the data as little-endian 16-bit words, not yet folded to 16
 * bits. See src/net/core/checksum.ts for the convention towards JavaScript.
 */

import { ARENA_STAT_BYTES_COPIED, ARENA_STAT_BYTES_SUMMED } from "../layout";
import { statAdd } from "../mm/slab";

/** Bytes that the 32-bit lanes take before they could overflow (each gains at most 2 * 2 * 0xffff every 64 bytes). */
const SIMD_MAX: u32 = 512 * 1024;

/** Folds a 64-bit sum of 32-bit (or smaller) words to a partial sum. */
export function fold64(sum: u64): u32 {
  sum = (sum & 0xffff_ffff) + (sum >> 32);
  return ((sum & 0xffff_ffff) + (sum >> 32)) as u32;
}

/** Folds a partial sum to 16 bits, not complemented. */
export function fold16(sum: u32): u32 {
  sum = (sum & 0xffff) + (sum >> 16);
  return (sum & 0xffff) + (sum >> 16);
}

/** csum_block_add: adds the sum of a block that starts `offset` bytes into the data. */
export function csumBlockAdd(csum: u32, csum2: u32, offset: u32): u32 {
  const shifted = (offset & 1) != 0 ? rotr<u32>(csum2, 8) : csum2;
  const s = (csum as u64) + (shifted as u64);
  return ((s & 0xffff_ffff) + (s >> 32)) as u32;
}

/** The sum of the bytes that are left after vectors: fewer than 16. */
function sumTail(addr: u32, len: u32): u64 {
  let sum: u64 = 0;
  if ((len & 8) != 0) {
    const v = load<u64>(addr);
    sum = (v & 0xffff_ffff) + (v >> 32);
    addr += 8;
  }
  if ((len & 4) != 0) {
    sum += load<u32>(addr) as u64;
    addr += 4;
  }
  if ((len & 2) != 0) {
    sum += load<u16>(addr) as u64;
    addr += 2;
  }
  if ((len & 1) != 0) sum += load<u8>(addr) as u64; // the last byte is followed by an imaginary zero
  return sum;
}

/** The four 32-bit lanes of `v`, added up. */
function sumLanes(v: v128): u64 {
  const wide = i64x2.add(i64x2.extend_low_i32x4_u(v), i64x2.extend_high_i32x4_u(v));
  return (i64x2.extract_lane(wide, 0) as u64) + (i64x2.extract_lane(wide, 1) as u64);
}

/** do_csum: the sum of `len` bytes, as 64 bits. */
function sumBytes(addr: u32, len: u32): u64 {
  let sum: u64 = 0;
  while (len >= 16) {
    const run = min<u32>(len, SIMD_MAX);
    const stop = addr + (run & ~63);
    const last = addr + (run & ~15);
    let a = i32x4.splat(0);
    let b = i32x4.splat(0);
    for (; addr != stop; addr += 64) {
      a = i32x4.add(a, i32x4.extadd_pairwise_i16x8_u(v128.load(addr)));
      b = i32x4.add(b, i32x4.extadd_pairwise_i16x8_u(v128.load(addr, 16)));
      a = i32x4.add(a, i32x4.extadd_pairwise_i16x8_u(v128.load(addr, 32)));
      b = i32x4.add(b, i32x4.extadd_pairwise_i16x8_u(v128.load(addr, 48)));
    }
    for (; addr != last; addr += 16) a = i32x4.add(a, i32x4.extadd_pairwise_i16x8_u(v128.load(addr)));
    sum += sumLanes(a) + sumLanes(b);
    len -= run & ~15;
  }
  return sum + sumTail(addr, len);
}

/** Copies fewer than 16 bytes and sums them. */
function copyTail(dst: u32, src: u32, len: u32): u64 {
  let sum: u64 = 0;
  if ((len & 8) != 0) {
    const v = load<u64>(src);
    store<u64>(dst, v);
    sum = (v & 0xffff_ffff) + (v >> 32);
    src += 8;
    dst += 8;
  }
  if ((len & 4) != 0) {
    const v = load<u32>(src);
    store<u32>(dst, v);
    sum += v as u64;
    src += 4;
    dst += 4;
  }
  if ((len & 2) != 0) {
    const v = load<u16>(src);
    store<u16>(dst, v);
    sum += v as u64;
    src += 2;
    dst += 2;
  }
  if ((len & 1) != 0) {
    const v = load<u8>(src);
    store<u8>(dst, v);
    sum += v as u64;
  }
  return sum;
}

/** Copies `len` bytes that do not overlap and sums them, in one pass. */
function copyBytesSum(dst: u32, src: u32, len: u32): u64 {
  let sum: u64 = 0;
  while (len >= 16) {
    const run = min<u32>(len, SIMD_MAX);
    const stop = src + (run & ~63);
    const last = src + (run & ~15);
    let a = i32x4.splat(0);
    let b = i32x4.splat(0);
    for (; src != stop; src += 64, dst += 64) {
      const v0 = v128.load(src);
      const v1 = v128.load(src, 16);
      const v2 = v128.load(src, 32);
      const v3 = v128.load(src, 48);
      v128.store(dst, v0);
      v128.store(dst, v1, 16);
      v128.store(dst, v2, 32);
      v128.store(dst, v3, 48);
      a = i32x4.add(a, i32x4.extadd_pairwise_i16x8_u(v0));
      b = i32x4.add(b, i32x4.extadd_pairwise_i16x8_u(v1));
      a = i32x4.add(a, i32x4.extadd_pairwise_i16x8_u(v2));
      b = i32x4.add(b, i32x4.extadd_pairwise_i16x8_u(v3));
    }
    for (; src != last; src += 16, dst += 16) {
      const v = v128.load(src);
      v128.store(dst, v);
      a = i32x4.add(a, i32x4.extadd_pairwise_i16x8_u(v));
    }
    sum += sumLanes(a) + sumLanes(b);
    len -= run & ~15;
  }
  return sum + copyTail(dst, src, len);
}

/** csum_partial: the partial sum of `len` bytes at `addr` (of any alignment), plus `sum`. */
export function csumPartial(addr: u32, len: u32, sum: u32): u32 {
  statAdd(ARENA_STAT_BYTES_SUMMED, len);
  return fold64(sumBytes(addr, len) + (sum as u64));
}

/** csum_partial_copy_nocheck: copies `len` bytes that do not overlap, and returns their partial sum plus `sum`. */
export function csumAndCopy(dst: u32, src: u32, len: u32, sum: u32): u32 {
  statAdd(ARENA_STAT_BYTES_SUMMED, len);
  statAdd(ARENA_STAT_BYTES_COPIED, len);
  return fold64(copyBytesSum(dst, src, len) + (sum as u64));
}

/** Up to this length memory.copy (the C library's memmove) copies in vectors. */
const COPY_MAX: u32 = 1984;

/**
 * Copies `len` bytes that do not overlap: memcpy. In pieces, because a long memory.copy becomes `rep movsb`, which
 * is ten times slower where the destination lies a little above the source modulo 4096.
 */
export function copyBytes(dst: u32, src: u32, len: u32): void {
  if (len < 16) {
    if (len >= 8) {
      const a = load<u64>(src);
      const b = load<u64>(src + len - 8);
      store<u64>(dst, a);
      store<u64>(dst + len - 8, b);
    } else if (len >= 4) {
      const a = load<u32>(src);
      const b = load<u32>(src + len - 4);
      store<u32>(dst, a);
      store<u32>(dst + len - 4, b);
    } else {
      for (; len != 0; len--) store<u8>(dst++, load<u8>(src++));
    }
    return;
  }
  if (len <= 128) {
    // Vectors from both ends: they may overlap in the middle, and then write the same.
    const a = v128.load(src);
    const z = v128.load(src + len - 16);
    if (len > 32) {
      const b = v128.load(src, 16);
      const y = v128.load(src + len - 32);
      if (len > 64) {
        const c = v128.load(src, 32);
        const d = v128.load(src, 48);
        const w = v128.load(src + len - 64);
        const x = v128.load(src + len - 48);
        v128.store(dst, c, 32);
        v128.store(dst, d, 48);
        v128.store(dst + len - 64, w);
        v128.store(dst + len - 48, x);
      }
      v128.store(dst, b, 16);
      v128.store(dst + len - 32, y);
    }
    v128.store(dst, a);
    v128.store(dst + len - 16, z);
    return;
  }
  for (; len > COPY_MAX; len -= COPY_MAX) {
    memory.copy(dst, src, COPY_MAX);
    src += COPY_MAX;
    dst += COPY_MAX;
  }
  memory.copy(dst, src, len);
}

/** memcpy for JavaScript: counted. */
export function memcpy(dst: u32, src: u32, len: u32): void {
  statAdd(ARENA_STAT_BYTES_COPIED, len);
  copyBytes(dst, src, len);
}
