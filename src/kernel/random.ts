/** The machine's random numbers: handed in, so that one seed gives one run. */

import { kernel } from "./kernel.ts";

/** Where random numbers come from: the platform's entropy, or `seededRandom`. */
export interface RandomSource {
  /** 0 ... 2^32-1. */
  u32(): number;
  /** Fills `bytes` (which may be a view of shared memory). */
  fill(bytes: Uint8Array): void;
}

/** xoshiro128** of Blackman and Vigna, seeded through splitmix32. */
class Xoshiro128 implements RandomSource {
  readonly #s: Uint32Array = new Uint32Array(4);

  constructor(seed: number) {
    // The whole double takes part: seeds beyond 2^32 and fractions differ from each other.
    const f64 = new Float64Array([seed]);
    const words = new Uint32Array(f64.buffer);
    let x = ((words[0] as number) ^ Math.imul(words[1] as number, 0x9e3779b9) ^ (seed | 0)) | 0;
    for (let i = 0; i < 4; i++) {
      x = (x + 0x9e3779b9) | 0;
      let z = x ^ (x >>> 16);
      z = Math.imul(z, 0x21f0aaad);
      z ^= z >>> 15;
      z = Math.imul(z, 0x735a2d97);
      z ^= z >>> 15;
      this.#s[i] = z;
    }
    if (((this.#s[0] as number) | (this.#s[1] as number) | (this.#s[2] as number) | (this.#s[3] as number)) === 0) {
      this.#s[0] = 1;
    }
  }

  u32(): number {
    const s = this.#s;
    const s0 = s[0] as number;
    const s1 = s[1] as number;
    const s2 = (s[2] as number) ^ s0;
    const s3 = (s[3] as number) ^ s1;
    const x = Math.imul(s1, 5);
    s[1] = s1 ^ s2;
    s[0] = s0 ^ s3;
    s[2] = s2 ^ (s1 << 9);
    s[3] = (s3 << 11) | (s3 >>> 21);
    return Math.imul((x << 7) | (x >>> 25), 9) >>> 0;
  }

  fill(bytes: Uint8Array): void {
    let i = 0;
    const n = bytes.length;
    for (; i + 4 <= n; i += 4) {
      const v = this.u32();
      bytes[i] = v;
      bytes[i + 1] = v >>> 8;
      bytes[i + 2] = v >>> 16;
      bytes[i + 3] = v >>> 24;
    }
    if (i < n) {
      let v = this.u32();
      for (; i < n; i++) {
        bytes[i] = v;
        v >>>= 8;
      }
    }
  }
}

/** A reproducible source: the same seed gives the same numbers, on every platform. */
export function seededRandom(seed: number): RandomSource {
  return new Xoshiro128(seed);
}

/** get_random_u32. */
export function getRandomU32(): number {
  return kernel.random.u32();
}

/** get_random_u32_below: uniform in [0, ceil), ceil up to 2^32; 0 for a ceil of 0 or 1. */
export function getRandomU32Below(ceil: number): number {
  if (ceil <= 1) return 0;
  const random = kernel.random;
  // Reject the tail that would make low values likelier.
  const limit = 4294967296 - (4294967296 % ceil);
  let v = random.u32();
  while (v >= limit) v = random.u32();
  return v % ceil;
}

/** get_random_u32_inclusive: uniform in [floor, ceil]. */
export function getRandomU32Inclusive(floor: number, ceil: number): number {
  return floor + getRandomU32Below(ceil - floor + 1);
}

/** get_random_bytes. */
export function getRandomBytes(bytes: Uint8Array): void {
  kernel.random.fill(bytes);
}
