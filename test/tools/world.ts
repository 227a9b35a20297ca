/** Machines with hosts for the tests of the configuration commands: time moves by hand. */

import { expect } from "vitest";
import { createNet, destroyNet, startKernel } from "../../src/init/main.ts";
import type { Clock, Kernel } from "../../src/kernel/kernel.ts";
import { seededRandom } from "../../src/kernel/random.ts";
import { createMachineSync, u8 } from "../../src/mm/mem.ts";
import { poolFree, poolInUse } from "../../src/mm/pool.ts";
import { skbSetProtocol } from "../../src/mm/skb.ts";
import type { NetDevice } from "../../src/net/core/dev.ts";
import { netifReceiveSkb } from "../../src/net/core/dev.ts";
import type { Net } from "../../src/net/core/net_namespace.ts";
import { netdevAllocSkb, skbBytes, skbPut } from "../../src/net/core/skbuff.ts";
import { ethTypeTrans } from "../../src/net/ethernet/eth.ts";
import { inetAton, inetNtoa } from "../../src/net/ipv4/inet_addr.ts";
import { ipCommand } from "../../src/tools/ip_command.ts";
import { nftCommand } from "../../src/tools/nft_command.ts";
import type { CommandResult } from "../../src/tools/parse_command.ts";
import { sysctlCommand } from "../../src/tools/sysctl_command.ts";
import { tcCommand } from "../../src/tools/tc_command.ts";

/** A clock that tests move by hand, in microseconds. */
class HandClock implements Clock {
  us = 1_000_000;
  now(): number {
    return this.us;
  }
  realtime(): number {
    return 1_700_000_000_000_000 + this.us;
  }
}

export class World {
  readonly clock: HandClock = new HandClock();
  readonly kernel: Kernel;
  readonly nets: Net[] = [];
  readonly #before: ReturnType<typeof poolFree>;

  constructor(seed = 7) {
    this.kernel = startKernel(createMachineSync({ memoryBytes: 64 << 20 }), this.clock, seededRandom(seed));
    this.kernel.enter();
    this.#before = poolFree();
    this.kernel.exit();
  }

  net(name: string): Net {
    const net = createNet(this.kernel, name);
    this.nets.push(net);
    return net;
  }

  /** Runs `fn` in kernel context. */
  in<T>(fn: () => T): T {
    this.kernel.enter();
    try {
      return fn();
    } finally {
      this.kernel.exit();
    }
  }

  /** Lets `us` microseconds pass, with every timer at its time. */
  advance(us: number): void {
    const end = this.clock.us + us;
    for (;;) {
      const next = this.kernel.nextDeadline();
      if (next > end) break;
      this.clock.us = Math.max(next, this.clock.us);
      this.kernel.run();
    }
    this.clock.us = end;
    this.kernel.run();
  }

  try(net: Net, line: string): CommandResult {
    const m = /^(ip|tc|nft|sysctl)\s+([\s\S]*)$/.exec(line);
    if (m === null) throw new Error(`no command: ${line}`);
    const fn = { ip: ipCommand, tc: tcCommand, nft: nftCommand, sysctl: sysctlCommand }[m[1] as "ip"];
    return this.in(() => fn(net, m[2] as string));
  }

  /** Runs one command a line; each has to succeed. Returns what the last one printed. */
  run(net: Net, lines: string): string {
    let out = "";
    for (const line of lines.trim().split("\n")) {
      const r = this.try(net, line.trim());
      if (r.code !== 0) throw new Error(`${line.trim()}: exit ${r.code}: ${r.stderr}`);
      out = r.stdout;
    }
    return out;
  }

  /** Ends all hosts, and looks whether the pool is whole. */
  close(): void {
    for (const net of this.nets) if (!net.dead) destroyNet(net);
    this.in(() => {
      expect(poolInUse()).toEqual([]);
      expect(poolFree()).toEqual(this.#before);
    });
  }
}

/** What passes a device, as bytes from the Ethernet header on. */
export interface Frame {
  readonly out: boolean;
  readonly bytes: Uint8Array;
  /** EtherType. */
  readonly type: number;
}

/** Records the frames of a device. */
export function capture(dev: NetDevice): Frame[] {
  const frames: Frame[] = [];
  dev.taps.push({
    tap(skb, _dev, out): void {
      const bytes = skbBytes(skb);
      frames.push({ out, bytes, type: ((bytes[12] as number) << 8) | (bytes[13] as number) });
    },
  });
  return frames;
}

/** A frame arrives at a device. */
export function inject(dev: NetDevice, bytes: Uint8Array): void {
  const skb = netdevAllocSkb(dev, bytes.length);
  const at = skbPut(skb, bytes.length);
  u8.set(bytes, at);
  skbSetProtocol(skb, ethTypeTrans(skb, dev));
  netifReceiveSkb(skb);
}

/** "02:00:00:00:00:01" -> bytes. */
export function mac(text: string): Uint8Array {
  return Uint8Array.from(text.split(":").map((b) => Number.parseInt(b, 16)));
}

/** "10.0.0.1" -> host order. */
export function ip(text: string): number {
  const addr = inetAton(text);
  if (addr < 0) throw new Error(`no address: ${text}`);
  return addr;
}

export interface ArpFields {
  op: number;
  sha: string;
  sip: string;
  tha?: string;
  tip: string;
  /** Ethernet addresses; the sender's, and broadcast, by default. */
  src?: string;
  dst?: string;
  hrd?: number;
  pro?: number;
  hln?: number;
  pln?: number;
}

/** An ARP frame. */
export function arpFrame(f: ArpFields): Uint8Array {
  const out = new Uint8Array(42);
  const view = new DataView(out.buffer);
  out.set(mac(f.dst ?? "ff:ff:ff:ff:ff:ff"), 0);
  out.set(mac(f.src ?? f.sha), 6);
  view.setUint16(12, 0x0806);
  view.setUint16(14, f.hrd ?? 1);
  view.setUint16(16, f.pro ?? 0x0800);
  out[18] = f.hln ?? 6;
  out[19] = f.pln ?? 4;
  view.setUint16(20, f.op);
  out.set(mac(f.sha), 22);
  view.setUint32(28, ip(f.sip));
  out.set(mac(f.tha ?? "00:00:00:00:00:00"), 32);
  view.setUint32(38, ip(f.tip));
  return out;
}

/** The fields of an ARP frame as text, for comparison: "request 10.0.0.1 tell 10.0.0.2 (02:..) to ff:..". */
export function formatArp(bytes: Uint8Array): string {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const hw = (at: number): string => [...bytes.slice(at, at + 6)].map((b) => b.toString(16).padStart(2, "0")).join(":");
  const op = view.getUint16(20) === 1 ? "who-has" : "is-at";
  const who = inetNtoa(view.getUint32(38));
  return `${op} ${who} from ${inetNtoa(view.getUint32(28))} ${hw(22)} for ${hw(32)} to ${hw(0)}`;
}
