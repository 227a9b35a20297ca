/** What the gate compares between two builds: the bare kernels, and the transfers that the bench shows. */

import type { LinkOptions } from "../src/index.ts";
import type { GateCase } from "./gate.ts";
import type { Build, Sample } from "./stack.ts";
import { Pair, pattern } from "./stack.ts";

/** A case that can be opened in two builds. A build that lacks what it needs throws. */
export interface GateWorkload {
  readonly name: string;
  open(build: Build): Promise<{ run(): number; close(): void }>;
}

/** Bytes of a kernel's run: within the first-level cache, so that the arithmetic counts and not the memory. */
const KERNEL_BYTES = 16 * 1024;
const KERNEL_ROUNDS = 1000;

function kernelCase(name: string, call: string, step: number): GateWorkload {
  return {
    name,
    async open(build) {
      const kernel = await build.createKernel({ memoryBytes: 32 << 20 });
      const { wasm, u8 } = kernel.core.machine;
      const page = wasm.allocPage(KERNEL_BYTES);
      const other = wasm.allocPage(KERNEL_BYTES);
      u8.set(pattern(KERNEL_BYTES).subarray(0, KERNEL_BYTES), page);
      const fn = (wasm as unknown as Record<string, unknown>)[call];
      if (typeof fn !== "function") throw new Error(`the build has no ${call}`);
      const run: (at: number, n: number) => void =
        call === "csumPartial"
          ? (at, n) => wasm.csumPartial(page + at, n, 0)
          : (at, n) => wasm.csumAndCopy(other + at, page + at, n, 0);
      return {
        run(): number {
          const started = performance.now();
          for (let i = 0; i < KERNEL_ROUNDS; i++) {
            for (let at = 0; at < KERNEL_BYTES; at += step) run(at, Math.min(step, KERNEL_BYTES - at));
          }
          return performance.now() - started;
        },
        close: () => kernel.close(),
      };
    },
  };
}

function pairCase(name: string, link: LinkOptions, run: (pair: Pair) => Sample): GateWorkload {
  return {
    name,
    async open(build) {
      const pair = await Pair.create(build, link);
      return { run: () => run(pair).ms, close: () => pair.close() };
    },
  };
}

const MIB = 1 << 20;

export const GATE_WORKLOADS: readonly GateWorkload[] = [
  kernelCase("csum-16k", "csumPartial", KERNEL_BYTES),
  kernelCase("csum-1448", "csumPartial", 1448),
  kernelCase("copy-csum-1448", "csumAndCopy", 1448),
  pairCase("veth", { driver: "veth" }, (pair) => pair.bulk(8 * MIB)),
  pairCase("frames", { driver: "veth", offload: false }, (pair) => pair.bulk(2 * MIB)),
  pairCase("rtl819x", { driver: "rtl819x" }, (pair) => pair.bulk(MIB)),
  pairCase("udp64", { driver: "veth" }, (pair) => pair.datagrams(2_000)),
  pairCase("pingpong", { driver: "veth" }, (pair) => pair.pingPong(300)),
  pairCase("connect", { driver: "veth" }, (pair) => pair.connections(40)),
];

/** Opens `workload` in both builds. */
export async function openGateCase(
  workload: GateWorkload,
  base: Build,
  head: Build,
): Promise<{ one: GateCase; close(): void }> {
  const b = await workload.open(base);
  const h = await workload.open(head);
  return {
    one: { name: workload.name, base: () => b.run(), head: () => h.run() },
    close(): void {
      b.close();
      h.close();
    },
  };
}
