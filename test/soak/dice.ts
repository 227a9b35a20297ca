/**
 * Random choices that can be taken back one by one. Every choice has a name, and draws from a stream of its own: when a
 * risk is switched off to see whether a failure needs it, all the others come out as before.
 */

/** splitmix32: a small generator whose streams for different seeds have nothing to do with each other. */
export class Stream {
  #state: number;
  constructor(seed: number) {
    this.#state = seed | 0;
  }
  u32(): number {
    this.#state = (this.#state + 0x9e3779b9) | 0;
    let z = this.#state;
    z = Math.imul(z ^ (z >>> 16), 0x85ebca6b);
    z = Math.imul(z ^ (z >>> 13), 0xc2b2ae35);
    return (z ^ (z >>> 16)) >>> 0;
  }
  /** 0 <= x < 1. */
  float(): number {
    return this.u32() / 4294967296;
  }
  /** A whole number from `lo` to `hi`, both included. */
  int(lo: number, hi: number): number {
    return lo + Math.floor(this.float() * (hi - lo + 1));
  }
  /** Between `lo` and `hi`, small ones as often as large ones. */
  log(lo: number, hi: number): number {
    return Math.round(lo * (hi / lo) ** this.float());
  }
  pick<T>(values: readonly T[]): T {
    return values[Math.floor(this.float() * values.length)] as T;
  }
}

/** A hash of text, to give each name its stream. */
export function hashText(text: string, seed: number): number {
  let h = seed | 0;
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193) ^ (h >>> 15);
  return h >>> 0;
}

export class Dice {
  readonly seed: number;
  readonly #off: ReadonlySet<string>;
  /** The risks that were taken, by name, with what was drawn. */
  readonly taken: Map<string, string> = new Map();

  constructor(seed: number, off: ReadonlySet<string> = new Set()) {
    this.seed = seed;
    this.#off = off;
  }

  stream(name: string): Stream {
    return new Stream(hashText(name, this.seed));
  }

  /** Takes the risk `name` with probability `p`: what `draw` makes of the name's stream, or `otherwise`. */
  risk<T>(name: string, p: number, draw: (s: Stream) => T, otherwise: T): T {
    const s = this.stream(name);
    if (s.float() >= p || this.#off.has(name)) return otherwise;
    const value = draw(s);
    this.taken.set(name, String(value));
    return value;
  }
}
