/** `ip netns`: the other hosts of the machine. */

import { cleanupNet, Net, setupNet } from "../net/core/net_namespace.ts";
import { netnsOf } from "../net/core/rtnetlink.ts";
import { errnoMessage } from "../uapi/errno.ts";
import { ipCommand } from "./ip_command.ts";
import type { IpOptions } from "./ip_util.ts";
import { isOneOf, matches } from "./ip_util.ts";
import { nftCommand } from "./nft_command.ts";
import type { CommandResult, Words } from "./parse_command.ts";
import { commandOk, ParseError } from "./parse_command.ts";
import { sysctlCommand } from "./sysctl_command.ts";
import { tcCommand } from "./tc_command.ts";

export function ipNetns(o: IpOptions, words: Words): CommandResult {
  const command = words.next();
  const names = netnsOf(o.net.kernel);
  if (command === undefined || isOneOf(command, "list", "show", "lst")) {
    let out = "";
    for (const name of [...names.keys()].reverse()) out += `${name}\n`;
    return commandOk(out);
  }
  if (matches(command, "add")) {
    const name = words.next();
    if (name === undefined) throw new ParseError("No netns name specified", 255);
    if (names.has(name)) throw new ParseError(`Cannot create namespace file "/run/netns/${name}": File exists`);
    const net = new Net(o.net.kernel, name);
    const err = setupNet(net);
    if (err < 0) throw new ParseError(`Failed to create a new network namespace "${name}": ${errnoMessage(err)}`);
    return commandOk();
  }
  if (matches(command, "delete")) {
    const name = words.next();
    if (name === undefined) throw new ParseError("No netns name specified", 255);
    const net = names.get(name);
    if (net === undefined) {
      throw new ParseError(`Cannot remove namespace file "/run/netns/${name}": No such file or directory`);
    }
    cleanupNet(net);
    return commandOk();
  }
  if (matches(command, "identify")) return commandOk(`${o.net.name}\n`);
  if (matches(command, "exec")) return netnsExec(o, words);
  if (command === "help")
    throw new ParseError(
      "Usage: ip netns { list | add NAME | del NAME | identify | exec NAME { ip | tc | nft | sysctl } ... }",
      255,
    );
  throw new ParseError(`Command "${command}" is unknown, try "ip netns help".`, 255);
}

/** `ip netns exec NAME { ip | tc | nft | sysctl } ...`: the tools that there are. */
function netnsExec(o: IpOptions, words: Words): CommandResult {
  const name = words.next();
  if (name === undefined) throw new ParseError("No netns name specified", 255);
  const tool = words.next();
  if (tool === undefined) throw new ParseError("No command specified", 255);
  const net = netnsOf(o.net.kernel).get(name);
  if (net === undefined) throw new ParseError(`Cannot open network namespace "${name}": No such file or directory`);
  const rest: string[] = [];
  for (let word = words.next(); word !== undefined; word = words.next()) rest.push(word);
  switch (tool) {
    case "ip":
      return ipCommand(net, rest);
    case "tc":
      return tcCommand(net, rest);
    case "nft":
      return nftCommand(net, rest.join(" "));
    case "sysctl":
      return sysctlCommand(net, rest.join(" "));
    default:
      throw new ParseError(`exec of "${tool}" failed: No such file or directory`, 255);
  }
}
