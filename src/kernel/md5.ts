/** MD5 (RFC 1321). Broken as a hash for anything new; TCP signs segments with it (RFC 2385). */

/** Left rotations of the sixteen steps of each round, which repeat every four. */
const SHIFT: readonly number[] = [7, 12, 17, 22, 5, 9, 14, 20, 4, 11, 16, 23, 6, 10, 15, 21];
/** floor(2^32 * abs(sin(i + 1))). */
const SINE: Int32Array = new Int32Array(64);
for (let i = 0; i < 64; i++) SINE[i] = Math.floor(2 ** 32 * Math.abs(Math.sin(i + 1))) | 0;

/** One digest after another: `init`, `update` as often as needed, `final`. */
export class Md5 {
  #a = 0;
  #b = 0;
  #c = 0;
  #d = 0;
  #length = 0;
  readonly #block: Uint8Array = new Uint8Array(64);
  readonly #words: Int32Array = new Int32Array(16);

  init(): void {
    this.#a = 0x67452301;
    this.#b = 0xefcdab89 | 0;
    this.#c = 0x98badcfe | 0;
    this.#d = 0x10325476;
    this.#length = 0;
  }

  /** Takes `len` bytes from `bytes[at]` on. */
  update(bytes: Uint8Array, at: number, len: number): void {
    let fill = this.#length & 63;
    this.#length += len;
    for (let i = 0; i < len; i++) {
      this.#block[fill++] = bytes[at + i] as number;
      if (fill === 64) {
        this.#compress();
        fill = 0;
      }
    }
  }

  /** Writes the 16 bytes of the digest to `out[at]` and on. */
  final(out: Uint8Array, at: number): void {
    const bits = this.#length * 8;
    let fill = this.#length & 63;
    this.#block[fill++] = 0x80;
    if (fill > 56) {
      this.#block.fill(0, fill);
      this.#compress();
      fill = 0;
    }
    this.#block.fill(0, fill, 56);
    writeLe(this.#block, 56, bits | 0);
    writeLe(this.#block, 60, Math.floor(bits / 2 ** 32) | 0);
    this.#compress();
    writeLe(out, at, this.#a);
    writeLe(out, at + 4, this.#b);
    writeLe(out, at + 8, this.#c);
    writeLe(out, at + 12, this.#d);
  }

  #compress(): void {
    const p = this.#block;
    const m = this.#words;
    for (let i = 0; i < 16; i++) {
      const at = i * 4;
      m[i] =
        (p[at] as number) |
        ((p[at + 1] as number) << 8) |
        ((p[at + 2] as number) << 16) |
        ((p[at + 3] as number) << 24);
    }
    let a = this.#a;
    let b = this.#b;
    let c = this.#c;
    let d = this.#d;
    for (let i = 0; i < 64; i++) {
      let f: number;
      let g: number;
      if (i < 16) {
        f = (b & c) | (~b & d);
        g = i;
      } else if (i < 32) {
        f = (d & b) | (~d & c);
        g = (5 * i + 1) & 15;
      } else if (i < 48) {
        f = b ^ c ^ d;
        g = (3 * i + 5) & 15;
      } else {
        f = c ^ (b | ~d);
        g = (7 * i) & 15;
      }
      const sum = (a + f + (SINE[i] as number) + (m[g] as number)) | 0;
      const shift = SHIFT[((i >> 4) << 2) | (i & 3)] as number;
      a = d;
      d = c;
      c = b;
      b = (b + ((sum << shift) | (sum >>> (32 - shift)))) | 0;
    }
    this.#a = (this.#a + a) | 0;
    this.#b = (this.#b + b) | 0;
    this.#c = (this.#c + c) | 0;
    this.#d = (this.#d + d) | 0;
  }
}

function writeLe(out: Uint8Array, at: number, word: number): void {
  out[at] = word;
  out[at + 1] = word >>> 8;
  out[at + 2] = word >>> 16;
  out[at + 3] = word >>> 24;
}
