/**
 * SipHash-2-4 (Aumasson, Bernstein, 2012): the keyed hash behind initial sequence numbers (RFC 6528), SYN cookies,
 * port selection and hash tables that a stranger must not be able to aim at. 64-bit words are pairs of 32-bit halves.
 *
 * The result is 64 bits: the functions return the low half as a u32; `siphashHi` holds the high half until the next
 * call.
 */

/** A key: four 32-bit words, little endian (k0 low, k0 high, k1 low, k1 high). */
export type SiphashKey = Uint32Array;

/** The high 32 bits of the last result. */
export let siphashHi = 0;

// v0..v3 as int32 halves. Module variables, since a function can't return four of them.
let v0l = 0;
let v0h = 0;
let v1l = 0;
let v1h = 0;
let v2l = 0;
let v2h = 0;
let v3l = 0;
let v3h = 0;

function init(key: SiphashKey): void {
  const k0l = key[0] as number;
  const k0h = key[1] as number;
  const k1l = key[2] as number;
  const k1h = key[3] as number;
  v0l = k0l ^ 0x70736575;
  v0h = k0h ^ 0x736f6d65;
  v1l = k1l ^ 0x6e646f6d;
  v1h = k1h ^ 0x646f7261;
  v2l = k0l ^ 0x6e657261;
  v2h = k0h ^ 0x6c796765;
  v3l = k1l ^ 0x79746573;
  v3h = k1h ^ 0x74656462;
}

/** `n` SipRounds. */
function rounds(n: number): void {
  let al = v0l;
  let ah = v0h;
  let bl = v1l;
  let bh = v1h;
  let cl = v2l;
  let ch = v2h;
  let dl = v3l;
  let dh = v3h;
  for (let i = 0; i < n; i++) {
    // v0 += v1; v1 = rotl(v1, 13); v1 ^= v0; v0 = rotl(v0, 32)
    let lo = (al + bl) | 0;
    let hi = (ah + bh + (lo >>> 0 < al >>> 0 ? 1 : 0)) | 0;
    let t = (bl << 13) | (bh >>> 19);
    bh = ((bh << 13) | (bl >>> 19)) ^ hi;
    bl = t ^ lo;
    al = hi;
    ah = lo;
    // v2 += v3; v3 = rotl(v3, 16); v3 ^= v2
    lo = (cl + dl) | 0;
    ch = (ch + dh + (lo >>> 0 < cl >>> 0 ? 1 : 0)) | 0;
    cl = lo;
    t = (dl << 16) | (dh >>> 16);
    dh = ((dh << 16) | (dl >>> 16)) ^ ch;
    dl = t ^ cl;
    // v0 += v3; v3 = rotl(v3, 21); v3 ^= v0
    lo = (al + dl) | 0;
    ah = (ah + dh + (lo >>> 0 < al >>> 0 ? 1 : 0)) | 0;
    al = lo;
    t = (dl << 21) | (dh >>> 11);
    dh = ((dh << 21) | (dl >>> 11)) ^ ah;
    dl = t ^ al;
    // v2 += v1; v1 = rotl(v1, 17); v1 ^= v2; v2 = rotl(v2, 32)
    lo = (cl + bl) | 0;
    hi = (ch + bh + (lo >>> 0 < cl >>> 0 ? 1 : 0)) | 0;
    t = (bl << 17) | (bh >>> 15);
    bh = ((bh << 17) | (bl >>> 15)) ^ hi;
    bl = t ^ lo;
    cl = hi;
    ch = lo;
  }
  v0l = al;
  v0h = ah;
  v1l = bl;
  v1h = bh;
  v2l = cl;
  v2h = ch;
  v3l = dl;
  v3h = dh;
}

function word(lo: number, hi: number): void {
  v3l ^= lo;
  v3h ^= hi;
  rounds(2);
  v0l ^= lo;
  v0h ^= hi;
}

/** The last word carries the length in bytes in its top byte. */
function finish(lo: number, hi: number, bytes: number): number {
  word(lo, hi | (bytes << 24));
  v2l ^= 0xff;
  rounds(4);
  siphashHi = (v0h ^ v1h ^ v2h ^ v3h) >>> 0;
  return (v0l ^ v1l ^ v2l ^ v3l) >>> 0;
}

/** siphash over the first `n` 32-bit words of `words`. Returns the low 32 bits. */
export function siphash24(words: Uint32Array, n: number, key: SiphashKey): number {
  init(key);
  let i = 0;
  for (; i + 2 <= n; i += 2) word(words[i] as number, words[i + 1] as number);
  return finish(i < n ? (words[i] as number) : 0, 0, (n * 4) & 255);
}

/** siphash over `len` bytes at `off` of `bytes`. Returns the low 32 bits. */
export function siphash(bytes: Uint8Array, off: number, len: number, key: SiphashKey): number {
  init(key);
  const end = off + (len & ~7);
  let p = off;
  for (; p < end; p += 8) {
    word(
      (bytes[p] as number) | ((bytes[p + 1] as number) << 8) | ((bytes[p + 2] as number) << 16) | (bytes[p + 3]! << 24),
      (bytes[p + 4] as number) |
        ((bytes[p + 5] as number) << 8) |
        ((bytes[p + 6] as number) << 16) |
        (bytes[p + 7]! << 24),
    );
  }
  let lo = 0;
  let hi = 0;
  for (let i = 0; i < (len & 7); i++) {
    if (i < 4) lo |= (bytes[p + i] as number) << (8 * i);
    else hi |= (bytes[p + i] as number) << (8 * (i - 4));
  }
  return finish(lo, hi, len & 255);
}

/** siphash_1u32. */
export function siphash_1u32(a: number, key: SiphashKey): number {
  init(key);
  return finish(a, 0, 4);
}

/** siphash_2u32 (siphash_1u64 of b:a). */
export function siphash_2u32(a: number, b: number, key: SiphashKey): number {
  init(key);
  word(a, b);
  return finish(0, 0, 8);
}

/** siphash_3u32. */
export function siphash_3u32(a: number, b: number, c: number, key: SiphashKey): number {
  init(key);
  word(a, b);
  return finish(c, 0, 12);
}

/** siphash_4u32 (siphash_2u64 of b:a, d:c). */
export function siphash_4u32(a: number, b: number, c: number, d: number, key: SiphashKey): number {
  init(key);
  word(a, b);
  word(c, d);
  return finish(0, 0, 16);
}

/** siphash_3u64 of three words given in halves: (b:a), (d:c), (f:e). */
export function siphash_6u32(
  a: number,
  b: number,
  c: number,
  d: number,
  e: number,
  f: number,
  key: SiphashKey,
): number {
  init(key);
  word(a, b);
  word(c, d);
  word(e, f);
  return finish(0, 0, 24);
}
