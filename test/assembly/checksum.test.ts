import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { dv, machine, u8, wasm } from "../../src/mm/mem.ts";
import { memStats } from "../../src/mm/pool.ts";
import { copyFromUser, copyToUser, csumAndCopyFromUser } from "../../src/mm/usercopy.ts";
import {
  csumAdd,
  csumBlockAdd,
  csumBlockSub,
  csumFold,
  csumPartial,
  csumReplace2,
  csumReplace4,
  csumSub,
  csumTcpUdpMagic,
  csumUnfold,
  csumUpdate2,
  csumUpdate4,
  ipComputeCsum,
  ipFastCsum,
} from "../../src/net/core/checksum.ts";
import { allocPage, putPage } from "../../src/net/core/skbuff.ts";
import { bytesAt, Random, rfc1071, SEED, withMachine } from "../mm/util.ts";

withMachine();

/** Runs `body` with a 64 KiB buffer that is given back. */
function withPage(body: (page: number) => void): void {
  const page = allocPage(65536);
  try {
    body(page);
  } finally {
    putPage(page);
  }
}

describe("csumPartial", () => {
  it("sums the example of RFC 1071 §3", () => {
    withPage((page) => {
      u8.set([0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7], page);
      // "Sum2": ddf2; the checksum is its complement, and it is stored as a big-endian number.
      expect(csumFold(csumPartial(page, 8, 0))).toBe(~0xddf2 & 0xffff);
      u8.set([0x12, 0x34], page);
      expect(csumFold(csumPartial(page, 2, 0))).toBe(~0x1234 & 0xffff);
      expect(csumFold(csumPartial(page, 1, 0))).toBe(~0x1200 & 0xffff);
    });
  });

  it("equals the reference for every length 0..300 at every alignment 0..15", () => {
    const random = new Random(SEED);
    withPage((page) => {
      const bytes = random.bytes(400);
      u8.set(bytes, page);
      for (let align = 0; align < 16; align++) {
        for (let len = 0; len <= 300; len++) {
          const want = rfc1071(bytes.subarray(align, align + len));
          if (csumFold(csumPartial(page + align, len, 0)) !== want) expect.fail(`length ${len} at ${align}`);
        }
      }
    });
  });

  it("equals the reference where carries are worst", () => {
    withPage((page) => {
      for (const [fill, len] of [
        [0xff, 65536],
        [0xff, 65535],
        [0x00, 65536],
        [0xff, 1460],
        [0xfe, 65536],
      ] as const) {
        u8.fill(fill, page, page + 65536);
        expect(csumFold(csumPartial(page, len, 0))).toBe(rfc1071(bytesAt(page, len)));
        expect(csumFold(csumPartial(page, len, 0xffffffff))).toBe(rfc1071(bytesAt(page, len), 0xffff));
      }
    });
  });

  it("takes any partial sum to start with", () => {
    withPage((page) => {
      fc.assert(
        fc.property(fc.uint8Array({ maxLength: 2000 }), fc.uint8Array({ maxLength: 2000 }), (a, b) => {
          const even = a.length & ~1;
          u8.set(a, page);
          const first = csumPartial(page, even, 0);
          u8.set(b, page);
          const all = csumPartial(page, b.length, first);
          expect(csumFold(all)).toBe(rfc1071([...a.subarray(0, even), ...b]));
        }),
      );
    });
  });
});

describe("csumAndCopy", () => {
  it("copies and sums every length 0..300 at every pair of alignments that matters, and touches nothing else", () => {
    const random = new Random(SEED + 1);
    withPage((page) => {
      const bytes = random.bytes(400);
      u8.set(bytes, page);
      const to = page + 4096;
      for (let align = 0; align < 16; align++) {
        for (let len = 0; len <= 300; len++) {
          const at = to + ((align * 7 + len) & 15);
          u8.fill(0xaa, to, to + 400);
          const sum = wasm.csumAndCopy(at, page + align, len, 0) >>> 0;
          const want = bytes.subarray(align, align + len);
          if (csumFold(sum) !== rfc1071(want)) expect.fail(`sum of length ${len} at ${align}`);
          for (let i = 0; i < len; i++) if (u8[at + i] !== want[i]) expect.fail(`byte ${i} of ${len} at ${align}`);
          if (u8[at - 1] !== 0xaa && at > to) expect.fail(`before length ${len} at ${align}`);
          if (u8[at + len] !== 0xaa) expect.fail(`behind length ${len} at ${align}`);
        }
      }
      for (const len of [1460, 65535 - 4096 - 16]) {
        const sum = wasm.csumAndCopy(to + 1, page + 3, Math.min(len, 4000), 0) >>> 0;
        expect(csumFold(sum)).toBe(rfc1071(bytesAt(page + 3, Math.min(len, 4000))));
      }
    });
  });

  it("counts the bytes", () => {
    withPage((page) => {
      const before = memStats();
      wasm.csumAndCopy(page + 4096, page, 1460, 0);
      wasm.csumPartial(page, 100, 0);
      wasm.memcpy(page + 4096, page, 10);
      const after = memStats();
      expect(after.bytesCopied - before.bytesCopied).toBe(1470);
      expect(after.bytesSummed - before.bytesSummed).toBe(1560);
    });
  });
});

