/** `skbuff bench`: how fast this stack is here, and whether a change has made it slower. */

import { existsSync, readFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { buildOf } from "../../bench/build_ref.ts";
import { CASES } from "../../bench/cases.ts";
import type { CountersByCase, Move } from "../../bench/counters.ts";
import { countersOf, formatMove, movedCounters } from "../../bench/counters.ts";
import type { GateReport, GateVerdict } from "../../bench/gate.ts";
import { gate } from "../../bench/gate.ts";
import { GATE_WORKLOADS, openGateCase } from "../../bench/gate_cases.ts";
import { customBiggerIsBetter, formatMarkdown, formatSvg, formatTable } from "../../bench/report.ts";
import type { CaseResult } from "../../bench/runner.ts";
import { runCase } from "../../bench/runner.ts";
import { loadBuild } from "../../bench/stack.ts";
import { parseOptions, UsageError } from "./usage.ts";

/** dist/, which this file is two folders below. */
const DIST: string = join(dirname(fileURLToPath(import.meta.url)), "../..");

const HELP = `Usage: skbuff bench [OPTIONS] [CASE...]
       skbuff bench gate --base DIR|REF [OPTIONS] [CASE...]

Moves bytes between two hosts of one process, and compares with what the bare copies and sums cost on this machine and,
with --peers, with others, turn by turn. Every case verifies the bytes that it moved.

Cases:
${CASES.map((c) => `  ${c.name.padEnd(16)} ${c.summary}`).join("\n")}

Options:
  --peers            also run the peers (Node's net and dgram)
  --against DIR|REF  also run another build of this library, and print the ratio to it
  --time S           seconds of measuring a contender (2)
  --scale X          multiplies the work of a run (1)
  --json FILE        write the results ("-": to the standard output, instead of the table)
  --bigger FILE      write them as customBiggerIsBetter
  --markdown FILE    write them as a table in Markdown
  --svg FILE         write a bar chart
  -h, --help

The gate first counts what each transfer costs (copies, sums, calls, buffers, timers: exact, in virtual time) in both builds
and fails where a counter has risen that the head's bench/counters.json does not say. Then it runs the two builds in one
process, in turn, and fails where the whole 95% interval of the median ratio of their times lies beyond the limit, twice
in a row. Its cases: ${GATE_WORKLOADS.map((w) => w.name).join(", ")}.
  --base DIR|REF     what to compare with: a folder with a build, or a git reference, which is built
  --head DIR         what is judged (this build)
  --limit PERCENT    slowdown that is still tolerated (3)
  --pairs N          pairs a case (300)
  --json FILE, --markdown FILE

Exit code: 0 done (gate: passed), 1 failed, 2 bad usage.
`;

function positive(text: string | undefined, fallback: number, what: string): number {
  if (text === undefined) return fallback;
  const value = Number(text);
  if (!(value > 0)) throw new UsageError(`${what}: "${text}" is no number above 0`);
  return value;
}

function chosen<T extends { name: string }>(all: readonly T[], names: readonly string[]): readonly T[] {
  for (const name of names)
    if (!all.some((one) => one.name === name)) throw new UsageError(`there is no case "${name}"`);
  return names.length === 0 ? all : all.filter((one) => names.includes(one.name));
}

async function emit(file: string | undefined, text: string): Promise<void> {
  if (file === undefined) return;
  if (file === "-") process.stdout.write(text);
  else await writeFile(file, text);
}

type Values = Record<string, string | undefined>;

async function bench(values: Values, names: readonly string[], peers: boolean): Promise<number> {
  const cases = chosen(CASES, names);
  const time = positive(values["time"], 2, "--time") * 1000;
  const scale = positive(values["scale"], 1, "--scale");
  const build = await loadBuild(DIST);
  const other = values["against"] === undefined ? null : buildOf(values["against"], dirname(DIST));
  const results: CaseResult[] = [];
  try {
    const against = other === null ? undefined : await loadBuild(other.dir);
    for (const one of cases) {
      if (process.stderr.isTTY) process.stderr.write(`${one.name} ...\r`);
      results.push(await runCase(one, build, { time, scale, peers, ...(against === undefined ? {} : { against }) }));
    }
  } finally {
    other?.dispose();
  }
  if (values["json"] !== "-") process.stdout.write(formatTable(results));
  await emit(values["json"], `${JSON.stringify(results, null, 2)}\n`);
  await emit(values["bigger"], `${JSON.stringify(customBiggerIsBetter(results), null, 2)}\n`);
  await emit(values["markdown"], formatMarkdown(results));
  await emit(values["svg"], formatSvg(results));
  return 0;
}

const percent = (ratio: number): string => `${ratio >= 1 ? "+" : ""}${((ratio - 1) * 100).toFixed(1)}%`;

function formatVerdict(v: GateVerdict): string {
  const { median, low, high } = v.ratio;
  return (
    `${v.passed ? "ok    " : "SLOWER"} ${v.name.padEnd(16)} time ${percent(median).padStart(7)} ` +
    `(95%: ${percent(low)} .. ${percent(high)})  ${v.baseMs.toFixed(2)} -> ${v.headMs.toFixed(2)} ms` +
    `${v.attempts > 1 ? `, measured ${v.attempts} times` : ""}\n`
  );
}

/** The first layer: what has moved, and whether that is known. */
interface CounterReport {
  readonly passed: boolean;
  /** Base to head. */
  readonly moved: readonly Move[];
  /** Whether the head's committed counters are those that were counted. */
  readonly acknowledged: boolean;
}

function judgeCounters(base: CountersByCase, head: CountersByCase, committed: string): CounterReport {
  const moved = movedCounters(base, head);
  const acknowledged =
    existsSync(committed) &&
    movedCounters(JSON.parse(readFileSync(committed, "utf8")) as CountersByCase, head).length === 0;
  const risen = moved.some(({ was, is }) => was !== undefined && is !== undefined && is > was);
  return { passed: acknowledged || !risen, moved, acknowledged };
}

function formatCounters({ passed, moved, acknowledged }: CounterReport): string {
  const state = passed ? "ok    " : "MOVED ";
  const known = moved.length > 0 && acknowledged ? ", as bench/counters.json says" : "";
  return `${state} counters: ${moved.length === 0 ? "none has" : `${moved.length} have`} moved${known}\n${moved
    .map((move) => `         ${formatMove(move)}\n`)
    .join("")}`;
}

function gateMarkdown(report: GateReport & { counters: CounterReport }): string {
  const rows = report.verdicts.map(
    (v) =>
      `| ${v.passed ? "✅" : "❌"} | \`${v.name}\` | ${percent(v.ratio.median)} | ` +
      `${percent(v.ratio.low)} .. ${percent(v.ratio.high)} | ${v.baseMs.toFixed(2)} | ${v.headMs.toFixed(2)} |`,
  );
  return (
    `### Throughput gate: ${report.passed ? "passed" : "**failed**"} (limit ${percent(1 + report.limit)})\n\n` +
    `| | case | time | 95% | base ms | head ms |\n|---|---|---:|---|---:|---:|\n${rows.join("\n")}\n\n` +
    `\`\`\`\n${formatCounters(report.counters)}\`\`\`\n`
  );
}

async function runGate(values: Values, names: readonly string[]): Promise<number> {
  if (values["base"] === undefined) throw new UsageError("gate: --base DIR|REF is missing");
  const workloads = chosen(GATE_WORKLOADS, names);
  const limit = positive(values["limit"], 3, "--limit") / 100;
  const pairs = positive(values["pairs"], 300, "--pairs");
  const head = await loadBuild(values["head"] ?? DIST);
  const other = buildOf(values["base"], dirname(DIST));
  const verdicts: GateVerdict[] = [];
  const quiet = values["json"] === "-";
  let counters: CounterReport;
  try {
    const base = await loadBuild(other.dir);
    const committed = join(dirname(head.dir), "bench/counters.json");
    counters = judgeCounters(await countersOf(base), await countersOf(head), committed);
    if (!quiet) process.stdout.write(formatCounters(counters));
    for (const workload of workloads) {
      const { one, close } = await openGateCase(workload, base, head);
      try {
        const [verdict] = gate([one], { limit, pairs }).verdicts;
        verdicts.push(verdict);
        if (!quiet) process.stdout.write(formatVerdict(verdict));
      } finally {
        close();
      }
    }
  } finally {
    other.dispose();
  }
  const report = { passed: counters.passed && verdicts.every((v) => v.passed), limit, verdicts, counters };
  await emit(values["json"], `${JSON.stringify(report, null, 2)}\n`);
  await emit(values["markdown"], gateMarkdown(report));
  if (!quiet) process.stdout.write(report.passed ? "gate: passed\n" : "gate: FAILED\n");
  return report.passed ? 0 : 1;
}

export async function run(argv: string[]): Promise<number> {
  const string = { type: "string" } as const;
  const parsed = parseOptions(
    argv,
    {
      peers: { type: "boolean" },
      against: string,
      time: string,
      scale: string,
      json: string,
      bigger: string,
      markdown: string,
      svg: string,
      base: string,
      head: string,
      limit: string,
      pairs: string,
    },
    HELP,
  );
  if (parsed === null) return 0;
  const { positionals } = parsed;
  const { peers, ...rest } = parsed.values;
  const values = rest as Values;
  if (positionals[0] === "gate") return await runGate(values, positionals.slice(1));
  return await bench(values, positionals, peers === true);
}
