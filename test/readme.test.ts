/** The README's library examples run, and print what it says. */

import * as fs from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, it, vi } from "vitest";

const root = fileURLToPath(new URL("..", import.meta.url));
const text = fs.readFileSync(`${root}/README.md`, "utf8");
const examples = [...text.matchAll(/```ts\n([\s\S]*?)```/g)].map((m) => m[1] as string);

/** What the `n`-th example logs. */
async function logged(n: number): Promise<unknown[][]> {
  const code = examples[n];
  expect(code).toBeDefined();
  const file = `${root}/test/.readme-example-${process.pid}-${n}.ts`;
  const log = vi.spyOn(console, "log").mockImplementation(() => {});
  try {
    fs.writeFileSync(file, (code as string).replace('"skbuff"', '"../src/index.ts"'));
    await import(file);
    return log.mock.calls;
  } finally {
    log.mockRestore();
    fs.rmSync(file, { force: true });
  }
}

it("the README's first example prints hello", async () => {
  expect(await logged(0)).toEqual([["hello"]]);
});

it("the README's simulation tells of two flows and their fairness", async () => {
  const lines = await logged(1);
  expect(lines.map((line) => line[0])).toEqual(["s1 > d cubic", "s2 > d bbr", "fairness"]);
  expect(lines[2]?.[1]).toBeGreaterThan(0.9);
}, 60_000);

it("the README's lent buffers carry what was put into them", async () => {
  expect(await logged(2)).toEqual([[1000, 7]]);
  expect(examples.length).toBe(3);
});
