/** `simulate`: a network in virtual time, on a machine of its own. */

import type { SimOptions, SimResult } from "../sim/simulate.ts";
import { runNetwork } from "../sim/simulate.ts";
import { createKernel } from "./create.ts";

/**
 * Runs a network in virtual time and tells what became of its flows. Rejects with a RangeError for options that make no
 * sense, and with the tool's error for a qdisc or sysctl that does not exist.
 *
 * @example
 * ```ts
 * const result = await simulate({
 *   duration: "10s",
 *   links: [{ between: ["a", "b"], rate: "10mbit", delay: "20ms", queue: "fq_codel", loss: "0.1%" }],
 *   flows: [{ from: "a", to: "b", congestion: "bbr" }, { from: "a", to: "b", congestion: "cubic" }],
 * });
 * for (const f of result.flows) console.log(f.name, f.goodput / 1e6, "Mbit/s", f.retransmits, "retransmitted");
 * ```
 */
export async function simulate(options: SimOptions): Promise<SimResult> {
  const seed = options.seed ?? 1;
  const kernel = await createKernel({ clock: "virtual", autoAdvance: false, seed });
  try {
    return runNetwork(kernel, options, seed);
  } finally {
    kernel.close();
  }
}
