/** Runs worlds, and makes a small report of one that fails. */

import { writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { hashText } from "./dice.ts";
import type { Tally } from "./world.ts";
import { World } from "./world.ts";

/** The seed of world `i` of a soak. */
export function worldSeed(soak: number, i: number): number {
  return hashText(`world ${i}`, soak);
}

function attempt(seed: number, off: ReadonlySet<string>): { world: World; error: Error | null; tally: Tally | null } {
  const world = new World(seed, off);
  try {
    return { world, error: null, tally: world.run() };
  } catch (error) {
    return { world, error: error as Error, tally: null };
  }
}

/**
 * A world. When it fails, the risks that the failure does not need are taken away one by one, the rest is captured into a
 * file, and the error says how to see it again.
 */
export function runWorld(seed: number): Tally {
  const first = attempt(seed, new Set());
  if (first.error === null) return first.tally as Tally;
  const off = new Set<string>();
  let { error, world } = first as { error: Error; world: World };
  for (const name of [...world.dice.taken.keys()].reverse()) {
    off.add(name);
    const again = attempt(seed, off);
    if (again.error === null || again.error.name !== error.name) off.delete(name);
    else ({ error, world } = again as { error: Error; world: World });
  }
  const last = new World(seed, off);
  const blocks: Uint8Array[] = [];
  const capture = last.kernel.capture(last.devs, (block) => blocks.push(block.slice()), { maxBytes: 50e6 });
  try {
    last.run();
  } catch (e) {
    error = e as Error;
  }
  try {
    capture.stop();
  } catch {
    // The machine may be in the middle of something.
  }
  const file = join(tmpdir(), `skbuff-soak-${seed}.pcapng`);
  writeFileSync(file, Buffer.concat(blocks));
  const risks = [...last.dice.taken].map(([name, value]) => `${name}=${value}`).join(" ");
  const report = new Error(
    `WORLD=${seed}: ${error.message}\nrisks that it needs: ${risks}\nfrom the start of the world's clock: ` +
      `${last.elapsed} s\ncapture: ${file}\nagain: WORLD=${seed} npx vitest run test/soak`,
  );
  report.stack = `${report.message}\n${error.stack ?? ""}`;
  throw report;
}

/** What a soak has seen. */
export class SoakReport {
  worlds = 0;
  connections = 0;
  complete = 0;
  cut = 0;
  frames = 0;
  seconds = 0;
  readonly errors: Map<string, number> = new Map();

  add(t: Tally): void {
    this.worlds++;
    this.connections += t.connections;
    this.complete += t.complete;
    this.cut += t.cut;
    this.frames += t.frames;
    this.seconds += t.seconds;
    for (const [name, n] of t.errors) this.errors.set(name, (this.errors.get(name) ?? 0) + n);
  }

  toString(): string {
    const errors = [...this.errors].map(([name, n]) => `${name} ${n}`).join(", ");
    return (
      `${this.connections} connections in ${this.worlds} worlds, ${this.frames} frames, ` +
      `${Math.round(this.seconds / 3600)} hours: ${this.complete} complete, ${this.cut} cut short by a program; ${errors}`
    );
  }
}
