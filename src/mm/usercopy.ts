/**
 * Bytes between the JS heap ("user memory") and the machine's memory: copy_from_user, copy_to_user.
 *
 * What V8 does well and what not (Node 20, ns a call):
 *
 * | bytes | `set`, same offset mod 8 | `set`, another offset mod 8 | loop | staged, then wasm |
 * |------:|-------------------------:|----------------------------:|-----:|------------------:|
 * |    16 |                       50 |                          61 |   32 |                88 |
 * |   128 |                       55 |                          97 |  220 |                94 |
 * |  1460 |                      116 |                         513 |      |               168 |
 * | 65000 |                     2600 |                       20000 |      |              4500 |
 *
 * `set` needs a view of exactly the bytes, which is 30 ns of those 50 and garbage. So: few bytes by a loop; a whole
 * array as it is; where the two sides disagree modulo 8, through this cpu's staging area at the array's own offset
 * modulo 8, from or to where wasm moves the bytes (and sums them if asked to); and on the way out with views of the
 * staging area that are kept.
 *
 * Who can choose where bytes are put does well to choose an address that agrees with `src.byteOffset + srcOff`
 * modulo 8.
 */

import { STAGING_SIZE } from "../../assembly/layout.ts";
import { machine, u8, u32, wasm } from "./mem.ts";

/** Up to this many bytes, a loop is cheaper than the view that `set` needs. */
const LOOP_MAX = 24;
/** Up to this many bytes, a slow `set` is cheaper than staging. */
const SLOW_SET_MAX = 96;
/** From this many bytes on, making a view is cheaper than staging on the way out. */
const VIEW_MIN = 1024;
/** Bytes staged at a time: even (sums), and source, staging and destination stay in the first-level cache. */
const CHUNK = 8192;
/** Views of the staging area that are kept: a direct-mapped cache by length and offset. */
const VIEWS = 1024;

if (CHUNK + 8 > STAGING_SIZE) throw new RangeError("the staging area is too small");

/** `len` bytes of `src` from `srcOff`, as an array of just those. */
function part(src: Uint8Array, srcOff: number, len: number): Uint8Array {
  return srcOff === 0 && len === src.length ? src : src.subarray(srcOff, srcOff + len);
}

/** Copies `len` bytes of `src` from `srcOff` to the address `dst`. */
export function copyFromUser(dst: number, src: Uint8Array, srcOff: number, len: number): void {
  const mem = u8;
  u32[machine.statCopied] += len;
  if (len <= LOOP_MAX) {
    for (let i = 0; i < len; i++) mem[dst + i] = src[srcOff + i];
    return;
  }
  if (len <= SLOW_SET_MAX || ((src.byteOffset + srcOff - dst) & 7) === 0) {
    mem.set(part(src, srcOff, len), dst);
    return;
  }
  for (let done = 0; done < len; ) {
    const n = len - done < CHUNK ? len - done : CHUNK;
    const at = machine.staging + ((src.byteOffset + srcOff + done) & 7);
    mem.set(part(src, srcOff + done, n), at);
    wasm.memcpy(dst + done, at, n);
    done += n;
  }
}

/** copyFromUser that also adds the bytes to the partial sum `sum` (csum_and_copy_from_user). Returns the new sum. */
export function csumAndCopyFromUser(dst: number, src: Uint8Array, srcOff: number, len: number, sum: number): number {
  const mem = u8;
  let csum = sum;
  u32[machine.statCopied] += len;
  for (let done = 0; done < len; ) {
    const n = len - done < CHUNK ? len - done : CHUNK;
    const at = machine.staging + ((src.byteOffset + srcOff + done) & 7);
    if (n <= LOOP_MAX) for (let i = 0; i < n; i++) mem[at + i] = src[srcOff + done + i];
    else mem.set(part(src, srcOff + done, n), at);
    csum = wasm.csumAndCopy(dst + done, at, n, csum) >>> 0;
    done += n;
  }
  return csum;
}

/** Copies `len` bytes at the address `src` into `dst` from `dstOff`. */
export function copyToUser(dst: Uint8Array, dstOff: number, src: number, len: number): void {
  const mem = u8;
  u32[machine.statCopied] += len;
  if (len <= LOOP_MAX) {
    for (let i = 0; i < len; i++) dst[dstOff + i] = mem[src + i];
    return;
  }
  if (len >= VIEW_MIN && ((dst.byteOffset + dstOff - src) & 7) === 0) {
    dst.set(mem.subarray(src, src + len), dstOff);
    return;
  }
  for (let done = 0; done < len; ) {
    const n = len - done < CHUNK ? len - done : CHUNK;
    const at = machine.staging + ((dst.byteOffset + dstOff + done) & 7);
    wasm.memcpy(at, src + done, n);
    dst.set(stagingView(at, n), dstOff + done);
    done += n;
  }
}

/** A view of `n` bytes of the staging area, kept for the next time. */
function stagingView(at: number, n: number): Uint8Array {
  const views = machine.stagingViews;
  const slot = ((n << 3) | (at & 7)) & (VIEWS - 1);
  const kept = views[slot];
  if (kept !== undefined && kept.length === n && kept.byteOffset === at) return kept;
  const view = u8.subarray(at, at + n);
  views[slot] = view;
  return view;
}
