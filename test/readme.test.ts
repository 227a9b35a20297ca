/** The README's library example runs, and prints what it says. */

import * as fs from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, it, vi } from "vitest";

const root = fileURLToPath(new URL("..", import.meta.url));

it("the README's example prints hello", async () => {
  const text = fs.readFileSync(`${root}/README.md`, "utf8");
  const code = /```ts\n([\s\S]*?)```/.exec(text)?.[1];
  expect(code).toBeDefined();
  const file = `${root}/test/.readme-example-${process.pid}.ts`;
  const log = vi.spyOn(console, "log").mockImplementation(() => {});
  try {
    fs.writeFileSync(file, (code as string).replace('"skbuff"', '"../src/index.ts"'));
    await import(file);
    expect(log.mock.calls).toEqual([["hello"]]);
  } finally {
    log.mockRestore();
    fs.rmSync(file, { force: true });
  }
});