describe("combining sums", () => {
  it("csumBlockAdd puts pieces of any length together, csumBlockSub takes them apart", () => {
    withPage((page) => {
      fc.assert(
        fc.property(fc.array(fc.uint8Array({ maxLength: 200 }), { maxLength: 8 }), (pieces) => {
          let sum = 0;
          let offset = 0;
          const all: number[] = [];
          for (const piece of pieces) {
            u8.set(piece, page);
            sum = csumBlockAdd(sum, csumPartial(page, piece.length, 0), offset);
            offset += piece.length;
            all.push(...piece);
          }
          expect(csumFold(sum)).toBe(rfc1071(all));
          const last = pieces[pieces.length - 1];
          if (last === undefined) return;
          u8.set(last, page);
          const start = offset - last.length;
          const rest = csumBlockSub(sum, csumPartial(page, last.length, 0), start);
          // In one's complement, a sum of nothing but ones is zero.
          const got = csumFold(rest);
          const want = rfc1071(all.slice(0, start));
          expect(got === want || (got | want) === 0xffff).toBe(true);
        }),
      );
    });
  });

  it("csumAdd is commutative and associative, csumSub undoes it", () => {
    const u32 = fc.integer({ min: 0, max: 0xffffffff });
    fc.assert(
      fc.property(u32, u32, u32, (a, b, c) => {
        expect(csumAdd(a, b)).toBe(csumAdd(b, a));
        expect(csumFold(csumAdd(csumAdd(a, b), c))).toBe(csumFold(csumAdd(a, csumAdd(b, c))));
        const back = csumFold(csumSub(csumAdd(a, b), b));
        expect(back === csumFold(a) || csumFold(a) % 0xffff === back % 0xffff).toBe(true);
      }),
    );
  });
});

describe("headers", () => {
  it("ipFastCsum gives the checksum of a known header, and 0 for a right one, at any address", () => {
    // The header that Wikipedia's article and many textbooks sum: checksum b861.
    const header = [0x45, 0, 0, 0x73, 0, 0, 0x40, 0, 0x40, 0x11, 0, 0, 0xc0, 0xa8, 0, 1, 0xc0, 0xa8, 0, 0xc7];
    withPage((page) => {
      for (let align = 0; align < 4; align++) {
        const at = page + align;
        u8.set(header, at);
        const check = ipFastCsum(at, 5);
        expect(check).toBe(0xb861);
        dv.setUint16(at + 10, check);
        expect(ipFastCsum(at, 5)).toBe(0);
        expect(ipComputeCsum(at, 20)).toBe(0);
      }
    });
  });

  it("csumTcpUdpMagic equals the reference over pseudo-header and data", () => {
    withPage((page) => {
      const u32 = fc.integer({ min: 0, max: 0xffffffff });
      fc.assert(
        fc.property(
          u32,
          u32,
          fc.constantFrom(6, 17),
          fc.uint8Array({ maxLength: 1500 }),
          (saddr, daddr, proto, data) => {
            const pseudo = new Uint8Array(12);
            const view = new DataView(pseudo.buffer);
            view.setUint32(0, saddr);
            view.setUint32(4, daddr);
            view.setUint16(8, proto);
            view.setUint16(10, data.length);
            u8.set(data, page);
            const sum = csumPartial(page, data.length, 0);
            expect(csumTcpUdpMagic(saddr, daddr, data.length, proto, sum)).toBe(rfc1071([...pseudo, ...data]));
            // CHECKSUM_PARTIAL: the complemented magic of nothing, summed with the data, gives the same checksum.
            const seed = ~csumTcpUdpMagic(saddr, daddr, data.length, proto, 0) & 0xffff;
            expect(csumFold(csumAdd(sum, csumUnfold(seed)))).toBe(rfc1071([...pseudo, ...data]));
          },
        ),
      );
    });
  });

  it("csumReplace changes one word as RFC 1624 says", () => {
    // RFC 1624 §4: HC = dd2f, m = 5555, m' = 3285 gives 0000, where RFC 1141 gave ffff.
    expect(csumUpdate2(0xdd2f, 0x5555, 0x3285)).toBe(0x0000);
    withPage((page) => {
      fc.assert(
        fc.property(
          fc.uint8Array({ minLength: 20, maxLength: 20 }),
          fc.nat(8),
          fc.nat(0xffffffff),
          (bytes, word, to) => {
            const at = page + 1;
            u8.set(bytes, at);
            dv.setUint16(at + 18, 0);
            dv.setUint16(at + 18, ipComputeCsum(at, 20));
            const where = at + Math.min(word * 2, 14);
            const from = dv.getUint32(where);
            dv.setUint32(where, to);
            csumReplace4(at + 18, from, to >>> 0);
            expect([0, 0xffff]).toContain(ipComputeCsum(at, 20));
            expect(csumUpdate4(0x1234, from, to >>> 0)).toBe(
              csumUpdate2(csumUpdate2(0x1234, from >>> 16, to >>> 16), from & 0xffff, to & 0xffff),
            );
            const old = dv.getUint16(at);
            dv.setUint16(at, to & 0xffff);
            csumReplace2(at + 18, old, to & 0xffff);
            expect([0, 0xffff]).toContain(ipComputeCsum(at, 20));
          },
        ),
      );
    });
  });
});

