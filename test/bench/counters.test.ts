/** The counted byte budget: the same in every run, and what the gate says of a counter that moves. */

import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { countersOf, formatMove, movedCounters } from "../../bench/counters.ts";
import { loadBuild } from "../../bench/stack.ts";

const root = join(dirname(fileURLToPath(import.meta.url)), "../..");

test("one build counts the same twice, and the byte budget holds", async () => {
  const build = await loadBuild(join(root, "dist"));
  const first = await countersOf(build);
  expect(movedCounters(first, await countersOf(build))).toEqual([]);
  const MIB = 1 << 20;
  // One copy in, one copy out, never summed; over frames summed once on each side, headers included.
  expect(first["veth"]).toMatchObject({ "bytes copied": 2 * MIB, "bytes summed": 0 });
  expect(first["frames"]["bytes copied"]).toBe(2 * MIB);
  expect(first["frames"]["bytes summed"] / (2 * MIB)).toBeLessThan(1.03);
  expect(first["frames-lent"]["bytes copied"]).toBe(0);
}, 60_000);

test.each([
  [{ a: { x: 1 } }, { a: { x: 1 } }, []],
  [{ a: { x: 2 } }, { a: { x: 3 } }, ["a: x: was 2, is 3 (x 1.500)"]],
  [{ a: { x: 2, y: 0 } }, { a: { y: 4 } }, ["a: x: was 2, is not counted", "a: y: was 0, is 4"]],
  [{}, { b: { z: 5 } }, ["b: z: was not counted, is 5"]],
])("from %j to %j", (was, is, lines) => {
  expect(movedCounters(was, is).map(formatMove)).toEqual(lines);
});
