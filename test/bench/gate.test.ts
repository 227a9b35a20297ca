/**
 * The gate judged: the same build passes, a slower one fails. Twenty times each, on whatever machine this runs, because a
 * gate that cries wolf, or sleeps, is worth nothing.
 */

import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, test } from "vitest";
import { gate } from "../../bench/gate.ts";
import { GATE_WORKLOADS, openGateCase } from "../../bench/gate_cases.ts";
import type { Build } from "../../bench/stack.ts";
import { loadBuild } from "../../bench/stack.ts";
import { bootstrapMedian, median } from "../../bench/stats.ts";
import { slowChecksum } from "./slow_checksum.ts";

const root = join(dirname(fileURLToPath(import.meta.url)), "../..");
const RUNS = 20;

describe("statistics", () => {
  test.each([
    [[3], 3],
    [[1, 2], 1.5],
    [[5, 1, 3], 3],
    [[4, 1, 3, 2], 2.5],
    [[-1, -2, -10], -2],
  ])("the median of %j is %d", (values, expected) => {
    expect(median(values)).toBe(expected);
  });

  test("the interval holds the median, is the same each time, and narrows with more samples", () => {
    const values = Array.from({ length: 400 }, (_, i) => 10 + Math.sin(i * 12.9898) * 3);
    const all = bootstrapMedian(values);
    const few = bootstrapMedian(values.slice(0, 40));
    expect(all.low).toBeLessThanOrEqual(all.median);
    expect(all.high).toBeGreaterThanOrEqual(all.median);
    expect(bootstrapMedian(values)).toEqual(all);
    expect(all.high - all.low).toBeLessThan(few.high - few.low);
  });
});

describe("judgement", () => {
  /** Durations that are made up: a noisy machine, and a head that is `slower` times as slow. */
  const fake = (slower: number, seed: number): { name: string; base(): number; head(): number } => {
    let state = seed;
    const noise = (): number => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return 1 + (state / 4294967296) ** 4;
    };
    return { name: "fake", base: () => noise(), head: () => noise() * slower };
  };

  test.each([
    ["the same", 1, true],
    ["1% slower", 1.01, true],
    ["2.5% faster", 0.975, true],
    ["8% slower", 1.08, false],
    ["twice as slow", 2, false],
  ])("%s", (_, slower, passed) => {
    const report = gate([fake(slower, 42)], { warmup: 1 });
    expect(report.passed).toBe(passed);
    expect(report.verdicts[0].attempts).toBe(passed ? 1 : 2);
    expect(report.verdicts[0].ratio.median).toBeCloseTo(slower, 1);
  });

  test("what fails once and passes when measured anew has passed", () => {
    let calls = 0;
    // Warm-up, then 100 pairs in which the head is slow, then none.
    const report = gate([{ name: "once", base: () => 1, head: () => (calls++ < 150 ? 2 : 1) }], {
      pairs: 100,
      warmup: 0.001,
    });
    expect(report.verdicts[0]).toMatchObject({ passed: true, attempts: 2 });
  });

  test.each([
    [{ pairs: 3 }, /too few/],
    [{ limit: 0 }, /limit/],
  ])("%j is refused", (options, message) => {
    expect(() => gate([fake(1, 1)], options)).toThrow(message);
  });

  test("a run that takes no time is refused", () => {
    expect(() => gate([{ name: "none", base: () => 0, head: () => 0 }], { warmup: 0.001 })).toThrow(/longer/);
  });
});

describe("builds", () => {
  let build: Build;
  const workload = GATE_WORKLOADS.find((w) => w.name === "csum-16k");
  if (workload === undefined) throw new Error("csum-16k is gone");

  beforeAll(async () => {
    build = await loadBuild(join(root, "dist"));
  });

  const withWasm = (wasm: Uint8Array): Build => ({
    dir: "slow",
    createKernel: (options) => build.createKernel({ ...options, wasm }),
  });

  async function failures(head: Build): Promise<number> {
    const { one, close } = await openGateCase(workload as (typeof GATE_WORKLOADS)[number], build, head);
    let failed = 0;
    for (let i = 0; i < RUNS; i++) if (!gate([one], { warmup: i === 0 ? 500 : 20 }).passed) failed++;
    close();
    return failed;
  }

  test(`the same build passes ${RUNS} times of ${RUNS}`, async () => {
    expect(await failures(build)).toBe(0);
  }, 120_000);

  test(`a checksum that is 10% slower fails ${RUNS} times of ${RUNS}`, async () => {
    expect(await failures(withWasm(slowChecksum(10)))).toBe(RUNS);
  }, 120_000);

  test(`a checksum that is 5% slower fails at least 18 times of ${RUNS}`, async () => {
    expect(await failures(withWasm(slowChecksum(5)))).toBeGreaterThanOrEqual(18);
  }, 120_000);
});