describe("user copies", () => {
  const LENGTHS = [0, 1, 7, 8, 24, 25, 47, 48, 49, 63, 64, 65, 96, 97, 100, 1023, 1024, 1460, 8191, 8192, 8193, 20000];

  it("copyFromUser and csumAndCopyFromUser, at every alignment of both sides", () => {
    const random = new Random(SEED + 2);
    const source = random.bytes(20100);
    withPage((page) => {
      for (const len of LENGTHS) {
        for (let align = 0; align < 64; align++) {
          const from = align & 7;
          const at = page + 8 + (align >> 3);
          u8.fill(0, page, page + len + 64);
          copyFromUser(at, source, from, len);
          expect(Buffer.compare(bytesAt(at, len), source.subarray(from, from + len))).toBe(0);
          expect([u8[at - 1], u8[at + len]]).toEqual([0, 0]);
          u8.fill(0, page, page + len + 64);
          const sum = csumAndCopyFromUser(at, source, from, len, 0);
          expect(csumFold(sum)).toBe(rfc1071(source.subarray(from, from + len)));
          expect(Buffer.compare(bytesAt(at, len), source.subarray(from, from + len))).toBe(0);
          expect([u8[at - 1], u8[at + len]]).toEqual([0, 0]);
        }
      }
    });
  });

  it("copyToUser, at every alignment of both sides", () => {
    const random = new Random(SEED + 3);
    const source = random.bytes(20100);
    withPage((page) => {
      u8.set(source, page);
      for (const len of LENGTHS) {
        for (let align = 0; align < 64; align++) {
          const from = align & 7;
          const to = 8 + (align >> 3);
          const target = new Uint8Array(len + 32);
          copyToUser(target, to, page + from, len);
          expect(Buffer.compare(target.subarray(to, to + len), source.subarray(from, from + len))).toBe(0);
          expect([target[to - 1], target[to + len]]).toEqual([0, 0]);
        }
      }
    });
  });

  it("works for a view into a larger buffer, at any byteOffset", () => {
    const backing = new Random(SEED + 4).bytes(4096);
    withPage((page) => {
      for (let offset = 0; offset < 16; offset++) {
        const view = new Uint8Array(backing.buffer, offset, 2000);
        copyFromUser(page, view, 0, 2000);
        expect(Buffer.compare(bytesAt(page, 2000), view)).toBe(0);
        const out = new Uint8Array(backing.length);
        const target = new Uint8Array(out.buffer, offset, 2000);
        copyToUser(target, 0, page, 2000);
        expect(Buffer.compare(target, view)).toBe(0);
      }
    });
    expect(machine.staging % 8).toBe(0);
  });
});
