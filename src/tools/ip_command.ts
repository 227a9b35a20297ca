/**
 * The `ip` command of iproute2: `ip link`, `ip address`, `ip route`, `ip rule`, `ip neighbour`, `ip netns` and
 * `ip tcp_metrics`, IPv4 only. Commands mean here what they mean to the real tool in a network namespace, and print what
 * it prints (test/interop/iproute2.test.ts compares the two); a word that is not known is an error that names it.
 */

import { linkOpsInit } from "../drivers/net/link_ops.ts";
import type { Net } from "../net/core/net_namespace.ts";
import { ipAddress } from "./ip_address.ts";
import { ipLink } from "./ip_link.ts";
import { ipNeigh } from "./ip_neigh.ts";
import { ipNetns } from "./ip_netns.ts";
import { ipRoute, ipRule } from "./ip_route.ts";
import { ipTcpMetrics } from "./ip_tcp_metrics.ts";
import type { IpOptions } from "./ip_util.ts";
import { isOneOf, matches, needNetns, nextArg } from "./ip_util.ts";
import type { CommandResult } from "./parse_command.ts";
import { commandOk, ParseError, runCommand, Words } from "./parse_command.ts";

type Handler = (o: IpOptions, words: Words) => CommandResult;

/** In iproute2's order: the first that a word is the beginning of is meant. */
const OBJECTS: readonly (readonly [name: string, handler: Handler])[] = [
  ["address", ipAddress],
  ["route", ipRoute],
  ["rule", ipRule],
  ["neighbor", ipNeigh],
  ["neighbour", ipNeigh],
  ["link", ipLink],
  ["tcp_metrics", ipTcpMetrics],
  ["tcpmetrics", ipTcpMetrics],
  ["netns", ipNetns],
];

const USAGE = `Usage: ip [ OPTIONS ] OBJECT { COMMAND | help }
where  OBJECT := { address | link | neighbour | netns | route | rule | tcp_metrics }
       OPTIONS := { -V[ersion] | -s[tatistics] | -d[etails] | -o[neline] | -br[ief] |
                    -f[amily] { inet | link } | -4 | -0 | -n[etns] name }`;

/**
 * Runs an `ip` command in a namespace, in kernel context.
 *
 * @param command What follows `ip` on the command line.
 * @returns What the real tool would print and exit with: 0; 1 and 255 for words that make no sense; 2 when the kernel
 * refuses ("RTNETLINK answers: File exists").
 * @example
 * ipCommand(net, "addr add 10.0.0.1/24 dev eth0");
 * ipCommand(net, "route get 10.0.0.2").stdout;   // "10.0.0.2 dev eth0 src 10.0.0.1 uid 0 \n    cache \n"
 */
export function ipCommand(net: Net, command: string | readonly string[]): CommandResult {
  linkOpsInit();
  return runCommand(() => run(net, new Words(command)));
}

function run(net: Net, words: Words): CommandResult {
  const o: IpOptions = { net, family: "", oneline: false, details: false, stats: 0, brief: false };
  for (let word = words.peek; word !== undefined && word.startsWith("-"); word = words.peek) {
    words.next();
    // "--oneline" is taken as well.
    const opt = word.startsWith("--") ? word.slice(1) : word;
    if (opt === "-4") o.family = "inet";
    else if (opt === "-6") o.family = "inet6";
    else if (opt === "-0") o.family = "link";
    else if (matches(opt, "-family")) o.family = nextArg(words);
    else if (isOneOf(opt, "-stats", "-statistics")) o.stats++;
    else if (matches(opt, "-details")) o.details = true;
    else if (matches(opt, "-oneline")) o.oneline = true;
    else if (opt.length >= 3 && matches(opt, "-brief")) o.brief = true;
    else if (matches(opt, "-netns")) o.net = needNetns(net, nextArg(words));
    else if (matches(opt, "-Version")) return commandOk("ip utility, skbuff\n");
    else if (matches(opt, "-help")) throw new ParseError(USAGE, 255);
    else throw new ParseError(`Option "${word}" is unknown, try "ip -help".`, 255);
  }
  const object = words.next();
  if (object === undefined || matches(object, "help")) throw new ParseError(USAGE, 255);
  for (const [name, handler] of OBJECTS) if (matches(object, name)) return handler(o, words);
  throw new ParseError(`Object "${object}" is unknown, try "ip help".`);
}
