// What the tracer costs while it is off: the library with its hooks (dist/) against the same sources without
// (build/plain/), both in one process, pair by pair, because two runs of one program differ by more than the hooks do.
//
//   node bench/trace.mjs [--pairs N] [--case NAME] [--mib N] [--json] [--plain DIR --dist DIR]
//
// Prints the median of time(with) / time(without) and its 95% interval by bootstrap. 1.00 = nothing.
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { build, buildDist } from "../scripts/build.mjs";
import { alternate, bootstrapMedian, CASES, loadStack, Pair } from "./transfers.mjs";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const { values } = parseArgs({
  options: {
    pairs: { type: "string", default: "120" },
    case: { type: "string", default: "rtl819x" },
    mib: { type: "string", default: "8" },
    json: { type: "boolean" },
    dist: { type: "string" },
    plain: { type: "string" },
  },
});
if (values.dist === undefined || values.plain === undefined) {
  build();
  buildDist({ target: "build/plain", trace: false });
}
const found = CASES.find((c) => c.name === values.case);
if (found === undefined) throw new Error(`--case: one of ${CASES.map((c) => c.name).join(", ")}`);
const bytes = Number(values.mib) << 20;
const withHooks = await Pair.create(await loadStack(values.dist ?? join(root, "dist")), found.link);
const without = await Pair.create(await loadStack(values.plain ?? join(root, "build/plain")), found.link);
// Both have to be compiled before anything is measured.
for (let i = 0; i < 30; i++) {
  withHooks.bulk(bytes);
  without.bulk(bytes);
}
const ratios = alternate(
  Number(values.pairs),
  () => without.bulk(bytes),
  () => withHooks.bulk(bytes),
);
withHooks.close();
without.close();
const { median, low, high } = bootstrapMedian(ratios);
if (values.json) {
  process.stdout.write(`${JSON.stringify({ case: found.name, pairs: ratios.length, ratio: median, low, high })}\n`);
} else {
  process.stdout.write(
    `${found.name}, ${ratios.length} pairs of ${values.mib} MiB: with hooks / without = ${median.toFixed(3)} ` +
      `(95%: ${low.toFixed(3)} .. ${high.toFixed(3)})\n`,
  );
}
