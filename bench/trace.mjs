// What the tracer costs while it is off: the library with its hooks (dist/) against the same sources without
// (build/plain/), both in one process, pair by pair, because two runs of one program differ by more than the hooks do.
//
//   node bench/trace.mjs [--pairs N] [--case NAME] [--json] [--plain DIR --dist DIR]
//
// Prints the median of time(with) / time(without) and its 95% interval by bootstrap. 1.00 = nothing.
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { build, buildDist } from "../scripts/build.mjs";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const { values } = parseArgs({
  options: {
    pairs: { type: "string", default: "120" },
    case: { type: "string", default: "rtl819x" },
    json: { type: "boolean" },
    dist: { type: "string" },
    plain: { type: "string" },
  },
});
if (values.dist === undefined || values.plain === undefined) {
  build();
  buildDist({ target: "build/plain", trace: false });
}
const { gate, GATE_WORKLOADS, loadBuild, openGateCase } = await import("../dist/bench/index.js");
const workload = GATE_WORKLOADS.find((w) => w.name === values.case);
if (workload === undefined) throw new Error(`--case: one of ${GATE_WORKLOADS.map((w) => w.name).join(", ")}`);
const withHooks = await loadBuild(values.dist ?? join(root, "dist"));
const without = await loadBuild(values.plain ?? join(root, "build/plain"));
const { one, close } = await openGateCase(workload, without, withHooks);
const [{ ratio, pairs }] = gate([one], { pairs: Number(values.pairs), warmup: 3000, retries: 0 }).verdicts;
close();
if (values.json) {
  process.stdout.write(`${JSON.stringify({ case: values.case, pairs, ...ratio })}\n`);
} else {
  process.stdout.write(
    `${values.case}, ${pairs} pairs: with hooks / without = ${ratio.median.toFixed(3)} ` +
      `(95%: ${ratio.low.toFixed(3)} .. ${ratio.high.toFixed(3)})\n`,
  );
}
