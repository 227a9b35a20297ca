/** struct netns_core and the machine-wide `net.core` settings, kept by namespace here because a namespace is a host. */

import { EINVAL, ENOENT } from "../../uapi/errno.ts";
import { SOMAXCONN } from "../../uapi/socket.ts";
import type { Net, PernetOperations } from "./net_namespace.ts";
import { registerPernetSubsys } from "./net_namespace.ts";
import { registerSysctl, registerSysctlInt } from "./sysctl_net.ts";

declare module "./net_namespace.ts" {
  interface Net {
    /** `net.core.*`. */
    core: NetnsCore;
  }
}

/** The smallest socket buffers (SOCK_MIN_SNDBUF, SOCK_MIN_RCVBUF): twice, and once, what one 2 KiB segment costs. */
export const SOCK_MIN_SNDBUF = 4608;
export const SOCK_MIN_RCVBUF = 2304;

export class NetnsCore {
  /** Longest accept queue that listen() gets. */
  sysctlSomaxconn: number = SOMAXCONN;
  /** Bytes of truesize: SO_SNDBUF and SO_RCVBUF of a new socket, and how far setsockopt may raise them (undoubled). */
  sysctlWmemDefault = 212992;
  sysctlRmemDefault = 212992;
  sysctlWmemMax = 4194304;
  sysctlRmemMax = 4194304;
  /** Bytes of ancillary memory (control messages, filters) a socket may hold. */
  sysctlOptmemMax = 131072;
  /** Packets that the softirq's input queue holds. */
  sysctlNetdevMaxBacklog = 1000;
  /** Packets of one NET_RX softirq run, of one NAPI poll, and the run's limit in microseconds. */
  sysctlNetdevBudget = 300;
  sysctlNetdevBudgetUsecs = 8000;
  sysctlDevWeight = 64;
  /** Qdisc of devices that have a queue. */
  sysctlDefaultQdisc = "pfifo_fast";
  sysctlTstampAllowData = 1;
  sysctlTxrehash = 1;
  /** Segments that GRO gathers before it passes a list up. */
  sysctlGroNormalBatch = 8;
  sysctlMaxSkbFrags = 17;
  /** Rate limit of log messages: seconds and burst. */
  sysctlMessageCost = 5;
  sysctlMessageBurst = 10;
}

const QDISCS: readonly string[] = ["pfifo_fast", "fq", "fq_codel", "pfifo", "bfifo", "noqueue"];

export const netCoreNetOps: PernetOperations = {
  name: "net_core",
  init(net: Net): number {
    const core = new NetnsCore();
    net.core = core;
    registerSysctlInt(net, "net.core.somaxconn", core, "sysctlSomaxconn", 0);
    registerSysctlInt(net, "net.core.wmem_default", core, "sysctlWmemDefault", SOCK_MIN_SNDBUF);
    registerSysctlInt(net, "net.core.rmem_default", core, "sysctlRmemDefault", SOCK_MIN_RCVBUF);
    registerSysctlInt(net, "net.core.wmem_max", core, "sysctlWmemMax", SOCK_MIN_SNDBUF);
    registerSysctlInt(net, "net.core.rmem_max", core, "sysctlRmemMax", SOCK_MIN_RCVBUF);
    registerSysctlInt(net, "net.core.optmem_max", core, "sysctlOptmemMax", 0);
    registerSysctlInt(net, "net.core.netdev_max_backlog", core, "sysctlNetdevMaxBacklog", 0);
    registerSysctlInt(net, "net.core.netdev_budget", core, "sysctlNetdevBudget", 0);
    registerSysctlInt(net, "net.core.netdev_budget_usecs", core, "sysctlNetdevBudgetUsecs", 0);
    registerSysctlInt(net, "net.core.dev_weight", core, "sysctlDevWeight", 1);
    registerSysctlInt(net, "net.core.tstamp_allow_data", core, "sysctlTstampAllowData", 0, 1);
    registerSysctlInt(net, "net.core.txrehash", core, "sysctlTxrehash", 0, 1);
    registerSysctlInt(net, "net.core.gro_normal_batch", core, "sysctlGroNormalBatch", 1);
    registerSysctlInt(net, "net.core.max_skb_frags", core, "sysctlMaxSkbFrags", 1, 17);
    registerSysctlInt(net, "net.core.message_cost", core, "sysctlMessageCost", 0);
    registerSysctlInt(net, "net.core.message_burst", core, "sysctlMessageBurst", 0);
    registerSysctl(
      net,
      "net.core.default_qdisc",
      () => core.sysctlDefaultQdisc,
      (value) => {
        const name = value.trim();
        if (name === "") return -EINVAL;
        if (!QDISCS.includes(name)) return -ENOENT;
        core.sysctlDefaultQdisc = name;
        return 0;
      },
    );
    return 0;
  },
  exit(): void {},
};

/** Makes every namespace have `net.core`. */
export function netCoreInit(): void {
  registerPernetSubsys(netCoreNetOps);
}
