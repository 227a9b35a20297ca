/**
 * The throughput-regression gate: is `head` slower than `base`? On a shared machine two runs of one program differ by
 * more than a regression does, so the two run in one process, turn by turn, and what counts is the interval of the median
 * of the ratios of neighbours. It fails only when the whole interval lies beyond the limit, twice in a row.
 */

import type { Interval } from "./stats.ts";
import { bootstrapMedian } from "./stats.ts";

/** One thing done two ways. A side returns the milliseconds it took; if it returns nothing, it is timed. */
export interface GateCase {
  readonly name: string;
  base(): number | undefined;
  head(): number | undefined;
}

export interface GateOptions {
  /** Pairs a case; 300 by default, below about 200 a slowdown of 5% is no longer told from noise. */
  pairs?: number;
  /** What is still tolerated: 0.03 (default) = 3% more time. */
  limit?: number;
  /** Milliseconds of running both sides before anything counts, so that the compilers have seen them; 500 by default. */
  warmup?: number;
  /** How often a case that fails is measured anew; 1 by default. */
  retries?: number;
  /** Of the interval; 0.95 by default. */
  confidence?: number;
  /** Called after each case. */
  onCase?: (verdict: GateVerdict) => void;
}

export interface GateVerdict {
  readonly name: string;
  readonly passed: boolean;
  /** time(head) / time(base): above 1 is slower. */
  readonly ratio: Interval;
  readonly pairs: number;
  /** 1, or more where it was measured anew. */
  readonly attempts: number;
  /** Median milliseconds of one run of each side, in the last attempt. */
  readonly baseMs: number;
  readonly headMs: number;
}

export interface GateReport {
  readonly passed: boolean;
  readonly limit: number;
  readonly verdicts: readonly GateVerdict[];
}

function time(side: () => number | undefined): number {
  const started = performance.now();
  const own = side();
  const ms = own ?? performance.now() - started;
  if (!(ms > 0)) throw new RangeError(`a run took ${ms} ms: make it longer, or return its own time`);
  return ms;
}

interface Measured {
  ratio: Interval;
  baseMs: number;
  headMs: number;
}

function measure(one: GateCase, pairs: number, confidence: number): Measured {
  const logs: number[] = [];
  const bases: number[] = [];
  const heads: number[] = [];
  for (let i = 0; i < pairs; i++) {
    let base: number;
    let head: number;
    if (i % 2 === 0) {
      base = time(() => one.base());
      head = time(() => one.head());
    } else {
      head = time(() => one.head());
      base = time(() => one.base());
    }
    bases.push(base);
    heads.push(head);
    logs.push(Math.log(head / base));
  }
  const { median, low, high } = bootstrapMedian(logs, { confidence });
  const middle = (v: number[]): number => v.sort((x, y) => x - y)[v.length >> 1];
  return {
    ratio: { median: Math.exp(median), low: Math.exp(low), high: Math.exp(high) },
    baseMs: middle(bases),
    headMs: middle(heads),
  };
}

/**
 * Measures every case and judges it.
 *
 * @example
 * ```ts
 * import { gate } from "skbuff/bench";
 * const report = gate([{ name: "parse", base: () => void old.parse(text), head: () => void now.parse(text) }]);
 * if (!report.passed) process.exitCode = 1;
 * ```
 */
export function gate(cases: readonly GateCase[], options: GateOptions = {}): GateReport {
  const { pairs = 300, limit = 0.03, warmup = 500, retries = 1, confidence = 0.95 } = options;
  if (!(pairs >= 20)) throw new RangeError(`pairs: ${pairs} are too few (at least 20)`);
  if (!(limit > 0)) throw new RangeError(`limit: ${limit} is not above 0`);
  const verdicts: GateVerdict[] = [];
  for (const one of cases) {
    const until = performance.now() + warmup;
    do {
      one.base();
      one.head();
    } while (performance.now() < until);
    let attempts = 0;
    let measured: Measured;
    let passed: boolean;
    do {
      measured = measure(one, pairs, confidence);
      passed = measured.ratio.low <= 1 + limit;
      attempts++;
    } while (!passed && attempts <= retries);
    const verdict: GateVerdict = { name: one.name, passed, pairs, attempts, ...measured };
    verdicts.push(verdict);
    options.onCase?.(verdict);
  }
  return { passed: verdicts.every((v) => v.passed), limit, verdicts };
}
