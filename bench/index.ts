/**
 * `skbuff/bench`: the benchmark runner and the throughput-regression gate, for this library's cases and for one's own.
 */

export type { BenchCase, Contender } from "./cases.ts";
export { CASES } from "./cases.ts";
export type { Counters, CountersByCase, Move } from "./counters.ts";
export { countersOf, formatMove, movedCounters } from "./counters.ts";
export type { GateCase, GateOptions, GateReport, GateVerdict } from "./gate.ts";
export { gate } from "./gate.ts";
export type { GateWorkload } from "./gate_cases.ts";
export { GATE_WORKLOADS, openGateCase } from "./gate_cases.ts";
export type { BiggerIsBetter } from "./report.ts";
export { customBiggerIsBetter, formatMarkdown, formatSvg, formatTable } from "./report.ts";
export type { CaseResult, ContenderResult, RunOptions } from "./runner.ts";
export { runCase } from "./runner.ts";
export type { Build, Sample } from "./stack.ts";
export { loadBuild } from "./stack.ts";
export type { Interval } from "./stats.ts";
export { bootstrapMedian, median } from "./stats.ts";
