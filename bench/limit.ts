/**
 * What the machine could do at best: the copies and sums of the byte budget alone, by the same WebAssembly functions over
 * the same memory, without a packet or a protocol between them.
 */

import type { Build, Sample } from "./stack.ts";
import { pattern } from "./stack.ts";

/** The largest page of the pool. */
const BLOCK = 64 * 1024;
/** Payload of a 1514-byte frame with timestamps. */
const MSS = 1448;

interface Budget {
  /** How the bytes get in and out: within the memory, or from and to plain arrays. */
  readonly lent: boolean;
  /** Whether each frame is summed once on each side. */
  readonly sums: boolean;
}

/** Moves blocks of 64 KiB as `budget` says. */
export async function openLimit(build: Build, budget: Budget): Promise<{ run(bytes: number): Sample; close(): void }> {
  const kernel = await build.createKernel({ memoryBytes: 32 << 20 });
  const { wasm, u8 } = kernel.core.machine;
  const [source, middle, target] = [wasm.allocPage(BLOCK), wasm.allocPage(BLOCK), wasm.allocPage(BLOCK)];
  if (source === 0 || middle === 0 || target === 0) throw new Error("the pool has no three pages");
  const data = pattern(BLOCK).subarray(0, BLOCK);
  const back = new Uint8Array(BLOCK);
  u8.set(data, source);
  const inside = u8.subarray(middle, middle + BLOCK);
  const sum = (): void => {
    for (let at = 0; at < BLOCK; at += MSS) wasm.csumPartial(middle + at, Math.min(MSS, BLOCK - at), 0);
  };
  return {
    run(bytes: number): Sample {
      const rounds = Math.ceil(bytes / BLOCK);
      const started = performance.now();
      for (let i = 0; i < rounds; i++) {
        if (budget.lent) wasm.memcpy(middle, source, BLOCK);
        else u8.set(data, middle);
        if (budget.sums) {
          sum();
          sum();
        }
        if (budget.lent) wasm.memcpy(target, middle, BLOCK);
        else back.set(inside);
      }
      const ms = performance.now() - started;
      const got = budget.lent ? u8.subarray(target, target + BLOCK) : back;
      if (Buffer.compare(got, data) !== 0) throw new Error("the bytes did not arrive");
      return { ms, amount: rounds * BLOCK };
    },
    close(): void {
      kernel.close();
    },
  };
}
