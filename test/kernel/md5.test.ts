/** MD5 against Node's. */

import { createHash } from "node:crypto";
import { expect, it } from "vitest";
import { Md5 } from "../../src/kernel/md5.ts";

function hex(b: Uint8Array): string {
  return [...b].map((x) => x.toString(16).padStart(2, "0")).join("");
}

it("hashes every length around its blocks, in pieces of every size, and starts over", () => {
  const md5 = new Md5();
  const bytes = new Uint8Array(300).map((_, i) => (i * 151 + 7) & 255);
  for (let len = 0; len <= 200; len++) {
    for (const piece of [1, 13, 64, 300]) {
      const out = new Uint8Array(18);
      md5.init();
      for (let at = 0; at < len; at += piece) md5.update(bytes, at + 3, Math.min(piece, len - at));
      md5.final(out, 2);
      const want = createHash("md5")
        .update(bytes.subarray(3, 3 + len))
        .digest("hex");
      expect(hex(out.subarray(2))).toBe(want);
    }
  }
});
