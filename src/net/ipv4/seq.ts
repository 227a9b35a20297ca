/**
 * TCP sequence numbers (RFC 9293 §3.4): 32-bit, modulo 2^32. At run time a number in [0, 2^32); to the compiler a value
 * on which `<`, `+`, `-` and Math.max do not compile, so that nobody compares sequence numbers as if they were lengths.
 */
declare const seqBrand: unique symbol;
export type Seq = symbol & { readonly [seqBrand]: "Seq" };

/** A u32 (any number: it is taken modulo 2^32) as a sequence number. */
export function seq(n: number): Seq {
  return (n >>> 0) as unknown as Seq;
}
/** The sequence number as a u32, to be written to the wire or printed. */
export function seqRaw(s: Seq): number {
  return s as unknown as number;
}
/** s + n modulo 2^32; n may be negative. */
export function seqAdd(s: Seq, n: number): Seq {
  return (((s as unknown as number) + n) >>> 0) as unknown as Seq;
}
/** a - b as a signed 32-bit distance. */
export function seqSub(a: Seq, b: Seq): number {
  return ((a as unknown as number) - (b as unknown as number)) | 0;
}
/** a < b, modulo 2^32. */
export function before(a: Seq, b: Seq): boolean {
  return (((a as unknown as number) - (b as unknown as number)) | 0) < 0;
}
/** a > b, modulo 2^32. */
export function after(a: Seq, b: Seq): boolean {
  return (((b as unknown as number) - (a as unknown as number)) | 0) < 0;
}
/** s2 <= s1 <= s3, modulo 2^32. */
export function between(s1: Seq, s2: Seq, s3: Seq): boolean {
  return (
    ((s3 as unknown as number) - (s2 as unknown as number)) >>> 0 >=
    ((s1 as unknown as number) - (s2 as unknown as number)) >>> 0
  );
}
