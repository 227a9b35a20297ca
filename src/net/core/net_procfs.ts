/** net/core/net-procfs.c and fs/proc/proc_net.c: the files under /proc/net, as text. */

import { softnetData } from "./dev.rx.ts";
import type { NetDevice } from "./dev.ts";
import type { Net } from "./net_namespace.ts";

/** seq_operations.show: the whole file. */
export type ProcShow = (net: Net) => string;

/** By name. One table a process: it holds code only. */
const entries: Map<string, ProcShow> = new Map();

/** proc_create_net: makes /proc/net/`name`. */
export function procCreateNet(name: string, show: ProcShow): void {
  entries.set(name, show);
}

/** The file /proc/net/`name` as it is now; null if there is none. In kernel context. */
export function procNetRead(net: Net, name: string): string | null {
  const show = entries.get(name);
  return show === undefined ? null : show(net);
}

/** The names of the files. */
export function procNetNames(): string[] {
  return [...entries.keys()].sort();
}

/** "%08X". */
export function hex8(n: number): string {
  return (n >>> 0).toString(16).toUpperCase().padStart(8, "0");
}

/** An address as a __be32 that was printed on a little-endian machine: 127.0.0.1 is 0100007F. */
export function hexAddr(addr: number): string {
  return hex8(((addr & 0xff) << 24) | ((addr & 0xff00) << 8) | ((addr >>> 8) & 0xff00) | (addr >>> 24));
}

/** "%04X". */
export function hexPort(port: number): string {
  return port.toString(16).toUpperCase().padStart(4, "0");
}

function devSeqPrintfStats(dev: NetDevice): string {
  const s = dev.stats;
  const rx: (readonly [number, number])[] = [
    [s.rxBytes, 7],
    [s.rxPackets, 7],
    [s.rxErrors, 4],
    [s.rxDropped, 4],
    [s.rxFifoErrors, 4],
    [s.rxLengthErrors + s.rxOverErrors + s.rxCrcErrors + s.rxFrameErrors, 5],
    [0, 10],
    [s.multicast, 9],
    [s.txBytes, 8],
    [s.txPackets, 7],
    [s.txErrors, 4],
    [s.txDropped, 4],
    [s.txFifoErrors, 4],
    [s.collisions, 5],
    [s.txCarrierErrors + s.txAbortedErrors, 7],
    [0, 10],
  ];
  return `${dev.name.padStart(6)}: ${rx.map(([n, width]) => String(n).padStart(width)).join(" ")}\n`;
}

function devSeqShow(net: Net): string {
  let out =
    "Inter-|   Receive                                                |  Transmit\n" +
    " face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n";
  for (const dev of net.devByIndex.values()) out += devSeqPrintfStats(dev);
  return out;
}

/** One line: a machine has one cpu. */
function softnetSeqShow(): string {
  const sd = softnetData();
  const hex = (n: number): string => (n >>> 0).toString(16).padStart(8, "0");
  const qlen = sd.inputPktQueue.qlen;
  const words = [sd.processed, sd.dropped, sd.timeSqueeze, 0, 0, 0, 0, 0, 0, 0, 0, qlen, 0, qlen, 0];
  return `${words.map(hex).join(" ")}\n`;
}

/** dev_proc_init. */
export function devProcInit(): void {
  procCreateNet("dev", devSeqShow);
  procCreateNet("softnet_stat", softnetSeqShow);
}
