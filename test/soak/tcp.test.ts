/**
 * Hostile links: thousands of random connections in virtual time. Whatever a link, the options and the programs do, every
 * stream is what was sent, every connection ends, and nothing is left of it.
 *
 * `SEED=…` begins another soak, `WORLD=…` runs one world of it, `SKBUFF_FULL=1` runs ten thousand connections.
 */

import { expect, test } from "vitest";
import { runWorld, SoakReport, worldSeed } from "./soak.ts";

const full = process.env["SKBUFF_FULL"] !== undefined;
const seed = Number(process.env["SEED"] ?? (full ? Math.floor(Math.random() * 2 ** 32) : 1));
const connections = Number(process.env["CONNECTIONS"] ?? (full ? 10_000 : 200));

if (process.env["WORLD"] !== undefined) {
  test("one world", () => {
    runWorld(Number(process.env["WORLD"]));
  }, 600_000);
} else {
  test(`${connections} random connections, SEED=${seed}`, () => {
    const report = new SoakReport();
    for (let i = 0; report.connections < connections; i++) report.add(runWorld(worldSeed(seed, i)));
    process.stdout.write(`soak SEED=${seed}: ${report}\n`);
    // Most of them come through: a soak in which nothing works would find nothing.
    expect(report.complete).toBeGreaterThan(report.connections * 0.3);
  }, 3_600_000);
}
