/** Classic ECN (RFC 3168) with the real kernel at the other end, in both directions, through a router that marks. */

import * as path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { missing, Namespace, root } from "./namespace.ts";

const lacks = missing("sysctl");

interface Result {
  whole: boolean;
  kernel: { deliveredCe: number; inCe: number; timeouts: number };
  own: { deliveredCe: number; timeouts: number };
}

describe.skipIf(lacks !== "")("the Linux kernel and this stack mark, echo and reduce", () => {
  let ns: Namespace;
  beforeAll(() => {
    ns = new Namespace();
  });
  afterAll(() => ns.close());

  it.each(["cubic", "dctcp"])(
    "%s",
    async (cc) => {
      const out = await ns.runAsync(process.execPath, path.join(root, "test/interop/ecn.mjs"), "tap1", cc);
      const r = JSON.parse(out) as Result;
      expect(r.whole).toBe(true);
      // Marks have reached the kernel, it has echoed them, and they were counted here.
      expect(r.kernel.inCe).toBeGreaterThan(0);
      expect(r.own.deliveredCe).toBeGreaterThan(0);
      // And the other way round.
      expect(r.kernel.deliveredCe).toBeGreaterThan(0);
      // Data is never lost. What is not ECN-capable is dropped instead: an end whose ACK or FIN it was may time out.
      expect(r.kernel.timeouts).toBeLessThan(4);
      expect(r.own.timeouts).toBeLessThan(4);
    },
    120_000,
  );
});
