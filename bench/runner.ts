/**
 * Runs cases: contenders take turns in rounds of one tinybench run each, so that a phase in which the machine is slow
 * falls on all of them, and the ratio of each round is taken before any median.
 */

import type { BenchCase, Contender } from "./cases.ts";
import type { Build } from "./stack.ts";
import type { Interval } from "./stats.ts";
import { bootstrapMedian, median } from "./stats.ts";

export interface RunOptions {
  /** Milliseconds of measuring a contender, all rounds together; 2000 by default. */
  time?: number;
  /** Rounds; 10 by default. */
  rounds?: number;
  /** Multiplies the work of a run. */
  scale?: number;
  /** Whether peers run. */
  peers?: boolean;
  /** Another build of this library that runs beside. */
  against?: Build;
}

export interface ContenderResult {
  readonly name: string;
  /** In the case's unit: the median of the rounds. */
  readonly value: number;
  readonly low: number;
  readonly high: number;
  /** This stack's value over this contender's, round by round. Left out for this stack itself. */
  readonly ratio?: Interval;
}

export interface CaseResult {
  readonly name: string;
  readonly summary: string;
  readonly unit: string;
  readonly target?: number;
  /** What the target is a ratio to. */
  readonly reference?: string;
  readonly contenders: readonly ContenderResult[];
}

/** Loads tinybench, which an installed package need not bring along. */
async function loadTinybench(): Promise<typeof import("tinybench")> {
  try {
    return await import("tinybench");
  } catch {
    throw new Error("the benchmarks need tinybench: npm install tinybench");
  }
}

/** One tinybench run of `contender` over about `ms` milliseconds: amount a millisecond. */
async function round(tinybench: typeof import("tinybench"), contender: Contender, ms: number): Promise<number> {
  const bench = new tinybench.Bench({ time: ms, iterations: 2, warmup: false, throws: true });
  let amount = 0;
  let took = 0;
  bench.add(
    contender.name,
    async () => {
      const sample = await contender.run();
      amount += sample.amount;
      took += sample.ms;
      return { overriddenDuration: sample.ms };
    },
    { async: true },
  );
  await bench.run();
  return amount / took;
}

/** Amount a millisecond -> the unit of the case. */
function inUnit(unit: BenchCase["unit"], perMs: number): number {
  return unit === "Gbit/s" ? (perMs * 8) / 1e6 : perMs * 1000;
}

export async function runCase(one: BenchCase, build: Build, options: RunOptions = {}): Promise<CaseResult> {
  const { time = 2000, rounds = 10, scale = 1 } = options;
  const tinybench = await loadTinybench();
  const own = await one.open(build, scale);
  const others: Contender[] = [];
  try {
    if (options.against !== undefined) others.push({ ...(await one.open(options.against, scale)), name: "against" });
    if (one.limit !== undefined) others.push(await one.limit(build, scale));
    if (options.peers === true && one.peers !== undefined) others.push(...(await one.peers(scale)));
    const all = [own, ...others];
    const values = all.map((): number[] => []);
    // The compilers want to have seen it, for as long as it will be measured.
    for (const contender of all) {
      const until = performance.now() + time;
      do await contender.run();
      while (performance.now() < until);
    }
    for (let r = 0; r < rounds; r++) {
      for (let k = 0; k < all.length; k++) {
        // Every round begins with another one.
        const i = (k + r) % all.length;
        values[i].push(inUnit(one.unit, await round(tinybench, all[i], time / rounds)));
      }
    }
    const contenders = all.map((contender, i): ContenderResult => {
      const summary = {
        name: contender.name,
        value: median(values[i]),
        low: Math.min(...values[i]),
        high: Math.max(...values[i]),
      };
      return i === 0 ? summary : { ...summary, ratio: bootstrapMedian(values[0].map((v, r) => v / values[i][r])) };
    });
    const reference = contenders.find((c) => c.ratio !== undefined && c.name !== "against")?.name;
    return {
      name: one.name,
      summary: one.summary,
      unit: one.unit,
      ...(one.target === undefined ? {} : { target: one.target }),
      ...(reference === undefined ? {} : { reference }),
      contenders,
    };
  } finally {
    for (const contender of [own, ...others]) await contender.close();
  }
}
