/** A host: one network namespace with the commands, system calls and libraries that work on it. */

import type { DgramModule } from "../compat/dgram.ts";
import { makeDgram } from "../compat/dgram.ts";
import type { NetHost, NetModule, StreamsModule } from "../compat/net.ts";
import { makeNet } from "../compat/net.ts";
import * as memfdCalls from "../fs/memfd.ts";
import * as pipeCalls from "../fs/pipe.ts";
import * as spliceCalls from "../fs/splice.ts";
import type { Net } from "../net/core/net_namespace.ts";
import { procNetRead } from "../net/core/net_procfs.ts";
import { inDevGet, inetSelectAddr } from "../net/ipv4/devinet.ts";
import { inetAton, inetNtoa } from "../net/ipv4/inet_addr.ts";
import * as socketCalls from "../net/socket.ts";
import { SocketError } from "../net/socket_error.ts";
import * as blocking from "../net/syscalls_async.ts";

import { ipCommand } from "../tools/ip_command.ts";
import { nftCommand } from "../tools/nft_command.ts";
import type { NstatHistory } from "../tools/nstat_command.ts";
import { nstatCommand } from "../tools/nstat_command.ts";
import type { CommandResult } from "../tools/parse_command.ts";
import { ssCommand } from "../tools/ss_command.ts";
import { sysctlCommand } from "../tools/sysctl_command.ts";
import { tcCommand } from "../tools/tc_command.ts";
import { ENOENT } from "../uapi/errno.ts";
import { RT_SCOPE_UNIVERSE } from "../uapi/rtnetlink.ts";

/** What a host needs of the kernel that it belongs to. */
export interface HostOwner {
  /** Resolves the name of another host of the same kernel; -1 if there is none. */
  resolve(name: string, from: Host): number;
  streams(): StreamsModule;
  ref(): void;
  unref(): void;
}

/**
 * A host of the simulated or real network. Its configuration interface is the commands that people know.
 *
 * @example
 * ```ts
 * const host = kernel.netns("a");
 * host.ip("link set lo up");
 * host.sysctl("net.ipv4.tcp_sack=0");
 * ```
 */
export class Host implements NetHost {
  readonly name: string;
  /** The namespace itself: for the system calls and the kernel's own functions. */
  readonly ns: Net;
  readonly #owner: HostOwner;
  #net: NetModule | null = null;
  #dgram: DgramModule | null = null;
  #sys: Syscalls | null = null;
  readonly #nstatHistory: NstatHistory = new Map();
  /** Static names (/etc/hosts): name to IPv4 address in host order. */
  readonly hosts: Map<string, number> = new Map([["localhost", 0x7f000001]]);

  constructor(name: string, ns: Net, owner: HostOwner) {
    this.name = name;
    this.ns = ns;
    this.#owner = owner;
  }

  /**
   * node:net's own interface on this host: `connect`, `createServer`, `Socket`, `Server`. Needs Node's streams, or shims
   * given to `createKernel({ streams })`.
   */
  get net(): NetModule {
    this.#net ??= makeNet(this, this.#owner.streams());
    return this.#net;
  }

  /** node:dgram's own interface on this host. */
  get dgram(): DgramModule {
    this.#dgram ??= makeDgram(this, this.#owner.streams());
    return this.#dgram;
  }

  /**
   * The system calls of this host, by their names and with the kernel's conventions: results >= 0, or a negative errno.
   * `host.sys.socket(AF_INET, SOCK_STREAM, 0)`. Non-blocking: -EAGAIN where the kernel would wait.
   */
  get sys(): Syscalls {
    this.#sys ??= bindSyscalls(this.ns);
    return this.#sys;
  }

  /** Runs an iproute2 command, without the leading `ip`. Returns what it prints; throws its error text. */
  ip(command: string): string {
    return this.#run("ip", command, ipCommand);
  }

  /** Runs a `tc` command: `tc("qdisc add dev eth0 root netem delay 20ms loss 1%")`. */
  tc(command: string): string {
    return this.#run("tc", command, tcCommand);
  }

  /** Runs an `nft` command: `nft("add rule ip filter output tcp dport 25 drop")`. */
  nft(command: string): string {
    return this.#run("nft", command, nftCommand);
  }

  /** Reads (`sysctl("net.ipv4.ip_forward")`) or sets (`sysctl("net.ipv4.ip_forward=1")`) a sysctl. */
  sysctl(command: string): string {
    return this.#run("sysctl", command, sysctlCommand);
  }

  /** Runs `ss`: the sockets of this host. `ss("-tin state established sport = :80")`. */
  ss(command = ""): string {
    return this.#run("ss", command, ssCommand);
  }

