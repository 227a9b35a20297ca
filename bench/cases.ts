/** What `skbuff bench` runs: each case, its limit on this machine, and who else can do the same. */

import dgram from "node:dgram";
import net from "node:net";
import type { LinkOptions } from "../src/index.ts";
import { openLimit } from "./limit.ts";
import type { Build, Sample } from "./stack.ts";
import { Pair } from "./stack.ts";
import type { DatagramSocket, StreamEnds, StreamNet } from "./streams.ts";
import { streamBulk, streamConnections, streamDatagrams, streamPingPong } from "./streams.ts";

/** Something that can be run again and again. `run` moves what it is for (and checks that it arrived). */
export interface Contender {
  readonly name: string;
  run(): Sample | Promise<Sample>;
  close(): void | Promise<void>;
}

/** Opens a contender in a build. `scale` multiplies the work of a run, which is otherwise about 20 ms. */
export type OpenContender = (build: Build, scale: number) => Promise<Contender>;
export type OpenPeers = (scale: number) => Promise<Contender[]>;

export interface BenchCase {
  readonly name: string;
  readonly summary: string;
  readonly unit: "Gbit/s" | "op/s";
  /** This stack. */
  readonly open: OpenContender;
  /** The same bytes by the bare kernels. */
  readonly limit?: OpenContender;
  /** Others. */
  readonly peers?: OpenPeers;
  /** What the ratio to the limit, or to the first peer, is meant to reach. */
  readonly target?: number;
}

const MIB = 1 << 20;

function overPair(link: LinkOptions, run: (pair: Pair) => Sample): (build: Build) => Promise<Contender> {
  return async (build) => {
    const pair = await Pair.create(build, link);
    return { name: "skbuff", run: () => run(pair), close: () => pair.close() };
  };
}

function limited(lent: boolean, sums: boolean, bytes: number): OpenContender {
  return async (build, scale) => {
    const limit = await openLimit(build, { lent, sums });
    return { name: "limit", run: () => limit.run(bytes * scale), close: () => limit.close() };
  };
}

function bulk(link: LinkOptions, bytes: number): OpenContender {
  return (build, scale) => overPair(link, (pair) => pair.bulk(Math.round(bytes * scale)))(build);
}

/** Node's own net over the kernel's loopback. */
const LOOPBACK: StreamEnds = {
  server: net as unknown as StreamNet,
  client: net as unknown as StreamNet,
  address: "127.0.0.1",
};

/** The adapters of two hosts joined by a veth. */
async function adapters(build: Build): Promise<{ ends: StreamEnds; close(): void }> {
  const kernel = await build.createKernel();
  const a = kernel.netns("a");
  const b = kernel.netns("b");
  kernel.link(a, b, { subnet: "10.0.0.0/24" });
  const ends: StreamEnds = {
    server: b.net as unknown as StreamNet,
    client: a.net as unknown as StreamNet,
    address: "10.0.0.2",
  };
  return { ends, close: () => kernel.close() };
}

function overAdapters(run: (ends: StreamEnds, scale: number) => Promise<Sample>): OpenContender {
  return async (build, scale) => {
    const { ends, close } = await adapters(build);
    return { name: "skbuff", run: () => run(ends, scale), close };
  };
}

function nodeNet(run: (ends: StreamEnds, scale: number) => Promise<Sample>): OpenPeers {
  return async (scale) => [{ name: "node:net", run: () => run(LOOPBACK, scale), close: () => {} }];
}

const times = (count: number, scale: number): number => Math.max(1, Math.round(count * scale));

function nodeDgram(): [DatagramSocket, DatagramSocket] {
  const open = (): DatagramSocket => dgram.createSocket("udp4") as unknown as DatagramSocket;
  return [open(), open()];
}

export const CASES: readonly BenchCase[] = [
  {
    name: "veth",
    summary: "one TCP connection over a veth with offloads, plain arrays in and out; limit: two memory.copy",
    unit: "Gbit/s",
    open: bulk({ driver: "veth" }, 48 * MIB),
    limit: limited(true, false, 64 * MIB),
    target: 0.7,
  },
  {
    name: "frames",
    summary: "the same in real 1514-byte frames with software checksums; limit: two copies and two sums",
    unit: "Gbit/s",
    open: bulk({ driver: "veth", offload: false }, 8 * MIB),
    limit: limited(false, true, 32 * MIB),
    target: 0.5,
  },
  {
    name: "frames-lent",
    summary: "the same through lent buffers: both copies within the machine's memory; limit: two such and two sums",
    unit: "Gbit/s",
    open: (build, scale) =>
      overPair({ driver: "veth", offload: false }, (pair) => pair.bulkLent(Math.round(8 * MIB * scale)))(build),
    limit: limited(true, true, 32 * MIB),
    target: 0.6,
  },
  {
    name: "rtl819x",
    summary: "the same over two rtl819x NICs: descriptor rings, interrupts, one MSS an skb; limit as for frames",
    unit: "Gbit/s",
    open: bulk({ driver: "rtl819x" }, 6 * MIB),
    limit: limited(false, true, 32 * MIB),
  },
  {
    name: "rtl819x-gso",
    summary: "the same NICs with super-packets cut in front of the driver and joined behind it",
    unit: "Gbit/s",
    open: bulk({ driver: "rtl819x", gso: true, gro: true }, 8 * MIB),
    limit: limited(false, true, 32 * MIB),
  },
  {
    name: "udp64",
    summary: "64-byte datagrams from send to receive, system calls",
    unit: "op/s",
    open: (build, scale) => overPair({ driver: "veth" }, (pair) => pair.datagrams(times(10_000, scale)))(build),
    peers: async (scale) => [
      {
        name: "node:dgram",
        run: () => streamDatagrams(nodeDgram, "127.0.0.1", times(2_000, scale)),
        close: () => {},
      },
    ],
    target: 25,
  },
  {
    name: "pingpong",
    summary: "one byte there and back over TCP, system calls",
    unit: "op/s",
    open: (build, scale) => overPair({ driver: "veth" }, (pair) => pair.pingPong(times(2_000, scale)))(build),
    peers: nodeNet((ends, scale) => streamPingPong(ends, times(500, scale))),
    target: 20,
  },
  {
    name: "connect",
    summary: "connect, a byte each way, close, system calls",
    unit: "op/s",
    open: (build, scale) => overPair({ driver: "veth" }, (pair) => pair.connections(times(300, scale)))(build),
    peers: nodeNet((ends, scale) => streamConnections(ends, times(60, scale))),
    target: 50,
  },
  {
    name: "net-bulk",
    summary: "bulk over the node:net adapter",
    unit: "Gbit/s",
    open: overAdapters((ends, scale) => streamBulk(ends, Math.round(16 * MIB * scale))),
    peers: nodeNet((ends, scale) => streamBulk(ends, Math.round(16 * MIB * scale))),
    target: 1.5,
  },
  {
    name: "net-pingpong",
    summary: "one byte there and back over the node:net adapter",
    unit: "op/s",
    open: overAdapters((ends, scale) => streamPingPong(ends, times(1_000, scale))),
    peers: nodeNet((ends, scale) => streamPingPong(ends, times(500, scale))),
    target: 3,
  },
  {
    name: "net-connect",
    summary: "connect, a byte each way, close over the node:net adapter",
    unit: "op/s",
    open: overAdapters((ends, scale) => streamConnections(ends, times(100, scale))),
    peers: nodeNet((ends, scale) => streamConnections(ends, times(60, scale))),
    target: 3,
  },
];
