// How much the stack moves on this machine, through system calls alone:
//
//   node bench/throughput.mjs [--json] [--dist DIR] [--only NAME,...] [--runs N] [--scale X]
//   node bench/throughput.mjs --against DIR      also the build in DIR, alternating in this process, and the ratio
//
// Absolute numbers are this machine's and this minute's. To compare two builds use --against.
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { bootstrapMedian, CASES, loadStack, median, Pair } from "./transfers.mjs";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const { values } = parseArgs({
  options: {
    json: { type: "boolean" },
    dist: { type: "string", default: join(root, "dist") },
    against: { type: "string" },
    only: { type: "string" },
    runs: { type: "string", default: "7" },
    scale: { type: "string", default: "1" },
  },
});
const runs = Number(values.runs);
const scale = Number(values.scale);
const only = values.only?.split(",");
const stack = await loadStack(values.dist);
const other = values.against === undefined ? null : await loadStack(values.against);
const results = [];

for (const { name, unit, link, run } of CASES) {
  if (only !== undefined && !only.includes(name)) continue;
  const pair = await Pair.create(stack, link);
  const base = other === null ? null : await Pair.create(other, link);
  // The compilers want to have seen it.
  for (let i = 0; i < 2; i++) {
    run(pair, scale);
    if (base !== null) run(base, scale);
  }
  const own = [];
  const ratios = [];
  for (let i = 0; i < runs; i++) {
    if (base === null) {
      own.push(run(pair, scale));
      continue;
    }
    const before = i % 2 === 0 ? run(base, scale) : 0;
    const value = run(pair, scale);
    own.push(value);
    ratios.push(value / (before !== 0 ? before : run(base, scale)));
  }
  pair.close();
  base?.close();
  const result = { name, unit, value: median(own), range: `${Math.min(...own)} - ${Math.max(...own)}` };
  if (base !== null) result.ratio = bootstrapMedian(ratios);
  results.push(result);
  if (!values.json) print(result, own);
}
if (values.json) process.stdout.write(`${JSON.stringify(results, null, 2)}\n`);

function print({ name, unit, value, ratio }, own) {
  const number = (v) => (v < 1000 ? v.toFixed(2) : Math.round(v).toLocaleString("en"));
  let line = `${name.padEnd(14)} ${number(value).padStart(12)} ${unit.padEnd(14)}`;
  line += ` ${number(Math.min(...own))} .. ${number(Math.max(...own))}`;
  if (ratio !== undefined) {
    line += `   x ${ratio.median.toFixed(3)} (95%: ${ratio.low.toFixed(3)} .. ${ratio.high.toFixed(3)})`;
  }
  process.stdout.write(`${line}\n`);
}
