/**
 * Bytes between the JS heap ("user memory") and the machine's memory: copy_from_user, copy_to_user.
 *
 * V8 copies between a heap buffer and shared memory fast only where both addresses agree modulo 8 (it falls back to a
 * byte loop otherwise). So where they don't, the bytes go through this cpu's staging area, at the source's own offset modulo
 * 8, and wasm moves them from there, summing them on the way if it is asked to.
 */

import { STAGING_SIZE } from "../../assembly/layout.ts";
import { machine, u8, wasm } from "./mem.ts";

/** Below this many bytes a plain loop is cheaper than the view that `set` needs. */
const LOOP_MAX = 48;
/** Bytes staged at a time: source, staging and destination stay in the first-level cache. */
const CHUNK = 8192;

if (CHUNK + 8 > STAGING_SIZE) throw new RangeError("the staging area is too small");

/** Copies `len` bytes of `src` from `srcOff` to the address `dst`. */
export function copyFromUser(dst: number, src: Uint8Array, srcOff: number, len: number): void {
  if (len <= LOOP_MAX) {
    for (let i = 0; i < len; i++) u8[dst + i] = src[srcOff + i];
    return;
  }
  if (((src.byteOffset + srcOff - dst) & 7) === 0) {
    u8.set(srcOff === 0 && len === src.length ? src : src.subarray(srcOff, srcOff + len), dst);
    return;
  }
  for (let done = 0; done < len; ) {
    const n = len - done < CHUNK ? len - done : CHUNK;
    const at = machine.staging + ((src.byteOffset + srcOff + done) & 7);
    u8.set(src.subarray(srcOff + done, srcOff + done + n), at);
    wasm.memcpy(dst + done, at, n);
    done += n;
  }
}

/** copyFromUser that also adds the bytes to the partial sum `sum` (csum_and_copy_from_user). Returns the new sum. */
export function csumAndCopyFromUser(dst: number, src: Uint8Array, srcOff: number, len: number, sum: number): number {
  let csum = sum;
  // CHUNK is even, so every piece but the last has an even length.
  for (let done = 0; done < len; ) {
    const n = len - done < CHUNK ? len - done : CHUNK;
    const at = machine.staging + ((src.byteOffset + srcOff + done) & 7);
    if (n <= LOOP_MAX) for (let i = 0; i < n; i++) u8[at + i] = src[srcOff + done + i];
    else u8.set(src.subarray(srcOff + done, srcOff + done + n), at);
    csum = wasm.csumAndCopy(dst + done, at, n, csum) >>> 0;
    done += n;
  }
  return csum;
}

/** Copies `len` bytes at the address `src` into `dst` from `dstOff`. */
export function copyToUser(dst: Uint8Array, dstOff: number, src: number, len: number): void {
  if (len <= LOOP_MAX) {
    for (let i = 0; i < len; i++) dst[dstOff + i] = u8[src + i];
    return;
  }
  if (((dst.byteOffset + dstOff - src) & 7) === 0) {
    dst.set(u8.subarray(src, src + len), dstOff);
    return;
  }
  for (let done = 0; done < len; ) {
    const n = len - done < CHUNK ? len - done : CHUNK;
    const at = machine.staging + ((dst.byteOffset + dstOff + done) & 7);
    wasm.memcpy(at, src + done, n);
    dst.set(u8.subarray(at, at + n), dstOff + done);
    done += n;
  }
}
