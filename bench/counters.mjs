// What each transfer costs, counted (counters.ts), against what it did when somebody last looked.
//
//   node bench/counters.mjs            print the counters
//   node bench/counters.mjs --check    compare with bench/counters.json; exit 1 and name what has moved
//   node bench/counters.mjs --update   write bench/counters.json
//
// A counter that moves is no mistake: look whether it moved for the reason that you think, run --update, and commit the file
// with the change. Needs a build (npm run build).
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { countersOf, formatMove, movedCounters } from "../dist/bench/counters.js";
import { loadBuild } from "../dist/bench/index.js";

const FILE = new URL("counters.json", import.meta.url);
const now = await countersOf(await loadBuild(fileURLToPath(new URL("../dist", import.meta.url))));
const text = `${JSON.stringify(now, null, 2)}\n`;
const option = process.argv[2];
if (option === "--update") writeFileSync(FILE, text);
else if (option !== "--check") process.stdout.write(text);
else {
  const moves = movedCounters(JSON.parse(readFileSync(FILE, "utf8")), now);
  for (const move of moves) console.log(formatMove(move));
  if (moves.length > 0) {
    console.log(
      `${moves.length} counters have moved. If the change is meant to move them: node bench/counters.mjs --update`,
    );
    process.exitCode = 1;
  } else console.log("bench counters: as in bench/counters.json");
}
