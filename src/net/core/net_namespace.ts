/**
 * struct net: a network namespace, which is a host. It owns devices, addresses, routes, neighbours, rules, sockets,
 * sysctls and counters. Subsystems add their own part (`net.ipv4`, `net.nf` ...) by declaring it on the `Net`
 * interface in their own file and filling it in from a `pernet_operations` init (register_pernet_subsys).
 */

import type { Kernel } from "../../kernel/kernel.ts";
import { Mibs } from "../../kernel/mib.ts";
import type { NetDevice, PacketType } from "./dev.ts";

export interface PernetOperations {
  readonly name: string;
  /** Runs when a namespace is made, in the order of registration. Returns 0 or a negative errno. */
  init(net: Net): number;
  /** Runs for every subsystem before the first `exit`, while the host is still whole: its programs end here. */
  preExit?(net: Net): void;
  /** Runs when a namespace is torn down, in reverse order. */
  exit(net: Net): void;
}

const pernetList: PernetOperations[] = [];

/** register_pernet_subsys: tables of code only, so once a process is enough; registering twice is a no-op. */
export function registerPernetSubsys(ops: PernetOperations): void {
  if (!pernetList.includes(ops)) pernetList.push(ops);
}

export class Net {
  readonly kernel: Kernel;
  readonly name: string;
  /** Devices by ifindex (sparse) and by name. */
  readonly devByIndex: Map<number, NetDevice> = new Map();
  readonly devByName: Map<string, NetDevice> = new Map();
  /** The next ifindex; `lo` is 1. */
  ifindexNext = 1;
  loopbackDev: NetDevice | null = null;
  /** Packet types that see every frame of this host (ETH_P_ALL without a device). */
  readonly ptypeAll: PacketType[] = [];
  /** Frames of this host in the machine's backlog: each host has its own netdev_max_backlog. */
  backlogQlen = 0;
  /** The SNMP counters of this host. */
  readonly mib: Mibs = new Mibs();
  /** Readers and writers of `/proc/sys` names, registered by the subsystems: "net.ipv4.tcp_sack". */
  readonly sysctlTable: Map<string, SysctlEntry> = new Map();
  /** Capabilities (CAP_*) that the programs of this host do not have; all others they have. */
  readonly capsDropped: Set<number> = new Set();
  dead = false;

  constructor(kernel: Kernel, name: string) {
    this.kernel = kernel;
    this.name = name;
  }
}

export interface SysctlEntry {
  get(): string;
  /** Returns 0 or a negative errno (-EINVAL). */
  set(value: string): number;
}

/** setup_net: runs every registered init. The kernel must be in context. */
export function setupNet(net: Net): number {
  for (let i = 0; i < pernetList.length; i++) {
    const err = (pernetList[i] as PernetOperations).init(net);
    if (err < 0) {
      while (--i >= 0) (pernetList[i] as PernetOperations).exit(net);
      return err;
    }
  }
  return 0;
}

/** cleanup_net. */
export function cleanupNet(net: Net): void {
  net.dead = true;
  for (let i = pernetList.length - 1; i >= 0; i--) (pernetList[i] as PernetOperations).preExit?.(net);
  for (let i = pernetList.length - 1; i >= 0; i--) (pernetList[i] as PernetOperations).exit(net);
}
