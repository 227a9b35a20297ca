/**
 * Compiles the WebAssembly module, once, and makes instances of it. The module comes inlined as base64 (a few KB), so
 * that no bundler or server has to know about it; a strict setup hands in the bytes or the compiled module itself.
 */

import { layoutHash } from "../../assembly/layout.ts";
import { WASM_BASE64 } from "./skbuff.wasm.ts";

/** What assembly/index.ts exports. Addresses are u32 below 2^31; sums are u32 that arrive as signed: use `>>> 0`. */
export interface SkbuffWasm {
  layoutHash(): number;

  // mm/slab.ts
  mmInit(memBytes: number): number;
  allocPage(size: number): number;
  getPage(page: number): void;
  putPage(page: number): void;
  pageRefs(page: number): number;
  bufferSize(page: number): number;
  drainReturned(): void;
  inUse(cls: number): number;

  // net/core/skbuff.ts
  allocSkb(size: number): number;
  skbClone(skb: number): number;
  skbReleaseData(skb: number): number;
  kfreeSkbMem(skb: number): number;
  kfreeSkbListMem(skb: number): void;
  skbCopy(skb: number): number;
  pskbCopy(skb: number, headroom: number): number;
  skbCopyExpand(skb: number, newheadroom: number, newtailroom: number): number;
  skbMorph(dst: number, src: number): number;
  pskbExpandHead(skb: number, nhead: number, ntail: number): number;
  pskbPullTail(skb: number, delta: number): number;
  pskbTrim(skb: number, len: number): number;
  skbSplit(skb: number, skb1: number, len: number): void;
  skbShift(tgt: number, skb: number, shiftlen: number): number;
  skbTryCoalesce(to: number, from: number): number;
  skbCopyBits(skb: number, offset: number, to: number, len: number): number;
  skbStoreBits(skb: number, offset: number, from: number, len: number): number;
  skbChecksum(skb: number, offset: number, len: number, sum: number): number;
  skbCopyAndCsumBits(skb: number, offset: number, to: number, len: number): number;

  // lib/checksum.ts
  csumPartial(addr: number, len: number, sum: number): number;
  csumAndCopy(dst: number, src: number, len: number, sum: number): number;
  memcpy(dst: number, src: number, len: number): void;

  // net/core/gso.ts
  gsoSegment(skb: number, features: number, proto: number): number;
  forwardFrames(first: number, max: number): number;

  // net/core/gro.ts
  groReceive(list: number, held: number, flush: number): number;

  // net/core/ring.ts
  ringInit(ring: number, entries: number): void;
  ringPush(ring: number, list: number): number;
  ringPop(ring: number, max: number): number;
  ringCount(ring: number): number;
}

const DECODE: Uint8Array = new Uint8Array(128);

/** Decodes base64 without `atob` or `Buffer`: neither is part of the language. */
export function decodeBase64(text: string): Uint8Array<ArrayBuffer> {
  if (DECODE[65] === DECODE[66]) {
    const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (let i = 0; i < 64; i++) DECODE[alphabet.charCodeAt(i)] = i;
  }
  let end = text.length;
  while (end > 0 && text.charCodeAt(end - 1) === 61) end--;
  const out = new Uint8Array((end * 3) >>> 2);
  let bits = 0;
  let have = 0;
  let at = 0;
  for (let i = 0; i < end; i++) {
    bits = (bits << 6) | DECODE[text.charCodeAt(i)];
    have += 6;
    if (have >= 8) {
      have -= 8;
      out[at++] = (bits >>> have) & 0xff;
    }
  }
  return out;
}

let compiled: WebAssembly.Module | undefined;
let compiling: Promise<WebAssembly.Module> | undefined;

/** The inlined module, compiled once a process. */
export function compileWasm(): Promise<WebAssembly.Module> {
  if (compiled !== undefined) return Promise.resolve(compiled);
  compiling ??= WebAssembly.compile(decodeBase64(WASM_BASE64)).then((module) => {
    compiled = module;
    return module;
  });
  return compiling;
}

/**
 * The same without waiting (a main thread of a browser may refuse to compile synchronously; ours is below its limit).
 */
export function compileWasmSync(): WebAssembly.Module {
  compiled ??= new WebAssembly.Module(decodeBase64(WASM_BASE64));
  return compiled;
}

/** Instantiates the module over `memory` for one cpu. Throws if it was compiled from another assembly/layout.ts. */
export function instantiateWasm(module: WebAssembly.Module, memory: WebAssembly.Memory, cpu: number): SkbuffWasm {
  const instance = new WebAssembly.Instance(module, { env: { memory, cpu } });
  const exports = instance.exports as unknown as SkbuffWasm;
  if (exports.layoutHash() >>> 0 !== layoutHash()) {
    throw new Error("skbuff.wasm does not match assembly/layout.ts: run `npm run build`");
  }
  // A plain object: V8 keeps module exports in a slow-mode one.
  return { ...exports };
}
