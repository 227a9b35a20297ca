/** start_kernel: boots a machine, and makes its hosts. */

import { loopbackInit } from "../drivers/net/loopback.ts";
import { filesInit } from "../fs/file.ts";
import type { Clock } from "../kernel/kernel.ts";
import { Kernel } from "../kernel/kernel.ts";
import type { RandomSource } from "../kernel/random.ts";
import type { Machine } from "../mm/mem.ts";
import { netDevInit } from "../net/core/dev.ts";
import { cleanupNet, Net, setupNet } from "../net/core/net_namespace.ts";
import { devProcInit } from "../net/core/net_procfs.ts";
import { netCoreInit } from "../net/core/netns_core.ts";
import { secureSeqInit } from "../net/core/secure_seq.ts";
import { inetInit } from "../net/ipv4/af_inet.ts";
import { netfilterInit } from "../net/netfilter/core.ts";
import { packetInit } from "../net/packet/af_packet.ts";
import { pktschedInit } from "../net/sched/sch_api.ts";
import { SocketError } from "../net/socket_error.ts";

let booted = false;

/** The initcalls: tables of code, filled once a process, in the kernel's order (core, subsys, fs, device). */
function doInitcalls(): void {
  if (booted) return;
  booted = true;
  // What every namespace has, in the order in which it is set up (and the reverse of its teardown).
  netCoreInit();
  netfilterInit();
  filesInit();
  netDevInit();
  devProcInit();
  pktschedInit();
  secureSeqInit();
  inetInit();
  packetInit();
  // Devices come last: the protocols must be there to notice them.
  loopbackInit();
}

/** start_kernel: a machine that runs, without hosts. */
export function startKernel(machine: Machine, clock: Clock, random: RandomSource): Kernel {
  doInitcalls();
  return new Kernel(machine, clock, random);
}

/** copy_net_ns / setup_net: a namespace with its loopback device up. */
export function createNet(kernel: Kernel, name: string): Net {
  kernel.enter();
  try {
    const net = new Net(kernel, name);
    const err = setupNet(net);
    if (err < 0) throw new SocketError("unshare", err);
    return net;
  } finally {
    kernel.exit();
  }
}

/** cleanup_net. */
export function destroyNet(net: Net): void {
  net.kernel.enter();
  try {
    cleanupNet(net);
  } finally {
    net.kernel.exit();
  }
}
