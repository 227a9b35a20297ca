/** The debug build: freed objects are poisoned, and what release builds cannot afford to look for traps. */

import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { beforeAll, beforeEach, describe, expect, it } from "vitest";
import { SKB_FLAG_POISONED, SKB_LEN } from "../../assembly/layout.ts";
import { createMachineSync, u8, u32, useMachine, wasm } from "../../src/mm/mem.ts";
import {
  allocPage,
  allocSkb,
  csumFold,
  csumPartial,
  getPage,
  kfreeSkb,
  poolFree,
  putPage,
  skbBytes,
  skbClone,
  skbFlags,
  skbHead,
  skbPut,
  skbSplit,
  skbTryCoalesce,
} from "../../src/net/core/skbuff.ts";
import { bytesAt, Random, rfc1071, SEED } from "./util.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));
let module: WebAssembly.Module;

beforeAll(() => {
  const dir = mkdtempSync(join(tmpdir(), "skbuff-debug-"));
  try {
    const out = ["--outFile", join(dir, "debug.wasm"), "--textFile", join(dir, "debug.wat")];
    const args = [
      join(root, "node_modules/assemblyscript/bin/asc.js"),
      "--config",
      "asconfig.json",
      "--target",
      "debug",
    ];
    const done = spawnSync(process.execPath, [...args, ...out], { cwd: root, encoding: "utf8" });
    expect(done.stderr + done.stdout).toBe("");
    module = new WebAssembly.Module(readFileSync(join(dir, "debug.wasm")));
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}, 60_000);

beforeEach(() => useMachine(createMachineSync({ memoryBytes: 16 << 20, wasm: module })));

const trap = WebAssembly.RuntimeError;

describe("the debug build", () => {
  it("works as the release build does", () => {
    const before = poolFree();
    const bytes = new Random(SEED).bytes(3000);
    const skb = allocSkb(3000);
    u8.set(bytes, skbPut(skb, 3000));
    const rest = allocSkb(2000);
    skbSplit(skb, rest, 1000);
    const clone = skbClone(skb);
    kfreeSkb(clone);
    expect(skbTryCoalesce(skb, rest)).toBeGreaterThanOrEqual(0);
    kfreeSkb(rest);
    expect(Buffer.compare(skbBytes(skb), bytes)).toBe(0);
    expect(csumFold(csumPartial(skbHead(skb), 1000, 0))).toBe(rfc1071(bytes.subarray(0, 1000)));
    kfreeSkb(skb);
    for (let i = 0; i < 500; i++) {
      const held = [allocSkb(i), allocPage(i + 1), allocSkb(i * 7)];
      kfreeSkb(held[0] as number);
      putPage(held[1] as number);
      kfreeSkb(held[2] as number);
    }
    expect(poolFree()).toEqual(before);
  });

  it("poisons what is freed", () => {
    const skb = allocSkb(1000);
    const head = skbHead(skb);
    skbPut(skb, 1000);
    u8.fill(1, head, head + 1000);
    kfreeSkb(skb);
    expect([...bytesAt(head + 4, 900)].every((byte) => byte === 0x6b)).toBe(true);
    expect(skbFlags(skb) & SKB_FLAG_POISONED).toBe(SKB_FLAG_POISONED);
    expect(u32[(skb + SKB_LEN) >>> 2]).toBe(0x6b6b6b6b);
  });

  it("traps when an sk_buff is freed twice behind the library's back", () => {
    const skb = allocSkb(10);
    allocSkb(10);
    wasm.kfreeSkbMem(skb);
    expect(() => wasm.kfreeSkbMem(skb)).toThrow(trap);
  });

  it("traps when a buffer is freed twice, or taken after it was freed", () => {
    const page = allocPage(2048);
    putPage(page);
    expect(() => putPage(page)).toThrow(trap);
    expect(() => getPage(page)).toThrow(trap);
  });

  it("traps, at the next allocation, when a freed object was written to", () => {
    const page = allocPage(2048);
    putPage(page);
    u8[page + 1000] = 1;
    expect(() => allocPage(2048)).toThrow(trap);
    const skb = allocSkb(10);
    kfreeSkb(skb);
    u32[(skb + SKB_LEN) >>> 2] = 5;
    expect(() => allocSkb(10)).toThrow(trap);
  });
});