  /** Runs `nstat`: what the host has counted since the last call. `nstat("-az TcpExtTCPTimeouts")`. */
  nstat(command = ""): string {
    return this.#run("nstat", command, (net, text) => nstatCommand(net, text, this.#nstatHistory));
  }

  /**
   * A file under /proc as text, with the kernel's layout: `proc("net/snmp")`, `proc("/proc/net/tcp")`,
   * `proc("sys/net/ipv4/tcp_sack")`. Throws a SocketError (ENOENT) if there is none.
   *
   * @example
   * ```ts
   * const host = kernel.netns("a");
   * console.log(host.proc("net/sockstat"));
   * ```
   */
  proc(path: string): string {
    const name = path.replace(/^\/?(?:proc\/)?(?:self\/)?/, "");
    const { kernel } = this.ns;
    kernel.enter();
    try {
      const text = name.startsWith("net/") ? procNetRead(this.ns, name.slice(4)) : this.#sysctlFile(name);
      if (text === null) throw new SocketError(`open /proc/${name}`, -ENOENT);
      return text;
    } finally {
      kernel.exit();
    }
  }

  #sysctlFile(name: string): string | null {
    const entry = name.startsWith("sys/") ? this.ns.sysctlTable.get(name.slice(4).replaceAll("/", ".")) : undefined;
    return entry === undefined ? null : `${entry.get()}\n`;
  }

  #run(tool: string, command: string, fn: (net: Net, command: string) => CommandResult): string {
    const kernel = this.ns.kernel;
    kernel.enter();
    try {
      const result = fn(this.ns, command);
      if (result.code !== 0) throw new CommandError(tool, command, result.code, result.stderr);
      return result.stdout;
    } finally {
      kernel.exit();
    }
  }

  /** The first global address of this host, in host order; the loopback address if it has none. */
  primaryAddress(): number {
    for (const dev of this.ns.devByIndex.values()) {
      const inDev = inDevGet(dev);
      if (inDev === null || dev === this.ns.loopbackDev) continue;
      const addr = inetSelectAddr(dev, 0, RT_SCOPE_UNIVERSE);
      if (addr !== 0) return addr;
    }
    return 0x7f000001;
  }

  /** `primaryAddress` as text. */
  get address(): string {
    return inetNtoa(this.primaryAddress());
  }

  /** Resolves a name: literals, `hosts`, the other hosts of the kernel. -1 = not found. */
  resolve(name: string): number {
    const literal = inetAton(name);
    if (literal >= 0) return literal;
    const own = this.hosts.get(name);
    return own !== undefined ? own : this.#owner.resolve(name, this);
  }

  ref(): void {
    this.#owner.ref();
  }
  unref(): void {
    this.#owner.unref();
  }
}

/** All that are there. */
const syscalls: SyscallTable = { ...socketCalls, ...pipeCalls, ...spliceCalls, ...memfdCalls };
type SyscallTable = typeof socketCalls & typeof pipeCalls & typeof spliceCalls & typeof memfdCalls;

type Bound<F> = F extends (net: Net, ...args: infer A) => infer R ? (...args: A) => R : never;

type BoundAll<Calls> = {
  readonly [K in keyof Calls as K extends `sys${infer Name}` ? Uncapitalize<Name> : never]: Bound<Calls[K]>;
};

/**
 * `sysSendto(net, fd, ...)` of net/socket.ts (sysPipe of fs/) as `sendto(fd, ...)`, and the forms of net/syscalls_async.ts that wait:
 * `sendtoAsync(fd, ...)`.
 */
export type Syscalls = BoundAll<SyscallTable> & BoundAll<typeof blocking>;

function bindSyscalls(net: Net): Syscalls {
  const bound: Record<string, unknown> = {};
  for (const [name, fn] of [...Object.entries(syscalls), ...Object.entries(blocking)]) {
    if (!name.startsWith("sys") || typeof fn !== "function") continue;
    const call = fn as (net: Net, ...args: unknown[]) => unknown;
    // No call has more arguments, and an array of them for each call would be garbage.
    bound[name.charAt(3).toLowerCase() + name.slice(4)] = (
      a: unknown,
      b: unknown,
      c: unknown,
      d: unknown,
      e: unknown,
      f: unknown,
    ): unknown => call(net, a, b, c, d, e, f);
  }
  return bound as unknown as Syscalls;
}

/** A configuration command that was refused: its exit code and what it printed. */
export class CommandError extends Error {
  override readonly name: string = "CommandError";
  readonly exitCode: number;
  readonly stderr: string;

  constructor(tool: string, command: string, exitCode: number, stderr: string) {
    super(`${tool} ${command}: ${stderr.trim()}`);
    this.exitCode = exitCode;
    this.stderr = stderr;
  }
}
