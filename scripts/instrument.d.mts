import type { Plugin } from "vite";

export interface InstrumentOptions {
  /** The TypeScript source the code was compiled from: line numbers and trace marks are taken from it. */
  original?: string;
  /** What the import of the tracer ends in: ".ts" (the default) or ".js". */
  extension?: ".ts" | ".js";
  /** Bodies without calls that are shorter than this are not traced (200); 0 = only accessors are left out. */
  leafLength?: number;
}
/** Rewrites one compiled module; undefined if there is nothing to trace in it. */
export function instrument(
  code: string,
  file: string,
  options?: InstrumentOptions,
): { code: string; map: ReturnType<import("magic-string").default["generateMap"]>; traced: string[] } | undefined;
/** Whether the functions of this source file ("src/net/ipv4/tcp.ts") are traced. */
export function shouldInstrument(file: string): boolean;
export function instrumentPlugin(): Plugin;
