/** Random connections between this stack and the real kernel over a bad link of ours: every stream arrives as it was sent. */

import * as path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { missing, Namespace, root } from "./namespace.ts";

const lacks = missing();
const connections = process.env["SKBUFF_FULL"] === undefined ? 40 : 400;
const seed = Number(process.env["SEED"] ?? 1);

interface Totals {
  connections: number;
  complete: number;
  reset: number;
  failed: unknown[];
  sockstat: string;
}

describe.skipIf(lacks !== "")("a bad link to the Linux kernel", () => {
  let ns: Namespace;
  beforeAll(() => {
    ns = new Namespace();
  });
  afterAll(() => ns.close());

  it(`${connections} connections, SEED=${seed}`, async () => {
    const script = path.join(root, "test/interop/soak.mjs");
    const out = await ns.runAsync(process.execPath, script, "tap3", String(connections), String(seed));
    const totals = JSON.parse(out) as Totals;
    expect(totals.failed).toEqual([]);
    expect(totals.connections).toBe(connections);
    expect(totals.complete).toBeGreaterThan(connections / 2);
    expect(totals.sockstat).toMatch(/^TCP: inuse 1 orphan 0 /);
  }, 600_000);
});
