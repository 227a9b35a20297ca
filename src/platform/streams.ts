/** Node's stream classes, found without importing them: the same build loads in a browser. */

import type { StreamsModule } from "../compat/net.ts";

interface BuiltinProcess {
  getBuiltinModule?: (id: string) => unknown;
}

/** `node:stream` and `node:events`; throws where there is no Node, saying what to do. */
export function nodeStreams(): StreamsModule {
  const process = (globalThis as { process?: BuiltinProcess }).process;
  const stream = process?.getBuiltinModule?.("node:stream") as StreamsModule | undefined;
  const events = process?.getBuiltinModule?.("node:events") as StreamsModule | undefined;
  if (stream === undefined || events === undefined) {
    throw new TypeError("there are no Node streams here: give createKernel({ streams: { Duplex, EventEmitter } })");
  }
  return { Duplex: stream.Duplex, EventEmitter: events.EventEmitter };
}
