/** The kernel log. Lines go to `kernel.onPrintk`; what is logged from the packet path is rate limited. */

import { kernel } from "./kernel.ts";

export const KERN_EMERG = 0;
export const KERN_ALERT = 1;
export const KERN_CRIT = 2;
export const KERN_ERR = 3;
export const KERN_WARNING = 4;
export const KERN_NOTICE = 5;
export const KERN_INFO = 6;
export const KERN_DEBUG = 7;

/** Writes a line to the log. */
export function printk(level: number, text: string): void {
  if (kernel.onPrintk !== null) kernel.onPrintk(level, text);
}

/** DEFAULT_RATELIMIT_INTERVAL and _BURST: 10 lines in 5 seconds. */
const INTERVAL = 5_000_000;
const BURST = 10;
let begin = -Infinity;
let printed = 0;

/** net_ratelimit: whether one more line may be logged now. */
export function netRatelimit(): boolean {
  if (kernel.onPrintk === null) return false;
  if (kernel.now < begin || kernel.now >= begin + INTERVAL) {
    begin = kernel.now;
    printed = 0;
  }
  return printed++ < BURST;
}
