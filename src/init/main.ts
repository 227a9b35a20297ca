/** start_kernel: boots a machine, and makes its hosts. */

import { loopbackInit } from "../drivers/net/loopback.ts";
import type { Clock } from "../kernel/kernel.ts";
import { Kernel } from "../kernel/kernel.ts";
import type { RandomSource } from "../kernel/random.ts";
import type { Machine } from "../mm/mem.ts";
import { netDevInit } from "../net/core/dev.ts";
import { cleanupNet, Net, registerPernetSubsys, setupNet } from "../net/core/net_namespace.ts";
import { netCoreInit } from "../net/core/netns_core.ts";
import { secureSeqInit } from "../net/core/secure_seq.ts";
import { inetInit } from "../net/ipv4/af_inet.ts";
import { arpInit } from "../net/ipv4/arp.ts";
import { devinetInit } from "../net/ipv4/devinet.ts";
import { ipFibInit } from "../net/ipv4/fib_frontend.ts";
import { icmpInit } from "../net/ipv4/icmp.ts";
import { inetHashtablesNetOps } from "../net/ipv4/inet_hashtables.ts";
import { ipfragInit } from "../net/ipv4/ip_fragment.ts";
import { ipInit } from "../net/ipv4/ip_output.ts";
import { netnsIpv4Init } from "../net/ipv4/netns.ts";
import { ipRtInit } from "../net/ipv4/route.ts";
import { tcpV4Init } from "../net/ipv4/tcp_ipv4.ts";
import { udpInit } from "../net/ipv4/udp.ts";
import { netfilterInit } from "../net/netfilter/core.ts";
import { pktschedInit } from "../net/sched/sch_api.ts";
import { sockInit } from "../net/socket.ts";
import { SocketError } from "../net/socket_error.ts";

let booted = false;

/** The initcalls: tables of code, filled once a process, in the kernel's order (core, subsys, fs, device). */
function doInitcalls(): void {
  if (booted) return;
  booted = true;
  // What every namespace has, in the order in which it is set up (and the reverse of its teardown).
  netCoreInit();
  netfilterInit();
  sockInit();
  netDevInit();
  pktschedInit();
  secureSeqInit();
  netnsIpv4Init();
  arpInit();
  devinetInit();
  ipFibInit();
  ipRtInit();
  ipInit();
  ipfragInit();
  inetInit();
  registerPernetSubsys(inetHashtablesNetOps);
  tcpV4Init();
  udpInit();
  icmpInit();
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
