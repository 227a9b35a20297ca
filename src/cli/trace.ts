/** `skbuff trace`: one send() with everything it calls, and every function pointer that is followed on the way. */

import { createKernel } from "../init/create.ts";
import type { TraceOptions } from "../kernel/ftrace.ts";
import { SocketError } from "../net/socket_error.ts";
import { EAGAIN, EINPROGRESS } from "../uapi/errno.ts";
import { AF_INET, SOCK_DGRAM, SOCK_NONBLOCK, SOCK_STREAM } from "../uapi/socket.ts";
import { parseOptions, UsageError } from "./usage.ts";

const HELP = `Usage: skbuff trace [OPTIONS]

Traces one send() between two hosts, with our source file beside each function of the kernel, and at every
indirect call which pointer was followed, to what, and who had set it.

  --driver NAME     rtl819x (default), veth or loopback
  --proto NAME      tcp (default) or udp
  --bytes N         how many bytes to send (default 4000)
  --when WHEN       warm (default): the neighbour is known; cold: ARP has to ask first
  --call CALL       send (default) or socket: trace socket() instead, which decides the ops
  --follow          go on with the packet into the other host's receive path
  --function NAME   show only this function (the kernel's name or ours) and what it calls; may be a,b,c
  --drop REASON     show only calls in which an skb was dropped for this reason ("any" for all)
  --json            JSON instead of text
`;

export async function run(argv: string[]): Promise<number> {
  const parsed = parseOptions(
    argv,
    {
      driver: { type: "string" },
      proto: { type: "string" },
      bytes: { type: "string" },
      when: { type: "string" },
      call: { type: "string" },
      follow: { type: "boolean" },
      function: { type: "string" },
      drop: { type: "string" },
      json: { type: "boolean" },
    },
    HELP,
  );
  if (parsed === null) return 0;
  const v = parsed.values;
  if (parsed.positionals.length > 0) throw new UsageError(`unexpected "${parsed.positionals[0]}"`);
  const driver = oneOf("--driver", v["driver"], ["rtl819x", "veth", "loopback"]);
  const proto = oneOf("--proto", v["proto"], ["tcp", "udp"]);
  const when = oneOf("--when", v["when"], ["warm", "cold"]);
  const call = oneOf("--call", v["call"], ["send", "socket"]);
  const bytes = Number(v["bytes"] ?? "4000");
  if (!Number.isInteger(bytes) || bytes < 1 || bytes > 1 << 20) throw new UsageError("--bytes: 1 to 1048576");

  const kernel = await createKernel({ clock: "virtual", autoAdvance: false, seed: 1 });
  const a = kernel.netns("A");
  const b = driver === "loopback" ? a : kernel.netns("B");
  if (driver !== "loopback") {
    kernel.link(a, b, { driver: driver as "rtl819x" | "veth", subnet: "10.0.0.0/24" });
  }
  const type = proto === "tcp" ? SOCK_STREAM : SOCK_DGRAM;
  const addr = driver === "loopback" ? 0x7f000001 : b.primaryAddress();

  const options: TraceOptions = {};
  if (v["function"] !== undefined) options.function = String(v["function"]).split(",");
  if (v["drop"] !== undefined) options.dropReason = v["drop"] === "any" ? true : String(v["drop"]);
  if (options.function === undefined && options.dropReason === undefined && call === "send") options.skb = "next";
  if (v["follow"] === true) options.follow = true;

  const must = (r: number, what: string): number => {
    if (r < 0) throw new SocketError(what, r);
    return r;
  };
  if (call === "socket") kernel.trace.start(options);
  const listener = must(b.sys.socket(AF_INET, type | SOCK_NONBLOCK, 0), "socket");
  if (call === "socket") {
    output(kernel.trace.stop(), v["json"] === true);
    kernel.close();
    return 0;
  }
  must(b.sys.bind(listener, { family: AF_INET, addr: 0, port: 7000 }), "bind");
  if (proto === "tcp") must(b.sys.listen(listener, 1), "listen");
  const fd = must(a.sys.socket(AF_INET, type | SOCK_NONBLOCK, 0), "socket");
  const err = a.sys.connect(fd, { family: AF_INET, addr, port: 7000 });
  if (err !== -EINPROGRESS) must(err, "connect");
  await kernel.advance(100);
  if (proto === "udp" && when === "warm") {
    must(a.sys.send(fd, new Uint8Array(1), 1, 0), "send");
    await kernel.advance(100);
  }
  if (when === "cold" && driver !== "loopback") a.ip("neigh flush dev eth0");
  if (when === "warm" && proto === "tcp") {
    // The first data segment builds the header cache; the one that is shown uses it.
    must(a.sys.send(fd, new Uint8Array(1), 1, 0), "send");
    await kernel.advance(1000);
  }
  kernel.trace.start(options);
  const n = a.sys.send(fd, new Uint8Array(bytes), bytes, 0);
  if (n !== -EAGAIN) must(n, "send");
  if (options.follow === true || options.skb === undefined) await kernel.advance(100);
  output(kernel.trace.stop(), v["json"] === true);
  kernel.close();
  return 0;
}

function output(trace: { toText(): string; toJSON(): unknown }, json: boolean): void {
  process.stdout.write(json ? `${JSON.stringify(trace.toJSON(), null, 2)}\n` : trace.toText());
}

function oneOf(option: string, value: string | boolean | undefined, allowed: readonly string[]): string {
  const text = value === undefined ? (allowed[0] as string) : String(value);
  if (!allowed.includes(text)) throw new UsageError(`${option}: "${text}" is none of ${allowed.join(", ")}`);
  return text;
}
