import { describe, expect, it } from "vitest";
import { seededRandom } from "../../src/kernel/random.ts";
import {
  siphash,
  siphash_1u32,
  siphash_2u32,
  siphash_3u32,
  siphash_4u32,
  siphash_6u32,
  siphash24,
  siphashHi,
} from "../../src/kernel/siphash.ts";

const M = (1n << 64n) - 1n;
const rotl = (x: bigint, n: bigint) => ((x << n) | (x >> (64n - n))) & M;

/** The paper's algorithm with BigInts. */
function reference(bytes: Uint8Array, key: Uint32Array): bigint {
  const k0 = BigInt(key[0]!) | (BigInt(key[1]!) << 32n);
  const k1 = BigInt(key[2]!) | (BigInt(key[3]!) << 32n);
  let v0 = k0 ^ 0x736f6d6570736575n;
  let v1 = k1 ^ 0x646f72616e646f6dn;
  let v2 = k0 ^ 0x6c7967656e657261n;
  let v3 = k1 ^ 0x7465646279746573n;
  const round = () => {
    v0 = (v0 + v1) & M;
    v1 = rotl(v1, 13n) ^ v0;
    v0 = rotl(v0, 32n);
    v2 = (v2 + v3) & M;
    v3 = rotl(v3, 16n) ^ v2;
    v0 = (v0 + v3) & M;
    v3 = rotl(v3, 21n) ^ v0;
    v2 = (v2 + v1) & M;
    v1 = rotl(v1, 17n) ^ v2;
    v2 = rotl(v2, 32n);
  };
  const n = bytes.length;
  for (let i = 0; i <= n; i += 8) {
    let m = 0n;
    for (let j = 0; j < 8 && i + j < n; j++) m |= BigInt(bytes[i + j]!) << BigInt(8 * j);
    if (i + 8 > n) m |= BigInt(n & 255) << 56n;
    v3 ^= m;
    round();
    round();
    v0 ^= m;
  }
  v2 ^= 0xffn;
  for (let i = 0; i < 4; i++) round();
  return v0 ^ v1 ^ v2 ^ v3;
}

const key = new Uint32Array([0x03020100, 0x07060504, 0x0b0a0908, 0x0f0e0d0c]);
const whole = (lo: number) => (BigInt(siphashHi) << 32n) | BigInt(lo);

describe("siphash", () => {
  it("gives the vectors of the paper", () => {
    const bytes = Uint8Array.from({ length: 15 }, (_, i) => i);
    expect(whole(siphash(bytes, 0, 15, key))).toBe(0xa129ca6149be45e5n);
    expect(whole(siphash(bytes, 0, 0, key))).toBe(0x726fdb47dd0e0e31n);
  });

  it("agrees with the plain algorithm, in every form", () => {
    const random = seededRandom(5);
    for (let round = 0; round < 200; round++) {
      const k = new Uint32Array([random.u32(), random.u32(), random.u32(), random.u32()]);
      const w = Uint32Array.from({ length: 10 }, () => random.u32());
      const bytes = new Uint8Array(w.buffer);
      for (let len = 0; len <= 40; len++) {
        expect(whole(siphash(bytes, 0, len, k))).toBe(reference(bytes.subarray(0, len), k));
      }
      for (let n = 0; n <= 10; n++) expect(whole(siphash24(w, n, k))).toBe(reference(bytes.subarray(0, n * 4), k));
      const [a, b, c, d, e, f] = w as unknown as [number, number, number, number, number, number];
      expect(whole(siphash_1u32(a, k))).toBe(reference(bytes.subarray(0, 4), k));
      expect(whole(siphash_2u32(a, b, k))).toBe(reference(bytes.subarray(0, 8), k));
      expect(whole(siphash_3u32(a, b, c, k))).toBe(reference(bytes.subarray(0, 12), k));
      expect(whole(siphash_4u32(a, b, c, d, k))).toBe(reference(bytes.subarray(0, 16), k));
      expect(whole(siphash_6u32(a, b, c, d, e, f, k))).toBe(reference(bytes.subarray(0, 24), k));
    }
  });
});
