#!/usr/bin/env node
/** The `skbuff` command. Exit codes: 0 done, 1 failed, 2 bad usage. */

import { UsageError } from "./usage.ts";

interface Command {
  readonly summary: string;
  load(): Promise<{ run(argv: string[]): Promise<number> }>;
}

const commands: Record<string, Command> = {
  demo: {
    summary: "send a file from host A to host B over two rtl819x NICs, and show what happened",
    load: () => import("./demo.ts"),
  },
  trace: {
    summary: "the call path of one send(), as the kernel's function_graph tracer would print it",
    load: () => import("./trace.ts"),
  },
  serve: {
    summary: "serve a folder by HTTP over this stack, on a TAP device",
    load: () => import("./serve.ts"),
  },
  packetdrill: {
    summary: "run packetdrill scripts against this stack, in virtual time",
    load: () => import("./packetdrill.ts"),
  },
  bench: {
    summary: "how fast this stack is here, against the machine's limit, its peers and other builds; the gate",
    load: () => import("./bench.ts"),
  },
  sim: {
    summary: "TCP flows over a bottleneck in virtual time: goodput, RTT, fairness, a plot, a capture",
    load: () => import("./sim.ts"),
  },
};

function usage(): string {
  const rows = Object.entries(commands).map(([name, c]) => `  ${name.padEnd(12)} ${c.summary}`);
  return `Usage: skbuff COMMAND [OPTIONS]\n\nCommands:\n${rows.join("\n")}\n\nskbuff COMMAND --help tells a command's options.\n`;
}

async function main(argv: string[]): Promise<number> {
  const name = argv[0];
  if (name === undefined || name === "--help" || name === "-h" || name === "help") {
    process.stdout.write(usage());
    return name === undefined ? 2 : 0;
  }
  if (name === "--version") {
    const { readFile } = await import("node:fs/promises");
    const text = await readFile(new URL("../../../package.json", import.meta.url), "utf8");
    process.stdout.write(`${(JSON.parse(text) as { version: string }).version}\n`);
    return 0;
  }
  const command = Object.hasOwn(commands, name) ? commands[name] : undefined;
  if (command === undefined) throw new UsageError(`there is no command "${name}"`);
  return await (await command.load()).run(argv.slice(1));
}

// `skbuff trace | head` is no error.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code === "EPIPE") process.exit(0);
  throw error;
});

main(process.argv.slice(2)).then(
  (code) => {
    process.exitCode = code;
  },
  (error: unknown) => {
    if (error instanceof UsageError) {
      process.stderr.write(`skbuff: ${error.message}\n(skbuff --help)\n`);
      process.exitCode = 2;
    } else {
      process.stderr.write(`skbuff: ${error instanceof Error ? error.message : String(error)}\n`);
      if (process.env["SKBUFF_DEBUG"] !== undefined) process.stderr.write(`${(error as Error).stack ?? ""}\n`);
      process.exitCode = 1;
    }
  },
);
