/** This stack as the client: node:http and ping against servers of the real kernel. */

import * as fs from "node:fs";
import * as path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { makeFile, missing, Namespace, root } from "./namespace.ts";

const lacks = missing("python3", "ping");

describe.skipIf(lacks !== "")("a client on this stack, a server on the Linux kernel", () => {
  let ns: Namespace;
  let sum: string;

  beforeAll(() => {
    ns = new Namespace();
    fs.mkdirSync(path.join(ns.dir, "www"));
    sum = makeFile(path.join(ns.dir, "www/file"), 30 << 20);
  }, 60_000);
  afterAll(() => ns.close());

  it("downloads by node:http and pings with 64 to 9000 bytes", async () => {
    // The device comes up when the client opens it; the server listens on every address before that.
    const server = await ns.start(
      /Serving/,
      "python3",
      "-u",
      "-m",
      "http.server",
      "--directory",
      path.join(ns.dir, "www"),
      "8000",
    );
    const out = await ns.runAsync(
      process.execPath,
      path.join(root, "test/interop/client.mjs"),
      "tap1",
      "10.9.1.2/24",
      "10.9.1.1",
      "8000",
    );
    const result = JSON.parse(out) as { sha256: string; pings: Record<string, number> };
    expect(result.sha256).toBe(sum);
    expect(result.pings).toEqual({ "56": 2, "1472": 2, "1473": 2, "4000": 2, "9000": 2 });
    await ns.stop(server);
  }, 120_000);
});
