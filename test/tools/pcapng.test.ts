/** pcapng blocks, byte by byte where the format says so. */

import { expect, it } from "vitest";
import { PcapngWriter } from "../../src/tools/pcapng.ts";

it("writes a section, an interface and a packet with direction and comment", () => {
  const blocks: Uint8Array[] = [];
  const pcap = new PcapngWriter((b) => blocks.push(b));
  expect(pcap.addInterface("eth0")).toBe(0);
  pcap.packet(0, 1_000_000.5, Uint8Array.of(1, 2, 3, 4, 5), "in", "grün");
  expect(pcap.packets).toBe(1);
  for (const b of blocks) {
    const v = new DataView(b.buffer);
    // Every block is a multiple of 4 long and says its length at both ends.
    expect(b.length % 4).toBe(0);
    expect([v.getUint32(4, true), v.getUint32(b.length - 4, true)]).toEqual([b.length, b.length]);
  }
  const [section, iface, packet] = blocks as [Uint8Array, Uint8Array, Uint8Array];
  expect(new DataView(section.buffer).getUint32(8, true)).toBe(0x1a2b3c4d);
  expect(Buffer.from(iface).includes("eth0")).toBe(true);
  const v = new DataView(packet.buffer);
  const ns = (BigInt(v.getUint32(12, true)) << 32n) | BigInt(v.getUint32(16, true));
  expect(ns).toBe(1_000_000_500n);
  expect([v.getUint32(20, true), v.getUint32(24, true)]).toEqual([5, 5]);
  expect([...packet.subarray(28, 33)]).toEqual([1, 2, 3, 4, 5]);
  expect(Buffer.from(packet).includes(Buffer.from("grün", "utf8"))).toBe(true);
});
