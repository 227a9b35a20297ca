/**
 * The trace as a kernel's user holds it: `kernel.trace`. It tells the tracer what it cannot know by itself: the clock,
 * and the way from an skb to what it points to.
 */

import { ftrace, type Trace, type TraceOptions } from "./kernel/ftrace.ts";
import type { Kernel } from "./kernel/kernel.ts";
import { skbId } from "./mm/skb.ts";
import { skbDev, skbDst } from "./net/core/skbuff.ts";
import { inetProtos } from "./net/ipv4/protocol.ts";
import { netFamilies } from "./net/socket.ts";

/**
 * Records which kernel functions call which, as the kernel's function_graph tracer does, with the function pointers
 * that were called through and who had set them. There is one tracer a process: it sees all kernels of the process,
 * and starting it anew throws away what it had.
 *
 * @example
 * ```ts
 * kernel.trace.start({ skb: "next" });
 * socket.write("hello");
 * console.log(kernel.trace.stop().toText());
 * ```
 */
export class KernelTrace {
  readonly #kernel: Kernel;

  constructor(kernel: Kernel) {
    this.#kernel = kernel;
  }

  /** Begins to record what `options` say; everything, if they say nothing. */
  start(options: TraceOptions = {}): void {
    const { clock } = this.#kernel;
    ftrace.start(options, { clock: () => clock.now(), skbId, skbDst, skbDev, netFamilies, inetProtos });
  }

  /** True while something may still be recorded; with `skb: "next"` it turns false when that call has returned. */
  get recording(): boolean {
    return ftrace.recording;
  }

  /** Ends recording and hands out the trace. */
  stop(): Trace {
    return ftrace.stop();
  }
}
